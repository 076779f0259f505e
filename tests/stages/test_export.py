"""An exported student is what diffusers alone makes of its folder in one step, and what cannot be exported says why."""

from __future__ import annotations

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from boot_exp.config.runs import stages_of
from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.predictions import FromEps, FromV, FromX, Prediction
from boot_exp.diffusion.samplers import AtGuidance, OneJump
from boot_exp.diffusion.schedules import Clamped, LinearTable, Schedule, SquaredCosineTable
from boot_exp.engine.seeds import sample_noise
from boot_exp.methods.students import AtTime, ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.stages.exports.pipeline import export
from boot_exp.teachers.exporting import Step, scheduler
from evals.ground.faults import ConfigurationFault, NumericalFault, OutputFault, StateFault
from tests.house import formats
from tests.house.exported import EXACT, Built, Job, alone, apart, stored
from tests.house.stages import verb

ROOT = Path(__file__).parents[2]
COUNT, CLASSES = 4, 5


@pytest.mark.parametrize("lam", [-4.0, 0.0, 2.7, 3.519, 3.57, 4.5])
@pytest.mark.parametrize("time", [0, 1, 999])
def test_a_table_holds_a_level_as_exactly_as_its_entries_allow(lam: float, time: int) -> None:
    """Alone, a beta rounds alpha squared to a multiple of 2^-24; a second one holds the rest."""
    alpha_bar = 1 / (1 + math.exp(2 * lam))
    made = scheduler(Step(time=time, alpha_bar=alpha_bar, predicted="epsilon"))
    made.set_timesteps(1)
    assert made.timesteps.tolist() == [time]
    held = float(made.alphas_cumprod[time])
    assert abs(held - alpha_bar) <= (2**-25 if time == 0 else 1.5e-7 * alpha_bar)


def noise() -> Tensor:
    """The noise of samples 0 to COUNT - 1 of seed 0."""
    return sample_noise(0, torch.arange(COUNT), (3, 16, 16))


def student(
    *,
    classes: int | None = None,
    schedule: Schedule | None = None,
    predicts: Prediction | None = None,
    taken: Prediction | None = None,
    kind: Any = SignalStudent,
    **more: Any,
) -> Any:
    """A student of a teacher in diffusers' format, with random weights everywhere, AdaIN included."""
    config = {**formats.CONFIG, "num_class_embeds": classes}
    teacher = formats.diffusers(
        config=config, prediction=predicts or FromEps(), schedule=schedule or clamped(-9.0, 3.0)
    )
    made = kind(teacher, **more, **({} if taken is None else {"prediction": taken})).eval()
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value += 0.05 * torch.randn(value.shape, generator=drawn)
    return made


def clamped(lam_min: float, lam_max: float) -> Clamped:
    return Clamped(schedule=LinearTable(), lam_min=lam_min, lam_max=lam_max)


CASES: dict[str, dict[str, Any]] = {
    "eps": {},
    "eps, read at its own level": {"reading": AtTime()},
    "eps, at entry 17": {"schedule": clamped(-2.663330662, 3.0)},
    "eps, at entry 17, from the end of the table": {"schedule": clamped(-2.663330662, 9.0)},
    "eps, taken for v, from the end of the table": {"schedule": LinearTable(), "taken": FromV()},
    "v": {"predicts": FromV(), "schedule": LinearTable()},
    "x0": {"predicts": FromX()},
    "classes": {"classes": CLASSES},
    "w": {"takes_w": True, "w": 2.5},
    "w that varies, classes": {"takes_w": True, "classes": CLASSES, "asked": 3.5},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path, tuple[Tensor, Tensor]]]:
    """For each case, the student, its exported folder, and what diffusers alone makes of that."""
    house, made, jobs = tmp_path_factory.mktemp("exported"), {}, []
    for number, (name, case) in enumerate(CASES.items()):
        w, fixed = case.get("w"), case.get("asked")
        found = student(**{key: value for key, value in case.items() if key not in ("w", "asked")})
        model, out = stored(house / f"model{number}", found, w=w), house / f"out{number}"
        export(Built(found), model=model, out=out, w=fixed)
        made[name] = (found, out)
        labels = {} if found.classes is None else {"class_labels": [*range(COUNT)]}
        asked = {"batch_size": COUNT, **labels}
        jobs.append(Job(folder=out, noise=[noise()], asked=asked))
    drawn = dict(zip(made, alone(jobs, house / "alone"), strict=True))
    return {name: (*both, drawn[name]) for name, both in made.items()}


@pytest.mark.parametrize("name", CASES)
def test_diffusers_alone_makes_the_students_pictures(exported: dict[str, Any], name: str) -> None:
    found, folder, (theirs, pictures) = exported[name]
    w = CASES[name].get("w", CASES[name].get("asked"))
    sampler = OneJump() if w is None else AtGuidance(sampler=OneJump(), w=w)
    label = None if found.classes is None else torch.arange(COUNT)
    with torch.no_grad():
        ours = sampler(found, noise(), Condition(label=label))
    assert ours.std() > 0.1 and apart(ours, theirs) < EXACT
    assert float((ours.clamp(-1, 1) - pictures).abs().max()) < 2 * EXACT * max(1.0, float(ours.std()))
    assert json.loads((folder / "export.json").read_text())["difference"] < EXACT


def test_the_parts_that_diffusers_reads_are_all_that_a_folder_has(exported: dict[str, Any]) -> None:
    _, folder, _ = exported["classes"]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "README.md",
        "export.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    said = json.loads((folder / "unet/config.json").read_text())
    assert (said["num_class_embeds"], said["sample_size"]) == (CLASSES, 16)


def test_a_card_says_what_was_exported(exported: dict[str, Any]) -> None:
    for name, words in {
        "eps": ["pipeline(batch_size=4, num_inference_steps=1)", "told time 0", "read as epsilon", "images seen"],
        "eps, at entry 17": ["told time 17"],
        "w": ["guided with w = 2.5"],
        "w that varies, classes": ["class_labels=[0, 1, 2, 3]", "guided with w = 3.5", "from 0 to 4"],
    }.items():
        card = (exported[name][1] / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: diffusers\n")
        assert not [word for word in words if word not in card], card


def test_another_w_is_another_network(exported: dict[str, Any], tmp_path: Path) -> None:
    found, folder, _ = exported["w that varies, classes"]
    export(Built(found), model=folder.with_name("model9"), out=tmp_path / "other", w=2.0)
    first, other = (
        (one / "unet/diffusion_pytorch_model.safetensors").read_bytes() for one in (folder, tmp_path / "other")
    )
    assert first != other


def refused(kind: type[Exception], words: str, model: Any, folder: Path, **more: Any) -> None:
    """Nothing is written."""
    with pytest.raises(kind, match=words):
        export(Built(model), model=folder, out=folder.with_name("refused"), **more)
    assert not [path for path in folder.parent.iterdir() if "refused" in path.name]


def test_what_is_no_signal_student_is_refused(tmp_path: Path) -> None:
    for kind, words in ((DenoisingStudent, "a denoiser"), (ConsistencyStudent, "a consistency function")):
        found = student(kind=kind)
        refused(ConfigurationFault, f"must be a SignalStudent.*{words}.*boot-exp sample", found, tmp_path / "none")
    teacher = formats.diffusers()
    refused(ConfigurationFault, "got Diffusers, a teacher, which its own pipeline samples", teacher, tmp_path / "none")


def test_a_network_of_another_format_is_refused(tmp_path: Path) -> None:
    for teacher in (formats.edm("ddpmpp"), formats.guided_diffusion("adm")):
        found = SignalStudent(teacher)
        words = f"got {type(teacher.net).__name__}; distil from a teacher in diffusers' format"
        refused(ConfigurationFault, words, found, tmp_path / "none")


def test_a_student_that_ends_between_entries_is_refused_with_the_nearest(tmp_path: Path) -> None:
    found = student(schedule=clamped(-2.7, 3.0))
    refused(ConfigurationFault, "got 16.2.* bind lam_min = -2.710864437, which is entry 16", found, tmp_path / "none")


class FromHalf(FromX):
    """A prediction that diffusers has no word for."""


def test_a_prediction_that_diffusers_does_not_have_is_refused(tmp_path: Path) -> None:
    refused(ConfigurationFault, "taken for one of FromEps, FromV", student(taken=FromHalf()), tmp_path / "none")


def test_a_w_that_a_student_was_not_taught_is_refused(tmp_path: Path) -> None:
    varied = "conditions.UniformGuidance.high = 5.0\nconditions.UniformGuidance.low = 1.0\n"
    told, untold = student(takes_w=True), student()
    between = stored(tmp_path / "between", told, config=varied)
    refused(ConfigurationFault, "must be exported at one, because .* got none; give --w from 1 to 5", told, between)
    refused(ConfigurationFault, "that it was taught, got 7; give --w from 1 to 5", told, between, w=7.0)
    fixed = stored(tmp_path / "fixed", told, w=2.0)
    refused(ConfigurationFault, "that it was taught, got 3; give --w from 2 to 2", told, fixed, w=3.0)
    plain = stored(tmp_path / "plain", untold, w=2.0)
    refused(ConfigurationFault, "takes no w must be .* distilled at, 2.0, got --w 3; leave", untold, plain, w=3.0)
    export(Built(untold), model=plain, out=tmp_path / "out", w=2.0)


def test_a_level_that_float32_does_not_hold_is_refused(tmp_path: Path) -> None:
    found = student(schedule=Clamped(schedule=SquaredCosineTable(), lam_min=-9.0, lam_max=9.5))
    model = stored(tmp_path / "model", found)
    refused(NumericalFault, "holds alpha squared of 5.6.* badly; distil with a smaller lam_max", found, model)


def test_a_damaged_model_and_another_teacher_are_refused(tmp_path: Path) -> None:
    found = student()
    teacher = stored(tmp_path / "teacher", found)
    model = stored(tmp_path / "model", found, teacher="0" * 64)
    refused(
        StateFault,
        "must be the teacher that the student was distilled from, with weights 000",
        found,
        model,
        teacher=teacher,
    )
    with (model / "weights.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    refused(StateFault, "is missing or damaged", found, model)


def test_an_output_that_is_something_else_is_left_alone(exported: dict[str, Any]) -> None:
    found, folder, _ = exported["eps"]
    model = folder.with_name("model0")
    before = {path: path.read_bytes() for path in model.iterdir()}
    with pytest.raises(ConfigurationFault, match=r"must be new, empty or an earlier result with its export\.json"):
        export(Built(found), model=model, out=model)
    assert {path: path.read_bytes() for path in model.iterdir()} == before
    export(Built(found), model=model, out=folder)  # an earlier export is replaced


def test_an_export_that_fails_leaves_the_earlier_one(exported: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    found, folder, _ = exported["v"]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*given: object) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("boot_exp.stages.exports.pipeline.page", full)
    with pytest.raises(OutputFault, match="no space left"):
        export(Built(found), model=folder.with_name("model4"), out=folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(folder.parent.glob(".*"))


NETWORK = """
from boot_exp.diffusion import predictions
from boot_exp.diffusion import schedules
from boot_exp.teachers import diffusers
TEACHER = @diffusers.Diffusers()
diffusers.Diffusers.prediction = @predictions.FromEps()
diffusers.Diffusers.schedule = @schedules.Clamped()
schedules.Clamped.schedule = @schedules.LinearTable()
schedules.Clamped.lam_min = -9.0
schedules.Clamped.lam_max = 3.0
"""
TEACHER = """
include 'gin/kinds/published.gin'
include 'gin/suites/made/network.gin'
from boot_exp.stages import sample
from boot_exp.stages import teacher
teacher.PublishedTeacher.source = 'net'
sample.Sample.n = 2
"""
STUDENT = """
include 'gin/suites/made/network.gin'
from boot_exp.diffusion import predictions
from boot_exp.engine import averages
from boot_exp.engine import loop
from boot_exp.engine import rates
from boot_exp.methods import students
from boot_exp.stages import sample
students.SignalStudent.prediction = @predictions.FromV()
loop.Training.images = 16
loop.Training.batch = 4
rates.CosineRate.peak = 1e-2
averages.Ema.half_life = 4
sample.Sample.n = 4
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of a teacher in diffusers' format."""
    leaves = tmp_path / "gin/suites/made"
    leaves.mkdir(parents=True)
    for name in ("kinds", "parts", "methods"):
        (tmp_path / "gin" / name).symlink_to(ROOT / "gin" / name)
    formats.write_diffusers(tmp_path / "net")
    config = f"diffusers.Diffusers.config = { ({**formats.CONFIG, 'num_class_embeds': CLASSES})!r}\n"
    for name, text in {"network": NETWORK + config, "teacher": TEACHER, "student": STUDENT}.items():
        (leaves / f"{name}.gin").write_text(f"from __gin__ import dynamic_registration\n{text}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def test_from_a_teachers_folder_to_the_samplers_pictures(house: Path) -> None:
    """The whole chain by its commands; diffusers alone then makes what the stage sample has drawn."""

    def done(*arguments: str) -> str:
        result = verb(*arguments)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.output

    run, model = Path("resolved/made/boot/0"), "models/made/boot/0"
    run.mkdir(parents=True)
    for stage, frozen in stages_of(Path("made/boot"), []).items():
        frozen.write(run / f"{stage}.json")
    done("teacher", "made/teacher", "--out", "models/made/teacher")
    done("distil", "made/boot", "--teacher", "models/made/teacher", "--out", model)
    done("sample", str(run / "sample.json"))
    said = done("export", str(run / "sample.json"))
    assert said.startswith("exported/made/boot/0: ConsistencyModelPipeline, one step, ")
    asked = {"batch_size": 4, "class_labels": [0, 1, 2, 3]}
    [(_, theirs)] = alone([Job(folder=Path("exported/made/boot/0"), noise=[noise()], asked=asked)], house / "alone")
    with zipfile.ZipFile("samples/made/boot/0/one-jump.zip") as zipped:
        drawn = [np.array(Image.open(zipped.open(name)), dtype=float) for name in sorted(zipped.namelist())]
    ours = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) / 127.5 - 1
    assert ours.std() > 0.1
    assert float((ours - theirs).abs().max()) < 1.01 / 255  # half a grey level is rounding
    said = done("export", str(run / "sample.json"), "--plain")
    assert said.startswith("exported/plain/made/boot/0: student.pt2, one call, ")
    program = torch.export.load("exported/plain/made/boot/0/student.pt2").module()
    assert float((program(noise(), label=torch.arange(4)).clamp(-1, 1) - ours).abs().max()) < 1.01 / 255
    named = ["--model", model, "--teacher", "models/made/teacher", "--out"]
    for config in ("made/boot", str(run / "distil.json")):
        done("export", config, *named, "again")
        card = json.loads(Path("again/export.json").read_text())
        assert card["teacher"]["source"] == "net" and card["model"]["inputs"]["teacher"]
        assert "| teacher | net |" in Path("again/README.md").read_text()
        assert card["sha256"] == json.loads(Path("exported/made/boot/0/export.json").read_text())["sha256"]
    lacking = verb("export", "made/boot", "--out", "again")
    assert isinstance(lacking.exception, ConfigurationFault) and "needs --model too" in str(lacking.exception)
    placed = verb("export", "made/boot")
    assert "must be given resolved/RUN/sample.json, got made/boot" in str(placed.exception)
