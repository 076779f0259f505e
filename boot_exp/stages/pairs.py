"""Stage pairs: noise, solved to the end by the teacher, once, for methods that regress on it."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boot_exp.components import Count, Natural, component
from boot_exp.conditions import classes_in_turn
from boot_exp.data.pairs import CARD
from boot_exp.denoisers import Guided, Networked, guided
from boot_exp.samplers import Sampler
from boot_exp.stages.place import Place, device, provenance, put
from boot_exp.stopping import Stopped, stop_requests
from boot_exp.training.checkpoints import load_weights
from boot_exp.training.journal import Meter
from boot_exp.training.seeds import PAIRS, sample_noise
from evals.errors import NumericalFault
from evals.files import read_json, replacing, replacing_folder, sha256_of, write_json


@component
class Pairs:
    """n pairs of a seed, made by a sampler of the teacher, `batch` at a time, `shard` to a file."""

    teacher: Networked
    sampler: Sampler
    n: Count
    seed: Natural = 0
    batch: Count = 500
    shard: Count = 10_000
    device: str = "auto"

    def run(self, place: Place, *, teacher: Path) -> None:
        """Writes x0-NNNNN.npy, float32 [shard, C, H, W], and card.json; shards of an interrupted run are kept."""
        card = load_weights(self.teacher, teacher)
        where = device(self.device)
        ready = put(self.teacher, where).eval().requires_grad_(False)
        model = ready if self.sampler.w is None else guided(ready)
        shape = tuple(card["shape"])
        weights = card["sha256"]["weights.safetensors"]
        work = place.work(weights)
        work.mkdir(parents=True, exist_ok=True)
        seconds = 0.0
        with Meter(title=f"{place.suite} pairs", total=self.n) as meter, stop_requests() as stops:
            for number, first in enumerate(range(0, self.n, self.shard)):
                shard, spent = work / f"x0-{number:05d}.npy", work / f"x0-{number:05d}.json"
                last = min(first + self.shard, self.n)
                if not (shard.exists() and spent.exists()):
                    started = time.perf_counter()
                    parts = []
                    for low in range(first, last, self.batch):
                        indices = range(low, min(low + self.batch, last))
                        parts.append(self.solve(model, indices, shape, card.get("classes"), where))
                        meter.update(indices.stop)
                        if stops:
                            raise Stopped(f"{place.suite} pairs stopped at {first} on request; start it again to go on")
                    with replacing(shard) as partial, partial.open("wb") as file:
                        np.save(file, np.concatenate(parts))
                    write_json(spent, {"seconds": time.perf_counter() - started})
                seconds += read_json(spent)["seconds"]
        files = sorted(work.glob("x0-*.npy"))
        hashes = {path.name: sha256_of(path) for path in files}
        made = {
            "suite": place.suite,
            "n": self.n,
            "shape": list(shape),
            "classes": card.get("classes"),
            "seed": self.seed,
            "shard": self.shard,
            "sampler": repr(self.sampler),
            "w": self.sampler.w,
            "nfe": self.sampler.nfe * model.evaluations,
            "evaluations": self.n * self.sampler.nfe * model.evaluations,
            "seconds": round(seconds, 1),
            "bytes": sum(path.stat().st_size for path in files),
            "inputs": {"teacher": weights},
            "sha256": hashes,
            "sha256_of_pairs": hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
            **provenance(where),
        }
        with stop_requests() as stops:
            with replacing_folder(place.out, holding=CARD) as folder:
                for path in files:
                    shutil.copyfile(path, folder / path.name)  # the work may lie on another disk
                write_json(folder / CARD, made)
            if not stops:  # DVC deletes the result of a stage that was stopped
                shutil.rmtree(work)

    def solve(
        self,
        model: Networked | Guided,
        indices: range,
        shape: tuple[int, ...],
        classes: int | None,
        where: torch.device,
    ) -> NDArray[np.float32]:
        """What the sampler makes of the noise of `indices`: [B, C, H, W]."""
        eps = sample_noise(self.seed, indices, shape, purpose=PAIRS).to(where)

        def more(draw: int) -> Tensor:
            return sample_noise(self.seed, indices, shape, draw=draw, purpose=PAIRS).to(where)

        with torch.no_grad():
            x0 = self.sampler(model, eps, classes_in_turn(indices, classes, where), more)
        if not bool(x0.isfinite().all()):
            raise NumericalFault(
                "pairs must be finite, got others; bound the schedule with Clamped, or sample otherwise"
            )
        return x0.float().cpu().numpy()
