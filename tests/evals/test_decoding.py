"""Whatever mode a file has: the right values in 8 bits, or a refusal that says how to convert."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from evals.ground.faults import DataFault
from evals.images import decoding
from evals.images.decoding import decode
from evals.images.reading import Images, open_images

DRAW = np.random.default_rng(0)
GRAY = DRAW.integers(0, 256, (4, 6), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (4, 6, 3), dtype=np.uint8)
ALPHA = DRAW.integers(0, 256, (4, 6), dtype=np.uint8)
ALPHA[0, :2] = 0, 255
DEEP = DRAW.integers(0, 2**16, (4, 6), dtype=np.uint16)
DEEP[0, :4] = 0, 65535, 128, 129
SCALED = np.rint(DEEP / 257).astype(np.uint8)
L, RGB = Image.fromarray(GRAY), Image.fromarray(COLOUR)
LA = Image.merge("LA", [L, Image.fromarray(ALPHA)])
RGBA = Image.fromarray(np.dstack([COLOUR, ALPHA]))
PALETTE = RGB.quantize(16)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def png(depth: int, colour: int, width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels(data: bytes, rgb: bool = True) -> Images:
    return decode("a", lambda: data, rgb=rgb).pixels


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def repeated(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


ONE = L.convert("1")
KEYED = on_white(COLOUR, np.where((COLOUR[1, 1] == COLOUR).all(axis=2), 0, 255))
RIGHT = {
    "1": (file(ONE), repeated(np.where(np.asarray(ONE), 255, 0))),
    "1 in a TIFF": (file(ONE, "TIFF"), repeated(np.where(np.asarray(ONE), 255, 0))),
    "L": (file(L), repeated(GRAY)),
    "L of a GIF": (file(L, "GIF"), repeated(GRAY)),
    "RGB": (file(RGB), COLOUR),
    "RGBX": (file(RGB.convert("RGBX"), "TIFF"), COLOUR),
    "P": (file(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "P of a BMP": (file(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    "LA": (file(LA), on_white(repeated(GRAY), ALPHA)),
    "RGBA": (file(RGBA), on_white(COLOUR, ALPHA)),
    "RGBA of a WebP": (file(RGBA, "WEBP", lossless=True, exact=True), on_white(COLOUR, ALPHA)),
    "RGBA of a TIFF": (file(RGBA, "TIFF"), on_white(COLOUR, ALPHA)),
    "P with a transparent colour": (
        file(PALETTE, transparency=3),
        on_white(np.asarray(PALETTE.convert("RGB")), np.where(np.asarray(PALETTE) == 3, 0, 255)),
    ),
    "P with an alpha for each colour": (
        file(PALETTE, transparency=bytes(range(0, 160, 10))),
        on_white(np.asarray(PALETTE.convert("RGB")), np.asarray(PALETTE) * 10),
    ),
    "RGB with a transparent colour": (file(RGB, transparency=tuple(map(int, COLOUR[1, 1]))), KEYED),
    "L with a transparent gray": (
        file(L, transparency=int(GRAY[1, 1])),
        on_white(repeated(GRAY), np.where(GRAY[1, 1] == GRAY, 0, 255)),
    ),
    "CMYK": (file(RGB.convert("CMYK"), "TIFF"), COLOUR),
    "I;16": (file(Image.fromarray(DEEP)), repeated(SCALED)),
    "I;16 of a TIFF": (file(Image.fromarray(DEEP), "TIFF"), repeated(SCALED)),
    "I;16 of a packed TIFF": (file(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"), repeated(SCALED)),
    "I;16 of a PGM": (file(Image.fromarray(DEEP), "PPM"), repeated(SCALED)),
    "I;16B": (
        file(Image.frombytes("I;16B", (6, 4), DEEP.astype(">u2").tobytes()), "TIFF"),
        repeated(SCALED),
    ),
    "gray of 2 bits": (png(2, 0, 4, 1, b"\0\x1b"), repeated(np.array([[0, 85, 170, 255]], np.uint8))),
}


@pytest.mark.parametrize(("data", "right"), RIGHT.values(), ids=RIGHT)
def test_every_mode_becomes_rgb_by_its_right_values(data: bytes, right: np.ndarray) -> None:
    np.testing.assert_array_equal(pixels(data), right)


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (file(L), GRAY),
        (file(RGB), COLOUR),
        (file(ONE), np.where(np.asarray(ONE), 255, 0)),
        *[(RIGHT["I;16"][0], SCALED)],
        (file(RGB.convert("RGBA")), COLOUR),
        (file(L.convert("LA")), GRAY),
    ],
    ids=["L", "RGB", "1", "I;16", "opaque RGBA", "opaque LA"],
)
def test_gray_stays_gray_and_rgb_rgb(data: bytes, right: np.ndarray) -> None:
    np.testing.assert_array_equal(pixels(data, rgb=False), right.reshape(4, 6, -1))


def deep(colour: int, channels: int) -> bytes:
    values = DRAW.integers(0, 2**16, (4, 6 * channels)).astype(">u2")
    return png(16, colour, 6, 4, b"".join(b"\0" + row.tobytes() for row in values))


def patched(data: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    return data


def tag(number: int, value: int) -> bytes:
    return struct.pack("<HHIHH", number, 3, 1, value, 0)


LAB = ImageCms.profileToProfile(RGB, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
assert LAB is not None
REFUSED = {
    "16 bits with white at 0": (
        patched(file(Image.fromarray(DEEP), "TIFF"), (tag(262, 1), tag(262, 0))),
        True,
        "mode I;16 .*black at 0",
    ),
    "numbers with a sign": (file(L, "TIFF", tiffinfo={339: 2}), True, "mode L .*numbers with a sign"),
    "RGB of 16 bits in planes": (
        patched(
            file(RGB, "TIFF"), (struct.pack("<3H", 8, 8, 8), struct.pack("<3H", 16, 16, 16)), (tag(284, 1), tag(284, 2))
        ),
        True,
        "of more than 8 bits a channel",
    ),
    "I;16 with a transparent gray": (
        file(Image.fromarray(DEEP), transparency=7),
        True,
        "I;16 with transparency .*v / 257",
    ),
    "float": (file(Image.fromarray(GRAY.astype(np.float32) / 255), "TIFF"), True, "mode F .*scale them to 0..255"),
    "int32": (file(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), True, "mode I .*scale them to 0..255"),
    "LAB": (file(LAB, "TIFF"), True, "mode LAB .*ImageCms"),
    "RGB of 16 bits": (deep(2, 3), True, "of more than 8 bits a channel .*v / 257"),
    "RGBA of 16 bits": (deep(6, 4), True, "of more than 8 bits a channel .*v / 257"),
    "LA of 16 bits": (deep(4, 2), True, "of more than 8 bits a channel .*v / 257"),
    "RGBA": (file(RGBA), False, "mode RGBA with transparency .*lay them on a background"),
    "LA": (file(LA), False, "mode LA with transparency .*lay them on a background"),
    "RGB with a transparent colour": (RIGHT["RGB with a transparent colour"][0], False, "RGB with transparency"),
    "P": (file(PALETTE), False, r"mode P .*convert\('RGB'\)"),
    "CMYK": (file(RGB.convert("CMYK"), "JPEG"), False, r"mode CMYK .*convert\('RGB'\)"),
    "EPS, which a program would draw": (file(RGB, "EPS"), True, "of no kind that is known"),
    "a bomb of 2^31 pixels": (png(8, 0, 2**31 - 1, 1, b""), True, "2147483647 pixels"),
    "pixels that the file cannot hold": (png(8, 0, 5000, 5000, b""), True, "5000x5000 pixels in 65 bytes"),
}


@pytest.mark.parametrize(("data", "rgb", "says"), REFUSED.values(), ids=REFUSED)
def test_an_image_without_a_unique_8_bit_value_is_refused_with_its_cure(data: bytes, rgb: bool, says: str) -> None:
    with pytest.raises(DataFault, match=says) as caught:
        pixels(data, rgb)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_turned_upright(kind: str, orientation: int) -> None:
    ramp = np.add.outer(np.arange(0, 160, 10), np.arange(0, 96, 4)).astype(np.uint8)
    upright = {
        1: ramp,
        2: ramp[:, ::-1],
        3: ramp[::-1, ::-1],
        4: ramp[::-1],
        5: ramp.T,
        6: ramp[::-1].T,
        7: ramp[::-1, ::-1].T,
        8: ramp[:, ::-1].T,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    picture = decode("a", lambda: file(Image.fromarray(ramp).convert("RGB"), kind, exif=exif, **options))
    np.testing.assert_allclose(picture.pixels, repeated(upright), atol=2)
    assert (decoding.TURNED in picture.notes) == (orientation > 1)


FRAMES = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1])]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("data", "note"),
    [
        *(
            (file(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]), decoding.FRAMES)
            for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO")
        ),
        (file(RGB, icc_profile=PROFILE), decoding.PROFILE),
        (file(RGB.convert("CMYK"), "JPEG"), decoding.CMYK),
        (file(RGBA), decoding.COMPOSED),
        (file(RGB.convert("RGBA")), decoding.OPAQUE),
        (file(Image.fromarray(DEEP)), decoding.SCALED),
        (b"P6 1 1 65535\n" + bytes(6), decoding.SCALED),
    ],
    ids=["GIF", "APNG", "WebP", "TIFF", "MPO", "profile", "CMYK", "alpha", "opaque", "16 bits", "PPM of 16 bits"],
)
def test_what_was_done_to_an_image_is_said(data: bytes, note: str) -> None:
    assert decode("a", lambda: data, rgb=True).notes == (note,)


@pytest.mark.parametrize("greatest", [1, 100, 255])
def test_a_ppm_of_8_bits_is_scaled_by_its_greatest_value(greatest: int) -> None:
    picture = decode("a", lambda: b"P6 1 1 %d\n" % greatest + bytes([0, greatest, 0]))
    assert picture.pixels.ravel().tolist() == [0, 255, 0] and picture.notes == ()


def test_a_set_counts_what_was_done_and_left_out_anew_at_every_pass(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for index in range(5):
        (tmp_path / f"{index}.png").write_bytes(file(RGB, exif=exif if index < 2 else None))
    (tmp_path / "notes.txt").write_text("none of them")
    opened = open_images(tmp_path)
    for _ in range(2):
        assert len(list(opened.batches(2))) == 3
        assert opened.notes == {decoding.TURNED: 2, "files that are no images (.txt), left out": 1}
