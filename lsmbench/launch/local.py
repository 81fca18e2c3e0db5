"""Runs in processes of this machine: a crash, a kill or a leak of one run harms no other run."""

from __future__ import annotations

import logging
import math
import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from lsmbench.errors import UserError
from lsmbench.launch import child
from lsmbench.launch.base import Event, Order
from lsmbench.launch.child import Finished, Lost, Message, Warned
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, RunConfig
from lsmbench.runs.context import Progress
from lsmbench.runs.environment import cores
from lsmbench.runs.folder import RunFolder
from lsmbench.runs.results import Failure, Result
from lsmbench.runs.run import RunError, data_of, execute
from lsmbench.runs.tracking import Tracking

log = logging.getLogger(__name__)

ENDING_SECONDS = 10.0
"""How long the processes of a run may take to end after its result is written, or to tell why one of them gave up."""

_PROGRESS_SECONDS = 0.2


def compute(
    config: RunConfig,
    root: Path,
    machine: Machine | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    testing: bool = True,
    tracking: Tracking | None = None,
) -> Result:
    """Computes one run: in this process, or in one process per device, started here if torchrun or SLURM has not.

    Arguments, result and errors are those of `lsmbench.runs.run.execute`.
    """
    if config.training.devices == 1 or ranks.started() > 1:
        return execute(config, root, machine, tell, testing, tracking)
    data = data_of(config, testing)
    identity = config.identity(data.contents)
    order = Order(identity, config, root, machine or Machine(), testing, tracking)
    if found := RunFolder(order.folder).result(testing):
        return found
    local = Local(jobs=1, every_epoch=True)
    local.start(identity, order)
    try:
        while True:
            for _, event in local.wait():
                if isinstance(event, Progress):
                    tell(event)
                elif isinstance(event, Result):
                    return event
                else:
                    raise UserError(event.reason) if event.kind == "user" else RunError(event, order.folder)
    finally:
        local.stop(identity)


@dataclass
class _Started:
    """A run that is being computed.

    Attributes:
        order: The run.
        processes: One per device, by rank.
        messages: Of the processes that may still send one, by rank.
        progress: The latest.
        lost: What a process sent that failed because another process of the run did.
        deadline: When `lost` becomes the reason of the failure, if the other process sends nothing.
    """

    order: Order
    processes: list[ForkServerProcess] = field(default_factory=list)
    messages: dict[int, Connection] = field(default_factory=dict)
    progress: Progress | None = None
    lost: str = ""
    deadline: float = math.inf

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def finish(self) -> None:
        for process in self.processes:
            process.join(ENDING_SECONDS)
        self.kill()


class Local:
    """Computes runs in processes of this machine, as `Launcher` says.

    No process of a run outlives the others: if one is killed, the rest are stopped at once, and the run has failed.

    Args:
        jobs: How many runs there will be at a time; where an order leaves `threads` unset, all share the cores.
        every_epoch: Whether each epoch's progress is an event; if not, progress within 0.2 s of another is left out.

    Raises:
        UserError: If this process is itself one of several that torchrun or SLURM started.
    """

    def __init__(self, jobs: int, every_epoch: bool = False) -> None:
        ranks.check_alone()
        self.jobs = jobs
        self.seconds = 0.0 if every_epoch else _PROGRESS_SECONDS
        self._started: dict[str, _Started] = {}
        self._warned: set[str] = set()
        # The server imports torch and lightning once; processes are forked from it before either has made a thread.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["lsmbench.launch.child"])

    def __len__(self) -> int:
        """Runs that have not ended."""
        return len(self._started)

    def start(self, key: str, order: Order) -> None:
        """Starts a run; as `Launcher.start`."""
        devices, machine = order.config.training.devices, order.machine
        ranks.check(devices, machine.accelerator)
        threads = machine.threads or max(1, cores() // (self.jobs * devices))
        order = replace(order, machine=replace(machine, threads=threads))
        started = self._started[key] = _Started(order)
        for place in ranks.places(devices):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=child.work, args=(order, place, self.seconds, theirs), daemon=True)
            process.start()
            theirs.close()
            started.processes.append(process)
            started.messages[place.rank] = ours

    def wait(self, seconds: float | None = None) -> list[tuple[str, Event]]:
        """Waits for events; as `Launcher.wait`."""
        events: list[tuple[str, Event]] = []
        connections = [c for started in self._started.values() for c in started.messages.values()]
        deadline = min((started.deadline for started in self._started.values()), default=math.inf)
        limit = min(math.inf if seconds is None else seconds, max(0.0, deadline - time.monotonic()))
        ready = wait(connections, None if limit == math.inf else limit)
        for key, started in list(self._started.items()):
            for rank in [rank for rank, connection in started.messages.items() if connection in ready]:
                event = self._received(started, rank)
                if event is None:
                    continue
                events.append((key, event))
                if not isinstance(event, Progress):
                    del self._started[key]
                    break
            if key in self._started and time.monotonic() >= started.deadline:
                del self._started[key]
                events.append((key, _failed(started, started.lost)))
        return events

    def stop(self, key: str) -> None:
        """Ends a run; as `Launcher.stop`."""
        started = self._started.pop(key, None)
        if started is not None:
            started.kill()

    def _received(self, started: _Started, rank: int) -> Event | None:
        """The event that a process's next message, or its end, amounts to; `None` if to none."""
        try:
            message: Message = started.messages[rank].recv()
        except (EOFError, OSError):  # the process ended, perhaps while it sent a message
            return _ended(started, rank)
        match message:
            case Progress():
                started.progress = message
                return message
            case Warned():
                if message.text not in self._warned:
                    self._warned.add(message.text)
                    log.warning(message.text)
                return None
            case Lost():
                started.lost, started.deadline = message.text, time.monotonic() + ENDING_SECONDS
                del started.messages[rank]
                return None if started.messages else _failed(started, started.lost)
            case Finished():
                started.finish()
                return Result.load(started.order.folder)
            case Failure():
                started.kill()
                return message


def _ended(started: _Started, rank: int) -> Failure | None:
    """The failure that the end of a process is, if it ended before its time."""
    process = started.processes[rank]
    process.join()
    del started.messages[rank]
    if rank and process.exitcode == 0:
        return None
    code, devices = process.exitcode, len(started.processes)
    how = f"with signal {-code}" if code and code < 0 else f"with code {code}"
    which = f"process {rank} of its {devices}" if devices > 1 else "its process"
    doubt = "; was memory short?" if code == -signal.SIGKILL else ""
    return _failed(started, f"{which} ended {how}{doubt}")


def _failed(started: _Started, reason: str) -> Failure:
    """Records a failure that no process has recorded, after all of them have ended, so that none writes over it."""
    started.kill()
    order, progress = started.order, started.progress
    failure = Failure(
        id=order.identity,
        kind="failed",
        reason=reason,
        where=f"stage {progress.stage}, after its epoch {progress.epoch}" if progress else "",
        config=order.config.to_dict(),
    )
    with suppress(OSError):  # the failure is told even if its run's folder cannot be written
        failure.save(order.folder)
    return failure
