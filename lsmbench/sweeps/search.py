"""The search of one sweep: the hyper-parameters of a benchmark's row at one N, compared by the validation score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from lsmbench.arguments import nearest
from lsmbench.benchmarks.definition import Benchmark, learns_from_pairs, run_config
from lsmbench.data.pools import Pools
from lsmbench.data.supervision import check_amount
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.metrics import SampleMetric
from lsmbench.runs.config import PROTOCOL, RunConfig, config_from_dict
from lsmbench.runs.nested import differences
from lsmbench.runs.run import data_of
from lsmbench.sweeps.space import Space, start

SEED = 1000
"""Seed of all trials of a sweep; benchmarks use other seeds, so that parameters are not tuned to their seeds."""
NEW_SEEDS = (1001, 1002, 1003)
"""Seeds on which the best trials are repeated."""

_TINY = 1e-6  # an error of zero has no logarithm
_STARTUP = 10


@dataclass(frozen=True)
class Search:
    """One row of a benchmark at one N, and the space that is searched for it.

    Attributes:
        benchmark: The benchmark.
        row: Row of the benchmark's table.
        amount: N, or the number of pairs; `None` if the method uses no pairs.
        space: The search space.
        default: The parameters of trial 0: the row's parameters without a sweep.
        off: Parameters of the space that the row switches off.
        config: The row's configuration with the sweep's seed.
        fingerprint: The dataset's fingerprint.
        contents: Fingerprint of all data, that of a bank of y-only samples included.
        metric: The metric that trials are compared by.
    """

    benchmark: Benchmark
    row: str
    amount: float | None
    space: Space
    default: dict[str, float]
    off: list[str]
    config: RunConfig
    fingerprint: str
    contents: str
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
        """The configuration of a run with some parameters and a seed."""
        return run_config(self.benchmark, self.row, self.amount or 0, seed, parameters)

    def floor(self) -> RunConfig:
        """The configuration of the floor, on the same data and the same validation pairs."""
        values = self.config.to_dict()
        values["training"]["init_seed"] = values["supervision"]["supervision_seed"] = 0
        return config_from_dict({**values, "method": {"name": "floor"}})

    def identity(self, config: RunConfig) -> str:
        """The identity of a run on the search's data."""
        return config.identity(self.contents)

    def objective(self, validation: float) -> float:
        """The value that a sweep minimises: the logarithm of the validation error."""
        return math.log(max(self.metric.error(validation), _TINY))

    def sampler(self, trials: int) -> Callable[[int], BaseSampler]:
        """Returns a function that makes a sampler from a seed, for a sweep of `trials` trials.

        The first trials are random: ten of forty, and a quarter of a shorter sweep.
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
        """The pruner, which ends hopeless trials."""
        match self.space.pruner:
            case "none":
                return NopPruner()
            case "median":
                return MedianPruner()
            case "hyperband":
                return HyperbandPruner()

    @property
    def definition(self) -> dict[str, Any]:
        """Identifies the search: all searches of one study must have the same definition."""
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
            "bank_fingerprint": self.contents.partition("-")[2],
            "protocol": PROTOCOL,
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain


def searches(benchmark: Benchmark, rows: list[str], spaces: Mapping[str, Space]) -> list[Search]:
    """The searches of some rows of a benchmark: one for each N, or one in all for a method without pairs.

    Args:
        benchmark: The benchmark, with one row for each method and way to select pairs.
        rows: Rows of the benchmark's table.
        spaces: The search space of each method.

    Raises:
        UserError: If the benchmark has no such row, the row cannot be trained on the dataset, its parameters lie
            outside of the space, or N leaves no pair.
    """
    found, prints = [], dict[str | None, tuple[str, str, Pools]]()
    for row in rows:
        if row not in benchmark.methods:
            known = list(benchmark.methods)
            raise UserError(
                f"benchmark {benchmark.name} has no row {row!r}{nearest(row, known)} Rows: {', '.join(known)}."
            )
        for amount in benchmark.amounts if learns_from_pairs(benchmark, row) else [None]:
            found.append(_search(benchmark, row, amount, spaces, prints))
    return found


def obstacle(benchmark: Benchmark, row: str) -> str:
    """Why a row cannot be tuned, e.g. because its method cannot be trained on the dataset; empty if it can be."""
    config = run_config(benchmark, row, 0, SEED)
    kind = METHODS[config.method_name]
    supported, reason = kind.fits(config.dataset, config.method)
    return "has nothing to tune" if not kind.trained else "" if supported else reason


def _search(
    benchmark: Benchmark,
    row: str,
    amount: float | None,
    spaces: Mapping[str, Space],
    prints: dict[str | None, tuple[str, str, Pools]],
) -> Search:
    config = run_config(benchmark, row, amount or 0, SEED)
    if reason := obstacle(benchmark, row):
        raise UserError(f"{row} cannot be tuned: it {reason}.")
    space = spaces[config.method_name]
    default, off = start(space, config.method)
    bank = config.supervision.y_bank
    if amount == 0:
        raise UserError(f"{row} cannot be tuned at N = 0: that leaves no pair.")
    if bank not in prints:  # reading large data takes long: only once
        data = data_of(config, testing=False)
        if not len(data.scored(data.val)):
            raise UserError(f"{row} cannot be tuned: there is no validation pair to compare trials by.")
        prints[bank] = (data.fingerprint, data.contents, data.pools)
    fingerprint, contents, pools = prints[bank]
    if amount is not None:
        check_amount(pools, config.supervision)
    metric = config.dataset.domains[config.dataset.target].metrics()[0]
    return Search(benchmark, row, amount, space, default, off, config, fingerprint, contents, metric)


def agree(study: optuna.Study, search: Search) -> None:
    """Stores the search's definition in a new study, or compares it with the study's.

    Raises:
        UserError: If the definitions differ, with each difference.
    """
    wanted, stored = search.definition, study.user_attrs.get("definition")
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise UserError(
                f"study {study.study_name!r} was not made by lsmbench. Name another by --study, or another storage."
            )
        study.set_user_attr("definition", wanted)
        return
    if stored == wanted:
        return
    lines = [f"- {key}: {then} there, {now} now" for key, (now, then) in differences(wanted, stored).items()]
    raise UserError(
        f"study {study.study_name!r} was made with another space, objective or setting:\n" + "\n".join(lines) + "\n"
        "Use the study's values, or begin a new study with --study NAME (or in another folder with --output)."
    )
