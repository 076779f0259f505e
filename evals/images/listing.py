"""Lists the images of a folder or a zip by name, alike for both."""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from evals.ground.ending import tell
from evals.ground.faults import DataFault, reading

EXTENSIONS = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".heic", ".heif"}
)
NOBODYS = frozenset({"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "thumbs.db", "desktop.ini"})
"""What systems put beside people's images, in small letters; names that begin with a dot are no images either."""
DATASET_JSON = "dataset.json"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How members of a zip may be packed: Python unpacks the other methods whole, whatever size a member claims."""
FREE, RATIO = 2**26, 200
"""What a compressed part may unpack to: 64 MiB, or so many times its size if that is more."""

Reader = Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images, sorted by name, each with its reader; every dataset.json; and counts of other files."""

    images: Mapping[str, Reader]
    said: Mapping[str, Reader]
    notes: Mapping[str, int]


def listed(path: Path) -> Listing:
    """Lists the files of a folder (recursive, through links) or a zip; names are relative and separated by /.

    Hidden files and folders and those of NOBODYS are skipped, and files that are not images are left out; both are
    counted. DataFault: it is neither, two files have one name, or a member of the zip cannot be unpacked.
    """
    if not path.exists():
        raise DataFault(
            f"images must be a folder, .zip, .npy or .npz, got {path}, which is not there; give the path of the images"
        )
    notes: Counter[str] = Counter()
    images: dict[str, Reader] = {}
    said: dict[str, Reader] = {}
    others: Counter[str] = Counter()
    folders: set[str] = set()
    found = _in_folder(path, notes) if path.is_dir() else _in_zip(path)
    for raw, read in found:
        name = _plain(path, raw)
        parts = name.split("/")
        folders.add(name if read is None else "/".join(parts[:-1]))
        if read is None:
            continue
        suffix = PurePosixPath(parts[-1]).suffix.lower()
        if _is_nobodys(parts):
            if suffix in EXTENSIONS and not parts[-1].startswith("._"):
                notes["images in hidden or system folders, skipped"] += 1
        elif suffix in EXTENSIONS or parts[-1] == DATASET_JSON:
            kind = said if parts[-1] == DATASET_JSON else images
            if name in kind:
                raise DataFault(f"every image must have a name of its own, got {name} twice in {path}; rename one")
            kind[name] = read
        else:
            others[suffix or "without a suffix"] += 1
    bare = _with_those_above(folders) - _with_those_above({name.rpartition("/")[0] for name in images})
    if empty := {folder for folder in bare if not _is_nobodys(folder.split("/"))}:
        notes["folders without images, which are no classes"] += len(empty)
    if others:
        kinds = " ".join(sorted(others, key=lambda kind: (-others[kind], kind))[:5])
        notes[f"files that are no images ({kinds}), left out"] += others.total()
    return Listing(images=dict(sorted(images.items())), said=said, notes=notes)


def said(notes: Mapping[str, int]) -> str:
    """Formats notes as one line: 3 images turned upright ...; 2 files ..."""
    return "; ".join(f"{count:,} {what}" for what, count in sorted(notes.items()))


def say(path: Path, notes: Mapping[str, int]) -> None:
    """Prints the notes on the images of `path` and on files left out, if there are any."""
    if notes:
        tell(f"{path}: {said(notes)}")


def check_claim(what: str, claimed: int, held: int) -> None:
    """DataFault: a member of `held` bytes claims to unpack to more than any image or array would."""
    if claimed > max(FREE, RATIO * held):
        raise DataFault(
            f"{what} must unpack to at most {RATIO} times its size, got {claimed:,} bytes from {held:,}; "
            "store it uncompressed if it is sound"
        )


def _with_those_above(folders: set[str]) -> set[str]:
    return {above for folder in folders for above in (folder, *map(str, PurePosixPath(folder).parents))} - {"", "."}


def _is_nobodys(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") or part.lower() in NOBODYS for part in parts)


def _plain(path: Path, raw: str) -> str:
    """Normalises a name: removes parts without meaning and turns Windows' separators into slashes."""
    parts = [part for part in raw.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise DataFault(f"names of images must stay within {path}, got {raw!r}; rename it")
    return "/".join(parts)


def _in_folder(path: Path, notes: Counter[str]) -> Iterator[tuple[str, Reader | None]]:
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(path), "", frozenset())]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            own = os.stat(folder)
            if (here := (own.st_dev, own.st_ino)) in above:
                notes["links to a folder that holds them, not followed"] += 1
                continue
            if prefix:
                yield prefix, None
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        waiting.append((entry.path, f"{prefix}{entry.name}/", above | {here}))
                    else:
                        yield f"{prefix}{entry.name}", partial(_read_file, entry.path)
        except OSError as error:
            raise DataFault(
                f"a folder of images must be readable, got {folder} ({error.strerror}); see who may read it"
            ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; its reader will name it
        return False


def _read_file(path: str) -> bytes:
    # Reading a pipe would wait forever.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("is no regular file")
    return Path(path).read_bytes()


def _in_zip(path: Path) -> Iterator[tuple[str, Reader | None]]:
    with reading(path, "must be a folder, .zip, .npy or .npz of images", "fetch it again"):
        archive = zipfile.ZipFile(path)  # closed with its last reader, which may be used later
    for member in archive.infolist():
        name = _member_name(member)
        if name.endswith(("/", "\\")):
            if name.strip("./\\"):
                yield name, None
            continue
        if member.flag_bits & 0x1 or member.compress_type not in METHODS:
            how = "an encrypted one" if member.flag_bits & 0x1 else f"compression method {member.compress_type}"
            raise DataFault(
                f"members of a zip must be stored or deflated, without a password, got {how} ({name} in {path}); "
                "zip the images again"
            )
        check_claim(f"{name} in {path}", member.file_size, member.compress_size)
        yield name, partial(archive.read, member)


def _member_name(member: zipfile.ZipInfo) -> str:
    """Decodes a name as UTF-8 if valid, flagged or not; otherwise by its system: bytes for Unix, cp437 for others."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        raw = member.filename.encode("cp437")
        return raw.decode("utf-8", "surrogateescape" if member.create_system == 3 else "strict")
    except UnicodeError:
        return member.filename
