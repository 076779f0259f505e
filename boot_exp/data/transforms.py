"""Transforms, which are applied to every image once, before training; the card records their repr."""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from PIL import Image

from boot_exp.config.components import Count, Natural, component
from evals.ground.faults import DataFault


class Transform(Protocol):
    """A pure function of one image; its repr describes it."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, C] -> uint8 [H', W', C]. DataFault: it cannot be applied to this image."""


@component
class Pad:
    """Adds a border of `pixels` pixels of one value in 0..255 on all four sides."""

    pixels: Natural
    value: Annotated[int, Interval(ge=0, le=255)] = 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.pad(image, [(self.pixels,) * 2, (self.pixels,) * 2, (0, 0)], constant_values=self.value)


@component
class AverageDown:
    """Averages every block of `factor` x `factor` pixels, rounded to the nearest integer, halves up."""

    factor: Count

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width, channels = image.shape
        if height % self.factor or width % self.factor:
            raise DataFault(
                f"AverageDown needs a height and width that {self.factor} divides, got {height}x{width}; Pad first"
            )
        blocks = image.reshape(height // self.factor, self.factor, width // self.factor, self.factor, channels)
        area = self.factor**2
        sums: NDArray[np.int64] = blocks.sum(axis=(1, 3), dtype=np.int64)
        return ((2 * sums + area) // (2 * area)).astype(np.uint8)


@component
class CentreCropResize:
    """Resizes to a square of `size` pixels as ADM does: box halvings while twice too large, bicubic, then the centre.

    Source: OpenAI's guided-diffusion (arXiv 2105.05233), image_datasets.center_crop_arr, pixel for pixel; EDM's
    center-crop-dhariwal is the same. Smaller images are enlarged.
    """

    size: Count

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        while min(picture.size) >= 2 * self.size:
            picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
        scale = self.size / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).reshape(size[1], size[0], -1)
        top, left = (size[1] - self.size) // 2, (size[0] - self.size) // 2
        return pixels[top : top + self.size, left : left + self.size]
