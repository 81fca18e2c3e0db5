import json
import math

import pytest

from lsmbench.benchmarks.plan import Manifest, Span, Unit
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.table import comparable, tabulate
from lsmbench.runs.results import Failure, Result, Score


def manifest(runs, paired=(100, 5), seeds=(0, 1, 2), **more):
    methods = list(dict.fromkeys(method for _, method, _, _ in runs))
    raw = {
        "schema": 1,
        "name": "test",
        "dataset": "sit",
        "methods": methods,
        "paired": list(paired),
        "seeds": list(seeds),
        "size": None,
        "runs": [{"id": i, "method": m, "paired": n, "seed": s} for i, m, n, s in runs],
        "primary_metric": "iou",
        **more,
    }
    return Manifest._parse(raw)


def score(values, metric="iou", source="x", target="y", higher=True, pooled=None):
    return Score(metric, source, target, "unit", higher, list(range(len(values))), list(values), pooled)


def result(run, method, values, pairs=5, **more):
    fields = {
        "protocol": "1",
        "config": {
            "method": {"name": method, "kind": more.pop("kind", None)},
            "supervision": {"paired": 5.0},
            "training": {"init_seed": 0},
        },
        "dataset": {"name": "sit", "fingerprint": "f00d"},
        "supervision": {"pairs": pairs, "x": 10, "y": 20, "val_pairs": 7},
        "selection": {"rule": "best_validation", "stages": []},
        "scores": [score(values)],
        "validation": None,
        "cost": {"wall_s": 10.0, "updates": 100.0, "parameters": 50.0},
        "environment": {},
    }
    return Result(id=run, **{**fields, **more})


def failure(run, method="lsm", reason="the loss is not finite"):
    return Failure(run, "diverged", reason, "stage main, epoch 3", {"method": {"name": method}})


LSM = [("a0", "lsm", 5.0, 0), ("a1", "lsm", 5.0, 1), ("a2", "lsm", 5.0, 2)]


def cell(tables, method, paired, number=0):
    table = tables[number]
    row = next(row for row in (*table.rows, *table.floors) if method in (row.label, row.method))
    return next(cell for cell in row.cells if cell.paired == paired)


def test_mean_sd_and_median_over_seeds_of_the_means_over_samples():
    results = [result("a0", "lsm", [0.2, 0.4]), result("a1", "lsm", [0.5, 0.5]), result("a2", "lsm", [0.4, 0.8])]
    found = cell(tabulate(manifest(LSM), results), "lsm", 5.0)
    assert [one.score for one in found.runs] == pytest.approx([0.3, 0.5, 0.6])
    assert found.mean == pytest.approx(1.4 / 3)
    assert found.sd == pytest.approx(
        math.sqrt(((0.3 - 1.4 / 3) ** 2 + (0.5 - 1.4 / 3) ** 2 + (0.6 - 1.4 / 3) ** 2) / 2)
    )
    assert found.median == pytest.approx(0.5)
    assert (found.finished, found.expected) == (3, 3)
    assert (found.wall_s, found.updates, found.rules) == (10.0, 100.0, ("best_validation",))
    assert (found.pairs, found.val_pairs) == (Span(5, 5), Span(7, 7))


def test_one_seed_has_no_spread_and_missing_runs_are_counted():
    found = cell(tabulate(manifest(LSM), [result("a1", "lsm", [0.5])], [failure("a0")]), "lsm", 5.0)
    assert (found.mean, found.sd, found.finished, found.expected) == (0.5, None, 1, 3)
    assert [f.reason for f in found.failures] == ["the loss is not finite"]


def test_an_old_failure_does_not_count_beside_the_result_of_a_repeated_run():
    found = cell(tabulate(manifest(LSM), [result("a0", "lsm", [0.5])], [failure("a0")]), "lsm", 5.0)
    assert found.failures == ()


def test_undefined_samples_are_skipped_and_an_undefined_run_has_no_part_in_the_mean():
    results = [result("a0", "lsm", [0.2, math.nan, 0.4]), result("a1", "lsm", [math.nan, math.nan])]
    found = cell(tabulate(manifest(LSM), results), "lsm", 5.0)
    assert found.mean == pytest.approx(0.3)
    assert found.sd is None
    assert math.isnan(found.runs[1].score)


def test_a_cell_without_runs_in_the_benchmark_expects_none():
    found = cell(tabulate(manifest(LSM), [result("a0", "lsm", [0.5])]), "lsm", 100.0)
    assert (found.mean, found.finished, found.expected) == (None, 0, 0)


TWO = [("a", "lsm", 5.0, 0), ("b", "baseline", 5.0, 0), ("f", "floor", None, None)]


@pytest.mark.parametrize("higher", [True, False])
def test_best_and_floor_follow_the_metric_s_direction(higher):
    values = {"a": 0.6, "b": 0.3, "f": 0.4}
    names = {"a": "lsm", "b": "baseline", "f": "floor"}
    results = [
        result(run, names[run], [], scores=[score([v if higher else 1 - v], higher=higher)], kind="constant")
        for run, v in values.items()
    ]
    tables = tabulate(manifest(TWO), results)
    assert tables[0].higher_is_better is higher
    good, bad = cell(tables, "lsm", 5.0), cell(tables, "baseline", 5.0)
    assert (good.best, good.at_floor) == (True, False)
    assert (bad.best, bad.at_floor) == (False, True)
    assert [row.label for row in tables[0].rows] == ["lsm", "baseline"]
    assert [row.label for row in tables[0].floors] == ["floor (constant)"]
    assert not cell(tables, "floor", 5.0).best


def test_equal_to_the_floor_is_no_better_than_the_floor():
    results = [
        result("a", "lsm", [0.1, 0.3]),
        result("b", "baseline", [0.5]),
        result("f", "floor", [0.1, 0.3], kind="copy"),
    ]
    tables = tabulate(manifest(TWO), results)
    assert cell(tables, "lsm", 5.0).at_floor
    assert tables[0].floors[0].label == "floor (copy of the input)"


def test_the_best_of_two_floors_is_the_bar():
    runs = [("a", "lsm", 5.0, 0), ("f", "floor", None, None), ("g", "floor", None, None)]
    results = [
        result("a", "lsm", [0.3]),
        result("f", "floor", [0.2], kind="constant"),
        result("g", "floor", [0.4], kind="copy"),
    ]
    table = tabulate(manifest(runs), results)[0]
    assert [row.label for row in table.floors] == ["floor (constant)", "floor (copy of the input)"]
    assert [column.floor for column in table.columns] == [0.4, 0.4]
    assert cell([table], "lsm", 5.0).at_floor


def test_a_method_alone_is_not_called_best_and_ties_are_shared():
    assert not cell(tabulate(manifest(LSM), [result("a0", "lsm", [0.5])]), "lsm", 5.0).best
    tables = tabulate(manifest(TWO), [result("a", "lsm", [0.5]), result("b", "baseline", [0.5])])
    assert cell(tables, "lsm", 5.0).best
    assert cell(tables, "baseline", 5.0).best


def test_a_run_without_pairs_stands_at_every_n_but_does_not_count_for_the_column_s_pairs():
    runs = [("c", "cyclegan", None, 0), ("a", "lsm", 5.0, 0), ("b", "lsm", 100.0, 0)]
    results = [result("c", "cyclegan", [0.3], pairs=0), result("a", "lsm", [0.5]), result("b", "lsm", [0.6], pairs=100)]
    table = tabulate(manifest(runs), results)[0]
    assert [found.mean for found in table.rows[0].cells] == [0.3, 0.3]
    assert table.rows[0].independent
    assert not table.rows[1].independent
    assert [column.pairs for column in table.columns] == [Span(100, 100), Span(5, 5)]
    assert table.columns[1].singles == (Span(10, 10), Span(20, 20))


def test_primary_first_then_one_table_per_metric_and_direction():
    back = score([0.1], "mse", "y", "x", higher=False)
    results = [
        result("b", "baseline", [], scores=[score([0.4])]),
        result("a", "lsm", [], scores=[score([0.5]), back]),
    ]
    tables = tabulate(manifest(TWO), results)
    assert [tuple(table.key) for table in tables] == [("iou", "x", "y"), ("mse", "y", "x")]
    assert [table.primary for table in tables] == [True, False]
    assert not tables[1].higher_is_better
    assert cell(tables, "lsm", 5.0, 1).mean == pytest.approx(0.1)
    # The finished baseline has no such score, and none is awaited.
    assert cell(tables, "baseline", 5.0, 1).expected == 0


def test_published_values_stand_in_the_table_of_their_metric():
    said = {"source": "A paper", "metric": "iou", "values": {"lsm": {"5": 0.7, "60": 0.8}}, "note": "larger images"}
    tables = tabulate(manifest(TWO, published=said), [result("a", "lsm", [0.5])])
    assert cell(tables, "lsm", 5.0).published == 0.7
    assert cell(tables, "lsm", 100.0).published is None
    assert cell(tables, "baseline", 5.0).published is None
    other = tabulate(manifest(TWO, published={**said, "metric": "l1"}), [result("a", "lsm", [0.5])])
    assert cell(other, "lsm", 5.0).published is None


def test_a_value_published_for_any_n_holds_at_every_n_of_a_method_without_pairs_only():
    values = {"cyclegan": {"60": 0.23}, "lsm": {"5": 0.15}}
    said = {"source": "A paper", "metric": "iou", "values": values, "any_n": ["cyclegan", "lsm"]}
    runs = [("c", "cyclegan", None, 0), ("a", "lsm", 5.0, 0)]
    results = [result("c", "cyclegan", [0.3]), result("a", "lsm", [0.5])]
    table = tabulate(manifest(runs, published=said), results)[0]
    free, bound = table.rows
    assert [(found.published, found.published_any_n) for found in free.cells] == [(0.23, True)] * 2
    assert [(found.published, found.published_any_n) for found in bound.cells] == [(None, False), (0.15, False)]
    table = tabulate(manifest(runs, published={**said, "any_n": None}), results)[0]
    assert [found.published for found in table.rows[0].cells] == [None, None]


@pytest.mark.parametrize("values", [{}, {"5": 0.2, "100": 0.3}])
def test_a_value_for_any_n_must_be_one(values):
    said = {"source": "A paper", "metric": "iou", "values": {"cyclegan": values}, "any_n": ["cyclegan"]}
    with pytest.raises(ValueError, match=f"cyclegan has {len(values)} different values, expected one"):
        manifest(LSM, published=said)


def test_a_row_knows_whether_its_runs_use_the_full_budget():
    full = {"rule": "best_validation", "stages": [{"stage": "a"}, {"stage": "b", "budget": "full"}]}
    table = tabulate(manifest(TWO), [result("a", "lsm", [0.5], selection=full), result("b", "baseline", [0.4])])[0]
    assert [row.full_budget for row in table.rows] == [True, False]


def test_without_results_there_is_an_empty_table():
    (table,) = tabulate(manifest(LSM), [])
    assert table.key.metric == "iou"
    assert cell([table], "lsm", 5.0).expected == 3
    assert table.columns[0].pairs is None


def test_a_skipped_method_has_a_row_with_the_reason_and_a_skipped_floor_has_none():
    skipped = [{"method": "gan", "reason": "needs landmarks"}, {"method": "floor-copy", "reason": "no copy"}]
    table = tabulate(manifest(LSM, skipped=skipped), [])[0]
    assert [(row.label, row.skipped) for row in table.rows] == [("lsm", ""), ("gan", "needs landmarks")]
    assert table.floors == ()


def test_results_of_other_protocols_and_datasets_are_kept_apart():
    results = [
        result("a0", "lsm", [0.5]),
        result("a1", "lsm", [0.6], protocol="2"),
        result("a2", "lsm", [0.7], dataset={"name": "sit", "fingerprint": "beef"}),
        result("a3", "lsm", [0.8]),
    ]
    kept, left_out = comparable(results)
    assert [r.id for r in kept] == ["a0", "a3"]
    assert [r.id for r in left_out] == ["a1", "a2"]
    with pytest.raises(ValueError, match="comparable"):
        tabulate(manifest(LSM), results)
    assert comparable([]) == ([], [])


def test_results_outside_the_benchmark_are_ignored():
    tables = tabulate(manifest(LSM), [result("zz", "lsm", [0.9], protocol="2"), result("a0", "lsm", [0.5])])
    assert cell(tables, "lsm", 5.0).mean == 0.5


def test_selection_rules_and_means_over_a_row():
    results = [
        result("a", "lsm", [0.5], cost={"wall_s": 4.0, "updates": 10.0}),
        result("b", "baseline", [0.4], selection={"rule": "last"}),
        result("f", "floor", [0.2], kind="constant", selection={"rule": "none"}),
    ]
    table = tabulate(manifest(TWO), results)[0]
    assert table.rules == ("best_validation", "last")  # the floor selects nothing
    assert (table.rows[0].wall_s, table.rows[0].updates, table.rows[0].parameters) == (4.0, 10.0, None)


def test_the_same_n_has_other_names_in_per_cent_and_in_pairs():
    assert [Unit.PERCENT.amount(n) for n in (100.0, 0.5, 1.0)] == ["100 %", "0.5 %", "1 %"]
    assert [Unit.PAIRS.amount(n) for n in (0.0, 1.0, 20.0, 2975.0, 1e6)] == [
        "0 pairs", "1 pair", "20 pairs", "2975 pairs", "1000000 pairs",
    ]  # fmt: skip
    assert [unit.word(5.0) for unit in (Unit.PERCENT, Unit.PAIRS)] == ["N5", "5pairs"]
    assert manifest(LSM).unit is Unit.PERCENT
    assert manifest(LSM, paired_unit="pairs").unit is Unit.PAIRS


def test_a_number_of_pairs_is_told_again_only_where_a_run_saw_another():
    def heads(unit, pairs):
        return [
            (column.amount, markup.saw(column))
            for column in tabulate(manifest(LSM, paired_unit=unit), [result("a0", "lsm", [0.5], pairs)])[0].columns
        ]

    assert heads("%", 5) == [("100 %", ""), ("5 %", "5 pairs")]
    assert heads("pairs", 5) == [("100 pairs", ""), ("5 pairs", "")]
    assert heads("pairs", 4) == [("100 pairs", ""), ("5 pairs", "saw 4")]


@pytest.mark.parametrize(
    ("paired", "unit", "message"), [([5], "per mille", "'paired_unit' is 'per mille'"), ([2.5], "pairs", "found 2.5")]
)
def test_n_must_be_in_a_known_unit_and_a_number_of_pairs_whole(tmp_path, paired, unit, message):
    raw = {"schema": 1, "name": "t", "dataset": "sit", "methods": [], "seeds": [0], "primary_metric": "iou", "runs": []}
    (tmp_path / "benchmark.json").write_text(json.dumps({**raw, "paired": paired, "paired_unit": unit}))
    with pytest.raises(UserError, match=message):
        Manifest.load(tmp_path)


def block(source, values, metric="iou", **more):
    return {"source": source, "metric": metric, "values": values, **more}


def test_of_several_published_blocks_the_first_that_has_a_value_counts():
    said = [
        block("Table 1", {"lsm": {"5": 0.7}}, note="larger"),
        block("Other", {"lsm": {"5": 0.1, "100": 0.8}, "cyclegan": {"0": 0.3}}, any_n=["cyclegan"]),
        block("Table 1", {"lsm": {"5": 9.0}}, metric="mse"),
        block("Unused", {"lsm": {"5": 0.2}}),
    ]
    runs = [("a", "lsm", 5.0, 0), ("c", "cyclegan", None, 0)]
    both = [score([0.5]), score([0.1], "mse", higher=False), score([0.4], "iou", "y", "x")]
    tables = tabulate(manifest(runs, published=said), [result("a", "lsm", [], scores=both)])
    assert [tuple(table.key) for table in tables] == [("iou", "x", "y"), ("mse", "x", "y"), ("iou", "y", "x")]
    lsm, cyclegan = tables[0].rows
    assert [found.published for found in lsm.cells] == [0.8, 0.7]
    assert [(found.published, found.published_any_n) for found in cyclegan.cells] == [(0.3, True)] * 2
    assert cell(tables, "lsm", 5.0, 1).published == 9.0
    assert cell(tables, "lsm", 5.0, 2).published is None  # the paper's is the first direction
    notes = markup.notes(tables[0])
    assert "Published values: Table 1; Other." in notes
    assert "Published values stem from another setting (Table 1): larger" in notes
    assert "Published values: Table 1." in markup.notes(tables[1])
    assert not any(note.startswith("Published") for note in markup.notes(tables[2]))


def test_a_note_that_all_sources_share_is_said_once_without_their_names():
    said = [block(name, {"lsm": {n: 0.7}}, note="larger") for name, n in (("A", "5"), ("B", "100"))]
    notes = markup.notes(tabulate(manifest(LSM, published=said), [result("a0", "lsm", [0.5])])[0])
    assert notes[-2:] == ["Published values: A; B.", "Published values stem from another setting: larger"]


def test_a_value_over_all_samples_together_stands_for_the_run():
    results = [
        result("a0", "lsm", [], scores=[score([0.2, 0.4], pooled=0.5)]),
        result("a1", "lsm", [], scores=[score([0.2, math.nan], pooled=0.7)]),
    ]
    table = tabulate(manifest(LSM), results)[0]
    found = cell([table], "lsm", 5.0)
    assert [one.score for one in found.runs] == [0.5, 0.7]
    assert (found.mean, found.median) == (pytest.approx(0.6), pytest.approx(0.6))
    assert table.pooled
    first, second, *_ = markup.notes(table)
    assert "a run's score over all test samples together" in first
    assert second.startswith("iou is computed over all test pixels together (one confusion matrix), not as a mean over")
    plain = tabulate(manifest(LSM), [result("a0", "lsm", [0.2, 0.4])])[0]
    assert not plain.pooled
    assert not any("together" in note for note in markup.notes(plain))


@pytest.mark.parametrize("identity", ["../up", "a/b", "", "..", 3])
def test_a_run_s_id_cannot_lead_out_of_the_folder(tmp_path, identity):
    raw = {
        "schema": 1,
        "name": "t",
        "dataset": "sit",
        "methods": [],
        "paired": [5],
        "seeds": [0],
        "primary_metric": "iou",
    }
    raw["runs"] = [{"id": identity, "method": "lsm", "paired": 5, "seed": 0}]
    (tmp_path / "benchmark.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="not a run id"):
        Manifest.load(tmp_path)
