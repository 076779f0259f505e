"""What happens to a training when disks fill, files vanish, memory ends or a process dies: done for real, each time."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from torch import nn

from boot_exp.data.images import Images, draw
from boot_exp.data.stored_pairs import StoredPairs
from boot_exp.diffusion.conditions import NOTHING
from boot_exp.engine.checkpoints import load_weights, write_folder
from boot_exp.engine.seeds import NOISE
from boot_exp.engine.work import Work, alone
from evals.ground.faults import DataFault, Fault, StateFault
from evals.ground.files import sha256_of, write_json
from tests.house import made_runs
from tests.house.made_runs import BATCH, STEPS, Blow, end

pytestmark = pytest.mark.slow
BOOT = made_runs.names().index("Boot")
PROGRESSIVE = made_runs.names().index("Progressive")


def told(folder: Path, work: Callable[[], object]) -> None:
    """Does it; a fault ends the process with its code, and what it says is in the folder."""
    try:
        work()
    except Fault as fault:
        (folder / "said").write_text(str(fault))
        sys.exit(fault.exit_code)


def run(target: Callable[..., None], *arguments: Any) -> int:
    """The exit code of a process that does it."""
    process = made_runs.spawn().Process(target=target, args=arguments)
    process.start()
    process.join(90)
    assert process.exitcode is not None, "it must end"
    return process.exitcode


def heard(folder: Path, target: Callable[..., None], *arguments: Any) -> None:
    """Does it; what goes to standard error goes to a file."""
    with (folder / "heard").open("w") as file:
        os.dup2(file.fileno(), 2)
    target(*arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Where a run of BOOT that meets no fault ends."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(made_runs.train, BOOT, folder) == 0
    return end(folder)


def goes_on(folder: Path, expected: dict[str, bytes], number: int = BOOT) -> None:
    assert run(made_runs.train, number, folder) == 0
    assert end(folder) == expected


def full_disk(folder: Path, at: int) -> None:
    """From a checkpoint on, no file may be longer than two thousand bytes."""
    save = Work.save

    def limited(self: Work, images: int, *more: Any) -> None:
        if images == at:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        save(self, images, *more)

    Work.save = limited  # type: ignore[method-assign]
    told(folder, lambda: made_runs.train(BOOT, folder))


@pytest.mark.parametrize("at", [BATCH, 3 * BATCH, STEPS * BATCH])
def test_a_full_disk_ends_with_74_and_keeps_the_previous_checkpoint(
    tmp_path: Path, whole: dict[str, bytes], at: int
) -> None:
    assert run(full_disk, tmp_path, at) == 74
    assert "must be writable, got" in (tmp_path / "said").read_text()
    kept = sorted(path.name for path in (tmp_path / "work").iterdir()) if (tmp_path / "work").exists() else []
    assert kept == [f"images-{images:012d}" for images in range(BATCH, at, BATCH)][-2:]
    goes_on(tmp_path, whole)


def read_only(folder: Path) -> None:
    work = Work(folder=Path("/proc/boot"))
    told(folder, lambda: work.save(8, {"model": {"weight": torch.ones(3)}}, {}))


def test_a_folder_without_write_permission_ends_with_74(tmp_path: Path) -> None:
    assert run(read_only, tmp_path) == 74
    assert "must be writable" in (tmp_path / "said").read_text()


def holding(folder: Path) -> None:
    with alone(folder / "work"):
        (folder / "ready").touch()
        time.sleep(60)


def test_a_second_process_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    first = made_runs.spawn().Process(target=holding, args=(tmp_path,))
    first.start()
    until = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    refused = pytest.raises(StateFault, match=f"one run at a time, got process {first.pid} there")
    with refused as caught, alone(tmp_path / "work"):
        pass
    assert caught.value.exit_code == 4
    first.kill()
    first.join(10)
    with alone(tmp_path / "work"), alone(tmp_path / "other"):
        pass
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_file_that_was_removed_after_it_was_opened_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the run before ends at that moment: the next run must hold the file that others will find."""
    lock, flock, removed = tmp_path / "work.lock", fcntl.flock, []

    def after_a_removal(file: IO[str], how: int) -> None:
        if not removed:
            lock.unlink()
            removed.append(lock)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", after_a_removal)
    with alone(tmp_path / "work"):
        assert removed and lock.exists()
        with pytest.raises(StateFault, match="one run at a time"), alone(tmp_path / "work"):
            pass


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda path: flip(path / "model.safetensors"),
    "a flipped bit of the average": lambda path: flip(path / "average.safetensors"),
    "a flipped bit of the optimizer": lambda path: flip(path / "optimizer.safetensors"),
    "a file cut short": lambda path: os.truncate(path / "model.safetensors", 100),
    "an empty file": lambda path: os.truncate(path / "average.safetensors", 0),
    "a file that is gone": lambda path: (path / "optimizer.safetensors").unlink(),
    "a card cut short": lambda path: os.truncate(path / "card.json", 50),
    "no card": lambda path: (path / "card.json").unlink(),
    "an empty folder": lambda path: [file.unlink() for file in path.iterdir()] and None,
    "the file of another checkpoint": lambda path: other_file(path),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_file(path: Path) -> None:
    before = sorted(path.parent.glob("images-*"))[-2]
    shutil.copy(before / "model.safetensors", path / "model.safetensors")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_is_used(
    tmp_path: Path, whole: dict[str, bytes], damage: str
) -> None:
    assert run(made_runs.killed, "last step", BOOT, tmp_path) == -signal.SIGKILL
    newest = sorted((tmp_path / "work").glob("images-*"))[-1]
    DAMAGE[damage](newest)
    assert run(heard, tmp_path, made_runs.train, BOOT, tmp_path) == 0
    assert end(tmp_path) == whole
    assert f"set aside as {newest.with_name(f'damaged-{newest.name}')}" in (tmp_path / "heard").read_text()
    assert newest.with_name(f"damaged-{newest.name}").is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_restart(tmp_path: Path) -> None:
    assert run(made_runs.killed, "last step", BOOT, tmp_path) == -signal.SIGKILL
    for path in (tmp_path / "work").glob("images-*"):
        flip(path / "model.safetensors")
    for _ in range(2):
        assert run(retold, tmp_path) == 4
        assert "every checkpoint" in (tmp_path / "said").read_text()


def retold(folder: Path) -> None:
    told(folder, lambda: made_runs.train(BOOT, folder))


def cramped(folder: Path) -> None:
    """Two hundred megabytes more than it has, and no more."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20, resource.RLIM_INFINITY))
    told(folder, lambda: made_runs.train(BOOT, folder, batch=400_000, images=400_000))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_too_little_memory_names_the_setting_to_change(tmp_path: Path) -> None:
    assert run(cramped, tmp_path) == 69
    said = (tmp_path / "said").read_text()
    assert "400000 images at once must fit into memory" in said and "bind Training.microbatch 200000 or less" in said


def hangs(folder: Path) -> None:
    """The third step waits for a disk that never answers."""

    class Never(made_runs.Made):
        def __call__(self, seen: int, *more: Any) -> Any:
            if seen == 2 * BATCH:
                os.read(os.pipe()[0], 1)
            return super().__call__(seen, *more)

    made_runs.Made = Never  # type: ignore[misc]
    made_runs.train(PROGRESSIVE, folder, patience=1.0)


def test_a_step_that_hangs_ends_with_74_and_names_the_line(tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(heard, tmp_path, hangs, tmp_path) == 74 and time.monotonic() - started < 30
    said = (tmp_path / "heard").read_text()
    assert "a step must end within 1 s" in said and "in __call__" in said
    assert [path.name for path in sorted((tmp_path / "work").iterdir())][-1] == f"images-{2 * BATCH:012d}"


class Mapped(made_runs.Made):
    """Its images lie in a file; after the second batch something happens to that."""

    def __init__(self, start: Any) -> None:
        super().__init__(start)
        assert self.images is not None
        place = Path(os.environ["MADE"])
        array = self.images.permute(0, 2, 3, 1).mul(100).add(100).byte().numpy()
        np.save(place / "images.npy", array)
        mapped = np.load(place / "images.npy", mmap_mode="r")
        self.own = Images(folder=place, card=None, pixels=mapped, labels=None)  # type: ignore[arg-type]
        self.batches = 0

    def __call__(self, seen: int, batch: int, generator: torch.Generator) -> Any:
        self.batches += 1
        if self.batches == 3 and "HARM" in os.environ:
            path = self.own.folder / "images.npy"
            path.unlink() if os.environ["HARM"] == "deleted" else os.truncate(path, 200)
        x0, _ = self.own.batch(draw(n=made_runs.N, images_seen=seen, batch=batch, seed=0))
        return torch.randn(x0.shape, generator=generator), x0, NOTHING


def mapped(folder: Path, harm: str | None) -> None:
    made_runs.Made = Mapped  # type: ignore[misc]
    os.environ["MADE"] = str(folder)
    if harm is not None:
        os.environ["HARM"] = harm
    told(folder, lambda: made_runs.train(PROGRESSIVE, folder, save_every=10**6))


@pytest.mark.parametrize("harm", ["deleted", "cut short"])
def test_deleted_data_ends_with_3_and_nothing_is_lost(tmp_path: Path, harm: str) -> None:
    (tmp_path / "whole").mkdir()
    assert run(mapped, tmp_path / "whole", None) == 0
    assert run(mapped, tmp_path, harm) == 3
    assert "images.npy must stay" in (tmp_path / "said").read_text()
    assert [path.name for path in (tmp_path / "work").iterdir()] == [f"images-{2 * BATCH:012d}"]
    assert run(mapped, tmp_path, None) == 0
    assert end(tmp_path) == end(tmp_path / "whole")


def test_deleted_pairs_are_a_data_fault(tmp_path: Path) -> None:
    np.save(tmp_path / "x0-00000.npy", np.zeros((4, 1, 2, 2), np.float32))
    card = {"n": 4, "shard": 4, "seed": 0, "shape": [1, 2, 2], "classes": None, "noise": NOISE}
    card |= {"inputs": {"teacher": "0"}, "sha256_of_pairs": "0"}
    write_json(tmp_path / "card.json", card | {"sha256": {"x0-00000.npy": sha256_of(tmp_path / "x0-00000.npy")}})
    pairs = StoredPairs.load(tmp_path)
    assert pairs.x0(np.array([3, 0])).shape == (2, 1, 2, 2)
    (tmp_path / "x0-00000.npy").unlink()
    with pytest.raises(DataFault, match="must stay while it is read"):
        pairs.x0(np.array([1]))


@pytest.mark.parametrize("stored", [torch.float64, torch.bfloat16])
def test_weights_of_another_precision_are_refused(tmp_path: Path, stored: torch.dtype) -> None:
    write_folder(tmp_path / "model", {"weights": nn.Linear(3, 2, dtype=stored).state_dict()}, {})
    name = str(stored).removeprefix("torch.")
    with pytest.raises(StateFault, match=f"bias .2 {name} stored, 2 in the model"):
        load_weights(nn.Linear(3, 2), tmp_path / "model")


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("sharded", [False, True], ids=["data parallel", "fully sharded"])
def test_a_killed_process_ends_all_and_the_run_can_resume(tmp_path: Path, index: int, sharded: bool) -> None:
    kept = {"microbatch": 2, "keep": 99}
    codes = made_runs.together(2, sharded, tmp_path, [BOOT], Blow(index=index, call=3, number=signal.SIGKILL), **kept)
    assert codes[index] == -signal.SIGKILL and all(codes)
    assert len(made_runs.figures(tmp_path / str(BOOT))) == 2
    assert made_runs.together(2, sharded, tmp_path, [BOOT], **kept) == [0, 0]
    assert made_runs.together(2, sharded, tmp_path / "whole", [BOOT], **kept) == [0, 0]
    assert end(tmp_path / str(BOOT)) == end(tmp_path / "whole" / str(BOOT))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("sharded", [False, True], ids=["data parallel", "fully sharded"])
def test_damage_found_by_one_process_ends_all_and_the_run_can_resume(tmp_path: Path, index: int, sharded: bool) -> None:
    """In its third step of two portions: it says so and ends, and does not wait for the others to save."""
    kept = {"microbatch": 2, "keep": 99}
    codes = made_runs.together(2, sharded, tmp_path, [BOOT], Blow(index=index, call=5, number=None), **kept)
    assert codes[index] == 3 and all(codes)
    assert made_runs.together(2, sharded, tmp_path, [BOOT], **kept) == [0, 0]
    assert made_runs.together(2, sharded, tmp_path / "whole", [BOOT], **kept) == [0, 0]
    assert end(tmp_path / str(BOOT)) == end(tmp_path / "whole" / str(BOOT))


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_is_asked_to_stop_stops_all_in_the_same_step(tmp_path: Path, index: int) -> None:
    kept = {"microbatch": 2, "keep": 99, "save_every": 10**6}
    codes = made_runs.together(2, False, tmp_path, [BOOT], Blow(index=index, call=3, number=signal.SIGTERM), **kept)
    assert codes == [75, 75]
    assert [path.name for path in (tmp_path / str(BOOT) / "work").iterdir()] == [f"images-{3 * BATCH:012d}"]


def test_checkpoints_at_multiples_of_keep_every_stay_for_good(tmp_path: Path) -> None:
    work = Work(folder=tmp_path / "work", keep=1, keep_every=20)
    for images in range(10, 80, 10):
        work.save(images, {"model": {"weight": torch.ones(1)}}, {})
    assert [int(path.name[7:]) for path in work.checkpoints()] == [20, 40, 60, 70]
    work.clear()
    assert [int(path.name[7:]) for path in work.checkpoints()] == [20, 40, 60]
    Work(folder=tmp_path / "work").clear()
    assert not (tmp_path / "work").exists()
