"""The stages of a comparison, tiny: a teacher of classes, its pairs, and a student by each leaf of the suite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from torch import Tensor

from boot_exp.config import runs, runtime
from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import planned_images, read_params, students
from boot_exp.config.plan import suite_of
from boot_exp.data.images import Images
from boot_exp.data.stored_pairs import StoredPairs
from boot_exp.diffusion.conditions import ByClass, Condition
from boot_exp.diffusion.denoisers import Networked, taking_w
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.objectives import Portion
from boot_exp.engine.seeds import PAIRS, sample_noise
from boot_exp.engine.stopping import Stopped
from boot_exp.engine.work import Work
from boot_exp.methods import Start
from boot_exp.methods.distilling import Distilling, FromPairs
from boot_exp.stages import pairs as pairs_stage
from boot_exp.stages.trained import PREVIEWS
from evals.ground.faults import ConfigurationFault, DataFault
from evals.ground.files import read_json, write_json
from tests.house.stages import NO_DATA, boot_exp, options, verb

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
COMPARED = [suite for suite in PARAMS["suites"] if runs.is_compared(PARAMS, suite)]
SUITE = "digits_conditional"
TEACHER = f"{SUITE}/teacher"
STUDENTS = {student.name: student for student in students(PARAMS, SUITE, Faults())}
AFTER = {name: student.teacher for name, student in STUDENTS.items() if student.teacher}
LEAVES = sorted(STUDENTS)
NETWORK = [
    "unet.UNet.channels = 8",
    "unet.UNet.blocks = 1",
    "unet.UNet.head_channels = 16",
    "embeddings.Sinusoidal.dimensions = 8",
]
TINY = [
    *NETWORK,
    "loop.Training.images = 40",  # two batches and a half
    "loop.Training.batch = 16",
    "rates.CosineRate.peak = 3e-2",  # so fast that three steps show in a picture
    "sample.Sample.n = 12",
]
FEW = [
    "ddim/samplers.Sweep.steps = (2,)",
    "heun/samplers.Sweep.steps = (1,)",
    "dpm/samplers.Sweep.steps = (2,)",
    "guided/samplers.Sweep.steps = (2,)",
    "samplers.GuidanceSweep.w = (1, 3)",
]
N = 24
TINY_PAIRS = ["pairs/samplers.Along.steps = 3", f"pairs.Pairs.n = {N}"]
GIVEN: dict[Start, dict[str, str]] = {
    Start.NOISE: {},
    Start.IMAGES: {"--data": "data/suite"},
    Start.PAIRS: {"--pairs": "pairs/suite"},
}


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def done(*arguments: str) -> None:
    result = verb(*arguments)
    assert result.exit_code == 0, f"{arguments}: {result.output}{result.exception!r}"


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def frozen(leaf: str, *bindings: str) -> dict[str, Frozen]:
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.named_run(Path(SUITE, leaf))], {}, faults, bindings)
    faults.raise_if_any()
    return stages


@dataclass
class House:
    """A teacher, its pairs, and students, each trained when first asked for; network calls are counted, in images."""

    calls: int = 0
    built: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    states: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def stage(self, leaf: str) -> Any:
        """The leaf's distil stage, built."""
        if leaf not in self.built:
            self.built[leaf] = runtime.build(frozen(leaf, *TINY)["distil"])
        return self.built[leaf]

    def command(self, leaf: str, out: str) -> list[str]:
        """How the leaf is distilled, given what its method starts from; the student before it is trained first."""
        teacher = self.student(AFTER[leaf]) if leaf in AFTER else Path("models/teacher")
        given = [part for option in GIVEN[self.stage(leaf).method.starts_from].items() for part in option]
        return ["distil", f"{SUITE}/{leaf}", "--teacher", str(teacher), "--out", out, *given, *options(TINY)]

    def student(self, leaf: str) -> Path:
        """The folder of the leaf's student; its last state and its network calls are remembered."""
        folder = Path("models") / leaf
        if not folder.exists():
            command = self.command(leaf, str(folder))
            before = self.calls
            done(*command)
            self.spent[leaf] = self.calls - before
            self.states[leaf] = last_state()
        return folder


def last_state() -> dict[str, bytes]:
    """The tensors of the only run's last checkpoint, which is then removed."""
    [work] = Path(".work").iterdir()
    state = contents(sorted(work.glob("images-*"))[-1], "*.safetensors")
    shutil.rmtree(work)
    return state


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A folder with the gin files, data, teacher and pairs, as working directory; last checkpoints are kept."""
    folder, made = tmp_path_factory.mktemp("house"), House()
    forward = UNet.forward

    def counted(self: UNet, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        made.calls += len(x)
        return forward(self, x, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("DVC_ROOT", raising=False)
        patch.setattr(UNet, "forward", counted)
        patch.setattr(Work, "clear", lambda self: None)
        for name in ("gin", "params.yaml", "plan.yaml"):
            Path(name).symlink_to(ROOT / name)
        done("data", TEACHER, "--out", "data/suite")
        done("teacher", TEACHER, "--data", "data/suite", "--out", "models/teacher", *options(TINY))
        last_state()
        pairs("pairs/suite")
        yield made


def pairs(out: str, *more: str) -> Path:
    done("pairs", TEACHER, "--teacher", "models/teacher", "--out", out, *options([*NETWORK, *TINY_PAIRS, *more]))
    return Path(out)


def card(folder: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "card.json").read_text())
    return found


# The teacher.


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_a_teacher_of_classes_is_trained_without_a_share_of_its_labels(
    house: House, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    """The others are those of the images; none of a preview is dropped."""
    trained: list[Tensor] = []
    shown: list[Tensor] = []
    forward = Networked.forward

    def spied(self: Networked, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        assert condition.label is not None
        (trained if self.training else shown).append(condition.label)
        return forward(self, x_t, t, condition)

    monkeypatch.setattr(Networked, "forward", spied)
    more = [f"teacher.Teacher.label_dropout = {dropout}", "loop.Training.images = 256", "loop.Training.batch = 128"]
    tiny = options([*NETWORK, *more])
    done("teacher", TEACHER, "--data", "data/suite", "--out", "models/other", *tiny)
    last_state()
    made, images = card("models/other"), Images.load("data/suite")
    assert made["classes"] == 10 and made["label_dropout"] == dropout
    given = torch.cat(trained)
    own = images.batch(images.draw(images_seen=0, batch=256, seed=made["seed"]))[1]
    assert own is not None and len(given) == 256
    without = given == 10
    assert bool((given == own)[~without].all())
    assert abs(float(without.double().mean()) - dropout) < 0.15 * (dropout == 0.5) + 1e-9  # five deviations
    assert all(label.tolist() == [i % 10 for i in range(PREVIEWS)] for label in shown) and shown


def test_classes_that_are_not_the_datas_are_refused(house: House) -> None:
    other = options([*TINY, "denoisers.Networked.classes = 7", "unet.UNet.classes = 7"])
    fault = verb("teacher", TEACHER, "--data", "data/suite", "--out", "models/seven", *other).exception
    assert isinstance(fault, ConfigurationFault) and fault.exit_code == 2
    assert "classes must be as many as data/suite has, 10, got 7; bind that number" in str(fault)
    assert not Path("models/seven").exists()


def test_the_teachers_rows_say_the_network_calls_they_take(house: House) -> None:
    """With guidance twice as many; and what they are asked for is in their records."""
    before = house.calls
    done("sample", TEACHER, "--model", "models/teacher", "--out", "samples/teacher", *options([*TINY, *FEW]))
    records = [json.loads(path.read_text()) for path in Path("samples/teacher").glob("*.json")]
    assert {record["sampler"]: (record["nfe"], record.get("w")) for record in records} == {
        "ddim-2": (2, None),
        "heun-1": (2, None),
        "dpmpp2m-2": (2, None),
        "dpmpp2m-2-w1": (4, 1),
        "dpmpp2m-2-w3": (4, 3),
    }
    assert house.calls - before == 12 * sum(record["nfe"] for record in records)
    assert all(record["classes"] == 10 for record in records)


# The pairs.


def test_the_card_of_pairs_says_what_they_are_and_cost(house: House) -> None:
    before = house.calls
    made = card(pairs("pairs/counted", "pairs.Pairs.shard = 10"))
    files = sorted(Path("pairs/counted").glob("*.npy"))
    assert [np.load(path).shape for path in files] == [(10, 1, 8, 8), (10, 1, 8, 8), (4, 1, 8, 8)]
    assert list(made["sha256"]) == [path.name for path in files]
    assert made["n"] == N and made["nfe"] == 3 and made["classes"] == 10 and made["w"] is None
    assert made["evaluations"] == N * 3 == house.calls - before
    assert made["bytes"] == sum(path.stat().st_size for path in files)
    assert made["inputs"] == {"teacher": card("models/teacher")["sha256"]["weights.safetensors"]}


def test_pairs_are_the_same_in_whatever_batches_and_shards(house: House) -> None:
    def x0(*more: str) -> Any:
        return StoredPairs.load(pairs("pairs/other", *more)).x0(np.arange(N))

    once = StoredPairs.load(Path("pairs/suite")).x0(np.arange(N))
    assert once.std() > 0.1
    for batch, shard in ((N, 5), (7, N), (4, 8)):
        other = x0(f"pairs.Pairs.batch = {batch}", f"pairs.Pairs.shard = {shard}")
        assert np.abs(other - once).max() < 1e-5  # convolutions round differently in other batches
    fours = [x0("pairs.Pairs.batch = 4", f"pairs.Pairs.shard = {shard}") for shard in (4, 12, N)]
    assert all((other == fours[0]).all() for other in fours)
    assert np.abs(x0("pairs.Pairs.seed = 1") - once).mean() > 0.1


def test_a_pair_is_what_the_sampler_makes_of_the_noise_and_class_of_its_index(house: House) -> None:
    """Also as training draws it, and the noise is none that samples are made of."""
    stage = runtime.build(frozen("teacher", *NETWORK, *TINY_PAIRS)["pairs"])
    load_weights(stage.teacher, Path("models/teacher"))
    teacher, stored = stage.teacher.eval(), StoredPairs.load(Path("pairs/suite"))
    for i in (0, 9, 10, N - 1):
        eps = sample_noise(0, torch.tensor([i]), (1, 8, 8), purpose=PAIRS)
        with torch.no_grad():
            own, other = (stage.sampler(teacher, eps, Condition(label=torch.tensor([k % 10]))) for k in (i, i + 1))
        x0 = torch.from_numpy(stored.x0(np.array([i])))
        assert torch.allclose(x0, own, atol=1e-5) and not torch.allclose(x0, other, atol=1e-4)
        assert not torch.allclose(eps, sample_noise(0, torch.tensor([i]), (1, 8, 8)))
    source = FromPairs(pairs=stored, seed=3, conditions=ByClass(classes=stored.card.classes))
    eps, x0, condition = source(seen=16, batch=16, generator=torch.Generator())
    assert condition.label is not None
    with torch.no_grad():
        assert torch.allclose(x0, stage.sampler(teacher, eps, condition), atol=1e-5)


def test_stopped_pairs_resume_and_give_the_same_bytes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = ["pairs.Pairs.shard = 8", "pairs.Pairs.batch = 4"]
    whole = contents(pairs("pairs/again", *cut), "*.npy")
    shutil.rmtree("pairs/again")
    solved: list[range] = []
    solve = pairs_stage.Pairs.solve

    def asked(self: pairs_stage.Pairs, model: Any, indices: range, *rest: Any) -> Any:
        solved.append(indices)
        if len(solved) == 3:  # in the second shard
            ask()
        return solve(self, model, indices, *rest)

    monkeypatch.setattr(pairs_stage.Pairs, "solve", asked)
    command = ["pairs", TEACHER, "--teacher", "models/teacher", "--out", "pairs/again"]
    stopped = verb(*command, *options([*NETWORK, *TINY_PAIRS, *cut]))
    assert isinstance(stopped.exception, Stopped) and stopped.exception.exit_code == 75
    assert not Path("pairs/again").exists()
    assert [path.name for path in Path(".work").glob("*/*.npy")] == ["x0-00000.npy"]
    assert contents(pairs("pairs/again", *cut), "*.npy") == whole
    assert [indices.start for indices in solved] == [0, 4, 8, 8, 12, 16, 20]
    assert not list(Path(".work").iterdir())


@pytest.mark.parametrize("harm", ["changed", "missing", "cut"])
def test_damaged_pairs_are_refused(house: House, harm: str) -> None:
    folder = Path("pairs/damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("pairs/suite", folder)
    [shard] = folder.glob("*.npy")
    content = shard.read_bytes()
    shard.unlink() if harm == "missing" else shard.write_bytes(content[:-1] + (b"!" if harm == "changed" else b""))
    with pytest.raises(DataFault, match=r"x0-00000\.npy must be what its card says.*; make the pairs again"):
        StoredPairs.load(folder)
    with pytest.raises(DataFault, match="must be made first, got no such folder; run the pairs stage"):
        StoredPairs.load(folder / "nothing")


@pytest.mark.parametrize("noise", [None, "mt19937"])
def test_pairs_of_an_earlier_noise_generator_are_refused(house: House, noise: str | None) -> None:
    """Their files are sound, but training would pair them with other noise."""
    folder = Path("pairs/older")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("pairs/suite", folder)
    made = {**read_json(folder / "card.json"), "noise": noise}
    write_json(folder / "card.json", made)
    with pytest.raises(DataFault, match=r"must be splitmix64.*, got (another|mt19937) in .*; make the pairs again"):
        StoredPairs.load(folder)


# The students.


@pytest.mark.parametrize("leaf", LEAVES)
def test_each_leaf_trains_and_samples_at_the_cost_it_says(house: House, leaf: str) -> None:
    """What it cost is counted at the network; a student that takes w makes other images of another w."""
    made, stage = card(house.student(leaf)), house.stage(leaf)
    assert house.spent[leaf] == made["evaluations"] + min(PREVIEWS, stage.training.batch) * stage.preview.nfe
    assert made["starts_from"] == stage.method.starts_from.value and made["classes"] == 10 and made["images"] == 40
    assert made["features_seen"] == []
    given = {option.removeprefix("--") for option in GIVEN[stage.method.starts_from]}
    teacher = card(house.student(AFTER[leaf]) if leaf in AFTER else "models/teacher")
    assert made["inputs"].keys() == {"teacher"} | given
    assert made["inputs"]["teacher"] == teacher["sha256"]["weights.safetensors"]
    before, out = house.calls, Path("samples") / leaf
    done("sample", f"{SUITE}/{leaf}", "--model", f"models/{leaf}", "--out", str(out), *options(TINY))
    records = [json.loads(path.read_text()) for path in out.glob("*.json")]
    assert records and house.calls - before == 12 * sum(record["nfe"] for record in records)
    guidance = stage.guidance is not None
    assert all(("w" in record) == guidance and record["classes"] == 10 for record in records)
    if runtime.build(frozen(leaf, *TINY)["sample"]).model.takes_w:
        by_w = {record["w"]: images(out / f"{record['sampler']}.zip") for record in records}
        assert len(by_w) == len(records) > 1
        assert by_w[min(by_w)] != by_w[max(by_w)]


LISTED = {method for several in PARAMS["students"].values() for method in several}
UNLISTED = sorted(path.stem for path in (ROOT / "gin/methods").glob("*.gin") if path.stem not in LISTED)


@pytest.mark.parametrize("leaf", UNLISTED)
def test_a_method_in_no_list_is_trained_by_hand(house: House, leaf: str) -> None:
    """As docs/methods.md says."""
    assert card(house.student(leaf))["images"] == 40


def images(archive: Path) -> list[bytes]:
    with ZipFile(archive) as file:
        return [file.read(name) for name in sorted(file.namelist())]


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_stopped_distillation_resumes_to_the_same_result(
    house: House, monkeypatch: pytest.MonkeyPatch, leaf: str
) -> None:
    """Bit for bit: the result, and model, average, optimizer and self-teacher after the last step."""
    house.student(leaf)
    seen_at: list[int] = []
    loss = Distilling.loss

    def asked(self: Distilling, model: Any, portion: Portion, **rest: Any) -> Any:
        seen_at.append(portion.seen)
        if len(seen_at) == 2:
            ask()
        return loss(self, model, portion, **rest)

    monkeypatch.setattr(Distilling, "loss", asked)
    command = house.command(leaf, f"models/again-{leaf}")
    stopped = verb(*command)
    assert isinstance(stopped.exception, Stopped) and not Path(f"models/again-{leaf}").exists()
    done(*command)
    assert seen_at == [0, 16, 32]
    weights = [Path(f"models/{name}/weights.safetensors").read_bytes() for name in (leaf, f"again-{leaf}")]
    assert weights[0] == weights[1]
    state = last_state()
    assert state.keys() >= {"model.safetensors", "average.safetensors", "optimizer.safetensors"}
    assert ("self_teacher.safetensors" in state) == (house.stage(leaf).method.self_teaching is not None)
    assert [name for name in state if state[name] != house.states[leaf][name]] == []


GIFTS = [(), ("--data",), ("--pairs",), ("--data", "--pairs")]


@pytest.mark.parametrize(
    ("start", "given"), [(start, given) for start in Start for given in GIFTS if given != tuple(GIVEN[start])]
)
def test_an_input_that_a_method_does_not_start_from_is_refused_and_a_missing_one_is_named(
    house: House, start: Start, given: tuple[str, ...]
) -> None:
    for leaf in (leaf for leaf in LEAVES if house.stage(leaf).method.starts_from is start):
        refused(house, leaf, start, given)


def refused(house: House, leaf: str, start: Start, given: tuple[str, ...]) -> None:
    folders = [part for option in given for part in (option, f"{option[2:]}/suite")]
    command = ["distil", f"{SUITE}/{leaf}", "--teacher", "models/none", "--out", "models/refused", *folders]
    fault = verb(*command).exception
    name = type(house.stage(leaf).method).__name__
    assert isinstance(fault, ConfigurationFault) and fault.exit_code == 2
    assert str(fault).startswith((f"{name} starts from {start.value}, got -", f"{name} does not start from "))
    assert len(str(fault).splitlines()) == 1 and not Path("models/refused").exists()


def test_that_refusal_is_one_line_and_code_2(house: House) -> None:
    leaf = next(leaf for leaf in LEAVES if house.stage(leaf).method.starts_from is Start.IMAGES)
    said = boot_exp("distil", f"{SUITE}/{leaf}", "--teacher", "models/teacher", "--out", "models/refused")
    assert said.returncode == 2 and len(said.stderr.strip().splitlines()) == 1, said.stderr
    assert "starts from images, got --data none; give the folder that the stage wrote" in said.stderr


def test_a_method_of_noise_opens_no_data(house: House) -> None:
    """In a process where readers refuse to be imported and data to be opened, which a method of images runs into."""
    kinds = {leaf: house.stage(leaf).method.starts_from for leaf in LEAVES if leaf not in AFTER}
    free = [leaf for leaf, start in kinds.items() if start is Start.NOISE]
    bound = next(leaf for leaf, start in kinds.items() if start is Start.IMAGES)
    run = NO_DATA.replace("/data/digits/", "/data/suite/") + (
        "import json\nfrom boot_exp.__main__ import app\n"
        "for arguments in json.loads(sys.argv[1]): app(arguments, standalone_mode=False)"
    )
    commands = [house.command(leaf, f"models/free-{leaf}") for leaf in [*free, bound]]
    guarded = subprocess.run([sys.executable, "-c", run, json.dumps(commands)], capture_output=True, text=True)
    shutil.rmtree(".work", ignore_errors=True)
    assert "AssertionError: the distil stage imported boot_exp.data" in guarded.stderr, guarded.stderr
    made = [house.student(leaf) / "weights.safetensors" for leaf in free]
    assert all(path.read_bytes() == Path(f"models/free-{path.parent.name}/{path.name}").read_bytes() for path in made)
    assert not Path(f"models/free-{bound}").exists()


# The budget.


def calls(stages: dict[str, Frozen]) -> tuple[int, Start]:
    """Network calls of a leaf's whole training, and what it starts from."""
    stage = runtime.build(stages["distil"])
    batch, images = stage.training.batch, stage.training.images
    teacher = (stage.teacher if stage.guidance is None else taking_w(stage.teacher)).evaluations
    batches = [batch] * (images // batch) + [images % batch] * (images % batch > 0)
    return sum(stage.method.evaluations(size, teacher) for size in batches), stage.method.starts_from


@pytest.mark.parametrize("suite", COMPARED)
def test_all_lineages_have_the_same_budget(house: House, suite: str) -> None:
    """Network calls of a last student, of all those that it learnt from, and of the pairs, within 2%."""
    faults = Faults()
    made = suite_of(PARAMS, suite, faults, planned_images(), seeds=1)
    faults.raise_if_any()
    compiled = {run.name: stages for run, stages in made.runs}
    with torch.device("meta"):
        stage = runtime.build(compiled.pop("teacher")["pairs"])
        model = stage.teacher if stage.sampler.w is None else taking_w(stage.teacher)
        stored = stage.n * stage.sampler.nfe * model.evaluations
        spent = {name: calls(stages) for name, stages in compiled.items()}
    after = {run.name: run.student.teacher for run, _ in made.runs if run.student and run.student.teacher}
    budgets = {}
    for last in compiled.keys() - set(after.values()):
        line = [last]
        while line[-1] in after:
            line.append(after[line[-1]])
        from_pairs = any(spent[name][1] is Start.PAIRS for name in line)
        budgets[last] = sum(spent[name][0] for name in line) + stored * from_pairs
    assert max(budgets.values()) <= 1.02 * min(budgets.values()), budgets
    assert max(budgets.values()) == pytest.approx(PARAMS["suites"][suite]["calls"], rel=0.02)
