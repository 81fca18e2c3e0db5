"""Runs a grid in child processes of this machine, and shows how it goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from lsmbench.benchmarks.grid import GridRun
from lsmbench.launch.local import Children, progress_bars
from lsmbench.runs.callbacks import Progress
from lsmbench.runs.config import Machine
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
    """Computes runs in `jobs` processes at a time; runs that have a result are not repeated.

    A run that fails is recorded and does not stop the others. Children end when this process does, however it ends.

    Args:
        runs: What to compute.
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: Processes at a time.
        console: Where progress is shown.
        tracking: Where each run is followed, under its title.
    """
    outcome = Outcome()
    waiting: list[GridRun] = []
    for run in runs:
        if (root / run.id / RESULT).exists():
            outcome.finished.append(Result.load(root / run.id))
        else:
            waiting.append(run)
    if outcome.finished:
        console.print(f"{len(outcome.finished)} of {len(runs)} runs are finished already.")
    if not waiting:
        return outcome
    children = Children(root, machine, jobs)
    started: dict[str, GridRun] = {}
    with progress_bars(console) as bars:
        overall = bars.add_task("all runs", total=len(waiting), value="")
        parts = dict.fromkeys((run.id for run in waiting), 0.0)
        tasks: dict[str, Any] = {}
        while waiting or children:
            while waiting and len(children) < jobs:
                run = waiting.pop(0)
                followed = replace(tracking, name=_title(run)) if tracking else None
                children.start(run.id, run.id, run.config, followed)
                started[run.id] = run
                tasks[run.id] = bars.add_task(_title(run), total=1.0, value="")
            for identity, message in children.wait():
                if isinstance(message, Progress):
                    parts[identity] = message.done / message.total
                    bars.update(tasks[identity], completed=parts[identity], value=message.said)
                else:
                    parts[identity] = 1.0
                    bars.remove_task(tasks.pop(identity))
                    _conclude(started[identity], message, outcome, console)
                bars.update(overall, completed=sum(parts.values()))
    return outcome


def _conclude(run: GridRun, ended: Result | Failure, outcome: Outcome, console: Console) -> None:
    if isinstance(ended, Result):
        outcome.finished.append(ended)
        score = ended.primary
        said = f"{score.metric} {score.value:.4f} in {ended.cost['wall_s']:.0f} s"
        console.print(f"[green]✓[/] {_title(run)}: {said}", highlight=False)
    else:
        outcome.failed.append(ended)
        console.print(f"[red]✗[/] {_title(run)}: {escape(ended.reason)}", highlight=False)


def _title(run: GridRun) -> str:
    paired = "any N" if run.paired is None else run.config.supervision.amount
    return f"{run.label} {paired}" + ("" if run.seed is None else f" seed {run.seed}")
