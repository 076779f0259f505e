"""Diffusion distillation as declarative experiments: BOOT and the methods it is compared with."""

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _evals() -> Path:
    """Returns the folder of the package evals: in a clone it is beside this one, in a wheel inside it."""
    here = Path(__file__).resolve().parent  # which may be a link to the clone's
    return here / "_evals" if (here / "_evals").is_dir() else here.parent / "evals"


class _Evals:
    """Finds the package evals, which pip does not install under a name that others use (docs/decisions.md)."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name != "evals":
            return None
        folder = _evals()
        return spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])


if (_other := getattr(sys.modules.get("evals"), "__file__", None)) and Path(_other).resolve().parent != _evals():
    raise ImportError(
        f"boot_exp needs its own package evals, and {_other} was imported under that name before; import boot_exp "
        "before it, in a program without the other"
    )
sys.meta_path.insert(0, _Evals)  # a class will do, and importlib's own finders are classes

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
