import json
import math
import shutil
import statistics
import zlib
from dataclasses import replace

import numpy as np
import pytest
import yaml

from lsmbench.benchmarks.plan import Unit
from lsmbench.errors import UserError
from lsmbench.reports.board import boards, survey
from lsmbench.reports.contents import read
from lsmbench.runs.results import Failure, Result, Score

TEST = [[0.5, 0.7], [0.4, 0.5], [0.9, 0.1]]


class Disk:
    """Made-up results on disk: benchmarks and runs of their own."""

    def __init__(self, root):
        self.root = root
        self.plans = {}

    def run(self, method, n, seed, values, bench=None, label=None, any_n=False, home="runs", **more):
        """Writes a run and its files; `bench` plans it. Keys with a dot change the configuration."""
        config = {
            "dataset": {"name": "sit", "size": 32, "root": "/somewhere"},
            "method": {"name": method, "network": "tiny", "learning_rate": 0.001},
            "supervision": {"paired": float(n), "protocol": "bank", "supervision_seed": seed},
            "training": {"epochs": 3, "init_seed": seed},
        }
        dataset = {
            "name": "sit",
            "fingerprint": "f00dcafe",
            "views": {"x": "Image(size=32)", "y": "Mask(size=32)"},
            "train": 70,
            "val": 10,
            "test": len(values),
        }
        for key in [key for key in more if "." in key]:
            section, name = key.split(".")
            config[section][name] = more.pop(key)
        run = more.pop("id", f"{method}-N{n}-s{seed}-{zlib.crc32(json.dumps(config).encode()):x}")
        folder = self.root / (f"results/{bench}/runs" if bench else home) / run
        if bench:
            self.plan(bench, run, label or method, None if any_n else n, seed)
        failure = more.pop("failure", None)
        if failure:
            Failure(run, "diverged", failure, "epoch 1", config).save(folder)
            return folder
        metric = more.pop("metric", "iou")
        indices = more.pop("indices", list(range(len(values))))
        fields = {
            "protocol": "1",
            "dataset": dataset | more.pop("dataset", {}),
            "supervision": {"pairs": int(n), "x": 9, "y": 9, "val_pairs": 10},
            "selection": {
                "rule": "best_validation",
                "stages": [{"stage": "train", "monitor": "val/x->y/iou", "epoch": 1, "epochs": 3}],
            },
            "scores": [Score(metric, "x", "y", "unit", metric == "iou", indices, list(values))],
            "validation": 0.5,
            "cost": {"wall_s": 30.0 + seed, "train_s": 20.0, "epochs": 3, "updates": 120, "parameters": 1000},
            "environment": {"torch": "2.9.0"},
        }
        Result(id=run, config=config, **(fields | more)).save(folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = [f"train,{e},{10 * e},0.5,{1 / (e + 1)},{0.1 * e}" for e in range(3)]
        (folder / "log.csv").write_text("\n".join(["stage,epoch,updates,seconds,train/xy,val/x->y/iou", *rows]) + "\n")
        image = np.random.default_rng(seed).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / "panel.npz", index=np.array([0, 1]), x=image, y=image, prediction=image)
        return folder

    def plan(self, bench, run, label, n, seed):
        self.plans.setdefault(bench, []).append({"id": run, "method": label, "paired": n, "seed": seed})

    def benchmark(self, name, **more):
        runs = self.plans[name]
        raw = {
            "schema": 1,
            "name": name,
            "title": name,
            "dataset": "sit",
            "methods": list(dict.fromkeys(run["method"] for run in runs)),
            "paired": list(dict.fromkeys(run["paired"] for run in runs if run["paired"] is not None)),
            "seeds": [0, 1],
            "size": "tiny",
            "runs": runs,
            "primary_metric": "iou",
            "command": f"lsmbench bench {name}",
            **more,
        }
        (self.root / "results" / name / "benchmark.json").write_text(json.dumps(raw))

    def boards(self, *folders):
        return boards([self.root / folder for folder in folders or ("results",)])


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def fill(disk):
    """A benchmark with two methods, one without pairs, a floor and a published value."""
    for seed, values in enumerate(TEST):
        disk.run("lsm", 100, seed, values, "quick")
        disk.run("lsm", 5, seed, [v / 2 for v in values], "quick")
        disk.run("sop", 100, seed, [0.61, 0.59], "quick")
    disk.run("cyclegan", 0, 0, [0.3, 0.5], "quick", any_n=True)
    disk.run("floor", 0, 0, [0.35, 0.35], "quick", any_n=True, **{"method.kind": "constant"})
    published = {"source": "A paper", "metric": "iou", "values": {"lsm": {"100": 0.7}, "sop": {"5": 0.2}}}
    disk.benchmark("quick", published=published)


def cell(board, label, n, number=0):
    row = [row for row in board.rows if row.label == label][number]
    at = next(i for i, column in enumerate(board.columns) if column.paired == n)
    return row.cells[at], row.ranks[at]


def test_mean_spread_and_rank_are_those_computed_apart(disk):
    fill(disk)
    (board,) = disk.boards()
    assert [column.amount for column in board.columns] == ["100 %", "5 %"]
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
    assert not cell(board, "lsm", 100)[0].at_floor
    assert [column.floor for column in board.columns] == pytest.approx([0.35, 0.35])
    assert cell(board, "lsm", 100)[0].published == 0.7
    assert cell(board, "sop", 5)[0].published == 0.2
    assert (board.label, board.score) == ("sit, 32 px, protocol 1", ("iou", "x", "y"))


def test_numbers_are_those_of_the_report(disk):
    fill(disk)
    (board,) = disk.boards()
    table = read(disk.root / "results/quick").tables[0]
    rows = {row.label: row for row in board.rows}
    for row in (*table.rows, *table.floors):
        for mine, reported in zip(rows.pop(row.label).cells, row.cells, strict=True):
            assert replace(mine, published_by=None) == replace(reported, published_by=None)
            assert (mine.published_by is None) == (reported.published_by is None)
    assert rows == {}


def test_equal_means_share_a_rank_and_lower_errors_are_better(disk):
    for method, value in (("lsm", 0.2), ("sop", 0.1), ("ioda", 0.2), ("baseline", 0.3)):
        disk.run(method, 5, 0, [value, value], metric="mse")
    (board,) = disk.boards("runs")
    assert not board.higher_is_better
    assert {row.label: row.ranks for row in board.rows} == {"sop": (1,), "lsm": (2,), "ioda": (2,), "baseline": (4,)}


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
    both = disk.boards("runs")
    assert len(both) == 2
    assert len({board.key for board in both}) == 2
    assert any(said in board.label for board in both)
    assert both[0].label != both[1].label
    assert sorted(cell(board, "lsm", 5)[0].mean for board in both) == pytest.approx([0.5, 0.8])


def test_newest_protocol_comes_first(disk):
    for version in ("9", "10"):
        disk.run("lsm", 5, 0, [0.4], id=version, protocol=version)
    assert [board.protocol for board in disk.boards("runs")] == ["10", "9"]


@pytest.mark.parametrize("key", ["method.learning_rate", "method.network", "training.epochs", "supervision.protocol"])
def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(disk, key):
    disk.run("lsm", 5, 0, [0.4])
    disk.run("lsm", 5, 1, [0.8], **{key: 7})
    (board,) = disk.boards("runs")
    assert sorted(row.cells[0].mean for row in board.rows) == [0.4, 0.8]
    name = key.partition(".")[2]
    assert f"{name} 7" in [word for row in board.rows for word in row.differs]


def test_runs_that_differ_in_seed_and_places_of_files_are_averaged_wherever_they_lie(disk):
    disk.run("lsm", 5, 0, [0.4], "quick")
    disk.benchmark("quick")
    disk.run("lsm", 5, 1, [0.8], **{"dataset.root": "/elsewhere", "training.devices": 1})
    (board,) = disk.boards("results", "runs")
    (row,) = board.rows
    assert row.cells[0].mean == pytest.approx(0.6)
    assert [source.name for source in row.sources] == ["quick", "runs"]


def test_same_seed_of_runs_of_other_identity_is_no_second_seed(disk):
    disk.run("lsm", 5, 0, [0.4], id="a")
    disk.run("lsm", 5, 0, [0.8], id="b")
    (board,) = disk.boards("runs")
    assert sorted(row.cells[0].mean for row in board.rows) == [0.4, 0.8]
    assert len({row.differs for row in board.rows}) == 2


def test_a_run_in_two_folders_counts_once(disk):
    fill(disk)
    (before,) = disk.boards()
    shutil.copytree(disk.root / "results/quick", disk.root / "results/copy")
    shutil.copytree(disk.root / "results/quick/runs", disk.root / "runs")
    (after,) = disk.boards("results", "runs", "results/quick")
    assert len(after.runs) == len(before.runs) == 11
    assert [row.cells for row in after.rows] == [row.cells for row in before.rows]
    assert all(len(run.copies) == 2 for run in after.runs.values())


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
    (board,) = disk.boards()
    found = {row.sources[0].name: [cell.mean for cell in row.cells] for row in board.rows}
    assert found == {"quick": [0.4, 0.4], "tuned": [0.4, 0.8]}


def test_numbers_of_pairs_and_per_cent_are_columns_of_their_own(disk):
    disk.run("lsm", 20, 0, [0.4])
    disk.run("lsm", 100, 0, [0.6], **{"supervision.paired_count": 20})
    (board,) = disk.boards("runs")
    assert [(column.unit, column.paired) for column in board.columns] == [(Unit.PERCENT, 20.0), (Unit.PAIRS, 20.0)]
    (row,) = board.rows
    assert [cell.mean for cell in row.cells] == [0.4, 0.6]


def test_runs_without_pairs_stand_at_every_n_and_equal_floors_once(disk):
    fill(disk)
    disk.run("cyclegan", 0, 1, [0.5, 0.5])
    for n in (5, 20):
        disk.run("floor", n, 0, [0.35, 0.35], **{"method.kind": "constant"})
    disk.run("floor", 5, 0, [0.2, 0.2], **{"method.kind": "copy"})
    (board,) = disk.boards("results", "runs")
    assert [cell(board, "cyclegan", n)[0].mean for n in (100, 5)] == pytest.approx([0.45, 0.45])
    floors = [row for row in board.rows if row.floor]
    assert [row.label for row in floors] == ["floor (constant)", "floor (copy of the input)"]
    assert [row.cells[1].mean for row in floors] == pytest.approx([0.35, 0.2])
    assert floors[0].cells[0].sd is None


def test_failed_and_open_runs_are_counted(disk):
    disk.run("lsm", 5, 0, [0.4], "quick")
    disk.run("lsm", 5, 1, [], "quick", failure="a loss is not finite")
    disk.plan("quick", "to-come", "lsm", 5, 2)
    disk.run("sop", 5, 0, [], "quick", failure="a loss is not finite")
    disk.benchmark("quick")
    (board,) = disk.boards()
    found, rank = cell(board, "lsm", 5)
    assert (found.mean, found.finished, found.expected, len(found.failures), rank) == (0.4, 1, 3, 1, 1)
    found, rank = cell(board, "sop", 5)
    assert (found.mean, [failure.kind for failure in found.failures], rank) == (None, ["diverged"], None)


def test_runs_of_an_earlier_plan_are_not_lost(disk):
    fill(disk)
    for seed in (0, 1):
        disk.run("ioda", 5, seed, [0.9, 0.9], home="results/quick/runs")
    (board,) = disk.boards()
    found, rank = cell(board, "ioda", 5)
    assert (found.mean, found.finished, rank) == (pytest.approx(0.9), 2, 1)
    assert [row.sources[0].name for row in board.rows if row.label == "ioda"] == ["quick, earlier"]


def test_damaged_files_are_named_and_the_rest_is_kept(disk):
    fill(disk)
    (disk.root / "results/quick/runs" / disk.plans["quick"][0]["id"] / "result.json").write_text('{"id": "hal')
    broken = disk.run("lsm", 5, 8, [0.4])
    (broken / "result.json").write_text("[]")
    odd = disk.run("lsm", 5, 9, [0.4])
    raw = json.loads((odd / "result.json").read_text())
    raw["scores"][0]["values"] = ["much"]
    (odd / "result.json").write_text(json.dumps(raw))
    (odd / ".result.json.x1").write_text("{")
    endless, seeded = disk.run("lsm", 5, 10, [0.4]), disk.run("lsm", 5, 11, [0.4])
    for home, before, after in ((endless, "0.4", "Infinity"), (seeded, '"init_seed": 11', '"init_seed": [1]')):
        file = home / "result.json"
        file.write_text(file.read_text().replace(before, after))
    disk.run("sop", 5, 0, [0.8, 0.6], "bad")
    (disk.root / "results/bad/benchmark.json").write_text("{")
    found = survey([disk.root / "results", disk.root / "runs"])
    first = disk.root / "results/quick/runs" / disk.plans["quick"][0]["id"]
    homes = (first, broken, odd, endless, seeded)
    files = [disk.root / "results/bad/benchmark.json", *(home / "result.json" for home in homes)]
    assert len(found.problems) == len(files)
    for path in files:
        assert any(problem.startswith(f"{path}: ") for problem in found.problems), path
    (board,) = found.boards
    assert cell(board, "lsm", 100)[0].finished == 2
    # Runs of a benchmark whose plan is damaged count as runs of their own.
    assert cell(board, "sop", 5)[0].mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda raw: raw["config"]["supervision"].update(paired="many"), True),
        (lambda raw: raw.update(id=["a"]), True),
        (lambda raw: raw["config"].pop("supervision"), True),
        (lambda raw: raw["config"].pop("training"), False),
        (lambda raw: raw["dataset"].update(train="many", fingerprint=None), False),
    ],
)
def test_odd_results_are_shown_or_named(disk, change, named):
    home = disk.run("lsm", 5, 0, [0.4])
    raw = json.loads((home / "result.json").read_text())
    change(raw)
    (home / "result.json").write_text(json.dumps(raw))
    found = survey([disk.root / "runs"])
    assert (len(found.problems), len(found.boards)) == ((1, 0) if named else (0, 1))
    assert all(str(home / "result.json") in problem for problem in found.problems)


def test_trials_of_sweeps_have_no_scores_and_no_place(disk):
    fill(disk)
    disk.run("lsm", 5, 0, [0.4], home="results/quick/sweeps/runs", scores=[])
    found = survey([disk.root / "results"])
    assert (found.untested, len(found.boards[0].runs), found.problems) == (1, 11, ())


def test_a_score_that_is_undefined_for_a_sample_is_left_out_of_its_mean(disk):
    disk.run("lsm", 5, 0, [0.4, math.nan])
    (board,) = disk.boards("runs")
    assert cell(board, "lsm", 5)[0].mean == 0.4


def test_folder_that_is_missing(disk):
    with pytest.raises(UserError, match="nothing: no such folder"):
        disk.boards("nothing")
