"""From a frame of runs to tables: means and spreads over seeds, floors, ranks, published values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lsmbench.benchmarks.plan import Manifest, Published, Span, Unit, is_floor_word
from lsmbench.benchmarks.tuning import Use
from lsmbench.reports import folds
from lsmbench.reports.frame import FAILED, FINISHED, KEY, frame
from lsmbench.runs.results import Failure

_TIE = 1e-9  # relative; smaller differences are those of rounding


class ScoreKey(NamedTuple):
    """What a table is about: one metric on one test set in one direction of translation."""

    test_set: str
    metric: str
    source: str
    target: str

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame that hold this score."""
        return runs[(runs[KEY] == list(self)).all(axis=1)]


class Origin(NamedTuple):
    """Where runs come from: a benchmark, or a folder of runs that were trained on their own.

    Attributes:
        name: The benchmark's word, or the folder's name.
        folder: The benchmark's folder, or that folder.
        label: The word that the row goes by there.
        plan: The benchmark's plan; `None` for runs that are part of no benchmark's plan.
    """

    name: str
    folder: Path
    label: str
    plan: Manifest | None


class Ceiling(NamedTuple):
    """What a judge says of real targets.

    Attributes:
        kind: What the judge is, e.g. `classifier`.
        value: Its score, by the table's metric.
        samples: Number of real targets.
        digest: Of what it learnt from.
    """

    kind: str
    value: float
    samples: int
    digest: str


@dataclass(eq=False)
class Cell:
    """One method at one N: a group of the frame.

    Attributes:
        paired: N.
        runs: A row per seed with a score, in the order of the benchmark: a finished run, or all finished folds joined.
        unfinished: Planned runs without a result, one row each.
        each: A row per finished run that holds a score.
        unscored: Finished runs that hold no score at all, one row each.
        independent: Whether the runs use no pairs, so that the same ones stand at every N.
        published: The value that a paper reports.
        published_by: Where this value stands.
        published_any_n: Whether the paper's value is not this N's own but holds for every N.
        rank: 1 for the best mean of the column, equal means share a rank; `None` for floors and without a mean.
        best: Whether the mean is the best of several and better than the floor; says nothing about significance.
        at_floor: Whether the mean is no better than the best floor of its column.
    """

    paired: float
    runs: pd.DataFrame
    unfinished: pd.DataFrame
    each: pd.DataFrame
    unscored: pd.DataFrame
    independent: bool = False
    published: float | None = None
    published_by: Published | None = None
    published_any_n: bool = False
    rank: int | None = None
    best: bool = False
    at_floor: bool = False

    @cached_property
    def _progress(self) -> tuple[int, int, int]:
        return folds.progress(self.each, self.unfinished)

    @property
    def drawn(self) -> pd.DataFrame:
        """A row per finished run that may have kept pictures of translations."""
        return self.each if len(self.each) else self.unscored

    @property
    def finished(self) -> int:
        """Number of seeds with a score."""
        return len(self.runs)

    @property
    def expected(self) -> int:
        """Number of seeds that have, or may yet have, such a score."""
        return len(self.runs) + self._progress[2]

    @property
    def folds_finished(self) -> int:
        """Number of runs of folds, over all seeds, that hold a score."""
        return self._progress[0]

    @property
    def folds_expected(self) -> int:
        """Number of runs of folds, over all seeds, that hold, or may yet hold, such a score; 0 without folds."""
        return self._progress[1]

    @property
    def planned(self) -> int:
        """Number of runs that hold, or may yet hold, such a score."""
        return len(self.each) + len(self.unfinished)

    @property
    def whole(self) -> bool:
        """Whether no run is missing."""
        return self.finished >= self.expected and self.folds_finished >= self.folds_expected

    @property
    def failures(self) -> list[Failure]:
        """Records of the runs that ended without a result."""
        return list(self.unfinished.loc[self.unfinished["state"] == FAILED, "record"])

    @cached_property
    def mean(self) -> float | None:
        """Mean over seeds of the runs' scores; `None` without any score."""
        return _number(self.runs["value"].mean())

    @cached_property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (ddof 1); `None` with fewer than two."""
        return _number(self.runs["value"].std())

    @cached_property
    def median(self) -> float | None:
        """Median over seeds of the runs' scores."""
        return _number(self.runs["value"].median())

    @cached_property
    def wall_s(self) -> float | None:
        """Mean wall time of a run."""
        return _number(self.runs["wall_s"].mean())


@dataclass(eq=False)
class Row:
    """One method at every N: a group of the frame.

    Attributes:
        key: Unique among the rows of a table.
        label: What to print: the method's word, or which floor it is.
        method: The word that the benchmark calls it by.
        scores: The row's part of the frame.
        summary: One line about the method.
        floor: Whether it is a trivial predictor, which does not compete.
        skipped: Why the method is not run; empty if it is.
        tuned: Outcomes of sweeps that the runs use, the greatest N first; empty if none was found, `None` if none was
            asked for or if the row is a floor or not run.
        papers: Papers' values, with what N counts and the word that the row goes by there.
        origins: Where the runs of a board's row come from.
        differs: What tells the row from others of its label, e.g. `learning_rate 0.001`; empty if the label does.
        of: The row whose runs are evaluated with refined codes; empty for a row of runs of its own.
        cells: One per column of the table.
    """

    key: str
    label: str
    method: str
    scores: pd.DataFrame
    summary: str = ""
    floor: bool = False
    skipped: str = ""
    tuned: tuple[Use, ...] | None = None
    papers: list[tuple[Unit, str, Published]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    differs: str = ""
    of: str = ""
    cells: tuple[Cell, ...] = ()

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per finished run."""
        return finished(self.scores)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration of the first run that has ended, well or not; empty without one."""
        configs = (getattr(record, "config", None) for record in self.scores["record"])
        return next(filter(None, configs), {})

    @property
    def size(self) -> str:
        """The benchmark's size or, without one, the networks'."""
        sizes = [origin.plan.size for origin in self.origins if origin.plan and origin.plan.size]
        return str(next(iter(sizes), self.config.get("method", {}).get("network") or ""))

    @property
    def protocol(self) -> str:
        """How samples are supervised, e.g. `bank`."""
        return str((self.config.get("supervision") or {}).get("protocol", ""))

    @property
    def independent(self) -> bool:
        """Whether all of the row's runs hold for every N."""
        return all(cell.independent for cell in self.cells)

    @property
    def untuned(self) -> bool:
        """Whether the row has the benchmark's own parameters although tuned ones were asked for."""
        return self.tuned == ()

    @property
    def saw(self) -> str:
        """Whose weights the runs start from, if these learnt from other data; empty if they saw this data alone."""
        return "; ".join(sorted({record.saw for record in self.runs["record"]} - {""}))

    @property
    def wall_s(self) -> float | None:
        """Mean wall time of the row's runs."""
        return _number(self.runs["wall_s"].mean())

    @property
    def updates(self) -> float | None:
        """Mean number of updates of the row's runs."""
        return _number(self.runs["updates"].mean())

    @property
    def parameters(self) -> Span | None:
        """Number of trained parameters."""
        return spread(self.runs["parameters"])

    @property
    def rules(self) -> tuple[str, ...]:
        """Selection rules that the runs followed."""
        return words(self.runs["rule"])

    @property
    def full_budget(self) -> bool:
        """Whether runs train for all their epochs, whatever the validation says."""
        return bool(self.runs["full_budget"].any())


@dataclass(eq=False)
class Column:
    """One N.

    Attributes:
        unit: What N counts.
        paired: N.
        runs: Finished runs of methods that use pairs, one row each: what others saw is not the column's.
        floor: The best floor's mean, `None` without a finished floor.
    """

    unit: Unit
    paired: float
    runs: pd.DataFrame
    floor: float | None

    @property
    def amount(self) -> str:
        """N with its unit."""
        return self.unit.amount(self.paired)

    @property
    def pairs(self) -> Span | None:
        """Numbers of training pairs."""
        return spread(self.runs["pairs"])

    @property
    def told(self) -> bool:
        """Whether N itself tells the number of pairs, so that it need not be said again."""
        return self.unit.tells(self.paired, self.pairs)

    def singles(self, view: str) -> Span | None:
        """Numbers of training samples that show this view alone."""
        return spread(record.supervision.get(view, math.nan) for record in self.runs["record"])


@dataclass(eq=False)
class Table:
    """Methods × N for one metric on one test set in one direction of translation.

    Attributes:
        key: Test set, metric and direction of translation.
        unit: What the number means.
        higher_is_better: Direction of the metric.
        primary: Whether methods are compared by this table.
        columns: The values of N in order of display.
        rows: The methods in order of display.
        floors: Trivial predictors, which do not compete.
        published: Papers' values of this metric, by source.
        pooled: Whether a run's score is one value over all test samples together, not a mean over samples.
        names_test_set: Whether there are tables of other test sets, so that the title has to tell which it is.
        per_unit: Whether scores are those of units, such as patients, in place of samples.
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
    names_test_set: bool = False
    per_unit: bool = False

    @property
    def every_row(self) -> tuple[Row, ...]:
        """Methods, then floors."""
        return self.rows + self.floors

    @property
    def title(self) -> str:
        """The metric and the direction of translation; the test set where there are several."""
        said = f"{self.key.metric}, {self.key.source} → {self.key.target}" if self.key.source else self.key.metric
        return f"{said}, test set {self.key.test_set}" if self.names_test_set else said

    @property
    def ceiling(self) -> Ceiling | None:
        """The judge's score on real targets, where a judge turns predictions into what is scored and was tested."""
        for row in self.every_row:
            for score, record in row.scores[["score", "record"]].itertuples(index=False):
                judge = getattr(record, "judge", {})
                if "value" in judge and judge["metric"] == self.key.metric and score.target == self.key.target:
                    return Ceiling(judge["kind"], judge["value"], judge["samples"], judge["digest"])
        return None

    @property
    def better(self) -> str:
        """Whether `higher` or `lower` is better."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def cells(self) -> list[Cell]:
        """Those of the methods."""
        return [cell for row in self.rows for cell in row.cells]

    @property
    def runs(self) -> pd.DataFrame:
        """A row per finished run of a method."""
        return pd.concat([row.runs for row in self.rows]) if self.rows else frame([])

    @property
    def rules(self) -> tuple[str, ...]:
        """Selection rules of the methods' runs."""
        return words(self.runs["rule"])

    @property
    def val_pairs(self) -> Span | None:
        """Numbers of validation pairs that the methods' runs saw."""
        return spread(self.runs["val_pairs"])

    @property
    def folds(self) -> Span | None:
        """Number of folds that the scores are pooled over; `None` without folds."""
        return spread(n for row in self.every_row for cell in row.cells for n in cell.each["folds"])

    @property
    def seeds(self) -> int:
        """Most seeds of a method's cell."""
        return max((cell.finished for cell in self.cells), default=0)

    @property
    def used(self) -> list[Published]:
        """The sources of the published values that stand in the table."""
        return [block for block in self.published if any(cell.published_by is block for cell in self.cells)]


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of a frame, one row each."""
    return runs[runs["state"] == FINISHED].drop_duplicates("run")


def tabulate(plan: Manifest, runs: pd.DataFrame) -> list[Table]:
    """Derives a benchmark's tables, the one of the primary metric first.

    Args:
        plan: The benchmark's plan.
        runs: Its runs, all comparable with each other.

    Returns:
        One table per test set, metric and direction of translation; a single empty one without results.
    """
    scored = runs[runs["metric"].notna()]
    keys = [ScoreKey(*key) for key in pd.concat([scored[scored["primary"] == True], scored])[KEY].to_numpy()]  # noqa: E712
    keys = [key for key in keys if key.metric == plan.primary_metric][:1] + keys
    keys = list(dict.fromkeys(keys)) or [ScoreKey("test", plan.primary_metric, "", "")]
    columns = [(plan.unit, n) for n in plan.paired]
    skipped = {one.method: one.reason for one in plan.skipped}
    tables: list[Table] = []
    for key in keys:
        published = tuple(block for block in plan.published if _is_of(block, key, [table.key for table in tables]))
        rows: list[Row] = []
        for method in plan.methods:
            mine = runs[runs["label"] == method]
            summary = plan.summaries.get(method, "")
            for label, group in mine.groupby("row", sort=False):
                row = Row(str(label), str(label), method, group, summary, floor=bool(group["floor"].iloc[0]))
                row.of = plan.evaluated.get(method, "")
                if not row.floor:
                    row.tuned = plan.uses(method)
                    row.papers = [(plan.unit, method, block) for block in published]
                rows.append(row)
            # A trivial predictor that the dataset does not have is not worth a row.
            if mine.empty and not is_floor_word(method):
                rows.append(Row(method, method, method, mine, summary, skipped=skipped.get(method, "")))
        sets = len({one.test_set for one in keys})
        tables.append(table(key, rows, columns, not tables, published, sets > 1))
    return tables


def _is_of(block: Published, key: ScoreKey, before: Sequence[ScoreKey]) -> bool:
    """Whether a paper's values are of a table's score, the table coming after those of other scores.

    A paper reports one direction of translation: the first that has the metric, on its test set.
    """
    if block.metric != key.metric or block.test_set not in ("", key.test_set):
        return False
    return not any(one.metric == key.metric and block.test_set in ("", one.test_set) for one in before)


def table(
    key: ScoreKey,
    rows: Sequence[Row],
    columns: Sequence[tuple[Unit, float]],
    primary: bool = True,
    published: tuple[Published, ...] = (),
    names_test_set: bool = False,
) -> Table:
    """Makes a table of rows.

    Args:
        key: Which score.
        rows: The rows, still without cells.
        columns: The values of N, with what they count.
        primary: See `Table`, as for what follows.
        published: Papers' values.
        names_test_set: Whether the title tells the test set.
    """
    scored = pd.concat([key.of(row.scores) for row in rows]) if rows else None
    first = None if scored is None or scored.empty else scored.iloc[0]
    higher = first is None or bool(first["higher_is_better"])
    floors, methods = (tuple(row for row in rows if row.floor is floor) for floor in (True, False))
    users = [row.runs for row in methods]
    made = []
    for unit, n in columns:
        cells = [_cell(row, key, unit, n) for row in rows]
        for row, cell in zip(rows, cells, strict=True):
            row.cells += (cell,)
        bar = _best([row.cells[-1].mean for row in floors], higher)
        _compare([row.cells[-1] for row in methods], bar, higher)
        here = [runs[(runs["paired"] == n) & (runs["counts"] == unit)] for runs in users]
        made.append(Column(unit, n, pd.concat(here) if here else frame([]), bar))
    return Table(
        key=key,
        unit="" if first is None else first["score"].unit,
        higher_is_better=higher,
        primary=primary,
        columns=tuple(made),
        rows=methods,
        floors=floors,
        published=published,
        pooled=scored is not None and bool((scored["pooled"] == True).any()),  # noqa: E712
        names_test_set=names_test_set,
        per_unit=first is not None and first["score"].per_unit,
    )


def spread(values: Iterable[float]) -> Span | None:
    """The smallest and the largest of the known values."""
    return Span.of(value for value in values if not math.isnan(value))


def words(values: pd.Series) -> tuple[str, ...]:
    """The known words, each once, in order."""
    return tuple(sorted({str(value) for value in values.dropna()}))


def _cell(row: Row, key: ScoreKey, unit: Unit, n: float) -> Cell:
    free = row.scores["paired"].isna()
    here = row.scores[free | ((row.scores["paired"] == n) & (row.scores["counts"] == unit))]
    # A finished run that its method does not score so is not one to wait for.
    scored, ended = key.of(here), here["state"] == FINISHED
    unscored = here[ended & here["metric"].isna()]
    cell = Cell(n, folds.pooled(scored), here[~ended], scored, unscored, bool(free.all() and len(free)))
    for counts, word, block in row.papers:
        values = block.values.get(word, {}) if counts is unit else {}
        any_n = cell.independent and word in block.any_n
        if values and (any_n or n in values):
            value = next(iter(values.values())) if any_n else values[n]
            cell.published, cell.published_by, cell.published_any_n = value, block, any_n
            break
    return cell


def _compare(cells: Sequence[Cell], bar: float | None, higher: bool) -> None:
    """Ranks the cells of a column's methods, and compares them with the best floor."""
    known = [cell.mean for cell in cells if cell.mean is not None]
    for cell in cells:
        if (mean := cell.mean) is not None:
            cell.rank = 1 + sum(_better(other, mean, higher) for other in known)
            cell.at_floor = bar is not None and not _better(mean, bar, higher)
            # A method alone in its column has beaten nobody, and one at the floor has learnt nothing.
            cell.best = cell.rank == 1 and len(known) > 1 and not cell.at_floor


def _better(one: float, other: float, higher: bool) -> bool:
    return (one > other if higher else one < other) and not math.isclose(one, other, rel_tol=_TIE)


def _best(means: Iterable[float | None], higher: bool) -> float | None:
    known = [mean for mean in means if mean is not None]
    return (max if higher else min)(known) if known else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
