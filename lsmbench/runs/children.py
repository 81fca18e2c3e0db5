"""Runs in child processes of this machine: a crash, a kill or a leak of one harms no other."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lsmbench.errors import UserError
from lsmbench.runs.callbacks import Progress
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.results import Failure, Result


@dataclass
class _Child:
    identity: str
    config: RunConfig
    process: ForkServerProcess
    messages: Connection


class Children:
    """Child processes that compute one run each. They end when this process does, however it ends.

    Args:
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: How many there will be at a time.
        testing: As `execute`.
        every_epoch: Whether each epoch's progress is told; otherwise what comes within 0.2 s of another is not.
    """

    def __init__(
        self, root: Path, machine: Machine, jobs: int, testing: bool = True, every_epoch: bool = False
    ) -> None:
        self.root = root
        self.machine = Machine(machine.device, machine.threads or max(1, cores() // jobs))
        self.testing = testing
        self.seconds = 0.0 if every_epoch else 0.2
        self._children: dict[str, _Child] = {}
        # The server imports torch and lightning once; children are forked from it, before either has made a thread.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["lsmbench.runs.run"])

    def __len__(self) -> int:
        return len(self._children)

    def start(self, key: str, identity: str, config: RunConfig) -> None:
        """Starts a run.

        Args:
            key: What its messages are told by.
            identity: Of the run.
            config: What to run.
        """
        mine, its = self._context.Pipe()
        arguments = (identity, config.to_dict(), self.root, self.machine, self.testing, self.seconds, its)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        its.close()
        self._children[key] = _Child(identity, config, process, mine)

    def wait(self, seconds: float | None = None) -> list[tuple[str, Progress | Result | Failure]]:
        """Waits until a child has something to tell.

        Args:
            seconds: For how long at most.

        Returns:
            The children's keys, and how they stand or how they ended. One that has ended is forgotten.
        """
        told: list[tuple[str, Progress | Result | Failure]] = []
        ready = wait([child.messages for child in self._children.values()], seconds)
        for key, child in list(self._children.items()):
            if child.messages not in ready:
                continue
            message = self._receive(child)
            if not isinstance(message, Progress):
                del self._children[key]
                child.process.join()
            told.append((key, message))
        return told

    def stop(self, key: str) -> None:
        """Ends a run before its time, if it has not ended; it can be taken up again."""
        child = self._children.pop(key, None)
        if child is not None:
            child.process.kill()
            child.process.join()

    def _receive(self, child: _Child) -> Progress | Result | Failure:
        try:
            message: Progress | Failure | None = child.messages.recv()
        except (EOFError, OSError):  # it ended, perhaps in the middle of a word
            child.process.join()
            code = child.process.exitcode
            ended = f"with signal {-code}" if code and code < 0 else f"with code {code}"
            reason = f"its process ended {ended}; was memory short?"
            message = Failure(child.identity, "failed", reason, "", child.config.to_dict())
            with suppress(OSError):  # a run that cannot write its folder is still told of
                message.save(self.root / child.identity)
        return Result.load(self.root / child.identity) if message is None else message


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


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


def _work(
    identity: str,
    config: dict[str, Any],
    root: Path,
    machine: Machine,
    testing: bool,
    seconds: float,
    messages: Connection,
) -> None:
    """What a child does."""
    from lsmbench.runs.run import RunError, execute

    threading.Thread(target=_end_with_parent, args=(messages,), daemon=True).start()
    interval = _Every(seconds)
    made = config_from_dict(config)

    def tell(progress: Progress) -> None:
        if interval.due():
            messages.send(progress)

    try:
        execute(made, root, machine, tell, testing)
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
        self.last = -seconds

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
