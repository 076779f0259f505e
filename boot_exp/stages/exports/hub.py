"""Uploads an exported student to the hub."""

from __future__ import annotations

from pathlib import Path

from evals.ground.ending import tell
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, first_line


def push(folder: Path, name: str) -> None:
    """Uploads an exported folder as the model OWNER/NAME of the hub, which is made if it is new.

    MissingResource: the upload failed.
    """
    with extras():
        from huggingface_hub import HfApi

    try:
        HfApi().create_repo(name, exist_ok=True)
        place = HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message=f"Export {folder.name}")
    except Exception as error:  # the hub's library raises a dozen types of errors, and those of its transports
        raise MissingResource(
            f"{folder} must be uploaded to the hub as {name}, got {first_line(error)}; log in with hf auth login, then "
            f"run: hf upload {name} {folder}"
        ) from error
    tell(f"{place}: uploaded")
