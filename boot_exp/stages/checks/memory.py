"""What a training holds in memory, by what holds it, counted without weights: on fake tensors, which have no data."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from boot_exp.methods import edge_of
from boot_exp.methods.companions import Scoring
from boot_exp.stages.checks.costs import asked
from boot_exp.stages.distil import Distil

GPUS = (16, 24, 40, 80)
"""Usual sizes of GPUs, in GB: 1e9 bytes here, which leaves some for CUDA itself and for what fragments."""
IMAGINED = FakeTensorMode(allow_non_fake_inputs=True)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The bytes of a training on one device, by what holds them.

    weights: parameters and buffers of what is trained. optimizer: None where it could not be asked. averages: the
    average and, if there is one, the self-teacher. activations: the most that a call and its backward pass hold beside
    the weights and gradients. averaging: what a GPU's update of an average holds, once the activations are gone.
    on_cpu: of an average that is kept on the CPU, which is not in the total. companion: its weights, gradients and
    optimizer, for a method that has one.
    """

    weights: int
    gradients: int
    optimizer: int | None
    averages: int
    teacher: int
    activations: int
    averaging: int
    on_cpu: int = 0
    companion: int = 0

    @property
    def total(self) -> int:
        """Returns the most that is held at once; an optimizer that could not be asked is not in it."""
        lasting = self.weights + self.gradients + (self.optimizer or 0) + self.averages + self.teacher + self.companion
        return lasting + max(self.activations, self.averaging)

    @property
    def fits(self) -> str:
        """Returns the smallest usual GPU that is large enough, in words."""
        size = next((size for size in GPUS if self.total <= size * 10**9), None)
        found = "none of 80 GB; shard it with FSDP" if size is None else f"a GPU of {size} GB"
        return found if self.optimizer is not None else f"{found}, without its optimizer"


def images_at_once(stage: Any) -> int:
    """Returns how many images a call holds activations of: a microbatch, and what BOOT's boundary adds to it."""
    images: int = stage.training.microbatch or stage.training.batch
    method = getattr(stage, "method", None)
    share, beta = getattr(method, "boundary_share", None), getattr(method, "beta", None)
    return images if share is None or beta is None else images + edge_of(images, share, beta)


def memory_of(stage: Any, model: nn.Module) -> Memory:
    """Counts the memory of a training, Teacher or Distil, and of what it trains; both built on the device "meta"."""
    shape, images, bfloat16 = stage.teacher.shape, images_at_once(stage), stage.compute.bfloat16
    on_cpu = stage.training.average_on_cpu
    copies, teacher, told, beside, through = 0 if on_cpu else 1, 0, 0, 0, 0
    weights = bytes_of(model)
    if isinstance(stage, Distil):
        copies += stage.method.self_teaching is not None
        frozen = replace(stage.compute, compile=False).frozen(copy.deepcopy(stage.teacher), torch.device("meta"))
        teacher = bytes_of(frozen)
        halves = 2 if stage.guidance is not None and not frozen.takes_w else 1
        asking = halves * (stage.training.microbatch or stage.training.batch)
        told = peak(frozen, shape, asking, bfloat16=bfloat16, backward=False)
        beside, through = companion_bytes(stage, model, images)
    trained = copy.deepcopy(model)
    adding = stage.training.microbatch is not None and stage.training.microbatch < stage.training.batch
    # The teacher is called before the student, so that one of the two counts.
    most = through + max(told, peak(trained, shape, images, bfloat16=bfloat16, adding=adding))
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    learning = sum(map(size, parameters))
    return Memory(
        weights=weights,
        gradients=learning,
        optimizer=optimizer_bytes(stage.training.optimizer, parameters),
        averages=copies * weights,
        teacher=teacher,
        # Gradients that nothing is added to come one by one, as activations go.
        activations=most if adding else max(most - learning, 0),
        averaging=learning if copies else 0,
        on_cpu=weights if on_cpu else 0,
        companion=beside,
    )


def companion_bytes(stage: Distil, model: nn.Module, images: int) -> tuple[int, int]:
    """Counts a companion's weights, gradients and optimizer, and the activations of what the gradient passes through.

    Both are 0 for a method without one.
    """
    companion = replace(stage, compute=replace(stage.compute, compile=False)).companion(model, torch.device("meta"))
    if companion is None:
        return 0, 0
    own = list(companion.parameters())
    lasting = bytes_of(companion) + sum(map(size, own)) + (optimizer_bytes(stage.training.optimizer, own) or 0)
    if not cast(Scoring, stage.method).passes_through:
        return lasting, 0
    one = peak(companion, tuple(stage.teacher.shape or ()), images, bfloat16=stage.compute.bfloat16)
    return lasting, 2 * one  # the teacher's are as large


def size(tensor: Tensor) -> int:
    """Returns the bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


def bytes_of(model: nn.Module) -> int:
    """Returns the bytes of a model's parameters and buffers."""
    return sum(map(size, [*model.parameters(), *model.buffers()]))


def optimizer_bytes(make: Callable[[Iterator[nn.Parameter]], Any], parameters: list[nn.Parameter]) -> int | None:
    """Returns the bytes that an optimizer keeps after a step on fake parameters; None if it cannot take one."""
    try:
        with IMAGINED:
            optimizer = make(iter(parameters))
            optimizer.step()
    except Exception:  # one of a library, which may look at data, or want a GPU
        return None
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(map(size, kept))


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is active: those there now, and the most at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        tree_map_only(Tensor, lambda tensor: self.known.setdefault(tensor.untyped_storage(), 0), (args, given))
        made = func(*args, **given)
        tree_map_only(Tensor, self.count, made)
        return made

    def count(self, tensor: Tensor) -> None:
        """Counts a tensor, unless it shares its storage with another."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        held = storage.nbytes()
        self.known[storage] = held
        weakref.finalize(storage, self.freed, held)
        self.now += held
        self.most = max(self.most, self.now)

    def freed(self, held: int) -> None:
        """Takes off a storage that is gone."""
        self.now -= held


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Computes norms and softmax in float32 under autocast, as a GPU does and a CPU does not."""

    def whole(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *given, **named: function(*tree_map_only(Tensor, lambda value: value.float(), given), **named)

    # Not by a mode: none is active where a backward pass computes activations again.
    with ExitStack() as changes:
        for place, name in ((F, "group_norm"), (F, "layer_norm"), (F, "softmax"), (torch, "softmax")):
            changes.enter_context(patch.object(place, name, whole(getattr(place, name))))
        yield


def imagine(net: nn.Module) -> None:
    """Replaces each parameter and buffer of a network by a fake one on the CPU; those that learn get a gradient."""
    made: dict[int, Tensor] = {}
    with torch.device("cpu"), IMAGINED:
        for module in net.modules():
            for values in (module._parameters, module._buffers):
                named = cast(dict[str, Any], values)
                for name, value in named.items():
                    if value is None:
                        continue
                    if id(value) not in made:
                        made[id(value)] = _fake(value)
                    named[name] = made[id(value)]


def _fake(value: Tensor) -> Tensor:
    fake = torch.empty(value.shape, dtype=value.dtype)
    if not isinstance(value, nn.Parameter):
        return fake
    learned = nn.Parameter(fake, requires_grad=value.requires_grad)
    learned.grad = torch.empty_like(learned) if value.requires_grad else None
    return learned


def peak(
    model: Any, shape: tuple[int, ...], images: int, *, bfloat16: bool, backward: bool = True, adding: bool = True
) -> int:
    """Returns the most bytes that a call of a model's network on some images holds, its inputs and outputs included.

    The network is on the device "meta" and becomes a fake one. backward: whether a backward pass follows; adding:
    whether its gradients are added to those of a microbatch before, which are not counted, or are the first.
    """
    net: nn.Module = model.net
    imagine(net)
    if not adding:
        net.zero_grad(set_to_none=True)
    live, rules = Live(), as_on_gpu() if bfloat16 else nullcontext()
    with torch.device("cpu"), IMAGINED, rules, live, torch.set_grad_enabled(backward):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            given, told = asked(model, shape, images, torch.device("cpu"))
            output = net(*given, **told)
        if backward:
            output.backward(torch.empty_like(output))
    return live.most


def told(stage: Any, memory: Memory) -> Iterator[str]:
    """Yields lines that state each part of a training's memory in GiB, and what it fits."""
    half = "bfloat16" if stage.compute.bfloat16 else "float32"
    make: Any = stage.training.optimizer
    make = make.args[0] if isinstance(make, partial) and make.args else make  # as gin's references are built
    copies, whose = memory.averages // memory.weights, ", the self-teacher's" if memory.on_cpu else ""
    rows: list[tuple[str, int | None, str]] = [
        ("weights", memory.weights, "float32"),
        ("gradients", memory.gradients, "float32"),
        ("optimizer", memory.optimizer, getattr(make, "__name__", type(make).__name__)),
        ("averages", memory.averages, f"float32, {copies} {'copy' if copies == 1 else 'copies'}{whose}"),
        ("teacher", memory.teacher, half),
        ("companion", memory.companion, "float32, with its gradients and its optimizer"),
        ("activations", memory.activations, f"the most in a step of {images_at_once(stage)} images, {half}"),
        ("in all", memory.total, f"fits {memory.fits}"),
    ]
    yield "memory of the training, in GiB:"
    for name, count, words in rows:
        if count != 0:
            yield f"  {name:<11} {'unknown' if count is None else f'{count / 2**30:.3g}':>7}  {words}"
    if memory.on_cpu:
        yield f"  {'on the CPU':<11} {memory.on_cpu / 2**30:>7.3g}  the average, in float32"
