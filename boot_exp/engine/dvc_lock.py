"""Repairs dvc.lock after a DVC was killed: DVC writes it in place, and every dvc command refuses a damaged one.

The last valid lock is kept in DVC's own folder for temporary files. Stages that finished since are in the run cache.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from evals.ground.ending import tell
from evals.ground.faults import StateFault
from evals.ground.files import replacing

LOCK, TMP = Path("dvc.lock"), Path(".dvc/tmp")
KEPT, DAMAGED, BUSY = TMP / "dvc.lock.sound", TMP / "dvc.lock.damaged", TMP / "rwlock"


def keep_or_restore() -> None:
    """Keeps a copy of a valid dvc.lock; replaces a damaged one by the last valid one, and reports it.

    Does nothing while another DVC runs. StateFault: this is no DVC project.
    """
    if not Path(".dvc").is_dir():
        raise StateFault(f"a DVC project must be in the current folder, got none in {Path.cwd()}; go to its root")
    if _is_whole(BUSY) and (not LOCK.exists() or (KEPT.exists() and KEPT.read_bytes() == LOCK.read_bytes())):
        return
    from dvc.lock import Lock, LockError

    TMP.mkdir(exist_ok=True)
    try:
        with Lock(str(TMP / "lock")), Lock(str(TMP / "rwlock.lock")):
            if not _is_whole(BUSY):
                BUSY.unlink()
                tell(f"boot-exp: {BUSY} was damaged, as by a DVC that was killed; taken away")
            if LOCK.exists():
                _keep_or_restore(LOCK.read_bytes())
    except LockError:
        return  # DVC reports that itself


def _is_whole(busy: Path) -> bool:
    """Returns whether DVC can read its list of readers and writers; if that is cut, every dvc command ends."""
    try:
        return not busy.exists() or isinstance(json.loads(busy.read_text()), dict)
    except ValueError:
        return False


def _keep_or_restore(content: bytes) -> None:
    if _is_sound(content):
        with replacing(KEPT) as partial:
            partial.write_bytes(content)
        return
    LOCK.rename(DAMAGED)
    last = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, check=False).stdout
    choices = {"the last sound one": KEPT.read_bytes() if KEPT.exists() else b"", "git's": last}
    source = next((name for name, choice in choices.items() if _is_sound(choice)), "none")
    if source in choices:
        with replacing(LOCK) as partial:
            partial.write_bytes(choices[source])
    what = (
        "held the marks of a merge" if b"\n<<<<<<< " in b"\n" + content else "was damaged, as by a DVC that was killed"
    )
    tell(
        f"boot-exp: {LOCK} {what}, and is now {DAMAGED}; {source} is in its place, and what was finished since comes "
        "from the run cache"
    )


def _is_sound(content: bytes) -> bool:
    """Returns whether DVC reads a lock: valid by its schema, with a whole last line, as half a hash can be a number."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except Exception:  # a cut file makes its readers raise all kinds of exceptions
        return False
    return content.endswith(b"\n")
