"""`lsmbench list`: methods, datasets and benchmarks."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from lsmbench.benchmarks.grid import available, summary
from lsmbench.commands.console import console, parser_of
from lsmbench.datasets import DATASETS
from lsmbench.methods import METHODS
from lsmbench.runs.config import load_yaml, parse_arguments


def run(words: list[str]) -> int:
    """Prints the methods, datasets and benchmarks, one per line."""
    parse_arguments(parser_of("list", "Shows methods, datasets and benchmarks."), words)
    benchmarks = {name: str(load_yaml(path).get("title", "")) for name, path in available().items()}
    sections = {
        "methods": {name: summary(kind) for name, kind in METHODS.items()},
        "datasets": {name: summary(kind) for name, kind in DATASETS.items()},
        "benchmarks": benchmarks,
    }
    for title, rows in sections.items():
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False
        )
        for name, line in rows.items():
            table.add_row(f"  {name}", escape(line))
        console.print(table)
    return 0
