"""boot-exp: one verb a stage, and four for configurations. Verbs are configured by gin, not by their options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boot_exp.launcher import launched
from boot_exp.stopping import stoppable
from evals.ending import run
from evals.errors import ConfigurationFault

if TYPE_CHECKING:
    from boot_exp.config.frozen import Frozen

# Plain help: what rich draws takes a third of the time that it takes to say it.
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Config = Annotated[Path, typer.Argument(help="a frozen configuration (.json), or a leaf (.gin)")]
Out = Annotated[Path, typer.Option(help="the folder of the result")]
Bind = Annotated[list[str], typer.Option("--bind", "-b", help="gin binding that overrides a leaf")]


@app.command()
def resolve(
    suite: Annotated[
        str | None, typer.Argument(help="a suite, of the comparison's too; else all of params.yaml")
    ] = None,
    study: Annotated[bool, typer.Option("--study", help="the study of params.yaml instead")] = False,
) -> None:
    """Freezes what params.yaml asks for into resolved/, or says everything that is wrong with it."""
    from boot_exp.config import runs
    from boot_exp.config.faults import Faults

    params = runs.read_params()
    faults = Faults()
    resolved = {}
    for name in ["study"] if study else [suite] if suite else runs.suites(params):
        # What is compared is what is in its files, whatever overrides the leaves elsewhere.
        if study:
            resolved[name] = runs.compiled(runs.study_runs(params), {}, faults)
        elif name in runs.compared(params):
            resolved[name] = runs.compiled(runs.comparison_runs(params, name), {}, faults)
        else:
            resolved[name] = runs.compiled(runs.suite_runs(params, name), params["gin"], faults)
    faults.raise_if_any()
    for name, stages in resolved.items():
        runs.write(stages, Path("resolved") / name)


@app.command()
def lint(
    leaves: Annotated[list[Path] | None, typer.Argument(help="gin files; else all leaves and ablations")] = None,
) -> None:
    """Says everything that is wrong with leaves, before anything is imported, read or trained."""
    from boot_exp.config import runs
    from boot_exp.config.faults import Faults

    faults = Faults()
    count = runs.check_all(leaves or [], faults)
    faults.raise_if_any()
    print(f"{count} configurations, no fault")


@app.command()
def show(config: Config, bind: Bind = []) -> None:  # noqa: B006 - typer reads the default, nobody writes it
    """Prints all that a leaf, or a frozen file, configures: every value, and a hash of each component's code."""
    for stage, frozen in _stages(config, bind).items():
        print(f"# stage {stage}\n{frozen.text()}")


@app.command()
def diff(a: Config, b: Config) -> None:
    """Prints the values in which two leaves or frozen files differ."""
    from boot_exp.config.frozen import differences

    first, second = _stages(a, []), _stages(b, [])
    for stage in [*first, *(name for name in second if name not in first)]:
        if stage in first and stage in second:
            lines = list(differences(first[stage], second[stage]))
        else:
            lines = [f"{'-' if stage in first else '+'} the whole stage"]
        if lines:
            print("\n".join([f"# stage {stage}", *lines]))


@app.command()
def data(config: Config, out: Out, bind: Bind = []) -> None:  # noqa: B006
    """Reads, transforms and validates a data set, once."""
    _run("data", config, bind, out)


@app.command()
def reference(
    config: Config,
    out: Out,
    data: Annotated[Path | None, typer.Option(help="folder written by `data`, unless statistics are published")] = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Takes the statistics that samples are compared with, and trains a suite's feature network where it has one."""
    _run("reference", config, bind, out, **_given(data=data))


@app.command()
def teacher(
    config: Config,
    out: Out,
    data: Annotated[Path | None, typer.Option(help="folder written by `data`, unless the teacher is published")] = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Trains a teacher on prepared images, or reads the weights of one that others trained."""
    _run("teacher", config, bind, out, **_given(data=data))


@app.command("verify-teacher")
def verify_teacher(
    config: Config,
    out: Out,
    reference: Annotated[
        Path | None, typer.Option(help="folder written by `reference`, unless statistics are published")
    ] = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Samples a published teacher and reports its FID beside the published one, before anything is distilled."""
    _run("verify_teacher", config, bind, out, **_given(reference=reference))


@app.command()
def check(config: Config, bind: Bind = []) -> None:  # noqa: B006
    """Builds a leaf without its weights, says what it costs, and takes one step of it at reduced size on the CPU."""
    from boot_exp.check import check as dry_run

    for line in dry_run(_stages(config, bind)):
        print(line, flush=True)


@app.command()
def pairs(
    config: Config,
    out: Out,
    teacher: Annotated[Path, typer.Option(help="folder written by `teacher`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Solves noise to the end with a teacher, once, for methods that start from pairs."""
    _run("pairs", config, bind, out, teacher=teacher)


@app.command()
def distil(
    config: Config,
    out: Out,
    teacher: Annotated[Path, typer.Option(help="folder written by `teacher`, or by `distil` in an earlier phase")],
    data: Annotated[Path | None, typer.Option(help="folder written by `data`, for methods that start from it")] = None,
    pairs: Annotated[Path | None, typer.Option(help="folder written by `pairs`, for methods that do")] = None,
    bind: Bind = [],  # noqa: B006
) -> None:
    """Distils a student from a teacher; whether data is needed is the method's to say."""
    _run("distil", config, bind, out, teacher=teacher, **_given(data=data, pairs=pairs))


@app.command()
def sample(
    config: Config,
    out: Out,
    model: Annotated[Path, typer.Option(help="folder written by `teacher` or `distil`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Draws images with each of a model's samplers."""
    _run("sample", config, bind, out, model=model)


@app.command()
def evaluate(
    config: Config,
    out: Annotated[Path, typer.Option(help="the .json to write")],
    samples: Annotated[Path, typer.Option(help="folder written by `sample`")],
    reference: Annotated[Path, typer.Option(help="folder written by `reference`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Scores each sampler's images against the reference."""
    _run("evaluate", config, bind, out, samples=samples, reference=reference)


@app.command()
def lock() -> None:
    """Puts back dvc.lock where a DVC that was killed left it damaged; else keeps a copy to put back."""
    from boot_exp.dvc_lock import keep_or_restore

    keep_or_restore()


def _stages(config: Path, bind: list[str]) -> dict[str, Frozen]:
    """The frozen stages of a file: of a frozen one its own, of a leaf all that it configures."""
    from boot_exp.config import runs
    from boot_exp.config.faults import Faults
    from boot_exp.config.frozen import Frozen

    if config.suffix == ".json":
        if bind:
            raise ConfigurationFault(
                f"--bind overrides a leaf, but {config} is frozen; give the leaf, or resolve again"
            )
        frozen = Frozen.read(config)
        return {frozen.stage: frozen}
    faults = Faults()
    ((_, stages),) = runs.compiled([runs.leaf_run(config)], {}, faults, bind)
    faults.raise_if_any()
    return stages


def _given(**folders: Path | None) -> dict[str, Path]:
    return {name: folder for name, folder in folders.items() if folder is not None}


def _run(stage: str, config: Path, bind: list[str], out: Path, **inputs: Path) -> None:
    """Builds a stage and runs it on its inputs: nothing is read or written before it is built."""
    here = launched()
    stages = _stages(config, bind)
    if stage not in stages:
        raise ConfigurationFault(f"{config} configures {', '.join(sorted(stages))}, not {stage}; give another file")
    from boot_exp.config import runtime
    from boot_exp.stages.place import Place

    frozen = stages[stage]
    settings: dict[str, Any] = {
        key: value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
        for key, value in frozen.settings().items()
    }
    place = Place(out=out, suite=frozen.suite, name=frozen.name, config=frozen.text(), settings=settings)
    built = runtime.build(frozen)
    runtime.check_operative(frozen)
    if getattr(built, "alone", False) and here.index > 0:
        return  # what one process does is not shared: the first does it
    built.run(place, **inputs)
    runtime.check_operative(frozen)


def main() -> None:
    """Runs a verb; a fault says what is wrong on standard error and has its own exit code."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    run(_command, f"boot-exp, process {os.environ.get('RANK', '?')}" if several else "boot-exp")


def _command() -> None:
    try:
        with stoppable():
            app()
    finally:
        if "torch.distributed" in sys.modules:
            from boot_exp.processes import leave

            leave()


if __name__ == "__main__":
    main()
