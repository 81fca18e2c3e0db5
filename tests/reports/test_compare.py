import math

import numpy as np
import pandas as pd
import pytest

from lsmbench.benchmarks.plan import Looks
from lsmbench.commands import compare as command
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.compare import chosen, compare, tables_of
from lsmbench.reports.scored import Scored
from lsmbench.reports.statistics import Crossed
from lsmbench.scores import Score
from tests.reports.made import Benchmark, Disk, fill_disk, score


def frame(values, seeds=None, floor=False, indices=None, units=None, **more):
    scores = [
        Score(metric="iou", source="x", target="y", unit="u", higher_is_better=True, values=list(row),
              indices=indices or list(range(len(row))), units=units, **more)
        for row in values
    ]  # fmt: skip
    seeds = list(range(len(values))) if seeds is None else seeds
    return pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(len(values))],
            "seed": pd.array(seeds, "Int64"),
            "seeds": [(seed, seed) for seed in seeds],
            "score": scores,
            "value": [score.value for score in scores],
            "floor": floor,
        }
    )


def test_rows_are_compared_on_the_seeds_that_both_have():
    one = Scored.of(frame([[0.5, 0.7], [0.6, 0.9], [0.1, 0.1]], seeds=[0, 1, 2]))
    other = Scored.of(frame([[0.4, 0.4], [0.3, 0.6]], seeds=[1, 0]))
    apart = one - other
    assert apart.table.tolist() == [pytest.approx([0.2, 0.1]), pytest.approx([0.2, 0.5])]
    assert [seed[0] for seed in apart.seeds] == [0, 1]
    assert (one - Scored.of(frame([[0.4, 0.4]], seeds=[7]))) is None


def test_a_floor_is_beside_every_seed_and_the_difference_has_the_seeds_uncertainty():
    one = Scored.of(frame([[0.5, 0.7], [0.6, 0.9]]))
    floor = Scored.of(frame([[0.4, 0.4]], seeds=[None], floor=True))
    assert floor.fixed
    apart = one - floor
    assert not apart.fixed
    assert apart.table == pytest.approx(one.table - 0.4)
    assert apart.half_width == pytest.approx(one.half_width)


def test_what_cannot_stand_in_the_table_is_left_out_and_said():
    runs = frame([[0.5, 0.7], [math.nan, math.nan], [0.4, 0.6]])
    found = Scored.of(runs)
    assert (found.table.shape, found.left_out) == ((2, 2), ("1 of 3 runs have no defined score.",))
    other = pd.concat([frame([[0.5, 0.7], [0.4, 0.6]]), frame([[0.5, 0.7]], seeds=[2], indices=[0, 5])])
    found = Scored.of(other)
    assert (found.table.shape, found.left_out) == ((2, 2), ("1 of 3 runs were tested on other samples.",))
    twice = Scored.of(frame([[0.5, 0.7], [0.4, 0.6], [0.1, 0.1]], seeds=[0, 1, 1]))
    assert twice.table.tolist() == [pytest.approx([0.5, 0.7]), pytest.approx([0.4, 0.6])]
    assert twice.left_out == ("1 runs are of a seed that another run has; the first counts.",)
    assert Scored.of(frame([[math.nan]])) is None


def test_samples_of_patients_are_drawn_together():
    values = np.random.default_rng(0).normal(size=(3, 6))
    found = Scored.of(frame(values, units=["a", "a", "b", "b", "c", "c"]))
    assert (found.table.shape, found.units, found.grouped) == ((3, 3), ("a", "b", "c"), True)
    assert found.table == pytest.approx(values.reshape(3, 3, 2).mean(2))


def test_a_pooled_score_has_its_interval_from_the_counts():
    counts = np.random.default_rng(0).integers(1, 30, (3, 5, 2, 2))
    runs = frame(np.full((3, 5), 0.5))
    for number, score_ in enumerate(runs["score"]):
        total = counts[number].sum(0)
        share = total.trace() / total.sum()
        runs.at[number, "score"] = score_.model_copy(
            update={"metric": "accuracy", "pooled": float(share), "counts": counts[number]}
        )
    found = Scored.of(runs)
    assert found.table.mean(1) == pytest.approx([score_.pooled for score_ in runs["score"]])
    assert found.half_width > 0
    unknown = runs.assign(score=[score_.model_copy(update={"pooled": 0.123}) for score_ in runs["score"]])
    assert math.isnan(Scored.of(unknown).half_width)
    assert "not known" in Scored.of(unknown).left_out[0]


def test_p_values_allow_for_looking():
    plain = Scored.of(frame([[0.5, 0.7, 0.6], [0.6, 0.9, 0.5], [0.7, 0.8, 0.7]]))
    looked = Scored.of(plain_runs := frame([[0.5, 0.7, 0.6], [0.6, 0.9, 0.5], [0.7, 0.8, 0.7]]),
                       Looks(first=3, most=9, precision=0.1))  # fmt: skip
    assert len(plain_runs) == 3
    assert looked.half_width > plain.half_width
    assert looked.p_value > plain.p_value


def fill(folder, seeds=4, **more):
    """LSM is better than the baseline by .1, give or take seeds and samples of their own."""
    draw = np.random.default_rng(0)
    made = Benchmark(folder, published=(), **more)
    for seed in range(seeds):
        for method, mean in {"lsm": 0.7, "sop": 0.69, "baseline": 0.6}.items():
            for n in (100.0, 5.0):
                values = mean - (n == 5) * 0.2 + 0.01 * draw.normal() + 0.01 * draw.normal(size=8)
                made.add(f"{method}-{n:g}-{seed}", method, n, seed, values.tolist(), scores=[score([0.1] * 8, "mse")])
    made.add("f", "floor", None, None, [0.3] * 8, kind="constant")
    made.save()
    return made


def said(found):
    return [" ".join(markup.sentences(one, "compared")) for one in found]


def test_a_sentence_says_who_is_better_by_how_much_and_what_would_help(tmp_path):
    made = fill(tmp_path / "b")
    (table, *_), _ = tables_of(made.folder, ["lsm", "baseline"], [100.0])
    (one,) = compare(table, "lsm", "baseline", [100.0])
    scores = {
        method: np.array([row.score.values for row in table.key.of(next(r for r in table.rows if r.label == method)
                          .scores).itertuples()]) for method in ("lsm", "baseline")
    }  # fmt: skip
    apart = Crossed.of(scores["lsm"] - scores["baseline"])
    assert (one.mean, one.half_width) == pytest.approx((apart.mean, apart.half_width()))
    assert one.differ
    (text,) = said([one])
    ends = f"{apart.mean - apart.half_width():.4f} to {apart.mean + apart.half_width():.4f}"
    assert text.startswith(f"At N = 100 %, lsm is better than baseline by {apart.mean:.4f} iou (95 % interval {ends};")
    assert "4 seeds × 8 test samples)." in text
    needed = apart.seeds_to(apart.half_width() / 2) - 4
    assert f"{100 * apart.share_of_seeds:.0f} % of the uncertainty is from seeds: {needed} more seed" in text
    (turned,) = compare(table, "baseline", "lsm", [100.0])
    assert said([turned])[0].startswith("At N = 100 %, lsm is better than baseline by")


def test_every_row_with_the_best_or_with_a_named_one_and_only_files_that_are_needed(tmp_path):
    made = fill(tmp_path / "b")
    (made.folder / "runs" / "sop-5-0" / "result.json").write_text("{")
    tables, problems = tables_of(made.folder, ["lsm", "baseline"], [100.0])
    assert not [problem for problem in problems if "sop" in problem]
    assert {row.label for row in tables[0].rows if row.runs.size} == {"lsm", "baseline"}
    tables, problems = tables_of(made.folder)
    assert [problem for problem in problems if "sop-5-0" in problem]
    found = compare(tables[0], paired=[100.0])
    assert [(one.one, one.other, one.of) for one in found if one.other == "lsm"] == [
        ("sop", "lsm", 2), ("baseline", "lsm", 2)
    ]  # fmt: skip
    assert [one.amount for one in compare(tables[0], "lsm", "floor")] == ["100 %", "5 %"]
    assert chosen(tables, "mse", None, None).key.metric == "mse"


def test_the_command_prints_sentences_or_a_table_for_each_n(tmp_path, capsys):
    folder = str(fill(tmp_path / "b").folder)
    assert command.run([folder, "lsm", "baseline", "--paired", "100"]) == 0
    assert "lsm is better than baseline by" in capsys.readouterr().out
    assert command.run([folder, "--reference", "baseline"]) == 0
    seen = capsys.readouterr().out
    assert [line.strip() for line in seen.splitlines() if line.startswith("N =")] == [
        "N = 100 %: compared with baseline", "N = 5 %: compared with baseline"
    ]  # fmt: skip
    with pytest.raises(UserError, match="leave the rows out"):
        command.run([folder, "lsm", "--reference", "baseline"])


def test_practically_equal_needs_the_interval_within_the_margin(tmp_path):
    made = fill(tmp_path / "b", margins={"iou": 0.05})
    (table, *_), _ = tables_of(made.folder)
    (one,) = compare(table, "lsm", "sop", [100.0])
    assert one.equal
    assert "practically equal" in said([one])[0]
    (one,) = compare(table, "lsm", "sop", [100.0], margin=0.001)
    assert not one.equal
    assert "cannot be told apart" in said([one])[0]


def test_a_single_seed_and_a_missing_one_are_said(tmp_path):
    made = fill(tmp_path / "b", seeds=1)
    (table, *_), _ = tables_of(made.folder)
    (text, _) = said(compare(table, "lsm", "baseline"))
    assert text.startswith("At N = 100 %, nothing can be said of lsm and baseline: they share a single seed")


def test_a_folder_of_several_benchmarks_is_compared_by_its_board(tmp_path):
    disk = Disk(tmp_path)
    fill_disk(disk)
    tables, _ = tables_of(tmp_path / "results")
    (one,) = compare(tables[0], "lsm", "sop", [100.0])
    assert one.mean == pytest.approx(np.mean([[0.5, 0.7], [0.4, 0.5], [0.9, 0.1]]) - 0.6)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"one": "lsmm"}, "did you mean lsm"),
        ({"one": "lsm", "other": "x"}, "'x' is no row here"),
        ({"paired": [7.0]}, "no result at N = 7"),
        ({"margin": 0.0}, "above 0"),
        ({"margin": 5.0}, "spans 0."),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, options, part):
    (table, *_), _ = tables_of(fill(tmp_path / "b", seeds=2).folder)
    with pytest.raises(UserError, match=part):
        compare(table, **options)
    with pytest.raises(UserError, match="--metric: there is no 'dice'"):
        chosen([table], "dice", None, None)
    with pytest.raises(UserError, match="no such folder"):
        tables_of(tmp_path / "nowhere")
