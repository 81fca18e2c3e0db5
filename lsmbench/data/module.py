"""The DataModule: one dataset, split and supervised, as batches that hold visible views only."""

from __future__ import annotations

from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from lsmbench.data.base import Arrays, Dataset, Split, fingerprint
from lsmbench.data.samplers import Request, ShardSampler, SupervisionSampler
from lsmbench.data.supervision import Supervision, SupervisionConfig, ViewSet, supervise
from lsmbench.domains import Domain

Views = dict[str, Tensor]
Batch = dict[ViewSet, Views]
"""`{("x", "y"): {"x": …, "y": …}, ("x",): {"x": …}, ("y",): {"y": …}}`; a group without samples is absent."""

ON_DEVICE_BYTES = 2**30
"""A group of samples up to this size is kept on the GPU; a larger one is moved batch by batch."""


class TrainingViews(TorchDataset[Batch]):
    """The visible views of the training samples, in memory; hidden views are not in it at all.

    Args:
        groups: For each set of shown views, the compact views of its samples.
        domains: The domain of each view.
    """

    def __init__(self, groups: dict[ViewSet, Views], domains: dict[str, Domain]) -> None:
        self.groups = groups
        self.domains = domains

    def __len__(self) -> int:
        return sum(len(next(iter(views.values()))) for views in self.groups.values())

    def __getitems__(self, request: Request) -> Batch:
        """Gathers a whole batch at once."""
        return {
            shown: {view: self.domains[view].unpack(kept[positions]) for view, kept in self.groups[shown].items()}
            for shown, positions in request
        }


class EvaluationViews(TorchDataset[dict[str, Any]]):
    """All views of some samples, with the samples' numbers.

    Args:
        views: Compact views.
        indices: The samples' numbers in the dataset.
        domains: The domain of each view.
    """

    def __init__(self, views: Views, indices: NDArray[np.int64], domains: dict[str, Domain]) -> None:
        self.views = views
        self.indices = torch.from_numpy(np.ascontiguousarray(indices))
        self.domains = domains

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Gathers a whole batch at once: one entry per view, and `index`."""
        batch: dict[str, Any] = {v: self.domains[v].unpack(kept[positions]) for v, kept in self.views.items()}
        return {**batch, "index": self.indices[positions]}


def _as_it_is(batch: Any) -> Any:
    return batch


class PairDataModule(L.LightningDataModule):
    """Splits and supervises a dataset, and yields its batches.

    Training batches are `{("x","y"): {...}, ("x",): {...}, ("y",): {...}}` with visible views only; evaluation batches
    are `{"x": ..., "y": ..., "index": ...}`.

    Args:
        dataset: Where the samples come from.
        config: Split and supervision.
        batch_size: Samples in a global training batch.
        steps_per_epoch: Updates in an epoch; `None` is one pass over as many samples as the training split holds, the
            same for every method and N.
        eval_batch_size: Samples in an evaluation batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: SupervisionConfig,
        batch_size: int = 16,
        steps_per_epoch: int | None = None,
        eval_batch_size: int = 64,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.config = config
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.eval_batch_size = eval_batch_size
        self.domains = dataset.domains
        self.uses: tuple[ViewSet, ...] | None = None
        """The groups that the method learns from; the others are never loaded (`None`: all)."""
        self._arrays: Arrays | None = None
        self._loaded: dict[str, Any] = {}

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
        """The three parts; validation cut to `val_pairs`."""
        split = self.dataset.split(len(self.arrays[self.dataset.source]), self.config.split_seed)
        return Split(split.train, split.val[: self.config.val_pairs], split.test)

    @property
    def supervision(self) -> Supervision:
        """Which training samples show which views."""
        return supervise(self.split.train, self.config)

    def compact(self, view: str, indices: NDArray[np.int64]) -> Tensor:
        """The compact views of some samples."""
        return self.domains[view].views(self.arrays[view][indices])

    def _groups(self) -> dict[ViewSet, NDArray[np.int64]]:
        groups = self.supervision.groups
        return {shown: groups[shown] for shown in groups if self.uses is None or shown in self.uses}

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return self.steps_per_epoch or -(-len(self.split.train) // self.batch_size)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless supervised draws, cut to epochs of `steps` batches."""
        groups = self._groups()
        if "train" not in self._loaded:
            kept = {shown: self._kept(shown, indices) for shown, indices in groups.items()}
            self._loaded["train"] = TrainingViews(kept, self.domains)
        sampler = SupervisionSampler(
            {shown: len(indices) for shown, indices in groups.items()},
            self.batch_size,
            self.steps,
            self.config.supervision_seed,
            self.config.sampling == "balanced",
            *self._rank(),
        )
        return DataLoader(self._loaded["train"], batch_sampler=sampler, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every validation pair once."""
        return self._evaluation("val", self.split.val)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Every test pair once."""
        return self._evaluation("test", self.split.test)

    def _evaluation(self, part: str, indices: NDArray[np.int64]) -> DataLoader[dict[str, Any]]:
        if part not in self._loaded:
            self._loaded[part] = EvaluationViews(self._kept(tuple(self.domains), indices), indices, self.domains)
        sampler = ShardSampler(len(indices), self.eval_batch_size, *self._rank())
        return DataLoader(self._loaded[part], batch_sampler=sampler, collate_fn=_as_it_is)  # type: ignore[arg-type]

    def _kept(self, names: ViewSet, indices: NDArray[np.int64]) -> Views:
        """Compact views of some samples, on the device that trains if they take little of its memory."""
        views = {name: self.compact(name, indices) for name in names}
        if self.trainer and sum(v.numel() * v.element_size() for v in views.values()) <= ON_DEVICE_BYTES:
            views = {name: view.to(self.trainer.strategy.root_device) for name, view in views.items()}
        return views

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
