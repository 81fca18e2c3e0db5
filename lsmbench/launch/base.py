"""The contract of launchers: what is started, what is told of it, and how it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lsmbench.evaluations import RefineConfig
from lsmbench.runs.config import Machine, RunConfig
from lsmbench.runs.context import Progress
from lsmbench.runs.results import Failure, Result
from lsmbench.runs.tracking import Tracking

Event = Progress | Result | Failure
"""How a run stands, or how it ended: with a result or without one."""


@dataclass(frozen=True)
class Order:
    """One run to compute.

    Attributes:
        identity: Of the run, the name of its folder.
        config: What to run.
        root: Folder of runs.
        machine: Where to compute; unset `threads` leaves the number to the launcher.
        testing: Whether the run is tested, as for `execute`.
        tracking: Where the run is followed, as for `execute`.
        refine: How the finished run's codes are refined in further evaluations.
    """

    identity: str
    config: RunConfig
    root: Path
    machine: Machine
    testing: bool = True
    tracking: Tracking | None = None
    refine: tuple[RefineConfig, ...] = ()

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / self.identity


class Launcher(Protocol):
    """Computes runs somewhere, each in one process per device. Runs that it started end when its process does.

    Each started run ends with exactly one Result or Failure, unless it is stopped. A failure that the run itself could
    not record, such as a killed process, is recorded by the launcher in the run's folder. What several runs warn of in
    the same words is logged once.
    """

    def __len__(self) -> int:
        """Runs that have not ended."""

    def start(self, key: str, order: Order) -> None:
        """Starts a run.

        Args:
            key: What its events are told under; unique among the runs that have not ended.
            order: The run.

        Raises:
            UserError: If the run asks for more devices than there are.
        """

    def wait(self, seconds: float | None = None) -> Sequence[tuple[str, Event]]:
        """Waits until there is an event, and returns the events that there are.

        Args:
            seconds: For how long at most; without end if `None`.

        Returns:
            Pairs of a run's key and its event; a run that ended is forgotten.
        """

    def stop(self, key: str) -> None:
        """Ends a run at once, if it has not ended; started again, it continues from its last finished epoch."""
