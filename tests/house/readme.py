"""The Python of README and docs, the network that the README distils here, and pages as notebooks.

`python -m tests.house.readme` writes docs/library.ipynb from docs/library.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
LIBRARY = ROOT / "docs/library.md"
NOTEBOOK = LIBRARY.with_suffix(".ipynb")


class Tiny(nn.Module):
    """A network (x_t, t, label, w) -> v: a convolution that is told the time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None, w: Tensor | None) -> Tensor:
        output: Tensor = self.conv(torch.cat([x_t, t.view(-1, 1, 1, 1).expand_as(x_t)], 1))
        return output


def python_blocks(page: Path) -> list[str]:
    """The blocks of Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


def readme_block() -> str:
    [block] = python_blocks(README)
    return block


def notebook(page: Path) -> dict[str, Any]:
    """A page as a notebook: each block of Python is a cell of code, and what is between two of them one of Markdown."""
    parts = re.split(r"^```python\n(.*?)^```$", page.read_text(), flags=re.M | re.S)
    cells: list[dict[str, Any]] = []
    for i, part in enumerate(parts):
        cell = {"id": f"cell-{i}", "metadata": {}, "source": part.strip("\n").splitlines(keepends=True)}
        kind = {"cell_type": "code", "execution_count": None, "outputs": []} if i % 2 else {"cell_type": "markdown"}
        cells.append({**kind, **cell})
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    NOTEBOOK.write_text(json.dumps(notebook(LIBRARY), indent=1) + "\n")
