"""The card of a student that was exported as one program, README.md, made from the record of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boot_exp.stages.exports.card import made_rows

HEAD = """---
library_name: pytorch
pipeline_tag: unconditional-image-generation
tags: [distillation, one-step, boot_exp]
---
"""
USE = """```python
import torch

student = torch.export.load("student.pt2").module()
noise = torch.randn(16, {shape})
with torch.no_grad():
    images = student({arguments})  # [16, {shape}], in [-1, 1]
```
"""
LIKE = {"noise": "noise", "label": "label=torch.arange(16) % {classes}", "w": "w=torch.full((16,), 2.0)"}


def plain_page(record: Mapping[str, Any]) -> str:
    """Returns the text of README.md, with the head that the hub reads."""
    model, takes = record["model"], record["takes"]
    shape = ", ".join(map(str, model["shape"]))
    given = [LIKE[name].format(classes=record["classes"]) for name in takes]
    notes = ["`student.pt2` needs torch alone, and a torch that is as new as the one that wrote it."]
    if record["most"] is not None:
        notes.append(f"It takes at most {record['most']} images at once.")
    if "label" in takes:
        notes.append(f"A label is a class, from 0 to {record['classes'] - 1}.")
    if "w" in takes:
        notes.append(
            f"w is the guidance weight{record['taught']}; 1 is the conditional model. It costs no second call."
        )
    elif record["w"] is not None:
        notes.append(f"The student is its teacher guided with w = {record['w']:g}, where 1 is the conditional model.")
    notes.append("`weights.safetensors` has the tensors alone, for code of your own.")
    notes.append(f"When this was written, it was within {record['difference']:.1e} of the deviation of the student.")
    return "\n".join(
        [
            HEAD,
            f"# {model['suite']} {model['stage']}: an image in one call",
            "",
            f"A student that boot_exp distilled. It makes images of {shape.replace(', ', 'x')} from noise in one call.",
            "",
            "## Use",
            "",
            USE.format(shape=shape, arguments=", ".join(given)),
            *(f"* {note}" for note in notes),
            "",
            *made_rows(record),
        ]
    )
