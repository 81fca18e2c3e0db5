"""The DataModule: one dataset, split and supervised, as batches that hold visible views only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple, Protocol

import lightning as L  # noqa: N812
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lsmbench.data.dataset import Dataset, pools_of
from lsmbench.data.features import features_of
from lsmbench.data.folds import Folded, folded
from lsmbench.data.pools import TRAIN, VAL, Numbers, Pool, Pools, ViewSet
from lsmbench.data.samplers import Request, SupervisionSampler, Turns
from lsmbench.data.supervision import Supervision, SupervisionConfig, supervise
from lsmbench.data.transforms import AUGMENTATIONS, Augmentation
from lsmbench.domains import Domain, Image
from lsmbench.errors import UserError
from lsmbench.metrics import SampleMetric

Views = dict[str, Tensor]
Batch = dict[ViewSet, Views]
"""`{("x", "y"): {"x": …, "y": …}, ("x",): {"x": …}, ("y",): {"y": …}}`; a group without samples is absent."""

INDEX = "index"
"""The key of an evaluation batch under which it holds the samples' numbers, int64 (B,)."""

UNIT = "unit"
"""The key under which it holds the numbers of their units, int64 (B,), where pools have units: a unit's number is that
of its first sample among those that are evaluated. It is absent elsewhere."""

ON_DEVICE_BYTES = 2**30
"""A group of samples up to this size is kept on the GPU; a larger one is moved batch by batch."""


_ROWS = 256  # samples in memory at a time


def scored_by(metric: SampleMetric, batch: Mapping[str, Any]) -> Tensor:
    """The numbers that a metric is updated with: the units' if it scores these and the batch tells them."""
    numbers: Tensor = batch[UNIT] if metric.per_unit and UNIT in batch else batch[INDEX]
    return numbers


class Learner(Protocol):
    """What a DataModule asks of the method that it feeds."""

    @property
    def views(self) -> ViewSet:
        """The views that are learnt from; of a sample, others are never loaded."""

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """The groups of samples that are learnt from at present; others are never loaded."""

    @property
    def turns(self) -> Turns | None:
        """The groups that updates take in turn; `None`: every update takes from all."""

    @property
    def balanced(self) -> str | None:
        """The view whose classes every batch shows equally often."""


class TrainingViews(TorchDataset[Batch]):
    """The visible views of the training samples, in memory; hidden views are not in it at all.

    Args:
        groups: For each set of shown views, the compact views of its samples.
        domains: The domain of each view.
        augmentation: What is done to the samples of a batch, if anything.
    """

    def __init__(
        self, groups: dict[ViewSet, Views], domains: dict[str, Domain], augmentation: Augmentation | None = None
    ) -> None:
        self.groups = groups
        self.domains = domains
        self.augmentation = augmentation

    def __len__(self) -> int:
        return sum(len(next(iter(views.values()))) for views in self.groups.values())

    def __getitems__(self, request: Request) -> Batch:
        """Gathers a whole batch at once."""
        batch: Batch = {}
        for part in request:
            views = {view: kept[part.positions] for view, kept in self.groups[part.shown].items()}
            if self.augmentation:
                views = self.augmentation(views, part.shown, part.draws)
            batch[part.shown] = {view: self.domains[view].unpack(kept) for view, kept in views.items()}
        return batch


class Places(NamedTuple):
    """Some samples of an evaluation.

    Attributes:
        pool: Which of the evaluation's pools they are of.
        positions: Their places among that pool's samples.
    """

    pool: int
    positions: Numbers


@dataclass(frozen=True)
class Evaluated:
    """Samples of one pool that are evaluated.

    Attributes:
        numbers: The samples' numbers.
        kept: Their views in compact form, held in memory.
        read: For each view without a domain, which is read batch by batch, the function that reads it by numbers.
        units: The numbers of their units, as `UNIT`; `None` without units.
    """

    numbers: Numbers
    kept: Views
    read: Mapping[str, Callable[[str, Numbers], NDArray[np.generic]]]
    units: Numbers | None = None


class EvaluationViews(TorchDataset[dict[str, Any]]):
    """All views of some samples, with the samples' numbers.

    Args:
        pools: The samples, those of each pool apart.
        domains: The domain of each view that has one.
    """

    def __init__(self, pools: Sequence[Evaluated], domains: Mapping[str, Domain]) -> None:
        self.pools = pools
        self.domains = domains

    def __len__(self) -> int:
        return sum(len(pool.numbers) for pool in self.pools)

    def __getitems__(self, places: Places) -> dict[str, Any]:
        """Gathers a whole batch of one pool's samples: an entry for each of their views, `index`, perhaps `unit`."""
        pool = self.pools[places.pool]
        batch: dict[str, Any] = {v: self.domains[v].unpack(kept[places.positions]) for v, kept in pool.kept.items()}
        numbers = pool.numbers[places.positions]
        for view, read in pool.read.items():
            batch[view] = torch.from_numpy(np.array(read(view, numbers)))
        batch[INDEX] = torch.from_numpy(np.ascontiguousarray(numbers))
        if pool.units is not None:
            batch[UNIT] = torch.from_numpy(np.ascontiguousarray(pool.units[places.positions]))
        return batch

    def with_views(self, views: Iterable[str]) -> list[Places]:
        """The samples of each pool that has some views."""
        wanted = set(views)
        return [Places(k, np.arange(len(p.numbers))) for k, p in enumerate(self.pools) if wanted <= p.kept.keys()]


class ShardSampler:
    """Every sample once, in order, dealt over the ranks without padding: for evaluation. A batch is of one pool.

    Args:
        sizes: Number of samples of each pool.
        batch_size: Samples in a batch of one rank.
        rank: This process.
        ranks: Number of processes.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        firsts = np.cumsum([0, *sizes])  # dealing goes on from pool to pool, so that no rank is left without samples
        self.positions = [
            np.arange((rank - first) % ranks, size, ranks) for first, size in zip(firsts.tolist(), sizes, strict=False)
        ]
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches on this rank."""
        return sum(ceil(len(positions) / self.batch_size) for positions in self.positions)

    def __iter__(self) -> Iterator[Places]:
        for pool, positions in enumerate(self.positions):
            for start in range(0, len(positions), self.batch_size):
                yield Places(pool, positions[start : start + self.batch_size])


def _as_it_is(batch: Any) -> Any:
    return batch


class DataModule(L.LightningDataModule):
    """Splits and supervises a dataset, and yields its batches.

    Training batches are `{("x","y"): {...}, ("x",): {...}, ("y",): {...}}` with visible views only. Evaluation batches
    hold samples of one pool with all their views: `{"x": ..., "y": ..., "index": ...}`, with `unit` where there are
    units.

    Args:
        dataset: Where the samples come from.
        config: Split and supervision.
        batch_size: Samples in a global training batch.
        steps_per_epoch: Updates in an epoch; `None` is one pass over as many samples as the training split holds, the
            same for every method and N.
        augment: What is done to training views at every draw, as `TrainingConfig.augment`.
        eval_batch_size: Samples in an evaluation batch.
        testing: Whether there are test sets; if not, nothing can be chosen by them.
        bank: The pool that gives the samples which show its view alone, if it is of another dataset (`bank_of`).

    Attributes:
        learner: The method that is fed; `None`: all groups, in every update.
        test_set: The test set that `test_dataloader` reads.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: SupervisionConfig,
        batch_size: int = 16,
        steps_per_epoch: int | None = None,
        augment: str = "none",
        eval_batch_size: int = 64,
        testing: bool = True,
        bank: Pool | None = None,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.config = config
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.eval_batch_size = eval_batch_size
        self.testing = testing
        self.domains = dataset.domains
        self.augmentation: Augmentation | None = None
        if augment != "none":
            if augment not in AUGMENTATIONS:
                words = ", ".join(["none", *AUGMENTATIONS])
                raise UserError(f"training.augment: expected one of {words}; found {augment!r}.")
            self.augmentation = AUGMENTATIONS[augment](self.domains, config.supervision_seed)
        self.learner: Learner | None = None
        self.test_set = ""
        self._more = () if bank is None else (bank,)
        self._pools: dict[int | None, Pools] = {}
        self._supervision: Supervision | None = None
        self._loaded: dict[Any, Any] = {}

    # What there is ----------------------------------------------------------------------------------------------------

    @cached_property
    def pools(self) -> Pools:
        """The dataset's pools, loaded and checked once, in the parts of the fold if there are folds; and the bank's."""
        return self._parted.extended(self._more)

    @cached_property
    def folded(self) -> Folded | None:
        """The dataset's pools in the parts of the fold; `None` without folds.

        Raises:
            UserError: As `folded`; or if a fold is named without folds.
        """
        config, views = self.config, (self.dataset.source, self.dataset.target)
        if config.folds is None:
            if config.fold:
                raise UserError(f"supervision.fold: fold {config.fold} of how many? Say supervision.folds too.")
            return None
        return folded(self.undivided, config.folds, config.fold, views, config.split_seed)

    @property
    def undivided(self) -> Pools:
        """The dataset's pools in its own parts, whatever folds there are."""
        return self._own(self.config.split_seed)

    @property
    def _parted(self) -> Pools:
        """The dataset's pools in the parts that are trained on and tested."""
        return self.undivided if self.folded is None else self.folded.pools

    def _own(self, seed: int | None) -> Pools:
        """The dataset's pools, split by a seed."""
        if seed not in self._pools:
            self._pools[seed] = pools_of(self.dataset, seed)
        return self._pools[seed]

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset: of its pools' values and its own split, whatever seed and fold are."""
        return self._own(None).fingerprint(self.domains)

    @property
    def contents(self) -> str:
        """Fingerprint of all that is learnt from and scored: `fingerprint`, and that of a bank if there is one."""
        return "-".join([self.fingerprint, *(Pools([pool]).fingerprint(self.domains) for pool in self._more)])

    @property
    def train(self) -> Numbers:
        """The dataset's own training samples, without those of a bank."""
        return self._parted.part(TRAIN)

    @property
    def val(self) -> Numbers:
        """The validation samples that are used: the first `val_pairs`."""
        return self.pools.part(VAL)[: self.config.val_pairs]

    @property
    def test_sets(self) -> dict[str, Numbers]:
        """The samples of each test set; no samples without `testing`."""
        return {name: self.pools.part(name)[: None if self.testing else 0] for name in self.pools.test_sets}

    def scored(self, numbers: Numbers) -> Numbers:
        """Those of some samples whose predictions can be scored: they have the source, and a truth to compare with."""
        truth = self.dataset.truths.get(self.dataset.target, self.dataset.target)
        return numbers[self.pools.has(self.dataset.source, numbers) & self.pools.has(truth, numbers)]

    @property
    def lacks(self) -> str:
        """Why nothing can be scored in a test, a sentence without a full stop; empty if something can."""
        if any(len(self.scored(numbers)) for numbers in self.test_sets.values()):
            return ""
        return f"no test sample has both {self.dataset.source} and {self.dataset.target}, so that nothing can be scored"

    @cached_property
    def in_training(self) -> dict[str, list[int]]:
        """The samples of each test set whose source is, value for value, that of a training sample.

        Their scores tell how well they are remembered. Test sets without such samples are absent.
        """
        view = self.dataset.source

        def digests(numbers: Numbers) -> Iterator[tuple[int, bytes]]:
            numbers = numbers[self.pools.has(view, numbers)]
            for start in range(0, len(numbers), _ROWS):
                some = numbers[start : start + _ROWS]
                for number, values in zip(some.tolist(), self.pools.take(view, some), strict=True):
                    yield number, hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest()

        sets = {name: numbers for name, numbers in self.test_sets.items() if len(numbers)}
        known = {digest for _, digest in digests(self.pools.part(TRAIN))} if sets else set()
        found = {name: [i for i, digest in digests(numbers) if digest in known] for name, numbers in sets.items()}
        return {name: numbers for name, numbers in found.items() if numbers}

    @property
    def supervision(self) -> Supervision:
        """Which training samples show which views; selected once.

        Raises:
            UserError: As `supervise`; or if features cannot be had.
        """
        if self._supervision is None:
            self._supervision = supervise(self.pools, self.config, self._features)
        return self._supervision

    def _features(self, numbers: Numbers) -> Any:
        word, photo = self.config.features, self.dataset.photo
        if word.endswith(".npy"):
            return features_of(word, None, len(self._own(self.config.split_seed)))[numbers]
        # Of the samples to choose from only: what is not theirs must not tell which of them are typical.
        photos = self.pools.take(photo, numbers) if isinstance(self.domains[photo], Image) else None
        return features_of(word, photos, len(numbers))

    def compact(self, view: str, numbers: Numbers) -> Tensor:
        """The compact views of some samples, all of which have the view."""
        return self.domains[view].views(self.pools.take(view, numbers))

    # Training ---------------------------------------------------------------------------------------------------------

    def groups(self) -> dict[ViewSet, Numbers]:
        """The training samples that are learnt from at present, by the views that the learner sees of them.

        Of samples that show more views than the learner takes, it sees the others.
        """
        if self.learner is None:
            return self.supervision.groups
        seen: dict[ViewSet, list[Numbers]] = {}
        for shown, numbers in self.supervision.groups.items():
            taken = tuple(view for view in shown if view in self.learner.views)
            for told, some in self.pools.with_beside(taken, numbers, self.learner.views).items():
                if told in self.learner.uses:
                    seen.setdefault(told, []).append(some)
        return {shown: np.sort(np.concatenate(numbers)) for shown, numbers in seen.items()}

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.steps_per_epoch or -(-len(self.train) // self.batch_size)

    def sampler(self, rank: int = 0, ranks: int = 1) -> SupervisionSampler:
        """The order in which one of several processes draws what is learnt from at present.

        Raises:
            UserError: If the batch is too small, or cannot be divided over the processes.
        """
        groups = self.groups()
        view = self.learner.balanced if self.learner else None
        return SupervisionSampler(
            {shown: len(numbers) for shown, numbers in groups.items()},
            self.batch_size,
            self.steps,
            self.config.supervision_seed,
            self.config.sampling == "balanced",
            rank,
            ranks,
            self.learner.turns if self.learner else None,
            {shown: self.pools.take(view, numbers) for shown, numbers in groups.items() if view in shown}
            if view
            else {},
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless supervised draws, cut to epochs of `steps` batches."""
        groups = self.groups()
        if (views := self._loaded.get(tuple(groups))) is None:
            on_device = self.augmentation is None or self.augmentation.on_device
            kept = {shown: self._kept(shown, numbers, on_device) for shown, numbers in groups.items()}
            views = self._loaded[tuple(groups)] = TrainingViews(kept, self.domains, self.augmentation)
        return DataLoader(views, batch_sampler=self.sampler(*self._rank()), collate_fn=_as_it_is)

    # Evaluation -------------------------------------------------------------------------------------------------------

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every validation sample once."""
        return self._evaluation(VAL, self.val)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every sample of `test_set` once; of the first test set, if none is named."""
        sets = self.test_sets
        name = self.test_set or next(iter(sets), "")
        return self._evaluation(name, sets.get(name, np.zeros(0, np.int64)))

    def _evaluation(self, part: str, numbers: Numbers) -> DataLoader[dict[str, Any]]:
        if part not in self._loaded:
            pools = []
            units = self.first_of_units(numbers)
            for apart in self.pools.by_pool(numbers):
                views = self.pools.views_at(int(apart[0]))
                kept = self._kept(tuple(view for view in self.domains if view in views), apart)
                read = {view: self.pools.take for view in views if view not in self.domains}
                own = None if units is None else units[np.isin(numbers, apart)]
                pools.append(Evaluated(apart, kept, read, own))
            self._loaded[part] = EvaluationViews(pools, self.domains)
        views = self._loaded[part]
        sampler = ShardSampler([len(pool.numbers) for pool in views.pools], self.eval_batch_size, *self._rank())
        return DataLoader(views, batch_sampler=sampler, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def first_of_units(self, numbers: Numbers) -> Numbers | None:
        """For each of some samples the number of the first of them that is of the same unit; `None` without units."""
        if (units := self.pools.units(numbers)) is None:
            return None
        _, first, of = np.unique(np.array(units), return_index=True, return_inverse=True)
        return np.asarray(numbers[first][of], np.int64)

    def _kept(self, names: ViewSet, numbers: Numbers, on_device: bool = True) -> Views:
        """Compact views of some samples, on the device that trains if they take little of its memory."""
        views = {name: self.compact(name, numbers) for name in names}
        small = sum(v.numel() * v.element_size() for v in views.values()) <= ON_DEVICE_BYTES
        if self.trainer and small and on_device:
            views = {name: view.to(self.trainer.strategy.root_device) for name, view in views.items()}
        return views

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
