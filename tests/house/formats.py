"""What tests of the formats share with others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import boot_exp.teachers
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import takes_text
from boot_exp.diffusion.predictions import FromEps
from boot_exp.diffusion.schedules import Clamped, KarrasTime, LinearBeta, LinearTable, Schedule, SquaredCosineTable
from boot_exp.teachers.consistency_models import ConsistencyModels
from boot_exp.teachers.diffusers import Diffusers
from boot_exp.teachers.edm import Edm
from boot_exp.teachers.guided_diffusion import GuidedDiffusion
from tests.house import made_teachers as made
from tests.house.examples import given

SCHEDULES: dict[str, Schedule] = {
    "EDMPrecond": KarrasTime(),
    "VEPrecond": KarrasTime(sigma_min=0.02, sigma_max=100.0),
    "VPPrecond": Clamped(schedule=LinearBeta(), lam_min=-7.0, lam_max=5.0),
    "iDDPMPrecond": SquaredCosineTable(),
}


def filled(teacher: Any, path: Path) -> Any:
    """The teacher with the weights of a file."""
    teacher.net.load_state_dict(teacher.read(path))
    return teacher.eval().requires_grad_(False)


def guided_diffusion(name: str, **changed: Any) -> GuidedDiffusion:
    return GuidedDiffusion(schedule=LinearTable(), **{**made.OPENAI[name], **changed})


def edm(name: str, **changed: Any) -> Edm:
    arguments = {**made.EDM[name], **changed}
    return Edm(**{"schedule": SCHEDULES[arguments["precond"]], **arguments})


CONFIG = {
    "sample_size": 16,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
}


def write_diffusers(folder: Path, safe: bool = True, **scheduler: Any) -> Any:
    """A pipeline's folder as diffusers writes it, and its network."""
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    net = UNet2DModel(**CONFIG, num_class_embeds=5).eval()
    net.save_pretrained(folder / "unet", safe_serialization=safe)
    DDPMScheduler(**scheduler).save_pretrained(folder / "scheduler")
    return net


def diffusers(**changed: Any) -> Diffusers:
    config = {**CONFIG, "num_class_embeds": 5}
    return Diffusers(**{"schedule": LinearTable(), "config": config, "prediction": FromEps(), **changed})


def asked(teacher: Any, w: tuple[float, float] | None = None) -> tuple[Tensor, Condition]:
    """A batch of two, and what else the network of a teacher is told: labels or a text."""
    told = None if w is None else torch.tensor(w)
    if not takes_text(teacher):
        return made.image(), Condition(label=torch.tensor(made.LABELS), w=told)
    drawn = torch.Generator().manual_seed(0)
    text = teacher.net.example(2, torch.device("cpu")).each(lambda part: torch.randn(part.shape, generator=drawn))
    return torch.randn(2, *teacher.shape, generator=drawn), replace(text, w=told)


def every(tmp_path: Path) -> dict[str, tuple[Any, Path]]:
    """A teacher of each format and network, with its file: these, and what EXAMPLES of a format's test file writes."""
    made.write_openai(tmp_path / "gd.pt", made.OPENAI["adm"])
    made.write_openai(tmp_path / "cm.pt", made.OPENAI["adm"], flat_attention=False)
    arguments = {k: v for k, v in made.OPENAI["adm"].items() if k != "use_new_attention_order"}
    write_diffusers(tmp_path / "diffusers")
    found: dict[str, tuple[Any, Path]] = {
        "guided_diffusion": (guided_diffusion("adm"), tmp_path / "gd.pt"),
        "consistency_models": (ConsistencyModels(schedule=KarrasTime(), **arguments), tmp_path / "cm.pt"),
        "diffusers": (diffusers(), tmp_path / "diffusers"),
    }
    for name in ("ncsnpp", "adm"):
        made.write_edm(tmp_path / f"{name}.pkl", made.EDM[name])
        found[f"edm {name}"] = (edm(name), tmp_path / f"{name}.pkl")
    for write in given(boot_exp.teachers, "teachers").values():
        found |= write(tmp_path)
    return found
