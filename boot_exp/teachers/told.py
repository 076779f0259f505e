"""Places for AdaIN in networks of diffusers, which are told w's embedding also where activations are computed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from boot_exp.diffusion.nets.adain import Block


class Told:
    """w's embedding, [B, E], while a network runs; None: it is not told w. The network's norms share one of these.

    Copying the network copies it too, so that a student is never told its teacher's w.
    """

    def __init__(self) -> None:
        self.embedded: Tensor | None = None

    @contextmanager
    def during(self, embedded: Tensor | None) -> Iterator[None]:
        """Tells the network an embedding for as long as the context lasts."""
        before, self.embedded = self.embedded, embedded
        try:
            yield
        finally:
            self.embedded = before

    def again(self, module: nn.Module, *given: Any) -> Any:
        """Runs a part of the network and keeps its inputs alone: a backward pass computes its activations again.

        By then the network may have been told another w, so the part is told the same as now.
        """
        embedded = self.embedded

        def run(*given: Any) -> Any:
            with self.during(embedded):
                return module(*given)

        return checkpoint(run, *given, use_reentrant=False)


class ToldNorm(nn.GroupNorm, Block):
    """The second norm of a diffusers residual block, followed by AdaIN where the network is told w."""

    shards: ClassVar[bool] = False

    def __init__(self, norm: nn.GroupNorm, told: Told) -> None:
        nn.GroupNorm.__init__(self, norm.num_groups, norm.num_channels, norm.eps)
        self.width, self.adain, self.told = norm.num_channels, None, told

    def forward(self, h: Tensor) -> Tensor:
        h = super().forward(h)
        return h if self.adain is None or self.told.embedded is None else self.adain(h, self.told.embedded)


def add_places(net: nn.Module, told: Told) -> None:
    """Replaces the second norm of each residual block of diffusers by one with a place for AdaIN."""
    from diffusers.models.resnet import ResnetBlock2D

    for module in net.modules():
        if isinstance(module, ResnetBlock2D):
            module.norm2 = ToldNorm(module.norm2, told)
