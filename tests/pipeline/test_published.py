"""A teacher of others and a data set in its usual shape, from their files to a leaderboard, on files made here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from boot_exp.__main__ import app
from boot_exp.stages.sample import Sample
from evals.__main__ import app as evals_app
from evals.ground.faults import ConfigurationFault, DataFault, MissingResource, StateFault
from evals.scores import protocols
from tests.house import formats, made_data, made_teachers
from tests.house.made_inception import write_inception
from tests.house.pipeline import commands, copied, ran
from tests.house.pooled import Pooled, pooled_in
from tests.house.stages import boot_exp

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.slow
N, SIDE = 9, 16
HEAD = "from __gin__ import dynamic_registration\n"


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Random weights of torch-fidelity's Inception, and their hash."""
    path = write_inception(tmp_path_factory.mktemp("weights") / "random.pth")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocols score by the means of an image's parts. Of Inception's 2048 features each score takes seconds."""
    monkeypatch.setattr(protocols, "TorchFidelityInception", Pooled)


def openai(kind: str, module: str) -> tuple[str, Callable[[Path], None], str]:
    arguments = {k: v for k, v in made_teachers.OPENAI["adm"].items() if kind == "GuidedDiffusion" or "order" not in k}
    schedule = "LinearTable" if kind == "GuidedDiffusion" else "KarrasTime"
    text = (
        f"from boot_exp.diffusion import schedules\nfrom boot_exp.teachers import {module}\n"
        f"TEACHER = @{module}.{kind}()\n"
    )
    text += f"{module}.{kind}.schedule = @schedules.{schedule}()\n"
    text += "".join(f"{module}.{kind}.{key} = {value!r}\n" for key, value in arguments.items())
    flat = kind == "GuidedDiffusion"
    return text, lambda path: made_teachers.write_openai(path, arguments, flat_attention=flat), "net.pt"


def edm(name: str) -> tuple[str, Callable[[Path], None], str]:
    text = "from boot_exp.diffusion import schedules\nfrom boot_exp.teachers import edm\nTEACHER = @edm.Edm()\n"
    text += "edm.Edm.schedule = @schedules.KarrasTime()\n"
    text += "".join(f"edm.Edm.{key} = {value!r}\n" for key, value in made_teachers.EDM[name].items())
    return text, lambda path: made_teachers.write_edm(path, made_teachers.EDM[name]), "net.pkl"


def diffusers() -> tuple[str, Callable[[Path], None], str]:
    text = (
        "from boot_exp.diffusion import predictions\nfrom boot_exp.diffusion import schedules\n"
        "from boot_exp.teachers import diffusers\n"
    )
    text += "TEACHER = @diffusers.Diffusers()\ndiffusers.Diffusers.schedule = @schedules.LinearTable()\n"
    text += "diffusers.Diffusers.prediction = @predictions.FromEps()\n"
    config = {**formats.CONFIG, "num_class_embeds": 5}
    return text + f"diffusers.Diffusers.config = {config!r}\n", formats.write_diffusers, "net"


TEACHERS = {
    "guided_diffusion": openai("GuidedDiffusion", "guided_diffusion"),
    "consistency_models": openai("ConsistencyModels", "consistency_models"),
    "edm ddpm++": edm("ddpmpp"),
    "edm ncsn++": edm("ncsnpp"),
    "diffusers": diffusers(),
}


def images() -> np.ndarray:
    return made_data.noise(N, SIDE, SIDE, 3)


def folder(path: Path) -> str:
    made_data.write_pngs(path, [f"{i % 5}/{i}.png" for i in range(N)], list(images()))
    return (
        "from boot_exp.data import image_files\ndata.Data.dataset = @image_files.ImageFiles()\n"
        f"image_files.ImageFiles.path = '{path}'\n"
    )


def edm_zip(path: Path) -> str:
    names = [f"00000/img{i:08d}.png" for i in range(N)]
    made_data.write_pngs(path, names, list(images()))
    (path / "dataset.json").write_text(json.dumps({"labels": [[name, i % 5] for i, name in enumerate(names)]}))
    return (
        "from boot_exp.data import image_files\ndata.Data.dataset = @image_files.ImageFiles()\n"
        f"image_files.ImageFiles.path = '{made_data.zipped(path)}'\n"
    )


def npz(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), images(), np.arange(N) % 5)
    return (
        f"from boot_exp.data import npz\ndata.Data.dataset = @npz.Npz()\nnpz.Npz.path = '{path.with_suffix('.npz')}'\n"
    )


def lmdb(path: Path) -> str:
    wide = made_data.noise(N, 20, 26, 3)
    made_data.write_lmdb(path, list(wide))
    return (
        "from boot_exp.data import lmdb\nfrom boot_exp.data import transforms\n"
        f"data.Data.dataset = @lmdb.Lmdb()\nlmdb.Lmdb.path = '{path}'\n"
        f"data.Data.transforms = [@transforms.CentreCropResize()]\ntransforms.CentreCropResize.size = {SIDE}\n"
    )


DATA = {"folder": folder, "EDM's zip": edm_zip, "npz": npz, "lmdb": lmdb}


def verb(*arguments: str) -> None:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=True)
    assert result.exit_code == 0, result.output + repr(result.exception)


PAIRS = [
    ("guided_diffusion", "folder"),
    ("consistency_models", "npz"),
    ("edm ddpm++", "lmdb"),
    ("edm ncsn++", "EDM's zip"),
    ("diffusers", "folder"),
]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gin/suites/made").mkdir(parents=True)
    for name in ("kinds", "parts", "methods"):
        (tmp_path / "gin" / name).symlink_to(ROOT / "gin" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def written(house: Path, teacher: str, data: str, inception: tuple[Path, str]) -> Path:
    """A suite, and a file of its reference; where its files are."""
    leaves, (network, write, name) = house / "gin/suites/made", TEACHERS[teacher]
    write(house / name)
    path, sha256 = inception
    (leaves / "network.gin").write_text(HEAD + network)
    common = f"protocols.Standard.name = 'edm-50k'\nprotocols.Standard.weights = '{path}'\n"
    common += (
        f"protocols.Standard.weights_sha256 = '{sha256}'\nprotocols.Standard.device = 'cpu'\nsample.Sample.n = 6\n"
    )
    imports = (
        "from boot_exp.diffusion import samplers\nfrom boot_exp.stages import data\n"
        "from boot_exp.stages import evaluate\n"
    )
    imports += "from boot_exp.stages import reference\nfrom boot_exp.stages import sample\n"
    imports += "from boot_exp.stages import teacher\n"
    imports += "from boot_exp.stages import verify_teacher\nfrom evals.scores import protocols\n"
    (leaves / "teacher.gin").write_text(
        HEAD
        + "include 'gin/kinds/published.gin'\ninclude 'gin/parts/verify.gin'\n"
        + "include 'gin/suites/made/network.gin'\n"
        + imports
        + f"teacher.PublishedTeacher.source = '{name}'\n"
        + "reference.PublishedReference.source = 'statistics.npz'\n"
        + "reference.PublishedReference.name = 'made, by others'\n"
        + "reference.PublishedReference.split = 'train'\n"
        + "evaluate.Evaluate.protocol = @protocols.Standard()\n"
        + common
        + "ddim/samplers.Sweep.steps = (2,)\nheun/samplers.Sweep.steps = (1,)\ndpm/samplers.Sweep.steps = (2,)\n"
        + "samplers.EdmSampler.steps = 2\n"
        + "verify_teacher.VerifyTeacher.fid = 1.5\nverify_teacher.VerifyTeacher.nfe = 35\n"
        + "verify_teacher.VerifyTeacher.source = 'made up'\n"
        + DATA[data](house / "images")
    )
    (leaves / "computed.gin").write_text(
        HEAD
        + "from boot_exp.stages import reference\nfrom evals.scores import protocols\n"
        + "reference.InceptionReference.protocol = @protocols.Standard()\n"
        + common.replace("sample.Sample.n = 6\n", "")
    )
    (leaves / "student.gin").write_text(
        HEAD
        + "include 'gin/suites/made/network.gin'\n"
        + "from boot_exp.engine import averages\nfrom boot_exp.stages import evaluate\n"
        + "from boot_exp.stages import sample\nfrom boot_exp.engine import loop\n"
        + "from boot_exp.engine import rates\nfrom evals.scores import protocols\n"
        + "loop.Training.images = 8\nloop.Training.batch = 4\n"
        + "rates.CosineRate.peak = 1e-4\naverages.Ema.half_life = 100\n"
        + "evaluate.Evaluate.protocol = @protocols.Standard()\n"
        + common
    )
    return leaves


@pytest.mark.parametrize(("teacher", "data"), PAIRS)
def test_from_the_files_of_others_to_a_leaderboard(
    house: Path, inception: tuple[Path, str], request: pytest.FixtureRequest, teacher: str, data: str
) -> None:
    """Data, reference, teacher, verification, baselines, BOOT, its samples and scores, and what ranks them."""
    if (teacher, data) != PAIRS[0]:
        request.getfixturevalue("pooled")  # no score knows where images are from: one teacher's are Inception's
    leaves = written(house, teacher, data, inception)
    tea, boot = "made/teacher", "made/boot"
    verb("data", tea, "--out", "data/made")
    verb("reference", str(leaves / "computed.gin"), "--data", "data/made", "--out", "computed")
    Path("computed/statistics.npz").rename("statistics.npz")
    verb("reference", tea, "--out", "reference/made")
    verb("teacher", tea, "--data", "data/made", "--out", "models/made/teacher")
    said = CliRunner().invoke(app, ["verify-teacher", tea, "--out", "verified"])
    assert said.exit_code == 0, said.output + repr(said.exception)
    assert "reported: FID 1.5 with 35 evaluations (made up)" in said.output
    assert "measured: FID " in said.output and "n 6, protocol edm, n 6, reference made, by others" in said.output
    verb("sample", tea, "--model", "models/made/teacher", "--out", "samples/made/teacher")
    verb("distil", boot, "--teacher", "models/made/teacher", "--out", "models/made/boot")
    verb("sample", boot, "--model", "models/made/boot", "--out", "samples/made/boot")
    for leaf, name in ((tea, "teacher"), (boot, "boot")):
        places = ["--samples", f"samples/made/{name}", "--reference", "reference/made"]
        verb("evaluate", leaf, *places, "--out", f"scores/{name}.json")
    folders = ["--scores", "scores", "--models", "models/made", "--samples", "samples/made", "--out", "results"]
    ranked = CliRunner().invoke(evals_app, ["leaderboard", *folders, "--method", "teacher", "--method", "boot"])
    assert ranked.exit_code == 0, ranked.output + repr(ranked.exception)
    rows = json.loads(Path("results/leaderboard.json").read_text())
    assert {(row["method"], row["sampler"]) for row in rows} == {
        *(("teacher", sampler) for sampler in ("ddim-2", "heun-1", "dpmpp2m-2")),
        ("boot", "one-jump"),
    }
    assert {row["card"]["protocol"] for row in rows} == {"edm, n 6"}
    assert {row["card"]["reference"] for row in rows} == {"made, by others"}
    card = json.loads(Path("models/made/teacher/card.json").read_text())
    assert card["source"].startswith("net") and len(card["inputs"]["checkpoint"]) == 64
    assert "<svg" in Path("results/report.html").read_text()


def test_a_published_teacher_that_is_not_as_configured_is_refused(house: Path, inception: tuple[Path, str]) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    cases: list[tuple[list[str], type[Exception], str]] = [
        (["teacher.PublishedTeacher.sha256 = '" + "0" * 64 + "'"], StateFault, "must have the SHA-256 0000"),
        (["teacher.PublishedTeacher.source = 'nowhere.pkl'"], MissingResource, "got nowhere.pkl, which is not there"),
        (["teacher.PublishedTeacher.source = 'https://example.org/x.pkl'"], ConfigurationFault, "must have a hash"),
        (["edm.Edm.num_blocks = 2"], StateFault, "num_blocks = 1"),
    ]
    for bindings, kind, words in cases:
        options = [part for binding in bindings for part in ("--bind", binding)]
        result = CliRunner().invoke(app, ["teacher", leaf, "--out", "models/made/teacher", *options])
        assert isinstance(result.exception, kind) and words in str(result.exception), repr(result.exception)
        assert not Path("models").exists()
    verb("data", leaf, "--out", "data/made")
    other = ["--bind", "edm.Edm.img_resolution = 32", "--data", "data/made"]
    result = CliRunner().invoke(app, ["teacher", leaf, "--out", "models/made/teacher", *other])
    assert isinstance(result.exception, ConfigurationFault) and "must be those of data/made" in str(result.exception)
    result = CliRunner().invoke(app, ["reference", leaf, "--out", "reference/made"])
    assert isinstance(result.exception, MissingResource) and "statistics.npz" in str(result.exception)


@pytest.mark.parametrize("lacking", ["net.pkl", "statistics.npz", "weights/none.pth"])
def test_each_missing_file_of_a_verification_is_named_before_a_sample_is_drawn(
    house: Path, inception: tuple[Path, str], lacking: str
) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    np.savez(house / "statistics.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    bound = []
    if lacking.startswith("weights"):
        bound = ["--bind", f"protocols.Standard.weights = '{lacking}'"]
    else:
        (house / lacking).unlink()
    result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", *bound])
    assert isinstance(result.exception, MissingResource) and f"got {lacking}, which is not" in str(result.exception)
    assert not Path("verified").exists()


def test_all_missing_files_of_a_verification_are_named_before_a_sample_is_drawn(
    house: Path, inception: tuple[Path, str]
) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    lacking = [
        "teacher.PublishedTeacher.source = 'weights/mine.pkl'",
        "protocols.Standard.weights = 'weights/none.pth'",
    ]
    lacking += ["teacher.PublishedTeacher.url = 'https://example.org/mine.pkl'"]
    options = [part for binding in lacking for part in ("--bind", binding)]
    result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", *options])
    assert isinstance(result.exception, MissingResource) and not Path("verified").exists()
    said = str(result.exception)
    assert "got weights/mine.pkl, which is not there; fetch https://example.org/mine.pkl to that place; also " in said
    assert "got statistics.npz, which is not there; fetch it to that place; also Inception's weights must be" in said
    assert "got weights/none.pth, which is not there; fetch https://github.com/toshas" in said


def test_a_verification_is_of_the_file_that_is_named_and_keeps_what_is_of_it(
    house: Path, inception: tuple[Path, str], pooled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another checkpoint in the same folder, or another schedule, is verified anew; the same again draws nothing."""
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    np.savez(house / "statistics.npz", mu=np.zeros(Pooled.dimensions), sigma=np.eye(Pooled.dimensions))
    with monkeypatch.context() as patch:
        patch.setattr(made_teachers, "made", lambda name, shape, made=made_teachers.made: 0.5 * made(name, shape))
        made_teachers.write_edm(house / "other.pkl", made_teachers.EDM["ddpmpp"])
    drawn: list[str] = []
    draw = Sample.run
    monkeypatch.setattr(Sample, "run", lambda self, place, *, model: (drawn.append(""), draw(self, place, model=model)))
    said = []
    narrow = ["--bind", "schedules.KarrasTime.sigma_max = 40.0"]
    for source, more in (("net.pkl", []), ("net.pkl", []), ("other.pkl", []), ("other.pkl", narrow)):
        bound = ["--bind", f"teacher.PublishedTeacher.source = '{source}'", *more]
        result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", *bound])
        assert result.exit_code == 0, result.output + repr(result.exception)
        said.append(json.loads(Path("verified/verified.json").read_text())["measured"][0]["fid"])
    first, again, *changed = said
    assert first == again and len({first, *changed}) == 3 and len(drawn) == 3


def test_statistics_of_other_features_are_refused_before_a_sample_is_drawn(
    house: Path, inception: tuple[Path, str]
) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    np.savez(house / "statistics.npz", mu=np.zeros(64), sigma=np.eye(64))
    result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified"])
    assert isinstance(result.exception, DataFault) and not Path("verified/samples").exists()
    assert "must be of the 2048 features of edm-50k, got those of 64" in str(result.exception)


def test_a_teacher_is_verified_against_a_reference_of_ones_own(
    house: Path, inception: tuple[Path, str], pooled: None
) -> None:
    leaves = written(house, "edm ddpm++", "folder", inception)
    leaf, none = "made/teacher", ["--bind", "verify_teacher.VerifyTeacher.reference = None"]
    verb("data", leaf, "--out", "data/made")
    verb("reference", str(leaves / "computed.gin"), "--data", "data/made", "--out", "computed")
    result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", *none])
    assert isinstance(result.exception, ConfigurationFault) and "got none; give --reference" in str(result.exception)
    both = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", "--reference", "computed"])
    assert isinstance(both.exception, ConfigurationFault) and "beside the leaf's;" in str(both.exception)
    result = CliRunner().invoke(app, ["verify-teacher", leaf, "--out", "verified", "--reference", "computed", *none])
    assert result.exit_code == 0 and "reference images" in result.output, result.output + repr(result.exception)


def test_several_processes_verify_a_teacher_as_one(house: Path, inception: tuple[Path, str]) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    np.savez(house / "statistics.npz", mu=np.zeros(Pooled.dimensions), sigma=np.eye(Pooled.dimensions))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command = [*launcher, "tests.house.pooled", "verify-teacher", leaf, "--out", "verified"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("reported: FID 1.5") == done.stdout.count("measured: ") == 1


def test_of_several_processes_one_imports_a_teacher(
    house: Path, inception: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(house, "edm ddpm++", "folder", inception)
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for index in ("1", "0"):
        for name, value in {**told, "RANK": index, "LOCAL_RANK": index}.items():
            monkeypatch.setenv(name, value)
        done = boot_exp("teacher", "made/teacher", "--out", "models/made/teacher")
        assert done.returncode == 0 and done.stderr.count("has the SHA-256") == (index == "0"), done.stderr
        assert Path("models/made/teacher").exists() == (index == "0")


def test_images_without_the_teachers_labels_are_refused(house: Path, inception: tuple[Path, str]) -> None:
    pytest.importorskip("boot_exp.methods.consistency")
    leaves = written(house, "edm ncsn++", "npz", inception)
    leaf = "made/teacher"
    with (leaves / "student.gin").open("a") as file:
        file.write("from boot_exp.methods import students\nconsistency/students.ConsistencyStudent.sigma_data = 0.5\n")
    verb("teacher", leaf, "--out", "models/made/teacher")
    for labels, said in ((None, "got no labels"), (np.arange(N) % 3, "got 3"), (np.arange(N), f"got {N}")):
        arrays = {"arr_0": images(), **({} if labels is None else {"arr_1": labels})}
        np.savez(house / "images.npz", **arrays)
        verb("data", leaf, "--out", "data/made")
        given = ["--teacher", "models/made/teacher", "--data", "data/made", "--out", "models/made/consistency"]
        result = CliRunner().invoke(app, ["distil", "made/consistency", *given])
        assert isinstance(result.exception, DataFault), repr(result.exception)
        assert "must hold images of the teacher's 5 classes" in str(result.exception) and said in str(result.exception)


def test_a_checkpoint_that_was_not_imported_is_no_teacher(house: Path, inception: tuple[Path, str]) -> None:
    written(house, "edm ddpm++", "folder", inception)
    result = CliRunner().invoke(app, ["distil", "made/boot", "--teacher", "net.pkl", "--out", "models/boot"])
    assert isinstance(result.exception, StateFault)
    assert "net.pkl must be a folder that a stage wrote, got a file; a checkpoint of others becomes one" in str(
        result.exception
    )


def test_the_hash_of_an_imported_file_is_said_until_it_is_bound(house: Path, inception: tuple[Path, str]) -> None:
    written(house, "edm ddpm++", "folder", inception)
    leaf = "made/teacher"
    sha256 = hashlib.sha256(Path("net.pkl").read_bytes()).hexdigest()
    for bound, said in ([], True), (["--bind", f"teacher.PublishedTeacher.sha256 = '{sha256}'"], False):
        result = CliRunner().invoke(app, ["teacher", leaf, "--out", "models/made/teacher", *bound])
        assert result.exit_code == 0 and (f"net.pkl has the SHA-256 {sha256}; bind" in result.output) == said


def test_guidance_of_a_teacher_that_was_always_given_labels_is_refused(
    house: Path, inception: tuple[Path, str]
) -> None:
    written(house, "edm ncsn++", "folder", inception)
    verb("teacher", "made/teacher", "--out", "models/made/teacher")
    arguments = ["distil", "made/boot_w2", "--teacher", "models/made/teacher", "--out", "models/made/boot"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigurationFault)
    assert "must have been trained without labels as well" in str(result.exception)


def with_one_baseline(file: Path) -> None:
    """Leaves a teacher's DDIM only; a score in Inception's features takes seconds."""
    lines = [line for line in file.read_text().splitlines() if not re.search("heun/|dpm/|Heun", line) or "[" in line]
    more = ", @heun/samplers.Sweep(), @dpm/samplers.Sweep()]"
    file.write_text("\n".join(lines).replace(more, "]") + "\n")


def test_on_dvc_what_starts_from_noise_or_pairs_needs_no_data(
    tmp_path_factory: pytest.TempPathFactory, warm: Path, inception: tuple[Path, str]
) -> None:
    """A comparison on a published teacher, tiny: nothing that is run has a data set, and the table is there."""
    pytest.importorskip("boot_exp.methods.direct")
    house = copied(tmp_path_factory.mktemp("house"), warm)
    pooled_in(house.path)
    (house.path / "gin/suites/made").mkdir()
    leaves = written(house.path, "edm ddpm++", "folder", inception)
    statistics = house.path / "statistics.npz"
    np.savez(statistics, mu=np.zeros(Pooled.dimensions), sigma=np.eye(Pooled.dimensions))
    with_one_baseline(house.path / "gin/kinds/published.gin")
    with_one_baseline(leaves / "teacher.gin")
    teacher = (leaves / "teacher.gin").read_text()
    (leaves / "teacher.gin").write_text(
        teacher.replace("include 'gin/kinds", "include 'gin/parts/pairs.gin'\ninclude 'gin/kinds")
        + "from boot_exp.stages import pairs\npairs.Pairs.n = 8\npairs/samplers.Along.steps = 1\n"
    )
    student = leaves / "student.gin"
    student.write_text(student.read_text().replace("loop.Training.images = 8\n", ""))  # the plan says how many
    (leaves / "computed.gin").unlink()
    yaml = YAML()
    params = yaml.load(house.path / "params.yaml")
    params["students"]["free"] = {"boot": None, "direct": None}
    suite = {"students": ["free"], "seeds": [0], "calls": 64}
    params["suites"] = {"digits": params["suites"]["digits"], "made": suite}
    params["profiled"] = ["digits"]
    yaml.dump(params, house.path / "params.yaml")
    house.run("boot-exp", "plan")
    done = ran(house.run("dvc", "repro", "comparison@made"))
    assert done == {
        *(f"{stage}@made" for stage in ("published_reference", "published_teacher", "pairs", "comparison")),
        *(f"{stage}@made-teacher" for stage in ("sample", "evaluate")),
        *(f"{stage}@made-{name}-0" for name in ("boot", "direct") for stage in ("distil", "sample", "evaluate")),
    }
    assert not (house.path / "data").exists()
    made = json.loads((house.path / "results/made/comparison.json").read_text())
    assert {row["folder"] for row in made["rows"]} == {"teacher", "boot", "direct"}
    assert not any(method["cost"] and method["cost"]["data_needed"] for method in made["methods"])


REDUCED = """
edm.Edm.model_channels = 16
edm.Edm.img_resolution = 16
edm.Edm.num_blocks = 1
edm.Edm.attn_resolutions = (8,)
Sample.n = 6
ddim/samplers.Sweep.steps = (2,)
Training.images = 8
Training.batch = 4
Training.microbatch = None
Standard.device = 'cpu'
"""


def test_the_page_on_a_checkpoint_of_ones_own_does_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, warm: Path, inception: tuple[Path, str]
) -> None:
    """Its leaves as they stand, its commands in their order, on a network and images made here."""
    house = copied(tmp_path_factory.mktemp("house"), warm)
    pooled_in(house.path)
    with_one_baseline(house.path / "gin/kinds/published.gin")
    page = (ROOT / "docs/teachers.md").read_text()
    for block in re.findall(r"^```gin\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        leaf = house.path / block.splitlines()[0].removeprefix("# ")
        leaf.parent.mkdir(exist_ok=True)
        leaf.write_text(block)
    weights, sha256 = inception
    params = YAML()
    said = params.load(house.path / "params.yaml")
    said["suites"] = {"digits": said["suites"]["digits"], "mine": {"students": ["boot"], "seeds": [0]}}
    said["profiled"] = ["digits"]
    params.dump(said, house.path / "params.yaml")  # what plan reads: the overrides below are of no other suite
    said["gin"]["overrides"] = [
        *REDUCED.strip().splitlines(),
        f"Standard.weights = '{weights}'",
        f"Standard.weights_sha256 = '{sha256}'",
    ]
    arguments = {"precond": "EDMPrecond", "model_type": "SongUNet", "img_resolution": 16, "model_channels": 16}
    arguments |= {"channel_mult": (2, 2, 2), "num_blocks": 1, "attn_resolutions": (8,)}
    for folder in ("weights", "datasets"):
        (house.path / folder).mkdir()
    made_teachers.write_edm(house.path / "weights/mine.pkl", arguments)
    made_data.write_pngs(house.path / "datasets/mine", [f"{i}.png" for i in range(N)], list(images()))
    made_data.zipped(house.path / "datasets/mine").rename(house.path / "datasets/mine.zip")
    binds = " ".join(f'--bind "{line}"' for line in said["gin"]["overrides"] if "Edm" in line)
    trains = " ".join(f'--bind "{line}"' for line in said["gin"]["overrides"] if "Training" in line)
    for command in commands(page):
        more = {"data": "", "teacher": binds, "distil": f"{binds} {trains}"}.get(command.split()[1], "")
        output = house.run(f"{command} {more}", shell=True)
        if command == "boot-exp plan":
            params.dump(said, house.path / "params.yaml")
        if command.startswith("dvc"):
            stages = {"data", "reference", "teacher", "leaderboard"}
            drawn = {f"{stage}@mine-{run}" for stage in ("sample", "evaluate") for run in ("teacher", "boot-0")}
            assert ran(output) == {f"{stage}@mine" for stage in stages} | drawn | {"distil@mine-boot-0"}
        elif " data " in command:
            assert f"data/mine: {N} images of 3x16x16, no labels, SHA-256 " in output
    rows = json.loads((house.path / "results/mine/leaderboard.json").read_text())
    assert {row["method"] for row in rows} == {"teacher", "boot"}
    assert (house.path / "models/mine/boot/0/weights.safetensors").is_file()
