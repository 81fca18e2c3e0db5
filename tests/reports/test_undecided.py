import numpy as np

from lsmbench.benchmarks.plan import Looks
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.scored import Scored
from lsmbench.reports.table import tabulate
from lsmbench.reports.undecided import decided, undecided
from tests.reports.made import Benchmark

LOOKS = {"first": 3, "most": 8, "precision": 0.02}


def test_what_is_known_well_enough_and_what_is_surely_worse_needs_no_seed(tmp_path):
    draw = np.random.default_rng(0)
    made = Benchmark(tmp_path / "b", published=(), looks=LOOKS, paired=[100.0, 5.0])
    means = {"lsm": 0.8, "twin": 0.79, "far": 0.2, "noisy": 0.7, "free": 0.7}
    for seed, offset in enumerate((-0.1, 0.0, 0.1)):
        for row, mean in means.items():
            for n in (100.0, 5.0):
                apart = offset if row == "free" or (row, n) == ("noisy", 5.0) else 0.0
                values = mean + apart + 0.001 * draw.normal(size=10)
                if row != "free" or n == 5:
                    made.add(f"{row}-{n:g}-{seed}", row, None if row == "free" else n, seed, values.tolist())
    made.save()
    found = read_benchmark(made.folder)
    needed = undecided(tabulate(found.plan, found.runs)[0], 0.02)
    # The best row of an N needs a seed as long as another one does; a row without pairs is compared at both.
    assert needed == {("lsm", 100.0), ("lsm", 5.0), ("free", None), ("noisy", 5.0)}
    assert not undecided(tabulate(found.plan, found.runs)[0], 10.0)


def test_a_difference_is_decided_by_its_width_or_by_being_surely_worse():
    assert decided(-0.1, 0.005, 0.005)
    assert decided(-0.5, 0.3, 0.1)
    assert not decided(-0.3, 0.25, 0.1)
    assert not decided(0.0, 0.006, 0.005)


def test_looking_until_two_equal_methods_seem_to_differ_goes_wrong_in_five_per_cent_of_cases():
    """The worst stopping rule of all: stop as soon as the interval leaves out 0."""
    draw, looks, wrong = np.random.default_rng(0), Looks.model_validate(LOOKS), 0
    units, simulations = tuple(range(20)), 500
    for _ in range(simulations):
        apart = 0.5 * draw.normal(size=(8, 1)) + draw.normal(size=20) + draw.normal(size=(8, 20))
        for seeds in range(looks.first, looks.most + 1):
            one = Scored(tuple(range(seeds)), units, apart[:seeds], True, looks=looks)
            if abs(one.crossed.mean) > one.half_width:
                wrong += 1
                break
    assert wrong / simulations <= 0.05 + 2.5 * (0.05 * 0.95 / simulations) ** 0.5
