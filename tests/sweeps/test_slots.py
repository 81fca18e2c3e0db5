"""Every slot is filled exactly once, whenever workers start, end and die."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from lsmbench.sweeps import slots as slots_module
from lsmbench.sweeps.slots import REASON, SLOT, WORKER, Slot, Slots
from lsmbench.sweeps.storage import open_storage, quiet
from tests.ranks import at_once

SPACE = {"a": FloatDistribution(1e-6, 1e-1, log=True), "b": FloatDistribution(1e-4, 10, log=True)}
FIRST = {"a": 1e-4, "b": 1.0}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=3, warn_independent_sampling=False),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=3, constant_liar=True),
    "random": lambda seed: RandomSampler(seed=seed),
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet()


def slots_of(study: optuna.Study, number: int = 4, sampler: str = "random") -> Slots:
    return Slots(study, [Slot("0", FIRST), *(Slot(str(k)) for k in range(1, number))], SPACE, SAMPLERS[sampler])


def value(trial: optuna.Trial) -> float:
    return abs(math.log(trial.params["a"] / 1e-3)) + abs(math.log(trial.params["b"]))


def worked_off(slots: Slots, most: int = 100) -> int:
    done = 0
    while done < most and (trial := slots.take()) is not None:
        assert slots.fill(trial, value(trial), {})
        done += 1
    return done


def died(study: optuna.Study, trial: optuna.Trial) -> None:
    """The trial's worker is a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    worker = {**study.trials[trial.number].user_attrs[WORKER], "pid": ended.pid}
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, worker)


def states(study: optuna.Study) -> dict[str, int]:
    return {s.name: n for s in TrialState if (n := len(study.get_trials(deepcopy=False, states=(s,))))}


def test_slots_are_taken_in_order_and_the_first_has_the_given_parameters() -> None:
    study = optuna.create_study()
    slots = slots_of(study)
    assert worked_off(slots) == 4
    assert slots.take() is None
    assert list(slots.filled()) == ["0", "1", "2", "3"]
    assert slots.filled()["0"].params == FIRST
    assert len({str(t.params) for t in study.trials}) == 4
    assert states(study) == {"COMPLETE": 4}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_tries_the_same_as_one_that_was_not(sampler: str) -> None:
    whole, broken = optuna.create_study(), optuna.create_study()
    worked_off(slots_of(whole, 8, sampler))
    for _ in range(3):  # a new process each time, killed in its third trial
        slots = slots_of(broken, 8, sampler)
        worked_off(slots, 2)
        left = slots.take()
        assert left is not None
        died(broken, left)
    worked_off(slots_of(broken, 8, sampler))
    tried = [[t.params for t in s.get_trials(states=(TrialState.COMPLETE,))] for s in (whole, broken)]
    assert tried[0] == tried[1]
    assert states(broken) == {"COMPLETE": 8, "FAIL": 3}


def test_other_seeds_try_other_parameters() -> None:
    first, second = optuna.create_study(), optuna.create_study()
    worked_off(Slots(first, [Slot("0")], SPACE, SAMPLERS["random"], seed=1))
    worked_off(Slots(second, [Slot("0")], SPACE, SAMPLERS["random"], seed=2))
    assert first.trials[0].params != second.trials[0].params


def test_a_living_workers_trial_is_left_to_it() -> None:
    study = optuna.create_study()
    first = slots_of(study, 2).take()
    other = slots_of(study, 2)
    second = other.take()
    assert first is not None
    assert second is not None
    assert {first.user_attrs[SLOT], second.user_attrs[SLOT]} == {"0", "1"}
    assert other.take() is None
    assert [t.number for t in other.running()] == [0, 1]


def test_a_dead_workers_trial_is_given_up_and_its_slot_is_the_next() -> None:
    study = optuna.create_study()
    slots = slots_of(study)
    worked_off(slots, 1)
    left = slots.take()
    assert left is not None
    died(study, left)
    again = slots_of(study).take()
    assert again is not None
    assert (again.user_attrs[SLOT], again.params) == ("1", left.params)
    assert study.trials[left.number].state is TrialState.FAIL
    assert study.trials[left.number].user_attrs[REASON] == "its worker died"
    # Workers that seemed dead return (their machine slept): their results are refused.
    assert not slots.beat(left)
    assert not slots.fill(left, 0.0, {"late": True})
    assert worked_off(slots_of(study)) == 2, "one slot is taken, two were left"
    assert slots.fill(again, 1.0, {})
    assert list(slots.filled()) == ["0", "1", "2", "3"]


def test_a_process_that_nobody_has_buried_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        deadline = time.monotonic() + 60
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert slots_module._born(child.pid) is None
    finally:
        child.wait()
    assert slots_module._born(child.pid) is None
    assert slots_module._born(os.getpid()) is not None


def test_a_worker_elsewhere_is_dead_after_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    left = slots_of(study, 1).take()
    assert left is not None
    monkeypatch.setattr(slots_module, "_place", lambda: "another machine")
    mine = slots_of(study, 1)
    assert mine.take() is None, "its last word is recent"
    silent = {"beat": time.time() - slots_module.SILENCE_SECONDS - 60}
    left.set_user_attr(WORKER, {**study.trials[0].user_attrs[WORKER], **silent})
    again = mine.take()
    assert again is not None
    assert again.user_attrs[SLOT] == "0"


def test_a_trial_that_nobody_claimed_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    slots = slots_of(study, 1)
    with monkeypatch.context() as broken:  # killed between taking a trial and claiming it
        broken.setattr(slots_module._SlotSampler, "before_trial", lambda *_: None)
        assert slots.take() is not None
    assert slots_of(study, 1).take() is None
    monkeypatch.setattr(slots_module, "CLAIM_SECONDS", -1.0)
    again = slots_of(study, 1).take()
    assert again is not None
    assert again.user_attrs[SLOT] == "0"


def test_a_slot_that_two_workers_queued_at_once_is_run_once() -> None:
    study = optuna.create_study()
    slots = slots_of(study, 2)
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={SLOT: "0"})
    first, second = slots.take(), slots.take()
    assert first is not None
    assert second is not None
    assert [first.user_attrs[SLOT], second.user_attrs[SLOT]] == ["0", "1"]
    assert states(study) == {"RUNNING": 2, "FAIL": 1}


def test_a_slot_is_repeated_with_the_parameters_that_it_first_had() -> None:
    """Also if another worker's trial of the slot was refused in between."""
    study = optuna.create_study()
    slots = slots_of(study, 2)
    worked_off(slots, 1)
    first = slots.take()
    assert first is not None
    study.enqueue_trial({"a": 0.05, "b": 5.0}, user_attrs={SLOT: "1"})
    assert slots.take() is None, "its slot has a trial"
    died(study, first)
    again = slots.take()
    assert again is not None
    assert again.params == first.params != {"a": 0.05, "b": 5.0}


def test_a_trial_that_is_given_up_while_it_is_taken_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    slots = slots_of(study, 2)
    claim = slots_module._SlotSampler.before_trial

    def too_late(self: Any, study: optuna.Study, trial: Any) -> None:
        if trial.number == 0:
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        claim(self, study, trial)

    monkeypatch.setattr(slots_module._SlotSampler, "before_trial", too_late)
    trial = slots.take()
    assert trial is not None
    assert (trial.number, trial.user_attrs[SLOT]) == (1, "0")


def test_a_failed_slot_is_run_again_with_its_parameters_and_keeps_what_was_reported() -> None:
    study = optuna.create_study()
    slots = slots_of(study, 2)
    worked_off(slots, 1)
    trial = slots.take()
    assert trial is not None
    trial.report(0.5, 1)
    trial.report(0.4, 2)
    assert slots.before(trial) == {}
    assert slots.fail(trial, "the GPU fell off")
    again = slots.take()
    assert again is not None
    assert again.params == trial.params
    assert slots.before(again) == {1: 0.5, 2: 0.4}


def test_fewer_slots_leave_those_that_wait_behind(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path / "journal"))
    study.enqueue_trial({}, user_attrs={SLOT: "7"})
    slots = slots_of(study, 2)
    assert worked_off(slots) == 2
    assert states(study) == {"COMPLETE": 2, "FAIL": 1}
    assert worked_off(slots_of(study, 3)) == 1, "more slots go on where fewer ended"


LEAVER = """
import sys, optuna
from lsmbench.sweeps.storage import open_storage
optuna.create_study(storage=open_storage(sys.argv[1]), study_name="left").ask()
"""


def test_optuna_leaves_a_dead_workers_trial_running_and_tells_no_trial_twice(tmp_path: Path) -> None:
    where = tmp_path / "studies.journal"
    subprocess.run([sys.executable, "-c", LEAVER, str(where)], check=True)
    study = optuna.load_study(study_name="left", storage=open_storage(where))
    assert states(study) == {"RUNNING": 1}
    study.tell(0, 1.0)
    with pytest.raises(ValueError, match="Cannot tell a COMPLETE trial"):
        study.tell(0, 2.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(study.trials[0]._trial_id, "late", True)


def _fill(number: int, barrier: Barrier, where: str) -> None:
    study = optuna.create_study(storage=open_storage(where), study_name="shared", load_if_exists=True)
    space = {"a": FloatDistribution(1e-6, 1e-1, log=True)}
    slots = Slots(study, [Slot(str(k)) for k in range(12)], space, SAMPLERS["random"])
    barrier.wait(120)
    while (trial := slots.take()) is not None:
        time.sleep(0.002)
        slots.fill(trial, trial.params["a"], {"by": number})


def filled_by_three(where: str) -> None:
    assert at_once(_fill, where, processes=3) == [0, 0, 0]
    study = optuna.load_study(study_name="shared", storage=open_storage(where))
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(int(t.user_attrs[SLOT]) for t in complete) == list(range(12))
    assert len({t.params["a"] for t in complete}) == 12
    # A worker that the machine lets wait may find no slot left: how many each fills is a matter of time.
    assert {t.user_attrs["by"] for t in complete} <= {0, 1, 2}
    assert states(study).keys() <= {"COMPLETE", "FAIL"}


def test_three_workers_on_one_journal_fill_every_slot_once(tmp_path: Path) -> None:
    filled_by_three(str(tmp_path / "studies.journal"))


@pytest.mark.postgres
def test_three_workers_on_postgresql_fill_every_slot_once(empty_postgres_url: str) -> None:
    filled_by_three(empty_postgres_url)
