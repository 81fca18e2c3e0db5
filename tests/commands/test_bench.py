"""Grids in child processes: kept, continued, and ended with their parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from lsmbench import cli
from lsmbench.benchmarks.compute import Outcome
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.launch.base import Order
from lsmbench.launch.child import _refine
from lsmbench.reports.frame import read_benchmark
from lsmbench.runs.config import Machine, config_from_dict
from lsmbench.runs.results import Result
from tests.benchmarks.test_grid import SMALL
from tests.ranks import commanded

CHANGES: dict[str, Any] = {"methods": {"floor": None, "baseline": None}, "paired": [50], "seeds": [0]}


def bench(folder: Path, *words: str) -> list[str]:
    on = ["--accelerator", "cpu", "--threads", "1"]
    return ["bench", str(folder / "small.yaml"), "--output", str(folder / "results"), *on, *words]


def written(folder: Path, **changes: Any) -> None:
    (folder / "small.yaml").write_text(yaml.safe_dump({**SMALL, **CHANGES, **changes}))


def code_of(words: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return int(caught.value.code or 0)


def test_a_failing_run_does_not_stop_the_grid_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = {"floor": None, "wild": {"name": "baseline", "learning_rate": 1e30}, "baseline": None}
    written(tmp_path, methods=methods)
    assert code_of(bench(tmp_path, "--jobs", "2")) == 1
    seen = capsys.readouterr()
    assert "1 of 3 runs have no result" in seen.err
    assert "no longer a finite number" in seen.err
    results = tmp_path / "results" / "small"
    assert len(list(results.glob("runs/*/result.json"))) == 2
    assert len(list(results.glob("runs/baseline-*/failure.json"))) == 1
    for name in ("report.html", "report.md", "table.tex", "curves.png", "curves.svg", "scores.csv", "benchmark.yaml"):
        assert (results / name).stat().st_size > 0, name
    assert "finite" in (results / "report.md").read_text()
    before = {p: p.stat().st_mtime_ns for p in results.glob("runs/*/result.json")}
    assert code_of(bench(tmp_path)) == 1
    assert {p: p.stat().st_mtime_ns for p in before} == before, "a finished run was repeated"
    assert "2 of 3 runs are finished already" in capsys.readouterr().out
    assert code_of(["report", str(results)]) == 0


def test_a_benchmark_that_belongs_to_another_is_run_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[Path, list[str]]] = []

    def launched(runs: Any, folder: Path, *_: Any) -> Outcome:
        computed.append((folder, sorted(f"{run.label} {run.seed}" for run in runs)))
        return Outcome()

    monkeypatch.setattr("lsmbench.commands.bench.launch", launched)
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**SMALL, **CHANGES, "name": "other"}))
    written(tmp_path, then=[str(other)], methods={"baseline": None})
    assert code_of(bench(tmp_path, "--seeds", "3")) == 0
    results = tmp_path / "results"
    assert computed == [
        (results / "small" / "runs", ["baseline 3"]),
        (results / "other" / "runs", ["baseline 3", "floor None"]),
    ]
    assert (results / "other" / "report.html").exists()


def test_seeds_are_added_where_they_are_needed_until_the_last_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"floor": None, "ridge": None, "twin": {"name": "ridge", "y_only": "none"}}
    written(tmp_path, methods=rows)

    def seeds(*words: str) -> list[tuple[str, float | None, int | None]]:
        assert code_of(bench(tmp_path, "--seeds", "auto", "--most-seeds", "4", "--jobs", "2", *words)) == 0
        plan = read_benchmark(tmp_path / "results" / "small").plan
        return [(run.method, run.paired, run.seed) for run in plan.runs]

    enough = seeds("--precision", "0.9")
    assert {seed for _, _, seed in enough} == {None, 0, 1, 2}
    assert "3 seeds: 0 rows × N not decided to ± 0.9." in capsys.readouterr().out
    more = seeds("--precision", "0.00001")
    seen = capsys.readouterr().out
    assert [run for run in more if run not in enough] == [("ridge", 50.0, 3), ("twin", 50.0, 3)]
    assert "no more seeds are allowed" in seen
    report = (tmp_path / "results" / "small" / "report.md").read_text()
    assert "Seeds were added one by one, from 3 to at most 4" in report


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--seeds", "auto"], "needs --precision"),
        (["--seeds", "0,1", "--precision", "0.1"], "options of --seeds auto"),
        (["--seeds", "auto", "--precision", "0"], "precision"),
        (["--seeds", "auto", "--precision", "0.1", "--most-seeds", "2"], "first"),
    ],
)
def test_seeds_that_cannot_be_decided_on_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    written(tmp_path)
    assert code_of(bench(tmp_path, *words)) == 2
    assert part in capsys.readouterr().err


def test_an_interrupted_bench_leaves_a_report_of_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    written(tmp_path)
    monkeypatch.setattr("lsmbench.commands.bench.launch", interrupted)
    assert code_of(bench(tmp_path)) == 130
    assert "No run has finished" in (tmp_path / "results" / "small" / "report.md").read_text()
    said = capsys.readouterr()
    assert "Report of the runs so far" in said.out
    assert "the same command continues" in said.err


def test_refined_codes_are_rows_of_their_own_and_only_what_is_missing_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, methods={"lsm": None}, refine={"refine_steps": 2})
    results = tmp_path / "results" / "small"
    assert code_of(bench(tmp_path)) == 0
    (trained,), (made,) = results.glob("runs/*/result.json"), results.glob("runs/*/evaluations/*/result.json")
    before = trained.read_bytes()
    rows = [line.split("|")[1].strip() for line in (results / "report.md").read_text().splitlines() if "| " in line]
    assert rows[rows.index("lsm") + 1] == "lsm, 2 steps"
    assert (results / "refinement-N50-lsm.png").exists()
    made.unlink()
    assert code_of(bench(tmp_path)) == 0
    assert made.exists()
    assert trained.read_bytes() == before, "a finished run was repeated"
    capsys.readouterr()
    assert code_of(bench(tmp_path)) == 0
    assert "1 of 1 runs are finished already" in capsys.readouterr().out
    made.unlink()
    shutil.rmtree(trained.parent / "checkpoints")
    config = config_from_dict(Result.load(trained.parent).config)
    order = Order(
        trained.parent.name, config, trained.parents[1], Machine("cpu", 1), refine=(RefineConfig(refine_steps=2),)
    )
    with pytest.raises(UserError, match="the weights are gone"):
        _refine(order, RefineConfig(refine_steps=2))
    every = read_benchmark(results).every
    assert every.loc[every["label"] == "lsm, 2 steps", "state"].tolist() == ["failed"]
    assert every.loc[every["label"] == "lsm", "state"].unique().tolist() == ["finished"]


def test_two_benches_at_once_share_the_work_and_children_end_with_their_parent(tmp_path: Path) -> None:
    written(tmp_path, training={**SMALL["training"], "epochs": 8, "patience": 8, "steps_per_epoch": 10})
    words = bench(tmp_path, "--jobs", "2")
    # As a user starts it, with a server of its own for its children.
    first = subprocess.Popen(
        [sys.executable, "-m", "lsmbench", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = "results/small/runs/baseline-*/log.csv"
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(log)) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    children = psutil.Process(first.pid).children(recursive=True)
    assert children
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "children outlive a killed parent"
    assert not list(tmp_path.glob("results/small/runs/baseline-*/result.json"))
    outputs = [tmp_path / f"{k}.txt" for k in (0, 1)]
    both = [commanded(words, {}, output) for output in outputs]
    for process in both:
        process.join(300)
        process.kill()
    assert [process.exitcode for process in both] == [0, 0], [output.read_text() for output in outputs]
    assert len(list(tmp_path.glob("results/small/runs/*/result.json"))) == 2
    assert len(list(tmp_path.glob("results/small/runs/*"))) == 2
