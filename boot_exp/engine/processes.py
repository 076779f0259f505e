"""The processes of one run: one, or those that accelerate's launcher started, and all communication between them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from boot_exp.engine.launcher import launched
from evals.ground.faults import ConfigurationFault, first_line
from evals.ground.threads import chunks

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """index of count; sharded: whether weights are spread over them (FSDP2) or held by each.

    All results are functions of the seed and of the images seen: a process takes its part of the work and has no draws
    of its own. `talk` is a group on the CPU, so that communication between processes does not wait for a device.
    """

    device: torch.device
    index: int = 0
    count: int = 1
    sharded: bool = False
    talk: Any = None

    @property
    def main(self) -> bool:
        """Returns whether this process writes results and prints."""
        return self.index == 0

    def any(self, mine: bool) -> bool:
        """Returns whether the value is true in any process; all get the answer in the same step."""
        if self.count == 1:
            return mine
        flag = torch.tensor(float(mine))
        dist.all_reduce(flag, group=self.talk)
        return bool(flag)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Lets the main process run the block first and the others afterwards, so they find its results."""
        if not self.main:
            dist.barrier(group=self.talk)
        yield
        if self.main and self.count > 1:
            dist.barrier(group=self.talk)

    def in_turn(self, jobs: Iterable[J], work: Callable[[J], R]) -> Iterator[tuple[J, R]]:
        """Yields each job with the result of `work`, in order, in every process; each works on every count-th."""
        if self.count == 1:
            for job in jobs:
                yield job, work(job)
            return
        for chunk in chunks(jobs, self.count):
            made: list[Any] = [None] * self.count
            mine = work(chunk[self.index]) if self.index < len(chunk) else None
            dist.all_gather_object(made, mine, group=self.talk)
            yield from zip(chunk, made, strict=False)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sums tensors over the processes, in place, in one call."""
        if self.count == 1:
            return
        flat = torch._utils._flatten_dense_tensors(tensors)
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch._utils._unflatten_dense_tensors(flat, tensors), strict=True):
            tensor.copy_(total)

    def clip(self, parameters: Sequence[Tensor], most: float) -> Tensor:
        """Scales gradients down to a norm of `most`, in place; returns their norm before, over all processes."""
        norm = nn.utils.clip_grad_norm_(parameters, most)
        return cast("DTensor", norm).full_tensor() if self.sharded else norm

    def spread(self, model: nn.Module) -> None:
        """If weights are sharded, gives each process its part of them, block by block (FSDP2), in place."""
        if not self.sharded:
            return
        from torch.distributed.fsdp import fully_shard

        learns = [parameter.requires_grad for parameter in model.parameters()]
        model.to(memory_format=torch.contiguous_format)  # FSDP2 accepts no others
        for block in list(model.modules()):
            if getattr(block, "shards", False):
                fully_shard(block, reshard_after_forward=True)
        # The root too, against its default, because a network that is never trained would otherwise stay whole.
        fully_shard(model, reshard_after_forward=True)
        for parameter, learn in zip(model.parameters(), learns, strict=True):
            parameter.requires_grad_(learn)

    def reduce_after(self, model: nn.Module, last: bool) -> None:
        """If weights are sharded, sets whether the next backward pass, the last of a step, reduces gradients."""
        if self.sharded:
            model.set_requires_gradient_sync(last)  # type: ignore[operator]


def join(device: torch.device) -> Processes:
    """Joins the processes of this run, by their launcher's environment. If one fails, the launcher ends all.

    ConfigurationFault: no launcher set the environment so, or the other processes are missing.
    """
    here = launched()
    if here.count == 1:
        return Processes(device=device)
    from accelerate import PartialState

    try:
        state = PartialState(cpu=device.type == "cpu")
    except (RuntimeError, ValueError) as error:
        raise ConfigurationFault(
            f"process {here.index} must meet {here.count - 1} others at {os.environ['MASTER_ADDR']}, got "
            f"{first_line(error)}; start all of them with one launcher, or unset RANK and WORLD_SIZE to run one"
        ) from error
    return Processes(
        device=state.device if device.type == "cuda" else device,
        index=state.process_index,
        count=state.num_processes,
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true",
        talk=dist.new_group(backend="gloo"),
    )


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gathers sharded tensors on the CPU; every process must call this.

    All shards are sent in one message, because one for each tensor would take most of a checkpoint's time.
    """
    sharded = {name: cast("DTensor", value) for name, value in tensors.items() if hasattr(value, "full_tensor")}
    result = dict(tensors)
    for kind in {value.dtype: None for value in sharded.values()}:
        named = {name: value for name, value in sharded.items() if value.dtype == kind}
        group = next(iter(named.values())).device_mesh.get_group()
        # Each process has the same number of rows of a tensor, except for the last ones, which may have fewer or none.
        sizes = [-(-len(value) // group.size()) * math.prod(value.shape[1:]) for value in named.values()]
        mine = [value.to_local().flatten() for value in named.values()]
        flat = torch.cat([F.pad(part, (0, size - len(part))) for part, size in zip(mine, sizes, strict=True)])
        every = flat.new_empty(group.size(), len(flat))
        dist.all_gather(list(every), flat, group=group)
        for (name, value), parts in zip(named.items(), every.split(sizes, dim=1), strict=True):
            result[name] = parts.flatten()[: value.numel()].view(value.shape).cpu()
    return result


def like(value: Tensor, model: Tensor) -> Tensor:
    """Shards a whole tensor as another is, with its type, device and memory order."""
    if hasattr(model, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        # Every process has the whole tensor and takes its part; nothing is sent.
        model = cast("DTensor", model)
        return distribute_tensor(value.to(model.device), model.device_mesh, model.placements, src_data_rank=None)
    # In the parameter's own memory order, which files do not keep, because fused optimizers traverse both as one.
    return torch.empty_like(model, dtype=value.dtype, requires_grad=False).copy_(value)


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads whole tensors into a model, however its weights are sharded."""
    state = model.state_dict()
    model.load_state_dict({name: like(value, state[name]) for name, value in tensors.items()})
