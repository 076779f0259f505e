"""Reads third-party files of tensors: .pt in either format of torch.save, and safetensors; runs nothing in them."""

import io
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from evals.features import pickles
from evals.features.pickles import Name, Refused, Within
from evals.features.stored import DTYPES, KNOWN, LARGEST, ORDER, QUANTIZED, Kept, Storage, flat, of_kind
from evals.ground.extras import extras
from evals.ground.faults import StateFault

SAFE = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SAFE |= {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what torch.save wrote first, before it wrote zips
POINTER = b"version https://git-lfs"
MEMBERS = 50_000  # of a zip; networks have thousands
UNPACKED, SMALL = 20, 2**24  # times its size, and bytes besides, that a zip may unpack to


MUST = "must be a state dict of tensors, as torch.save or safetensors writes them"
CURE = (
    "nothing of it was run; if it is a snapshot of NVIDIA's EDM, edm.Edm reads it; of a network or a training that was "
    "saved whole, save the network's state_dict(); else fetch it again from its authors"
)


def read_tensors(path: Path, *, must: str = MUST, cure: str = CURE) -> dict[str, Kept]:
    """Reads the floating-point tensors of a file by their names; names in nested dicts are joined by dots.

    must, cure: for the message. StateFault: the file is damaged, of another kind, or has names that no file of tensors
    has; nothing in it is run.
    """
    return {name: kept for name, kept in read_all(path, must=must, cure=cure).items() if not kept.unread}


def read_all(path: Path, *, must: str = MUST, cure: str = CURE) -> dict[str, Kept]:
    """Does as `read_tensors`, and returns tensors that are not read as well, each with what it is.

    The first bytes of a file decide how it is read, and not its name.
    """
    with pickles.foreign(path, must, cure):
        start = opening(path)
        if start[8:9] == b"{" or (path.suffix == ".safetensors" and start[:2] not in (b"PK", b"\x80\x02")):
            return dict(_safetensors(path))
        return flat(_zipped(path) if start[:2] == b"PK" else legacy(lambda: path.open("rb"), path.stat().st_size))


def opening(path: Path) -> bytes:
    """Returns the first bytes of a file. StateFault: git-lfs has left a pointer in the place of the file."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(POINTER):
        raise StateFault(
            f"{path} must hold weights, got a pointer of git-lfs to them, {path.stat().st_size} bytes; run `git lfs "
            "pull` in its repository, or fetch the file itself"
        )
    return start


def _claim(pid: Any) -> tuple[torch.dtype, str, int, Any]:
    """Returns a storage from its description in a pickle: type, key, count of numbers, and offset."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
        raise Refused("a persistent id that is no storage")
    _, named, key, _, count, *part = pid
    dtype = DTYPES.get(named.full, QUANTIZED.get(named.full)) if isinstance(named, Name) else None
    if dtype is None or type(count) is not int or not 0 <= count < LARGEST:
        raise Refused(f"a storage of {pickles.kind(named)}")
    return dtype, _key(key), count, part[0] if part else None


def _key(key: Any) -> str:
    if not (isinstance(key, str | bytes) and len(key) <= 100) and not (type(key) is int and 0 <= key < LARGEST):
        raise Refused("a storage without a key")
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _zipped(path: Path) -> Any:
    """Reads a torch.save file: a zip of a pickle and of storages, whose checksums are compared."""
    archive = zipfile.ZipFile(path)
    if len(archive.infolist()) > MEMBERS:
        raise Refused(f"a zip of {len(archive.infolist()):,} files")
    members = {member.filename: member for member in archive.infolist()}
    roots = [name.removesuffix("/data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(members) != len(archive.infolist()) or len(roots) != 1:
        raise Refused("a zip that torch.save did not write")
    (root,) = roots
    if f"{root}/constants.pkl" in members:
        raise Refused("TorchScript, which is a program")
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members.values())
    if sum(member.compress_size for member in members.values()) > size or unpacked > UNPACKED * size + SMALL:
        raise Refused(f"a zip of {size:,} bytes that unpacks to {unpacked:,}")
    if {*(member.compress_type for member in members.values())} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Refused("a zip that is packed otherwise than torch reads")
    if not any(member.CRC for member in members.values()):  # torch can be configured to write none
        for member in members.values():
            del member.CRC
    if (damaged := archive.testzip()) is not None:
        raise Refused(f"{damaged[:80]} with another CRC-32 than the file says, so that it is damaged")
    if f"{root}/byteorder" in members and archive.read(f"{root}/byteorder") != b"little":
        raise Refused("numbers of another order of bytes")
    order: dict[str, int] = {}

    def stored(pid: Any) -> Storage:
        dtype, key, count, _ = _claim(pid)
        member = members.get(f"{root}/data/{key}")
        if member is None or count * dtype.itemsize > member.file_size:
            raise Refused(f"a storage {key[:80]} of {count:,} numbers that is not there, or smaller")
        read = partial(_unpacked, archive, member)
        return Storage(dtype=dtype, order=order.setdefault(key, next(ORDER)), read=read)

    data = archive.read(f"{root}/data.pkl")
    return pickles.read(Within(io.BytesIO(data), len(data)), KNOWN.__contains__, stored)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    with archive.open(member) as file:
        return _bytes(file, member.file_size)


def _bytes(file: IO[bytes], count: int) -> Tensor:
    found = bytearray(count)
    if file.readinto(found) != count:  # type: ignore[attr-defined]
        raise Refused("a file that was cut while it was read")
    return torch.frombuffer(found, dtype=torch.uint8) if count else torch.zeros(0, dtype=torch.uint8)


def legacy(opened: Callable[[], IO[bytes]], size: int) -> Any:
    """Reads a torch.save file from before zips: pickles, followed by the storages."""
    storages: dict[str, Storage] = {}
    counts: dict[str, int] = {}

    def stored(pid: Any) -> Storage:
        dtype, key, count, part = _claim(pid)
        whole = storages.setdefault(key, Storage(dtype=dtype, order=next(ORDER), read=_nowhere))
        counts[key] = count
        if whole.dtype != dtype:
            raise Refused("a storage of two types")
        if part is None:
            return whole
        if not isinstance(part, tuple) or len(part) != 3 or type(part[1]) is not int:
            raise Refused("a part of a storage that says not which")
        return Storage(dtype=dtype, order=whole.order, read=lambda: whole.read(), first=part[1])  # known later

    with opened() as file:
        within = Within(file, size)
        magic, protocol, system = (pickles.read(within, lambda name: False) for _ in range(3))
        if (magic, protocol) != (MAGIC, PROTOCOL):
            raise Refused("another file")
        if (pickles.entries(system) or {}).get("little_endian") is not True:
            raise Refused("numbers of another order of bytes")
        value = pickles.read(within, KNOWN.__contains__, stored)
        keys = pickles.read(within, lambda name: False)
        if not isinstance(keys, list) or len(keys) != len(storages):
            raise Refused("other storages than its tensors are of")
        for key in keys:
            storage, count = storages.get(_key(key)), int.from_bytes(within.read(8), "little")
            if storage is None or count != counts[_key(key)]:
                raise Refused("a storage of another size than its tensors say")
            place, length = file.tell(), count * storage.dtype.itemsize
            if length > size - place:
                raise Refused("a file that ends within a storage")
            storage.read = partial(_at, opened, place, length)
            file.seek(length, io.SEEK_CUR)
    return value


def _nowhere() -> Tensor:
    raise Refused("a storage that the file does not hold")


def _at(opened: Callable[[], IO[bytes]], place: int, length: int) -> Tensor:
    with opened() as file:
        file.seek(place)
        return _bytes(file, length)


def _safetensors(path: Path) -> Iterator[tuple[str, Kept]]:
    with extras():
        from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            part = file.get_slice(name)
            shape = tuple(part.get_shape())
            if (dtype := SAFE.get(part.get_dtype())) is None:
                yield name, of_kind(part.get_dtype().replace("I", "int").replace("U", "uint").lower(), shape)
                continue
            storage = Storage(dtype=dtype, order=next(ORDER), read=partial(_safe, path, name))
            stride = tuple(torch.empty(shape, device="meta").stride())
            yield name, Kept(storage=storage, dtype=dtype, shape=shape, stride=stride, offset=0)


def _safe(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        found: Tensor = file.get_tensor(name)
    return found.contiguous().flatten().view(torch.uint8)
