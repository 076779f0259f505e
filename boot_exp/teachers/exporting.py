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
FIRST, OF_W = "time_embedding.linear_1", "time_embedding.cond_proj.weight"
W_DIMENSIONS = 256
"""Of an embedding of w, as diffusers' own scripts have it."""
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


def told_at_end(schedule: Schedule, time_scale: float) -> int:
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

    made: Any = DDIMScheduler(
        num_train_timesteps=step.time + 1,
        trained_betas=_betas(step.alpha_bar, step.time + 1),
        timestep_spacing="trailing",  # the offset is of no effect then, which some pipelines set to 1
        steps_offset=1,
        set_alpha_to_one=True,
        clip_sample=False,
        prediction_type=step.predicted,
    )
    made.register_to_config(variance_type="fixed_small")  # IF's pipelines ask, and then leave the variance out
    return made


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


def plain(net: Any, w: float | None, size: tuple[int, int], *, latents: bool) -> Any:
    """Returns a network of diffusers without any layer of ours; one that takes w is fixed at it.

    w: None where a pipeline hands w on to the network itself. size: height and width of its images. latents: whether a
    pipeline of latents runs it, which guides every network that has no embedding of w: one without gets one of zeros.
    """
    ours = unet_of(net)
    # What begins with an underscore says which values are defaults, and is not true of those that are changed here.
    config = {name: value for name, value in ours.config.items() if not name.startswith("_")}
    state = folded(net, w)
    if config["sample_size"] not in (size[0] if size[0] == size[1] else None, [*size], size):
        config["sample_size"] = size[0] if size[0] == size[1] else [*size]
    if (rows := state.get("class_embedding.weight")) is not None:
        state["class_embedding.weight"] = rows[:-1]  # the last is "no label"
    if latents:
        kept = state.setdefault(OF_W, torch.zeros(ours.time_embedding.linear_1.in_features, W_DIMENSIONS))
        config["time_cond_proj_dim"] = kept.shape[1]
    with torch.random.fork_rng(devices=[]):
        made = type(ours).from_config(config)
    made.load_state_dict(state)
    return made.eval()


def hands_w_on(net: Any) -> bool:
    """Returns whether a network is told w through an embedding that pipelines of latents have too."""
    return net.guidance is not None and getattr(net, "w_dimensions", None) is not None


def folded(net: Any, w: float | None) -> dict[str, Tensor]:
    """Returns the weights of the network of diffusers inside ours, on the CPU, with all that depends on w folded in.

    AdaIN: (1 + s) norm(h) + b is a norm with (1 + s) times the weight, and (1 + s) times the bias plus b. An embedding
    of w is added to that of the time before a linear layer, so that its image is a part of the layer's bias.
    """
    unet = unet_of(net)
    state = {name: value.detach().cpu() for name, value in unet.state_dict().items() if ".adain." not in name}
    if w is None or net.guidance is None:
        return state
    with torch.no_grad():
        embedded = net.guidance(torch.full((1,), w, device=next(net.parameters()).device))
        if hands_w_on(net):
            first = unet.time_embedding
            state[f"{FIRST}.bias"] = state[f"{FIRST}.bias"] + (
                state[f"{FIRST}.weight"] @ first.cond_proj(embedded)[0].cpu()
            )
            del state[OF_W]
        for name, block in unet.named_modules():
            if isinstance(block, Block) and block.adain is not None:
                scale, shift = block.adain.to_scale_shift(embedded)[0].cpu().chunk(2)
                state[f"{name}.weight"] = state[f"{name}.weight"] * (1 + scale)
                state[f"{name}.bias"] = state[f"{name}.bias"] * (1 + scale) + shift
    return state


def index(pipeline: str, classes: Mapping[str, str], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the contents of model_index.json, by which diffusers knows the class and the parts of a pipeline.

    classes: of the parts that are written anew, all of them diffusers' own; parts: what is said of the others.
    """
    with extras():
        import diffusers

    kept = {name: said for name, said in parts.items() if not name.startswith("_")}
    made = {name: ["diffusers", kind] for name, kind in classes.items()}
    return {**kept, "_class_name": pipeline, "_diffusers_version": diffusers.__version__, **made}


def write(part: Any, folder: Path) -> None:
    """Writes a network or a scheduler of diffusers into a folder. OSError: the disk is full."""
    try:
        part.save_pretrained(folder)
    except SafetensorError as error:  # its message for a full disk
        raise OSError(str(error)) from error
