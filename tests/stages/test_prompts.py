"""From a text of prompts to a student's samples: the stage prompts, and what distil and sample do with its folder."""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from boot_exp.data import images
from boot_exp.data.stored_prompts import PromptsCard, StoredPrompts
from boot_exp.diffusion.conditions import FixedGuidance, Prompts
from boot_exp.diffusion.samplers import Along, AtGuidance, OneJump
from boot_exp.diffusion.solvers import Ddim, Heun, OnSignal
from boot_exp.engine.averages import Ema
from boot_exp.engine.compute import Compute
from boot_exp.engine.loop import Training
from boot_exp.engine.rates import CosineRate
from boot_exp.engine.seeds import PAIRS
from boot_exp.methods.boot import Boot
from boot_exp.methods.direct import Direct
from boot_exp.methods.students import SignalStudent
from boot_exp.stages import prompts as module
from boot_exp.stages.distil import Distil
from boot_exp.stages.pairs import Pairs
from boot_exp.stages.sample import Sample
from boot_exp.teachers.prompted import StoredText, TextAtEveryStep, TrainingInTurn
from boot_exp.teachers.text import ClipText, T5Text
from evals.ground.faults import DataFault, OutputFault, Stopped
from tests.house.prompted import (
    CPU,
    animals,
    encoder,
    folder_of,
    place,
    stage,
    stored_teacher,
    teacher,
    written,
)

COMPUTE = Compute(device="cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Stable Diffusion."""
    return folder_of("sd", tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clip(pipeline: Path) -> ClipText:
    return encoder(pipeline)


@pytest.fixture
def folder(clip: ClipText, tmp_path: Path) -> Path:
    """Forty prompts, stored."""
    stage(written(tmp_path / "animals.txt", animals()), clip).run(place(tmp_path / "prompts"))
    return tmp_path / "prompts"


def training(images: int = 24, **more: Any) -> Training:
    return Training(
        images=images,
        batch=8,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        rate=CosineRate(peak=1e-3),
        ema=Ema(half_life=100),
        preview_every=16,
        log_every=8,
        **more,
    )


def distil(prompts: Prompts, **more: Any) -> Distil:
    boot = Boot(step=OnSignal(solver=Heun()), delta=0.1, beta=1.0)
    said = {"method": boot, "training": training(), "guidance": FixedGuidance(w=3.0), "compute": COMPUTE, **more}
    return Distil(teacher=teacher(), student=SignalStudent, preview=OneJump(), prompts=prompts, **said)


def distilled(prompts: Prompts, folder: Path, out: Path, **more: Any) -> bytes:
    """The weights of a student, trained and stored."""
    stored_teacher(out.parent / "teacher")
    distil(prompts, **more).run(place(out), teacher=out.parent / "teacher", prompts=folder)
    return (out / "weights.safetensors").read_bytes()


def card_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "card.json").read_text()))


def test_a_text_of_prompts_becomes_samples_of_held_out_ones(folder: Path, clip: ClipText, tmp_path: Path) -> None:
    stored = StoredPrompts.load(folder)
    assert sorted(stored.texts) == sorted(animals()) and 0 < stored.card.held_out < 40
    assert [part["text"].numbers.shape for part in stored.shards] == [(7, 77, 32)] * 5 + [(5, 77, 32)]
    distilled(StoredText(encoder=clip), folder, tmp_path / "student")
    assert card_of(tmp_path / "student")["inputs"].keys() == {"teacher", "prompts"}
    sample = Sample(
        model=SignalStudent(teacher()), samplers=[OneJump()], n=20, prompts=StoredText(encoder=clip), compute=COMPUTE
    )
    sample.run(place(tmp_path / "samples"), model=tmp_path / "student", prompts=folder)
    record = json.loads((tmp_path / "samples/one-jump.json").read_text())["card"]
    assert record["text"] == stored.card.sha256_of_prompts and record["text_encoder"] == repr(clip)
    assert record["prompts_held_out"] == f"{stored.card.held_out} of 40" and record["negative_prompt"] == ""


def test_stored_text_and_text_of_every_step_are_one_to_the_bit(folder: Path, clip: ClipText, tmp_path: Path) -> None:
    """Batches of every size, training and samples, and so the weights of a student."""
    ways = [way(folder, 3, CPU) for way in (StoredText(encoder=clip), TextAtEveryStep(encoder=clip))]
    generator = torch.Generator()
    for seen, batch in ((0, 1), (5, 4), (1000, 11), (17, 24)):
        first, second = (way.drawn(seen, batch, generator).given for way in ways)
        assert first.keys() == second.keys() == {"text"} and torch.equal(first["text"], second["text"])
        assert first["text"].dtype is torch.float32 and first["text"].shape == (batch, 77, 32)
    first, second = (way.of(0, torch.arange(30)).given for way in ways)
    assert torch.equal(first["text"], second["text"])
    assert torch.equal(*(way.without.given["text"] for way in ways)) and ways[0].sha256 == ways[1].sha256
    weights = {
        name: distilled(way, folder, tmp_path / name)
        for name, way in {
            "stored": StoredText(encoder=clip),
            "memory": StoredText(encoder=clip, memory=True),
            "every": TextAtEveryStep(encoder=clip),
        }.items()
    }
    assert weights["stored"] == weights["memory"] == weights["every"]
    other = ClipText(source=clip.source, at_once=4, rounded="bfloat16")
    assert not torch.equal(other.on(CPU)(["a dog"])["text"].float(), clip.on(CPU)(["a dog"])["text"].float())


def test_with_text_in_memory_no_step_and_no_sample_reads_the_disk(folder: Path, clip: ClipText) -> None:
    """The files are cut to nothing: of text that is memory mapped, a step then says so."""
    kept, mapped = (StoredText(encoder=clip, memory=memory)(folder, 3, CPU) for memory in (True, False))
    indices, generator = torch.arange(30), torch.Generator()
    before = [mapped.drawn(5, 24, generator).text, mapped.of(0, indices).text, mapped.without.text]
    for path in folder.iterdir():
        os.truncate(path, 0)
    after = [kept.drawn(5, 24, generator).text, kept.of(0, indices).text, kept.without.text]
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))
    with pytest.raises(DataFault):
        mapped.drawn(5, 24, generator)


def test_text_need_not_be_stored(clip: ClipText, tmp_path: Path) -> None:
    stage(written(tmp_path / "a.txt", animals()), clip, store=False).run(place(tmp_path / "prompts"))
    assert not list((tmp_path / "prompts").glob("text-*"))
    assert TextAtEveryStep(encoder=clip)(tmp_path / "prompts", 0, CPU).of(0, torch.arange(3)).text is not None
    with pytest.raises(DataFault, match=r"must hold stored text, got prompts alone; bind TextAtEveryStep"):
        StoredText(encoder=clip)(tmp_path / "prompts", 0, CPU)


def test_a_trainings_prompts_follow_from_the_seed_and_the_images_seen(folder: Path, clip: ClipText) -> None:
    """Whatever the batches, so whatever the number of processes; an epoch has each training prompt once."""
    read: Any = StoredText(encoder=clip)(folder, 5, CPU)
    count = read.stored.card.n - read.stored.card.held_out
    whole = read.drawn_numbers(0, count)
    assert sorted(whole.tolist()) == list(range(count))
    assert np.array_equal(np.concatenate([read.drawn_numbers(at, 4) for at in range(0, 20, 4)]), whole[:20])
    other: Any = StoredText(encoder=clip)(folder, 6, CPU)
    assert not np.array_equal(other.drawn_numbers(0, count), whole)


def test_samples_are_of_held_out_prompts_in_turn_and_pairs_of_training_prompts(folder: Path, clip: ClipText) -> None:
    held: Any = StoredText(encoder=clip)(folder, 0, CPU)
    trained: Any = StoredText(encoder=clip, chosen=TrainingInTurn())(folder, 0, CPU)
    card = held.stored.card
    first = card.n - card.held_out
    for numbers in ([0, 1, 2], [card.held_out, card.held_out + 1]):
        want = [first + number % card.held_out for number in numbers]
        assert torch.equal(held.of(9, torch.tensor(numbers)).text, held.told(np.array(want)).text)
        assert torch.equal(trained.of(9, torch.tensor(numbers)).text, trained.told(np.array(numbers)).text)
        pairs = held.of(9, torch.tensor(numbers), PAIRS)
        assert torch.equal(pairs.text, held.told(np.array(numbers)).text)
    assert held.sha256 != trained.sha256


def test_pairs_and_their_student_have_the_same_prompts(folder: Path, clip: ClipText, tmp_path: Path) -> None:
    told = StoredText(encoder=clip)
    stored_teacher(tmp_path / "teacher")
    sampler = AtGuidance(sampler=Along(solver=Ddim(), steps=2), w=3.0)
    pairs = Pairs(teacher=teacher(), sampler=sampler, n=16, prompts=told, compute=COMPUTE)
    pairs.run(place(tmp_path / "pairs"), teacher=tmp_path / "teacher", prompts=folder)
    given = {"teacher": tmp_path / "teacher", "pairs": tmp_path / "pairs", "prompts": folder}
    direct = {"method": Direct(), "guidance": None}
    distil(told, **direct).run(place(tmp_path / "direct"), **given)
    with pytest.raises(DataFault, match=r"must be of the given prompts, got others; make the pairs again"):
        distil(StoredText(encoder=clip, chosen=TrainingInTurn()), **direct).run(place(tmp_path / "other"), **given)


def test_distil_with_prompts_opens_no_images(
    folder: Path, clip: ClipText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("the distil stage opened images")

    for name in ("load", "verify", "batch"):
        monkeypatch.setattr(images.Images, name, refuse)
    pictures = (".png", ".jpg", ".npy", ".npz", ".zip", ".mdb")
    opened: list[str] = []
    real = io.open

    def watched(file: Any, *arguments: Any, **more: Any) -> Any:
        opened.append(str(file))
        assert not str(file).endswith(pictures), f"the distil stage opened {file}"
        return real(file, *arguments, **more)

    monkeypatch.setattr(io, "open", watched)
    monkeypatch.setattr(builtins, "open", watched)
    distilled(StoredText(encoder=clip), folder, tmp_path / "student")
    assert any(name.endswith("card.json") for name in opened), "files must be watched at all"


def test_a_killed_or_stopped_stage_goes_on_to_the_same_bytes(
    folder: Path, clip: ClipText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written_shards = module.write_parts, []

    def killed(path: Path, parts: Any) -> None:
        written_shards.append(path.name)
        if len(written_shards) == 4:
            raise Stopped
        real(path, parts)

    file = written(tmp_path / "animals.txt", animals())
    monkeypatch.setattr(module, "write_parts", killed)
    with pytest.raises(Stopped):
        stage(file, clip).run(place(tmp_path / "again"))
    assert not (tmp_path / "again").exists()
    stage(file, clip).run(place(tmp_path / "again"))
    assert written_shards.count("text-00000.safetensors") == 1, "a finished shard must be kept"
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_bytes_are_said_before_text_is_stored_and_a_small_disk_is_refused(
    clip: ClipText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "animals.txt", animals())
    stage(file, clip).run(place(tmp_path / "prompts"))
    each = 77 * 32 * 2
    assert f"the text of 40 prompts takes {40 * each:,} bytes, {each:,} each" in capsys.readouterr().err
    stored = sum(path.stat().st_size for path in (tmp_path / "prompts").glob("text-*"))
    assert 40 * each <= stored < 40 * each * 1.01
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 0, 40 * each - 1))  # type: ignore[attr-defined]
    with pytest.raises(OutputFault, match=rf"of 40 prompts needs {40 * each:,} bytes, got {40 * each - 1:,} free at"):
        stage(file, clip).run(place(tmp_path / "more"))
    assert not (tmp_path / "more").exists()
    stage(file, clip, store=False).run(place(tmp_path / "none"))


def test_the_card_says_what_each_rule_took_and_how_many_prompts_are_cut(
    clip: ClipText, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*animals(), "A 0   DOG", "", "  ", "x" * 200, "y" * 76]
    stage(written(tmp_path / "a.txt", texts), clip).run(place(tmp_path / "prompts"))
    card = PromptsCard(**card_of(tmp_path / "prompts"))
    assert card.rules == {"1. WhitespaceNormalised()": 0, "2. EmptyOut()": 2, "3. DuplicatesOut()": 1}
    assert card.n == 42 and card.cut == 2 and card.tokens == 77
    assert "EmptyOut() took 2" in capsys.readouterr().out
    with pytest.raises(DataFault, match=r"must have at most 77 tokens, got 2 of .*a.txt that are longer, up to 202"):
        stage(written(tmp_path / "a.txt", texts), clip, may_cut=False).run(place(tmp_path / "none"))


def test_text_of_another_encoder_or_negative_prompt_is_refused(folder: Path, clip: ClipText) -> None:
    for way in (StoredText, TextAtEveryStep):
        with pytest.raises(DataFault, match=r"must be of the text encoder that is configured, .*skip=1.* got .*None"):
            way(encoder=ClipText(source=clip.source, at_once=4, skip=1))(folder, 0, CPU)
        with pytest.raises(DataFault, match=r"must be of the negative prompt that is configured, 'bad', got ''"):
            way(encoder=clip, negative="bad")(folder, 0, CPU)


def test_text_of_captions_that_were_cleaned_otherwise_is_refused(pipeline: Path, tmp_path: Path) -> None:
    source = str(folder_of("if_base", pipeline.parent))
    kept = T5Text(source=source, at_once=4, clean=False)
    stage(written(tmp_path / "animals.txt", animals()), kept).run(place(tmp_path / "prompts"))
    assert StoredText(encoder=kept)(tmp_path / "prompts", 0, CPU).without.given["text"].shape == (1, 77, 32)
    with pytest.raises(DataFault, match=r"that is configured, .*clean=True.*, got .*clean=False"):
        StoredText(encoder=T5Text(source=source, at_once=4, clean=True))(tmp_path / "prompts", 0, CPU)


def test_text_of_other_weights_of_an_encoder_is_refused(folder: Path, clip: ClipText, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(clip.source, copy)
    file = written(tmp_path / "animals.txt", animals())
    here = ClipText(source=str(copy), at_once=4)
    stage(file, here).run(place(tmp_path / "prompts"))
    config = copy / "text_encoder/config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-05', '"layer_norm_eps": 1e-03'))
    with pytest.raises(DataFault, match=r"must be of the text encoder's files, .*; run the stage prompts again"):
        TextAtEveryStep(encoder=here)(tmp_path / "prompts", 0, CPU)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "text-00001.safetensors").unlink(),
        lambda folder: (folder / "negative.safetensors").write_bytes(b"no"),
        lambda folder: (folder / "training.txt").write_text("a dog\n"),
        lambda folder: (folder / "card.json").unlink(),
        lambda folder: (folder / "card.json").write_text(json.dumps({**card_of(folder), "negative": "other"})),
        lambda folder: (folder / "card.json").write_text(json.dumps({**card_of(folder), "held_out": 40})),
        lambda folder: (folder / "card.json").write_text("{"),
    ],
    ids=["no shard", "negative", "prompts", "no card", "changed card", "counts", "cut card"],
)
def test_a_damaged_folder_is_refused(folder: Path, clip: ClipText, damage: Any) -> None:
    damage(folder)
    with pytest.raises(DataFault, match=r"; run the stage prompts again"):
        StoredText(encoder=clip)(folder, 0, CPU)


def test_a_flipped_bit_and_a_shard_that_vanishes_are_refused(folder: Path, clip: ClipText) -> None:
    read: Any = StoredText(encoder=clip)(folder, 0, CPU)
    path = folder / "text-00000.safetensors"
    data = bytearray(path.read_bytes())
    path.unlink()
    with pytest.raises(DataFault, match=r"must stay while it is read"):
        read.told(np.arange(3))
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataFault, match=r"must be what its card says, got another SHA-256"):
        StoredText(encoder=clip)(folder, 0, CPU)


def test_fewer_prompts_than_a_batch_are_refused(folder: Path, clip: ClipText) -> None:
    read: Any = StoredText(encoder=clip)(folder, 0, CPU)
    with pytest.raises(DataFault, match=r"as many training prompts as a batch has images, 41, got \d+; give more"):
        read.drawn(0, 41, torch.Generator())
