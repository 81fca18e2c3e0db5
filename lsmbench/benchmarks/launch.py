"""Runs a grid in child processes of this machine, and shows how it goes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lsmbench.benchmarks.grid import GridRun
from lsmbench.errors import UserError
from lsmbench.runs.callbacks import Progress
from lsmbench.runs.config import Machine, config_from_dict
from lsmbench.runs.results import RESULT, Failure, Result


@dataclass
class Outcome:
    """How a grid ended.

    Attributes:
        finished: Runs with a result, whether new or found.
        failed: Runs without one.
    """

    finished: list[Result] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


@dataclass
class _Child:
    run: GridRun
    process: ForkServerProcess
    messages: Connection
    ended: bool = False


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def launch(runs: list[GridRun], root: Path, machine: Machine, jobs: int, console: Console) -> Outcome:
    """Computes runs in `jobs` processes at a time; runs that have a result are not repeated.

    A run that fails is recorded and does not stop the others. Children end when this process does, however it ends.

    Args:
        runs: What to compute.
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: Processes at a time.
        console: Where progress is shown.
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
    threads = machine.threads or max(1, cores() // jobs)
    # The server imports torch and lightning once; children are forked from it, before either has made a thread.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lsmbench.runs.run"])
    children: list[_Child] = []
    with _bars(console) as bars:
        overall = bars.add_task("all runs", total=len(waiting), value="")
        parts = dict.fromkeys((run.id for run in waiting), 0.0)
        tasks: dict[str, Any] = {}
        while waiting or children:
            while waiting and len(children) < jobs:
                children.append(_start(context, waiting.pop(0), root, Machine(machine.device, threads)))
                tasks[children[-1].run.id] = bars.add_task(_title(children[-1].run), total=1.0, value="")
            for connection in wait([child.messages for child in children]):
                child = next(c for c in children if c.messages is connection)
                message = _receive(child)
                if isinstance(message, Progress):
                    parts[child.run.id] = message.done / message.total
                    value = f"{message.monitor.rpartition('/')[2]} {message.value:.3f}"
                    bars.update(tasks[child.run.id], completed=parts[child.run.id], value=value)
                else:
                    children.remove(child)
                    child.process.join()
                    parts[child.run.id] = 1.0
                    bars.remove_task(tasks.pop(child.run.id))
                    _conclude(child.run, message, root, outcome, console)
                bars.update(overall, completed=sum(parts.values()))
    return outcome


def _start(context: Any, run: GridRun, root: Path, machine: Machine) -> _Child:
    mine, its = context.Pipe()
    process = context.Process(target=_work, args=(run.id, run.config.to_dict(), root, machine, its), daemon=True)
    process.start()
    its.close()
    return _Child(run, process, mine)


def _receive(child: _Child) -> Progress | Failure | str | None:
    """A child's next message: progress, how it failed, or `None` when it is done."""
    try:
        message: Progress | Failure | str | None = child.messages.recv()
    except EOFError:
        child.process.join()
        code = child.process.exitcode
        return f"its process ended with signal {-code}" if code and code < 0 else f"its process ended with code {code}"
    return message


def _conclude(run: GridRun, message: Failure | str | None, root: Path, outcome: Outcome, console: Console) -> None:
    if message is None:
        result = Result.load(root / run.id)
        outcome.finished.append(result)
        score = result.primary
        seconds = result.cost["wall_s"]
        said = f"{score.metric} {score.value:.4f} in {seconds:.0f} s"
        console.print(f"[green]✓[/] {_title(run)}: {said}", highlight=False)
        return
    if isinstance(message, str):
        message = Failure(run.id, "failed", f"{message}; was memory short?", "", run.config.to_dict())
    with suppress(OSError):  # a run that cannot write its folder is still told of
        message.save(root / run.id)
    outcome.failed.append(message)
    console.print(f"[red]✗[/] {_title(run)}: {message.reason}", highlight=False)


def _work(identity: str, config: dict[str, Any], root: Path, machine: Machine, messages: Connection) -> None:
    """What a child does."""
    from lsmbench.runs.run import RunError, execute

    threading.Thread(target=_end_with_parent, args=(messages,), daemon=True).start()
    interval = _Every(0.2)
    made = config_from_dict(config)

    def tell(progress: Progress) -> None:
        if interval.due():
            messages.send(progress)

    try:
        execute(made, root, machine, tell)
        messages.send(None)
    except RunError as error:
        messages.send(error.failure)
    except UserError as error:
        messages.send(Failure(identity, "user", str(error), "", config))
    except KeyboardInterrupt:
        os._exit(130)


class _Every:
    """Says when some seconds have passed since it last did."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


def _end_with_parent(messages: Connection) -> None:
    """Nothing is ever sent to a child: its end of the pipe becomes readable when the parent is gone."""
    wait([messages])
    os._exit(1)


def _title(run: GridRun) -> str:
    paired = "any N" if run.paired is None else run.config.supervision.amount
    return f"{run.label} {paired}" + ("" if run.seed is None else f" seed {run.seed}")


def _bars(console: Console) -> Bars:
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
