"""Pictures for pages: samples that grew from the same noise, as one PNG with a label beside each row."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evals.images.reading import Images
from evals.pages.gallery import Strip
from evals.tables.row import Row

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SHOWN = (1, 2, 4, 8, 50)
"""Network evaluations of the teacher's DDIM that the picture shows."""
LEAST, MOST, GAP, TEXT = 40, 192, 6, 15
"""Pixels of an image's height, at least (it is enlarged by a whole number) and at most; of gaps; and of the text."""
CAPTIONED = 128
"""Pixels of the height, at least, of images with a caption."""


def pictured(rows: Sequence[Row]) -> list[Row]:
    """Selects the teacher's DDIM rows with SHOWN evaluations, fewest first, then the students' rows with one."""
    teacher = [row for row in rows if row.method == "teacher" and row.sampler.startswith("ddim-") and row.nfe in SHOWN]
    return [*sorted(teacher, key=lambda row: row.nfe), *(r for r in rows if r.method != "teacher" and r.nfe == 1)]


def picture(strips: Sequence[Strip], captions: Sequence[str] = ()) -> bytes:
    """Draws strips below one another; the same strips give the same bytes with one version of Pillow.

    captions: a text under each column.
    """
    font = ImageFont.load_default(TEXT)
    labels = [f"{strip.shown.title}   {strip.shown.note}" for strip in strips]
    left = int(max(font.getlength(label) for label in labels)) + 2 * GAP
    images = [sized(strip.pixels, CAPTIONED if captions else LEAST) for strip in strips]
    width, height = images[0].size
    column = width // max(1, len(captions))
    # Pillow's own font has ASCII alone; prompts are in any language.
    words = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), TEXT - 3)
    below = [_wrapped(text, words, column - GAP) for text in captions]
    bottom = GAP + len(strips) * (height + GAP)
    size = (left + width + GAP, bottom + max((text.count("\n") + 1 for text in below), default=0) * (TEXT + GAP))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for number, (label, image) in enumerate(zip(labels, images, strict=True)):
        top = GAP + number * (height + GAP)
        pen.text((GAP, top + height // 2), label, fill="black", font=font, anchor="lm")
        canvas.paste(image, (left, top))
    for number, text in enumerate(below):
        pen.text((left + number * column, bottom), text, fill="black", font=words, spacing=GAP)
    png = io.BytesIO()
    canvas.save(png, "PNG", optimize=True)
    return png.getvalue()


def sized(pixels: Images, least: int) -> Image.Image:
    """Returns a strip, uint8 [H, W, C], enlarged by a whole number to `least` pixels of height, or reduced to MOST."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3))))
    if height > MOST:
        return image.resize((width * MOST // height, MOST), Image.Resampling.BOX)
    scale = max(1, -(-least // height))
    return image.resize((width * scale, height * scale), Image.Resampling.NEAREST)


def _wrapped(text: str, font: Font, width: int) -> str:
    """Breaks a text into lines of at most `width` pixels, at spaces where there are some."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= width)
            lines, word = [*lines, word[:fits]], word[fits:]
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width else [*lines, word]
    return "\n".join(line for line in lines if line)
