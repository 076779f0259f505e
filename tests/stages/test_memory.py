"""What `check` says of memory is what a training holds, part by part."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.config import runs, runtime
from boot_exp.config.fault_list import Faults
from boot_exp.diffusion.denoisers import taking_w
from boot_exp.engine.processes import Processes
from boot_exp.engine.state import State
from boot_exp.engine.steps import gradients
from boot_exp.methods.distilling import Distilling, FromNoise
from boot_exp.stages.checks import memory
from boot_exp.stages.checks.costs import asked
from boot_exp.stages.checks.dry_run import Zeros
from boot_exp.stages.checks.memory import Live, Memory, memory_of, optimizer_bytes, peak, told
from tests.house import pipelines

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def frozen(leaf: str, *bindings: str) -> Any:
    faults = Faults()
    ((_, found),) = runs.compiled([runs.named_run(Path(leaf))], {}, faults, list(bindings))
    faults.raise_if_any()
    return found["distil"]


class Model:
    """A 1x1 convolution of 2 to 3 channels, as a model."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 3, 1, bias=False)

        def forward(self, x: Tensor, t: Tensor, label: None, w: None) -> Tensor:
            return self.layer(x)

    net: Any = None
    classes, takes_w = None, False


def test_the_most_that_is_held_is_that_of_a_network_counted_by_hand() -> None:
    """At the most: x, t, the output, its gradient and that of the weights, before it is added to what is there."""
    with torch.device("meta"):
        model = Model()
        model.net = Model.Net()
    images, x, output, weights, number = 7, 2 * 20, 3 * 20, 6, 4
    assert peak(model, (2, 4, 5), images, bfloat16=False, backward=False) == number * images * (x + 1 + output)
    most = number * (images * (x + 1 + 2 * output) + weights)
    assert peak(model, (2, 4, 5), images, bfloat16=False) == most
    with torch.device("meta"):
        model.net = Model.Net()
    halves = 2 * (images * (x + output) + weights)  # x and the weights are rounded, and the output is
    assert peak(model, (2, 4, 5), images, bfloat16=True, backward=False) == number * images * (x + 1) + halves


@pytest.mark.parametrize("checkpointing", [False, True])
def test_fake_tensors_hold_what_real_ones_do(checkpointing: bool) -> None:
    whole = pipelines.teacher("sd", checkpointing=checkpointing)
    net = whole.net
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with Live() as live:
        given, told = asked(whole, whole.shape, 6, CPU)
        output = net(*given, **told)
        output.backward(torch.empty_like(output))
    with torch.device("meta"):
        imagined = pipelines.teacher("sd", checkpointing=checkpointing)
    assert peak(imagined, imagined.shape, 6, bfloat16=False) == pytest.approx(live.most, rel=0.02)


def test_checkpointing_and_bfloat16_hold_less() -> None:
    def most(*, checkpointing: bool, bfloat16: bool) -> int:
        with torch.device("meta"):
            teacher = pipelines.teacher("sd", checkpointing=checkpointing)
        return peak(teacher, teacher.shape, 64, bfloat16=bfloat16)

    plain = most(checkpointing=False, bfloat16=False)
    assert most(checkpointing=True, bfloat16=False) < plain and most(checkpointing=False, bfloat16=True) < plain


def test_weights_gradients_optimizer_and_averages_are_those_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stage: Any = runtime.build(frozen("digits/boot"))
    model = stage.student(stage.teacher)
    training = stage.training
    state = State(
        model, ema=training.ema, following=None, optimizer=training.optimizer, processes=Processes(device=CPU)
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.step(torch.zeros(1), 4, 4)
    with torch.device("meta"):
        whole: Any = runtime.build(frozen("digits/boot"))
        said = memory_of(whole, whole.student(whole.teacher))

    def held(tensors: Any) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    assert said.weights == held([*model.parameters(), *model.buffers()])
    assert said.gradients == held(parameter.grad for parameter in model.parameters())
    assert said.averages == held([*state.average.parameters(), *state.average.buffers()])
    moments = [value for each in state.main.optimizer.state.values() for value in each.values()]
    assert said.optimizer == held(moments)
    assert said.teacher == held([*stage.teacher.parameters(), *stage.teacher.buffers()])


def test_an_average_on_the_cpu_is_not_counted_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with torch.device("meta"):
        stage: Any = runtime.build(frozen("digits/boot"))
        there = replace(stage, training=replace(stage.training, average_on_cpu=True))
        here, less = (memory_of(one, one.student(one.teacher)) for one in (stage, there))
    assert (less.averages, less.on_cpu, less.averaging) == (0, here.averages, 0) and here.on_cpu == 0
    assert here.total - less.total >= here.averages
    assert any("on the CPU" in line and "the average" in line for line in told(there, less))
    assert not any("on the CPU" in line for line in told(stage, here))


def test_an_optimizer_is_asked_and_may_be_unknown() -> None:
    """SGD keeps nothing, Adam two moments; a user's own may want a GPU."""
    with memory.IMAGINED:
        parameter = nn.Parameter(torch.empty(300, 200))
        parameter.grad = torch.empty_like(parameter)

    def kept(make: Any) -> int | None:
        return optimizer_bytes(make, [parameter])

    def refusing(parameters: Any) -> Any:
        raise RuntimeError("needs a GPU")

    assert kept(lambda each: torch.optim.SGD(each, lr=0.1)) == 0
    assert kept(torch.optim.Adam) == 2 * 4 * 60_000 + 4
    assert kept(refusing) is None


def test_what_fits_is_the_smallest_gpu_that_is_large_enough() -> None:
    def of(activations: int, optimizer: int | None = 10**9) -> Memory:
        parts = {"weights": 10**9, "gradients": 10**9, "averages": 10**9, "teacher": 0, "averaging": 10**9}
        return Memory(activations=activations, optimizer=optimizer, **parts)

    assert (of(12 * 10**9).total, of(12 * 10**9).fits) == (16 * 10**9, "a GPU of 16 GB")
    assert of(12 * 10**9 + 1).fits == "a GPU of 24 GB"
    assert of(0).total == 5 * 10**9, "an average is updated after the activations are gone"
    assert of(77 * 10**9).fits == "none of 80 GB; shard it with FSDP"
    assert of(0, None).fits == "a GPU of 16 GB, without its optimizer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "gib"), [("stable_diffusion_1_5", 12.8), ("stable_diffusion_xl", 38.3), ("deepfloyd_if_m", 5.5)]
)
def test_weights_gradients_and_adam_of_the_published_networks_are_as_is_known(
    monkeypatch: pytest.MonkeyPatch, suite: str, gib: float
) -> None:
    """Sixteen bytes a weight: 860 million, 2.57 billion and 372 million."""
    monkeypatch.chdir(ROOT)

    def peak(model: Any, *given: Any, **named: Any) -> int:
        memory.imagine(model.net)
        return 0

    monkeypatch.setattr(memory, "peak", peak)
    with torch.device("meta"):
        stage: Any = runtime.build(frozen(f"{suite}/boot_fixed_w"))
        said = memory_of(stage, stage.student(stage.teacher))
    assert said.optimizer is not None
    assert (said.weights + said.gradients + said.optimizer) / 2**30 == pytest.approx(gib, abs=0.05)
    assert said.teacher == pytest.approx(said.weights / 2, rel=0.1), "its layers are stored in bfloat16"


@pytest.mark.parametrize(("checkpointing", "microbatch"), [(False, None), (True, 8)])
def test_a_step_holds_at_most_what_check_says(
    monkeypatch: pytest.MonkeyPatch, checkpointing: bool, microbatch: int | None
) -> None:
    """Weights, gradients, Adam, average, guided teacher and activations of a step of the tiny Stable Diffusion."""
    monkeypatch.chdir(ROOT)
    batch = 16
    bindings = [
        f"stable_diffusion.StableDiffusion.config = {pipelines.CONFIGS['sd']}",
        f"stable_diffusion.StableDiffusion.checkpointing = {checkpointing}",
        "compute.Compute.bfloat16 = False",
        "compute.Compute.device = 'cpu'",
        f"loop.Training.batch = {batch}",
        f"loop.Training.microbatch = {microbatch}",
    ]
    found = frozen("stable_diffusion_1_5/boot_fixed_w", *bindings)
    with torch.device("meta"):
        whole: Any = runtime.build(found)
        said = memory_of(whole, whole.student(whole.teacher))
    with Live() as live:
        stage: Any = runtime.build(found)
        training, teacher = stage.training, stage.compute.frozen(stage.teacher, CPU)
        text = Zeros(net=teacher.net)
        teacher.negative = text.without
        model = stage.compute.put(stage.student(teacher), CPU)
        objective = Distilling(
            method=stage.method,
            teacher=taking_w(teacher),
            source=FromNoise(shape=teacher.shape, conditions=text),
            guidance=stage.guidance,
        )
        processes = Processes(device=CPU)
        state = State(model, ema=training.ema, following=None, optimizer=training.optimizer, processes=processes)
        for _ in range(2):  # the optimizer's moments are there from the second on
            means, _, calls = gradients(training, objective, state, batch, nullcontext)
            norm = processes.clip(state.main.own.parameters, training.clip)
            state.step(torch.stack([norm, *means.values()]), batch, calls)
    assert live.most == pytest.approx(said.total, rel=0.01)
