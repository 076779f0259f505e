"""Short trainings of every method on a tiny network, in processes of their own: killed, shared, or left alone."""

from __future__ import annotations

import faulthandler
import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import boot_exp.methods
from boot_exp.data.images import draw
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.nets.embeddings import Sinusoidal
from boot_exp.diffusion.nets.unet import UNet
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.schedules import Clamped, Cosine
from boot_exp.engine.averages import Ema
from boot_exp.engine.journal import Journal
from boot_exp.engine.loop import Training, fit
from boot_exp.engine.objectives import Objective
from boot_exp.engine.processes import Processes, join, leave, like, whole
from boot_exp.engine.work import Work
from boot_exp.methods import Method, Start
from boot_exp.methods.companions import Scoring
from boot_exp.methods.distilling import Distilling
from boot_exp.methods.log_variance import LogVariance
from boot_exp.methods.students import SignalStudent
from evals.ground.faults import DataFault, Fault
from tests.house.examples import given

# Imported by torch and tensorboard at first use, which takes longer than one of these trainings.
importlib.import_module("torch._dynamo")
importlib.import_module("tensorboard.plugins.hparams.summary_v2")
ALONE = Processes(device=torch.device("cpu"))
N, BATCH, STEPS = 30, 8, 5
"""Images in an epoch, images a step, steps: the fourth step is astride of an epoch's edge."""


def _methods() -> list[Method | Scoring]:
    """The first example of every method in the folder."""
    found = []
    for methods in given(boot_exp.methods, "laws").values():
        found += [next(one for one in methods if type(one) is kind) for kind in dict.fromkeys(map(type, methods))]
    return found


METHODS = _methods()


def kind(method: Method | Scoring) -> tuple[object, ...]:
    """What a method's training keeps: methods of one kind differ in their loss alone."""
    return method.starts_from, method.self_teaching is not None, hasattr(method, "companion")


def names() -> list[str]:
    """The methods, in words."""
    return [type(method).__name__ for method in METHODS]


class Made:
    """Noise and, for a method that starts from them, thirty images in the order of a seed."""

    def __init__(self, start: Start) -> None:
        made = torch.Generator().manual_seed(5)
        self.images = None if start is Start.NOISE else torch.rand(N, 1, 4, 4, generator=made) * 2 - 1

    def __call__(self, seen: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None, Condition]:
        eps = torch.randn((batch, 1, 4, 4), generator=generator)
        if self.images is None:
            return eps, None, NOTHING
        return eps, self.images[torch.from_numpy(draw(n=N, images_seen=seen, batch=batch, seed=0))], NOTHING


def network(seed: int) -> Networked:
    net = UNet(
        image_channels=1,
        channels=8,
        multipliers=(1,),
        blocks=1,
        attention=(False,),
        time=Sinusoidal(dimensions=4, scale=4.0, max_period=10.0),
        head_channels=8,
    )
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():  # some start at zero, which would hide what reaches them
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=drawn))
    made = Networked(net=net, prediction=FromV(), schedule=Clamped(schedule=Cosine(), lam_min=-4.0, lam_max=4.0))
    return made.to(torch.get_default_dtype())  # buffers too


def learned() -> SignalStudent:
    """BOOT's student of the tiny network, with a weight of the times that is learned."""
    return SignalStudent(network(2), log_variance=LogVariance())


def train(
    number: int,
    folder: Path,
    processes: Processes = ALONE,
    student: Callable[[], nn.Module] | None = None,
    **changes: Any,
) -> None:
    """Trains by one of METHODS, from where it stands in the folder; every step is logged, and most are kept.

    student: makes the model, here and not in the process that starts others, because they would share its memory.
    """
    method = METHODS[number]
    model = None if student is None else student()
    fitted(distilling(method), type(method).__name__, folder, processes, model, **changes)


def distilling(method: Method | Scoring) -> Distilling:
    """A method's objective, with a teacher of its own."""
    teacher = network(1).eval().requires_grad_(False)
    companion = network(4) if hasattr(method, "companion") else None
    return Distilling(method=method, teacher=teacher, source=Made(method.starts_from), guidance=None, network=companion)


def fitted(
    objective: Objective,
    title: str,
    folder: Path,
    processes: Processes = ALONE,
    model: nn.Module | None = None,
    **changes: Any,
) -> None:
    """Trains a model, or else the tiny network, on an objective, from where it stands in the folder."""
    settings: dict[str, Any] = {
        "images": BATCH * STEPS,
        "batch": BATCH,
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3, fused=True),
        "rate": lambda progress: 1e-3,
        "ema": Ema(half_life=16),
        "save_every": BATCH,
        "log_every": BATCH,
        "preview_every": 10**6,
        "keep": 2,
    }
    training = Training(**{**settings, **changes})
    fit(
        training,
        network(2) if model is None else model,
        objective,
        title=title,
        work=Work(folder=folder / "work", keep=training.keep),
        logs=folder / "logs",
        config="",
        settings={},
        preview=lambda average: torch.zeros(1, 1, 4, 4),
        processes=processes,
    )


def figures(folder: Path) -> list[dict[str, float]]:
    """The loss's terms at every checkpoint that was kept."""
    cards = sorted((folder / "work").glob("images-*/card.json"))
    return [json.loads(card.read_text())["figures"] for card in cards]


def end(folder: Path) -> dict[str, bytes]:
    """All that the last checkpoint holds but its card, which says how long it took."""
    last = sorted((folder / "work").glob("images-*"))[-1]
    assert last.name == f"images-{BATCH * STEPS:012d}"
    return {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


# Where a run is killed: what is called there, and at which of its calls.


def kill_at(owner: Any, name: str, call: int, number: int = signal.SIGKILL) -> None:
    """The process gets a signal from itself when owner.name is called for the call-th time."""
    inner, calls = getattr(owner, name), [0]

    def deadly(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), number)
        return inner(*arguments, **more)

    setattr(owner, name, deadly)


def damaged_at(call: int) -> None:
    """What a method starts from is found damaged when it is read for the call-th time."""
    inner, calls = Made.__call__, [0]

    def deadly(self: Made, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise DataFault("images must be whole, got others; make them again")
        return inner(self, *arguments)

    Made.__call__ = deadly  # type: ignore[method-assign]


def points() -> dict[str, Callable[[], None]]:
    """By name: what makes the process kill itself there."""
    from boot_exp.engine import checkpoints, work

    return {
        "first step": lambda: kill_at(nn.utils, "clip_grad_norm_", 1),
        "mid-step": lambda: kill_at(nn.utils, "clip_grad_norm_", 3),
        "epoch's edge": lambda: kill_at(nn.utils, "clip_grad_norm_", 4),
        "between step and average": lambda: kill_at(Ema, "update", 3),
        "while writing": lambda: kill_at(checkpoints, "sha256_of", 5),
        "before the rename": lambda: kill_at(Path, "rename", 3),
        "between rename and cleanup": lambda: kill_at(work.shutil, "rmtree", 7),
        "last step": lambda: kill_at(nn.utils, "clip_grad_norm_", STEPS),
        "after the last step": lambda: kill_at(Journal, "results", 1),
    }


def killed(point: str, number: int, folder: Path) -> None:
    """Trains until it is killed there."""
    points()[point]()
    train(number, folder)


@dataclass(frozen=True)
class Blow:
    """What happens to one of several processes in its call-th step: a signal, or what it reads is damaged (None)."""

    index: int
    call: int
    number: int | None


def launched(index: int, count: int, port: int, sharded: bool) -> Processes:
    """The processes of a run, at one of them, as a launcher starts it."""
    told = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_FSDP": str(sharded).lower()}
    os.environ.update({key: str(value) for key, value in {**told, **address}.items()})
    faulthandler.enable()  # a crash of a library says where
    return join(torch.device("cpu"))


def shared(
    index: int, count: int, port: int, sharded: bool, folder: Path, only: list[int], blow: Blow | None, changes: Any
) -> None:
    """One of several processes that train together, method after method."""
    if blow is not None and blow.index == index:
        if blow.number is None:
            damaged_at(blow.call)
        else:
            kill_at(nn.utils, "clip_grad_norm_", blow.call, blow.number)
    processes = launched(index, count, port, sharded)
    try:
        for number in only:
            train(number, folder / str(number), processes, **changes)
    except Fault as fault:
        sys.exit(fault.exit_code)
    finally:
        leave()


def gathered(index: int, count: int, port: int) -> None:
    """What `like` shares out, `whole` puts together again: rows that do not divide, too few for all, of two types."""
    launched(index, count, port, True)
    mesh = init_device_mesh("cpu", (count,))
    shapes = [(1,), (2,), (5, 3), (2 * count, 4), (7, 2, 3, 3)]
    drawn = torch.Generator().manual_seed(0)
    told = {
        f"{kind} {shape}": torch.randn(shape, generator=drawn).to(kind)
        for shape in shapes
        for kind in (torch.float32, torch.bfloat16)
    }
    spread = {name: like(value, distribute_tensor(value.clone(), mesh, [Shard(0)])) for name, value in told.items()}
    with CommDebugMode() as messages:
        found = whole({**spread, "step": torch.tensor(3.0)})
    leave()
    assert messages.get_total_counts() == 2  # one a type, not one a tensor
    assert list(found) == [*told, "step"]
    assert sum(value.to_local().numel() for value in spread.values()) < sum(map(torch.numel, told.values()))
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in told.items())


def spawn() -> Any:
    """A server that has imported all this and trained nothing; what it forks begins at once."""
    here = Path(__file__).parents[2] / "tests/laws"
    # The server is told what to import, but not where from (Python issue 117378).
    os.environ["PYTHONPATH"] = str(here.parent.parent)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.house.made_runs"])
    return context


def together(
    count: int, sharded: bool, folder: Path, only: list[int], blow: Blow | None = None, **changes: Any
) -> list[int | None]:
    """Trains by some of the methods in several processes; their exit codes."""
    return run(count, shared, sharded, folder, only, blow, changes)


def run(count: int, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Calls target(index, count, port, ...) in several processes; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = spawn()
    processes = [context.Process(target=target, args=(index, count, port, *arguments)) for index in range(count)]
    for process in processes:
        process.start()
    until = time.monotonic() + 90
    while any(process.exitcode is None for process in processes):
        if any(process.exitcode for process in processes):
            until = min(until, time.monotonic() + 5)
        if time.monotonic() > until:
            for process in processes:  # as a launcher does: the others would wait for ever
                process.kill()
        time.sleep(0.05)
    return [process.exitcode for process in processes]
