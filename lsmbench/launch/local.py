"""Runs in child processes of this machine: a crash, a kill or a leak of one harms no other."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lsmbench.errors import Elsewhere, UserError
from lsmbench.runs import ranks
from lsmbench.runs.callbacks import Progress
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.environment import cores
from lsmbench.runs.results import Failure, Result
from lsmbench.runs.tracking import Tracking

log = logging.getLogger(__name__)

_ENDING_SECONDS = 10.0
"""How long the other processes of a run may take to end after its result is written, or to say why one gave up."""


@dataclass
class _Child:
    """A run and its processes, one per device.

    Attributes:
        identity: Of the run.
        config: What is run.
        processes: By rank.
        messages: Of the processes that may still tell something, by rank.
        said: What a process said that failed because another one did.
        until: When that counts, if the other one says nothing.
        stood: How far the run had come.
    """

    identity: str
    config: RunConfig
    processes: list[ForkServerProcess] = field(default_factory=list)
    messages: dict[int, Connection] = field(default_factory=dict)
    said: str = ""
    until: float = math.inf
    stood: Progress | None = None

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def finish(self) -> None:
        for process in self.processes:
            process.join(_ENDING_SECONDS)
        self.stop()


class Children:
    """Child processes that compute runs, one per device of a run. They end when this process does, however it ends.

    Of a run of several processes, none outlives another: if one is killed, that is noticed at once, the others are
    stopped, and the run has failed. What several runs warn of in the same words is told once.

    Args:
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among all processes.
        jobs: How many runs there will be at a time.
        testing: As `execute`.
        every_epoch: Whether each epoch's progress is told; otherwise what comes within 0.2 s of another is not.

    Raises:
        UserError: If this process is itself one of several.
    """

    def __init__(
        self, root: Path, machine: Machine, jobs: int, testing: bool = True, every_epoch: bool = False
    ) -> None:
        ranks.check_alone()
        self.root = root
        self.machine = machine
        self.jobs = jobs
        self.testing = testing
        self.seconds = 0.0 if every_epoch else 0.2
        self._children: dict[str, _Child] = {}
        self._warned: set[str] = set()
        # The server imports torch and lightning once; children are forked from it, before either has made a thread.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["lsmbench.runs.run"])

    def __len__(self) -> int:
        return len(self._children)

    def start(self, key: str, identity: str, config: RunConfig, tracking: Tracking | None = None) -> None:
        """Starts a run.

        Args:
            key: What its messages are told by.
            identity: Of the run.
            config: What to run.
            tracking: As `execute`.

        Raises:
            UserError: If it asks for more devices than there are.
        """
        devices = config.training.devices
        ranks.check(devices, self.machine.accelerator)
        threads = self.machine.threads or max(1, cores() // (self.jobs * devices))
        machine = replace(self.machine, threads=threads)
        child = self._children[key] = _Child(identity, config)
        for place in ranks.places(devices):
            mine, its = self._context.Pipe()
            order = _Order(identity, config.to_dict(), self.root, machine, self.testing, tracking, place)
            process = self._context.Process(target=_work, args=(order, self.seconds, its), daemon=True)
            process.start()
            its.close()
            child.processes.append(process)
            child.messages[place.rank] = mine

    def wait(self, seconds: float | None = None) -> list[tuple[str, Progress | Result | Failure]]:
        """Waits until a child has something to tell.

        Args:
            seconds: For how long at most.

        Returns:
            The children's keys, and how they stand or how they ended. One that has ended is forgotten.
        """
        told: list[tuple[str, Progress | Result | Failure]] = []
        connections = [c for child in self._children.values() for c in child.messages.values()]
        left = min((child.until - time.monotonic() for child in self._children.values()), default=math.inf)
        limit = min(math.inf if seconds is None else seconds, max(0.0, left))
        ready = wait(connections, None if limit == math.inf else limit)
        for key, child in list(self._children.items()):
            for rank in [rank for rank, connection in child.messages.items() if connection in ready]:
                message = self._receive(child, rank)
                if message is None:
                    continue
                told.append((key, message))
                if isinstance(message, Progress):
                    child.stood = message
                    continue
                del self._children[key]
                if isinstance(message, Result):
                    child.finish()
                break
            if key in self._children and time.monotonic() >= child.until:
                del self._children[key]
                told.append((key, self._failed(child, child.said)))
        return told

    def stop(self, key: str) -> None:
        """Ends a run before its time, if it has not ended; it can be taken up again."""
        child = self._children.pop(key, None)
        if child is not None:
            child.stop()

    def _receive(self, child: _Child, rank: int) -> Progress | Result | Failure | None:
        """What a process has to tell; `None` if that ends nothing."""
        process = child.processes[rank]
        try:
            message: Progress | Failure | _Warning | str | None = child.messages[rank].recv()
        except (EOFError, OSError):  # it ended, perhaps in the middle of a word
            process.join()
            del child.messages[rank]
            if rank and process.exitcode == 0:
                return None
            code = process.exitcode
            ended = f"with signal {-code}" if code and code < 0 else f"with code {code}"
            which = f"process {rank} of its {len(child.processes)}" if len(child.processes) > 1 else "its process"
            doubt = "; was memory short?" if code == -signal.SIGKILL else ""
            return self._failed(child, f"{which} ended {ended}{doubt}")
        if isinstance(message, _Warning):
            if message.text not in self._warned:
                self._warned.add(message.text)
                log.warning(message.text)
            return None
        if isinstance(message, str):
            child.said, child.until = message, time.monotonic() + _ENDING_SECONDS
            del child.messages[rank]
            return None if child.messages else self._failed(child, child.said)
        if isinstance(message, Failure):
            child.stop()
        return Result.load(self.root / child.identity) if message is None else message

    def _failed(self, child: _Child, reason: str) -> Failure:
        """Records what no process has recorded, after all have ended, so that none of them has the last word."""
        child.stop()
        where = f"stage {child.stood.stage}, after its epoch {child.stood.epoch}" if child.stood else ""
        failure = Failure(id=child.identity, kind="failed", reason=reason, where=where, config=child.config.to_dict())
        with suppress(OSError):  # a run that cannot write its folder is still told of
            failure.save(self.root / child.identity)
        return failure


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


@dataclass(frozen=True)
class _Order:
    """What a child is to do."""

    identity: str
    config: dict[str, Any]
    root: Path
    machine: Machine
    testing: bool
    tracking: Tracking | None
    place: ranks.Place


@dataclass(frozen=True)
class _Warning:
    """What a run warns of."""

    text: str


class _Sender(logging.Handler):
    """Sends warnings to the parent, which knows what else it shows."""

    def __init__(self, messages: Connection) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.send(_Warning(record.getMessage()))


def _work(order: _Order, seconds: float, messages: Connection) -> None:
    """What a child does."""
    from lsmbench.runs.run import RunError, execute

    threading.Thread(target=_end_with_parent, args=(messages,), daemon=True).start()
    if order.place.size > 1:
        order.place.take()
    logging.getLogger("lsmbench").addHandler(_Sender(messages))
    interval = _Every(seconds)
    made = config_from_dict(order.config)

    def tell(progress: Progress) -> None:
        if interval.due():
            messages.send(progress)

    try:
        execute(made, order.root, order.machine, tell, order.testing, order.tracking)
        if order.place.rank == 0:
            messages.send(None)
    except Elsewhere as error:
        messages.send(str(error))
    except RunError as error:
        messages.send(error.failure)
    except UserError as error:
        messages.send(Failure(id=order.identity, kind="user", reason=str(error), where="", config=order.config))
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:  # before the run could record it
        reason = f"{type(error).__name__}: {error}"
        messages.send(
            Failure(
                id=order.identity,
                kind="failed",
                reason=reason,
                where="",
                config=order.config,
                detail=traceback.format_exc(),
            )
        )


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
