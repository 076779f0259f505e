"""Every command and every block of the pages is run by a test, or parsed here by the program that it is for."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from boot_exp.__main__ import app
from boot_exp.config.fault_list import Faults
from boot_exp.config.parse import parse
from evals.__main__ import app as evals_app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
RUN = {
    "README.md": "test_public.py",
    "library.md": "docs/test_library.py",
    "export.md": "stages/test_export_plain.py",
    "text.md": "stages/test_export_pixels.py",
    "CONTRIBUTING.md": "pipeline/test_contributing.py",
}
"""The tests that run the Python of a page."""
WHOLE = "CONTRIBUTING.md"
"""Its test writes and runs all of its blocks."""
OTHERS = {"printf", "git", "pip", "apt-get", "pre-commit", "cp", "diff", "."}
"""Programs of others whose options are not ours to check."""
DVC = {"repro", "exp", "params", "metrics", "plots"}
LANGUAGES = {"python", "gin", "sh", "bash", "diff", "text", "{toctree}", ""}


def fences(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.M | re.S)


def commands(page: Path) -> list[str]:
    """The indented commands of a page, one string each, and those of its blocks of shell."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    indented = "\n".join(line[4:] for line in text.splitlines() if re.match(r" {4}\S| {8}", line))
    blocks = [indented, *(block for language, block in fences(page) if language == "sh" and page.name != WHOLE)]
    whole = "\n".join(blocks).replace("\\\n", " ")
    return [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]


COMMANDS = sorted({(page.name, line) for page in PAGES for line in commands(page)})


def parsed(application: typer.Typer, words: list[str]) -> None:
    """The command of an application takes these words; nothing is run."""
    group: Any = typer.main.get_command(application)
    if words[0] == "--help":
        return
    assert words[0] in group.commands, words
    context = group.commands[words[0]].make_context(words[0], list(words[1:]))
    if words[0] == "evals":
        parsed(evals_app, context.args)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def check(words: list[str]) -> None:
    """One simple command, without its environment."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    match words:
        case ["sbatch", "job.sh", *rest] | ["accelerate", "launch", "--num_processes", _, "-m", *rest]:
            check(rest if rest != ["COMMAND..."] else ["git"])
        case [program, *rest] if Path(program).name in ("boot-exp", "boot_exp"):
            parsed(app, rest)
        case ["python" | "python3", "-m", "evals", *rest]:
            parsed(evals_app, rest)
        case ["python" | "python3", "-m", module, *rest]:
            assert find_spec(module) is not None, module
            assert all((ROOT / word).exists() for word in rest if word.startswith("tests/")), rest
        case ["python" | "python3", "-m", *_] | ["python", "-c", *_]:
            raise AssertionError(words)
        case ["make", *rest]:
            named = [word for word in rest if "=" not in word and not word.startswith(("-", "."))]
            assert named and set(named) <= targets(), rest
        case [program, verb, *rest] if Path(program).name == "dvc":
            assert verb in DVC, verb
            stages = {word.partition("@")[0] for word in rest if "@" in word and " " not in word and "=" not in word}
            known = re.findall(r"^  (\w+):$", (ROOT / "dvc.yaml").read_text(), re.M)
            assert stages <= set(known), rest
        case [program, *_]:
            assert program in OTHERS or (ROOT / program).exists(), words


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line[:60]}" for page, line in COMMANDS])
def test_a_command_is_one_that_its_program_takes(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    while words:
        end = next((i for i, word in enumerate(words) if word in ("&&", ">", "|", "||", ";")), len(words))
        if words[:end]:
            check(words[:end])
        words = words[end + 2 :] if words[end : end + 1] == [">"] else words[end + 1 :]


def test_a_mistake_is_found() -> None:
    for wrong in ("boot-exp lent", "boot-exp lint --nothing", "python -m evals fid", "make repo", "dvc repro leader@x"):
        with pytest.raises(Exception) as caught:
            check(shlex.split(wrong))
        assert {kind.__name__ for kind in type(caught.value).__mro__} & {"AssertionError", "UsageError"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_by_a_test_or_parsed(page: Path) -> None:
    for language, block in fences(page):
        assert language in LANGUAGES, f"{page.name} has a block of {language}, which no test knows"
        if language == "python":
            ast.parse(block)
            assert page.name in RUN and (ROOT / "tests" / RUN[page.name]).exists(), f"run the Python of {page.name}"
        elif language in ("sh", "bash"):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        elif language == "gin" and page.name != WHOLE:
            faults = Faults()
            list(parse(block.replace("include ", "# "), page.name, faults))
            faults.raise_if_any()
