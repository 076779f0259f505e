"""dvc.lock after a DVC that was killed: it writes that file in place, and every dvc command refuses a damaged one.

The last sound lock is kept in DVC's own folder for temporary files. What was finished since comes from the run cache.
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
    """Keeps a copy of a sound dvc.lock; puts back the last sound one in the place of a damaged one, and says so.

    Nothing is done where another DVC runs. StateFault: this is no DVC project.
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
        return  # it says so itself


def _is_whole(busy: Path) -> bool:
    """Whether DVC can read its list of who reads and writes what: with one that was cut every dvc command ends."""
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
    """Whether DVC would read a lock: by its own schema, and with a whole last line, for half a hash may be a number."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content.decode()))
    except Exception:  # whatever a cut file makes its readers raise
        return False
    return content.endswith(b"\n")
