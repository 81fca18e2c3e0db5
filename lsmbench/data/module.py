"""The DataModule: one dataset, split and supervised, as batches that hold visible views only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import lightning as L  # noqa: N812
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lsmbench.data.dataset import Arrays, Dataset, Split, fingerprint
from lsmbench.data.features import features_of
from lsmbench.data.samplers import Request, ShardSampler, SupervisionSampler, Turns
from lsmbench.data.supervision import Supervision, SupervisionConfig, ViewSet, supervise
from lsmbench.data.transforms import Augmentation
from lsmbench.domains import Domain, Image
from lsmbench.errors import UserError
from lsmbench.options import options_of

Views = dict[str, Tensor]
Batch = dict[ViewSet, Views]
"""`{("x", "y"): {"x": …, "y": …}, ("x",): {"x": …}, ("y",): {"y": …}}`; a group without samples is absent."""

ON_DEVICE_BYTES = 2**30
"""A group of samples up to this size is kept on the GPU; a larger one is moved batch by batch."""


def truth_of(view: str) -> str:
    """Under which name an evaluation batch holds what predictions of a view are compared with, if not the view."""
    return f"{view}:truth"


class Learner(Protocol):
    """What a DataModule asks of the method that it feeds."""

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """The groups of samples that are learnt from at present; the others are never loaded."""

    @property
    def turns(self) -> Turns | None:
        """The groups that updates take in turn; `None`: every update takes from all."""


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


class EvaluationViews(TorchDataset[dict[str, Any]]):
    """All views of some samples, with the samples' numbers.

    Args:
        views: Compact views.
        indices: The samples' numbers in the dataset.
        domains: The domain of each view.
        truth: As `Dataset.truth`.
    """

    def __init__(
        self,
        views: Views,
        indices: NDArray[np.int64],
        domains: dict[str, Domain],
        truth: Callable[[str, NDArray[np.int64]], NDArray[np.generic] | None] = lambda view, indices: None,
    ) -> None:
        self.views = views
        self.indices = torch.from_numpy(np.ascontiguousarray(indices))
        self.domains = domains
        self.truth = truth

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Gathers a whole batch at once: one entry per view, `index`, and what views are compared with instead."""
        batch: dict[str, Any] = {v: self.domains[v].unpack(kept[positions]) for v, kept in self.views.items()}
        index = self.indices[positions]
        for view in self.views:
            if (truth := self.truth(view, index.numpy())) is not None:
                batch[truth_of(view)] = torch.from_numpy(truth)
        return {**batch, "index": index}


def _as_it_is(batch: Any) -> Any:
    return batch


class PairDataModule(L.LightningDataModule):
    """Splits and supervises a dataset, and yields its batches.

    Training batches are `{("x","y"): {...}, ("x",): {...}, ("y",): {...}}` with visible views only; evaluation batches
    are `{"x": ..., "y": ..., "index": ...}`, and `"y:truth"` where predictions of y are compared with something
    else.

    Args:
        dataset: Where the samples come from.
        config: Split and supervision.
        batch_size: Samples in a global training batch.
        steps_per_epoch: Updates in an epoch; `None` is one pass over as many samples as the training split holds, the
            same for every method and N.
        augment: What is done to training views at every draw, as `TrainingConfig.augment`.
        eval_batch_size: Samples in an evaluation batch.
        testing: Whether there is a test set; if not, it is empty, so that nothing can be chosen by it.
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
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.config = config
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.eval_batch_size = eval_batch_size
        self.testing = testing
        self.domains = dataset.domains
        self.augmentation = None
        if augment != "none":
            self.augmentation = Augmentation(self.domains, config.supervision_seed)
        self.learner: Learner | None = None
        """The method that is fed; `None`: all groups, in every update."""
        self._arrays: Arrays | None = None
        self._bank: NDArray[np.generic] | None = None
        self._supervision: Supervision | None = None
        self._loaded: dict[Any, Any] = {}

    @property
    def arrays(self) -> Arrays:
        """The dataset's stored samples, loaded and checked once."""
        if self._arrays is None:
            arrays = self.dataset.load()
            for view, domain in self.domains.items():
                domain.check(arrays[view], f"dataset {self.dataset.name}, view {view}")
            self._arrays = arrays
        return self._arrays

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset's values."""
        return fingerprint(self.dataset, self.arrays)

    @property
    def split(self) -> Split:
        """The three parts; validation cut to `val_pairs`, no test without `testing`."""
        split = self.dataset.split(len(self.arrays[self.dataset.source]), self.config.split_seed)
        return Split(split.train, split.val[: self.config.val_pairs], split.test if self.testing else split.test[:0])

    @property
    def supervision(self) -> Supervision:
        """Which training samples show which views; selected once.

        Raises:
            UserError: As `supervise`; if features cannot be had, or the bank has views of another kind.
        """
        if self._supervision is None:
            bank = 0 if self.bank is None else len(self.bank)
            self._supervision = supervise(self.split.train, self.config, self._features, bank)
        return self._supervision

    def _features(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        word, photo = self.config.features, self.dataset.photo
        if word.endswith(".npy"):
            return features_of(word, None, len(self.arrays[photo]))[indices]
        # Of the samples to choose from only: what is not theirs must not tell which of them are typical.
        photos = self.arrays[photo][indices] if isinstance(self.domains[photo], Image) else None
        return features_of(word, photos, len(indices))

    @property
    def bank(self) -> NDArray[np.generic] | None:
        """The stored targets of another dataset that the y-only samples come from, if there is one.

        Raises:
            UserError: If the other dataset is unknown, or its targets have another form, size or palette.
        """
        said = self.config.y_bank
        if self._bank is None and said:
            other = bank_dataset(said, self.dataset)
            mine, its = self.domains["y"], other.domains["y"]
            if mine != its:
                raise UserError(
                    f"supervision.y_bank: the targets of {other.name} are not those of {self.dataset.name}.\n"
                    f"- expected {mine!r}\n- found {its!r}"
                )
            stored = other.targets()
            its.check(stored, f"dataset {other.name}, view y")
            self._bank = stored
        return self._bank

    @property
    def bank_fingerprint(self) -> str:
        """Fingerprint of the bank's values; empty without one."""
        if self.bank is None:
            return ""
        return hashlib.sha256(np.ascontiguousarray(self.bank).data).hexdigest()[:16]

    def compact(self, view: str, indices: NDArray[np.int64]) -> Tensor:
        """The compact views of some samples."""
        return self.domains[view].views(self.arrays[view][indices])

    def _groups(self) -> dict[ViewSet, NDArray[np.int64]]:
        groups = self.supervision.groups
        return {shown: groups[shown] for shown in groups if self.learner is None or shown in self.learner.uses}

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.steps_per_epoch or -(-len(self.split.train) // self.batch_size)

    def sampler(self, rank: int = 0, ranks: int = 1) -> SupervisionSampler:
        """The order in which one of several processes draws what is learnt from at present.

        Raises:
            UserError: If the batch is too small, or cannot be divided over the processes.
        """
        return SupervisionSampler(
            {shown: len(indices) for shown, indices in self._groups().items()},
            self.batch_size,
            self.steps,
            self.config.supervision_seed,
            self.config.sampling == "balanced",
            rank,
            ranks,
            self.learner.turns if self.learner else None,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless supervised draws, cut to epochs of `steps` batches."""
        groups = self._groups()
        if (views := self._loaded.get(tuple(groups))) is None:
            kept = {shown: self._kept(shown, indices, train=True) for shown, indices in groups.items()}
            views = self._loaded[tuple(groups)] = TrainingViews(kept, self.domains, self.augmentation)
        return DataLoader(views, batch_sampler=self.sampler(*self._rank()), collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every validation pair once."""
        return self._evaluation("val", self.split.val)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every test pair once."""
        return self._evaluation("test", self.split.test)

    def _evaluation(self, part: str, indices: NDArray[np.int64]) -> DataLoader[dict[str, Any]]:
        if part not in self._loaded:
            self._loaded[part] = EvaluationViews(
                self._kept(tuple(self.domains), indices), indices, self.domains, self.dataset.truth
            )
        sampler = ShardSampler(len(indices), self.eval_batch_size, *self._rank())
        return DataLoader(self._loaded[part], batch_sampler=sampler, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def _kept(self, names: ViewSet, indices: NDArray[np.int64], train: bool = False) -> Views:
        """Compact views of some samples, on the device that trains if they take little of its memory."""
        if train and names == ("y",) and self.bank is not None:
            views = {"y": self.domains["y"].views(self.bank[indices])}
        else:
            views = {name: self.compact(name, indices) for name in names}
        # Augmentation works on the processor's side.
        small = sum(v.numel() * v.element_size() for v in views.values()) <= ON_DEVICE_BYTES
        if self.trainer and small and not (train and self.augmentation):
            views = {name: view.to(self.trainer.strategy.root_device) for name, view in views.items()}
        return views

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def bank_dataset(said: str, dataset: Dataset) -> Dataset:
    """The dataset that `supervision.y_bank` names, at the size of the one that it serves.

    Args:
        said: A dataset's word, or `WORD:PATH` for one whose files lie in PATH.
        dataset: The one that it serves.

    Raises:
        UserError: If there is no such dataset, or it has no folder.
    """
    from lsmbench.datasets import DATASETS  # datasets know nothing of this module

    word, _, path = said.partition(":")
    if word not in DATASETS:
        raise UserError(f"supervision.y_bank: unknown dataset {word!r}. Known: {', '.join(DATASETS)}.")
    known = {o.name for o in options_of(DATASETS[word])}
    if path and "root" not in known:
        raise UserError(f"supervision.y_bank: dataset {word} has no folder of its own; leave out {path}.")
    shared = {name: getattr(dataset, name) for name in ("size", "absent", "reconstruction") if hasattr(dataset, name)}
    options = {name: value for name, value in shared.items() if name in known}
    return DATASETS[word](**options, **({"root": str(Path(path).expanduser())} if path else {}))
