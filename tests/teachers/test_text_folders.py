"""Folders of text-to-image pipelines: compared whole, refused by name, imported with a card that allows guidance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch

from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.schedules import Clamped, ScaledLinearTable, SquaredCosineTable
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.stages.place import Place
from boot_exp.stages.teacher import PublishedTeacher
from boot_exp.stages.trained import check_unconditional
from boot_exp.teachers.deepfloyd import DynamicThresholding
from evals.ground.faults import StateFault
from tests.house import pipelines as tiny
from tests.house.formats import diffusers

SCHEDULER, INDEX, UNET = "scheduler/scheduler_config.json", "model_index.json", "unet/config.json"
NOISING = "image_noising_scheduler/scheduler_config.json"
KINDS = ["sd", "sd_v", "sd_zsnr", "sdxl", "if_base", "if_sr"]


def says(path: Path, **said: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


OTHERS = [
    (
        "sd",
        "sdxl",
        "got StableDiffusionXLPipeline; bind stable_diffusion_xl.StableDiffusionXL",
    ),
    ("sdxl", "sd", "StableDiffusionXLPipeline, got StableDiffusionPipeline; bind stable_diffusion.StableDiffusion"),
    ("sd", "if_base", "got IFPipeline; bind deepfloyd.DeepFloyd"),
    ("if_base", "if_sr", "got IFSuperResolutionPipeline; bind deepfloyd.DeepFloydSuperResolution"),
]


@pytest.mark.parametrize(("teacher", "kind", "message"), OTHERS)
def test_a_folder_of_another_pipeline_is_refused_with_the_teacher_that_reads_it(
    tmp_path: Path, teacher: str, kind: str, message: str
) -> None:
    folder = tiny.write(kind, tmp_path)
    with pytest.raises(StateFault, match=message) as caught:
        tiny.teacher(teacher).read(folder)
    assert "\n" not in str(caught.value)
    (folder / INDEX).unlink()
    with pytest.raises(StateFault, match=r"must say what is configured, got .*bind its values"):
        tiny.teacher(teacher).read(folder)  # the network alone


def test_a_text_to_image_pipeline_is_no_network_of_images(tmp_path: Path) -> None:
    with pytest.raises(StateFault, match=r"got .*; bind stable_diffusion.StableDiffusion"):
        diffusers().read(tiny.write("sd", tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_and_its_network_alone_are_read_alike(tmp_path: Path, kind: str) -> None:
    folder = tiny.write(kind, tmp_path)
    whole = (teacher := tiny.teacher(kind)).read(folder)
    assert teacher.notes == []
    shutil.copytree(folder / "unet", tmp_path / "alone/net")
    alone = (teacher := tiny.teacher(kind)).read(tmp_path / "alone/net")
    assert ["were not compared" in note for note in teacher.notes] == [True]
    assert whole.keys() == alone.keys() and all(torch.equal(whole[name], alone[name]) for name in whole)
    bounded = Clamped(schedule=teacher.schedule, lam_min=-3.0, lam_max=2.5)
    assert tiny.teacher(kind, schedule=bounded).read(folder).keys() == whole.keys()


SAYS: list[tuple[str, str, dict[str, Any], str]] = [
    ("sd", SCHEDULER, {"thresholding": True}, "must leave latents as they are, got thresholding = True"),
    ("sdxl", SCHEDULER, {"thresholding": True}, "must leave latents as they are, got thresholding = True"),
    ("sd", SCHEDULER, {"prediction_type": "v_prediction"}, r"v_prediction \(configured: epsilon\); bind its values"),
    ("sd", SCHEDULER, {"beta_start": 0.001}, r"beta_start = 0.001 \(configured: 0.00085\)"),
    ("sd", SCHEDULER, {"rescale_betas_zero_snr": True}, "bind the table with ZeroTerminalSnr around it"),
    ("sd_zsnr", SCHEDULER, {"rescale_betas_zero_snr": False}, "bind the table without ZeroTerminalSnr around it"),
    ("sd", SCHEDULER, {"variance_type": "learned_range"}, "a network that predicts no variance"),
    ("if_base", SCHEDULER, {"thresholding": False}, r"thresholding = False \(configured: True\)"),
    ("if_base", SCHEDULER, {"sample_max_value": 1.0}, r"sample_max_value = 1.0 \(configured: 1.5\); bind its values"),
    ("if_base", SCHEDULER, {"dynamic_thresholding_ratio": 0.9}, r"ratio = 0.9 \(configured: 0.95\)"),
    ("if_sr", NOISING, {"beta_schedule": "linear"}, r"beta_schedule = linear \(configured: squaredcos_cap_v2\)"),
    ("if_sr", UNET, {"class_embed_type": None}, r"class_embed_type = None \(configured: timestep\)"),
    ("sd", UNET, {"cross_attention_dim": 64}, r"cross_attention_dim = 64 \(configured: 32\)"),
    ("sd", UNET, {"_class_name": "FluxTransformer2DModel"}, "of a UNet2DConditionModel, got FluxTransformer2DModel"),
    ("sd", UNET, {"mystery": 3}, r"mystery = 3 \(configured: not known\)"),
    ("sd", INDEX, {"_class_name": "FluxPipeline"}, "got FluxPipeline; it is not supported"),
    ("sd", INDEX, {"_class_name": ["a"]}, "it is not supported"),
]


@pytest.mark.parametrize(("kind", "file", "said", "message"), SAYS)
def test_what_a_text_to_image_pipeline_says_is_compared(
    tmp_path: Path, kind: str, file: str, said: dict[str, Any], message: str
) -> None:
    folder = tiny.write(kind, tmp_path)
    says(folder / file, **said)
    with pytest.raises(StateFault, match=message) as caught:
        tiny.teacher(kind).read(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_scheduler_that_is_no_table_of_betas_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = tiny.write("sd", tmp_path)
    for kind in ("FlowMatchEulerDiscreteScheduler", "LCMScheduler"):
        says(folder / SCHEDULER, _class_name=kind)
        with pytest.raises(StateFault, match=rf"DDIM, .*DDPM, .*PNDM, .*UniPC\w+\), got {kind}") as caught:
            tiny.teacher("sd").read(folder)
        assert len(str(caught.value)) < 1_000
    for kind in ("PNDMScheduler", "EulerDiscreteScheduler"):
        says(folder / SCHEDULER, _class_name=kind)
        assert tiny.teacher("sd").read(folder)


@pytest.mark.parametrize(
    ("kind", "part", "message"),
    [
        ("sd", "unet", "must hold diffusion_pytorch_model.safetensors or .bin"),
        ("sd", "scheduler", "must have its scheduler beside it"),
        ("if_sr", "image_noising_scheduler", "must have its image_noising_scheduler beside it"),
    ],
)
def test_a_pipeline_without_a_part_that_is_read_is_refused(tmp_path: Path, kind: str, part: str, message: str) -> None:
    folder = tiny.write(kind, tmp_path)
    shutil.rmtree(folder / part)
    with pytest.raises(StateFault, match=message):
        tiny.teacher(kind).read(folder)


def test_what_the_library_infers_is_inferred_on_both_sides(tmp_path: Path) -> None:
    """Folders of DeepFloyd IF from before `encoder_hid_dim_type` was there have the width of the text alone."""
    folder = tiny.write("if_base", tmp_path)
    said = json.loads((folder / UNET).read_text())
    del said["encoder_hid_dim_type"]
    (folder / UNET).write_text(json.dumps(said))
    config = {name: value for name, value in tiny.CONFIGS["if_base"].items() if name != "encoder_hid_dim_type"}
    assert tiny.teacher("if_base").read(folder) and tiny.teacher("if_base", config=config).read(folder)


def test_thresholding_is_what_the_folder_says_and_another_can_be_bound(tmp_path: Path) -> None:
    folder = tiny.write("if_base", tmp_path)
    says(folder / SCHEDULER, dynamic_thresholding_ratio=0.9, sample_max_value=2.0)
    assert tiny.teacher("if_base", thresholding=DynamicThresholding(ratio=0.9, largest=2.0)).read(folder)
    says(folder / SCHEDULER, thresholding=False)
    assert tiny.teacher("if_base", thresholding=None).read(folder)


@pytest.mark.parametrize("kind", ["sd", "sd_zsnr", "sdxl", "if_base", "if_sr"])
def test_an_imported_pipeline_has_a_card_that_allows_guidance_and_its_weights(tmp_path: Path, kind: str) -> None:
    folder = tiny.write(kind, tmp_path / "pipeline")
    place = Place(out=tmp_path / "made", suite="text", name="teacher", config="")
    PublishedTeacher(teacher=tiny.teacher(kind), source=str(folder)).run(place)
    card = load_weights(loaded := tiny.teacher(kind), tmp_path / "made")
    model = Model.of(card, tmp_path / "made")
    check_unconditional(model)
    assert model.label_dropout == 0.1 and tuple(card["shape"]) == loaded.shape and card["classes"] is None
    wanted = tiny.pipeline(kind).unet.state_dict()
    found = {name.removeprefix("unet."): value for name, value in loaded.net.state_dict().items()}
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    other = {"sd": {"prediction": FromV()}, "if_base": {"thresholding": None}}.get(kind)
    if other is not None:
        with pytest.raises(StateFault, match="holds another architecture"):
            load_weights(tiny.teacher(kind, **other), tmp_path / "made")


def test_of_a_pipeline_on_the_hub_no_more_is_fetched_than_is_read(
    tmp_path: Path, pipelines: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    here, hub = tmp_path / "here", pipelines("if_sr")

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        for file in (path.relative_to(hub) for path in hub.rglob("*") if path.is_file()):
            if any(fnmatch(str(file), pattern) for pattern in allow_patterns):
                (here / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(hub / file, here / file)
        assert (name, revision) == ("someone/if", "abc")
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    teacher = PublishedTeacher(teacher=tiny.teacher("if_sr"), source="someone/if", revision="abc")
    folder, _ = teacher.located()
    assert {str(file.relative_to(here)) for file in here.rglob("*") if file.is_file()} == {
        INDEX,
        NOISING,
        SCHEDULER,
        UNET,
        "unet/diffusion_pytorch_model.safetensors",
    }
    assert teacher.teacher.read(folder)


def test_the_tables_of_the_tiny_pipelines_are_those_of_the_released(pipelines: Callable[[str], Path]) -> None:
    """What a leaf binds: alpha_bar at the last entry, as the pipeline has it."""
    for kind, table in (("sd", ScaledLinearTable()), ("if_base", SquaredCosineTable())):
        bars = tiny.loaded(pipelines(kind)).scheduler.alphas_cumprod
        t = torch.linspace(0, 1, 1000, dtype=torch.float64)
        torch.testing.assert_close(table(t).alpha.square().float(), bars, rtol=2e-4, atol=1e-12)
