"""A step on a GPU waits for nothing and mixes no devices, by tensors of torch that have a device and no numbers.

Such a tensor cannot be read, so that what asks a GPU for a number fails here. What is copied to one must be pinned and
not be waited for; nothing is copied from one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from boot_exp.data.images import Images
from boot_exp.data.stored_pairs import PairsCard, StoredPairs
from boot_exp.diffusion.conditions import ByClass, Condition, UniformGuidance
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.samplers import Sampler, noise_of
from boot_exp.diffusion.schedules import Clamped, Schedule, SquaredCosineTable
from boot_exp.diffusion.times import UniformTimes
from boot_exp.diffusion.weights import TruncatedSnr
from boot_exp.engine.averages import Ema, Tensors
from boot_exp.engine.compute import on
from boot_exp.engine.objectives import Portion
from boot_exp.engine.watch import Finite
from boot_exp.methods import Batch, Method
from boot_exp.methods.denoising import Denoising, LabelledImages
from boot_exp.methods.distilling import FromImages, FromNoise, FromPairs, Source
from tests.house import made_runs
from tests.house.devices import SAMPLERS
from tests.house.made_components import SCHEDULES

GPU = torch.device("cuda")
COPIES = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}
"""Which argument is copied; of the second, the one after it says not to wait."""


class OnGpu(torch.Generator):
    """A generator of a GPU that is not there."""

    device = GPU


class NoWaiting(TorchDispatchMode):
    """Refuses copies from a GPU, and copies to one that wait until they are done, or are not of pinned memory."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if func in COPIES:
            source = args[COPIES[func]]
            goes_on = kwargs.get("non_blocking") or any(args[2:])
            if source.device.type != made.device.type:
                assert goes_on and id(source) in self.pinned, f"waits for a copy to {made.device}"
        return made

    def pin(self, tensor: Tensor) -> Tensor:
        """In place of `Tensor.pin_memory`, which torch does not feign."""
        made = tensor.clone()
        self.pinned[id(made)] = made
        return made


@contextmanager
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors have a device and no numbers."""
    with FakeTensorMode(allow_non_fake_inputs=True), NoWaiting() as watching:
        monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: watching.pin(tensor))
        yield


def put(model: nn.Module) -> None:
    """A model's weights on the GPU, in place."""
    for module in model.modules():
        for kept in (module._parameters, module._buffers):
            for name, value in kept.items():
                if value is not None:
                    there = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)
                    kept[name] = nn.Parameter(there, value.requires_grad) if isinstance(value, nn.Parameter) else there


def told_w(seed: int) -> Networked:
    """A denoiser whose network has AdaIN layers."""
    made = made_runs.network(seed)
    made.net.add_guidance()
    return made


def batch_of(method: Method, generator: torch.Generator) -> Batch:
    """Six images and their noise."""
    eps = torch.randn(6, 1, 4, 4, device=generator.device)
    condition = Condition(w=torch.rand(6, device=generator.device))
    return Batch(eps=eps, x0=eps / 2, generator=generator, progress=0.5, condition=condition)


@pytest.mark.parametrize("method", made_runs.METHODS, ids=made_runs.names())
def test_a_step_of_every_method_waits_for_nothing(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = told_w(1), told_w(2).requires_grad_(False)
    following = method.self_teaching
    self_teacher = following.start(student) if following else None
    models: dict[str, Any] = {"student": student, "teacher": teacher, "self_teacher": self_teacher}
    if hasattr(method, "companion"):
        models["companion"] = told_w(4)
    average = Ema.start(student)
    # What is kept from the first step on is worked out on the CPU.
    method.loss(**models, batch=batch_of(method, torch.Generator()))
    with on_a_gpu(monkeypatch):
        for model in (*models.values(), average):
            if model is not None:
                put(model)
        own = Tensors.of(student)
        optimizer = torch.optim.Adam(student.parameters(), fused=True)
        finite = Finite(optimizer, wait=False)
        terms = method.loss(**models, batch=batch_of(method, OnGpu()))
        loss = torch.stack([term.value.mean() for term in terms.values()]).sum()
        if "companion" in models:
            batch = batch_of(method, OnGpu())
            x0 = method.image(student, batch.eps, batch.condition)
            assert method.companion.denoising(models["companion"], x0, batch).value.device.type == "cuda"
        assert loss.device.type == "cuda" and loss.requires_grad
        for weight in own.parameters:  # torch's backward pass alone needs a GPU that is there
            weight.grad = torch.zeros_like(weight)
        norm = nn.utils.clip_grad_norm_(own.parameters, 1.0)
        taken = finite.step(torch.stack([norm, loss.detach()]))
        Ema(half_life=100.0).update(Tensors.of(average), own, images=64, batch=6, taken=taken)
        if following and self_teacher:
            following.update(Tensors.of(self_teacher), own, images=64, batch=6, taken=taken)


class TwoImages:
    """A data set of two images."""

    def draw(self, *, images_seen: int, batch: int, seed: int) -> NDArray[np.int64]:
        return np.arange(images_seen, images_seen + batch) % 2

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(indices), 1, 4, 4), torch.from_numpy(indices)


PAIRS = PairsCard(n=6, shard=6, seed=0, shape=[1, 4, 4], classes=2, inputs={}, sha256={}, sha256_of_pairs="")
SOURCES: list[Source] = [
    FromNoise(shape=(1, 4, 4), conditions=ByClass(classes=2)),
    FromImages(images=cast(Images, TwoImages()), seed=0, classes=2),
    FromPairs(
        pairs=StoredPairs(folder=Path(), card=PAIRS, shards=(np.zeros((6, 1, 4, 4), np.float32),)),
        seed=0,
        conditions=ByClass(classes=2),
    ),
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_what_a_method_starts_from_is_sent_there(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_gpu(monkeypatch):
        eps, x0, condition = source(0, 6, OnGpu())
        drawn = [eps, *condition.given.values(), *([] if x0 is None else [x0])]
        drawn.append(UniformGuidance(low=1.0, high=5.0)(OnGpu(), 6))
        assert all(len(value) == 6 and value.device.type == "cuda" for value in drawn)


def test_a_step_of_the_teacher_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made_runs.network(1)
    examples = LabelledImages(images=cast(Images, TwoImages()), classes=model.classes)
    objective = Denoising(examples=examples, seed=0, weight=TruncatedSnr(), times=UniformTimes(), dropout=0.1)
    with on_a_gpu(monkeypatch):
        put(model)
        portion = Portion(seen=0, size=6, generator=OnGpu(), progress=0.5)
        assert objective.loss(model, portion, self_teacher=None)["denoising"].value.device.type == "cuda"


def test_an_average_on_the_cpu_follows_weights_on_a_gpu() -> None:
    """It copies them from the GPU, and is not moved there itself."""
    model = made_runs.network(1)
    average = Ema.start(model)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        put(model)
        for kept in average.modules():
            for values in (kept._parameters, kept._buffers):
                values.update({name: mode.from_tensor(value) for name, value in values.items() if value is not None})
        Ema(half_life=100.0).update(Tensors.of(average), Tensors.of(model), images=64, batch=6)
    assert {value.device.type for value in average.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_a_sampler_waits_for_nothing(sampler: Sampler, table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made_runs.network(1)
    if table:
        model.schedule = Clamped(schedule=SquaredCosineTable(), lam_min=-4.0, lam_max=4.0)
    here, noise = (noise_of(0, range(6), (1, 4, 4), where) for where in (torch.device("cpu"), GPU))
    sampler(model, here(0), fresh=here)  # what is kept from the first time on is worked out on the CPU
    with on_a_gpu(monkeypatch):
        put(model)
        assert sampler(model, noise(0), fresh=noise).device.type == "cuda"


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_every_schedule_is_read_there(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    own = deepcopy(schedule)
    own(torch.zeros(1))
    with on_a_gpu(monkeypatch):
        level = own(torch.rand(3, device=GPU))
        assert {value.device.type for value in (level.alpha, level.sigma, level.snr)} == {"cuda"}


def test_a_copy_that_waits_for_the_device_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_a_gpu(monkeypatch):
        values = torch.zeros(3)
        there = on(GPU, values)
        copies: list[Callable[[], Tensor]] = [
            lambda: values.to(GPU),
            lambda: values.to(GPU, non_blocking=True),
            lambda: values.pin_memory().to(GPU),
            lambda: torch.zeros_like(there).copy_(values),
            lambda: there.cpu(),
            lambda: there.to("cpu", non_blocking=True),
        ]
        for waits in copies:
            with pytest.raises(AssertionError, match="waits for a copy"):
                waits()
        for reads in (lambda: float(there.sum()), lambda: bool(there.isfinite().all()), lambda: there[there > 0]):
            with pytest.raises((DynamicOutputShapeException, DataDependentOutputException)):
                reads()
        with pytest.raises(RuntimeError, match="on the same device"):
            there + values
