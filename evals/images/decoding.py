"""Decodes an image file of any mode to 8-bit gray or RGB; refuses it with a cure if there is no correct value."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from evals.ground.faults import DataFault, first_line

Images = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "WEBP", "TIFF", "PPM", "GIF", "JPEG2000", "AVIF", "HEIF")
"""The only decoders that a file is given to, whatever its name: Pillow's others may start programs (EPS, WMF)."""
SMALL, PER_BYTE = 2**24, 1024
"""An image of more pixels than SMALL must have a file that is no emptier than PER_BYTE pixels a byte."""
ORIENTATION = 0x0112
BITS, PHOTOMETRIC, SAMPLE_FORMAT, SIGNED = 258, 262, 339, 2
"""Tags of a TIFF: bits of each channel; 1 where black is 0; how numbers are stored, 2 if they have a sign."""

TURNED = "images turned upright, as their EXIF orientation says"
SCALED = "images of 16 bits made 8: v / 257, rounded"
COMPOSED = "images with transparency laid on white"
OPAQUE = "images with an alpha channel that hides nothing, which was left out"
FRAMES = "files of several frames, of which the first was taken"
PROFILE = "images with a colour profile (ICC), which was not applied"
CMYK = "images in CMYK made RGB without a profile"
UNREAD_EXIF = "images whose EXIF data cannot be read"

CURES = {
    "F": "floats have no stated range: scale them to 0..255, round, and save them as 8 bits",
    "I": "32-bit integers have no stated range: scale them to 0..255, round, and save them as 8 bits",
    "P": "convert('RGB') or convert('L') and save them, or read them with rgb (in gin ImageFiles.rgb = True)",
    "LAB": "convert them first, with PIL.ImageCms.profileToProfile to sRGB",
    "deep": "Pillow keeps 8 of more bits a channel: scale them to 8 bits (v / 257, rounded) and save them first",
    "12": "12 bits in 16, numbers with a sign, or white at 0 in 16 bits: convert them to 8 bits with black at 0 first",
    "deep alpha": "lay them on a background and scale them to 8 bits (v / 257, rounded) first",
    "alpha": "lay them on a background and convert them first, or read them with rgb (in gin ImageFiles.rgb = True), "
    "which lays them on white",
    "": "convert('RGB') and save them, or read them with rgb (in gin ImageFiles.rgb = True)",
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """uint8 [H, W, 1 or 3], and the conversions that were applied, as sentences above."""

    pixels: Images
    notes: tuple[str, ...] = ()


@cache
def formats() -> list[str]:
    """Returns those of FORMATS that this Pillow has; loads all decoders, which threads must not do at once."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def decode(name: str, read: Callable[[], bytes], *, rgb: bool = False) -> Picture:
    """Decodes an image from a file's bytes, upright. Gray (1, L, 16 bits) and RGB stay; rgb: all modes become RGB.

    DataFault: it cannot be read, or its mode has no unique value in 8 bits.
    """
    try:
        data = read()
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            _check_claim(name, image, len(data))
            return _picture(name, image, data, rgb)
    except DataFault:
        raise
    except UnidentifiedImageError:
        raise DataFault(
            f"an image must be readable, got {name}, which is of no kind that is known; convert, replace or delete it"
        ) from None
    except Exception as error:  # Pillow's decoders and zipfile raise a dozen unrelated types of exceptions
        raise DataFault(
            f"an image must be readable, got {name} ({type(error).__name__}: {first_line(error)}); replace or delete it"
        ) from error


def _check_claim(name: str, image: Image.Image, size: int) -> None:
    pixels = image.width * image.height
    if pixels > max(SMALL, PER_BYTE * size):
        raise DataFault(
            f"an image must have a file that can hold it, got {name}, {image.width}x{image.height} pixels in "
            f"{size:,} bytes; replace or delete it"
        )


def _picture(name: str, image: Image.Image, data: bytes, rgb: bool) -> Picture:
    notes = [FRAMES] if getattr(image, "is_animated", False) else []
    if image.info.get("icc_profile"):
        notes.append(PROFILE)
    if _scaled_by_pillow(image):
        notes.append(SCALED)
    raw = _rawmode(image)
    tags = getattr(image, "tag_v2", {})  # of a TIFF, whose planes Pillow always reads as 8 bits
    wide = ";16" in raw or max(tags.get(BITS, (8,)), default=8) > 8
    deep = (wide and not image.mode.startswith(("I", "F"))) or _deep_jpeg2000(data)
    white_is_zero = image.mode.startswith("I;16") and tags.get(PHOTOMETRIC, 1) != 1
    odd = ";12" in raw or white_is_zero or (SIGNED in tags.get(SAMPLE_FORMAT, ()) and image.mode != "I")
    if deep or odd:
        raise _refused(image.mode, name, "deep" if deep else "12")
    image, turned = _upright(image)
    notes += turned
    mode = image.mode
    if mode == "I" and image.format in ("PNG", "PPM"):
        mode = "I;16"  # which some versions of Pillow read as the wider mode
    if mode in ("F", "I", "LAB"):
        raise _refused(mode, name, mode)
    if image.has_transparency_data:
        return _without_alpha(name, image, rgb, notes)
    if mode.startswith("I;16"):
        notes.append(SCALED)
        pixels = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return Picture(pixels=_shaped(pixels, rgb), notes=tuple(notes))
    if mode == "1":
        image = image.convert("L")
    elif rgb:
        notes += [CMYK] if mode == "CMYK" else []
        image = image.convert("RGB")
    if image.mode not in ("L", "RGB"):
        raise _refused(mode, name, mode if mode in CURES else "")
    return Picture(pixels=_shaped(np.array(image), rgb), notes=tuple(notes))


def _scaled_by_pillow(image: Image.Image) -> bool:
    """Whether it is a PPM in colour of more than 8 bits, which Pillow scales to 8 by its greatest value, rightly."""
    args: Any = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return image.format == "PPM" and image.mode == "RGB" and isinstance(args, tuple) and args[1:2] > (255,)


def _rawmode(image: Image.Image) -> str:
    """Returns the stored pixel format, which Pillow's mode hides if Pillow has no such mode."""
    args: Any = image.tile[0][3] if getattr(image, "tile", None) else ""  # type: ignore[attr-defined]
    return str(args[0] if isinstance(args, tuple) and args else args)


def _deep_jpeg2000(data: bytes) -> bool:
    """Returns whether a file is a colour JPEG 2000 with more than 8 bits a channel, by its SIZ marker."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 2**16)
    if start < 0 or not (start == 0 or data[4:8] == b"jP  ") or len(data) < start + 45:
        return False
    components, precision = struct.unpack_from(">HB", data, start + 40)
    return bool(components > 1 and precision % 128 + 1 > 8)


def _upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Returns the image turned by its EXIF orientation (Pillow turns a TIFF itself while loading), and notes on it."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the EXIF data may be damaged while the pixels are valid
        image.load()
        return image, [UNREAD_EXIF]
    image.load()
    if orientation not in range(2, 9):
        return image, []
    turned = ImageOps.exif_transpose(image)
    turned.format = image.format
    return turned, [TURNED]


def _without_alpha(name: str, image: Image.Image, rgb: bool, notes: list[str]) -> Picture:
    if image.mode.startswith("I"):
        raise _refused(image.mode, name, "deep alpha")
    gray = image.mode in ("1", "L", "LA", "La")
    rgba = np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGBA")).astype(np.uint32)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if not rgb and (alpha.min(initial=255) < 255 or image.mode in ("P", "PA")):
        raise _refused(image.mode, name, "P" if image.mode in ("P", "PA") else "alpha")
    notes = [*notes, COMPOSED if alpha.min(initial=255) < 255 else OPAQUE]
    pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return Picture(pixels=_shaped(pixels[..., 0] if gray else pixels, rgb), notes=tuple(notes))


def _shaped(pixels: Images, rgb: bool) -> Images:
    """[H, W] or [H, W, 3] -> [H, W, 1 or 3]; rgb: always 3."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.repeat(pixels, 3, axis=2) if rgb and pixels.shape[2] == 1 else pixels


def _refused(mode: str, name: str, why: str) -> DataFault:
    kinds = {"deep": "of more than 8 bits a channel", "alpha": "with transparency", "deep alpha": "with transparency"}
    kind = f"{mode} {kinds[why]}" if why in kinds else mode
    return DataFault(f"images must be gray (L) or RGB, got mode {kind} ({name}); {CURES[why]}")
