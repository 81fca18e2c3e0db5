"""Which epoch the runs of each row selected, and how many they trained for (LSM, App. C and Fig. 12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lsmbench.reports import figures
from lsmbench.reports.frame import Facts
from lsmbench.reports.table import Column, Row, Table


@dataclass(frozen=True)
class Epochs:
    """A row's runs at one N.

    Attributes:
        row: The row.
        selected: Of each run the selected epoch of its last stage, from 1, counted from the start of the first stage.
        trained: Of each run the number of epochs of all stages.
    """

    row: Row
    selected: tuple[int, ...]
    trained: tuple[int, ...]


def of(table: Table) -> tuple[Column, list[Epochs]] | None:
    """The epochs of every trained row at the greatest N.

    Args:
        table: The primary table.

    Returns:
        The column and the rows; `None` if no run says which epoch it selected.
    """
    at = max(range(len(table.columns)), key=lambda i: table.columns[i].paired)
    found = []
    for row in table.rows:
        known = [_of_run(facts) for facts in row.cells[at].each["facts"]] if not row.of else []
        runs = [one for one in known if one is not None]
        if runs:
            found.append(Epochs(row, tuple(one for one, _ in runs), tuple(all_of for _, all_of in runs)))
    return (table.columns[at], found) if found else None


def _of_run(facts: Facts) -> tuple[int, int] | None:
    stages = facts.selection.stages
    if not stages or any(stage.epoch is None or stage.epochs is None for stage in stages):
        return None
    trained = sum(stage.epochs or 0 for stage in stages)
    return trained - (stages[-1].epochs or 0) + (stages[-1].epoch or 0) + 1, trained


def figure(table: Table, column: Column, found: Sequence[Epochs]) -> Figure:
    """Draws a line per row: filled marks where an epoch was selected, hollow ones where training ended.

    Args:
        table: The primary table, for the rows' looks.
        column: The N.
        found: The rows.
    """
    looks = figures.styles(table.rows)
    with figures.settings():
        made = Figure(figsize=(6.6, 0.7 + 0.26 * len(found)), facecolor=figures.PAPER, layout="constrained")
        axes = made.add_subplot()
        figures.frame(axes)
        for place, one in enumerate(found):
            look = looks[one.row.label]
            colour, marker = look.colour, look.marker
            axes.hlines(place, 0, max(one.trained), color=figures.GRID, linewidth=0.8)
            for values, face in ((one.trained, figures.PAPER), (one.selected, colour)):
                axes.plot(
                    values, [place] * len(values), linestyle="none", marker=marker, color=colour, markerfacecolor=face,
                    markersize=5.5, markeredgewidth=1.2,
                )  # fmt: skip
        axes.set_yticks(range(len(found)), [one.row.label for one in found])
        axes.tick_params(axis="y", colors=figures.INK)
        axes.grid(visible=False)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"epoch, at N = {figures.heading(column)}", color=figures.INK)
        marks = ((figures.SOFT, "selected"), (figures.PAPER, "end of training"))
        figures.legend(
            made,
            [
                Line2D([], [], linestyle="none", marker="o", color=figures.SOFT, markerfacecolor=face, label=said)
                for face, said in marks
            ],
        )
    return made
