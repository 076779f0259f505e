"""A student exported as plain torch gives the same images to torch alone, and what cannot be exported says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.samplers import Along, AtGuidance, OneJump, Renoised, Sampler
from boot_exp.diffusion.solvers import Jump
from boot_exp.engine.seeds import sample_noise
from boot_exp.methods.students import ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.methods.two_times import TwoTimeStudent
from boot_exp.stages.exports import hub
from boot_exp.stages.exports.program import export_plain
from evals.ground.faults import ConfigurationFault, MissingResource, StateFault
from tests.house.exported import stored
from tests.house.oracle import SCHEDULE
from tests.house.readme import ROOT, python_blocks
from tests.house.stages import verb

SHAPE, CLASSES, COUNT = (1, 8, 8), 3, 4
ALONE = """
import sys
sys.modules["boot_exp"] = sys.modules["evals"] = None  # importing them fails
import torch
given = torch.load(sys.argv[1] + "/given.pt")
with torch.no_grad():
    made = torch.export.load(sys.argv[1] + "/out/student.pt2").module()(given.pop("noise"), **given)
torch.save(made, sys.argv[1] + "/made.pt")
"""


class Built:
    """A stage that samples a model."""

    def __init__(self, model: Any, *samplers: Sampler) -> None:
        self.model, self.samplers = model, samplers or (OneJump(),)


def student(kind: Any = SignalStudent, classes: int | None = None, **more: Any) -> Any:
    """A student with random weights everywhere, AdaIN included."""
    net = UNet(
        image_channels=1,
        channels=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(False, True),
        time=Sinusoidal(dimensions=8),
        heads=1,
        classes=classes,
    )
    made = kind(Networked(net=net, prediction=FromV(), schedule=SCHEDULE, classes=classes, shape=SHAPE), **more)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in made.parameters():
            value += 0.05 * torch.randn(value.shape, generator=drawn)
    return made.eval()


CASES: dict[str, tuple[Any, float | None, Sampler]] = {
    "a signal": (student(), None, OneJump()),
    "classes": (student(classes=CLASSES), None, OneJump()),
    "w as an input": (student(classes=CLASSES, takes_w=True), None, OneJump()),
    "w fixed": (student(takes_w=True), 2.5, AtGuidance(sampler=OneJump(), w=2.5)),
    "a denoiser": (student(DenoisingStudent), None, Renoised(steps=1)),
    "two times": (student(TwoTimeStudent, classes=CLASSES, takes_w=True), None, Along(solver=Jump(), steps=1)),
    "a consistency function": (student(ConsistencyStudent), None, Renoised(steps=1)),
}


@pytest.mark.parametrize("name", CASES)
def test_torch_alone_makes_the_students_images_on_a_batch_of_any_size(tmp_path: Path, name: str) -> None:
    found, w, sampler = CASES[name]
    export_plain(Built(found, sampler), model=stored(tmp_path / "model", found, shape=SHAPE), out=tmp_path / "out", w=w)
    noise = sample_noise(1, torch.arange(COUNT), SHAPE)
    label = None if found.classes is None else torch.arange(COUNT) % CLASSES
    asked = torch.linspace(0.5, 3, COUNT) if found.takes_w and w is None else None
    given = {"noise": noise, "label": label, "w": asked}
    torch.save({name: value for name, value in given.items() if value is not None}, tmp_path / "given.pt")
    done = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        ours = sampler(found, noise, Condition(label=label, w=asked))
    assert float(ours.std()) > 0.05
    torch.testing.assert_close(torch.load(tmp_path / "made.pt"), ours, rtol=1e-5, atol=1e-6)


def test_the_folder_has_the_program_the_tensors_and_a_card_whose_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = CASES["w as an input"][0]
    model, out = stored(tmp_path / "model", found, shape=SHAPE, config="UniformGuidance.low = 0.5\n"), tmp_path / "out"
    export_plain(Built(found), model=model, out=out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("README.md", "export.json", "student.pt2", "weights.safetensors")
    ]
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pytorch\n") and "| images seen in training | 16 |" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(out)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["images"].shape == (16, *SHAPE)
    with safe_open(out / "weights.safetensors", "pt") as kept:
        assert json.loads(kept.metadata()["card"])["suite"] == "made"
        assert set(kept.keys()) == set(found.state_dict())
        assert all(torch.equal(kept.get_tensor(key), value) for key, value in found.state_dict().items())


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, names = CASES["a signal"][0], dict[str, Any]()
    model = stored(tmp_path / "model", found, shape=SHAPE)
    export_plain(Built(found), model=model, out=tmp_path / "exported/digits")
    monkeypatch.chdir(tmp_path)
    [code] = python_blocks(ROOT / "docs/export.md")
    exec(code, names)
    assert names["images"].shape == (16, *SHAPE)


def refused(words: str, built: Any, kind: type[Exception] = ConfigurationFault, **more: Any) -> None:
    folder = more.pop("folder")
    with pytest.raises(kind, match=words) as caught:
        export_plain(built, out=folder / "out", **more)
    assert "\n" not in str(caught.value) and not (folder / "out").exists()


def test_what_makes_no_image_in_one_call_is_refused(tmp_path: Path) -> None:
    found = student(DenoisingStudent)
    where = {"model": stored(tmp_path / "model", found, shape=SHAPE), "folder": tmp_path}
    refused("one that is sampled in 4 calls; export its last phase", Built(found, Renoised(steps=4)), **where)
    teacher = Networked(net=found.net, prediction=FromV(), schedule=SCHEDULE)
    refused("got a teacher, Networked; export a student", Built(teacher), **where)
    found.net.takes_text = True
    refused("takes text.*without --plain", Built(found, Renoised(steps=1)), **where)


def test_a_w_that_the_student_was_not_taught_is_refused(tmp_path: Path) -> None:
    said = "a/UniformGuidance.low = 1.0\na/UniformGuidance.high = 3.0\n"
    free, fixed = student(takes_w=True), student()
    for name, found, w, words in (
        ("free", free, 4.0, "got 4; give --w from 1 to 3"),
        ("fixed", fixed, 4.0, "at the w it was distilled at, None, got --w 4; leave --w out"),
    ):
        folder = stored(tmp_path / name, found, shape=SHAPE, config=said)
        refused(words, Built(found), model=folder, w=w, folder=tmp_path)


def test_a_source_is_refused_before_anything_is_built() -> None:
    said = verb("export", "digits/boot", "--plain", "--source", "there", "--model", "m", "--out", "o")
    assert isinstance(said.exception, ConfigurationFault)
    assert str(said.exception) == (
        "an export with --plain must have no --source, got there; leave it out, or leave --plain out"
    )


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    found = student()
    model = stored(tmp_path / "model", found, shape=SHAPE)
    (model / "weights.safetensors").write_bytes(b"")
    refused("missing or damaged", Built(found), StateFault, model=model, folder=tmp_path)


class Hub:
    """Stands in for the hub's library: remembers what it is told, or fails."""

    told: list[tuple[str, str]]
    fails = False

    def create_repo(self, name: str, *, exist_ok: bool) -> None:
        assert exist_ok
        if self.fails:
            raise OSError("no network\nat all")

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        self.told.append((repo_id, folder_path.name))
        return f"hub/{repo_id}"


def test_a_push_uploads_the_folder_and_a_failed_one_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    Hub.told = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    hub.push(tmp_path / "out", "me/student")
    assert Hub.told == [("me/student", "out")]
    monkeypatch.setattr(Hub, "fails", True)
    with pytest.raises(MissingResource, match="got no network; log in with hf auth login, then run: hf upload me/s"):
        hub.push(tmp_path / "out", "me/student")
