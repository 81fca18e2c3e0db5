"""Which rows of a column are best, which are above the floor, and what cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import pandas as pd

from lsmbench.reports.cell import Cell
from lsmbench.reports.scored import adjusted, differences
from lsmbench.reports.statistics import LEVEL

_TIE = 1e-9  # relative; smaller differences are those of rounding


class Verdict(NamedTuple):
    """What can be said of the methods at one N.

    Attributes:
        leader: The row of the best mean, among those with an interval; empty without rivals.
        best: The rows that are not certainly worse than it and are certainly above the floor, the leader first.
        equal: Rows that are practically equal to the leader.
        rivals: Number of methods with an interval.
        unsure: Rows that have a mean but no interval.
        low: Whether no row is certainly above the floor.
        seeds: Which share of the uncertainty of the differences to the best mean more seeds would lessen, the median.
    """

    leader: str = ""
    best: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()
    rivals: int = 0
    unsure: tuple[str, ...] = ()
    low: bool = False
    seeds: float | None = None


def compared(rows: Sequence[tuple[str, Cell]], bar: Cell | None, higher: bool, margin: float | None) -> Verdict:
    """Compares the cells of a column's methods with each other and with the best floor."""
    known = [(label, cell) for label, cell in rows if cell.mean is not None]
    if not known:
        return Verdict()
    cells = [cell for _, cell in known]
    means = [cell.mean for cell in cells if cell.mean is not None]
    above = differences([cell.scored for cell in cells], bar.scored if bar else None)
    for cell, mean, apart, p in zip(cells, means, above, adjusted(above), strict=True):
        cell.rank = 1 + sum(_better(other, mean, higher) for other in means)
        if bar is not None and bar.mean is not None:
            sure = apart is not None and not math.isnan(p)
            cell.at_floor = not _better(mean, bar.mean, higher) or (sure and p > 1 - LEVEL)
    rivals = [(label, cell) for label, cell in known if cell.half_width is not None]
    unsure = tuple(label for label, cell in known if cell.half_width is None)
    if len(rivals) < 2:  # alone in its column, a method has beaten nobody
        return Verdict(rivals=len(rivals), unsure=unsure, low=all(cell.at_floor for cell in cells))
    first, leader = min(rivals, key=lambda one: one[1].rank or 0)
    others = [(label, cell) for label, cell in rivals if cell is not leader]
    behind = differences([cell.scored for _, cell in others], leader.scored)
    p_values = adjusted(behind)
    leader.best = not leader.at_floor
    for (_, cell), apart, p in zip(others, behind, p_values, strict=True):
        cell.behind = apart
        cell.best = (p > 1 - LEVEL or cell.rank == leader.rank) and not cell.at_floor
        if apart is not None and margin is not None:
            cell.equal = abs(apart.crossed.mean) + apart.half_width <= margin
    shares = pd.Series([apart.crossed.share_of_seeds for apart in behind if apart is not None], dtype=float)
    best = tuple(label for label, cell in others if cell.best)
    unsure += tuple(label for (label, _), p in zip(others, p_values, strict=True) if math.isnan(p))
    return Verdict(
        leader=first,
        best=((first,) if leader.best else ()) + best,
        equal=tuple(label for label, cell in others if cell.equal),
        rivals=len(rivals),
        unsure=unsure,
        low=all(cell.at_floor for _, cell in rivals),
        seeds=None if shares.isna().all() else float(shares.median()),
    )


def ranked(cells: Sequence[Cell]) -> list[tuple[int, int] | None]:
    """The ranks that each method of a column may have.

    A row is certainly worse than those that beat it, by Holm over all pairs of rows, and certainly better than those
    that it beats: its ranks lie between. A row without an interval may have any.

    Args:
        cells: Of methods, at one N.

    Returns:
        The least and the greatest rank; `None` for a cell without a mean.
    """
    known = [cell for cell in cells if cell.mean is not None]
    pairs = list(combinations(range(len(known)), 2))
    apart = [differences([known[i].scored], known[j].scored)[0] for i, j in pairs]
    ahead, behind = [0] * len(known), [0] * len(known)
    for (i, j), one, p in zip(pairs, apart, adjusted(apart), strict=True):
        if one is not None and p <= 1 - LEVEL:
            better, worse = (i, j) if one.crossed.mean > 0 else (j, i)
            behind[better] += 1
            ahead[worse] += 1
    found = {id(cell): (1 + ahead[i], len(known) - behind[i]) for i, cell in enumerate(known)}
    return [found.get(id(cell)) for cell in cells]


def _better(one: float, other: float, higher: bool) -> bool:
    return (one > other if higher else one < other) and not math.isclose(one, other, rel_tol=_TIE)
