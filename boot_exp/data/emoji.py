"""Emoji with their names: Unicode's list of them, drawn with a colour font; Debian has both as packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from boot_exp.config.components import Count, component
from boot_exp.data.dataset import Example
from evals.ground.extras import extras
from evals.ground.faults import DataFault, MissingResource, reading
from evals.ground.files import sha256_of

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

CURE = "run: apt-get install fonts-noto-color-emoji unicode-data; or bind the paths of both files"
AGAIN = "take the file of Debian's package, or of unicode.org"
LINE = re.compile(r"(?P<codes>[0-9A-F ]+?) *; fully-qualified +# \S+ E\d+\.\d+ (?P<name>.+)")
STRIKE = 109
"""The only size, in pixels, that the font has pictures of."""
CANVAS = 160
"""Pixels of the side of a white square that holds any picture of that size."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """One emoji of the list: its characters, its name, and the number of its subgroup in the order of the list."""

    text: str
    name: str
    subgroup: int


@component
class Emoji:
    """Emoji on white, RGB of side x side, each with its name as caption and its subgroup as class.

    skin_tones: whether the variants with skin tones are read too. names: Unicode's emoji-test.txt; font: a font with
    colour pictures. The defaults are where Debian's packages put them.
    """

    side: Count = 16
    skin_tones: bool = False
    names: str = "/usr/share/unicode/emoji/emoji-test.txt"
    font: str = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"

    name: ClassVar[str] = "emoji"
    split: ClassVar[str] = "all"

    @property
    def sources(self) -> Mapping[str, str]:
        """Returns the SHA-256 of the two files, by their names. MissingResource: one is not there."""
        return {path.name: sha256_of(path) for path in (_found(self.names), _found(self.font))}

    def captions(self) -> list[str]:
        """Returns the name of each emoji, in the order of the examples."""
        return [one.name for one in self.listed()]

    def examples(self) -> Iterator[Example]:
        """Draws every emoji. MissingResource: a file or Pillow's raqm is not there; DataFault: a file is damaged."""
        listed, font = self.listed(), _opened(_found(self.font))
        for one in listed:
            yield Example(name=one.name, image=_drawn(one.text, font, self.side), label=one.subgroup)

    def listed(self) -> Sequence[Named]:
        """Reads the list. MissingResource: it is not there; DataFault: it holds none, or a name twice."""
        path = _found(self.names)
        with reading(path, "must be Unicode's emoji-test.txt, in UTF-8", AGAIN):
            lines = path.read_text(encoding="utf-8").splitlines()
        found: list[Named] = []
        subgroups: dict[str, int] = {}
        subgroup = ""
        for line in lines:
            subgroup = line.removeprefix("# subgroup: ") if line.startswith("# subgroup: ") else subgroup
            match = LINE.fullmatch(line)
            if match is None or ("skin tone" in match["name"] and not self.skin_tones):
                continue
            text = "".join(chr(int(code, 16)) for code in match["codes"].split())
            number = subgroups.setdefault(subgroup, len(subgroups))
            found.append(Named(text=text, name=match["name"], subgroup=number))
        if not found:
            raise DataFault(f"{path} must list emoji that are fully qualified, got none; {AGAIN}")
        if len({one.name for one in found}) < len(found):
            raise DataFault(f"{path} must give each emoji a name of its own, got one twice; {AGAIN}")
        return found


def _found(path: str) -> Path:
    """MissingResource: a file is not there."""
    if not Path(path).is_file():
        raise MissingResource(f"emoji are drawn from {path}, which is not there; {CURE}")
    return Path(path)


def _opened(path: Path) -> FreeTypeFont:
    """Opens a font of colour pictures. MissingResource: Pillow lacks raqm, which joins the characters of an emoji."""
    with extras():
        from PIL import ImageFont, features

    if not features.check("raqm"):
        raise MissingResource(
            "emoji of several characters are joined by raqm, which this Pillow lacks; run: pip install "
            "--force-reinstall pillow (its wheels have it), or apt-get install libraqm0"
        )
    with reading(path, f"must be a font with colour pictures of {STRIKE} pixels", CURE):
        return ImageFont.truetype(str(path), STRIKE, layout_engine=ImageFont.Layout.RAQM)


def _drawn(text: str, font: FreeTypeFont, side: int) -> NDArray[np.uint8]:
    """Draws one emoji in the middle of a white square and averages it down: uint8 [side, side, 3]."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    pen = ImageDraw.Draw(canvas)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font, embedded_color=True)
    size = max(right - left, bottom - top)
    middle = ((CANVAS - right - left) / 2, (CANVAS - bottom - top) / 2)
    pen.text(middle, text, font=font, embedded_color=True)
    margin = max(0, (CANVAS - max(size, 136)) // 2)
    square = canvas.crop((margin, margin, CANVAS - margin, CANVAS - margin))
    return np.asarray(square.resize((side, side), Image.Resampling.BOX), np.uint8)
