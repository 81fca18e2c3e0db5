"""`lsmbench sweep`: searches for the best parameters of a benchmark's rows, and shows the progress of sweeps."""

from __future__ import annotations

import os
from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import parse_arguments, words_of
from lsmbench.benchmarks import tuning
from lsmbench.benchmarks.definition import with_selections
from lsmbench.benchmarks.limits import with_folds
from lsmbench.benchmarks.request import add_benchmark_options, requested
from lsmbench.commands.console import console, errors, parser_of, tell_unsent
from lsmbench.errors import UserError
from lsmbench.reports.markup import plural
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, add_options
from lsmbench.runs.tracking import Tracking
from lsmbench.sweeps import space as spaces
from lsmbench.sweeps.search import obstacle, searches
from lsmbench.sweeps.storage import database_errors, file_of, open_storage, shown
from lsmbench.sweeps.study import Sweep
from lsmbench.sweeps.table import overview
from lsmbench.sweeps.worker import SweepError

FOLDER = "sweeps"
JOURNAL = "studies.journal"
STORAGE = "LSMBENCH_STORAGE"
"""Environment variable that names a storage, so that its password does not appear in the list of processes."""


def run(words: list[str]) -> int:
    """Runs `lsmbench sweep` or `lsmbench sweep show`.

    Args:
        words: Arguments after `lsmbench sweep`.

    Returns:
        Exit code: 0 if all sweeps are complete, 1 if a trial failed twice.

    Raises:
        UserError: If an option, the data or the storage is wrong.
    """
    return _show(words[1:]) if words[:1] == ["show"] else _sweep(words)


def _sweep(words: list[str]) -> int:
    """Searches for the best parameters of rows of a benchmark, and saves them."""
    parser = parser_of(
        "sweep",
        "Searches for the best parameters of rows of a benchmark by their validation scores, and writes them to "
        "benchmarks/best/. The test set is never touched. Repeat the command to go on where it was interrupted; start "
        "it several times on one --storage for several workers.",
    )
    add_benchmark_options(parser)
    parser.add_argument(
        "--method", type=str, help="Rows of the table to tune, separated by commas (default: all that can be tuned)"
    )
    parser.add_argument("--trials", type=int, help="Finished trials of each sweep (default: the space's number)")
    parser.add_argument("--space", type=str, help="File of the space, in place of sweeps/METHOD.yaml")
    parser.add_argument(
        "--storage",
        type=str,
        help=f"Journal file or URL of a database that several workers share; {STORAGE} names it too",
    )
    parser.add_argument("--study", type=str, default="", help="Name of the study, in place of the benchmark's name")
    parser.add_argument("--jobs", type=int, default=1, help="Parallel trials; with 1, a sweep can be reproduced")
    add_options(parser, "", Machine)
    add_options(parser, "", Tracking)
    values = parse_arguments(parser, words)
    for option in ("jobs", "trials"):
        if getattr(values, option) is not None and getattr(values, option) < 1:
            raise UserError(f"--{option}: expected at least 1, found {getattr(values, option)}.")
    benchmark = with_folds(with_selections(requested(values)))
    ranks.check_alone()
    ranks.check(int(benchmark.training.get("devices", 1)), values.accelerator)
    rows = words_of(values.method) if values.method else [r for r in benchmark.methods if not obstacle(benchmark, r)]
    if not rows:
        raise UserError(f"benchmark {benchmark.name}: no row to tune. Name some by --method.")
    for row in rows:
        benchmark.methods.setdefault(row, {})  # any method can be tuned on any benchmark, as any can be run
    methods = {str(benchmark.methods[row].get("name", row)) for row in rows}
    if values.space and len(methods) > 1:
        raise UserError(f"--space names one file, and {', '.join(sorted(methods))} are to be tuned; name one --method.")
    found = {name: spaces.load(name, Path(values.space) if values.space else None) for name in methods}
    folder = Path(values.output) / benchmark.name / FOLDER
    where = values.storage or os.environ.get(STORAGE) or folder / JOURNAL
    wanted = searches(benchmark, rows, found)
    tracking = Tracking(values.track, job_type="trial", folder=str(folder))
    failed = 0
    with database_errors(where):
        storage = open_storage(where)
        console.print(
            f"[bold]{escape(benchmark.title)}[/]: {plural(len(wanted), 'sweep')}, trials in {escape(shown(where))}",
            highlight=False,
        )
        for search in wanted:
            trials = values.trials or search.space.trials
            machine = Machine(values.accelerator, values.threads)
            sweep = Sweep(search, storage, folder, machine, values.jobs, trials, console, values.study, tracking)
            try:
                outcome = sweep.run()
            except SweepError as error:
                errors.print(f"[bold red]lsmbench:[/] {escape(str(error))}", highlight=False)
                failed = 1
                continue
            console.print(_kept(outcome, benchmark.dataset["name"]), highlight=False)
    tell_unsent(tracking)
    return failed


def _kept(outcome: tuning.Best, dataset: str) -> str:
    """Saves an outcome, unless it would replace that of a longer search; returns a message that says which."""
    folder = Path("benchmarks") / tuning.FOLDER
    before = tuning.earlier(outcome, folder, dataset)
    if before and len(before.trials) > len(outcome.trials):
        return (
            f"{folder / dataset / outcome.row}.yaml keeps the outcome of {len(before.trials)} trials (study "
            f"{before.study}); the outcome of these {len(outcome.trials)} stays in its study. Delete that entry to "
            "save this outcome."
        )
    path = tuning.save(outcome, folder, dataset)
    other = before is not None and (before.study, before.setting) != (outcome.study, outcome.setting)
    instead = f" They replace the parameters of study {before.study}." if before and other else ""
    return f"Best parameters: {path}. `make bench TUNED=1` uses them.{instead}"


def _show(words: list[str]) -> int:
    """Shows the progress of sweeps: parameters, the best trial, their importance, and the remaining trials."""
    parser = parser_of("sweep show", "Shows the progress of sweeps.")
    parser.add_argument("name", metavar="DATASET", nargs="?", help="A dataset or a benchmark (default: all)")
    parser.add_argument("--storage", type=str, help="Journal file or URL of a database (default: all in --output)")
    parser.add_argument("--output", type=str, default="results", help="Folder of benchmarks' results")
    values = parse_arguments(parser, words)
    journals = sorted(Path(values.output).glob(f"*/{FOLDER}/{JOURNAL}"))
    storage = values.storage or os.environ.get(STORAGE)
    if storage and (path := file_of(storage)) and not path.exists():
        raise UserError(f"{shown(storage)}: no such file of trials.")
    places: list[str | Path] = [storage] if storage else [*journals]
    tables = []
    for where in places:
        with database_errors(where):
            tables += overview(open_storage(where), values.name)
    if not tables:
        what = f" of {values.name}" if values.name else ""
        place = shown(storage) if storage else os.path.join(values.output, "*", FOLDER, JOURNAL)
        raise UserError(f"no sweep{what} in {place}. `lsmbench sweep DATASET --method METHOD` starts one.")
    for table in tables:
        console.print(table)
    return 0
