"""Folds in reports: the runs of a seed's folds are one set of scores, in which every pair is scored once."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.text import Text

from lsmbench.errors import UserError
from lsmbench.metrics import ClassAccuracy, MeanIoU, PixelAccuracy
from lsmbench.reports import markup
from lsmbench.reports.board import boards
from lsmbench.reports.choice import choose
from lsmbench.reports.folds import merged
from lsmbench.reports.frame import read, read_benchmark
from lsmbench.reports.report import console_table, write_report
from lsmbench.scores import Score
from tests.reports.made import Benchmark, Page, failure, score

FOLDS = 3
PLANTED = {  # by seed, the scores of pairs 0 to 6; pair i is in fold i modulo 3
    0: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    1: [0.5, 0.4, 0.3, 0.2, 0.1, 0.0, math.nan],
}


def config_of(row: str, n: float | None, seed: int | None, fold: int) -> dict[str, dict[str, object]]:
    return {
        "method": {"name": row, "kind": "constant" if row == "floor" else None},
        "supervision": {"paired": n or 0.0, "folds": FOLDS, "fold": fold},
        "training": {"init_seed": seed or 0},
    }


class Folded(Benchmark):
    """A benchmark with folds; results are made up by `PLANTED`."""

    def fold(self, row: str, n: float | None, seed: int | None, fold: int, shift: float = 0.0, **more) -> None:
        indices = list(range(fold, 7, FOLDS))
        values = [PLANTED[seed or 0][i] + shift for i in indices]
        one = score(values)
        one.indices = indices
        config = config_of(row, n, seed, fold)
        dataset = {"name": "few", "fingerprint": "f00d", "train": 4, "val": 1, "test": len(indices)}
        dataset |= {"fold": fold, "folds": FOLDS, "unused": 2 * (fold == 1)}
        identity = f"{row}-{n}-s{seed}-f{fold}"
        self.add(identity, row, n, seed, [], scores=[one], config=config, dataset=dataset, name=row, **more)

    def write(self):
        self.more.setdefault("folds", FOLDS)
        self.more.setdefault("notes", ["The 7 pairs are cross-validated in 3 folds."])
        return super().write()


@pytest.fixture
def made(tmp_path: Path) -> Folded:
    """Two methods over two seeds; of one, a fold of seed 1 has failed and one is to come. A floor without a seed."""
    bench = Folded(tmp_path / "results" / "few")
    for seed in (0, 1):
        for fold in range(FOLDS):
            bench.fold("lsm", 50.0, seed, fold, panel=True)
            if seed == 0 or fold == 0:
                bench.fold("sop", 50.0, seed, fold, shift=0.1)
    failure("sop-f", "sop", config=config_of("sop", 50.0, 1, 1)).save(bench.plan("sop-f", "sop", 50.0, 1))
    bench.plan("sop-t", "sop", 50.0, 1)
    for fold in range(FOLDS):
        bench.fold("floor", None, None, fold, shift=-0.05)
    return bench


def planned(bench: Folded) -> dict[str, Path]:
    """Writes the report; the plan says which run is of which fold."""
    files = bench.write()
    path = bench.folder / "benchmark.json"
    raw = json.loads(path.read_text())
    for run in raw["runs"]:
        word = run["id"].rpartition("-f")[2]
        run["fold"] = int(word) if word.isdigit() else {"sop-f": 1, "sop-t": 2}[run["id"]]
    path.write_text(json.dumps(raw))
    return {**files, **{file.name: file for file in write_report(bench.folder)}}


def test_every_pair_is_scored_once_per_seed_and_the_spread_is_over_seeds(made: Folded) -> None:
    planned(made)
    (table,) = made.tables()
    lsm = next(row for row in table.rows if row.label == "lsm").cells[-1]
    assert lsm.paired == 50.0
    assert [one.indices for one in lsm.runs["score"]] == [list(range(7))] * 2
    assert np.array_equal([one.values for one in lsm.runs["score"]], [PLANTED[0], PLANTED[1]], equal_nan=True)
    means = [np.nanmean(PLANTED[seed]) for seed in (0, 1)]
    assert lsm.mean == pytest.approx(np.mean(means))
    assert lsm.sd == pytest.approx(np.std(means, ddof=1))
    assert (lsm.finished, lsm.expected, lsm.folds_finished, lsm.folds_expected) == (2, 2, 6, 6)
    assert lsm.whole
    floor = table.floors[0].cells[-1]
    assert (floor.finished, floor.sd) == (1, None)
    assert floor.mean == pytest.approx(np.mean(PLANTED[0]) - 0.05)


def test_missing_folds_are_counted_in_the_cell(made: Folded) -> None:
    planned(made)
    (table,) = made.tables()
    sop = next(row for row in table.rows if row.label == "sop").cells[-1]
    assert (sop.finished, sop.expected, sop.folds_finished, sop.folds_expected) == (2, 2, 4, 6)
    assert len(sop.failures) == 1
    words = markup.words(sop, 3)
    assert (words.seeds, words.under) == ("4/6 folds", "4/6 folds")
    part = np.mean([PLANTED[1][i] + 0.1 for i in (0, 3)])
    assert sop.runs["value"].tolist()[1] == pytest.approx(part)


def test_the_report_says_what_the_spread_is_over_and_which_fold_is_drawn(made: Folded) -> None:
    files = planned(made)
    text = files["report.md"].read_text()
    assert "The 7 pairs are cross-validated in 3 folds." in text
    assert "Mean over 2 seeds, each pooled over 3 folds" in text
    assert "4/6 folds" in text
    assert "### N = 50 %, fold 0" in text
    assert "0–2 samples without a pair are not used by a run" in text
    assert "differ between runs" not in text
    assert "3 folds" in files["report.html"].read_text()
    assert not Page(files["report.html"].read_text()).wrong
    assert "pooled over 3 folds" in files["table.tex"].read_text()
    with files["scores.csv"].open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "lsm" and row["seed"] == "1"]
    assert sorted(int(row["sample"]) for row in rows) == list(range(7)), "every pair once"
    assert {int(row["sample"]) % FOLDS == int(row["fold"]) for row in rows} == {True}
    (table,) = console_table(made.folder)
    assert not isinstance(table, str)


def test_the_leaderboard_shows_folds_as_one_row_and_apart_from_one_split(made: Folded) -> None:
    planned(made)
    plain = Benchmark(made.folder.parent / "plain")
    plain.add("p0", "lsm", 50.0, 0, [0.5, 0.5], dataset={"name": "few", "fingerprint": "f00d"})
    plain.write()
    found = boards(read([made.folder.parent]))
    assert len(found) == 2
    assert {"3 folds" in board.label for board in found} == {True, False}
    board = next(board for board in found if "3 folds" in board.label)
    assert [(row.label, row.cells[0].finished) for row in board.rows] == [
        ("lsm", 2), ("sop", 2), ("floor (constant)", 1),
    ]  # fmt: skip
    assert board.rows[0].cells[0].mean == pytest.approx(np.mean([np.nanmean(PLANTED[0]), np.nanmean(PLANTED[1])]))
    assert len(board.rows[0].cells[0].each) == 6


def test_samples_of_further_test_sets_have_their_mean() -> None:
    parts = [score([0.2, 0.4], test_set="elsewhere"), score([0.4, math.nan], test_set="elsewhere")]
    one = merged(parts)
    assert one.indices == [0, 1]
    assert one.values == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("kind", [PixelAccuracy, ClassAccuracy, MeanIoU])
@pytest.mark.parametrize("absent", ["zero", "ignore"])
def test_scores_of_one_confusion_matrix_are_computed_anew_over_all_folds(kind, absent) -> None:
    rng = np.random.default_rng(3)
    truth, prediction = torch.from_numpy(rng.integers(0, 3, (2, 6, 8, 8)))
    metric = kind(4, absent)  # class 3 never occurs
    metric.update(prediction, truth, torch.arange(6))
    parts = []
    for rows in ([0, 4], [2, 5], [1, 3]):
        part = kind(4, absent)
        part.update(prediction[rows], truth[rows], torch.tensor(rows))
        indices, values, counts = part.per_sample()
        parts.append(
            Score(metric=part.name, source="x", target="y", unit="u", higher_is_better=True, indices=indices,
                  values=values, pooled=part.pooled(), counts=counts, units=[f"P{i}" for i in indices])
        )  # fmt: skip
    one = merged(parts)
    indices, values, counts = metric.per_sample()
    assert one.indices == indices
    assert one.values == pytest.approx(values)
    assert np.array_equal(np.asarray(one.counts), np.asarray(counts))
    assert one.pooled == pytest.approx(metric.pooled(), abs=1e-7)
    assert one.units == [f"P{i}" for i in range(6)]
    other = [part.model_copy(update={"pooled": 0.9}) for part in parts]
    assert math.isnan(merged(other).value), "a value that cannot be computed anew is none"


def test_without_any_pair_the_report_says_so_and_shows_translations(tmp_path: Path) -> None:
    bench = Benchmark(tmp_path / "none", notes=["No test sample has both x and y."])
    lacks = "no test sample has both x and y, so that nothing can be scored"
    bench.add("l", "lsm", 0.0, 0, [], lacks=lacks)
    image = np.zeros((2, 8, 8, 3), np.uint8)
    np.savez(bench.folder / "runs" / "l" / "panel.npz", index=np.array([3, 5]), x=image, prediction=image)
    bench.more["paired"] = [0]
    files = bench.write()
    for name in ("report.md", "report.html"):
        text = files[name].read_text()
        assert "No pair to score:" in text
        assert "there is no truth to compare with" in text
        assert "panel-N0.png" in text
        assert "higher is better" not in text
    assert "\\begin{table}" not in files["table.tex"].read_text()
    assert (bench.folder / "panel-N0.png").stat().st_size > 0
    (said,) = console_table(bench.folder)
    assert isinstance(said, Text)
    assert said.plain.startswith("No pair to score: no test sample has both x and y")
    assert len(read_benchmark(bench.folder).runs) == 1
    assert read([bench.folder]).problems == ()


def test_without_any_score_predict_takes_the_row_that_is_named(tmp_path: Path) -> None:
    bench = Benchmark(tmp_path / "none")
    for method, n in (("lsm", 0.0), ("cyclegan", None)):
        bench.add(method, method, n, 0, [], lacks="no test sample has both x and y")
        weights = bench.folder / "runs" / method / "checkpoints" / "0-train"
        weights.mkdir(parents=True)
        (weights / "best.ckpt").touch()
    bench.more["paired"] = [0]
    bench.write()
    with pytest.raises(UserError, match="by --method and --paired: lsm at N = 0 %; cyclegan at every N"):
        choose(bench.folder)
    assert choose(bench.folder, method="lsm").homes == (bench.folder / "runs" / "lsm",)
