"""How networks are run: the device, and what makes them faster without another configuration of the experiment."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from boot_exp.components import component
from evals.errors import ConfigurationFault

M = TypeVar("M", bound=nn.Module)


def on(where: torch.device, values: Tensor) -> Tensor:
    """Values, of any shape, on a device. A GPU takes them from pinned memory, so that nothing waits for the copy."""
    if where.type != "cuda" or values.device.type != "cpu":
        return values.to(where)
    return values.contiguous().pin_memory().to(where, non_blocking=True)


@component
class Compute:
    """device: "auto" is a GPU where there is one. What each of the others gains, `make bench` measures.

    channels_last: convolutions in the order of memory that CPUs and GPUs are faster in. bfloat16: networks run under
    autocast, weights and losses stay float32. tf32: matrix products of float32 on tensor cores, with ten bits of
    mantissa; the CPU has none. compile: networks are compiled (torch.compile), which takes a minute at the first step;
    not for methods that differentiate in t by forward mode.
    """

    reduced: ClassVar[dict[str, object]] = {"device": "cpu", "compile": False}  # for a dry run

    device: str = "auto"
    channels_last: bool = True
    bfloat16: bool = False
    tf32: bool = False
    compile: bool = False

    def find(self) -> torch.device:
        """The device. ConfigurationFault: there is no such one here."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=self.device).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationFault(
                f"device {self.device!r} cannot be used here ({reason}); bind Compute.device auto or cpu"
            ) from None

    def put(self, model: M, where: torch.device) -> M:
        """The model on a device, as it is to be run there."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        put: M = model.to(device=where, memory_format=order)  # type: ignore[call-overload]
        if self.compile:
            for part in put.children():
                part.compile()
        return put

    def frozen(self, model: M, where: torch.device) -> M:
        """The model on a device, as it is to be run there within `autocast` and never trained; changed in place.

        Under bfloat16 its convolutions and linear layers are stored in it: autocast keeps its own copies of weights
        where they learn alone, and would round others anew at every call. In our networks the bits are the same.
        """
        frozen = self.put(model, where).eval().requires_grad_(False)
        if self.bfloat16:
            for layer in frozen.modules():
                if type(layer) in (nn.Conv2d, nn.Linear):  # what is derived from them may use its weights otherwise
                    layer.to(torch.bfloat16)
        return frozen

    def autocast(self, where: torch.device) -> AbstractContextManager[object]:
        """The precision in which networks run within the block."""
        return torch.autocast(where.type, dtype=torch.bfloat16, enabled=self.bfloat16)
