"""What all tests share: a cache of their own, one thread, and small configurations."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from lsmbench.data.dataset import Dataset, pools_of
from lsmbench.data.module import Batch
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.methods import METHODS
from lsmbench.methods.classifying import ClassifyingMethod
from lsmbench.runs.config import RunConfig, TrainingConfig

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start; several tests share the cores

pytest_plugins = ("tests.postgres",)

Make = Callable[..., RunConfig]


def loader(batches: list[Batch]) -> DataLoader[Batch]:
    """Given batches, for any Trainer (which would take a bare list for several loaders)."""
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def truth_of(dataset: Dataset, view: str, rows: NDArray[np.int64]) -> Any:
    """What predictions of a view are compared with, where that is another view; else `None`."""
    other = dataset.truths.get(view)
    return None if other is None else dataset.evaluation_views()[other][rows]


def fingerprint(dataset: Dataset) -> str:
    """The fingerprint of a dataset's pools."""
    return pools_of(dataset).fingerprint(dataset.domains)


def home(method: str) -> str:
    """A dataset that the method can be trained on."""
    return "digits" if issubclass(METHODS[method], ClassifyingMethod) else "sit"


def each_form(methods: Iterable[str]) -> list[tuple[str, str]]:
    """Every method with datasets that show it each form of each view, and the first method with every dataset.

    Views of one kind, of one channel or of several, are the same to a method, whatever their files. Not every
    combination of forms is there.
    """
    names = list(methods)
    return list(dict.fromkeys([(m, d) for m in names for d in forms()] + [(names[0], d) for d in DATASETS]))


@functools.cache
def forms() -> tuple[str, ...]:
    """Datasets that together have each form of each view."""
    found: dict[tuple[object, ...], str] = {}
    for name, kind in DATASETS.items():
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setenv("LSMBENCH_CACHE", folder + "/cache")
            domains = kind.example(Path(folder)).domains.values()
        for form in [(place, type(domain), domain.shape[0] > 1) for place, domain in enumerate(domains)]:
            found.setdefault(form, name)
    return tuple(dict.fromkeys(found.values()))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # also after a test that set another number


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.getbasetemp() / "cache"
    cache.mkdir(exist_ok=True)
    monkeypatch.setenv("LSMBENCH_CACHE", str(cache))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a small run: tiny networks, few samples, two epochs of three updates."""

    def made(method: str, dataset: str | None = None, paired: float = 50, seed: int = 0, **options: Any) -> RunConfig:
        dataset = dataset or home(method)
        hidden = {"selection": "oracle"} if dataset == "digits" else {}
        training = {**hidden, "epochs": 2, "batch_size": 6, "steps_per_epoch": 3, **options.pop("training", {})}
        supervision = options.pop("supervision", {})
        files = tmp_path / f"files-{dataset}"
        files.mkdir(exist_ok=True)
        return RunConfig(
            dataset=DATASETS[dataset].example(files),
            method_name=method,
            method=METHODS[method].Config(**{"network": "tiny", "learning_rate": 1e-3, **options}),
            supervision=SupervisionConfig(
                paired=paired if DATASETS[dataset].paired else 0, supervision_seed=seed, **supervision
            ),
            training=TrainingConfig(init_seed=seed, **training),
        )

    return made
