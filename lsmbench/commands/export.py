"""`lsmbench export`: results as tidy CSV and Parquet, with a data dictionary."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.errors import UserError
from lsmbench.reports.export import write
from lsmbench.reports.frame import FINISHED, read


def run(words: list[str]) -> int:
    """Runs the command.

    Args:
        words: What was typed after `lsmbench export`.

    Returns:
        0.

    Raises:
        UserError: If a folder is missing, none holds a finished run with scores, or the files cannot be written.
    """
    parser = parser_of(
        "export", "Writes every score of every run and test sample as tidy CSV and Parquet, with a data dictionary."
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=str, help="Folders of results, e.g. results/quick")
    parser.add_argument("--output", type=str, default="export", help="The folder to write to")
    values = parse_arguments(parser, words)
    found = read([Path(folder) for folder in values.folders])
    for problem in found.problems:
        errors.print(f"[yellow]skipped:[/] {escape(problem)}", highlight=False)
    if not ((found.runs["state"] == FINISHED) & found.runs["metric"].notna()).any():
        raise UserError(f"{', '.join(values.folders)}: no finished run with scores.")
    try:
        files = write(found, Path(values.output))
    except OSError as error:
        raise UserError(f"--output: {values.output} cannot be written ({error.strerror}). Name another one.") from error
    for file in files:
        console.print(f"{escape(str(file))}: {file.stat().st_size / 1e3:,.0f} kB", highlight=False)
    return 0
