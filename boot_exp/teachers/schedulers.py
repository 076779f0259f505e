"""Reads a diffusers scheduler for two facts about its network: the table of betas, and what the network predicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boot_exp.diffusion.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.diffusion.pure_noise import ZeroTerminalSnr
from boot_exp.diffusion.schedules import (
    GivenTable,
    LinearTable,
    ScaledLinearTable,
    SigmoidTable,
    SquaredCosineTable,
    Table,
)
from boot_exp.teachers import differences, shown
from evals.ground.faults import StateFault

PREDICTED: dict[type, str] = {FromEps: "epsilon", FromV: "v_prediction", FromX: "sample"}
# fmt: off
OF_BETAS = frozenset({
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler",
    "DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverMultistepInverseScheduler",
    "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler", "PNDMScheduler", "RePaintScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
})
"""Schedulers whose networks take a step of a table of betas as their time."""
_OF_BETAS = ", ".join(sorted(name.removesuffix("Scheduler") for name in OF_BETAS))
OF_SAMPLING = frozenset({
    "algorithm_type", "clip_sample", "clip_sample_range", "corrector_order", "disable_corrector",
    "dynamic_thresholding_ratio", "eta", "euler_at_final", "final_sigmas_type", "flow_shift", "interpolation_type",
    "lambda_min_clipped", "lower_order_final", "noise_sampler_seed", "predict_x0", "predictor_order",
    "sample_max_value", "set_alpha_to_one", "shift_terminal", "sigma_max", "sigma_min", "skip_prk_steps",
    "solver_order", "solver_p", "solver_type", "steps_offset", "tau_func", "tensor_format", "thresholding",
    "time_shift_type",
    "timestep_spacing", "timestep_values", "use_beta_sigmas", "use_dynamic_shifting", "use_exponential_sigmas",
    "use_karras_sigmas", "use_lu_lambdas", "variance_type",
})
"""Settings of sampling, which do not change the network; here gin files set how to sample."""
# fmt: on
NARROW = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler")
DISTILLED = ("LCMScheduler", "TCDScheduler", "CMStochasticIterativeScheduler")
DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
}
FIXED = {  # keys with a single accepted value, and the meaning of any other
    "timestep_type": ("discrete", "a network whose time is ln(sigma) / 4 is not supported"),
    "use_flow_sigmas": (False, "a network that predicts a flow is not read"),
    "predict_epsilon": (True, "write prediction_type 'sample' in its place and bind FromX"),
}
LEARNED = ("learned", "learned_range")
OF_THE_FILE = {
    "beta_first": "beta_start",
    "beta_last": "beta_end",
    "steps": "num_train_timesteps",
    "given": "trained_betas",
}
OURS = re.compile(rf"\b\w+Table\.({'|'.join(OF_THE_FILE)})\b")
READ = {"linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2"}


def compare(
    path: Path,
    file: Mapping[str, Any],
    kind: Any,
    table: Table,
    prediction: Prediction,
    *,
    variance: bool = False,
) -> None:
    """StateFault: a scheduler's configuration has other betas or another prediction, or cannot be read here.

    kind: the class of which diffusers makes the scheduler, or None if it is not stated; the file may name another.
    variance: whether the network may predict a variance.
    """
    for said_kind, where in ((file.get("_class_name"), ""), (kind, " in its model_index.json")):
        if said_kind is not None and said_kind not in [*OF_BETAS]:
            distilled = said_kind in [*DISTILLED]
            why = "so that its network is a distilled student and no teacher" if distilled else "which is not read"
            raise StateFault(
                f"{path} must be of a scheduler with a table of betas ({_OF_BETAS}), got "
                f"{shown(said_kind)}{where}, {why}; if the network was trained with a table, put that scheduler's "
                "configuration in its place, else it cannot be read"
            )
    known = {*DEFAULTS, *FIXED, *OF_SAMPLING}
    for name, value in file.items():
        if name in FIXED and value is not None and value != FIXED[name][0]:
            raise StateFault(f"{path} must say {name} = {FIXED[name][0]}, got {shown(value)}; {FIXED[name][1]}")
        if name not in known and not name.startswith("_") and value is not None:
            raise StateFault(
                f"{path} must say what is known of a scheduler, got {shown(name)} = {shown(value)}; leave it out of "
                "the file if the network does not depend on it"
            )
    if file.get("variance_type") in LEARNED and not variance:
        raise StateFault(
            f"{path} must be of a network that predicts no variance, got variance_type {file['variance_type']}; cut "
            "conv_out.weight and conv_out.bias to the image's channels, and say fixed_small"
        )
    ends = {"beta_start": 0.00085, "beta_end": 0.012} if kind in NARROW else {}  # the defaults of these schedulers
    said = {**DEFAULTS, **ends, **{name: file[name] for name in DEFAULTS if name in file}}
    if isinstance(steps := said["num_train_timesteps"], float) and steps.is_integer():
        said["num_train_timesteps"] = int(steps)
    said["rescale_betas_zero_snr"] = said["rescale_betas_zero_snr"] or False  # where None is written, as diffusers does
    ours = _says(table, prediction)
    if said["prediction_type"] not in PREDICTED.values():
        raise StateFault(
            f"{path} must be of a network that predicts {', '.join(PREDICTED.values())}, got prediction_type "
            f"{shown(said['prediction_type'])}, which is not read"
        )
    theirs, betas = _table(path, said), said["trained_betas"]
    if betas is not None and file.get("num_train_timesteps") is not None and len(betas) != said["num_train_timesteps"]:
        raise StateFault(
            f"{path} must have as many trained_betas as num_train_timesteps, got {len(betas)} and "
            f"{shown(said['num_train_timesteps'])}; write the number with which the network "
            "was trained, and as many betas"
        )
    ignored = {"trained_betas"}
    if said["trained_betas"] is not None:
        ignored |= {"beta_schedule", "beta_start", "beta_end"}
    elif said["beta_schedule"] == "squaredcos_cap_v2":
        ignored |= {"beta_start", "beta_end"}
    different = {
        name: (said[name], ours.get(name))
        for name in DEFAULTS
        if name not in ignored and said[name] != ours.get(name) and (name == "prediction_type" or name in ours)
    }
    apart = _first_apart(theirs, table)
    if apart is None:  # under any name
        different = {name: both for name, both in different.items() if name == "prediction_type"}
    elif not different:
        different = {f"beta {apart}": (_beta(theirs, apart), _beta(table, apart))}
    if different:
        cure = "bind GivenTable with its betas" if said["trained_betas"] is not None else "bind its values"
        if isinstance(theirs, Rescaled):
            cure = "its betas end in pure noise: bind ZeroTerminalSnr around the table from which they were rescaled"
        elif "rescale_betas_zero_snr" in different:
            cure = f"bind the table with{'' if said['rescale_betas_zero_snr'] else 'out'} ZeroTerminalSnr around it"
        raise StateFault(f"{path} must say what is configured, got {differences(different)}; {cure}")


@dataclass(frozen=True)
class Rescaled:
    """Betas of which the last is 1: a table that was rescaled to zero terminal SNR before it was written."""

    given: Sequence[float]

    def betas(self) -> Tensor:
        """Returns them, [N] float64."""
        return torch.tensor(self.given, dtype=torch.float64)


def _table(path: Path, said: Mapping[str, Any]) -> Table | Rescaled:
    """Returns the table that a configuration describes. StateFault: we have no such table."""
    kind, given = said["beta_schedule"], said["trained_betas"]
    if given is None and kind not in [*READ]:
        raise StateFault(
            f"{path} must say one of the tables {', '.join(sorted(READ))}, got beta_schedule {shown(kind)}; write its "
            "betas out, as trained_betas, and bind them to GivenTable.given"
        )
    if (zero := said["rescale_betas_zero_snr"]) not in (False, True):
        raise StateFault(f"{path} must say rescale_betas_zero_snr = True or False, got {shown(zero)}; fetch it again")
    try:
        if isinstance(given, list) and len(given) > 2 and given[-1] == 1 and not zero:
            return Rescaled([*GivenTable(given=given[:-1]).given, 1.0])
        table = _of_betas(said)
        # Some samplers of diffusers then set alpha_bar to 2^-24 at the last entry; the network was trained without.
        return ZeroTerminalSnr(table=table) if zero else table
    except ValueError as error:
        why = OURS.sub(lambda name: OF_THE_FILE[name[1]], str(error))
        raise StateFault(f"{path} must say a table of betas that can be used, got {why}; fetch it again") from None


def _of_betas(said: Mapping[str, Any]) -> Table:
    ends = {"beta_first": said["beta_start"], "beta_last": said["beta_end"], "steps": said["num_train_timesteps"]}
    if said["trained_betas"] is not None:
        return GivenTable(given=said["trained_betas"])
    if said["beta_schedule"] == "squaredcos_cap_v2":
        return SquaredCosineTable(steps=said["num_train_timesteps"])
    kinds: dict[str, Callable[..., Table]] = {
        "linear": LinearTable,
        "scaled_linear": ScaledLinearTable,
        "sigmoid": SigmoidTable,
    }
    return kinds[said["beta_schedule"]](**ends)


def _says(table: Table, prediction: Prediction) -> dict[str, Any]:
    """Returns how a diffusers configuration would describe our schedule, if it can."""
    said: dict[str, Any] = {"num_train_timesteps": len(table.entries), "rescale_betas_zero_snr": False}
    while isinstance(table, ZeroTerminalSnr):
        table, said["rescale_betas_zero_snr"] = table.table, True
    said["prediction_type"] = PREDICTED.get(type(prediction), type(prediction).__name__)
    names = {LinearTable: "linear", ScaledLinearTable: "scaled_linear", SigmoidTable: "sigmoid"}
    if isinstance(table, LinearTable | ScaledLinearTable | SigmoidTable):
        return {
            **said,
            "beta_schedule": names[type(table)],
            "beta_start": table.beta_first,
            "beta_end": table.beta_last,
        }
    return {
        **said,
        "beta_schedule": "squaredcos_cap_v2" if isinstance(table, SquaredCosineTable) else type(table).__name__,
    }


def _first_apart(theirs: Table | Rescaled, ours: Table) -> int | None:
    """Returns the first entry at which two tables differ by more than float32 rounding; None: they agree."""
    one, other = theirs.betas(), ours.betas()
    count = min(len(one), len(other))
    # diffusers rescales in float32, as 1 - a ratio of small differences: measured, it is off by 1e-6 and 2e-5 of beta.
    rtol, atol = (1e-4, 1e-6) if isinstance(theirs, Rescaled) else (1e-5, 0.0)
    apart = ~torch.isclose(one[:count], other[:count], rtol=rtol, atol=atol)
    if bool(apart.any()):
        return int(apart.nonzero()[0])
    return None if len(one) == len(other) else count


def _beta(table: Table | Rescaled, index: int) -> object:
    betas = table.betas()
    return f"{float(betas[index]):.6g}" if index < len(betas) else "none"
