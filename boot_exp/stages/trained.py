"""The parts around the loop that all training stages share: work state, previews, the folder of the result."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import cast

from torch import Tensor, nn

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import DiffusionModel
from boot_exp.diffusion.samplers import Sampler, noise_of
from boot_exp.engine.cards import Distilled, Effort, Model, ModelCard, Taught
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.engine.loop import Training, fit
from boot_exp.engine.objectives import Objective
from boot_exp.engine.processes import Processes, whole
from boot_exp.engine.stopping import stop_requests
from boot_exp.engine.work import Work, alone
from boot_exp.stages.place import Place, provenance
from evals.ground.faults import ConfigurationFault

PREVIEWS = 64


def check_unconditional(model: Model) -> None:
    """ConfigurationFault: the teacher is to be guided, but was never trained without labels."""
    if not model.student and not model.label_dropout:
        raise ConfigurationFault(
            "a teacher that is guided must have been trained without labels as well, got label_dropout "
            f"{model.label_dropout}; train one with Teacher.label_dropout, or leave guidance out"
        )


def train_and_write(
    place: Place,
    *,
    model: nn.Module,
    objective: Objective,
    training: Training,
    preview: Sampler,
    condition: Condition,
    shape: tuple[int, ...],
    inputs: Mapping[str, str],
    classes: int | None,
    kind: Taught | Distilled,
    compute: Compute,
    processes: Processes,
) -> None:
    """Trains, then writes the averaged weights and a card; deletes the work state once both are written.

    condition: of the pictures shown on the way, PREVIEWS or as many as a batch has; shape: of one image, (C, H, W);
    inputs: hashes of what the model was made from; classes, kind: for its card.
    """
    where = processes.device
    shown = range(min(PREVIEWS, training.batch))
    noise = noise_of(training.seed, shown, shape, where)
    eps, told = noise(0), condition[: len(shown)]

    def draw(average: nn.Module) -> Tensor:
        return preview(cast(DiffusionModel, average.eval()), eps, told, noise)

    made_by = provenance(where)
    work = Work(folder=place.work(*inputs.values()), keep=training.keep, keep_every=training.keep_every)
    architecture, parameters = str(model), sum(parameter.numel() for parameter in model.parameters())
    with alone(work.folder) if processes.main else nullcontext():
        trained = fit(
            training,
            model,
            objective,
            title=f"{place.suite} {place.name}",
            work=work,
            logs=place.logs,
            config=place.config,
            settings=place.settings,
            preview=draw,
            processes=processes,
            autocast=partial(compute.autocast, where),
        )
        weights = whole(trained.average.state_dict())
        if not processes.main:
            return
        card = ModelCard(
            suite=place.suite,
            stage=place.name,
            shape=shape,
            classes=classes,
            images=trained.images,
            seconds=round(trained.seconds, 1),
            evaluations=trained.evaluations,
            architecture=architecture,
            parameters=parameters,
            seed=training.seed,
            ema={"rule": type(training.ema).__name__, **vars(training.ema)},
            inputs=dict(inputs),
            config=place.config,
            made_by=made_by,
            kind=kind,
            effort=Effort(skipped_steps=trained.skipped, memory_peak=trained.memory, processes=processes.count),
        )
        with stop_requests() as stops:
            write_folder(place.out, {"weights": weights}, card.json())
            if not stops:  # DVC deletes the result of a stage that was stopped
                work.clear()
