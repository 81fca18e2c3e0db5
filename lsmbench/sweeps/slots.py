"""The places of a study's trials: each is filled exactly once, however many workers there are and whichever die.

Optuna only knows trials. A slot is a place for one: it waits in the study's queue under its name, is taken by one
worker (the storage lets only one have it), and is filled by a trial that finishes. When a worker dies, its trial is
given up, and the slot is the next to wait, with the same parameters, so that the run goes on where it was left.

Facts about Optuna 5 that this file relies on, each with a test: a waiting trial is given to one asker only; a finished
trial cannot be told again; a killed worker's trial stays running for ever in any storage, since heartbeats need
`study.optimize`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from lsmbench.methods.base import seed_of

SLOT, WORKER, REASON = "slot", "worker", "reason"

BEAT_SECONDS = 60.0
"""How often a worker says that it lives."""
SILENCE_SECONDS = 600.0
"""After so long without a word, a worker of another machine is taken for dead. Clocks may differ by minutes."""
CLAIM_SECONDS = 30.0
"""A trial that nobody claims for so long lost its worker in the moment between taking and claiming it."""

FILLED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Slot:
    """A place for one trial.

    Attributes:
        key: Its name, unique in the study.
        parameters: Values that are given; the others are sampled.
    """

    key: str
    parameters: Mapping[str, float] = field(default_factory=dict)


class Slots:
    """The slots of a study.

    Args:
        study: The study.
        wanted: The slots, in the order in which they are taken.
        space: What each parameter is drawn from.
        sampler: Makes the sampler of a slot from a seed.
        seed: Each slot draws by a seed made of this one and its key.
    """

    def __init__(
        self,
        study: optuna.Study,
        wanted: Sequence[Slot],
        space: Mapping[str, BaseDistribution],
        sampler: Callable[[int], BaseSampler],
        seed: int = 0,
    ) -> None:
        self.study = study
        self.wanted = {slot.key: slot for slot in wanted}
        self.space = dict(space)
        self._unclaimed: dict[int, float] = {}
        study.sampler = _SlotSampler(sampler, seed)

    def take(self) -> optuna.Trial | None:
        """Takes the first slot that has no trial, after giving up those of dead workers; `None` if all have one."""
        self._give_up_stale()
        while self._queue():
            try:
                trial = self.study.ask(self.space)
            except optuna.exceptions.UpdateFinishedTrialError:
                continue  # given up before it was claimed, by a worker that took this one for dead
            refusal = self._refusal(trial)
            if not refusal:
                return trial
            self.fail(trial, refusal)
        return None

    def filled(self) -> dict[str, FrozenTrial]:
        """The trial of every slot that is filled, in the order of the slots."""
        found = {trial.user_attrs[SLOT]: trial for trial in self._trials() if trial.state in FILLED}
        return {key: found[key] for key in self.wanted if key in found}

    def running(self) -> list[FrozenTrial]:
        """The trials that workers are busy with."""
        return [trial for trial in self._trials() if trial.state is TrialState.RUNNING]

    def beat(self, trial: optuna.Trial) -> bool:
        """Says that a trial's worker lives; `False` if the trial was given up and belongs to another."""
        try:
            trial.set_user_attr(WORKER, _myself())
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def fill(self, trial: optuna.Trial, value: float | None, attributes: Mapping[str, Any]) -> bool:
        """Ends a trial with the value of its objective, or, without one, as pruned.

        Returns:
            `False` if the trial had been given up: another worker has the slot.
        """
        return self._tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE, attributes)

    def fail(self, trial: optuna.Trial | FrozenTrial, reason: str, attributes: Mapping[str, Any] | None = None) -> bool:
        """Gives a trial up; its slot waits again, with the same parameters."""
        return self._tell(trial, None, TrialState.FAIL, {REASON: reason, **(attributes or {})})

    def before(self, trial: optuna.Trial) -> dict[int, float]:
        """What earlier trials of the same slot had reported when they were given up, by epoch."""
        key = trial.user_attrs[SLOT]
        return {
            step: value
            for earlier in self._trials()
            if earlier.user_attrs[SLOT] == key and earlier.number < trial.number and earlier.params == trial.params
            for step, value in earlier.intermediate_values.items()
        }

    def _tell(
        self, trial: optuna.Trial | FrozenTrial, value: float | None, state: TrialState, attributes: Mapping[str, Any]
    ) -> bool:
        try:
            for name, attribute in attributes.items():
                self.study._storage.set_trial_user_attr(trial._trial_id, name, attribute)
            self.study.tell(trial.number, value, state)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            if isinstance(error, ValueError) and "Cannot tell" not in str(error):
                raise
            return False
        return True

    def _trials(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if SLOT in trial.user_attrs]

    def _give_up_stale(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._stale(trial):
                self.fail(trial, "its worker died")

    def _queue(self) -> bool:
        """Lets the first slot without a trial wait, unless one waits already; `False` if all have a trial.

        One at a time, so that a slot that was given up comes before those that were never begun.
        """
        trials = self._trials()
        if any(trial.state is TrialState.WAITING for trial in trials):
            return True
        live = {trial.user_attrs[SLOT] for trial in trials if trial.state is not TrialState.FAIL}
        slot = next((slot for key, slot in self.wanted.items() if key not in live), None)
        if slot is None:
            return False
        tried = next((t.params for t in trials if t.user_attrs[SLOT] == slot.key and t.params), {})
        self.study.enqueue_trial({**tried, **slot.parameters}, user_attrs={SLOT: slot.key})
        return True

    def _stale(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is None:
            # By this process's own clock: the time that Optuna notes has no zone.
            first_seen = self._unclaimed.setdefault(trial.number, time.monotonic())
            return time.monotonic() - first_seen > CLAIM_SECONDS
        if worker["place"] == _place():
            return bool(_born(worker["pid"]) != worker["born"])
        return time.time() - float(worker["beat"]) > SILENCE_SECONDS

    def _refusal(self, trial: optuna.Trial) -> str:
        """Why a trial must not be run; empty if it must."""
        key = trial.user_attrs.get(SLOT)
        if key is None:
            return "another worker took the last slot that waited"
        if key not in self.wanted:
            return "no longer wanted"
        # Two workers that start at the same moment may both queue a slot: the first of its trials counts.
        others = [t for t in self._trials() if t.user_attrs[SLOT] == key and t.state is not TrialState.FAIL]
        return "its slot has another trial" if any(t.number < trial.number for t in others) else ""


class _SlotSampler(BaseSampler):
    """Samples each slot by random numbers of its own, and writes down who does.

    A sampler that lives through a search starts its numbers again after an interruption, and tries again what it has
    tried. Here parameters depend on the slot and on the finished trials only, so that an interrupted search of one
    worker ends with the same trials.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make = make
        self.seed = seed
        self.inner: BaseSampler = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Claims the trial at once, before anything that takes time."""
        study._storage.set_trial_user_attr(trial._trial_id, WORKER, _myself())
        self.inner = self.make(seed_of(self.seed, str(trial.user_attrs.get(SLOT))) % 2**32)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does; nothing for a trial without a slot, which is not run."""
        return self.inner.infer_relative_search_space(study, trial) if SLOT in trial.user_attrs else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the sampler does, whichever trial it sampled last: those that are used here do nothing."""
        self.inner.after_trial(study, trial, state, values)


def _myself() -> dict[str, Any]:
    return {"place": _place(), "pid": os.getpid(), "born": _born(os.getpid()), "beat": time.time()}


def _place() -> str:
    """Where process numbers mean the same: a machine between two starts, and a container of it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}, {boot}, {os.readlink('/proc/self/ns/pid')}"


def _born(pid: int) -> str | None:
    """When a process started, since numbers are used again; `None` if it has ended."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else others[18]
