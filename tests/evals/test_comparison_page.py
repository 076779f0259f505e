"""Laws of a comparison's pages: every cell and word follows from the JSON, the galleries show what the zips hold."""

import base64
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from evals.pages.frame import linked
from evals.pages.palette import STAND_INS
from evals.pages.plots import comparison_plot, styles
from evals.tables.comparison import Method
from evals.tables.text import leaves
from tests.house.comparison_house import STUDENTS, TEACHER, Student, house, pixels, row_of
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced


def tables(page: str) -> list[list[dict[str, str]]]:
    """Every table of a Markdown page."""
    found = []
    for inside, lines in itertools.groupby(page.splitlines(), key=lambda line: line.startswith("|")):
        if inside:
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            found.append([dict(zip(cells[0], row, strict=True)) for row in cells[2:]])
    return found


def read_as(text: str, score: dict[str, Any]) -> None:
    """A cell says the score of the JSON, rounded to its own last place."""
    parts = text.strip("*").replace(",", "").split(" ± ")
    values = [score["mean"], score["std"]][: len(parts)]
    assert score["std"] is None or len(parts) == 2
    for part, value in zip(parts, values, strict=True):
        assert f"{float(part):.10g}" == f"{round(value, len(part.partition('.')[2])):.10g}"


def test_the_best_is_the_student_of_the_least_mean_and_stands_bold(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    assert made["best"] == {"1": ["boot"], "4": ["progressive"]}
    rows = tables((folder / "out/comparison.md").read_text())[0]
    for nfe in (1, 2, 4, 8):
        bold = [row["method"] for row in rows if "*" in row[f"NFE {nfe}"]]
        assert bold == made["best"].get(str(nfe), [])
    page = (folder / "out/comparison.html").read_text()
    assert re.findall(r'class="number best"[^>]*>([^<]*)<', page) == ["1.383 ± 0.076", "1.25 ± 0.25"]


def test_every_number_of_the_page_is_the_json_s_rounded(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    first, more, shares, guidance, agreement = tables((folder / "out/comparison.md").read_text())
    plain = [row for row in made["rows"] if row["plain"]]
    read = 0
    for table in (first, more):
        for line in table:
            for heading, text in line.items():
                if heading.startswith("NFE") and text != "–":
                    read_as(text, row_of(made, line["method"], int(heading[4:]))["fid"])
                    read += 1
    assert read == len(plain)
    for line, one in zip(first, made["methods"], strict=True):
        assert line["method"] == one["method"]
        cells = [line[heading] for heading in ("training images", "network calls", "seconds", "disk, MB")]
        if one["cost"] is None:
            assert [*cells, line["data needed"]] == ["–"] * 5
        else:
            assert line["data needed"] == ("yes" if one["cost"]["data_needed"] else "no")
            for key, text, scale in zip(
                ("images", "evaluations", "seconds", "disk"), cells, (1, 1, 1, 1e-6), strict=True
            ):
                read_as(text, {"mean": one["cost"][key]["mean"] * scale, "std": None})
    assert list(more[0]) == ["method", "NFE 10", "NFE 50"]
    for line, row in zip(shares, plain, strict=True):
        assert (line["method"], line["NFE"]) == (row["method"], str(row["nfe"]))
        for key in ("precision", "recall", "diversity", "agreement"):
            read_as(line[key], row[key])
    for table, key in ((guidance, "fid"), (agreement, "agreement")):
        assert [(line["method"], line["NFE"]) for line in table] == [("teacher ddim", "16"), ("guided", "4")]
        for line in table:
            for w in (0.5, 2):
                read_as(line[f"w = {w}"], row_of(made, line["method"], int(line["NFE"]), w)[key])


def test_csv_and_metrics_carry_the_same_numbers(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    lines = list(csv.DictReader((folder / "out/comparison.csv").open()))
    for line, row in zip(lines, made["rows"], strict=True):
        for key, value in leaves({name: value for name, value in row.items() if name != "runs"}):
            written = "" if value is None else json.dumps(value) if isinstance(value, list) else str(value)
            assert line[key] == written or (key == "cost" and row["cost"] is None)
        assert line["card.extractor_sha256"] == "ab" * 32
    metrics = json.loads((folder / "out/metrics.json").read_text())
    assert metrics.keys() == {"teacher", "direct", "progressive", "guided", "boot"}
    assert metrics["teacher"].keys() == {sampler for sampler, _, _ in TEACHER}
    assert metrics["progressive"].keys() == {"1", "4"} and metrics["guided"].keys() == {"4-w0.5", "4-w2"}
    row = row_of(made, "guided", 4, 2.0)
    headline = {key: row[key]["mean"] for key in ("fid", "recall", "diversity", "agreement")}
    assert metrics["guided"]["4-w2"] == headline


def test_guided_rows_stay_out_of_the_first_table(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    page = (folder / "out/comparison.md").read_text()
    [line] = [row for row in tables(page)[0] if row["method"] == "guided"]
    assert {line[f"NFE {nfe}"] for nfe in (1, 2, 4, 8)} == {"–"} and line["data needed"] == "yes"
    assert "NFE 16" not in tables(page)[1][0]


def test_without_weights_there_is_no_guidance_part(tmp_path: Path) -> None:
    plain = {key: fid for key, fid in TEACHER.items() if key[2] is None}
    house(tmp_path, teacher=plain, students={"boot": STUDENTS["boot"]}, classes=None, pairs=None).compare()
    for name in ("comparison.md", "comparison.html"):
        page = (tmp_path / "out" / name).read_text()
        assert "uidance" not in page and "greement" not in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"comparison.{kind}" for kind in ("json", "csv", "md", "svg", "html")),
        "metrics.json",
    }


def test_a_student_of_another_weight_is_looked_for_under_guidance(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    told = "Distilled at another w, and scored below, under Guidance: guided. "
    assert all(told in (folder / "out" / name).read_text() for name in ("comparison.md", "comparison.html"))


def test_conclusions_stand_on_both_pages(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    assert [one["second"] for one in made["conclusions"]] == [
        "teacher ddim at NFE 10",
        "teacher ddim at NFE 50",
        "boot at NFE 1",
    ]
    for name in ("comparison.md", "comparison.html"):
        page = (folder / "out" / name).read_text()
        for one in made["conclusions"]:
            literature = one["literature"] if name.endswith(".md") else linked(one["literature"])
            assert one["verdict"].capitalize() in page and one["here"] in page and literature in page


def test_reasons_are_appended_and_are_markdown_without_tags(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    why = (folder / "why.md").read_text().strip()
    assert f"## Comments\n\n{why}\n\n" in (folder / "out/comparison.md").read_text()
    page = (folder / "out/comparison.html").read_text()
    assert "<h1>Because</h1>" in page and "&lt;b&gt; is no tag here,\nand <em>this</em> is a line." in page
    assert "<b>" not in page


def test_reasons_may_lie_in_a_folder_by_suite(tmp_path: Path) -> None:
    built = house(tmp_path, students={"boot": STUDENTS["boot"]}, pairs=None)
    built.write("reasons/other.md", "not this")
    built.compare(reasons=tmp_path / "reasons")
    assert "Comments" not in (tmp_path / "out/comparison.md").read_text()
    (tmp_path / "reasons/made.md").write_text("Because.\n")
    built.compare(reasons=tmp_path / "reasons")
    assert "## Comments\n\nBecause.\n\n" in (tmp_path / "out/comparison.md").read_text()


def decoded(page: str, alt: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, data in re.findall(rf'alt="{alt}" src="data:image/png;base64,([^"]*)"', page):
        yield name, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_gallery_shows_the_first_seed_s_images_from_cheap_to_dear(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    page = (folder / "out/comparison.html").read_text()
    shown = list(decoded(page, 'The first 16 samples of ([^"]*)'))
    rows = [row for nfe in (1, 2, 4, 8) for row in made["rows"] if row["nfe"] == nfe and row["plain"]]
    assert [name for name, _ in shown] == [row["method"] for row in rows]
    for row, (_, strip) in zip(rows, shown, strict=True):
        images = pixels(row["folder"], 0, row["sampler"])[:16]
        np.testing.assert_array_equal(strip, np.concatenate(list(images[..., 0]), axis=1))
    assert re.findall(r"<h3>(NFE \d+)</h3>", page) == [f"NFE {nfe}" for nfe in (1, 2, 4, 8)]


def test_the_gallery_rises_in_nfe_and_a_group_in_weight_whatever_comes_first(tmp_path: Path) -> None:
    """The first solver starts at NFE 4, and the weight of one call is greater than one of two calls."""
    teacher = {("ddim-4", 4, None): 3.0, ("heun-1", 2, None): 9.0}
    guided_samplers = {("ddim-4-w1", 4, 1.0): 2.0, ("ddim-4-w0.5", 8, 0.5): 4.0, ("ddim-4-w3", 8, 3.0): 3.0}
    house(tmp_path, teacher=teacher | guided_samplers, students={"boot": STUDENTS["boot"]}).compare()
    page = (tmp_path / "out/comparison.html").read_text()
    assert re.findall(r"<h3>(NFE \d+)</h3>", page) == ["NFE 1", "NFE 2", "NFE 4"]
    assert "teacher ddim, NFE 4 or 8, class 0, w 0.5, 1, 3" in page


def test_a_weight_s_gallery_has_a_row_a_class_and_grows_to_the_right(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    page = (folder / "out/comparison.html").read_text()
    shown = list(decoded(page, '([^"]*, class [0-9]+), w 0.5, 2'))
    sources = {"teacher ddim, NFE 16": ("teacher", "ddim-8"), "guided, NFE 4": ("guided_4", "ddim-4")}
    assert [name for name, _ in shown] == [f"{name}, class {k}" for name in sources for k in range(5)]
    for name, strip in shown:
        source, _, index = name.rpartition(", class ")
        folder_name, base = sources[source]
        images = [pixels(folder_name, 0, f"{base}-w{w}")[int(index), ..., 0] for w in ("0.5", "2")]
        np.testing.assert_array_equal(strip, np.concatenate(images, axis=1))


def test_the_page_is_one_file_and_its_tags_are_balanced(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, made = whole
    page = (folder / "out/comparison.html").read_text()
    assert_nothing_is_fetched(page)
    assert page.count("<details ") == len(made["rows"])
    assert_tags_are_balanced(page)
    house(tmp_path).compare()
    for name in ("comparison.json", "comparison.svg", "guidance.svg"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()


def test_the_drawings_name_every_method_and_stand_alone(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, made = whole
    for name in ("comparison.svg", "guidance.svg"):
        text = (folder / "out" / name).read_text()
        assert not any(colour in text for colour in STAND_INS.values()) and "var(" not in text
        words = {node.text for node in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}
        groups = {"teacher ddim, NFE 16", "guided, NFE 4"}
        plain = {row["method"] for row in made["rows"] if row["plain"]}
        assert words >= ({"FID (in-domain-made)"} | (plain if name == "comparison.svg" else groups))


def test_methods_look_unlike_each_other() -> None:
    names = [*(f"teacher solver{k}" for k in range(5)), *(f"m{k}" for k in range(12))]
    looks = list(styles([Method(method=name, students=[], trained=[], cost=None) for name in names]).values())
    assert len({(look.colour, look.marker) for look in looks}) == len(names)
    assert len({look.colour for look in looks[5:12]}) == 7
    assert not {look.colour for look in looks[:5]} & {look.colour for look in looks[5:]}


@pytest.mark.parametrize("fids", [[0.0, 0.0], [3.0, 9.0], [1e-9, 1e-9]])
def test_fids_that_do_not_suit_a_logarithm_are_no_error(tmp_path: Path, fids: list[float]) -> None:
    boot = Student(starts_from="noise", fids={("one-jump", 1, None): fids})
    built = house(tmp_path, teacher={("ddim-1", 1, None): fids[0]}, students={"boot": boot}, seeds=(0, 1))
    assert comparison_plot(built.table()).startswith("<svg")


def test_a_teacher_of_others_cost_nothing_that_is_known(tmp_path: Path) -> None:
    built = house(tmp_path)
    card = tmp_path / "models/teacher/card.json"
    said = json.loads(card.read_text())
    card.write_text(json.dumps({**said, "images": None, "evaluations": None, "seconds": None, "seed": None}))
    built.compare()
    for name in ("comparison.md", "comparison.html"):
        assert "trained by others, and what that cost is not counted" in (tmp_path / "out" / name).read_text()
