"""Datasets and methods that exist for tests alone: three views, several test sets, units; lazy phases and averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Arrays, Dataset, pools_of
from lsmbench.data.folds import few_folds
from lsmbench.data.module import Batch
from lsmbench.data.pools import Pool
from lsmbench.datasets import DATASETS
from lsmbench.domains import Domain, Image, Mask
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.methods.phases import Optimizer, Phase, Stage
from lsmbench.options import option

SIZE = 32


@dataclass
class Triples(Dataset):
    """Three views; samples that have all, two or one of them; two test sets; three samples of each patient."""

    name: ClassVar[str] = "triples"
    size: ClassVar[int] = SIZE
    patient_twice: bool = option(False, "Whether a patient lies in two parts")

    @property
    def domains(self) -> dict[str, Domain]:
        return {"x": Image(1, SIZE), "y": Mask(2, SIZE), "z": Image(1, SIZE)}

    @classmethod
    def example(cls, folder: Path) -> Triples:
        return cls()

    def load(self) -> Arrays:
        raise TypeError("it has pools instead")

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        rng = np.random.default_rng(0)
        x = rng.integers(1, 256, (90, 1, SIZE, SIZE), np.uint8)
        every = {"x": x, "y": (x[:, 0] > 128).astype(np.uint8), "z": 255 - x // 2}
        unit = np.array([f"P{i // 3:02d}" for i in range(90)])

        def pool(name: str, views: str, first: int, count: int, parts: Mapping[str, list[int]]) -> Pool:
            rows = slice(first, first + count)
            made = {part: np.arange(*span) for part, span in parts.items()}
            names = None if name == "photos" else [f"{unit[i]}/{i % 3}.png" for i in range(90)[rows]]
            return Pool(name, {view: every[view][rows] for view in views}, made, unit[rows], names)

        complete = {"train": [0, 24], "val": [24, 30], "test": [30, 36]}
        if self.patient_twice:
            complete = {"train": [0, 25], "val": [25, 30], "test": [30, 36]}
        return (
            pool("complete", "xyz", 0, 36, complete),
            pool("without z", "xy", 36, 18, {"train": [0, 12], "elsewhere": [12, 18]}),
            pool("without y", "xz", 54, 12, {"train": [0, 12]}),
            pool("photos", "x", 66, 12, {"train": [0, 12]}),
            pool("pictures", "z", 78, 12, {"train": [0, 9], "test": [9, 12]}),
        )


@dataclass
class Scarce(Dataset):
    """Few pairs, many photos without a mask, and masks without a photo; perhaps two samples of each patient."""

    name: ClassVar[str] = "scarce"
    size: ClassVar[int] = SIZE
    pairs: int = option(15, "Number of pairs")
    photos: int = option(24, "Number of samples with x alone")
    masks: int = option(12, "Number of samples with y alone")
    patients: bool = option(False, "Whether pairs 2k and 2k + 1, and photo and mask k, are of patient k")
    grey: bool = option(False, "Whether y is an image of one grey, in place of a mask")

    @property
    def domains(self) -> dict[str, Domain]:
        return {"x": Image(1, SIZE), "y": Image(1, SIZE) if self.grey else Mask(2, SIZE)}

    @classmethod
    def example(cls, folder: Path) -> Scarce:
        return cls()

    def load(self) -> Arrays:
        raise TypeError("it has pools instead")

    def default_folds(self) -> int | None:
        return few_folds(pools_of(self), ("x", "y"))

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        count = self.pairs + self.photos + self.masks
        rng = np.random.default_rng(1)
        x = rng.integers(0, 128, (count, 1, SIZE, SIZE), np.uint8)
        mask = np.zeros((count, SIZE, SIZE), np.uint8)
        for one, (row, column) in zip(mask, rng.integers(0, SIZE - 12, (count, 2)), strict=True):
            one[row : row + 12, column : column + 12] = 1
        x += 100 * mask[:, None]
        y = np.broadcast_to(greys(count)[:, None, None, None], x.shape).astype(np.uint8) if self.grey else mask
        a, b = self.pairs, self.pairs + self.photos
        cut = [int(a * 0.7), int(a * 0.8)]
        parts = {"train": np.arange(cut[0]), "val": np.arange(*cut), "test": np.arange(cut[1], a)}
        own = (np.arange(a) // 2, np.arange(self.photos), np.arange(self.masks))
        unit = own if self.patients else (None, None, None)
        found = (
            Pool("pairs", {"x": x[:a], "y": y[:a]}, parts, unit[0]),
            Pool("photos", {"x": x[a:b]}, {"train": np.arange(self.photos)}, unit[1]),
            Pool("masks", {"y": y[b:]}, {"train": np.arange(self.masks)}, unit[2]),
        )
        return tuple(pool for pool in found if len(pool))


def greys(count: int) -> NDArray[np.int64]:
    """The greys of `Scarce`'s targets, of 255."""
    return np.arange(count) * 7 % 251


class Three(Method):
    """One convolution for each translation of x, learnt from samples that show both views; and one that copies z."""

    groups = ("nets",)
    weights: ClassVar = {"y": 1.0, "z": 1.0, "copy": 0.1}
    views = ("x", "y", "z")
    directions = (("x", "y"), ("x", "z"))

    def build(self) -> None:
        self.nets = nn.ModuleDict({n: self.network(n, lambda: nn.Conv2d(1, 1, 1)) for n in ("xy", "xz", "zz")})

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        return (self.nets,)

    def losses_nets(self, batch: Batch) -> Terms:
        return {"y": lambda: self._loss(batch, "x", "y"), "z": lambda: self._loss(batch, "x", "z"),
                "copy": lambda: self._loss(batch, "z", "z")}  # fmt: skip

    def _loss(self, batch: Batch, source: str, target: str) -> Tensor:
        shown = [views for group, views in batch.items() if {source, target} <= set(group)]
        losses = [self.domains[target].loss(self.translate(v[source], source, target), v[target]) for v in shown]
        return sum(losses, self.nothing("nets"))

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        out: Tensor = self.nets[f"{source}{target}"](self.domains[source].to_input(view))
        return out


@dataclass
class PhasesConfig(MethodConfig):
    w_penalty: float = option(0.1, "Weight of the penalty", source="test")


class Phases(Method):
    """A lazy phase, two optimisers on one network, an average, and stages with and without a validation value."""

    Config = PhasesConfig
    weights: ClassVar = {"xy": 1.0, "xx": 0.5}
    averaged: ClassVar = {"net": 0.8}
    adam = Optimizer("adam", learning_rate=0.01, beta1=0.5)

    @property
    def stages(self) -> tuple[Stage, ...]:
        phases = (
            Phase("penalty", ("net",), every=3, optimizer=self.adam),
            Phase("pairs", ("net",), optimizer=self.adam, clip=0.5),
            Phase("alone", ("net", "head"), optimizer=Optimizer("other", learning_rate=0.003)),
        )
        return (
            Stage("first", phases, validated=False, share=0.5),
            Stage("second", phases[1:], full_budget=True, validate_every=2),
        )

    def build(self) -> None:
        self.net = self.network("net", lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh()))
        self.head = self.network("head", lambda: nn.Conv2d(4, 1, 1))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        return (getattr(self, group),)

    def losses_penalty(self, batch: Batch) -> Terms:
        return {"penalty": lambda: sum((p.square().sum() for p in self.net.parameters()), self.nothing("net"))}

    def losses_pairs(self, batch: Batch) -> Terms:
        def loss() -> Tensor:
            if self.pair not in batch:
                return self.nothing("net")
            views = batch[self.pair]
            return self.domains["y"].loss(self.translate(views["x"], "x", "y"), views["y"])

        return {"xy": loss}

    def losses_alone(self, batch: Batch) -> Terms:
        shown = [views["x"] for group, views in batch.items() if "x" in group]
        losses = [F.mse_loss(self.translate(x, "x", "y"), x) for x in shown]
        return {"xx": lambda: sum(losses, self.nothing("net") + self.nothing("head"))}

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        out: Tensor = self.head(self.net(self.domains[source].to_input(view)))
        return out


def register() -> None:
    """Adds the toys to the tables; a test takes them out again by monkeypatch, a process of its own needs not."""
    DATASETS.update(triples=Triples, scarce=Scarce)
    METHODS.update(three=Three, phases=Phases)
