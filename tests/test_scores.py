import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from lsmbench.scores import Score

PLAIN = {"metric": "iou", "source": "x", "target": "y", "unit": "share", "higher_is_better": True}


def test_a_score_survives_json_to_the_bit():
    counts = np.random.default_rng(0).integers(-(2**62), 2**62, (3, 4, 4))
    made = Score(
        **PLAIN, indices=[1, 5, 9], values=[0.1 + 0.2, math.nan, 1 / 3], pooled=0.7, test_set="night",
        units=["a", "a", "b"], counts=counts,
    )  # fmt: skip
    raw = json.loads(made.model_dump_json())
    assert raw["values"][1] is None
    assert raw["counts"]["shape"] == [3, 4, 4]
    again = Score.model_validate(raw)
    assert [again.values[0], again.values[2]] == [made.values[0], made.values[2]]
    assert math.isnan(again.values[1])
    assert again.counts.dtype == np.int64
    np.testing.assert_array_equal(again.counts, counts)
    assert (again.test_set, again.units, again.value) == ("night", ["a", "a", "b"], 0.7)


def test_names_stand_in_json_only_where_there_are_some():
    named = Score(**PLAIN, indices=[3], values=[0.5], names=["a/左.png"])
    assert Score.model_validate_json(named.model_dump_json()) == named
    bare = Score(**PLAIN, indices=[3], values=[0.5])
    assert "names" not in json.loads(bare.model_dump_json())
    assert Score.model_validate(bare.model_dump()).names is None


def test_a_confusion_matrix_stands_in_json_only_where_there_is_one():
    made = Score(**PLAIN, indices=[3], values=[1.0], confusion=[[0, 0], [0, 1]], classes=["a", "b"])
    assert Score.model_validate_json(made.model_dump_json()) == made
    assert "confusion" not in json.loads(Score(**PLAIN, indices=[3], values=[0.5]).model_dump_json())


def test_the_mean_is_the_sum_in_order_over_the_defined_samples():
    values = np.random.default_rng(0).random(1000).tolist()
    made = Score(**PLAIN, indices=list(range(1001)), values=[*values, math.nan])
    assert made.value == made.mean == sum(values) / 1000
    assert math.isnan(Score(**PLAIN, indices=[0], values=[math.nan]).value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": [0.5]}, "1 values for 2 samples"),
        ({"units": ["a"]}, "1 units for 2 samples"),
        ({"names": ["a.png"]}, "1 names for 2 samples"),
        ({"counts": np.zeros((1, 2, 2), int)}, "1 counts for 2 samples"),
        ({"counts": np.zeros((2, 2, 3), int)}, r"\(n, K, K\), found \(2, 2, 3\)"),
        ({"counts": {"shape": [2, 2, 2], "zlib": "???"}}, "base64 of zlib"),
        ({"counts": {"shape": [2, 2, 2]}}, "base64 of zlib"),
        ({"values": [0.5, "much"]}, "valid number"),
        ({"confusion": [[1, 2], [3]]}, "not square"),
        ({"confusion": [[-1]]}, "greater than or equal to 0"),
        ({"surplus": 1}, "not permitted"),
    ],
)
def test_nonsense_is_refused(change, said):
    with pytest.raises(ValidationError, match=said):
        Score(**{**PLAIN, "indices": [0, 1], "values": [0.5, 0.5], **change})


def test_only_scores_of_units_say_so_in_json():
    plain = {"metric": "dice", "source": "x", "target": "y", "unit": "u", "higher_is_better": True}
    for per_unit in (True, False):
        score = Score(**plain, indices=[3], values=[0.5], names=["patient"], per_unit=per_unit)
        assert ("per_unit" in score.model_dump()) == per_unit
        assert Score.model_validate_json(score.model_dump_json()).per_unit == per_unit
