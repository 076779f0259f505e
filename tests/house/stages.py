"""What tests of the stages share with others."""

from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner, Result

from boot_exp.__main__ import app


def options(bindings: list[str]) -> list[str]:
    return [part for binding in bindings for part in ("--bind", binding)]


def boot_exp(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "boot_exp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
