"""Stage pairs: solves noise to images with the teacher, once, for methods that regress on the pairs."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boot_exp.config.components import Count, Natural, component
from boot_exp.data.stored_pairs import CARD, WholePairsCard
from boot_exp.diffusion.conditions import Conditions, Prompts
from boot_exp.diffusion.denoisers import Guided, Networked, taking_w
from boot_exp.diffusion.samplers import Sampler, noise_of
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.compute import Compute
from boot_exp.engine.journal import Meter
from boot_exp.engine.processes import Processes, join
from boot_exp.engine.seeds import NOISE, PAIRS, numbered
from boot_exp.engine.stopping import Stopped, stop_requests
from boot_exp.engine.work import alone, in_shards
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.trained import check_unconditional, conditions_of
from evals.ground.faults import NumericalFault
from evals.ground.files import read_json, replacing, replacing_folder, sha256_of, write_json


@component
class Pairs:
    """Draws n pairs of a seed with a sampler of the teacher, `batch` at a time, `shard` to a file."""

    teacher: Networked
    sampler: Sampler
    n: Count
    seed: Natural = 0
    batch: Count = 500
    shard: Count = 10_000
    prompts: Prompts | None = None
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place, *, teacher: Path, prompts: Path | None = None) -> None:
        """Writes x0-NNNNN.npy, float32 [shard, C, H, W], and card.json; shards of an interrupted run are kept."""
        card = Model.of(load_weights(self.teacher, teacher), teacher)
        if self.sampler.w is not None:
            check_unconditional(card)
        processes = join(self.compute.find())
        conditions, inputs = conditions_of(
            self.teacher, processes.device, classes=card.classes, seed=self.seed, prompts=self.prompts, folder=prompts
        )
        ready = self.compute.frozen(self.teacher, processes.device)
        inputs = {"teacher": card.weights, **inputs}
        work = place.work(*inputs.values())
        with alone(work) if processes.main else nullcontext():
            model = ready if self.sampler.w is None else taking_w(ready)
            self.make(place, model, card, conditions, inputs, work, processes)

    def make(
        self,
        place: Place,
        model: Networked | Guided,
        card: Model,
        conditions: Conditions,
        inputs: Mapping[str, str],
        work: Path,
        processes: Processes,
    ) -> None:
        """Makes the shards that are missing in the work folder, then moves all of them to the result."""
        shape = tuple(card.shape)
        work.mkdir(parents=True, exist_ok=True)
        seconds = 0.0

        def solve(indices: range) -> NDArray[np.float32]:
            return self.solve(model, indices, shape, conditions, processes.device)

        title = f"{place.suite} pairs"
        with Meter(title=title, total=self.n, quiet=not processes.main) as meter, stop_requests() as stops:
            for shard in in_shards(work, "x0-{:05d}.npy", self.n, self.shard):
                if not processes.any(shard.there):
                    started = time.perf_counter()
                    parts = []
                    for indices, x0 in processes.in_turn(shard.batches(self.batch), solve):
                        parts.append(x0)
                        meter.update(indices.stop)
                        if processes.any(bool(stops)):
                            raise Stopped(
                                f"{title} stopped at {shard.indices.start} on request; start it again to go on"
                            )
                    if processes.main:
                        with replacing(shard.path) as partial, partial.open("wb") as file:
                            np.save(file, np.concatenate(parts))
                        write_json(shard.spent, {"seconds": time.perf_counter() - started})
                if processes.main:
                    seconds += read_json(shard.spent)["seconds"]
        if not processes.main:
            return
        files = sorted(work.glob("x0-*.npy"))
        hashes = {path.name: sha256_of(path) for path in files}
        made = WholePairsCard(
            suite=place.suite,
            n=self.n,
            shape=list(shape),
            classes=card.classes,
            seed=self.seed,
            noise=NOISE,
            shard=self.shard,
            sampler=repr(self.sampler),
            w=self.sampler.w,
            nfe=self.sampler.nfe * model.evaluations,
            evaluations=self.n * self.sampler.nfe * model.evaluations,
            seconds=round(seconds, 1),
            bytes=sum(path.stat().st_size for path in files),
            inputs=inputs,
            sha256=hashes,
            sha256_of_pairs=hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
            **provenance(processes.device),
        )
        with stop_requests() as stops:
            with replacing_folder(place.out, holding=CARD) as folder:
                for path in files:
                    shutil.copyfile(path, folder / path.name)  # the work folder may be on another disk
                write_json(folder / CARD, asdict(made))
            if not stops:  # DVC deletes the result of a stage that was stopped
                shutil.rmtree(work)

    def solve(
        self,
        model: Networked | Guided,
        indices: range,
        shape: tuple[int, ...],
        conditions: Conditions,
        where: torch.device,
    ) -> NDArray[np.float32]:
        """Samples from the noise of `indices`: [B, C, H, W]."""
        noise = noise_of(self.seed, indices, shape, where, purpose=PAIRS)
        with torch.inference_mode(), self.compute.autocast(where):
            condition = conditions.of(self.seed, numbered(indices, where), PAIRS)
            x0 = self.sampler(model, noise(0), condition, noise)
        if not bool(x0.isfinite().all()):
            raise NumericalFault(
                "pairs must be finite, got others; bound the schedule with Clamped, or sample otherwise"
            )
        return x0.float().cpu().numpy()
