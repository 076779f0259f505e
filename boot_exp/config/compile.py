"""Compiles bindings to frozen configurations: everything that each stage uses, through references, macros and scopes.

These rules are gin's own: a binding in scope a/b takes precedence over one in a, and that over one without a scope; an
object behind a scoped reference is built in that scope. Two rules differ: macros are inlined, and a default that is a
component is treated like any other component, so bindings to it take effect.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from boot_exp.config import code, signatures, source
from boot_exp.config.check import brief, misfit, words
from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Component, Frozen, aliases
from boot_exp.config.parse import DEEPEST, Binding, Macro, Pointer
from boot_exp.config.signatures import Parameter
from boot_exp.config.source import Definition
from boot_exp.config.values import INVALID, Code, Target, plain

STAGES = "boot_exp.stages."
LARGEST = 10_000
"""How many values macros may make of one: twice each other, forty of them would be a million million."""
Key = tuple[Definition, str, str]  # component, scope, parameter


@dataclass
class Compiler:
    """Compiles the bindings of one run; `used` gathers the bindings that some stage uses.

    replaced: bindings that may use others and that a later one of the same parameter replaced, and that one.
    hashed: whether components get the hash of their code, which takes time, and which lint does not need.
    """

    bindings: Sequence[Binding]
    faults: Faults
    whole: bool = True  # else what is REQUIRED may be bound by an override
    hashed: bool = True
    used: set[Spot] = field(default_factory=set)
    bound: dict[Key, Binding] = field(default_factory=dict)
    own: dict[Definition, Binding] = field(default_factory=dict)
    macros: dict[str, Binding] = field(default_factory=dict)
    replaced: list[tuple[Binding, Binding]] = field(default_factory=list)
    shown: dict[Definition, tuple[str, str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # of macros
    depth: int = 0

    def __post_init__(self) -> None:
        for binding in self.bindings:
            if not binding.parameter:
                self.macros[binding.key] = binding
                continue
            definition = self.find(binding.selector, binding)
            if definition is None:
                continue
            takes = signatures.signature(definition)
            if binding.parameter not in takes.parameters and not takes.more:
                near = Faults.nearest(binding.parameter, takes.parameters)
                self.faults.add(binding.spot, f"{binding.selector} has no parameter {binding.parameter}{near}")
                self.used.add(binding.spot)
                continue
            key = (definition, binding.scope, binding.parameter)
            if (before := self.bound.get(key)) and isinstance(before.value, Pointer | Macro | list | tuple | dict):
                self.replaced.append((before, binding))
            self.bound[key] = binding
            if not binding.anywhere:
                self.own.setdefault(definition, binding)

    def stages(self, suite: str, name: str) -> dict[str, Frozen]:
        """Returns the frozen configuration of each stage that the run's files configure, by the stage's name."""
        # An override must not create a stage that the run's files do not configure. Of a stage that a method's file and
        # a suite's configure with different classes, the suite's counts: its file is read last.
        roots = {d: b for d, b in self.own.items() if d.module.startswith(STAGES)}
        found = {}
        for root, binding in roots.items():
            nodes: dict[tuple[str, Definition], dict[str, object]] = {}
            self.visit(root, "", binding.spot, nodes, called=True)
            found[root.module.removeprefix(STAGES)] = self.freeze(suite, name, root, nodes)
        for before, now in self.replaced:
            if now.spot in self.used:
                self.count_as_used(before, self.bindings[: self.bindings.index(now)])
        return found

    def count_as_used(self, replaced: Binding, above: Sequence[Binding]) -> None:
        """Counts as used the bindings that a replaced one would use, among those above what replaced it."""
        other, spots = copy.copy(self), {binding.spot for binding in above}
        other.bound = {key: binding for key, binding in self.bound.items() if binding.spot in spots}
        other.faults, other.used, other.whole = Faults(), set(), False
        other.value(replaced.value, replaced, replaced.scope, {}, ())
        self.used |= other.used

    def say_unused(self, used: set[Spot], *, overrides: bool = False) -> None:
        """Adds a fault for each binding or override that no stage uses."""
        for binding in [*self.bound.values(), *self.macros.values()]:
            if binding.anywhere == overrides and binding.spot not in used:
                kind = "binding" if binding.parameter else "macro"
                cure = "take it out, or refer to what it configures"
                if ", gin." in binding.spot.file:
                    cure += " (gin.bindings is of the students, gin.teacher of the teacher, gin.both of both)"
                self.faults.add(binding.spot, f"unused {kind} {binding.key}: no stage reaches it; {cure}")

    def find(self, selector: str, binding: Binding) -> Definition | None:
        """Returns the component that a selector at a spot refers to; None, and a fault, if there is none."""
        alias, _, rest = selector.partition(".")
        module = binding.imports.get(alias)
        if module is not None:
            definition = source.lookup(module, rest)
            if definition is not None:
                if not source.is_project(definition.module):
                    head, _, last = f"{module}.{rest}".rpartition(".")
                    self.shown.setdefault(definition, (head, last))
                return definition
            if source.is_module(module):
                near = Faults.nearest(rest, source.names(module))
                self.faults.add(binding.spot, f"{module} has no component {rest}{near}")
        elif binding.anywhere:
            for among in self.known():
                if found := [d for d in among if f".{d}".endswith(f".{selector}")]:
                    break
            if len(found) == 1:
                return found[0]
            several = " or ".join(sorted(map(str, found)))
            near = Faults.nearest(selector, {d.name for among in self.known() for d in among})
            said = f"is several: {several}; write more of its name" if found else f"is unknown{near}"
            self.faults.add(binding.spot, f"component {selector} {said}")
        else:
            module = next((d.module for d in source.index() if d.module.split(".")[-1] == alias), "")
            package, _, last = module.rpartition(".")
            cure = f"; write: from {package} import {last}" if module else Faults.nearest(alias, binding.imports)
            self.faults.add(binding.spot, f"{selector}: {alias} is not imported in this file{cure}")
        self.used.add(binding.spot)
        return None

    def known(self) -> Iterator[set[Definition]]:
        """Yields components, ever more: the run's own first, because the project may have a name twice and it once."""
        yield {d for d, _, _ in self.bound}
        known = set(source.index())  # which reads all code, so only if the run does not have the name
        yield {d for d in known if d.module.startswith(STAGES)}
        yield {d for d in known if not d.module.startswith("evals.")}  # what evals writes is rarely meant
        yield known

    def visit(
        self,
        definition: Definition,
        scope: str,
        spot: Spot,
        nodes: dict[tuple[str, Definition], dict[str, object]],
        *,
        called: bool,
    ) -> None:
        """Records a component in a scope, with the value of each parameter, and everything that its values use."""
        if (scope, definition) in nodes:
            return
        if self.depth >= DEEPEST:
            self.faults.add(spot, f"components must be at most {DEEPEST} deep in each other, got more; take some out")
            return
        self.depth += 1
        values = nodes[scope, definition] = {}
        takes = signatures.signature(definition)
        extra = [p for d, _, p in self.bound if d == definition and p not in takes.parameters] if takes.more else []
        absent = []
        for name in [*takes.parameters, *dict.fromkeys(extra)]:
            parameter = takes.parameters.get(name, Parameter(name, definition.module, None, None))
            binding = self.effective(definition, scope, name)
            if binding is None or binding.value == Macro("gin.REQUIRED"):
                if parameter.default is None or binding is not None:
                    absent += [name] if name in takes.parameters else []
                    self.used |= {binding.spot} if binding else set()
                else:
                    values[name] = self.default(parameter, definition, scope, spot, nodes)
                continue
            self.used.add(binding.spot)
            given = self.value(binding.value, binding, scope, nodes, ())
            wrong = misfit(given, parameter.annotation, parameter.module)
            if wrong is not None and given is not INVALID:
                about = words(parameter.annotation, parameter.module)
                what = f"{self.name(definition)}.{name}"
                if wrong.startswith("["):
                    self.faults.add(binding.spot, f"{what}{wrong}; mend that entry")
                else:
                    what += f"{f' is {about} and' if about else ''} {wrong}"
                    self.faults.add(binding.spot, f"{what}, got {brief(given)}")
            values[name] = given
        if called and absent and self.whole:
            needs = ", ".join(f"{self.name(definition)}.{name}" for name in absent)
            self.faults.add(spot, f"REQUIRED but bound nowhere: {needs}; bind {'it' if len(absent) == 1 else 'them'}")
        self.depth -= 1

    def effective(self, definition: Definition, scope: str, parameter: str) -> Binding | None:
        """Returns the binding that is in effect in a scope: that of the longest matching part of the scope."""
        parts = scope.split("/") if scope else []
        for length in range(len(parts), -1, -1):
            if found := self.bound.get((definition, "/".join(parts[:length]), parameter)):
                return found
        return None

    def value(
        self,
        given: object,
        binding: Binding,
        scope: str,
        nodes: dict[tuple[str, Definition], dict[str, object]],
        above: tuple[str, ...],
    ) -> object:
        """Returns a bound value with its macros inlined and its references resolved and visited."""
        if isinstance(given, Macro):
            macro = self.macros.get(given.name)
            said = ""
            if macro is None:
                said = f"macro %{given.name} is undefined{Faults.nearest(given.name, self.macros)}"
            elif given.name in above:
                said = f"macro %{given.name} is defined by itself"
            elif len(above) >= DEEPEST or self.size(given) > LARGEST:
                said = f"macros must be at most {DEEPEST} deep and {LARGEST:,} values in all, got more by %{given.name}"
            if macro is None or said:
                self.faults.add(binding.spot, said)
                return INVALID
            self.used.add(macro.spot)
            return self.value(macro.value, macro, scope, nodes, (*above, given.name))
        if isinstance(given, Pointer):
            definition = self.find(given.selector, binding)
            if definition is None:
                return INVALID
            # A component that is passed uncalled is called later, outside of any scope.
            inside = given.scope or (scope if given.called else "")
            self.visit(definition, inside, binding.spot, nodes, called=given.called)
            return Target(definition, given.scope, self.name(definition), given.called)
        if isinstance(given, list | tuple):
            items = [self.value(item, binding, scope, nodes, above) for item in given]
            return INVALID if INVALID in items else items
        if isinstance(given, dict):
            return {key: self.value(item, binding, scope, nodes, above) for key, item in given.items()}
        return given

    def size(self, given: object, above: tuple[str, ...] = ()) -> int:
        """Counts the values in a value with its macros inlined; a macro that refers to itself counts as one."""
        if isinstance(given, list | tuple | dict):
            return 1 + sum(self.size(item, above) for item in (given.values() if isinstance(given, dict) else given))
        if not isinstance(given, Macro) or given.name not in self.macros or given.name in above:
            return 1
        if len(above) >= DEEPEST:
            return LARGEST + 1
        if given.name not in self.sizes:
            self.sizes[given.name] = self.size(self.macros[given.name].value, (*above, given.name))
        return self.sizes[given.name]

    def default(
        self,
        parameter: Parameter,
        definition: Definition,
        scope: str,
        spot: Spot,
        nodes: dict[tuple[str, Definition], dict[str, object]],
    ) -> object:
        """Returns a default as a value: a literal, a component that is built each time, or the text of its code."""
        assert parameter.default is not None
        made = parameter.default.func if isinstance(parameter.default, ast.Call) else parameter.default
        bare = not isinstance(parameter.default, ast.Call) or not (parameter.default.args or parameter.default.keywords)
        target = source.lookup(parameter.module, source.text(made)) if bare else None
        if (parameter.factory or made is not parameter.default) and target and isinstance(target.node, ast.ClassDef):
            self.visit(target, scope, spot, nodes, called=True)
            return Target(target, "", self.name(target), True)
        try:
            return source.constant(parameter.module, parameter.default)
        except ValueError:
            return Code(source.text(parameter.default))

    def name(self, definition: Definition) -> str:
        """Returns module.Component, with the last part of the module's name only."""
        module, name = self.shown.get(definition, (definition.module, definition.name))
        return f"{module.split('.')[-1]}.{name}"

    def freeze(
        self, suite: str, name: str, root: Definition, nodes: dict[tuple[str, Definition], dict[str, object]]
    ) -> Frozen:
        """Returns the frozen form of everything that a stage uses."""
        places = {d: self.shown.get(d, (d.module, d.name)) for _, d in nodes}
        alias = aliases({module for module, _ in places.values()})
        selectors = {d: f"{alias[module]}.{name}" for d, (module, name) in places.items()}
        components = tuple(
            Component(
                scope=scope,
                module=places[definition][0],
                name=places[definition][1],
                values={key: plain(item, selectors) for key, item in values.items()},
                sha256=code.sha256(definition) if self.hashed and source.is_project(definition.module) else "",
            )
            for (scope, definition), values in nodes.items()
        )
        return Frozen(suite=suite, name=name, root=selectors[root], components=components)
