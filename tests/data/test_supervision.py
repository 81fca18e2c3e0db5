from __future__ import annotations

import numpy as np
import pytest

from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.errors import UserError

X, Y, XY = ("x",), ("y",), ("x", "y")


@pytest.mark.parametrize(
    ("train", "table"),
    [  # methods' published counts: N % -> pairs
        (350, {100: 175, 60: 105, 20: 35, 10: 17, 5: 8, 4: 7, 3: 5, 2: 3, 1: 1}),
        (420, {100: 210, 60: 126, 20: 42, 10: 21, 5: 10, 4: 8, 3: 6, 2: 4, 1: 2}),
        (368, {100: 184, 60: 110, 20: 36, 10: 18, 5: 9, 4: 7, 3: 5, 2: 3, 1: 1}),
    ],
)
def test_bank_gives_the_papers_numbers_of_pairs(train: int, table: dict[int, int]) -> None:
    for paired, pairs in table.items():
        counts = supervise(np.arange(train), SupervisionConfig(paired=paired)).counts()
        assert counts == {"pairs": pairs, "x": train // 2 - pairs, "y": train // 2 - pairs}


@pytest.mark.parametrize("protocol", ["bank", "disjoint"])
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_pairs_are_nested_over_n_and_nothing_is_seen_twice(protocol: str, seed: int) -> None:
    train = np.arange(1000, 1301)
    previous: dict[tuple[str, ...], set[int]] = {}
    for paired in (0, 1, 2, 5, 10, 37.5, 60, 99, 100):
        config = SupervisionConfig(paired=paired, protocol=protocol, supervision_seed=seed)  # type: ignore[arg-type]
        groups = {shown: set(map(int, indices)) for shown, indices in supervise(train, config).groups.items()}
        everything = [i for indices in groups.values() for i in indices]
        assert len(everything) == len(set(everything)), "an object is in two groups: x and y of it could be matched"
        assert set(everything) <= set(map(int, train))
        assert previous.get(XY, set()) <= groups.get(XY, set())
        for alone in (X, Y):
            if previous:
                assert groups.get(alone, set()) <= previous.get(alone, set())
        previous = groups


def test_bank_takes_y_only_from_the_second_half_at_the_places_of_x_only() -> None:
    train = np.arange(100)
    groups = supervise(train, SupervisionConfig(paired=20)).groups
    assert max(groups[XY]) < 50
    assert max(groups[X]) < 50
    assert np.array_equal(groups[Y], groups[X] + 50)


def test_disjoint_uses_every_sample_and_deals_the_rest_evenly() -> None:
    counts = supervise(np.arange(350), SupervisionConfig(paired=10, protocol="disjoint")).counts()
    assert counts["pairs"] == 35
    assert sum(counts.values()) == 350
    assert abs(counts["x"] - counts["y"]) <= 1


def test_the_seed_decides_which_pairs() -> None:
    train = np.arange(350)
    pairs = [set(supervise(train, SupervisionConfig(paired=10, supervision_seed=s)).groups[XY]) for s in (0, 0, 1)]
    assert pairs[0] == pairs[1]
    assert pairs[0] != pairs[2]


def test_n_of_zero_leaves_no_pairs_and_100_leaves_only_pairs() -> None:
    assert set(supervise(np.arange(40), SupervisionConfig(paired=0)).groups) == {X, Y}
    assert set(supervise(np.arange(40), SupervisionConfig(paired=100)).groups) == {XY}


@pytest.mark.parametrize("paired", [-1, 100.5, float("nan")])
def test_n_outside_its_range_is_refused(paired: float) -> None:
    with pytest.raises(UserError, match="between 0 and 100"):
        supervise(np.arange(40), SupervisionConfig(paired=paired))


def test_n_that_leaves_no_pair_is_refused_and_the_least_n_is_named() -> None:
    with pytest.raises(UserError, match=r"leaves no pair.*is 5 %"):
        supervise(np.arange(40), SupervisionConfig(paired=1))
    assert supervise(np.arange(40), SupervisionConfig(paired=5)).counts()["pairs"] == 1
