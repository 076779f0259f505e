"""The libraries that only a part of the project needs, by the extra of pyproject.toml that installs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from evals.ground.faults import Fault, MissingResource, printable

EXTRAS = {
    "teachers": ("diffusers", "huggingface_hub", "safetensors"),
    "text": ("pyarrow", "transformers"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "fid": ("PIL", "cleanfid", "safetensors", "threadpoolctl", "torch_fidelity", "torchvision", "typer"),
    "pipeline": (
        *("accelerate", "dvc", "gin", "jinja2", "markdown", "markupsafe", "matplotlib", "psutil", "rich", "ruamel"),
        *("sklearn", "tensorboard", "yaml"),
    ),
}
"""The modules of each extra; one that several extras install is under the first."""


@contextmanager
def extras(wanted: str | None = None) -> Iterator[None]:
    """Turns the failed import of a library that an extra installs into MissingResource.

    wanted: the extra that the message names; None: the first that has the library.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        found = next((extra for extra, modules in EXTRAS.items() if library in modules), None)
        if found is None:
            raise
        raise MissingResource(
            f"{library} must be installed for this, and is not; run: pip install 'boot-exp[{wanted or found}]'"
        ) from error


@contextmanager
def starting(who: str, extra: str) -> Iterator[None]:
    """Ends a program whose own imports need an extra that is not installed, with the fault's line and exit code."""
    try:
        with extras(extra):
            yield
    except Fault as fault:
        print(printable(f"{who}: {fault}"), file=sys.stderr)
        sys.exit(fault.exit_code)
