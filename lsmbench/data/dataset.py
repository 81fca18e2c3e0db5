"""The base of all datasets: files to pools. One file per dataset; `DATASETS` in `lsmbench.datasets` lists them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import Findings
from lsmbench.data.inputs import InputForm
from lsmbench.data.pools import TEST, TRAIN, VAL, Pool, Pools, Stored
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.options import options_of

Arrays = dict[str, NDArray[np.generic]]
T = TypeVar("T")

COPY = "copy"
"""The view, read by evaluations only, that holds the source's content in the form of the target (the copy floor)."""


_FEWEST = 3


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
        counted: What is counted: `samples`, or `pairs` where those with one view are not among them.
        facts: Further rows of the table, by their title, e.g. the pictures' sizes.
        findings: What has to be mended, and what is worth knowing.
        samples: The usable samples as `Dataset.load` gives them; empty if there are none.
        names: What each usable sample is called, e.g. its file; empty if samples have no names.
        palette: A palette's file of the colours that stand for classes in masks, for the user to name them; empty if
            masks hold no colours, or too many.
        unread: Files and folders that are not read, by the reason.
        alone: The usable samples that have one view only, by that view: the stored views, and what they are called.
    """

    counts: dict[str, int] = field(default_factory=dict)
    counted: Literal["samples", "pairs"] = "samples"
    facts: dict[str, str] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    samples: Arrays = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    palette: str = ""
    unread: dict[str, list[str]] = field(default_factory=dict)
    alone: dict[str, tuple[NDArray[np.generic], list[str]]] = field(default_factory=dict)

    def take(self, pools: Pools, source: str, target: str) -> None:
        """Counts the samples of each part, and takes those that have both views or one of them."""
        self.counts |= {part: len(pools.part(part)) for part in (TRAIN, VAL, *pools.test_sets)}
        everything = np.arange(len(pools))
        has = {view: pools.has(view, everything) for view in (source, target)}
        both = everything[has[source] & has[target]]
        for view in has:
            if len(alone := np.setdiff1d(everything[has[view]], both)):
                names = pools.names(alone) or [f"sample {number}" for number in alone.tolist()]
                self.alone[view] = (pools.take(view, alone), names)
        if len(both):
            self.samples = {view: pools.take(view, both) for view in (source, target)}
            self.names = pools.names(both) or []


@dataclass
class Dataset(ABC):
    """A source of samples. Subclasses are dataclasses whose fields, declared with `option`, are the user's options.

    Attributes:
        name: The word that users type.
        photo: The view that a person has before anything is annotated; pairs are selected by it.
        paired: Whether there may be samples that have both source and target.
    """

    name: ClassVar[str]
    photo: ClassVar[str] = "x"
    paired: ClassVar[bool] = True

    @property
    def labels_hidden(self) -> bool:
        """Whether validation scores need labels that no method may know, as in unsupervised domain adaptation."""
        return not self.paired and bool(self.truths)

    @property
    def source(self) -> str:
        """The view that methods are given; override where that is an option."""
        return "x"

    @property
    def target(self) -> str:
        """The view that methods are asked for."""
        return "y" if self.source == "x" else "x"

    @property
    def truths(self) -> dict[str, str]:
        """Which view predictions of a view are compared with, for views that are not compared with themselves.

        E.g. `{"y": "labels"}`: predicted label colours are compared with labels at full resolution. A view without a
        domain, such as `labels`, is read by evaluations only (`evaluation_views`).
        """
        return {}

    @property
    def beside(self) -> dict[str, str]:
        """Views that methods which ask for them are shown beside another view, wherever a sample has both.

        E.g. `{"label": "y"}`: the class of a sample whose `y` is shown. Supervision neither hides nor counts them.
        """
        return {}

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

    def units(self) -> NDArray[np.generic] | None:
        """The patient, person or scene of each sample of `load`, (N,); `None` if every sample is a unit of its own."""
        return None

    def evaluation_views(self) -> Mapping[str, Stored]:
        """Further views of the samples of `load` that only evaluations read: truths, and the view `copy`.

        No method is ever shown one in training, and the fingerprint leaves them out.
        """
        return {}

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """All samples, in sets whose samples have the same views.

        Here: one pool of what `load` gives, in the parts of `split`. Override it for samples that lack views, for sets
        of different length, and for several test sets.

        Args:
            seed: Seed of a random split; `None` keeps the dataset's own order.

        Raises:
            UserError: As `load` and `split`.
        """
        arrays = self.load()
        split = self.split(len(arrays[self.source]), seed)
        parts = {TRAIN: split.train, VAL: split.val, TEST: split.test}
        return (Pool("samples", {**arrays, **self.evaluation_views()}, parts, self.units()),)

    def split(self, count: int, seed: int | None) -> Split:
        """Splits 70/10/20, by units where there are some; override where the dataset has an official split.

        Args:
            count: Number of samples.
            seed: Shuffles before splitting; `None` keeps the samples' order (as LSM's released code does).

        Raises:
            UserError: If there are fewer than three samples, or units.
        """
        unit = self.units()
        units, what = count, "samples"
        if unit is not None:
            _, first, member = np.unique(unit, return_index=True, return_inverse=True)
            place = np.argsort(np.argsort(first))[member]  # each sample's unit, numbered by first appearance
            units, what = len(first), "units (patients, persons, scenes)"
        order = np.arange(units) if seed is None else np.random.default_rng((seed, 7)).permutation(units)
        if units < _FEWEST:
            raise UserError(f"dataset {self.name}: {units} {what} are too few to split; give at least {_FEWEST}.")
        # Fewer than 10 leave one at least for each part.
        train, val = min(int(units * 0.7 + 1e-9), units - 2), max(1, int(units * 0.1 + 1e-9))
        parts = (order[:train], order[train : train + val], order[train + val :])
        return Split(*parts) if unit is None else Split(*(np.flatnonzero(np.isin(place, part)) for part in parts))

    def default_folds(self) -> int | None:
        """In how many folds a benchmark cross-validates the pairs when it says nothing; `None`: one split, as here.

        Override it where pairs may be few and lie in no parts of their own; `few_folds` helps.
        """
        return None

    def inspect(self) -> Inspection:
        """Looks at all of the data, and names every mistake instead of stopping at the first.

        A dataset of the user's files overrides this: everything that `load` would refuse has to be among the problems,
        and the samples without problems among the samples. Best let both call the same code.

        Returns:
            Here: what `pools` gives, if the domains find nothing wrong with it, counted by parts and by views. Its
            samples are those that have both source and target, and those alone that have one of them.
        """
        found = Inspection()
        with found.findings.gathering():
            pools = pools_of(self)
            found.take(pools, self.source, self.target)
            by_views = pools.train_by_views()
            if len(by_views) > 1:
                for shown, numbers in by_views.items():
                    found.facts[f"training samples with {' and '.join(shown)}"] = str(len(numbers))
            if (units := pools.units(np.arange(len(pools)))) is not None:
                found.facts["units"] = str(len(set(units)))
        return found

    def inputs(self) -> InputForm | None:
        """How single files of a user become source views, for predictions; `None` if there are no such files.

        A finished run keeps it: it must hold all that the options and the data decide.
        """
        return None

    def targets(self) -> NDArray[np.generic]:
        """View `y` of all samples, as `load` gives it; override where photos need not be read for it.

        Other datasets may take it for their y-only samples (`supervision.y_bank`).
        """
        return self.load()["y"]


def pools_of(dataset: Dataset, seed: int | None = None) -> Pools:
    """A dataset's pools, numbered through and checked.

    Args:
        dataset: Whose pools.
        seed: Seed of a random split.

    Raises:
        UserError: As `Dataset.pools`; if views are not what their domains hold, or a unit is torn by the split.
    """
    pools = dataset.pools(seed)
    hidden = {view for pool in pools for view in pool.views} - dataset.domains.keys()
    found = Pools(pools, f"dataset {dataset.name}", hidden, dataset.beside)
    found.check(dataset.domains)
    return found


def read_each(
    sources: Mapping[str, list[T]], read: Callable[[str, list[T], Findings], Arrays], findings: Findings
) -> dict[str, Arrays]:
    """Reads every source of a dataset, also after one with mistakes, so that every mistake is named at once.

    Args:
        sources: The samples of each source.
        read: Reads a source's samples; adds what is wrong with them to the findings, and then raises a UserError.
        findings: Takes the mistakes.

    Raises:
        UserError: If a source cannot be read for another reason.
    """
    arrays: dict[str, Arrays] = {}
    for name, samples in sources.items():
        try:
            arrays[name] = read(name, samples, findings)
        except UserError:
            if not findings.problems:
                raise
    return arrays


def paired_arrays(pools: Sequence[Pool], views: Sequence[str] = ("x", "y")) -> Arrays:
    """The stored views of all samples that have all of them, pool by pool, as `Dataset.load` gives them."""
    pairs = [pool.views for pool in pools if set(views) <= pool.views.keys()]
    return {view: np.concatenate([np.asarray(one[view]) for one in pairs]) for view in views}


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
        folder, named = Path(root).expanduser(), f"root={root}"
    else:
        data = data_root()
        if data is None:
            raise UserError(f"dataset {name}: LSMBENCH_DATA, the folder of your datasets, is not set. {where_from}")
        folder, named = data / name, str(data / name)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise UserError(f"dataset {name}: {named}: expected a folder, found {found}. {where_from}")
    return folder
