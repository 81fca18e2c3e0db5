"""The protocol of a sweep, with runs whose outcome is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from lsmbench.benchmarks import definition
from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED, Best
from lsmbench.errors import UserError
from lsmbench.launch.base import Order
from lsmbench.runs.config import Machine, RunConfig
from lsmbench.runs.context import Progress
from lsmbench.runs.results import Failure, Result
from lsmbench.sweeps import search as search_module
from lsmbench.sweeps import slots, study, worker
from lsmbench.sweeps.search import NEW_SEEDS, SEED, Search, searches
from lsmbench.sweeps.slots import REASON, SLOT
from lsmbench.sweeps.space import Space, load
from lsmbench.sweeps.storage import open_storage
from lsmbench.sweeps.study import AGAIN, Sweep, conclusion, importance
from lsmbench.sweeps.worker import STATE, SweepError
from tests.benchmarks.test_grid import written

FLOOR = 0.3
DIVERGING, BREAKING = math.inf, -math.inf


def iou(config: RunConfig) -> float:
    """A score that is best at a learning rate of 1e-3, with some noise by the seed."""
    distance = abs(math.log10(config.method.learning_rate / 1e-3))
    noise = 0.01 * math.sin(config.training.init_seed * 12.9898 + config.method.learning_rate * 1e5)
    return 0.7 - 0.1 * distance + noise


@dataclass
class Runs:
    """Stands for a launcher: a run's outcome is a function of its configuration."""

    outcome: Callable[[RunConfig], float | list[float]] = iou
    ran: list[RunConfig] = field(default_factory=list)
    stopped: list[Any] = field(default_factory=list)
    most: int = 0

    def __call__(self, jobs: int, every_epoch: bool = False) -> Any:
        return _Launcher(self)


class _Launcher:
    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.waiting: dict[Any, Iterator[Any]] = {}

    def __len__(self) -> int:
        return len(self.waiting)

    def start(self, key: Any, order: Order) -> None:
        assert not order.testing, "a trial must not have a test set"
        self.runs.ran.append(order.config)
        self.waiting[key] = self.messages(order.identity, order.config)
        self.runs.most = max(self.runs.most, len(self.waiting))

    def messages(self, identity: str, config: RunConfig) -> Iterator[Any]:
        outcome = FLOOR if config.method_name == "floor" else self.runs.outcome(config)
        epochs = outcome if isinstance(outcome, list) else [outcome]
        for epoch, value in enumerate(epochs):
            if value in (DIVERGING, BREAKING):
                kind = "diverged" if value == DIVERGING else "failed"
                yield Failure(id=identity, kind=kind, reason=f"it {kind}.", where="", config=config.to_dict())
                return
            if len(epochs) > 1:
                monitor = "val/x->y/iou"
                yield Progress("train", epoch, epoch + 1, len(epochs), monitor, value, max(epochs[: epoch + 1]))
        yield Result(
            id=identity,
            protocol="1",
            config=config.to_dict(),
            dataset={},
            supervision={},
            selection={},
            scores=[],
            validation=max(epochs),
            cost={"wall_s": 2.0},
            environment={},
        )

    def wait(self, seconds: float | None = None) -> list[tuple[Any, Any]]:
        told = [(key, next(messages)) for key, messages in self.waiting.items()]
        for key, message in told:
            if not isinstance(message, Progress):
                del self.waiting[key]
        return told

    def stop(self, key: Any) -> None:
        self.runs.stopped.append(key)
        self.waiting.pop(key, None)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(worker, "Local", made)
    monkeypatch.setattr(study, "Local", made)
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.0)
    return made


@pytest.fixture
def found(tmp_path: Path) -> Search:
    return search_of(tmp_path)


def search_of(
    folder: Path, row: str = "baseline", space: Space | None = None, called: str = "small", **changes: Any
) -> Search:
    benchmark = definition.load(written(folder, **{"paired": [50], **changes}))
    benchmark.name = called
    method = str(benchmark.methods.get(row, {}).get("name", row))
    (only,) = searches(benchmark, [row], {method: space or load(method)})
    return only


def sweep(search: Search, folder: Path, trials: int = 12, jobs: int = 1, **options: Any) -> Sweep:
    options = {"console": Console(record=True, width=200), **options}
    storage = open_storage(folder / "studies.journal")
    return Sweep(search, storage, folder, Machine("cpu", 1), jobs, trials, **options)


def trials_of(folder: Path, name: str) -> list[Any]:
    return optuna.load_study(study_name=name, storage=open_storage(folder / "studies.journal")).trials


def test_the_best_three_and_the_default_are_run_again_and_the_best_mean_wins(
    runs: Runs, found: Search, tmp_path: Path
) -> None:
    best = sweep(found, tmp_path).run()
    assert [trial.number for trial in best.trials] == list(range(12))
    assert best.trials[0].parameters == {"learning_rate": 0.002}, "the default is trial 0"
    floor, *others = runs.ran
    assert floor.method_name == "floor"
    assert [c.training.init_seed for c in others[:12]] == [SEED] * 12
    assert [c.supervision.supervision_seed for c in others[:12]] == [SEED] * 12
    ranked = sorted(best.trials, key=lambda t: -t.validation)
    again = {ranked[0].number, ranked[1].number, ranked[2].number, 0}
    assert {c.trial for c in best.candidates} == again
    assert len(others) == 12 + 3 * len(again)
    rates = {t.number: t.parameters["learning_rate"] for t in best.trials}
    for candidate in best.candidates:
        ran = [c for c in others[12:] if c.method.learning_rate == rates[candidate.trial]]
        assert [c.training.init_seed for c in ran] == list(NEW_SEEDS)
        assert candidate.validations == pytest.approx([iou(c) for c in ran])
    means = {c.trial: sum(c.validations) / 3 for c in best.candidates}
    assert best.trial == max(means, key=lambda trial: (means[trial], -trial))
    assert best.parameters == {"learning_rate": rates[best.trial]}
    assert best.floor == FLOOR
    assert best.seconds == 2.0 * len(others)
    assert best.importance == {"learning_rate": 1.0}


def test_bayesian_search_finds_the_optimum(runs: Runs, found: Search, tmp_path: Path) -> None:
    best = sweep(found, tmp_path, trials=16).run()
    assert max(t.validation for t in best.trials[4:]) > 0.69
    assert abs(math.log10(best.parameters["learning_rate"] / 1e-3)) < 0.2
    tried = sorted(t.parameters["learning_rate"] for t in best.trials)
    assert len(set(tried)) == 16


def test_what_is_minimised_is_the_log_of_the_validation_error(runs: Runs, found: Search, tmp_path: Path) -> None:
    best = sweep(found, tmp_path, trials=4).run()
    values = {int(t.user_attrs[SLOT]): t.value for t in trials_of(tmp_path, found.name)}
    for trial in best.trials:
        assert values[trial.number] == pytest.approx(math.log(1 - trial.validation))
    lower = replace(found, metric=NRMSE())
    assert lower.objective(0.25) == pytest.approx(math.log(0.25))
    assert math.isfinite(found.objective(1.0)), "a perfect score has a logarithm"


def NRMSE() -> Any:  # noqa: N802
    from lsmbench.metrics import NRMSE as Metric  # noqa: N811

    return Metric()


def test_a_finished_sweep_runs_nothing_again_and_says_the_same(runs: Runs, found: Search, tmp_path: Path) -> None:
    best = sweep(found, tmp_path, trials=5).run()
    before = len(runs.ran)
    again = sweep(found, tmp_path, trials=5).run()
    assert len(runs.ran) == before
    assert again == best


def test_more_trials_go_on_and_fewer_are_refused(runs: Runs, found: Search, tmp_path: Path) -> None:
    first = sweep(found, tmp_path, trials=5).run()
    with pytest.raises(
        UserError, match=r"has 5 finished trials, the last of them number 4, and 4 are asked for.*--study"
    ):
        sweep(found, tmp_path, trials=4).run()
    more = sweep(found, tmp_path, trials=9).run()
    assert more.trials[:5] == first.trials
    assert len(more.trials) == 9


def test_a_diverged_trial_counts_with_the_floors_score(runs: Runs, found: Search, tmp_path: Path) -> None:
    runs.outcome = lambda config: DIVERGING if config.method.learning_rate > 1.5e-3 else iou(config)
    console = Console(record=True, width=200)
    best = sweep(found, tmp_path, trials=8, console=console).run()
    wild = [t for t in best.trials if t.parameters["learning_rate"] > 1.5e-3]
    assert wild[0].number == 0
    assert {(t.state, t.validation) for t in wild} == {(DIVERGED, FLOOR)}
    stored = {int(t.user_attrs[SLOT]): t for t in trials_of(tmp_path, found.name)}
    assert stored[0].state is TrialState.COMPLETE
    assert stored[0].value == pytest.approx(math.log(1 - FLOOR))
    assert stored[0].user_attrs[REASON] == "it diverged."
    assert best.candidate(0).validations == [FLOOR] * 3
    assert not {c.trial for c in best.candidates} - {0} & {t.number for t in wild}
    assert "trial 0 in 0.0 s: diverged; counts with the floor's iou 0.3000" in console.export_text()


def test_what_diverges_on_a_new_seed_does_not_win_by_the_floors_score(
    runs: Runs, found: Search, tmp_path: Path
) -> None:
    def outcome(config: RunConfig) -> float:
        if config.training.init_seed == SEED:
            return iou(config)
        return DIVERGING if config.method.learning_rate != 0.002 else 0.1

    runs.outcome = outcome
    best = sweep(found, tmp_path, trials=5).run()
    assert best.trial == 0, "its 0.1 is less than the floor's 0.3"
    assert {c.trial: c.diverged for c in best.candidates if c.trial}.keys() & {1, 2, 3, 4}
    assert all(c.diverged == 3 and c.validations == [FLOOR] * 3 for c in best.candidates if c.trial)
    assert best.candidate(0).diverged == 0


def test_a_stopped_sweep_leaves_its_trials_to_the_next(runs: Runs, found: Search, tmp_path: Path) -> None:
    """Also by the same process, which is still alive."""
    stops = iter([False, False, True])

    def outcome(config: RunConfig) -> float:
        if next(stops, False):
            raise KeyboardInterrupt
        return iou(config)

    runs.outcome = outcome
    with pytest.raises(KeyboardInterrupt):
        sweep(found, tmp_path, trials=6, jobs=2).run()
    best = sweep(found, tmp_path, trials=6, jobs=2).run()
    assert len(best.trials) == 6
    reasons = {t.user_attrs.get(REASON) for t in trials_of(tmp_path, found.name) if t.state is TrialState.FAIL}
    assert reasons == {"its sweep was stopped"}


def test_a_lost_storage_is_told_as_what_it_is(
    runs: Runs, found: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a run's outcome is stored, when the run's process has ended already."""

    def lost(*_: Any) -> bool:
        raise optuna.exceptions.StorageInternalError("no connection")

    monkeypatch.setattr(slots.Slots, "fill", lost)
    with pytest.raises(optuna.exceptions.StorageInternalError, match="no connection"):
        sweep(found, tmp_path, trials=2).run()


def test_the_time_of_failed_trials_counts(runs: Runs, found: Search, tmp_path: Path) -> None:
    broken = iter([False, True])
    runs.outcome = lambda config: BREAKING if next(broken, False) else iou(config)
    best = sweep(found, tmp_path, trials=3).run()
    finished = 2.0 * (3 + 3 * len(best.candidates))
    assert finished <= best.seconds < finished + 60


def test_the_default_is_kept_if_nothing_beats_it(runs: Runs, tmp_path: Path) -> None:
    best_rate = {"network": "tiny", "learning_rate": 1e-3}
    found = search_of(tmp_path, method=best_rate)
    runs.outcome = lambda config: 0.9 if config.method.learning_rate == 1e-3 else 0.5
    best = sweep(found, tmp_path, trials=4).run()
    assert best.trial == 0
    assert "no trial beats the default configuration on validation, so it is kept: iou 0.9000" in conclusion(best)
    runs.outcome = lambda config: 0.1
    best = sweep(search_of(tmp_path, method=best_rate, called="other"), tmp_path, trials=4).run()
    assert best.trial == 0, "of equal means the default's counts"
    assert "no better than the floor, 0.3000" in conclusion(best)


def test_a_run_that_breaks_is_run_again_and_then_stops_the_sweep(runs: Runs, found: Search, tmp_path: Path) -> None:
    broken: list[RunConfig] = []

    def once(config: RunConfig) -> float:
        broken.append(config)
        return BREAKING if len(broken) in (3, 7) else iou(config)

    runs.outcome = once
    best = sweep(found, tmp_path, trials=6).run()
    assert broken[2] == broken[3], "again with the same parameters"
    assert {t.state for t in best.trials} == {FINISHED}
    other = search_of(tmp_path, called="other")
    runs.outcome = lambda config: BREAKING
    with pytest.raises(SweepError, match=r"trial 0 of other/baseline/N50 failed 2 times: it failed\. The record is in"):
        sweep(other, tmp_path, trials=2).run()
    runs.outcome = iou
    assert len(sweep(other, tmp_path, trials=2).run().trials) == 2, "the same command tries it again"


def test_several_jobs_run_at_once_and_fill_every_slot(runs: Runs, found: Search, tmp_path: Path) -> None:
    best = sweep(found, tmp_path, trials=10, jobs=4).run()
    assert runs.most == 4
    assert len({t.parameters["learning_rate"] for t in best.trials}) == 10


def test_hopeless_trials_are_pruned_and_count(runs: Runs, found: Search, tmp_path: Path) -> None:
    space = replace(found.space, sampler="tpe", pruner="median")
    search = replace(found, space=space)
    runs.outcome = lambda config: [0.5 * iou(config), 0.9 * iou(config), iou(config)]
    best = sweep(search, tmp_path, trials=20).run()
    states = [t.state for t in best.trials]
    assert len(states) == 20
    assert 0 < states.count(PRUNED) == len(runs.stopped)
    assert not {t.number for t in best.trials if t.state == PRUNED} & {c.trial for c in best.candidates} - {0}
    pruned = next(t for t in trials_of(tmp_path, search.name) if t.state is TrialState.PRUNED)
    assert pruned.intermediate_values
    assert pruned.user_attrs[STATE] == PRUNED
    for trial in best.trials:
        if trial.state == FINISHED:
            assert str(trial.number) not in runs.stopped


def test_a_study_of_something_else_is_refused_by_name(runs: Runs, found: Search, tmp_path: Path) -> None:
    sweep(found, tmp_path, trials=2).run()
    before = len(runs.ran)
    narrow = replace(found.space, ranges={"learning_rate": (1e-4, 1e-2)})
    for changed, difference in (
        (search_of(tmp_path, space=narrow), "- space.learning_rate: [1e-06, 0.1] there, [0.0001, 0.01] now"),
        (search_of(tmp_path, training={"epochs": 2, "batch_size": 6}), "- setting.training.epochs: 1 there, 2 now"),
        (replace(found, space=replace(found.space, sampler="tpe")), "- sampler: gp there, tpe now"),
        (replace(found, metric=NRMSE()), "- objective.metric: iou there, nrmse now"),
    ):
        with pytest.raises(UserError, match="study 'small/baseline/N50' was made with another space") as caught:
            sweep(changed, tmp_path, trials=2).run()
        assert difference in str(caught.value)
        assert "--study NAME" in str(caught.value)
    assert len(runs.ran) == before
    sweep(search_of(tmp_path, space=narrow), tmp_path, trials=2, study="narrow").run()
    assert len(trials_of(tmp_path, "narrow/baseline/N50")) == 2
    assert len(trials_of(tmp_path, "narrow/baseline/N50" + AGAIN)) >= 3


def test_a_foreign_study_of_the_same_name_is_refused(runs: Runs, found: Search, tmp_path: Path) -> None:
    foreign = optuna.create_study(storage=open_storage(tmp_path / "studies.journal"), study_name=found.name)
    foreign.tell(foreign.ask(), 1.0)
    with pytest.raises(UserError, match="was not made by lsmbench"):
        sweep(found, tmp_path).run()


def test_searches_are_rows_by_n_and_once_for_methods_without_pairs(tmp_path: Path) -> None:
    benchmark = definition.load(written(tmp_path, methods={"baseline": None, "cyclegan": {"w_identity": 0.0}}))
    spaces = {name: load(name) for name in ("baseline", "cyclegan")}
    found = searches(benchmark, ["baseline", "cyclegan"], spaces)
    assert [s.name for s in found] == ["small/baseline/N100", "small/baseline/N50", "small/cyclegan/any"]
    cyclegan = found[2]
    assert cyclegan.off == ["w_identity"]
    assert "w_identity" not in cyclegan.default
    with pytest.raises(UserError, match="has no row 'baselin'; did you mean baseline"):
        searches(benchmark, ["baselin"], spaces)
    benchmark.paired = [0]
    with pytest.raises(UserError, match="cannot be tuned at N = 0"):
        searches(benchmark, ["baseline"], spaces)
    benchmark.paired = [1]
    with pytest.raises(UserError, match="leaves no pair"):
        searches(benchmark, ["baseline"], spaces)


def test_a_row_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    changes = {"dataset": {"name": "sit", "size": 36, "samples": 40}, "methods": {"floor": None, "unet": None}}
    benchmark = definition.load(written(tmp_path, **changes))
    assert "multiples of 16" in search_module.obstacle(benchmark, "unet")
    assert search_module.obstacle(benchmark, "floor") == "has nothing to tune"
    with pytest.raises(UserError, match=r"unet cannot be tuned: it .*multiples of 16"):
        searches(benchmark, ["unet"], {"unet": load("unet")})


def test_a_worker_that_lost_its_slot_stops_its_run(
    runs: Runs, found: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker was silent for so long that another worker failed its trial."""
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.0)
    lost: list[int] = []

    def beat(self: slots.Slots, trial: optuna.Trial) -> bool:
        if trial.number != 1 or self.study.study_name.endswith(AGAIN):
            return True
        if not lost:
            lost.append(trial.number)
            self.fail(trial, "its worker died")
        return False

    monkeypatch.setattr(slots.Slots, "beat", beat)
    runs.outcome = lambda config: [0.1, iou(config)]
    best = sweep(found, tmp_path, trials=3).run()
    assert runs.stopped == ["1"]
    assert [t.number for t in best.trials] == [0, 1, 2]


def test_importance_needs_different_outcomes() -> None:
    made = optuna.create_study()
    for number in range(6):
        trial = made.ask()
        trial.suggest_float("a", 1, 10, log=True)
        made.tell(trial, 1.0)
        assert importance(made) == {}, number
    trial = made.ask()
    made.tell(trial, trial.suggest_float("a", 1, 10, log=True) + 1)
    assert set(importance(made)) == {"a"}


def best_of(runs: Runs, found: Search, folder: Path) -> Best:
    return sweep(found, folder, trials=3).run()


def test_the_outcome_can_be_written_and_read(runs: Runs, found: Search, tmp_path: Path) -> None:
    from lsmbench.benchmarks import tuning as bests

    outcome = best_of(runs, found, tmp_path)
    path = bests.save(outcome, tmp_path / "best", "sit")
    assert path == tmp_path / "best" / "sit" / "baseline.yaml"
    assert bests.load(path) == [outcome]
    assert str(tmp_path) not in path.read_text(), "no place of this machine"
