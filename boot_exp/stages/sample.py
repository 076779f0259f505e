"""Stage sample: draws images from noise with a model's samplers. Sample i of a seed always has the same noise."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import field
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor, nn

from boot_exp.config.components import Count, Natural, component
from boot_exp.diffusion.conditions import Conditions, Labels, LabelsInTurn, Prompts
from boot_exp.diffusion.denoisers import Decoder, taking_w
from boot_exp.diffusion.samplers import Sampler, flat, noise_of
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.compute import Compute
from boot_exp.engine.journal import Meter
from boot_exp.engine.processes import Processes, join
from boot_exp.engine.seeds import numbered
from boot_exp.engine.stopping import stop_requests
from boot_exp.engine.work import Shard, alone, in_shards
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.trained import check_unconditional, conditions_of
from evals.ground.faults import ConfigurationFault, NumericalFault
from evals.ground.files import read_json, replacing_folder, write_json
from evals.images.samples import SamplesCard
from evals.images.zips import join_zips, write_zip


def to_pixels(samples: Tensor) -> NDArray[np.uint8]:
    """Clips and rounds samples in [-1, 1], [B, C, H, W], to uint8 [B, H, W, C]. NumericalFault: they are not finite."""
    if not bool(samples.isfinite().all()):
        raise NumericalFault(
            "samples must be finite, got others; bound the schedule with Clamped, or train the model again"
        )
    pixels = samples.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def each_image(
    batches: Iterable[tuple[NDArray[np.uint8], float]], seconds: list[float], tell: Callable[[int], None]
) -> Iterator[NDArray[np.uint8]]:
    """Yields one image after another; records the seconds of each batch and reports its size."""
    for pixels, took in batches:
        seconds.append(took)
        tell(len(pixels))
        yield from pixels


@component
class Sample:
    """Draws n images of a seed with each sampler, `batch` at a time; a sampler may be a sweep of several.

    labels: the class of each image, if there are classes. prompts, decoder: for a model that takes text, and for one of
    latents. shard: an interrupted run continues after a multiple of
    this number of images.
    """

    model: nn.Module
    samplers: Sequence[Sampler | Iterable[Sampler]]
    n: Annotated[int, Ge(2), "a number of images, of which statistics need two,"]
    seed: Natural = 0
    batch: Count = 500
    labels: Labels = field(default_factory=LabelsInTurn)
    prompts: Prompts | None = None
    decoder: Decoder | None = None
    shard: Count = 2_000
    compute: Compute = field(default_factory=Compute)
    each: list[Sampler] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        each = flat(self.samplers)
        names = [sampler.name for sampler in each]
        if len(set(names)) < len(names):
            raise ValueError(f"the samplers of a stage must have different names, got {names}")
        object.__setattr__(self, "each", each)

    def run(self, place: Place, *, model: Path, prompts: Path | None = None) -> None:
        """Writes NAME.zip and NAME.json for each sampler; images that an interrupted run has drawn are kept."""
        card = Model.of(load_weights(self.model, model), model)
        processes = join(self.compute.find())
        conditions, inputs = conditions_of(
            self.model,
            processes.device,
            classes=card.classes,
            seed=self.seed,
            labels=self.labels,
            prompts=self.prompts,
            folder=prompts,
        )
        ready = self.compute.frozen(self.model, processes.device)
        work = place.work(card.weights, *inputs.values())
        with alone(work) if processes.main else nullcontext():
            self.draw(place, ready, card, conditions, work, processes)

    def draw(
        self, place: Place, model: Any, card: Model, conditions: Conditions, work: Path, processes: Processes
    ) -> None:
        """Draws the images that are missing in the work folder, then moves all of them to the result."""
        work.mkdir(parents=True, exist_ok=True)
        if processes.main:
            for partial in work.rglob(".*"):  # left by a run that was interrupted
                partial.unlink()
        todo, calls = [], 0
        for sampler in self.each:
            if not processes.any((work / f"{sampler.name}.zip").exists() and (work / f"{sampler.name}.json").exists()):
                shards = in_shards(work / f"{sampler.name}.shards", "{:05d}.zip", self.n, self.shard)
                missing = [shard for shard in shards if not processes.any(shard.there)]
                calls += sampler.nfe * sum(len(shard.indices) for shard in missing)
                todo.append((sampler, shards, missing))
        title, total = f"{place.suite} {place.name} samples", self.n * sum(sampler.nfe for sampler in self.each)
        with Meter(title=title, total=total, done=total - calls, quiet=not processes.main, unit="calls") as meter:
            for sampler, shards, missing in todo:
                asked = self.asked(model, sampler, card)
                self.fill(missing, asked, sampler, card, conditions, meter, processes)
                if processes.main:
                    seconds = sum(read_json(shard.spent)["seconds"] for shard in shards)
                    join_zips(work / f"{sampler.name}.zip", [shard.path for shard in shards])
                    record = self.record(place, sampler, asked.evaluations, card, conditions, seconds, processes)
                    write_json(work / f"{sampler.name}.json", record.json())
                    shutil.rmtree(work / f"{sampler.name}.shards")
        if not processes.main:
            return
        with stop_requests() as stops:
            with replacing_folder(place.out, holding="*.zip") as made:
                # Copied, because the work folder may be on another disk.
                shutil.copytree(work, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.shards"))
            if not stops:  # DVC deletes the result of a stage that was stopped
                shutil.rmtree(work)

    def asked(self, model: Any, sampler: Sampler, card: Model) -> Any:
        """Returns the model for a sampler's w: a teacher is guided; a student takes w, or was distilled at it.

        ConfigurationFault: a student that takes no w is sampled at another w than it was distilled at.
        """
        if sampler.w is None:
            return model
        if not card.student:
            check_unconditional(card)
            return taking_w(model)
        if not model.takes_w and sampler.w != card.w:
            raise ConfigurationFault(
                f"a student that takes no w must be sampled at the w it was distilled at, {card.w}, "
                f"got {sampler.name}; sample without w, or distil with takes_w = True"
            )
        return model

    def fill(
        self,
        shards: Sequence[Shard],
        model: Any,
        sampler: Sampler,
        card: Model,
        conditions: Conditions,
        meter: Meter,
        processes: Processes,
    ) -> None:
        """Draws shards; the processes share the batches of all of them."""
        batches = [shard.batches(self.batch) for shard in shards]
        drawn = self.images(model, sampler, card, conditions, list(chain(*batches)), processes)
        for shard, several in zip(shards, batches, strict=True):
            seconds: list[float] = []
            images = each_image(islice(drawn, len(several)), seconds, lambda count: meter.advance(count * sampler.nfe))
            if processes.main:
                write_zip(shard.path, images)
                write_json(shard.spent, {"seconds": sum(seconds)})
            else:
                deque(images, maxlen=0)

    def images(
        self,
        model: Any,
        sampler: Sampler,
        card: Model,
        conditions: Conditions,
        batches: Sequence[range],
        processes: Processes,
    ) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Yields the images of each batch of indices, uint8 [B, H, W, C], and the seconds that the sampler took."""
        shape, where = tuple(card.shape), processes.device

        def drawn(indices: range) -> tuple[NDArray[np.uint8], float]:
            started = time.perf_counter()
            noise = noise_of(self.seed, indices, shape, where)
            eps = noise(0)
            condition = conditions.of(self.seed, numbered(indices, where))
            with torch.inference_mode(), self.compute.autocast(where):
                samples = sampler(model, eps, condition, noise).float()
                pixels = to_pixels(samples if self.decoder is None else self.decoder(samples))
            return pixels, time.perf_counter() - started

        return (made for _, made in processes.in_turn(batches, drawn))

    def record(
        self,
        place: Place,
        sampler: Sampler,
        calls: int,
        card: Model,
        conditions: Conditions,
        seconds: float,
        processes: Processes,
    ) -> SamplesCard:
        """Returns what the evaluator needs to know about these samples, and their provenance.

        calls: network calls of one call of the model.
        """
        in_turn = card.classes is not None and isinstance(self.labels, LabelsInTurn)
        return SamplesCard(
            suite=place.suite,
            method=place.name,
            sampler=sampler.name,
            nfe=sampler.nfe * calls,
            n=self.n,
            classes=card.classes if in_turn else None,
            w=sampler.w,
            seconds_per_image=seconds / self.n,
            card={
                "seeds": [self.seed],
                "selection": "single",
                "solver": repr(sampler),
                "ema": card.ema,
                **conditions.record,
                "weights_sha256": card.weights,
                "training_images": card.images,
                "training_seed": card.seed,
                **provenance(processes.device),
            },
        )
