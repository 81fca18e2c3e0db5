"""`lsmbench list`: methods, datasets and benchmarks."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

from rich.markup import escape
from rich.table import Table

import lsmbench
from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, parser_of
from lsmbench.definitions import load_yaml, named_files


def run(words: list[str]) -> int:
    """Prints the methods, datasets and benchmarks, one per line."""
    parse_arguments(parser_of("list", "Shows methods, datasets and benchmarks."), words)
    sections = {
        "methods": summaries("methods", "METHODS"),
        "datasets": summaries("datasets", "DATASETS"),
        "benchmarks": {name: str(load_yaml(path).get("title", "")) for name, path in named_files("benchmarks").items()},
    }
    for title, rows in sections.items():
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False
        )
        for name, line in rows.items():
            table.add_row(f"  {escape(name)}", escape(line))
        console.print(table)
    return 0


def summaries(room: str, table: str) -> dict[str, str]:
    """The first lines of the docstrings of a table's classes, with what somebody's own program has added to it.

    Args:
        room: The package that holds the table, e.g. `methods`.
        table: The table's name there.
    """
    if (loaded := sys.modules.get(f"lsmbench.{room}")) is None:
        return from_source(room, table)
    kinds = getattr(loaded, table)
    return {word: (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".") for word, kind in kinds.items()}


def from_source(room: str, table: str) -> dict[str, str]:
    """The first lines of the docstrings of a table's classes, read from the source: imports would take seconds.

    Args:
        room: The package that holds the table, e.g. `methods`.
        table: The table's name there: a dictionary of words and imported classes, e.g. `METHODS`.

    Returns:
        The line of each word, in the table's order.
    """
    package = Path(lsmbench.__file__).parent
    body = ast.parse((package / room / "__init__.py").read_text(encoding="utf-8")).body
    module_of = {
        alias.name: str(node.module) for node in body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    entries: list[tuple[ast.expr | None, ast.expr]] = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == table and isinstance(node.value, ast.Dict):
            entries += zip(node.value.keys, node.value.values, strict=True)
    lines = {}
    for key, value in entries:
        word, kind = ast.literal_eval(ast.unparse(key or value)), ast.unparse(value)
        source = package.joinpath(*module_of[kind].split(".")[1:]).with_suffix(".py").read_text(encoding="utf-8")
        defined = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == kind)
        lines[word] = (ast.get_docstring(defined) or "").partition("\n")[0].rstrip(".")
    return lines
