import json
import math

import numpy as np
import pytest
import yaml

from lsmbench.benchmarks.tuning import DIVERGED, PRUNED, Best, Candidate, Use, load, nearest, save
from lsmbench.errors import UserError
from tests.reports.made import best, use


def test_a_file_holds_all_that_was_saved_a_trial_a_line(tmp_path):
    made = best(states={3: PRUNED}, scores=[0.1, 1e-7, 0.5, math.inf, 0.7, 0.2], amount=5.0)
    path = save(made, tmp_path / "best", "sit")
    assert path == tmp_path / "best" / "sit" / "lsm.yaml"
    assert load(path) == [made]
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# Parameters found by `lsmbench sweep`")
    assert sum("number: " in line and "validation: " in line for line in lines) == len(made.trials)
    assert sum("validations: [" in line for line in lines) == len(made.candidates)


def test_what_a_benchmark_uses_survives_json():
    made = use([100.0, 60.0], differs=["training.epochs is 20, was 30 in the sweep"], amount=None)
    assert Use.model_validate(json.loads(json.dumps(made.model_dump()))) == made


def test_saving_keeps_other_outcomes_and_replaces_its_own(tmp_path):
    first, scarce, other = best(100.0), best(5.0), best(100.0, benchmark="sit")
    for one in (scarce, first, other, best(20.0, unit="pairs"), best(None)):
        path = save(one, tmp_path, "sit")
    again = first.model_copy(update={"seconds": 1.0})
    assert save(again, tmp_path, "sit") == path
    found = load(path)
    assert [(b.benchmark, b.unit, b.amount) for b in found] == [
        ("quick-small", "%", None),
        ("quick-small", "%", 100.0),
        ("quick-small", "%", 5.0),
        ("quick-small", "pairs", 20.0),
        ("sit", "%", 100.0),
    ]
    assert found[1:3] == [again, scarce]
    assert found[4] == other


def test_a_row_s_file_is_its_own(tmp_path):
    save(best(row="lsm"), tmp_path, "sit")
    save(best(row="sop"), tmp_path, "sit")
    save(best(row="sop"), tmp_path, "faces")
    assert [b.row for b in load(tmp_path / "sit" / "lsm.yaml")] == ["lsm"]
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*.yaml")} == {
        "sit/lsm.yaml",
        "sit/sop.yaml",
        "faces/sop.yaml",
    }


def raw(**more):
    return [{**best().model_dump(mode="json"), **more}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[}",
        "- lsm",
        "a: 1",
        yaml.safe_dump([{k: v for k, v in raw()[0].items() if k != "floor"}]),
        yaml.safe_dump(raw(unknown=1)),
        yaml.safe_dump(raw(parameters={})),
        yaml.safe_dump(raw(parameters={"w_xy": "much"})),
        yaml.safe_dump(raw(trial=99)),  # no candidate
        yaml.safe_dump(raw(trials=[{"number": 0}])),
    ],
)
def test_a_damaged_file_is_a_user_error_and_is_not_overwritten(tmp_path, text):
    path = tmp_path / "sit" / "lsm.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=r"(?s)lsm.yaml: is not a file of best parameters .* Move it away"):
        load(path)
    with pytest.raises(UserError):
        save(best(), tmp_path, "sit")
    assert path.read_text() == text


def test_the_nearest_n_is_used_and_of_two_as_near_the_smaller():
    found = [best(100.0), best(50.0), best(5.0), best(52.5, unit="pairs")]
    chosen = {n: nearest(found, n, "%").amount for n in (100.0, 80.0, 75.0, 60.0, 27.5, 27.6, 1.0, 0.0)}
    assert chosen == {100.0: 100.0, 80.0: 100.0, 75.0: 50.0, 60.0: 50.0, 27.5: 5.0, 27.6: 50.0, 1.0: 5.0, 0.0: 5.0}
    assert nearest(found[::-1], 75.0, "%").amount == 50.0
    assert nearest(found, 5.0, "pairs").unit == "pairs"


def test_an_outcome_for_any_n_is_nearest_whatever_n_counts():
    found = [best(5.0), best(None)]
    for unit in ("%", "pairs"):
        assert nearest(found, 5.0, unit).amount is None


def test_outcomes_of_another_unit_are_of_no_use():
    assert nearest([best(5.0)], 5.0, "pairs") is None
    assert nearest([], 5.0, "%") is None


@pytest.mark.parametrize(("higher", "expected"), [(True, [0.3, 0.5, 0.5, 0.6]), (False, [0.3, 0.3, 0.2, 0.2])])
def test_best_so_far_counts_finished_trials_only(higher, expected):
    scores = [0.3, 0.5, 0.2, 0.6]
    made = best(scores=scores, higher_is_better=higher)
    assert made.best_so_far() == expected
    for value in (0.0, 1.0, math.nan):  # better or worse than all, or without a score
        pruned = best(scores=[*scores[:2], value, *scores[2:]], states={2: PRUNED}, higher_is_better=higher)
        assert pruned.best_so_far() == [*expected[:2], expected[1], *expected[2:]]
    first = best(scores=scores, states={0: DIVERGED, 1: PRUNED}, higher_is_better=higher).best_so_far()
    assert [math.isnan(value) for value in first] == [True, True, False, False]
    assert first[2] == scores[2]


def test_noise_is_pooled_over_candidates_with_their_own_means():
    groups = [[0.7, 0.72, 0.78], [0.1, 0.3], [0.5]]
    made = best(
        candidates=[Candidate(trial=i, validations=values) for i, values in zip((18, 0, 4), groups, strict=True)]
    )
    variance = (2 * np.var(groups[0], ddof=1) + 1 * np.var(groups[1], ddof=1)) / 3
    assert made.noise() == pytest.approx(math.sqrt(variance))
    assert made.candidate(0).mean == pytest.approx(0.2)


def test_a_candidate_that_diverged_tells_no_noise():
    seeds = [[0.7, 0.72, 0.78], [0.3, 0.3, 0.3]]
    made = best(
        candidates=[Candidate(trial=18, validations=seeds[0]), Candidate(trial=0, validations=seeds[1], diverged=3)]
    )
    assert made.noise() == pytest.approx(np.std(seeds[0], ddof=1))


def test_one_seed_tells_no_noise():
    assert (
        best(candidates=[Candidate(trial=18, validations=[0.7]), Candidate(trial=0, validations=[0.5])]).noise() is None
    )


@pytest.mark.parametrize(
    ("amount", "unit", "said"),
    [(5.0, "%", "5 %"), (20, "pairs", "20 pairs"), (1, "pairs", "1 pair"), (1.0, "%", "1 %"), (None, "%", "any N")],
)
def test_n_in_words(amount, unit, said):
    assert best(amount, unit=unit).said == said


def test_an_outcome_without_its_winner_s_scores_is_refused():
    with pytest.raises(ValueError, match="was not run again"):
        Best.model_validate(raw(trial=5)[0])
