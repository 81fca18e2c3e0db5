"""`lsmbench submit`: results that join others, after they have been checked."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.reports.submission import check, keep

TO = "benchmarks/results"


def run(words: list[str]) -> int:
    """Runs the command.

    Args:
        words: What was typed after `lsmbench submit`.

    Returns:
        0, or 2 if something keeps the results from joining.

    Raises:
        UserError: If a folder is none of a benchmark, or others of its name have joined.
    """
    parser = parser_of(
        "submit",
        "Checks a benchmark's results, one's own or from elsewhere: whole files, protocol version, scores of every "
        "sample, a configuration that can be run again. If nothing is wrong they join the others, as one compressed "
        "file with a report, without pictures and weights.",
    )
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="+", type=str, help="A benchmark's folder, e.g. results/300w"
    )
    parser.add_argument("--to", type=str, default=TO, help="The folder of results that they join")
    parser.add_argument("--check", action="store_true", help="Only say what would keep them from joining")
    values = parse_arguments(parser, words)
    refused = 0
    for folder in map(Path, values.folders):
        problems = check(folder)
        for problem in problems:
            errors.print(f"[red]✗[/] {escape(problem)}", highlight=False)
        if problems:
            refused += 1
            errors.print(f"{escape(str(folder))} does not join: {len(problems)} problems.", highlight=False)
        elif values.check:
            console.print(f"{escape(str(folder))} may join.", highlight=False)
        else:
            console.print(
                f"{escape(str(folder))} has joined: {escape(str(keep(folder, Path(values.to))))}", highlight=False
            )
    return 2 if refused else 0
