"""Every leaf is built without its weights, says what it costs, and takes one step at reduced size on the CPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from boot_exp.__main__ import app
from boot_exp.config import runs, runtime
from boot_exp.config.fault_list import Faults
from boot_exp.config.params import read_params
from boot_exp.diffusion.predictions import FromEps, FromV
from boot_exp.diffusion.pure_noise import ZeroTerminalSnr
from boot_exp.diffusion.schedules import Clamped, KarrasTime, LinearTable
from boot_exp.engine.compute import Compute
from boot_exp.stages.checks import dry_run, room
from boot_exp.stages.checks.costs import costs, network_cost
from boot_exp.stages.checks.dry_run import check
from boot_exp.stages.checks.memory import Memory, images_at_once, memory_of
from boot_exp.stages.teacher import PublishedTeacher
from boot_exp.teachers.diffusers import Diffusers
from boot_exp.teachers.edm import Edm
from boot_exp.teachers.pipelines import Pipeline
from evals.ground.faults import ConfigurationFault
from tests.house import formats, pipelines
from tests.house.once import check_networks_once, count_activations_once

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
RUNS = [f"{suite}/{run.name}" for suite in PARAMS["suites"] for run in runs.suite_runs(PARAMS, suite, Faults())]


def one_of_each_method(params: Any) -> dict[tuple[str, str], str]:
    """The last run of each suite and method, and each suite's teacher."""
    return {
        (suite, run.student.method if run.student else run.name): f"{suite}/{run.name}"
        for suite in params["suites"]
        for run in runs.suite_runs(params, suite, Faults())
    }


# Suites of text-to-image models have the same students: those that take w are tried with one model.
TRIED_WITHOUT_W = ("stable_diffusion_2_1", "stable_diffusion_xl", "deepfloyd_if_m", "deepfloyd_if_2_m")
WITHOUT = {f"{suite}/boot_guided" for suite in TRIED_WITHOUT_W}
# Phases of one method differ in a number of steps: one of each method is tried. These suites have the methods of
# digits_conditional and imagenet_64, which are all tried; of the others the teacher and BOOT are, each on its network.
OTHERS = ("cifar10", "fashion_mnist_conditional", "ffhq_64")
OTHERS += ("imagenet_64_adm", "imagenet_64_edm", "lsun_bedroom_256")
TRIED = {
    leaf
    for (suite, method), leaf in one_of_each_method(PARAMS).items()
    if leaf not in WITHOUT and (suite not in OTHERS or method in ("teacher", "boot"))
}
LEAVES = sorted({*TRIED, "digits/boot_derivative"})
# A training's memory is counted layer by layer, for up to half a minute on the networks of papers. No layer knows its
# suite: of each kind of teacher one run is counted whole, and all others on the network of their reduced step, once
# for equal calls. What another microbatch takes, which `room` asks, is counted for the whole ones and in test_room.py.
COUNTED_WHOLE = ("cifar10/boot", "imagenet_64/guided_1", "imagenet_64/consistency", "emoji/boot_fixed_w")
# The steps of all others are in float32: many CPUs take up to fifty times as long in bfloat16.
IN_BFLOAT16 = ("stable_diffusion_1_5/boot_fixed_w", "deepfloyd_if_2_m/boot_fixed_w")


def stages(leaf: str, *bindings: str) -> Any:
    faults = Faults()
    ((_, found),) = runs.compiled([runs.named_run(Path(leaf))], {}, faults, list(bindings))
    faults.raise_if_any()
    return found


assert {*COUNTED_WHOLE, *IN_BFLOAT16} <= {*LEAVES}


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_dry_run_of_every_leaf(leaf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads no prompts and nothing of the hub."""

    def refused(*given: object) -> None:
        raise AssertionError("a dry run reads no encoder and no decoder")

    monkeypatch.setattr(Pipeline, "at", refused)
    monkeypatch.chdir(ROOT)
    found, before = stages(leaf), sorted(ROOT.iterdir())
    if leaf not in IN_BFLOAT16:
        monkeypatch.setattr(Compute, "reduced", {**Compute.reduced, "bfloat16": False})

    @cache
    def reduced() -> Any:
        return runtime.build(dry_run.reduced(found["distil" if "distil" in found else "teacher"]))

    def smaller(whole: Any) -> Any:
        assert type(reduced()) is type(whole)
        return replace(reduced(), training=whole.training)

    check_networks_once(monkeypatch)
    if leaf not in COUNTED_WHOLE:
        count_activations_once(monkeypatch, leaf.partition("/")[0])
        monkeypatch.setattr(
            dry_run, "memory_of", lambda stage, model: memory_of(smaller(stage), room.trained(reduced()))
        )

        def of_room(stage: Any, known: Memory) -> Iterator[str]:
            each = known.activations / images_at_once(stage)
            monkeypatch.setattr(
                room, "memory_of", lambda other, model: replace(known, activations=each * images_at_once(other))
            )
            return room.room(smaller(stage), known)

        monkeypatch.setattr(dry_run, "room", of_room)
    lines = list(check(found))
    assert lines[0].startswith("network: ") and "GFLOP a call" in lines[0]
    assert lines[-1].endswith("on the CPU, passed"), lines
    assert any(line.startswith(("training: ", "weights: from ")) for line in lines)
    held = {line.split()[0]: line.split()[1] for line in lines if line.startswith("  ")}
    trained = any(line.startswith("training: ") for line in lines)
    assert trained == ({"weights", "gradients", "optimizer", "averages", "activations", "in"} <= {*held}), lines
    assert not trained or "teacher" in held or leaf.endswith("/teacher")
    assert sorted(ROOT.iterdir()) == before, "a dry run leaves nothing"


def test_the_networks_of_the_papers_have_the_parameters_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """EDM's DDPM++ has 56 million (arXiv 2206.00364, table 7) and ADM at 64x64 296 million (arXiv 2105.05233)."""
    monkeypatch.chdir(ROOT)
    for suite, low, high in (("cifar10", 55.5e6, 56.5e6), ("imagenet_64_edm", 295.5e6, 296.5e6)):
        line = next(iter(check(stages(f"{suite}/boot"))))
        assert low < int(line.split()[1].replace(",", "")) < high


def test_what_drawing_costs_is_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a published teacher: its baselines, its pairs and its verification; of a teacher told w, two calls each."""
    monkeypatch.chdir(ROOT)
    network, *lines = check(stages("cifar10/teacher"))
    said = {line.split(":")[0]: float(line.split(", ")[-1].split()[0]) for line in lines[1:-1]}
    call = float(network.split(", ")[-1].split()[0]) * 1e9
    baselines = 2 * (1 + 2 + 4 + 8 + 10 + 16 + 32 + 50) + 2 * (1 + 2 + 4 + 5 + 8 + 16 + 25)
    wanted = {"sample": baselines * 150_000, "pairs": 10 * 1_000_000, "verify_teacher": 35 * 150_000}
    assert said == pytest.approx({name: calls * call for name, calls in wanted.items()}, rel=5e-3)
    leaf = "digits_conditional/teacher"
    swept = ["Sample.n = 1000", "ddim/samplers.Sweep.steps = (3,)", "heun/samplers.Sweep.steps = (1,)"]
    swept += ["dpm/samplers.Sweep.steps = (1,)", "GuidanceSweep.w = (2,)"]
    network, *lines = check(stages(leaf, *swept))
    (sampled,) = (line for line in lines if line.startswith("sample: "))
    call = float(network.split(", ")[-1].split()[0]) * 1e9
    guided = 2 * (4 + 16)
    assert float(sampled.split(", ")[-1].split()[0]) == pytest.approx((3 + 2 + 1 + guided) * 1000 * call, rel=5e-3)


def test_what_a_suite_costs_is_a_table_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each training and each way to draw; a published teacher is not trained, and verified."""
    monkeypatch.chdir(ROOT)
    check_networks_once(monkeypatch)
    result = CliRunner().invoke(app, ["check", "--all", "cifar10"])
    assert result.exit_code == 0, repr(result.exception)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.output.splitlines()[2:]]
    by_run = {(run, stage): (images, calls) for run, stage, images, calls, *_ in rows}
    assert by_run["teacher", "verify_teacher"] == ("150,000", "5,250,000") and ("teacher", "teacher") not in by_run
    assert by_run["teacher", "pairs"] == ("1,000,000", "10,000,000")
    assert by_run["direct", "distil"] == ("390,000,000", "390,000,000")
    assert by_run["tract_1", "distil"] == ("66,667,000", "200,001,000")
    assert {f"cifar10/{run}" for run, _ in by_run} == {run for run in RUNS if run.startswith("cifar10/")}


def test_networks_are_made_small_and_none_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run's step; of diffusers it is the configuration that shrinks."""
    monkeypatch.chdir(ROOT)
    leaf = "cifar10/teacher"
    small = list(check(stages(leaf, "edm.Edm.img_resolution = 16", "edm.Edm.attn_resolutions = (8,)")))[-1]
    assert "(3x16x16, " in small
    config = {"sample_size": 256, "block_out_channels": [128, 128, 256], "layers_per_block": 2, "norm_num_groups": 32}
    config |= {"down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"], "attention_head_dim": 64}
    config |= {"up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "in_channels": 3, "out_channels": 3}
    with torch.device("meta"):
        whole = Diffusers(schedule=LinearTable(), config=config, prediction=FromEps())
    reduce: Any = Diffusers.reduced["config"]
    few = Diffusers(schedule=LinearTable(), config=reduce(config), prediction=FromEps())
    assert whole.shape == (3, 256, 256) and few.shape == (3, 32, 32)
    parameters = [sum(p.numel() for p in teacher.net.parameters()) for teacher in (whole, few)]
    assert parameters[1] < 1e6 < parameters[0]
    with torch.no_grad():
        assert few(torch.randn(2, 3, 32, 32), torch.tensor([0.2, 0.9]).double()).isfinite().all()


def test_operations_are_those_of_a_network_counted_by_hand() -> None:
    class Two(torch.nn.Module):
        """A 1x1 convolution of 2 to 3 channels."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(2, 3, 1, bias=False)

        def forward(self, x: torch.Tensor, t: torch.Tensor, label: None, w: None) -> torch.Tensor:
            return self.layer(x)

    class Model:
        net, classes, takes_w = None, None, False

    model: Any = Model()
    with torch.device("meta"):
        model.net = Two()
        cost = network_cost(model, (2, 4, 5))
    assert (cost.parameters, cost.operations) == (6, 2 * 6 * 20)


def test_a_leaf_that_cannot_be_built_or_trained_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    leaf = "cifar10/teacher"
    with pytest.raises(ConfigurationFault, match="needs a run that trains something"):
        list(check({"data": stages(leaf)["data"]}))
    with pytest.raises(ConfigurationFault, match=r"bind Networked\.shape"):
        list(check(stages("digits/boot", "denoisers.Networked.shape = None")))
    module = "from boot_exp.methods import log_variance"
    learned = "DenoisingStudent.log_variance = @log_variance.LogVariance()"
    with pytest.raises(ConfigurationFault, match=r"a loss that is not negative, got Sid.*leave log_variance out"):
        list(check(stages("data_free/uid", module, learned)))
    result = CliRunner().invoke(app, ["check", leaf, "-b", "edm.Edm.precond = 'VPPrecond'"])
    assert isinstance(result.exception, ConfigurationFault) and "must be LinearBeta" in str(result.exception)
    assert str(result.exception).endswith("bind that"), "gin's own words are not appended"
    unbounded = ["edm.Edm.precond = 'VPPrecond'", "edm.Edm.schedule = @LinearBeta()"]
    with pytest.raises(ConfigurationFault, match=r"finite at both ends of a schedule.*bound it with Clamped"):
        list(check(stages(leaf, *unbounded)))
    assert Edm(
        schedule=KarrasTime(),
        img_resolution=8,
        model_type="SongUNet",
        model_channels=16,
        channel_mult=(1,),
        num_blocks=1,
        attn_resolutions=(),
    ).shape == (3, 8, 8)


ZERO = ("SCHEDULE = @pure_noise.ZeroTerminalSnr()", "ZeroTerminalSnr.table = @ScaledLinearTable()")


def test_a_run_from_pure_noise_takes_its_step_or_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    *_, step = check(stages("digits/boot", *ZERO))
    assert step.startswith("step: one update of Boot") and step.endswith("passed")
    with pytest.raises(ConfigurationFault, match=r"BootDerivative must have signal left .*with Clamped"):
        list(check(stages("digits/boot_derivative", *ZERO)))
    with pytest.raises(ConfigurationFault, match="FromEps must have signal left at t_max"):
        list(check(stages("digits/boot", *ZERO, "Networked.prediction = @FromEps()")))


def test_a_published_network_of_pure_noise_is_asked_at_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    zero = ZeroTerminalSnr(table=LinearTable())
    for prediction, schedule in ((FromV(), zero), (FromEps(), Clamped(schedule=zero, lam_min=-3.0, lam_max=4.0))):
        teacher: Any = formats.diffusers(schedule=schedule, prediction=prediction)
        stage = PublishedTeacher(teacher=teacher, source="none")
        assert dry_run._step(stage, stages("cifar10/teacher")["teacher"], tmp_path).endswith("passed")


def test_check_says_what_the_text_of_prompts_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 16 bits: of SD 1.5, XL (both encoders and the pooled one) and IF."""
    monkeypatch.chdir(ROOT)
    for suite, each in (("stable_diffusion_xl", 2 * (77 * 2048 + 1280)), ("deepfloyd_if_m", 2 * 77 * 4096)):
        built = stages(f"{suite}/teacher")
        with torch.device("meta"):
            teacher, prompts = (runtime.build(built[name]) for name in ("teacher", "prompts"))
        assert dry_run.text_bytes(teacher.teacher.net) == each
        line = dry_run._stored(prompts, each)
        assert f"{each:,} bytes a prompt" in line and ("63.1 GB of a disk for at most 100,000" in line) == prompts.store


@pytest.mark.parametrize(("run", "lines"), [("teacher", 1), ("boot_fixed_w", 0)])
def test_a_network_is_measured_on_as_many_tokens_as_its_encoder_reads(
    monkeypatch: pytest.MonkeyPatch, run: str, lines: int
) -> None:
    """Emoji's reads 20, not CLIP's 77; a text takes that much of the disk, and fewer tokens cost fewer operations."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(dry_run, "_step", lambda *given: "passed")
    said = [*check(stages(f"emoji/{run}"))]
    assert sum(f"prompts: their stored text takes {2 * 20 * 384:,} bytes" in line for line in said) == lines
    assert any(line.startswith(f"text: stored on a disk, {2 * 20 * 384:,} bytes") for line in said) == (not lines)
    monkeypatch.setattr(dry_run, "measure_as_encoded", lambda stage: None)
    assert operations(next(check(stages(f"emoji/{run}")))) > operations(said[0])


@pytest.mark.parametrize("run", ["teacher", "boot_fixed_w"])
def test_a_table_of_a_suite_counts_what_a_check_of_each_run_does(monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    """Of a teacher that takes text too, and on as many tokens as its encoder reads."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(dry_run, "_step", lambda *given: "passed")
    found = stages(f"emoji/{run}")
    said = [count for line in check(found) for count in re.findall(r"(\S+) FLOP: ", line)]
    (table,) = costs({run: found})
    assert re.findall(r"\| (\d\.\d\de\+\d+) \|", table) == said and len(said) == 2


def operations(line: str) -> float:
    """What a line of check says of a network's call."""
    return float(re.findall(r"([\d.]+) GFLOP", line)[0])


@pytest.mark.parametrize("kind", ["sd", "sd_zsnr", "sdxl", "if_base", "if_sr"])
def test_a_published_text_to_image_network_is_asked_with_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A dry run needs no prompts, and a call's cost counts what the text costs."""
    monkeypatch.chdir(ROOT)
    stage = PublishedTeacher(teacher=pipelines.teacher(kind), source="none")
    assert dry_run._step(stage, stages("cifar10/teacher")["teacher"], tmp_path).endswith("passed")
    with torch.device("meta"):
        whole = pipelines.teacher(kind)
        cost = network_cost(whole, whole.shape)
    assert cost.parameters > 500_000 and cost.operations > 2 * cost.parameters
