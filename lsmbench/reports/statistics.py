"""How sure a mean over seeds and test samples is: intervals, p-values, and what more seeds or samples would bring.

The runs of a row are crossed with the test samples: S seeds, each scored on the same I samples. There could be more of
both, so both make a mean uncertain:

    score = mean + seed + sample + rest,    Var(mean) = σ²_seed / S + σ²_sample / I + σ²_rest / (S·I)

What is asked of scores is linear in such tables: a mean, the difference of two methods on the same seeds and samples, a
value between two N, the area under a curve over N. `Crossed` answers for any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

LEVEL = 0.95
_LEAST_P = 1e-130  # smaller p-values say no more

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def tabulated(scores: Floats, groups: Sequence[Hashable] | None = None) -> Floats:
    """Scores as a table of seeds and units of resampling, whose row means are the runs' values.

    A run's value is the mean over its samples with a defined score; a sample without one neither raises nor lowers it.
    Samples of one group, such as a patient, are drawn together: what they bring is summed.

    Args:
        scores: (S, I), NaN where undefined.
        groups: What each of the I samples belongs to; `None`: each stands alone.

    Returns:
        (S, G), G being I without groups. Rows without any defined score are NaN.
    """
    known = ~np.isnan(scores)
    count = known.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, scores, 0.0).sum(1, keepdims=True) / count
        share = np.where(known, scores - means, 0.0) / count
    share = _summed(share, groups)
    return np.asarray(means + share * share.shape[1])


def pooled(counts: Counts, value: Callable[[Floats], Floats], groups: Sequence[Hashable] | None = None) -> Floats:
    """As `tabulated`, for a value of the samples' summed counts, such as a pooled IoU.

    A unit's entry is the jackknife's pseudo-value, G·T − (G − 1)·T₋ᵢ (Tukey 1958), moved so that a row's mean is T. Few
    seeds are too few to be drawn from by a bootstrap (docs/statistics.md).

    Args:
        counts: (S, I, …).
        value: Values (n,) of n sums (n, …).
        groups: As `tabulated`.

    Returns:
        (S, G).
    """
    counts = _summed(counts, groups)
    size, rows = counts.shape[1], []
    for row in counts:
        total = row.sum(0)
        whole, without = value(total[None].astype(float))[0], value((total - row).astype(float))
        entries = size * whole - (size - 1) * without
        rows.append(entries - entries.mean() + whole)
    return np.stack(rows)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several comparisons, so that one wrong one among all has the level's probability (Holm 1979).

    Args:
        p_values: NaN where there is no comparison; it counts as none and stays NaN.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    least = 0.0
    for rank, (p, i) in enumerate(order):
        adjusted[i] = least = max(least, min(1.0, (len(order) - rank) * p))
    return adjusted


@dataclass(frozen=True)
class Crossed:
    """What a table of S seeds and I samples tells of its mean.

    Attributes:
        mean: Over seeds and samples.
        seeds: S.
        samples: I.
        ms_seeds: Mean square between seeds, with S − 1 degrees of freedom.
        ms_samples: Mean square between samples, with I − 1.
        ms_rest: Mean square of the rest, with (S − 1)(I − 1).
        fixed: Whether no seed plays a part, as in a trivial predictor.
    """

    mean: float
    seeds: int
    samples: int
    ms_seeds: float
    ms_samples: float
    ms_rest: float
    fixed: bool = False

    @classmethod
    def of(cls, table: Floats, fixed: bool = False) -> Crossed:
        """Of a table (S, I), or (1, I) if it is fixed."""
        seeds, samples = table.shape
        rows, columns, mean = table.mean(1), table.mean(0), float(table.mean())
        rest = table - rows[:, None] - columns + mean

        def square(apart: Floats, freedom: int) -> float:
            return float((apart**2).sum() / freedom) if freedom else math.nan

        between = square(columns - mean, samples - 1)
        if fixed:
            return cls(mean, seeds, samples, 0.0, between, 0.0, True)
        among = square(rows - mean, seeds - 1)
        return cls(mean, seeds, samples, samples * among, seeds * between, square(rest, (seeds - 1) * (samples - 1)))

    def variances(self, seeds: int | None = None, samples: int | None = None) -> tuple[float, float]:
        """The mean's variance with other numbers of seeds and samples: what more seeds lessen, and what they do not.

        The first is σ²_seed / S + σ²_rest / (S·I), the second σ²_sample / I. An estimate below 0 counts as 0.
        """
        seeds, samples = seeds or self.seeds, samples or self.samples
        if self.fixed:
            return 0.0, self.ms_samples / samples
        between = max(self.ms_seeds - self.ms_rest, 0.0) / self.samples
        rest = min(self.ms_rest, self.ms_seeds)
        of_samples = max(self.ms_samples - self.ms_rest, 0.0) / self.seeds
        return (between + rest / samples) / seeds, of_samples / samples

    def half_width(self, level: float = LEVEL, seeds: int | None = None, samples: int | None = None) -> float:
        """Half the interval's width; NaN with one seed or one sample.

        The variance is a sum of two parts with S − 1 and I − 1 degrees of freedom. The quantile is the mean of both t
        quantiles, weighted by the parts (Cochran and Cox 1957, §4.14). Satterthwaite's degrees of freedom would be an
        estimate too, which two seeds do not allow: docs/statistics.md has simulations of both.
        """
        seeds, samples = seeds or self.seeds, samples or self.samples
        return self._half_width(1 - level, *self.variances(seeds, samples), seeds, samples)

    def _half_width(self, alpha: float, of_seeds: float, of_samples: float, seeds: int, samples: int) -> float:
        whole = of_seeds + of_samples
        if not whole > 0:
            return whole  # 0 or NaN
        quantile = 0.0
        for part, count in ((of_seeds, seeds), (of_samples, samples)):
            if part > 0:
                quantile -= part / whole * float(special.stdtrit(count - 1, alpha / 2))
        return quantile * math.sqrt(whole)

    def p_value(self, value: float = 0.0) -> float:
        """Two-sided: 1 − the level at which the interval just reaches a value; NaN without an interval."""
        apart, parts = abs(self.mean - value), self.variances()
        whole = sum(parts)
        if math.isnan(whole):
            return math.nan
        if whole <= (1e-12 * self.mean) ** 2:  # rounding
            return float(math.isclose(self.mean, value, rel_tol=1e-9, abs_tol=1e-15))
        if apart <= 1e-12 * math.sqrt(whole):
            return 1.0
        # It lies between those that the t distributions of both parts alone would give.
        freedoms = [count - 1 for part, count in zip(parts, (self.seeds, self.samples), strict=True) if part > 0]
        alone = [max(2 * float(special.stdtr(freedom, -apart / math.sqrt(whole))), _LEAST_P) for freedom in freedoms]
        least, most = math.log(min(alone)), math.log(max(alone))

        def beyond(log_alpha: float) -> float:
            return self._half_width(math.exp(log_alpha), *parts, self.seeds, self.samples) - apart

        if most - least < 1e-9 or beyond(least) <= 0:
            return math.exp(least)
        if beyond(most) >= 0:
            return math.exp(most)
        from scipy.optimize import brentq  # type: ignore[import-untyped]  # takes .7 s to import

        return math.exp(brentq(beyond, least, most, xtol=1e-10))

    @property
    def share_of_seeds(self) -> float:
        """Which share of the variance more seeds would lessen, 0 to 1; NaN without an interval."""
        of_seeds, of_samples = self.variances()
        return of_seeds / (of_seeds + of_samples) if of_seeds + of_samples > 0 else math.nan

    def seeds_to(self, half_width: float, most: int = 200) -> int | None:
        """The least number of seeds with an interval that narrow; `None` if no number up to `most` has it."""
        return next((n for n in range(2, most + 1) if self.half_width(seeds=n) <= half_width), None)


def _summed(values: NDArray[Any], groups: Sequence[Hashable] | None) -> NDArray[Any]:
    """Sums over the samples of each group, in order of their first samples: (S, I, …) to (S, G, …)."""
    if groups is None:
        return values
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    summed = np.zeros((len(place), len(values), *values.shape[2:]), values.dtype)
    np.add.at(summed, [place[group] for group in groups], values.swapaxes(0, 1))
    return summed.swapaxes(0, 1)
