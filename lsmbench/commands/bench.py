"""`lsmbench bench`: a grid of runs and its report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

from lsmbench.arguments import numbers, parse_arguments
from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.benchmarks.compute import launch
from lsmbench.benchmarks.definition import Benchmark
from lsmbench.benchmarks.plan import Looks
from lsmbench.benchmarks.request import add_benchmark_options, requested
from lsmbench.commands.console import console, errors, parser_of, tell_unsent
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.choice import choose
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.report import console_table, write_report
from lsmbench.reports.table import tabulate
from lsmbench.reports.undecided import undecided
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, add_options
from lsmbench.runs.environment import cores
from lsmbench.runs.model import delete_weights
from lsmbench.runs.results import write_json, write_text
from lsmbench.runs.tracking import Tracking

KEEP = ("all", "best-row", "none")
FIRST_SEEDS, MOST_SEEDS = 3, 10


def run(words: list[str]) -> int:
    """Computes what is missing of a benchmark, and of those that belong to it, and writes its report.

    Returns:
        0, or 1 or 2 if runs have no result.
    """
    parser = parser_of(
        "bench", "Runs a benchmark and writes its report. Finished runs are kept, broken ones continued."
    )
    add_benchmark_options(parser)
    parser.add_argument("--methods", type=str, help="Rows of the table, separated by commas; floors are always added")
    parser.add_argument(
        "--seeds",
        type=str,
        help="Seeds, separated by commas; or auto: seeds are added where the difference to the best row is not known "
        "to ± --precision, at most --most-seeds. There is a look after each seed, and intervals allow for looking",
    )
    parser.add_argument("--precision", type=float, help="Of --seeds auto, in the unit of the primary metric")
    parser.add_argument("--most-seeds", type=int, help=f"Of --seeds auto (default: {MOST_SEEDS})")
    parser.add_argument(
        "--folds",
        type=str,
        help="Deals the pairs to so many folds, each tested on once: a number, leave_one_out, or none for one split "
        "(default: what the benchmark says, else 5 for a folder of fewer than 100 pairs without parts)",
    )
    parser.add_argument(
        "--tuned", action="store_true", help="Give each row the parameters that a sweep found for the nearest N"
    )
    parser.add_argument(
        "--refine_steps",
        type=str,
        help="Numbers of steps of test-time optimisation, separated by commas: runs of methods that have a code are "
        "also tested with each, in rows of their own",
    )
    parser.add_argument("--jobs", type=int, help="Runs at a time (default: one per core on a CPU, one on a GPU)")
    parser.add_argument(
        "--keep-weights",
        choices=KEEP,
        default="all",
        help="Whose weights stay on disk after the report: all; best-row, the runs that lsmbench predict would take; "
        "none. Results stay in any case",
    )
    add_options(parser, "", Machine)
    add_options(parser, "", Tracking)
    values = parse_arguments(parser, words)
    benchmark = _asked(values)
    others = []
    for name in benchmark.then:
        values.benchmark = name
        others.append(_asked(values))
    return max(_compute(one, values, "lsmbench bench " + shlex.join(words)) for one in (benchmark, *others))


def _asked(values: Any) -> Benchmark:
    """The benchmark that parsed options name."""
    sections: dict[str, Any] = {}
    if values.seeds == "auto":
        if values.precision is None:
            raise UserError(
                "--seeds auto needs --precision, e.g. --precision 0.005 (make bench SEEDS=auto PRECISION=0.005)."
            )
        most = MOST_SEEDS if values.most_seeds is None else values.most_seeds
        sections["looks"] = {"first": min(FIRST_SEEDS, most - 1), "most": most, "precision": values.precision}
    elif values.precision is not None or values.most_seeds is not None:
        raise UserError("--precision and --most-seeds are options of --seeds auto.")
    elif values.seeds:
        sections |= {"seeds": numbers("--seeds", values.seeds, int), "looks": None}
    if values.tuned:
        sections["tuned"] = True
    benchmark = requested(values, values.methods, **sections)
    if values.refine_steps:  # the row without refinement, 0 steps, is always there
        steps = [steps for steps in numbers("--refine_steps", values.refine_steps, int) if steps]
        benchmark.refine = {**benchmark.refine, "refine_steps": steps} if steps else {}
    if values.folds is not None:
        benchmark.supervision = {**benchmark.supervision, "folds": _folds(values.folds)}
    return benchmark


def _compute(benchmark: Benchmark, values: Any, command: str) -> int:
    """Computes what is missing of one benchmark and writes its report."""
    devices = int(benchmark.training.get("devices", 1))
    jobs = values.jobs if values.jobs is not None else _default_jobs(values.accelerator, devices)
    if jobs < 1:
        raise UserError(f"--jobs: expected at least 1, found {jobs}.")

    ranks.check_alone()
    ranks.check(devices, values.accelerator)
    # N of the benchmark's own that its data is too small for are left out; those that a person typed are refused.
    grid = grids.expand(benchmark, asked=bool(values.paired or values.paired_count))
    folder = Path(values.output) / benchmark.results
    looks = None if grid.benchmark.looks is None else Looks.model_validate(grid.benchmark.looks)
    count = len(grid.benchmark.seeds) if looks is None else looks.first
    runs = _of_seeds(grid, 0, count)
    write_json(folder / grids.MANIFEST, grid.of_seeds(count, runs).manifest(command))
    write_text(folder / "benchmark.yaml", definition.to_yaml(benchmark))
    console.print(
        f"[bold]{escape(benchmark.title)}[/]: {len(runs)} runs, {jobs} at a time on {cores()} cores", highlight=False
    )
    for note in grid.notes:
        console.print(f"– {escape(note)}", highlight=False)
    for label, reason in grid.skipped.items():
        console.print(f"– {escape(label)} is left out: it {escape(reason)}.", highlight=False)
    for use in grid.uses:
        differs = f" Its setting differs: {', '.join(use.differs)}." if use.differs else ""
        found = f"{len(use.best.trials)} trials of {use.best.benchmark} at {use.best.said}"
        amounts = ", ".join(f"{amount:g}" for amount in use.amounts)
        console.print(f"– {use.row} has the best parameters of {found} for N = {amounts}.{differs}", highlight=False)
    machine = Machine(values.accelerator, values.threads)
    tracking = Tracking(values.track, group=benchmark.results, folder=str(folder))
    try:
        outcome = launch(runs, folder / "runs", machine, jobs, console, tracking)
        while looks is not None and (more := _next_runs(grid, count, looks, folder)):
            count += 1
            runs += more
            write_json(folder / grids.MANIFEST, grid.of_seeds(count, runs).manifest(command))
            further = launch(more, folder / "runs", machine, jobs, console, tracking)
            outcome.finished += further.finished
            outcome.failed += further.failed
    except KeyboardInterrupt:
        write_report(folder)
        console.print(f"Report of the runs so far: {escape(str(folder / 'report.html'))}", highlight=False)
        raise
    write_report(folder)
    for table in console_table(folder):
        console.print(table)
    console.print(f"Report: {escape(str(folder / 'report.html'))}", highlight=False)
    if values.keep_weights != "all":
        _delete_weights(folder, [run.id for run in runs], values.keep_weights)
    tell_unsent(tracking)
    if not outcome.failed:
        return 0
    errors.print(f"\n[bold red]{len(outcome.failed)} of {len(runs)} runs have no result:[/]", highlight=False)
    for failure in outcome.failed:
        errors.print(f"  {escape(failure.id)}: {escape(failure.reason)}", highlight=False)
    errors.print("The same command tries them again, and keeps the others.", highlight=False)
    return 2 if any(failure.kind == "user" for failure in outcome.failed) else 1


def _of_seeds(grid: grids.Grid, first: int, end: int) -> list[grids.GridRun]:
    """The runs of some of the grid's seeds; those that hold for every seed are of the first."""
    seeds = grid.benchmark.seeds[first:end]
    return [run for run in grid.runs if run.seed in seeds or (run.seed is None and first == 0)]


def _next_runs(grid: grids.Grid, count: int, looks: Looks, folder: Path) -> list[grids.GridRun]:
    """Looks at the results of the first seeds: the runs of the next seed that are needed.

    Args:
        grid: With as many seeds as there may be.
        count: How many there are.
        looks: When seeds are added.
        folder: The benchmark's folder.
    """
    found = read_benchmark(folder)
    (table, *_) = tabulate(found.plan, found.runs)
    needed = undecided(table, looks.precision)
    said = f"{count} seeds: {markup.plural(len(needed), 'row')} × N not decided to ± {looks.precision:g}"
    if not needed or count >= looks.most:
        console.print(f"{said}{'; no more seeds are allowed' if needed else ''}.", highlight=False)
        return []
    more = [run for run in _of_seeds(grid, count, count + 1) if (run.label, run.paired) in needed]
    console.print(
        f"{said}; seed {grid.benchmark.seeds[count]} is added there ({markup.plural(len(more), 'run')}).",
        highlight=False,
    )
    return more


def _folds(word: str) -> int | str | None:
    """What `--folds` asks for.

    Raises:
        UserError: If it is neither a number nor one of the words.
    """
    if word in ("none", "leave_one_out"):
        return None if word == "none" else word
    try:
        return int(word)
    except ValueError as error:
        raise UserError(f"--folds {word}: expected a number of folds, leave_one_out or none.") from error


def _delete_weights(folder: Path, runs: list[str], keep: str) -> None:
    """Deletes weights of finished runs, whose results stay, and says what that freed."""
    kept: set[str] = set()
    if keep == "best-row":
        try:
            chosen = choose(folder)
        except UserError as error:
            console.print(f"All weights are kept: {escape(str(error))}", highlight=False)
            return
        kept = {home.name for home in chosen.homes}
        console.print(f"Weights are kept of {escape(chosen.text)}", highlight=False)
    freed = sum(delete_weights(folder / "runs" / name) for name in runs if name not in kept)
    console.print(f"Weights of other runs are deleted: {freed / 1e6:.1f} MB.", highlight=False)


def _default_jobs(accelerator: str, devices: int) -> int:
    return 1 if accelerator != "cpu" and torch.cuda.is_available() else max(1, cores() // devices)
