"""The pictures of what generators draw: in training, nearer to the mean, and on ways between test samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsmbench.reports import figures, markup
from lsmbench.reports.frame import Benchmark
from lsmbench.reports.pictures import Problem, Shown, first_kept, woven
from lsmbench.reports.table import Table
from lsmbench.runs.results import GENERATED

ROWS = 4
"""Samples that are drawn of each picture."""


@dataclass(frozen=True)
class Generated:
    """What one run's generator drew. Pictures are uint8 (2, n, H, W, 3), source and target, ahead of which an axis is.

    Attributes:
        tenths: The T tenths of the training.
        training: Samples at each, (T, …).
        psi: The P shares of truncation.
        truncated: The same samples at each, (P, …).
        ends: The test sets of both ends of W ways.
        ways: Places on each, (W, …).
    """

    tenths: tuple[int, ...]
    training: NDArray[np.uint8]
    psi: tuple[float, ...]
    truncated: NDArray[np.uint8]
    ends: tuple[tuple[str, str], ...]
    ways: NDArray[np.uint8]


def load_generated(home: Path) -> Generated:
    """Reads what a run's generator drew, and checks it.

    Args:
        home: The run's folder.

    Raises:
        FileNotFoundError: If the run kept nothing.
        Exception: One of `PANEL_DAMAGE`, if it cannot be used.
    """
    with np.load(home / GENERATED, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found = {}
    for name, counted in (("training", "tenths"), ("truncated", "psi"), ("ways", "ends")):
        images = found[name] = arrays.get(name, np.zeros((0, 2, 1, 1, 1, 3), np.uint8))
        if images.dtype != np.uint8 or images.ndim != 6 or images.shape[1] != 2 or images.shape[-1] != 3:
            raise ValueError(f"{name} is {images.dtype} {images.shape}, expected uint8 (k, 2, n, H, W, 3)")
        if len(images) != len(arrays.get(counted, ())):
            raise ValueError(f"there are {len(images)} of {name}, and {len(arrays.get(counted, ()))} of {counted}")
    return Generated(
        tuple(map(int, arrays.get("tenths", ()))),
        found["training"],
        tuple(map(float, arrays.get("psi", ()))),
        found["truncated"],
        tuple((str(first), str(last)) for first, last in arrays.get("ends", ())),
        found["ways"],
    )


def of(benchmark: Benchmark, table: Table) -> tuple[list[Shown], list[Problem]]:
    """Draws, for each N and method with a generator, up to three pictures of the first run that kept some.

    Args:
        benchmark: The benchmark.
        table: Its primary table.

    Returns:
        The pictures, and what is wrong with which file, by run.
    """
    problems: dict[str, Problem] = {}
    pictures: list[Shown] = []
    first = benchmark.plan.seeds[:1]
    for i, column in enumerate(table.columns):
        for row in (row for row in table.rows if not row.of):
            if (found := first_kept(row, i, GENERATED, load_generated, problems)) is None:
                continue
            seed, generated = found[0].seed, found[1]
            other = f", seed\u00a0{seed}" if not pd.isna(seed) and first not in ((), (seed,)) else ""
            name = f"generated-{column.unit.word(column.paired)}-{markup.slug(row.label)}"
            for kind, about, columns, labels in _sheets(generated):
                data = figures.png(figures.panel(columns, labels), dpi=170)
                said = f"{row.label}{other}: {about}"
                pictures.append(Shown(f"{name}-{kind}.png", column.amount, said, data, len(columns) * 60))
    return pictures, list(problems.values())


def _sheets(one: Generated) -> list[tuple[str, str, list[figures.Translations], list[str]]]:
    """Each picture: its word, what it shows, its columns and the names of its rows."""
    sheets = []

    def add(kind: str, about: str, titles: list[str], images: NDArray[np.uint8], labels: list[str]) -> None:
        if len(images):
            columns = [figures.Translations(title, woven(*views)) for title, views in zip(titles, images, strict=True)]
            sheets.append((kind, about, columns, [word for label in labels for word in (label, "")]))

    samples = [f"sample {number}" for number in range(1, ROWS + 1)][: one.training.shape[2] or ROWS]
    add(
        "training",
        "the same codes in the course of the training",
        [f"{tenth}0 %" for tenth in one.tenths],
        one.training[:, :, :ROWS],
        samples,
    )
    add("truncated", "codes nearer to their mean (truncation ψ)", [f"ψ = {psi:g}" for psi in one.psi],
        one.truncated[:, :, :ROWS], samples)  # fmt: skip
    places = one.ways.shape[2]
    add("ways", "on straight lines in W⁺ from one test sample's code to another's",
        [f"{100 * place / max(1, places - 1):.0f} %" for place in range(places)],
        one.ways.transpose(2, 1, 0, 3, 4, 5) if len(one.ways) else one.ways,
        [first if first == last else f"{first} to {last}" for first, last in one.ends])  # fmt: skip
    return sheets
