"""Times the trainer, the sampler and the evaluator, relative to their bare network calls."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.asked import Asked
from benchmarks.calls import recorded
from benchmarks.graphs import graphed
from benchmarks.places import COMPILE, LARGER, leaf
from benchmarks.students import Student, built, images, leaves, student
from benchmarks.timing import Comparison, Row, compared, finish, precision, seconds
from boot_exp.data.images import Images
from boot_exp.diffusion.conditions import ByClass, Conditions
from boot_exp.diffusion.samplers import Along, Sampler, flat
from boot_exp.diffusion.solvers import Ddim
from boot_exp.engine.averages import Average
from boot_exp.engine.cards import Model
from boot_exp.engine.loop import fit
from boot_exp.engine.objectives import Companion, Objective, Portion
from boot_exp.engine.processes import Processes
from boot_exp.engine.seeds import TRAINING, generator
from boot_exp.engine.terms import Term
from boot_exp.engine.work import Work
from boot_exp.stages.sample import Sample
from evals.features.indomain import InDomain, to_input, train_extractor
from evals.images.reading import images_of
from evals.scores.one_pass import see

SAMPLES = 1000
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Timed:
    """An objective that records the time of each call."""

    objective: Objective
    device: torch.device
    times: list[float]

    @property
    def self_teaching(self) -> Average | None:
        return self.objective.self_teaching

    @property
    def companion(self) -> Companion | None:
        return self.objective.companion

    def evaluations(self, batch: int) -> int:
        return self.objective.evaluations(batch)

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        finish(self.device)
        self.times.append(time.perf_counter())
        return self.objective.loss(model, portion, self_teacher=self_teacher)


def trained(made: Student, device: torch.device, steps: int) -> float:
    """Times a step of the trainer: draws, loss, clipping, optimizer, averages, journal and progress."""
    training = made.stage.training
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        fit(
            replace(training, images=steps * training.batch, preview_every=10**12),
            made.model,
            Timed(objective=made.objective, device=device, times=times),
            title=made.name,
            work=Work(folder=Path(folder) / "work"),
            logs=Path(folder) / "logs",
            config="",
            settings={},
            preview=lambda average: torch.zeros(1, 1, 8, 8),
            processes=Processes(device=device),
            autocast=lambda: made.stage.compute.autocast(device),
        )
    return (times[-1] - times[0]) / (len(times) - 1)


def first_portion(made: Student, device: torch.device) -> Portion:
    """Returns the first batch that the trainer draws."""
    training = made.stage.training
    drawn = generator(training.seed, TRAINING, 0, device=device)
    return Portion(seen=0, size=training.batch, generator=drawn, progress=0.0)


def compiling(asked: Asked) -> list[str]:
    """Returns the binding that compiles networks on a GPU; clears the compiled code of earlier comparisons.

    torch compiles a network's code for at most eight sizes or modes, counted over all networks of a class.
    """
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return [COMPILE] if asked.gpu and asked.compiled else []


def step(leaf: Path, data: Images, asked: Asked) -> Row:
    """Compares a step of the trainer with its network calls."""
    device = asked.device
    by_forward_mode = not getattr(built(leaf, "distil").method, "shardable", True)  # which cannot be compiled
    made = student(leaf, data, device, *asked.bind, *([] if by_forward_mode else compiling(asked)))
    return step_of(made, f"{leaf.parent.name}/{leaf.stem}", asked)


def step_of(made: Student, name: str, asked: Asked) -> Row:
    """Compares a step of a student's trainer with its network calls."""
    device = asked.device
    following = made.objective.self_teaching
    self_teacher = following.start(made.model) if following else None
    portion = first_portion(made, device)
    with made.stage.compute.autocast(device):
        calls = recorded(made.models(self_teacher), lambda: made.losses(portion, self_teacher))

    def bare() -> None:
        for _ in range(asked.steps - 1):
            made.model.zero_grad(set_to_none=True)
            with made.stage.compute.autocast(device):
                for call in calls:
                    call()

    batch = made.stage.training.batch
    return compared(
        "step",
        f"{type(made.objective.method).__name__}, {name}",
        lambda: trained(made, device, asked.steps),
        lambda: seconds(bare, device) / (asked.steps - 1),
        budget=asked.budget,
        limit=1.05 if asked.gpu else 1.10,
        what=f"batch {batch}, {sum(call.images for call in calls)} images through networks in {len(calls)} calls",
        batch=batch,
        numbers=precision(made.stage.compute, device),
    )


def sampling(
    stage: Sample,
    sampler: Sampler,
    name: str,
    shape: tuple[int, ...],
    device: torch.device,
    budget: float | None,
    n: int,
    conditions: Conditions | None = None,
) -> Row:
    """Compares a sampler's images, from noise to pixels, with as many forward passes of the network.

    conditions: those of prompts; None: classes.
    """
    model: Any = stage.compute.frozen(stage.model, device)
    card, sized = Model(shape=list(shape), classes=model.classes, sha256={}), replace(stage, n=n)
    chosen = conditions or ByClass(classes=model.classes, labels=stage.labels)
    x = torch.randn(min(stage.batch, n), *shape, device=device)
    told = chosen.of(0, torch.arange(len(x), device=device)).given
    label = told.pop("label", None)
    t = torch.full((len(x),), 0.5, device=device)

    def ours() -> float:
        batches = [range(low, low + len(x)) for low in range(0, n, len(x))]
        drawn = sized.images(model, sampler, card, chosen, batches, Processes(device=device))
        return seconds(lambda: list(drawn), device)

    def bare() -> float:
        with stage.compute.autocast(device):
            return seconds(lambda: forwards(model.net, (x, t, label), sampler.nfe * n // len(x), told), device)

    what = f"{n} images of {'x'.join(map(str, shape))} in batches of {len(x)}, NFE {sampler.nfe}"
    return compared(
        "sampling",
        f"{sampler.name}, {name}",
        ours,
        bare,
        budget=budget,
        limit=1.05,
        what=what,
        batch=len(x),
        numbers=precision(stage.compute, device),
    )


@torch.inference_mode()
def forwards(net: nn.Module, given: tuple[Any, ...], times: int, told: Mapping[str, Any] = NONE) -> None:
    """Runs as many forward passes, on inputs by place and by name."""
    for _ in range(times):
        net(*given, **told)


def features(suite: str, data: Images, asked: Asked) -> Row:
    """Compares all that FID needs of images in memory with the extractor's network alone."""
    folder = Path(tempfile.mkdtemp(prefix="boot-exp-benchmark-")) / "extractor"
    train_extractor(data.folder, folder, suite=suite, updates=2)
    extractor = InDomain(folder)
    pixels = np.resize(np.asarray(data.pixels), (100 if asked.reduced else 10_000, *data.pixels.shape[1:]))
    network, given = extractor._network, torch.from_numpy(pixels)

    @torch.inference_mode()
    def bare() -> None:
        for batch in given.split(64):
            network(to_input(batch))

    cpu = torch.device("cpu")
    return compared(
        "features",
        f"{extractor.name}, moments and fingerprint",
        lambda: seconds(lambda: see(images_of(pixels, "memory"), extractor), cpu),
        lambda: seconds(bare, cpu),
        budget=asked.budget,
        limit=1.15,
        what=f"{len(pixels):,} images in memory, in batches of 64",
    )


def jump(asked: Asked, suite: str, *, shape: tuple[int, ...], n: int, batch: int | None = None) -> Row:
    """Times one-evaluation samples of a suite's BOOT student, of a shape; batch: size, by default the run's own."""
    stage = built(leaf(suite, "boot"), "sample", *asked.bind, *compiling(asked))
    stage = stage if batch is None else replace(stage, batch=batch)
    return sampling(stage, flat(stage.samplers)[0], f"{suite}/boot", shape, asked.device, asked.budget, n=asked.few(n))


def steps(suite: str, count: int, shape: tuple[int, ...], asked: Asked) -> Row:
    """Times samples of a suite's teacher with this many steps of DDIM."""
    stage = built(leaf(suite, "teacher"), "sample", *asked.bind, *compiling(asked))
    sampler = Along(solver=Ddim(), steps=count)
    n = asked.few(SAMPLES)
    return sampling(stage, sampler, f"{suite}/teacher", shape, asked.device, asked.budget, n=n)


def rows(asked: Asked) -> Iterator[Comparison]:
    """Yields every floor."""
    data = {suite: images(suite) for suite in asked.suites}
    for each in leaves(list(asked.suites)):
        yield f"step of {each}", partial(step, each, data[each.parent.name], asked)
    first = asked.suites[0]
    card = data[first].card
    shape = (card.channels, card.height, card.width)
    for count in (4, 10):
        yield f"DDIM {count}", partial(steps, first, count, shape, asked)
    yield "one jump", partial(jump, asked, first, shape=shape, n=SAMPLES)
    yield "one jump, larger", partial(jump, asked, LARGER, shape=(1, 32, 32), n=100, batch=50)
    yield "features", partial(features, first, data[first], asked)


def on_a_gpu(asked: Asked) -> Iterator[Comparison]:
    """Yields one-evaluation sampling at 64x64, where noise may cost most, and a network call as a CUDA graph."""
    yield "one jump at 64x64", partial(jump, asked, LARGER, shape=(1, 64, 64), n=SAMPLES)
    for batch in (16, 256) if asked.gpu else (4,):
        yield f"CUDA graph, batch {batch}", partial(captured, batch, asked)


def captured(batch: int, asked: Asked) -> Row:
    """Compares a forward pass replayed as a CUDA graph with the plain call."""
    stage, device = built(leaf(LARGER, "boot"), "sample", *asked.bind), asked.device
    model = stage.compute.frozen(stage.model, device)
    x, t = torch.randn(batch, 1, 32, 32, device=device), torch.full((batch,), 0.5, device=device)
    label = torch.arange(batch, device=device) % model.classes
    replay = graphed(model.net, (x, t, label), device)
    return compared(
        "settings",
        f"CUDA graph, batch {batch}",
        lambda: seconds(replay, device),
        lambda: seconds(lambda: forwards(model.net, (x, t, label), 1), device),
        budget=asked.budget,
        limit=None,
        what="a forward pass of 32x32, to a plain call; no setting of ours yet",
        batch=batch,
    )
