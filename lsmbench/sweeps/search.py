"""What one sweep searches: the hyper-parameters of one row of a benchmark at one N, by the validation score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from lsmbench.benchmarks.grid import Benchmark, run_config
from lsmbench.data.supervision import pairs_of
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.metrics import SampleMetric
from lsmbench.runs.config import PROTOCOL, RunConfig, config_from_dict, differences, nearest
from lsmbench.runs.run import data_of
from lsmbench.sweeps.space import Space, start

SEED = 1000
"""Seed of all trials of a sweep; benchmarks have seeds of their own, so that nothing is tuned to these."""
NEW_SEEDS = (1001, 1002, 1003)
"""Seeds on which the best trials are run again."""

_TINY = 1e-6  # an error of zero has no logarithm
_STARTUP = 10


@dataclass(frozen=True)
class Search:
    """One row of a benchmark at one N, and the space that is searched for it.

    Attributes:
        benchmark: The benchmark.
        row: Row of its table.
        amount: N, or the number of pairs; `None` if the method uses no pairs.
        space: What is searched.
        default: The parameters of trial 0: those that the row has without a sweep.
        off: Parameters of the space that the row switches off.
        config: The row's configuration with the sweep's seed.
        fingerprint: Of the dataset.
        bank_fingerprint: Of the dataset that y-only samples come from; empty without one.
        metric: What is searched by.
    """

    benchmark: Benchmark
    row: str
    amount: float | None
    space: Space
    default: dict[str, float]
    off: list[str]
    config: RunConfig
    fingerprint: str
    bank_fingerprint: str
    metric: SampleMetric

    @property
    def name(self) -> str:
        """The study's name."""
        amount = "any" if self.amount is None else self.config.supervision.amount
        return f"{self.benchmark.name}/{self.row}/{amount}"

    @property
    def monitor(self) -> str:
        """The logged name of the validation score."""
        return f"val/{self.config.dataset.source}->{self.config.dataset.target}/{self.metric.name}"

    def run(self, parameters: Mapping[str, float], seed: int = SEED) -> RunConfig:
        """The configuration with other parameters and another seed."""
        return run_config(self.benchmark, self.row, self.amount or 0, seed, parameters)

    def floor(self) -> RunConfig:
        """The trivial predictor of the same data, with the same validation pairs."""
        values = self.config.to_dict()
        values["training"]["init_seed"] = values["supervision"]["supervision_seed"] = 0
        return config_from_dict({**values, "method": {"name": "floor"}})

    def identity(self, config: RunConfig) -> str:
        """The identity of a run on the search's data."""
        return config.identity(self.fingerprint, self.bank_fingerprint)

    def objective(self, validation: float) -> float:
        """What is minimised: the logarithm of the validation error."""
        return math.log(max(self.metric.error(validation), _TINY))

    def sampler(self, trials: int) -> Callable[[int], BaseSampler]:
        """Makes a sampler from a seed, for a sweep of so many trials.

        Random trials come first: ten of forty, and a quarter of a shorter sweep.
        """
        startup = max(1, min(_STARTUP, trials // 4))

        def make(seed: int) -> BaseSampler:
            match self.space.sampler:
                case "gp":
                    return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
                case "tpe":
                    return TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
                case "random":
                    return RandomSampler(seed=seed)

        return make

    def pruner(self) -> BasePruner:
        """What ends hopeless trials."""
        match self.space.pruner:
            case "none":
                return NopPruner()
            case "median":
                return MedianPruner()
            case "hyperband":
                return HyperbandPruner()

    @property
    def definition(self) -> dict[str, Any]:
        """What makes this search another than others: two searches with one name must agree in all of it."""
        better = bool(self.metric.higher_is_better)
        values = {
            "benchmark": self.benchmark.name,
            "row": self.row,
            "method": self.config.method_name,
            "amount": self.amount,
            "unit": self.benchmark.unit,
            "objective": {"metric": self.metric.name, "higher_is_better": better, "of": "log of the validation error"},
            "space": {name: list(self.space.ranges[name]) for name in self.default},
            "default": self.default,
            "sampler": self.space.sampler,
            "pruner": self.space.pruner,
            "seed": SEED,
            "setting": self.config.setting(self.default),
            "fingerprint": self.fingerprint,
            "bank_fingerprint": self.bank_fingerprint,
            "protocol": PROTOCOL,
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain


def searches(benchmark: Benchmark, rows: list[str], spaces: Mapping[str, Space]) -> list[Search]:
    """The searches of some rows of a benchmark: one for each N, or one in all for a method without pairs.

    Args:
        benchmark: The benchmark, with its rows multiplied by the ways to select pairs.
        rows: Rows of its table.
        spaces: What is searched for each method.

    Raises:
        UserError: If there is no such row, it cannot be trained on the dataset, it starts outside of its space, or N
            leaves no pair.
    """
    found, prints = [], dict[str | None, tuple[str, str, int]]()
    for row in rows:
        if row not in benchmark.methods:
            known = list(benchmark.methods)
            raise UserError(
                f"benchmark {benchmark.name} has no row {row!r}{nearest(row, known)} Rows: {', '.join(known)}."
            )
        uses_pairs = METHODS[benchmark.methods[row].get("name", row)].uses_pairs
        for amount in benchmark.amounts if uses_pairs else [None]:
            found.append(_search(benchmark, row, amount, spaces, prints))
    return found


def obstacle(benchmark: Benchmark, row: str) -> str:
    """Why a row cannot be tuned, e.g. because its method cannot be trained on the dataset; empty if it can."""
    config = run_config(benchmark, row, 0, SEED)
    kind = METHODS[config.method_name]
    supported, reason = kind.supports(config.dataset, config.method)
    return "has nothing to tune" if kind.deterministic else "" if supported else reason


def _search(
    benchmark: Benchmark,
    row: str,
    amount: float | None,
    spaces: Mapping[str, Space],
    prints: dict[str | None, tuple[str, str, int]],
) -> Search:
    config = run_config(benchmark, row, amount or 0, SEED)
    if reason := obstacle(benchmark, row):
        raise UserError(f"{row} cannot be tuned: it {reason}.")
    space = spaces[config.method_name]
    default, off = start(space, config.method)
    bank = config.supervision.y_bank
    if amount == 0:
        raise UserError(f"{row} cannot be tuned at N = 0: that leaves no pair.")
    if bank not in prints:  # large data takes its time
        data = data_of(config, testing=False)
        prints[bank] = (data.fingerprint, data.bank_fingerprint, len(data.split.train))
    fingerprint, bank_fingerprint, samples = prints[bank]
    pairs_of(samples, config.supervision)
    metric = config.dataset.domains[config.dataset.target].metrics()[0]
    return Search(benchmark, row, amount, space, default, off, config, fingerprint, bank_fingerprint, metric)


def agree(study: optuna.Study, search: Search) -> None:
    """Notes what a new study is of, or refuses one that is of something else.

    Raises:
        UserError: Naming the study and how it differs.
    """
    mine, its = search.definition, study.user_attrs.get("definition")
    if its is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"study {study.study_name!r} was not made by lsmbench. Name another by --study, or another storage."
            )
        study.set_user_attr("definition", mine)
        return
    if its == mine:
        return
    lines = [f"- {key}: {then} there, {now} now" for key, (now, then) in differences(mine, its).items()]
    raise UserError(
        f"study {study.study_name!r} was made with another space, objective or setting:\n" + "\n".join(lines) + "\n"
        "Go back to that, or begin a new study with --study NAME (or in another folder with --output)."
    )
