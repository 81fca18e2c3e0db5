"""How errors are distributed over the test samples: the share of samples within a given error, and what sums it up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from lsmbench.reports import figures, markup
from lsmbench.reports.cell import Cell
from lsmbench.reports.table import Column, Row, Table

SHOWN = 4  # more N do not fit a page
PERCENTILE = 98
_POINTS = 301  # of a drawn line, however many samples there are: about one per pixel


@dataclass(frozen=True)
class Distribution:
    """The errors of one method at one N.

    Attributes:
        errors: One per test sample and seed, ascending; never empty.
        undefined: Number of samples and seeds that have no error, because the metric is undefined for them.
        whole: Whether all seeds have finished.
    """

    errors: NDArray[np.float64]
    undefined: int = 0
    whole: bool = True

    @property
    def median(self) -> float:
        """The median error."""
        return float(np.median(self.errors))

    def share(self, error: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of samples with at most this error."""
        return np.searchsorted(self.errors, error, side="right") / len(self.errors)

    def area(self, limit: float) -> float:
        """The area under `share` from 0 to the limit, as a part of the largest possible, 0 to 1."""
        return float(np.maximum(1 - self.errors / limit, 0).mean())


Line = tuple[Row, tuple[Distribution | None, ...]]


@dataclass(frozen=True)
class Distributions:
    """The distributions that a figure shows.

    Attributes:
        table: The table whose methods are shown.
        columns: The shown values of N, some of the table's.
        rows: Each method with a distribution per column; `None` without a finished run.
        floors: The same for trivial predictors.
        limit: The largest error that is drawn.
    """

    table: Table
    columns: tuple[Column, ...]
    rows: tuple[Line, ...]
    floors: tuple[Line, ...]
    limit: float

    @property
    def lines(self) -> tuple[Line, ...]:
        """Methods, then floors, without those that are not run."""
        return tuple(line for line in self.rows + self.floors if not line[0].skipped)

    @property
    def digits(self) -> int:
        """Decimals of the medians."""
        return markup.decimals(one.median for _, line in self.lines for one in line if one)

    @property
    def undefined(self) -> int:
        """Number of samples and seeds that have no error."""
        return sum(one.undefined for _, line in self.lines for one in line if one)


def shown_columns(table: Table) -> list[int]:
    """Numbers of the columns that there is room for: all, or of many N the first, the middle and the last."""
    last = len(table.columns) - 1
    return list(range(last + 1)) if last < SHOWN else [0, math.ceil(last / 2), last]


def of(table: Table) -> Distributions | None:
    """Pools the errors of each method's seeds.

    Errors are shown up to a percentile of all of them, or of a
    floor's if that is smaller: a method that went astray must not press the others together.

    Args:
        table: A table of errors.

    Returns:
        What to show; `None` if the metric is no error, or without anything to draw.
    """
    if table.higher_is_better:
        return None
    shown = shown_columns(table)

    def line(row: Row) -> Line:
        return row, tuple(_pooled(row.cells[i]) for i in shown)

    rows, floors = tuple(map(line, table.rows)), tuple(map(line, table.floors))
    everything = _errors(rows + floors)
    if not everything.size or everything.min() < 0:
        return None
    bars = [everything, *(errors for floor in floors if (errors := _errors([floor])).size)]
    limit = _rounded_up(min(float(np.percentile(errors, PERCENTILE)) for errors in bars))
    if limit <= 0:
        return None
    return Distributions(table, tuple(table.columns[i] for i in shown), rows, floors, limit)


def figure(shown: Distributions) -> Figure:
    """Draws the share of test samples within an error over that error, for each N apart.

    Args:
        shown: What to draw.

    Returns:
        The figure.
    """
    count = len(shown.columns)
    across = count if count < SHOWN else 2
    down = math.ceil(count / across)
    width, height = {1: 6.5, 2: 4.0, 3: 3.1}[across], {1: 3.8, 2: 3.4, 3: 3.2}[across]  # inches of a plot
    looks = figures.styles(shown.table.rows)
    dashed = list(zip(shown.floors, figures.DASHES * len(shown.floors), strict=False))
    handles = [figures.entry(row, looks[row.label]) for row, line in shown.rows if any(line)]
    handles += [figures.floor_entry(row, dash) for (row, line), dash in dashed if any(line)]
    with figures.settings():
        drawing = Figure(figsize=(across * width, down * height), facecolor=figures.PAPER, layout="constrained")
        plots = drawing.subplots(down, across, sharey=True, squeeze=False)
        for i, (axes, column) in enumerate(zip(plots.flat, shown.columns, strict=True)):
            _frame(axes, column, shown, labelled=i % across == 0)
            for (_, line), dash in dashed:
                _draw(axes, line[i], shown.limit, color=figures.FLOOR, linestyle=dash, linewidth=1.3)
            for row, line in shown.rows:
                look = looks[row.label]
                _draw(axes, line[i], shown.limit, color=look.colour, linestyle=figures.stroke(row, look), linewidth=1.7)
                _mark(axes, line[i], shown.limit, look)
        figures.legend(drawing, handles)
    return drawing


def _pooled(cell: Cell) -> Distribution | None:
    values = np.array([value for score in cell.runs["score"] for value in score.values], dtype=np.float64)
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    return Distribution(np.sort(defined), values.size - defined.size, cell.whole)


def _errors(lines: Sequence[Line]) -> NDArray[np.float64]:
    known = [one.errors for _, line in lines for one in line if one]
    return np.concatenate(known) if known else np.empty(0)


def _rounded_up(value: float) -> float:
    """To two digits, for a limit that can be said."""
    if value <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return round(math.ceil(round(value * 10.0**digits, 6)) / 10.0**digits, digits)


def _frame(axes: Axes, column: Column, shown: Distributions, labelled: bool) -> None:
    figures.frame(axes)
    axes.set_xlim(0, shown.limit)
    axes.set_ylim(0, 1.01)
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(np.linspace(0, 1, 5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlabel(f"error e ({shown.table.key.metric})", color=figures.INK)
    axes.set_title(figures.heading(column), fontsize=9, color=figures.INK, loc="left")
    if labelled:
        axes.set_ylabel("test samples with an error ≤ e", color=figures.INK)


def _draw(axes: Axes, one: Distribution | None, limit: float, **look: Any) -> None:
    if one:
        at = np.linspace(0, limit, _POINTS)
        axes.plot(at, one.share(at), zorder=2, **look)


def _mark(axes: Axes, one: Distribution | None, limit: float, look: figures.Style) -> None:
    """Puts the method's marker at its median, hollow while seeds are missing."""
    if one and one.median <= limit:
        axes.plot(
            [one.median], [0.5], color=look.colour, marker=look.marker, linestyle="none", markersize=5.5,
            markeredgewidth=1.3, markerfacecolor=look.colour if one.whole else figures.PAPER, zorder=3,
        )  # fmt: skip
