"""Text-to-image students: diffusers alone makes of an exported folder what the student makes of the same text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.samplers import AtGuidance, OneJump
from boot_exp.diffusion.schedules import Clamped, SquaredCosineTable
from boot_exp.methods.students import SignalStudent
from boot_exp.stages.export import export
from tests.house import pipelines as tiny
from tests.house.exported import EXACT, Built, Job, alone, apart, stored

PROMPT = "a red cube"
VARIED = "conditions.UniformGuidance.high = 8.0\nconditions.UniformGuidance.low = 1.0\n"
IF_TABLE = Clamped(schedule=SquaredCosineTable(), lam_min=-9.0, lam_max=3.57)
PLAIN: dict[str, Any] = {"kind": "if_base", "teacher": {"schedule": IF_TABLE}}
CASES: dict[str, dict[str, Any]] = {
    "sd": {"kind": "sd", "fixed": 7.5},
    "sd, read as v": {"kind": "sd", "fixed": 7.5, "student": {"prediction": FromV()}},
    "sd, AdaIN": {"kind": "sd", "student": {"takes_w": True}, "w": 4.0},
    "sd, w through the pipeline": {
        "kind": "sd",
        "teacher": {"w_dimensions": 32},
        "student": {"takes_w": True},
        "asked": {"guidance_scale": 3.5},
        "told": 3.5,
    },
    "sd, the pipeline's embedding at one w": {
        "kind": "sd",
        "teacher": {"w_dimensions": 32},
        "student": {"takes_w": True},
        "w": 2.5,
    },
    "sd_v": {"kind": "sd_v", "fixed": 7.5},
    "sd_zsnr": {"kind": "sd_zsnr", "fixed": 7.5},
    "sdxl": {"kind": "sdxl", "fixed": 5.0},
    "sdxl, AdaIN, other sizes": {
        "kind": "sdxl",
        "teacher": {"original_size": (48, 40), "crop": (3, 5)},
        "student": {"takes_w": True},
        "w": 3.0,
        "asked": {"original_size": (48, 40), "crops_coords_top_left": (3, 5)},
    },
    "if_base": {**PLAIN, "fixed": 7.0},
    "if_base, read as v, AdaIN": {**PLAIN, "student": {"prediction": FromV(), "takes_w": True}, "w": 7.0},
    "if_sr": {"kind": "if_sr", "teacher": {"schedule": IF_TABLE}, "fixed": 4.0},
}


def student(kind: str, teacher: dict[str, Any], more: dict[str, Any]) -> tuple[Any, Any]:
    """A teacher, and a student of it with random weights, those of w included."""
    taught = tiny.teacher(kind, **teacher)
    made = SignalStudent(taught, **more).eval()
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value += 0.02 * torch.randn(value.shape, generator=drawn)
    return taught, made


def encoded(pipeline: Any) -> Condition:
    """The prompt as a pipeline encodes it."""
    named = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = pipeline.encode_prompt(PROMPT, **named)
    return Condition(text=found[0], pooled=found[2] if len(found) == 4 else None)


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


Made = dict[str, tuple[Path, Tensor, tuple[Tensor, Tensor]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, pipelines: Callable[[str], Path]) -> Made:
    """For each case, its exported folder, what the student makes, and what diffusers alone makes of the folder."""
    house, made, jobs = tmp_path_factory.mktemp("exported"), {}, []
    for number, (name, case) in enumerate(CASES.items()):
        folder = pipelines(case["kind"])
        teacher, found = student(case["kind"], case.get("teacher", {}), case.get("student", {}))
        shape = teacher.shape
        model = stored(house / f"model{number}", found, w=case.get("fixed"), config=VARIED, shape=shape)
        out = house / f"out{number}"
        export(Built(found), model=model, out=out, source=str(folder), w=case.get("w"))
        condition, eps = encoded(tiny.loaded(folder)), noise(shape, 1)
        asked, drawn, given = {"prompt": PROMPT, **case.get("asked", {})}, [eps], {}
        if case["kind"].startswith("if"):
            asked["guidance_scale"] = 1.0
        if case["kind"] == "if_sr":
            low, drawn = noise((3, 16, 16), 2).clamp(-1, 1), [eps, noise(shape, 3)]
            given["image"] = low
            seen = teacher.seen(low, drawn[1])
            condition = Condition(text=condition.text, low=seen.low, low_time=seen.low_time)
        w = case.get("w", case.get("told"))
        sampler = OneJump() if w is None else AtGuidance(sampler=OneJump(), w=w)
        with torch.no_grad():
            made[name] = (out, sampler(found, eps, condition))
        jobs.append(Job(folder=out, noise=drawn, asked=asked, given=given))
    return {
        name: (*both, theirs) for (name, both), theirs in zip(made.items(), alone(jobs, house / "alone"), strict=True)
    }


@pytest.mark.parametrize("name", CASES)
def test_diffusers_alone_makes_the_students_pictures(
    exported: Made, pipelines: Callable[[str], Path], name: str
) -> None:
    _, ours, (theirs, pictures) = exported[name]
    assert apart(ours, theirs) < EXACT
    if CASES[name]["kind"].startswith("sd"):
        vae = tiny.loaded(pipelines(CASES[name]["kind"])).vae
        with torch.no_grad():
            ours = vae.decode(ours / vae.config.scaling_factor).sample
    assert float((ours.clamp(-1, 1) - pictures).abs().max()) < 2 * EXACT * max(1.0, float(ours.std()))
