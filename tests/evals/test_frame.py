"""Laws of every page in a browser: it asks nobody, says nothing, sorts, filters, opens, enlarges, and can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evals.pages.frame import anchors, breakable, linked
from evals.pages.palette import DARK, LIGHT
from evals.pages.results import study
from evals.pages.several import several
from evals.tables.papers import paper_of
from tests.house.browser import CHROMIUM, Page, browser
from tests.house.comparison_house import house as compared_house
from tests.house.leaderboard import record as scored
from tests.house.prompt_pages import prompt_house, write_prompt_pages
from tests.house.report_house import house, report, trajectories

RESULTS = Path(__file__).parents[2] / "results"
KEPT = ("digits/report.html", "digits_conditional/comparison.html", "study/study.html")
MADE = ("report", "comparison", "study")
IN_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package chromium")
CONTRASTS = """
(() => {
  const light = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    const linear = [r, g, b].map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return a === 0 ? null : 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || one.closest("svg, script, style")) continue;
    let behind = one, paper = null;
    while ((paper = light(getComputedStyle(behind).backgroundColor)) === null) behind = behind.parentElement;
    const ink = light(getComputedStyle(one).color);
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push(`${one.tagName} ${one.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
})()
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, as the code that is tested writes it."""
    folder = tmp_path_factory.mktemp("pages")
    _, made = house(folder / "report")
    trajectories(folder / "report/walks/boot")
    report(folder / "report")
    compared_house(folder / "comparison").compare()
    for ablation in ("none", "no_boundary"):
        path = folder / "study/scores" / ablation / "0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([scored("one-jump", {"training_seed": 0})]))
    study("digits", folder / "study/scores", ["none", "no_boundary"], [0], folder / "study/out")
    several([str(made.parent), str(folder / "comparison/out")], folder / "several.html")
    write_prompt_pages(prompt_house(folder / "prompts"))
    return {
        "prompts": folder / "prompts/out/prompts.html",
        "several": folder / "several.html",
        "report": made,
        "comparison": folder / "comparison/out/comparison.html",
        "study": folder / "study/out/study.html",
    }


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as page:
        yield page


def opened(chromium: Page, path: Path, width: int = 1440, scheme: str = "light") -> Page:
    chromium.requests.clear()
    chromium.said.clear()
    chromium.open(path)
    chromium.look(width, scheme=scheme)
    return chromium


def column(page: Page, table: int, number: int) -> list[str]:
    """The texts of a table's column that are shown, from the top."""
    rows = f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows].filter((row) => !row.hidden)"
    found: list[str] = page.run(f"{rows}.map((row) => row.cells[{number}].textContent.trim())")
    return found


def every(pages: dict[str, Path]) -> list[Path]:
    return [*pages.values(), *(RESULTS / name for name in KEPT)]


@IN_BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_request_leaves_the_page_and_the_console_is_silent(
    pages: dict[str, Path], chromium: Page, scheme: str
) -> None:
    for path in every(pages):
        page = opened(chromium, path, scheme=scheme)
        asked = [url for url in page.requests if not url.startswith("data:")]
        assert asked == [path.resolve().as_uri()] and page.said == []
        assert page.run("document.querySelector('th button') !== null"), "its script has run"


@IN_BROWSER
def test_a_message_and_a_request_would_be_seen(chromium: Page, tmp_path: Path) -> None:
    """What the law above looks for is found where it is."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.log('x'); undefined.y</script><img src='file:///nowhere.png'>")
    page = opened(chromium, bad)
    assert len(page.said) >= 2 and "file:///nowhere.png" in page.requests


@IN_BROWSER
@pytest.mark.parametrize("width", [360, 390, 1440])
def test_nothing_is_clipped_and_what_scrolls_says_so(pages: dict[str, Path], chromium: Page, width: int) -> None:
    for path in every(pages):
        page = opened(chromium, path, width)
        assert page.run("document.documentElement.scrollWidth") == width, path
        tables = "[...document.querySelectorAll('.table')]"
        wide = f"{tables}.filter((one) => one.lastElementChild.scrollWidth > one.clientWidth)"
        if width == 1440:
            assert page.run(f"{wide}.length") == 0, path
        signs = page.run(f"{wide}.map((one) => one.querySelector('.hint').checkVisibility() && one.matches('.more'))")
        assert all(signs), path
        silent = page.run(
            "[...document.querySelectorAll('.table:not(.scrolls) > .hint')].some((one) => one.checkVisibility())"
        )
        assert not silent, "nothing speaks of scrolling where nothing scrolls"


@IN_BROWSER
def test_the_first_columns_stay_when_a_table_scrolls(chromium: Page) -> None:
    page = opened(chromium, RESULTS / KEPT[0], 390)
    left = "[...document.querySelector('tbody tr').cells].slice(0, 3).map((cell) => cell.getBoundingClientRect().left)"
    before = page.run(left)
    page.run("document.querySelector('.table .wide').scrollLeft = 200")
    after = page.run(left)
    assert after[:2] == pytest.approx(before[:2], abs=1) and after[2] < before[2] - 150
    page.run("document.querySelector('.table .wide').scrollLeft = 9999")
    page.look(390)
    assert not page.run("document.querySelector('.table').matches('.more')"), "at the end nothing more follows"


@IN_BROWSER
@pytest.mark.parametrize("width", [360, 390])
def test_no_name_is_cut_into_letters(pages: dict[str, Path], chromium: Page, width: int) -> None:
    """A first column may break its names after an underscore, and shows a line for each word at most."""
    for path in every(pages):
        page = opened(chromium, path, width)
        lines = page.run("""
            [...document.querySelectorAll('td:first-child')].map((cell) => {
              const range = document.createRange();
              range.selectNodeContents(cell);
              const words = [...range.getClientRects()].filter((one) => one.width > 12);
              return [cell.textContent.trim(), new Set(words.map((one) => Math.round(one.bottom))).size];
            })
        """)
        for text, count in lines:
            assert count <= len(re.split(r"(?<=[_/ -])", text)), f"{path}: {text}"


@IN_BROWSER
def test_a_table_sorts_by_keyboard_and_back(pages: dict[str, Path], chromium: Page) -> None:
    page = opened(chromium, pages["report"])
    heading = "[...document.querySelectorAll('th')].find((one) => one.textContent.startsWith('NFE'))"
    given = column(page, 0, 2)
    assert given != sorted(given, key=int), "the page is sorted by FID"
    assert page.run(f"{heading}.ariaSort") is None
    page.run(f"{heading}.querySelector('button').focus()")
    for sort, order in (("ascending", 1), ("descending", -1)):
        page.press("Enter")
        assert page.run(f"{heading}.ariaSort") == sort
        assert column(page, 0, 2) == sorted(given, key=lambda text: order * int(text))
    page.press("Enter")
    assert page.run(f"{heading}.ariaSort") is None and column(page, 0, 2) == given
    page.press("Tab")
    page.press("Enter")
    assert page.run("document.querySelectorAll('th[aria-sort]').length") == 1, "one column at a time, the next by Tab"


@IN_BROWSER
def test_numbers_sort_by_value_and_what_is_missing_comes_last(pages: dict[str, Path], chromium: Page) -> None:
    page = opened(chromium, pages["comparison"])
    heading = "document.querySelectorAll('table')[0].tHead.rows[0].cells[1].querySelector('button').click()"
    for sign in (1, -1):
        page.run(heading)
        texts = column(page, 0, 1)
        numbers = [float(text.split()[0].replace(",", "")) for text in texts if text != "–"]
        assert numbers == sorted(numbers, key=lambda value: sign * value) and len(numbers) > 2
        assert texts[len(numbers) :] == ["–"] * (len(texts) - len(numbers)) and "–" in texts


@IN_BROWSER
def test_a_table_filters_by_words(chromium: Page) -> None:
    page = opened(chromium, RESULTS / KEPT[0])
    rows = len(column(page, 0, 0))
    page.run("document.querySelector('.filter input').focus()")
    for key in "heun 16":
        page.press(key)
    shown = column(page, 0, 1)
    assert "heun-16" in shown and len(shown) < rows and all("heun" in text for text in shown)
    assert page.run("document.querySelector('.filter output').textContent") == f"{len(shown)} of {rows}"
    page.run("document.querySelector('.filter input').select()")
    page.press("Backspace")
    assert len(column(page, 0, 0)) == rows


@IN_BROWSER
@pytest.mark.parametrize("kind", MADE)
def test_every_row_leads_to_its_card_and_opens_it(pages: dict[str, Path], chromium: Page, kind: str) -> None:
    page = opened(chromium, pages[kind])
    links = page.run("[...new Set([...document.querySelectorAll('td a[href^=\"#card-\"]')].map((one) => one.hash))]")
    cards = page.run("[...document.querySelectorAll('details')].map((one) => '#' + one.id)")
    assert links and {*links} <= {*cards}
    for link in links[:3]:
        page.run(f"document.querySelector('td a[href=\"{link}\"]').click()")
        page.look(1440)
        assert page.run(f"document.querySelector('details{link}').open")
        assert page.run(f"document.querySelector('details{link} dl').checkVisibility()")
        assert page.run(f"Math.abs(document.querySelector('details{link}').getBoundingClientRect().top) < innerHeight")


@IN_BROWSER
def test_pictures_enlarge_and_arrows_lead_on(pages: dict[str, Path], chromium: Page) -> None:
    page = opened(chromium, pages["report"])
    alts = page.run("[...document.querySelectorAll('.images img')].map((one) => one.alt)")
    page.run("document.querySelectorAll('.images button')[1].focus()")
    small = page.run("document.activeElement.querySelector('img').clientHeight")
    page.press("Enter")
    large = "document.querySelector('dialog[open] .wide img')"
    assert page.run(f"{large}.alt") == alts[1] and page.run(f"{large}.clientHeight") >= small
    page.press("ArrowDown")
    assert page.run(f"{large}.alt") == alts[2]
    page.press("Escape")
    assert page.run(large) is None
    assert page.run("document.activeElement.ariaLabel") == f"Enlarge: {alts[1]}", "the focus comes back"


@IN_BROWSER
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(pages: dict[str, Path], chromium: Page, scheme: str) -> None:
    for path in pages.values():
        page = opened(chromium, path, scheme=scheme)
        page.run("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert page.run(CONTRASTS) == []
        paper = page.run("getComputedStyle(document.body).backgroundColor")
        wanted = (LIGHT if scheme == "light" else DARK)["paper"]
        assert paper == f"rgb({', '.join(str(int(wanted[place : place + 2], 16)) for place in (1, 3, 5))})"


@IN_BROWSER
@pytest.mark.parametrize("kind", MADE)
def test_whatever_is_seen_or_pressed_has_a_name(pages: dict[str, Path], chromium: Page, kind: str) -> None:
    page = opened(chromium, pages[kind])
    nameless = page.run("""
        [...document.querySelectorAll('img, [role=img], [role=region], button, input, dialog, nav')].filter((one) =>
          !(one.alt || one.ariaLabel || one.textContent.trim() || one.labels?.length)
          && one.closest('dialog') === null).map((one) => one.outerHTML.slice(0, 80))
    """)
    assert nameless == []
    headings = page.run("[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))")
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings)), "no level is left out"
    contents = page.run("[...document.querySelectorAll('nav a')].map((one) => one.textContent)")
    assert contents == page.run("[...document.querySelectorAll('h2')].map((one) => one.textContent)")


@IN_BROWSER
@pytest.mark.parametrize("kind", MADE)
def test_a_pointer_over_a_mark_reads_its_values(pages: dict[str, Path], chromium: Page, kind: str) -> None:
    page = opened(chromium, pages[kind])
    texts: Any = page.run("""
        [...document.querySelectorAll('.plot svg')].flatMap((svg) => [...svg.querySelectorAll('.hover')].map((spot) => {
          spot.scrollIntoView({ block: 'center' });
          const box = spot.getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          return top?.closest('.hover')?.querySelector('title')?.textContent ?? null;
        }))
    """)
    assert texts and all(text and "FID" in text for text in texts)


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_and_marks_stand_out_from_the_paper(theme: dict[str, str]) -> None:
    for name, colour in theme.items():
        if name not in ("paper", "rule", "shade"):
            assert contrast(colour, theme["paper"]) >= 3, name
    for name in ("ink", "quiet", "series-0"):
        assert min(contrast(theme[name], theme[paper]) for paper in ("paper", "shade")) >= 4.5, name


@pytest.mark.parametrize(
    ("name", "arxiv"),
    [
        ("boot", "2306.05544"),
        ("boot_guided", "2306.05544"),
        ("consistency_training", "2303.01469"),
        ("improved_consistency_training", "2310.14189"),
        ("teacher ddim-10", "2010.02502"),
        ("teacher dpmpp2m", "2211.01095"),
        ("midpoint", None),
        ("teacher midpoint", None),
    ],
)
def test_a_method_and_its_variants_have_its_paper(name: str, arxiv: str | None) -> None:
    paper = paper_of(name)
    assert (paper and paper.arxiv) == arxiv


def test_papers_in_a_text_are_linked_and_other_numbers_are_not() -> None:
    said = linked("<b> (arXiv 2303.01469 and 2306.05544) 0.12345, 12306.055441")
    assert said.count("<a ") == 2 and "&lt;b&gt;" in said and "/abs/2306.05544" in said
    assert linked("FID 2306.05544") == "FID 2306.05544"


def test_anchors_are_unlike_each_other() -> None:
    assert anchors("card", ["a b", "A-b", "a b", "ü"]) == ["card-a-b", "card-a-b-2", "card-a-b-3", "card-"]


def test_a_name_may_break_after_its_parts_and_is_escaped() -> None:
    assert breakable("no_boundary/0 <b>") == "no_<wbr>boundary/<wbr>0 &lt;b&gt;"
