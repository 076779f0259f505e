"""What runs cost: operations of a network, calls of a run, hours at a rate, and a table for a suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from boot_exp.config import runtime
from boot_exp.config.frozen import Frozen
from boot_exp.diffusion.denoisers import Networked, takes_text
from boot_exp.engine.loop import Training
from boot_exp.methods.students import DenoisingStudent
from boot_exp.stages.budget import step_calls
from boot_exp.stages.checks.backward import backward_calls
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from boot_exp.stages.sample import Sample
from boot_exp.stages.teacher import PublishedTeacher, Teacher, TextTeacher
from boot_exp.teachers.text import PipelineText
from evals.ground.faults import reading
from evals.ground.files import read_json
from evals.tables.text import Column, figures, markdown, numbers

ASSUMED = 100.0
"""TFLOP/s assumed for the hours if no rate was measured: a round number, near what one GPU achieves."""
MEASURED = Path("results/gpu/rates.json")
"""The TFLOP/s that `make gpu` has measured for the published networks in training."""


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """The costs of one network: parameters, and operations of a call per image."""

    parameters: int
    operations: int


_COUNTED: dict[tuple[object, ...], NetworkCost] = {}
"""By the network's text, which names all that its calls depend on, and by what a call is given."""


def asked(
    model: Any, shape: tuple[int, ...], count: int, where: torch.device
) -> tuple[tuple[Any, ...], dict[str, torch.Tensor]]:
    """Returns what a call of a model's network on images of shape (C, H, W) is given: zeros, by place and by name."""
    x, t = torch.zeros(count, *shape, device=where), torch.zeros(count, device=where)
    label = None if model.classes is None else torch.zeros(count, dtype=torch.long, device=where)
    w = torch.zeros(count, device=where) if model.takes_w else None
    return (x, t, label, w), model.net.example(count, where).given if takes_text(model) else {}


def network_cost(model: Any, shape: tuple[int, ...]) -> NetworkCost:
    """Computes the costs of a model that was built on the device "meta", for images of shape (C, H, W)."""
    net: nn.Module = model.net
    # A run's stages build the same network several times, and a suite's runs too: it is counted once.
    text = str(net), shape, model.classes is None, model.takes_w, getattr(net, "tokens", None)
    if text not in _COUNTED:
        given, told = asked(model, shape, 1, torch.device("meta"))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            net(*given, **told)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        _COUNTED[text] = NetworkCost(parameters=parameters, operations=counter.get_total_flops())
    return _COUNTED[text]


def measure_as_encoded(stage: Any) -> None:
    """Lets a network be measured on texts as long as the encoder is bound to read; without, as long as CLIP's."""
    if not isinstance(stage, Distil | Pairs | Sample | TextTeacher):
        return
    encoder = getattr(of_text(stage.prompts), "encoder", None)
    if isinstance(encoder, PipelineText) and encoder.longest is not None:
        model: Any = stage.model if isinstance(stage, Sample) else stage.teacher
        model.net.tokens = encoder.longest


def of_text(prompts: Any) -> Any:
    """Returns the prompts of a text; low images are beside a text of either kind."""
    return getattr(prompts, "prompts", prompts)


def training_calls(stage: Any) -> tuple[int, int]:
    """Counts the network calls of a training, forward, and those that gradients pass back through, in images."""
    training: Training = stage.training
    if not isinstance(stage, Distil):
        return training.images, training.images
    with torch.device("cpu"):
        step = step_calls(stage), backward_calls(stage)
    forward, backward = (training.images * calls // training.batch for calls in step)
    return forward, backward


def training_operations(stage: Any, cost: NetworkCost) -> int:
    """Counts the operations of a training: a gradient takes twice those of the call that it passes back through."""
    forward, backward = training_calls(stage)
    return cost.operations * (forward + 2 * backward)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A rate in TFLOP/s, and where it comes from."""

    tflops: float = ASSUMED
    known: str = "assumed"

    @staticmethod
    def of(suite: str, path: Path = MEASURED) -> Rate:
        """Returns the rate measured for the suite's network, else the slowest measured rate, else the assumed one.

        DataFault: the file is damaged.
        """
        if not path.exists():
            return Rate()
        with reading(path, "must hold a device card and TFLOP/s by suite", "run make gpu again, or delete the file"):
            said = read_json(path)
            rates = {str(name): float(value) for name, value in said["tflops"].items()}
            card = {"device": str(said["card"]["device"]), "kind": str(said["card"]["kind"])}
            if not all(rate > 0 for rate in rates.values()):
                raise ValueError("rates that are not positive")
        if card["kind"] != "cuda" or said.get("reduced") or not rates:
            return Rate()
        of = suite if suite in rates else min(rates, key=lambda name: rates[name])
        return Rate(tflops=rates[of], known=f"measured with {of} on {card['device']}")

    def hours(self, operations: float) -> str:
        """Formats a number of operations and the hours that they take at this rate."""
        time = operations / self.tflops / 3.6e15
        return f"{operations:.2e} FLOP: {time:.3g} hours if {self.tflops:.4g} TFLOP/s are kept up ({self.known})"


def drawn_calls(model: Any, samplers: Sequence[Any], n: int) -> int:
    """Counts the network calls that draw n images with each of the samplers."""
    told = isinstance(model, Networked) and not isinstance(model, DenoisingStudent)  # a guided teacher takes two calls
    total: int = sum(sampler.nfe * (2 if told and sampler.w is not None else 1) for sampler in samplers)
    return n * total


def costs(suite: Mapping[str, Mapping[str, Frozen]]) -> Iterator[str]:
    """Yields a table of costs: a row for each run's training and for each of its ways to draw images."""
    rows: list[tuple[str, str, int, int, int, float]] = []
    rate = Rate()
    for run, stages in suite.items():
        with torch.device("meta"):
            shape: tuple[int, ...] = ()
            for name in ("teacher", "verify_teacher", "pairs", "distil", "sample"):
                if name not in stages:
                    continue
                rate = Rate.of(stages[name].suite)
                stage = runtime.build(stages[name])
                measure_as_encoded(stage)
                if name in ("teacher", "distil"):
                    shape = stage.teacher.shape
                if isinstance(stage, PublishedTeacher):
                    continue
                if isinstance(stage, Teacher | TextTeacher | Distil):
                    model = stage.student(stage.teacher) if isinstance(stage, Distil) else stage.teacher
                    n, (calls, back) = stage.training.images, training_calls(stage)
                else:
                    drawn = stage.sample if name == "verify_teacher" else stage
                    model = drawn.teacher if isinstance(drawn, Pairs) else drawn.model
                    samplers = [drawn.sampler] if isinstance(drawn, Pairs) else drawn.each
                    n, calls, back = drawn.n, drawn_calls(model, samplers, drawn.n), 0
                rows.append((run, name, n, calls, back, (calls + 2 * back) * network_cost(model, shape).operations))
    runs, kinds, images, called, backward, operations = zip(*rows, strict=True)
    hours = [n / rate.tflops / 1e12 / 3600 for n in operations]
    yield markdown(
        [
            Column(heading="run", cells=runs),
            Column(heading="stage", cells=kinds),
            numbers("images", [f"{n:,}" for n in images]),
            numbers("network calls", [f"{n:,}" for n in called]),
            numbers("backward calls", [f"{n:,}" for n in backward]),
            numbers("FLOP", [f"{n:.2e}" for n in operations]),
            numbers(f"hours at {rate.tflops:.4g} TFLOP/s ({rate.known})", [figures(n, digits=3) for n in hours]),
        ]
    )
