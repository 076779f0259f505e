"""Commands of boot-exp: one for each stage, and others for configurations. Stages are configured by gin files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from boot_exp.engine.stopping import stoppable
from boot_exp.stages.running import run_at, run_export, run_stage
from evals.ground.ending import run
from evals.ground.extras import starting

with starting("boot-exp", "pipeline"):
    import typer

    from boot_exp.stages import outside

# Plain help, because drawing it with rich takes a third of the time that --help takes.
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Config = Annotated[Path, typer.Argument(help="a frozen file (.json), a run SUITE/NAME, or a gin file")]
Out = Annotated[Path, typer.Option(help="the folder of the result")]
OutOrPlace = Annotated[Path | None, typer.Option(help="the folder of the result; default: the folder of the run")]
Prepared = Annotated[Path | None, typer.Option(help="folder written by `data`, for what needs images")]
Taught = Annotated[Path | None, typer.Option(help="folder written by `teacher`, or by `distil` in an earlier phase")]
Referred = Annotated[Path | None, typer.Option(help="folder written by `reference`, unless statistics are published")]
Prompted = Annotated[Path | None, typer.Option(help="folder written by `prompts`, for models that take text")]
Sampled = Annotated[Path | None, typer.Option(help="folder written by `teacher` or `distil`")]
Drawn = Annotated[Path | None, typer.Option(help="folder written by `sample`")]
Distilled = Annotated[Path | None, typer.Option(help="folder written by `distil`")]
Record = Annotated[Path | None, typer.Option(help="the .json to write")]
Bind = Annotated[list[str], typer.Option("--bind", "-b", help="a gin binding that overrides the run's own")]
UNBOUND: list[str] = []  # typer reads the default; no code changes it
Version = Annotated[bool, typer.Option("--version", help="print it", callback=outside.version, is_eager=True)]


@app.callback()
def _options(version: Version = False) -> None: ...


@app.command()
def plan() -> None:
    """Writes plan.yaml from params.yaml: one line per student, with its inputs and its number of training images."""
    from boot_exp.config.params import read_params
    from boot_exp.config.plan import write_plan
    from boot_exp.stages.budget import plan as planned

    write_plan(planned(read_params()))


@app.command()
def resolve(
    suite: Annotated[str | None, typer.Argument(help="a suite, or `study`; default: everything in params.yaml")] = None,
) -> None:
    """Freezes the runs of params.yaml into resolved/, or reports all faults of their configurations."""
    from boot_exp.config.resolved import freeze

    freeze(suite)


@app.command()
def lint(
    leaves: Annotated[list[Path] | None, typer.Argument(help="gin files or SUITE/METHOD; default: everything")] = None,
) -> None:
    """Reports all faults of configurations, before anything is imported, read or trained."""
    from boot_exp.config.fault_list import Faults
    from boot_exp.config.params import read_params
    from boot_exp.config.plan import check_all
    from boot_exp.config.runs import compiled, named_run

    faults = Faults()
    given = [named_run(leaf) for leaf in leaves or ()]
    count = len(compiled(given, {}, faults)) if given else check_all(read_params(), faults)
    faults.raise_if_any()
    print(f"{count} configurations, no fault")


@app.command()
def show(config: Config, bind: Bind = []) -> None:  # noqa: B006 - typer reads the default; no code changes it
    """Prints the configuration of a run or a frozen file: every value, and a hash of each component's code."""
    from boot_exp.config.runs import stages_of

    for stage, frozen in stages_of(config, bind).items():
        print(f"# stage {stage}\n{frozen.text()}")


@app.command()
def diff(a: Config, b: Config) -> None:
    """Prints the values in which two runs or frozen files differ."""
    from boot_exp.config.frozen import differences_of_runs
    from boot_exp.config.runs import stages_of

    for line in differences_of_runs(stages_of(a, []), stages_of(b, [])):
        print(line)


@app.command()
def reach(
    change: Annotated[str, typer.Argument(help="'KEY = VALUE': a name of dvc's -S, or a line of gin")],
    suites: Annotated[list[str] | None, typer.Argument(help="suites, or `study`; default: all that it reaches")] = None,
) -> None:
    """Prints the stages that a change would run again, and what they cost; runs and changes nothing."""
    from boot_exp.config.reach import reach as reached

    print(*reached(change, suites or ()), sep="\n")


@app.command()
def data(config: Config, out: Out, bind: Bind = []) -> None:  # noqa: B006
    """Reads, transforms and validates a data set, once."""
    run_stage("data", config, bind, out)


@app.command()
def reference(config: Config, out: Out, data: Prepared = None, bind: Bind = []) -> None:  # noqa: B006
    """Computes the statistics that samples are compared with, and trains the suite's feature network if it has one."""
    run_stage("reference", config, bind, out, data=data)


@app.command()
def teacher(config: Config, out: Out, data: Prepared = None, prompts: Prompted = None, bind: Bind = []) -> None:  # noqa: B006
    """Trains a teacher on prepared images, with their prompts if it takes text, or reads a published one."""
    run_stage("teacher", config, bind, out, data=data, prompts=prompts)


@app.command("verify-teacher")
def verify_teacher(config: Config, out: Out, reference: Referred = None, bind: Bind = []) -> None:  # noqa: B006
    """Samples a published teacher and prints its FID beside the published one; for use before distillation."""
    run_stage("verify_teacher", config, bind, out, reference=reference)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="a run, as SUITE/NAME or a file; with --all, a suite")],
    bind: Bind = [],  # noqa: B006
    everything: Annotated[bool, typer.Option("--all", help="print the costs of all runs of a suite")] = False,
) -> None:
    """Builds a run without its weights, prints its costs, and takes one training step at reduced size on the CPU."""
    from boot_exp.config.plan import one_of_each
    from boot_exp.config.runs import stages_of
    from boot_exp.stages.checks.costs import costs
    from boot_exp.stages.checks.dry_run import check as dry_run

    for line in costs(one_of_each(str(config), bind)) if everything else dry_run(stages_of(config, bind)):
        print(line, flush=True)


@app.command()
def prompts(config: Config, out: Out, bind: Bind = []) -> None:  # noqa: B006
    """Reads, filters and encodes the prompts of a text-to-image suite, once."""
    run_stage("prompts", config, bind, out)


@app.command()
def pairs(
    config: Config, out: OutOrPlace = None, teacher: Taught = None, prompts: Prompted = None, bind: Bind = UNBOUND
) -> None:
    """Solves noise to images with a teacher, and stores the pairs for methods that start from them."""
    run_at("pairs", config, bind, needed={"out": out, "teacher": teacher}, more={"prompts": prompts})


@app.command()
def distil(
    config: Config,
    out: OutOrPlace = None,
    teacher: Taught = None,
    data: Prepared = None,
    pairs: Annotated[Path | None, typer.Option(help="folder written by `pairs`, for methods that need pairs")] = None,
    prompts: Prompted = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Distils a student from a teacher. The method determines whether data or pairs are needed."""
    more = {"data": data, "pairs": pairs, "prompts": prompts}
    run_at("distil", config, bind, needed={"out": out, "teacher": teacher}, more=more)


@app.command()
def sample(
    config: Config, out: OutOrPlace = None, model: Sampled = None, prompts: Prompted = None, bind: Bind = UNBOUND
) -> None:
    """Draws images with each of a model's samplers."""
    run_at("sample", config, bind, needed={"out": out, "model": model}, more={"prompts": prompts})


@app.command()
def evaluate(
    config: Config,
    out: Record = None,
    samples: Drawn = None,
    reference: Referred = None,
    teacher: Annotated[Path | None, typer.Option(help="folder of the teacher's samples, of the same noise")] = None,
    bind: Bind = UNBOUND,
) -> None:
    """Scores each sampler's images against the reference."""
    needed = {"out": out, "samples": samples, "reference": reference}
    run_at("evaluate", config, bind, needed=needed, more={"teacher": teacher})


@app.command()
def profile(
    config: Config,
    out: Record = None,
    model: Distilled = None,
    teacher: Taught = None,
    prompts: Prompted = None,
    bind: Bind = UNBOUND,
) -> None:
    """Measures a student against its teacher's exact signal, time by time: where its error enters and grows."""
    run_at("profile", config, bind, needed={"out": out, "model": model, "teacher": teacher}, more={"prompts": prompts})


@app.command()
def walks(
    config: Config,
    out: OutOrPlace = None,
    model: Distilled = None,
    teacher: Taught = None,
    prompts: Prompted = None,
    bind: Bind = UNBOUND,
) -> None:
    """Draws a student's images between prompts or noises, by w, and along trajectories beside its teacher's."""
    run_at("walks", config, bind, needed={"out": out, "model": model}, more={"teacher": teacher, "prompts": prompts})


@app.command("prompt-scores")
def prompt_scores(
    config: Config,
    out: Record = None,
    samples: Drawn = None,
    reference: Referred = None,
    data: Prepared = None,
    prompts: Prompted = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Scores samples of prompts by the rank of the right image among all, and by their diversity under one prompt."""
    needed = {"out": out, "samples": samples, "reference": reference, "data": data, "prompts": prompts}
    run_at("prompt_scores", config, bind, needed=needed)


@app.command("export")
def exported(
    config: Config,
    out: OutOrPlace = None,
    model: Distilled = None,
    teacher: Taught = None,
    source: Annotated[str | None, typer.Option(help="the pipeline that the teacher was read from, if moved")] = None,
    w: Annotated[float | None, typer.Option(help="the guidance weight of a student that takes any")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="for torch alone: torch.export and safetensors")] = False,
    push: Annotated[str | None, typer.Option(help="OWNER/NAME, where the hub gets the folder")] = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Writes a student as a folder that diffusers or torch alone samples in one step, with a card of its making."""
    run_export(config, bind, {"out": out, "model": model}, teacher, plain=plain, push=push, w=w, source=source)


@app.command()
def doctor() -> None:
    """Looks at what runs depend on (git, DVC, torch, data, disk, locks), and says how to cure what is amiss."""
    from boot_exp.config.doctor import examine

    found = list(examine())
    print(*found, sep="\n")
    raise typer.Exit(int(any(one.cure for one in found)))


@app.command()
def lock() -> None:
    """Restores dvc.lock if a killed DVC left it damaged; otherwise keeps a copy of it."""
    from boot_exp.engine.dvc_lock import keep_or_restore

    keep_or_restore()


app.command()(outside.init)
app.command(add_help_option=False, context_settings=outside.ANY)(outside.evals)


def main() -> None:
    """Runs a command. A fault prints one line on standard error and ends with its own exit code."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    run(_command, f"boot-exp, process {os.environ.get('RANK', '?')}" if several else "boot-exp")


def _command() -> None:
    try:
        with stoppable():
            app()
    finally:
        if "torch.distributed" in sys.modules:
            from boot_exp.engine.processes import leave

            leave()


if __name__ == "__main__":
    main()
