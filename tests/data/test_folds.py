from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lsmbench.data.dataset import pools_of
from lsmbench.data.folds import folded, number_of_folds
from lsmbench.data.module import DataModule
from lsmbench.data.pools import TEST, TRAIN, VAL, Pool, Pools
from lsmbench.data.supervision import SupervisionConfig, possible
from lsmbench.errors import UserError
from lsmbench.runs.config import config_from_dict, setting_of
from tests.toys import Triples

XY = ("x", "y")


def pool(name: str, views: str, count: int, unit: list[str] | None = None, **parts: list[int]) -> Pool:
    rows = {part: np.array(places) for part, places in (parts or {"train": list(range(count))}).items()}
    stored = {view: np.zeros((count, 1), np.uint8) for view in views}
    return Pool(name, stored, rows, None if unit is None else np.array(unit))


def pairs_and_photos(pairs: int = 15, photos: int = 20) -> Pools:
    parts = {"train": list(range(pairs - 4)), "val": [pairs - 4], "test": list(range(pairs - 3, pairs))}
    return Pools([pool("pairs", "xy", pairs, **parts), pool("photos", "x", photos)])


def test_every_pair_is_tested_once_and_trains_or_validates_elsewhere() -> None:
    pools = pairs_and_photos()
    tested: list[int] = []
    for fold in range(5):
        one = folded(pools, 5, fold, XY)
        parts = {part: one.pools.part(part).tolist() for part in (TRAIN, VAL, TEST)}
        assert [len(parts[part]) for part in (TRAIN, VAL, TEST)] == [11 + 20, 1, 3]
        assert sorted(number for numbers in parts.values() for number in numbers) == list(range(35))
        assert set(range(15, 35)) <= set(parts[TRAIN]), "photos without a mask train in every fold"
        assert (one.folds, one.unused) == (5, 0)
        tested += parts[TEST]
    assert sorted(tested) == list(range(15))
    again, other = folded(pools, 5, 2, XY), folded(pools, 5, 2, XY, seed=1)
    assert again.pools.part(TEST).tolist() == folded(pools, 5, 2, XY, seed=0).pools.part(TEST).tolist()
    assert again.pools.part(TEST).tolist() != other.pools.part(TEST).tolist()


def test_folds_are_as_even_as_units_allow_and_never_divide_one() -> None:
    unit = [f"P{i}" for i in [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2 + [4] * 2]
    pools = Pools([pool("pairs", "xy", 16, unit)])
    sizes = []
    for fold in range(3):
        parts = folded(pools, 3, fold, XY).pools
        held = [set(parts.units(parts.part(part)) or []) for part in (TRAIN, VAL, TEST)]
        assert sum(map(len, held)) == 5
        assert len(held[1]) == 1
        sizes.append(len(parts.part(TEST)))
    assert sorted(sizes) == [5, 5, 6]


def test_what_shares_a_unit_with_a_tested_or_validating_pair_is_not_used() -> None:
    pools = Pools([pool("pairs", "xy", 4, list("abcd")), pool("masks", "y", 6, list("aabcez"))])
    for fold in range(4):
        one = folded(pools, "leave_one_out", fold, XY)
        assert one.folds == 4
        away = {*(one.pools.units(one.pools.part(TEST)) or []), *(one.pools.units(one.pools.part(VAL)) or [])}
        masks = [number for number in one.pools.part(TRAIN).tolist() if number >= 4]
        assert away.isdisjoint(one.pools.units(np.array(masks)) or [])
        assert len(masks) + one.unused == 6


def test_further_test_sets_stay_and_other_views_train() -> None:
    pools = pools_of(Triples())
    seen: list[int] = []
    for fold in range(4):
        one = folded(pools, 4, fold, XY)
        assert one.pools.test_sets == (TEST, "elsewhere")
        assert one.pools.part("elsewhere").tolist() == list(range(48, 54))
        # Without y: the pools of x and z, of x, and of z, the three of its test part included.
        assert set(range(54, 90)) <= set(one.pools.part(TRAIN).tolist())
        seen += one.pools.part(TEST).tolist()
    assert sorted(seen) == [*range(48)]
    assert number_of_folds(pools, "leave_one_out", XY) == 16


def test_of_two_pairs_one_trains_and_the_other_is_tested_without_validation() -> None:
    pools = Pools([pool("pairs", "xy", 2), pool("photos", "x", 3)])
    both = [folded(pools, "leave_one_out", fold, XY).pools for fold in (0, 1)]
    assert sorted(one.part(TEST).item() for one in both) == [0, 1]
    for one in both:
        assert len(one.part(VAL)) == 0
        assert sorted([*one.part(TEST), *one.part(TRAIN)]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("folds", "fold", "message"),
    [
        (1, 0, "expected at least 2 folds, or leave_one_out; found 1"),
        (20, 0, r"20 folds were asked for, and dataset has 15 pairs\. Ask for at most 15"),
        (5, 5, r"expected 0 to 4, since there are 5 folds; found 5"),
        (5, -1, r"expected 0 to 4"),
    ],
)
def test_folds_that_cannot_be_are_refused(folds: Any, fold: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        folded(pairs_and_photos(), folds, fold, XY)


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset has 1 pair, of which none is left to train with .*folds: null"):
        number_of_folds(Pools([pool("pairs", "xy", 1)]), "leave_one_out", XY)
    with pytest.raises(
        UserError,
        match=r"dataset has 3 pairs of 1 unit, of which none is left .* Add pairs of other units",
    ):
        number_of_folds(Pools([pool("pairs", "xy", 3, list("aaa"))]), "leave_one_out", XY)
    with pytest.raises(UserError, match=r"4 folds were asked for, and dataset has 6 pairs of 3 units"):
        number_of_folds(Pools([pool("pairs", "xy", 6, list("aabbcc"))]), 4, XY)
    with pytest.raises(UserError, match="no sample with both x and y, hence no pair to deal"):
        number_of_folds(Pools([pool("photos", "x", 6)]), 2, XY)
    with pytest.raises(UserError, match=r"fold 2 of how many\? Say supervision\.folds too"):
        _ = DataModule(Triples(), SupervisionConfig(fold=2)).pools


def test_n_is_the_share_of_the_pairs_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataModule(Triples(), SupervisionConfig(folds=4, fold=1, protocol="disjoint", paired=100))
    kept = data.pools.part(TRAIN)
    complete = data.pools.has("x", kept) & data.pools.has("y", kept) & data.pools.has("z", kept)
    assert len(data.supervision.pairs) == complete.sum()
    config = replace(data.config, protocol="disjoint")
    assert possible(data.pools, config)[0] == complete.sum()
    assert data.fingerprint == DataModule(Triples(), SupervisionConfig()).fingerprint, "of the data, not of the fold"


@pytest.mark.parametrize("candidates", [1, 3, 7, 11, 33, 111, 700, 3201])
def test_the_least_n_that_is_named_leaves_a_pair(candidates: int) -> None:
    from lsmbench.data.supervision import pairs_of

    pools = Pools([pool("pairs", "xy", candidates)])
    config = SupervisionConfig(protocol="disjoint")
    most, least = possible(pools, config)
    assert most == candidates
    assert least is not None
    assert pairs_of(candidates, replace(config, paired=least)) == 1
    if candidates > 1:
        with pytest.raises(UserError, match=rf"least N with one pair is {least:g} %"):
            pairs_of(candidates, replace(config, paired=least * 0.99))


def test_without_pairs_no_n_is_possible() -> None:
    pools = Pools([pool("photos", "x", 6), pool("masks", "y", 5)])
    assert possible(pools, SupervisionConfig()) == (0, None)


def test_runs_without_folds_keep_their_identities_and_folds_are_told_apart() -> None:
    values: dict[str, Any] = {"dataset": {"name": "sit", "size": 32, "samples": 40}, "method": {"name": "floor"}}
    plain = config_from_dict({**values, "supervision": {}, "training": {}})
    # Noted before there were folds.
    assert plain.identity("f00d") == "floor-N100-s0-2296579450"
    named = [
        config_from_dict({**values, "supervision": {"folds": folds, "fold": fold}, "training": {}})
        for folds, fold in ((5, 0), (5, 2), (4, 2), ("leave_one_out", 2))
    ]
    identities = [one.identity("f00d") for one in named]
    assert len({*identities, plain.identity("f00d")}) == 5
    assert [one.rpartition("-")[0] for one in identities] == [f"floor-N100-s0-f{k}" for k in (0, 2, 2, 2)]
    settings = [str(setting_of(one.to_dict())) for one in (plain, *named)]
    assert settings[1] == settings[2], "the folds of one number are one row"
    assert len(set(settings)) == 4
