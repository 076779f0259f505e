"""One or more of every schedule, solver, sampler, grid and so on: every class of their modules is under the laws."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from boot_exp.diffusion import (
    distances,
    predictions,
    pure_noise,
    samplers,
    schedules,
    solvers,
    step_weights,
    times,
    weights,
)
from boot_exp.diffusion.schedules import Schedule
from boot_exp.diffusion.solvers import Coordinate, Integrator, OneStep, SignalStep

ARGUMENTS: dict[type, list[dict[str, Any]]] = {
    schedules.GivenTable: [{"given": tuple((0.01 + 0.13 * i / 999) ** 2 for i in range(1000))}],
    pure_noise.ZeroTerminalSnr: [{"table": schedules.ScaledLinearTable()}, {"table": schedules.SquaredCosineTable()}],
}
"""What a class is made with, once for each entry; a class that needs no arguments need not be here."""


def every(module: ModuleType, kind: type) -> list[Any]:
    """Makes all classes of a module that are of a kind: they inherit from it, or have a Protocol's methods."""
    made = []
    for item in vars(module).values():
        concrete = isinstance(item, type) and item.__module__ == module.__name__ and not inspect.isabstract(item)
        if concrete and not item.__name__.startswith("_") and item is not kind and _is_a(item, kind):
            made += [_make(item, arguments) for arguments in ARGUMENTS.get(item, [{}])]
    assert made, f"{module.__name__} must have classes of the kind {kind.__name__}, got none"
    return made


def _is_a(item: type, kind: type) -> bool:
    if not getattr(kind, "_is_protocol", False):
        return issubclass(item, kind)
    if getattr(item, "_is_protocol", False):
        return False
    for name, value in vars(kind).items():
        if name.startswith("_") and name != "__call__":
            continue
        if inspect.isfunction(value) or isinstance(value, property):
            if not hasattr(item, name) and name not in getattr(item, "__dataclass_fields__", {}):
                return False
            if inspect.isfunction(value) and _parameters(getattr(item, name)) != _parameters(value):
                return False
    return True


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def _make(item: type, arguments: dict[str, Any]) -> Any:
    try:
        return item(**arguments)
    except TypeError as error:
        raise AssertionError(
            f"{item.__module__}.{item.__name__} must have arguments to be under the laws, got {arguments}; "
            f"add them to ARGUMENTS in {__name__} ({error})"
        ) from error


ARGUMENTS[schedules.Clamped] = []
PLAIN: list[Schedule] = [*every(schedules, Schedule), *every(pure_noise, Schedule)]
ARGUMENTS[schedules.Clamped] = [{"schedule": schedule, "lam_min": -3.0, "lam_max": 3.0} for schedule in PLAIN]
SCHEDULES: list[Schedule] = [*every(schedules, Schedule), *every(pure_noise, Schedule)]

ARGUMENTS[solvers.Heun] = [{"coordinate": coordinate} for coordinate in every(solvers, Coordinate)]
ARGUMENTS[solvers.Dpmpp2S] = [{}, {"r": 0.1}]
ONE_STEP: list[Any] = every(solvers, OneStep)
INTEGRATORS: list[Integrator] = every(solvers, Integrator)
ARGUMENTS[solvers.OnSignal] = [{"solver": solver} for solver in ONE_STEP]
STEPS: list[SignalStep] = every(solvers, SignalStep)

ARGUMENTS[times.KarrasGrid] = [{}, {"rho": 3.0}]
ARGUMENTS[times.FixedSteps] = [{"steps": 18}]
GRIDS: list[times.Grid] = every(times, times.Grid)
TIMES: list[times.Times] = every(times, times.Times)
STEP_DRAWS: list[times.StepDraw] = every(times, times.StepDraw)
DISCRETISATIONS: list[times.Discretisation] = every(times, times.Discretisation)

ARGUMENTS[distances.AdaptiveError] = [{}, {"power": 0.5}, {"power": 2.0, "eps": 0.1}]
ARGUMENTS[distances.PseudoHuber] = [{}, {"c": 0.1}, {"c": 10.0}]
DISTANCES: list[distances.Distance] = every(distances, distances.Distance)
PREDICTIONS: list[predictions.Prediction] = every(predictions, predictions.Prediction)
WEIGHTS: list[weights.Weight] = every(weights, weights.Weight)
STEP_WEIGHTS: list[step_weights.StepWeight] = every(step_weights, step_weights.StepWeight)

ARGUMENTS[samplers.OneJump] = [{}, {"t": 0.25}]
ARGUMENTS[samplers.Along] = [{"solver": solver, "steps": 3} for solver in (solvers.Ddim(), solvers.Dpmpp2M())]
ARGUMENTS[samplers.EdmSampler] = [{"steps": 3}, {"steps": 3, "s_churn": 2}]
ARGUMENTS[samplers.Renoised] = [{"steps": 1}, {"steps": 3}]
ARGUMENTS[samplers.AtGuidance] = [{"sampler": samplers.Renoised(steps=2), "w": 3.0}]
SAMPLERS: list[samplers.Sampler] = every(samplers, samplers.Sampler)
