"""The pictures of latent spaces that runs kept: samples of both domains, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lsmbench.reports import figures
from lsmbench.reports.frame import RUNS, lines
from lsmbench.reports.pictures import PANEL_DAMAGE, Problem, Shown
from lsmbench.reports.table import Row, Table
from lsmbench.runs.results import LATENTS

_SIDE, _GAP, _LEFT, _HEAD = 1.95, 0.1, 1.1, 0.5  # inches of a panel, between panels, left of them, and above them
_DOMAINS = ("#0072b2", "#d55e00")
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


def of(table: Table) -> tuple[list[Shown], list[Problem]]:
    """Draws one picture of latent spaces per N: of each method the first run that kept one.

    Args:
        table: The primary table.

    Returns:
        The pictures, and what is wrong with which file, by run.
    """
    seen: dict[str, Latents | None] = {}
    problems: list[Problem] = []
    pictures = []
    for i, column in enumerate(table.columns):
        found = []
        for row in table.rows:
            for run in lines(row.cells[i].drawn):
                if run.run not in seen:
                    seen[run.run] = None
                    try:
                        seen[run.run] = load_latents(run.folder)
                    except FileNotFoundError:
                        pass
                    except PANEL_DAMAGE as error:
                        problems.append((run.run, f"{RUNS}/{run.run}/{LATENTS}: {error or type(error).__name__}."))
                if (latents := seen[run.run]) is not None:
                    found.append((row, run, latents))
                    break
        if found:
            data = figures.png(figure(found, table), dpi=170)
            name = f"latents-{column.unit.word(column.paired)}.png"
            pictures.append(Shown(name, column.amount, "", data, 560 if _panels(found) == 4 else 320))
    return pictures, problems


def figure(found: Sequence[tuple[Row, Any, Latents]], table: Table) -> Figure:
    """Draws latent spaces: a row per method; before and after training, coloured by domain and by class.

    Args:
        found: Methods with their run and its latents.
        table: The primary table, for the methods' colours.

    Returns:
        The figure.
    """
    across = _panels(found)
    classes = max((latents.labels for _, _, latents in found), key=len)
    domains = found[0][2].domains
    handles = [_dot(f"{name} ({what})", colour) for name, what, colour in zip(domains, ("source", "target"), _DOMAINS, strict=True)]
    colours = _colours(len(classes))
    listed = [_dot(name, colour) for name, colour in zip(classes, colours, strict=True)][:_LISTED]
    looks = figures.styles(table.rows)
    legend = 0.3 + (0.24 * -(-len(listed) // 10) if listed else 0)
    width = _LEFT + across * (_SIDE + _GAP)
    height = _HEAD + len(found) * (_SIDE + _GAP) + legend
    with figures.settings():
        drawing = Figure(figsize=(width, height), facecolor=figures.PAPER)
        for r, (row, run, latents) in enumerate(found):
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
            _label(drawing, row, run, middle, width, height, looks[row.label].colour)
        _legend(drawing, handles, 0.12 + (legend - 0.3), width, height)
        for k in range(0, len(listed), 10):
            _legend(drawing, listed[k : k + 10], 0.12 + (legend - 0.3) - 0.24 * (k // 10 + 1), width, height)
    return drawing


def _panels(found: Sequence[tuple[Row, Any, Latents]]) -> int:
    return 4 if any(latents.labels for _, _, latents in found) else 2


def _draw(axes: Axes, latents: Latents, when: int, colours: Sequence[str] | None) -> None:
    """One panel: circles of the source, squares of the target."""
    places, count = latents.places[when], len(latents.domain)
    inks = np.array([*(colours or _DOMAINS), figures.GRID])[latents.label if colours else latents.domain]
    order = np.random.default_rng(_ORDER).permutation(count)  # no domain lies on top of the other
    for domain, marker in enumerate(("o", "s")):
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


def _dot(name: str, colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", markersize=4, linestyle="none", label=name)
