"""Folders of diffusers: what they say of a network is compared whole, and what cannot be read is refused by name."""

from __future__ import annotations

import inspect
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from boot_exp.diffusion.predictions import FromEps, FromV
from boot_exp.diffusion.pure_noise import ZeroTerminalSnr
from boot_exp.diffusion.schedules import (
    Clamped,
    GivenTable,
    LinearTable,
    ScaledLinearTable,
    SigmoidTable,
    SquaredCosineTable,
    Table,
)
from boot_exp.stages.teacher import PublishedTeacher
from boot_exp.teachers import schedulers
from evals.ground.faults import StateFault
from tests.house.formats import CONFIG, diffusers, write_diffusers

STEM = "diffusion_pytorch_model"


def says(path: Path, **said: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


def test_the_schedulers_of_diffusers_with_a_table_are_known_with_their_defaults_and_all_that_they_say() -> None:
    import diffusers as library

    for name in sorted(schedulers.OF_BETAS - {"DPMSolverSDEScheduler"}):  # which is there with torchsde alone
        said = {p.name: p.default for p in inspect.signature(getattr(library, name)).parameters.values()}
        ends = {"beta_start": 0.00085, "beta_end": 0.012} if name in schedulers.NARROW else {}
        ours = {**schedulers.DEFAULTS, **ends}
        assert {key: said.get(key, ours[key]) for key in ours} == ours, name
        known = {*ours, *schedulers.FIXED, *schedulers.OF_SAMPLING, "kwargs"}
        assert set(said) <= known, (name, set(said) - known)


@pytest.mark.parametrize(
    "name",
    """FlowMatchEulerDiscreteScheduler FlowMatchHeunDiscreteScheduler ScoreSdeVeScheduler ScoreSdeVpScheduler
    EDMEulerScheduler EDMDPMSolverMultistepScheduler KarrasVeScheduler VQDiffusionScheduler LCMScheduler TCDScheduler
    CMStochasticIterativeScheduler IPNDMScheduler CogVideoXDDIMScheduler UnCLIPScheduler Mystery""".split(),  # noqa: SIM905
)
def test_a_scheduler_without_a_table_of_betas_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_diffusers(tmp_path)
    says(tmp_path / "scheduler/scheduler_config.json", _class_name=name)
    with pytest.raises(StateFault, match=f"a scheduler with a table of betas .*got {name}, .*put that scheduler's"):
        diffusers().read(tmp_path)


SAYS: list[tuple[dict[str, Any], str]] = [
    ({"prediction_type": "v_prediction"}, r"prediction_type = v_prediction \(configured: epsilon\)"),
    ({"prediction_type": "flow_prediction"}, "got prediction_type flow_prediction, which is not read"),
    (
        {"rescale_betas_zero_snr": True},
        r"snr = True \(configured: False\); bind the table with ZeroTerminalSnr around it",
    ),
    ({"rescale_betas_zero_snr": "no"}, "rescale_betas_zero_snr = True or False, got no"),
    ({"timestep_type": "continuous"}, "timestep_type = discrete, got continuous"),
    ({"use_flow_sigmas": True}, "predicts a flow"),
    ({"predict_epsilon": False}, "bind FromX"),
    ({"variance_type": "learned_range"}, "predicts no variance"),
    ({"variance_type": "learned"}, "predicts no variance"),
    ({"snr_shift_scale": 3.0}, "snr_shift_scale = 3.0; leave it out"),
    ({"mystery": False}, "mystery = False; leave it out of the file if"),
    ({"beta_schedule": "laplace"}, r"got beta_schedule laplace; write its betas out.*GivenTable\.given"),
    ({"beta_schedule": ["linear"]}, "got beta_schedule"),
    ({"beta_schedule": "sigmoid"}, r"beta_schedule = sigmoid \(configured: linear\); bind its values"),
    ({"beta_start": 0.0002}, r"beta_start = 0.0002 \(configured: 0.0001\)"),
    ({"num_train_timesteps": 500}, r"num_train_timesteps = 500 \(configured: 1000\)"),
    ({"beta_end": 1.0}, "table of betas that can be used"),
    ({"beta_end": "0.02"}, "table of betas that can be used"),
    ({"trained_betas": [0.01] * 1000}, r"beta 0 = 0.01 \(configured: 0.0001\); bind GivenTable with its betas"),
    ({"trained_betas": [0.001] * 999 + [1.0]}, "bind ZeroTerminalSnr around the table from which they were rescaled"),
    ({"trained_betas": [0.1] * 999 + [1.5]}, r"got trained_betas\[999\] must lie in \(0, 1\), got 1\.5"),
    ({"trained_betas": [0.01] * 1000, "num_train_timesteps": 500}, "got 1000 and 500; write the number with which"),
    ({"trained_betas": [0.01] * 500}, "got 500 and 1000; write the number with which"),
    ({"beta_start": None}, "got beta_start must be a number, got None"),
    ({"beta_end": "0.02"}, "got beta_end must be a number, got '0.02'"),
    ({"num_train_timesteps": 999.5}, "got num_train_timesteps must be a whole number, got 999.5"),
    ({"_class_name": "EDMEulerScheduler"}, "got EDMEulerScheduler, which is not read; if"),
    ({"trained_betas": "all"}, "table of betas that can be used"),
    ({"trained_betas": []}, "table of betas that can be used"),
]


@pytest.mark.parametrize(("said", "message"), SAYS)
def test_what_a_scheduler_says_of_the_network_is_compared(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    write_diffusers(tmp_path)
    says(tmp_path / "scheduler/scheduler_config.json", **said)
    for source in (tmp_path, tmp_path / "unet"):  # a pipeline, and its network alone
        with pytest.raises(StateFault, match=message) as caught:
            diffusers().read(source)
        assert len(str(caught.value)) < 700


TABLES: list[tuple[Table, dict[str, Any]]] = [
    (
        ScaledLinearTable(beta_first=0.001, beta_last=0.01),
        {"beta_schedule": "scaled_linear", "beta_start": 0.001, "beta_end": 0.01},
    ),
    (SigmoidTable(), {"beta_schedule": "sigmoid"}),
    (SquaredCosineTable(), {"beta_schedule": "squaredcos_cap_v2", "beta_end": 0.3}),
    (GivenTable(given=[0.001, 0.002, 0.004]), {"trained_betas": [0.001, 0.002, 0.004], "num_train_timesteps": 3}),
    (GivenTable(given=LinearTable().betas().tolist()), {}),
    (LinearTable(), {"trained_betas": LinearTable().betas().float().tolist()}),
    (LinearTable(), {"num_train_timesteps": 1000.0}),
    (LinearTable(), {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "timestep_values": None}),
]


@pytest.mark.parametrize(("table", "said"), TABLES, ids=lambda value: type(value).__name__)
def test_tables_that_mean_the_same_betas_are_read_whatever_they_are_called(
    tmp_path: Path, table: Table, said: dict[str, Any]
) -> None:
    from diffusers import DDPMScheduler

    write_diffusers(tmp_path)
    path = tmp_path / "scheduler/scheduler_config.json"
    says(path, **said)
    assert diffusers(schedule=table).read(tmp_path)
    config = {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("_")}
    config["num_train_timesteps"] = int(config["num_train_timesteps"])
    theirs = DDPMScheduler.from_config(config).betas.double()
    torch.testing.assert_close(table.betas(), theirs, rtol=1e-4, atol=1e-9)


ZERO: list[tuple[Table, dict[str, Any]]] = [
    (LinearTable(), {}),
    (SquaredCosineTable(), {"beta_schedule": "squaredcos_cap_v2"}),
    (
        ScaledLinearTable(),
        {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
    (GivenTable(given=[0.001, 0.002, 0.004]), {"trained_betas": [0.001, 0.002, 0.004], "num_train_timesteps": 3}),
    (LinearTable(), {"trained_betas": LinearTable().betas().float().tolist(), "_class_name": "EulerDiscreteScheduler"}),
]


@pytest.mark.parametrize(("table", "said"), ZERO, ids=lambda value: type(value).__name__)
def test_a_table_that_diffusers_rescales_to_zero_snr_is_read_with_the_same_table_alone(
    tmp_path: Path, table: Table, said: dict[str, Any]
) -> None:
    write_diffusers(tmp_path)
    path = tmp_path / "scheduler/scheduler_config.json"
    says(path, prediction_type="v_prediction", rescale_betas_zero_snr=True, **said)
    ours = diffusers(schedule=ZeroTerminalSnr(table=table), prediction=FromV())
    assert ours.read(tmp_path)
    clamped = Clamped(schedule=ZeroTerminalSnr(table=table), lam_min=-2.5, lam_max=4.0)
    assert diffusers(schedule=clamped, prediction=FromV()).read(tmp_path)
    with pytest.raises(StateFault, match="bind the table with ZeroTerminalSnr around it"):
        diffusers(schedule=table, prediction=FromV()).read(tmp_path)
    with pytest.raises(StateFault, match=r"beta_schedule|beta \d+|num_train_timesteps"):
        other = SquaredCosineTable() if table != SquaredCosineTable() else LinearTable()
        diffusers(schedule=ZeroTerminalSnr(table=other), prediction=FromV()).read(tmp_path)
    for no in (False, None):
        says(path, rescale_betas_zero_snr=no)
        with pytest.raises(StateFault, match="bind the table without ZeroTerminalSnr around it"):
            ours.read(tmp_path)
        assert diffusers(schedule=table, prediction=FromV()).read(tmp_path)


@pytest.mark.parametrize("table", [LinearTable(), ScaledLinearTable(), SquaredCosineTable(), SigmoidTable(steps=50)])
def test_betas_that_diffusers_rescaled_before_they_were_written_are_read_with_their_table(
    tmp_path: Path, table: Table
) -> None:
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    write_diffusers(tmp_path)
    betas = rescale_zero_terminal_snr(table.betas().float()).tolist()
    assert betas[-1] == 1
    path = tmp_path / "scheduler/scheduler_config.json"
    says(path, prediction_type="v_prediction", trained_betas=betas, num_train_timesteps=len(betas))
    assert diffusers(schedule=ZeroTerminalSnr(table=table), prediction=FromV()).read(tmp_path)
    for other in (table, ZeroTerminalSnr(table=LinearTable(beta_last=0.021))):
        with pytest.raises(StateFault, match="bind ZeroTerminalSnr around the table from which they were rescaled"):
            diffusers(schedule=other, prediction=FromV()).read(tmp_path)


def test_the_scheduler_is_of_the_class_that_the_pipeline_names_as_diffusers_makes_it(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    write_diffusers(tmp_path)
    path, index = tmp_path / "scheduler/scheduler_config.json", tmp_path / "model_index.json"
    path.write_text('{"_class_name": "DDPMScheduler"}')
    pipeline = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    index.write_text(json.dumps({**pipeline, "scheduler": ["diffusers", "HeunDiscreteScheduler"]}))
    theirs = DiffusionPipeline.from_pretrained(tmp_path).scheduler
    assert (theirs.config.beta_start, theirs.config.beta_end) == (0.00085, 0.012)
    with pytest.raises(StateFault, match=r"beta_start = 0.00085 \(configured: 0.0001\)"):
        diffusers().read(tmp_path)
    assert diffusers(schedule=LinearTable(beta_first=0.00085, beta_last=0.012)).read(tmp_path)
    index.write_text(json.dumps({**pipeline, "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}))
    with pytest.raises(StateFault, match=r"got FlowMatchEulerDiscreteScheduler in its model_index\.json, which is not"):
        diffusers().read(tmp_path)
    index.write_text(json.dumps({**pipeline, "scheduler": ["diffusers", "DDPMScheduler"]}))
    path.write_text('{"_class_name": "EDMEulerScheduler"}')
    with pytest.raises(StateFault, match="got EDMEulerScheduler, which is not read"):
        diffusers().read(tmp_path)


def test_a_network_that_is_a_link_has_the_scheduler_beside_its_target(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "pipeline", prediction_type="v_prediction")
    (tmp_path / "link").symlink_to(tmp_path / "pipeline/unet")
    with pytest.raises(StateFault, match=r"prediction_type = v_prediction \(configured: epsilon\)"):
        diffusers().read(tmp_path / "link")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/unet").symlink_to(tmp_path / "pipeline/unet")
    with pytest.raises(StateFault, match="v_prediction"):
        diffusers().read(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.symlink_to("gone"), "must be a file, got a link to what is not there; fetch it again"),
        (lambda path: path.mkdir(), "must be a file, got a folder"),
        (lambda path: None, r"scheduler must hold the network's scheduler_config\.json, got none"),
    ],
)
def test_a_scheduler_that_is_not_whole_is_not_taken_for_none(tmp_path: Path, change: Any, said: str) -> None:
    write_diffusers(tmp_path)
    path = tmp_path / "scheduler/scheduler_config.json"
    path.unlink()
    change(path)
    for source in (tmp_path, tmp_path / "unet"):
        with pytest.raises(StateFault, match=said):
            diffusers().read(source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.rename(file.with_name(f"{STEM}-00001-of-00002.safetensors")), "without its index .*; fetch"),
        (
            lambda file: file.unlink() or file.symlink_to("gone"),
            "safetensors must be a file, got a link to what is not",
        ),
        (lambda file: file.unlink() or file.mkdir(), "safetensors must be a file, got a folder"),
        (
            lambda file: file.rename(file.with_name("diffusion_flax_model.msgpack")),
            "weights of Flax, which are not read",
        ),
        (
            lambda file: file.rename(file.with_name("model.onnx")),
            "weights of ONNX, which are not read; fetch those of Py",
        ),
        (lambda file: file.rename(file.with_name("openvino_model.xml")), "weights of OpenVINO, which are not read"),
        (lambda file: file.unlink(), "got neither; fetch it again"),
    ],
)
def test_what_is_in_the_place_of_weights_is_said(tmp_path: Path, change: Any, said: str) -> None:
    write_diffusers(tmp_path)
    change(tmp_path / f"unet/{STEM}.safetensors")
    with pytest.raises(StateFault, match=said):
        diffusers().read(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_answered_with_its_folder(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    with pytest.raises(StateFault, match=rf"got a file; bind {tmp_path}/unet, which"):
        diffusers().read(tmp_path / f"unet/{STEM}.safetensors")


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
def test_a_key_that_is_said_twice_is_refused(tmp_path: Path, file: str) -> None:
    write_diffusers(tmp_path)
    (tmp_path / file).write_text('{"act_fn": "gelu", "act_fn": "silu"}')
    with pytest.raises(StateFault, match="the key 'act_fn' twice in one object"):
        diffusers().read(tmp_path)


def test_an_offset_that_diffusers_has_not_is_refused(tmp_path: Path) -> None:
    write_diffusers(tmp_path, beta_schedule="squaredcos_cap_v2")
    with pytest.raises(StateFault, match=r"beta 0 = "):
        diffusers(schedule=SquaredCosineTable(offset=0.01)).read(tmp_path)


def test_a_network_without_a_scheduler_is_read_as_configured_and_says_so(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    shutil.rmtree(tmp_path / "scheduler")
    teacher = diffusers(prediction=FromV())
    teacher.read(tmp_path / "unet")
    assert (
        len(teacher.notes) == 1 and "LinearTable and FromV are as configured, and were not compared" in teacher.notes[0]
    )
    (tmp_path / "model_index.json").write_text('{"scheduler": ["diffusers", "DDPMScheduler"]}')
    with pytest.raises(StateFault, match=r"got no scheduler_config\.json"):
        teacher.read(tmp_path / "unet")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]}, r"got vqvae \(VQModel\)"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "got a UNet2DConditionModel"),
        ({"unet": ["diffusers", "UNet2DModel"], "text_encoder": ["transformers", "CLIPTextModel"]}, "got text_encoder"),
    ],
)
def test_a_pipeline_of_other_than_images_is_refused(tmp_path: Path, index: dict[str, Any], said: str) -> None:
    write_diffusers(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "LDMPipeline", **index}))
    with pytest.raises(StateFault, match=said):
        diffusers().read(tmp_path)
    good = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"], "vae": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(good))
    assert diffusers(prediction=FromEps()).read(tmp_path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mystery": 1}, r"mystery = 1 \(configured: not known\); leave mystery out of the file if it has no effect"),
        ({"mystery": 1, "freq_shift": 1}, "; bind its values, and leave mystery out of the file"),
        ({"sample_size": 32}, r"sample_size = 32 \(configured: 16\)"),
        ({"sample_size": [16, 32]}, "sample_size"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type"),
        ({"class_embed_type": "identity"}, "class_embed_type"),
        ({"num_class_embeds": 6}, "num_class_embeds"),
        ({"out_channels": 6}, "out_channels"),
        ({"center_input_sample": True}, "center_input_sample"),
        ({"freq_shift": 1}, "freq_shift"),
        ({"_class_name": "UNet2DConditionModel"}, "must be of a UNet2DModel, got UNet2DConditionModel"),
    ],
)
def test_what_a_network_says_of_itself_is_compared(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    write_diffusers(tmp_path)
    says(tmp_path / "unet/config.json", **said)
    with pytest.raises(StateFault, match=message):
        diffusers().read(tmp_path)
    says(tmp_path / "unet/config.json", **dict.fromkeys(said))


BUILT: list[tuple[dict[str, Any], str]] = [
    ({"out_channels": 6}, r"out_channels as in_channels \(3\), got 6; its second half is a variance: cut conv_out"),
    ({"out_channels": 4}, "got 4; give a network that gives what it is given"),
    ({"in_channels": 1}, "out_channels"),
    ({"time_embedding_type": "learned", "num_train_timesteps": 1000}, "time_embedding_type 'positional', got learned"),
    ({"time_embedding_type": "fourier"}, "time_embedding_type 'positional', got fourier"),
    ({"class_embed_type": "timestep"}, "class_embed_type, got timestep"),
    ({"class_embed_type": "identity"}, "class_embed_type, got identity"),
    ({"mystery": 1}, "got mystery; leave it out"),
    ({"_class_name": "UNet2DConditionModel"}, "be of a UNet2DModel"),
    ({"sample_size": [16, 16, 16]}, "sample_size of one or two"),
    ({"sample_size": "16"}, "sample_size of one or two"),
    ({"sample_size": 15}, "can be run on 3x15x15"),
    ({"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}, "DiffusersUNet.config must|can be run"),
    ({"down_block_types": ["DownBlock2D", "Mystery"]}, "must be one of UNet2DModel"),
    ({"down_block_types": ["DownBlock2D"]}, "must be one of UNet2DModel"),
    ({"norm_eps": float("nan")}, "finite numbers, got norm_eps = nan"),
    ({"num_class_embeds": 0}, "must know one class or more"),
    ({"upsample_type": "mystery"}, "can be run"),
    ({"norm_num_groups": 0}, "must be one of UNet2DModel"),
    ({"norm_num_groups": 7}, "must be one of UNet2DModel"),
    ({"layers_per_block": [1]}, "must be one of UNet2DModel|can be run"),
]


@pytest.mark.parametrize(("said", "message"), BUILT)
def test_a_network_that_cannot_be_run_is_refused_when_it_is_built(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diffusers(config={**CONFIG, **said})


def test_sample_sizes_of_two_and_of_none_are_built() -> None:
    assert diffusers(config={**CONFIG, "sample_size": [16, 32]}).shape == (3, 16, 32)
    assert diffusers(config={**CONFIG, "sample_size": None}).shape is None


@pytest.mark.parametrize("kind", ["fp16", "shards", "fp16 shards", "bin shards"])
def test_variants_and_shards_are_read(tmp_path: Path, kind: str) -> None:
    write_diffusers(tmp_path)
    inner, wanted = tmp_path / "unet", diffusers().read(tmp_path)
    whole = load_file(inner / f"{STEM}.safetensors")
    (inner / f"{STEM}.safetensors").unlink()
    half, end = ".fp16" if "fp16" in kind else "", "bin" if "bin" in kind else "safetensors"
    if half:
        whole = {name: value.half() for name, value in whole.items()}
    if "shards" not in kind:
        save_file(whole, inner / f"{STEM}{half}.{end}")
    else:
        names = sorted(whole)
        mapped = {name: f"{STEM}{half}-0000{1 + i % 2}-of-00002.{end}" for i, name in enumerate(names)}
        for file in set(mapped.values()):
            part = {name: whole[name] for name in names if mapped[name] == file}
            (save_file if end == "safetensors" else torch.save)(part, inner / file)
        index = inner / f"{STEM}.{end}.index{half}.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": mapped}))
    teacher = diffusers()
    found = teacher.read(tmp_path)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-4)
    assert any("half precision" in note for note in teacher.notes) == bool(half)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mapped: {**mapped, "conv_in.bias": "../evil.safetensors"}, "which file beside it"),
        (lambda mapped: {**mapped, "conv_in.bias": 7}, "which file beside it"),
        (lambda mapped: [], "which file beside it"),
        (lambda mapped: {**mapped, "conv_in.bias": "gone.safetensors"}, "got no gone.safetensors"),
        (lambda mapped: dict.fromkeys(mapped, "z" * 20_000), r"zzz\.\.\. must be a file, got File name too long"),
        (lambda mapped: {**mapped, "more": next(iter(mapped.values()))}, "got more in one of them alone"),
    ],
)
def test_an_index_that_says_other_than_its_shards_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    write_diffusers(tmp_path)
    inner = tmp_path / "unet"
    (inner / f"{STEM}.safetensors").rename(inner / f"{STEM}-00001-of-00001.safetensors")
    mapped = dict.fromkeys(
        load_file(inner / f"{STEM}-00001-of-00001.safetensors"), f"{STEM}-00001-of-00001.safetensors"
    )
    (inner / f"{STEM}.safetensors.index.json").write_text(json.dumps({"weight_map": change(mapped)}))
    with pytest.raises(StateFault, match=said):
        diffusers().read(tmp_path)


@pytest.mark.parametrize("kept", ["", ".fp16"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_of_the_hub_no_more_is_fetched_than_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, safe: bool
) -> None:
    import huggingface_hub

    hub, here, end = tmp_path / "hub", tmp_path / "here", "safetensors" if safe else "bin"
    write_diffusers(hub, safe)
    (hub / f"unet/{STEM}.{end}").rename(hub / f"unet/{STEM}{kept}.{end}")
    (hub / "unet/other.safetensors").write_bytes(b"")

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        for file in (path for path in hub.rglob("*") if path.is_file()):
            inner = file.relative_to(hub)
            if any(fnmatch(str(inner), pattern) for pattern in allow_patterns):
                (here / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, here / inner)
        return str(here)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    folder = diffusers().fetch("someone/net", None)
    assert diffusers().read(folder)
    got = {path.name for path in here.rglob("*") if path.is_file()}
    assert got == {"config.json", "scheduler_config.json", f"{STEM}{kept}.{end}"}


def test_shards_have_one_hash_of_all(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    shard = tmp_path / f"unet/{STEM}-00001-of-00001.safetensors"
    (tmp_path / f"unet/{STEM}.safetensors").rename(shard)
    mapped = dict.fromkeys(load_file(shard), shard.name)
    (tmp_path / f"unet/{STEM}.safetensors.index.json").write_text(json.dumps({"weight_map": mapped}))
    teacher = PublishedTeacher(teacher=diffusers(), source=str(tmp_path))
    first = teacher.located()
    assert PublishedTeacher(teacher=diffusers(), source=str(tmp_path), sha256=first[1].upper()).located() == first
    state = load_file(shard)
    state["conv_in.bias"][0] += 1
    save_file(state, shard)
    assert teacher.located()[1] != first[1]
    with pytest.raises(StateFault, match="over those of their 2 files"):
        PublishedTeacher(teacher=diffusers(), source=str(tmp_path), sha256=first[1]).located()


def test_another_variant_is_named(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    inner = tmp_path / "unet"
    (inner / f"{STEM}.safetensors").rename(inner / f"{STEM}.non_ema.safetensors")
    with pytest.raises(StateFault, match=f"got {STEM}.non_ema.safetensors; rename the one to read"):
        diffusers().read(tmp_path)
