"""Pages of the documentation: links lead somewhere, quoted lines are in the code, the site has every page."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
QUOTED = re.findall(r"^\|.*\| `(.+)` \| \[\w+\.py\]\(\.\./(.+)\) \|$", (ROOT / "docs/concepts.md").read_text(), re.M)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and myst make them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_to_a_heading_that_is_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize(("line", "file"), QUOTED)
def test_a_quoted_line_is_in_its_file(line: str, file: str) -> None:
    assert line in [code.strip() for code in (ROOT / file).read_text().splitlines()]


def test_the_site_lists_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    listed = {
        name
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
        for name in block.split("\n\n")[1].split()
    }
    here = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert listed == here | {"../README", "../CONTRIBUTING", "../CHANGELOG", "_reference/index"}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None or find_spec("myst_parser") is None, reason="the extra docs is missing")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    def sphinx(builder: str, *more: str) -> None:
        command = ["-m", "sphinx", "-b", builder, "-d", str(tmp_path / "read"), "-c", "docs", "--keep-going", "-q"]
        command = [sys.executable, *command, *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    sphinx(
        "dummy", "-W", ".", str(tmp_path / "none")
    )  # resolves all references and writes nothing, in a fifth of the time
    sphinx("html", ".", str(tmp_path / "site"), "docs/index.md", "docs/_reference/boot_exp.methods.boot.md")
    home = (tmp_path / "site/docs/index.html").read_text()
    assert "Quick start" in home and not re.search(r'(src|href)="https?://[^"]*\.(js|css)', home), "it needs no network"
    assert "Interval" in (tmp_path / "site/docs/_reference/boot_exp.methods.boot.html").read_text()
