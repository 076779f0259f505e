"""Builds a stage from its frozen configuration, by gin's rules, and refuses what the configuration does not record."""

from __future__ import annotations

import inspect
from functools import partial, reduce
from importlib import import_module
from typing import Any

from boot_exp.config import code, source
from boot_exp.config.frozen import Component, Frozen, is_code
from evals.ground.faults import ConfigurationFault, Fault


def build(frozen: Frozen) -> Any:
    """Builds the stage with everything that is bound to it. Raises ConfigurationFault."""
    return Parts(frozen)._said("@" + frozen.root + "()")


class Parts:
    """A stage of which a part is built when it is asked for, anew each time. Raises ConfigurationFault."""

    def __init__(self, frozen: Frozen) -> None:
        self._root, alias = frozen.root, frozen.alias
        self._components = {(item.scope, f"{alias[item.module]}.{item.name}"): item for item in frozen.components}
        for item in frozen.components:
            definition = source.lookup(item.module, item.name)
            if item.sha256 and (definition is None or code.sha256(definition) != item.sha256):
                raise ConfigurationFault(
                    f"{frozen.root} was frozen from other code than is here: {item.module}.{item.name} differs; "
                    "resolve it again"
                )

    def __getattr__(self, name: str) -> Any:
        values = self._components["", self._root].values
        if name not in values or is_code(values[name]):
            raise AttributeError(f"{self._root} must have a frozen value of {name} to build it alone, got none")
        return self._said(values[name])

    def _said(self, given: Any) -> Any:
        """Returns a value outside of any scope, and makes a ConfigurationFault of whatever is raised."""
        try:
            return self._value(given, "")
        except Fault:
            raise
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = " ".join(lines) or type(error).__name__
            raise ConfigurationFault(f"{self._root} cannot be built: {said}") from error

    def _value(self, given: Any, scope: str) -> Any:
        """Returns a frozen value as Python's. A reference is built anew, in its own scope or the one around it."""
        match given:
            case str() if given.startswith("@"):
                own, _, selector = given[1:].removesuffix("()").rpartition("/")
                if given.endswith("()"):
                    return self._maker(own or scope, selector)()
                return self._maker(own, selector)  # it is called later, outside of any scope
            case str():
                return given.removeprefix("\\")
            case list():
                return tuple(self._value(item, scope) for item in given)
            case dict():
                return {key: self._value(item, scope) for key, item in given.items()}
        return given

    def _maker(self, scope: str, selector: str) -> partial[Any]:
        """Returns what makes a component; its module is imported at once."""
        key = f"{scope}/".lstrip("/") + selector
        component = self._components.get((scope, selector))
        if component is None:
            said = f"its frozen file must have {key}, got none; resolve it again"
            raise ConfigurationFault(f"{self._root} cannot be built: {said}")
        kind = reduce(getattr, component.name.split("."), import_module(component.module))
        return partial(self._made, kind, key, component)

    def _made(self, kind: Any, key: str, component: Component, /, *args: Any, **kwargs: Any) -> Any:
        """Makes a component with its frozen values; what a caller passes takes the place of one."""
        signature = inspect.signature(kind)
        passed = signature.bind_partial(*args, **kwargs).arguments
        for name, parameter in signature.parameters.items():
            if parameter.default is not parameter.empty and name not in component.values and name not in passed:
                raise ConfigurationFault(
                    f"{self._root} used what its frozen file does not record: {key}.{name} = {parameter.default!r}; "
                    "resolve it again"
                )
        bound = {name: item for name, item in component.values.items() if name not in passed and not is_code(item)}
        return kind(*args, **kwargs, **{name: self._value(bound[name], component.scope) for name in sorted(bound)})
