"""How networks run: on which device, and with which settings that make them faster and leave the experiment alone."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from boot_exp.config.components import component
from evals.ground.faults import ConfigurationFault

M = TypeVar("M", bound=nn.Module)


def on(where: torch.device, values: Tensor) -> Tensor:
    """Moves values of any shape to a device; a copy to a GPU uses pinned memory, so that nothing waits for it."""
    if where.type != "cuda" or values.device.type != "cpu":
        return values.to(where)
    return values.contiguous().pin_memory().to(where, non_blocking=True)


@component
class Compute:
    """The device and the speed settings; `make bench` measures what each of them gains.

    device: "auto" is a GPU where there is one, otherwise the CPU. channels_last: lays images out in memory in the order
    in which CPUs and GPUs convolve faster. bfloat16: runs networks under autocast, while weights and losses stay
    float32. tf32: lets a GPU multiply float32 matrices on tensor cores, with ten bits of mantissa. compile: compiles
    networks with torch.compile, which takes a minute at the first step; methods that differentiate in t by forward mode
    cannot use it.
    """

    reduced: ClassVar[dict[str, object]] = {"device": "cpu", "compile": False}  # for a dry run

    device: str = "auto"
    channels_last: bool = True
    bfloat16: bool = False
    tf32: bool = False
    compile: bool = False

    def find(self) -> torch.device:
        """Returns the device and applies tf32. ConfigurationFault: this machine has no such device."""
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
        """Moves the model to a device, in place, in the memory order and with the compilation that are configured."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        moved: M = model.to(device=where, memory_format=order)  # type: ignore[call-overload]
        if self.compile:
            for part in moved.children():
                part.compile()
        return moved

    def frozen(self, model: M, where: torch.device) -> M:
        """Moves a model that is never trained to a device, in place, to be run there within `autocast`.

        With bfloat16 its convolutions and linear layers are stored in bfloat16, because autocast caches its rounded
        copies only of weights that learn, and would round all others at every call. Results are bit-identical in our
        networks.
        """
        frozen = self.put(model, where).eval().requires_grad_(False)
        if self.bfloat16:
            for layer in frozen.modules():
                if type(layer) in (nn.Conv2d, nn.Linear):  # a subclass may use its weights in another way
                    layer.to(torch.bfloat16)
        return frozen

    def autocast(self, where: torch.device) -> AbstractContextManager[object]:
        """Returns a context in which networks run in the configured precision."""
        return torch.autocast(where.type, dtype=torch.bfloat16, enabled=self.bfloat16)
