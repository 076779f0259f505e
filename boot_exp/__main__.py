"""boot-exp: one verb a stage. What a verb does is configured by a gin file, where it does it by its options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evals.errors import Fault

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

Leaf = Annotated[Path, typer.Argument(help="gin file of the experiment")]
Out = Annotated[Path, typer.Option(help="folder of the result: KIND/SUITE/NAME")]
Bind = Annotated[list[str], typer.Option("--bind", "-b", help="gin binding that overrides the file")]


@app.command()
def data(leaf: Leaf, out: Out, bind: Bind = []) -> None:  # noqa: B006 - typer reads the default, nobody writes it
    """Reads, transforms and validates a data set, once."""
    from boot_exp import config
    from boot_exp.stages.data import Data
    from boot_exp.stages.place import Place

    text = config.read(leaf, bind)
    config.build(Data).run(Place(out=out, config=text))


@app.command()
def teacher(
    leaf: Leaf,
    out: Out,
    data: Annotated[Path, typer.Option(help="folder written by `data`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Trains a teacher on prepared images."""
    from boot_exp import config
    from boot_exp.stages.place import Place
    from boot_exp.stages.teacher import Teacher

    text = config.read(leaf, bind)
    config.build(Teacher).run(Place(out=out, config=text), data=data)


@app.command()
def distil(
    leaf: Leaf,
    out: Out,
    teacher: Annotated[Path, typer.Option(help="folder written by `teacher`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Distils a student from a teacher, without data."""
    from boot_exp import config
    from boot_exp.stages.distil import Distil
    from boot_exp.stages.place import Place

    text = config.read(leaf, bind)
    config.build(Distil).run(Place(out=out, config=text), teacher=teacher)


@app.command()
def sample(
    leaf: Leaf,
    out: Out,
    model: Annotated[Path, typer.Option(help="folder written by `teacher` or `distil`")],
    bind: Bind = [],  # noqa: B006
) -> None:
    """Draws images with each of a model's samplers."""
    from boot_exp import config
    from boot_exp.stages.place import Place
    from boot_exp.stages.sample import Sample

    text = config.read(leaf, bind)
    config.build(Sample).run(Place(out=out, config=text), model=model)


def main() -> None:
    """Runs a verb; a fault is one line on standard error and its own exit code."""
    try:
        app(standalone_mode=True)
    except Fault as fault:
        print(f"boot-exp: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)
    except OSError as error:
        print(f"boot-exp: {error}; mend what it says and start again: finished work is kept", file=sys.stderr)
        sys.exit(74)


if __name__ == "__main__":
    main()
