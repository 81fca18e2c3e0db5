"""The order in which training samples are drawn: a pure function of (seed, epoch), the same on every rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.pools import ViewSet
from lsmbench.errors import UserError


class Part(NamedTuple):
    """What one batch takes from one group of samples.

    Attributes:
        shown: The views that the samples show.
        positions: The samples' places within their group.
        draws: How many samples of the group had been drawn before each of them since training began.
    """

    shown: ViewSet
    positions: NDArray[np.int64]
    draws: NDArray[np.int64]


Request = list[Part]


@dataclass(frozen=True)
class Turns:
    """Groups of samples that updates take in turn, rather than all at once.

    Attributes:
        groups: What each turn takes from, e.g. pairs, then x-only and y-only samples.
        order: `interleaved`: the turns alternate; `sequential`: all of the first, then all of the second, every epoch.
    """

    groups: tuple[tuple[ViewSet, ...], ...]
    order: Literal["interleaved", "sequential"] = "interleaved"


def shares(sizes: Mapping[ViewSet, int], batch_size: int, ranks: int = 1) -> dict[ViewSet, int]:
    """Divides a balanced batch evenly over the groups of samples; odd places go to pairs first, then x, then y.

    A group gets at most as many places as it has samples, since a sample twice in a batch teaches nothing new. Each
    rank needs one sample of each group all the same. Places that a small group leaves go to the other groups.

    Args:
        sizes: Number of samples of each group.
        batch_size: Places in the global batch.
        ranks: Number of processes that divide the batch.

    Returns:
        Places of each group in the global batch, multiples of `ranks`.

    Raises:
        UserError: If the batch cannot be divided over the ranks, or is too small to hold a sample of every group.
    """
    if batch_size % ranks or batch_size // ranks < len(sizes):
        raise UserError(
            f"training.batch_size: {batch_size} must be a multiple of the number of processes ({ranks}) and hold at "
            f"least one sample of each of the {len(sizes)} groups (pairs, x-only, y-only) on each of them."
        )
    places = batch_size // ranks
    room = {shown: max(1, size // ranks) for shown, size in sizes.items()}
    dealt = dict.fromkeys(sizes, 0)
    while places and any(dealt[shown] < room[shown] for shown in sizes):
        for shown in sorted(sizes, key=lambda s: (-len(s), s)):
            if places and dealt[shown] < room[shown]:
                dealt[shown] += 1
                places -= 1
    return {shown: number * ranks for shown, number in dealt.items()}


def turn_shares(sizes: Mapping[ViewSet, int], turn: tuple[ViewSet, ...], batch_size: int, ranks: int = 1) -> int:
    """Samples that an update takes from each group of its turn, so that all turns show as many views.

    A batch size of 2 is one pair, or one x and one y.

    Raises:
        UserError: If the batch is too small, or cannot be divided over the ranks.
    """
    views = sum(map(len, turn))
    share = min(batch_size // views, *(max(ranks, size // ranks * ranks) for s, size in sizes.items() if s in turn))
    if share < 1 or share % ranks:
        raise UserError(
            f"training.batch_size: {batch_size} is too small for updates that take turns: expected a multiple of "
            f"{views * ranks}, for one sample of each of {', '.join('+'.join(s) for s in turn)}"
            + (f" on each of {ranks} processes." if ranks > 1 else ".")
        )
    return share


class SupervisionSampler:
    """Endless draws from every group of samples at once; iterating yields one epoch of batches.

    Each group is an endless stream of its samples, shuffled anew at every pass. In `balanced` sampling each step takes
    a fixed share from every stream, so that one pair among a thousand views is seen at every step. In `unbalanced`
    sampling each epoch takes every sample once, spread evenly over the steps; a step may then hold no pair. With
    several ranks it takes up to `ranks` - 1 samples of a group more, so that a step gives every rank as many.

    A group with `classes` gives one sample of each class in turn, every class being an endless stream of its own.

    With `turns`, a step takes from the groups of one turn only. In `balanced` sampling all turns have as many steps; in
    `unbalanced` sampling their steps are as their numbers of samples.

    The draw of an epoch depends on (seed, epoch) alone. With several ranks, each takes every ranks-th place of the
    same global batch.

    Args:
        sizes: Number of samples of each group.
        batch_size: Places in the global batch.
        steps: Batches in an epoch.
        seed: Seed of the order.
        balanced: Which of the two ways.
        rank: This process.
        ranks: Number of processes.
        turns: Which groups are taken in turn; `None`: all at once.
        classes: Of groups whose batches show all classes equally often, the class of each sample.
    """

    def __init__(
        self,
        sizes: Mapping[ViewSet, int],
        batch_size: int,
        steps: int,
        seed: int,
        balanced: bool = True,
        rank: int = 0,
        ranks: int = 1,
        turns: Turns | None = None,
        classes: Mapping[ViewSet, NDArray[np.generic]] | None = None,
    ) -> None:
        self.sizes = dict(sizes)
        self.members = {
            shown: [np.flatnonzero(numbers == one) for one in np.unique(numbers)]
            for shown, numbers in (classes or {}).items()
        }
        self.steps = steps
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.epoch = 0
        present = [tuple(s for s in turn if s in sizes) for turn in turns.groups] if turns else []
        self.plan = _plan([turn for turn in present if turn], self.sizes, steps, balanced, turns)
        self.shares: dict[ViewSet, int] | None = None
        if self.plan:
            parts = {turn: turn_shares(sizes, turn, batch_size, ranks) for turn in set(self.plan)}
            self.shares = {shown: share for turn, share in parts.items() for shown in turn}
        elif balanced:
            self.shares = shares(sizes, batch_size, ranks)

    @property
    def sampler(self) -> SupervisionSampler:
        """Itself: Lightning calls `set_epoch` on a batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Tells which epoch is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.steps

    def __iter__(self) -> Iterator[Request]:
        places = {shown: self._places(shown) for shown in self.sizes}
        streams = {s: self._stream(number, s, places[s][-1]) for number, s in enumerate(sorted(self.sizes))}
        for step in range(self.steps):
            request: Request = []
            for shown in self.sizes:
                start, stop = places[shown][step : step + 2]
                first, positions = streams[shown]
                mine = np.arange(start, stop)[self.rank :: self.ranks]
                if len(mine):
                    request.append(Part(shown, positions[mine], first + mine))
            yield request

    def _places(self, shown: ViewSet) -> list[int]:
        """Where in a group's stream for an epoch each step begins, and where the last one ends."""
        if self.shares is None:
            each = ceil(self.sizes[shown] / self.ranks)
            return [step * each // self.steps * self.ranks for step in range(self.steps + 1)]
        mine = [shown in turn for turn in self.plan] if self.plan else [True] * self.steps
        return [0, *(np.cumsum(mine) * self.shares.get(shown, 0)).tolist()]

    def _stream(self, number: int, shown: ViewSet, needed: int) -> tuple[int, NDArray[np.int64]]:
        """How many samples a group gave before this epoch, and those it gives in it, as whole shuffled passes over it.

        Passes are counted from the start of training, not of the epoch, so that every sample is seen equally often
        however short an epoch is.
        """
        first = self.epoch * needed
        if shown not in self.members:
            return first, _endless((self.seed, 13, number), self.sizes[shown], first, needed)
        classes, draws = self.members[shown], first + np.arange(needed)
        positions = np.zeros(needed, np.int64)
        for k, samples in enumerate(classes):
            at = draws % len(classes) == k
            if at.any():
                own = draws[at] // len(classes)
                positions[at] = samples[_endless((self.seed, 13, number, k), len(samples), own[0], len(own))]
        return first, positions


def _endless(seed: tuple[int, ...], size: int, first: int, count: int) -> NDArray[np.int64]:
    """Draws `first` to `first` + `count` − 1 of an endless stream of whole passes over numbers below `size`."""
    if not count:
        return np.array([], np.int64)
    passes = range(first // size, (first + count - 1) // size + 1)
    drawn = [np.random.default_rng((*seed, p)).permutation(size) for p in passes]
    return np.concatenate(drawn)[first - passes[0] * size :][:count]


def _plan(
    present: list[tuple[ViewSet, ...]], sizes: Mapping[ViewSet, int], steps: int, balanced: bool, turns: Turns | None
) -> list[tuple[ViewSet, ...]]:
    """The turn of each step of an epoch; empty without turns."""
    if not present or turns is None:
        return []
    weights = np.array([1 if balanced else max(sizes[shown] for shown in turn) for turn in present], np.float64)
    exact = steps * weights / weights.sum()
    counts = np.maximum(1, np.floor(exact).astype(int))
    for i in np.argsort(counts - exact, kind="stable")[: max(0, steps - counts.sum())]:
        counts[i] += 1
    if turns.order == "sequential":
        plan = [turn for turn, count in zip(present, counts, strict=True) for _ in range(count)]
    else:
        slots = [((k + 0.5) / count, i) for i, count in enumerate(counts) for k in range(count)]
        plan = [present[i] for _, i in sorted(slots)]
    return plan[:steps]
