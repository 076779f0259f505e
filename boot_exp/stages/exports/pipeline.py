"""Writes a signal student as a folder that diffusers alone samples in one step, with a card made from its record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import takes_text
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.seeds import numbered, sample_noise
from boot_exp.methods.students import ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.stages.exports.card import HOLDING, page
from boot_exp.stages.exports.taught import LARGEST, among, check_w, taught_w, teachers_card
from boot_exp.stages.place import provenance
from boot_exp.teachers.exported_parts import INDEX, Parts, parts_of
from boot_exp.teachers.exporting import (
    Step,
    folded,
    hands_w_on,
    index,
    plain,
    predicted,
    scheduler,
    told_at_end,
    unet_of,
    write,
)
from boot_exp.teachers.pixel_parts import PixelParts
from boot_exp.teachers.sentences import SentenceText
from boot_exp.teachers.text_unet import TextUNet
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, NumericalFault
from evals.ground.files import replacing_folder, sha256_of, write_json, write_texts

CHECKED = 2
REVISION = re.compile(r"^\S*PublishedTeacher\.revision = '(.+)'$", re.MULTILINE)
CLEAN = re.compile(r"^\S*T5Text\.clean = (True|False)$", re.MULTILINE)
LEVEL = re.compile(r"^\S*WithLowImages\.level = (\d+)$", re.MULTILINE)


def export(
    built: Any,
    *,
    model: Path,
    out: Path,
    teacher: Path | None = None,
    source: str | None = None,
    w: float | None = None,
) -> None:
    """Writes the student of a stage (`sample`, or `distil`) as the folder of a pipeline of diffusers.

    model: the student's folder. teacher: its teacher's, for the card; a text-to-image student also takes the parts of
    the pipeline that the teacher was read from. source: that pipeline, if it has moved. A student of pixels that a
    sentence encoder tells needs neither: its parts are made. w: the guidance weight at which a student that takes w is
    fixed. ConfigurationFault: diffusers cannot run this model in one step.
    """
    student = student_of(built)
    net: Any = student.net
    unet = unet_of(net)
    step = one_step(student, net.time_scale)
    card = load_weights(student.eval(), model)
    known = Model.of(card, model)
    taught = None if teacher is None else teachers_card(teacher, card)
    parts: Parts | PixelParts | None = None
    if takes_text(student):
        made_here = None if source is not None else pixel_parts(built, net)
        parts = made_here or parts_of(*where_from(taught, source), unet)
    config = str(card.get("config"))
    clean, level = CLEAN.search(config), LEVEL.search(config)
    kind = pipeline_of(known) if parts is None else parts.pipeline
    w = fixed_w(net, known, config, w, parts)
    made = plain(net, w, (known.shape[1], known.shape[2]), latents=parts is not None and parts.latents)
    difference = check_equal(student, step, known, w)
    with replacing_folder(out, holding=HOLDING) as folder:
        write(made, folder / "unet")
        write(scheduler(step), folder / "scheduler")
        if parts is not None:
            parts.copy(folder)
        named = {"unet": type(made).__name__, "scheduler": "DDIMScheduler"}
        write_json(folder / INDEX, index(kind, named, {} if parts is None else parts.index))
        record = {
            "pipeline": kind,
            "step": asdict(step),
            "w": w,
            "w_handed_on": student.takes_w and w is None,
            "taught": among(*taught_w(known, config)),
            "difference": difference,
            "copied": parts.names if isinstance(parts, Parts) else [],
            "text_encoder": repr(parts.encoder) if isinstance(parts, PixelParts) else None,
            "clean_caption": None if clean is None else clean[1] == "True",
            "noise_level": None if level is None else int(level[1]),
            "sizes": [int(size) for size in getattr(net, "sizes", ())],
            "model": card,
            "teacher": taught,
            "sha256": {path.name: sha256_of(path) for path in sorted((folder / "unet").glob("*.safetensors"))},
            "made_by": provenance(torch.device("cpu")),
        }
        write_json(folder / HOLDING, record)
        write_texts(folder, {"README.md": page(record)})
    tell(f"{out}: {kind}, one step, {difference:.1e} of the deviation from the student")


def student_of(built: Any) -> SignalStudent:
    """Returns the student of a stage. ConfigurationFault: it is of another kind, or no student."""
    student = built.model if hasattr(built, "model") else built.student(built.teacher)
    if isinstance(student, SignalStudent):
        return student
    if isinstance(student, DenoisingStudent):
        kind = "a consistency function" if isinstance(student, ConsistencyStudent) else "a denoiser"
        why = f"{kind}, which takes steps of a sampler that diffusers does not have"
    else:
        why = "a teacher, which its own pipeline samples already"
    raise ConfigurationFault(
        f"a model to be exported must be a SignalStudent, whose one call is one step of a pipeline, got "
        f"{type(student).__name__}, {why}; sample it with boot-exp sample, or distil the suite's boot and export that"
    )


def one_step(student: SignalStudent, time_scale: float) -> Step:
    """Returns the step that the student's call at t_min is. ConfigurationFault: diffusers has no such step."""
    schedule = student.schedule
    level = student.reading(schedule, torch.tensor([schedule.t_min], dtype=torch.float64))
    said = predicted(student.prediction)
    return Step(time=told_at_end(schedule, time_scale), alpha_bar=float(level.alpha) ** 2, predicted=said)


def pipeline_of(model: Model) -> str:
    """Returns the pipeline for images without text. ConfigurationFault: none makes such images."""
    if model.classes is None:
        return "DDIMPipeline"
    if model.shape[1] != model.shape[2]:
        raise ConfigurationFault(
            f"images with classes must be square to be exported, because diffusers' pipeline makes no others, got "
            f"{model.shape}; sample with boot-exp sample"
        )
    return "ConsistencyModelPipeline"  # it hands labels on, and takes any scheduler's step


def pixel_parts(built: Any, net: Any) -> PixelParts | None:
    """Returns the parts that are made for a student of pixels that a sentence encoder tells; None for any other."""
    encoder = getattr(built.prompts, "encoder", None)
    if built.decoder is not None or type(net) is not TextUNet or not isinstance(encoder, SentenceText):
        return None
    return PixelParts(encoder=encoder, shape=tuple(net.shape))


def where_from(taught: Mapping[str, Any] | None, source: str | None) -> tuple[str, str | None]:
    """Returns the folder, or the model of the hub and its revision, that a student's teacher was read from.

    ConfigurationFault: neither its teacher's folder nor that source is given.
    """
    found = source or (taught or {}).get("source")
    if not isinstance(found, str):
        raise ConfigurationFault(
            "a text-to-image student must be exported with the text encoder of its teacher's pipeline, got no "
            "teacher that was read from one; give --teacher, or --source"
        )
    said = None if source is not None else REVISION.search(str((taught or {}).get("config")))
    return found, None if said is None else said[1]


def fixed_w(net: Any, model: Model, config: str, w: float | None, parts: Parts | PixelParts | None) -> float | None:
    """Returns the guidance weight that an exported student is fixed at, or None if there is none or a pipeline says it.

    ConfigurationFault: the student was not taught that w, or takes any and the pipeline cannot say it.
    """
    low, high = taught_w(model, config)
    check_w(w, net.guidance is not None, model, low, high)
    if net.guidance is None:
        return model.w
    w = model.w if w is None else w
    if w is None and not (hands_w_on(net) and parts is not None and parts.latents):
        why = (
            "a pipeline of pixels hands no w on"
            if parts is None or not parts.latents
            else "AdaIN is not diffusers' own"
        )
        raise ConfigurationFault(
            f"a student that takes w must be exported at one, because {why}, got none; give --w{among(low, high)}"
        )
    return w


def check_equal(student: SignalStudent, step: Step, model: Model, w: float | None) -> float:
    """Returns the largest difference between the exported step and the student's call, in deviations.

    NumericalFault: it is too large, because float32 does not hold the level at which the output is read.
    """
    where = torch.device("cpu")
    eps = sample_noise(0, numbered(range(CHECKED), where), tuple(model.shape))
    net: Any = student.net
    label = None if model.classes is None else torch.arange(CHECKED) % model.classes
    drawn = torch.Generator().manual_seed(0)
    told = (
        {} if not takes_text(student) else net.example(CHECKED, where).each(lambda x: x.normal_(generator=drawn)).given
    )
    t = torch.full((CHECKED,), student.schedule.t_min, dtype=torch.float64)
    any_w = torch.full((CHECKED,), 2.0 if w is None else w) if student.takes_w else None
    handed = any_w if w is None else None
    weights = {f"unet.{name}": value for name, value in folded(net, w).items()}
    table = scheduler(step)
    table.set_timesteps(1)
    with torch.no_grad():
        ours: Tensor = student(eps, t, Condition(label=label, w=any_w, **told))
        output = torch.func.functional_call(net, weights, (eps, t.float(), label, handed), told)
        theirs: Tensor = table.step(output, table.timesteps[0], eps).prev_sample
    difference = float((ours - theirs).abs().max() / ours.std())
    if not difference <= LARGEST:
        raise NumericalFault(
            f"an exported step must be the student's within {LARGEST:g} of the deviation, got {difference:.2g}: "
            f"float32 holds alpha squared of {step.alpha_bar:.3g} badly; distil with a smaller lam_max, or read FromV"
        )
    return difference
