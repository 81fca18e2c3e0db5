"""Slots: the planned trials of a study. Each slot is filled exactly once, by any number of workers, even if some die.

Optuna only knows trials. A slot is a planned trial: it waits in the study's queue under its key, one worker takes it
(the storage gives it to one worker only), and a finished trial fills it. When a worker dies, another worker fails its
trial and queues the slot again, first and with the same parameters, so that the run resumes from its checkpoint.

This file relies on three facts about Optuna 5, each with a test: a waiting trial is given to one asker only; a finished
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
"""Time between a worker's heartbeats."""
SILENCE_SECONDS = 600.0
"""A worker of another machine counts as dead after this time without a heartbeat. Clocks may differ by minutes."""
CLAIM_SECONDS = 30.0
"""A trial that no worker claims in this time has lost its worker between taking and claiming it."""

FILLED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Slot:
    """A planned trial.

    Attributes:
        key: The slot's name, unique in the study.
        parameters: Fixed parameters; the other parameters are sampled.
    """

    key: str
    parameters: Mapping[str, float] = field(default_factory=dict)


class Slots:
    """The slots of a study.

    Args:
        study: The study.
        wanted: The slots, in the order in which they are taken.
        space: The distribution of each parameter.
        sampler: Makes the sampler of a slot from a seed.
        seed: The seed of a slot's sampler is made of this seed and the slot's key.
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
        """Fails the trials of dead workers, then takes the first slot without a trial; `None` if all have trials."""
        self._give_up_stale()
        while self._queue():
            try:
                trial = self.study.ask(self.space)
            except optuna.exceptions.UpdateFinishedTrialError:
                continue  # another worker took this one for dead and failed the trial before it was claimed
            refusal = self._refusal(trial)
            if not refusal:
                return trial
            self.fail(trial, refusal)
        return None

    def filled(self) -> dict[str, FrozenTrial]:
        """The finished trial of every filled slot, in the order of the slots."""
        found = {trial.user_attrs[SLOT]: trial for trial in self._trials() if trial.state in FILLED}
        return {key: found[key] for key in self.wanted if key in found}

    def running(self) -> list[FrozenTrial]:
        """The trials that workers are running."""
        return [trial for trial in self._trials() if trial.state is TrialState.RUNNING]

    def beat(self, trial: optuna.Trial) -> bool:
        """Stores a heartbeat of a trial's worker; `False` if another worker has failed the trial."""
        try:
            trial.set_user_attr(WORKER, _myself())
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def fill(self, trial: optuna.Trial, value: float | None, attributes: Mapping[str, Any]) -> bool:
        """Ends a trial as complete, with the value of its objective, or without a value as pruned.

        Returns:
            `False` if another worker has failed the trial: then the slot is not filled.
        """
        return self._tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE, attributes)

    def fail(self, trial: optuna.Trial | FrozenTrial, reason: str, attributes: Mapping[str, Any] | None = None) -> bool:
        """Ends a trial as failed; its slot is queued again with the same parameters."""
        return self._tell(trial, None, TrialState.FAIL, {REASON: reason, **(attributes or {})})

    def before(self, trial: optuna.Trial) -> dict[int, float]:
        """The values by epoch that earlier, failed trials of the same slot have reported."""
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
        """Queues the first slot without a trial, unless a slot is queued; `False` if all slots have trials.

        Only one slot is queued at a time, so that a slot whose trial failed comes before slots without any trial yet.
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
            # By this process's own clock: Optuna's times have no zone.
            first_seen = self._unclaimed.setdefault(trial.number, time.monotonic())
            return time.monotonic() - first_seen > CLAIM_SECONDS
        if worker["place"] == _place():
            return bool(_born(worker["pid"]) != worker["born"])
        return time.time() - float(worker["beat"]) > SILENCE_SECONDS

    def _refusal(self, trial: optuna.Trial) -> str:
        """The reason not to run a trial; empty if it is to be run."""
        key = trial.user_attrs.get(SLOT)
        if key is None:
            return "another worker took the last queued slot"
        if key not in self.wanted:
            return "its slot is no longer wanted"
        # Two workers that start at the same moment may both queue a slot: the first of its trials counts.
        others = [t for t in self._trials() if t.user_attrs[SLOT] == key and t.state is not TrialState.FAIL]
        return "its slot has another trial" if any(t.number < trial.number for t in others) else ""


class _SlotSampler(BaseSampler):
    """Samples each slot with a seed of its own, and stores which worker runs the trial.

    A single sampler would start its random numbers again after an interruption and repeat trials. Here parameters
    depend on the slot and on the finished trials only, so that one worker's search ends with the same trials, whether
    interrupted or not.
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
        """Asks the slot's sampler; a trial without a slot, which is not run, needs no parameters."""
        return self.inner.infer_relative_search_space(study, trial) if SLOT in trial.user_attrs else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Asks the slot's sampler."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Asks the slot's sampler."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tells the last slot's sampler, whichever trial ended: the samplers in use ignore it."""
        self.inner.after_trial(study, trial, state, values)


def _myself() -> dict[str, Any]:
    return {"place": _place(), "pid": os.getpid(), "born": _born(os.getpid()), "beat": time.time()}


def _place() -> str:
    """Identifies where process numbers are unique: a machine, its boot, and a container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}, {boot}, {os.readlink('/proc/self/ns/pid')}"


def _born(pid: int) -> str | None:
    """When a process started, since process numbers are reused; `None` if the process has ended."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else others[18]
