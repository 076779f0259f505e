"""The stage sample: which images it draws, in whatever pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from boot_exp.config.components import component
from boot_exp.diffusion.conditions import NOTHING, Condition, DrawnLabels, Labels, LabelsInTurn
from boot_exp.diffusion.samplers import Fresh, no_more_noise
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.stages.place import Place
from boot_exp.stages.sample import Sample, to_pixels
from evals.images.reading import open_images


class Alone(nn.Linear):
    """A model that is asked once an image."""

    evaluations = 1


@component
class Painted:
    """Images of one gray each, which is the class that they are asked for."""

    name: ClassVar[str] = "painted"
    nfe: ClassVar[int] = 1
    w: ClassVar[None] = None

    def __call__(
        self, model: nn.Module, eps: Tensor, condition: Condition = NOTHING, fresh: Fresh = no_more_noise
    ) -> Tensor:
        assert condition.label is not None
        return (condition.label / 127.5 - 1)[:, None, None, None].expand_as(eps)


@pytest.mark.parametrize("labels", [LabelsInTurn(), DrawnLabels()], ids=repr)
def test_each_image_is_of_the_class_that_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: Labels
) -> None:
    """Whatever the batch and the shard; only what came in turn is judged by its classes afterwards."""
    monkeypatch.chdir(tmp_path)
    card = {"shape": [1, 2, 2], "classes": 5, "ema": {}, "images": 1, "seed": 0}
    write_folder(Path("model"), {"weights": nn.Linear(1, 1).state_dict()}, card)
    cpu = Compute(device="cpu")
    class_of = labels(3, torch.arange(11), 5)
    for name, batch, shard in (("one", 11, 11), ("many", 2, 5)):
        place = Place(out=Path(name), suite="made", name="painted", config=name)
        made = Sample(
            model=Alone(1, 1), samplers=[Painted()], n=11, seed=3, batch=batch, labels=labels, shard=shard, compute=cpu
        )
        made.run(place, model=Path("model"))
        (images,) = open_images(Path(name) / "painted.zip").batches(11)
        assert images[:, 0, 0, 0].tolist() == class_of.tolist()
        record = json.loads((Path(name) / "painted.json").read_text())
        assert record["card"]["labels"] == repr(labels) and ("classes" in record) == isinstance(labels, LabelsInTurn)
    assert Path("one/painted.zip").read_bytes() == Path("many/painted.zip").read_bytes()


@pytest.mark.parametrize("shift", [-0.49, 0.0, 0.49])
def test_pixels_are_rounded_to_the_nearest_and_not_cut_off(shift: float) -> None:
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    assert to_pixels((levels + shift) / 127.5 - 1).reshape(-1).tolist() == list(range(256))
