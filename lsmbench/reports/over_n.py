"""Rows over all N: one number for a whole curve, and how many pairs another row needs for the same score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lsmbench.benchmarks.plan import Manifest
from lsmbench.reports.scored import Scored
from lsmbench.reports.statistics import LEVEL, Floats
from lsmbench.reports.table import Row, Table

_STEPS = 24  # of log N between two values of N, at which "as good as" is asked


class Pairs(NamedTuple):
    """With how many pairs a reference row has another row's score.

    Attributes:
        needed: How many; `-inf` if it is better with its least N already, `inf` if it is worse with its greatest.
        low: The fewest with which it cannot be told from the other row; `-inf` if that is so at its least N.
        high: The most; `inf` if that is so at its greatest N. Both are infinite with one sign if it is surely better
            everywhere, or surely worse.
    """

    needed: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A row over all N.

    Attributes:
        row: The row.
        area: Its mean score over log N, between the least and the greatest number of pairs; `None` if it lacks an N.
        area_half_width: Half of the width of its 95 % interval; `None` without one.
        needed: At each column how many pairs the reference row would need; `None` where that cannot be asked.
    """

    row: Row
    area: float | None
    area_half_width: float | None
    needed: tuple[Pairs | None, ...]


@dataclass(frozen=True)
class OverN:
    """Every row of a table over all N.

    Attributes:
        table: The table.
        reference: The row whose pairs are counted; `None` without one.
        least: The fewest pairs on its curve.
        most: The most.
        lines: A line per method.
    """

    table: Table
    reference: Row | None
    least: float
    most: float
    lines: tuple[Line, ...]

    def said(self, pairs: Pairs | None) -> str:
        """Numbers of pairs in words, e.g. `61 (48 to 90)`; `<` and `>` lead out of the curve."""
        if pairs is None:
            return "–"
        least, most = f"<{self.least:.0f}", f">{self.most:.0f}"
        if math.isinf(pairs.low) and pairs.low == pairs.high:
            return least if pairs.low < 0 else most
        needed, low, high = (f"{n:.0f}" if math.isfinite(n) else least if n < 0 else most for n in pairs)
        return f"{needed} ({low} to {high})"


def of(plan: Manifest, table: Table) -> OverN | None:
    """What the rows of a table amount to over all N.

    Args:
        plan: The benchmark's plan, which may name a reference.
        table: The table.

    Returns:
        `None` if fewer than two values of N leave pairs.
    """
    numbers = [
        math.nan if column.pairs is None else (column.pairs.low + column.pairs.high) / 2 for column in table.columns
    ]
    order = sorted((at for at, pairs in enumerate(numbers) if pairs > 0), key=lambda at: numbers[at])
    order = [at for i, at in enumerate(order) if i == 0 or numbers[at] > numbers[order[i - 1]]]
    if len(order) < 2:
        return None
    logs = np.log([numbers[at] for at in order])
    wanted = plan.reference or "baseline"
    users = [row for row in table.rows if not row.independent and not row.skipped]
    reference = next((row for row in users if row.label == wanted), users[0] if users else None)
    curve = None if reference is None else _curve(reference, order)
    lines = []
    for row in table.rows:
        if row.skipped:
            continue
        own, area = _curve(row, order), None
        if all(scored is not None for scored in own):
            area = _combined(own, _weights(logs))
        needed: list[Pairs | None] = [None] * len(table.columns)
        if curve is not None and row is not reference:
            for at, scored in zip(order, own, strict=True):
                needed[at] = _needed(scored, curve, logs)
        half = math.nan if area is None else area.half_width
        mean = None if area is None else area.crossed.mean
        lines.append(Line(row, mean, None if math.isnan(half) else half, tuple(needed)))
    return OverN(table, reference, numbers[order[0]], numbers[order[-1]], tuple(lines)) if lines else None


def _curve(row: Row, order: Sequence[int]) -> list[Scored | None]:
    return [row.cells[at].scored for at in order]


def _weights(logs: Floats) -> list[float]:
    """The trapezoidal rule's, of a mean over log N."""
    steps = np.diff(logs) / (logs[-1] - logs[0]) / 2
    return [float(weight) for weight in np.append(steps, 0) + np.append(0, steps)]


def _combined(parts: Sequence[Scored | None], weights: Sequence[float]) -> Scored | None:
    """A weighted sum on the seeds that all parts have; parts of weight 0 do not count."""
    total: Scored | None = None
    for part, weight in zip(parts, weights, strict=True):
        if weight == 0:
            continue
        if part is None:
            return None
        weighted = part * weight
        total = weighted if total is None else total + weighted
        if total is None:
            return None
    return total


def _needed(scored: Scored | None, curve: Sequence[Scored | None], logs: Floats) -> Pairs | None:
    """With how many pairs the reference is as good, and with how many it cannot be told apart from that.

    Between two values of N the reference's score is a straight line over log N. The interval holds the numbers of pairs
    at which the 95 % interval of the difference, on the same seeds and samples, holds 0.
    """
    if scored is None or any(part is None for part in curve):
        return None
    asked = np.unique(np.concatenate([np.linspace(a, b, _STEPS + 1) for a, b in pairwise(logs)]))
    ahead, alike = [], []
    for log in asked:
        weights = [0.0] * len(logs)
        after = min(int(np.searchsorted(logs, log, side="right")), len(logs) - 1)
        share = float((log - logs[after - 1]) / (logs[after] - logs[after - 1]))
        weights[after - 1], weights[after] = 1 - share, share
        there = _combined(curve, weights)
        apart = None if there is None else there - scored
        if apart is None or math.isnan(apart.half_width):
            return None
        ahead.append(apart.crossed.mean if apart.higher_is_better else -apart.crossed.mean)
        alike.append(apart.p_value > 1 - LEVEL)
    crossings = [i for i in range(1, len(asked)) if (ahead[i - 1] < 0) != (ahead[i] < 0)]
    needed = math.inf if ahead[-1] < 0 else -math.inf
    if crossings:  # the first: a noisy curve may pass the score several times
        i = crossings[0]
        needed = math.exp(
            np.interp(0, sorted(ahead[i - 1 : i + 1]), asked[i - 1 : i + 1][np.argsort(ahead[i - 1 : i + 1])])
        )
    known = [i for i, same in enumerate(alike) if same]
    if not known:  # surely worse everywhere, or surely better
        return Pairs(needed, needed, needed)
    low = -math.inf if known[0] == 0 else math.exp(asked[known[0]])
    high = math.inf if known[-1] == len(asked) - 1 else math.exp(asked[known[-1]])
    return Pairs(needed, low, high)
