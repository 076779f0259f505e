"""How networks run changes nothing of what they are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.students import built
from boot_exp.engine.compute import Compute
from boot_exp.stages import distil
from boot_exp.stages.place import Place
from tests.house.compute import NETS

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", NETS)
def test_a_frozen_network_in_bfloat16_gives_the_bits_of_autocast(kind: str) -> None:
    torch.manual_seed(0)
    net = NETS[kind]()
    net.add_guidance()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    compute = Compute(device="cpu", bfloat16=True)
    given = torch.randn(4, 1, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3]), torch.rand(4)
    with torch.no_grad(), compute.autocast(CPU):
        expected = compute.put(net, CPU).eval()(*given)
        frozen = compute.frozen(net, CPU)
        assert torch.equal(frozen(*given), expected)
    assert not frozen.training and not any(parameter.requires_grad for parameter in frozen.parameters())
    stored = {p.dtype for m in frozen.modules() if type(m) in (nn.Conv2d, nn.Linear) for p in m.parameters()}
    others = {p.dtype for m in frozen.modules() if isinstance(m, nn.GroupNorm | nn.Embedding) for p in m.parameters()}
    assert stored == {torch.bfloat16} and others == {torch.float32}


def test_a_frozen_network_keeps_its_precision_without_bfloat16() -> None:
    assert {p.dtype for p in Compute(device="cpu").frozen(NETS["unet"](), CPU).parameters()} == {torch.float32}


def test_a_student_learns_in_full_precision_beside_a_teacher_that_is_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the stage makes them of one network: nothing in either is dropped out."""
    card = {"shape": [1, 8, 8], "classes": 10, "sha256": {"weights.safetensors": ""}}
    monkeypatch.setattr(distil, "load_weights", lambda model, folder: card)
    given: dict[str, Any] = {}
    monkeypatch.setattr(distil, "train_and_write", lambda place, **named: given.update(named))
    bind = ("compute.Compute.device = 'cpu'", "compute.Compute.bfloat16 = True")
    stage = built(Path("digits_conditional/boot"), "distil", *bind)
    stage.run(Place(out=tmp_path, suite="digits_conditional", name="boot", config=""), teacher=tmp_path)
    student, teacher = given["model"], given["objective"].teacher
    learns, stays = list(student.parameters()), list(teacher.parameters())
    assert {p.dtype for p in learns} == {torch.float32} and all(p.requires_grad for p in learns)
    assert torch.bfloat16 in {p.dtype for p in stays} and not any(p.requires_grad for p in stays)
    assert not any(module.training for model in (student.net, teacher) for module in model.modules())
