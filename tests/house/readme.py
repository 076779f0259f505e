"""The Python block of the README, and the network that it distils here."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

README = Path(__file__).parent.parent.parent / "README.md"


class Tiny(nn.Module):
    """A network (x_t, t, label, w) -> v: a convolution that is told the time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None, w: Tensor | None) -> Tensor:
        output: Tensor = self.conv(torch.cat([x_t, t.view(-1, 1, 1, 1).expand_as(x_t)], 1))
        return output


def readme_block() -> str:
    found = re.search(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
    assert found is not None, "README.md must have a block of Python"
    return found.group(1)
