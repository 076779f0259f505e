"""Files as a git revision or an experiment of DVC has them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from evals.ground.faults import DataFault


def commit_of(revision: str) -> str:
    """Returns the commit of a git revision, or of DVC's experiment of that name. DataFault: there is neither."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found is None:
        refs = (_git("for-each-ref", "--format=%(refname)", "refs/exps") or b"").decode().split()
        named = [ref for ref in refs if ref.rpartition("/")[2] == revision]
        found = _git("rev-parse", "--verify", "--quiet", f"{named[-1]}^{{commit}}") if named else None
    if found is None:
        raise DataFault(
            f"{revision} must be a git revision, or an experiment that dvc exp show names, got neither; name another"
        )
    return found.decode().strip()


def copy_from(commit: str, folder: str, names: Sequence[str], out: Path) -> None:
    """Writes the named files of a folder, as a commit has them, into `out`; those that it has not are left out."""
    for name in names:
        content = _git("show", f"{commit}:./{PurePosixPath(folder) / name}")
        if content is not None:
            (out / name).write_bytes(content)


def _git(*arguments: str) -> bytes | None:
    """Returns what git prints; None if it fails, or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except (OSError, ValueError):  # no git, or a name that no program can be given
        return None
    return done.stdout if done.returncode == 0 else None
