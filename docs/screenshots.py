"""Draws the pictures of pages that README.md and docs/ show, from the results in git: `make screenshots`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.house.browser import Page, browser

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"


def shot(page: Page, name: str, width: int, height: int, scheme: str) -> None:
    """Writes what a window of this size shows."""
    page.look(width, height, scheme=scheme)
    path = PICTURES / f"{name}.png"
    page.picture(path, whole=False)
    Image.open(path).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)


def main() -> None:
    """Opens each page, does what the picture shows, and draws it."""
    PICTURES.mkdir(exist_ok=True)
    with browser() as page:
        page.open(ROOT / "results/digits/report.html")
        shot(page, "report", 1280, 1100, "light")
        page.look(1100, 420)
        page.run("document.querySelector('#trajectories').scrollIntoView()")
        shot(page, "trajectories", 1100, 420, "light")
        page.open(ROOT / "results/digits_conditional/comparison.html")
        page.look(1440, 640, scheme="dark")
        page.run("document.querySelector('#methods').scrollIntoView()")
        page.run("document.querySelectorAll('table')[0].tHead.rows[0].cells[1].querySelector('button').click()")
        shot(page, "comparison", 1440, 640, "dark")


if __name__ == "__main__":
    main()
