"""Optimizers that torch does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from evals.ground.faults import ConfigurationFault


class Soap(Optimizer):
    """SOAP (arXiv 2409.11321, algorithm 3): Adam in the eigenbases of G G' and G' G, averaged over the gradients G.

    A weight is a matrix, [outputs, inputs x kernel]; biases and gains get plain Adam. lr: the learning rate. betas: the
    shares of the first and of all second moments that a step keeps. eps: added to Adam's divisor. every: the number of
    steps between two updates of the bases; each is one step of the power method. largest: a matrix's longer sides keep
    their own basis. The first step finds the bases and moves no matrix. ConfigurationFault: the weights are sharded.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        every: int = 10,
        largest: int = 2_000,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "every": every, "largest": largest})
        if any(isinstance(parameter, DTensor) for group in self.param_groups for parameter in group["params"]):
            raise ConfigurationFault(
                "Soap needs whole matrices, got weights that are sharded over processes; launch without --use_fsdp, or "
                "bind Training.optimizer = @optim.Adam"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state, each tensor into memory of its own: sums of products depend on where a matrix begins there."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state.update({name: tensor.clone() for name, tensor in state.items()})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Takes one step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad.reshape(len(parameter), -1), group)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        first = not state
        if first:
            self._begin(state, gradient, group["largest"] if parameter.ndim > 1 else 0)
        sides = [side for side in ("left", "right") if state[f"{side}_basis"].ndim]
        if not (first and sides):
            parameter -= group["lr"] * self._direction(state, gradient, group).view(parameter.shape)
            for side in sides:
                state[side].lerp_(_moment(side, gradient), 1 - group["betas"][1])
            if sides and int(state["step"]) % group["every"] == 0:
                for side in sides:
                    _turn(state, side)

    @staticmethod
    def _begin(state: dict[str, Any], gradient: Tensor, largest: int) -> None:
        state["step"] = torch.zeros((), dtype=torch.float64, device="cpu")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        for side, length in zip(("left", "right"), gradient.shape, strict=True):
            state[side], state[f"{side}_basis"] = gradient.new_ones(()), gradient.new_ones(())
            if length <= largest:
                state[side] = _moment(side, gradient)
                state[f"{side}_basis"] = torch.linalg.eigh(state[side]).eigenvectors.contiguous()

    @staticmethod
    def _direction(state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Returns Adam's direction, found in the bases and turned back, [outputs, inputs]."""
        (kept, kept_square), left, right = group["betas"], state["left_basis"], state["right_basis"]
        state["step"] += 1
        mean = state["exp_avg"].lerp_(gradient, 1 - kept)
        square = state["exp_avg_sq"].lerp_(_into(gradient, left, right).square(), 1 - kept_square)
        divisor = (square / (1 - kept_square ** state["step"])).sqrt() + group["eps"]
        return _back(_into(mean / (1 - kept ** state["step"]), left, right) / divisor, left, right)


def _moment(side: str, gradient: Tensor) -> Tensor:
    return gradient @ gradient.mT if side == "left" else gradient.mT @ gradient


def _into(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Computes left' x matrix x right, where a basis without dimensions stands for the matrix's own."""
    matrix = left.mT @ matrix if left.ndim else matrix
    return matrix @ right if right.ndim else matrix


def _back(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Inverts `_into`."""
    matrix = left @ matrix if left.ndim else matrix
    return matrix @ right.mT if right.ndim else matrix


def _turn(state: dict[str, Any], side: str) -> None:
    """Moves a basis towards the eigenvectors of its moment, in the order of their eigenvalues, the largest first."""
    moment, basis = state[side], state[f"{side}_basis"]
    order = (basis * (moment @ basis)).sum(0).argsort(descending=True)
    square = state["exp_avg_sq"]
    state["exp_avg_sq"] = square[order] if side == "left" else square[:, order]
    state[f"{side}_basis"] = torch.linalg.qr(moment @ basis[:, order]).Q.contiguous()
