"""The picture of a leaderboard: samples that grew from the same noise, as one PNG with a label beside each row."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evals.pages.gallery import Strip
from evals.tables.row import Row

SHOWN = (1, 2, 4, 8, 50)
"""Network evaluations of the teacher's DDIM that the picture shows."""
LEAST, GAP, TEXT = 40, 6, 15
"""Pixels of a row's height, at least (images are enlarged by a whole number), between rows, and of the text."""


def pictured(rows: Sequence[Row]) -> list[Row]:
    """Selects the teacher's DDIM rows with SHOWN evaluations, fewest first, then the students' rows with one."""
    teacher = [row for row in rows if row.method == "teacher" and row.sampler.startswith("ddim-") and row.nfe in SHOWN]
    return [*sorted(teacher, key=lambda row: row.nfe), *(r for r in rows if r.method != "teacher" and r.nfe == 1)]


def picture(strips: Sequence[Strip]) -> bytes:
    """Draws strips below one another; the same strips give the same bytes with one version of Pillow."""
    font = ImageFont.load_default(TEXT)
    labels = [f"{strip.shown.title}   {strip.shown.note}" for strip in strips]
    left = int(max(font.getlength(label) for label in labels)) + 2 * GAP
    scale = max(1, -(-LEAST // strips[0].pixels.shape[0]))
    enlarged = [strip.pixels.repeat(scale, axis=0).repeat(scale, axis=1) for strip in strips]
    height, width = enlarged[0].shape[:2]
    canvas = Image.new("RGB", (left + width + GAP, len(strips) * (height + GAP) + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (label, pixels) in enumerate(zip(labels, enlarged, strict=True)):
        top = GAP + number * (height + GAP)
        pen.text((GAP, top + height // 2), label, fill="black", font=font, anchor="lm")
        canvas.paste(Image.fromarray(np.broadcast_to(pixels, (height, width, 3))), (left, top))
    png = io.BytesIO()
    canvas.save(png, "PNG", optimize=True)
    return png.getvalue()
