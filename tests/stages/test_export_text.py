"""Text-to-image students: diffusers alone makes of an exported folder what the student makes of the same text."""

from __future__ import annotations

import json
import shutil
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
from boot_exp.stages.exports.pipeline import export
from boot_exp.teachers.deepfloyd import as_seen
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from tests.house import pipelines as tiny
from tests.house.exported import EXACT, Built, Job, alone, apart, noise, stored, student

PROMPT = "a red cube"
ROUNDED = 1e-4
"""In deviations, where eps is read at IF's level: diffusers' float32 keeps alpha squared there to a part in 26,000."""
VARIED = "conditions.UniformGuidance.high = 8.0\nconditions.UniformGuidance.low = 1.0\n"
LEVEL = "low_images.WithLowImages.level = 250\ntext.T5Text.clean = False\n"
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


def encoded(pipeline: Any) -> Condition:
    """The prompt as a pipeline encodes it."""
    named = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = pipeline.encode_prompt(PROMPT, **named)
    return Condition(text=found[0], pooled=found[2] if len(found) == 4 else None)


Made = dict[str, tuple[Path, Tensor, tuple[Tensor, Tensor]]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, pipelines: Callable[[str], Path]) -> Made:
    """For each case, its exported folder, what the student makes, and what diffusers alone makes of the folder."""
    house, made, jobs = tmp_path_factory.mktemp("exported"), {}, []
    for number, (name, case) in enumerate(CASES.items()):
        folder = pipelines(case["kind"])
        teacher, found = student(case["kind"], case.get("teacher", {}), case.get("student", {}))
        shape = teacher.shape
        model = stored(house / f"model{number}", found, w=case.get("fixed"), config=VARIED + LEVEL, shape=shape)
        out = house / f"out{number}"
        export(Built(found), model=model, out=out, source=str(folder), w=case.get("w"))
        condition, eps = encoded(tiny.loaded(folder)), noise(shape, 1)
        asked, drawn, given = {"prompt": PROMPT, **case.get("asked", {})}, [eps], {}
        if case["kind"].startswith("if"):
            asked["guidance_scale"] = 1.0
        if case["kind"] == "if_sr":
            low, drawn = noise((3, 16, 16), 2).clamp(-1, 1), [eps, noise(shape, 3)]
            given["image"] = low
            seen = as_seen(low, drawn[1], teacher.noising, 250)
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
    rounded = CASES[name]["kind"].startswith("if") and "read as v" not in name
    assert apart(ours, theirs) < (ROUNDED if rounded else EXACT)
    if CASES[name]["kind"].startswith("sd"):
        vae = tiny.loaded(pipelines(CASES[name]["kind"])).vae
        with torch.no_grad():
            ours = vae.decode(ours / vae.config.scaling_factor).sample
    assert float((ours.clamp(-1, 1) - pictures).abs().max()) < 2 * ROUNDED * max(1.0, float(ours.std()))


def test_a_folder_has_its_teachers_parts_and_one_network(exported: Made, pipelines: Callable[[str], Path]) -> None:
    folder, source = exported["sdxl"][0], pipelines("sdxl")
    ours, theirs = (
        {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()} for one in (folder, source)
    )
    assert ours == theirs | {"README.md", "export.json"}
    kept = [name for name in theirs if not name.startswith(("unet/", "scheduler/", "model_index"))]
    assert all((folder / name).read_bytes() == (source / name).read_bytes() for name in kept)
    said, was = (json.loads((one / "model_index.json").read_text()) for one in (folder, source))
    assert said == {**was, "scheduler": ["diffusers", "DDIMScheduler"]}
    assert json.loads((folder / "unet/config.json").read_text())["time_cond_proj_dim"] == 256


def test_a_card_says_how_each_pipeline_is_called(exported: Made) -> None:
    for name, words in {
        "sd": ["`guidance_scale` and a negative prompt have no effect", "guided with w = 7.5", "text-to-image"],
        "sd, w through the pipeline": ["guidance_scale=3.0", "`guidance_scale` is w", "told from 1 to 8"],
        "sdxl, AdaIN, other sizes": ["original_size=(48, 40), crops_coords_top_left=(3, 5), target_size=(64, 64)"],
        "if_base": ["guidance_scale=1.0", "must be 1", "bs4 and ftfy"],
        "if_sr": ["image=low_images, noise_level=250, guidance_scale=1.0, clean_caption=False"],
    }.items():
        card = (exported[name][0] / "README.md").read_text()
        assert not [word for word in words if word not in card], card


def test_parts_of_half_precision_alone_are_found_by_diffusers(tmp_path: Path, pipelines: Callable[[str], Path]) -> None:
    source = shutil.copytree(pipelines("sd"), tmp_path / "half")
    (source / "vae/diffusion_pytorch_model.safetensors").rename(source / "vae/diffusion_pytorch_model.fp16.safetensors")
    (source / "text_encoder/pytorch_model.bin").write_bytes(b"the same weights in another format")
    _, found = student("sd", {}, {})
    model = stored(tmp_path / "model", found, w=7.5, shape=(4, 8, 8))
    export(Built(found), model=model, out=tmp_path / "out", source=str(source / "unet"))
    assert {path.name for path in (tmp_path / "out/vae").iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    assert not (tmp_path / "out/text_encoder/pytorch_model.bin").exists()
    tiny.loaded(tmp_path / "out")


def refused(kind: type[Exception], words: str, found: Any, model: Path, **more: Any) -> None:
    """Nothing is written."""
    with pytest.raises(kind, match=words):
        export(Built(found), model=model, out=model.with_name("refused"), **more)
    assert not [path for path in model.parent.iterdir() if "refused" in path.name]


def test_a_w_that_a_pipeline_cannot_hand_on_is_refused(tmp_path: Path, pipelines: Callable[[str], Path]) -> None:
    for kind, words in (("if_base", "a pipeline of pixels hands no w on"), ("sd", "AdaIN is not diffusers' own")):
        teacher = PLAIN["teacher"] if kind == "if_base" else {}
        taught, found = student(kind, teacher, {"takes_w": True})
        model = stored(tmp_path / kind, found, config=VARIED, shape=taught.shape)
        words = f"must be exported at one, because {words}, got none; give --w from 1 to 8"
        refused(ConfigurationFault, words, found, model, source=str(pipelines(kind)))


def test_a_source_that_is_not_the_teachers_pipeline_is_refused(
    tmp_path: Path, pipelines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = student("sd", {}, {})
    model = stored(tmp_path / "model", found, w=7.5, shape=(4, 8, 8))
    refused(ConfigurationFault, "got no teacher that was read from one; give --teacher, or --source", found, model)
    words = "cross_attention_dim = 64 .configured: 32."
    refused(StateFault, f"must be the network .* {words}.*", found, model, source=str(pipelines("sdxl")))
    source = shutil.copytree(pipelines("sd"), tmp_path / "less")
    shutil.rmtree(source / "tokenizer")
    refused(StateFault, "less must have the part tokenizer that model_index", found, model, source=str(source))
    index = json.loads((source / "model_index.json").read_text())
    (source / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    refused(StateFault, "must be of StableDiffusionPipeline, .* got FluxPipeline", found, model, source=str(source))
    (source / "model_index.json").write_text("{")
    refused(StateFault, "must be the JSON object that diffusers writes", found, model, source=str(source))
    (source / "model_index.json").unlink()
    refused(StateFault, "must be the folder of a whole pipeline, with model_index", found, model, source=str(source))

    def offline(*given: object, **more: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    refused(MissingResource, r"got a/model \(no network\); fetch it elsewhere", found, model, source="a/model")


def test_a_model_of_the_hub_is_fetched_at_its_revision(
    tmp_path: Path, pipelines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher's card says which; its network is not fetched again."""
    taught, found = student("sd", {}, {})
    config = "teacher.PublishedTeacher.revision = 'abc'\nteacher.PublishedTeacher.source = 'a/model'\n"
    teacher = stored(tmp_path / "teacher", taught, config=config, shape=(4, 8, 8))
    card = json.loads((teacher / "card.json").read_text())
    (teacher / "card.json").write_text(json.dumps({**card, "source": "a/model"}))
    weights = card["sha256"]["weights.safetensors"]
    model = stored(tmp_path / "model", found, w=7.5, shape=(4, 8, 8), teacher=weights)
    asked = []

    def fetched(name: str, **more: Any) -> str:
        asked.append((name, more["revision"], "unet/*" in more["ignore_patterns"]))
        return str(pipelines("sd"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    export(Built(found), model=model, out=tmp_path / "out", teacher=teacher)
    assert asked == [("a/model", "abc", True)]
    assert "base_model: a/model\n" in (tmp_path / "out/README.md").read_text()
