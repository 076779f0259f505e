"""Stage walks: a student's images between prompts or noises, by w, and along trajectories beside its teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from boot_exp.config.components import Count, Natural, NonNegative, component
from boot_exp.diffusion.conditions import Condition, Prompts
from boot_exp.diffusion.denoisers import Denoiser
from boot_exp.diffusion.levels import Level, diffuse, signal
from boot_exp.diffusion.samplers import Along, OneJump
from boot_exp.diffusion.solvers import Integrator
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.compute import Compute
from boot_exp.engine.seeds import numbered, sample_noise
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.profile import Fine, Profile
from boot_exp.stages.sample import to_pixels
from boot_exp.stages.trained import conditions_of
from boot_exp.teachers.prompted import ByNumber
from evals.ground.faults import ConfigurationFault
from evals.ground.files import replacing_folder, write_json
from evals.images.zips import write_zip

CARD = "card.json"


@component
class Walks:
    """A student that takes text, and the walks: rows of each kind, and columns, which are steps of a walk.

    w: the guidance weights at the two ends of a walk, for a student that takes w; between prompts and between noises it
    is told their mean. Each row is one network call on a batch.
    """

    alone: ClassVar[bool] = True

    model: nn.Module
    prompts: Prompts
    w: Sequence[NonNegative] = ()
    rows: Count = 4
    columns: Count = 8
    seed: Natural = 0
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place, *, model: Path, prompts: Path) -> None:
        """Writes prompts.zip, noises.zip, w.zip if the student takes w, and card.json, which names the rows."""
        where = self.compute.find()
        card = Model.of(load_weights(self.model, model), model)
        conditions, told = conditions_of(
            self.model, where, classes=None, seed=self.seed, prompts=self.prompts, folder=prompts
        )
        if not isinstance(conditions, ByNumber):
            raise ConfigurationFault(
                f"walks must be between prompts by number, got {self.prompts}; bind StoredText or TextAtEveryStep"
            )
        ready = self.compute.frozen(self.model, where)
        takes_w = bool(ready.takes_w)
        if takes_w != (len(self.w) == 2):
            raise ConfigurationFault(
                f"walks of a student that {'takes' if takes_w else 'takes no'} w must have "
                f"{'two weights, their ends' if takes_w else 'none'}, got {[*self.w]}; bind Walks.w"
            )
        steps = torch.linspace(0, 1, self.columns, device=where)
        numbers = spread(len(conditions.training), 2 * self.rows)
        eps = sample_noise(self.seed, numbered(range(2 * self.rows), where), tuple(card.shape))
        made: dict[str, list[Tensor]] = {"prompts": [], "noises": [], **({"w": []} if takes_w else {})}
        for row in range(self.rows):
            ends = conditions.told(numbers[[row, row + self.rows]])
            first, fixed = ends[:1], eps[row : row + 1].expand(self.columns, *card.shape)
            still = first.each(lambda value: value.expand(self.columns, *value.shape[1:]))
            middle = sum(self.w) / 2 if takes_w else None
            made["prompts"].append(drawn(ready, fixed, between(ends, steps), middle))
            made["noises"].append(drawn(ready, turned(eps[row], eps[row + self.rows], steps), still, middle))
            if takes_w:
                made["w"].append(drawn(ready, fixed, still, self.w[0] + (self.w[1] - self.w[0]) * steps))
        texts = [conditions.training[number] for number in numbers]
        record = {
            "suite": place.suite,
            "method": place.name,
            "columns": self.columns,
            "prompts": [[texts[row], texts[row + self.rows]] for row in range(self.rows)],
            "noises": texts[: self.rows],
            **({"w": [*self.w]} if takes_w else {}),
            "card": {"weights_sha256": card.weights, **told, **provenance(where)},
        }
        with replacing_folder(place.out, holding=CARD) as folder:
            for name, rows in made.items():
                write_zip(folder / f"{name}.zip", to_pixels(torch.cat(rows)))
            write_json(folder / CARD, record)


@component
class Trajectories:
    """A student that answers at times, y(eps, t), beside its teacher, from noises on the way between two.

    profile: names both, the fine solve that is the teacher's exact signal, w and prompts. rows: ways, each from the
    noise of one sample to that of another, with the condition of the first; columns: noises on a way, and times.
    """

    alone: ClassVar[bool] = True

    profile: Profile
    rows: Count = 3
    columns: Annotated[int, Ge(2), "a number of noises, of which two are ends,"] = 11

    def run(self, place: Place, *, model: Path, teacher: Path, prompts: Path | None = None) -> None:
        """Writes zips of rows of images, and card.json; of each zip one by the teacher and one by the student.

        times: the signal of the first noise of each way at times from t_max to t_min; noises: the images, y at t_min,
        of all noises of each way.
        """
        said = replace(self.profile, n=2 * self.rows, batch=2 * self.rows)  # to draw both ends of the ways
        both = said.both(model, teacher, prompts)
        where, fine = both.where, both.fine
        ends, condition = next(said.drawn(both))
        steps = torch.linspace(0, 1, self.columns, device=where)
        eps = torch.cat([turned(ends[row], ends[row + self.rows], steps) for row in range(self.rows)])
        condition = condition.each(lambda value: value[: self.rows].repeat_interleave(self.columns, 0))
        along = Along(solver=cast(Integrator, fine.solver), steps=len(fine.times) - 1)  # for its name and its calls
        places = torch.linspace(0, along.steps, self.columns).round().long().tolist()
        with torch.inference_mode(), said.compute.autocast(where):
            signals = {
                "teacher": exact_signals(fine, both.teacher, eps, condition, places),
                "student": [both.student(eps, fine.at(place, eps), condition) for place in places],
            }
        record = {
            "suite": place.suite,
            "method": place.name,
            "rows": self.rows,
            "columns": self.columns,
            "seed": said.seed,
            "t": fine.times[places].tolist(),
            "solver": along.name,
            "nfe": along.nfe * both.teacher.evaluations,
            "w": both.w,
            "teacher_sha256": both.taught_by.weights,
            "card": {"weights_sha256": both.card.weights, **both.told, **provenance(where)},
        }
        with replacing_folder(place.out, holding=CARD) as folder:
            for name, several in signals.items():
                of_rows = torch.stack(several).float().unflatten(1, (self.rows, self.columns))
                first = of_rows[:, :, 0].transpose(0, 1)
                write_zip(folder / f"{name}_times.zip", to_pixels(first.flatten(0, 1)))
                write_zip(folder / f"{name}_noises.zip", to_pixels(of_rows[-1].flatten(0, 1)))
            write_json(folder / CARD, record)


def exact_signals(
    fine: Fine, teacher: Denoiser, eps: Tensor, condition: Condition, places: Sequence[int]
) -> list[Tensor]:
    """Returns the teacher's signals of noises, [B, C, H, W], at places of a fine solve, which start as `Fine` says."""

    def level(place: int) -> Level:
        return teacher.schedule(fine.at(place, eps))

    x, found = diffuse(level(0), teacher(eps, fine.at(0, eps), condition), eps), []
    for start, end in pairwise([0, *places]):
        x = fine.solver.solve(teacher, x, fine.times[start : end + 1], condition)
        found.append(signal(level(end), x, eps))
    return found


def spread(n: int, count: int) -> Any:
    """Returns numbers below n at equal distances, int64 [count]: nobody has chosen them."""
    return torch.arange(count).mul(n).div(count, rounding_mode="floor").numpy()


def between(ends: Condition, steps: Tensor) -> Condition:
    """Returns conditions on the line between two, a batch of two: steps [K] in [0, 1] -> [K, ...]."""

    def line(value: Tensor) -> Tensor:
        along = steps.view(-1, *[1] * (value.dim() - 1))
        return value[:1] + along * (value[1:] - value[:1])

    return ends.each(line)


def turned(first: Tensor, last: Tensor, steps: Tensor) -> Tensor:
    """Returns noises of variance 1 on the arc between two, [C, H, W]: steps [K] in [0, 1] -> [K, C, H, W]."""
    angle = (steps * math.pi / 2).view(-1, 1, 1, 1)
    return angle.cos() * first + angle.sin() * last


def drawn(model: Any, eps: Tensor, condition: Condition, w: Tensor | float | None) -> Tensor:
    """Returns the images of one network call, [K, C, H, W]; w: [K], one number, or None if there is none."""
    if w is not None:
        condition = replace(condition, w=torch.as_tensor(w, dtype=eps.dtype, device=eps.device).expand(len(eps)))
    with torch.inference_mode():
        return OneJump()(model, eps, condition).float()
