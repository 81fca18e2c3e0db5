import math

import numpy as np
import pytest

from lsmbench.reports import markup, over_n
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.table import tabulate
from tests.reports.made import Benchmark


def fill(folder, curves, seeds=3, samples=12, noise=0.0, **more):
    """Scores that are straight lines over log N, each seed and sample with a part of its own."""
    draw, made = (
        np.random.default_rng(0),
        Benchmark(folder, published=(), seeds=list(range(seeds)), paired=[100.0, 10.0, 1.0], **more),
    )
    for row, curve in curves.items():
        for n in (100.0, 10.0, 1.0):
            for seed in range(seeds):
                values = curve(n) + noise * draw.normal() + noise * draw.normal(size=samples)
                made.add(f"{row}-{n:g}-{seed}", row, n, seed, values.tolist())
    made.save()
    found = read_benchmark(folder)
    return over_n.of(found.plan, tabulate(found.plan, found.runs)[0])


def line(n):
    return 0.5 + 0.1 * math.log10(n)


CURVES = {"baseline": line, "lsm": lambda n: line(n) + 0.05, "sop": lambda n: 0.9}


def test_the_area_is_the_mean_over_log_n(tmp_path):
    found = fill(tmp_path / "b", CURVES | {"ioda": lambda n: {1: 0.2, 10: 0.8, 100: 0.4}[n]})
    assert [one.area for one in found.lines] == pytest.approx([0.6, 0.65, 0.9, (0.5 + 0.6) / 2])
    assert found.reference.label == "baseline"


def test_pairs_needed_are_where_the_reference_has_the_same_score(tmp_path):
    found = fill(tmp_path / "b", CURVES)
    lsm = found.lines[1]
    assert [one.needed for one in lsm.needed[1:]] == pytest.approx([10 * math.sqrt(10), math.sqrt(10)])
    assert found.said(lsm.needed[0]) == ">100", "better than the baseline ever is"
    assert [found.said(one) for one in found.lines[2].needed] == [">100"] * 3


def test_the_interval_of_pairs_holds_the_numbers_that_cannot_be_told_apart(tmp_path):
    found = fill(tmp_path / "b", CURVES, noise=0.01, reference="baseline")
    one = found.lines[1].needed[1]
    assert one.low < 10 * math.sqrt(10) < one.high
    assert 10 < one.low < one.needed < one.high < 90
    assert found.said(one) == f"{one.needed:.0f} ({one.low:.0f} to {one.high:.0f})"
    assert f"So lsm with 10 pairs = baseline with {found.said(one)}." in markup.sentences(found, "over_n")[1]


def test_a_score_beyond_the_reference_s_curve_leads_out_of_it_at_the_right_end(tmp_path):
    better, worse = fill(
        tmp_path / "b", {"baseline": line, "good": lambda n: 0.72, "bad": lambda n: 0.48}, noise=0.05
    ).lines[1:]
    assert {one.needed for one in better.needed} == {math.inf}
    assert {one.needed for one in worse.needed} == {-math.inf}
    assert min(one.low for one in better.needed) == -math.inf, "not surely so: the interval holds the whole curve"


def test_the_plan_may_name_the_reference_and_one_seed_has_no_interval(tmp_path):
    found = fill(tmp_path / "b", CURVES, reference="sop")
    assert found.reference.label == "sop"
    assert found.said(found.lines[0].needed[0]) == "<1"
    alone = fill(tmp_path / "c", CURVES, seeds=1)
    assert [one.area_half_width for one in alone.lines] == [None] * 3
    assert {one for each in alone.lines for one in each.needed} == {None}
