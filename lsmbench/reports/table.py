"""From the results of a benchmark's runs to its tables: means and spreads over seeds, floors, published values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lsmbench.benchmarks.plan import FLOORS, Manifest, PlannedRun, Published, Span, Unit, is_floor
from lsmbench.benchmarks.tuning import Use
from lsmbench.runs.results import Failure, Result
from lsmbench.scores import Score


class ScoreKey(NamedTuple):
    """What a table is about: one metric in one direction of translation."""

    metric: str
    source: str
    target: str

    def find(self, result: Result) -> Score | None:
        """The result's score of this kind, `None` if the run was not scored so."""
        return next((s for s in result.scores if (s.metric, s.source, s.target) == self), None)


@dataclass(frozen=True)
class RunScore:
    """A finished run's score.

    Attributes:
        run: The planned run.
        score: Mean over the test samples, or the value over all of them together; NaN if the metric is undefined.
    """

    run: PlannedRun
    score: float


@dataclass(frozen=True)
class Cell:
    """One method at one N.

    Attributes:
        paired: N.
        runs: Finished runs that hold a score, in the order of the benchmark.
        expected: Number of runs that the benchmark plans here and that hold, or may yet hold, such a score.
        failures: Runs that ended without a result.
        mean: Mean over seeds of the runs' scores; `None` without any score.
        sd: Sample standard deviation over seeds (ddof 1); `None` with fewer than two.
        median: Median over seeds of the runs' scores.
        pairs: Numbers of training pairs that the runs saw.
        val_pairs: Numbers of validation pairs that the runs saw.
        rules: Selection rules that the runs followed.
        wall_s: Mean wall time of a run.
        updates: Mean number of updates of a run.
        published: The value that a paper reports.
        published_by: Where this value stands.
        published_any_n: Whether the paper's value is not this N's own but holds for every N.
        independent: Whether the runs use no pairs, so that the same ones stand at every N.
        best: Whether the mean is the best of its column; says nothing about significance.
        at_floor: Whether the mean is no better than the best floor of its column.
    """

    paired: float
    runs: tuple[RunScore, ...]
    expected: int
    failures: tuple[Failure, ...]
    mean: float | None
    sd: float | None
    median: float | None
    pairs: Span | None
    val_pairs: Span | None
    rules: tuple[str, ...]
    wall_s: float | None
    updates: float | None
    published: float | None = None
    published_by: Published | None = None
    published_any_n: bool = False
    independent: bool = False
    best: bool = False
    at_floor: bool = False

    @property
    def finished(self) -> int:
        """Number of runs that hold a score."""
        return len(self.runs)


@dataclass(frozen=True)
class Row:
    """One method at every N.

    Attributes:
        method: The word that the benchmark calls it by.
        label: What to print: the method's word, or which floor it is.
        summary: One line about the method.
        cells: One per column of the table.
        wall_s: Mean wall time of the row's runs.
        updates: Mean number of updates of the row's runs.
        parameters: Number of trained parameters.
        rules: Selection rules that the runs followed.
        full_budget: Whether the runs train for all their epochs, whatever the validation says.
        skipped: Why the method is not run; empty if it is.
        tuned: Outcomes of sweeps that the runs use, the greatest N first; empty if none was found, `None` if none was
            asked for or if the row is a floor or not run.
    """

    method: str
    label: str
    summary: str
    cells: tuple[Cell, ...]
    wall_s: float | None
    updates: float | None
    parameters: Span | None
    rules: tuple[str, ...]
    full_budget: bool = False
    skipped: str = ""
    tuned: tuple[Use, ...] | None = None

    @property
    def independent(self) -> bool:
        """Whether all of the row's runs hold for every N."""
        return all(cell.independent for cell in self.cells)

    @property
    def untuned(self) -> bool:
        """Whether the row has the benchmark's own parameters although tuned ones were asked for."""
        return self.tuned == ()


@dataclass(frozen=True)
class Column:
    """One N.

    Attributes:
        paired: N.
        unit: What N counts.
        pairs: Numbers of training pairs among the runs that use pairs.
        singles: Numbers of x-only and of y-only training samples among the same runs.
        floor: The best floor's mean, `None` without a finished floor.
    """

    paired: float
    unit: Unit
    pairs: Span | None
    singles: tuple[Span | None, Span | None]
    floor: float | None

    @property
    def amount(self) -> str:
        """N with its unit."""
        return self.unit.amount(self.paired)

    @property
    def told(self) -> bool:
        """Whether N itself tells the number of pairs, so that it need not be said again."""
        return self.unit.tells(self.paired, self.pairs)


@dataclass(frozen=True)
class Table:
    """Methods × N for one metric in one direction of translation.

    Attributes:
        key: Metric and direction of translation.
        unit: What the number means.
        higher_is_better: Direction of the metric.
        primary: Whether methods are compared by this table.
        columns: The values of N in order of display.
        rows: The methods in order of display.
        floors: Trivial predictors, which do not compete.
        published: Papers' values of this metric, by source.
        pooled: Whether a run's score is one value over all test samples together, not a mean over samples.
        rules: Selection rules of the methods' runs.
        val_pairs: Numbers of validation pairs that the methods' runs saw.
    """

    key: ScoreKey
    unit: str
    higher_is_better: bool
    primary: bool
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floors: tuple[Row, ...]
    published: tuple[Published, ...]
    pooled: bool
    rules: tuple[str, ...]
    val_pairs: Span | None

    @property
    def used(self) -> list[Published]:
        """The sources of the published values that stand in the table."""
        cells = [cell for row in self.rows for cell in row.cells]
        return [block for block in self.published if any(cell.published_by is block for cell in cells)]


def comparable(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Separates results that must not stand in one table.

    Results compare if they share the protocol's version and the dataset's fingerprint; the largest such group is kept,
    of equally large ones that of the first result.

    Args:
        results: Finished runs.

    Returns:
        The results to show and those to leave out.
    """
    if not results:
        return [], []
    (chosen, _), *_ = Counter(_setting(result) for result in results).most_common(1)
    kept = [result for result in results if _setting(result) == chosen]
    return kept, [result for result in results if _setting(result) != chosen]


def tabulate(manifest: Manifest, results: Sequence[Result], failures: Sequence[Failure] = ()) -> list[Table]:
    """Derives a benchmark's tables, the one of the primary metric first.

    Args:
        manifest: The benchmark's plan; results of runs that are not part of it are ignored.
        results: Finished runs, all comparable with each other.
        failures: Runs that ended without a result.

    Returns:
        One table per metric and direction of translation; a single empty one without results.

    Raises:
        ValueError: If the results stem from several versions of the protocol or of the dataset.
    """
    planned = {run.id for run in manifest.runs}
    found = {result.id: result for result in results if result.id in planned}
    failed = {f.id: f for f in failures if f.id in planned and f.id not in found}
    if len({_setting(result) for result in found.values()}) > 1:
        raise ValueError("results of different protocols or dataset fingerprints in one table; call `comparable` first")
    tables: list[Table] = []
    for key in _keys(manifest, list(found.values())):
        # A paper reports one direction of translation: the first that has the metric.
        again = any(table.key.metric == key.metric for table in tables)
        published = () if again else tuple(block for block in manifest.published if block.metric == key.metric)
        tables.append(_table(manifest, key, not tables, found, failed, published))
    return tables


def _table(
    manifest: Manifest,
    key: ScoreKey,
    primary: bool,
    found: dict[str, Result],
    failed: dict[str, Failure],
    published: tuple[Published, ...],
) -> Table:
    scores = [score for result in found.values() if (score := key.find(result))]
    score = scores[0] if scores else None
    higher = score is None or score.higher_is_better
    rows: list[Row] = []
    floors: list[Row] = []
    skipped = dict(manifest.skipped)
    for method in manifest.methods:
        for label, floor, runs in _by_label(method, manifest.runs, found, failed):
            if floor and not runs:
                continue  # a trivial predictor that the dataset does not have
            cells = [_cell(n, runs, key, found, failed) for n in manifest.paired]
            if not floor:
                cells = [_with_published(cell, published, method) for cell in cells]
            done = [found[run.id] for run in runs if run.id in found]
            row = Row(
                method=method,
                label=label,
                summary=manifest.summaries.get(method, ""),
                cells=tuple(cells),
                wall_s=_mean(r.cost.get("wall_s") for r in done),
                updates=_mean(r.cost.get("updates") for r in done),
                parameters=Span.of(r.cost["parameters"] for r in done if "parameters" in r.cost),
                rules=_rules(done),
                full_budget=any(_has_full_budget(result) for result in done),
                skipped="" if runs else skipped.get(method, ""),
                tuned=_uses(manifest, method) if runs and not floor else None,
            )
            (floors if floor else rows).append(row)
    bars = [_best((row.cells[i].mean for row in floors), higher) for i in range(len(manifest.paired))]
    rows = _flag(rows, bars, higher)
    users = [found[run.id] for run in manifest.runs if run.id in found and not is_floor(found[run.id].config)]
    return Table(
        key=key,
        unit=score.unit if score else "",
        higher_is_better=higher,
        primary=primary,
        columns=tuple(_column(n, manifest, users, bar) for n, bar in zip(manifest.paired, bars, strict=True)),
        rows=tuple(rows),
        floors=tuple(floors),
        published=published,
        pooled=any(score.pooled is not None for score in scores),
        rules=_rules(users),
        val_pairs=Span.of(r.supervision["val_pairs"] for r in users if "val_pairs" in r.supervision),
    )


def _uses(manifest: Manifest, method: str) -> tuple[Use, ...] | None:
    if manifest.tuned is None:
        return None
    uses = [use for use in manifest.tuned if use.row == method]
    return tuple(sorted(uses, key=lambda use: -math.inf if use.best.amount is None else -use.best.amount))


def _cell(
    paired: float, runs: Sequence[PlannedRun], key: ScoreKey, found: dict[str, Result], failed: dict[str, Failure]
) -> Cell:
    here = [run for run in runs if run.paired is None or run.paired == paired]
    # A finished run that its method does not score so is not one to wait for.
    here = [run for run in here if run.id not in found or key.find(found[run.id])]
    done = [(run, found[run.id], score) for run in here if run.id in found and (score := key.find(found[run.id]))]
    results = [result for _, result, _ in done]
    values = np.array([score.value for _, _, score in done], dtype=np.float64)
    values = values[~np.isnan(values)]
    return Cell(
        paired=paired,
        runs=tuple(RunScore(run, score.value) for run, _, score in done),
        expected=len(here),
        failures=tuple(failed[run.id] for run in here if run.id in failed),
        mean=float(values.mean()) if values.size else None,
        sd=float(values.std(ddof=1)) if values.size > 1 else None,
        median=float(np.median(values)) if values.size else None,
        pairs=Span.of(r.supervision["pairs"] for r in results if "pairs" in r.supervision),
        val_pairs=Span.of(r.supervision["val_pairs"] for r in results if "val_pairs" in r.supervision),
        rules=_rules(results),
        wall_s=_mean(r.cost.get("wall_s") for r in results),
        updates=_mean(r.cost.get("updates") for r in results),
        independent=all(run.paired is None for run in runs) and bool(runs),
    )


def _with_published(cell: Cell, published: Sequence[Published], method: str) -> Cell:
    for block in published:
        values = block.values.get(method, {})
        if cell.independent and method in block.any_n:
            return replace(cell, published=next(iter(values.values())), published_by=block, published_any_n=True)
        if cell.paired in values:
            return replace(cell, published=values[cell.paired], published_by=block)
    return cell


def _column(paired: float, manifest: Manifest, users: Sequence[Result], floor: float | None) -> Column:
    # Runs that use no pairs are left out: the number of pairs that they saw is not the column's.
    here = {run.id for run in manifest.runs if run.paired == paired}
    seen = [result.supervision for result in users if result.id in here]
    x, y = (Span.of(s[view] for s in seen if view in s) for view in ("x", "y"))
    return Column(paired, manifest.unit, Span.of(s["pairs"] for s in seen if "pairs" in s), (x, y), floor)


def _flag(rows: Sequence[Row], bars: Sequence[float | None], higher: bool) -> list[Row]:
    tops = []
    for i in range(len(bars)):
        means = [row.cells[i].mean for row in rows]
        # A method alone in its column has beaten nobody.
        tops.append(_best(means, higher) if sum(mean is not None for mean in means) > 1 else None)
    flagged = []
    for row in rows:
        cells = []
        for cell, top, bar in zip(row.cells, tops, bars, strict=True):
            best, at_floor = _reaches(cell.mean, top, higher), _reaches(bar, cell.mean, higher)
            cells.append(replace(cell, best=best, at_floor=at_floor))
        flagged.append(replace(row, cells=tuple(cells)))
    return flagged


def _keys(manifest: Manifest, results: Sequence[Result]) -> list[ScoreKey]:
    primaries = [ScoreKey(r.primary.metric, r.primary.source, r.primary.target) for r in results if r.scores]
    keys = [ScoreKey(s.metric, s.source, s.target) for r in results for s in r.scores]
    named = [key for key in primaries + keys if key.metric == manifest.primary_metric]
    return list(dict.fromkeys(named[:1] + primaries + keys)) or [ScoreKey(manifest.primary_metric, "x", "y")]


def _by_label(
    method: str, runs: Sequence[PlannedRun], found: dict[str, Result], failed: dict[str, Failure]
) -> list[tuple[str, bool, list[PlannedRun]]]:
    """A method's runs under the name to print and whether it is a floor; each kind of floor apart."""
    named_so = method == "floor" or method.startswith(("floor-", "floor_"))
    groups: dict[tuple[str, bool], list[PlannedRun]] = {}
    for run in (run for run in runs if run.method == method):
        ended = found.get(run.id) or failed.get(run.id)
        if ended is None:
            label, floor = method, named_so
        elif is_floor(ended.config):
            kind = str(ended.config["method"].get("kind", ""))
            label, floor = FLOORS.get(kind, f"floor ({kind})" if kind else method), True
        else:
            label, floor = method, False
        groups.setdefault((label, floor), []).append(run)
    return [(label, floor, group) for (label, floor), group in groups.items()] or [(method, named_so, [])]


def _reaches(mean: float | None, bar: float | None, higher: bool) -> bool:
    """Whether a mean is as good as the bar; differences of rounding do not count."""
    if mean is None or bar is None:
        return False
    return math.isclose(mean, bar, rel_tol=1e-9) or (mean > bar if higher else mean < bar)


def _setting(result: Result) -> tuple[str, str]:
    return result.protocol, str(result.dataset.get("fingerprint"))


def _has_full_budget(result: Result) -> bool:
    return any(stage.get("budget") == "full" for stage in result.selection.get("stages", []))


def _rules(results: Iterable[Result]) -> tuple[str, ...]:
    return tuple(sorted({str(r.selection["rule"]) for r in results if "rule" in r.selection}))


def _best(means: Iterable[float | None], higher: bool) -> float | None:
    known = [mean for mean in means if mean is not None]
    return (max if higher else min)(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None
