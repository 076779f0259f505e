"""Records the network calls of a loss and repeats them bare: the floor of a step of any method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a network: its inputs by place and by name, and whether it was differentiated by weights or in t."""

    net: nn.Module
    given: tuple[Any, ...]
    gradient: bool
    derivative: bool
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Returns the number of forward passes, in images; a forward-mode derivative counts as a second one."""
        return len(self.given[0]) * (2 if self.derivative else 1)

    def __call__(self) -> None:
        """Repeats the call alone; with the backward pass if there was one."""
        x, t, *rest = self.given
        with torch.set_grad_enabled(self.gradient):
            if self.derivative:
                outputs = torch.func.jvp(
                    lambda time: self.net(x, time, *rest, **self.told), (t,), (torch.ones_like(t),)
                )
                if self.gradient:
                    torch.stack([output.sum() for output in outputs]).sum().backward()
            else:
                output = self.net(x, t, *rest, **self.told)
                if self.gradient:
                    output.sum().backward()


def recorded(models: Mapping[str, nn.Module], loss: Callable[[], object]) -> list[Call]:
    """Returns the calls that `loss` makes of the models' networks, in order."""
    calls: list[Call] = []

    def hook(net: nn.Module, given: tuple[Any, ...], told: dict[str, Any]) -> None:
        tangent = torch.autograd.forward_ad.unpack_dual(given[1]).tangent
        calls.append(
            Call(
                net=net,
                given=tuple(_plain(value) for value in given),
                gradient=torch.is_grad_enabled() and any(p.requires_grad for p in net.parameters()),
                derivative=tangent is not None,
                told={name: _plain(value) for name, value in told.items()},
            )
        )

    nets = {id(net): net for model in models.values() if isinstance(net := model.net, nn.Module)}
    handles = [net.register_forward_pre_hook(hook, with_kwargs=True) for net in nets.values()]
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiler would compile the hook too
            loss()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _plain(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    primal = torch.autograd.forward_ad.unpack_dual(value).primal
    # A tensor inside torch.func has no numbers of its own; only its shape matters here.
    if torch._C._functorch.is_functorch_wrapped_tensor(primal):
        return torch.rand(primal.shape, dtype=primal.dtype, device=primal.device)
    return primal.detach().clone(memory_format=torch.preserve_format)
