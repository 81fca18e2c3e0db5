"""Pictures of what generators draw."""

import numpy as np
import pytest

from lsmbench.reports import generated
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.table import tabulate
from tests.reports.made import Benchmark


def kept(**changed):
    rng = np.random.default_rng(0)

    def pictures(count, places):
        return rng.integers(0, 255, (count, 2, places, 8, 8, 3), dtype=np.uint8)

    arrays = {"tenths": np.array([5, 10]), "training": pictures(2, 6), "psi": np.array([0.5, 1.0]),
              "truncated": pictures(2, 6), "ends": np.array([["test", "far"]]), "ways": pictures(1, 3)}  # fmt: skip
    return {name: value for name, value in (arrays | changed).items() if value is not None}


def fill(folder, arrays):
    made = Benchmark(folder)
    made.add("b", "baseline", 5.0, 0, [0.5, 0.6])
    for seed in (0, 1):
        made.add(f"l-{seed}", "lsm", 5.0, seed, [0.5, 0.6])
        np.savez(made.folder / "runs" / f"l-{seed}" / "generated.npz", **arrays)
    made.save()
    return made


def drawn(made):
    read = read_benchmark(made.folder)
    return generated.of(read, tabulate(read.plan, read.runs)[0])


def test_a_run_of_each_method_that_kept_some_has_three_pictures(tmp_path):
    made = fill(tmp_path, kept())
    files = made.write()
    assert {name for name in files if name.startswith("generated")} == {
        f"generated-N5-lsm-{kind}.png" for kind in ("training", "truncated", "ways")
    }
    assert "Generated samples" in files["report.md"].read_text()
    assert "generated-N5-lsm-ways.png" in files["report.html"].read_text()


def test_columns_are_tenths_shares_and_places(tmp_path):
    sheets = generated._sheets(generated.load_generated(drawn_home(tmp_path)))
    assert [[column.title for column in columns] for _, _, columns, _ in sheets] == [
        ["50 %", "100 %"],
        ["ψ = 0.5", "ψ = 1"],
        ["0 %", "50 %", "100 %"],
    ]
    arrays, ways = kept(), sheets[2][2]
    assert np.array_equal(ways[1].images, arrays["ways"][0, :, 1])
    assert np.array_equal(sheets[0][2][1].images[2:4], arrays["training"][1, :, 1])
    assert sheets[2][3] == ["test to far", ""]


def drawn_home(folder):
    np.savez(folder / "generated.npz", **kept())
    return folder


def test_what_a_run_lacks_is_left_out(tmp_path):
    pictures, problems = drawn(fill(tmp_path, kept(ends=None, ways=None)))
    assert [shown.name for shown in pictures] == ["generated-N5-lsm-training.png", "generated-N5-lsm-truncated.png"]
    assert not problems


@pytest.mark.parametrize("changed", [{"training": np.zeros(3)}, {"psi": np.zeros(1)}, {"ends": np.array([["a"]])}])
def test_files_that_hold_something_else_are_named(tmp_path, changed):
    pictures, problems = drawn(fill(tmp_path, kept(**changed)))
    assert not pictures
    assert [name for name, _ in problems] == ["l-0", "l-1"]
