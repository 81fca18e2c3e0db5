"""The IoU of each class, of methods that give every pixel one of more than two classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lsmbench.reports.cell import Cell
from lsmbench.reports.distributions import shown_columns
from lsmbench.reports.statistics import Crossed, Floats, pooled
from lsmbench.reports.table import Column, Row, Table
from lsmbench.scores import Score

_SAME = 1e-5  # absolute; a run computes its score in single precision
_LEAST = 0.1  # per cent; smaller shares are not told


@dataclass(frozen=True)
class Ious:
    """One method at one N.

    Attributes:
        cell: Its cell in the table of the mean.
        values: The mean over seeds of each class's IoU, NaN for a class that neither occurs nor is predicted; empty
            without a run that kept confusion matrices.
        half_widths: Half of the width of each value's 95 % interval; NaN without one, empty without values.
        published: Each class's IoU in a paper, NaN for a class without one; empty without any.
    """

    cell: Cell
    values: tuple[float, ...]
    half_widths: tuple[float, ...] = ()
    published: tuple[float, ...] = ()


Line = tuple[Row, tuple[Ious, ...]]


@dataclass(frozen=True)
class Classes:
    """The classes' IoU on one test set in one direction of translation.

    Attributes:
        table: The table of the mean IoU or, without one, of another score that is computed from the same pixels.
        columns: The shown values of N, some of the table's.
        names: What the classes are called.
        shares: Each class's share of the true test pixels, 0 to 1.
        rows: Each method with its classes' IoU per column.
        floors: The same for trivial predictors.
        zero: Whether a mean IoU counts classes that neither occur nor are predicted as 0.
    """

    table: Table
    columns: tuple[Column, ...]
    names: tuple[str, ...]
    shares: tuple[float, ...]
    rows: tuple[Line, ...]
    floors: tuple[Line, ...]
    zero: bool

    @property
    def title(self) -> str:
        """What is shown, and in which direction of translation."""
        return "IoU per class" + self.table.title.removeprefix(self.table.key.metric)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Methods, then floors, without those that are not run."""
        return tuple(line for line in self.rows + self.floors if not line[0].skipped)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the shown published values stand."""
        rows = [row for row, line in self.lines if any(one.published for one in line)]
        return tuple(dict.fromkeys(block.source for row in rows for _, _, block in row.papers if block.classes))

    @property
    def absent(self) -> bool:
        """Whether some class is without an IoU in some row."""
        return any(math.isnan(value) for _, line in self.lines for one in line for value in one.values)

    @property
    def parts(self) -> tuple[str, ...]:
        """The shares in words."""
        return tuple(map(_percent, self.shares))


def of(tables: Sequence[Table]) -> list[Classes]:
    """The classes' IoU, once for each test set and direction of translation, however many metrics count the classes.

    Of many N those are taken that the distributions of errors show, too.

    Args:
        tables: A benchmark's tables.

    Returns:
        What to show, in the order of the tables; nothing of scores without classes, or of two classes, where the one
        IoU that matters is a metric.
    """
    found: dict[tuple[str, str, str], Table] = {}
    for table in tables:
        place = (table.key.test_set, table.key.source, table.key.target)
        if _scores(table) and (place not in found or table.key.metric == "miou"):
            found[place] = table
    return [_shown(table) for table in found.values()]


def _scores(table: Table) -> list[Score]:
    """The scores over a seed's samples that count more than two classes."""
    every = [score for row in table.every_row for cell in row.cells for score in cell.runs["score"]]
    return [score for score in every if score.counts is not None and score.counts.shape[1] > 2]


def _shown(table: Table) -> Classes:
    scores = _scores(table)
    most = max(scores, key=lambda score: len(score.indices))  # with folds to come, others may have fewer samples
    assert most.counts is not None
    true = most.counts.sum((0, 2))
    count = len(true)
    named = (score.classes for score in scores if score.classes and len(score.classes) == count)
    names = tuple(next(named, [f"class {number}" for number in range(count)]))
    shown = shown_columns(table)

    def line(row: Row) -> Line:
        cells = [row.cells[i] for i in shown]
        columns = [table.columns[i] for i in shown]
        return row, tuple(
            Ious(cell, *_mean(cell, count), _published(row, column, names))
            for cell, column in zip(cells, columns, strict=True)
        )

    return Classes(
        table=table,
        columns=tuple(table.columns[i] for i in shown),
        names=names,
        shares=tuple((true / max(1, true.sum())).tolist()),
        rows=tuple(map(line, table.rows)),
        floors=tuple(map(line, table.floors)),
        zero=table.key.metric == "miou" and any(map(_counts_zero, scores)),
    )


def _mean(cell: Cell, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each class's mean over the seeds that have an IoU of it, and half of the width of its 95 % interval."""
    scores = [score for score in cell.runs["score"] if len(score.class_ious) == count]
    by_class = [
        [iou for iou in ious if not math.isnan(iou)] for ious in zip(*(s.class_ious for s in scores), strict=True)
    ]
    means = tuple(sum(ious) / len(ious) if ious else math.nan for ious in by_class)
    if cell.scored is None or len({tuple(score.indices) for score in scores}) != 1:
        return means, tuple(math.nan for _ in means)
    counts = np.stack([np.asarray(score.counts) for score in scores])
    groups = None if scores[0].per_unit else scores[0].units
    halves = []
    for number, mean in enumerate(means):
        table = pooled(counts, partial(_iou, number=number), groups)
        fixed = cell.scored.fixed
        halves.append(math.nan if math.isnan(mean) else Crossed.of(table[:1] if fixed else table, fixed).half_width())
    return means, tuple(halves)


def _iou(sums: Floats, number: int) -> Floats:
    """A class's IoU of n summed confusion matrices (n, K, K); NaN where it neither occurs nor is predicted."""
    hit = sums[:, number, number]
    union = sums[:, number].sum(1) + sums[:, :, number].sum(1) - hit
    return np.asarray(np.divide(hit, union, out=np.full(len(sums), math.nan), where=union > 0))


def _published(row: Row, column: Column, names: Sequence[str]) -> tuple[float, ...]:
    """A paper's IoU of each class; empty without any."""
    for unit, word, block in row.papers:
        if unit is column.unit and (printed := block.classes.get(word, {}).get(column.paired)):
            return tuple(printed.get(name, math.nan) for name in names)
    return ()


def _counts_zero(score: Score) -> bool:
    """Whether a mean IoU is that over all classes although some have none."""
    ious = score.class_ious
    mean = float(np.nansum(ious)) / len(ious)
    return any(map(math.isnan, ious)) and mean > 0 and math.isclose(score.value, mean, abs_tol=_SAME)


def _percent(share: float) -> str:
    part = 100 * share
    return f"{part:.1f} %" if part >= _LEAST else f"< {_LEAST} %" if part else "0 %"
