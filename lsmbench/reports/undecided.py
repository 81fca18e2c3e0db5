"""Where more seeds are needed: which differences to the best row are not known well enough."""

from __future__ import annotations

import math

from lsmbench.reports.compare import compare
from lsmbench.reports.table import Table


def undecided(table: Table, precision: float) -> set[tuple[str, float | None]]:
    """The rows and N that need a further seed.

    The difference of a row to the row of the best mean is decided if half of its interval's width is at most the
    precision, or if the row is surely worse by more than the precision. The best row needs a seed as long as another
    row of its N does.

    Args:
        table: The primary table.
        precision: In the metric's unit.

    Returns:
        The benchmark's words of rows, each with N, or with `None` if its runs hold for every N.
    """
    rows = {row.label: row for row in table.rows}
    needed: set[tuple[str, float | None]] = set()
    for column in table.columns:
        found = [one for one in compare(table, paired=[column.paired]) if not math.isnan(one.half_width)]
        open_ones = [one for one in found if not decided(one.mean, one.half_width, precision)]
        for label in {label for one in open_ones for label in (one.one, one.other)}:
            row = rows[label]
            needed.add((row.of or row.method, None if row.independent else column.paired))
    return needed


def decided(mean: float, half_width: float, precision: float) -> bool:
    """Whether a difference to the best is known well enough.

    Args:
        mean: How much better the row is than the best, so that it is below 0.
        half_width: Of its interval.
        precision: Wanted.
    """
    return half_width <= precision or mean + half_width < -precision
