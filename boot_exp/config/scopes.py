"""The first scope of a binding: the kind of run that it is for, or in gin/ablations.gin the ablation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.params import PARAMS
from boot_exp.config.parse import GIN, Binding, packaged, parse_file

TEACHER, STUDENT = "teacher", "student"
ABLATIONS = Path("gin/ablations.gin")
NONE = "none"  # the ablation that changes nothing: the control of a study


def of_kind(kind: str, bindings: Iterable[Binding]) -> list[Binding]:
    """Returns the bindings that hold for one kind of run, without the scope that says so."""
    found = []
    for binding in bindings:
        first, _, rest = binding.scope.partition("/")
        if first not in (TEACHER, STUDENT):
            found.append(binding)
        elif first == kind:
            found.append(replace(binding, scope=rest))
    return found


def ablations(faults: Faults) -> dict[str, list[Binding]]:
    """Returns the bindings of every ablation by its name, with which their lines begin.

    They are of the package, and of a file of that name here, whose ablations come before the package's.
    """
    theirs, here = GIN / ABLATIONS.name, packaged(ABLATIONS)
    found = {} if theirs.resolve() == here.resolve() else _named(theirs, faults)
    return found | _named(here, faults)


def _named(path: Path, faults: Faults) -> dict[str, list[Binding]]:
    """Returns the bindings of a file by their first scope, without it."""
    found: dict[str, list[Binding]] = {}
    for binding in parse_file(path, faults, said=Spot(f"{PARAMS}, ablation"), anywhere=True):
        name, _, scope = binding.scope.partition("/")
        if name in ("", NONE):
            rule = f"a line must begin with the name of an ablation, such as longer/, other than {NONE}/"
            faults.add(binding.spot, f"{rule}, got {binding.key}; write one before it")
        found.setdefault(name, []).append(replace(binding, scope=scope))
    return found
