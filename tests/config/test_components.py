"""Every range that an annotation says holds when the object is made, and a refusal names the field, rule and value."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, fields
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt

import boot_exp
from boot_exp.config.components import Count, Natural, OpenShare, Positive, PositiveShare, Share, component, rule
from boot_exp.diffusion.samplers import OneJump, Sweep
from boot_exp.diffusion.schedules import Clamped, Cosine, GivenTable, LinearBeta
from boot_exp.diffusion.solvers import Ddim, OnSignal
from boot_exp.engine.averages import Ema
from boot_exp.engine.compute import Compute
from boot_exp.engine.rates import CosineRate
from boot_exp.stages.sample import Sample

Bound = Gt | Ge | Lt | Le


def components() -> list[type]:
    """Every component class in the package."""
    found = set()
    for module in pkgutil.walk_packages(boot_exp.__path__, "boot_exp."):
        if not module.name.endswith("__main__"):
            for item in vars(importlib.import_module(module.name)).values():
                own = isinstance(item, type) and item.__module__ == module.name and not inspect.isabstract(item)
                if own and made_by_component(item):
                    found.add(item)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def made_by_component(kind: type) -> bool:
    made = getattr(vars(kind).get("__post_init__"), "__qualname__", "")
    return made == f"{component.__name__}.<locals>.__post_init__"


def bounds(hint: Any) -> tuple[type, list[Bound], bool] | None:
    """Basic type and bounds of a hint, and whether they are those of a sequence's items; None where it has none."""
    if get_origin(hint) is Sequence:
        inner = bounds(get_args(hint)[0])
        return inner and (*inner[:2], True)
    if get_origin(hint) is Annotated:
        kind, *said = get_args(hint)
        flat = [bound for item in said for bound in (item if isinstance(item, Interval) else [item])]
        limits = [bound for bound in flat if isinstance(bound, Bound)]
        return (kind, limits, False) if limits else None
    others = [argument for argument in get_args(hint) if argument is not NoneType]
    return bounds(others[0]) if len(others) == 1 else None


def outside(kind: type, bound: Bound) -> float:
    """The nearest value that the bound forbids."""
    match bound:
        case Gt(gt=end) | Lt(lt=end):
            return kind(end)
        case Ge(ge=end):
            return end - 1 if kind is int else math.nextafter(end, -math.inf)
        case Le(le=end):
            return end + 1 if kind is int else math.nextafter(end, math.inf)


def cases() -> Iterator[Any]:
    for kind in components():
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            found = bounds(hints[field.name])
            for bound in found[1] if found else []:
                assert found is not None
                name = f"{kind.__name__}.{field.name}"
                yield pytest.param(kind, field.name, found, outside(found[0], bound), id=f"{name}-{bound}")


def refusal(kind: type, name: str, value: object) -> str:
    """What is said of one value; the other fields are right, and cannot be got at before all ranges are checked."""
    made = {field.name: allowed(kind, field.name) for field in fields(kind) if field.init}
    with pytest.raises(ValueError) as caught:
        kind(**{**made, name: value})
    return str(caught.value)


def allowed(kind: type, name: str) -> object:
    """A value that the annotation of a field allows; an object where it says nothing of basic types."""
    hint = get_type_hints(kind, include_extras=True)[name]
    found = bounds(hint)
    if found is None:
        if NoneType in get_args(hint):
            return None
        return {int: 1, float: 1.0, str: "x", bool: True}.get(hint, [] if get_origin(hint) is Sequence else object())
    basic, limits, many = found
    inside = next(x for x in (0.5, 1, 2) if (basic is float or x != 0.5) and all(holds(b, x) for b in limits))
    return [inside] if many else inside


def holds(bound: Bound, value: float) -> bool:
    match bound:
        case Gt(gt=end):
            return value > end
        case Ge(ge=end):
            return value >= end
        case Lt(lt=end):
            return value < end
        case Le(le=end):
            return value <= end


@pytest.mark.parametrize(("kind", "name", "found", "value"), list(cases()))
def test_every_bound_refuses_what_lies_just_outside(
    kind: type, name: str, found: tuple[type, list[Bound], bool], value: float
) -> None:
    _, limits, many = found
    said = refusal(kind, name, [value] if many else value)
    assert said.startswith(f"{kind.__name__}.{name}{'[0]' if many else ''} ")
    assert said.endswith(f"must {rule(limits)}, got {value!r}") and "\n" not in said


@pytest.mark.parametrize(("kind", "name", "found", "value"), list(cases()))
def test_no_range_holds_what_is_no_number_of_its_kind(
    kind: type, name: str, found: tuple[type, list[Bound], bool], value: float
) -> None:
    basic, _, many = found
    for wrong in ["1", True, math.nan, *([1.5] if basic is int else [])]:
        said = refusal(kind, name, [wrong] if many else wrong)
        assert said.startswith(f"{kind.__name__}.{name}") and said.endswith(f"got {wrong!r}") and "\n" not in said


def test_the_walk_finds_them() -> None:
    named = {f"{case.values[0].__name__}.{case.values[1]}" for case in cases()}  # type: ignore[attr-defined]
    assert named >= {
        "Ema.half_life",
        "CosineRate.peak",
        "Sample.n",
        "Training.batch",
        "Pad.value",
        "Sweep.steps",
        "OneJump.t",
    }
    assert {"Ema", "Cosine", "FromV", "Digits", "Distil", "AtEnd"} <= {kind.__name__ for kind in components()}


def test_messages() -> None:
    said = refusal(Ema, "half_life", -1.0)
    assert said == "Ema.half_life is a number of images and must be > 0, got -1.0"
    assert refusal(CosineRate, "peak", -1) == "CosineRate.peak must be > 0, got -1"
    assert refusal(CosineRate, "peak", "fast") == "CosineRate.peak must be a number, got 'fast'"
    assert refusal(Sample, "batch", 2.5) == "Sample.batch must be a whole number, got 2.5"
    assert refusal(Sweep, "steps", (4, 0)) == "Sweep.steps[1] must be >= 1, got 0"
    assert refusal(Sweep, "steps", 4) == "Sweep.steps must be a list or a tuple, got 4"
    assert refusal(Compute, "device", 0) == "Compute.device must be a string, got 0"


@pytest.mark.parametrize(
    ("hint", "inside", "out"),
    [
        (Share, [0, 1, 0.5], [-1e-9, 1 + 1e-9]),
        (PositiveShare, [1e-300, 1], [0, -0.0]),
        (OpenShare, [0.5], [0, 1]),
        (Positive, [math.inf, 1], [0, -math.inf]),
        (Count, [1, 10**9], [0]),
        (Natural, [0], [-1]),
        (Annotated[float, Lt(2)], [1], [2]),
        (Annotated[float, Gt(0), Le(2)], [2], [0, 2.1]),
    ],
)
def test_ends_belong_to_a_range_as_it_says(hint: Any, inside: list[float], out: list[float]) -> None:
    kind = component(type("Thing", (), {"__annotations__": {"x": hint}, "__module__": __name__}))
    for value in inside:
        assert kind(x=value).x == value  # type: ignore[call-arg, attr-defined]
    for value in out:
        with pytest.raises(ValueError, match=r"^Thing.x must (be|lie in) .*, got "):
            kind(x=value)  # type: ignore[call-arg]


def test_an_entry_of_a_long_sequence_is_named() -> None:
    with pytest.raises(ValueError, match=r"^GivenTable.given\[998\] must lie in \(0, 1\), got 1.5$"):
        GivenTable(given=[0.001] * 998 + [1.5])


def test_a_whole_number_is_a_fine_float_and_none_is_fine_where_it_is_said() -> None:
    assert CosineRate(peak=1).peak == 1
    assert OneJump().t is None and OneJump(t=1).name == "signal-1" and OneJump(t=0.25).name == "signal-0.25"


def test_a_components_own_check_runs_after_its_ranges() -> None:
    with pytest.raises(ValueError, match=r"LinearBeta\.beta_min must be > 0"):
        LinearBeta(beta_min=-1.0, beta_max=-2.0)
    with pytest.raises(ValueError, match="LinearBeta needs beta_min < beta_max"):
        LinearBeta(beta_min=2.0, beta_max=1.0)
    with pytest.raises(ValueError, match=r"Clamped\.lam_min must be a number"):
        Clamped(schedule=Cosine(), lam_min="low", lam_max=1.0)  # type: ignore[arg-type]


def test_a_component_is_frozen_keyword_only_and_equal_by_value() -> None:
    step = OnSignal(solver=Ddim())
    assert step == OnSignal(solver=Ddim()) and repr(step) == "OnSignal(solver=Ddim())"
    with pytest.raises(FrozenInstanceError):
        step.solver = Ddim()  # type: ignore[misc]
    with pytest.raises(TypeError):
        OnSignal(Ddim())  # type: ignore[call-arg]
