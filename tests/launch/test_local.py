"""Runs in processes of this machine: they end together, and what becomes of them is told."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lsmbench.errors import UserError
from lsmbench.launch import child
from lsmbench.launch import local as local_module
from lsmbench.launch.base import Order
from lsmbench.launch.local import Local, compute
from lsmbench.runs import environment, ranks
from lsmbench.runs.config import Machine, RunConfig
from lsmbench.runs.context import Progress
from lsmbench.runs.ranks import Place
from lsmbench.runs.results import Failure
from lsmbench.runs.run import RunError
from tests.conftest import Make

CPU = Machine("cpu", 1)

ENDED_SECONDS = 30
"""Within which a run has ended after one of its processes was killed."""


def on(devices: int, config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, devices=devices))


def test_a_run_one_of_whose_processes_is_killed_says_so_and_can_be_taken_up_again(make: Make, tmp_path: Path) -> None:
    config = on(2, make("baseline", training={"epochs": 6, "patience": 6}))
    whole = compute(config, tmp_path / "whole", CPU)
    killed: list[float] = []
    processes: list[psutil.Process] = []

    def kill_the_second(progress: Progress) -> None:
        if progress.done == 2 and not killed:
            children = psutil.Process().children(recursive=True)
            processes[:] = [p for p in children if "forkserver" in " ".join(p.parent().cmdline())][-2:]
            killed.append(time.monotonic())
            processes[1].kill()

    with pytest.raises(RunError, match="process 1 of its 2 ended with signal 9") as caught:
        compute(config, tmp_path, CPU, kill_the_second)
    assert time.monotonic() - killed[0] < ENDED_SECONDS
    assert not processes[0].is_running(), "a process outlives the others"
    folder = caught.value.folder
    assert "signal 9" in Failure.load(folder).reason
    assert not (folder / "result.json").exists()
    result = compute(config, tmp_path, CPU)
    assert not (folder / "failure.json").exists()
    assert [score.values for score in result.scores] == [score.values for score in whole.scores]
    assert result.validation == whole.validation
    assert len(list(csv.DictReader((folder / "log.csv").open()))) == 6


def test_a_run_that_diverges_on_several_devices_is_recorded_once(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        compute(on(2, make("baseline", learning_rate=1e30)), tmp_path, CPU)
    assert Failure.load(caught.value.folder).kind == "diverged"


def test_more_devices_than_there_are_or_samples_to_divide_are_refused(make: Make, tmp_path: Path) -> None:
    many = environment.cores() + 1
    with pytest.raises(
        UserError, match=f"training.devices: {many} were asked for, and this machine has {many - 1} CPU"
    ):
        compute(on(many, make("baseline", training={"batch_size": 12 * many})), tmp_path, CPU)
    with pytest.raises(UserError, match=r"training.devices: 2 divide the validation samples, and there are only 1"):
        compute(on(2, make("baseline", supervision={"val_pairs": 1})), tmp_path, CPU)
    with pytest.raises(UserError, match=r"training.batch_size: 2 must be a multiple of the number of processes"):
        compute(on(2, make("lsm", training={"batch_size": 2})), tmp_path, CPU)
    assert not list(tmp_path.glob("*/result.json"))


def test_one_of_several_processes_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ranks.OWN, "4")
    with pytest.raises(UserError, match="this command starts its own processes"):
        Local(1)


def _loses_patience_or_hangs(order: Order, place: Place, seconds: float, messages: Any) -> None:
    if place.rank == 0:
        messages.send(child.Lost("another process of the run did not answer for 30 minutes"))
    time.sleep(600)


def test_a_process_that_hangs_is_not_waited_for_without_end(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others lose patience, here at once, and say so; the run then ends without the one that says nothing."""
    monkeypatch.setattr(local_module, "ENDING_SECONDS", 0.5)
    monkeypatch.setattr(child, "work", _loses_patience_or_hangs)
    local = Local(jobs=1)
    local.start("key", Order("run", on(2, make("baseline")), tmp_path, CPU))
    events: list[Any] = []
    while not events:
        events = list(local.wait(5))
    ((key, failure),) = events
    assert (key, failure.kind) == ("key", "failed")
    assert failure.reason == "another process of the run did not answer for 30 minutes"
    assert Failure.load(tmp_path / "run") == failure
    assert len(local) == 0
    assert not multiprocessing.active_children()


def _warns(order: Order, place: Place, seconds: float, messages: Any) -> None:
    messages.send(child.Warned("the server is slow"))
    messages.send(Failure(id=order.identity, kind="user", reason="enough", where="", config={}))


def test_what_several_runs_warn_of_is_logged_once_and_a_stopped_run_is_forgotten(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child, "work", _warns)
    local = Local(jobs=2)
    for key in ("a", "b", "c"):
        local.start(key, Order(key, make("floor"), tmp_path, CPU))
    local.stop("c")
    local.stop("one that has ended")
    ended: dict[str, Any] = {}
    while local:
        ended.update(local.wait())
    assert {key: failure.reason for key, failure in ended.items()} == {"a": "enough", "b": "enough"}
    assert [record.getMessage() for record in caplog.records] == ["the server is slow"]
