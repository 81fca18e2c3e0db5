"""The pictures of refinement that evaluations kept: losses and scores over the steps, and test samples on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lsmbench.reports import figures, markup
from lsmbench.reports.frame import Benchmark
from lsmbench.reports.pictures import Problem, Shown, first_kept, woven
from lsmbench.reports.table import Table
from lsmbench.runs.results import REFINEMENT

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Trace:
    """How the codes of one run's test samples were refined.

    Attributes:
        sets: Names of T test sets.
        loss: Mean over samples at every step, (T, steps + 1).
        steps: The S steps that were scored and drawn, ascending.
        score: Mean by the primary metric at these steps, (T, S).
        names: What M drawn samples are called.
        of: The number of each drawn sample's test set, (M,).
        given: The samples' source, uint8 (M, H, W, 3).
        truth: Their target, uint8 (M, h, w, 3); `None` without one.
        made: The source as it is decoded at each step, uint8 (S, M, H, W, 3).
        said: The predicted target at each step, uint8 (S, M, h, w, 3).
        losses: The samples' own losses, (S, M).
        scores: The samples' own scores, (S, M).
    """

    sets: tuple[str, ...]
    loss: NDArray[np.float64]
    steps: tuple[int, ...]
    score: NDArray[np.float64]
    names: tuple[str, ...]
    of: NDArray[np.int64]
    given: Pictures
    truth: Pictures | None
    made: Pictures
    said: Pictures
    losses: NDArray[np.float64]
    scores: NDArray[np.float64]


def load_trace(home: Path) -> Trace:
    """Reads what an evaluation kept of its refinement, and checks it.

    Args:
        home: The folder of the evaluation's result.

    Raises:
        FileNotFoundError: If it kept nothing.
        Exception: One of `PANEL_DAMAGE`, if it cannot be used.
    """
    with np.load(home / REFINEMENT, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    sets, steps = (tuple(arrays[name].tolist()) for name in ("sets", "steps"))
    of, index = np.asarray(arrays["of"], np.int64), np.asarray(arrays["index"])
    called = arrays["name"].tolist() if "name" in arrays else index.tolist()
    t, s, m = len(sets), len(steps), len(index)
    known = {name: np.asarray(arrays[name], np.float64) for name in ("loss", "score", "losses", "scores")}
    shapes = {"loss": (t, 1 + max(steps, default=0)), "score": (t, s), "losses": (s, m), "scores": (s, m)}
    for name, shape in shapes.items():
        if known[name].shape != shape:
            raise ValueError(f"{name} has shape {known[name].shape}, expected {shape}")
    if not m or len(called) != m or of.shape != (m,) or not set(of.tolist()) <= set(range(t)):
        raise ValueError("its samples are not of its test sets")
    drawn: dict[str, Any] = {"target": None}
    for name, ahead in (("source", (m,)), ("target", (m,)), ("reconstruction", (s, m)), ("prediction", (s, m))):
        if name not in arrays and name == "target":
            continue
        images = drawn[name] = arrays[name]
        if images.dtype != np.uint8 or images.shape[: len(ahead)] != ahead or images.shape[-1] != 3 or not images.size:
            raise ValueError(f"{name} is {images.dtype} {images.shape}, expected uint8 ({len(ahead)} axes, H, W, 3)")
        if images.ndim != len(ahead) + 3:
            raise ValueError(f"{name} has shape {images.shape}, expected pictures (H, W, 3)")
    return Trace(
        sets=tuple(map(str, sets)),
        loss=known["loss"],
        steps=tuple(map(int, steps)),
        score=known["score"],
        names=tuple(map(str, called)),
        of=of,
        given=drawn["source"],
        truth=drawn["target"],
        made=drawn["reconstruction"],
        said=drawn["prediction"],
        losses=known["losses"],
        scores=known["scores"],
    )


def of(benchmark: Benchmark, table: Table) -> tuple[list[Shown], list[Problem]]:
    """Draws, for each N and method, the refinement of most steps: of its runs the first that kept one.

    Args:
        benchmark: The benchmark.
        table: Its primary table.

    Returns:
        The pictures, two for each N and method, of curves and of samples; and what is wrong with which file, by
        evaluation.
    """
    problems: dict[str, Problem] = {}
    pictures: list[Shown] = []
    first = benchmark.plan.seeds[:1]
    for i, column in enumerate(table.columns):
        for base in dict.fromkeys(row.of for row in table.rows if row.of):
            rows = [(row, first_kept(row, i, REFINEMENT, load_trace, problems)) for row in table.rows if row.of == base]
            found = [(row, *kept) for row, kept in rows if kept is not None]
            if not found:
                continue
            row, run, trace = max(found, key=lambda one: one[2].steps[-1])
            seed = f", seed\u00a0{run.seed}" if not pd.isna(run.seed) and first not in ((), (run.seed,)) else ""
            name = f"refinement-{column.unit.word(column.paired)}-{markup.slug(base)}"
            columns = strip(trace, table)
            data = figures.png(figures.panel(columns, _labels(trace)), dpi=170)
            least = len(columns) * (130 if figures.is_large(columns) else 75)
            curve = figures.png(curves(trace, table))
            pictures.append(Shown(f"{name}-curves.png", column.amount, f"{row.label}{seed}", curve, 480))
            pictures.append(Shown(f"{name}.png", column.amount, "", data, least))
    return pictures, list(problems.values())


def strip(trace: Trace, table: Table) -> list[figures.Translations]:
    """The columns of a picture of samples: what is given, then each step; a sample has a row of each view.

    Args:
        trace: What was kept.
        table: The primary table, for its decimals.
    """
    digits = min(4, markup.decimals(cell.mean for cell in table.cells if cell.mean is not None))
    fine = markup.decimals(trace.losses[np.isfinite(trace.losses)].tolist())
    blank = np.full_like(trace.said[0], 255) if trace.truth is None else trace.truth
    columns = [figures.Translations("input, truth", woven(trace.given, blank))]
    for s, step in enumerate(trace.steps):
        pairs = zip(trace.losses[s], trace.scores[s], strict=True)
        scores = tuple(markup.fixed(*one) or "–" for loss, score in pairs for one in ((loss, fine), (score, digits)))
        columns.append(figures.Translations(f"{step} steps", woven(trace.made[s], trace.said[s]), scores))
    return columns


def _labels(trace: Trace) -> list[str]:
    """What the rows are called: the sample's name, and below it its test set, where there are several."""
    several = len(trace.sets) > 1
    return [word for m, name in enumerate(trace.names) for word in (name, trace.sets[trace.of[m]] if several else "")]


def curves(trace: Trace, table: Table) -> Figure:
    """Draws the mean loss over steps beside the primary score, a line for each test set.

    Args:
        trace: What was kept.
        table: The primary table, for the metric's name and direction.

    Returns:
        The figure.
    """
    with figures.settings():
        figure = Figure(figsize=(6.6, 2.4), facecolor=figures.PAPER, layout="constrained")
        left, right = figure.subplots(1, 2)
        handles = []
        for t, name in enumerate(trace.sets):
            look: dict[str, Any] = {
                "color": figures.PALETTE[t % len(figures.PALETTE)],
                "marker": figures.MARKERS[t % len(figures.MARKERS)],
                "markersize": 4.5,
                "linewidth": 1.7,
            }
            left.plot(trace.loss[t], **look, markevery=list(trace.steps))
            right.plot(trace.steps, trace.score[t], **look)
            handles.append(Line2D([], [], label=name, **look))
        metric = f"{table.key.metric} ({table.better} is better)"
        for axes, label in ((left, "mean loss (lower is better)"), (right, metric)):
            figures.frame(axes)
            axes.set_xlabel("steps", color=figures.INK)
            axes.set_ylabel(label, color=figures.INK)
        if len(handles) > 1:
            figures.legend(figure, handles)
    return figure
