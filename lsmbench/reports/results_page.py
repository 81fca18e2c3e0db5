"""Kept results of several benchmarks on one page of Markdown, for a repository's documentation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsmbench.benchmarks.plan import BENCHMARK
from lsmbench.errors import UserError
from lsmbench.reports import markup, over_n
from lsmbench.reports.about import about
from lsmbench.reports.compare import compare
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.table import Table, tabulate
from lsmbench.runs.results import write_text

OURS = "lsm"
"""The row that is compared with the reference, in sentences."""


def write_page(folder: Path, output: Path) -> list[str]:
    """Writes the page; the same results give the same text.

    Args:
        folder: Holds a folder for each benchmark.
        output: The page's file.

    Returns:
        Sentences about files that could not be used.

    Raises:
        UserError: If there is no benchmark in the folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    homes = sorted(path.parent for path in folder.glob(f"*/{BENCHMARK}"))
    if not homes:
        raise UserError(
            f"{folder}: holds no benchmark's results; `lsmbench submit results/NAME --to {folder}` adds some."
        )
    problems: list[str] = []
    shown = [_shown(home, problems) for home in homes]
    text = markup.render(
        "results.md.j2",
        shown=shown,
        folder=folder.as_posix(),
        link=os.path.relpath(folder, output.parent).replace(os.sep, "/"),
        command=f"lsmbench leaderboard {folder.as_posix()} --output {output.as_posix()}",
    )
    write_text(output, text)
    return problems


def _shown(home: Path, problems: list[str]) -> dict[str, Any]:
    found = read_benchmark(home)
    problems += [f"{home}: {message}" for _, message in found.problems]
    every = tabulate(found.plan, found.runs)
    first = every[0]
    # The score that methods are compared by, on each test set.
    tables = [table for table in every if table.key[1:] == first.key[1:]]
    told = about(found, first)
    told["facts"] = [fact for fact in told["facts"] if fact[0] not in ("report made by", "commit")]
    return {
        "name": home.name,
        "plan": found.plan,
        "about": told,
        "tables": tables,
        "compared": [_compared(table, found.plan.reference or "baseline") for table in tables],
        "over_n": over_n.of(found.plan, first),
        "notes": [
            note for note in markup.sentences(first, "notes") if note[:1] in "†‡§¶" or note.startswith("Validation")
        ],
    }


def _compared(table: Table, reference: str) -> Sequence[str]:
    labels = {row.label for row in table.rows}
    if not {OURS, reference} <= labels:
        return []
    return [" ".join(markup.sentences(one, "compared")) for one in compare(table, OURS, reference)]
