"""Networks, samplers and settings on a GPU give what they give on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.conditions import Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.samplers import Sampler, noise_of
from boot_exp.diffusion.schedules import Clamped, Cosine, KarrasTime
from boot_exp.engine.compute import Compute
from boot_exp.engine.seeds import PAIRS, SAMPLES, drawn_labels, numbered, sample_noise
from boot_exp.methods import Batch
from boot_exp.methods.students import SignalStudent
from boot_exp.teachers.consistency_models import ConsistencyModels
from tests.house import formats, made_runs, made_teachers
from tests.house.compute import NETS
from tests.house.devices import SAMPLERS
from tests.laws.test_boot import EXAMPLES

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")


@pytest.mark.parametrize("purpose", [SAMPLES, PAIRS])
def test_noise_and_classes_are_those_of_the_cpu(purpose: int, device: torch.device) -> None:
    """The noise but for a rounding of float32, the classes to the last one."""
    indices = range(7, 20_007)
    here, there = (
        sample_noise(3, numbered(indices, where), (3, 5, 5), draw=1, purpose=purpose).cpu() for where in (CPU, device)
    )
    assert bool(((here - there).abs() <= 2.0**-23 * here.abs().clamp(min=2.0**-10)).all())
    assert torch.equal(*(drawn_labels(3, numbered(indices, where), 10).cpu() for where in (CPU, device)))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_every_sampler_gives_what_it_gives_on_the_cpu(sampler: Sampler, device: torch.device) -> None:
    """EDM's with churn among them, in float64, within 1e-9."""
    noise = noise_of(0, range(6), (1, 4, 4), CPU)
    made = []
    for where in (CPU, device):

        def there(k: int, where: torch.device = where) -> Tensor:
            return noise(k).double().to(where)

        with torch.inference_mode():
            model = made_runs.network(1).to(where).double()
            made.append(sampler(model, there(0), fresh=there).cpu())
    assert bool(made[0].isfinite().all()) and float((made[0] - made[1]).abs().max()) < 1e-9 * float(made[0].abs().max())


def openai(name: str) -> Callable[[Path], tuple[Any, Path]]:
    def made(folder: Path) -> tuple[Any, Path]:
        made_teachers.write_openai(folder / "net.pt", made_teachers.OPENAI[name], out_channels=6)
        return formats.guided_diffusion(name), folder / "net.pt"

    return made


def edm(name: str) -> Callable[[Path], tuple[Any, Path]]:
    def made(folder: Path) -> tuple[Any, Path]:
        made_teachers.write_edm(folder / "net.pkl", made_teachers.EDM[name])
        return formats.edm(name), folder / "net.pkl"

    return made


def consistency_models(folder: Path) -> tuple[Any, Path]:
    arguments = {key: v for key, v in made_teachers.OPENAI["adm"].items() if key != "use_new_attention_order"}
    made_teachers.write_openai(folder / "net.pt", arguments, flat_attention=False)
    return ConsistencyModels(schedule=KarrasTime(), **arguments), folder / "net.pt"


def diffusers(folder: Path) -> tuple[Any, Path]:
    formats.write_diffusers(folder)
    return formats.diffusers(), folder


FORMATS: dict[str, Callable[[Path], tuple[Any, Path]]] = {
    **{f"guided-diffusion {name}": openai(name) for name in made_teachers.OPENAI},
    **{f"edm {name}": edm(name) for name in made_teachers.EDM},
    "consistency_models": consistency_models,
    "diffusers": diffusers,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_teacher_of_every_format_gives_what_it_gives_on_the_cpu(
    name: str, device: torch.device, tmp_path: Path
) -> None:
    """In float32, within 1e-4 of the output's deviation."""
    teacher = formats.filled(*FORMATS[name](tmp_path))
    schedule = teacher.schedule
    t = torch.tensor([0.3, 0.7], dtype=torch.float64) * (schedule.t_max - schedule.t_min) + schedule.t_min
    x, label = made_teachers.image(), None if teacher.classes is None else torch.tensor(made_teachers.LABELS)
    with torch.inference_mode():
        here = teacher(x, t, Condition(label=label))
        placed = Compute(device=str(device)).frozen(teacher, device)
        on = Condition(label=None if label is None else label.to(device))
        there = placed(x.to(device), t.to(device), on).cpu()
    assert float((here - there).abs().max() / here.std()) < 1e-4


def loss_of_boot(kind: str, compute: Compute, where: torch.device) -> tuple[float, float]:
    """BOOT's loss with a network of ours as it is run by these settings, and the norm of its gradient."""
    net = NETS[kind]()
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=drawn))
    schedule = Clamped(schedule=Cosine(), lam_min=-4.0, lam_max=4.0)
    teacher = Networked(net=net, prediction=FromV(), schedule=schedule, classes=3)
    student = compute.put(SignalStudent(teacher, takes_w=False), where)
    frozen = compute.frozen(teacher, where)
    eps = torch.randn(4, 1, 16, 16, generator=drawn).to(where)
    label = torch.tensor([0, 1, 2, 3], device=where)
    generator = torch.Generator(where).manual_seed(5)
    batch = Batch(eps=eps, x0=None, condition=Condition(label=label), generator=generator, progress=0.5)
    with compute.autocast(where):
        terms = EXAMPLES[0].loss(student=student, teacher=frozen, self_teacher=None, batch=batch)
    loss = torch.stack([term.value.mean() for term in terms.values()]).sum()
    loss.backward()
    norm = torch.stack([w.grad.norm() for w in student.parameters() if w.grad is not None]).norm()
    return float(loss.detach()), float(norm)


SETTINGS: dict[str, tuple[dict[str, bool], float]] = {
    "channels_last": ({"channels_last": True}, 1e-4),
    "tf32": ({"tf32": True}, 0.02),
    "bfloat16": ({"bfloat16": True}, 0.1),
    "compile": ({"compile": True}, 1e-3),
    "all": ({"channels_last": True, "tf32": True, "bfloat16": True, "compile": True}, 0.1),
}
"""What is set, and how far loss and gradient may be from those of float32 without any, in parts of those."""
CASES = [
    (name, kind) for name, (said, _) in SETTINGS.items() for kind in NETS if kind == "unet" or "compile" not in said
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_setting_gives_losses_near_those_of_float32(
    name: str, kind: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cpu":  # inductor takes half a minute there, and is not that of a GPU
        compiled: Callable[..., None] = nn.Module.compile
        monkeypatch.setattr(nn.Module, "compile", lambda part: compiled(part, backend="eager"))
    torch.compiler.reset()
    given, bound = SETTINGS[name]
    plain = Compute(device=str(device), channels_last=False)
    changed = Compute(**{"device": str(device), "channels_last": False, **given})  # type: ignore[arg-type]
    expected = loss_of_boot(kind, plain, plain.find())
    try:
        found = loss_of_boot(kind, changed, changed.find())
    finally:
        plain.find()  # tf32 is a setting of the whole process
    assert all(map(math.isfinite, found)) and found == pytest.approx(expected, rel=bound)


def test_a_network_on_the_gpu_is_captured_and_replayed(device: torch.device) -> None:
    """As a CUDA graph, which is what `benchmarks` times; the CPU has none."""
    from benchmarks.graphs import graphed

    net: Any = NETS["unet"]().to(device).eval().requires_grad_(False)
    x, t = torch.randn(4, 1, 8, 8, device=device), torch.rand(4, device=device)
    label = torch.tensor([0, 1, 2, 3], device=device)
    replay = graphed(net, (x, t, label), device)
    with torch.inference_mode():
        expected: Tensor = net(x, t, label)
    assert torch.allclose(replay(), expected, rtol=1e-4, atol=1e-5)
