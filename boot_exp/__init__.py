"""Diffusion distillation as declarative experiments: BOOT and the methods it is compared with."""

from functools import cache
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_OFFERED = ("diffusion", "methods", "teachers", "engine.averages", "engine.terms")
"""The packages and modules whose public classes are offered here.

Not offered: a class whose name begins with an underscore, or that the `__all__` of its module leaves out.
"""


@cache
def _modules() -> dict[str, str]:
    """Maps each offered class to its module, read from the source, because importing torch takes seconds."""
    from boot_exp.config.source import classes, submodules

    offered = [f"{__name__}.{module}" for module in _OFFERED]
    modules = [module for one in offered for module in (one, *submodules(one))]
    return {name: module for module in modules for name in classes(module)}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return ["__version__", *sorted(_modules())]
    if name.startswith("_") or name not in _modules():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_modules()[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), "__all__", *_modules()})
