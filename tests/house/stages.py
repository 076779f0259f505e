"""What tests of the stages share with others."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass
from unittest import mock

from typer.testing import CliRunner, Result

from boot_exp.__main__ import app, main


def options(bindings: list[str]) -> list[str]:
    return [part for binding in bindings for part in ("--bind", binding)]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and its standard error."""

    returncode: int
    stderr: str


def boot_exp(*arguments: str) -> Ended:
    """The program boot-exp to its end, in this process; tests/engine/test_ending.py starts real ones."""
    said = io.StringIO()
    with mock.patch.object(sys, "argv", ["boot-exp", *arguments]), redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            assert isinstance(end.code, int | None)
            return Ended(returncode=end.code or 0, stderr=said.getvalue())


def verb(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


NO_DATA = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("sklearn.", "torchvision.", "boot_exp.data")):
            raise AssertionError("the distil stage imported " + name)
sys.meta_path.insert(0, Refuse())
def opened(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = arguments[0]
        assert "/data/digits/" not in path and not path.startswith("data/"), "the distil stage opened " + path
sys.addaudithook(opened)
"""
