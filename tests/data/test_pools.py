"""Pools: samples with different views, several test sets, units; and what is supervised and batched of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console

from lsmbench.commands.check import check
from lsmbench.data.dataset import Arrays, Dataset, pools_of
from lsmbench.data.module import DataModule
from lsmbench.data.pools import Computed, Pool, Pools, Stored
from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.errors import UserError
from tests.toys import Triples

VIEWS = ("x", "y", "z")


def supervised(**options: object) -> dict[tuple[str, ...], np.ndarray]:
    return supervise(pools_of(Triples()), SupervisionConfig(**options)).groups  # type: ignore[arg-type]


def test_samples_are_numbered_through_and_taken_from_their_pools() -> None:
    pools = pools_of(Triples())
    assert len(pools) == 90
    assert pools.views == VIEWS
    assert pools.test_sets == ("test", "elsewhere")
    assert pools.ranges["without z"] == (36, 54)
    assert pools.part("elsewhere").tolist() == list(range(48, 54))
    assert pools.part("test").tolist() == [*range(30, 36), *range(87, 90)]
    numbers = np.array([80, 3, 55, 79])
    z = pools.take("z", numbers)
    for number, row in zip(numbers, z, strict=True):
        (owner,) = (p for p in pools.pools if pools.ranges[p.name][0] <= number < pools.ranges[p.name][1])
        assert np.array_equal(row, owner.views["z"][number - pools.ranges[owner.name][0]])
    assert pools.has("y", np.array([0, 36, 54, 66, 78])).tolist() == [True, True, False, False, False]
    assert pools.units(np.array([0, 2, 3, 89])) == ["P00", "P00", "P01", "P29"]
    assert [part.tolist() for part in pools.by_pool(np.array([60, 2, 1]))] == [[2, 1], [60]]


def test_a_unit_in_two_parts_is_refused_and_named() -> None:
    with pytest.raises(UserError, match=r"P08 \(train, val\)(.|\n)*one part"):
        pools_of(Triples(patient_twice=True))


def test_the_fingerprint_knows_values_parts_and_units() -> None:
    domains = Triples().domains
    pools = pools_of(Triples()).pools
    known = Pools(pools).fingerprint(domains)
    first = pools[0]
    x = np.array(first.views["x"])
    x[0, 0, 0, 0] ^= 1
    moved = {**first.parts, "train": first.parts["train"][1:], "val": np.append(first.parts["val"], 0)}
    others = [
        replace(first, views={**first.views, "x": x}),
        replace(first, parts=moved, unit=None),
        replace(first, unit=np.char.add(np.asarray(first.unit), "b")),
        replace(first, name="renamed"),
    ]
    found = {Pools([other, *pools[1:]]).fingerprint(domains) for other in others}
    assert len(found | {known}) == 5
    assert Pools(pools_of(Triples()).pools).fingerprint(domains) == known


@pytest.mark.parametrize(
    ("pool", "why"),
    [
        (lambda: Pool("p", {"x": np.zeros((3, 1)), "y": np.zeros((2, 1))}), "found 3 of x, 2 of y"),
        (lambda: Pool("p", {"x": np.zeros((3, 1))}, {"train": np.array([3])}), "row 3, and there are 3"),
        (lambda: Pool("p", {"x": np.zeros((3, 1))}, {"train": np.arange(2), "val": np.arange(1, 3)}), "several of"),
        (lambda: Pool("p", {}), "no view"),
        (lambda: Pools([Pool("p", {"x": np.zeros((3, 1))})] * 2), "different names"),
    ],
)
def test_pools_that_make_no_sense_are_refused(pool, why) -> None:
    with pytest.raises(UserError, match=why):
        pool()


@pytest.mark.parametrize("protocol", ["bank", "disjoint", "shared"])
def test_supervision_is_nested_and_never_shows_what_a_sample_lacks(protocol: str) -> None:
    pools = pools_of(Triples())
    smaller: dict[tuple[str, ...], set[int]] = {}
    for n in (100, 50, 25, 13):
        groups = {shown: set(numbers.tolist()) for shown, numbers in supervised(paired=n, protocol=protocol).items()}
        for shown, numbers in groups.items():
            assert all(pools.has(view, np.array(sorted(numbers))).all() for view in shown)
            assert numbers <= set(pools.part("train").tolist())
            if len(shown) > 1 and smaller:
                assert numbers <= smaller[shown], "complete samples are nested"
        assert set(range(66, 78)) <= groups[("x",)], "a photo alone is always shown"
        assert set(range(78, 87)) <= groups[("z",)]
        assert groups[VIEWS] <= set(range(24))
        assert groups.get(("x", "y"), set()) <= set(range(36, 48))
        smaller = groups
    if protocol == "bank":
        # A third of 24 complete samples; a half of 12 with two views.
        assert [len(supervised(paired=50)[shown]) for shown in (VIEWS, ("x", "y"), ("x", "z"))] == [4, 3, 3]


def test_numbers_of_samples_are_those_of_the_fullest() -> None:
    groups = supervised(paired_count=8, protocol="disjoint")
    assert [len(groups[shown]) for shown in (VIEWS, ("x", "y"), ("x", "z"))] == [8, 8, 8]
    groups = supervised(paired_count=14, protocol="disjoint")
    assert [len(groups[shown]) for shown in (VIEWS, ("x", "y"), ("x", "z"))] == [14, 12, 12]
    with pytest.raises(UserError, match=r"expected 0 to 24 pairs"):
        supervised(paired_count=25, protocol="disjoint")
    groups = supervised(paired_count=2, unpaired=14, protocol="shared")
    assert len(groups[VIEWS]) == 2
    assert len(groups["x", "y"]) == 2


def test_counts_name_every_group() -> None:
    counts = supervise(pools_of(Triples()), SupervisionConfig(paired=50)).counts()
    assert counts == {"pairs": 4, "x": 4 + 3 + 3 + 12, "y": 4 + 3, "z": 4 + 3 + 9, "x+y": 3, "x+z": 3}


class Sees:
    """A learner of some views, of all groups."""

    turns = balanced = None

    def __init__(self, views: tuple[str, ...], uses: tuple[tuple[str, ...], ...]) -> None:
        self.views, self.uses = views, uses


def test_batches_hold_what_the_learner_takes_and_nothing_else() -> None:
    data = DataModule(Triples(), SupervisionConfig(paired=50), 12, 4)
    whole = data.supervision.groups
    data.learner = Sees(("x", "y"), (("x", "y"), ("x",), ("y",)))
    groups = data.groups()
    assert groups["x", "y"].tolist() == sorted([*whole[VIEWS], *whole["x", "y"]]), (
        "of complete samples x and y are seen"
    )
    assert groups[("x",)].tolist() == sorted([*whole[("x",)], *whole["x", "z"]])
    assert ("z",) not in groups
    for batch in data.train_dataloader():
        for shown, views in batch.items():
            assert set(views) == set(shown)
    x, y = (data.pools.take(view, groups["x", "y"]) for view in ("x", "y"))
    kept = data.train_dataloader().dataset.groups["x", "y"]  # type: ignore[attr-defined]
    assert np.array_equal(kept["x"].numpy(), x)
    assert np.array_equal(kept["y"].numpy(), y)


def test_evaluation_batches_are_of_one_pool_with_all_its_views() -> None:
    data = DataModule(Triples(), SupervisionConfig(), eval_batch_size=4)
    assert {name: len(numbers) for name, numbers in data.test_sets.items()} == {"test": 9, "elsewhere": 6}
    seen: dict[str, list[tuple[set[str], list[int]]]] = {}
    for name in data.test_sets:
        data.test_set = name
        seen[name] = [(set(b) - {"index", "unit"}, b["index"].tolist()) for b in data.test_dataloader()]
    assert seen["test"] == [
        ({"x", "y", "z"}, [30, 31, 32, 33]), ({"x", "y", "z"}, [34, 35]), ({"z"}, [87, 88, 89]),
    ]  # fmt: skip
    assert seen["elsewhere"] == [({"x", "y"}, [48, 49, 50, 51]), ({"x", "y"}, [52, 53])]
    without = DataModule(Triples(), SupervisionConfig(), testing=False)
    assert [len(numbers) for numbers in without.test_sets.values()] == [0, 0]


@dataclass
class Judged(Triples):
    """Predictions of y are compared with labels that evaluations alone read."""

    name: ClassVar[str] = "judged"

    @property
    def truths(self) -> dict[str, str]:
        return {"y": "labels"}

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        first, *others = super().pools(seed)
        labels: Stored = Computed(len(first), lambda rows: np.asarray(first.views["y"])[rows] + 1)
        return (replace(first, views={**first.views, "labels": labels}), *others)


def test_views_that_only_evaluations_read_are_in_their_batches_alone() -> None:
    data = DataModule(Judged(), SupervisionConfig(paired=50), 12, 4)
    assert all("labels" not in shown for shown in data.supervision.groups)
    batch = next(iter(data.test_dataloader()))
    assert torch.equal(batch["labels"], (batch["y"] + 1).to(torch.uint8))
    assert data.fingerprint == DataModule(Triples(), SupervisionConfig()).fingerprint


def test_data_check_counts_parts_views_and_units(tmp_path: Path) -> None:
    console = Console(file=(tmp_path / "said").open("w"), width=100)
    assert check(Triples(), tmp_path / "sheet.png", console)
    console.file.close()
    said = (tmp_path / "said").read_text()
    for line in ("samples of train +69", "samples of elsewhere +6", "samples with x and y +12", "units +30"):
        assert re.search(line, said), line


@dataclass
class Patients(Triples):
    """A plain dataset with units: two views, and the split of the base class."""

    name: ClassVar[str] = "patients"
    pools = Dataset.pools

    def load(self) -> Arrays:
        return {"x": np.zeros((45, 1, 32, 32), np.uint8), "y": np.zeros((45, 32, 32), np.uint8)}

    def units(self) -> np.ndarray:
        return np.arange(45) % 15


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_units_are_split_and_never_divided(seed: int | None) -> None:
    (pool,) = pools_of(Patients(), seed).pools
    assert [len(pool.parts[part]) for part in ("train", "val", "test")] == [30, 3, 12]
    everything = np.concatenate(list(pool.parts.values()))
    assert sorted(everything.tolist()) == list(range(45))
