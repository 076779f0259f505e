"""The parts around the loop that all training stages share: work state, previews, the folder of the result."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import ByClass, Condition, Conditions, Labels, LabelsInTurn, Prompts
from boot_exp.diffusion.denoisers import Decoder, DiffusionModel, Networked, takes_text
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


def conditions_of(
    model: nn.Module,
    where: torch.device,
    *,
    classes: int | None,
    seed: int,
    labels: Labels = LabelsInTurn(),  # noqa: B008 - it holds nothing that could change
    prompts: Prompts | None,
    folder: Path | None,
) -> tuple[Conditions, dict[str, str]]:
    """Returns the conditions that a run's images have, and the hashes of what they are made from.

    prompts, folder: for a text-to-image model; a teacher is then told the negative prompt. ConfigurationFault: such a
    model has no prompts, or another one has some.
    """
    text = takes_text(model)
    if (text, text) != (prompts is not None, folder is not None):
        raise ConfigurationFault(
            f"a model that takes {'text needs prompts' if text else 'no text needs no prompts'}, got "
            f"{prompts or 'none'} bound and --prompts {folder or 'none'}; {'give both' if text else 'leave them out'}"
        )
    if prompts is None or folder is None:
        return ByClass(classes=classes, labels=labels), {}
    read = prompts(folder, seed, where)
    if isinstance(model, Networked):
        model.negative = read.without
    return read, {"prompts": read.sha256}


def train_and_write(
    place: Place,
    *,
    model: nn.Module,
    objective: Objective,
    training: Training,
    preview: Sampler,
    decoder: Decoder | None = None,
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
    decoder: what turns the preview's samples into pictures, for a model of latents; inputs: hashes of what the model
    was made from; classes, kind: for its card.
    """
    where = processes.device
    shown = range(min(PREVIEWS, training.batch))
    noise = noise_of(training.seed, shown, shape, where)
    eps, told = noise(0), condition[: len(shown)]

    def draw(average: nn.Module) -> Tensor:
        drawn = preview(cast(DiffusionModel, average.eval()), eps, told, noise)
        return drawn if decoder is None else decoder(drawn)

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
