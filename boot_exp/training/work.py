"""The work state of a stage that is under way, kept outside DVC so that an interrupted run goes on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from boot_exp.training.checkpoints import read_card, read_tensors, write_folder
from evals.errors import StateFault


@dataclass(frozen=True, kw_only=True)
class Work:
    """Checkpoints of one run in a folder of its own; the last `keep` of them are kept."""

    folder: Path
    keep: int = 2

    def checkpoints(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        return sorted(self.folder.glob("images-*"))

    def save(self, images: int, tensors: Mapping[str, Mapping[str, Tensor]], card: Mapping[str, Any]) -> None:
        """Writes the state after `images` images, then drops the oldest ones."""
        write_folder(self.folder / f"images-{images:012d}", tensors, {**card, "images": images})
        for old in self.checkpoints()[: -self.keep]:
            shutil.rmtree(old)

    def latest(self) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
        """Card and tensors of the newest sound checkpoint, or None where none was ever written.

        A damaged one is set aside and said so; if all are damaged, that is a StateFault, not a silent restart.
        """
        found = self.checkpoints()
        for path in reversed(found):
            try:
                card = read_card(path)
                names = [name.removesuffix(".safetensors") for name in card["sha256"]]
                return card, {name: read_tensors(path, name) for name in names}
            except StateFault as fault:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                print(f"set aside as {aside}: {fault}", file=sys.stderr)
        if found or list(self.folder.glob("damaged-*")):
            raise StateFault(
                f"every checkpoint in {self.folder} is damaged; delete the folder to start this stage afresh"
            )
        return None

    def clear(self) -> None:
        """Removes the work state: the stage has written its result."""
        shutil.rmtree(self.folder, ignore_errors=True)
