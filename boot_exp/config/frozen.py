"""A stage's frozen configuration: every value that it uses, bound or default, and a hash of each component's code.

As JSON it is a params file for DVC and contains everything that the stage needs to be built.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evals.ground.faults import ConfigurationFault, reading
from evals.ground.files import strict_json, write_json

STAGE, CODE = "stage", "sha256"
OTHER_CODE = "sha256 of the code"  # in components that have a parameter of the usual name


@dataclass(frozen=True, kw_only=True)
class Component:
    """One component in one scope. A value that begins with @ is a reference, with = the code of a default."""

    scope: str
    module: str
    name: str
    values: Mapping[str, Any]
    sha256: str


def aliases(modules: Collection[str]) -> dict[str, str]:
    """Maps each module to its last name, or to its full name with underscores if the last name is not free."""
    shared = Counter([STAGE, *(module.split(".")[-1] for module in modules)])
    return {
        module: (last if shared[last := module.split(".")[-1]] == 1 else module.replace(".", "_"))
        for module in sorted(modules)
    }


REFERENCE = re.compile(r"@([\w./]+)")
"""A component that a value refers to, with its scope."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """suite, name: of the run; root: the stage, module.Class; components: everything that it uses."""

    suite: str
    name: str
    root: str
    components: tuple[Component, ...]

    @property
    def stage(self) -> str:
        """Returns the stage's name, which is also its command."""
        return self.root.partition(".")[0]

    @cached_property
    def alias(self) -> dict[str, str]:
        """Returns the alias of each module."""
        return aliases({item.module for item in self.components})

    def settings(self) -> dict[str, Any]:
        """Returns scope/module.Component.parameter -> value, sorted by name."""
        alias = self.alias
        flat = {
            f"{component.scope}/".lstrip("/") + f"{alias[component.module]}.{component.name}.{key}": value
            for component in self.components
            for key, value in component.values.items()
        }
        return dict(sorted(flat.items()))

    def made_of(self, key: str) -> dict[str, Any]:
        """Returns the value of a name, and all values of the components that it refers to, as `settings` does."""
        settings = self.settings()
        found, new = {key: settings[key]}, [settings[key]]
        while new:
            for name in REFERENCE.findall(str(new.pop())):
                more = {each: value for each, value in settings.items() if each.rpartition(".")[0] == name}
                new += [value for each, value in more.items() if each not in found]
                found |= more
        return found

    def codes(self) -> dict[str, str]:
        """Returns module.Component -> hash of its code, for the project's own components."""
        alias = self.alias
        ours = [component for component in self.components if component.sha256]
        return dict(sorted((f"{alias[item.module]}.{item.name}", item.sha256) for item in ours))

    def lines(self) -> dict[str, str]:
        """Returns the line for each value and for each component's code, by what it describes."""
        values = {key: f"{key} = {_literal(value)}" for key, value in self.settings().items()}
        return values | {f"# {name}": f"# {name}: code {code}" for name, code in self.codes().items()}

    def text(self) -> str:
        """Returns one line per value and one per component's code, as `show` prints and cards store them."""
        return "\n".join(self.lines().values()) + "\n"

    def write(self, path: Path) -> None:
        """Writes {stage: ..., module: {Component: {parameter: value}}}."""
        alias = self.alias
        tree: dict[str, Any] = {
            STAGE: {
                "suite": self.suite,
                "name": self.name,
                "root": self.root,
                "modules": {name: module for module, name in alias.items()},
            }
        }
        for component in sorted(self.components, key=lambda c: (c.module, c.name, c.scope)):
            scope = f"{component.scope}/" if component.scope else ""
            code = {CODE if CODE not in component.values else OTHER_CODE: component.sha256} if component.sha256 else {}
            named = tree.setdefault(f"{scope}{alias[component.module]}", {})
            named[component.name] = {**component.values, **code}
        write_json(path, tree)

    @staticmethod
    def read(path: Path) -> Frozen:
        """Reads what `write` wrote. ConfigurationFault: the file is damaged or something else."""
        if not path.exists():
            raise ConfigurationFault(f"there is no {path}; write it with boot-exp resolve, or give a run SUITE/NAME")
        with reading(path, "must be a frozen configuration", "resolve it again", ConfigurationFault):
            return _thawed(strict_json(path.read_text(encoding="utf-8")))


def _thawed(tree: Any) -> Frozen:
    """Reads a frozen configuration from its JSON. Raises some exception for anything that `write` does not write."""
    head = tree.pop(STAGE)
    components = tuple(
        Component(
            scope=scoped.rpartition("/")[0],
            module=head["modules"][scoped.rpartition("/")[2]],
            name=name,
            values={key: value for key, value in values.items() if key != _code_key(values)},
            sha256=values.get(_code_key(values), ""),
        )
        for scoped, named in tree.items()
        for name, values in named.items()
    )
    frozen = Frozen(suite=head["suite"], name=head["name"], root=head["root"], components=components)
    if not all(isinstance(text, str) for text in (frozen.suite, frozen.name, *(item.sha256 for item in components))):
        raise TypeError("something else than text for a name or a hash")
    for item in components:
        words = [*filter(None, item.scope.split("/")), *item.module.split("."), *item.name.split("."), *item.values]
        if odd := [word for word in words if not word.isidentifier()][:1]:
            raise ValueError(f"{odd[0]!r} where the name of a component or of its parameter must be")
    if frozen.root not in {f"{frozen.alias[item.module]}.{item.name}" for item in components}:
        raise ValueError(f"its root {frozen.root} is none of its components")
    frozen.text()  # raises for values that are nested too deeply to be written
    return frozen


def differences(a: Frozen, b: Frozen) -> Iterator[str]:
    """Returns the lines in which two differ: - for a's, + for b's."""
    first, second = a.lines(), b.lines()
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield from (f"{sign} {lines[key]}" for sign, lines in (("-", first), ("+", second)) if key in lines)


def differences_of_runs(a: Mapping[str, Frozen], b: Mapping[str, Frozen]) -> Iterator[str]:
    """Returns the lines in which the stages of two runs differ, after a line that names the stage."""
    for stage in dict.fromkeys([*a, *b]):
        if stage in a and stage in b:
            lines = list(differences(a[stage], b[stage]))
        else:
            lines = [f"{'-' if stage in a else '+'} the whole stage"]
        if lines:
            yield from (f"# stage {stage}", *lines)


def _code_key(values: Mapping[str, Any]) -> str:
    return OTHER_CODE if OTHER_CODE in values else CODE


def is_code(value: object) -> bool:
    """Returns whether a value is the code of a default, which is left to the component."""
    return isinstance(value, str) and value.startswith("=")


def _literal(value: object) -> str:
    if isinstance(value, str):
        if value.startswith(("@", "=")):
            return value
        return repr(value.removeprefix("\\"))
    if isinstance(value, list):
        inside = ", ".join(map(_literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        # By name, as the file has them.
        return "{" + ", ".join(f"{key!r}: {_literal(item)}" for key, item in sorted(value.items())) + "}"
    return repr(value)
