"""What a benchmark's data allows: folds, values of N that leave pairs, and margins of metrics that it is scored by."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter

import numpy as np

from lsmbench.arguments import nearest
from lsmbench.benchmarks.definition import (
    Benchmark,
    available,
    floor_config,
    learns_from_pairs,
    listed,
    run_config,
    values_of,
)
from lsmbench.benchmarks.tuning import Use
from lsmbench.data.dataset import Dataset, pools_of
from lsmbench.data.folds import folded, number_of_folds
from lsmbench.data.module import DataModule
from lsmbench.data.pools import TEST, TRAIN, VAL, Pools
from lsmbench.data.supervision import NoPairError, SupervisionConfig, check_amount, fullest_of, possible
from lsmbench.errors import UserError
from lsmbench.runs.config import RunConfig
from lsmbench.runs.run import data_of

_NO_VALIDATION = "No pair is left to validate with, so that the last weights are used."


def with_folds(benchmark: Benchmark) -> Benchmark:
    """The benchmark with its dataset's own folds, if it says nothing of folds.

    Raises:
        UserError: If it names a single fold, or a row has folds of its own.
    """
    said = [benchmark.supervision, *(options.get("supervision") or {} for options in benchmark.methods.values())]
    if any("fold" in one for one in said) or any("folds" in one for one in said[1:]):
        raise UserError(
            "supervision.fold: a benchmark runs all of its folds, and all rows on the same ones; it says "
            "supervision.folds alone, for all rows."
        )
    if "folds" in benchmark.supervision:
        return benchmark
    dataset = floor_config(benchmark).dataset
    return replace(benchmark, supervision={**benchmark.supervision, "folds": dataset.default_folds()})


@dataclass(frozen=True)
class Data:
    """What a grid has to know of its data.

    Attributes:
        first: The data, in the dataset's own parts, without another dataset's samples.
        metric: The primary metric's word.
        parts: The pools in the parts of each fold; those of the one split without folds.
        count: Number of folds; `None` without folds.
    """

    first: DataModule
    metric: str
    parts: list[Pools]
    count: int | None
    _contents: dict[str | None, str] = field(default_factory=dict)

    @classmethod
    def of(cls, benchmark: Benchmark) -> Data:
        """Reads a benchmark's data."""
        config = floor_config(benchmark)
        data, folds = data_of(config), config.supervision.folds
        views, seed = (data.dataset.source, data.dataset.target), config.supervision.split_seed
        metric = str(data.domains[data.dataset.target].metrics()[0].name)
        if folds is None:
            return cls(data, metric, [data.undivided], None)
        count = number_of_folds(data.undivided, folds, views)
        return cls(data, metric, [folded(data.undivided, folds, k, views, seed).pools for k in range(count)], count)

    @property
    def folds(self) -> list[int | None]:
        """The folds that are run; no fold is one of them without folds."""
        return [None] if self.count is None else [*range(self.count)]

    def contents(self, config: RunConfig) -> str:
        """Fingerprint of all that a run learns from."""
        bank = config.supervision.y_bank
        if bank not in self._contents:
            self._contents[bank] = self.first.contents if bank is None else data_of(config).contents
        return self._contents[bank]

    def unlike(self, use: Use) -> list[str]:
        """How the data differs from that of a sweep."""
        said = [] if use.best.fingerprint == self.first.fingerprint else ["the data is other than the sweep's"]
        return said + ([] if self.count is None else ["the sweep compared trials by pairs that other folds test on"])

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of the data: folds, and that there is nothing to score."""
        if self.count is not None:
            pairs = sum(len(parts.part(TEST)) for parts in self.parts)
            left = _range([fullest_of(parts, self.first.config.by)[1] for parts in self.parts])
            val = [len(parts.part(VAL)) for parts in self.parts]
            validates = f"Each run validates on {_range(val)} of the others, and" if any(val) else f"{_NO_VALIDATION} N"
            return [
                f"The {pairs} pairs are cross-validated in {self.count} folds: each is tested on once, by runs that "
                f"never saw it. {validates} N is the share of the {left} that remain{'s' * (left == '1')}."
            ]
        return _lacking(self.first.undivided, self.first.dataset)


def _lacking(pools: Pools, dataset: Dataset) -> list[str]:
    """What a single split lacks: pairs to test on, and, where some are trained on, pairs to validate with."""
    views = dataset.source, dataset.truths.get(dataset.target, dataset.target)

    def holds_pairs(*parts: str) -> bool:
        return any(np.logical_and(*(pools.has(view, pools.part(part)) for view in views)).any() for part in parts)

    said = []
    if not holds_pairs(*pools.test_sets):
        both = f"both {dataset.source} and {dataset.target}"
        said.append(f"No test sample has {both}: nothing can be scored. The report shows translations alone.")
    if holds_pairs(TRAIN) and not holds_pairs(VAL):
        said.append(_NO_VALIDATION)
    return said


def with_possible(benchmark: Benchmark, data: Data, asked: bool) -> tuple[Benchmark, list[str]]:
    """The benchmark with those values of N that leave a pair in every fold; and which were left out.

    Raises:
        UserError: As `expand`.
    """
    rows = [label for label in benchmark.methods if learns_from_pairs(benchmark, label)]
    left_out: dict[float, NoPairError] = {}
    for paired in benchmark.amounts:
        for label in rows:
            config = run_config(benchmark, label, paired, benchmark.seeds[0])
            for pools in data.parts:
                try:
                    check_amount(pools, config.supervision)
                except NoPairError as error:
                    if asked:
                        raise
                    left_out.setdefault(paired, error)
    some = any(fullest_of(pools)[1] for pools in data.parts)
    kept = [paired for paired in benchmark.amounts if paired not in left_out and (some or paired == 0 or asked)]
    if kept == benchmark.amounts:
        return benchmark, []
    if not kept:
        if some:
            raise next(iter(left_out.values()))
        kept, note = [0.0], "There is no pair to train with, so that N = 0 stands in place of the benchmark's N."
    else:
        unit = "" if benchmark.paired_count is not None else " %"
        what = "training unit" if benchmark.supervision.get("by") == "unit" else "training sample"
        amounts = ", ".join(f"{paired:g}" for paired in left_out)
        config = run_config(benchmark, rows[0], kept[0], benchmark.seeds[0])
        most, least = min((possible(pools, config.supervision) for pools in data.parts), key=itemgetter(0))
        note = f"Left out: N = {amounts}{unit}, since at most {most} {what}{'s' * (most > 1)} can be pairs" + (
            f"; the least N with a pair is {least:g} %." if unit else "."
        )
    if benchmark.paired_count is None:
        return replace(benchmark, paired=kept), [note]
    return replace(benchmark, paired_count=[int(paired) for paired in kept]), [note]


def possible_amounts(dataset: Dataset) -> list[str]:
    """What the dataset's benchmark makes of its pairs: folds, numbers of pairs at each N, and the least N.

    Args:
        dataset: A dataset without problems.

    Returns:
        Sentences for `lsmbench data check`.
    """
    named = available().get(dataset.name)
    values = values_of(named) if named else {}
    supervision = values.get("supervision") or {}
    protocol, by = supervision.get("protocol", "bank"), supervision.get("by", "sample")
    folds, config = dataset.default_folds(), SupervisionConfig(protocol=protocol, by=by)
    what = config.counted.removesuffix("s")
    pools, views = pools_of(dataset), (dataset.source, dataset.target)
    parts = [pools] if folds is None else [folded(pools, folds, k, views).pools for k in range(folds)]
    most, least = min((possible(one, config) for one in parts), key=itemgetter(0))
    said = [f"A benchmark cross-validates the pairs in {folds} folds."] if folds else _lacking(pools, dataset)
    if folds and not any(len(one.part(VAL)) for one in parts):
        said.append(_NO_VALIDATION)
    if least is None:
        return [*said, "No training sample has both views: only N = 0 is possible."]
    where = f"protocol {protocol}" + ("" if folds is None else ", in each fold")
    if most == 1:
        return [*said, f"Possible N: 100 % (1 {what}; {where}), or 0."]
    amounts = [n for n in values.get("paired") or () if n >= least]
    each = ", ".join(f"{n:g} % = {int(most * n / 100 + 1e-9)}" for n in amounts)
    return [
        *said,
        f"Possible N: {least:g} % (1 {what}) to 100 % ({most} {what}s; {where})" + (f"; {each}." if each else "."),
    ]


def check_margins(benchmark: Benchmark, data: Data) -> None:
    """Raises a UserError if a margin is of a metric that nothing is scored by, or not in its unit."""
    if benchmark.reference is not None and benchmark.reference not in benchmark.methods:
        raise UserError(
            f"reference: {benchmark.reference!r} is no row{nearest(benchmark.reference, benchmark.methods)} "
            f"Rows: {listed(benchmark.methods)}."
        )
    metrics = {metric.name: metric for domain in data.first.domains.values() for metric in domain.metrics()}
    for name, margin in benchmark.margins.items():
        if name not in metrics:
            raise UserError(f"margins: {name!r} is no metric here{nearest(name, metrics)} Known: {listed(metrics)}.")
        unit = metrics[name].unit
        number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not number or not margin > 0 or ("0 to 1" in unit and margin >= 1):
            raise UserError(f"margins: expected a number above 0 in the unit of {name} ({unit}), found {margin!r}.")


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
