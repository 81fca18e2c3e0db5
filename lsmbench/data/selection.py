"""K-medoids: chooses samples to pair, one representative of each cluster of features (Shukla et al., §3.2)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError

_STARTS = 10
_CHUNK = 256
_SEEDS = 2**32


@dataclass(frozen=True)
class Clusters:
    """A clustering of samples, and the medoid of each cluster.

    Attributes:
        labels: Number of each sample's cluster, 0 to k−1, shape (N,).
        medoids: Row number of each cluster's medoid, shape (k,), in the clusters' order.
        sizes: Number of samples in each cluster, shape (k,), in the clusters' order.
    """

    labels: NDArray[np.int64]
    medoids: NDArray[np.int64]
    sizes: NDArray[np.int64]


def k_medoids(features: NDArray[np.floating], k: int, seed: int = 0) -> NDArray[np.int64]:
    """Chooses k representative samples.

    Choices are not nested: the samples for a smaller k are in general not among those for a larger k.

    Args:
        features: One row for each sample, shape (N, F), finite.
        k: Number of samples to choose.
        seed: Seed of k-means.

    Returns:
        Row numbers, shape (k,), ascending.

    Raises:
        UserError: As `cluster`.
    """
    return np.sort(cluster(features, k, seed).medoids)


def cluster(features: NDArray[np.floating], k: int, seed: int = 0) -> Clusters:
    """Clusters samples by k-means and finds each cluster's medoid, argmin_i Σ_j ‖f_i − f_j‖ over the cluster.

    Takes the best of ten starts of k-means; the paper names no number. The clusters depend on the features and the
    seed, not on the order of the rows; among samples with the same features, any may be the medoid.

    Args:
        features: One row for each sample, shape (N, F), finite.
        k: Number of clusters.
        seed: Seed of k-means' starts, 0 to 2³²−1.

    Returns:
        The clusters; none is empty.

    Raises:
        UserError: If k is below 1, above the number of rows or above the number of different rows, features are not
            finite, the seed is out of range, or rows differ by so little that k-means cannot tell k clusters apart.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise UserError(f"k-medoids: expected features of shape (samples, features), found {rows.shape}.")
    if not 1 <= k <= len(rows):
        raise UserError(f"k-medoids: expected to choose 1 to {len(rows)} of {len(rows)} samples, found k={k}.")
    if not 0 <= seed < _SEEDS:
        raise UserError(f"k-medoids: expected a seed of 0 to {_SEEDS - 1}, found {seed}.")
    wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(wrong):
        raise UserError(
            f"k-medoids: the features of {len(wrong)} of {len(rows)} samples hold nan or inf, first those of row "
            f"{wrong[0]} (counted from 0). Mend or remove these samples."
        )
    # Sort the rows, so that starts, sums and ties do not depend on their given order.
    order, different = _canonical_order(rows)
    if k > different:
        raise UserError(
            f"k-medoids: k={k}, but only {different} of {len(rows)} samples have features of their own; the others "
            f"are copies of them. Choose at most {different}."
        )
    rows = rows[order]
    found = _k_means(rows, k, seed)
    sizes = np.bincount(found, minlength=k)
    if not sizes.all():
        raise UserError(
            f"k-medoids: k-means tells only {np.count_nonzero(sizes)} clusters apart, not k={k}: the samples' features "
            "differ by too little. Choose fewer, or give other features."
        )
    labels = np.empty(len(rows), np.int64)
    labels[order] = found
    medoids = np.empty(k, np.int64)
    for number in range(k):
        inside = np.flatnonzero(found == number)
        medoids[number] = order[inside[_medoid(rows[inside])]]
    return Clusters(labels, medoids, sizes.astype(np.int64))


def _canonical_order(rows: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """The order of the rows by their bytes, and the number of different rows."""
    # Adding 0 turns −0 into 0: the two are equal, but their bytes are not.
    content = np.ascontiguousarray(rows + 0.0).view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    order = np.argsort(content, kind="stable").astype(np.int64)
    content = content[order]
    return order, 1 + int(np.count_nonzero(content[1:] != content[:-1]))


def _k_means(rows: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    """The number of each row's cluster; clusters may be empty if rows hardly differ."""
    # Imported here: a run with random pairs need not wait for scikit-learn.
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_limits  # type: ignore[import-not-found, import-untyped, unused-ignore]

    # Several threads add numbers in any order, which could change the last bits of sums, and so the clusters.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer clusters than k, which `cluster` refuses
        labels = KMeans(k, n_init=_STARTS, random_state=seed).fit(rows).labels_
    return np.asarray(labels, dtype=np.int64)


def _medoid(rows: NDArray[np.float64]) -> int:
    """The row with the least sum of distances to all rows; of equal sums, the first.

    Sums are computed from scalar products, which is ten times faster, and then exactly for the rows that rounding
    leaves undecided. At most 256 rows' distances are in memory at a time.
    """
    from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

    centred = rows - rows.mean(0)
    squares = np.einsum("nf,nf->n", centred, centred)
    sums = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = squares[part, None] + squares - 2 * (centred[part] @ centred.T)
        sums[part] = np.sqrt(np.maximum(apart, 0)).sum(1)
    # A distance is off by at most about √ε = 1.5e-8 of the greatest norm.
    doubt = 1e-7 * len(rows) * float(np.sqrt(squares.max()))
    left = np.flatnonzero(sums <= sums.min() + doubt)
    exact = [cdist(rows[left[start : start + _CHUNK]], rows).sum(1) for start in range(0, len(left), _CHUNK)]
    return int(left[np.argmin(np.concatenate(exact))])
