"""Commands for places that are no clone: they lay a project, reach the evaluator, and say what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ANY = {"allow_extra_args": True, "ignore_unknown_options": True}


def init(
    folder: Annotated[Path, typer.Argument(help="a new or empty folder")],
    suite: Annotated[str, typer.Option(help="the suite of the package to start from")] = "digits",
) -> None:
    """Lays a project anywhere: the file of a suite, dvc.yaml, params.yaml, a Makefile and a README."""
    from boot_exp.config.new_project import lay

    lay(folder, suite)


def evals(context: typer.Context) -> None:
    """Scores any images, writes tables and reports: what `python -m evals` does in a clone."""
    from evals.__main__ import app

    app(context.args, prog_name="boot-exp evals")


def version(asked: bool) -> None:
    """Prints the version of the package and where it is, if asked, and ends the command."""
    if asked:
        import boot_exp

        print(f"boot-exp {boot_exp.__version__}, {Path(boot_exp.__file__).parent}")
        raise typer.Exit
