"""Pictures of what a generator draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsmbench.runs.config import Machine
from lsmbench.runs.results import GENERATED
from lsmbench.runs.run import execute
from tests.conftest import Make
from tests.runs.test_run import Interrupted, interrupt_after

CPU = Machine("cpu", 1)


def test_samples_in_training_and_ways_between_test_samples_are_kept(make: Make, tmp_path: Path) -> None:
    config = make("semanticgan", training={"epochs": 3})
    with pytest.raises(Interrupted):
        execute(config, tmp_path / "broken", CPU, interrupt_after(2))
    found = []
    for place in ("broken", "whole"):
        result = execute(config, tmp_path / place, CPU)
        with np.load(tmp_path / place / result.id / GENERATED) as held:
            found.append({name: held[name] for name in held.files})
    resumed, whole = found
    assert resumed.keys() == whole.keys()
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)
    assert whole["tenths"].tolist() == [3, 6, 10]
    assert whole["training"].shape == (3, 2, 8, 32, 32, 3)
    assert whole["truncated"].shape == (4, 2, 8, 32, 32, 3)
    assert whole["ways"].shape == (1, 2, 8, 32, 32, 3)
    assert whole["ends"].tolist() == [["test", "test"]]
    images = whole["truncated"][:, 0].astype(float)
    apart = (images - images.mean(1, keepdims=True)).std((1, 2, 3, 4))
    assert (np.diff(apart) > 0).all(), "the farther codes are from the mean, the more images differ"
    assert np.array_equal(whole["truncated"][-1], whole["training"][-1]), "the last samples are those of the result"


def test_other_methods_keep_none(make: Make, tmp_path: Path) -> None:
    result = execute(make("baseline"), tmp_path, CPU)
    assert not (tmp_path / result.id / GENERATED).exists()
