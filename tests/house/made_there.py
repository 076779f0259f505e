"""Short trainings of every method on a device, and the same draws on every device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from boot_exp.data.images import Images
from boot_exp.data.images import draw as drawn
from boot_exp.data.stored_pairs import PairsCard, StoredPairs
from boot_exp.diffusion.conditions import ByClass
from boot_exp.engine.averages import Average, Ema
from boot_exp.engine.loop import Trained, Training, fit
from boot_exp.engine.objectives import Companion, Portion
from boot_exp.engine.processes import Processes
from boot_exp.engine.terms import Term
from boot_exp.engine.work import Work
from boot_exp.methods import Method, Start
from boot_exp.methods.companions import Scoring
from boot_exp.methods.distilling import Distilling, FromImages, FromNoise, FromPairs, Source
from tests.house import made_runs

SHAPE = (1, 4, 4)
N, BATCH, STEPS = 30, 8, 6
PIXELS = np.random.default_rng(0).uniform(-1, 1, (N, *SHAPE)).astype(np.float32)


class SameDraws(TorchFunctionMode):
    """Within it a generator of any device draws what one of the CPU with its seed does."""

    def __init__(self) -> None:
        super().__init__()
        self.own: dict[torch.Generator, torch.Generator] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        theirs = given.get("generator")
        if theirs is None or func not in (torch.rand, torch.randn, torch.randint, torch.randperm):
            return func(*args, **given)
        if theirs not in self.own:
            self.own[theirs] = torch.Generator().manual_seed(theirs.initial_seed())
        where = given.pop("device", None)
        if func in (torch.rand, torch.randn):  # torch draws other numbers in another precision
            kind = given.pop("dtype", None) or torch.get_default_dtype()
            return func(*args, **{**given, "generator": self.own[theirs], "dtype": torch.float64}).to(where, kind)
        return func(*args, **{**given, "generator": self.own[theirs]}).to(where)


class SomeImages:
    """Thirty images without labels."""

    def draw(self, *, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
        return drawn(n=N, images_seen=images_seen, batch=batch, seed=seed)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, None]:
        return torch.from_numpy(PIXELS[indices]), None


def source(start: Start) -> Source:
    """What a method starts from, made up."""
    if start is Start.NOISE:
        return FromNoise(shape=SHAPE, conditions=ByClass(classes=None))
    if start is Start.IMAGES:
        return FromImages(images=cast(Images, SomeImages()), seed=0, classes=None)
    card = PairsCard(n=N, shard=N, seed=0, shape=list(SHAPE), classes=None, inputs={}, sha256={}, sha256_of_pairs="")
    return FromPairs(
        pairs=StoredPairs(folder=Path(), card=card, shards=(PIXELS,)), seed=0, conditions=ByClass(classes=card.classes)
    )


@dataclass(kw_only=True)
class Watched:
    """An objective of which the steps are counted; `before` is told the number of each, `after` changes its terms."""

    objective: Distilling
    before: Callable[[int], object] = lambda step: None
    after: Callable[[int, dict[str, Term]], dict[str, Term]] = lambda step, terms: terms
    steps: int = field(default=0)

    @property
    def self_teaching(self) -> Average | None:
        return self.objective.self_teaching

    @property
    def companion(self) -> Companion | None:
        return self.objective.companion

    def evaluations(self, batch: int) -> int:
        return self.objective.evaluations(batch)

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        self.steps += 1
        self.before(self.steps)
        return self.after(self.steps, self.objective.loss(model, portion, self_teacher=self_teacher))


def watched(method: Method | Scoring, device: torch.device, **watch: Any) -> Watched:
    """A method's objective on a device."""
    teacher = made_runs.network(1).to(device).eval().requires_grad_(False)
    companion = made_runs.network(4).to(device) if hasattr(method, "companion") else None
    objective = Distilling(
        method=method, teacher=teacher, source=source(method.starts_from), guidance=None, network=companion
    )
    return Watched(objective=objective, **watch)


def train(objective: Watched, device: torch.device, folder: Path) -> Trained:
    """Trains on the device from where it stands in the folder; only the last step is logged."""
    training = Training(
        images=BATCH * STEPS,
        batch=BATCH,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
        rate=lambda progress: 1e-3,
        ema=Ema(half_life=16),
    )
    return fit(
        training,
        made_runs.network(2).to(device),
        objective,
        title=type(objective.objective.method).__name__,
        work=Work(folder=folder / "work"),
        logs=folder / "logs",
        config="",
        settings={},
        preview=lambda average: torch.zeros(1, 1, 4, 4),
        processes=Processes(device=device),
    )


def end(folder: Path) -> dict[str, bytes]:
    """All that the last checkpoint holds but its card, which says how long it took."""
    last = max((folder / "work").glob("images-*"))
    assert last.name == f"images-{BATCH * STEPS:012d}"
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
