"""Writes a student as one program of torch.export, which torch alone runs, and as safetensors, with a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import takes_text
from boot_exp.diffusion.samplers import flat
from boot_exp.diffusion.solvers import Jump
from boot_exp.engine.cards import WEIGHTS, Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.seeds import numbered, sample_noise
from boot_exp.methods.students import DenoisingStudent, SignalStudent
from boot_exp.methods.two_times import TwoTimeStudent
from boot_exp.stages.exports.card import HOLDING
from boot_exp.stages.exports.program_card import plain_page
from boot_exp.stages.exports.taught import LARGEST, among, check_w, taught_w, teachers_card
from boot_exp.stages.place import provenance
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, NumericalFault
from evals.ground.files import replacing_folder, sha256_of, write_json, write_texts

PROGRAM = "student.pt2"
LARGEST_BATCH = 63
"""Networks of diffusers copy batches of 64 images and more (Upsample2D), and a program has one path alone."""
CHECKED = (1, 3)
"""Batches on which the program is compared with the student; it is traced on another size."""


class OneCall(nn.Module):
    """noise: [B, C, H, W], label: [B] or None, w: [B] or None -> an image, [B, C, H, W], by one call of a student.

    w: the guidance weight of a student that takes w and is fixed at it; None: it is an input, or there is none.
    """

    def __init__(self, student: SignalStudent | DenoisingStudent, w: float | None) -> None:
        super().__init__()
        self.student, self.w = student, w
        signal = isinstance(student, SignalStudent)
        self.time = student.schedule.t_min if signal else student.schedule.t_max

    def forward(self, noise: Tensor, label: Tensor | None = None, w: Tensor | None = None) -> Tensor:
        each = torch.ones_like(noise[:, 0, 0, 0], dtype=torch.float64)  # len(noise) would fix the size of the batch
        told = w if self.w is None else self.w * each.to(noise.dtype)
        condition = Condition(label=label, w=told)
        if isinstance(self.student, TwoTimeStudent):
            return Jump()(self.student, noise, self.time * each, self.student.schedule.t_min * each, condition)
        image: Tensor = self.student(noise, self.time * each, condition)
        return image


def export_plain(built: Any, *, model: Path, out: Path, teacher: Path | None = None, w: float | None = None) -> None:
    """Writes the student of a stage (`sample`, or `distil`) as student.pt2, weights.safetensors and a card.

    model: the student's folder; teacher: its teacher's, for the card. w: the guidance weight at which a student that
    takes w is fixed; None: w is an input of the program. ConfigurationFault: the student does not make an image in one
    call, takes text, or was not taught that w. NumericalFault: the program gives other images than the student.
    """
    student = one_call_student(built)
    card = load_weights(student.eval().requires_grad_(False), model)
    known = Model.of(card, model)
    taught = None if teacher is None else teachers_card(teacher, card)
    low, high = taught_w(known, str(card.get("config")))
    check_w(w, student.takes_w, known, low, high)
    call = OneCall(student, w if student.takes_w else None)
    takes: dict[str, list[str | int]] = {"noise": ["B", *known.shape]}
    takes |= {} if known.classes is None else {"label": ["B"]}
    takes |= {"w": ["B"]} if student.takes_w and w is None else {}
    with replacing_folder(out, holding=PROGRAM) as folder:
        written = BytesIO()  # so that a full disk is an OSError, which torch makes another error of
        program, most = traced(call, takes, known)
        torch.export.save(program, written)
        (folder / PROGRAM).write_bytes(written.getvalue())
        difference = compared(folder / PROGRAM, call, takes, known)
        stored = {name: value.contiguous() for name, value in student.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(stored, metadata={"card": json.dumps(card, sort_keys=True)}))
        record = {
            "takes": takes,
            "most": most,
            "classes": known.classes,
            "w": known.w if w is None else w,
            "taught": among(low, high),
            "difference": difference,
            "model": card,
            "teacher": taught,
            "sha256": {name: sha256_of(folder / name) for name in (PROGRAM, WEIGHTS)},
            "made_by": provenance(torch.device("cpu")),
        }
        write_json(folder / HOLDING, record)
        write_texts(folder, {"README.md": plain_page(record)})
    tell(f"{out}: {PROGRAM}, one call, {difference:.1e} of the deviation from the student")


def one_call_student(built: Any) -> SignalStudent | DenoisingStudent:
    """Returns the student of a stage. ConfigurationFault: it is none, takes text, or takes several steps."""
    student = built.model if hasattr(built, "model") else built.student(built.teacher)
    samplers = flat(built.samplers) if hasattr(built, "samplers") else [built.preview]
    if not isinstance(student, SignalStudent | DenoisingStudent):
        wrong = f"a teacher, {type(student).__name__}; export a student of it"
    elif takes_text(student):
        wrong = "a student that takes text, which is of use with its text encoder; export it without --plain"
    elif min(sampler.nfe for sampler in samplers) > 1:
        wrong = f"one that is sampled in {min(s.nfe for s in samplers)} calls; export its last phase, or another method"
    else:
        return student
    raise ConfigurationFault(f"a model to be exported with --plain must make an image in one call, got {wrong}")


def example(takes: Mapping[str, Sequence[str | int]], known: Model, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns inputs of a call: the noise, and by name the labels and the weights, if it takes them."""
    noise = sample_noise(0, numbered(range(count), torch.device("cpu")), tuple(known.shape))
    others = {"label": torch.arange(count) % (known.classes or 1), "w": torch.linspace(1, 2, count)}
    return noise, {name: value for name, value in others.items() if name in takes}


def traced(
    call: OneCall, takes: Mapping[str, Sequence[str | int]], known: Model
) -> tuple[torch.export.ExportedProgram, int | None]:
    """Returns the program of a call, and the largest batch that it takes; None: any."""
    noise, others = example(takes, known, 2)

    def program(most: int | None) -> torch.export.ExportedProgram:
        batch = torch.export.Dim("batch", min=1, max=most)
        sizes = {name: {0: batch} for name in takes}
        with torch.no_grad():
            return torch.export.export(call.eval(), (noise,), others, dynamic_shapes=sizes, strict=False)

    try:
        return program(None), None
    except UserError:  # the network does another thing for large batches
        return program(LARGEST_BATCH), LARGEST_BATCH


def compared(path: Path, call: OneCall, takes: Mapping[str, Sequence[str | int]], known: Model) -> float:
    """Returns the largest difference of a stored program from a call, in deviations. NumericalFault: too large."""
    program = torch.export.load(path).module()
    largest = 0.0
    for count in CHECKED:
        noise, others = example(takes, known, count)
        with torch.no_grad():
            ours = call(noise, **others)
            largest = max(largest, float((program(noise, **others) - ours).abs().max() / ours.std(correction=0)))
    if not largest <= LARGEST:
        raise NumericalFault(
            f"an exported program must give the student's images within {LARGEST:g} of the deviation, got "
            f"{largest:.2g}; report it with your version of torch"
        )
    return largest
