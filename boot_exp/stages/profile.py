"""Stage profile: measures a student against its teacher's exact signal, time by time: where its error comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from boot_exp.config.components import Count, Natural, NonNegative, component
from boot_exp.diffusion.conditions import NOTHING, Condition, Conditions, Prompts
from boot_exp.diffusion.denoisers import Denoiser, DiffusionModel, Guided, Networked, taking_w
from boot_exp.diffusion.levels import Level, diffuse, over, signal
from boot_exp.diffusion.samplers import Along, Sweep
from boot_exp.diffusion.solvers import OneStep
from boot_exp.diffusion.times import Grid, UniformGrid
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.compute import Compute, on
from boot_exp.engine.journal import Meter
from boot_exp.engine.seeds import numbered, sample_noise
from boot_exp.methods.students import SignalStudent
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.trained import check_unconditional, conditions_of
from evals.ground.faults import ConfigurationFault, NumericalFault
from evals.ground.files import write_json

STUDENT, RESIDUAL = "student", "residual"


@dataclass(frozen=True, kw_only=True)
class Fine:
    """A fine solve of the teacher: its solver, and its times, [steps + 1] float64, of which every `every`-th is shown.

    All signals start at y = f(eps, t_max), where f is the teacher: the limit that BOOT's boundary loss asks for (arXiv
    2306.05544). baselines: coarser solves, by name: the solver and the places of its times among `times`.
    """

    solver: OneStep
    times: Tensor
    every: int
    baselines: Mapping[str, tuple[OneStep, Sequence[int]]]

    @property
    def shown(self) -> Sequence[int]:
        """Returns the places of the times that are shown."""
        return range(0, len(self.times), self.every)

    def squares(
        self, student: DiffusionModel, teacher: Denoiser, eps: Tensor, condition: Condition = NOTHING
    ) -> dict[str, Tensor]:
        """Returns mean squares over the pixels of each noise, [times, B] float64, by the name of their curve.

        student: y(eps, t) - y_teacher(eps, t). residual, without a value at t_max: the student's y at a time minus what
        the fine solve makes there of its y at the time before, divided by 1 - exp(lam_s - lam_t). As the step becomes
        short this is y - dy/dlam - f(x_t, t), the residual of the signal-ODE, in the units of an image.
        """

        def level(place: int) -> Level:
            return teacher.schedule(self.at(place, eps))

        def moved(solver: OneStep, y: Tensor, start: int, end: int, *, stride: int = 1) -> Tensor:
            along = self.times[start : end + 1 : stride]
            x = solver.solve(teacher, diffuse(level(start), y, eps), along, condition)
            return signal(level(end), x, eps)

        wanted = {*self.shown, *(place for _, places in self.baselines.values() for place in places)}
        first = teacher(eps, self.at(0, eps), condition)
        exact, now = {0: first}, 0
        for place in sorted(wanted - {0}):
            exact[place], now = moved(self.solver, exact[now], now, place), place
        errors: dict[str, list[Tensor]] = {STUDENT: [], RESIDUAL: []}
        before: Tensor | None = None
        for place in self.shown:
            y = student(eps, self.at(place, eps), condition)
            errors[STUDENT].append(_square(y - exact[place]))
            if before is not None:
                start = place - self.every
                whole = -torch.expm1(level(place).lam - level(start).lam)
                defect = y - moved(self.solver, before, start, place)
                errors[RESIDUAL].append(_square(defect / over(whole, y)))
            before = y
        for name, (solver, places) in self.baselines.items():
            y, errors[name] = first, [_square(first - first)]
            for start, end in zip(places, places[1:], strict=False):
                y = moved(solver, y, start, end, stride=end - start)
                errors[name].append(_square(y - exact[end]))
        return {name: torch.stack(several) for name, several in errors.items()}

    def at(self, place: int, eps: Tensor) -> Tensor:
        """Returns one of the times for each noise, [B] float64."""
        return self.times[place].expand(len(eps))

    def times_of(self, name: str) -> Tensor:
        """Returns the times of a curve, float64."""
        if name in self.baselines:
            return self.times[[*self.baselines[name][1]]]
        return self.times[:: self.every][1 if name == RESIDUAL else 0 :]


@dataclass(frozen=True, kw_only=True)
class Both:
    """A student and its teacher on a device, ready to be asked, and the conditions that samples of both are given.

    w: at which they are compared; the teacher is guided with it. card: the student's; taught_by: its teacher's. told:
    what a card says of the conditions.
    """

    student: DiffusionModel
    teacher: Networked | Guided
    fine: Fine
    w: float | None
    card: Model
    taught_by: Model
    conditions: Conditions
    told: Mapping[str, Any]
    where: torch.device


@component
class Profile:
    """A student that answers at times, y(eps, t), beside its teacher's exact signal for the same n noises of a seed.

    The exact signal is that of `solver` in intervals * substeps steps along the grid; the errors are shown at the ends
    of the intervals. baselines: the teacher's solvers whose own error is shown beside the student's; their times must
    be among those of the fine solve. w: the guidance weight of a student that takes one; any other is compared with
    its teacher at the w that it was distilled at. prompts: for a student that takes text.
    """

    alone: ClassVar[bool] = True

    model: SignalStudent
    teacher: Networked
    solver: OneStep
    baselines: Sequence[Sweep] = ()
    intervals: Count = 25
    substeps: Count = 4
    grid: Grid = field(default_factory=UniformGrid)
    n: Annotated[int, Ge(2), "a number of noises, of which a standard error needs two,"] = 1_000
    seed: Natural = 0
    batch: Count = 500
    w: NonNegative | None = None
    prompts: Prompts | None = None
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place, *, model: Path, teacher: Path, prompts: Path | None = None) -> None:
        """Writes one JSON file: each curve with its times, root mean squares and standard errors, and a card."""
        both, parts = self.both(model, teacher, prompts), []
        with Meter(title=f"{place.suite} {place.name} profile", total=self.n, unit="noises") as meter:
            for eps, condition in self.drawn(both):
                with torch.inference_mode(), self.compute.autocast(both.where):
                    parts.append(both.fine.squares(both.student, both.teacher, eps, condition))
                meter.advance(len(eps))
        calls = {one.name: one.nfe * both.teacher.evaluations for one in self.coarser}
        record = {
            "suite": place.suite,
            "method": place.name,
            "curves": [
                {
                    "name": name,
                    "nfe": calls.get(name),
                    **curve_of(both.fine.times_of(name), torch.cat([part[name] for part in parts], 1)),
                }
                for name in parts[0]
            ],
            "card": {
                "n": self.n,
                "seed": self.seed,
                "solver": repr(self.solver),
                "steps": len(both.fine.times) - 1,
                "grid": repr(self.grid),
                "w": both.w,
                "training_seed": both.card.seed,
                "weights_sha256": both.card.weights,
                "teacher_sha256": both.taught_by.weights,
                **both.conditions.record,
                **both.told,
                **provenance(both.where),
            },
        }
        write_json(place.out, record)

    def both(self, model: Path, teacher: Path, prompts: Path | None) -> Both:
        """Loads student and teacher. ConfigurationFault: they do not belong together, or w is missing or unused."""
        where = self.compute.find()
        said = load_weights(self.model, model)
        card, taught_by = Model.of(said, model), Model.of(load_weights(self.teacher, teacher), teacher)
        if (said.get("inputs") or {}).get("teacher") != taught_by.weights:
            raise ConfigurationFault(
                f"a student must be compared with the teacher that it was distilled from, got {model} and another, "
                f"{teacher}; give its own"
            )
        w, fine = self.weight_of(card, taught_by), self.fine(where)
        conditions, told = conditions_of(
            self.teacher, where, classes=card.classes, seed=self.seed, prompts=self.prompts, folder=prompts
        )
        student, ready = self.compute.frozen(self.model, where), self.compute.frozen(self.teacher, where)
        return Both(
            student=student,
            teacher=ready if w is None else taking_w(ready),
            fine=fine,
            w=w,
            card=card,
            taught_by=taught_by,
            conditions=conditions,
            told=told,
            where=where,
        )

    @property
    def coarser(self) -> list[Along]:
        """Returns the teacher's solvers one by one."""
        return [one for sweep in self.baselines for one in sweep]

    def weight_of(self, student: Model, teacher: Model) -> float | None:
        """Returns the w at which student and teacher are compared. ConfigurationFault: w is missing, or has no use."""
        if self.model.takes_w != (self.w is not None):
            takes = self.model.takes_w
            raise ConfigurationFault(
                f"a student that takes {'w' if takes else 'no w'} must be profiled at {'one' if takes else 'none'}, "
                f"got Profile.w {self.w}; {'bind it' if takes else 'leave it out'}"
            )
        w = self.w if self.model.takes_w else student.w
        if w is not None:
            check_unconditional(teacher)
        return w

    def fine(self, where: torch.device) -> Fine:
        """Returns the fine solve. ConfigurationFault: a baseline is at other times, or its steps depend on others."""
        schedule, steps = self.teacher.schedule, self.intervals * self.substeps
        times = self.grid(schedule, steps)
        baselines = {}
        for one in self.coarser:
            distance, places = (one.grid(schedule, one.steps)[:, None] - times).abs().min(1)
            if float(distance.max()) > 1e-9 or not isinstance(one.solver, OneStep):
                raise ConfigurationFault(
                    f"a baseline of a profile must take single steps between times of the fine solve, got {one.name} "
                    f"beside {steps} steps; bind another solver, or a number of steps that divides {steps}"
                )
            baselines[one.name] = (one.solver, places.tolist())
        return Fine(solver=self.solver, times=on(where, times), every=self.substeps, baselines=baselines)

    def drawn(self, both: Both) -> Iterator[tuple[Tensor, Condition]]:
        """Yields batches of noise, [B, C, H, W], that samples of the same seed start from, and their conditions."""
        for start in range(0, self.n, self.batch):
            indices = numbered(range(start, min(start + self.batch, self.n)), both.where)
            condition = both.conditions.of(self.seed, indices)
            if both.w is not None:
                condition = replace(condition, w=torch.full((len(indices),), float(both.w), device=both.where))
            yield sample_noise(self.seed, indices, tuple(both.card.shape)), condition


def curve_of(times: Tensor, squares: Tensor) -> dict[str, Any]:
    """Returns a curve of mean squares, [times, n]: root mean squares over all n, with their standard errors.

    NumericalFault: one is not finite.
    """
    mean, error = squares.mean(1), squares.std(1) / squares.shape[1] ** 0.5
    if not bool(squares.isfinite().all()):
        raise NumericalFault(
            "a profile must be finite, got other numbers; bound the schedule with Clamped, or train the model again"
        )
    rms = mean.sqrt()
    # The derivative of a root is 1 / (2 root); where all is zero so is its error.
    error = error / (2 * rms).clamp(min=torch.finfo(rms.dtype).tiny)
    return {"t": times.tolist(), "rms": rms.tolist(), "standard_error": error.tolist()}


def _square(difference: Tensor) -> Tensor:
    """Returns the mean square over the pixels of each image, [B, ...] -> [B] float64."""
    return difference.double().square().flatten(1).mean(1)
