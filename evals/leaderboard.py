"""Ranks measured rows of one protocol, and writes them as JSON, CSV and Markdown."""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from evals.errors import DataFault, NumericalFault
from evals.files import check_kinds, reading, strict_json, write_texts
from evals.protocols import PROTOCOLS
from evals.reported import WORDS, reported_columns
from evals.tables import (
    MISSING,
    Column,
    around,
    comma_separated,
    count,
    facts,
    figures,
    leaves,
    markdown,
    numbers,
    said,
    share,
    spoken,
)

Record: TypeAlias = dict[str, Any]
"""One row: suite, method, sampler, nfe, n, fid, ..., and the card that says how the number was made."""

SCORES = (
    *("fid", "fid_std", "fid_min", "kid_mean", "kid_std", "precision", "recall", "diversity", "agreement", "score"),
    *("seconds_per_image",),
)
HEADLINE = ("fid", "recall", "diversity", "agreement")
KEYS = ("suite", "method", "sampler", "nfe", "n", *SCORES)
NEEDED = ("suite", "method", "sampler", "nfe", "n", "fid", "seconds_per_image", "card")
KINDS = {"suite": str, "method": str, "sampler": str, "nfe": int, "seconds_per_image": float | int}
NEEDED_IN_CARD = ("extractor", "reference", "reference_split", "resize", "seeds", "selection")
PROTOCOL = (
    *("suite", "n", "protocol", "extractor", "extractor_sha256", "resize"),
    *("reference", "reference_split", "reference_sha256", "reference_n"),
)
SAID_IN_THE_ROW = ("training_seed", "seeds", "selection", "ema", "commit", "kid")
COSTS = {
    "images": "images",
    "images_seen": "images seen",
    "evaluations": "network calls",
    "seconds": "seconds",
}
FID_NAMES = {"inception-v3-compat": "FID", "inception-v3-clean": "clean-FID"}


def leaderboard(metric_files: Iterable[Path], training_files: Iterable[Path], out_dir: Path) -> list[Record]:
    """Rank the rows of metric files; write leaderboard.{json,csv,md}, training.json and metrics.json into `out_dir`.

    A metric file is a list of records, a training file one card with its `stage`; the folder is one suite's.
    Raises DataFault when a file cannot be read, rows of two protocols meet or two have one name, NumericalFault when
    a number is not finite.
    """
    records = ranked([record for path in metric_files for record in read_records(path)])
    cards = sorted((_training_card(path, _json(path)) for path in training_files), key=lambda c: str(c["stage"]))
    texts = {
        "leaderboard.json": as_json(records),
        "leaderboard.csv": comma_separated(records),
        "leaderboard.md": _page(records, cards),
        "training.json": as_json(cards),
        "metrics.json": as_json(metrics(records)),
    }
    write_texts(out_dir, texts)
    return records


def score_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """`folder`/NAME.json for each of the names; raises DataFault that lists all that are missing, or a name said twice.

    A name may have slashes. What else lies in the folder does not count: it may be of a run that is no longer wanted.
    """
    if not names or len(set(names)) < len(names):
        raise DataFault(f"scores of {folder} must be named, each once, got {', '.join(names) or 'none'}; name them so")
    files = [folder / f"{name}.json" for name in names]
    missing = [f"{name}.json" for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        raise DataFault(f"{folder} must hold the scores asked for, got no {', '.join(missing)}; evaluate these first")
    return files


def metrics(records: Sequence[Record]) -> Record:
    """{method: {sampler: headline}}, for `dvc metrics diff`; a method of several training seeds is method/seed."""
    seeds: dict[str, set[Any]] = {}
    for row in records:
        seeds.setdefault(row["method"], set()).add(row["card"].get("training_seed"))
    nested: dict[str, Record] = {}
    for row in records:
        method = row["method"]
        key = method if len(seeds[method]) == 1 else f"{method}/{row['card'].get('training_seed')}"
        nested.setdefault(key, {})[row["sampler"]] = headline(row)
    return nested


def headline(scores: Mapping[str, Any]) -> Record:
    """The few scores that two versions of a project are compared by, unrounded; those that are there."""
    return {key: scores[key] for key in HEADLINE if scores.get(key) is not None}


def ranked(records: Sequence[Record]) -> list[Record]:
    """Records by rising FID, then NFE, each with the same keys in the same order.

    Raises DataFault when there are none, when two differ in what makes a FID comparable (PROTOCOL) or when two have
    the same method, sampler and training seed.
    """
    check_protocol(records)
    named = Counter((name_of(record), record["card"].get("training_seed")) for record in records)
    (name, _), times = named.most_common(1)[0]
    if times > 1:
        raise DataFault(
            f"rows ranked together must differ in method, sampler or training seed, got {name} {times} times; keep one"
        )
    ordered = sorted(records, key=lambda row: (row["fid"], row["nfe"], row["method"], row["sampler"]))
    return [_with_stable_keys(record) for record in ordered]


def check_protocol(records: Sequence[Record]) -> None:
    """Raises DataFault when there are no records, or when two differ in what makes a FID comparable (PROTOCOL)."""
    if not records:
        raise DataFault("a leaderboard must have at least one row, got none; evaluate some samples first")
    first = records[0]
    for other in records[1:]:
        for field in PROTOCOL:
            ours, theirs = (row.get(field, row["card"].get(field)) for row in (first, other))
            if ours != theirs:
                raise DataFault(
                    f"rows ranked together must share their {field}, got {ours!r} ({name_of(first)}) and "
                    f"{theirs!r} ({name_of(other)}); evaluate both alike, or rank them in two folders"
                )


def read_leaderboard(path: Path) -> list[Record]:
    """The rows of a leaderboard.json, ranked; raises as `leaderboard` does."""
    with reading(path, "must hold rows that can be ranked", "evaluate them again"):
        records = ranked(read_records(path))
    for record in records:
        check_kinds(path, record, {"n": int}, "evaluate it again")
    return records


def read_training(path: Path) -> list[Record]:
    """The cards of a training.json, as `leaderboard` wrote it."""
    return [_training_card(path, card) for card in _list(path)]


def score_columns(records: Sequence[Record]) -> list[Column]:
    """The table's columns, rounded for reading; a score that no row has is left out."""
    scores = {
        fid_name(records[0]["card"]): [_fid_cell(row) for row in records],
        "least FID": [figures(row.get("fid_min")) for row in records],
        "KID × 10³": [around(row["kid_mean"], row["kid_std"], scale=1e3) for row in records],
        "precision": [share(row["precision"]) for row in records],
        "recall": [share(row["recall"]) for row in records],
        "diversity": [share(row["diversity"]) for row in records],
        "agreement": [share(row["agreement"]) for row in records],
        "score": [figures(row["score"]) for row in records],
        "ms / image": [figures(row["seconds_per_image"], digits=3, scale=1e3) for row in records],
    }
    return [
        Column(heading="method", cells=[str(row["method"]) for row in records]),
        Column(heading="sampler", cells=[str(row["sampler"]) for row in records]),
        numbers("NFE", [count(row["nfe"]) for row in records]),
        *(numbers(heading, cells) for heading, cells in scores.items() if set(cells) != {MISSING}),
    ]


def fact_columns(records: Sequence[Record], may_differ: Collection[str] = SAID_IN_THE_ROW) -> list[Column]:
    """What rows may differ in without a loss of rank (seeds, selection, EMA, commit, ...), where they do."""
    cards = [dict(leaves(row["card"])) for row in records]
    shared = shared_facts(records)
    names = dict.fromkeys(name for row in cards for name in row if name.partition(".")[0] in may_differ)
    return [
        Column(heading=spoken(name), cells=[_shortened(said(row.get(name))) for row in cards])
        for name in names
        if name not in shared
    ]


def shared_facts(records: Sequence[Record]) -> dict[str, Any]:
    """n, and every leaf of the cards that all rows share, by its dotted name."""
    first, *others = [{"n": row["n"], **dict(leaves(row["card"]))} for row in records]
    return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in others)}


def cost_columns(cards: Sequence[Record]) -> list[Column]:
    """The training cost of every stage: images, network calls, seconds."""
    return [
        Column(heading="stage", cells=[str(card["stage"]) for card in cards]),
        *(
            numbers(heading, [count(card.get(key)) for card in cards])
            for key, heading in COSTS.items()
            if any(card.get(key) is not None for card in cards)
        ),
    ]


def fid_name(card: Mapping[str, Any]) -> str:
    """FID (and clean-FID, arXiv 2104.11222) is a name for Inception's features; others are named with it.

    FID-50k is a name for what a protocol made of 50,000 samples, and for nothing else.
    """
    name = FID_NAMES.get(card["extractor"], f"FID ({card['extractor']})")
    return f"{name}-50k ({card['protocol']})" if card.get("protocol") in PROTOCOLS else name


def diversity_words(records: Sequence[Record]) -> str:
    """What diversity is, in a sentence and a space, for readers of records that have it."""
    if all(row.get("diversity") is None for row in records):
        return ""
    return (
        "Diversity is the mean distance between the features of two samples over that of two reference images: "
        "1 is as spread as the data. "
    )


def name_of(record: Record) -> str:
    """A row's name for people: its method and its sampler."""
    return f"{record['method']} {record['sampler']}"


def _fid_cell(row: Record) -> str:
    return figures(row["fid"]) if row.get("fid_std") is None else around(row["fid"], row["fid_std"])


def _with_stable_keys(record: Record) -> Record:
    rest = sorted(record.keys() - {*KEYS, "card"})
    keys = [key for key in KEYS if key in record or key not in ("fid_std", "fid_min")]
    return {key: record.get(key) for key in (*keys, *rest)} | {"card": record["card"]}


def _shortened(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{40,64}\b", lambda sha: sha[0][:10], text)


def _page(records: Sequence[Record], cards: Sequence[Record]) -> str:
    parts = [
        f"# {records[0]['suite']}",
        markdown([*score_columns(records), *fact_columns(records)]),
        f"Lower FID and KID are better, higher precision and recall. {diversity_words(records)}"
        "All scores are taken in the same features. NFE is network evaluations per image.",
        "## How the numbers were made",
        facts(shared_facts(records)),
    ]
    if cards:
        parts += ["## What training cost", markdown(cost_columns(cards))]
    if others := reported_columns(records[0]["suite"]):
        parts += ["## Reported by others", WORDS, markdown(others)]
    return "\n\n".join(parts) + "\n"


def as_json(value: object) -> str:
    """Indented JSON, keys in their own order."""
    return json.dumps(value, indent=2) + "\n"


def read_records(path: Path) -> list[Record]:
    """The rows of one file of `evaluate`, unranked; raises as `leaderboard` does."""
    return [_finite(path, _checked(path, record)) for record in _list(path)]


def _checked(path: Path, record: Record) -> Record:
    card = record.get("card")
    said_in_card = card if isinstance(card, dict) else {}
    missing = [key for key in NEEDED if key not in record]
    missing += [f"card.{key}" for key in NEEDED_IN_CARD if key not in said_in_card]
    if missing:
        raise DataFault(f"{path}: a row must say its {missing[0]}, got {sorted(record)}; evaluate it again")
    check_kinds(path, record, KINDS, "evaluate it again")
    for key in SCORES:
        value = record.get(key)
        absent = value is None and key != "fid"
        if not absent and not (isinstance(value, int | float) and math.isfinite(value)):
            raise NumericalFault(f"{path}: {key} of {name_of(record)} must be finite, got {value}; sample anew")
    return record


def _training_card(path: Path, card: Any) -> Record:
    if not isinstance(card, dict) or "stage" not in card:
        raise DataFault(f"{path}: a training card must be an object with a stage, got {card!r:.60}; train again")
    return _finite(path, card)


def _finite(path: Path, record: Record) -> Record:
    with reading(path, "must hold finite numbers", "make it anew", NumericalFault):
        json.dumps(record, allow_nan=False)
    return record


def _list(path: Path) -> list[Any]:
    rows = _json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataFault(f"{path}: must hold a list of objects, got {type(rows).__name__}; evaluate it again")
    return rows


def _json(path: Path) -> Any:
    with reading(path, "must be readable JSON", "make it anew"):
        return strict_json(path.read_text(encoding="utf-8"), finite=False)
