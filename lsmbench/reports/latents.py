"""The pictures of latent spaces that runs kept: samples of both domains, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lsmbench.lettering import lettered
from lsmbench.reports import figures
from lsmbench.reports.frame import Benchmark
from lsmbench.reports.pictures import Problem, Shown, first_kept
from lsmbench.reports.table import Row, Table
from lsmbench.runs.results import LATENTS

_SIDE, _GAP, _LEFT, _HEAD = 1.95, 0.1, 1.1, 0.5  # inches of a panel, between panels, left of them, and above them
_LINE = 0.19  # inches of a legend's line
_DOMAINS, _MARKERS = ("#0072b2", "#d55e00"), ("o", "s")
_LISTED = 20  # classes that a legend lists
_ORDER = 7


@dataclass(frozen=True)
class Latents:
    """Where the latents of one run's samples lie.

    Attributes:
        places: Before and after training, float (n, 2) each.
        domain: 0 for the source and 1 for the target, (n,).
        domains: What source and target are called.
        label: The class, -1 where none is known, (n,).
        labels: What the classes are called; empty without classes.
    """

    places: tuple[NDArray[np.float64], NDArray[np.float64]]
    domain: NDArray[np.int64]
    domains: tuple[str, str]
    label: NDArray[np.int64]
    labels: tuple[str, ...]


def load_latents(home: Path) -> Latents:
    """Reads what a run kept of its latent space, and checks it.

    Args:
        home: The run's folder.

    Raises:
        FileNotFoundError: If the run kept none.
        Exception: One of `PANEL_DAMAGE`, if it cannot be used.
    """
    with np.load(home / LATENTS, allow_pickle=False) as file:
        before, after = (np.asarray(file[name], np.float64) for name in ("before", "after"))
        domain, label = (np.asarray(file[name], np.int64) for name in ("domain", "label"))
        domains, labels = (tuple(map(str, file[name].tolist())) for name in ("domains", "labels"))
    for name, array in {"before": before, "after": after}.items():
        if array.ndim != 2 or array.shape[1] != 2 or not len(array) or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape}, expected finite numbers (n, 2)")
    if not {before.shape[:1], after.shape[:1]} == {domain.shape, label.shape} == {before.shape[:1]}:
        raise ValueError("its arrays are of different numbers of samples")
    if len(domains) != 2 or not set(domain.tolist()) <= {0, 1}:
        raise ValueError("its samples are not of two domains")
    if label.max() >= len(labels) or label.min() < -1:
        raise ValueError(f"it has class {label.max()}, and names {len(labels)} classes")
    return Latents((before, after), domain, (domains[0], domains[1]), label, labels)


def of(benchmark: Benchmark, table: Table) -> tuple[list[Shown], list[Problem]]:
    """Draws one picture of latent spaces per N: of each method the first run that kept one.

    Args:
        benchmark: The benchmark.
        table: Its primary table.

    Returns:
        The pictures, and what is wrong with which file, by run.
    """
    problems: dict[str, Problem] = {}
    pictures, first = [], benchmark.plan.seeds[:1]
    for i, column in enumerate(table.columns):
        found = []
        for row in table.rows:
            if (kept := first_kept(row, i, LATENTS, load_latents, problems)) is not None:
                run, latents = kept
                other = not pd.isna(run.seed) and first not in ((), (run.seed,))
                found.append((row, f"{row.label} (seed\u00a0{run.seed})" if other else row.label, latents))
        if found:
            data = figures.png(figure(found, table), dpi=170)
            name = f"latents-{column.unit.word(column.paired)}.png"
            pictures.append(Shown(name, column.amount, "", data, 560 if _panels(found) == 4 else 320))
    return pictures, list(problems.values())


def figure(found: Sequence[tuple[Row, str, Latents]], table: Table) -> Figure:
    """Draws latent spaces: a row per method; before and after training, coloured by domain and by class.

    Args:
        found: Methods with what they are called and their latents.
        table: The primary table, for the methods' colours.

    Returns:
        The figure.
    """
    across = _panels(found)
    classes = max((latents.labels for _, _, latents in found), key=len)
    looks, colours = figures.styles(table.rows), _colours(len(classes))
    width = _LEFT + across * (_SIDE + _GAP)
    named = [f"{name} ({what})" for name, what in zip(found[0][2].domains, ("source", "target"), strict=True)]
    legends = _lines(named, _DOMAINS, _MARKERS, width - _LEFT)
    legends += _lines(classes[:_LISTED], colours, "o" * _LISTED, width - _LEFT)
    foot = 0.06 + _LINE * len(legends)
    height = _HEAD + len(found) * (_SIDE + _GAP) + foot
    with figures.settings():
        drawing = Figure(figsize=(width, height), facecolor=figures.PAPER)
        for r, (row, label, latents) in enumerate(found):
            for c in range(across):
                when, by_class = divmod(c, across // 2)
                x, y = _LEFT + c * (_SIDE + _GAP), _HEAD + r * (_SIDE + _GAP) + _SIDE
                axes = drawing.add_axes((x / width, 1 - y / height, _SIDE / width, _SIDE / height))
                _draw(axes, latents, when, colours if by_class else None)
                if r == 0:
                    title = ("before", "after")[when] + " training"
                    axes.set_title(title, fontsize=8.5, fontweight="bold", color=figures.INK, pad=17)
                    said = "coloured by class" if by_class else "coloured by domain"
                    axes.text(0.5, 1.04, said, transform=axes.transAxes, ha="center", fontsize=7.5, color=figures.SOFT)
            middle = 1 - (_HEAD + r * (_SIDE + _GAP) + _SIDE / 2) / height
            drawing.text(
                (_LEFT - 0.12) / width, middle, figures.wrapped(label, 13), ha="right", va="center", fontsize=8,
                fontweight="bold", color=figures.INK, linespacing=1.1,
            )  # fmt: skip
            place = ((_LEFT - 0.06) / width, (_LEFT - 0.06) / width)
            span = (1 - (_HEAD + r * (_SIDE + _GAP)) / height, 1 - (_HEAD + r * (_SIDE + _GAP) + _SIDE) / height)
            drawing.add_artist(Line2D(place, span, color=looks[row.label].colour, linewidth=2.2))
        for k, line in enumerate(legends):
            middle = (foot - 0.06 - _LINE * (k + 0.5)) / height
            for x, (name, font), colour, marker in line:
                dot = Line2D([(_LEFT + x) / width], [middle], color=colour, marker=marker, markersize=4.5, linewidth=0)
                drawing.add_artist(dot)
                drawing.text(
                    (_LEFT + x + 0.09) / width, middle, name, va="center", color=figures.INK,
                    fontproperties=FontProperties(fname=font, size=8),
                )  # fmt: skip
    return drawing


def _panels(found: Sequence[tuple[Row, str, Latents]]) -> int:
    return 4 if any(latents.labels for _, _, latents in found) else 2


def _draw(axes: Axes, latents: Latents, when: int, colours: Sequence[str] | None) -> None:
    """One panel: circles of the source, squares of the target."""
    places, count = latents.places[when], len(latents.domain)
    inks = np.array([*(colours or _DOMAINS), figures.GRID])[latents.label if colours else latents.domain]
    order = np.random.default_rng(_ORDER).permutation(count)  # no domain lies on top of the other
    for domain, marker in enumerate(_MARKERS):
        some = order[latents.domain[order] == domain]
        axes.scatter(places[some, 0], places[some, 1], s=6, c=inks[some], marker=marker, linewidths=0, alpha=0.8)
    axes.set(xticks=[], yticks=[], box_aspect=1)
    axes.margins(0.05)
    axes.spines[:].set(color=figures.GRID, linewidth=0.8)


def _colours(count: int) -> list[str]:
    """A colour for each class: those of tab10, of more classes ones at even spaces of a colour circle."""
    if count <= 10:
        return [to_hex(colour) for colour in matplotlib.colormaps["tab10"].colors[:count]]  # type: ignore[attr-defined]
    return [to_hex(matplotlib.colormaps["hsv"](k / count)) for k in range(count)]


def _lines(
    names: Sequence[str], colours: Sequence[str], markers: Sequence[str], width: float
) -> list[list[tuple[float, tuple[str, Path], str, str]]]:
    """The lines of a legend as wide as the panels: each entry's place in inches, name with its font, colour, marker."""
    shown = [lettered(figures.cut(name)) for name in names]
    step = 0.3 + max((figures.inches(*one) for one in shown), default=0.0)
    across = max(1, int(width / step))
    entries = [
        ((k % across) * step + 0.05, one, colour, marker)
        for k, (one, colour, marker) in enumerate(zip(shown, colours, markers, strict=False))
    ]
    return [entries[k : k + across] for k in range(0, len(entries), across)]
