"""The command line: `lsmbench list | train | bench | sweep | report | leaderboard | select | data`."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lsmbench.errors import Elsewhere, UserError

USAGE = """\
usage: lsmbench COMMAND [options]

  list      methods, datasets and benchmarks, one line each
  train     one method, once: lsmbench train --method lsm --dataset sit --paired 5
  bench     a grid of runs and its report: lsmbench bench quick
  sweep     a search for the best parameters of a row: lsmbench sweep sit --method lsm --paired 5
            lsmbench sweep show sit: how it stands, what was best, what matters
  report    tables and pictures again, from results alone: lsmbench report results/quick
  leaderboard
            every result on disk on one page: lsmbench leaderboard results runs
  select    which photos of a folder to annotate: lsmbench select photos -k 20
  data      what a dataset holds, and what is wrong with it: lsmbench data check sit

lsmbench COMMAND --help documents every option of a command. For train it lists those of the dataset and
method that are named: lsmbench train --method lsm --dataset sit --help
"""

DATA_USAGE = """\
usage: lsmbench data COMMAND [options]

  check     counts samples, names every mistake in files, draws some samples:
            lsmbench data check 300w path/to/300w --output faces.png

lsmbench data check DATASET --help documents every option of that dataset.
"""

_LAST_WORDS_SECONDS = 3.0
"""torchrun stops all processes when the first one ends: those that know nothing leave the word to the one that does."""

console = Console(soft_wrap=False)
errors = Console(stderr=True, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 a run failed, 2 something for the user to mend, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Of several devices torch warns that an option, which methods with several groups need, costs time without them.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # results appear as they come, in a log file too
    try:
        sys.exit(_dispatch(words))
    except UserError as error:
        errors.print(f"[bold red]lsmbench:[/] {_escaped(str(error))}", highlight=False)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise
        errors.print(f"[bold red]lsmbench:[/] {_escaped(f'{error.filename}: {error.strerror}')}", highlight=False)
        sys.exit(2)
    except Elsewhere as error:
        if _first():
            errors.print(f"[bold red]lsmbench:[/] {_escaped(str(error))}", highlight=False)
        else:
            time.sleep(_LAST_WORDS_SECONDS)
        sys.exit(1)
    except KeyboardInterrupt:
        if _first():
            errors.print("lsmbench: interrupted; the same command continues from the last finished epoch.")
        sys.exit(130)


def _first() -> bool:
    """Whether this is the first of several processes that torchrun or SLURM started, or the only one: it speaks."""
    from lsmbench.runs import ranks

    return ranks.number() == 0


def _dispatch(words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "list": _list,
        "train": _train,
        "bench": _bench,
        "sweep": _sweep,
        "report": _report,
        "leaderboard": _leaderboard,
        "select": _select,
        "data": _data,
    }
    if words[:1] == ["--version"]:
        import lsmbench

        console.print(f"lsmbench {lsmbench.__version__}", highlight=False)
        return 0
    return _chosen(words, commands, USAGE)


def _chosen(words: list[str], commands: Mapping[str, Callable[[list[str]], int]], usage: str) -> int:
    """Runs the command that the first word names, or shows the usage."""
    if not words or words[0] in ("-h", "--help", "help"):
        console.print(usage, highlight=False, markup=False, end="")
        return 0
    if words[0] not in commands:
        import difflib

        near = difflib.get_close_matches(words[0], commands, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UserError(f"unknown command {words[0]!r}{hint} Known: {', '.join(commands)}.")
    return commands[words[0]](words[1:])


def _list(words: list[str]) -> int:
    from lsmbench.benchmarks.grid import available, summary
    from lsmbench.data import DATASETS
    from lsmbench.methods import METHODS
    from lsmbench.runs.config import load_yaml, parse_arguments

    parse_arguments(_parser("list", "Shows methods, datasets and benchmarks."), words)
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
            table.add_row(f"  {name}", _escaped(line))
        console.print(table)
    return 0


def _train(words: list[str]) -> int:
    from lsmbench.runs.config import Machine, add_options, config_from_arguments, names_in, run_parser
    from lsmbench.runs.run import RunError, execute
    from lsmbench.runs.track import Tracking

    dataset, method = names_in(words)
    parser = run_parser(
        dataset,
        method,
        prog="lsmbench train",
        description=f"Trains and tests {method} on {dataset}, once. Short forms: --dataset, --method, --paired, "
        "--epochs, and --seed for both supervision_seed and init_seed.",
    )
    parser.add_argument("--output", type=str, default="runs", help="Folder of runs; each has its own folder in it")
    add_options(parser, "machine.", Machine)
    add_options(parser, "", Tracking)
    config, values = config_from_arguments(words, parser)
    machine = Machine(**values.machine.as_dict())
    root = Path(values.output)
    tracking = Tracking(values.track, folder=str(root))
    before = set(root.glob("*/result.json"))
    try:
        with _training_bar(f"{method} on {dataset}") as tell:  # told by the first process only
            result = execute(config, root, machine, tell, tracking=tracking)
    except RunError as error:
        where = f" ({error.failure.where})" if error.failure.where else ""
        errors.print(f"[bold red]lsmbench:[/] {_escaped(error.failure.reason + where)}", highlight=False)
        if (record := error.folder / "failure.json").exists():
            errors.print(f"The record is in {record}.", highlight=False)
        return 1
    if not _first():
        return 0
    folder = root / result.id
    if folder / "result.json" in before:
        console.print(f"Finished before: {folder}. To compute it again, name another folder with --output.")
    for score in result.scores:
        console.print(
            f"{score.source} → {score.target}  {score.metric} {score.value:.4f}  ({score.unit}; "
            f"{len(score.values)} test samples)",
            highlight=False,
        )
    console.print(f"{folder / 'result.json'}", highlight=False)
    _tell_unsent(tracking)
    return 0


def _bench(words: list[str]) -> int:
    from lsmbench.benchmarks import grid as grids
    from lsmbench.benchmarks.launch import launch
    from lsmbench.benchmarks.report import console_table, write_report
    from lsmbench.benchmarks.request import add_benchmark_options, numbers, requested
    from lsmbench.runs import ranks
    from lsmbench.runs.config import Machine, add_options, parse_arguments
    from lsmbench.runs.environment import cores
    from lsmbench.runs.results import write_json, write_text
    from lsmbench.runs.track import Tracking

    parser = _parser("bench", "Runs a benchmark and writes its report. Finished runs are kept, broken ones continued.")
    add_benchmark_options(parser)
    parser.add_argument("--methods", type=str, help="Rows of the table, separated by commas; floors are always added")
    parser.add_argument("--seeds", type=str, help="Seeds, separated by commas")
    parser.add_argument(
        "--tuned", action="store_true", help="Give each row the parameters that a sweep found for the nearest N"
    )
    parser.add_argument("--jobs", type=int, help="Runs at a time (default: one per core on a CPU, one on a GPU)")
    add_options(parser, "", Machine)
    add_options(parser, "", Tracking)
    values = parse_arguments(parser, words)
    sections: dict[str, Any] = {"seeds": numbers("--seeds", values.seeds, int)} if values.seeds else {}
    if values.tuned:
        sections["tuned"] = True
    benchmark = requested(values, values.methods, **sections)
    devices = int(benchmark.training.get("devices", 1))
    jobs = values.jobs if values.jobs is not None else _default_jobs(values.accelerator, devices)
    if jobs < 1:
        raise UserError(f"--jobs: expected at least 1, found {jobs}.")

    ranks.check_alone()
    ranks.check(devices, values.accelerator)
    grid = grids.expand(benchmark)
    folder = Path(values.output) / benchmark.results
    write_json(folder / grids.MANIFEST, grid.manifest("lsmbench bench " + shlex.join(words)))
    write_text(folder / "benchmark.yaml", grids.to_yaml(benchmark))
    console.print(
        f"[bold]{_escaped(benchmark.title)}[/]: {len(grid.runs)} runs, {jobs} at a time on {cores()} cores",
        highlight=False,
    )
    for label, reason in grid.skipped.items():
        console.print(f"– {label} is left out: it {reason}.", highlight=False)
    for use in grid.uses:
        differs = f" Its setting differs: {', '.join(use.differs)}." if use.differs else ""
        found = f"{len(use.best.trials)} trials of {use.best.benchmark} at {use.best.said}"
        amounts = ", ".join(f"{amount:g}" for amount in use.amounts)
        console.print(f"– {use.row} has the best parameters of {found} for N = {amounts}.{differs}", highlight=False)
    machine = Machine(values.accelerator, values.threads)
    tracking = Tracking(values.track, group=benchmark.results, folder=str(folder))
    outcome = launch(grid.runs, folder / "runs", machine, jobs, console, tracking)
    write_report(folder)
    for table in console_table(folder):
        console.print(table)
    console.print(f"Report: {folder / 'report.html'}", highlight=False)
    _tell_unsent(tracking)
    if not outcome.failed:
        return 0
    errors.print(f"\n[bold red]{len(outcome.failed)} of {len(grid.runs)} runs have no result:[/]", highlight=False)
    for failure in outcome.failed:
        errors.print(f"  {failure.id}: {_escaped(failure.reason)}", highlight=False)
    errors.print("The same command tries them again, and keeps the others.", highlight=False)
    return 2 if any(failure.kind == "user" for failure in outcome.failed) else 1


def _sweep(words: list[str]) -> int:
    from lsmbench.sweeps.command import show, sweep

    if words[:1] == ["show"]:
        return show(_parser("sweep show", "Shows how sweeps stand."), words[1:], console)
    description = (
        "Searches for the best parameters of rows of a benchmark by their validation scores, and writes them to "
        "benchmarks/best/. The test set is never touched. Repeat the command to go on where it was interrupted; start "
        "it several times on one --storage for several workers."
    )
    return sweep(_parser("sweep", description), words, console, errors)


def _report(words: list[str]) -> int:
    from lsmbench.benchmarks.report import console_table, write_report
    from lsmbench.runs.config import parse_arguments

    parser = _parser("report", "Writes tables and pictures again, from the results in a folder.")
    parser.add_argument("folder", type=str, help="Folder of a benchmark's results, e.g. results/quick")
    folder = Path(parse_arguments(parser, words).folder)
    write_report(folder)
    for table in console_table(folder):
        console.print(table)
    console.print(f"Report: {folder / 'report.html'}", highlight=False)
    return 0


def _leaderboard(words: list[str]) -> int:
    from lsmbench.benchmarks.leaderboard import leaderboard

    return leaderboard(words, console, errors)


def _select(words: list[str]) -> int:
    from lsmbench.select import select

    return select(words, errors)


def _data(words: list[str]) -> int:
    return _chosen(words, {"check": _data_check}, DATA_USAGE)


def _data_check(words: list[str]) -> int:
    from lsmbench.data import DATASETS
    from lsmbench.data.check import check
    from lsmbench.runs.config import add_options, nearest, parse_arguments

    parser = _parser(
        "data check",
        "Reads all of a dataset, counts its samples, names every mistake in its files, and draws up to 48 samples. "
        "Exits with 0 if there is no problem, with 2 if there are some.",
    )
    parser.add_argument("dataset_name", metavar="DATASET", type=str, help=f"One of: {', '.join(DATASETS)}")
    parser.add_argument(
        "path", metavar="PATH", nargs="?", type=str, help="The dataset's folder, in place of --dataset.root"
    )
    parser.add_argument("--output", type=str, help="Contact sheet to write (default: data-check-DATASET.png)")
    name = _first_plain(words)
    if name is None and not {"-h", "--help"} & set(words):
        raise UserError(f"data check: which dataset? lsmbench data check DATASET, one of: {', '.join(DATASETS)}.")
    if name is not None:
        if name not in DATASETS:
            raise UserError(f"unknown dataset {name!r}{nearest(name, DATASETS)} Known: {', '.join(DATASETS)}.")
        add_options(parser, "dataset.", DATASETS[name])
    values = parse_arguments(parser, words).as_dict()
    options = values.get("dataset", {})
    if values["path"] is not None:
        if "root" not in options:
            raise UserError(f"data check: dataset {name} has no folder of its own; leave out {values['path']}.")
        if options["root"]:
            raise UserError("data check: the folder is named twice, by PATH and by --dataset.root; leave one out.")
        options["root"] = values["path"]
    dataset = DATASETS[values["dataset_name"]](**options)
    sheet = Path(values["output"] or f"data-check-{dataset.name}.png")
    return 0 if check(dataset, sheet, console) else 2


def _first_plain(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    following = iter(words)
    for word in following:
        if not word.startswith("-"):
            return word
        if "=" not in word and word not in ("-h", "--help"):
            next(following, None)
    return None


def _parser(command: str, description: str) -> Any:
    from jsonargparse import ArgumentParser

    return ArgumentParser(exit_on_error=False, prog=f"lsmbench {command}", description=description)


def _default_jobs(accelerator: str, devices: int) -> int:
    import torch

    from lsmbench.runs.environment import cores

    return 1 if accelerator != "cpu" and torch.cuda.is_available() else max(1, cores() // devices)


class _training_bar:  # noqa: N801
    """A bar over the epochs of one run, if the console is a terminal."""

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.title = title
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, left at most:"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[value]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Callable[[Any], None]:
        self.bars.start()
        task = self.bars.add_task(self.title, total=None, value="")

        def tell(progress: Any) -> None:
            name = progress.monitor.rpartition("/")[2]
            value = f"{progress.stage}: {name} {progress.value:.4f}, best {progress.best:.4f}"
            self.bars.update(task, completed=progress.done, total=progress.total, value=value)

        return tell

    def __exit__(self, *details: object) -> None:
        self.bars.stop()


def _tell_unsent(tracking: Any) -> None:
    from lsmbench.runs.track import unsent

    if said := unsent(tracking):
        console.print(_escaped(said), highlight=False, soft_wrap=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


# Asked for by libraries at import, and of no use in batch work.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
