"""Supervision: which views of a training sample a method sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.pools import Numbers, Pools, ViewSet
from lsmbench.data.selection import k_medoids
from lsmbench.errors import UserError
from lsmbench.options import option

Features = Callable[[Numbers], NDArray[np.floating[Any]]]
"""Gives the features of some samples, shape (n, F), by their numbers in the dataset."""


@dataclass
class SupervisionConfig:
    """Which samples show which views, and how the samples are drawn."""

    paired: float = option(
        100.0, "N: share of the training samples that show both views", unit="%", counts="within_row"
    )
    paired_count: int | None = option(None, "Number of pairs, in place of N", unit="pairs", counts="within_row")
    by: Literal["sample", "unit"] = option(
        "sample",
        "What N and paired_count count. sample: single samples are pairs; unit: all samples of a unit (patient, "
        "person, scene) are pairs or none, e.g. all slices of 8 patients",
        source="unit: semanticGAN, supplement, Table 5",
        counts="if_changed",
    )
    unpaired: int | None = option(
        None, "Use only so many x-only and so many y-only samples; null takes all that there are", unit="samples"
    )
    protocol: Literal["bank", "disjoint", "shared", "x_only"] = option(
        "bank",
        "bank: the training set is halved, the first half gives pairs and x-only samples, the second y-only samples; "
        "disjoint: N % of all training samples are pairs, the rest is dealt to x-only and y-only; "
        "shared: the samples are all shown apart, as x-only and as y-only, and the pairs are some of them; "
        "x_only: N % of all training samples are pairs, the rest is x-only",
        source="bank: LSM, §4.3; shared: Shukla et al., §4.1.1; x_only: semi-supervised segmentation, as semanticGAN",
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
    folds: int | Literal["leave_one_out"] | None = option(
        None,
        "Deal the pairs to so many folds, or leave_one_out; runs on all folds test on every pair once. null: one split",
        unit="folds",
        counts="if_changed",
    )
    fold: int = option(0, "Which fold this run tests on, from 0; with folds", counts="within_row_if_changed")

    @property
    def amount(self) -> str:
        """How much is paired, for the name of a run: `N5`, `20pairs` or `8units`."""
        return f"N{self.paired:g}" if self.paired_count is None else f"{self.paired_count}{self.counted}"

    @property
    def counted(self) -> str:
        """What `paired_count` counts."""
        return "pairs" if self.by == "sample" else "units"

    @property
    def fold_name(self) -> str:
        """The fold, for the name of a run: `f2`; empty without folds."""
        return "" if self.folds is None else f"f{self.fold}"

    @property
    def bank_name(self) -> str:
        """The word of the dataset that gives the y-only samples, which is also the name of its pool; else empty."""
        return (self.y_bank or "").partition(":")[0]


@dataclass(frozen=True)
class Supervision:
    """The training samples by the views that methods see of them.

    Attributes:
        groups: For each set of shown views the samples' numbers, ascending; empty groups are left out.
        views: All views of the dataset: a sample that shows all of them is complete, a pair where there are two.
        ranges: The numbers of each pool's samples, as `Pools.ranges`.
    """

    groups: dict[ViewSet, Numbers]
    views: ViewSet = ("x", "y")
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def pairs(self) -> Numbers:
        """The samples that show all views."""
        return self.groups.get(self.views, np.array([], np.int64))

    def counts(self) -> dict[str, int]:
        """Sizes of the groups: `pairs` for complete samples, others by their views, e.g. `x`, or `x+z` of three views.

        Every single view has a count, which is zero where no sample shows it alone.
        """
        counts = {"pairs": len(self.pairs), **dict.fromkeys(self.views, 0)}
        for shown, numbers in self.groups.items():
            if shown != self.views:
                counts["+".join(shown)] = len(numbers)
        return counts

    def to_json(self) -> dict[str, Any]:
        """The samples' numbers by the views that they show, for `supervision.json`."""
        return {"+".join(shown): numbers.tolist() for shown, numbers in self.groups.items()}


class NoPairError(UserError):
    """N leaves no pair, or more pairs are asked for than there are."""


def candidates_of(samples: int, config: SupervisionConfig, views: int = 2, fullest: bool = True) -> int:
    """Among how many of some samples those are chosen that show all their views.

    Args:
        samples: Training samples that have the same views; or units, which are then chosen in their place.
        config: Protocol and numbers.
        views: How many views they have.
        fullest: Whether no other samples have more views; the numbers that are asked for are those of the fullest, and
            of others there may be fewer.

    Raises:
        UserError: If `unpaired` is negative, or more than there are in protocol `shared`.
    """
    if config.unpaired is not None and config.unpaired < 0:
        raise UserError(f"supervision.unpaired: expected 0 or more samples, found {config.unpaired}.")
    if config.protocol == "bank":
        return samples // views
    if config.protocol == "shared" and config.unpaired and samples:
        if config.unpaired > samples:
            if not fullest:
                return samples
            raise UserError(f"supervision.unpaired: {config.unpaired} of {samples} training samples cannot be taken.")
        return config.unpaired
    return samples


def pairs_of(samples: int, config: SupervisionConfig, views: int = 2, fullest: bool = True) -> int:
    """How many of some training samples show all their views.

    Args:
        samples: Training samples that have the same views; or units, which are then chosen in their place.
        config: Protocol and N.
        views: How many views they have.
        fullest: As `candidates_of`; N above 0 leaves at least one pair of the fullest.

    Raises:
        UserError: If N lies outside 0–100.
        NoPairError: If it is above 0 but leaves no pair, or more pairs are asked for than there are.
    """
    candidates = candidates_of(samples, config, views, fullest)
    if config.paired_count is not None:
        if not fullest:
            return min(max(0, config.paired_count), candidates)
        if not 0 <= config.paired_count <= candidates:
            raise (NoPairError if config.paired_count > 0 else UserError)(
                f"supervision.paired_count: expected 0 to {candidates} {config.counted} (protocol {config.protocol}, "
                f"{samples} training {config.by}s), found {config.paired_count}."
            )
        return config.paired_count
    if not 0 <= config.paired <= 100:
        raise UserError(f"supervision.paired: N must lie between 0 and 100 %, found {config.paired:g}.")
    pairs = int(candidates * config.paired / 100 + 1e-9)  # 175·8/100 is 14.000000000000002 or 13.999… in floats
    if config.paired > 0 and pairs == 0 and fullest:
        if not candidates:
            raise NoPairError(
                f"supervision.paired: N = {config.paired:g} %, and there is no training sample to be a pair (protocol "
                f"{config.protocol}). Add pairs, or use N = 0 to train without."
            )
        raise NoPairError(
            f"supervision.paired: N = {config.paired:g} % of {candidates} {config.by}s leaves no pair; the least N "
            f"with one pair is {_least(candidates):g} %. Use a larger N, or 0 to train without pairs."
        )
    return pairs


def _least(candidates: int) -> float:
    """The least N that leaves a pair, in per cent, rounded up to three digits."""
    exact = 100 / candidates
    step = 10.0 ** (math.floor(math.log10(exact)) - 2)
    return round(math.ceil(exact / step - 1e-9) * step, 12)


def possible(pools: Pools, config: SupervisionConfig) -> tuple[int, float | None]:
    """Which N are possible, whatever N the configuration has.

    Args:
        pools: In their parts.
        config: The protocol.

    Returns:
        How many training samples, or units, can be pairs at most, those at N = 100, and the least N in per cent that
        leaves a pair; `None` if none does.

    Raises:
        UserError: As `candidates_of`.
    """
    shown, samples = fullest_of(pools, config.by)
    most = candidates_of(samples, config, max(2, len(shown)))
    return most, _least(most) if most else None


def fullest_of(pools: Pools, by: Literal["sample", "unit"] = "sample") -> tuple[ViewSet, int]:
    """The views that the fullest training samples have, of which N counts the pairs; and how many samples these are.

    No views and 0, if every training sample has one view alone. With `by=unit` units are counted.
    """
    several = {
        shown: len(train) if by == "sample" else len(_members(pools, train))
        for shown, train in pools.train_by_views().items()
        if len(shown) > 1
    }
    # As `supervise` orders them.
    first = next(iter(sorted(several, key=len, reverse=True)), ())
    return first, several.get(first, 0)


def check_amount(pools: Pools, config: SupervisionConfig) -> int:
    """How many pairs a run on these pools sees; or of how many units.

    Raises:
        UserError: As `pairs_of`.
    """
    shown, samples = fullest_of(pools, config.by)
    return pairs_of(samples, config, max(2, len(shown)))


def supervise(pools: Pools, config: SupervisionConfig, features: Features | None = None) -> Supervision:
    """Decides which views of each training sample are seen.

    A sample with one view shows it, whatever the protocol. Samples with several views are dealt, those with the same
    views together: N % of them show all their views (a pair, where there are two), the others one view each. All
    protocols deal from one permutation that depends on the seed alone. With random selection the pairs at a smaller N
    are hence among those at a larger N; k-medoids clusters anew for each number of pairs, so that its are not. For k
    views:

    * `bank` (LSM, §4.3, where k = 2): with h the k-th part of the n samples, ⌊h·N/100⌋ of the first h are pairs, the
      others of these show the first view alone, and the samples at the same positions of the next h show the next view
      alone. N = 100 therefore uses a k-th part of the training set.
    * `disjoint`: ⌊n·N/100⌋ pairs of all n; the rest is dealt to the views in turn, by places of the permutation.
    * `shared` (Shukla et al., §4.1.1): of all n, `unpaired` samples are selected like pairs; each of their views is
      shown alone, and those selected in turn are pairs besides. What belongs together is known of the pairs only,
      though every x has its y somewhere among the y-only samples.
    * `x_only` (semi-supervised segmentation): ⌊n·N/100⌋ pairs of all n; the rest shows the first view alone.

    With `by=unit`, all that is said of samples is done with units: the samples of a unit are all pairs, or all show the
    same view.

    With a bank (`config.y_bank`), the pool of that name gives all samples that show its view alone.

    Args:
        pools: The dataset's pools, and that of the bank if there is one.
        config: Protocol, N and seed.
        features: For selection `k_medoids`.

    Returns:
        The groups, each in ascending order of sample number.

    Raises:
        UserError: As `pairs_of`; if `unpaired` asks for more than a bank holds; or if units are chosen where there are
            none, or together with an option that chooses samples.
    """
    if config.by == "unit" and (config.unpaired is not None or config.selection != "random"):
        chosen = "unpaired" if config.unpaired is not None else f"selection={config.selection}"
        raise UserError(f"supervision.by=unit chooses units, and {chosen} samples. Leave one of them out.")
    found: dict[ViewSet, list[Numbers]] = {}
    several = {shown: train for shown, train in pools.train_by_views().items() if len(shown) > 1}
    if not several:
        pairs_of(0, config)
    for shown in sorted(several, key=len, reverse=True):
        if config.by == "unit":
            # A unit is dealt by its first sample, in whose place then stand all.
            members = _members(pools, several[shown])
            dealt = _dealt(shown, np.array([*members], np.int64), config, None, fullest=not found)
            dealt = {
                group: np.concatenate([np.zeros(0, np.int64), *(members[first] for first in firsts.tolist())])
                for group, firsts in dealt.items()
            }
        else:
            dealt = _dealt(shown, several[shown], config, features, fullest=not found)
        for group, numbers in dealt.items():
            found.setdefault(group, []).append(numbers)
    for pool in pools.pools:
        shown = pools.shown_by(pool)
        if len(shown) != 1 or "train" not in pool.parts:
            continue
        numbers = pool.parts["train"] + pools.ranges[pool.name][0]
        if pool.name == config.bank_name:
            found[shown] = []  # in place of the dataset's own
        alone = found.setdefault(shown, [])
        if config.unpaired is not None:
            if pool.name == config.bank_name and config.unpaired > len(numbers):
                raise UserError(
                    f"supervision.unpaired: {config.unpaired} of the {len(numbers)} samples of {config.y_bank} cannot "
                    "be taken."
                )
            order = np.random.default_rng((config.supervision_seed, 17)).permutation(len(numbers))
            numbers = numbers[order[: max(0, config.unpaired - sum(map(len, alone)))]]
        alone.append(numbers)
    groups = {shown: np.sort(np.concatenate(numbers)) for shown, numbers in found.items()}
    return Supervision({s: n for s, n in groups.items() if len(n)}, pools.views, pools.ranges)


def _members(pools: Pools, numbers: Numbers) -> dict[int, Numbers]:
    """The samples of each unit by the unit's first sample, in this order.

    Raises:
        UserError: If there are no units.
    """
    if (units := pools.units(numbers)) is None:
        raise UserError(
            f"supervision.by=unit: {pools.origin} does not tell units (patients, persons, scenes). Use by=sample."
        )
    _, first, of = np.unique(np.array(units), return_index=True, return_inverse=True)
    return {
        int(numbers[place]): numbers[of == unit] for unit, place in sorted(enumerate(first), key=lambda one: one[1])
    }


def _dealt(
    shown: ViewSet, train: Numbers, config: SupervisionConfig, features: Features | None, fullest: bool
) -> dict[ViewSet, Numbers]:
    """Deals samples that have the same views. Of the fullest, which have the most views, at least one is a pair."""
    k, most = len(shown), config.unpaired
    pool, pairs = candidates_of(len(train), config, k, fullest), pairs_of(len(train), config, k, fullest)
    candidates = len(train) if config.protocol == "shared" else pool
    stream = () if fullest else (crc32("+".join(shown).encode()),)
    order = np.random.default_rng((config.supervision_seed, 11, *stream)).permutation(candidates)
    if config.protocol == "shared" and pool < len(train):
        order = _selected_first(order, pool, train, config, features)[:pool]
    order = _selected_first(order, pairs, train, config, features)
    rest, places = order[pairs:], np.arange(pairs, pool)
    alone: dict[ViewSet, Numbers] = {}
    for i, view in enumerate(shown):
        if config.protocol == "x_only":
            if i == 0:
                alone[(view,)] = train[rest][:most]
        elif config.protocol == "bank":
            alone[(view,)] = train[rest[:most] + i * pool]
        elif config.protocol == "disjoint":
            alone[(view,)] = train[rest[places % k == i]][:most]
        else:
            alone[(view,)] = train[order] if most != 0 else train[:0]
    return {shown: train[order[:pairs]], **alone}


def _selected_first(
    order: Numbers, count: int, train: Numbers, config: SupervisionConfig, features: Features | None
) -> Numbers:
    """Positions in the training set, those that the selection takes first."""
    if config.selection == "random" or count == 0:
        return order
    if features is None:
        raise TypeError("k_medoids needs features")
    positions = np.sort(order)
    chosen = positions[k_medoids(features(train[positions]), count)]
    return np.concatenate([chosen, order[~np.isin(order, chosen)]])
