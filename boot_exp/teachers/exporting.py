"""Writes a network as diffusers' own, with AdaIN folded into it, and the scheduler whose one step reads its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from boot_exp.diffusion.nets.adain import Block
from boot_exp.diffusion.predictions import Prediction
from boot_exp.diffusion.schedules import Schedule
from boot_exp.teachers.schedulers import PREDICTED
from evals.ground.extras import extras
from evals.ground.faults import ConfigurationFault

KINDS = ("UNet2DModel", "UNet2DConditionModel")
NEAR = 1e-4
"""How far a network's time may be from an integer: a tenth of what 16 bit would change at the least."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The one step that a student's call is: the time that its network is told, and how its output is read.

    alpha_bar: alpha squared of the level whose coefficients convert the output; predicted: in diffusers' words.
    """

    time: int
    alpha_bar: float
    predicted: str


def told(schedule: Schedule, time_scale: float) -> int:
    """Returns the integer that a network is told at t_min.

    ConfigurationFault: it is told another number there, which no pipeline of diffusers can tell it.
    """
    time = time_scale * schedule.t_min
    nearest = round(time)
    if abs(time - nearest) > NEAR:
        at = torch.tensor([nearest / time_scale], dtype=torch.float64)
        inside = getattr(schedule, "schedule", schedule)
        raise ConfigurationFault(
            f"a student to be exported must end at an entry of its table of betas, because diffusers tells a network "
            f"integers, got {time:.6g} at t_min; bind lam_min = {float(inside.lam(at)):.10g}, which is entry "
            f"{nearest}, and distil again"
        )
    return nearest


def predicted(prediction: Prediction) -> str:
    """Returns what a network predicts, in diffusers' words. ConfigurationFault: they have none for it."""
    if type(prediction) not in PREDICTED:
        names = ", ".join(kind.__name__ for kind in PREDICTED)
        raise ConfigurationFault(
            f"the output of a network to be exported must be taken for one of {names}, got {prediction}; diffusers' "
            "DDIMScheduler has no other: distil with SignalStudent.prediction"
        )
    return PREDICTED[type(prediction)]


def scheduler(step: Step) -> Any:
    """Returns the DDIMScheduler whose single step turns the network's output into the image."""
    with extras():
        from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=step.time + 1,
        trained_betas=_betas(step.alpha_bar, step.time + 1),
        timestep_spacing="trailing",  # a pipeline may change the offset of the other spacings
        set_alpha_to_one=True,
        clip_sample=False,
        prediction_type=step.predicted,
    )


def _betas(alpha_bar: float, count: int) -> list[float]:
    """Returns betas of which the scheduler, in float32, makes alpha_bar at the last entry.

    Near 1, where float32 is coarse, a second entry takes what the first one cannot hold.
    """
    betas = torch.zeros(count, dtype=torch.float32)
    betas[0] = 1 - alpha_bar
    if count > 1 and alpha_bar > 0:
        if 1 - float(betas[0]) < alpha_bar:
            betas[0] = torch.nextafter(betas[0], torch.zeros(()))
        betas[1] = 1 - alpha_bar / (1 - float(betas[0]))
    return betas.tolist()


def unet_of(net: nn.Module) -> Any:
    """Returns the network of diffusers inside ours. ConfigurationFault: it is another format's, or our own."""
    found = getattr(net, "unet", None)
    if type(found).__name__ not in KINDS:
        raise ConfigurationFault(
            f"a network to be exported must be one that diffusers can run, got {type(net).__name__}; distil from a "
            "teacher in diffusers' format, or sample with boot-exp sample"
        )
    return found


def plain(net: Any, w: float | None, size: tuple[int, int]) -> Any:
    """Returns a network of diffusers without any layer of ours; one that takes w is fixed at w.

    size: height and width of its images, which its configuration then says.
    """
    ours = unet_of(net)
    state = folded(net, w)
    config = {**ours.config, "sample_size": size[0] if size[0] == size[1] else [*size]}
    if (rows := state.get("class_embedding.weight")) is not None:
        state["class_embedding.weight"] = rows[:-1]  # the last is "no label"
    with torch.random.fork_rng(devices=[]):
        made = type(ours).from_config(config)
    made.load_state_dict(state)
    return made.eval()


def folded(net: Any, w: float | None) -> dict[str, Tensor]:
    """Returns the weights of the network of diffusers inside ours, on the CPU, with AdaIN at w folded into its norms.

    (1 + s) norm(h) + b is a norm with (1 + s) times the weight, and (1 + s) times the bias plus b.
    """
    unet = unet_of(net)
    state = {name: value.detach().cpu() for name, value in unet.state_dict().items() if ".adain." not in name}
    if w is not None and net.guidance is not None:
        device = next(net.parameters()).device
        with torch.no_grad():
            embedded = net.guidance(torch.full((1,), w, device=device))
            for name, block in unet.named_modules():
                if isinstance(block, Block) and block.adain is not None:
                    scale, shift = block.adain.to_scale_shift(embedded)[0].cpu().chunk(2)
                    state[f"{name}.weight"] = state[f"{name}.weight"] * (1 + scale)
                    state[f"{name}.bias"] = state[f"{name}.bias"] * (1 + scale) + shift
    return state


def index(pipeline: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the contents of model_index.json, by which diffusers knows the class and the parts of a pipeline."""
    with extras():
        import diffusers

    return {"_class_name": pipeline, "_diffusers_version": diffusers.__version__, **parts}


def write(part: Any, folder: Path) -> None:
    """Writes a network or a scheduler of diffusers into a folder. OSError: the disk is full."""
    try:
        part.save_pretrained(folder)
    except SafetensorError as error:  # its message for a full disk
        raise OSError(str(error)) from error
