from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lsmbench import cli
from lsmbench.benchmarks.grid import summary
from lsmbench.commands.list import from_source
from lsmbench.datasets import DATASETS
from lsmbench.methods import METHODS


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return int(caught.value.code or 0)


TINY = ["--dataset.size=32", "--dataset.samples=40", "--method.network=tiny", "--epochs=1",
        "--training.batch_size=6", "--training.steps_per_epoch=2", "--machine.accelerator=cpu"]  # fmt: skip


def test_list_shows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    for word in ("methods", "lsm", "ioda", "datasets", "sit", "benchmarks", "quick"):
        assert word in shown


def test_list_reads_from_the_source_what_the_classes_say() -> None:
    for room, name, table in (("methods", "METHODS", METHODS), ("datasets", "DATASETS", DATASETS)):
        assert list(from_source(room, name).items()) == [(word, summary(kind)) for word, kind in table.items()]


@pytest.mark.parametrize("words", [["list"], ["list", "--help"], ["--help"], ["nonsense"]])
def test_what_trains_nothing_imports_nothing_that_does(words: list[str]) -> None:
    code = (
        "import sys; from lsmbench.cli import main\ntry: main(sys.argv[1:])\n"
        "except SystemExit: pass\nsys.exit(bool({'torch', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=60).returncode == 0


def test_train_prints_scores_and_says_when_a_run_was_finished_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--method", "baseline", "--paired", "50", *TINY, "--output", str(tmp_path / "a")]
    assert run(*words) == 0
    first = capsys.readouterr().out
    assert "x → y  iou 0." in first
    assert run(*words) == 0
    assert "Finished before" in capsys.readouterr().out
    config = next((tmp_path / "a").glob("*/config.yaml"))
    assert run("train", "--config", str(config), "--output", str(tmp_path / "b"), "--machine.accelerator=cpu") == 0
    scores = [next((tmp_path / p).glob("*/result.json")).read_text().split('"scores"')[1] for p in ("a", "b")]
    assert scores[0].split('"cost"')[0] == scores[1].split('"cost"')[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean train"),
        (["train", "--method.w_confusio", "1"], "did you mean --method.w_confusion"),
        (["train", "--paired", "300"], "between 0 and 100"),
        (["train", "--dataset.textures", "/nowhere"], "/nowhere"),
        (["bench", "--seds", "1"], "did you mean --seeds"),
        (["bench", "--seeds", "one"], "--seeds: expected numbers"),
        (["bench", "--set", "training.epochs"], "expected KEY=VALUE"),
        (["bench", "--jobs", "0"], "--jobs: expected at least 1"),
        (["bench", "absent"], "unknown benchmark 'absent'"),
        (["report", "/nowhere/results"], "/nowhere/results"),
        pytest.param(
            ["train", "--machine.accelerator", "gpu", "--dataset.size=32"],
            "machine.accelerator: gpu was asked for",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.glob("*/*/result.json"))


def test_a_diverged_run_exits_with_1_and_says_where_its_record_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--method", "baseline", *TINY, "--method.learning_rate=1e30", "--output", str(tmp_path)]
    assert run(*words) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "no longer a finite number" in shown
    assert "failure.json" in shown


@pytest.mark.parametrize("command", ["train", "bench", "report", "list"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert f"lsmbench {command}" in capsys.readouterr().out
