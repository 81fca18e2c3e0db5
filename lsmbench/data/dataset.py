"""Datasets: files to samples. One file per dataset; `DATASETS` in `lsmbench.data` lists them."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import Findings
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.options import options_of

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Split:
    """Sample numbers of the three parts of a dataset."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass
class Inspection:
    """What a look at all of a dataset's data found; `lsmbench data check` prints and draws it.

    Attributes:
        counts: Usable samples of each part, by the part's name.
        facts: Further rows of the table, by their title, e.g. the pictures' sizes.
        findings: What has to be mended, and what is worth knowing.
        samples: The usable samples as `Dataset.load` gives them; empty if there are none.
        names: What each usable sample is called, e.g. its file; empty if samples have no names.
    """

    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    samples: Arrays = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass
class Dataset(ABC):
    """A source of samples. Subclasses are dataclasses whose fields, declared with `option`, are the user's options.

    Attributes:
        name: The word that users type.
        photo: The view that a person has before anything is annotated; pairs are selected by it.
    """

    name: ClassVar[str]
    photo: ClassVar[str] = "x"

    @property
    def source(self) -> str:
        """The view that methods are given; override where that is an option."""
        return "x"

    @property
    def target(self) -> str:
        """The view that methods are asked for."""
        return "y" if self.source == "x" else "x"

    def __post_init__(self) -> None:
        """Checks the options that datasets have in common; override to check others besides.

        Raises:
            UserError: If an option has none of its choices, `size` is below 16 or not divisible by 4, `samples` is
                below 10, or `data_seed` is negative.
        """
        least = {"size": 16, "samples": 10, "data_seed": 0}
        why = {"samples": ", since they are split 70/10/20"}
        for o in options_of(type(self)):
            value = getattr(self, o.name)
            if o.choices and value not in o.choices:
                raise UserError(f"dataset {self.name}: {o.name}={value}; expected one of: {', '.join(o.choices)}.")
            if o.name == "size" and (value < 16 or value % 4):
                raise UserError(
                    f"dataset {self.name}: size={value}; expected a number of pixels of at least 16, divisible by 4."
                )
            if value is not None and o.name in least and value < least[o.name]:
                raise UserError(
                    f"dataset {self.name}: {o.name}={value}; expected at least {least[o.name]}{why.get(o.name, '')}."
                )

    @property
    @abstractmethod
    def domains(self) -> dict[str, Domain]:
        """The domain of each view."""

    @classmethod
    @abstractmethod
    def example(cls, folder: Path) -> Self:
        """A small instance for tests and trials, 32 px at most and about 40 samples.

        Args:
            folder: An empty folder, for a dataset that needs files.
        """

    @abstractmethod
    def load(self) -> Arrays:
        """Stored samples, one array per view, the same number in each and in the same order.

        Raises:
            UserError: If files are missing, unreadable or hold something unexpected.
        """

    def split(self, count: int, seed: int | None) -> Split:
        """Splits 70/10/20; override where the dataset has an official split.

        Args:
            count: Number of samples.
            seed: Shuffles before splitting; `None` keeps the samples' order (as LSM's released code does).

        Raises:
            UserError: If a part would be empty.
        """
        order = np.arange(count) if seed is None else np.random.default_rng((seed, 7)).permutation(count)
        train, val = int(count * 0.7 + 1e-9), int(count * 0.1 + 1e-9)
        if min(train, val, count - train - val) < 1:
            raise UserError(f"dataset {self.name}: {count} samples are too few to split 70/10/20; give at least 10.")
        return Split(order[:train], order[train : train + val], order[train + val :])

    def inspect(self) -> Inspection:
        """Looks at all of the data, and names every mistake instead of stopping at the first.

        A dataset of the user's files overrides this: everything that `load` would refuse has to be among the problems,
        and the samples without problems among the samples. Best let both call the same code.

        Returns:
            Here: what `load` gives, if it and the domains find nothing wrong with it, counted by the parts of `split`.
        """
        found = Inspection()
        with found.findings.gathering():
            arrays = self.load()
            for view, domain in self.domains.items():
                with found.findings.gathering():
                    domain.check(arrays[view], f"dataset {self.name}, view {view}")
            if found.findings.problems:
                return found
            found.samples = arrays
            parts = self.split(len(arrays[self.source]), None)
            found.counts = {"train": len(parts.train), "val": len(parts.val), "test": len(parts.test)}
        return found

    def targets(self) -> NDArray[np.generic]:
        """View `y` of all samples, as `load` gives it; override where photos need not be read for it.

        Other datasets may take it for their y-only samples (`supervision.y_bank`).
        """
        return self.load()["y"]

    def truth(self, view: str, indices: NDArray[np.int64]) -> NDArray[np.generic] | None:
        """What predictions of a view are compared with, where that is not the view itself.

        Args:
            view: The view that is predicted.
            indices: Sample numbers.

        Returns:
            E.g. labels at full resolution, uint8 (B, H, W), 255 where a pixel has none; `None`: the view itself.
        """
        return None

    def copies(self) -> NDArray[np.generic] | None:
        """The source's content in the form of the target, stored like it, for the copy floor; `None` if unknown."""
        return None


def fingerprint(dataset: Dataset, arrays: Arrays) -> str:
    """SHA-256 (first 16 hex digits) over the views' domains and values, and the dataset's own split.

    The split belongs to it: moving a file from `train/` to `val/` may leave all values as they are.
    """
    digest = hashlib.sha256()
    split = dataset.split(len(arrays[dataset.source]), None)
    for part in (split.train, split.val, split.test):
        digest.update(f"{len(part)}:".encode())
        digest.update(np.ascontiguousarray(part, dtype=np.int64).data)
    for view in sorted(arrays):
        array = np.ascontiguousarray(arrays[view])
        digest.update(f"{view}:{dataset.domains[view]!r}:{array.dtype}:{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()[:16]


def data_root() -> Path | None:
    """The folder with the user's data, from the environment variable LSMBENCH_DATA, or `None`.

    Raises:
        UserError: If the variable names something that is not a folder.
    """
    value = os.environ.get("LSMBENCH_DATA", "")
    if not value:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise UserError(f"LSMBENCH_DATA={value}: no such folder. Set it to the folder that holds your datasets.")
    return root


def own_folder(name: str, root: str, where_from: str) -> Path:
    """The folder of a dataset's files: the one that its option `root` names, else the one of its name in LSMBENCH_DATA.

    Args:
        name: The dataset's word.
        root: What the option says; empty if it is not given.
        where_from: Who gives the files, and how they have to lie; the end of messages.

    Raises:
        UserError: If there is no such folder, or neither is given.
    """
    if root:
        folder, said = Path(root).expanduser(), f"root={root}"
    else:
        data = data_root()
        if data is None:
            raise UserError(f"dataset {name}: LSMBENCH_DATA, the folder of your datasets, is not set. {where_from}")
        folder, said = data / name, str(data / name)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise UserError(f"dataset {name}: {said}: expected a folder, found {found}. {where_from}")
    return folder
