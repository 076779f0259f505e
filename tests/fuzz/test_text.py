"""Text made worse at random, from a seed: each reader gives what it can mean, or one of the faults, in time."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import pytest

from boot_exp.config import parse, runs
from boot_exp.config.fault_list import Faults
from boot_exp.config.frozen import Frozen
from boot_exp.config.params import planned, read_params
from boot_exp.data.card import DatasetCard
from boot_exp.engine.checkpoints import CARD, read_card
from evals.ground.faults import Fault
from evals.ground.files import read_json, sha256_of, write_json
from evals.images.samples import read_samples_card
from evals.tables.row import read_rows, read_training
from tests.house.leaf import student_leaf

ROOT = Path(__file__).parents[2]
SECONDS, SEED = float(os.environ.get("FUZZ_SECONDS", "4")), int(os.environ.get("FUZZ_SEED", "0"))
PATIENCE = 10
WORDS = [
    *b"0 -1 1e999 1e-400 .5. NaN .inf ~ null None True yes 2026-13-01 0x10 0o9 1_0_0 99999999999999999999".split(),
    *b"{} [] () \"\" '' [[]] {[]:1} @ @x @x.Y() %A %gin.REQUIRED &a *a !!python/name:os.system <<: ? | >".split(),
    *(b"'''", b'"""', b"\\", b"\t", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x0c", "\u2028".encode(), b"\\ud800"),
    *(
        b"[" * 5_000,
        b"9" * 5_000,
        b"x" * 100_000,
        b"include 'leaf.gin'\n",
        b"A = (%A, %A)\n",
        b"loop.Training:\n  clip",
    ),
]
TOKEN = re.compile(rb"[\w.]+|\"[^\"\n]*\"|'[^'\n]*'|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Format:
    """Sound texts of a kind, and what reads the file that it is given."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[Path], object]


class TooLong(BaseException):
    """No Exception, so that no reader takes it for damage."""


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to four changes: of bits, bytes, words and lines."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        data = draw.choice((_bit, _cut, _word, _word, _put_in, _lines))(data, draw)
    return data


def _bit(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(data: bytes, draw: random.Random) -> bytes:
    low, high = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return draw.choice((data[:low], data[high:], data[:low] + data[high:], data + data[low:high]))


def _word(data: bytes, draw: random.Random) -> bytes:
    found = [match.span() for match in TOKEN.finditer(data)] or [(0, 0)]
    (low, high), (first, last) = draw.choice(found), draw.choice(found)
    return data[:low] + draw.choice((draw.choice(WORDS), data[first:last])) + data[high:]


def _put_in(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice((draw.choice(WORDS), draw.randbytes(4))) + data[place:]


def _lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    lines[place : place + 1] = draw.choice(([], [lines[place]] * 2, [draw.choice(lines)], [b"  " + lines[place]]))
    return b"\n".join(lines)


def leaf(path: Path) -> None:
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.named_run(path)], {}, faults)
    faults.raise_if_any()
    for frozen in stages.values():
        frozen.write(path.with_suffix(".json"))
        assert Frozen.read(path.with_suffix(".json")).text() == frozen.text()


def params(path: Path) -> None:
    said = read_params(path)
    faults = Faults()
    suite = next(iter(said["suites"]))
    runs.compiled(runs.suite_runs(said, suite, faults)[:2], said["gin"], faults)
    faults.raise_if_any()


def frozen(path: Path) -> None:
    found = Frozen.read(path)
    found.write(path)
    assert Frozen.read(path).text() == found.text()


def any_json(path: Path) -> None:
    found = read_json(path)
    write_json(path, found)
    assert read_json(path) == found


def formats(folder: Path) -> list[Format]:
    leaves = [student_leaf(name) for name in ("boot", "direct")]
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.named_run(Path("digits/boot"))], {}, faults)
    stages["distil"].write(folder / "distil.json")
    card = DatasetCard(
        name="a", split="all", n=2, height=2, width=2, channels=1, classes=2, images_sha256="0", labels_sha256=None,
        transforms=["x"], source="é",
    )  # fmt: skip
    (folder / "model").mkdir()
    (folder / "model/weights.safetensors").write_bytes(b"")
    hashes = {"weights.safetensors": sha256_of(folder / "model/weights.safetensors")}
    trained: dict[str, object] = dict.fromkeys(("seed", "images", "evaluations", "seconds"), 1)
    trained |= {"stage": "boot", "sha256": hashes, "inputs": {}, "starts_from": "images"}
    claim = {"suite": "s", "method": "m", "sampler": "a", "nfe": 1, "n": 2, "seconds_per_image": 0.1, "card": {}}
    results = ROOT / "results/digits"
    head, _, students = (ROOT / "plan.yaml").read_bytes().partition(b"  students:")
    plan = head + b"  students:" + b"\n".join(students.split(b"\n")[:20])
    return [
        Format(name="leaf.gin", seeds=[text.encode() for text in leaves], read=leaf),
        Format(name="params.yaml", seeds=[(ROOT / "params.yaml").read_bytes()], read=params),
        Format(name="frozen.json", seeds=[(folder / "distil.json").read_bytes()], read=frozen),
        Format(name="any.json", seeds=[json.dumps({"a": [1, "x", None, {"b": 1.5}]}).encode()], read=any_json),
        Format(name="card.json", seeds=[json.dumps(asdict(card)).encode()], read=DatasetCard.read),
        Format(name=f"model/{CARD}", seeds=[json.dumps(trained).encode()], read=lambda path: read_card(path.parent)),
        Format(name="trained.json", seeds=[json.dumps(trained).encode()], read=read_training),
        Format(name="claim.json", seeds=[json.dumps(claim).encode()], read=read_samples_card),
        Format(name="board.json", seeds=[(results / "leaderboard.json").read_bytes()], read=read_rows),
        Format(name="plan.yaml", seeds=[plan], read=planned),
    ]


def too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong


def test_randomly_changed_text_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many cases as SECONDS allow, the same for a seed; FUZZ_SECONDS and FUZZ_SEED say others."""
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    monkeypatch.chdir(tmp_path)
    kinds, end, case = formats(tmp_path), time.monotonic() + SECONDS, 0
    before = signal.signal(signal.SIGALRM, too_long)
    try:
        while time.monotonic() < end or case <= SECONDS:  # one a second, however busy the machine is
            for kind in kinds:
                draw = random.Random(f"{SEED} {kind.name} {case}")
                text = mutated(draw.choice(kind.seeds), draw) if case else kind.seeds[0]
                Path(kind.name).write_bytes(text)
                signal.alarm(PATIENCE)
                try:
                    kind.read(Path(kind.name))
                except Fault as fault:
                    assert case, f"{kind.name} as it is: {fault}"
                    assert str(fault).replace("\n", "").isprintable() and len(str(fault)) < 200_000
                    assert fault.exit_code in (2, 3, 4, 5)
                except BaseException as error:
                    raise AssertionError(f"{kind.name}, case {case} of seed {SEED}: {text[:3_000]!r}") from error
                finally:
                    signal.alarm(0)
            case += 1
            if case % 200 == 0:
                parse._statements.cache_clear()
    finally:
        signal.signal(signal.SIGALRM, before)
