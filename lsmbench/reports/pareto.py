"""Score beside cost: which rows no other one beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from lsmbench.reports.cell import Cell

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 130, 14, 44  # room for the axes' words, and for names on the right
_LINE, _NAME = 14, 110  # height and usual width of a name


class Point(NamedTuple):
    """A row in the picture.

    Attributes:
        label: The row's.
        x: Place of its mean time, in pixels.
        y: Place of its mean score; better ones are higher.
        low: Place of one end of the interval; that of the score without one.
        high: Place of the other end.
        front: Whether no other row is as good in less time, or better in the same.
        said: Score and time in words.
        name_y: Place of its name, which keeps clear of other names.
    """

    label: str
    x: float
    y: float
    low: float
    high: float
    front: bool
    said: str
    name_y: float


class Tick(NamedTuple):
    """A number at an axis, and its place."""

    at: float
    said: str


class Pareto(NamedTuple):
    """Rows by time and score.

    Attributes:
        points: The rows.
        line: The front's points as SVG wants them.
        times: Ticks of the time, whose axis is logarithmic.
        scores: Ticks of the score.
        floor: Place of the best floor's score; `None` without one.
    """

    points: tuple[Point, ...]
    line: str
    times: tuple[Tick, ...]
    scores: tuple[Tick, ...]
    floor: float | None


def pareto(rows: Sequence[tuple[str, Cell]], floor: float | None, higher: bool, digits: int) -> Pareto | None:
    """Places the rows of one N; rows that evaluate other rows' runs again are left out, since their time is no run's.

    Args:
        rows: Labels and cells of methods.
        floor: The best floor's mean.
        higher: Whether higher scores are better.
        digits: Decimals of a score.

    Returns:
        `None` with fewer than two rows that have a score and a time.
    """
    from lsmbench.reports.markup import duration, fixed

    known = [
        (label, cell.mean, max(cell.wall_s, 0.01), cell.half_width or 0.0)
        for label, cell in rows
        if cell.mean is not None and cell.wall_s is not None and cell.updates is not None
    ]
    if len(known) < 2:
        return None
    sign = 1 if higher else -1
    means, times = [mean for _, mean, *_ in known], [math.log10(time) for _, _, time, _ in known]
    means += [] if floor is None else [floor]
    span = max(means) - min(means) or abs(means[0]) or 1.0
    low, high = min(means) - 0.12 * span, max(means) + 0.12 * span
    first, last = min(times) - 0.08, max(times) + 0.08

    def across(log: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (log - first) / (last - first), 1)

    def down(score: float) -> float:
        share = (min(max(score, low), high) - low) / (high - low)
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (share if higher else 1 - share), 1)

    points: list[Point] = []
    named: list[tuple[float, float]] = []  # places of names
    for (label, mean, time, half), log in sorted(zip(known, times, strict=True), key=itemgetter(1)):
        front = not any(
            (other_time <= time and sign * (other - mean) > 0) or (other_time < time and other == mean)
            for _, other, other_time, _ in known
        )
        said = f"{label}: {fixed(mean, digits)}{' ± ' + fixed(half, digits) if half else ''} in {duration(time)}"
        x = across(log)
        y = name_y = down(mean)
        while front and any(abs(name_y - at) < _LINE and abs(x - left) < _NAME for left, at in named):
            name_y += _LINE
        named += [(x, name_y)] if front else []
        points.append(Point(label, x, y, down(mean - half), down(mean + half), front, said, name_y + 4))
    line = " ".join(f"{one.x:g},{one.y:g}" for one in points if one.front)
    units = (0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 360000)
    shown = [value for value in units if first <= math.log10(value) <= last] or [10 ** times[0], 10 ** times[-1]]
    ends = (min(means), (min(means) + max(means)) / 2, max(means))
    return Pareto(
        tuple(points), line, tuple(Tick(across(math.log10(value)), duration(value)) for value in shown),
        tuple(Tick(down(value), fixed(value, digits)) for value in dict.fromkeys(ends)),
        None if floor is None else down(floor),
    )  # fmt: skip
