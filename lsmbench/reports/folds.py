"""The runs of several folds as one: the scores of one method, N and seed on all pairs, each scored once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lsmbench.reports.pooling import way_of
from lsmbench.scores import Score


def pooled(runs: pd.DataFrame) -> pd.DataFrame:
    """Joins the folds of each seed.

    Args:
        runs: Lines of a frame with one score of one row at one N, a line per run.

    Returns:
        A line per seed: that of its first fold, with the score of all folds and the mean time of a run. Runs without
        folds stay as they are.
    """
    if runs["folds"].isna().all():
        return runs
    lines = []
    for _, group in runs.groupby(_seed(runs), sort=False):
        if group["folds"].isna().any():
            lines.append(group)
            continue
        group = group.sort_values("fold", kind="stable").drop_duplicates("fold")
        score = merged(list(group["score"]))
        line = group.iloc[[0]].copy()
        line["score"] = pd.Series([score], index=line.index, dtype=object)
        line["value"], line["n"], line["wall_s"] = score.value, len(score.indices), group["wall_s"].mean()
        lines.append(line)
    return pd.concat(lines)


def progress(scored: pd.DataFrame, unfinished: pd.DataFrame) -> tuple[int, int, int]:
    """How far the folds of a cell have come.

    Args:
        scored: Runs with a score, one line each.
        unfinished: Planned runs without a result.

    Returns:
        Number of runs of folds with a score; number of such runs that there are or may yet be; and number of seeds of
        which no fold has a score, a run without folds counting as a seed.
    """
    if not len(unfinished) and scored["folds"].isna().all():
        return 0, 0, 0
    scored, waiting = scored[scored["folds"].notna()], unfinished[unfinished["fold"].notna()]
    without = set(_seed(waiting)) - set(_seed(scored))
    done = len(scored.drop_duplicates(["seed", "fold"]))
    # Of runs that are part of no plan, those to come are known by the number of folds alone.
    each = scored.groupby(_seed(scored))["folds"].first().sum() if done else 0
    planned = done + len(waiting)
    return done, max(planned, int(each)), len(without) + int(unfinished["fold"].isna().sum())


def merged(scores: Sequence[Score]) -> Score:
    """One score of several folds' scores, over the samples of all.

    A sample that several folds scored, as those of a further test set are, has the mean of its scores.

    Args:
        scores: Of one metric, direction and test set; at least one.

    Returns:
        The score. Its `pooled` value, of a metric that is no mean over samples, is computed anew from the sum of all
        confusion matrices; NaN if no known way to compute it gives the folds' own values.
    """
    first = scores[0]
    values: dict[int, list[float]] = {}
    units: dict[int, str] = {}
    counts: dict[int, NDArray[np.int64]] = {}
    for score in scores:
        for place, number in enumerate(score.indices):
            values.setdefault(number, []).append(score.values[place])
            if score.units is not None:
                units[number] = score.units[place]
            if score.counts is not None:
                before = counts.get(number)
                counts[number] = score.counts[place] if before is None else before + score.counts[place]
    numbers = sorted(values)
    whole = all(score.counts is not None for score in scores)
    return first.model_copy(
        update={
            "indices": numbers,
            "values": [_mean(values[number]) for number in numbers],
            "units": None if any(score.units is None for score in scores) else [units[number] for number in numbers],
            "confusion": _summed([score.confusion for score in scores]),
            "counts": np.stack([counts[number] for number in numbers]) if whole and numbers else None,
            "pooled": None if all(score.pooled is None for score in scores) else _pooled_value(scores),
        }
    )


def _summed(confusions: Sequence[list[list[int]] | None]) -> list[list[int]] | None:
    """The sum of confusion matrices of one size; `None` if one is missing."""
    known = [np.array(confusion) for confusion in confusions if confusion is not None]
    if len(known) < len(confusions) or len({one.shape for one in known}) != 1:
        return None
    summed: list[list[int]] = np.sum(known, axis=0).tolist()
    return summed


def _pooled_value(scores: Sequence[Score]) -> float:
    """The value over the samples of all folds, by the way that gives each fold's own value."""
    way = way_of(scores)
    return math.nan if way is None else float(way(sum(np.asarray(score.counts).sum(0) for score in scores)[None])[0])


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _seed(runs: pd.DataFrame) -> pd.Series:
    """The seed of each line; -1 where a run holds for all."""
    return runs["seed"].fillna(-1).astype(int)
