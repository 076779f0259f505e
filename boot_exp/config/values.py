"""What a value in gin means, once its references are resolved, and how a frozen file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from boot_exp.config.source import Definition


@dataclass(frozen=True)
class Target:
    """The meaning of a reference: the component itself, as something to call, or (called) the result of calling it."""

    definition: Definition
    scope: str
    shown: str
    called: bool

    def __repr__(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"@{scope}{self.shown}{'()' if self.called else ''}"


@dataclass(frozen=True)
class Code:
    """A default that is not a literal: its text is recorded, and Python evaluates it."""

    text: str


INVALID = Code("invalid")


def plain(value: object, selectors: Mapping[Definition, str]) -> object:
    """Returns a value as a frozen file holds it; selectors: the components' names there."""
    if isinstance(value, Code):
        return f"={value.text}"
    if isinstance(value, Target):
        return repr(replace(value, shown=selectors.get(value.definition, value.shown)))
    if isinstance(value, str):
        return f"\\{value}" if value.startswith(("@", "=", "\\")) else value
    if isinstance(value, list | tuple):
        return [plain(item, selectors) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item, selectors) for key, item in value.items()}
    return value
