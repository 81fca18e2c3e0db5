"""Which runs of a benchmark predict: those of the best row that still has its weights, or those that are asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from lsmbench.benchmarks.plan import BENCHMARK, Unit
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.reports import folds
from lsmbench.reports.frame import FINISHED, read_benchmark
from lsmbench.runs.config import Machine
from lsmbench.runs.model import has_weights
from lsmbench.runs.translator import Member, Translator


@dataclass(frozen=True)
class Chosen:
    """The runs of one row at one N.

    Attributes:
        homes: Their folders.
        text: Which row, N, seeds and score, for people.
        note: What else to know, e.g. that a better row has no weights; may be empty.
    """

    homes: tuple[Path, ...]
    text: str
    note: str = ""


@dataclass(frozen=True)
class _Cell:
    label: str
    amount: str
    score: float
    runs: pd.DataFrame
    homes: tuple[Path, ...]


def choose(folder: Path, method: str | None = None, paired: float | None = None, seed: int | None = None) -> Chosen:
    """Chooses the row and N of the best mean over seeds and folds, by the score that methods are compared by.

    Floors are left out unless one is named, rows with refined codes always. Without any score, the arguments have to
    leave one row and N.

    Args:
        folder: The benchmark's folder.
        method: The row to take.
        paired: The N to take. A method that uses no pairs holds for every N.
        seed: The seed to take; `None`: all of them.

    Raises:
        UserError: If no finished run fits, none that does has its weights, or there is no score to choose by.
    """
    benchmark = read_benchmark(folder)
    runs = benchmark.runs
    done = runs[(runs["state"] == FINISHED) & runs["of"].isna()]
    scored = done[done["primary"] == True]  # noqa: E712
    if not len(done):
        raise UserError(f"{folder}: holds no finished run. Run the benchmark: {benchmark.plan.command}")
    done = scored if len(scored) else done.drop_duplicates("run")
    if method is not None and method not in set(done["label"]):
        raise UserError(
            f"{folder}: --method {method}: no finished run of such a row. "
            f"There are: {', '.join(dict.fromkeys(done['label']))}."
        )
    done = done[done["label"] == method] if method is not None else done[~done["floor"]]
    if paired is not None:
        known = sorted({n for n in done["paired"] if not math.isnan(n)}, reverse=True)
        done = done[(done["paired"] == paired) | done["paired"].isna()]
        if not len(done):
            raise UserError(f"{folder}: --paired {paired:g}: no finished run of it. There are: {_numbers(known)}.")
    if seed is not None:
        seeds = sorted({int(s) for s in done["seed"].dropna()})
        done = done[(done["seed"] == seed) | done["seed"].isna()]
        if not len(done):
            raise UserError(f"{folder}: --seed {seed}: no finished run of it. There are: {_numbers(seeds)}.")
    if not len(done):
        raise UserError(f"{folder}: holds no finished run but floors. Name one by --method, or train methods.")
    cells = _cells(done, benchmark.plan.unit)
    if len(scored):
        sign = -1 if done["higher_is_better"].iloc[0] else 1
        cells = sorted((cell for cell in cells if not math.isnan(cell.score)), key=lambda cell: sign * cell.score)
        if not cells:
            raise UserError(f"{folder}: the scores of all runs that fit are undefined, so that none is the best.")
    elif len(cells) > 1:
        raise UserError(
            f"{folder}: no run was scored, since there was no pair to test on, so that none is the best. Choose one by "
            f"--method and --paired: {'; '.join(f'{cell.label} at {cell.amount}' for cell in cells)}."
        )
    best = next((cell for cell in cells if cell.homes), None)
    if best is None:
        raise UserError(
            f"{folder}: the weights of all {len(done)} runs that fit are gone (bench --keep-weights deletes them). "
            "Train again: move the folder of a run away, and repeat the benchmark's command."
        )
    notes = []
    if best is not cells[0]:
        first = cells[0]
        notes.append(f"{first.label} at {first.amount} is better ({first.score:.4f}), but its weights are gone.")
    if len(best.homes) < len(best.runs):
        notes.append(f"{len(best.runs) - len(best.homes)} of its {len(best.runs)} runs have no weights any more.")
    return Chosen(best.homes, _text(best), " ".join(notes))


def load(
    path: str | Path,
    *,
    method: str | None = None,
    paired: float | None = None,
    seed: int | None = None,
    refine: Mapping[str, Any] | None = None,
    accelerator: Any = "auto",
    threads: int | None = None,
) -> Translator:
    """Loads a finished run, or the best row of a benchmark, ready to translate files; no training data is read.

    Args:
        path: The folder of a run, or of a benchmark's results.
        method: Of a benchmark, the row to take.
        paired: Of a benchmark, the N to take.
        seed: Of a benchmark, the seed to take; `None`: the mean of all seeds.
        refine: Options of evaluation `refine`, such as `{"refine_steps": 200}`, by which the code of each file is
            refined first (test-time optimisation); `None`: codes stay as they are.
        accelerator: `auto`, `cpu` or `gpu`.
        threads: CPU threads.

    Raises:
        UserError: As `choose` and `Translator`; if the weights are gone or of another version; or if the path is
            neither.
    """
    homes = chosen(Path(path), method, paired, seed).homes
    how = None if refine is None else RefineConfig(**refine)
    return Translator([Member.of(home) for home in homes], Machine(accelerator, threads), how)


def chosen(path: Path, method: str | None = None, paired: float | None = None, seed: int | None = None) -> Chosen:
    """As `choose`, for the folder of a benchmark or of one run.

    Raises:
        UserError: As `choose`; or if a row is asked for of a single run.
    """
    if (path / BENCHMARK).exists():
        return choose(path, method, paired, seed)
    asked = {"--method": method, "--paired": paired, "--seed": seed}
    if given := [name for name, value in asked.items() if value is not None]:
        raise UserError(f"{path}: is no benchmark's folder (no {BENCHMARK}), so that {given[0]} chooses nothing there.")
    return Chosen((path,), path.resolve().name)


def _cells(done: pd.DataFrame, unit: Unit) -> list[_Cell]:
    cells = []
    for (label, n), runs in done.groupby(["label", "paired"], sort=False, dropna=False):
        paired = cast(float, n)
        amount = "every N (no pairs)" if math.isnan(paired) else f"N = {unit.amount(paired)}"
        homes = tuple(home for home in runs["folder"] if has_weights(home))
        # As the report's tables have it: the mean over seeds, the folds of a seed joined.
        score = float(folds.pooled(runs)["value"].mean(skipna=False)) if runs["value"].notna().any() else math.nan
        cells.append(_Cell(str(label), amount, score, runs, homes))
    return cells


def _text(cell: _Cell) -> str:
    seeds = sorted({int(s) for s in cell.runs["seed"].dropna()})
    said = f", {'seed' if len(seeds) == 1 else 'seeds'} {_numbers(seeds)}" if seeds else ""
    runs = f" ({len(cell.homes)} runs)" if len(cell.homes) > 1 else ""
    score = "no score" if math.isnan(cell.score) else f"{cell.runs['metric'].iloc[0]} {cell.score:.4f}"
    return f"{cell.label}, {cell.amount}{said}{runs}: {score}"


def _numbers(values: list[Any]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"
