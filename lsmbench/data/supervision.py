"""Supervision: which training samples show which views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.selection import k_medoids
from lsmbench.errors import UserError
from lsmbench.options import option

ViewSet = tuple[str, ...]
"""The views that a sample shows, e.g. `("x", "y")` for a pair and `("x",)` for an x-only sample."""

Features = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
"""Gives the features of some samples, shape (n, F), by their numbers in the dataset."""


@dataclass
class SupervisionConfig:
    """Which samples show which views, and how the samples are drawn."""

    paired: float = option(
        100.0, "N: share of the training samples that show both views", unit="%", counts="within_row"
    )
    paired_count: int | None = option(None, "Number of pairs, in place of N", unit="pairs", counts="within_row")
    unpaired: int | None = option(
        None, "Use only so many x-only and so many y-only samples; null takes all that there are", unit="samples"
    )
    protocol: Literal["bank", "disjoint", "shared"] = option(
        "bank",
        "bank: the training set is halved, the first half gives pairs and x-only samples, the second y-only samples; "
        "disjoint: N % of all training samples are pairs, the rest is dealt to x-only and y-only; "
        "shared: the samples are all shown apart, as x-only and as y-only, and the pairs are some of them",
        source="bank: LSM, §4.3; shared: Shukla et al., §4.1.1",
    )
    selection: Literal["random", "k_medoids"] = option(
        "random",
        "Which samples are pairs. random: by the seed, nested over N; k_medoids: the most typical sample of each of as "
        "many clusters of photos as there are pairs, the same for every seed and not nested",
        source="k_medoids: Shukla et al., §3.2",
    )
    features: str = option(
        "resnet50",
        "What k_medoids clusters: resnet50 (penultimate layer, ImageNet weights of torchvision), pixels, or a .npy "
        "file with a row for each sample of the dataset",
        source="resnet50: Shukla et al., §3.2",
        counts="content",
        only_if=("selection", "k_medoids"),
    )
    y_bank: str | None = option(
        None,
        "Another dataset whose targets are the y-only samples, such as gta for cityscapes; gta:PATH names its folder",
        source="Shukla et al., §4.1.8",
        counts="word",
    )
    sampling: Literal["balanced", "unbalanced"] = option(
        "balanced",
        "balanced: every step holds its share of pairs; unbalanced: every sample is seen once an epoch",
    )
    val_pairs: int | None = option(None, "Use only the first so many validation pairs (they count as supervision)")
    supervision_seed: int = option(
        0, "Seed of the choice of pairs; pairs are nested over N for one seed", counts="within_row"
    )
    split_seed: int | None = option(None, "Seed of the split into train, val and test; null keeps the dataset's order")

    @property
    def amount(self) -> str:
        """How much is paired, for the name of a run: `N5` or `20pairs`."""
        return f"N{self.paired:g}" if self.paired_count is None else f"{self.paired_count}pairs"


@dataclass(frozen=True)
class Supervision:
    """The training samples by what they show; no sample shows its pair where it is not in the group of pairs.

    Attributes:
        groups: For each set of shown views the samples' numbers in the dataset; empty sets are left out.
        y_bank: Whether the numbers of y-only samples are those of another dataset.
    """

    groups: dict[ViewSet, NDArray[np.int64]]
    y_bank: bool = False

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The samples that are pairs."""
        return next((indices for shown, indices in self.groups.items() if len(shown) > 1), np.array([], np.int64))

    def counts(self) -> dict[str, int]:
        """Sizes of the groups, e.g. `{"pairs": 8, "x": 167, "y": 167}`; zero where a group is empty."""
        counts = {"pairs": 0, "x": 0, "y": 0}
        for shown, indices in self.groups.items():
            counts["pairs" if len(shown) > 1 else shown[0]] = len(indices)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Plain values for `supervision.json`; y-only samples of a bank are called `bank`."""
        names: dict[ViewSet, str] = {("y",): "bank"} if self.y_bank else {}
        return {names.get(shown, "+".join(shown)): [int(i) for i in indices] for shown, indices in self.groups.items()}


def pool_of(samples: int, config: SupervisionConfig) -> int:
    """From how many training samples the pairs are taken.

    Raises:
        UserError: If `unpaired` is negative, or more than there are in protocol `shared`.
    """
    if config.unpaired is not None and config.unpaired < 0:
        raise UserError(f"supervision.unpaired: expected 0 or more samples, found {config.unpaired}.")
    if config.protocol == "bank":
        return samples // 2
    if config.protocol == "shared" and config.unpaired:
        if config.unpaired > samples:
            raise UserError(f"supervision.unpaired: {config.unpaired} of {samples} training samples cannot be taken.")
        return config.unpaired
    return samples


def pairs_of(samples: int, config: SupervisionConfig) -> int:
    """How many pairs a configuration leaves of a training set.

    Raises:
        UserError: If N lies outside 0–100, is above 0 but leaves no pair, or more pairs are asked for than there are.
    """
    pool = pool_of(samples, config)
    if config.paired_count is not None:
        if not 0 <= config.paired_count <= pool:
            raise UserError(
                f"supervision.paired_count: expected 0 to {pool} pairs (protocol {config.protocol}, {samples} training "
                f"samples), found {config.paired_count}."
            )
        return config.paired_count
    if not 0 <= config.paired <= 100:
        raise UserError(f"supervision.paired: N must lie between 0 and 100 %, found {config.paired:g}.")
    pairs = int(pool * config.paired / 100 + 1e-9)  # 175·8/100 is 14.000000000000002 or 13.999… in floats
    if config.paired > 0 and pairs == 0:
        raise UserError(
            f"supervision.paired: N = {config.paired:g} % of {pool} samples leaves no pair; the least N with one pair "
            f"is {100 / pool:.3g} %. Use a larger N, or 0 to train without pairs."
        )
    return pairs


def supervise(
    train: NDArray[np.int64], config: SupervisionConfig, features: Features | None = None, bank: int = 0
) -> Supervision:
    """Deals the training samples to pairs, x-only and y-only.

    All protocols deal from one permutation that depends on the seed alone. With random selection the pairs at a smaller
    N are hence among those at a larger N; k-medoids clusters anew for each number of pairs, so that its are not.

    * `bank` (LSM, §4.3): with h half of the training set and k = ⌊h·N/100⌋, pairs are k samples of the first half,
      x-only its other h−k, and y-only the samples at the x-only positions of the second half. N = 100 therefore uses
      half of the training set.
    * `disjoint`: k = ⌊n·N/100⌋ pairs of all n; of the rest, even places of the permutation are x-only, odd y-only.
    * `shared` (Shukla et al., §4.1.1): of all n, `unpaired` samples are selected like pairs; all of them are x-only and
      all are y-only, and k of them, selected in turn, are the pairs. What belongs together is known of the pairs only,
      though every x has its y somewhere among the y-only samples.

    Args:
        train: Sample numbers of the training split, in order.
        config: Protocol, N and seed.
        features: For selection `k_medoids`.
        bank: Samples of the other dataset that gives the y-only samples; 0 if there is none.

    Returns:
        The groups, each in ascending order of sample number for `bank`'s y-only counterpart to stay comparable.

    Raises:
        UserError: As `pairs_of`; or if `unpaired` asks for more than a bank holds.
    """
    pool, pairs = pool_of(len(train), config), pairs_of(len(train), config)
    candidates = len(train) if config.protocol == "shared" else pool
    order = np.random.default_rng((config.supervision_seed, 11)).permutation(candidates)
    if config.protocol == "shared" and pool < len(train):
        order = _selected_first(order, pool, train, config, features)[:pool]
    order = _selected_first(order, pairs, train, config, features)
    rest, most = order[pairs:], config.unpaired
    if config.protocol == "bank":
        x_only, y_only = train[rest[:most]], train[rest[:most] + pool]
    elif config.protocol == "disjoint":
        places = np.arange(pairs, pool)
        x_only, y_only = (train[rest[places % 2 == parity]][:most] for parity in (0, 1))
    else:
        x_only = y_only = train[order] if most != 0 else train[:0]
    if bank:
        if (most or 0) > bank:
            raise UserError(f"supervision.unpaired: {most} of the {bank} samples of {config.y_bank} cannot be taken.")
        y_only = np.random.default_rng((config.supervision_seed, 17)).permutation(bank)[:most].astype(np.int64)
    groups: dict[ViewSet, NDArray[np.int64]] = {("x", "y"): train[order[:pairs]], ("x",): x_only, ("y",): y_only}
    return Supervision({shown: np.sort(indices) for shown, indices in groups.items() if len(indices)}, bool(bank))


def _selected_first(
    order: NDArray[np.int64],
    count: int,
    train: NDArray[np.int64],
    config: SupervisionConfig,
    features: Features | None,
) -> NDArray[np.int64]:
    """Positions in the training set, those that the selection takes first."""
    if config.selection == "random" or count == 0:
        return order
    if features is None:
        raise TypeError("k_medoids needs features")
    positions = np.sort(order)
    chosen = positions[k_medoids(features(train[positions]), count)]
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])
