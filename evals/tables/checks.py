"""The mistakes of protocol that published scores were corrected for, and what a set of records says of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.tables.text import MISSING, Column, leaves, said

UNSAID = "not said"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A mistake, the facts of a record that tell whether it was made, and what to do where the first is not said."""

    mistake: str
    facts: tuple[str, ...]
    cure: str


CHECKS = (
    Check(
        mistake="few samples, compared with 50,000",
        facts=("n",),
        cure="",
    ),
    Check(
        mistake="the reference was made with another Inception, or another port of it",
        facts=("card.reference_extractor", "card.reference_extractor_sha256"),
        cure="make the reference from its images with this extractor",
    ),
    Check(
        mistake="another resize, or a reference of another resolution",
        facts=("card.reference_size", "card.size", "card.resize"),
        cure="make the reference from images of the samples' size",
    ),
    Check(
        mistake="the other split as reference",
        facts=("card.reference_split", "card.reference_n"),
        cure="give --split",
    ),
    Check(
        mistake="pixels cut off instead of rounded",
        facts=("card.rounding",),
        cure="write round(127.5 (x + 1)) of x in [-1, 1], and say so as rounding",
    ),
    Check(
        mistake="the network's last weights instead of their average",
        facts=("card.ema",),
        cure="say ema",
    ),
    Check(
        mistake="the best of several seeds or checkpoints, by the reported score",
        facts=("card.seeds", "card.selection"),
        cure="score one seed that was chosen before, and say selection and seeds",
    ),
    Check(
        mistake="guidance counted as one network call a step",
        facts=("nfe", "w"),
        cure="say nfe, with both calls of each guided step, and w",
    ),
)
"""Sources: imeanflow#5, k-diffusion#7, STAR#7, clean-fid#2, improved-diffusion#16 and #19, MeanFlow#31, RealUID's page,
and arXiv 2606.20536, which measures what the best of several seeds is worth."""


def check_columns(records: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """Returns a row for each mistake: what all records say of it, or what each says, and the cure where one is silent.

    records: as `evaluate` makes them, by the names of their samples.
    """
    every = {name: dict(leaves(record)) for name, record in records.items()}
    rows = [[_said(check.facts, facts) for facts in every.values()] for check in CHECKS]
    cures = [check.cure if UNSAID in each else "" for check, each in zip(CHECKS, rows, strict=True)]
    return [
        Column(heading="mistake", cells=[check.mistake for check in CHECKS]),
        Column(heading="what is known here", cells=[_joined(list(every), each) for each in rows]),
        Column(heading="to know it", cells=[cure or MISSING for cure in cures]),
    ]


def _said(names: Sequence[str], facts: Mapping[str, Any]) -> str:
    known = {name: [v for k, v in facts.items() if k == name or k.startswith(f"{name}.")] for name in names}
    if all(value is None for value in known[names[0]]):
        return UNSAID
    return ", ".join(
        f"{name.removeprefix('card.').replace('_', ' ')} {said(values)}"
        for name, values in known.items()
        if any(value is not None for value in values)
    )


def _joined(names: Sequence[str], each: Sequence[str]) -> str:
    if len({*each}) == 1:
        return each[0]
    return "; ".join(f"{name}: {words}" for name, words in zip(names, each, strict=True))
