"""How rows were tuned: every trial of the sweeps that the benchmark uses, and what they found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED, Best, Use
from lsmbench.reports import figures, markup
from lsmbench.reports.table import Row, Table

_WORSE = 75  # percentile of the finished trials' scores: what a figure shows in any case
_REACH = 0.6  # of what is shown in any case: how far beyond it a score is still worth the room
_BAND = 0.2  # opacity


def outcomes(table: Table) -> list[tuple[Row, list[Use]]]:
    """The tuned rows with their outcomes; of rows that share an outcome, the first has it."""
    seen: list[Best] = []
    found = []
    for row in table.rows:
        uses = [use for use in row.tuned or () if use.best not in seen]
        seen += [use.best for use in uses]
        if uses:
            found.append((row, uses))
    return found


def figure(table: Table) -> Figure:
    """Draws every trial's validation score over its number, a row per tuned row, a column per N.

    Args:
        table: A table with at least one tuned row.

    Returns:
        The figure.
    """
    rows = outcomes(table)
    uses = [use for _, found in rows for use in found]
    amounts = sorted({use.best.amount for use in uses if use.best.amount is not None}, reverse=True) or [0.0]
    last = max(len(use.best.trials) for use in uses) - 1
    looks = figures.styles(table.rows)
    width = {1: 6.4, 2: 3.8}.get(len(amounts), 3.1)  # inches of a plot
    with figures.settings():
        size = (width * len(amounts), 2.25 * len(rows))
        drawing = Figure(figsize=size, facecolor=figures.PAPER, layout="constrained")
        grid = drawing.add_gridspec(len(rows), len(amounts))
        for r, (row, found) in enumerate(rows):
            for number, use in enumerate(found):
                # What holds for any N stands in the first column.
                c = 0 if use.best.amount is None else amounts.index(use.best.amount)
                axes = drawing.add_subplot(grid[r, c])
                figures.frame(axes)
                where = use.best.said if use.best.amount is None else f"N = {use.best.said}"
                axes.set_title(f"{row.label}, {where}", fontsize=9, color=figures.INK, loc="left")
                axes.set_xlim(-0.8, last + 0.8)
                axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
                axes.set_xlabel("trial", color=figures.INK, fontsize=8.5, labelpad=1)
                if number == 0:
                    axes.set_ylabel(f"validation {use.best.metric}", color=figures.INK, fontsize=8.5)
                _draw(axes, use.best, looks[row.label])
        figures.legend(drawing, _legend([use.best for use in uses]))
    return drawing


def limits(best: Best) -> tuple[float, float]:
    """Least and greatest score to draw.

    Shown in any case are the best trial, the default unless it diverged, the better three quarters of the finished
    trials and the noise around the best; trials gone astray and the floor only if they are not far off.

    Args:
        best: The outcome.

    Returns:
        The limits of the axis.
    """
    sign = -1 if best.higher_is_better else 1  # as errors, whatever the direction
    everything = [sign * v for v in (best.floor, *(t.validation for t in best.trials))]
    finished = [sign * trial.validation for trial in best.trials if trial.state == FINISHED] or everything
    default = [sign * trial.validation for trial in best.trials[:1] if trial.state == FINISHED]
    noise = best.noise() or 0.0
    good = min(finished) - noise
    bad = max(float(np.percentile(finished, _WORSE)), *default, good + 2 * noise)
    spread = bad - good or abs(good) / 10 or 1.0
    near = [v for v in everything if good - _REACH * spread <= v <= bad + _REACH * spread]
    margin = 0.1 * spread
    low, high = sorted((sign * (min(good, *near) - margin), sign * (max(bad, *near) + margin)))
    return low, high


def _draw(axes: Axes, best: Best, look: figures.Style) -> None:
    low, high = limits(best)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    digits = markup.decimals((best.candidate(0).mean, best.candidate(best.trial).mean))
    default = best.trials[0].validation
    axes.axhline(best.floor, color=figures.FLOOR, linestyle=":", linewidth=1.3, zorder=2)
    axes.axhline(default, color=figures.SOFT, linestyle=(0, (5, 3)), linewidth=1.1, zorder=2)
    outside: dict[tuple[float, bool], list[str]] = {}
    for name, value in (("floor", best.floor), ("default", default)):
        if not low <= value <= high:
            outside.setdefault((value, value > high), []).append(name)
    for (value, above), names in outside.items():
        # Beside the axis's name, where no trial can lie below it.
        axes.annotate(
            f"{' and '.join(names)} {value:.{digits}f} {'↑' if above else '↓'}", (1, 0), (0, -17),
            xycoords="axes fraction", textcoords="offset points", ha="right", va="top", fontsize=7.5,
            color=figures.SOFT,
        )  # fmt: skip
    # The last trial's step is as wide as the others.
    steps = np.array([*(trial.number for trial in best.trials), best.trials[-1].number + 0.8])
    so_far = np.array(best.best_so_far())
    so_far = np.append(so_far, so_far[-1])
    noise = best.noise()
    if noise is not None:
        axes.fill_between(
            steps, so_far - noise, so_far + noise, step="post", color=look.colour, alpha=_BAND, linewidth=0
        )
    axes.plot(steps, so_far, drawstyle="steps-post", color=look.colour, linewidth=1.7, zorder=3)
    for trial in best.trials:
        shown = min(max(trial.validation, low), high)
        marker = "o" if shown == trial.validation else "^" if trial.validation > high else "v"
        face = figures.PAPER if trial.state == PRUNED else look.colour
        style: dict[str, Any] = {"marker": marker, "color": look.colour, "markerfacecolor": face, "markersize": 3.6}
        if trial.state == DIVERGED:
            style = {"marker": "x", "color": figures.INK, "markersize": 4.6}
        axes.plot([trial.number], [shown], linestyle="none", markeredgewidth=1.0, clip_on=False, zorder=4, **style)
        if trial.number == best.trial:
            axes.plot([trial.number], [shown], clip_on=False, zorder=5, **_RING)


_RING: dict[str, Any] = {
    "marker": "o", "markersize": 9, "markerfacecolor": "none", "color": figures.INK, "markeredgewidth": 1.3,
    "linestyle": "none",
}  # fmt: skip


def _legend(bests: Sequence[Best]) -> list[Line2D]:
    """Entries for what occurs, in no row's colour."""
    states = {trial.state for best in bests for trial in best.trials}
    beyond = any(
        trial.validation < low or trial.validation > high
        for best, (low, high) in ((best, limits(best)) for best in bests)
        for trial in best.trials
        if trial.state != DIVERGED
    )
    point: dict[str, Any] = {"color": figures.SOFT, "linestyle": "none", "markersize": 4}
    entries = [Line2D([], [], color=figures.SOFT, linewidth=1.7, label="best so far")]
    if any(best.noise() is not None for best in bests):
        entries.append(Line2D([], [], color=figures.SOFT, alpha=_BAND, linewidth=7, label="± sd over seeds"))
    entries += [
        Line2D([], [], color=figures.SOFT, linestyle=(0, (5, 3)), linewidth=1.1, label="default"),
        Line2D([], [], color=figures.FLOOR, linestyle=":", linewidth=1.3, label="floor"),
        Line2D([], [], marker="o", label="trial", **point),
        Line2D([], [], label="used", **_RING),
    ]
    if PRUNED in states:
        entries.append(Line2D([], [], marker="o", markerfacecolor=figures.PAPER, label="pruned", **point))
    if DIVERGED in states:
        entries.append(Line2D([], [], marker="x", label="diverged", **{**point, "color": figures.INK}))
    if beyond:
        entries.append(Line2D([], [], marker="v", label="beyond the scale", **point))
    return entries
