"""Stage sample: images from noise with each of a model's samplers; sample i of a seed starts from the same noise."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor, nn

from boot_exp.components import Count, Natural, component
from boot_exp.compute import Compute
from boot_exp.conditions import classes_in_turn
from boot_exp.denoisers import guided
from boot_exp.processes import Processes, join
from boot_exp.samplers import Sampler, flat
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.trained import check_unconditional
from boot_exp.stopping import stop_requests
from boot_exp.training.checkpoints import load_weights
from boot_exp.training.journal import Meter
from boot_exp.training.seeds import sample_noise
from boot_exp.training.work import alone
from evals.errors import ConfigurationFault, NumericalFault
from evals.files import replacing_folder, write_json
from evals.images import write_zip


def to_pixels(samples: Tensor) -> NDArray[np.uint8]:
    """Samples in [-1, 1], [B, C, H, W], as uint8 [B, H, W, C]: clipped and rounded. NumericalFault: not finite."""
    if not bool(samples.isfinite().all()):
        raise NumericalFault(
            "samples must be finite, got others; bound the schedule with Clamped, or train the model again"
        )
    pixels = samples.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


@component
class Sample:
    """n images of a seed with each sampler, drawn `batch` at a time; samplers may be sweeps of several."""

    model: nn.Module
    samplers: Sequence[Sampler | Iterable[Sampler]]
    n: Annotated[int, Ge(2), "a number of images, of which statistics need two,"]
    seed: Natural = 0
    batch: Count = 500
    compute: Compute = field(default_factory=Compute)
    each: list[Sampler] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        each = flat(self.samplers)
        names = [sampler.name for sampler in each]
        if len(set(names)) < len(names):
            raise ValueError(f"the samplers of a stage must have different names, got {names}")
        object.__setattr__(self, "each", each)

    def run(self, place: Place, *, model: Path) -> None:
        """Writes NAME.zip and NAME.json for each sampler; those already made by an interrupted run are kept."""
        card = load_weights(self.model, model)
        processes = join(self.compute.find())
        ready = self.compute.put(self.model, processes.device).eval().requires_grad_(False)
        work = place.work(card["sha256"]["weights.safetensors"])
        with alone(work) if processes.main else nullcontext():
            self.draw(place, ready, card, work, processes)

    def draw(self, place: Place, model: Any, card: dict[str, Any], work: Path, processes: Processes) -> None:
        """Draws into the work folder what is not there yet, then moves all of it to its place."""
        work.mkdir(parents=True, exist_ok=True)
        if processes.main:
            for partial in work.glob(".*"):  # of a run that was cut off
                partial.unlink()
        title, total = f"{place.suite} {place.name} samples", self.n * sum(sampler.nfe for sampler in self.each)
        with Meter(title=title, total=total, quiet=not processes.main, unit="calls") as meter:
            done = 0
            for sampler in self.each:
                archive, record = work / f"{sampler.name}.zip", work / f"{sampler.name}.json"
                if not processes.any(archive.exists() and record.exists()):
                    spent = [0.0]
                    asked = self.asked(model, sampler, card)
                    images = self.images(asked, sampler, card, spent, meter, done, processes)
                    if processes.main:
                        write_zip(archive, images)
                        write_json(record, self.record(place, sampler, asked.evaluations, card, spent[0], processes))
                    else:
                        deque(images, maxlen=0)
                done += self.n * sampler.nfe
        if not processes.main:
            return
        with stop_requests() as stops:
            with replacing_folder(place.out, holding="*.zip") as folder:
                shutil.copytree(work, folder, dirs_exist_ok=True)  # the work may lie on another disk
            if not stops:  # DVC deletes the result of a stage that was stopped
                shutil.rmtree(work)

    def asked(self, model: Any, sampler: Sampler, card: dict[str, Any]) -> Any:
        """What answers for a sampler's w: a teacher is guided, a student is told w, or was made for it.

        ConfigurationFault: a student that takes no w is asked for another than it was distilled at.
        """
        if sampler.w is None:
            return model
        if "starts_from" not in card:
            check_unconditional(card)
            return guided(model)
        if not model.takes_w and sampler.w != card["w"]:
            raise ConfigurationFault(
                f"a student that takes no w must be sampled at the w it was distilled at, {card['w']}, "
                f"got {sampler.name}; sample without w, or distil with takes_w = True"
            )
        return model

    def images(
        self,
        model: Any,
        sampler: Sampler,
        card: dict[str, Any],
        spent: list[float],
        meter: Meter,
        done: int,
        processes: Processes,
    ) -> Iterator[NDArray[np.uint8]]:
        """One uint8 [H, W, C] image after another; the seconds that the sampler took are added to spent[0]."""
        shape, classes, where = tuple(card["shape"]), card.get("classes"), processes.device

        def drawn(indices: range) -> tuple[NDArray[np.uint8], float]:
            eps = sample_noise(self.seed, indices, shape).to(where)
            condition = classes_in_turn(indices, classes, where)

            def more(draw: int) -> Tensor:
                return sample_noise(self.seed, indices, shape, draw=draw).to(where)

            started = time.perf_counter()
            with torch.no_grad(), self.compute.autocast(where):
                pixels = to_pixels(sampler(model, eps, condition, more).float())
            return pixels, time.perf_counter() - started

        batches = (range(first, min(first + self.batch, self.n)) for first in range(0, self.n, self.batch))
        for indices, (pixels, seconds) in processes.in_turn(batches, drawn):
            spent[0] += seconds
            meter.update(done + indices.stop * sampler.nfe)
            yield from pixels

    def record(
        self, place: Place, sampler: Sampler, calls: int, card: dict[str, Any], seconds: float, processes: Processes
    ) -> dict[str, Any]:
        """What the evaluator needs to know of these samples, and how they were made.

        calls: network calls of one call of the model.
        """
        asked = {"classes": card.get("classes")} if card.get("classes") is not None else {}
        asked |= {"w": sampler.w} if sampler.w is not None else {}
        return {
            "suite": place.suite,
            "method": place.name,
            "sampler": sampler.name,
            "nfe": sampler.nfe * calls,
            "n": self.n,
            **asked,
            "seconds_per_image": seconds / self.n,
            "card": {
                "seeds": [self.seed],
                "selection": "single",
                "solver": repr(sampler),
                "ema": card["ema"],
                "weights_sha256": card["sha256"]["weights.safetensors"],
                "training_images": card["images"],
                "training_seed": card["seed"],
                **provenance(processes.device),
            },
        }
