"""The protocol of a sweep: run trials, repeat the best on new seeds, choose the best mean, return the outcome."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, Best, Candidate, Trial
from lsmbench.errors import UserError
from lsmbench.launch.base import Launcher, Order
from lsmbench.launch.local import Local
from lsmbench.runs import environment
from lsmbench.runs.config import PROTOCOL, Machine
from lsmbench.runs.results import RESULT, Failure, Result
from lsmbench.runs.tracking import Tracking
from lsmbench.sweeps.search import NEW_SEEDS, SEED, Search, agree
from lsmbench.sweeps.slots import FILLED, SLOT, Slot, Slots
from lsmbench.sweeps.space import distributions
from lsmbench.sweeps.worker import (
    SECONDS,
    SLOT_SEED,
    STATE,
    VALIDATION,
    SweepError,
    Worker,
    validation,
)

AGAIN = "/new seeds"
"""End of the name of the study that repeats the best trials."""

RUNS = "runs"
_BEST = 3


class Sweep:
    """One sweep, run by this process alone or by several that share a storage.

    Args:
        search: The search.
        storage: The storage of trials.
        folder: Folder of the sweep's files; trials' runs are stored below it.
        machine: Where to compute; unset `threads` shares the cores among the jobs.
        jobs: Parallel trials. With several, later parameters depend on which trial ends first.
        trials: Finished trials after which the search ends.
        console: Where to print progress.
        study: Beginning of the study's name; empty: the benchmark's name.
        tracking: Tracker of the trials, whose group is the study.
    """

    def __init__(
        self,
        search: Search,
        storage: BaseStorage,
        folder: Path,
        machine: Machine,
        jobs: int,
        trials: int,
        console: Console,
        study: str = "",
        tracking: Tracking | None = None,
    ) -> None:
        self.search = search
        self.storage = storage
        self.root = folder / RUNS
        self.machine, self.jobs = machine, jobs
        self.trials = trials
        self.console = console
        self.name = search.name if not study else f"{study}/{search.name.partition('/')[2]}"
        self.tracking = tracking

    def run(self) -> Best:
        """Runs the sweep's remaining trials and repeats.

        Returns:
            The outcome.

        Raises:
            UserError: If the study has another definition, or more finished trials than are asked for.
            SweepError: If a trial fails twice for a reason that is not its parameters.
        """
        search = self.search
        study = self._study(self.name)
        first = {"0": search.default}
        slots = self._slots(study, [Slot(str(k), first.get(str(k), {})) for k in range(self.trials)])
        done = [t for t in study.get_trials(deepcopy=False, states=FILLED) if SLOT in t.user_attrs]
        least = max((int(t.user_attrs[SLOT]) + 1 for t in done), default=0)
        if least > self.trials:
            raise UserError(
                f"study {self.name!r} has {len(done)} finished trials, the last of them number {least - 1}, and "
                f"{self.trials} are asked for. Ask for {least} or more (--trials), or begin a new study with --study "
                "NAME."
            )
        study.set_user_attr("trials", self.trials)
        for name in search.off:
            self.console.print(f"– {name} is 0 in {search.row}, which switches it off: not searched.", highlight=False)
        floor = study.user_attrs.get("floor")
        if floor is None:
            study.set_user_attr("floor", floor := self._floor())
        worker = Worker(search, floor, self.root, self.machine, self.jobs, self.console, self.tracking)
        filled = worker.fill(slots, "trial {}".format, pruning=search.space.pruner != "none")
        candidates = _candidates(filled)
        study.set_user_attr("candidates", candidates)
        again = self._study(self.name + AGAIN)
        repeats = [Slot(f"{key}{SLOT_SEED}{seed}", filled[key].params) for key in candidates for seed in NEW_SEEDS]
        repeated = worker.fill(
            self._slots(again, repeats), lambda key: "trial {} on seed {}".format(*key.split(SLOT_SEED))
        )
        best = self._best(study, again, filled, repeated, floor)
        study.set_user_attr("winner", {"trial": best.trial, "of": self.trials})
        self.console.print(conclusion(best), highlight=False)
        return best

    def _study(self, name: str) -> optuna.Study:
        study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="minimize",
            pruner=self.search.pruner(),
            load_if_exists=True,
        )
        agree(study, self.search)
        return study

    def _slots(self, study: optuna.Study, wanted: list[Slot]) -> Slots:
        space = distributions(self.search.space, self.search.default)
        return Slots(study, wanted, space, self.search.sampler(self.trials), SEED)

    def _floor(self) -> float:
        """The floor's score on the validation pairs."""
        config = self.search.floor()
        identity = self.search.identity(config)
        if (self.root / identity / RESULT).exists():
            return validation(Result.load(self.root / identity))
        launcher: Launcher = Local(jobs=1)
        launcher.start("floor", Order(identity, config, self.root, self.machine, testing=False))
        while launcher:
            for _, event in launcher.wait():
                if isinstance(event, Result):
                    return validation(event)
                if isinstance(event, Failure):
                    raise (UserError if event.kind == "user" else SweepError)(f"the floor: {event.reason}")
        raise AssertionError

    def _best(
        self,
        study: optuna.Study,
        again: optuna.Study,
        done: dict[str, FrozenTrial],
        repeated: dict[str, FrozenTrial],
        floor: float,
    ) -> Best:
        search = self.search
        better = bool(search.metric.higher_is_better)
        candidates = []
        for key in study.user_attrs["candidates"]:
            runs = [repeated[f"{key}{SLOT_SEED}{seed}"].user_attrs for seed in NEW_SEEDS]
            diverged = sum(run[STATE] == DIVERGED for run in runs)
            candidates.append(
                Candidate(trial=int(key), validations=[run[VALIDATION] for run in runs], diverged=diverged)
            )
        # A diverged run counts with the floor's score, which is good where little is learnt: a candidate with diverged
        # runs must not win by it. Of equal means the first trial wins: the default, if it is among them.
        winner = min(candidates, key=lambda c: (c.diverged > 0, -c.mean if better else c.mean, c.trial))
        seconds = [t.user_attrs.get(SECONDS, 0.0) for s in (study, again) for t in s.get_trials(deepcopy=False)]
        return Best(
            study=study.study_name,
            benchmark=search.benchmark.name,
            row=search.row,
            method=search.config.method_name,
            amount=search.amount,
            unit=search.benchmark.unit,
            metric=search.metric.name,
            higher_is_better=better,
            floor=floor,
            parameters=_ordered(search, done[str(winner.trial)]),
            trial=winner.trial,
            seed=SEED,
            seeds=list(NEW_SEEDS),
            candidates=sorted(candidates, key=lambda c: c.trial),
            sampler=search.space.sampler,
            pruner=search.space.pruner,
            space={name: search.space.ranges[name] for name in search.default},
            importance=importance(study),
            seconds=round(sum(seconds), 1),
            trials=[
                Trial(
                    number=int(key),
                    state=trial.user_attrs[STATE],
                    validation=trial.user_attrs[VALIDATION],
                    seconds=trial.user_attrs[SECONDS],
                    parameters=_ordered(search, trial),
                )
                for key, trial in done.items()
            ],
            setting=search.config.setting(search.default),
            fingerprint=search.fingerprint,
            protocol=PROTOCOL,
            environment={**environment.describe(), "optuna": optuna.__version__},
        )


def conclusion(best: Best) -> str:
    """Sentences that say whether the search beat the default configuration and the floor."""
    winner, default = best.candidate(best.trial), best.candidate(0)
    seeds = f"mean of {len(best.seeds)} new seeds"
    where = f"{best.row} at {best.said}"
    learnt = winner.mean > best.floor if best.higher_is_better else winner.mean < best.floor
    below = "" if learnt else f" That is no better than the floor, {best.floor:.4f}: nothing was learnt that helps."
    if best.trial == 0:
        others = [c.mean for c in best.candidates if c.trial != 0]
        nearest = f", the best other {(max if best.higher_is_better else min)(others):.4f}" if others else ""
        return (
            f"{where}: no trial beats the default configuration on validation, so it is kept: {best.metric} "
            f"{default.mean:.4f} ({seeds}){nearest}.{below}"
        )
    noise = best.noise()
    spread = f"; standard deviation over seeds {noise:.4f}" if noise is not None else ""
    return (
        f"{where}: trial {best.trial} beats the default configuration on validation: {best.metric} {winner.mean:.4f} "
        f"against {default.mean:.4f} ({seeds}{spread}).{below}"
    )


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of the variance of the log error that each parameter explains (fANOVA); empty if there is too little."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: round(float(value), 4) for name, value in found.items()}


def _candidates(done: dict[str, FrozenTrial]) -> list[str]:
    """The slots of the best trials and of the default configuration."""
    finished = {key: trial for key, trial in done.items() if trial.user_attrs[STATE] == FINISHED}
    best = sorted(finished, key=lambda key: (finished[key].value, int(key)))[:_BEST]
    return list(dict.fromkeys([*best, "0"]))


def _ordered(search: Search, trial: FrozenTrial) -> dict[str, float]:
    return {name: trial.params[name] for name in search.default}
