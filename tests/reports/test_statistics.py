import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from lsmbench.reports.statistics import Crossed, holm, pooled, tabulated

# Shrout and Fleiss 1979, Table 2: four judges, here seeds, rate six targets, here samples.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float).T


def test_mean_squares_of_the_textbook_example():
    found = Crossed.of(JUDGES)
    # Their Table 3 prints 11.24, 32.49 and 1.02.
    assert found.ms_samples == pytest.approx(1349 / 24 / 5, abs=1e-9)
    assert found.ms_seeds == pytest.approx(2339 / 24 / 3, abs=1e-9)
    assert found.ms_rest == pytest.approx(367 / 24 / 15, abs=1e-9)
    assert (found.mean, found.seeds, found.samples) == (pytest.approx(127 / 24, abs=1e-9), 4, 6)


def test_the_interval_of_the_textbook_example_by_the_formula_itself():
    judges, targets, rest = 2339 / 72, 1349 / 120, 367 / 360
    parts = {3: judges / 24, 5: (targets - rest) / 24}  # by degrees of freedom
    quantile = sum(part * stats.t.ppf(0.975, df) for df, part in parts.items()) / sum(parts.values())
    found = Crossed.of(JUDGES)
    assert found.half_width() == pytest.approx(quantile * math.sqrt(sum(parts.values())), abs=1e-9)
    assert found.share_of_seeds == pytest.approx(parts[3] / sum(parts.values()), abs=1e-9)
    edge = found.mean + found.half_width()
    assert found.p_value(edge) == pytest.approx(0.05, abs=1e-9)
    assert found.p_value(found.mean) == 1.0
    assert found.p_value(0.0) < found.p_value(1.0) < 0.1


def test_a_single_seed_has_no_interval_and_a_fixed_predictor_has_the_t_interval_over_samples():
    one = Crossed.of(JUDGES[:1])
    assert math.isnan(one.half_width())
    assert math.isnan(one.p_value())
    fixed = Crossed.of(JUDGES[:1], fixed=True)
    low, high = stats.t.interval(0.95, 5, JUDGES[0].mean(), stats.sem(JUDGES[0]))
    assert (fixed.mean - fixed.half_width(), fixed.mean + fixed.half_width()) == pytest.approx((low, high))
    assert fixed.share_of_seeds == 0


def test_more_seeds_lessen_their_part_alone():
    found = Crossed.of(JUDGES)
    (seeds, samples), (more, same), (less, fewer) = (
        found.variances(), found.variances(seeds=8), found.variances(samples=12)
    )  # fmt: skip
    assert (more, same) == pytest.approx((seeds / 2, samples))
    assert less < seeds
    assert fewer == pytest.approx(samples / 2)
    needed = found.seeds_to(found.half_width() / 2)
    assert needed is not None
    assert found.half_width(seeds=needed) <= found.half_width() / 2 < found.half_width(seeds=needed - 1)
    assert found.seeds_to(1e-6) is None, "the targets remain"


def test_equal_scores_are_certain():
    same = Crossed.of(np.full((3, 4), 0.25))
    assert (same.half_width(), same.p_value(0.25), same.p_value(0.3)) == (0.0, 1.0, 0.0)


def test_rows_keep_the_runs_values_with_undefined_samples_and_groups():
    scores = np.array([[0.2, 0.4, math.nan, 0.9], [0.1, 0.3, 0.5, math.nan]])
    values = np.nanmean(scores, 1)
    assert tabulated(scores).mean(1) == pytest.approx(values)
    grouped = tabulated(scores, ["a", "a", "b", "b"])
    assert grouped.shape == (2, 2)
    assert grouped.mean(1) == pytest.approx(values)
    whole = np.array([[0.2, 0.4, 0.6]])
    assert tabulated(whole).tolist() == [pytest.approx([0.2, 0.4, 0.6])]
    assert np.isnan(tabulated(np.full((1, 3), math.nan))).all()


def test_samples_of_one_patient_are_one_when_it_comes_to_certainty():
    draw = np.random.default_rng(0)
    patients = np.repeat(draw.normal(size=8), 5) + 0.01 * draw.normal(size=(3, 40))
    apart = Crossed.of(tabulated(patients)).half_width()
    together = Crossed.of(tabulated(patients, np.repeat(range(8), 5).tolist())).half_width()
    assert together == pytest.approx(
        apart * math.sqrt(39 / 7) * stats.t.ppf(0.975, 7) / stats.t.ppf(0.975, 39), rel=0.05
    )


def test_a_mean_of_counts_is_treated_as_a_mean():
    hits = np.random.default_rng(0).integers(0, 10, (3, 20))
    counts = np.stack([hits, 10 - hits], -1)
    share = lambda sums: sums[:, 0] / sums.sum(1)  # noqa: E731
    assert pooled(counts, share) == pytest.approx(tabulated(hits / 10))
    groups = np.repeat(range(4), 5).tolist()
    assert pooled(counts, share, groups) == pytest.approx(tabulated(hits / 10, groups))


def test_a_pooled_iou_s_interval_is_that_of_a_crossed_bootstrap_where_this_has_seeds_enough():
    draw = np.random.default_rng(1)
    true = draw.integers(20, 60, 50)
    rate = np.clip(0.7 + 0.05 * draw.normal(size=(25, 1)) + 0.1 * draw.normal(size=50), 0, 1)
    hit, wrong = draw.binomial(true, rate), draw.binomial(30, 0.2, (25, 50))
    counts = np.stack([hit, true + wrong], -1)
    iou = lambda sums: sums[:, 0] / sums[:, 1]  # noqa: E731
    found = Crossed.of(pooled(counts, iou))
    sums = counts.sum(1)
    assert found.mean == pytest.approx(iou(sums).mean())
    drawn = []
    for _ in range(2000):
        seeds, samples = draw.integers(0, 25, 25), draw.integers(0, 50, 50)
        drawn.append(iou(counts[seeds][:, samples].sum(1)).mean())
    assert sum(found.variances()) ** 0.5 == pytest.approx(np.std(drawn), rel=0.12)


def test_holm_on_a_worked_example_and_without_what_is_unknown():
    # Holm 1979 steps down: 3 × .01, then the greater of this and 2 × .02, then of this and 1 × .04.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([math.nan, 0.01]) == [pytest.approx(math.nan, nan_ok=True), 0.01]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# Standard deviations of seeds, samples and rest: each part dominates once, and once seeds weigh as much as samples.
REGIMES = {"samples": (0.02, 1.0, 0.5), "seeds": (0.5, 1.0, 0.5), "rest": (0.0, 0.1, 1.0), "both": (0.08, 1.0, 1.0)}
SHAPES = {
    "normal": lambda draw, size: draw.normal(size=size),
    "skewed": lambda draw, size: draw.exponential(size=size) - 1,
    "heavy-tailed": lambda draw, size: draw.standard_t(3, size=size) / math.sqrt(3),
}
SIMULATIONS = 800


@pytest.mark.parametrize(("seeds", "shape"), [*product((2, 3, 5), SHAPES)])
def test_two_equal_methods_are_said_to_differ_in_five_per_cent_of_cases(seeds, shape):
    """Each method has seeds, samples and rest of its own; what both share drops out of the difference."""
    drawn, limit = SHAPES[shape], 0.06 + 2.5 * math.sqrt(0.05 * 0.95 / SIMULATIONS)
    for name, (a, b, e) in REGIMES.items():
        draw = np.random.default_rng([seeds, len(shape), len(name)])
        wrong = 0
        for _ in range(SIMULATIONS):
            one, other = (
                a * drawn(draw, (seeds, 1)) + b * drawn(draw, 60) + e * drawn(draw, (seeds, 60)) for _ in range(2)
            )
            apart = Crossed.of(one - other)
            wrong += abs(apart.mean) > apart.half_width()
        assert wrong / SIMULATIONS <= limit, name
        assert name == "rest" or wrong / SIMULATIONS >= 0.005, f"{name}: intervals are far too wide"


def test_the_best_of_five_equal_methods_stays_among_the_best():
    """A method as good as any is said to be worse than the best mean in at most 5 % of cases, by Holm."""
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(600):
        tables = [
            0.1 * draw.normal(size=(3, 1)) + 0.3 * draw.normal(size=40) + draw.normal(size=(3, 40)) for _ in range(5)
        ]
        best = max(range(5), key=lambda i: tables[i].mean())
        others = [i for i in range(5) if i != best]
        adjusted = holm([Crossed.of(tables[i] - tables[best]).p_value() for i in others])
        wrong += dict(zip(others, adjusted, strict=True)).get(0, 1.0) <= 0.05
    assert wrong / 600 <= 0.05
