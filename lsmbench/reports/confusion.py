"""Which class is taken for which: confusion matrices of methods that are scored by the class of whole samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from lsmbench.lettering import lettered
from lsmbench.reports import figures, markup
from lsmbench.reports.distributions import shown_columns
from lsmbench.reports.pictures import Shown
from lsmbench.reports.table import Column, Row, Table

_ACROSS = 4
_WRITTEN = 12  # classes; of more, the cells' shares are not legible
_TICKS = 24  # classes whose names have room
_LETTERS, _SMALL = 12, 6.5  # of a class's name: the most, and their size in points
_SIDE, _HEAD, _FOOT, _GAP = 2.35, 0.47, 0.3, 0.2  # inches of a matrix, above, below and between
_COLOURS = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9ecae1", "#2171b5", "#08306b"])


@dataclass(frozen=True)
class Matrix:
    """One method's confusion matrix.

    Attributes:
        row: The method.
        counts: Samples by true class (row) and said class (column), (K, K), summed over seeds.
        seeds: Over how many.
    """

    row: Row
    counts: NDArray[np.int64]
    seeds: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """The counts as shares of each true class, 0 to 1; NaN for a class without samples."""
        totals = self.counts.sum(1, keepdims=True)
        return np.where(totals > 0, self.counts / np.maximum(totals, 1), np.nan)


@dataclass(frozen=True)
class Confusions:
    """The matrices of one table: a picture for each shown N.

    Attributes:
        table: The accuracies' table.
        pictures: In the order of the table's columns.
    """

    table: Table
    pictures: tuple[Shown, ...]

    @property
    def title(self) -> str:
        """What is shown, and in which direction of translation."""
        return "Confusion matrices" + self.table.title.removeprefix(self.table.key.metric)


def of(tables: Sequence[Table]) -> list[Confusions]:
    """Draws the confusion matrices of the tables whose runs kept some.

    Of many N those are taken that the distributions of errors show, too.

    Args:
        tables: A benchmark's tables.

    Returns:
        What to show, in the order of the tables.
    """
    found = []
    for table in tables:
        pictures = [_picture(table, i) for i in shown_columns(table)]
        if drawn := tuple(picture for picture in pictures if picture):
            found.append(Confusions(table, drawn))
    return found


def figure(matrices: Sequence[Matrix], names: Sequence[str], table: Table) -> Figure:
    """Draws matrices side by side: true classes down, said ones across, shares of the true class in per cent.

    Args:
        matrices: At least one, all of the same classes.
        names: What the classes are called.
        table: The accuracies' table.

    Returns:
        The figure.
    """
    across = _across(len(matrices))
    down = math.ceil(len(matrices) / across)
    names = [figures.cut(name, _LETTERS) for name in names]
    longest = max(figures.inches(*lettered(name)) for name in names)
    left, foot = 0.3 + longest, _FOOT + (longest if _upright(names) else 0.08)
    width, height = across * (left + _SIDE) + _GAP, down * (_HEAD + _SIDE + foot)
    looks = figures.styles(table.rows)
    with figures.settings():
        drawing = Figure(figsize=(width, height), facecolor=figures.PAPER)
        for i, one in enumerate(matrices):
            x, y = (i % across) * (left + _SIDE) + left, (i // across) * (_HEAD + _SIDE + foot) + _HEAD + _SIDE
            axes = drawing.add_axes((x / width, 1 - y / height, _SIDE / width, _SIDE / height))
            look = looks.get(one.row.label)
            _draw(axes, one, names, look.colour if look else figures.FLOOR, first=i % across == 0)
    return drawing


def _picture(table: Table, i: int) -> Shown | None:
    """The matrices of all rows at one N; `None` without any."""
    column, matrices = table.columns[i], list[Matrix]()
    names: list[str] = []
    for row in table.every_row:
        scores = [score for score in row.cells[i].runs["score"] if score.confusion is not None]
        each = [np.array(score.confusion, np.int64) for score in scores]
        if not each or any(one.shape != (matrices[0].counts if matrices else each[0]).shape for one in each):
            continue
        matrices.append(Matrix(row, np.sum(each, axis=0), len(each)))
        names = names or next((score.classes for score in scores if score.classes), [])
    if not matrices:
        return None
    count = len(matrices[0].counts)
    if len(names) != count:
        names = [str(number) for number in range(count)]
    data = figures.png(figure(matrices, names, table), dpi=170)
    across = _across(len(matrices))
    return Shown(_name(table, column), column.amount, "", data, 200 * across, broad=False)


def _name(table: Table, column: Column) -> str:
    """A file's name; of the primary table it tells the N alone."""
    key = "" if table.primary else "-" + markup.slug(f"{table.key.test_set} {table.key.source} {table.key.target}")
    return f"confusion-{column.unit.word(column.paired)}{key}.png"


def _across(count: int) -> int:
    """How many matrices stand side by side: lines are about equally long."""
    return math.ceil(count / math.ceil(count / _ACROSS))


def _draw(axes: Axes, one: Matrix, names: Sequence[str], colour: str, first: bool) -> None:
    shares, count = one.shares, len(names)
    axes.imshow(np.nan_to_num(shares), cmap=_COLOURS, vmin=0, vmax=1, interpolation="nearest")
    axes.spines[:].set(color=figures.GRID, linewidth=0.8)
    axes.tick_params(length=0, pad=2, colors=figures.INK)
    shown = range(count) if count <= _TICKS else ()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(shown)
        axis.set_ticklabels([lettered(names[k])[0] for k in shown])
        for k, label in zip(shown, axis.get_ticklabels(), strict=True):
            label.set_fontproperties(FontProperties(fname=lettered(names[k])[1], size=_SMALL))
    axes.tick_params(axis="x", rotation=90 if _upright(names) else 0)
    axes.set_xlabel("said class", fontsize=7, color=figures.SOFT, labelpad=2)
    if first:
        axes.set_ylabel("true class", fontsize=7, color=figures.SOFT, labelpad=3)
    total = int(one.counts.sum())
    right = one.counts.diagonal().sum() / max(1, total)
    seeds = markup.plural(one.seeds, "seed")
    called = figures.cut(one.row.label, 34)
    axes.text(0, 1.105, called, transform=axes.transAxes, fontsize=8.5, fontweight="bold", color=figures.INK)
    told = f"{100 * right:.1f} % of {total:,} right" + ("" if one.row.floor else f", {seeds}")
    axes.text(0, 1.035, told, transform=axes.transAxes, fontsize=7, color=figures.SOFT)
    axes.plot([0, 1], [1.012, 1.012], transform=axes.transAxes, color=colour, linewidth=2, clip_on=False)
    if count <= _WRITTEN:
        for (true, said), share in np.ndenumerate(shares):
            if share >= 0.005:
                ink = figures.PAPER if share > 0.5 else figures.INK
                axes.text(said, true, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=ink)


def _upright(names: Sequence[str]) -> bool:
    """Whether names below a matrix are turned, because they would touch side by side."""
    return max(map(len, names)) * len(names) > 34
