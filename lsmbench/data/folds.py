"""Folds: few pairs, dealt so that each is tested on once, by a run that never saw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.pools import TEST, TRAIN, VAL, Numbers, Pools
from lsmbench.errors import UserError

Folds = int | Literal["leave_one_out"]
"""A number of folds, or as many as there are units of pairs."""

OPTION = "supervision.folds"
_USUAL, _FEW, _LEAST = 5, 100, 2
_VALIDATES = 8  # one in so many units that are not tested


@dataclass(frozen=True)
class Folded:
    """Pools in the parts of one fold.

    Attributes:
        pools: The same samples with the same numbers, in other parts.
        folds: Number of folds.
        unused: Number of samples without a pair that are not trained on, since their unit is tested or validates.
    """

    pools: Pools
    folds: int
    unused: int


def number_of_folds(pools: Pools, folds: Folds, views: Sequence[str]) -> int:
    """How many folds there are.

    Args:
        pools: The dataset's pools.
        folds: What is asked for.
        views: Source and target: samples that have both are pairs.

    Raises:
        UserError: If fewer than two folds are asked for, or more than there are pairs or units of them; or if there is
            one unit only.
    """
    pairs = _pairs(pools, views)
    units = len(set(_units(pools, pairs)))
    said = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    said += "" if units == len(pairs) else " of 1 unit" if units == 1 else f" of {units} units"
    count = units if folds == "leave_one_out" else int(folds)
    if not units:
        raise UserError(
            f"{OPTION}: {pools.origin} has no sample with both {' and '.join(views)}, hence no pair to deal."
        )
    if units < _LEAST:
        raise UserError(
            f"{OPTION}: {pools.origin} has {said}, of which none is left to train with when it is tested; at least "
            f"{_LEAST} are needed. Add pairs" + (" of other units" if len(pairs) > 1 else "") + ", or leave the folds "
            "out (folds: null)."
        )
    if count < 2:
        raise UserError(f"{OPTION}: expected at least 2 folds, or leave_one_out; found {count}.")
    if count > units:
        raise UserError(
            f"{OPTION}: {count} folds were asked for, and {pools.origin} has {said}. Ask for at most {units}, or for "
            "leave_one_out."
        )
    return count


def few_folds(pools: Pools, views: Sequence[str]) -> int | None:
    """In how many folds to cross-validate pairs by default: 5, or as many as there are units, if there are below 100.

    `None`, one split, for 100 pairs or more, where a test set of a fifth holds enough, and for a single unit.
    """
    pairs = _pairs(pools, views)
    units = len(set(_units(pools, pairs)))
    return min(_USUAL, units) if len(pairs) < _FEW and units >= _LEAST else None


def folded(pools: Pools, folds: Folds, fold: int, views: Sequence[str], seed: int | None = None) -> Folded:
    """Deals the pairs to folds, of which one is the part `test`.

    The parts train, val and test of the dataset are dissolved. Units of pairs are never divided; the folds are as even
    as they allow, and the same for every method, N and seed. Of the units that are not tested an eighth
    validates, at least one, and the others train; where one is left, it trains, and none validates. Samples that lack
    source or target train in every fold, except those whose unit is tested or validates. Further test sets stay as
    they are.

    Args:
        pools: The dataset's pools.
        folds: As `number_of_folds`.
        fold: Which fold is tested, from 0.
        views: Source and target.
        seed: Of the deal; `None`: 0.

    Raises:
        UserError: As `number_of_folds`; or if there is no such fold.
    """
    count = number_of_folds(pools, folds, views)
    if not 0 <= fold < count:
        raise UserError(f"supervision.fold: expected 0 to {count - 1}, since there are {count} folds; found {fold}.")
    pairs = _pairs(pools, views)
    unit = np.array(_units(pools, pairs))
    known, sizes = np.unique(unit, return_counts=True)
    dealt = _deal(sizes, count, seed or 0)
    rest = np.random.default_rng((seed or 0, 23, fold)).permutation(np.flatnonzero(dealt != fold))
    validating = rest[: max(1, len(rest) // _VALIDATES)] if len(rest) > 1 else rest[:0]
    place = np.searchsorted(known, unit)
    # A run may use only the first validation pairs: in the order of the draw, so that these are not neighbours.
    val = np.concatenate([pairs[:0], *(pairs[place == one] for one in validating)])
    test = pairs[dealt[place] == fold]
    train = pairs[~np.isin(pairs, np.concatenate([test, val]))]
    others = np.setdiff1d(_dissolved(pools), pairs)
    taken = {*known[dealt == fold].tolist(), *known[validating].tolist()}
    free = np.array([one not in taken for one in _units(pools, others)], np.bool_)
    parts = {TRAIN: np.sort(np.concatenate([train, others[free]])), VAL: val, TEST: test}
    return Folded(_with_parts(pools, parts), count, int((~free).sum()))


def _deal(sizes: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each unit: the largest first, each to the fold with the fewest pairs, else in a drawn order."""
    order = np.random.default_rng((seed, 19)).permutation(len(sizes))
    dealt, load = np.zeros(len(sizes), np.int64), [0] * folds
    for one in order[np.argsort(-sizes[order], kind="stable")].tolist():
        dealt[one] = load.index(min(load))
        load[dealt[one]] += int(sizes[one])
    return dealt


def _dissolved(pools: Pools) -> Numbers:
    """The samples of the parts that folds take the place of, ascending."""
    return np.sort(np.concatenate([pools.part(part) for part in (TRAIN, VAL, TEST)]))


def _pairs(pools: Pools, views: Sequence[str]) -> Numbers:
    numbers = _dissolved(pools)
    return numbers[np.logical_and.reduce([pools.has(view, numbers) for view in views])]


def _units(pools: Pools, numbers: Numbers) -> list[str]:
    """The unit of each sample; samples without one are each their own."""
    return pools.units(numbers) or [f"sample {number}" for number in numbers.tolist()]


def _with_parts(pools: Pools, parts: dict[str, Numbers]) -> Pools:
    """The pools with other parts, in the given order; further test sets are kept, and parts without a row left out."""
    made = []
    for pool, start in zip(pools.pools, pools.starts[:-1].tolist(), strict=True):
        own = {name: n[(n >= start) & (n < start + len(pool))] - start for name, n in parts.items()}
        kept = {name: rows for name, rows in pool.parts.items() if name not in parts}
        made.append(replace(pool, parts={name: rows for name, rows in {**own, **kept}.items() if len(rows)}))
    return Pools(made, pools.origin, pools.hidden)
