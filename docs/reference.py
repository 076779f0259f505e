"""A Sphinx extension: writes docs/_reference, a page a module, from signatures and docstrings; it imports nothing."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs/_reference"
SPECIAL = re.compile(r"([\\*_<>\[\]|$])")


def plain(text: str) -> str:
    """Escapes what Markdown would take for its own, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if i % 2 else SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def paragraphs(node: Any) -> str:
    """Returns a docstring as Markdown."""
    return plain(ast.get_docstring(node) or "")


def fields(node: ast.ClassDef) -> str:
    """Returns the fields of a dataclass with their types and defaults, as it is called."""
    lines = [ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign)]
    return "\n".join(line for line in lines if "ClassVar" not in line)


def called(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Returns the line by which a function or a class is called, without its body."""
    if isinstance(node, ast.FunctionDef):
        back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{node.name}({ast.unparse(node.args)}){back}"
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return f"class {node.name}{bases}\n    {called(each)}"
    found = fields(node)
    return f"class {node.name}{bases}" + "".join(f"\n    {line}" for line in found.splitlines())


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yields the functions and classes that have a docstring and no underscore."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and ast.get_docstring(node):
            yield node


def page(path: Path) -> str:
    """Returns the page of a module, or nothing if it has no public name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    parts = [f"# {plain(name)}", paragraphs(tree)]
    found = list(public(tree.body))
    for node in found:
        parts += [f"## {plain(node.name)}", f"```text\n{called(node)}\n```", paragraphs(node)]
        if isinstance(node, ast.ClassDef):
            for method in public(node.body):
                parts += [f"```text\n{called(method)}\n```", paragraphs(method)]
    return "\n\n".join(parts) + "\n" if found else ""


def write(out: Path = OUT) -> None:
    """Writes all pages and an index."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    names = []
    for package in ("boot_exp", "evals"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.stem != "__main__" and (text := page(path)):
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                (out / f"{name}.md").write_text(text, encoding="utf-8")
                names.append(name)
    toc = "\n".join(names)
    intro = (
        "Every public class and function, from its signature and its docstring. `import boot_exp` offers the classes."
    )
    (out / "index.md").write_text(f"# Reference\n\n{intro}\n\n```{{toctree}}\n:maxdepth: 1\n\n{toc}\n```\n")


def setup(app: Any) -> dict[str, bool]:
    """Writes the pages before Sphinx reads its sources."""
    app.connect("config-inited", lambda *_: write())
    return {"parallel_read_safe": True}
