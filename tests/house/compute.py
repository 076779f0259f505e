"""What tests of the compute share with others."""

from collections.abc import Callable
from typing import Any

from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.song import SongUNet
from boot_exp.diffusion.nets.unet import UNet

SONG: dict[str, Any] = {
    "image_channels": 1,
    "channels": 32,
    "multipliers": [1, 2],
    "blocks": 1,
    "attention": [False, True],
    "classes": 3,
}


NETS: dict[str, Callable[[], UNet | SongUNet]] = {
    "unet": lambda: UNet(
        image_channels=1,
        channels=32,
        multipliers=[1, 2],
        blocks=1,
        attention=[False, True],
        time=Sinusoidal(dimensions=32),
        classes=3,
    ),
    "ddpm++": lambda: SongUNet(**SONG),
    "ncsn++": lambda: SongUNet(**SONG, taps=(1, 3, 3, 1), fourier=True, residual_encoder=True),
}
