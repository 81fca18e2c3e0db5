"""Whole runs on few pairs, which are cross-validated, and on none, which leaves nothing to score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lsmbench import cli
from lsmbench.data.folds import folded
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.reports.folds import merged
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.results import Result
from lsmbench.runs.run import data_of, execute
from tests.runs.test_run import Interrupted, comparable, interrupt_after
from tests.toys import Scarce, greys

CPU = Machine("cpu", 1)


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "scarce", Scarce)


def config(method: str, dataset: dict[str, Any] | None = None, **supervision: Any) -> RunConfig:
    options = {"w_identity": 0.0} if method in ("cyclegan", "hybrid") else {}
    options |= {} if method == "floor" else {"network": "tiny"}
    return config_from_dict(
        {
            "dataset": {"name": "scarce", **(dataset or {})},
            "method": {"name": method, **options},
            "supervision": {"protocol": "disjoint", **supervision},
            "training": {"epochs": 2, "batch_size": 12, "steps_per_epoch": 2},
        }
    )


def test_planted_data_has_the_scores_that_are_known_of_each_fold(tmp_path: Path) -> None:
    """The floor is the mean grey of the training targets, its error the squared distance from it."""
    grey = {"grey": True, "photos": 3, "masks": 4}
    value = greys(15 + 3 + 4) / 255
    results = [execute(config("floor", grey, folds=5, fold=fold), tmp_path, CPU) for fold in range(5)]
    for fold, result in enumerate(results):
        assert (result.dataset["fold"], result.dataset["folds"]) == (fold, 5)
        tested = result.scores[0].indices
        held = folded(data_of(config("floor", grey)).pools, 5, fold, ("x", "y")).pools.part("val").tolist()
        train = sorted({*range(15), 18, 19, 20, 21} - {*tested, *held})
        expected = (value[tested] - value[train].mean()) ** 2
        assert result.scores[0].metric == "mse"
        assert result.scores[0].values == pytest.approx(expected, rel=1e-4)
    every = merged([result.scores[0] for result in results])
    assert every.indices == list(range(15))
    assert every.value == pytest.approx(np.mean([v for result in results for v in result.scores[0].values]))


def test_a_run_killed_in_fold_3_resumes_to_the_same_bits(tmp_path: Path) -> None:
    one = config("lsm", paired=50, folds=5, fold=3)
    whole = execute(one, tmp_path / "whole", CPU)
    with pytest.raises(Interrupted):
        execute(one, tmp_path / "parts", CPU, interrupt_after(2))
    assert comparable(execute(one, tmp_path / "parts", CPU)) == comparable(whole)
    assert whole.id.startswith("lsm-N50-s0-f3-")
    assert (whole.supervision["pairs"], whole.supervision["val_pairs"], whole.dataset["test"]) == (5, 1, 3)


@pytest.mark.parametrize("method", ["cyclegan", "hybrid", "lsm"])
@pytest.mark.parametrize("pairs", [0, 15])
def test_methods_without_pairs_train_on_folders_with_few_or_none(method: str, pairs: int, tmp_path: Path) -> None:
    result = execute(config(method, {"pairs": pairs}, paired=0), tmp_path, CPU)
    assert result.supervision["pairs"] == 0
    with np.load(tmp_path / result.id / "panel.npz") as panel:
        assert ("target" in panel) == (pairs > 0)
        assert len(panel["prediction"]) == (4 if pairs else 6) or pairs
        if not pairs:
            assert panel["index"].max() < 24, "x-only samples of the training part"
    if pairs:
        assert result.scores
        assert result.selection["rule"] == "best_validation"
        return
    assert result.scores == []
    assert result.lacks == "no test sample has both x and y, so that nothing can be scored"
    assert result.selection["rule"] == "last"
    assert result.validation is None
    assert "there is no validation pair to select by: the last weights are tested" in result.warnings
    assert comparable(execute(config(method, {"pairs": pairs}, paired=0), tmp_path, CPU)) == comparable(result)


def test_n_above_0_without_any_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no training sample to be a pair"):
        execute(config("lsm", {"pairs": 0}), tmp_path, CPU)


@pytest.mark.parametrize("pairs", [15, 0])
def test_a_benchmark_of_few_pairs_or_none_from_data_to_report(
    pairs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsmbench.benchmarks import compute
    from lsmbench.reports.choice import choose
    from tests.benchmarks.test_grid import FEW, SMALL

    class Here:
        """Computes in this process, which knows the toys."""

        def __init__(self, jobs: int) -> None:
            self.ended: list[tuple[str, Result]] = []

        def __len__(self) -> int:
            return len(self.ended)

        def start(self, key: str, order: Any) -> None:
            self.ended.append((key, execute(order.config, order.root, CPU)))

        def wait(self) -> list[tuple[str, Result]]:
            ended, self.ended = self.ended, []
            return ended

    monkeypatch.setattr(compute, "Local", Here)
    rows = {"floor": None, "baseline": None, "cyclegan": {"w_identity": 0}}
    said = {**SMALL, **FEW, "methods": rows, "seeds": [0], "paired": [100, 5], "dataset": {"name": "scarce"}}
    said["dataset"] = {"name": "scarce", "pairs": pairs}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(said))
    words = ["bench", str(tmp_path / "few.yaml"), "--output", str(tmp_path), "--accelerator", "cpu", "--jobs", "1"]
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, *(["--folds", "3"] if pairs else [])])
    assert caught.value.code in (0, None)
    shown = " ".join(capsys.readouterr().out.split())
    text = (tmp_path / "small" / "report.md").read_text()
    if pairs:
        assert "cross-validated in 3 folds" in shown
        assert "Left out: N = 5 %" in shown
        assert "each pooled over 3 folds" in text
    else:
        assert "No pair to score" in shown
        assert "baseline is left out: it learns to translate from pairs alone" in shown
        assert "**No pair to score:**" in text
        assert "panel-N0.png" in text
        assert choose(tmp_path / "small").text == "cyclegan, every N (no pairs), seed 0: no score"
