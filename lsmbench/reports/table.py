"""From a frame of runs to tables: means and their intervals, floors, which rows are best, published values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsmbench.benchmarks.plan import Looks, Manifest, Published, Span, Unit, is_floor_word
from lsmbench.benchmarks.tuning import Use
from lsmbench.reports import folds
from lsmbench.reports.cell import Cell
from lsmbench.reports.frame import FINISHED, KEY, frame
from lsmbench.reports.statistics import Crossed
from lsmbench.reports.verdict import Verdict, compared


class ScoreKey(NamedTuple):
    """What a table is about: one metric on one test set in one direction of translation."""

    test_set: str
    metric: str
    source: str
    target: str

    def held(self, runs: pd.DataFrame) -> NDArray[np.bool_]:
        """Which lines of a frame hold this score."""
        held = np.ones(len(runs), np.bool_)
        for name, word in zip(KEY, self, strict=True):  # pandas compares a frame with a list ten times as slowly
            held &= runs[name].to_numpy(object) == word
        return held

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The lines of a frame that hold this score."""
        return runs[self.held(runs)]


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
        half_width: Half of the width of the score's 95 % interval, of a share of samples; `None` for other scores.
    """

    kind: str
    value: float
    samples: int
    digest: str
    half_width: float | None = None


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
        looks: How the number of its seeds was decided; `None` if it was given.
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
    looks: Looks | None = None
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

    @cached_property
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
        verdict: What can be said of the methods.
    """

    unit: Unit
    paired: float
    runs: pd.DataFrame
    floor: float | None
    verdict: Verdict

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
        margin: How far apart two rows may be to be practically equal; `None` if the benchmark does not say.
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
    margin: float | None = None

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
                    value, count = judge["value"], judge["samples"]
                    half = None
                    if "share of samples" in self.unit and count > 1:  # each sample scores 0 or 1
                        spread = count * value * (1 - value) / (count - 1)
                        half = Crossed(value, 1, count, 0.0, spread, 0.0, fixed=True).half_width()
                    return Ceiling(judge["kind"], value, count, judge["digest"], half)
        return None

    @property
    def better(self) -> str:
        """Whether `higher` or `lower` is better."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def looks(self) -> Looks | None:
        """How the number of seeds was decided; `None` if it was given."""
        return next((row.looks for row in self.rows if row.looks is not None), None)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Why runs have no part in an interval, in sentences, with the rows' labels."""
        said: dict[str, list[str]] = {}
        for row in self.rows:
            for sentence in dict.fromkeys(sentence for cell in row.cells for sentence in cell.left_out):
                said.setdefault(sentence, []).append(row.label)
        return said

    @property
    def grouped(self) -> bool:
        """Whether what is drawn anew in intervals are patients, persons or scenes, not samples."""
        return any(cell.scored is not None and cell.scored.grouped for row in self.every_row for cell in row.cells)

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
                row.of, row.looks = plan.evaluated.get(method, ""), plan.looks
                if not row.floor:
                    row.tuned = plan.uses(method)
                    row.papers = [(plan.unit, method, block) for block in published]
                rows.append(row)
            # A trivial predictor that the dataset does not have is not worth a row.
            if mine.empty and not is_floor_word(method):
                rows.append(Row(method, method, method, mine, summary, skipped=skipped.get(method, "")))
        sets = len({one.test_set for one in keys})
        margin = plan.margins.get(key.metric)
        tables.append(table(key, rows, columns, not tables, published, sets > 1, margin))
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
    margin: float | None = None,
) -> Table:
    """Makes a table of rows.

    Args:
        key: Which score.
        rows: The rows, still without cells.
        columns: The values of N, with what they count.
        primary: See `Table`, as for what follows.
        published: Papers' values.
        names_test_set: Whether the title tells the test set.
        margin: See `Table`.
    """
    scored = pd.concat([key.of(row.scores) for row in rows]) if rows else None
    first = None if scored is None or scored.empty else scored.iloc[0]
    higher = first is None or bool(first["higher_is_better"])
    floors, methods = (tuple(row for row in rows if row.floor is floor) for floor in (True, False))
    users = pd.concat([row.runs for row in methods]) if methods else frame([])
    places = [_Places.of(row.scores, key) for row in rows]
    made = []
    for unit, n in columns:
        cells = [_cell(row, found, unit, n) for row, found in zip(rows, places, strict=True)]
        for row, cell in zip(rows, cells, strict=True):
            row.cells += (cell,)
        bar = _best([row.cells[-1] for row in floors], higher)
        verdict = compared([(row.label, row.cells[-1]) for row in methods], bar, higher, margin)
        here = users[(users["paired"] == n) & (users["counts"] == unit)]
        made.append(Column(unit, n, here, bar.mean if bar else None, verdict))
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
        margin=margin,
    )


def spread(values: Iterable[float]) -> Span | None:
    """The smallest and the largest of the known values."""
    return Span.of(value for value in values if not math.isnan(value))


def words(values: pd.Series) -> tuple[str, ...]:
    """The known words, each once, in order."""
    return tuple(sorted({str(value) for value in values.dropna()}))


@dataclass(frozen=True)
class _Places:
    """Which lines of a row's frame hold a table's score, and at which N; and its frame without a line."""

    key: NDArray[np.bool_]
    none: pd.DataFrame
    free: NDArray[np.bool_]
    paired: NDArray[np.float64]
    counts: NDArray[np.object_]
    ended: NDArray[np.bool_]
    scoreless: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: pd.DataFrame, key: ScoreKey) -> _Places:
        """Those of a row."""
        return cls(
            key.held(scores),
            scores.iloc[:0],
            scores["paired"].isna().to_numpy(),
            scores["paired"].to_numpy(float),
            scores["counts"].to_numpy(),
            (scores["state"] == FINISHED).to_numpy(),
            scores["metric"].isna().to_numpy(),
        )


def _cell(row: Row, places: _Places, unit: Unit, n: float) -> Cell:
    free = places.free
    here = free | ((places.paired == n) & (places.counts == unit))
    # A finished run that its method does not score so is not one to wait for.
    scored, unfinished, unscored = (
        row.scores[mask] if mask.any() else places.none
        for mask in (here & places.key, here & ~places.ended, here & places.ended & places.scoreless)
    )
    independent = bool(free.all() and len(free))
    cell = Cell(n, folds.pooled(scored), unfinished, scored, unscored, independent, looks=row.looks)
    for counts, word, block in row.papers:
        values = block.values.get(word, {}) if counts is unit else {}
        any_n = cell.independent and word in block.any_n
        if values and (any_n or n in values):
            value = next(iter(values.values())) if any_n else values[n]
            cell.published, cell.published_by, cell.published_any_n = value, block, any_n
            break
    return cell


def _best(cells: Iterable[Cell], higher: bool) -> Cell | None:
    """The cell of the best mean."""
    known = [(cell.mean, cell) for cell in cells if cell.mean is not None]
    return (max if higher else min)(known, key=itemgetter(0))[1] if known else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
