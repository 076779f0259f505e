"""Builds a stage by gin from its frozen configuration, and checks that it used nothing else."""

from __future__ import annotations

import importlib.util  # noqa: F401 - gin-config 0.5.0 uses it without importing it
from typing import Any

import gin
from boot_exp.config import code, source
from boot_exp.config.frozen import Frozen
from evals.ground.faults import ConfigurationFault, Fault


def build(frozen: Frozen) -> Any:
    """Builds the stage with everything that is bound to it. Raises ConfigurationFault."""
    for component in frozen.components:
        definition = source.lookup(component.module, component.name)
        if component.sha256 and (definition is None or code.sha256(definition) != component.sha256):
            raise ConfigurationFault(
                f"{frozen.root} was frozen from other code than is here: {component.module}.{component.name} differs; "
                "resolve it again"
            )
    gin.clear_config(clear_constants=True)
    try:
        gin.parse_config(frozen.gin())
        return gin.get_configurable(frozen.root)()
    except Fault:
        raise
    except Exception as error:
        raise ConfigurationFault(f"{frozen.root} cannot be built: {_plain(error)}") from error


def check_operative(frozen: Frozen) -> None:
    """ConfigurationFault: a component used a value that its frozen configuration does not record."""
    recorded = frozen.settings()
    aliases = frozen.alias
    unrecorded = []
    for (scope, selector), values in gin.config._OPERATIVE_CONFIG.items():
        module, _, name = selector.rpartition(".")
        for parameter, value in values.items():
            key = f"{scope}/".lstrip("/") + f"{aliases.get(module, module)}.{name}.{parameter}"
            if key not in recorded:
                unrecorded.append(f"{key} = {value!r}")
    if unrecorded:
        raise ConfigurationFault(
            f"{frozen.root} used what its frozen file does not record: {', '.join(unrecorded)}; resolve it again"
        )


def _plain(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # gin appends its own location to a message; the component is named in the message already.
    lines = [line for line in lines if not line.startswith("In call to configurable ")]
    return " ".join(lines) or type(error).__name__
