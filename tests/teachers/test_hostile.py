"""Files made to end the process, to take its memory or time, or to run something: each is a fault of one line, soon."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from boot_exp.diffusion.predictions import FromEps
from boot_exp.diffusion.schedules import LinearTable
from evals.features.pickles import Refused
from evals.features.stored import made as made_tensors
from evals.features.tensors import read_tensors
from evals.ground.faults import StateFault
from tests.house import made_teachers as made
from tests.house.formats import diffusers, edm, every, guided_diffusion, write_diffusers

DEEP = pickle.EMPTY_TUPLE + 400_000 * pickle.TUPLE1
SHARED = pickle.EMPTY_TUPLE + 60 * (pickle.DUP + pickle.TUPLE2)
SIZE = pickle.GLOBAL + b"torch\nSize\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
KEYED = pickle.NONE + pickle.SETITEM
PROTO = pickle.PROTO + b"\x02"
PICKLES: dict[str, bytes] = {
    "a key of 400,000 tuples": PROTO + pickle.EMPTY_DICT + DEEP + KEYED + pickle.STOP,
    "tuples around torch.Size": PROTO + pickle.EMPTY_DICT + SIZE + 120_000 * pickle.TUPLE1 + KEYED + pickle.STOP,
    "a key that shares itself 60 times": PROTO + pickle.EMPTY_DICT + SHARED + KEYED + pickle.STOP,
    "shown, it is 2^60 tuples": PROTO + SHARED + pickle.STOP,
    "a set of it": pickle.PROTO + b"\x04" + pickle.EMPTY_SET + pickle.MARK + SHARED + pickle.ADDITEMS + pickle.STOP,
    "a persistent id of it": PROTO + SHARED + pickle.BINPERSID + pickle.STOP,
    "a name of it": pickle.PROTO + b"\x04" + SHARED + SHARED + pickle.STACK_GLOBAL + pickle.STOP,
    "a memo of 2^28": PROTO + pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**28) + pickle.STOP,
    "bytes of 2^60": pickle.PROTO + b"\x04" + pickle.BINBYTES8 + struct.pack("<Q", 2**60) + pickle.STOP,
    "a frame of 2^60": pickle.PROTO + b"\x04" + pickle.FRAME + struct.pack("<Q", 2**60) + pickle.NONE + pickle.STOP,
    "a number of a million digits": PROTO + pickle.LONG + b"9" * 10**6 + b"L\n" + pickle.STOP,
    "500,000 dicts": PROTO + pickle.EMPTY_DICT * 500_000 + pickle.STOP,
    "500,000 marks": PROTO + pickle.MARK * 500_000 + pickle.STOP,
    "an extension": PROTO + pickle.EXT1 + b"\x01" + pickle.STOP,
    "an instance": b"(ios\nsystem\n" + pickle.STOP,
    "an empty stack": PROTO + pickle.REDUCE + pickle.STOP,
    "no end": PROTO + pickle.NONE,
    "nothing": b"",
}


def zipped(data: bytes, **storages: bytes) -> bytes:
    """What torch.save writes around a pickle and storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, storage in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", storage)
    return file.getvalue()


def old(data: bytes, keys: Any = ()) -> bytes:
    """What torch.save wrote before it wrote zips."""
    around = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}})
    return b"".join([*(pickle.dumps(part, 2) for part in around), data, pickle.dumps(list(keys), 2)])


def in_a_snapshot(data: bytes) -> bytes:
    """A snapshot of EDM's in which it stands for the network; and once more within a storage."""
    stored = old(data)
    call = pickle.GLOBAL + b"torch.storage\n_load_from_bytes\n" + pickle.BINBYTES + struct.pack("<I", len(stored))
    return PROTO + call + stored + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP


@cache
def all_teachers() -> dict[str, Any]:
    """A teacher for each pattern of files."""
    return {"*.pt": guided_diffusion("adm"), "*.pkl": edm("adm"), "folder*": diffusers()}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize(
    ("around", "kind"),
    [(zipped, "*.pt"), (old, "*.pt"), (lambda data: data, "*.pkl"), (in_a_snapshot, "*.pkl")],
    ids=["zip", "old", "snapshot", "storage"],
)
def test_a_hostile_pickle_is_refused_soon_in_every_format(
    tmp_path: Path, name: str, around: Callable[[bytes], bytes], kind: str
) -> None:
    """Reached by a crash, this test would end the whole run; by a loop, it would never end."""
    path = tmp_path / kind.replace("*", "net")
    path.write_bytes(around(PICKLES[name]))
    with pytest.raises(StateFault) as caught:
        all_teachers()[kind].read(path)
    assert len(str(caught.value)) < 1_000 and "\n" not in str(caught.value)


def tensor(count: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, times: int = 1) -> bytes:
    """A pickle of `times` tensors in one storage of `count` float32 numbers."""

    class Storage:
        """Named so, torch.FloatStorage, by its reduction alone."""

    class Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Storage) else None

    class Tensor:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, (storage, offset, shape, stride, False, {})

    storage, file = Storage(), io.BytesIO()
    Pickler(file, 2).dump({f"time_embed.{i}.weight": Tensor() for i in range(times)})
    return file.getvalue()


TENSORS: dict[str, tuple[bytes, str]] = {
    "one of 2^32 numbers from one": (tensor(1, (2**16, 2**16), (0, 0)), "is 65536x65536 in the file"),
    "one of 2^80 numbers": (tensor(1, (2**40, 2**40), (0, 0)), "net.pt must"),
    "one storage in a thousand tensors": (tensor(1, (2**24,), (0,), times=1000), "tensors differ"),
    "one beyond its storage": (tensor(1, (128, 32), (32, 1)), "tensors differ|outside"),
    "one before its storage": (tensor(1, (128, 32), (0, 0), offset=-1), "do not belong together"),
    "a negative stride": (tensor(1, (128, 32), (-1, 0)), "no whole numbers"),
    "more sizes than strides": (tensor(1, (1, 1), (1,)), "do not belong together"),
    "a storage larger than the file": (tensor(2**40, (1,), (1,)), "not there, or smaller"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_claims_no_more_than_there_is(tmp_path: Path, name: str) -> None:
    data, said = TENSORS[name]
    (tmp_path / "net.pt").write_bytes(zipped(data, s0=bytes(4)))
    with pytest.raises(StateFault, match=said):
        guided_diffusion("adm").read(tmp_path / "net.pt")


def test_a_tensor_outside_its_storage_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(zipped(tensor(1, (2,), (1,)), s0=bytes(4)))
    with pytest.raises(Refused, match="outside its storage of 1"):
        made_tensors(read_tensors(tmp_path / "net.pt"))


def test_a_flipped_bit_anywhere_in_a_pt_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}
    torch.save(state, path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            found = made_tensors(read_tensors(path))
            assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
        except (StateFault, Refused):
            refused += 1
    assert refused > 100
    for name in ("a.weight", "b"):  # the numbers themselves
        place = whole.index(state[name].numpy().tobytes())
        path.write_bytes(whole[:place] + b"\x07" + whole[place + 1 :])
        with pytest.raises(StateFault, match="CRC-32"):
            read_tensors(path)


def test_a_file_that_torch_was_told_to_write_without_checksums_is_read(tmp_path: Path) -> None:
    from torch.utils.serialization import config

    kept = config.save.compute_crc32
    try:
        config.save.compute_crc32 = False
        torch.save({"a": torch.arange(5.0)}, tmp_path / "net.pt")
    finally:
        config.save.compute_crc32 = kept
    assert torch.equal(made_tensors(read_tensors(tmp_path / "net.pt"))["a"], torch.arange(5.0))


def test_a_zip_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(2**26))
    with pytest.raises(StateFault, match="that unpacks to 67,"):
        read_tensors(tmp_path / "net.pt")


def lying(header: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header


ENTRY = '{"a": {"dtype": "F32", "shape": %s, "data_offsets": %s}}'
HEADERS = {
    "longer than the file": lying(b"{}", 2**60),
    "longer than memory": lying(b"{}", 2**63),
    "empty": lying(b""),
    "brackets": lying(b"[" * 100_000),
    "objects": lying(b'{"a":' * 100_000),
    "beyond the file": lying((ENTRY % ("[1]", "[0, 4]")).encode()),
    "sizes that overflow": lying((ENTRY % ("[4294967296, 4294967296, 4294967296]", "[0, 4]")).encode()) + bytes(4),
    "sizes of another length": lying((ENTRY % ("[2]", "[0, 4]")).encode()) + bytes(4),
    "negative": lying((ENTRY % ("[-1]", "[0, 4]")).encode()) + bytes(4),
    "backwards": lying((ENTRY % ("[1]", "[4, 0]")).encode()) + bytes(4),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_safetensors_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    write_diffusers(tmp_path)
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").write_bytes(HEADERS[name])
    with pytest.raises(StateFault, match="must be a state dict of tensors"):
        diffusers().read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "[]", "", "{", '{"a": NaN', "\xff", '{"sample_size": ' + "9" * 10_000 + "}"],
)
@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
def test_damaged_configurations_of_diffusers_are_refused(tmp_path: Path, file: str, text: str) -> None:
    write_diffusers(tmp_path)
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(StateFault, match="must be the JSON object that diffusers writes") as caught:
        diffusers().read(tmp_path)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_in_every_format(tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    for name, (teacher, path) in every(tmp_path).items():
        if path.suffix == ".pt":
            state = torch.load(path, weights_only=True)
            next(x for x in state.values() if x.ndim == 4)[0, 0, 0, 0] = value
            torch.save(state, path)
        elif path.is_dir():
            file = path / "unet/diffusion_pytorch_model.safetensors"
            state = load_file(file)
            state["conv_out.weight"][0, 0, 0, 0] = value
            save_file(state, file)
        else:
            head = (
                ("dec.16x16_aux_conv.weight", (3, 16, 3, 3)) if "ncsnpp" in name else ("out_conv.weight", (3, 32, 3, 3))
            )
            data, numbers = path.read_bytes(), made.made(*head).numpy().tobytes()
            path.write_bytes(data.replace(numbers, struct.pack("<f", value) + numbers[4:]))
        with pytest.raises(StateFault, match="must hold finite weights, got NaN or infinity in"):
            teacher.read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
@pytest.mark.parametrize("name", ["out_conv.bias", "map_augment.weight", "enc.16x16_conv.resample_filter"])
def test_every_tensor_of_a_snapshot_is_finite_also_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    """The last of a bias of iDDPM is of a variance; augmentation and filters are no weights of ours."""
    shapes, real = made.edm_shapes, made.made
    more = {"map_augment.weight": (2, 3), "enc.16x16_conv.resample_filter": (1, 1, 2, 2)}
    monkeypatch.setattr(made, "edm_shapes", lambda arguments: {**shapes(arguments), **more})

    def bad(called: str, shape: tuple[int, ...]) -> torch.Tensor:
        found = torch.full(shape, 0.25) if called.endswith("filter") else real(called, shape)
        if called == wrong:
            found = found.double() if value == 1e39 else found
            found.view(-1)[-1] = value
        return found

    monkeypatch.setattr(made, "made", bad)
    wrong = ""
    made.write_edm(tmp_path / "net.pkl", made.EDM["iddpm"])
    assert edm("iddpm").read(tmp_path / "net.pkl")
    wrong = name
    made.write_edm(tmp_path / "net.pkl", made.EDM["iddpm"])
    with pytest.raises(StateFault, match=rf"got NaN or infinity in model\.{name}; it is damaged"):
        edm("iddpm").read(tmp_path / "net.pkl")


def test_the_dropped_variance_of_a_guided_diffusion_is_finite(tmp_path: Path) -> None:
    made.write_openai(tmp_path / "net.pt", made.OPENAI["adm"], out_channels=6)
    assert guided_diffusion("adm").read(tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    state["out.2.bias"][5] = float("nan")
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(StateFault, match=r"got NaN or infinity in out\.2\.bias"):
        guided_diffusion("adm").read(tmp_path / "net.pt")


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1), (1, 2, 1)])
def test_the_filters_of_a_snapshot_are_those_of_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taps: tuple[int, ...]
) -> None:
    shapes, real, line = made.edm_shapes, made.made, torch.tensor(taps, dtype=torch.float32)
    name = "enc.8x8_down.conv0.resample_filter"
    filters = {name: (1, 1, len(taps), len(taps))}
    monkeypatch.setattr(made, "edm_shapes", lambda arguments: {**shapes(arguments), **filters})

    def square(called: str, shape: tuple[int, ...]) -> torch.Tensor:
        return (torch.outer(line, line) / line.sum() ** 2).reshape(shape) if called == name else real(called, shape)

    monkeypatch.setattr(made, "made", square)
    made.write_edm(tmp_path / "net.pkl", made.EDM["ncsnpp"], resample_filter=[1, 3, 3, 1])
    if taps == made.EDM["ncsnpp"]["resample_filter"]:
        assert edm("ncsnpp").read(tmp_path / "net.pkl")
        return
    with pytest.raises(StateFault, match=r"configured filter \[1, 3, 3, 1\], got model\.enc\.8x8_down\.conv0"):
        edm("ncsnpp").read(tmp_path / "net.pkl")


AUDITED = """
import sys, io, warnings
from pathlib import Path
sys.path[:0] = {paths!r}
from tests.teachers import test_formats
from tests.house import made_teachers
from tests.teachers import test_hostile
folder = Path({folder!r})
teachers = test_hostile.all_teachers()
def read_all():
    said = []
    for name, teacher in teachers.items():
        for path in sorted(folder.glob(name)):
            try:
                teacher.read(path)
                said.append(path.name + " read")
            except test_formats.StateFault:
                said.append(path.name + " refused")
    return said
read_all()  # what torch and others import at their first use
events = []
watched = ("exec", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
           "pickle.find_class", "open", "os.remove", "os.rename", "socket.connect", "ctypes.dlopen", "compile")
def hook(event, arguments):
    if event in watched:
        path = str(arguments[0]) if arguments else ""
        if event != "open" or not path.startswith(str(folder)) or "w" in str(arguments[1] or "r"):
            events.append((event, path[:200]))
sys.addaudithook(hook)
said = read_all()
print(said, events)
assert any(line.endswith("read") for line in said) and sum(line.endswith("refused") for line in said) >= {least}
assert not events, events
"""


class Evil:
    """Asks to be made by a function that runs something."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def test_no_reader_runs_imports_or_opens_anything_for_a_file(tmp_path: Path) -> None:
    """A hook sees every import, call of the system and file opened while all readers read good and evil files."""
    import os

    ran = str(tmp_path / "ran")
    evils = [
        Evil(os.system, f"touch {ran}"),
        Evil(eval, f"open({ran!r}, 'w')"),
        Evil(exec, f"open({ran!r}, 'w')"),
        Evil(__import__, "this"),
        Evil(open, ran, "w"),
        Evil(getattr, "a", "upper"),
        Evil(subprocess.Popen, ["touch", ran]),
        Evil(torch.load, ran),
    ]
    folder = tmp_path / "files"
    folder.mkdir()
    for name, (_, path) in every(folder).items():
        if path.is_dir():
            path.rename(folder / f"folder {name}")
    (folder / "cm.pt").unlink()
    for i, evil in enumerate(evils):
        torch.save({"time_embed.0.weight": evil}, folder / f"{i}.pt")
        torch.save({"time_embed.0.weight": evil}, folder / f"{i}-old.pt", _use_new_zipfile_serialization=False)
        (folder / f"{i}.pkl").write_bytes(pickle.dumps({"ema": evil}))
        write_diffusers(folder / f"folder {i}", safe=False)
        torch.save({"conv_in.weight": evil}, folder / f"folder {i}/unet/diffusion_pytorch_model.bin")
    for i, data in enumerate(PICKLES.values()):
        if len(data) < 1000:
            (folder / f"hostile {i}.pt").write_bytes(zipped(data))
            (folder / f"hostile {i}.pkl").write_bytes(data)
    here = Path(__file__).parent
    code = AUDITED.format(paths=[str(here), str(here.parent)], folder=str(folder), least=4 * len(evils))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert not Path(ran).exists()


def test_the_scheduler_of_a_hostile_folder_is_bounded(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    path = tmp_path / "scheduler/scheduler_config.json"
    for said in ({"num_train_timesteps": 10**15}, {"num_train_timesteps": "many"}, {"beta_end": "a" * 10**6}):
        path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
        started = time.process_time()
        with pytest.raises(StateFault) as caught:
            diffusers(schedule=LinearTable(), prediction=FromEps()).read(tmp_path)
        assert len(str(caught.value)) < 1_000
        assert time.process_time() - started < 10


def test_a_tensor_of_a_snapshot_is_compared_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = made.made

    def wide(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.zeros(1).expand(2**20, 2**20) if name == "map_layer0.weight" else real(name, shape)

    monkeypatch.setattr(made, "made", wide)
    made.write_edm(tmp_path / "net.pkl", made.EDM["adm"])
    with pytest.raises(StateFault, match="is 1048576x1048576 in the file"):
        edm("adm").read(tmp_path / "net.pkl")


@pytest.mark.parametrize("kind", ["net.pt", "net.pkl"])
def test_a_tensor_with_a_state_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Grown:
        def __reduce__(self) -> tuple[Any, ...]:
            storage = torch.ones(4).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, (4,), (1,), False, {}), (storage, 0, (10**6,), (1,))

    if kind == "net.pt":
        torch.save({"time_embed.0.weight": Grown()}, tmp_path / kind)
    else:
        real = made.module

        def module(name: str, tensors: Any) -> Any:
            found = real(name, tensors)
            if "weight" in found.own["_parameters"]:
                found.own["_parameters"]["weight"] = Grown()
            return found

        monkeypatch.setattr(made, "module", module)
        made.write_edm(tmp_path / kind, made.EDM["adm"])
    with pytest.raises(StateFault, match="the state of a tensor"):
        all_teachers()["*" + kind.removeprefix("net")].read(tmp_path / kind)


def test_a_snapshot_whose_modules_hold_themselves_ends(tmp_path: Path) -> None:
    with made.names_of_persistence():
        inner = made.Persistent("DhariwalUNet", _parameters={}, _buffers={}, _modules={})
        outer = made.Persistent("EDMPrecond", _parameters={}, _buffers={}, _modules={"model": inner})
        outer.own |= {"_init_args": (), "_init_kwargs": {**made.EDM["adm"], "img_channels": 3}}
        loop: list[Any] = []
        loop.append(loop)
        for kwargs in ({"x": loop}, {"x": "y" * 10**6}, {"x" * 10**6: 1}, {"x": [[[[[[1]]]]]]}, {"x": [0] * 20_000}):
            outer.own["_init_kwargs"] = {**made.EDM["adm"], **kwargs}
            (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": outer}))
            with pytest.raises(StateFault) as caught:
                edm("adm").read(tmp_path / "net.pkl")
            assert len(str(caught.value)) < 1_000
