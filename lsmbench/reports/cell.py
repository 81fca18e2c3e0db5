"""A cell of a table: the runs of one method at one N, their mean and how sure it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from lsmbench.benchmarks.plan import Looks, Published
from lsmbench.reports import folds
from lsmbench.reports.frame import FAILED
from lsmbench.reports.scored import Scored
from lsmbench.runs.results import Failure


@dataclass(eq=False)
class Cell:
    """One method at one N: a group of the frame.

    Attributes:
        paired: N.
        runs: A row per seed with a score, in the order of the benchmark: a finished run, or all finished folds joined.
        unfinished: Planned runs without a result, one row each.
        each: A row per finished run that holds a score.
        unscored: Finished runs that hold no score at all, one row each.
        independent: Whether the runs use no pairs, so that the same ones stand at every N.
        published: The value that a paper reports.
        published_by: Where this value stands.
        published_any_n: Whether the paper's value is not this N's own but holds for every N.
        rank: 1 for the best mean of the column, equal means share a rank; `None` for floors and without a mean.
        best: Whether the row is one of the column's best: of several, not certainly worse than the one of the best mean
            (by Holm), and above the floor.
        at_floor: Whether the row is not certainly above the best floor of its column; without an interval, whether its
            mean is not.
        behind: How much better the row is than the one of the best mean; `None` for that row, for floors, and without
            common seeds.
        equal: Whether `behind` lies within the margin in which rows are practically equal, interval and all.
        looks: How the number of seeds was decided; `None` if it was given.
        ranks: Of a board: the least and the greatest rank that the row may have; `None` without a mean.
    """

    paired: float
    runs: pd.DataFrame
    unfinished: pd.DataFrame
    each: pd.DataFrame
    unscored: pd.DataFrame
    independent: bool = False
    published: float | None = None
    published_by: Published | None = None
    published_any_n: bool = False
    rank: int | None = None
    best: bool = False
    at_floor: bool = False
    behind: Scored | None = None
    equal: bool = False
    looks: Looks | None = None
    ranks: tuple[int, int] | None = None

    @cached_property
    def scored(self) -> Scored | None:
        """The scores, seeds × samples; `None` without a run that has a defined score."""
        return Scored.of(self.runs, self.looks)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why runs have no part in the interval, in sentences."""
        return () if self.scored is None else self.scored.left_out

    @cached_property
    def half_width(self) -> float | None:
        """Half of the width of the mean's 95 % interval; `None` with a single seed or sample."""
        return None if self.scored is None else _number(self.scored.half_width)

    @cached_property
    def _progress(self) -> tuple[int, int, int]:
        return folds.progress(self.each, self.unfinished)

    @property
    def drawn(self) -> pd.DataFrame:
        """A row per finished run that may have kept pictures of translations."""
        return self.each if len(self.each) else self.unscored

    @property
    def finished(self) -> int:
        """Number of seeds with a score."""
        return len(self.runs)

    @property
    def expected(self) -> int:
        """Number of seeds that have, or may yet have, such a score."""
        return len(self.runs) + self._progress[2]

    @property
    def folds_finished(self) -> int:
        """Number of runs of folds, over all seeds, that hold a score."""
        return self._progress[0]

    @property
    def folds_expected(self) -> int:
        """Number of runs of folds, over all seeds, that hold, or may yet hold, such a score; 0 without folds."""
        return self._progress[1]

    @property
    def planned(self) -> int:
        """Number of runs that hold, or may yet hold, such a score."""
        return len(self.each) + len(self.unfinished)

    @property
    def whole(self) -> bool:
        """Whether no run is missing."""
        return self.finished >= self.expected and self.folds_finished >= self.folds_expected

    @property
    def failures(self) -> list[Failure]:
        """Records of the runs that ended without a result."""
        if not len(self.unfinished):
            return []
        return list(self.unfinished.loc[self.unfinished["state"] == FAILED, "record"])

    @cached_property
    def _values(self) -> list[float]:
        return _known(self.runs["value"])

    @cached_property
    def mean(self) -> float | None:
        """Mean over seeds of the runs' scores; `None` without any score."""
        return _number(_mean(self._values))

    @cached_property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (ddof 1); `None` with fewer than two."""
        return statistics.stdev(self._values) if len(self._values) > 1 else None

    @cached_property
    def median(self) -> float | None:
        """Median over seeds of the runs' scores."""
        return statistics.median(self._values) if self._values else None

    @property
    def place(self) -> str:
        """The ranks that the row may have, in words; empty without any."""
        if self.ranks is None:
            return ""
        low, high = self.ranks
        return str(low) if low == high else f"{low}–{high}"

    @cached_property
    def updates(self) -> float | None:
        """Mean number of updates of a run."""
        return _number(_mean(_known(self.runs["updates"])))

    @cached_property
    def memory_mb(self) -> float | None:
        """Mean of the most memory that a run held, in MB; `None` if runs do not say."""
        known = [cost for record in self.runs["record"] if (cost := record.cost.get("peak_memory_mb")) is not None]
        return sum(known) / len(known) if known else None

    @cached_property
    def wall_s(self) -> float | None:
        """Mean wall time of a run."""
        return _number(_mean(_known(self.runs["wall_s"])))


def _known(values: pd.Series) -> list[float]:
    return [value for value in values.to_numpy(float).tolist() if not math.isnan(value)]


def _mean(known: Sequence[float]) -> float:
    return sum(known) / len(known) if known else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
