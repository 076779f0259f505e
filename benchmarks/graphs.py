"""A network call as a CUDA graph: recorded once, then replayed without launching each kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def graphed(net: nn.Module, given: tuple[Any, ...], device: torch.device) -> Callable[[], Tensor]:
    """Captures the network's forward pass on these very tensors; on a CPU, returns a plain call."""

    @torch.inference_mode()
    def call() -> Tensor:
        output: Tensor = net(*given)
        return output

    if device.type != "cuda":
        return call
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):  # choices that a first call makes and keeps must not be recorded
            call()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay
