"""Transforms against closed forms and against torchvision, torch and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from boot_exp.data import AverageDown, CentreCropResize, Pad, Transform
from evals.ground.faults import DataFault
from tests.house.made_data import noise


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize(
    "transform", [Pad(pixels=0), AverageDown(factor=3), CentreCropResize(size=4), CentreCropResize(size=20)], ids=repr
)
def test_a_constant_image_stays_that_constant(transform: Transform, value: int, channels: int) -> None:
    out = transform(np.full((12, 15, channels), value, np.uint8))
    assert out.dtype == np.uint8 and out.shape[2] == channels
    assert np.all(out == value)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (Pad(pixels=2), "Pad(pixels=2, value=0)"),
        (AverageDown(factor=2), "AverageDown(factor=2)"),
        (CentreCropResize(size=64), "CentreCropResize(size=64)"),
    ],
)
def test_the_repr_is_the_recipe(transform: Transform, text: str) -> None:
    assert repr(transform) == text


def test_pad_frames_and_keeps_the_inside() -> None:
    image = noise(1, 5, 4, 3)[0]
    out = Pad(pixels=2, value=9)(image)
    np.testing.assert_array_equal(out[2:-2, 2:-2], image)
    out[2:-2, 2:-2] = 9
    assert out.shape == (9, 8, 3) and np.all(out == 9)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_average_down_is_the_mean_rounded_half_up(factor: int) -> None:
    image = noise(1, 24, 12, 3)[0]
    planes = torch.from_numpy(image).permute(2, 0, 1).double()
    mean = torch.nn.functional.avg_pool2d(planes, factor).permute(1, 2, 0)
    np.testing.assert_array_equal(AverageDown(factor=factor)(image), (mean + 0.5).floor().numpy())
    assert AverageDown(factor=2)(np.array([[[0], [1]], [[1], [0]]], np.uint8)).item() == 1


def test_fashion_mnist_to_16() -> None:
    image = AverageDown(factor=2)(Pad(pixels=2)(noise(1, 28, 28, 1)[0]))
    assert image.shape == (16, 16, 1) and np.all(image[0] == 0)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 60), (63, 63), (90, 60), (20, 30), (10, 10)])
def test_centre_crop_below_twice_the_size_is_torchvisions(height: int, width: int) -> None:
    from torchvision.transforms.functional import InterpolationMode, center_crop, resize

    image = noise(1, height, width, 3)[0]
    size = 32 if min(height, width) < 64 else 30
    theirs = resize(Image.fromarray(image), size, InterpolationMode.BICUBIC)
    theirs = np.asarray(center_crop(theirs, [size, size]))
    ours = CentreCropResize(size=size)(image)
    long = round(max(height, width) * size / min(height, width))
    # An odd rest is split in two ways: torchvision rounds half of it to even, ADM down.
    if (long - size) % 2 == 0:
        np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (size, size, 3)


def _half(image: np.ndarray) -> np.ndarray:
    """Pillow's box filter by two: along the rows, then along the columns, rounding half up each time."""
    wide = image.astype(int)
    rows = (wide[:, 0::2] + wide[:, 1::2] + 1) // 2
    return (rows[0::2] + rows[1::2] + 1) // 2


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_centre_crop_of_a_power_of_two_is_repeated_halving(halvings: int, channels: int) -> None:
    image = noise(1, 8 * 2**halvings, 8 * 2**halvings, channels)[0]
    expected = image
    for _ in range(halvings):
        expected = _half(expected)
    np.testing.assert_array_equal(CentreCropResize(size=8)(image), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 11), (8, 12), (13, 8)])
def test_centre_crop_of_the_right_height_only_cuts(height: int, width: int) -> None:
    image = noise(1, height, width, 3)[0]
    top, left = (height - 8) // 2, (width - 8) // 2
    np.testing.assert_array_equal(CentreCropResize(size=8)(image), image[top : top + 8, left : left + 8])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pad(pixels=-1),
        lambda: Pad(pixels=1, value=256),
        lambda: AverageDown(factor=0),
        lambda: CentreCropResize(size=0),
    ],
)
def test_bad_arguments(make) -> None:
    with pytest.raises(ValueError, match=r"must (be|lie) .*, got ") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_average_down_refuses_what_it_cannot_divide() -> None:
    with pytest.raises(DataFault, match="that 3 divides, got 28x28"):
        AverageDown(factor=3)(noise(1, 28, 28, 1)[0])
