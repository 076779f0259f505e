"""From images with captions to a teacher that takes text, its samples, and their scores by prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from boot_exp.data.stored_prompts import StoredPrompts
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.samplers import Along, AtGuidance, OneJump
from boot_exp.diffusion.solvers import Ddim, Heun, SignalRatio
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.engine.seeds import sample_noise
from boot_exp.methods.denoising import CaptionedImages
from boot_exp.methods.students import SignalStudent
from boot_exp.stages import teacher as module
from boot_exp.stages.profile import Profile
from boot_exp.stages.prompt_scores import PromptScores, right_images
from boot_exp.stages.reference import Reference
from boot_exp.stages.sample import Sample, to_pixels
from boot_exp.stages.teacher import matched
from boot_exp.stages.walks import Walks, turned
from boot_exp.teachers.prompted import EachInTurn, StoredText
from evals.ground.faults import ConfigurationFault, DataFault
from evals.images.reading import iterate
from evals.pages.walks import walks_of
from tests.house.captioned import prepared, text_teacher, trained
from tests.house.prompted import TextNet, animals, encoder, folder_of, place, stage, teacher, written


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("sd", tmp_path_factory.mktemp("pipelines"))


@pytest.fixture
def house(tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data and prompts."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path, encoder(pipeline))
    return tmp_path


def card_of(student: SignalStudent) -> dict[str, Any]:
    return {"shape": [3, 8, 8], "classes": None, "stage": "boot", "starts_from": "noise", "architecture": str(student)}


class ToldW(TextNet):
    """The tiny network, which w shifts."""

    guidance = True

    def forward(self, x: Tensor, t: Tensor, label: Any = None, w: Any = None, *, text: Tensor) -> Tensor:
        return super().forward(x, t, text=text) + 0.1 * w[:, None, None, None]


def examples_of(house: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> CaptionedImages:
    """What the stage trains on, caught before it trains."""
    caught: list[Any] = []
    monkeypatch.setattr(module, "train_and_write", lambda *_, **said: caught.append(said["objective"]))
    text_teacher(encoder(pipeline)).run(place(house / "teacher"), data=house / "data", prompts=house / "prompts")
    found: CaptionedImages = caught[0].examples
    return found


def test_no_held_out_image_is_trained_on_and_each_other_one_with_its_own_prompt(
    house: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = examples_of(house, pipeline, monkeypatch)
    stored, captions = StoredPrompts.load(house / "prompts"), animals()
    held_out = stored.texts[stored.card.n - stored.card.held_out :]
    assert len(held_out) > 3 and len(examples.pictures) == len(captions) - len(held_out)
    for picture, number in zip(examples.pictures, examples.numbers, strict=True):
        assert captions[picture] == stored.texts[number] and captions[picture] not in held_out
        assert examples.told(np.array([number])).text is not None


def test_a_teacher_that_is_trained_can_be_sampled_guided_and_says_how(house: Path, pipeline: Path) -> None:
    clip = encoder(pipeline)
    trained(house, clip)
    card = json.loads((house / "teacher/card.json").read_text())
    assert card["label_dropout"] == 0.1 and {*card["inputs"]} == {"data", "prompts"} and card["classes"] is None
    samples(house, clip)
    made = json.loads((house / "samples/ddim-2-w3.json").read_text())
    assert made["card"]["prompts_chosen"] == "EachInTurn()" and made["nfe"] == 4


def samples(house: Path, clip: Any, n: int = 80) -> None:
    Sample(
        model=teacher(),
        samplers=[AtGuidance(sampler=Along(solver=Ddim(), steps=2), w=3.0)],
        n=n,
        prompts=StoredText(encoder=clip, chosen=EachInTurn()),
        compute=Compute(device="cpu"),
    ).run(place(house / "samples"), model=house / "teacher", prompts=house / "prompts")


def test_the_same_seed_trains_the_same_teacher_and_dropout_matters(house: Path, pipeline: Path) -> None:
    clip = encoder(pipeline)
    weights = [
        trained(house, clip, name, **more).net.state_dict()
        for name, more in {"a": {}, "b": {}, "c": {"text_dropout": 0.9}}.items()
    ]
    alike = [all(torch.equal(value, other[name]) for name, value in weights[0].items()) for other in weights]
    assert alike == [True, True, False]


def test_a_text_that_is_dropped_is_the_negative_prompts(
    house: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Condition(text=torch.randn(3, 4, 5), mask=torch.ones(3, 4, dtype=torch.bool))
    without = Condition(text=torch.zeros(1, 4, 5), mask=torch.zeros(1, 4, dtype=torch.bool))
    examples = replace(examples_of(house, pipeline, monkeypatch), negative=without)
    made = examples.without(given, torch.tensor([True, False, True]))
    assert made.text is not None and made.mask is not None and given.text is not None
    assert torch.equal(made.text[1], given.text[1]) and not made.text[[0, 2]].any()
    assert made.mask.tolist() == [[False] * 4, [True] * 4, [False] * 4]


def test_scores_by_prompt_of_samples(house: Path, pipeline: Path) -> None:
    clip = encoder(pipeline)
    trained(house, clip)
    samples(house, clip)
    Reference(updates=20).run(place(house / "reference"), data=house / "data")
    folders = {kind: house / kind for kind in ("samples", "reference", "data", "prompts")}
    PromptScores().run(place(house / "scores.json"), **folders)
    (record,) = json.loads((house / "scores.json").read_text())
    assert record["rank_chance"] == 20.5 and record["sampler"] == "ddim-2-w3" and record["w"] == 3
    assert 1 <= record["rank_seen"] <= 40 and 1 <= record["rank_held_out"] <= 40 and record["prompt_diversity"] > 0

    other = house / "other"
    stage(written(house / "less.txt", animals()[:30]), clip, rules=[]).run(place(other))
    with pytest.raises(DataFault, match="got samples of other prompts; sample again"):
        PromptScores().run(place(house / "s.json"), **{**folders, "prompts": other})
    path = house / "samples/ddim-2-w3.json"
    said = json.loads(path.read_text())
    said["card"]["prompts_chosen"] = "Shuffled()"
    path.write_text(json.dumps(said))
    with pytest.raises(DataFault, match="must say that its prompts were chosen by HeldOutInTurn"):
        PromptScores().run(place(house / "s.json"), **folders)


def test_a_prompt_that_is_no_caption_is_refused(house: Path) -> None:
    stored = StoredPrompts.load(house / "prompts")
    assert [animals()[index] for index in right_images(animals(), stored)] == [*stored.texts]
    with pytest.raises(DataFault, match=r"each prompt of .* must be the caption of an image, got 10 that are of none"):
        right_images(animals()[:30], stored)


def test_what_a_text_to_image_teacher_cannot_be_trained_on_is_refused(house: Path, pipeline: Path) -> None:
    clip = encoder(pipeline)
    with pytest.raises(ConfigurationFault, match="must be trained on images and their prompts, got --data none"):
        text_teacher(clip).run(place(house / "t"), prompts=house / "prompts")
    with pytest.raises(DataFault, match="must hold images of the prompts that a teacher is trained on, got none"):
        matched(["a cat"], animals(), house / "data")
    (house / "data/captions.json").unlink()
    with pytest.raises(DataFault, match="must hold images with captions"):
        text_teacher(clip).run(place(house / "t"), data=house / "data", prompts=house / "prompts")


def test_prompts_that_cannot_be_asked_for_by_number_are_refused(house: Path, pipeline: Path) -> None:
    class Drawn:
        """Prompts that are only ever drawn."""

        def __call__(self, folder: Path, seed: int, where: torch.device) -> Any:
            self.without = Condition(text=torch.zeros(1, 77, 32))
            self.sha256 = "s"
            return self

    with pytest.raises(ConfigurationFault, match="must be told the text of its images by number"):
        replace(text_teacher(encoder(pipeline)), prompts=Drawn()).run(
            place(house / "t"), data=house / "data", prompts=house / "prompts"
        )


@pytest.mark.parametrize("takes_w", [False, True])
def test_walks_begin_and_end_at_their_prompts_noises_and_weights(house: Path, pipeline: Path, takes_w: bool) -> None:
    clip, w = encoder(pipeline), (1.0, 5.0) if takes_w else ()
    taught = trained(house, clip)
    student = SignalStudent(taught, net=ToldW() if takes_w else None)
    write_folder(house / "student", {"weights": student.state_dict()}, card_of(student))
    reads = StoredText(encoder=clip)
    stage_of_walks = Walks(model=student, prompts=reads, w=w, rows=2, columns=5, compute=Compute(device="cpu"))
    stage_of_walks.run(place(house / "walks"), model=house / "student", prompts=house / "prompts")
    card = json.loads((house / "walks/card.json").read_text())
    assert {path.stem for path in (house / "walks").glob("*.zip")} == {"prompts", "noises", *(["w"] if takes_w else [])}

    conditions: Any = reads(house / "prompts", 0, torch.device("cpu"))
    eps = sample_noise(0, torch.arange(4), (3, 8, 8))

    def one(text: str, noise: int, weight: float) -> Any:
        condition = conditions.told(np.array([conditions.training.index(text)]))
        condition = replace(condition, w=torch.tensor([weight]) if takes_w else None)
        with torch.no_grad():
            return to_pixels(OneJump()(student.eval(), eps[noise : noise + 1], condition))[0].astype(int)

    def close(kind: str, index: int, text: str, noise: int, weight: float = 3.0) -> bool:
        images = [image.astype(int) for _, image in iterate(house / f"walks/{kind}.zip")]
        assert len(images) == 10
        return bool(np.abs(images[index] - one(text, noise, weight)).max() <= 1)

    (a, b), (c, d) = card["prompts"]
    assert len({a, b, c, d}) == 4 and card["noises"] == [a, c]
    assert close("prompts", 0, a, 0) and close("prompts", 4, b, 0) and close("prompts", 9, d, 1)
    assert close("noises", 0, a, 0) and close("noises", 4, a, 2) and close("noises", 9, c, 3)
    if takes_w:
        assert close("w", 0, a, 0, 1.0) and close("w", 9, c, 1, 5.0)
    walks = walks_of(house / "walks")
    assert [*walks] == [f"made-{kind}" for kind in ("prompts", "noises", *(["w"] if takes_w else []))]


def test_a_student_of_a_guided_teacher_that_takes_text_is_profiled_with_its_prompts(
    house: Path, pipeline: Path
) -> None:
    clip = encoder(pipeline)
    student = SignalStudent(trained(house, clip))
    taught_by = json.loads((house / "teacher/card.json").read_text())["sha256"]["weights.safetensors"]
    card = {**card_of(student), "w": 3.0, "inputs": {"teacher": taught_by}}
    write_folder(house / "student", {"weights": student.state_dict()}, card)
    profile = Profile(
        model=student,
        teacher=teacher(),
        solver=Heun(coordinate=SignalRatio()),
        intervals=2,
        substeps=2,
        n=3,
        prompts=StoredText(encoder=clip),
        compute=Compute(device="cpu"),
    )
    folders = {"model": house / "student", "teacher": house / "teacher", "prompts": house / "prompts"}
    profile.run(place(house / "p.json"), **folders)
    made = json.loads((house / "p.json").read_text())
    assert made["card"]["w"] == 3 and {"prompts", "prompts_chosen"} <= made["card"].keys()
    assert made["curves"][0]["rms"][0] > 0, "a copy of the teacher, which is not guided, is not the guided teacher"


def test_noises_on_the_way_have_variance_one() -> None:
    first, last = torch.randn(2, 3, 64, 64)
    middle = turned(first, last, torch.linspace(0, 1, 5))
    torch.testing.assert_close(middle.var(dim=(1, 2, 3)), torch.ones(5), atol=0.05, rtol=0)


def test_walks_of_w_are_for_students_that_take_it(house: Path, pipeline: Path) -> None:
    clip = encoder(pipeline)
    student = SignalStudent(trained(house, clip))
    write_folder(house / "student", {"weights": student.state_dict()}, card_of(student))
    with pytest.raises(ConfigurationFault, match=r"takes no w must have none, got \[1.0, 5.0\]"):
        Walks(model=student, prompts=StoredText(encoder=clip), w=(1.0, 5.0), compute=Compute(device="cpu")).run(
            place(house / "walks"), model=house / "student", prompts=house / "prompts"
        )
