import math
import shutil
import statistics

import pytest

from lsmbench.benchmarks.plan import Unit
from lsmbench.reports.board import boards
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.pareto import pareto
from lsmbench.reports.table import tabulate
from tests.reports.made import TEST, Disk, fill_disk, score


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def read(disk, *folders):
    return boards([disk.root / folder for folder in folders or ("results",)])


def cell(board, label, n, number=0):
    row = [row for row in board.rows if row.label == label][number]
    at = next(i for i, column in enumerate(board.table.columns) if column.paired == n)
    return row.cells[at], row.cells[at].rank


def test_mean_spread_and_rank_are_those_computed_apart(disk):
    fill_disk(disk)
    (board,) = read(disk)
    assert [column.amount for column in board.table.columns] == ["100 %", "5 %"]
    for n, factor in ((100, 1), (5, 0.5)):
        means = [factor * (a + b) / 2 for a, b in TEST]
        found, _ = cell(board, "lsm", n)
        assert found.mean == pytest.approx(statistics.mean(means))
        assert found.sd == pytest.approx(statistics.stdev(means))
        assert found.finished == 3
    assert [cell(board, label, 100)[1] for label in ("lsm", "sop", "cyclegan", "floor (constant)")] == [2, 1, 3, None]
    assert [cell(board, label, 5)[1] for label in ("lsm", "sop", "cyclegan")] == [2, None, 1]
    assert cell(board, "cyclegan", 5)[0].sd is None
    assert cell(board, "lsm", 5)[0].at_floor
    assert cell(board, "lsm", 100)[0].at_floor, "its mean is above the floor by less than its seeds allow"
    assert [column.floor for column in board.table.columns] == pytest.approx([0.35, 0.35])
    assert cell(board, "lsm", 100)[0].published == 0.7
    assert cell(board, "sop", 5)[0].published == 0.2
    assert (board.label, board.table.key) == ("sit, 32 px, protocol 1", ("test", "iou", "x", "y"))


def test_numbers_are_those_of_the_report(disk):
    fill_disk(disk)
    (board,) = read(disk)
    found = read_benchmark(disk.root / "results/quick")
    table = tabulate(found.plan, found.runs)[0]
    rows = {row.label: row for row in board.rows}
    shown = ("mean", "sd", "median", "finished", "expected", "rank", "best", "at_floor", "published", "independent")
    for row in table.every_row:
        for mine, reported in zip(rows.pop(row.label).cells, row.cells, strict=True):
            assert [getattr(mine, name) for name in shown] == [getattr(reported, name) for name in shown]
    assert rows == {}


def test_equal_means_share_a_rank_and_lower_errors_are_better(disk):
    for method, value in (("lsm", 0.2), ("sop", 0.1), ("ioda", 0.2), ("baseline", 0.3)):
        disk.run(method, 5, 0, [value, value], metric="mse")
    (board,) = read(disk, "runs")
    assert not board.table.higher_is_better
    assert {row.label: row.cells[0].rank for row in board.rows} == {"sop": 1, "lsm": 2, "ioda": 2, "baseline": 4}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"protocol": "2"}, "protocol 2"),
        ({"dataset": {"fingerprint": "beefbeef"}}, "data beefbe"),
        ({"dataset": {"views": {"x": "Image(size=64)"}, "fingerprint": "beef"}}, "64 px"),
        ({"metric": "mse"}, "mse x → y"),
        ({"indices": [1, 2]}, "(2)"),
    ],
)
def test_what_does_not_compare_stands_on_boards_of_its_own(disk, other, said):
    disk.run("lsm", 5, 0, [0.4, 0.6], id="a")
    disk.run("lsm", 5, 1, [0.8, 0.8], id="b", **other)
    both = read(disk, "runs")
    assert len(both) == 2
    assert len({board.key for board in both}) == 2
    assert any(said in board.label for board in both)
    assert both[0].label != both[1].label
    assert sorted(cell(board, "lsm", 5)[0].mean for board in both) == pytest.approx([0.5, 0.8])


def test_newest_protocol_comes_first(disk):
    for version in ("9", "10"):
        disk.run("lsm", 5, 0, [0.4], id=version, protocol=version)
    assert [board.protocol for board in read(disk, "runs")] == ["10", "9"]


@pytest.mark.parametrize("key", ["method.learning_rate", "method.network", "training.epochs", "supervision.protocol"])
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(disk, key):
    disk.run("lsm", 5, 0, [0.4])
    disk.run("lsm", 5, 1, [0.8], **{key: 7})
    (board,) = read(disk, "runs")
    assert sorted(row.cells[0].mean for row in board.rows) == [0.4, 0.8]
    name = key.partition(".")[2]
    assert f"{name} 7" in [row.differs for row in board.rows]


def test_runs_that_differ_in_seed_and_places_of_files_are_averaged_wherever_they_lie(disk):
    disk.run("lsm", 5, 0, [0.4], "quick")
    disk.benchmark("quick")
    disk.run("lsm", 5, 1, [0.8], **{"dataset.root": "/elsewhere", "training.devices": 1})
    (board,) = read(disk, "results", "runs")
    (row,) = board.rows
    assert row.cells[0].mean == pytest.approx(0.6)
    assert [origin.name for origin in row.origins] == ["quick", "runs"]


def test_same_seed_of_runs_of_other_identity_is_no_second_seed(disk):
    disk.run("lsm", 5, 0, [0.4], id="a")
    disk.run("lsm", 5, 0, [0.8], id="b")
    (board,) = read(disk, "runs")
    assert sorted(row.cells[0].mean for row in board.rows) == [0.4, 0.8]
    assert len({row.differs for row in board.rows}) == 2


def test_a_run_in_two_folders_counts_once(disk):
    fill_disk(disk)
    (before,) = read(disk)
    shutil.copytree(disk.root / "results/quick", disk.root / "results/copy")
    shutil.copytree(disk.root / "results/quick/runs", disk.root / "runs")
    (after,) = read(disk, "results", "runs", "results/quick")
    assert after.runs["run"].nunique() == len(before.runs) == 11
    assert after.runs["run"].value_counts().eq(3).all()
    numbers = [[(c.mean, c.sd, c.finished) for row in board.rows for c in row.cells] for board in (after, before)]
    assert numbers[0] == numbers[1]


def test_rows_with_parameters_of_their_own_for_some_n_stay_apart(disk):
    for n, rate in ((100, 0.001), (5, 0.01)):
        disk.run("lsm", n, 0, [0.4], "quick", id=f"plain-{n}")
        if n == 100:
            disk.plan("tuned", "plain-100", "lsm", 100, 0)
            shutil.copytree(disk.root / "results/quick/runs/plain-100", disk.root / "results/tuned/runs/plain-100")
        else:
            disk.run("lsm", n, 0, [0.8], "tuned", **{"method.learning_rate": rate})
    disk.benchmark("quick")
    disk.benchmark("tuned")
    (board,) = read(disk)
    found = {row.origins[0].name: [cell.mean for cell in row.cells] for row in board.rows}
    assert found == {"quick": [0.4, 0.4], "tuned": [0.4, 0.8]}


def test_numbers_of_pairs_and_per_cent_are_columns_of_their_own(disk):
    disk.run("lsm", 20, 0, [0.4])
    disk.run("lsm", 100, 0, [0.6], **{"supervision.paired_count": 20})
    (board,) = read(disk, "runs")
    assert [(column.unit, column.paired) for column in board.table.columns] == [
        (Unit.PERCENT, 20.0),
        (Unit.PAIRS, 20.0),
    ]
    (row,) = board.rows
    assert [cell.mean for cell in row.cells] == [0.4, 0.6]


def test_runs_without_pairs_stand_at_every_n_and_equal_floors_once(disk):
    fill_disk(disk)
    disk.run("cyclegan", 0, 1, [0.5, 0.5])
    for n in (5, 20):
        disk.run("floor", n, 0, [0.35, 0.35], **{"method.kind": "constant"})
    disk.run("floor", 5, 0, [0.2, 0.2], **{"method.kind": "copy"})
    (board,) = read(disk, "results", "runs")
    assert [cell(board, "cyclegan", n)[0].mean for n in (100, 5)] == pytest.approx([0.45, 0.45])
    floors = [row for row in board.rows if row.floor]
    assert [row.label for row in floors] == ["floor (constant)", "floor (copy of the input)"]
    assert [row.cells[1].mean for row in floors] == pytest.approx([0.35, 0.2])
    assert floors[0].cells[0].sd is None


def test_a_run_without_pairs_stands_at_every_n_unless_its_options_learn_from_pairs(disk):
    for n in (5, 100):
        disk.run("lsm", n, 0, [0.5, 0.5])
    disk.run("lstnet", 0, 0, [0.4, 0.4], **{"method.w_pairs": 0.0})
    disk.run("lstnet", 0, 0, [0.6, 0.6], **{"method.w_pairs": 10.0})
    (board,) = read(disk, "runs")
    means = [[cell.mean for cell in row.cells] for row in board.rows]
    assert [column.paired for column in board.table.columns] == [100, 5, 0]
    assert sorted(means, key=str) == [[0.4, 0.4, 0.4], [0.5, 0.5, None], [None, None, 0.6]]


def test_failed_and_open_runs_are_counted(disk):
    disk.run("lsm", 5, 0, [0.4], "quick")
    disk.run("lsm", 5, 1, [], "quick", failure="a loss is not finite")
    disk.plan("quick", "to-come", "lsm", 5, 2)
    disk.run("sop", 5, 0, [], "quick", failure="a loss is not finite")
    disk.benchmark("quick")
    (board,) = read(disk)
    found, rank = cell(board, "lsm", 5)
    assert (found.mean, found.finished, found.expected, len(found.failures), rank) == (0.4, 1, 3, 1, 1)
    found, rank = cell(board, "sop", 5)
    assert (found.mean, [failure.kind for failure in found.failures], rank) == (None, ["diverged"], None)


def test_runs_of_an_earlier_plan_are_not_lost(disk):
    fill_disk(disk)
    for seed in (0, 1):
        disk.run("ioda", 5, seed, [0.9, 0.9], home="results/quick/runs")
    (board,) = read(disk)
    found, rank = cell(board, "ioda", 5)
    assert (found.mean, found.finished, rank) == (pytest.approx(0.9), 2, 1)
    assert [row.origins[0].name for row in board.rows if row.label == "ioda"] == ["quick, earlier"]


def test_a_score_that_is_undefined_for_a_sample_is_left_out_of_its_mean(disk):
    disk.run("lsm", 5, 0, [0.4, math.nan])
    (board,) = read(disk, "runs")
    assert cell(board, "lsm", 5)[0].mean == 0.4


def test_ranks_are_intervals_and_rows_that_cannot_be_told_apart_share_them(disk):
    for seed, offset in enumerate((0.0, 0.01, 0.02)):
        for method, mean in {"lsm": 0.8, "sop": 0.805 - 3 * offset, "ioda": 0.5, "baseline": 0.2}.items():
            disk.run(method, 5, seed, [mean + offset + 0.001 * i for i in range(6)])
    disk.run("pix2pix", 5, 0, [0.4] * 6)
    (board,) = read(disk, "runs")
    ranks = {row.label: row.cells[0].ranks for row in board.table.rows}
    # A single seed has no interval: any rank that others leave is possible.
    assert ranks == {"lsm": (1, 3), "sop": (1, 3), "ioda": (3, 4), "baseline": (4, 5), "pix2pix": (1, 5)}
    assert [row.cells[0].place for row in board.table.rows if row.label == "lsm"] == ["1–3"]


def test_further_test_sets_have_boards_of_their_own(disk):
    for seed in range(2):
        scores = [score([0.5, 0.6]), score([0.2, 0.3], test_set="night"), score([0.1, 0.1], "mse")]
        disk.run("lsm", 5, seed, [0.5, 0.6], scores=scores)
    boards = read(disk, "runs")
    assert [board.table.key.test_set for board in boards] == ["test", "night"]
    assert [board.table.rows[0].cells[0].mean for board in boards] == pytest.approx([0.55, 0.25])
    assert len({board.key for board in boards}) == len({board.label for board in boards}) == 2


def test_the_front_holds_rows_that_no_other_beats_in_score_and_time(disk):
    costs = {"fast": (0.5, 1.0), "slow": (0.9, 100.0), "bad": (0.4, 50.0), "even": (0.5, 10.0)}
    for label, (value, seconds) in costs.items():
        cost = {"wall_s": seconds, "updates": 1, "parameters": 1, "peak_memory_mb": 100.0}
        disk.run(
            "lsm", 5, 0, [value, value], bench="b", label=label, cost=cost, **{"method.learning_rate": value + seconds}
        )
    disk.benchmark("b")
    (board,) = read(disk)
    rows = [(row.label, row.cells[0]) for row in board.table.rows]
    for higher, front in ((True, {"fast", "slow"}), (False, {"fast", "bad"})):
        found = pareto(rows, 0.3, higher, 3)
        assert {point.label for point in found.points if point.front} == front
        place = {point.label: point for point in found.points}
        assert place["fast"].x < place["even"].x < place["bad"].x < place["slow"].x
        assert (place["slow"].y < place["bad"].y) is higher, "better is higher"
    assert pareto(rows[:1], None, True, 3) is None
    assert rows[0][1].memory_mb == 100.0
