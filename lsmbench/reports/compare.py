"""Rows compared with each other: is one better, how sure is that, and what would more seeds bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table as RichTable
from rich.text import Text

from lsmbench.arguments import nearest
from lsmbench.benchmarks.plan import BENCHMARK, PlannedRun, is_floor_word
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.about import about
from lsmbench.reports.board import boards
from lsmbench.reports.frame import Benchmark, read, read_benchmark
from lsmbench.reports.scored import Scored, adjusted, differences
from lsmbench.reports.statistics import LEVEL
from lsmbench.reports.table import Column, Row, Table, tabulate


@dataclass(frozen=True)
class Comparison:
    """A row beside another one at one N.

    Attributes:
        one: The row that is asked about.
        other: The one that it is compared with.
        amount: N, with its unit.
        metric: The metric's word.
        apart: How much better `one` is, on the same seeds and samples; `None` if they share none.
        p: The p-value, adjusted by Holm if there are several comparisons at this N; NaN without an interval.
        of: Number of these comparisons.
        margin: How far apart rows may be to be practically equal; `None` if nobody said.
        why: Why there is no interval; empty if there is one.
        digits: Decimals of the scores.
    """

    one: str
    other: str
    amount: str
    metric: str
    apart: Scored | None
    p: float
    of: int
    margin: float | None
    why: str
    digits: int

    @property
    def mean(self) -> float:
        """How much better `one` is; NaN if the rows share no seed."""
        return math.nan if self.apart is None else self.apart.crossed.mean

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval's width; NaN without an interval."""
        return math.nan if self.apart is None else self.apart.half_width

    @property
    def differ(self) -> bool:
        """Whether one is certainly better than the other."""
        return self.p <= 1 - LEVEL

    @property
    def equal(self) -> bool:
        """Whether the interval lies within the margin."""
        return self.margin is not None and abs(self.mean) + self.half_width <= self.margin

    @property
    def interval(self) -> str:
        """The 95 % interval of how much better `one` is, in words; empty without one."""
        if self.why:
            return ""
        ends = (self.mean - self.half_width, self.mean + self.half_width)
        return " to ".join(markup.signed(end, self.digits + 1) for end in ends)

    @property
    def said(self) -> str:
        """What the difference amounts to, in a word or two."""
        if self.why:
            return self.why
        if self.differ:
            return ("better" if self.mean > 0 else "worse") + (", practically equal" if self.equal else "")
        return "practically equal" if self.equal else "not told apart"

    @property
    def more_seeds(self) -> int | None:
        """How many more seeds would halve the interval; `None` if no number would."""
        if self.apart is None or self.apart.fixed:
            return None
        found = self.apart.crossed
        needed = found.seeds_to(found.half_width() / 2)
        return None if needed is None else needed - found.seeds


def tables_of(folder: Path, rows: Sequence[str] = (), paired: Sequence[float] = ()) -> tuple[list[Table], list[str]]:
    """The tables of a benchmark's folder, or the boards of any other folder of results.

    Args:
        folder: Where results lie.
        rows: Rows to read, with the floors; without any, all.
        paired: Values of N to read; without any, all.

    Returns:
        The tables, and sentences about what is not in them.

    Raises:
        UserError: If the folder is missing, or holds no result.
    """
    floors = any(is_floor_word(row.partition(" ")[0]) for row in rows)

    def needed(run: PlannedRun) -> bool:
        named = run.method in rows or (floors and is_floor_word(run.method))
        return named and (not paired or run.paired in (None, *paired))

    wanted = needed if rows else None
    if not (folder / BENCHMARK).exists():
        found = read([folder], wanted)
        made = boards(found)
        if not made:
            raise UserError(f"{folder}: holds no finished run with scores{' of these rows' if rows else ''}.")
        return [one.table for one in made], list(found.problems)
    benchmark = read_benchmark(folder, wanted)
    tables = tabulate(benchmark.plan, benchmark.runs)
    return tables, [message for _, message in benchmark.problems] + _doubts(benchmark, tables[0])


def _doubts(benchmark: Benchmark, table: Table) -> list[str]:
    return markup.sentences(about(benchmark, table), "doubts", table, benchmark.plan)


def chosen(tables: Sequence[Table], metric: str | None, test_set: str | None, target: str | None) -> Table:
    """The table that options name; the first one where they say nothing.

    Raises:
        UserError: If there is none.
    """
    left = list(tables)
    for option, attribute, value in (
        ("--metric", "metric", metric),
        ("--test-set", "test_set", test_set),
        ("--target", "target", target),
    ):
        if value is None:
            continue
        known = list(dict.fromkeys(str(getattr(table.key, attribute)) for table in left))
        left = [table for table in left if getattr(table.key, attribute) == value]
        if not left:
            raise UserError(f"{option}: there is no {value!r}{nearest(value, known)} Known: {', '.join(known)}.")
    return left[0]


def compare(
    table: Table, one: str | None = None, other: str | None = None, paired: Sequence[float] = (),
    margin: float | None = None,
) -> list[Comparison]:  # fmt: skip
    """Compares rows of a table at each N.

    Args:
        table: The table.
        one: The row that is asked about; `None`: every row.
        other: The row to compare with; `None`: that of the best mean, which differs between N.
        paired: Values of N; without any, all.
        margin: How far apart rows may be to be practically equal; `None`: what the benchmark says.

    Raises:
        UserError: If there is no such row or N, or the margin is not of the scores' size.
    """
    margin = table.margin if margin is None else _checked(margin, table)
    first, second = (None if label is None else _row(table, label) for label in (one, other))
    known = [column.paired for column in table.columns]
    for n in paired:
        if n not in known:
            raise UserError(f"--paired: there is no result at N = {n:g}; N: {', '.join(f'{n:g}' for n in known)}.")
    found = []
    for at, column in enumerate(table.columns):
        if not paired or column.paired in paired:
            found += _at(table, column, at, [first] if first else list(table.rows), second, margin)
    return found


def shown(found: Sequence[Comparison]) -> RichTable:
    """Makes a table for the terminal of several rows at one N, each compared with the same other row."""
    first = found[0]
    rich = RichTable(title=Text(f"N = {first.amount}: compared with {first.other}"), title_justify="left")
    rich.add_column("row", min_width=12)
    adjusted_for = f"p (Holm, {first.of})" if first.of > 1 else "p"
    for head in (f"{first.metric} better by", "95 % interval", adjusted_for, "from seeds"):
        rich.add_column(head, justify="right")
    rich.add_column("")
    for one in found:
        share = one.apart.crossed.share_of_seeds if one.apart is not None else math.nan
        style = "" if not one.differ else "bold green" if one.mean > 0 else "yellow"
        rich.add_row(
            Text(one.one), markup.signed(one.mean, one.digits + 1), one.interval, markup.fixed(one.p, 3),
            "" if math.isnan(share) else f"{100 * share:.0f} %", Text(one.said, style=style),
        )  # fmt: skip
    return rich


def _row(table: Table, label: str) -> Row:
    """The row of a label, or the first of a method's word, such as `floor`."""
    rows = {row.method: row for row in reversed(table.every_row)} | {row.label: row for row in table.every_row}
    if label not in rows:
        known = [row.label for row in table.every_row]
        raise UserError(f"{label!r} is no row here{nearest(label, known)} Rows: {'; '.join(known)}.")
    return rows[label]


def _at(
    table: Table, column: Column, at: int, ones: list[Row], other: Row | None, margin: float | None
) -> list[Comparison]:
    reference = other or _leader(table, at)
    rows = [row for row in ones if row is not reference and row.cells[at].mean is not None]
    if reference is None or reference.cells[at].scored is None:
        return []
    apart = differences([row.cells[at].scored for row in rows], reference.cells[at].scored)
    digits = markup.digits(table)
    return [
        Comparison(
            row.label, reference.label, column.amount, table.key.metric, one, p, len(rows), margin,
            "" if not math.isnan(p) else _why(one, row, reference, at), digits,
        )
        for row, one, p in zip(rows, apart, adjusted(apart), strict=True)
    ]  # fmt: skip


def _leader(table: Table, at: int) -> Row | None:
    """The row of the best mean, among those with an interval if there are some."""
    known = [row for row in table.rows if row.cells[at].mean is not None]
    known = [row for row in known if row.cells[at].half_width is not None] or known
    return min(known, key=lambda row: row.cells[at].rank or 0, default=None)


def _why(apart: Scored | None, one: Row, other: Row, at: int) -> str:
    """Why a difference has no interval."""
    if apart is None:
        both = [row.cells[at].scored for row in (one, other)]
        same = both[0] is not None and both[1] is not None and both[0].units == both[1].units
        return "they share no seed" if same else "they were tested on different samples"
    if len(apart.seeds) == 1 and not apart.fixed:
        return "they share a single seed, so that there is no interval"
    said = [sentence for row in (one, other) for sentence in row.cells[at].left_out]
    return said[0].rstrip(".") if said else "there is a single test sample, so that there is no interval"


def _checked(margin: float, table: Table) -> float:
    """A margin, if it can be one of the table's scores.

    Raises:
        UserError: If it is not above 0, or calls all rows equal.
    """
    means = [cell.mean for row in table.every_row for cell in row.cells if cell.mean is not None]
    if not margin > 0 or math.isinf(margin):
        raise UserError(f"--margin: expected a number above 0 in the unit of {table.key.metric}, found {margin:g}.")
    if len(means) > 1 and margin > (spread := max(means) - min(means)):
        raise UserError(
            f"--margin {margin:g}: the whole table spans {spread:.3g}, so that all rows were equal. The unit of "
            f"{table.key.metric} is: {table.unit}."
        )
    return margin
