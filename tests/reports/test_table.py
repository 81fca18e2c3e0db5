import json
import math

import pytest

from lsmbench.benchmarks.plan import Manifest, Published, Span, Unit
from lsmbench.errors import UserError
from lsmbench.reports import markup
from tests.reports.made import benchmark, cell, failure, manifest, result, score, tables

LSM = [("a0", "lsm", 5.0, 0), ("a1", "lsm", 5.0, 1), ("a2", "lsm", 5.0, 2)]
TWO = [("a", "lsm", 5.0, 0), ("b", "baseline", 5.0, 0), ("f", "floor", None, None)]


def test_mean_sd_and_median_over_seeds_of_the_means_over_samples():
    results = [result("a0", "lsm", [0.2, 0.4]), result("a1", "lsm", [0.5, 0.5]), result("a2", "lsm", [0.4, 0.8])]
    (table,) = tables(LSM, results)
    found = cell([table], "lsm", 5.0)
    assert found.runs["value"].tolist() == pytest.approx([0.3, 0.5, 0.6])
    assert found.mean == pytest.approx(1.4 / 3)
    assert found.sd == pytest.approx(math.sqrt(sum((v - 1.4 / 3) ** 2 for v in (0.3, 0.5, 0.6)) / 2))
    assert found.median == pytest.approx(0.5)
    assert (found.finished, found.expected, found.wall_s) == (3, 3, 10.0)
    (row,) = table.rows
    assert (row.wall_s, row.updates, row.parameters, row.rules) == (10.0, 100.0, Span(50, 50), ("best_validation",))
    assert (table.columns[1].pairs, table.val_pairs) == (Span(5, 5), Span(7, 7))


def test_one_seed_has_no_spread_and_missing_runs_are_counted():
    found = cell(tables(LSM, [result("a1", "lsm", [0.5])], [failure("a0")]), "lsm", 5.0)
    assert (found.mean, found.sd, found.finished, found.expected) == (0.5, None, 1, 3)
    assert [f.reason for f in found.failures] == ["the loss is not finite"]


def test_an_old_failure_does_not_count_beside_the_result_of_a_repeated_run():
    found = cell(tables(LSM, [result("a0", "lsm", [0.5])], [failure("a0")]), "lsm", 5.0)
    assert found.failures == []


def test_undefined_samples_are_skipped_and_an_undefined_run_has_no_part_in_the_mean():
    results = [result("a0", "lsm", [0.2, math.nan, 0.4]), result("a1", "lsm", [math.nan, math.nan])]
    found = cell(tables(LSM, results), "lsm", 5.0)
    assert found.mean == pytest.approx(0.3)
    assert found.sd is None
    assert math.isnan(found.runs["value"].iloc[1])


def test_a_cell_without_runs_in_the_benchmark_expects_none():
    found = cell(tables(LSM, [result("a0", "lsm", [0.5])]), "lsm", 100.0)
    assert (found.mean, found.finished, found.expected) == (None, 0, 0)


RUNS = [(f"{method}{seed}", method, 5.0, seed) for seed in range(3) for method in ("lsm", "sop", "baseline")]
FLOOR = ("f", "floor", None, None)


def scored(values, seeds=3, spread=0.01, higher=True, floor=None, **more):
    """Tables of methods with such means, over six samples; each seed and sample adds its own."""
    results = []
    for method, mean in values.items():
        for seed in range(seeds):
            each = [
                mean + spread * (seed - (seeds - 1) / 2) + 0.1 * (i % 2) - 0.05 + 0.001 * (i * seed) for i in range(6)
            ]
            each = [value if higher else 1 - value for value in each]
            results.append(result(f"{method}{seed}", method, [], scores=[score(each, higher=higher)]))
    if floor is not None:
        results.append(result("f", "floor", [], scores=[score([floor if higher else 1 - floor] * 6, higher=higher)],
                              kind="constant"))  # fmt: skip
    runs = [run for run in RUNS if run[1] in values] + [FLOOR] * (floor is not None)
    return tables(runs, results, **more)


@pytest.mark.parametrize("higher", [True, False])
def test_best_and_floor_follow_the_metric_s_direction(higher):
    (table,) = scored({"lsm": 0.9, "sop": 0.6, "baseline": 0.3}, higher=higher, floor=0.4)
    assert table.higher_is_better is higher
    lsm, sop, baseline = (cell([table], name, 5.0) for name in ("lsm", "sop", "baseline"))
    assert (lsm.best, lsm.at_floor, lsm.rank) == (True, False, 1)
    assert (sop.best, sop.at_floor, sop.rank) == (False, False, 2)
    assert (baseline.best, baseline.at_floor, baseline.rank) == (False, True, 3)
    assert sop.behind.crossed.mean == pytest.approx(-0.3)
    assert [row.label for row in table.rows] == ["lsm", "sop", "baseline"]
    assert [row.label for row in table.floors] == ["floor (constant)"]
    assert (cell([table], "floor", 5.0).best, cell([table], "floor", 5.0).rank) == (False, None)


def test_rows_that_cannot_be_told_apart_are_best_together():
    # Each seed adds its own to one method alone, so that differences of a hundredth are lost in it.
    results = []
    for seed, (a, b) in enumerate([(0.00, 0.05), (0.05, 0.0), (0.02, 0.02)]):
        for method, mean in {"lsm": 0.80 + a, "sop": 0.79 + b, "baseline": 0.3}.items():
            results.append(result(f"{method}{seed}", method, [mean - 0.05, mean + 0.05, mean]))
    (table,) = tables(RUNS, results)
    assert [cell([table], name, 5.0).best for name in ("lsm", "sop", "baseline")] == [True, True, False]
    assert table.columns[1].verdict.best == ("lsm", "sop")
    (said,) = markup.sentences(table, "verdict")
    assert said.startswith("At N = 5 %, lsm and sop are best and cannot be told apart.")


def test_practically_equal_is_what_lies_within_the_margin_interval_and_all():
    values = {"lsm": 0.62, "sop": 0.61, "baseline": 0.3}
    for margin, equal in ((0.02, True), (0.005, False)):
        (table,) = scored(values, spread=0, margins={"iou": margin})
        assert [cell([table], name, 5.0).equal for name in ("sop", "baseline")] == [equal, False]
        assert ("sop practically equal to lsm, within 0.02" in markup.sentences(table, "verdict")[0]) is equal


def test_without_a_second_seed_nothing_is_said_to_be_best():
    (table,) = scored({"lsm": 0.9, "sop": 0.6}, seeds=1, floor=0.4)
    assert [cell([table], name, 5.0).best for name in ("lsm", "sop")] == [False, False]
    assert [cell([table], name, 5.0).half_width for name in ("lsm", "sop")] == [None, None]
    assert [cell([table], name, 5.0).at_floor for name in ("lsm", "sop")] == [False, False]
    assert markup.sentences(table, "verdict") == [
        "At N = 5 %, no row has an interval, so that nothing can be told apart."
    ]
    assert any(note.startswith("No ±") for note in markup.sentences(table, "notes"))


def test_a_row_with_one_seed_among_rows_with_more_takes_no_part():
    found = scored({"lsm": 0.9, "sop": 0.6, "baseline": 0.95})
    kept = [run for run in RUNS if run[0] not in ("baseline1", "baseline2")]
    results = [row.record for run in kept for row in found[0].runs.itertuples() if row.run == run[0]]
    (table,) = tables(kept, results)
    assert [cell([table], name, 5.0).best for name in ("lsm", "sop", "baseline")] == [True, False, False]
    assert "lsm is best (without an interval: baseline)" in markup.sentences(table, "verdict")[0]


def test_a_sure_row_is_best_although_the_best_mean_is_not_surely_above_the_floor():
    results = [result("f", "floor", [0.4] * 3, kind="constant")]
    for seed, offset in enumerate((-0.35, 0.05, 0.3)):
        for method, mean in {"lsm": 0.62 + offset, "sop": 0.6 + offset / 100}.items():
            results.append(result(f"{method}{seed}", method, [mean - 0.01, mean, mean + 0.01]))
    (table,) = tables([*(run for run in RUNS if run[1] != "baseline"), FLOOR], results)
    assert [(cell([table], name, 5.0).best, cell([table], name, 5.0).at_floor) for name in ("lsm", "sop")] == [
        (False, True), (True, False)
    ]  # fmt: skip
    assert markup.sentences(table, "verdict")[0].startswith("At N = 5 %, sop is best.")


def test_the_width_of_an_interval_allows_for_looking():
    plain = cell(scored({"lsm": 0.9, "sop": 0.6}), "lsm", 5.0).half_width
    looked = cell(scored({"lsm": 0.9, "sop": 0.6}, looks={"first": 2, "most": 8, "precision": 0.01}), "lsm", 5.0)
    assert looked.half_width > plain


def test_the_best_of_two_floors_is_the_bar_and_equal_to_it_is_no_better():
    runs = [("a", "lsm", 5.0, 0), ("f", "floor", None, None), ("g", "floor", None, None)]
    floors = [result("f", "floor", [0.2], kind="constant"), result("g", "floor", [0.1, 0.7], kind="copy")]
    for values in ([0.3], [0.3, 0.5]):
        (table,) = tables(runs, [result("a", "lsm", values), *floors])
        assert [row.label for row in table.floors] == ["floor (constant)", "floor (copy of the input)"]
        assert [column.floor for column in table.columns] == pytest.approx([0.4, 0.4])
        assert cell([table], "lsm", 5.0).at_floor


def test_the_best_below_the_floor_is_not_emphasised():
    runs = [("a", "lsm", 5.0, 0), ("b", "sop", 5.0, 0), ("f", "floor", None, None)]
    results = [result("a", "lsm", [0.3]), result("b", "sop", [0.2]), result("f", "floor", [0.4], kind="constant")]
    found = cell(tables(runs, results), "lsm", 5.0)
    assert (found.best, found.at_floor, found.rank) == (False, True, 1)


def test_a_method_alone_is_not_called_best_and_ties_are_shared():
    assert not cell(scored({"lsm": 0.9}), "lsm", 5.0).best
    found = scored({"lsm": 0.5, "sop": 0.5 + 1e-12})
    assert [(cell(found, name, 5.0).best, cell(found, name, 5.0).rank) for name in ("lsm", "sop")] == [(True, 1)] * 2


def test_a_run_without_pairs_stands_at_every_n_but_does_not_count_for_the_column_s_pairs():
    runs = [("c", "cyclegan", None, 0), ("a", "lsm", 5.0, 0), ("b", "lsm", 100.0, 0)]
    results = [result("c", "cyclegan", [0.3], pairs=0), result("a", "lsm", [0.5]), result("b", "lsm", [0.6], pairs=100)]
    (table,) = tables(runs, results)
    assert [found.mean for found in table.rows[0].cells] == [0.3, 0.3]
    assert [row.independent for row in table.rows] == [True, False]
    assert [column.pairs for column in table.columns] == [Span(100, 100), Span(5, 5)]
    assert [table.columns[1].singles(view) for view in ("x", "y", "z")] == [Span(10, 10), Span(20, 20), None]


def test_primary_first_then_one_table_per_test_set_metric_and_direction():
    back = score([0.1], "mse", "y", "x")
    other = score([0.2], test_set="night")
    results = [
        result("b", "baseline", [], scores=[score([0.4])]),
        result("a", "lsm", [], scores=[score([0.5]), back, other]),
    ]
    found = tables(TWO, results)
    keys = [("test", "iou", "x", "y"), ("test", "mse", "y", "x"), ("night", "iou", "x", "y")]
    assert [tuple(table.key) for table in found] == keys
    assert [table.title for table in found] == [
        "iou, x → y, test set test", "mse, y → x, test set test", "iou, x → y, test set night",
    ]  # fmt: skip
    assert [table.primary for table in found] == [True, False, False]
    assert not found[1].higher_is_better
    assert [cell(found, "lsm", 5.0, i).mean for i in range(3)] == pytest.approx([0.5, 0.1, 0.2])
    # The finished baseline has no such score, and none is awaited.
    assert cell(found, "baseline", 5.0, 1).expected == 0
    assert [table.title for table in tables(LSM, [result("a0", "lsm", [0.5])])] == ["iou, x → y"]


def test_published_values_stand_in_the_table_of_their_metric():
    said = {"source": "A paper", "metric": "iou", "values": {"lsm": {"5": 0.7, "60": 0.8}}, "note": "larger images"}
    found = tables(TWO, [result("a", "lsm", [0.5])], published=said)
    assert cell(found, "lsm", 5.0).published == 0.7
    assert cell(found, "lsm", 100.0).published is None
    assert cell(found, "baseline", 5.0).published is None
    other = tables(TWO, [result("a", "lsm", [0.5])], published={**said, "metric": "l1"})
    assert cell(other, "lsm", 5.0).published is None


def test_a_value_published_for_any_n_holds_at_every_n_of_a_method_without_pairs_only():
    values = {"cyclegan": {"60": 0.23}, "lsm": {"5": 0.15}}
    said = {"source": "A paper", "metric": "iou", "values": values, "any_n": ["cyclegan", "lsm"]}
    runs = [("c", "cyclegan", None, 0), ("a", "lsm", 5.0, 0)]
    results = [result("c", "cyclegan", [0.3]), result("a", "lsm", [0.5])]
    free, bound = tables(runs, results, published=said)[0].rows
    assert [(found.published, found.published_any_n) for found in free.cells] == [(0.23, True)] * 2
    assert [(found.published, found.published_any_n) for found in bound.cells] == [(None, False), (0.15, False)]
    (table,) = tables(runs, results, published={**said, "any_n": None})
    assert [found.published for found in table.rows[0].cells] == [None, None]


@pytest.mark.parametrize("values", [{}, {"5": 0.2, "100": 0.3}])
def test_a_value_for_any_n_must_be_one(values):
    said = {"source": "A paper", "metric": "iou", "values": {"cyclegan": values}, "any_n": ["cyclegan"]}
    with pytest.raises(ValueError, match=f"cyclegan has {len(values)} different values, expected one"):
        Published.model_validate(said)


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
    both = [score([0.5]), score([0.1], "mse"), score([0.4], "iou", "y", "x")]
    found = tables(runs, [result("a", "lsm", [], scores=both)], published=said)
    assert [table.key[1:] for table in found] == [("iou", "x", "y"), ("mse", "x", "y"), ("iou", "y", "x")]
    lsm, cyclegan = found[0].rows
    assert [one.published for one in lsm.cells] == [0.8, 0.7]
    assert [(one.published, one.published_any_n) for one in cyclegan.cells] == [(0.3, True)] * 2
    assert cell(found, "lsm", 5.0, 1).published == 9.0
    assert cell(found, "lsm", 5.0, 2).published is None  # the paper's is the first direction
    assert [[one.source for one in table.used] for table in found] == [["Table 1", "Other"], ["Table 1"], []]
    notes = markup.sentences(found[0], "notes")
    assert "Published values stem from another setting (Table 1): larger" in notes
    assert not any(note.startswith("Published") for note in markup.sentences(found[2], "notes"))


def test_values_of_a_named_test_set_stand_in_its_table_alone():
    said = [
        block("Table 5", {"lsm": {"5": 0.87}}, test_set="mri"),
        block("Table 5", {"lsm": {"5": 0.55}}),
    ]
    scores = [score([0.5]), score([0.4]).model_copy(update={"test_set": "mri"})]
    first, mri = tables([("a", "lsm", 5.0, 0)], [result("a", "lsm", [], scores=scores)], published=said)
    assert [one.key.test_set for one in (first, mri)] == ["test", "mri"]
    assert [one.rows[0].cells[-1].published for one in (first, mri)] == [0.55, 0.87]


def test_a_row_that_saw_other_data_is_marked_and_said():
    told = "encoder resnet18 starts from imagenet (SHA-256 0123456789ab)"
    runs = [("a", "lsm", 5.0, 0), ("b", "baseline", 5.0, 0)]
    results = [result("a", "lsm", [0.5]).model_copy(update={"saw": told}), result("b", "baseline", [0.5])]
    (table,) = tables(runs, results)
    assert {row.label: markup.marks(row) for row in table.rows} == {"lsm": ["¶"], "baseline": []}
    said = f"¶ lsm: {told}. Do not compare with rows that saw this data alone."
    assert said in markup.sentences(table, "notes")


def test_a_note_that_all_sources_share_is_said_once_without_their_names():
    said = [block(name, {"lsm": {n: 0.7}}, note="larger") for name, n in (("A", "5"), ("B", "100"))]
    notes = markup.sentences(tables(LSM, [result("a0", "lsm", [0.5])], published=said)[0], "notes")
    assert notes[-2:] == ["Published values: A; B.", "Published values stem from another setting: larger"]


def test_a_row_knows_whether_its_runs_use_the_full_budget():
    full = {"rule": "best_validation", "stages": [{"stage": "a"}, {"stage": "b", "budget": "full"}]}
    (table,) = tables(TWO, [result("a", "lsm", [0.5], selection=full), result("b", "baseline", [0.4])])
    assert [row.full_budget for row in table.rows] == [True, False]


def test_without_results_there_is_an_empty_table():
    (table,) = tables(LSM)
    assert (table.key.metric, table.title) == ("iou", "iou")
    assert cell([table], "lsm", 5.0).expected == 3
    assert table.columns[0].pairs is None


def test_a_skipped_method_has_a_row_with_the_reason_and_a_skipped_floor_has_none():
    skipped = [{"method": "gan", "reason": "needs landmarks"}, {"method": "floor-copy", "reason": "no copy"}]
    (table,) = tables(LSM, skipped=skipped)
    assert [(row.label, row.skipped) for row in table.rows] == [("lsm", ""), ("gan", "needs landmarks")]
    assert table.floors == ()


def test_results_of_other_protocols_and_datasets_are_left_out():
    results = [
        result("a0", "lsm", [0.5], protocol="2"),
        result("a1", "lsm", [0.6]),
        result("a2", "lsm", [0.7], dataset={"name": "sit", "fingerprint": "beef"}),
        result("a3", "lsm", [0.8]),
    ]
    made = benchmark([*LSM, ("a3", "lsm", 100.0, 0)], results)
    assert dict(zip(made.runs["run"], made.runs["state"], strict=True)) == {
        "a0": "left out", "a1": "finished", "a2": "left out", "a3": "finished",
    }  # fmt: skip
    found = cell(tables(LSM, results), "lsm", 5.0)
    assert (found.mean, found.expected) == (0.5, 3)  # of equally large groups, that of the first run is kept
    assert made.every["state"].eq("finished").all()


def test_results_outside_the_benchmark_are_ignored():
    made = benchmark(LSM, [result("zz", "lsm", [0.9], protocol="2"), result("a0", "lsm", [0.5])])
    assert made.strangers == 1
    assert set(made.runs["run"]) == {"a0", "a1", "a2"}


def test_selection_rules_and_means_over_a_row():
    results = [
        result("a", "lsm", [0.5], cost={"wall_s": 4.0, "updates": 10.0, "parameters": None}),
        result("b", "baseline", [0.4], selection={"rule": "last"}),
        result("f", "floor", [0.2], kind="constant", selection={"rule": "none"}),
    ]
    (table,) = tables(TWO, results)
    assert table.rules == ("best_validation", "last")  # the floor selects nothing
    assert (table.rows[0].wall_s, table.rows[0].updates, table.rows[0].parameters) == (4.0, 10.0, None)


def test_a_value_over_all_samples_together_stands_for_the_run():
    pooled = [score([0.2, 0.4], pooled=0.5)], [score([0.2, math.nan], pooled=0.7)]
    (table,) = tables(LSM, [result(f"a{i}", "lsm", [], scores=scores) for i, scores in enumerate(pooled)])
    found = cell([table], "lsm", 5.0)
    assert found.runs["value"].tolist() == [0.5, 0.7]
    assert (found.mean, found.median) == (pytest.approx(0.6), pytest.approx(0.6))
    assert table.pooled
    assert not tables(LSM, [result("a0", "lsm", [0.2, 0.4])])[0].pooled


def test_the_same_n_has_other_names_in_per_cent_and_in_pairs():
    assert [Unit.PERCENT.amount(n) for n in (100.0, 0.5, 1.0)] == ["100 %", "0.5 %", "1 %"]
    assert [Unit.PAIRS.amount(n) for n in (0.0, 1.0, 20.0, 2975.0, 1e6)] == [
        "0 pairs", "1 pair", "20 pairs", "2975 pairs", "1000000 pairs",
    ]  # fmt: skip
    assert [unit.word(5.0) for unit in (Unit.PERCENT, Unit.PAIRS)] == ["N5", "5pairs"]
    assert Manifest.model_validate(manifest(LSM)).unit is Unit.PERCENT
    assert Manifest.model_validate(manifest(LSM, paired_unit="pairs")).unit is Unit.PAIRS


def test_a_number_of_pairs_is_told_again_only_where_a_run_saw_another():
    def heads(unit, pairs):
        (table,) = tables(LSM, [result("a0", "lsm", [0.5], pairs)], paired_unit=unit)
        return [(column.amount, markup.saw(column)) for column in table.columns]

    assert heads("%", 5) == [("100 %", ""), ("5 %", "5 pairs")]
    assert heads("pairs", 5) == [("100 pairs", ""), ("5 pairs", "")]
    assert heads("pairs", 4) == [("100 pairs", ""), ("5 pairs", "saw 4")]


def test_decimals_follow_the_middle_value_not_one_gone_astray():
    assert markup.decimals([0.05, 0.15, 1400.0]) == 3
    assert markup.decimals([0.02, 0.03, 0.04]) == 4
    assert markup.decimals([]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"paired": [5], "paired_unit": "per mille"},
            "paired_unit: Input should be '%', 'pairs', '% of units' or 'units', found 'per mille'",
        ),
        ({"paired": [2.5], "paired_unit": "pairs"}, "found 2.5"),
        ({"paired": []}, "paired: .* at least 1 item"),
        ({"paired": 5}, "paired: Input should be a valid"),
        ({"seeds": None}, "seeds: Field required"),
        ({"runs": [{"id": "a", "method": "lsm", "paired": "many", "seed": 0}]}, "runs.0.paired"),
        *(
            ({"runs": [{"id": identity, "method": "lsm", "paired": 5, "seed": 0}]}, "not a run id|valid string")
            for identity in ("../up", "a/b", "", "..", 3)
        ),
    ],
)
def test_a_damaged_plan_is_named_with_what_was_expected(tmp_path, change, message):
    (tmp_path / "benchmark.json").write_text(json.dumps(manifest([]) | change))
    with pytest.raises(UserError, match=rf"benchmark.json: is not a complete benchmark .*{message}"):
        Manifest.load(tmp_path)
