"""`make bench`: every comparison, as results/benchmarks.json and .md."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer

from benchmarks import floors, rivals, settings
from benchmarks.timing import Row
from boot_exp.compute import Compute
from boot_exp.stages.place import provenance
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


def main(
    suite: Annotated[list[str], typer.Option(help="suites whose leaves are timed; the first one's sampling")] = [  # noqa: B006
        "digits_conditional",
        "digits",
    ],
    budget: Annotated[
        float, typer.Option(help="seconds for which both sides of a comparison are timed in turn")
    ] = 25.0,
    out: Annotated[Path, typer.Option(help="folder of benchmarks.json and .md")] = Path("results"),
    name: Annotated[str, typer.Option(help="name of the two files")] = "benchmarks",
) -> None:
    """Times ours against floors and rivals, in turn, and writes what came of it."""
    started = time.monotonic()
    device = Compute().find()
    rows = [*floors.rows(suite, device, budget), *rivals.rows(suite, device, budget), *settings.rows(suite, device)]
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
        "settings": "What the settings of `compute.Compute` cost or gain; below one is a gain.",
    }
    lines = ["# What things cost", "", "Ratios of neighbours in time, the median over the rounds and their range.", ""]
    lines += [f"* {name}: {value}" for name, value in about.items()]
    for section, text in words.items():
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
    typer.run(main)
