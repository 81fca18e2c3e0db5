import math
import re

import numpy as np
import pytest

from lsmbench.benchmarks.plan import Span
from lsmbench.errors import UserError
from lsmbench.reports.board import boards
from lsmbench.reports.frame import read, read_benchmark, samples
from lsmbench.runs.results import Failure, Result
from tests.reports.made import Benchmark, Disk, benchmark, cell, change, fill, fill_disk, result, score


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


def test_a_row_per_run_and_score_with_all_that_pages_need():
    scores = [score([0.2, 0.6], units=["p", "q"]), score([0.1], "mse", "y", "x"), score([0.3], test_set="night")]
    runs = benchmark([("a", "lsm", 5.0, 0), ("b", "lsm", 5.0, 1)], [result("a", "lsm", [], scores=scores)]).runs
    assert len(runs) == 4
    first = runs.iloc[0]
    said = {name: first[name] for name in ("run", "label", "method", "state", "dataset", "fingerprint", "protocol")}
    assert list(said.values()) == ["a", "lsm", "lsm", "finished", "sit", "f00d", "1"]
    assert (first["paired"], first["seed"], first["pairs"], first["val_pairs"], first["n"]) == (5, 0, 5, 7, 2)
    assert (first["value"], first["pooled"], first["higher_is_better"]) == (pytest.approx(0.4), False, True)
    assert runs["primary"].tolist()[:3] == [True, False, False]
    assert runs["test_set"].tolist()[:3] == ["test", "test", "night"]
    last = runs.iloc[3]
    assert (last["run"], last["state"], last["metric"]) == ("b", "to come", None)
    each = samples(runs)
    assert each["score"].tolist() == [0.2, 0.6, 0.1, 0.3]
    assert each["unit"].tolist()[:2] == ["p", "q"]
    assert each["sample"].tolist() == [0, 1, 0, 0]


def test_three_views_two_test_sets_units_and_counts_go_from_file_to_table_and_report(tmp_path):
    counts = np.arange(2 * 4).reshape(2, 2, 2)
    made = Benchmark(tmp_path / "bench", skipped=[], published=None)
    for seed in (0, 1):
        scores = [
            score([0.5, 0.7], "iou", "photo", "mask", pooled=0.6 + seed / 10, units=["a", "b"], counts=counts),
            score([0.5], "iou", "photo", "mask", pooled=0.3, test_set="night", units=["c"], counts=counts[:1]),
            score([0.1, 0.3], "l1", "photo", "depth", higher=False, units=["a", "b"]),
        ]
        supervision = {"pairs": 5, "photo": 20, "depth": 3, "photo,depth": 4, "val_pairs": 2}
        made.add(f"r{seed}", "lsm", 5.0, seed, [], scores=scores, supervision=supervision)
    found = made.read()
    np.testing.assert_array_equal(found.runs["score"].iloc[0].counts, counts)
    first, night, depth = made.tables()
    assert [table.key.test_set for table in (first, night, depth)] == ["test", "night", "test"]
    assert [cell(made.tables(), "lsm", 5.0, i).mean for i in range(3)] == pytest.approx([0.65, 0.3, 0.2])
    assert first.columns[1].singles("photo,depth") == Span(4, 4)
    text = (made.folder / "report.md").read_text()
    assert "| N | training pairs | photo only | depth only | photo,depth only | validation pairs |" in text
    assert samples(found.runs)["unit"].tolist() == ["a", "b", "c", "a", "b"] * 2
    other = read([made.folder])
    titles = [f"iou, photo → mask, test set {name}" for name in ("test", "night")]
    assert [board.table.title for board in boards(other)] == titles


def test_benchmarks_and_single_runs_stand_in_one_frame(disk):
    fill_disk(disk)
    disk.run("lsm", 5, 3, [0.4, 0.6])
    runs = read([disk.root / "results", disk.root / "runs"]).runs
    assert runs["origin"].value_counts().to_dict() == {"quick": 11, "runs": 1}
    single = runs.iloc[-1]
    assert (single["plan"], single["paired"], single["counts"], single["seeds"]) == (None, 5.0, "%", (3, 3))
    assert runs.loc[(runs["method"] == "lsm"), "setting"].nunique() == 1


def test_files_written_before_test_sets_and_units_still_load(tmp_path):
    made = result("a", "lsm", [0.5, math.nan])
    made.save(tmp_path)

    def before(raw):
        for key in ("test_set", "units", "counts"):
            raw["scores"][0].pop(key)

    change(tmp_path, before)
    again = Result.load(tmp_path)
    assert again.model_dump_json() == made.model_dump_json()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.update(schema=2), "has result layout 2, this version of lsmbench reads 1"),
        (lambda raw: raw.pop("scores"), "is not a complete result .scores: Field required.. Move it away"),
        (lambda raw: raw.update(more=1), "more: Extra inputs"),
        (lambda raw: raw["scores"][0].update(values=["much"]), "scores.0.values.0: .*valid number.*found 'much'"),
        (lambda raw: raw.update(id=["a"]), r"id: .*valid string, found \['a'\]"),
    ],
)
def test_a_damaged_result_names_the_file_and_what_was_expected_and_found(tmp_path, edit, message):
    result("a", "lsm", [0.5]).save(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(UserError, match=f"{tmp_path}/result.json: .*{message}"):
        Result.load(tmp_path)


def test_a_damaged_failure_is_a_user_error(tmp_path):
    (tmp_path / "failure.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a complete record of a failure .*Delete it and run again"):
        Failure.load(tmp_path)


DAMAGE = {
    "l100-1": (lambda raw: raw.update(scores=[]), "holds no scores"),
    "l5-0": (lambda raw: raw.update(supervision={"pairs": "many"}), "supervision.pairs"),
    "b100-0": (lambda raw: raw.update(id="b5-0"), "belongs to run b5-0."),
    "b100-1": (lambda raw: raw["scores"][0].update(values=[], indices=[]), "iou has no value"),
    "b5-0": (lambda raw: raw["config"]["training"].update(init_seed=[1]), "training.init_seed"),
    "c-0": (lambda raw: raw.update(selection={"stages": [{"value": 0.5, "last": "x"}]}), "selection.stages.0.last"),
    "f": (lambda raw: raw["config"]["supervision"].update(selection="../up"), "supervision.selection.*'../up'"),
}


def test_damaged_files_are_named_and_the_rest_is_kept(tmp_path):
    made = fill(tmp_path / "bench")
    made.write()
    for run, (edit, _) in DAMAGE.items():
        change(made.folder / "runs" / run, edit)
    (made.folder / "runs" / "b5-1" / "failure.json").write_text("[]")
    found = read_benchmark(made.folder)
    messages = dict(found.problems)
    assert set(messages) == {*DAMAGE, "b5-1"}
    for run, (_, said) in DAMAGE.items():
        assert messages[run].startswith(f"runs/{run}/result.json: ")
        assert re.search(said, messages[run]), messages[run]
    states = dict(zip(found.runs["run"], found.runs["state"], strict=True))
    assert {run for run, state in states.items() if state == "finished"} == {"l100-0"}
    assert states["l5-1"] == "to come"
    assert {states[run] for run in messages} == {"damaged"}


def test_a_score_without_end_is_damage(tmp_path):
    made = fill(tmp_path / "bench")
    made.write()
    path = made.folder / "runs" / "c-0" / "result.json"
    path.write_text(path.read_text().replace("0.35", "Infinity"))
    assert dict(read_benchmark(made.folder).problems) == {"c-0": "runs/c-0/result.json: a score of iou is infinite."}


def test_damage_far_below_is_named_and_runs_of_a_damaged_plan_count_as_runs_of_their_own(disk):
    fill_disk(disk)
    broken, odd = disk.run("lsm", 5, 8, [0.4]), disk.run("lsm", 5, 9, [0.4])
    (broken / "result.json").write_text("[]")
    change(odd, lambda raw: raw["scores"][0].update(values=["much"]))
    (odd / ".result.json.x1").write_text("{")
    disk.run("sop", 5, 0, [0.8, 0.6], "bad")
    (disk.root / "results/bad/benchmark.json").write_text("{")
    first = disk.root / "results/quick/runs" / disk.plans["quick"][0][0]
    (first / "result.json").write_text('{"id": "hal')
    found = read([disk.root / "results", disk.root / "runs"])
    files = [disk.root / "results/bad/benchmark.json", *(home / "result.json" for home in (broken, odd, first))]
    assert sorted(problem.partition(": ")[0] for problem in found.problems) == sorted(map(str, files))
    assert found.runs.loc[found.runs["origin"] == "bad/runs", "value"].tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("config", [{}, {"method": "x"}, {"method": {"name": "lsm"}, "supervision": [1]}])
def test_a_failure_without_a_whole_configuration_is_named(disk, config):
    fill_disk(disk)
    home = disk.run("lsm", 5, 7, [], "quick", failure="a loss is not finite")
    disk.benchmark("quick")
    change(home, lambda raw: raw.update(config=config), "failure.json")
    found = read([disk.root / "results"])
    assert [problem.partition(": ")[0] for problem in found.problems] == [str(home / "failure.json")]
    assert len(boards(found)) == 1


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda raw: raw["config"]["supervision"].update(paired="many"), True),
        (lambda raw: raw.update(id=["a"]), True),
        (lambda raw: raw["config"].pop("supervision"), True),
        (lambda raw: raw["config"].pop("training"), False),
        (lambda raw: raw["dataset"].update(train="many", fingerprint=None), False),
    ],
)
def test_odd_results_are_shown_or_named(disk, edit, named):
    home = disk.run("lsm", 5, 0, [0.4])
    change(home, edit)
    found = read([disk.root / "runs"])
    assert (len(found.problems), len(found.runs)) == ((1, 0) if named else (0, 1))
    assert all(str(home / "result.json") in problem for problem in found.problems)


def test_trials_of_sweeps_have_no_scores_and_no_place(disk):
    fill_disk(disk)
    disk.run("lsm", 5, 0, [0.4], home="results/quick/sweeps/runs", scores=[])
    found = read([disk.root / "results"])
    assert (found.untested, len(found.runs), found.problems) == (1, 11, ())


def test_folder_that_is_missing(disk):
    with pytest.raises(UserError, match="nothing: no such folder"):
        read([disk.root / "nothing"])
