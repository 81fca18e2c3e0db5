from __future__ import annotations

import numpy as np
import pytest

from lsmbench.data.pools import Pool, Pools
from lsmbench.data.selection import k_medoids
from lsmbench.data.supervision import Features, Supervision, SupervisionConfig
from lsmbench.data.supervision import supervise as supervise_pools
from lsmbench.errors import UserError

X, Y, XY = ("x",), ("y",), ("x", "y")


def supervise(
    train: np.ndarray, config: SupervisionConfig, features: Features | None = None, bank: int = 0
) -> Supervision:
    """Supervises one pool of samples with two views, and one that gives y-only samples."""
    rows = np.zeros((int(train.max()) + 1, 1))
    pools = [Pool("samples", {"x": rows, "y": rows}, {"train": train})]
    if bank:
        pools.append(Pool(config.bank_name, {"y": np.zeros((bank, 1))}, {"train": np.arange(bank)}))
    return supervise_pools(Pools(pools), config, features)


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


@pytest.mark.parametrize("protocol", ["bank", "disjoint", "x_only"])
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


def features(indices: np.ndarray) -> np.ndarray:
    """Five clusters of samples: those of equal remainder."""
    noise = np.random.default_rng(0).normal(size=(5000, 2))[indices] * 0.1
    return np.stack([indices % 5 * 10.0, indices % 5 * -3.0], 1) + noise


def test_a_number_of_pairs_takes_the_place_of_n() -> None:
    for protocol in ("bank", "disjoint", "shared", "x_only"):
        config = SupervisionConfig(paired=100, paired_count=7, protocol=protocol)  # type: ignore[arg-type]
        assert supervise(np.arange(100), config).counts()["pairs"] == 7
        assert config.amount == "7pairs"
    with pytest.raises(UserError, match=r"expected 0 to 50 pairs \(protocol bank, 100 training samples\), found 51"):
        supervise(np.arange(100), SupervisionConfig(paired_count=51))


def test_shared_shows_every_sample_apart_and_some_of_them_as_pairs() -> None:
    train = np.arange(100, 160)
    groups = supervise(train, SupervisionConfig(paired_count=4, protocol="shared")).groups
    assert groups[X].tolist() == groups[Y].tolist() == train.tolist()
    assert len(groups[XY]) == 4
    groups = supervise(train, SupervisionConfig(paired_count=4, unpaired=20, protocol="shared")).groups
    assert groups[X].tolist() == groups[Y].tolist()
    assert len(groups[X]) == 20
    assert set(groups[XY]) <= set(groups[X])
    only = supervise(train, SupervisionConfig(paired_count=4, unpaired=0, protocol="shared"))
    assert only.counts() == {"pairs": 4, "x": 0, "y": 0}
    with pytest.raises(UserError, match="61 of 60"):
        supervise(train, SupervisionConfig(paired_count=4, unpaired=61, protocol="shared"))


def test_x_only_shows_the_rest_without_y_and_has_the_pairs_of_disjoint() -> None:
    train = np.arange(100, 160)
    for paired, pairs in ((100, 60), (20, 12), (5, 3)):
        config = SupervisionConfig(paired=paired, protocol="x_only", supervision_seed=3)
        supervision = supervise(train, config)
        assert supervision.counts() == {"pairs": pairs, "x": 60 - pairs, "y": 0}
        assert np.array_equal(np.sort(np.concatenate(list(supervision.groups.values()))), train)
        same = SupervisionConfig(paired=paired, protocol="disjoint", supervision_seed=3)
        assert np.array_equal(supervision.pairs, supervise(train, same).pairs)
    limited = SupervisionConfig(paired=20, unpaired=9, protocol="x_only")
    assert supervise(train, limited).counts() == {"pairs": 12, "x": 9, "y": 0}


def test_unpaired_samples_can_be_limited_in_every_protocol() -> None:
    for protocol in ("bank", "disjoint"):
        config = SupervisionConfig(paired=10, unpaired=9, protocol=protocol)  # type: ignore[arg-type]
        assert supervise(np.arange(200), config).counts() == {"pairs": 10 if protocol == "bank" else 20, "x": 9, "y": 9}


@pytest.mark.parametrize("protocol", ["bank", "disjoint", "shared", "x_only"])
def test_k_medoids_takes_one_pair_of_each_cluster_whatever_the_seed(protocol: str) -> None:
    train = np.arange(1000, 1100)
    found = []
    for seed in (0, 1):
        config = SupervisionConfig(
            paired_count=5, protocol=protocol, selection="k_medoids", supervision_seed=seed,  # type: ignore[arg-type]
        )  # fmt: skip
        supervision = supervise(train, config, features)
        assert sorted(supervision.pairs % 5) == [0, 1, 2, 3, 4]
        if protocol != "shared":
            everything = np.concatenate(list(supervision.groups.values()))
            assert len(everything) == len(set(everything.tolist()))
        found.append(supervision.pairs.tolist())
    assert found[0] == found[1]
    pool = train[:50] if protocol == "bank" else train
    assert found[0] == pool[k_medoids(features(pool), 5)].tolist()


def test_shared_selects_the_unpaired_samples_first_and_the_pairs_among_them() -> None:
    train = np.arange(100)
    config = SupervisionConfig(paired_count=5, unpaired=10, protocol="shared", selection="k_medoids")
    groups = supervise(train, config, features).groups
    subset = k_medoids(features(train), 10)
    assert groups[X].tolist() == groups[Y].tolist() == subset.tolist()
    assert groups[XY].tolist() == subset[k_medoids(features(subset), 5)].tolist()


def test_a_bank_gives_the_y_only_samples() -> None:
    config = SupervisionConfig(paired_count=5, unpaired=10, protocol="shared", y_bank="gta")
    supervision = supervise(np.arange(100), config, bank=500)
    assert supervision.counts() == {"pairs": 5, "x": 10, "y": 10}
    assert min(supervision.groups[Y]) >= 100, "numbered after the dataset's own"
    assert supervision.ranges == {"samples": (0, 100), "gta": (100, 600)}
    assert set(supervision.to_json()) == {"x+y", "x", "y"}
    with pytest.raises(UserError, match="10 of the 9 samples of gta"):
        supervise(np.arange(100), config, bank=9)


def of_units(sizes: list[int], config: SupervisionConfig, units: bool = True) -> Supervision:
    """Supervises units of some sizes, whose samples lie in turn."""
    of = np.concatenate([np.array([unit for unit, size in enumerate(sizes) if k < size]) for k in range(max(sizes))])
    rows = np.zeros((len(of), 1))
    pool = Pool("samples", {"x": rows, "y": rows}, {"train": np.arange(len(of))}, of if units else None)
    return supervise_pools(Pools([pool], "dataset made"), config)


@pytest.mark.parametrize("protocol", ["bank", "disjoint", "shared", "x_only"])
def test_pairs_are_chosen_by_whole_units_and_nested(protocol: str) -> None:
    sizes = [3, 1, 5, 2, 4, 6, 2, 3, 1, 2]
    of = np.concatenate([np.array([unit for unit, size in enumerate(sizes) if k < size]) for k in range(6)])
    before: set[int] = set()
    for count in (0, 1, 2, 4, 5):
        config = SupervisionConfig(paired_count=count, by="unit", protocol=protocol)  # type: ignore[arg-type]
        found = of_units(sizes, config)
        units = set(of[found.pairs].tolist())
        assert len(units) == count
        assert sorted(found.pairs) == np.flatnonzero(np.isin(of, [*units])).tolist(), "all samples of each"
        assert before <= units
        before = units
        if protocol != "shared":
            owners = [set(of[numbers].tolist()) for numbers in found.groups.values()]
            assert sum(map(len, owners)) == len(set().union(*owners)), "a unit shows the same views everywhere"
        assert config.amount == f"{count}units"
    share = SupervisionConfig(paired=40, by="unit", protocol="x_only")
    assert len(set(of[of_units(sizes, share).pairs].tolist())) == 4
    other = SupervisionConfig(paired=40, by="unit", protocol="x_only", supervision_seed=1)
    assert not np.array_equal(of_units(sizes, share).pairs, of_units(sizes, other).pairs)


def test_units_of_one_sample_are_dealt_as_samples_are() -> None:
    for count in (0, 3, 7):
        by = [
            of_units([1] * 20, SupervisionConfig(paired_count=count, protocol="x_only", by=by)).to_json()  # type: ignore[arg-type]
            for by in ("unit", "sample")
        ]
        assert by[0] == by[1]


def test_what_cannot_be_chosen_by_units_is_refused() -> None:
    for options, units, why in (
        ({"paired_count": 1}, False, "dataset made does not tell units"),
        ({"paired_count": 4}, True, "expected 0 to 3 units .protocol x_only, 3 training units., found 4"),
        ({"paired": 10}, True, r"N = 10 % of 3 units leaves no pair; the least N with one pair is 33\.4 %"),
        ({"unpaired": 3}, True, "by=unit chooses units, and unpaired samples"),
        ({"selection": "k_medoids"}, True, "by=unit chooses units, and selection=k_medoids samples"),
    ):
        with pytest.raises(UserError, match=why):
            of_units([2, 1, 3], SupervisionConfig(by="unit", protocol="x_only", **options), units)  # type: ignore[arg-type]
