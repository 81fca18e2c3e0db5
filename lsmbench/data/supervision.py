"""Supervision: which training samples show which views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError
from lsmbench.options import option

ViewSet = tuple[str, ...]
"""The views that a sample shows, e.g. `("x", "y")` for a pair and `("x",)` for an x-only sample."""


@dataclass
class SupervisionConfig:
    """Which samples show which views, and how the samples are drawn."""

    paired: float = option(100.0, "N: share of the training samples that show both views", unit="%")
    protocol: Literal["bank", "disjoint"] = option(
        "bank",
        "bank: the training set is halved, the first half gives pairs and x-only samples, the second y-only samples; "
        "disjoint: N % of all training samples are pairs, the rest is dealt to x-only and y-only",
        source="bank: LSM, §4.3",
    )
    sampling: Literal["balanced", "unbalanced"] = option(
        "balanced",
        "balanced: every step holds its share of pairs; unbalanced: every sample is seen once an epoch",
    )
    val_pairs: int | None = option(None, "Use only the first so many validation pairs (they count as supervision)")
    supervision_seed: int = option(0, "Seed of the choice of pairs; pairs are nested over N for one seed")
    split_seed: int | None = option(None, "Seed of the split into train, val and test; null keeps the dataset's order")


@dataclass(frozen=True)
class Supervision:
    """The training samples by what they show; every sample appears at most once.

    Attributes:
        groups: For each set of shown views the samples' numbers in the dataset; empty sets are left out.
    """

    groups: dict[ViewSet, NDArray[np.int64]]

    def counts(self) -> dict[str, int]:
        """Sizes of the groups, e.g. `{"pairs": 8, "x": 167, "y": 167}`; zero where a group is empty."""
        counts = {"pairs": 0, "x": 0, "y": 0}
        for shown, indices in self.groups.items():
            counts["pairs" if len(shown) > 1 else shown[0]] = len(indices)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Plain values for `supervision.json`."""
        return {"+".join(shown): [int(i) for i in indices] for shown, indices in self.groups.items()}


def supervise(train: NDArray[np.int64], config: SupervisionConfig) -> Supervision:
    """Deals the training samples to pairs, x-only and y-only.

    Both protocols deal from one permutation that depends on the seed alone, hence the pairs at a smaller N are among
    those at a larger N, and a sample never shows x in one group and y in another.

    * `bank` (LSM, §4.3): with h half of the training set and k = ⌊h·N/100⌋, pairs are k samples of the first half,
      x-only its other h−k, and y-only the samples at the x-only positions of the second half. N = 100 therefore uses
      half of the training set.
    * `disjoint`: k = ⌊n·N/100⌋ pairs of all n; of the rest, even places of the permutation are x-only, odd y-only.

    Args:
        train: Sample numbers of the training split, in order.
        config: Protocol, N and seed.

    Returns:
        The groups, each in ascending order of sample number for `bank`'s y-only counterpart to stay comparable.

    Raises:
        UserError: If N lies outside 0–100, or is above 0 but leaves no pair.
    """
    if not 0 <= config.paired <= 100:
        raise UserError(f"supervision.paired: N must lie between 0 and 100 %, found {config.paired:g}.")
    bank = config.protocol == "bank"
    pool = len(train) // 2 if bank else len(train)
    pairs = int(pool * config.paired / 100 + 1e-9)  # 175·8/100 is 14.000000000000002 or 13.999… in floats
    if config.paired > 0 and pairs == 0:
        raise UserError(
            f"supervision.paired: N = {config.paired:g} % of {pool} samples leaves no pair; the least N with one pair "
            f"is {100 / pool:.3g} %. Use a larger N, or 0 to train without pairs."
        )
    order = np.random.default_rng((config.supervision_seed, 11)).permutation(pool)
    rest = order[pairs:]
    if bank:
        x_only, y_only = train[rest], train[rest + pool]
    else:
        places = np.arange(pairs, pool)
        x_only, y_only = train[rest[places % 2 == 0]], train[rest[places % 2 == 1]]
    groups: dict[ViewSet, NDArray[np.int64]] = {("x", "y"): train[order[:pairs]], ("x",): x_only, ("y",): y_only}
    return Supervision({shown: np.sort(indices) for shown, indices in groups.items() if len(indices)})
