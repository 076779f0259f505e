"""Parts of diffusers' pipelines beside the network: found in a folder or on the hub, and read without running code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from boot_exp.engine.libraries import check_sentences
from boot_exp.teachers import shown
from boot_exp.teachers.folders import read_json
from evals.ground.extras import extras
from evals.ground.faults import MissingResource, StateFault, first_line, reading
from evals.ground.files import sha256_of

STEMS = ("model", "diffusion_pytorch_model")  # of transformers and of diffusers
PICKLES = (".bin", ".pt", ".ckpt")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The folder of a pipeline, the names of the parts that are read, and its model_index.json."""

    folder: Path
    parts: Sequence[str]
    said: Mapping[str, Any] = field(repr=False)

    @classmethod
    def at(cls, source: str, revision: str | None, parts: Sequence[str]) -> Pipeline:
        """Finds a folder, or fetches a model of the hub. MissingResource: neither is there; StateFault: a part lacks.

        parts: the sub-folders that are read; no others are fetched.
        """
        folder = Path(source)
        if not folder.exists():
            folder = fetched(source, revision, parts)
        for part in parts:
            if not (folder / part).is_dir():
                there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
                raise StateFault(
                    f"{folder} must be a whole pipeline with the folder {part}, got "
                    f"{', '.join(map(shown, there[:8])) or 'no folders'}; fetch that part too"
                )
        index = folder / "model_index.json"
        return cls(folder=folder, parts=parts, said=read_json(index) if index.is_file() else {})

    def files(self) -> list[Path]:
        """Returns all files that are read of the parts, in one order. StateFault: a model has no safetensors."""
        found = []
        for part in self.parts:
            inner = self.folder / part
            weights = [path for path in inner.glob("*.safetensors") if path.name.startswith(STEMS)]
            named = [path for path in weights if path.name.count(".") == 1]  # no variants of half precision
            if "tokenizer" not in part and not named:
                others = sorted(path.name for path in inner.iterdir() if path.suffix in (*PICKLES, ".safetensors"))
                raise StateFault(
                    f"{inner} must hold weights as safetensors, {' or '.join(STEMS)}.safetensors, got "
                    f"{', '.join(map(shown, others[:3])) or 'none'}; fetch them: nothing else is read, since it may "
                    "run code"
                )
            found += named
            found += [path for path in inner.iterdir() if path.suffix in (".json", ".txt", ".model")]
        return sorted(found)

    def sha256(self) -> str:
        """Returns one hash over the names and bytes of all files that are read."""
        lines = [f"{sha256_of(file)}  {file.relative_to(self.folder).as_posix()}\n" for file in self.files()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def tokenizer(self, part: str, kind: str) -> Any:
        """Reads a tokenizer. StateFault: it is damaged, or of another class."""
        with extras():
            import transformers

        inner = self.folder / part
        # Of a folder without a vocabulary transformers makes a tokenizer that reads every prompt as the same.
        there = {path.name for path in inner.iterdir()}
        if not (there & {"tokenizer.json", "spiece.model"} or there >= {"vocab.json", "merges.txt"}):
            raise StateFault(
                f"{inner} must hold tokenizer.json, spiece.model, or vocab.json and merges.txt, got "
                f"{', '.join(map(shown, sorted(there)[:4])) or 'nothing'}; fetch them"
            )
        if there.isdisjoint({"tokenizer.json", "vocab.json"}):
            check_sentences(inner / "spiece.model")
        with quiet(), reading(inner, f"must hold a {kind}", "fetch it again, or bind what it is of", StateFault):
            found = getattr(transformers, kind).from_pretrained(inner, local_files_only=True)
            if not 0 < found.model_max_length < 2**31:  # what transformers says where a file says nothing
                found.model_max_length = 77
            return found

    def model(self, part: str, kind: str, dtype: torch.dtype, library: str = "transformers") -> Any:
        """Reads a model for evaluation. StateFault: it is damaged, lacks weights, or is of another class."""
        with extras():
            import diffusers
            import transformers

        inner = self.folder / part
        self.files()
        made = getattr({"transformers": transformers, "diffusers": diffusers}[library], kind)
        precision = {"dtype" if library == "transformers" else "torch_dtype": dtype}
        with quiet(), reading(inner, f"must hold a {kind}", "fetch it again", StateFault):
            model, loading = made.from_pretrained(
                inner, use_safetensors=True, local_files_only=True, output_loading_info=True, **precision
            )
        # transformers draws at random what a file lacks, and says so in its log alone.
        lacking = [*loading["missing_keys"], *(str(key) for key in loading["mismatched_keys"])]
        if lacking:
            raise StateFault(
                f"{inner} must hold all weights of a {kind}, got {len(lacking)} that lack or differ, first "
                f"{shown(sorted(lacking)[0])}; bind what the pipeline has, or fetch it again"
            )
        return model.eval().requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings and bars of transformers and diffusers from standard error; faults say what matters."""
    with extras():
        from diffusers.utils import logging as second
        from transformers.utils import logging as first

    levels = [(logs, logs.get_verbosity()) for logs in (first, second)]
    bar = first.is_progress_bar_enabled()
    try:
        for logs, _ in levels:
            logs.set_verbosity_error()
        first.disable_progress_bar()
        yield
    finally:
        for logs, level in levels:
            logs.set_verbosity(level)
        if bar:
            first.enable_progress_bar()


def fetched(name: str, revision: str | None, parts: Sequence[str]) -> Path:
    """Downloads the parts of a pipeline of the hub and returns its folder. MissingResource: it cannot be fetched."""
    with extras():
        from huggingface_hub import snapshot_download

    kinds = ("*.json", "*.txt", "*.model", *(f"{stem}{shard}.safetensors" for stem in STEMS for shard in ("", "-*")))
    patterns = ["model_index.json", *(f"{part}/{kind}" for part in parts for kind in kinds)]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's library raises a dozen types of errors, and those of its transports
        gated = "Gated" in type(error).__name__ or " 401 " in str(error) or " 403 " in str(error)
        cure = "accept its licence there and log in (hf auth login)" if gated else "fetch it elsewhere"
        raise MissingResource(
            f"{name} must be the folder of a pipeline, or a model of the hub that can be fetched, got "
            f"{first_line(error)}; {cure}, or bind the path of its folder"
        ) from error
