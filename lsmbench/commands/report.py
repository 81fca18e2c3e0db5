"""`lsmbench report`: tables and pictures again, from results alone."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, parser_of
from lsmbench.reports.report import console_table, write_report


def run(words: list[str]) -> int:
    """Writes a report from the results in a folder."""
    parser = parser_of("report", "Writes tables and pictures again, from the results in a folder.")
    parser.add_argument("folder", type=str, help="Folder of a benchmark's results, e.g. results/quick")
    folder = Path(parse_arguments(parser, words).folder)
    write_report(folder)
    for table in console_table(folder):
        console.print(table)
    console.print(f"Report: {escape(str(folder / 'report.html'))}", highlight=False)
    return 0
