"""How often usual rules say that two equal methods differ: the table of docs/statistics.md.

    python benchmarks/coverage.py [SIMULATIONS]
    python benchmarks/coverage.py [SIMULATIONS] --pooled

Each method has seeds, samples and a rest of its own, normally distributed; what both share drops out of the difference.
With `--pooled` the score is the mean IoU of one confusion matrix over all images. Nominal is 5 %.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from lsmbench.reports.statistics import Crossed, pooled

Table = NDArray[np.float64]
# Standard deviations of seeds, samples and rest in the difference.
REGIMES = {
    "samples dominate": (0.02, 1.0, 0.5),
    "seeds as much as samples": (0.08, 1.0, 1.0),
    "seeds dominate": (0.5, 1.0, 0.5),
    "rest dominates": (0.0, 0.1, 1.0),
}
SAMPLES, DRAWN = 120, 300


def ours(apart: Table) -> bool:
    """Variance components, t quantiles weighted by their parts (Cochran and Cox)."""
    found = Crossed.of(apart)
    return abs(found.mean) > found.half_width()


def satterthwaite(apart: Table) -> bool:
    """The same components, with Satterthwaite's degrees of freedom."""
    found = Crossed.of(apart)
    seeds, samples, rest = found.ms_seeds, found.ms_samples, found.ms_rest
    whole = seeds + samples - rest
    s, i = found.seeds - 1, found.samples - 1
    if whole <= 0:
        return False
    freedom = max(1.0, whole**2 / (seeds**2 / s + samples**2 / i + rest**2 / (s * i)))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(whole / apart.size)
    return bool(abs(found.mean) > half)


def over_seeds(apart: Table) -> bool:
    """A t-test of the runs' values."""
    return bool(stats.ttest_1samp(apart.mean(1), 0).pvalue < 0.05)


def over_samples(apart: Table) -> bool:
    """A bootstrap of the test samples, seeds as they are."""
    columns = apart.mean(0)
    drawn = columns[DRAW.integers(0, apart.shape[1], (DRAWN, apart.shape[1]))].mean(1)
    return _leaves_out_zero(drawn)


def crossed(apart: Table) -> bool:
    """A bootstrap of seeds and test samples."""
    seeds = DRAW.integers(0, apart.shape[0], (DRAWN, apart.shape[0]))
    samples = DRAW.integers(0, apart.shape[1], (DRAWN, apart.shape[1]))
    drawn = np.array([apart[s][:, i].mean() for s, i in zip(seeds, samples, strict=True)])
    return _leaves_out_zero(drawn)


def _leaves_out_zero(drawn: NDArray[np.float64]) -> bool:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return not low <= 0 <= high


RULES: dict[str, Callable[[Table], bool]] = {
    "bootstrap of samples": over_samples,
    "t-test of seeds": over_seeds,
    "crossed bootstrap": crossed,
    "components, Satterthwaite": satterthwaite,
    "components, Cochran and Cox (lsmbench)": ours,
}
DRAW = np.random.default_rng(0)


IMAGES, CLASSES, PIXELS = 60, 4, 400


def mean_iou(counts: NDArray[Any]) -> Table:
    """Of summed confusion matrices (n, K, K)."""
    hit = np.diagonal(counts, axis1=1, axis2=2)
    return np.asarray((hit / (counts.sum(1) + counts.sum(2) - hit)).mean(1))


def confusions(seeds: int, kinds: Table) -> NDArray[np.int64]:
    """Of a method: (S, I, K, K). Seeds, images and classes decide which share of a class's pixels is found.

    Args:
        seeds: S.
        kinds: Which share of an image's pixels is of each class (I, K), the same for all methods.
    """
    counts = np.zeros((seeds, IMAGES, CLASSES, CLASSES), np.int64)
    ease = 1.0 + 0.5 * DRAW.normal(size=(IMAGES, 1)) + 0.3 * DRAW.normal(size=(IMAGES, CLASSES))
    for seed in range(seeds):
        logit = ease + 0.3 * DRAW.normal() + 0.3 * DRAW.normal(size=CLASSES) + 0.3 * DRAW.normal(size=ease.shape)
        found = 1 / (1 + np.exp(-logit))
        for image in range(IMAGES):
            for kind, number in enumerate(DRAW.multinomial(PIXELS, kinds[image])):
                shares = np.full(CLASSES, (1 - found[image, kind]) / (CLASSES - 1))
                shares[kind] = found[image, kind]
                counts[seed, image, kind] = DRAW.multinomial(number, shares)
    return counts


def pooled_bootstrap(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """A bootstrap of seeds and images, with the score computed anew of each draw."""
    seeds, images = one.shape[:2]
    drawn = np.zeros(DRAWN)
    for k in range(DRAWN):
        chosen = DRAW.integers(0, seeds, seeds)
        weight = np.bincount(DRAW.integers(0, images, images), minlength=images)
        values = [mean_iou(np.tensordot(counts[chosen], weight, ([1], [0]))).mean() for counts in (one, other)]
        drawn[k] = values[0] - values[1]
    return _leaves_out_zero(drawn)


def of_pooled(simulations: int) -> None:
    """Prints how often each rule is wrong, for 2, 3 and 5 seeds."""
    wrong = {"jackknife (lsmbench)": [0, 0, 0], "crossed bootstrap": [0, 0, 0]}
    for place, seeds in enumerate((2, 3, 5)):
        for _ in range(simulations):
            kinds = DRAW.dirichlet(np.ones(CLASSES), IMAGES)
            one, other = confusions(seeds, kinds), confusions(seeds, kinds)
            wrong["jackknife (lsmbench)"][place] += ours(pooled(one, mean_iou) - pooled(other, mean_iou))
            wrong["crossed bootstrap"][place] += pooled_bootstrap(one, other)
    for rule, each in wrong.items():
        print(f"{rule}: " + " / ".join(f"{100 * count / simulations:.1f}" for count in each) + " %")


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulations", type=int, nargs="?", default=2000)
    parser.add_argument("--pooled", action="store_true")
    values = parser.parse_args()
    simulations = values.simulations
    if values.pooled:
        of_pooled(simulations)
        return
    seeds = (2, 3, 5)
    print("| rule | " + " | ".join(f"{name}, {', '.join(map(str, seeds))} seeds" for name in REGIMES) + " |")
    print("|:--|" + "--:|" * len(REGIMES))
    wrong = {rule: {name: [0] * len(seeds) for name in REGIMES} for rule in RULES}
    for name, (a, b, e) in REGIMES.items():
        for place, count in enumerate(seeds):
            for _ in range(simulations):
                apart = a * DRAW.normal(size=(count, 1)) + b * DRAW.normal(size=SAMPLES)
                apart = apart + e * DRAW.normal(size=(count, SAMPLES))
                for rule, differ in RULES.items():
                    wrong[rule][name][place] += differ(apart)
    for rule, found in wrong.items():
        cells = (" / ".join(f"{100 * w / simulations:.0f}" for w in each) + " %" for each in found.values())
        print(f"| {rule} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
