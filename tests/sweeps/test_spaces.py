"""Every file in `sweeps/` searches options that its method has, around their defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lsmbench.methods import METHODS
from lsmbench.options import options_of

FILES = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=[f.stem for f in FILES])
def test_a_space_holds_tunable_options_of_its_method(file: Path) -> None:
    sweep = yaml.safe_load(file.read_text())
    assert sweep.keys() == {"method", "space", "sampler", "trials"}
    assert sweep["method"] == file.stem
    options = {o.name: o for o in options_of(METHODS[sweep["method"]].Config)}
    assert 1 <= len(sweep["space"]) <= 8
    for name, interval in sweep["space"].items():
        option = options[name]
        assert option.tunable
        assert option.low is not None
        assert option.high is not None
        assert option.low <= interval["low"] <= option.default <= interval["high"] <= option.high


def test_there_are_sweeps() -> None:
    assert FILES
