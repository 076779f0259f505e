"""The card of an exported student, README.md, made from the record of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boot_exp.teachers.exported_parts import PIXELS

STEPS = "`num_inference_steps` must be 1: the scheduler refuses more, and the student was not taught them."
HOLDING = "export.json"
"""The record that every exported folder holds, and by which one is known."""
USE = """```python
import torch
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("path/of/this/folder")
images = pipeline({arguments}).images
```
"""


def page(record: Mapping[str, Any]) -> str:
    """Returns the text of README.md, with the head that the hub reads."""
    model = record["model"]
    title = f"{model['suite']} {model['stage']}: an image in one step"
    return "\n".join([*_head(record), f"# {title}", "", _about(record), "", *_use(record), *made_rows(record)])


def _head(record: Mapping[str, Any]) -> list[str]:
    task = "text-to-image" if _text(record) else "unconditional-image-generation"
    lines = ["---", "library_name: diffusers", f"pipeline_tag: {task}", "tags: [distillation, one-step, boot_exp]"]
    source = (record["teacher"] or {}).get("source")
    if source is not None and len(Path(source).parts) == 2 and not Path(source).exists():
        lines.append(f"base_model: {source}")  # a model of the hub
    return [*lines, "---", ""]


def _text(record: Mapping[str, Any]) -> bool:
    return record["pipeline"] not in ("DDIMPipeline", "ConsistencyModelPipeline")


def _about(record: Mapping[str, Any]) -> str:
    model, step = record["model"], record["step"]
    shape = "x".join(map(str, model["shape"]))
    kind = "latents" if "vae" in record.get("copied", ()) else "images"
    said = (
        f"A student that boot_exp distilled. It makes {kind} of {shape} from noise in one network call, which is one "
        f"step of this folder's scheduler: the network is told time {step['time']}, and its output is read as "
        f"{step['predicted']} at alpha squared {step['alpha_bar']:.6g}."
    )
    if record["w"] is not None:
        said += f" It is its teacher guided with w = {record['w']:g}, where w = 1 is the conditional model."
    return said


def _use(record: Mapping[str, Any]) -> list[str]:
    arguments, notes = _asked(record)
    difference = f"{record['difference']:.1e}"
    notes.append(f"When this was written, its step was within {difference} of the deviation of the student's call.")
    code = USE.format(arguments=", ".join([*arguments, "num_inference_steps=1"]))
    return ["## Use", "", code, *(f"* {note}" for note in [STEPS, *notes]), ""]


def _asked(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the arguments of a call of the pipeline, without the number of steps, and what to know about them."""
    pipeline, sizes = record["pipeline"], record["sizes"]
    if not _text(record):
        notes = [] if record["w"] is None else ["w is a part of the weights, and cannot be changed here."]
        if pipeline == "DDIMPipeline":
            return ["batch_size=4"], notes
        last = record["model"]["classes"] - 1
        notes.append(f"`class_labels` are from 0 to {last}; without them they are random.")
        return ["batch_size=4", f"class_labels={[min(label, last) for label in range(4)]}"], notes
    asked, notes = ['"a lighthouse on a cliff, oil painting"'], []
    if record["text_encoder"] is not None:
        asked = ['"red apple"']
        notes = [f"`text_encoder` and `tokenizer` are those of `{record['text_encoder']}`; longer prompts are cut."]
        notes.append("`vae` gives pixels as it gets them, in float32; in 16 bit it does not.")
    if record["w_handed_on"]:
        asked.append("guidance_scale=3.0")
        notes.append(f"`guidance_scale` is w, which the network is told{record['taught']}; it costs no second call.")
    elif pipeline in PIXELS:
        asked.append("guidance_scale=1.0")
        notes.append("`guidance_scale` must be 1: the pipeline would guide the student, which is guided, once more.")
        if record["clean_caption"] is not None:
            asked.append(f"clean_caption={record['clean_caption']}")
        notes.append("With `clean_caption` prompts are cleaned if bs4 and ftfy are installed, and else in lower case.")
    else:
        notes.append("`guidance_scale` and a negative prompt have no effect: both are a part of the weights.")
    if pipeline == PIXELS[1]:
        level = [] if record["noise_level"] is None else [f"noise_level={record['noise_level']}"]
        asked[1:1] = ["image=low_images", *level]
        notes.append("`image` is what is enlarged: images of the first stage, in [-1, 1] if they are tensors.")
    if sizes:
        names = ("original_size", "crops_coords_top_left", "target_size")
        asked += [f"{name}=({sizes[2 * i]}, {sizes[2 * i + 1]})" for i, name in enumerate(names)]
        notes.append("The sizes and the crop are those that the student was told in training.")
    return asked, notes


def made_rows(record: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a card that say how a student was made."""
    model, teacher = record["model"], record["teacher"] or {}
    inputs = ", ".join(f"{name} `{str(value)[:12]}`" for name, value in sorted(model.get("inputs", {}).items()))
    rows = {
        "run": f"{model['suite']}/{model['stage']}, seed {model['seed']}",
        "teacher": teacher.get("source", "not named when this was written; its weights are among the hashes below"),
        "student starts from": model.get("starts_from"),
        "images seen in training": _count(model["images"]),
        "network calls, forward": _count(model["evaluations"]),
        "seconds": _count(model["seconds"]),
        "weights": _count(model["parameters"]),
        "average": ", ".join(f"{name} {value}" for name, value in (model.get("ema") or {}).items()),
        "made from": inputs,
        "trained at commit": f"{model.get('commit')}, torch {model.get('torch')}, {model.get('device')}",
        "exported at commit": f"{record['made_by']['commit']}",
    }
    table = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return [
        "## How it was made",
        "",
        "| what | value |",
        "| --- | --- |",
        *table,
        "",
        f"`{HOLDING}` has the whole record: the configuration of the training, and the hashes of the weights.",
        "The weights are derived from the teacher's, whose licence and limits apply to them.",
        "",
    ]


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,}"
