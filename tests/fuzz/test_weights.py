"""Files of weights of every format, made worse at random: read, or refused with a fault, soon and in little memory."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safe
from torch import nn

from boot_exp.diffusion.predictions import FromEps
from boot_exp.diffusion.schedules import KarrasTime, LinearTable
from boot_exp.engine.checkpoints import load_weights, write_folder
from boot_exp.engine.work import Work
from boot_exp.teachers import PublishedNetwork
from boot_exp.teachers.diffusers import Diffusers
from boot_exp.teachers.edm import Edm
from boot_exp.teachers.guided_diffusion import GuidedDiffusion
from evals.features import pickles
from evals.features.pickles import foreign
from evals.features.stored import made as made_tensors
from evals.features.tensors import read_tensors
from evals.ground.faults import StateFault
from tests.house import made_teachers as made
from tests.house.mutations import Format, child, run

TESTS = Path(__file__).parents[1]


OPENAI = {**made.OPENAI["adm"], "channel_mult": (1,), "attention_resolutions": (1,), "num_classes": None}
EDM = {**made.EDM["ddpmpp"], "channel_mult": (1,), "attn_resolutions": ()}
UNET = {
    "sample_size": 8,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "attention_head_dim": 8,
}


def test_no_damage_of_weights_ends_the_process_or_is_taken(tmp_path: Path) -> None:
    assert child(Path(__file__), tmp_path) == ""


def saved(value: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def by(teacher: PublishedNetwork, name: str) -> Callable[[bytes, Path], object]:
    """Reads a file into a network, whose weights are then finite and of its shapes."""

    def read(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        filled(teacher, teacher.read(folder / name))

    return read


def filled(teacher: PublishedNetwork, found: dict[str, torch.Tensor]) -> None:
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in teacher.net.state_dict().items()
    }
    assert all(bool(value.isfinite().all()) for value in found.values())


def tensors(suffix: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"x{suffix}"
        path.write_bytes(data)
        found = read_tensors(path)
        if sum(kept.outline().numel() for kept in found.values()) < 10**6:
            with foreign(path, "must be whole", "fetch it again"):
                made_tensors(found)

    return read


def records(data: bytes, folder: Path) -> None:
    with foreign(folder, "must be a pickle", "write it again"):
        found = pickles.read(pickles.Within(io.BytesIO(data), len(data)), lambda name: True)
        assert len(pickles.kind(found)) < 200
        pickles.entries(found)


def formats(scratch: Path) -> list[Format]:
    scratch.mkdir()
    made.write_openai(scratch / "net.pt", OPENAI)
    made.write_edm(scratch / "net.pkl", EDM)
    openai, edm = GuidedDiffusion(schedule=LinearTable(), **OPENAI), Edm(schedule=KarrasTime(), **EDM)
    net = torch.load(scratch / "net.pt", weights_only=True)

    from diffusers import DDPMScheduler, UNet2DModel

    UNet2DModel(**UNET).save_pretrained(scratch / "unet")
    DDPMScheduler().save_pretrained(scratch / "scheduler")
    unet = Diffusers(schedule=LinearTable(), config=UNET, prediction=FromEps())
    index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (scratch / "model_index.json").write_text(json.dumps(index))
    names = ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"]
    names += ["unet/diffusion_pytorch_model.safetensors"]
    files = {name: (scratch / name).read_bytes() for name in names}

    def folder_of(name: str) -> Callable[[bytes, Path], object]:
        def read(data: bytes, folder: Path) -> None:
            for each, whole in files.items():
                (folder / each).parent.mkdir(exist_ok=True)
                (folder / each).write_bytes(data if each == name else whole)
            filled(unet, unet.read(folder))

        return read

    model = nn.Linear(3, 2)
    write_folder(scratch / "model", {"weights": model.state_dict()}, {"shape": [1, 2, 2], "classes": 3})
    stored = {path.name: path.read_bytes() for path in (scratch / "model").iterdir()}

    def model_of(name: str) -> Callable[[bytes, Path], object]:
        def read(data: bytes, folder: Path) -> None:
            for place in (folder, folder / "work/images-000000000010"):
                place.mkdir(parents=True, exist_ok=True)
                for each, whole in stored.items():
                    (place / each).write_bytes(data if each == name else whole)
            with contextlib.suppress(StateFault):
                Work(folder=folder / "work").latest()
            card = load_weights(model, folder)
            assert isinstance(card, dict) and all(bool(value.isfinite().all()) for value in model.parameters())

        return read

    few: dict[str, Any] = {"a": torch.arange(6.0).reshape(2, 3), "b": {"c": nn.Parameter(torch.ones(2)), "d": [1]}}
    plain = {"ema": [1, (2, "x"), {3.5, b"y"}, {"z": None}], 7: 2**70, (1, 2): (True, -1)}
    return [
        Format(name="pt of a network", seeds=[saved(net)], read=by(openai, "net.pt")),
        Format(name="pkl of a network", seeds=[(scratch / "net.pkl").read_bytes()], read=by(edm, "net.pkl")),
        Format(name="pt", seeds=[saved(few), saved({"x": torch.ones(3)})], read=tensors(".pt")),
        Format(name="old pt", seeds=[saved(few, False), saved({"x": torch.ones(3)}, False)], read=tensors(".pt")),
        Format(name="pickle", seeds=[pickle.dumps(plain, i) for i in range(6)], read=records),
        Format(
            name="safetensors", seeds=[safe({"a": torch.ones(2, 3), "b": torch.ones(2)})], read=tensors(".safetensors")
        ),
        *(Format(name=name.replace("/", " "), seeds=[data], read=folder_of(name)) for name, data in files.items()),
        *(Format(name=f"model {name}", seeds=[data], read=model_of(name)) for name, data in stored.items()),
    ]


if __name__ == "__main__":
    here = Path(sys.argv[1])
    sys.exit(run(formats(here / "made"), here / "case"))
