"""A study of ablations: every ablation trained with the same seeds, its scores as mean and deviation over them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from evals.errors import DataFault
from evals.files import write_texts
from evals.pages.drawing import decades_as_ticks, drawing, svg
from evals.tables.table import (
    SAID_IN_THE_ROW,
    SCORES,
    Record,
    as_json,
    check_protocol,
    diversity_words,
    fact_columns,
    fid_name,
    headline,
    read_records,
    score_files,
    shared_facts,
)
from evals.tables.text import (
    Column,
    around,
    comma_separated,
    facts,
    figures,
    leaves,
    markdown,
    numbers,
    said,
    share_around,
)

IMAGE = "one-jump"
"""The sampler whose images a study scores; `signal-T` are the student's signals at another time T, same noise."""

METRICS = tuple(score for score in SCORES if score != "kid_std")
INK, RULE, DOT, PAPER = "#1d2126", "#dfe2e5", "#0067a5", "#ffffff"

Run = Mapping[str, Record]
"""The records of one training, by sampler."""


def study(name: str, scores: Path, ablations: Sequence[str], seeds: Sequence[int], out_dir: Path) -> Record:
    """Compare ablations, the first of them the control; write study.{json,csv,md,svg} and metrics.json.

    `scores`/<ablation>/<seed>.json is what `evaluate` wrote of the training with that seed. A score becomes {mean, std,
    values}: std is the sample standard deviation (ddof 1), None of one seed; values are in the order of `seeds`. Raises
    DataFault when files are missing, or two differ in protocol or samplers; NumericalFault when a score is not finite.
    """
    names = [f"{ablation}/{seed}" for ablation, seed in product(ablations, seeds)]
    read = iter([_image_run(path) for path in score_files(scores, names)])
    runs = {ablation: [next(read) for _ in seeds] for ablation in ablations}
    everything = [run for several in runs.values() for run in several]
    check_protocol([record for run in everything for record in run.values()])
    check_samplers(names, everything, "study")
    card = _card([run[IMAGE] for run in everything], seeds)
    rows = [_row(ablation, several, runs[ablations[0]], seeds, card) for ablation, several in runs.items()]
    made = {"study": name, "card": card, "rows": rows}
    texts = {
        "study.json": as_json(made),
        "study.csv": comma_separated([{k: v for k, v in row.items() if k != "runs"} | {"card": card} for row in rows]),
        "study.md": _page(made, runs),
        "study.svg": plot(rows, fid_name(card)) + "\n",
        "metrics.json": as_json({row["ablation"]: headline({m: row[m]["mean"] for m in METRICS}) for row in rows}),
    }
    write_texts(out_dir, texts)
    return made


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """{mean, std, values}: std with ddof 1, None of a single value; both None where a value is missing."""
    there = [value for value in values if value is not None]
    whole = len(there) == len(values)
    return {
        "mean": float(np.mean(there)) if whole else None,
        "std": float(np.std(there, ddof=1)) if whole and len(values) > 1 else None,
        "values": list(values),
    }


def plot(rows: Sequence[Record], fid: str) -> str:
    """FID as an SVG, a line an ablation from the top: a dot for each seed, a bar for their mean; log over a decade."""
    values = [row["fid"]["values"] for row in rows]
    least, most = min(map(min, values)), max(map(max, values))
    places = range(len(rows))
    with drawing(ink=INK, paper=PAPER, size=(5.4, 0.8 + 0.32 * len(rows))) as (figure, axes):
        if least > 0 and most > 10 * least:
            axes.set_xscale("log")
            decades_as_ticks(axes.xaxis)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.axvline(rows[0]["fid"]["mean"], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        for place, several in zip(places, values, strict=True):
            axes.plot(several, [place] * len(several), color=DOT, marker="o", markersize=5, alpha=0.6, linestyle="none")
        means = [row["fid"]["mean"] for row in rows]
        axes.plot(means, places, color=INK, marker="|", markersize=12, markeredgewidth=1.6, linestyle="none", zorder=3)
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"{fid}: a dot a training seed, the bar their mean")
        axes.set_yticks(places, [row["ablation"] for row in rows])
        return svg(figure)


def read_run(path: Path, seed: int | None) -> Run:
    """The records of one file of `evaluate`; raises DataFault where they are not of the training with `seed`."""
    run = {record["sampler"]: record for record in read_records(path)}
    for record in run.values():
        trained = record["card"].get("training_seed", seed)
        if seed is not None and trained != seed:
            raise DataFault(f"{path} must be of the training seed in its name, got {trained}; evaluate it again")
    return run


def check_samplers(names: Sequence[str], runs: Sequence[Run], of: str) -> None:
    """Raises DataFault when runs `of` one thing, each with its name, have not the same samplers."""
    for other, run in zip(names, runs, strict=True):
        if run.keys() != runs[0].keys():
            raise DataFault(
                f"runs of one {of} must have the same samplers, got {', '.join(runs[0])} ({names[0]}) and "
                f"{', '.join(run)} ({other}); sample both alike"
            )


def _image_run(path: Path) -> Run:
    run = read_run(path, int(path.stem))
    if IMAGE not in run:
        raise DataFault(f"{path} must score the sampler {IMAGE}, got {', '.join(run) or 'none'}; sample with it")
    return run


def _card(images: Sequence[Record], seeds: Sequence[int]) -> Record:
    """What all numbers of a study share; the commits and the NFE also where they are several."""
    several = {
        "nfe": [record["nfe"] for record in images],
        "commit": [record["card"].get("commit") for record in images],
    }
    once = {key: list(dict.fromkeys(values)) for key, values in several.items()}
    return {
        **shared_facts(images),
        "training_seeds": list(seeds),
        **{key: values[0] if len(values) == 1 else values for key, values in once.items()},
    }


def _row(ablation: str, runs: Sequence[Run], control: Sequence[Run], seeds: Sequence[int], card: Record) -> Record:
    scores = {metric: over_seeds([run[IMAGE].get(metric) for run in runs]) for metric in METRICS}
    base = over_seeds([run[IMAGE]["fid"] for run in control])["mean"]
    alone = [{k: v for k, v in leaves(run[IMAGE]["card"]) if k not in card or card[k] != v} for run in runs]
    return {
        "ablation": ablation,
        **scores,
        "fid_ratio": scores["fid"]["mean"] / base if base else None,
        "diversity_at": {name: over_seeds([run[name].get("diversity") for run in runs]) for name in _signals(runs[0])},
        "runs": [{"seed": seed, **rest} for seed, rest in zip(seeds, alone, strict=True)],
    }


def _signals(samplers: Iterable[str]) -> dict[str, str]:
    """The samplers of signals at another time, from noise to data, each with its time as written."""
    found = {name: match[1] for name in samplers if (match := re.fullmatch(r"signal-(\d+(?:\.\d+)?(?:e-\d+)?)", name))}
    return dict(sorted(found.items(), key=lambda item: -float(item[1])))


def _page(made: Record, runs: Mapping[str, Sequence[Run]]) -> str:
    rows, card = made["rows"], made["card"]
    fid = fid_name(card)
    first = next(iter(runs.values()))[0]
    shares = {
        **{metric: [row[metric] for row in rows] for metric in ("precision", "recall", "diversity")},
        **{f"diversity at t = {t}": [row["diversity_at"][name] for row in rows] for name, t in _signals(first).items()},
    }
    columns = [
        Column(heading="ablation", cells=[row["ablation"] for row in rows]),
        numbers(fid, [around(row["fid"]["mean"], row["fid"]["std"]) for row in rows]),
        numbers("FID ratio to control", [figures(row["fid_ratio"], digits=3) for row in rows]),
        *(
            numbers(heading, [share_around(score["mean"], score["std"]) for score in scores])
            for heading, scores in shares.items()
            if any(score["mean"] is not None for score in scores)
        ),
    ]
    within = [{"n": card["n"], "card": shared_facts([run[IMAGE] for run in several])} for several in runs.values()]
    differing = fact_columns(within, (*SAID_IN_THE_ROW, "training_images"))
    seeds = said(card["training_seeds"])
    words = [
        f"One training seed, {seeds}."
        if len(card["training_seeds"]) == 1
        else f"Mean ± sample standard deviation over the training seeds {seeds}.",
        f"The first row, {rows[0]['ablation']}, is the control. Lower FID is better, higher precision and recall.",
        diversity_words([first[IMAGE]]).strip(),
        "At another t it is that of the student's signal there, from the same noise." if _signals(first) else "",
    ]
    parts = [
        f"# {made['study']}",
        markdown([*columns, *differing]),
        " ".join(filter(None, words)),
        f"![{fid} of every ablation and seed](study.svg)",
        "## How the numbers were made",
        facts(card),
    ]
    return "\n\n".join(parts) + "\n"
