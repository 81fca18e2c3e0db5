"""Whole runs of what no shipped method or dataset has: three views, test sets, units, lazy phases, averages."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.data.pools import Pool, Pools
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.reports.report import write_report
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.pictures import spread
from lsmbench.runs.results import Result, write_json
from lsmbench.runs.run import data_of, execute, method_of
from tests.conftest import home
from tests.ranks import executed
from tests.runs.test_run import Interrupted, comparable, interrupt_after
from tests.toys import Phases, Three, Triples, register

CPU = Machine("cpu", 1)


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "triples", Triples)
    monkeypatch.setitem(METHODS, "three", Three)
    monkeypatch.setitem(METHODS, "phases", Phases)


def config(method: str, name: str = "triples", **sections: dict[str, Any]) -> RunConfig:
    training = {"epochs": 2, "batch_size": 12, "steps_per_epoch": 3, **sections.get("training", {})}
    return config_from_dict(
        {
            "dataset": {"name": name, **sections.get("dataset", {})},
            "method": {"name": method, "learning_rate": 1e-2},
            "supervision": {"paired": 50, **sections.get("supervision", {})},
            "training": training,
        }
    )


def test_a_run_with_three_views_scores_every_test_set_by_unit(tmp_path: Path) -> None:
    result = execute(config("three"), tmp_path, CPU)
    assert Result.load(tmp_path / result.id).scores == result.scores
    scores = {(s.test_set, s.target, s.metric): s for s in result.scores}
    # The set `elsewhere` has no view z, and three samples of `test` have nothing else.
    assert set(scores) == {
        ("test", "y", "iou"), ("test", "z", "mse"), ("test", "z", "l1"), ("elsewhere", "y", "iou"),
    }  # fmt: skip
    assert scores["test", "y", "iou"].indices == list(range(30, 36))
    assert scores["test", "y", "iou"].units == ["P10"] * 3 + ["P11"] * 3
    assert scores["elsewhere", "y", "iou"].indices == list(range(48, 54))
    assert scores["elsewhere", "y", "iou"].units == ["P16"] * 3 + ["P17"] * 3
    assert result.primary is result.scores[0]
    assert result.dataset["test_sets"] == {"test": 9, "elsewhere": 6}
    assert result.sizes == {"train": 69, "val": 6, "test": 9, "elsewhere": 6}
    assert result.supervision == {"pairs": 4, "x": 22, "y": 7, "z": 16, "x+y": 3, "x+z": 3, "val_pairs": 6}
    saved = json.loads((tmp_path / result.id / "supervision.json").read_text())
    assert set(saved["groups"]) == {"x+y+z", "x+y", "x+z", "x", "y", "z"}
    assert saved["pools"]["photos"] == [66, 78]
    assert scores["elsewhere", "y", "iou"].names == [f"P{unit}/{i}.png" for unit in (16, 17) for i in range(3)]
    assert [saved["names"][number] for number in ("0", "65", "66", "89")] == [
        "P00/0.png", "P21/2.png", "sample 66", "P29/2.png",
    ]  # fmt: skip
    with np.load(tmp_path / result.id / "panel.npz") as panel:
        assert dict(zip(panel["index"].tolist(), panel["name"].tolist(), strict=True)) == {
            number: saved["names"][str(number)] for number in range(30, 36)
        }


def test_test_samples_that_training_has_too_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = Triples.pools

    def pools(self: Triples, seed: int | None = None) -> tuple[Pool, ...]:
        made = apart(self, seed)
        made[0].views["x"][[31, 34]] = made[3].views["x"][[5, 5]]  # two test samples are a photo without a mask
        made[0].views["x"][33] = made[0].views["x"][26]  # validation samples are not learnt from
        made[1].views["x"][12:14] = made[0].views["x"][:2]
        return made

    assert "in_training" not in execute(config("floor"), tmp_path, CPU).dataset
    monkeypatch.setattr(Triples, "pools", pools)
    result = execute(config("floor"), tmp_path, CPU)
    assert Result.load(tmp_path / result.id).dataset["in_training"] == {"test": [31, 34], "elsewhere": [48, 49]}


def test_samples_that_are_drawn_are_spread_over_all_and_over_their_units() -> None:
    assert spread(list(range(600)), 6).tolist() == [50, 150, 250, 350, 450, 550]
    assert spread(list("abc"), 6).tolist() == [0, 1, 2]
    # Of nine patients with ten slices six, each by a slice of its middle.
    assert spread([i // 10 for i in range(90)], 6).tolist() == [5, 25, 35, 55, 65, 85]
    # Of two patients, one with a single slice, as many slices as there can be.
    assert spread(["a"] + 20 * ["b"], 6).tolist() == [0, 3, 7, 11, 15, 19]


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("floor", "fcn8s") and home(name) == "sit"])
def test_methods_of_two_views_learn_from_samples_that_have_more_or_fewer(name: str, tmp_path: Path) -> None:
    options = {"w_identity": 0} if "w_identity" in METHODS[name].Config.__dataclass_fields__ else {}
    one = config(name, training={"epochs": 1})
    one = replace(one, method=METHODS[name].Config(network="tiny", **options))
    result = execute(one, tmp_path, CPU)
    scored = [(s.test_set, s.source, s.target, len(s.indices)) for s in result.scores]
    assert scored[0] == ("test", "x", "y", 6)
    assert ("elsewhere", "x", "y", 6) in scored
    assert result.supervision["x+z"] == 3, "what is supervised does not depend on the method"


def test_nan_in_every_hidden_view_changes_nothing() -> None:
    """Values that a method must not see are NaN, in images, and of another class, in masks."""
    weights = []
    for poison in (False, True):
        one = config("three", supervision={"protocol": "disjoint"})
        data, method = data_of(one), method_of(one)
        visible = {v: [n for s, ns in data.supervision.groups.items() if v in s for n in ns] for v in ("x", "y", "z")}
        pools, hidden_at_all = [], 0
        for pool in data.pools.pools:
            start = data.pools.ranges[pool.name][0]
            views: dict[str, Any] = {}
            for view, stored in pool.views.items():
                array = np.asarray(stored)
                array = array.copy() if view == "y" else array.astype(np.float32) / 255
                hidden = [i for i in pool.parts.get("train", []) if start + i not in visible[view]]
                hidden_at_all += len(hidden)
                if poison:
                    array[hidden] = 1 - array[hidden] if view == "y" else np.nan
                views[view] = array
            pools.append(Pool(pool.name, views, pool.parts, pool.unit))
        assert hidden_at_all > 30
        data.pools = Pools(pools)
        data.learner = method
        from lightning import Trainer

        trainer = Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                          enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0)  # fmt: skip
        trainer.fit(method, datamodule=data)
        weights.append(method.state_dict())
    assert all(torch.isfinite(value).all() for value in weights[0].values())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def rows(root: Path, identity: str) -> list[dict[str, str]]:
    with (root / identity / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


PHASES = {"training": {"epochs": 5, "steps_per_epoch": 4}, "dataset": {"size": 16, "samples": 60}}


def test_phases_leave_a_log_and_the_last_or_the_selected_weights(tmp_path: Path) -> None:
    result = execute(config("phases", "sit", **PHASES), tmp_path, CPU)
    first, second = result.selection["stages"]
    assert (first["stage"], first["monitor"], first["value"], first["epochs"]) == ("first", None, None, 2)
    assert second["monitor"] == "val/x->y/iou"
    log = rows(tmp_path, result.id)
    assert [bool(row["val/x->y/iou"]) for row in log] == [False, False, False, True, False, True, True]
    assert [bool(row.get("train/penalty")) for row in log] == [True, True, False, False, False, False, False]
    validated = [float(row["val/x->y/iou"] or "nan") for row in log[2:]]
    assert second["epoch"] == int(np.nanargmax(validated))
    assert result.validation == second["value"]
    assert result.cost["parameters"] == 40 + 5, "the average does not count"


def test_an_epoch_logs_only_the_phases_that_were_due_in_it(tmp_path: Path) -> None:
    result = execute(
        config("phases", "sit", **{**PHASES, "training": {"epochs": 8, "steps_per_epoch": 1}}), tmp_path, CPU
    )
    log = [row for row in rows(tmp_path, result.id) if row["stage"] == "first"]
    assert [bool(row["train/penalty"]) for row in log] == [True, False, False, True]


def test_lazy_phases_and_averages_go_on_to_the_same_bits_after_an_interruption(tmp_path: Path) -> None:
    one = config("phases", "sit", **PHASES)
    whole = execute(one, tmp_path / "whole", CPU)
    for epochs in (1, 3, 6):
        with pytest.raises(Interrupted):
            execute(one, tmp_path / "parts", CPU, interrupt_after(epochs))
    parts = execute(one, tmp_path / "parts", CPU)
    assert comparable(parts) == comparable(whole)
    assert rows(tmp_path / "parts", parts.id) == rows(tmp_path / "whole", whole.id)
    for file in sorted((tmp_path / "whole").glob("*/checkpoints/*/last.ckpt")):
        mine, its = (
            torch.load(path, weights_only=True)
            for path in (file, tmp_path / "parts" / file.relative_to(tmp_path / "whole"))
        )
        assert all(torch.equal(value, its["state_dict"][key]) for key, value in mine["state_dict"].items())
        assert any(key.startswith("averages.net") for key in mine["state_dict"])
        assert str(mine["optimizer_states"]) == str(its["optimizer_states"])


@pytest.mark.parametrize(("method", "dataset"), [("phases", "sit"), ("three", "triples")])
def test_toys_end_alike_on_one_and_two_devices(method: str, dataset: str, tmp_path: Path) -> None:
    options: dict[str, Any] = PHASES if method == "phases" else {}
    training = {**options.get("training", {}), "precision": "64-true"}
    one = config(method, dataset, **{**options, "training": training})
    for devices in (1, 2):
        executed(one, tmp_path / str(devices), devices, as_it_is=True, register=register)
    alone, together = (Result.load(next((tmp_path / str(devices)).glob("*/result.json")).parent) for devices in (1, 2))
    for mine, its in zip(alone.scores, together.scores, strict=True):
        assert (mine.test_set, mine.indices, mine.units) == (its.test_set, its.indices, its.units)
        assert its.values == pytest.approx(mine.values, abs=1e-6, nan_ok=True)
    for file in (tmp_path / "1").glob("rank-0-*.pt"):
        mine, first, second = (
            torch.load(tmp_path / name, weights_only=True)["after"]
            for name in (f"1/{file.name}", f"2/{file.name}", f"2/{file.name.replace('rank-0', 'rank-1')}")
        )
        for key, value in mine.items():
            assert torch.equal(first[key], second[key])
            torch.testing.assert_close(first[key], value, rtol=0, atol=1e-6)


def test_without_validation_samples_the_last_weights_are_tested(tmp_path: Path) -> None:
    class Without(Triples):
        def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
            first, *others = super().pools(seed)
            return (replace(first, parts={part: rows for part, rows in first.parts.items() if part != "val"}), *others)

    result = execute(replace(config("three"), dataset=Without()), tmp_path, CPU)
    assert (result.selection["rule"], result.validation) == ("last", None)
    assert "there is no validation pair to select by: the last weights are tested" in result.warnings
    assert result.scores


def test_a_unit_on_two_sides_of_the_split_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"P08 \(train, val\)"):
        execute(replace(config("three"), dataset=Triples(patient_twice=True)), tmp_path, CPU)
    assert not list(tmp_path.glob("*"))


def test_three_views_and_two_test_sets_reach_the_report(tmp_path: Path) -> None:
    benchmark = definition.Benchmark(
        name="toy", title="Three views", dataset={"name": "triples"}, methods={"floor": {}, "three": {}}, seeds=[0, 1],
        paired=[50], method={"learning_rate": 0.01}, training={"epochs": 1, "batch_size": 12, "steps_per_epoch": 2},
    )  # fmt: skip
    grid = grids.expand(benchmark)
    write_json(tmp_path / grids.MANIFEST, grid.manifest("toy"))
    for run in grid.runs:
        execute(run.config, tmp_path / "runs", CPU)
    write_report(tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert page.count("elsewhere") >= 1, "the second test set has a table of its own"
    with (tmp_path / "scores.csv").open() as file:
        scores = list(csv.DictReader(file))
    found = {(row["test_set"], row["target"], row["metric"]) for row in scores if row["method"] == "three"}
    assert found == {
        ("test", "y", "iou"), ("test", "z", "mse"), ("test", "z", "l1"), ("elsewhere", "y", "iou"),
    }  # fmt: skip
    assert {row["unit"] for row in scores if row["test_set"] == "elsewhere"} == {"P16", "P17"}
