"""State dicts as training loops write them: parameters, averages, wrappers and dicts around a network, in any type."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from boot_exp.teachers.guided_diffusion import GuidedDiffusion
from evals.ground.faults import StateFault
from tests.house import made_teachers as made
from tests.house.formats import diffusers, edm, guided_diffusion, write_diffusers

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> State:
    path = tmp_path_factory.mktemp("openai") / "net.pt"
    made.write_openai(path, made.OPENAI["adm"])
    return dict(torch.load(path, weights_only=True))


@pytest.fixture(scope="module")
def teacher() -> GuidedDiffusion:
    return guided_diffusion("adm")


def under(prefix: str) -> Callable[[State], Any]:
    return lambda state: {prefix + name: value for name, value in state.items()}


def flattened(state: State) -> Any:
    """All tensors as views of one storage."""
    flat, place, found = torch.cat([value.flatten() for value in state.values()]), 0, {}
    for name, value in state.items():
        found[name] = flat[place : place + value.numel()].view(value.shape)
        place += value.numel()
    return found


WAYS: dict[str, Callable[[State], Any]] = {
    "parameters": lambda state: OrderedDict((name, nn.Parameter(value)) for name, value in state.items()),
    "double": lambda state: {name: value.double() for name, value in state.items()},
    "not contiguous": lambda state: {
        name: value.movedim(0, -1).contiguous().movedim(-1, 0) for name, value in state.items()
    },
    "channels last": lambda state: {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in state.items()
    },
    "one storage": flattened,
    "requires grad": lambda state: {name: value.clone().requires_grad_() for name, value in state.items()},
    **{
        prefix: under(prefix) for prefix in ("module.", "_orig_mod.", "ema_model.", "model.", "model.module._orig_mod.")
    },
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "args": {"lr": 1e-4}},
    "model": lambda state: {
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []},
    },
    "ema": lambda state: {"ema": state, "step": torch.tensor(5)},
    "Lightning": lambda state: {"state_dict": under("model.")(state), "global_step": 3, "hyper_parameters": {"a": [1]}},
    "net and average": lambda state: {"model": wrong(state), "model_ema": state},
    "average within": lambda state: {
        "ema": {"initted": torch.tensor(True), **under("online_model.")(wrong(state)), **under("ema_model.")(state)}
    },
    "a metadata of its own": lambda state: with_metadata(state),
    "Lightning's average": lambda state: {"state_dict": lightning(state, "model.", "")},
    "Lightning's average of a part": lambda state: {
        "state_dict": lightning(state, "model.diffusion_model.", "diffusion_model")
    },
    "an average with counters": lambda state: {
        "model": wrong(state),
        "ema": {**state, "decay": torch.tensor(0.9999), "num_updates": torch.tensor(5.0), "step": torch.tensor(5)},
    },
    "an average that is a list": lambda state: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}, 1: {"ema": torch.ones(3)}}},
        "model": wrong(state),
        "ema": {"decay": 0.999, "shadow_params": [*state.values()], "collected_params": [*wrong(state).values()]},
    },
    "tensors of other kinds beside": lambda state: {
        "model": state,
        "a": quantized(),
        "b": torch.ones(3, dtype=torch.complex64).conj(),
        "c": torch.eye(3).to_sparse(),
        "d": torch.ones(3, dtype=torch.int32),
    },
}


def quantized() -> Tensor:
    with warnings.catch_warnings(action="ignore"):  # they are deprecated, and still in files
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)


def lightning(state: State, raw: str, part: str) -> State:
    """As LitEma of latent diffusion names an average: without the dots."""
    average = {f"model_ema.{part}{name.replace('.', '')}": value for name, value in state.items()}
    counters = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(5, dtype=torch.int32)}
    return {**under(raw)(wrong(state)), **average, **counters}


def turned(value: Tensor) -> Tensor:
    return value.movedim(0, -1).contiguous().movedim(-1, 0)


def wrong(state: State) -> State:
    return {name: value + 1 for name, value in state.items()}


def with_metadata(state: State) -> Any:
    found = OrderedDict(state)
    found._metadata = OrderedDict([("", {"version": 1})])  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_network_is_found_however_it_was_saved(
    tmp_path: Path, theirs: State, teacher: GuidedDiffusion, way: str, zipped: bool
) -> None:
    torch.save(theirs, tmp_path / "plain.pt")
    torch.save(WAYS[way](theirs), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    wanted, found = teacher.read(tmp_path / "plain.pt"), teacher.read(tmp_path / "net.pt")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    said = {"net and average": "'model_ema.' in it; not read were model.", "average within": "'ema.ema_model.' in it"}
    said |= {"an average that is a list": "a list, read in the order of 'model.'", "an average with counters": "decay"}
    assert said.get(way, "") in "".join(teacher.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(tmp_path: Path, theirs: State, teacher: GuidedDiffusion, dtype: torch.dtype) -> None:
    torch.save({name: value.to(dtype) for name, value in theirs.items()}, tmp_path / "net.pt")
    found = teacher.read(tmp_path / "net.pt")
    assert all(value.dtype == torch.float32 for value in found.values())
    assert torch.equal(found["time.1.weight"], theirs["time_embed.0.weight"].to(dtype).float())


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "two alike": (lambda state: {"model": state, "best": state}, r"got 2 alike, 'model\.', 'best\.'; save one"),
    "other names": (under("layers_"), r"called time_embed\.0\.weight.*got layers_time_embed\.0\.weight.* more; bind"),
    "no tensors": (lambda state: {"epoch": 3, "args": {"x": [1]}}, r"no tensors of numbers by name, epoch \(int\)"),
    "whole numbers": (lambda state: {name: value.long() for name, value in state.items()}, r"\(torch\.int64\)"),
    "a list": (lambda state: [*state.values()], "list in place of tensors by name"),
    "one more": (lambda state: {**state, "more": torch.ones(2)}, r"more \(2\) is in the file alone"),
    "one less": (
        lambda state: {k: v for k, v in state.items() if k != "out.2.bias"},
        r"out\.2\.bias is not in the file",
    ),
    "too large for float32": (
        lambda state: {name: value.double() * (1e300 if name == "out.2.bias" else 1) for name, value in state.items()},
        r"NaN or infinity in out\.2\.bias",
    ),
    "a whole network": (
        lambda state: nn.Linear(2, 2),
        r"torch\.nn\.modules\.linear\.Linear, .*its|network's state_dict",
    ),
    **{
        f"a {name} beside a network": (
            lambda state, name=name: {name: wrong(state), "model": state},  # type: ignore[misc]
            rf"got 2 alike, '{name}\.', 'model\.'; save one of them alone",
        )
        for name in ("non_ema", "model_no_ema", "without_ema", "ema_raw", "raw", "notEma")
    },
    "some of an average": (
        lambda state: {"model": wrong(state), "ema": dict([*state.items()][::2])},
        r"an average of the whole network by name, got \d+ tensors of one, ema\.time_embed\.0\.weight, .*; save the n",
    ),
    "some of an average in a wrapper": (
        lambda state: {"ema": {"online_model": wrong(state), "ema_model": dict([*state.items()][1:])}},
        "got 144 tensors of one, ema.ema_model.time_embed.0.bias",
    ),
    "some of Lightning's average": (
        lambda state: {k: v for k, v in lightning(state, "model.", "").items() if k != "model_ema.out2bias"},
        "got 144 tensors of one, model_ema.time_embed0weight",
    ),
    "a shorter list": (
        lambda state: {"model": wrong(state), "ema": {"shadow_params": [*state.values()][:-1]}},
        r"got 144 tensors of one, ema\.shadow_params\.0, .*beside 'model\.' with 145",
    ),
    "a longer list": (
        lambda state: {"model": wrong(state), "ema": {"shadow_params": [*state.values(), torch.ones(2)]}},
        "got 146 tensors of one",
    ),
    "a list in another order": (
        lambda state: {"model": wrong(state), "ema": {"shadow_params": [*state.values()][::-1]}},
        "got 145 tensors of one",
    ),
    "an average under other names": (
        lambda state: {"model": wrong(state), "ema": {"weights": torch.cat([v.flatten() for v in state.values()])}},
        r"got 1 tensors of one, ema\.weights, beside",
    ),
    "a weight of whole numbers": (
        lambda state: {**state, "out.2.bias": state["out.2.bias"].int()},
        r"got out\.2\.bias, which is int32 in the file; save it as a plain float32",
    ),
    "a sparse weight": (
        lambda state: {"model": {**state, "label_emb.weight": state["label_emb.weight"].to_sparse()}},
        r"got model\.label_emb\.weight, which is sparse in the file",
    ),
    "a conjugate weight": (
        lambda state: {**state, "out.2.bias": torch.ones(3, dtype=torch.complex64).conj().imag},
        r"got out\.2\.bias, which is conjugate or negative by a mark alone in the file",
    ),
    "a number beside": (lambda state: {**state, "step": torch.tensor(5.0)}, r"step \(a number\) is in the file alone"),
    "sparse": (
        lambda state: {name: value.to_sparse() for name, value in state.items()},
        r"by name, time_embed\.0\.weight \(sparse\)",
    ),
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_is_no_network_alone_is_refused_with_its_own_names(
    tmp_path: Path, theirs: State, teacher: GuidedDiffusion, way: str
) -> None:
    change, said = REFUSED[way]
    torch.save(change(theirs), tmp_path / "net.pt")
    with pytest.raises(StateFault, match=said) as caught:
        teacher.read(tmp_path / "net.pt")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: guided_diffusion("adm", image_size=15), "can be run on 3x15x15"),
        (lambda: guided_diffusion("adm", num_head_channels=None, num_heads=5), "can be run on 3x16x16"),
        (lambda: guided_diffusion("adm", channel_mult=(1, 2, 3, 4, 5, 6, 7)), "can be run on 3x16x16"),
        (lambda: guided_diffusion("adm", num_classes=0), "must know one class or more"),
        (lambda: edm("ddpmpp", img_resolution=15), "can be run on 3x15x15"),
        (lambda: edm("ddpmpp", label_dim=-1), "must know one class or more|negative"),
        (lambda: edm("ddpmpp", model_channels=1), "0 groups of a norm must share 1 channels alike; give"),
        (lambda: edm("ddpmpp", model_channels=6), "groups of a norm must share 18 channels alike; give"),
        (lambda: edm("ddpmpp", channel_mult=()), "channel_mult must have an entry for each level"),
        (lambda: guided_diffusion("adm", channel_mult=()), "channel_mult must have an entry for each level"),
        (lambda: guided_diffusion("adm", model_channels=24), "32 groups of a norm must share 24 channels alike; give"),
    ],
)
def test_sizes_that_do_not_belong_together_are_refused_when_built(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"


def test_a_pointer_of_git_lfs_is_told_from_weights_in_every_format(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "folder")
    readers: list[tuple[Any, Path, Path]] = [
        (guided_diffusion("adm"), tmp_path / "net.pt", tmp_path / "net.pt"),
        (edm("adm"), tmp_path / "net.pkl", tmp_path / "net.pkl"),
        (diffusers(), tmp_path / "folder", tmp_path / "folder/unet/diffusion_pytorch_model.safetensors"),
    ]
    for reader, source, file in readers:
        file.write_bytes(POINTER)
        with pytest.raises(StateFault, match="a pointer of git-lfs to them, 65 bytes; run `git lfs pull`"):
            reader.read(source)


def test_what_a_file_is_decides_how_it_is_read_and_not_its_name(
    tmp_path: Path, theirs: State, teacher: GuidedDiffusion
) -> None:
    torch.save(theirs, tmp_path / "net.pt")
    wanted = teacher.read(tmp_path / "net.pt")
    save_file(theirs, tmp_path / "other.pt")
    torch.save(theirs, tmp_path / "zip.safetensors")
    torch.save(theirs, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for name in ("other.pt", "zip.safetensors", "old.safetensors"):
        found = teacher.read(tmp_path / name)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), name


def test_a_weight_of_whole_numbers_in_safetensors_is_named_by_its_type(
    tmp_path: Path, theirs: State, teacher: GuidedDiffusion
) -> None:
    save_file({**theirs, "out.2.bias": theirs["out.2.bias"].to(torch.uint8)}, tmp_path / "net.safetensors")
    with pytest.raises(StateFault, match=r"got out\.2\.bias, which is uint8 in the file"):
        teacher.read(tmp_path / "net.safetensors")
