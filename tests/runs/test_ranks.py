"""Several processes of one run: they compute what one process does, whoever started them."""

from __future__ import annotations

import csv
import dataclasses
import socket
from itertools import product
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lsmbench.errors import UserError
from lsmbench.evaluations import EvaluationConfig
from lsmbench.launch.local import compute
from lsmbench.methods import METHODS
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.results import Result
from lsmbench.runs.run import execute
from lsmbench.runs.weights import evaluate
from tests.conftest import Make
from tests.ranks import commanded, executed, torchrun

CPU = Machine("cpu", 1)

TOLERANCE = 1e-6
"""Of parameters that an update moves by about 1e-3, in double precision; most agree to 1e-9. The U-Net, whose loss is
computed in single precision, to 5e-7."""


def on(devices: int, config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, devices=devices))


def states(root: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: torch.load(path, weights_only=True) for path in sorted(root.glob("rank-*.pt"))}


def result_in(root: Path) -> Result:
    return Result.load(next(root.glob("*/result.json")).parent)


def logged(root: Path) -> list[dict[str, str]]:
    with next(root.glob("*/log.csv")).open() as file:
        return list(csv.DictReader(file))


KINDS = {
    ("sop", "faces"): "means",
    ("unet", "sit"): "summed",
    ("hybrid", "sit"): "gathered",
    ("cyclegan", "sit"): "pools",
}
"""One method for each way in which losses depend on the whole batch; the others repeat these."""


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        pytest.param(*case, marks=() if case in KINDS else pytest.mark.thorough)
        for case in [*product(METHODS, ("sit", "faces")), *((name, "digits") for name in METHODS)]
    ],
)
def test_two_processes_with_half_the_batch_end_where_one_with_the_whole_batch_does(
    name: str, dataset: str, make: Make, tmp_path: Path
) -> None:
    # A pool of five fakes is full, and exchanges, from the second of six updates on. Three validation samples are
    # dealt unevenly.
    options: dict[str, Any] = {"pool": 5} if "pool" in METHODS[name].Config.__dataclass_fields__ else {}
    augment = "none" if dataset == "faces" else "affine"  # landmarks cannot be augmented
    training: dict[str, Any] = {"batch_size": 12, "precision": "64-true", "augment": augment}
    paired: dict[str, Any] = {} if dataset == "digits" else {"paired_count": 6, "val_pairs": 3}
    if name == "semanticgan":  # each process needs groups of four samples, and of two for path lengths
        options["encoder_rate"] = 1e-2  # RAdam's first steps are small
        training["batch_size"], paired = 16, {"paired_count": 8, "val_pairs": 3, "protocol": "x_only"}
    config = make(name, dataset, training=training, supervision=paired, clip=0.5, **options)
    if not METHODS[name].fits(config.dataset, config.method)[0]:
        pytest.skip("not supported")
    one, two = tmp_path / "one", tmp_path / "two"
    executed(config, one, 1)
    executed(config, two, 2)
    mine, theirs = states(one), states(two)
    assert len(theirs) == 2 * len(mine)
    for word, state in mine.items():
        first, second = theirs[word]["after"], theirs[word.replace("rank-0", "rank-1")]["after"]
        for key, value in state["after"].items():
            assert torch.equal(first[key], second[key]), f"{key} differs between the processes"
            torch.testing.assert_close(first[key], value, rtol=0, atol=TOLERANCE, msg=f"{key} differs from one process")
        moved = max(float((value - state["before"][key]).abs().max()) for key, value in state["after"].items())
        assert moved > 1000 * TOLERANCE, "nothing was trained: the test would prove nothing"
    result, other = result_in(one), result_in(two)
    assert other.id != result.id, "the number of devices is part of a run's identity"
    for score, again in zip(result.scores, other.scores, strict=True):
        assert again.indices == score.indices
        assert again.values == pytest.approx(score.values, abs=TOLERANCE, nan_ok=True)
    if mine:
        for row, likewise in zip(logged(one), logged(two), strict=True):
            numbers = {key: float(value) for key, value in row.items() if value and key not in ("stage", "seconds")}
            assert {key: float(likewise[key]) for key in numbers} == pytest.approx(numbers, abs=1e-5)


def test_a_run_of_two_devices_is_tested_again_on_one(make: Make, tmp_path: Path) -> None:
    executed(make("sop", training={"batch_size": 12}), tmp_path / "two", 2, as_it_is=True)
    own = result_in(tmp_path / "two")
    again, _ = evaluate(tmp_path / "two" / own.id, "predict", EvaluationConfig(), Machine("cpu", 1))
    assert [score.values for score in again.scores] == [pytest.approx(score.values, abs=1e-6) for score in own.scores]
    assert again.config["training"]["devices"] == 2, "what was trained is told as it was"


def test_running_statistics_are_the_same_in_all_processes_and_on_disk(make: Make, tmp_path: Path) -> None:
    config = make("baseline", "faces", training={"batch_size": 12}, supervision={"paired_count": 6})
    executed(config, tmp_path / "two", 2, as_it_is=True)
    first, second = (state["after"] for state in states(tmp_path / "two").values())
    kept = torch.load(next(tmp_path.glob("two/*/checkpoints/*/last.ckpt")), weights_only=True)["state_dict"]
    running = [key for key in first if key.endswith(("running_mean", "running_var"))]
    assert running
    for key in running:
        assert torch.equal(first[key], second[key])
        assert torch.equal(first[key], kept[key])


def command(config: RunConfig, file: Path, *words: str) -> list[str]:
    file.write_text(yaml.safe_dump(config.to_dict()))
    return ["train", "--config", str(file), "--accelerator", "cpu", *words]


def ended(tasks: list[BaseProcess], output: Path) -> tuple[list[int | None], str]:
    """The exit codes of processes, and what they printed; 120 s is long for what takes ten."""
    for task in tasks:
        task.join(120)
        task.kill()
    return [task.exitcode for task in tasks], output.read_text()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_torchrun_and_slurm_start_the_same_run(make: Make, tmp_path: Path) -> None:
    """SLURM as its variables tell it, on two nodes of one task."""
    config = make("cyclegan", training={"batch_size": 12})
    expected = compute(on(2, config), tmp_path / "own", CPU)
    words = command(config, tmp_path / "config.yaml", "--machine.threads", "1", "--devices", "2")
    output = tmp_path / "torchrun.txt"
    codes, printed = ended([torchrun([*words, "--output", str(tmp_path / "torchrun")], 2, output)], output)
    assert codes == [0], printed
    assert printed.count("result.json") == 1, printed
    slurm = {
        "SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 1, "SLURM_NNODES": 2, "SLURM_LOCALID": 0, "SLURM_JOB_ID": 1,
        "SLURM_NODELIST": "127.0.0.1", "SLURM_STEP_ID": 0, "MASTER_PORT": free_port(),
    }  # fmt: skip
    words += ["--output", str(tmp_path / "slurm")]
    output = tmp_path / "slurm.txt"
    tasks = [commanded(words, {**slurm, "SLURM_PROCID": rank, "SLURM_NODEID": rank}, output) for rank in (0, 1)]
    codes, printed = ended(tasks, output)
    assert codes == [0, 0], printed
    assert printed.count("result.json") == 1, printed
    for root in ("torchrun", "slurm"):
        result = result_in(tmp_path / root)
        assert result.id == expected.id
        assert [score.values for score in result.scores] == [score.values for score in expected.scores]
    assert result.environment["nodes"] == 2


def test_processes_that_were_started_differently_are_refused(make: Make, tmp_path: Path) -> None:
    words = command(make("baseline"), tmp_path / "config.yaml", "--devices", "2", "--output", str(tmp_path / "runs"))
    variables = {
        "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(),
        "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    output = tmp_path / "output.txt"
    tasks = [
        commanded([*words, "--seed", str(rank)], {**variables, "RANK": rank, "LOCAL_RANK": rank}, output)
        for rank in (0, 1)
    ]
    codes, printed = ended(tasks, output)
    assert codes == [2, 1]
    assert printed.count("were started with different configurations or data") == 1, printed
    assert "process 0: baseline-N50-s0-" in printed
    assert "process 1: baseline-N50-s1-" in printed
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"batch_size": 7, "devices": 2}}, "batch_size: 7 samples cannot be divided evenly over .*=2"),
        ({"training": {"devices": 0}}, "training.devices: expected at least 1, found 0"),
    ],
)
def test_a_number_of_devices_that_cannot_be_is_refused(
    change: dict[str, Any], message: str, make: Make, tmp_path: Path
) -> None:
    values = make("baseline").to_dict()
    values["training"] |= change["training"]
    with pytest.raises(UserError, match=message):
        config_from_dict(values)


def test_another_number_of_processes_than_of_devices_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"training.devices: 2 were asked for, and only this process was started.*comp"):
        execute(on(2, make("baseline")), tmp_path, CPU)
    monkeypatch.setenv(ranks.OWN, "4")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for devices in (1, 2):
        for run in (execute, compute):
            with pytest.raises(UserError, match=rf"training.devices: {devices} were .* SLURM has started 4 processes"):
                run(on(devices, make("baseline")), tmp_path, CPU)
    monkeypatch.delenv(ranks.OWN)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(UserError, match=r"SLURM has 2 tasks for this job, and only this process was started. Put srun"):
        compute(on(2, make("baseline")), tmp_path, CPU)
    assert not list(tmp_path.glob("*/run.json"))
