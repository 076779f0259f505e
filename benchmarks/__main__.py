"""`make bench`: every comparison, as results/benchmarks.json and .md."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer

from benchmarks import floors, rivals, settings, start
from benchmarks.students import images
from benchmarks.timing import Row
from boot_exp.compute import Compute
from boot_exp.stages.place import provenance
from evals.ending import run
from evals.files import write_json, write_texts


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "cpu": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **provenance(device),
    }


def parts(suites: list[str], device: torch.device, budget: float, count: int) -> dict[str, Callable[[], Iterable[Row]]]:
    """What can be timed, by name; of several suites, the first has classes and the last has none."""
    first, last = (Path(suite) for suite in (suites[0], suites[-1]))
    scored = cache(lambda: rivals.Scored.of(count))
    return {
        "floors": lambda: floors.rows(suites, device, budget),
        "diffusers": lambda: [rivals.diffusers_sampling(last / "teacher", images(last.name), device, budget)],
        "by-hand": lambda: [rivals.hand_written(first / "boot", images(first.name), device, budget)],
        "torch-fidelity": lambda: [rivals.fidelity_scores(scored(), device)],
        "clean-fid": lambda: [rivals.clean_scores(scored(), device)],
        "inception": lambda: [rivals.inception_floor(scored(), device)],
        "settings": lambda: settings.rows(suites, device),
        "start-up": start.rows,
    }


def main(
    suite: Annotated[list[str], typer.Option(help="suites whose leaves are timed; the first one's sampling")] = [  # noqa: B006
        "digits_conditional",
        "digits",
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="of floors, diffusers, by-hand, torch-fidelity, clean-fid, inception, settings, start-up; all"
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(help="seconds for which both sides of a comparison are timed in turn")
    ] = 25.0,
    scored: Annotated[
        int | None, typer.Option(help="images that Inception scores: 32 on a CPU, 10,000 on a GPU", min=8)
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of benchmarks.json and .md")] = Path("results"),
    name: Annotated[str, typer.Option(help="name of the two files")] = "benchmarks",
) -> None:
    """Times ours against floors and rivals, in turn, and writes what came of it."""
    started = time.monotonic()
    device = Compute().find()
    all_of_them = parts(suite, device, budget, scored or (10_000 if device.type == "cuda" else 32))
    if unknown := set(part or ()) - set(all_of_them):
        raise typer.BadParameter(f"a part must be one of {', '.join(all_of_them)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="boot-exp-benchmark-") as tempfile.tempdir:
        rows = [row for each in part or all_of_them for row in all_of_them[each]()]
    about = {**machine(device), "seconds a comparison": budget, "minutes": round((time.monotonic() - started) / 60, 1)}
    write_json(out / f"{name}.json", {"machine": about, "rows": [{**asdict(row), "ratio": row.ratio} for row in rows]})
    write_texts(out, {f"{name}.md": page(about, rows)})


def page(about: dict[str, Any], rows: list[Row]) -> str:
    """The tables as Markdown."""
    words = {
        "step": "A step of the trainer (draws, losses, clipping, optimizer, averages, journal, progress) to exactly "
        "the network calls of its method, recorded and made again bare on the same batch.",
        "sampling": "From noise to 8-bit images, to as many bare forward passes on batches of the same size.",
        "features": "All that FID needs of images in memory, to the bare forward pass of the extractor.",
        "side by side": "To how others do the same on the same network.",
        "start-up": "Commands as processes of their own, to the time that they may take.",
        "settings": "What the settings of `compute.Compute` cost or gain; below one is a gain.",
    }
    lines = ["# What things cost", "", "Ratios of neighbours in time, the median over the rounds and their range.", ""]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    for section, text in words.items():
        if all(row.section != section for row in rows):
            continue
        lines += ["", f"## {section.capitalize()}", "", text, ""]
        lines += [
            "| what | ours, ms | other, ms | ratio | range | rounds | at most | on |",
            "| --- | --: | --: | --: | --: | --: | --: | --- |",
        ]
        for row in rows:
            if row.section == section:
                cells = [row.name, f"{row.ours:.1f}", f"{row.other:.1f}", f"{row.ratio:.3f}"]
                cells += [f"{min(row.ratios):.3f} – {max(row.ratios):.3f}", str(len(row.ratios)), limit(row), row.what]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def limit(row: Row) -> str:
    """What a ratio must not exceed, and whether it does."""
    return "–" if row.limit is None else f"{row.limit:.2f}{'' if row.ratio <= row.limit else ', not met'}"


if __name__ == "__main__":
    run(lambda: typer.run(main), "benchmarks")
