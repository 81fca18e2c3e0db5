"""A worker of a sweep: takes slots, runs their trials in child processes, and stores the results in the study."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.markup import escape

from lsmbench.benchmarks.compute import progress_bars
from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED
from lsmbench.errors import UserError
from lsmbench.launch.base import Event, Launcher, Order
from lsmbench.launch.local import Local
from lsmbench.reports import markup
from lsmbench.runs.config import Machine
from lsmbench.runs.context import Progress
from lsmbench.runs.folder import CHECKPOINTS
from lsmbench.runs.results import Failure, Result
from lsmbench.runs.tracking import Tracking
from lsmbench.sweeps.search import SEED, Search
from lsmbench.sweeps.slots import BEAT_SECONDS, REASON, SLOT, Slots

STATE, VALIDATION, SECONDS = "state", "validation", "seconds"

SLOT_SEED = "/"
"""Separates the trial's number from the seed in a slot's key."""

_ATTEMPTS = 2
_LOOK_SECONDS = 5.0


class SweepError(Exception):
    """A trial failed twice, by a fault of the program or the machine, so that the sweep cannot go on."""


@dataclass
class _Trial:
    """A running trial.

    Attributes:
        trial: The study's trial.
        identity: Identity of the trial's run.
        task: The trial's progress bar.
        known: Epochs that earlier trials of the slot have reported to the pruner.
        began: Start time, on the process's clock [s].
    """

    trial: optuna.Trial
    identity: str
    task: Any
    known: frozenset[int] = frozenset()
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)


class Worker:
    """Fills slots with trials.

    Args:
        search: The search.
        floor: The floor's validation score, which a diverged trial counts with.
        root: Folder of runs.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: Parallel trials.
        console: Where to print progress.
        tracking: Tracker of the trials, whose group is the study.
    """

    def __init__(
        self,
        search: Search,
        floor: float,
        root: Path,
        machine: Machine,
        jobs: int,
        console: Console,
        tracking: Tracking | None = None,
    ) -> None:
        self.search = search
        self.floor = floor
        self.root = root
        self.machine, self.jobs = machine, jobs
        self.console = console
        self.tracking = tracking

    def fill(self, slots: Slots, title: Callable[[str], str], pruning: bool = False) -> dict[str, FrozenTrial]:
        """Runs trials until every slot is filled, by this worker or another.

        Args:
            slots: The slots; a key may end in `/` and the trial's seed.
            title: Makes a slot's title from its key.
            pruning: Whether the study's pruner is asked after every epoch.

        Returns:
            The trials by their slots' keys.

        Raises:
            UserError: If a run fails by a mistake that the user has to mend.
            SweepError: If a trial fails twice for a reason that is not its parameters.
        """
        self.slots, self.title, self.pruning = slots, title, pruning
        self.launcher: Launcher = Local(self.jobs, every_epoch=pruning)
        self.trials: dict[str, _Trial] = {}
        self.failures: Counter[str] = Counter()
        with progress_bars(self.console) as self.bars:
            try:
                return self._fill(slots)
            except BaseException:
                self._give_up()
                raise

    def _fill(self, slots: Slots) -> dict[str, FrozenTrial]:
        looked = beaten = -math.inf
        waited_for = 0
        overall = self.bars.add_task(slots.study.study_name, total=len(slots.wanted), value="")
        while True:
            if time.monotonic() - looked > _LOOK_SECONDS and len(self.launcher) < self.jobs:
                looked = time.monotonic()
                while len(self.launcher) < self.jobs and (trial := slots.take()) is not None:
                    self._start(trial)
                filled = slots.filled()
                self.bars.update(overall, completed=len(filled))
                if len(filled) == len(slots.wanted):
                    return filled
                if not self.launcher and (others := len(slots.running())) != waited_for:
                    waited_for = others
                    self.console.print(
                        f"Waiting for {markup.plural(others, 'trial')} of other workers.", highlight=False
                    )
            if not self.launcher:
                time.sleep(_LOOK_SECONDS)
                continue
            for key, event in self.launcher.wait(_LOOK_SECONDS):
                if not isinstance(event, Progress) or self._hopeless(key, event):
                    self._end(key, event)
                    looked = -math.inf
            if time.monotonic() - beaten > BEAT_SECONDS:
                beaten = time.monotonic()
                for key in [key for key, running in self.trials.items() if not slots.beat(running.trial)]:
                    # This worker was silent for so long that another worker has failed the trial.
                    self.launcher.stop(key)
                    self._forget(key)

    def _start(self, trial: optuna.Trial) -> None:
        key = trial.user_attrs[SLOT]
        config = self.search.run(trial.params, int(key.partition(SLOT_SEED)[2] or SEED))
        identity = self.search.identity(config)
        known = self.slots.before(trial) if self.pruning else {}
        for step, value in known.items():
            trial.report(value, step)
        followed = None
        if self.tracking:
            followed = replace(self.tracking, group=self.slots.study.study_name, name=f"trial {key}")
        order = Order(identity, config, self.root, self.machine, testing=False, tracking=followed)
        self.launcher.start(key, order)
        task = self.bars.add_task(self.title(key), total=1.0, value="")
        self.trials[key] = _Trial(trial, identity, task, frozenset(known))

    def _hopeless(self, key: str, progress: Progress) -> bool:
        """Shows a finished epoch, reports it to the pruner, and stops the trial if the pruner says so."""
        running = self.trials[key]
        self.bars.update(running.task, completed=progress.done / progress.total, value=progress.text)
        # Stages before the last monitor other values.
        if not self.pruning or progress.monitor != self.search.monitor or not math.isfinite(progress.value):
            return False
        if progress.done in running.known:
            return False
        try:
            running.trial.report(self.search.objective(progress.value), progress.done)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False  # another worker has failed the trial; the next heartbeat stops it
        if running.trial.should_prune():
            self.launcher.stop(key)
            return True
        return False

    def _end(self, key: str, event: Event) -> None:
        running, metric = self.trials[key], self.search.metric.name
        mark, reason = "[green]✓[/]", ""
        objective: float | None
        if isinstance(event, Result):
            state, value, seconds = FINISHED, validation(event), event.cost["wall_s"]
            objective, outcome = self.search.objective(value), f"{metric} {value:.4f}"
        elif isinstance(event, Progress):
            state, value, seconds, objective = PRUNED, event.value, running.seconds, None
            mark, outcome = "[yellow]–[/]", f"stopped early at {metric} {value:.4f}"
        elif event.kind == "diverged":
            state, value, seconds, reason = DIVERGED, self.floor, running.seconds, event.reason
            objective = self.search.objective(value)
            mark, outcome = "[yellow]–[/]", f"diverged; counts with the floor's {metric} {value:.4f}"
        else:
            self._failed(key, event)
            return
        before = self.slots.filled()
        attributes = {STATE: state, VALIDATION: value, SECONDS: seconds, "run": running.identity}
        mine = self.slots.fill(running.trial, objective, attributes | ({REASON: reason} if reason else {}))
        shutil.rmtree(self.root / running.identity / CHECKPOINTS, ignore_errors=True)
        self._forget(key)
        if not mine:
            return
        # The best of several repeats on other seeds means nothing.
        searched = SLOT_SEED not in key
        others = [other.value for other in before.values() if other.value is not None]
        if searched and objective is not None and objective < min(others, default=math.inf):
            parameters = ", ".join(f"{name} {value:.3g}" for name, value in running.trial.params.items())
            outcome += f"; best so far: {parameters}"
        self.console.print(f"{mark} {self.title(key)} in {markup.duration(seconds)}: {outcome}", highlight=False)

    def _failed(self, key: str, failure: Failure) -> None:
        running = self.trials[key]
        self.slots.fail(running.trial, failure.reason, {SECONDS: running.seconds})
        self._forget(key)
        if failure.kind == "user":
            raise UserError(failure.reason)
        self.failures[key] += 1
        where = f"The record is in {self.root / failure.id / 'failure.json'}."
        if self.failures[key] == _ATTEMPTS:
            raise SweepError(
                f"{self.title(key)} of {self.search.name} failed {_ATTEMPTS} times: {failure.reason} {where} The same "
                "command tries it again; if its parameters are to blame, avoid them by a narrower --space and another "
                "--study."
            )
        text = f"{self.title(key)} failed and is run again: {failure.reason} {where}"
        self.console.print(f"[red]✗[/] {escape(text)}", highlight=False)

    def _give_up(self) -> None:
        """Stops and fails the running trials, so that other workers can take their slots."""
        for key, running in list(self.trials.items()):
            self.launcher.stop(key)
            with suppress(Exception):  # the storage may be what broke; other workers find the trial all the same
                self.slots.fail(running.trial, "its sweep was stopped", {SECONDS: running.seconds})
            self._forget(key)

    def _forget(self, key: str) -> None:
        self.bars.remove_task(self.trials.pop(key).task)


def validation(result: Result) -> float:
    """A run's score on the validation pairs.

    Raises:
        UserError: If the run has no such score.
    """
    if result.validation is None or not math.isfinite(result.validation):
        raise UserError(f"run {result.id} has no validation score, which a sweep needs; its method computes none.")
    return result.validation
