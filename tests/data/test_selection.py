from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lsmbench.data.selection import cluster, k_medoids
from lsmbench.errors import UserError

Features = NDArray[np.float64]


@pytest.fixture
def blurred() -> Features:
    """Samples without clear clusters."""
    return np.random.default_rng(5).normal(size=(90, 6))


def brute_force(rows: Features) -> int:
    return int(np.argmin([sum(float(np.linalg.norm(a - b)) for b in rows) for a in rows]))


def chosen_set(features: Features, rows: NDArray[np.int64]) -> list[tuple[float, ...]]:
    return sorted(map(tuple, features[rows].tolist()))


@pytest.mark.parametrize("k", [2, 5, 12])
@pytest.mark.parametrize("seed", [0, 3])
def test_planted_clusters_give_one_sample_each(k: int, seed: int) -> None:
    rng = np.random.default_rng(k)
    truth = np.repeat(np.arange(k), rng.integers(3, 30, k))
    rng.shuffle(truth)
    features = 100.0 * np.eye(k, 15)[truth] + rng.normal(size=(len(truth), 15))
    found = k_medoids(features, k, seed)
    assert sorted(truth[found]) == list(range(k))
    assert found.dtype == np.int64
    assert found.tolist() == sorted(found)


def test_one_cluster_gives_the_medoid_of_all(blurred: Features) -> None:
    assert k_medoids(blurred, 1).tolist() == [brute_force(blurred)]
    assert k_medoids(blurred.astype(np.float32), 1).tolist() == [brute_force(blurred)]


def test_the_medoid_is_no_mean_and_no_nearest_to_the_mean() -> None:
    # The mean is drawn to the far sample; squares of distances would choose 4.
    features = np.array([[0.0], [1.0], [2.0], [4.0], [30.0]])
    assert np.argmin(np.abs(features - features.mean())) == 3
    assert k_medoids(features, 1).tolist() == [2]


@pytest.mark.parametrize("k", [3, 10, 45])
def test_every_medoid_is_the_one_of_its_cluster(k: int, blurred: Features) -> None:
    found = cluster(blurred, k)
    assert found.sizes.tolist() == [int((found.labels == number).sum()) for number in range(k)]
    assert found.sizes.sum() == len(blurred)
    for number, medoid in enumerate(found.medoids):
        inside = np.flatnonzero(found.labels == number)
        sums = cdist(blurred[inside], blurred[inside]).sum(1)
        assert medoid in inside
        assert sums[inside == medoid][0] == pytest.approx(sums.min(), rel=1e-12)
        if len(inside) > 2:  # with two, both have the same sum of distances
            assert medoid == inside[brute_force(blurred[inside])]
    assert k_medoids(blurred, k).tolist() == sorted(found.medoids)


def test_clusters_are_those_of_k_means(blurred: Features) -> None:
    found = cluster(blurred, 4)
    centres = np.stack([blurred[found.labels == number].mean(0) for number in range(4)])
    assert np.array_equal(cdist(blurred, centres).argmin(1), found.labels)


def test_a_large_cluster_far_from_the_origin() -> None:
    # More rows than are taken at a time, and an offset that would drown the distances between them.
    features = np.random.default_rng(1).normal(size=(700, 3)) + 1e6
    assert k_medoids(features, 1).tolist() == [int(cdist(features, features).sum(1).argmin())]


@pytest.mark.parametrize("k", [1, 2, 7, 30])
def test_the_order_of_rows_does_not_matter(k: int, blurred: Features) -> None:
    features = np.concatenate([blurred, blurred[:20], -np.zeros((1, 6)), np.zeros((1, 6))])
    once = chosen_set(features, k_medoids(features, k, seed=2))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(features))
        assert chosen_set(features[order], k_medoids(features[order], k, seed=2)) == once


def test_ties_are_broken_the_same_in_any_order() -> None:
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    once = chosen_set(corners, k_medoids(corners, 1))
    assert chosen_set(corners[::-1], k_medoids(corners[::-1], 1)) == once


def test_the_same_seed_gives_the_same_and_leaves_random_numbers_alone(blurred: Features) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert np.array_equal(k_medoids(blurred, 9, 4), k_medoids(blurred, 9, 4))
    assert any(not np.array_equal(k_medoids(blurred, 9, 4), k_medoids(blurred, 9, seed)) for seed in range(4))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_all_samples_may_be_chosen(blurred: Features) -> None:
    assert k_medoids(blurred, 90).tolist() == list(range(90))
    assert k_medoids(np.array([[7.0]]), 1).tolist() == [0]


def test_copies_are_chosen_once(blurred: Features) -> None:
    features = np.concatenate([blurred[:8]] * 3)
    assert len(set(chosen_set(features, k_medoids(features, 8)))) == 8
    with pytest.raises(UserError, match=r"k=9, but only 8 of 24 samples .* Choose at most 8\."):
        k_medoids(features, 9)
    assert k_medoids(np.ones((5, 2)), 1)[0] in range(5)


@pytest.mark.parametrize("k", [-1, 0, 91])
def test_too_few_and_too_many(k: int, blurred: Features) -> None:
    with pytest.raises(UserError, match=f"expected to choose 1 to 90 of 90 samples, found k={k}"):
        k_medoids(blurred, k)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite(value: float, blurred: Features) -> None:
    blurred[[17, 40], 3] = value
    with pytest.raises(UserError, match=r"2 of 90 samples hold nan or inf, first those of row 17"):
        k_medoids(blurred, 2)


@pytest.mark.parametrize("shape", [(4,), (4, 0), (0, 4), (2, 2, 2)])
def test_features_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"expected features of shape \(samples, features\)"):
        k_medoids(np.zeros(shape), 1)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_k_means_does_not_take(seed: int, blurred: Features) -> None:
    with pytest.raises(UserError, match="expected a seed of 0 to 4294967295"):
        k_medoids(blurred, 2, seed)


def test_samples_that_hardly_differ() -> None:
    features = np.array([[0.0], [1e-200], [2e-200], [1.0]])
    with pytest.raises(UserError, match="k-means tells only 2 clusters apart, not k=4"):
        k_medoids(features, 4)
