"""Stage prompts: reads, filters and encodes the prompts of a text-to-image suite, once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import ClassVar

from boot_exp.config.components import Count, OpenShare, component
from boot_exp.data.encoders import Encode, TextEncoder
from boot_exp.data.prompt_files import PromptFile
from boot_exp.data.prompt_rules import Rule, parts, ruled
from boot_exp.data.stored_prompts import (
    CARD,
    HELD_OUT,
    NEGATIVE,
    SHARD,
    TRAINING,
    PromptsCard,
    bytes_of,
    hash_of_prompts,
    write_parts,
)
from boot_exp.engine.compute import Compute
from boot_exp.engine.journal import Meter
from boot_exp.engine.stopping import Stopped, stop_requests
from boot_exp.engine.work import alone, in_shards
from boot_exp.stages.place import Place, provenance
from evals.ground.ending import tell
from evals.ground.faults import DataFault, OutputFault, printable, writing
from evals.ground.files import replacing_folder, sha256_of, write_json, write_texts

COUNTED = 4_096
"""Prompts whose tokens are counted at a time."""


@component
class Prompts:
    """A file of prompts, the rules that they pass through, and the encoder of the suite's teacher.

    negative: the prompt that guidance compares with, encoded with them; held_out: the share that only samples and
    previews are made of; store: whether text is encoded here, once, or by `TextAtEveryStep` in each stage that needs
    it; may_cut: whether a prompt may be longer than the tokenizer reads; shard: prompts in a file of stored text, after
    each of which an interrupted run continues.
    """

    alone: ClassVar[bool] = True

    file: PromptFile
    encoder: TextEncoder
    rules: Sequence[Rule] = ()
    negative: str = ""
    held_out: OpenShare = 0.01
    store: bool = True
    may_cut: bool = True
    shard: Count = 1_000
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place) -> None:
        """Writes training.txt, held_out.txt, negative.safetensors, text-NNNNN.safetensors if stored, and card.json."""
        path, source = self.file.located()
        numbers = [name for rule in self.rules for name in rule.numbers]
        rows, taken = ruled(self.file.rows(path, numbers), self.rules, str(path))
        training, held_out = parts(rows, self.held_out, str(path))
        texts = [*training, *held_out]
        where = self.compute.find()
        encode = self.encoder.on(where)
        cut = self.longer(texts, encode, path)
        work = place.work(source, encode.sha256)
        with alone(work):
            work.mkdir(parents=True, exist_ok=True)
            negative = encode.negative(self.negative)
            write_parts(work / NEGATIVE, negative)
            write_texts(work, {name: _lines(part) for name, part in ((TRAINING, training), (HELD_OUT, held_out))})
            total = bytes_of(negative) * len(texts) if self.store else 0
            self.check_room(place, work, len(texts), total)
            if self.store:
                self.encode(texts, encode, work, f"{place.suite} prompts")
            files = sorted(path for path in work.iterdir() if path.suffix in (".txt", ".safetensors"))
            hashes = {path.name: sha256_of(path) for path in files}
            card = PromptsCard(
                suite=place.suite,
                n=len(texts),
                held_out=len(held_out),
                share=self.held_out,
                source=str(self.file),
                source_sha256=source,
                rules=taken,
                encoder=repr(self.encoder),
                encoder_sha256=encode.sha256,
                negative=self.negative,
                tokens=encode.tokens,
                cut=cut,
                stored=self.store,
                shard=self.shard,
                bytes=sum(path.stat().st_size for path in files),
                sha256=hashes,
                sha256_of_prompts=hash_of_prompts(hashes, repr(self.encoder), encode.sha256, self.negative),
                **provenance(where),
            )
            with stop_requests() as stops:
                with replacing_folder(place.out, holding=CARD) as folder:
                    for path in files:
                        _linked(path, folder / path.name)
                    write_json(folder / CARD, asdict(card))
                if not stops:  # DVC deletes the result of a stage that was stopped
                    shutil.rmtree(work)
        print(printable(f"{place.out}: {said(card)}"))

    def longer(self, texts: Sequence[str], encode: Encode, path: Path) -> int:
        """Returns how many prompts the tokenizer cuts. DataFault: it cuts some, and may not."""
        lengths = [
            count for low in range(0, len(texts), COUNTED) for count in encode.counts(texts[low : low + COUNTED])
        ]
        cut = sum(length > encode.tokens for length in lengths)
        if cut and not self.may_cut:
            raise DataFault(
                f"prompts must have at most {encode.tokens} tokens, got {cut:,} of {path} that are longer, up to "
                f"{max(lengths):,}; bind the rule Longest, or Prompts.may_cut = True"
            )
        return cut

    def check_room(self, place: Place, work: Path, n: int, total: int) -> None:
        """Says how many bytes the stored text takes. OutputFault: a disk has not enough."""
        if not total:
            return
        tell(f"{place.suite} prompts: the text of {n:,} prompts takes {total:,} bytes, {total // n:,} each")
        with writing(place.out):
            place.out.absolute().parent.mkdir(parents=True, exist_ok=True)
        there = sum(path.stat().st_size for path in work.glob("text-*.safetensors"))
        places = {os.stat(folder).st_dev: folder for folder in (place.out.absolute().parent, work)}
        for folder in places.values():
            free = shutil.disk_usage(folder).free + (there if folder == work else 0)
            if free < total:
                raise OutputFault(
                    f"the stored text of {n:,} prompts needs {total:,} bytes, got {free:,} free at {folder}; keep "
                    "fewer (the rule First), bind Prompts.store = False and TextAtEveryStep, or give another disk"
                )

    def encode(self, texts: Sequence[str], encode: Encode, work: Path, title: str) -> None:
        """Encodes the shards that are missing in the work folder. Stopped: on request, after a shard."""
        with Meter(title=title, total=len(texts), unit="prompts") as meter, stop_requests() as stops:
            for shard in in_shards(work, SHARD, len(texts), self.shard):
                if not shard.path.exists():
                    write_parts(shard.path, encode([texts[index] for index in shard.indices]))
                meter.update(shard.indices.stop)
                if stops:
                    raise Stopped(f"{title} stopped at {shard.indices.stop} on request; start it again to go on")


def said(card: PromptsCard) -> str:
    """Returns a card in one line, for people."""
    rules = "".join(f", {rule} took {count:,}" for rule, count in card.rules.items())
    text = f"{card.bytes:,} bytes" if card.stored else "text encoded at every step"
    return (
        f"{card.n:,} prompts, {card.held_out:,} of them held out{rules}; {card.cut:,} are longer than {card.tokens} "
        f"tokens and are cut; {text}; SHA-256 of the file {card.source_sha256}"
    )


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _linked(path: Path, to: Path) -> None:
    """Gives a file a second place without a second copy of its bytes, where both are on one disk."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)
