"""`make bench`: every comparison, as results/benchmarks.json and .md."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer

from benchmarks.asked import Asked
from benchmarks.gpu.card import card
from benchmarks.timing import Comparison, Row
from boot_exp.engine.compute import Compute
from evals.ground.ending import run
from evals.ground.files import write_json, write_texts

# Each part is imported when it runs, so a missing library makes only the parts that use it fail.


def _floors(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import floors

    return floors.rows(asked)


def _rivals(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import rivals

    return rivals.rows(asked)


def _scores(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import scores

    return scores.rows(asked)


def _settings(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import settings

    return settings.rows(asked)


def _start(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import start

    return start.rows()


def _text(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import text

    return text.rows(asked)


def _launches(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import floors

    return floors.on_a_gpu(asked)


def _networks(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import networks

    return networks.rows(asked)


def _published_text(asked: Asked) -> Iterator[Comparison]:
    from benchmarks import published_text

    return published_text.rows(asked)


PARTS: dict[str, Callable[[Asked], Iterator[Comparison]]] = {
    "floors": _floors,
    "rivals": _rivals,
    "scores": _scores,
    "settings": _settings,
    "start-up": _start,
    "text": _text,
    "launches": _launches,
    "networks": _networks,
    "published text": _published_text,
}
FOR_A_GPU = ("launches", "networks", "published text")
"""These parts run only when they are named."""
WORDS = {
    "step": "A step of the trainer (draws, losses, clipping, optimizer, averages, journal, progress) to exactly "
    "the network calls of its method, recorded and made again bare on the same batch.",
    "sampling": "From noise to 8-bit images, to as many bare forward passes on batches of the same size.",
    "features": "All that FID needs of images in memory, to the bare forward pass of the extractor.",
    "side by side": "To how others do the same on the same network.",
    "start-up": "Commands as processes of their own, to the time that they may take.",
    "settings": "What the settings of `compute.Compute` cost or gain; below one is a gain.",
    "networks": "The networks of papers, with random weights, to their bare calls.",
    "memory": "The most that a step held, to what `boot-exp check` states.",
}


def machine(device: torch.device) -> dict[str, Any]:
    """Returns the facts of the machine that the timings depend on."""
    return {
        "cpu": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        **card(device),
    }


def main(
    suite: Annotated[list[str], typer.Option(help="suites to time; sampling is timed for the first only")] = [  # noqa: B006
        "digits_conditional",
        "digits",
    ],
    part: Annotated[
        list[str] | None, typer.Option(help=f"one of {', '.join(PARTS)}; default: all except {' and '.join(FOR_A_GPU)}")
    ] = None,
    budget: Annotated[
        float, typer.Option(help="seconds for each comparison, in which its two sides are timed in turn")
    ] = 25.0,
    within: Annotated[
        float | None, typer.Option(help="seconds for everything; the rest is left out and listed")
    ] = None,
    bind: Annotated[list[str], typer.Option("--bind", "-b", help="a gin binding that overrides every run's own")] = [],  # noqa: B006
    scored: Annotated[
        int | None,
        typer.Option(help="images that Inception scores; default: 32 on a CPU, 10,000 on a GPU", min=12),
    ] = None,
    steps: Annotated[int, typer.Option(help="steps of each chunk of training; the first is not timed", min=3)] = 22,
    eager: Annotated[bool, typer.Option("--eager", help="do not compile networks, not even on a GPU")] = False,
    reduced: Annotated[bool, typer.Option("--reduced", help="a rehearsal: one round each, at reduced size")] = False,
    out: Annotated[Path, typer.Option(help="folder of benchmarks.json and .md")] = Path("results"),
    name: Annotated[str, typer.Option(help="name of the two files")] = "benchmarks",
) -> None:
    """Times boot_exp in turn with bare network calls and with other libraries, and writes the results as they come."""
    started = time.monotonic()
    device = Compute().find()
    if unknown := set(part or ()) - set(PARTS):
        raise typer.BadParameter(f"a part must be one of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    asked = Asked(
        suites=suite,
        device=device,
        budget=None if reduced else budget,
        bind=bind,
        scored=scored or (10_000 if device.type == "cuda" else 32),
        reduced=reduced,
        steps=steps,
        compiled=not eager,
    )
    about = {**machine(device), "seconds a comparison": budget}
    rows: list[Row] = []
    failed: dict[str, str] = {}
    left_out: list[str] = []
    longest = 0.0

    def write() -> None:
        told = {**about, "minutes": round((time.monotonic() - started) / 60, 1)}
        made = [{**asdict(row), "ratio": row.ratio} for row in rows]
        write_json(
            out / f"{name}.json", {"machine": told, "rows": made, "failed": failed, "no time was left for": left_out}
        )
        write_texts(out, {f"{name}.md": page(told, rows)})

    with tempfile.TemporaryDirectory(prefix="boot-exp-benchmark-") as tempfile.tempdir:
        for one in part or [one for one in PARTS if one not in FOR_A_GPU]:
            for comparison, take in PARTS[one](asked):
                began = time.monotonic()
                if within is not None and began - started + longest > within:
                    left_out.append(comparison)
                    continue
                try:
                    rows.append(take())
                except Exception:  # one failure does not stop the other comparisons
                    failed[comparison] = traceback.format_exc()
                    print(f"{comparison} failed:\n{failed[comparison]}", file=sys.stderr, flush=True)
                longest = max(longest, time.monotonic() - began)
                write()
    write()
    if failed:
        raise typer.Exit(1)


def page(about: dict[str, Any], rows: list[Row]) -> str:
    """Returns the tables as Markdown."""
    lines = ["# What things cost", "", "Ratios of neighbours in time, the median over the rounds and their range.", ""]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    for section, text in WORDS.items():
        if all(row.section != section for row in rows):
            continue
        lines += ["", f"## {section.capitalize()}", "", text, ""]
        unit = "MiB" if section == "memory" else "ms"
        lines += [
            f"| what | ours, {unit} | other, {unit} | ratio | range | rounds | at most | precision | on |",
            "| --- | --: | --: | --: | --: | --: | --: | --- | --- |",
        ]
        for row in rows:
            if row.section == section:
                cells = [row.name, f"{row.ours:.1f}", f"{row.other:.1f}", f"{row.ratio:.3f}"]
                cells += [f"{min(row.ratios):.3f} – {max(row.ratios):.3f}", str(len(row.ratios)), limit(row)]
                cells += [row.precision, "; ".join([row.what, *more(row)])]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def more(row: Row) -> list[str]:
    """Returns the other measurements of a row as text."""
    return [f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.more.items()]


def limit(row: Row) -> str:
    """Returns the largest allowed ratio as text, and notes if it is exceeded."""
    return "–" if row.limit is None else f"{row.limit:.2f}{'' if row.ratio <= row.limit else ', not met'}"


if __name__ == "__main__":
    run(lambda: typer.run(main), "benchmarks")
