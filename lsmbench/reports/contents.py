"""What a benchmark's folder holds, checked: damaged files are named, not used."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from lsmbench.benchmarks.plan import Manifest, PlannedRun, Unit, is_floor
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.table import Row, Table, comparable, tabulate
from lsmbench.runs.results import FAILURE, PANEL, RESULT, Failure, Result

RUNS = "runs"
CHOSEN = "chosen.png"  # a run's picture of the samples that were chosen as pairs
RANDOM = "random"
PANEL_ROWS = 8  # more test samples than this no longer fit a page
DAMAGE = (UserError, AttributeError, IndexError, KeyError, TypeError, ValueError)
PANEL_DAMAGE = (*DAMAGE, OSError, EOFError, zipfile.BadZipFile, zlib.error)
# What differs between runs of one benchmark without making them differ.
_PASSING = ("host", "time", "date", "start", "finish", "pid", "user")

Panel = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Problem:
    """A file that could not be used.

    Attributes:
        run: The run's identity.
        message: What is wrong with which file.
    """

    run: str
    message: str


@dataclass(frozen=True)
class Chosen:
    """A picture of the samples that were chosen as pairs.

    Attributes:
        paired: N.
        rule: How they were chosen.
        seed: Seed of the choice.
        data: The PNG's content.
        width: In pixels.
    """

    paired: float
    rule: str
    seed: int
    data: bytes
    width: int


@dataclass(frozen=True)
class Contents:
    """What a benchmark's folder holds.

    Attributes:
        folder: The benchmark's folder.
        manifest: The benchmark's plan.
        results: Finished runs that can stand in one table, in the order of the benchmark.
        left_out: Finished runs of another version of the protocol or of the dataset.
        failures: Runs that ended without a result, in the order of the benchmark.
        problems: Files that could not be used.
        strangers: Number of run folders that are not part of the benchmark.
    """

    folder: Path
    manifest: Manifest
    results: tuple[Result, ...]
    left_out: tuple[Result, ...]
    failures: tuple[Failure, ...]
    problems: tuple[Problem, ...]
    strangers: int

    @property
    def tables(self) -> list[Table]:
        """The benchmark's tables, the one of the primary metric first."""
        return tabulate(self.manifest, self.results, self.failures)

    @property
    def states(self) -> dict[str, str]:
        """Whether each run is `finished`, `failed`, `left out`, `damaged` or `to come`."""
        states = {run.id: "to come" for run in self.manifest.runs}
        states |= {problem.run: "damaged" for problem in self.problems}
        states |= {result.id: "left out" for result in self.left_out}
        states |= {failure.id: "failed" for failure in self.failures}
        return states | {result.id: "finished" for result in self.results}


def read(folder: Path) -> Contents:
    """Reads a benchmark's folder; damaged run files are named among the problems, not raised.

    Args:
        folder: The benchmark's folder.

    Returns:
        What it holds.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    manifest = Manifest.load(folder)
    results, failures, problems = [], [], []
    for run in manifest.runs:
        home = folder / RUNS / run.id
        try:
            if (home / RESULT).exists():
                results.append(load_result(home, run.id))
                continue
        except DAMAGE as error:
            problems.append(_problem(folder, run, RESULT, error))
        try:
            if (home / FAILURE).exists():
                failures.append(_whole_failure(Failure.load(home), run))
        except DAMAGE as error:
            problems.append(_problem(folder, run, FAILURE, error))
    kept, left_out = comparable(results)
    known = {run.id for run in manifest.runs}
    homes = {path.name for path in folder.glob(f"{RUNS}/*/") if not path.name.startswith(".")}
    return Contents(
        folder, manifest, tuple(kept), tuple(left_out), tuple(failures), tuple(problems), strangers=len(homes - known)
    )


def load_result(home: Path, identity: str | None = None) -> Result:
    """Reads a run's result and checks what a damaged or hand-edited one could lack; everything behind relies on it.

    Args:
        home: The run's folder.
        identity: Whose result it has to be; anybody's if `None`.

    Raises:
        Exception: One of `DAMAGE`, if it cannot be used.
    """
    result = Result.load(home)
    if identity is not None and result.id != identity:
        raise ValueError(f"belongs to run {result.id}")
    if not isinstance(result.id, str) or not isinstance(result.config["method"]["name"], str):
        raise TypeError("the run or its method has no name")
    if not result.scores:
        raise ValueError("holds no scores")
    for score in result.scores:
        numbers = all(isinstance(value, int | float) for value in score.values)
        if not numbers or not score.values or len(score.values) != len(score.indices):
            raise ValueError(f"the scores of {score.metric} are not one number per test sample")
        if not all(isinstance(word, str) for word in (score.metric, score.source, score.target, score.unit)):
            raise TypeError("a score has no name")
        if not isinstance(score.pooled, int | float | None):
            raise TypeError(f"the value of {score.metric} over all samples is not a number")
        if any(math.isinf(value) for value in (*score.values, score.pooled or 0.0)):
            raise ValueError(f"a score of {score.metric} is infinite")
    for section, name in (("supervision", "supervision_seed"), ("training", "init_seed")):
        if not isinstance(result.config.get(section, {}).get(name), int | None):
            raise TypeError(f"{section}.{name} is not a whole number")
    # The rule becomes a part of a file's name.
    if not re.fullmatch(r"\w[\w-]*", rule_of_choice(result)):
        raise ValueError(f"pairs are chosen by {rule_of_choice(result)!r}, expected a word")
    result.protocol = str(result.protocol)
    sections = (result.supervision, result.cost, result.environment, result.selection, result.dataset)
    if not all(isinstance(section, dict) for section in sections) or not isinstance(result.warnings, list):
        raise TypeError("a section has another layout")
    if not all(isinstance(v, int | float) for v in (*result.supervision.values(), result.validation or 0.0)):
        raise TypeError("the supervision or the validation is not a number")
    if not isinstance(result.dataset.get("views", {}), dict):
        raise TypeError("the dataset's views are not named")
    result.cost = {key: float(value) for key, value in result.cost.items() if value is not None}
    # These raise what a page could not show.
    markup.epochs(result.selection)
    markup.validation(result)
    return result


def load_panel(home: Path) -> Panel:
    """Reads the pictures that a run kept of its translations, and checks their shapes.

    Args:
        home: The run's folder.

    Returns:
        Arrays `index` (K,), `x`, `y` and `prediction`, the latter uint8 (K, H, W, 3).

    Raises:
        FileNotFoundError: If the run kept none.
        Exception: One of `PANEL_DAMAGE`, if they cannot be used.
    """
    with np.load(home / PANEL, allow_pickle=False) as file:
        panel = {name: file[name][:PANEL_ROWS] for name in ("index", "x", "y", "prediction")}
    for name in ("x", "y", "prediction"):
        images, samples = panel[name], len(panel["index"])
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != samples:
            raise ValueError(f"{name} is {images.dtype} {images.shape}, expected uint8 (K, H, W, 3)")
        if not images.size:
            raise ValueError(f"{name} holds no picture")
    return panel


def read_panels(contents: Contents, table: Table) -> tuple[list[list[tuple[Row, PlannedRun, Panel]]], list[Problem]]:
    """Reads the pictures that runs kept of their translations.

    Args:
        contents: The benchmark.
        table: Its primary table.

    Returns:
        For each N, each method's first run with pictures, all of the same test samples (arrays `index`, `x`, `y` and
        `prediction`), and the files that could not be used.
    """
    seen: dict[str, Panel | Problem | None] = {}
    index: NDArray[Any] | None = None
    found = []
    for i in range(len(table.columns)):
        shown = []
        for row in (*table.rows, *table.floors):
            for run in (score.run for score in row.cells[i].runs):
                if run.id not in seen:
                    seen[run.id] = _read_panel(contents.folder, run, index)
                panel = seen[run.id]
                if isinstance(panel, dict):
                    index = panel["index"]
                    shown.append((row, run, panel))
                    break
        found.append(shown)
    return found, [panel for panel in seen.values() if isinstance(panel, Problem)]


def read_chosen(contents: Contents) -> tuple[list[Chosen], list[Problem]]:
    """Reads the pictures of chosen pairs, where it matters which samples were chosen.

    That is the case if N counts pairs, or if a run chooses them by another rule than at random.

    Args:
        contents: The benchmark.

    Returns:
        For each N and rule, in the order of the benchmark, the picture of the first seed that has one, and the files
        that could not be used.
    """
    results = {result.id: result for result in contents.results}
    manifest = contents.manifest
    if manifest.unit is not Unit.PAIRS and all(rule_of_choice(result) == RANDOM for result in results.values()):
        return [], []
    ranks = {seed: rank for rank, seed in enumerate(manifest.seeds)}
    groups: dict[tuple[float, str], list[PlannedRun]] = {}
    for run in manifest.runs:
        if run.paired is not None and run.id in results:
            groups.setdefault((run.paired, rule_of_choice(results[run.id])), []).append(run)
    found, problems = [], []
    rules = list(dict.fromkeys(rule for _, rule in groups))
    for key in [(n, rule) for n in manifest.paired for rule in rules]:
        runs = sorted(groups.get(key, []), key=lambda run: ranks.get(_seed(run, results), len(ranks)))
        for run in runs:
            seen = _read_picture(contents.folder, run, CHOSEN)
            if isinstance(seen, Problem):
                problems.append(seen)
            elif seen:
                found.append(Chosen(*key, _seed(run, results), *seen))
                break
    return found, problems


def rule_of_choice(result: Result) -> str:
    """How a run's pairs were chosen; runs from before there was a choice took them at random."""
    return str(result.config["supervision"].get("selection", RANDOM))


def environments(results: Sequence[Result]) -> dict[str, Counter[str]]:
    """Each fact about the runs' environments, with the number of runs that share a value."""
    flat = [dict(_flatten("", result.environment)) for result in results]
    keys = dict.fromkeys(key for one in flat for key in one)
    return {
        key: Counter(one.get(key, "none") for one in flat)
        for key in keys
        if not any(word in key.lower() for word in _PASSING)
    }


def doubts(contents: Contents, table: Table) -> list[str]:
    """Why the numbers might not be comparable.

    Args:
        contents: The benchmark.
        table: Its primary table.

    Returns:
        Sentences; none if all is well.
    """
    results, said = contents.results, []
    if contents.left_out:
        said.append(
            f"{markup.plural(len(contents.left_out), 'run')} left out, because runs of different protocol versions or "
            f"dataset fingerprints are not comparable. Shown: {markup.setting(results[0])}. Left out: "
            + "; ".join(f"{r.id} ({markup.setting(r)})" for r in contents.left_out)
            + "."
        )
    for key, values in environments(results).items():
        if len(values) > 1:
            told = ", ".join(f"{value} ({markup.plural(count, 'run')})" for value, count in values.items())
            said.append(f"The runs' environments differ in {key}: {told}.")
    if len({tuple(result.primary.indices) for result in results}) > 1:
        said.append("The runs were not all scored on the same test samples; compare them with care.")
    if len(table.rules) > 1:
        said.append(f"Methods follow different selection rules: {markup.rules(table)}.")
    for column in table.columns:
        if column.pairs and column.pairs.low != column.pairs.high:
            numbers = markup.span(column.pairs)
            said.append(f"At N = {column.amount} the numbers of training pairs differ between runs: {numbers}.")
    if table.val_pairs and table.val_pairs.low != table.val_pairs.high:
        said.append(f"The numbers of validation pairs differ between runs: {markup.span(table.val_pairs)}.")
    competitors = [result for result in results if not is_floor(result.config)]
    metrics = {(s.metric, s.source, s.target, s.unit, s.higher_is_better) for r in competitors for s in r.scores}
    kinds = {(s.metric, s.source, s.target, s.pooled is not None) for r in results for s in r.scores}
    mixed = [key for key, count in Counter(k[:3] for k in kinds).items() if count > 1]
    said += [
        f"Of {m}, {s} → {t}, some runs have the value over all test samples together, others only the mean over them."
        for m, s, t in sorted(mixed)
    ]
    twice = [key for key, count in Counter(m[:3] for m in metrics).items() if count > 1]
    said += [f"Runs disagree on unit or direction of {m}, {s} → {t}." for m, s, t in sorted(twice)]
    said += _tuning_doubts(contents.manifest, table)
    if contents.problems:
        said.append(f"{markup.plural(len(contents.problems), 'damaged file')} skipped; see below.")
    return said


def run_warnings(results: Sequence[Result]) -> list[str]:
    """What runs warned of, each warning once."""
    said: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            said.setdefault(str(warning), []).append(result.id)
    return [
        f"{warning} ({markup.plural(len(ids), 'run')}: {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
        for warning, ids in said.items()
    ]


def _tuning_doubts(manifest: Manifest, table: Table) -> list[str]:
    """Tuned beside untuned rows, and parameters that were found in another setting."""
    said = []
    tuned = [row.label for row in table.rows if row.tuned]
    untuned = [row.label for row in table.rows if row.untuned]
    if tuned and untuned:
        said.append(
            f"Tuned and untuned rows stand in one table; do not compare {markup.listed(untuned)} (§, not tuned) with "
            f"{markup.listed(tuned)}."
        )
    where: dict[str, list[str]] = {}
    for use in manifest.tuned or ():
        for difference in use.differs:
            amounts = [manifest.unit.amount(n) for n in use.amounts]
            where.setdefault(difference, []).append(use.row + (f" at N = {markup.listed(amounts)}" if amounts else ""))
    return said + [f"{'; '.join(places)}: {difference}." for difference, places in where.items()]


def _whole_failure(failure: Failure, run: PlannedRun) -> Failure:
    if failure.id != run.id:
        raise ValueError(f"belongs to run {failure.id}")
    words = (failure.kind, failure.reason, failure.where)
    if not isinstance(failure.config, dict) or not all(isinstance(word, str) for word in words):
        raise TypeError("a section has another layout")
    return failure


def _read_panel(folder: Path, run: PlannedRun, index: NDArray[Any] | None) -> Panel | Problem | None:
    try:
        panel = load_panel(folder / RUNS / run.id)
    except FileNotFoundError:
        return None
    except PANEL_DAMAGE as error:
        return _problem(folder, run, PANEL, error)
    if index is not None and not np.array_equal(panel["index"], index):
        return Problem(run.id, f"{RUNS}/{run.id}/{PANEL}: shows other test samples; left out.")
    return panel


def _read_picture(folder: Path, run: PlannedRun, name: str) -> tuple[bytes, int] | Problem | None:
    """A PNG's content and width, once it is known to be whole."""
    try:
        data = (folder / RUNS / run.id / name).read_bytes()
        with Picture.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return data, picture.width
    except FileNotFoundError:
        return None
    except (*DAMAGE, OSError, EOFError, SyntaxError, zlib.error, Picture.DecompressionBombError) as error:
        # Pillow's own words name an object in memory, not what is wrong.
        known = None if isinstance(error, UnidentifiedImageError) else error
        return _problem(folder, run, name, known or ValueError("is not a PNG picture"))


def _seed(run: PlannedRun, results: dict[str, Result]) -> int:
    return results[run.id].seed if run.seed is None else run.seed


def _problem(folder: Path, run: PlannedRun, file: str, error: BaseException) -> Problem:
    path = f"{RUNS}/{run.id}/{file}"
    message = str(error).replace(str(folder / path), path)
    return Problem(run.id, message if isinstance(error, UserError) else f"{path}: {message or type(error).__name__}.")


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif value is not None:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
