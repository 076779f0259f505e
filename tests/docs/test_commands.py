"""Every command of the pages is parsed here by its program, and run by the test that `RUNS` names, or says why not."""

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
PIPELINE, PUBLISHED = "pipeline/test_pipeline.py", "pipeline/test_published.py"
RUNS: list[tuple[str, str, str, str]] = [
    ("README.md", "dvc exp run", PIPELINE, "docs/ablation.md"),  # the same two changes
    ("README.md", "make baseline", PIPELINE, '"baseline"'),
    ("README.md", "boot-exp reach", "config/test_reach.py", "def test_a_change_reaches"),
    ("README.md", "boot-exp doctor", "config/test_doctor.py", "examine()"),
    ("README.md", "boot-exp lint", PIPELINE, "docs/ablation.md"),
    ("ablation.md", "", PIPELINE, "docs/ablation.md"),
    ("teachers.md", "", PUBLISHED, "docs/teachers.md"),
    ("images.md", "boot-exp (lint|data|check)", "docs/test_images.py", "docs/images.md"),
    ("images.md", "boot-exp plan|dvc repro", PUBLISHED, "docs/teachers.md"),  # the same, after its leaves
    ("library.md", "boot-exp init|make -C", "test_wheel.py", '"init", "mine"'),
    ("library.md", "pip install", "test_wheel.py", '"--no-deps"'),
    ("export.md", "--push", "stages/test_export_plain.py", "hub.push("),
    ("export.md", "--plain", "stages/test_export_plain.py", "--plain"),
    ("export.md", "boot-exp export (mine|resolved)", "stages/test_export_commands.py", '"export"'),
    ("text.md", "boot-exp export", "stages/test_export_commands.py", '"export"'),
    ("gpu.md", "benchmarks.gpu|make gpu|pytest", "gpu/test_rehearsal.py", '"REDUCED=1"'),
    ("gpu.md", "dvc (repro (published|comparison)|commit)", PIPELINE, '"dvc", "commit", "-f"'),
    ("gpu.md", "accelerate launch", "pipeline/test_launched.py", '"accelerate": [*ACCELERATE'),
    ("gpu.md", "boot-exp check --all", "stages/test_dry_run.py", '"check", "--all", "cifar10"'),
    ("gpu.md", "boot-exp distil", "pipeline/test_launched.py", '("--bind", line)'),
    ("gpu.md", "sbatch", "gpu/test_page.py", '"job.sh"'),
    ("gpu.md", "pack.sh", "gpu/test_page.py", "benchmarks/gpu/pack.sh"),
    ("scores.md", "boot-exp (profile|walks)", "pipeline/conftest.py", "profile@digits-boot-0"),
    ("scores.md", "boot-exp verify-teacher", PUBLISHED, '"verify-teacher"'),
    ("scores.md", "evals clip-score", "evals/test_clip.py", '"clip-score"'),
    ("scores.md", "evals cmmd", "evals/test_cmmd.py", '"cmmd"'),
    ("scores.md", "coco", "evals/test_coco.py", "coco-30k"),
    ("scores.md", "dinov2", "evals/test_cli.py", "dinov2"),
    ("scores.md", "evals fid", "evals/test_cli.py", '"fid"'),
    ("scores.md", "evals report (OURS|SAMPLES)", "evals/test_scored.py", '"report"'),
    ("scores.md", "evals report results", "evals/test_several.py", "results/digits@{revision}"),
    ("scores.md", "benchmarks.at_scale", "evals/test_at_scale.py", "at_scale.part("),
    ("methods.md", "boot-exp distil", "stages/test_comparison_stages.py", "def test_a_method_in_no_list"),
    ("suites.md", "boot-exp check", "stages/test_dry_run.py", '"check", "--all", "cifar10"'),
    ("suites.md", "boot-exp data", "docs/test_images.py", "ffhq_64/teacher"),
]
"""Page, pattern of its commands, the test that runs them on small files, and words by which that does."""
NOT_RUN = {
    "make repro": "DVC runs its stages in the pipeline's tests, small",
    "make study": "DVC runs its stages in the pipeline's tests, small",
    "make compare": "DVC runs its stages in the comparison's tests, small",
    "make test": "runs all tests",
    "make tensorboard": "a server",
    ".venv/bin/activate": "the environment of all tests",
    "/tmp/before": "writes outside of the project",
    "pip install": "needs the network",
    "apt-get install": "needs the network",
    "make emoji": "takes an hour; test_captioned.py runs its stages, small",
    "captioned@emoji_gpu": "needs a GPU; test_captioned.py runs its stages, small",
}
WHOLE = "CONTRIBUTING.md"
"""Its test writes and runs all of its blocks."""
OTHERS = {"printf", "git", "pip", "apt-get", "pre-commit", "cp", "diff", "."}
"""Programs of others whose options are not ours to check."""
DVC = {"repro", "exp", "params", "metrics", "plots", "commit"}
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


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line[:60]}" for page, line in COMMANDS])
def test_a_command_is_run_by_a_test_or_says_why_not(page: str, line: str) -> None:
    found = [(test, words) for of, pattern, test, words in RUNS if of == page and re.search(pattern, line)]
    assert found or any(words in line for words in NOT_RUN), f"name the test that runs it in RUNS: {line}"
    for test, words in found:
        assert words in (ROOT / "tests" / test).read_text(), (test, words)


def test_no_line_of_the_table_is_of_a_command_that_is_gone() -> None:
    for of, pattern, _, _ in RUNS:
        assert any(page == of and re.search(pattern, line) for page, line in COMMANDS), (of, pattern)
    assert all(any(words in line for _, line in COMMANDS) for words in NOT_RUN)


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
