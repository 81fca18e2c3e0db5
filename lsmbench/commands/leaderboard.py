"""`lsmbench leaderboard`: every result on disk on one page."""

from __future__ import annotations

import gc
from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.leaderboard import FOLDERS, OUTPUT, read, write_leaderboard
from lsmbench.reports.results_page import write_page
from lsmbench.reports.summaries import write_summaries


def run(words: list[str]) -> int:
    """Runs the command: reads results and writes the page.

    Args:
        words: What was typed after `lsmbench leaderboard`.

    Returns:
        0.

    Raises:
        UserError: If a folder is missing, none holds a result, or the page cannot be written.
    """
    parser = parser_of(
        "leaderboard",
        "Writes one page of all results: datasets, methods ranked at every N, and the runs behind each "
        "number. Results compare if protocol, data, test samples and metric are the same; others are kept apart.",
    )
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="*", type=str, help=f"Folders to read (default: {' and '.join(FOLDERS)})"
    )
    parser.add_argument(
        "--output",
        type=str,
        default=OUTPUT,
        help="The page. A name that ends in .md makes tables in Markdown, of the benchmarks in one folder",
    )
    parser.add_argument(
        "--track",
        choices=("csv", "wandb"),
        default="csv",
        help="wandb: one summary run per dataset and method in Weights & Biases besides, offline if there is no key",
    )
    values = parse_arguments(parser, words)
    folders = [Path(folder) for folder in values.folders or FOLDERS]
    if not values.folders:
        folders = [folder for folder in folders if folder.is_dir()]
    output = Path(values.output)
    if output.suffix == ".md":
        return _markdown(folders, output)
    gc.disable()  # it finds nothing among thousands of results, and takes a sixth of the time
    boards, found = read(folders)
    try:
        problems = write_leaderboard(boards, found, output)
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written ({error.strerror}). Name another file.") from error
    for problem in problems:
        errors.print(f"[yellow]skipped:[/] {escape(problem)}", highlight=False)
    for board in boards:
        methods = sum(not row.floor for row in board.rows)
        counts = f"{markup.plural(methods, 'row')}, {markup.plural(len(board.trained), 'run')}"
        console.print(f"[bold]{escape(board.label)}[/]: {counts}", highlight=False)
    console.print(f"Leaderboard: {escape(str(output))}", highlight=False)
    if values.track == "wandb":
        write_summaries(boards, output.parent, console)
    return 0


def _markdown(folders: list[Path], output: Path) -> int:
    """Writes the tables of the benchmarks in one folder."""
    if len(folders) != 1:
        raise UserError(f"--output {output}: name one folder whose benchmarks to show, e.g. benchmarks/results.")
    for problem in write_page(folders[0], output):
        errors.print(f"[yellow]skipped:[/] {escape(problem)}", highlight=False)
    console.print(f"Page: {escape(str(output))}", highlight=False)
    return 0
