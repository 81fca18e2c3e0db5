"""The scores of a row at one N as a table of seeds and test samples, and rows compared on the same of both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from lsmbench.benchmarks.plan import Looks
from lsmbench.reports.pooling import way_of
from lsmbench.reports.statistics import LEVEL, Crossed, Floats, holm, pooled, tabulated
from lsmbench.scores import Score


@dataclass(frozen=True)
class Scored:
    """The scores of one row at one N on one test set, seeds × units of resampling.

    Attributes:
        seeds: What identifies each of the S seeds; a single one if the scores are the same for every seed.
        units: What identifies each of the G samples, or patients, persons or scenes where samples belong to some.
        table: (S, G); a row's mean is the run's value.
        higher_is_better: The metric's direction.
        fixed: Whether the scores are the same for every seed, as a trivial predictor's.
        grouped: Whether units are patients, persons or scenes.
        left_out: Why runs are not in the table, in sentences.
        looks: How often was looked before the number of seeds was decided.
    """

    seeds: tuple[Any, ...]
    units: tuple[Any, ...]
    table: Floats
    higher_is_better: bool
    fixed: bool = False
    grouped: bool = False
    left_out: tuple[str, ...] = ()
    looks: Looks | None = None

    @classmethod
    def of(cls, runs: pd.DataFrame, looks: Looks | None = None) -> Scored | None:
        """Of a frame with one score of one row at one N, a line per seed (the folds of a seed joined).

        A run whose score is undefined, and one on other test samples than most, is left out.

        Returns:
            `None` without a run that can be used.
        """
        if runs.empty:
            return None
        said: list[str] = []
        lines = list(zip(runs["run"], _seeds(runs), runs["score"], runs["floor"], strict=True))
        defined = [line for line, value in zip(lines, runs["value"].tolist(), strict=True) if not math.isnan(value)]
        if len(defined) < len(lines):
            said.append(f"{len(lines) - len(defined)} of {len(lines)} runs have no defined score.")
        counted = Counter(tuple(score.indices) for _, _, score, _ in defined)
        most = max(counted, key=lambda indices: (counted[indices], len(indices)), default=())
        same = [line for line in defined if tuple(line[2].indices) == most]
        if len(same) < len(defined):
            said.append(f"{len(defined) - len(same)} of {len(defined)} runs were tested on other samples.")
        once = {seed: (score, floor) for _, seed, score, floor in reversed(same)}
        if len(once) < len(same):
            said.append(f"{len(same) - len(once)} runs are of a seed that another run has; the first counts.")
        seeds = [seed for _, seed, *_ in same if seed in once]
        seeds = list(dict.fromkeys(seeds))
        if not seeds:
            return None
        scores = [once[seed][0] for seed in seeds]
        fixed = all(once[seed][1] for seed in seeds) or all(seed[0] is None for seed in seeds)
        if fixed:
            seeds, scores = seeds[:1], scores[:1]
        groups = scores[0].units if scores[0].units is not None and not scores[0].per_unit else None
        table = _table(scores, groups)
        if table is None:
            said.append("How the value is computed from all samples is not known, so that it has no interval.")
            table = np.array([[score.value] for score in scores])
        units = tuple(dict.fromkeys(groups)) if groups is not None else most
        return cls(
            tuple(seeds), units if table.shape[1] == len(units) else ("all",), table, scores[0].higher_is_better,
            fixed, groups is not None or scores[0].per_unit, tuple(said), looks,
        )  # fmt: skip

    @cached_property
    def crossed(self) -> Crossed:
        """The mean, and how sure it is."""
        return Crossed.of(self.table, self.fixed)

    @property
    def level(self) -> float:
        """The level of a single interval, so that those of all looks together hold at 95 %."""
        return LEVEL if self.looks is None or self.fixed else 1 - (1 - LEVEL) / self.looks.number

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval's width; NaN without an interval."""
        return self.crossed.half_width(self.level)

    @property
    def p_value(self) -> float:
        """Of the mean being 0, two-sided, so that 5 % is the limit however often was looked."""
        p = self.crossed.p_value() * (1 - LEVEL) / (1 - self.level)
        return p if math.isnan(p) else min(1.0, p)

    def __mul__(self, factor: float) -> Scored:
        """Every score times a factor."""
        return replace(self, table=self.table * factor)

    def __sub__(self, other: Scored) -> Scored | None:
        """The differences on the seeds that both have; `None` if they share no seed, or are on other units."""
        return self._with(other, -1.0)

    def __add__(self, other: Scored) -> Scored | None:
        """The sums on the seeds that both have; `None` as for differences."""
        return self._with(other, 1.0)

    def _with(self, other: Scored, sign: float) -> Scored | None:
        if self.units != other.units:
            return None
        known = [one.looks for one in (self, other) if one.looks is not None]
        looks = max(known, key=attrgetter("number"), default=None)
        if self.fixed or other.fixed:
            seeds = other.seeds if self.fixed else self.seeds
            table = self.table + sign * other.table
        elif self.seeds == other.seeds:
            seeds, table = self.seeds, self.table + sign * other.table
        else:
            seeds = tuple(seed for seed in self.seeds if seed in other.seeds)
            if not seeds:
                return None
            mine, others = (one.table[[one.seeds.index(seed) for seed in seeds]] for one in (self, other))
            table = mine + sign * others
        left_out = tuple(dict.fromkeys(self.left_out + other.left_out))
        return replace(self, seeds=seeds, table=table, fixed=self.fixed and other.fixed, left_out=left_out, looks=looks)


def differences(rows: Sequence[Scored | None], reference: Scored | None) -> list[Scored | None]:
    """How much better each row is than another one on the same seeds and samples; positive is better."""
    if reference is None:
        return [None] * len(rows)
    sign = 1.0 if reference.higher_is_better else -1.0
    apart = [None if row is None else row - reference for row in rows]
    return [one if one is None or sign > 0 else one * sign for one in apart]


def adjusted(found: Sequence[Scored | None]) -> list[float]:
    """The p-values of differences, adjusted by Holm for their number; NaN where there is no interval."""
    return holm([math.nan if one is None else one.p_value for one in found])


def _seeds(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """What identifies the seed of each line: the benchmark's, and those of supervision and initial weights."""
    own = [None if pd.isna(seed) else int(seed) for seed in runs["seed"]]
    return [(seed, *(both or ())) for seed, both in zip(own, runs["seeds"], strict=True)]


def _table(scores: Sequence[Score], groups: Sequence[str] | None) -> Floats | None:
    if any(score.pooled is not None for score in scores):
        way = way_of(scores)
        return None if way is None else pooled(np.stack([np.asarray(score.counts) for score in scores]), way, groups)
    return tabulated(np.array([score.values for score in scores], float), groups)
