"""The code that CONTRIBUTING.md shows works as it says: one file, one line."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lsmbench import cli
from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.datasets import DATASETS
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine
from lsmbench.runs.run import execute
from tests.conftest import Make
from tests.methods import test_contract as contract

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def imported(code: str, name: str, folder: Path) -> ModuleType:
    file = folder / f"{name}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, dataset = CODE
    assert len([line for line in method.splitlines() if line.strip()]) <= 10, "it is promised to be ten lines"
    monkeypatch.setitem(METHODS, "cycle", imported(method, "shown_cycle", tmp_path).Cycle)
    monkeypatch.setitem(DATASETS, "squares", imported(dataset, "shown_squares", tmp_path).Squares)


@pytest.mark.usefixtures("_registered")
def test_both_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["list"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "cycle" in shown
    assert "Supervised translation in both directions" in shown
    assert "squares" in shown


@pytest.mark.usefixtures("_registered")
def test_the_method_passes_the_contract(make: Make, tmp_path: Path) -> None:
    contract.test_options_are_documented_and_defaults_lie_in_their_ranges("cycle")
    contract.test_a_method_file_holds_no_engineering("cycle")
    for dataset in ("sit", "squares"):
        contract.test_each_group_is_updated_alone_and_leaves_no_gradient_elsewhere("cycle", dataset, make)
        contract.test_a_method_trains_in_anybodys_trainer_with_anybodys_batches("cycle", dataset, make)
        result = execute(make("cycle", dataset), tmp_path, Machine("cpu", 1))
        assert [(s.source, s.target) for s in result.scores[:2]] == [("x", "y"), ("y", "x")]
    for dataset in contract.KINDS:
        contract.test_nan_planted_in_hidden_views_changes_nothing("cycle", dataset, "balanced", make)


@pytest.mark.usefixtures("_registered")
def test_both_take_part_in_a_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "squares.yaml"
    file.write_text(
        "name: squares\ntitle: Squares\ndataset: {name: squares, samples: 40}\nmethod: {network: tiny}\n"
        "methods: {floor: , cycle: }\npaired: [100, 50]\nseeds: [0]\n"
    )
    grid = grids.expand(definition.load(str(file)))
    assert [(r.label, r.paired) for r in grid.runs] == [("floor", None), ("cycle", 100), ("cycle", 50)]
    assert {r.config.dataset.name for r in grid.runs} == {"squares"}
