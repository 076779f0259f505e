"""The settings of a training, as the configuration in its card has them."""

from collections.abc import Mapping

CODE = "# "
"""Before the name of a component, of whose code the configuration has the hash."""
UNKNOWN = "no such setting"
"""Stands for the value of a parameter that the code did not have."""


def bindings_of(config: str) -> dict[str, str]:
    """Returns {KEY: value} of a configuration's lines, and {# COMPONENT: hash of its code}."""
    pairs = (line.partition(": code " if line.startswith(CODE) else " = ") for line in config.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def value_of(bindings: Mapping[str, str], key: str) -> str:
    """Returns a binding's value, or why there is none: its component is not used, or its code has no such parameter.

    A configuration has every parameter of each component that it uses, in each scope.
    """
    if key in bindings:
        return bindings[key]
    component, _, parameter = key.rpartition("/")[2].rpartition(".")
    ends = [name.rpartition("/")[2].rpartition(".") for name in bindings]
    has = {last for first, _, last in ends if first == component}
    used = bool(has) or f"{CODE}{component}" in bindings
    return UNKNOWN if used and parameter not in has else "not used"
