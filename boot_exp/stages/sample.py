"""Stage sample: images from noise with each of a model's samplers; sample i of a seed starts from the same noise."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor, nn

from boot_exp.components import Count, Natural, component
from boot_exp.conditions import classes_in_turn
from boot_exp.denoisers import guided
from boot_exp.samplers import Sampler, flat
from boot_exp.stages.place import Place, device, provenance, put
from boot_exp.stopping import stop_requests
from boot_exp.training.checkpoints import load_weights
from boot_exp.training.journal import Meter
from boot_exp.training.seeds import sample_noise
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
    device: str = "auto"
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
        where = device(self.device)
        ready = put(self.model, where).eval().requires_grad_(False)
        work = place.work(card["sha256"]["weights.safetensors"])
        work.mkdir(parents=True, exist_ok=True)
        for partial in work.glob(".*"):  # of a run that was cut off
            partial.unlink()
        title = f"{place.suite} {place.name} samples"
        with Meter(title=title, total=self.n * sum(sampler.nfe for sampler in self.each)) as meter:
            done = 0
            for sampler in self.each:
                archive, record = work / f"{sampler.name}.zip", work / f"{sampler.name}.json"
                if not (archive.exists() and record.exists()):
                    spent = [0.0]
                    asked = self.asked(ready, sampler, card)
                    write_zip(archive, self.images(asked, sampler, card, where, spent, meter, done))
                    write_json(record, self.record(place, sampler, asked.evaluations, card, spent[0], where))
                done += self.n * sampler.nfe
        with stop_requests() as stops:
            with replacing_folder(place.out, holding="*.zip") as folder:
                shutil.copytree(work, folder, dirs_exist_ok=True)  # the work may lie on another disk
            if not stops:  # DVC deletes the result of a stage that was stopped
                shutil.rmtree(work)

    def asked(self, model: Any, sampler: Sampler, card: dict[str, Any]) -> Any:
        """What answers for a sampler's w: a teacher is guided, a student is told w, or was made for it.

        ConfigurationFault: a student that takes no w is asked for another than it was distilled at.
        """
        if sampler.w is None or "starts_from" not in card:
            return model if sampler.w is None else guided(model)
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
        where: torch.device,
        spent: list[float],
        meter: Meter,
        done: int,
    ) -> Iterator[NDArray[np.uint8]]:
        """One uint8 [H, W, C] image after another; the seconds that the sampler took are added to spent[0]."""
        shape, classes = tuple(card["shape"]), card.get("classes")
        for first in range(0, self.n, self.batch):
            indices = range(first, min(first + self.batch, self.n))
            eps = sample_noise(self.seed, indices, shape).to(where)
            condition = classes_in_turn(indices, classes, where)

            def more(draw: int, indices: range = indices) -> Tensor:
                return sample_noise(self.seed, indices, shape, draw=draw).to(where)

            started = time.perf_counter()
            with torch.no_grad():
                pixels = to_pixels(sampler(model, eps, condition, more))
            spent[0] += time.perf_counter() - started
            meter.update(done + indices.stop * sampler.nfe)
            yield from pixels

    def record(
        self, place: Place, sampler: Sampler, calls: int, card: dict[str, Any], seconds: float, where: torch.device
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
                **provenance(where),
            },
        }
