"""`make gpu`: laws, timings and a real run within a time limit; each part writes its result as soon as it ends.

This module imports only the standard library. Each part is a process, which imports what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import places
from benchmarks.gpu import jobs, wheels
from benchmarks.gpu.idx import FOLDER, written
from benchmarks.gpu.jobs import Ended, Job

ROOT = Path(__file__).parents[2]
NO_GPU = 69


def timing(part: str, args: argparse.Namespace, *more: str, share: float, name: str = "", suite: str = "") -> Job:
    """Returns a job that runs one part of `python -m benchmarks`."""
    named = ["--out", str(args.out), "--name", name or part]
    named += ["--suite", suite or (places.REHEARSED if args.reduced else places.RUN)]
    lines = [] if suite else places.SMALL if args.reduced else places.WHOLE
    small = [item for line in lines for item in ("--bind", line)]
    small += ["--reduced", "--steps", "3"] if args.reduced else ["--steps", "6"]
    given = [*named, "--budget", "1", *more, *small]

    def command(seconds: float) -> list[str]:
        return ["-m", "benchmarks", "--part", part, "--within", str(max(1.0, 0.9 * (seconds - args.start))), *given]

    # Compilation takes a minute on a CPU, and one of the laws tests already that it works.
    eager = (("TORCHDYNAMO_DISABLE", "1"),) if args.reduced else ()
    return Job(name=name or part, command=command, share=share, environment=eager)


def parts(args: argparse.Namespace) -> list[Job]:
    """Returns all jobs, the most important first, each with its share of the time."""
    out, data = str(args.out), str(args.data)
    scored = ["--scored", "16" if args.reduced else "10000"]
    real = ["-m", "benchmarks.gpu.real", out, data]
    size = "reduced" if args.reduced else "whole"
    found = [
        Job(name="laws", command=lambda seconds: ["-m", "benchmarks.gpu.laws", f"{out}/laws.json"], share=0.12),
        timing("floors", args, "--eager", share=0.06),
        *(timing("networks", args, "--eager", share=0.04, name=f"network_{one}", suite=one) for one in places.NETWORKS),
        timing("published text", args, "--eager", share=0.06, name=f"network_{places.TEXT}", suite=places.TEXT),
        timing("settings", args, share=0.05),
        timing("launches", args, "--eager", share=0.03),
        timing("floors", args, name="compiled", share=0.08),
        timing("scores", args, *scored, share=0.06),
        Job(name="run", command=lambda seconds: [*real, str(seconds - 2), size], share=0.44),
    ]
    # In a rehearsal the timings do not matter, and a busy CPU must not cut off a part.
    return [replace(job, share=None) for job in found if job.name != "compiled"] if args.reduced else found


def arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for all parts")
    parser.add_argument("--out", type=Path, default=None, help="folder of the results: results/gpu, or .work/rehearsal")
    parser.add_argument("--reduced", action="store_true", help="a rehearsal at reduced size, on a CPU or a GPU")
    parser.add_argument("--part", action="append", help="run this part only; may be repeated")
    parser.add_argument("--wheels", type=Path, default=Path("wheels"), help="the folder that pack.sh filled")
    args = parser.parse_args()
    args.out = (args.out or Path(".work/rehearsal" if args.reduced else "results/gpu")).absolute()
    args.data, args.start = args.wheels.absolute() / FOLDER, 1.0
    return args


class Summary:
    """Writes summary.json and summary.md: the device, and the state of each part so far."""

    def __init__(self, out: Path, about: dict[str, Any]) -> None:
        self.out, self.about, self.ended = out, about, list[Ended]()

    def keep(self, again: list[str]) -> None:
        """Reads the earlier run's parts, except for those that run again."""
        if (self.out / "summary.json").exists():
            before = [Ended(**one) for one in json.loads((self.out / "summary.json").read_text())["parts"]]
            self.ended = [one for one in before if one.name not in {*again, "card", "wheels"}]

    def tell(self, ended: Ended) -> None:
        """Adds a part and writes both files."""
        self.ended.append(ended)
        print(f"{ended.name}: {ended.state} after {ended.seconds:g} s", flush=True)
        self.write()

    def write(self) -> None:
        """Writes both files, each whole or not at all."""
        made = {**self.about, "parts": [vars(one) for one in self.ended]}
        lines = ["# On a GPU", "", *(f"* {name}: {value}" for name, value in self.about["card"].items()), ""]
        lines += ["| part | state | seconds | of | code |", "| --- | --- | --: | --: | --: |"]
        for one in self.ended:
            limit, code = (("–" if value is None else f"{value:g}") for value in (one.limit, one.code))
            lines.append(f"| {one.name} | {one.state} | {one.seconds:g} | {limit} | {code} |")
        for one in self.ended:
            lines += ["", f"## {one.name}: {one.state}", "", "```", one.said, "```"] if one.said else []
        for name, text in {"summary.json": json.dumps(made, indent=2), "summary.md": "\n".join(lines)}.items():
            partial = self.out / f".{name}"
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(self.out / name)


def rates(out: Path, card: dict[str, Any], reduced: bool) -> None:
    """Writes rates.json, the measured TFLOP/s of each published network, which `boot-exp check` reads."""
    found = {}
    for path in sorted(out.glob("network_*.json")):
        for row in json.loads(path.read_text())["rows"]:
            if "tflops" in row["more"]:
                found[path.stem.removeprefix("network_")] = row["more"]["tflops"]
    partial = out / ".rates.json"
    partial.write_text(json.dumps({"card": card, "reduced": reduced, "tflops": found}, indent=2) + "\n")
    partial.replace(out / "rates.json")


def main() -> int:
    """Runs the parts. Returns 0 if all succeeded, 1 if one did not, 69 without a GPU."""
    began, args = time.monotonic(), arguments()
    os.chdir(ROOT)
    args.out.mkdir(parents=True, exist_ok=True)
    installed = ROOT / ".work/wheels"
    wrong = wheels.install(args.wheels.absolute(), installed)
    path = [str(ROOT), str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_WAIT_POLICY": "PASSIVE"}
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if args.reduced:
        environment |= {"BOOT_EXP_STAND_IN": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        args.data = written(ROOT / ".work/rehearsal-data")
    summary = Summary(args.out, {"reduced": args.reduced, "budget": args.budget, "card": {}})
    if args.part:
        summary.keep(args.part)
    if wrong:
        summary.tell(Ended(name="wheels", state="failed", said=wrong))
    lanes, until = {"gpu": 2 if args.reduced else 1}, began + args.budget
    asked: dict[str, Any] = {"lanes": lanes, "until": until, "logs": args.out / "logs", "environment": environment}
    file = args.out / "card.json"
    file.unlink(missing_ok=True)

    def card(seconds: float) -> list[str]:
        return ["-m", "benchmarks.gpu.card", str(file)]

    [seen] = jobs.run([Job(name="card", command=card)], tell=summary.tell, **asked).values()
    summary.about["card"] = found = json.loads(file.read_text()) if seen.state == "done" else {"kind": "unknown"}
    args.start = seen.seconds
    summary.write()
    if found["kind"] != "cuda" and not args.reduced:
        why = f"make gpu needs a CUDA GPU, got {found['kind']}; run it where one is, or rehearse it with REDUCED=1"
        print(f"{why}\n{seen.said}", file=sys.stderr)
        return NO_GPU

    def tell(ended: Ended) -> None:
        summary.tell(ended)
        if ended.name.startswith("network_"):
            rates(args.out, found, args.reduced)

    chosen: Callable[[str], bool] = (lambda name: name in args.part) if args.part else (lambda name: True)
    done = jobs.run([job for job in parts(args) if chosen(job.name)], tell=tell, **asked)
    print(f"{time.monotonic() - began:.0f} s of {args.budget:g}; {args.out / 'summary.md'}", flush=True)
    return 0 if all(one.state == "done" for one in done.values()) and not wrong else 1


if __name__ == "__main__":
    jobs.end_when_asked()
    sys.exit(main())
