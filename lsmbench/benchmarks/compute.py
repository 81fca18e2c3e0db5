"""Computes a grid's runs by a launcher, and shows how they go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lsmbench.benchmarks.grid import GridRun
from lsmbench.launch.base import Launcher, Order
from lsmbench.launch.local import Local
from lsmbench.runs.config import Machine
from lsmbench.runs.context import Progress
from lsmbench.runs.results import RESULT, Failure, Result
from lsmbench.runs.tracking import Tracking


@dataclass
class Outcome:
    """How a grid ended.

    Attributes:
        finished: Runs with a result, whether new or found.
        failed: Runs without one.
    """

    finished: list[Result] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def launch(
    runs: list[GridRun], root: Path, machine: Machine, jobs: int, console: Console, tracking: Tracking | None = None
) -> Outcome:
    """Computes runs, `jobs` at a time; runs that have a result are not repeated.

    A run that fails is recorded and does not stop the others. Runs end when this process does, however it ends.

    Args:
        runs: What to compute.
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: Runs at a time.
        console: Where progress is shown.
        tracking: Where each run is followed, under its title.
    """
    outcome = Outcome()
    waiting: list[GridRun] = []
    for run in runs:
        found = Result.load(root / run.id) if (root / run.id / RESULT).exists() else None
        if found is None or (found.scores and _unrefined(run, root)):  # what cannot be scored is not evaluated again
            waiting.append(run)
        else:
            outcome.finished.append(found)
    if outcome.finished:
        console.print(f"{len(outcome.finished)} of {len(runs)} runs are finished already.")
    if not waiting:
        return outcome
    launcher: Launcher = Local(jobs)
    started: dict[str, GridRun] = {}
    with progress_bars(console) as bars:
        overall = bars.add_task("all runs", total=len(waiting), value="")
        parts = dict.fromkeys((run.id for run in waiting), 0.0)
        tasks: dict[str, Any] = {}
        while waiting or launcher:
            while waiting and len(launcher) < jobs:
                run = waiting.pop(0)
                followed = replace(tracking, name=_title(run)) if tracking else None
                order = Order(run.id, run.config, root, machine, True, followed, run.refine)
                launcher.start(run.id, order)
                started[run.id] = run
                tasks[run.id] = bars.add_task(_title(run), total=1.0, value="")
            for identity, event in launcher.wait():
                if isinstance(event, Progress):
                    parts[identity] = event.done / event.total
                    bars.update(tasks[identity], completed=parts[identity], value=event.text)
                else:
                    parts[identity] = 1.0
                    bars.remove_task(tasks.pop(identity))
                    _conclude(started[identity], root, event, outcome, console)
                bars.update(overall, completed=sum(parts.values()))
    return outcome


def _unrefined(run: GridRun, root: Path) -> bool:
    """Whether an evaluation with refined codes is missing."""
    return not all((folder / RESULT).exists() for folder in run.refined_folders(root).values())


def progress_bars(console: Console) -> Bars:
    """Bars for several runs at a time, if the console is a terminal; tasks have a field `value` of text."""
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _conclude(run: GridRun, root: Path, ended: Result | Failure, outcome: Outcome, console: Console) -> None:
    """Counts and prints how a run ended."""
    if isinstance(ended, Result):
        outcome.finished.append(ended)
        score = f"{ended.primary.metric} {ended.primary.value:.4f}" if ended.scores else "no pair to score; trained"
        text = f"{score} in {ended.cost['wall_s']:.0f} s"
        for row, folder in run.refined_folders(root).items() if ended.scores else ():
            refined = Result.load(folder)
            text += f"; {row} {refined.primary.value:.4f} in {refined.cost['evaluation_s']:.0f} s"
        console.print(f"[green]✓[/] {escape(_title(run))}: {text}", highlight=False)
    else:
        outcome.failed.append(ended)
        console.print(f"[red]✗[/] {escape(_title(run))}: {escape(ended.reason)}", highlight=False)


def _title(run: GridRun) -> str:
    paired = "any N" if run.paired is None else run.config.supervision.amount
    places = (("seed", run.seed), ("fold", run.fold))
    return " ".join([run.label, paired, *(f"{word} {number}" for word, number in places if number is not None)])
