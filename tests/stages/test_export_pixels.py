"""Students of pixels that a sentence encoder tells: diffusers alone makes their pictures of a typed prompt."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.samplers import AtGuidance, OneJump
from boot_exp.stages.exports.pipeline import export
from boot_exp.teachers.pixel_parts import PixelParts, identity_vae
from boot_exp.teachers.sentences import SentenceText
from evals.ground.faults import ConfigurationFault
from tests.house import pipelines as tiny
from tests.house.exported import EXACT, Built, Job, alone, apart, noise, stored, student
from tests.house.sentences import WIDTH, write_bert

PAGE = Path(__file__).parents[2] / "docs/text.md"
VARIED = "conditions.UniformGuidance.high = 8.0\nconditions.UniformGuidance.low = 1.0\n"
CONFIG = tiny.latent_config(sample_size=16, in_channels=3, out_channels=3, cross_attention_dim=WIDTH)
PROMPT = "a red fox"
CASES: dict[str, dict[str, Any]] = {
    "fixed": {"fixed": 3.0, "student": {}},
    "AdaIN": {"w": 2.0, "student": {"takes_w": True}},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceText:
    return SentenceText(source=str(write_bert(tmp_path_factory.mktemp("bert"))), longest=6, at_once=2)


def exporting(house: Path, encoder: SentenceText, case: dict[str, Any], out: Path) -> Any:
    """Exports a student of a case and returns it."""
    _, found = student("sd", {"config": CONFIG}, {"prediction": FromV(), **case["student"]})
    model = stored(house, found, w=case.get("fixed"), config=VARIED, shape=(3, 16, 16))
    export(Built(found, encoder), model=model, out=out, w=case.get("w"))
    return found


Made = dict[str, tuple[Path, Any, Tensor, Tensor]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, encoder: SentenceText) -> Made:
    """For each case its folder, the student, and the step and the picture of diffusers alone in another process."""
    house, found, jobs = tmp_path_factory.mktemp("exported"), {}, []
    for name, case in CASES.items():
        found[name] = (house / f"out-{name}", exporting(house / name, encoder, case, house / f"out-{name}"))
        # No guidance_scale: its default must not guide the student again.
        jobs.append(Job(folder=found[name][0], noise=[noise((3, 16, 16), 1)], asked={"prompt": PROMPT}))
    made = alone(jobs, house / "alone")
    return {name: (*both, *theirs) for (name, both), theirs in zip(found.items(), made, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_a_typed_prompt_gives_the_students_picture(exported: Made, encoder: SentenceText, name: str) -> None:
    folder, found, step, picture = exported[name]
    condition = Condition(text=tiny.loaded(folder).encode_prompt(PROMPT, "cpu", 1, False)[0])
    w = CASES[name].get("w")
    sampler = OneJump() if w is None else AtGuidance(sampler=OneJump(), w=w)
    stored_text = Condition(text=encoder.on(torch.device("cpu"))([PROMPT])["text"].float())
    with torch.no_grad():
        ours, rounded = (sampler(found, noise((3, 16, 16), 1), told) for told in (condition, stored_text))
    assert apart(ours, step) < EXACT
    assert float((ours.clamp(-1, 1) - picture).abs().max()) < 1e-4
    assert float((rounded.clamp(-1, 1) - picture).abs().max()) < 2 / 255, "what the stage sample draws"


def test_the_pipeline_encodes_prompts_as_the_stage_prompts_does(exported: Made, encoder: SentenceText) -> None:
    """To the bit, once both are rounded; prompts that are too long are cut."""
    pipeline, encode = tiny.loaded(exported["fixed"][0]), encoder.on(torch.device("cpu"))
    for prompt in (PROMPT, "", "a red fox a green fox a fox"):
        theirs = pipeline.encode_prompt([prompt] * 2, "cpu", 1, False)[0]
        assert torch.equal(theirs.half(), encode([prompt] * 2)["text"])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vae_can_be_the_identity(channels: int) -> None:
    vae = identity_vae((channels, 16, 24))
    x = torch.randn(5, channels, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float((vae.decode(x).sample - x).abs().max()) < 1e-5
        assert float((vae.encode(x).latent_dist.sample() - x).abs().max()) < 1e-5


def test_a_folder_says_what_it_holds_and_how_it_is_asked(exported: Made) -> None:
    folder = exported["fixed"][0]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "unet",
        "scheduler",
        "vae",
        "text_encoder",
        "tokenizer",
    }
    card = (folder / "README.md").read_text()
    for words in ('pipeline("red apple", num_inference_steps=1)', "It makes images of 3x16x16", "SentenceText(source="):
        assert words in card, card
    assert json.loads((folder / "export.json").read_text())["copied"] == []


def test_images_that_its_pipeline_does_not_make_are_refused(encoder: SentenceText) -> None:
    for shape in ((3, 12, 16), (2, 16, 16)):
        with pytest.raises(ConfigurationFault, match="must have 1 or 3 channels and sides that 8 divides"):
            PixelParts(encoder=encoder, shape=shape)


def test_a_student_of_latents_needs_its_teachers_pipeline(tmp_path: Path, encoder: SentenceText) -> None:
    _, found = student("sd", {"config": CONFIG}, {})
    model = stored(tmp_path / "model", found, w=3.0, shape=(3, 16, 16))

    def decoder(latents: Tensor) -> Tensor:
        return latents

    with pytest.raises(ConfigurationFault, match="give --teacher, or --source"):
        export(Built(found, encoder, decoder), model=model, out=tmp_path / "out")


def test_the_lines_of_the_page_draw_from_a_typed_prompt(tmp_path: Path, encoder: SentenceText) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) <= 10
    exporting(tmp_path / "model", encoder, CASES["fixed"], tmp_path / "exported/emoji/boot_fixed_w/0")
    alone = f"import sys\nsys.modules['boot_exp'] = sys.modules['evals'] = None\n{lines}"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "none")}
    subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, env=offline, check=True, capture_output=True)
    (made,) = tmp_path.glob("*.png")
    assert np.array(Image.open(made)).std() > 1
