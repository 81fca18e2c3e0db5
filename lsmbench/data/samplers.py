"""The order in which training samples are drawn: a pure function of (seed, epoch), the same on every rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.supervision import ViewSet
from lsmbench.errors import UserError

Request = list[tuple[ViewSet, NDArray[np.int64]]]
"""What one batch holds: for each set of views, positions within that group of samples."""


def shares(sizes: Mapping[ViewSet, int], batch_size: int, ranks: int = 1) -> dict[ViewSet, int]:
    """Divides a balanced batch evenly over the groups of samples; odd places go to pairs first, then x, then y.

    A group never gets more places than it has samples, since a sample twice in a batch teaches nothing new (but each
    rank needs one); the places it leaves go to the other groups.

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


class SupervisionSampler:
    """Endless draws from every group of samples at once; iterating yields one epoch of batches.

    Each group is an endless stream of its samples, shuffled anew at every pass. In `balanced` sampling each step takes
    a fixed share from every stream, so that one pair among a thousand views is seen at every step. In `unbalanced`
    sampling each epoch takes every sample once, spread evenly over the steps; a step may then hold no pair.

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
    ) -> None:
        self.sizes = dict(sizes)
        self.steps = steps
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.epoch = 0
        self.shares = shares(sizes, batch_size, ranks) if balanced else None

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
        streams = {shown: self._stream(i, shown) for i, shown in enumerate(sorted(self.sizes))}
        for step in range(self.steps):
            request: Request = []
            for shown, size in self.sizes.items():
                start, stop = self._places(shown, size, step)
                positions = streams[shown][start:stop][self.rank :: self.ranks]
                if len(positions):
                    request.append((shown, positions))
            yield request

    def _places(self, shown: ViewSet, size: int, step: int) -> tuple[int, int]:
        """Which places of a group's stream for this epoch a step takes."""
        if self.shares is not None:
            return step * self.shares[shown], (step + 1) * self.shares[shown]
        return step * size // self.steps, (step + 1) * size // self.steps

    def _stream(self, number: int, shown: ViewSet) -> NDArray[np.int64]:
        """The samples that a group gives in this epoch, as whole shuffled passes over the group.

        Passes are counted from the start of training, not of the epoch, so that every sample is seen equally often
        however short an epoch is.
        """
        size = self.sizes[shown]
        needed = self.steps * self.shares[shown] if self.shares is not None else size
        first = self.epoch * needed
        passes = range(first // size, (first + needed - 1) // size + 1)
        drawn = [np.random.default_rng((self.seed, 13, number, p)).permutation(size) for p in passes]
        return np.concatenate(drawn)[first - passes[0] * size :][:needed]


class ShardSampler:
    """Every sample once, in order, dealt over the ranks without padding: for evaluation.

    Args:
        size: Number of samples.
        batch_size: Samples in a batch of one rank.
        rank: This process.
        ranks: Number of processes.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.positions = np.arange(rank, size, ranks)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches on this rank."""
        return ceil(len(self.positions) / self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(self.positions), self.batch_size):
            yield self.positions[start : start + self.batch_size]
