"""Writes a signal student as a folder that diffusers alone samples in one step, with a card made from its record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights, read_card
from boot_exp.engine.seeds import numbered, sample_noise
from boot_exp.methods.students import ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.stages.exported_card import HOLDING, page
from boot_exp.stages.place import provenance
from boot_exp.teachers.exporting import Step, folded, index, plain, predicted, scheduler, told, unet_of, write
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, NumericalFault, StateFault
from evals.ground.files import replacing_folder, sha256_of, write_json

LARGEST = 1e-3
"""The largest difference, in deviations, between the exported step and the student's call; float32 leaves 4e-5."""
CHECKED = 2
TAUGHT = re.compile(r"^\S*UniformGuidance\.(low|high) = (\S+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an exported folder is; w: what it is fixed at, or None; difference: from the student, in deviations."""

    pipeline: str
    step: Step
    w: float | None
    difference: float


def export(built: Any, *, model: Path, out: Path, teacher: Path | None = None, w: float | None = None) -> None:
    """Writes the student of a stage (`sample`, or `distil`) as the folder of a pipeline of diffusers.

    model: the student's folder; teacher: its teacher's, whose source the card then names; w: the guidance weight at
    which a student that takes w is fixed. ConfigurationFault: diffusers cannot run this model in one step.
    """
    student = student_of(built)
    net: Any = student.net
    unet_of(net)
    step = one_step(student, net.time_scale)
    card = load_weights(student.eval(), model)
    known = Model.of(card, model)
    w = fixed_w(student.takes_w, known, str(card.get("config")), w)
    taught = None if teacher is None else teachers_card(teacher, card)
    made = plain(net, w, (known.shape[1], known.shape[2]))
    pipeline = "DDIMPipeline"
    if known.classes is not None:
        pipeline = "ConsistencyModelPipeline"  # it hands labels on, and takes any scheduler's step
        check_square(known)
    difference = check_equal(student, step, known, w)
    with replacing_folder(out, holding=HOLDING) as folder:
        write(made, folder / "unet")
        write(scheduler(step), folder / "scheduler")
        parts = {"unet": ["diffusers", type(made).__name__], "scheduler": ["diffusers", "DDIMScheduler"]}
        write_json(folder / "model_index.json", index(pipeline, parts))
        exported = Exported(pipeline=pipeline, step=step, w=w, difference=difference)
        hashes = {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*.safetensors"))}
        record = {
            **asdict(exported),
            "model": card,
            "teacher": taught,
            "sha256": hashes,
            "made_by": provenance(torch.device("cpu")),
        }
        write_json(folder / HOLDING, record)
        (folder / "README.md").write_text(page(record), encoding="utf-8", errors="backslashreplace", newline="\n")
    tell(f"{out}: {pipeline}, one step, {difference:.1e} of the deviation from the student")


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
    return Step(time=told(schedule, time_scale), alpha_bar=float(level.alpha) ** 2, predicted=said)


def fixed_w(takes_w: bool, model: Model, config: str, w: float | None) -> float | None:
    """Returns the guidance weight that an exported student has, or None. ConfigurationFault: it was not taught that."""
    if not takes_w:
        if w not in (None, model.w):
            raise ConfigurationFault(
                f"a student that takes no w must be exported at the w it was distilled at, {model.w}, got --w {w:g}; "
                "leave --w out, or distil with takes_w = True"
            )
        return model.w
    if model.w is not None and w in (None, model.w):
        return model.w
    ends = {name: float(value) for name, value in TAUGHT.findall(config)}
    low, high = (model.w, model.w) if model.w is not None else (ends.get("low"), ends.get("high"))
    range_ = "" if low is None or high is None else f" from {low:g} to {high:g}"
    if w is None:
        raise ConfigurationFault(
            "a student that takes w must be exported at one w, which diffusers' pipelines cannot hand on, got none; "
            f"give --w{range_}"
        )
    if low is not None and high is not None and not low <= w <= high:
        raise ConfigurationFault(f"a student must be exported at a w that it was taught, got {w:g}; give --w{range_}")
    return w


def teachers_card(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the card of the student's teacher. StateFault: the folder is damaged, or another model's."""
    found = read_card(folder)
    weights = Model.of(found, folder).weights
    expected = card.get("inputs", {}).get("teacher")
    if weights != expected:
        raise StateFault(
            f"{folder} must be the teacher that the student was distilled from, with weights {str(expected)[:12]}, got "
            f"{weights[:12]}; give that one, or leave --teacher out"
        )
    return found


def check_square(model: Model) -> None:
    """ConfigurationFault: images with classes are not square."""
    if model.shape[1] != model.shape[2]:
        raise ConfigurationFault(
            f"images with classes must be square to be exported, because diffusers' pipeline draws such alone, got "
            f"{model.shape}; sample with boot-exp sample"
        )


def check_equal(student: SignalStudent, step: Step, model: Model, w: float | None) -> float:
    """Returns the largest difference between the exported step and the student's call, in deviations.

    NumericalFault: it is too large, because float32 does not hold the level at which the output is read.
    """
    eps = sample_noise(0, numbered(range(CHECKED), torch.device("cpu")), tuple(model.shape))
    label = None if model.classes is None else torch.arange(CHECKED) % model.classes
    t = torch.full((CHECKED,), student.schedule.t_min, dtype=torch.float64)
    told_w = torch.full((CHECKED,), w) if student.takes_w and w is not None else None
    net: Any = student.net
    weights = {f"unet.{name}": value for name, value in folded(net, w).items()}
    table = scheduler(step)
    table.set_timesteps(1)
    with torch.no_grad():
        ours: Tensor = student(eps, t, Condition(label=label, w=told_w))
        output = torch.func.functional_call(net, weights, (eps, t.float(), label))
        theirs: Tensor = table.step(output, table.timesteps[0], eps).prev_sample
    difference = float((ours - theirs).abs().max() / ours.std())
    if not difference <= LARGEST:
        raise NumericalFault(
            f"an exported step must be the student's within {LARGEST:g} of the deviation, got {difference:.2g}: "
            f"float32 holds alpha squared of {step.alpha_bar:.3g} badly; distil with a smaller lam_max, or read FromV"
        )
    return difference
