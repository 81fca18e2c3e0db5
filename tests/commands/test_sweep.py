"""`lsmbench sweep` with real runs: parameters are found and used, workers are killed and share a storage."""

from __future__ import annotations

import json
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from lsmbench import cli
from lsmbench.benchmarks import tuning as bests
from lsmbench.sweeps.slots import SLOT
from lsmbench.sweeps.storage import open_storage
from tests import wandb_file
from tests.benchmarks.test_grid import SMALL
from tests.ranks import commanded

TINY: dict[str, Any] = {
    **SMALL,
    "methods": {"floor": None, "baseline": None, "lsm": None},
    "paired": [50],
    "seeds": [0],
}
STUDY = "small/baseline/N50"
ON = ("--accelerator", "cpu", "--threads", "1")


def write_files(folder: Path) -> None:
    (folder / "small.yaml").write_text(yaml.safe_dump(TINY))
    space = {"method": "baseline", "space": {"learning_rate": {"low": 1e-6, "high": 0.1}}, "trials": 2}
    (folder / "random.yaml").write_text(yaml.safe_dump({**space, "sampler": "random"}))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LSMBENCH_STORAGE", raising=False)
    write_files(tmp_path)


@pytest.fixture
def _one_new_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best trials are repeated once in place of three times, for tests of other things."""
    monkeypatch.setattr("lsmbench.sweeps.study.NEW_SEEDS", (1001,))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two trials that has ended."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LSMBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("LSMBENCH_STORAGE", raising=False)
        write_files(folder)
        assert ended(started("output.txt", *TWO_TRIALS)) == 0
    return folder


@pytest.fixture
def swept(kept: Path, _here: None, tmp_path: Path) -> str:
    """What the sweep printed, whose files are here."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return " ".join((tmp_path / "output.txt").read_text().split())


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(words))
    return int(caught.value.code or 0)


def words(*more: str) -> list[str]:
    return ["sweep", "small.yaml", "--method", "baseline", *ON, *more]


TWO_TRIALS = ("--trials", "2", "--space", "random.yaml")
"""Of random parameters: of two trials, Bayesian search always tries the same second one."""


def started(output: str, *more: str) -> BaseProcess:
    return commanded(words(*more), {}, Path(output))


def ended(process: BaseProcess) -> int | None:
    process.join(300)
    process.kill()
    return process.exitcode


def finished(where: str | Path, study: str = STUDY) -> list[Any]:
    """The finished trials, each there once. Their parameters may repeat: a search may try the end of a range again."""
    trials = optuna.load_study(study_name=study, storage=open_storage(where)).trials
    done = [t for t in trials if t.state.is_finished() and t.state is not TrialState.FAIL]
    assert len({t.user_attrs[SLOT] for t in done}) == len(done)
    return done


def test_what_a_sweep_finds_is_written_shown_and_used(swept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "baseline at 50 %: " in swept
    assert "default configuration on validation" in swept
    (best,) = bests.load(Path("benchmarks/best/sit/baseline.yaml"))
    assert len(best.trials) == 2
    # No trial had a test set.
    folders = list(Path("results/small/sweeps/runs").glob("baseline-*"))
    assert len(folders) >= 2 + 3
    for folder in folders:
        result = json.loads((folder / "result.json").read_text())
        assert (result["scores"], result["dataset"]["test"]) == ([], 0)
        assert json.loads((folder / "supervision.json").read_text())["split"]["test"] == []
        assert not (folder / "checkpoints").exists(), "weights of trials are not kept"
        assert not (folder / "panel.npz").exists()

    assert code_of("sweep", "show", "sit") == 0
    shown = capsys.readouterr().out
    assert STUDY in shown
    assert "2 finished of 2" in " ".join(shown.split())
    assert code_of("sweep", "show", "300w") == 2
    assert "no sweep of 300w" in capsys.readouterr().err

    assert code_of("bench", "small.yaml", "--tuned", "--paired", "50,20", *ON, "--jobs", "2") == 0
    folder = Path("results/small-tuned")
    manifest = json.loads((folder / "benchmark.json").read_text())
    assert [(use["row"], use["amounts"]) for use in manifest["tuned"]] == [("baseline", [50.0, 20.0])]
    (run, *_) = folder.glob("runs/baseline-N20-*")
    used = yaml.safe_load((run / "config.yaml").read_text())["method"]["learning_rate"]
    assert used == best.parameters["learning_rate"]
    (run, *_) = folder.glob("runs/lsm-N20-*")
    assert yaml.safe_load((run / "config.yaml").read_text())["method"]["learning_rate"] == 0.002
    report = (folder / "report.md").read_text()
    assert "lsm §" in report
    assert "## Tuning" in report
    assert (folder / "tuning.svg").exists()
    assert not Path("results/small/benchmark.json").exists(), "the untuned table is another"
    assert not list(Path().rglob("*wandb*")), "nothing is tracked unless asked for"


def test_a_tuned_table_needs_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("bench", "small.yaml", "--tuned", *ON) == 2
    assert "no sweep has found parameters for dataset sit" in capsys.readouterr().err


def test_another_setting_than_the_sweeps_is_told(swept: str) -> None:
    changed = ["--set", "training.steps_per_epoch=1", "--methods", "baseline"]
    assert code_of("bench", "small.yaml", "--tuned", *ON, *changed) == 0
    report = Path("results/small-tuned/report.md").read_text().replace("\\_", "_")
    assert "training.steps_per_epoch is 1, was 2 in the sweep" in report


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trials", "0"], "--trials: expected at least 1, found 0."),
        (["--jobs", "0"], "--jobs: expected at least 1, found 0."),
        (["--method", "basline"], "unknown method 'basline'; did you mean baseline?"),
        (["--method", "floor"], "floor has nothing to tune"),
        (["--space", "absent.yaml"], "absent.yaml: no such file."),
        (["--storage", "postgresql://me:se%40cret@127.0.0.1:9/none"], "me:***@127.0.0.1:9/none"),
        (["--method", "lsm,baseline", "--space", "x.yaml"], "--space names one file"),
        (["--method", ","], "no row to tune"),
    ],
)
def test_bad_input_is_told_without_a_traceback(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*words(*more)) == 2
    shown = capsys.readouterr()
    assert message in " ".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert "cret" not in shown.out + shown.err
    assert not Path("benchmarks").exists()


@pytest.mark.parametrize("storage", ["postgresql:/ann:se%40cret@host/db", "absent.journal", "sqlite:///absent.db"])
def test_nothing_is_shown_or_made_of_a_place_without_trials(
    storage: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    assert code_of("sweep", "show", "--storage", storage) == 2
    shown = capsys.readouterr()
    assert "cret" not in shown.out + shown.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_longer_search_is_not_lost_to_a_shorter_one(swept: str, capsys: pytest.CaptureFixture[str]) -> None:
    (long,) = bests.load(Path("benchmarks/best/sit/baseline.yaml"))
    assert code_of(*words("--trials", "1", "--output", "elsewhere")) == 0
    assert "keeps the outcome of 2 trials (study small/baseline/N50)" in " ".join(capsys.readouterr().out.split())
    assert bests.load(Path("benchmarks/best/sit/baseline.yaml")) == [long]
    assert code_of(*words("--trials", "2", "--study", "again")) == 0
    assert "They replace the parameters of study small/baseline/N50." in " ".join(capsys.readouterr().out.split())
    (again,) = bests.load(Path("benchmarks/best/sit/baseline.yaml"))
    assert again.study == "again/baseline/N50"


@pytest.mark.usefixtures("_one_new_seed")
def test_rows_of_other_pairs_can_be_tuned() -> None:
    selection = ["--selection", "random,k_medoids", "--set", "supervision.features=pixels"]
    row = "baseline-k_medoids"
    assert code_of("sweep", "small.yaml", "--method", row, "--trials", "1", *ON, *selection) == 0
    (best,) = bests.load(Path(f"benchmarks/best/sit/{row}.yaml"))
    assert best.setting["supervision"]["selection"] == "k_medoids"


def test_a_space_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    space = {
        "method": "baseline",
        "space": {"weigth_decay": {"low": 1e-6, "high": 1e-2}},
        "trials": 2,
        "sampler": "tpe",
    }
    Path("mine.yaml").write_text(yaml.safe_dump(space))
    assert code_of(*words("--space", "mine.yaml")) == 2
    assert "has no option weigth_decay; did you mean weight_decay" in " ".join(capsys.readouterr().err.split())
    space["space"] = {"learning_rate": {"low": 1e-2, "high": 1e-1}}
    Path("mine.yaml").write_text(yaml.safe_dump(space))
    assert code_of(*words("--space", "mine.yaml")) == 2
    assert "outside" in " ".join(capsys.readouterr().err.split())


def test_a_sweep_killed_in_a_trial_and_in_a_repeat_ends_as_one_that_was_not(kept: Path) -> None:
    runs = Path("results/small/sweeps/runs")
    # After the floor's and a trial's run another trial has begun; after both trials, the result of a repeat is written.
    for file, number in (("run.json", 3), ("result.json", 4)):
        process = started("output.txt", *TWO_TRIALS)
        deadline = time.monotonic() + 120
        while len(list(runs.glob(f"*/{file}"))) < number and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"
    assert ended(started("last.txt", *TWO_TRIALS)) == 0, Path("last.txt").read_text()
    assert sorted(int(t.user_attrs[SLOT]) for t in finished("results/small/sweeps/studies.journal")) == [0, 1]
    (killed,) = bests.load(Path("benchmarks/best/sit/baseline.yaml"))
    (whole,) = bests.load(kept / "benchmarks" / "best" / "sit" / "baseline.yaml")
    assert [(t.parameters, t.validation) for t in killed.trials] == [(t.parameters, t.validation) for t in whole.trials]
    assert (killed.candidates, killed.parameters) == (whole.candidates, whole.parameters)


def test_two_workers_on_one_journal_share_the_sweep() -> None:
    where = "shared.journal"
    both = [started(f"{k}.txt", "--trials", "3", "--storage", where) for k in (0, 1)]
    codes = [ended(process) for process in both]
    outputs = [Path(f"{k}.txt").read_text() for k in (0, 1)]
    assert codes == [0, 0], outputs
    assert sorted(int(t.user_attrs[SLOT]) for t in finished(where)) == list(range(3))
    assert sorted(optuna.get_all_study_names(open_storage(where))) == [STUDY, STUDY + "/new seeds"]
    done = [output.count("✓ trial") for output in outputs]
    again = optuna.load_study(study_name=STUDY + "/new seeds", storage=open_storage(where)).trials
    complete = [t for t in again if t.state is TrialState.COMPLETE]
    assert len({t.user_attrs[SLOT] for t in complete}) == len(complete)
    assert sum(done) == 3 + len(complete), "a trial was run twice"
    (best,) = bests.load(Path("benchmarks/best/sit/baseline.yaml"))
    assert len(best.trials) == 3


@pytest.mark.postgres
@pytest.mark.usefixtures("_one_new_seed")
def test_a_sweep_is_kept_and_shown_in_postgresql(empty_postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Workers that share a database are tested in tests/sweeps."""
    for _ in range(2):  # the second finds all done
        assert code_of(*words("--trials", "1", "--storage", empty_postgres_url)) == 0
        assert len(finished(empty_postgres_url)) == 1
    assert capsys.readouterr().out.count("✓ trial") == 2
    assert code_of("sweep", "show", "--storage", empty_postgres_url) == 0
    assert "1 finished of 1" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("_one_new_seed")
def test_a_tracked_sweep_keeps_each_trial_as_an_offline_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    assert code_of(*words("--trials", "1", "--track", "wandb")) == 0
    runs = sorted(Path("results/small/sweeps/wandb").glob("offline-run-*"))
    logged = [wandb_file.read(next(run.glob("run-*.wandb"))) for run in runs]
    assert len({one.run.run_id for one in logged}) == len(logged) == 2
    assert {one.run.job_type for one in logged} == {"trial"}
    assert sorted(one.run.run_group for one in logged) == [STUDY, STUDY + "/new seeds"]
    (first,) = [one for one in logged if one.run.display_name == "trial 0"]
    assert first.run.project == "lsmbench"
    assert sorted(first.run.tags) == ["N50", "bank", "baseline", "protocol-1", "sit"]
    assert first.config["method"]["learning_rate"] == 0.002
    assert first.config["training"]["init_seed"] == 1000
    (trial,) = finished(Path("results/small/sweeps/studies.journal"))
    assert first.summary["validation"] == trial.user_attrs["validation"]
    assert 0 < first.summary["floor/validation"] < 1
    assert not [key for key in first.summary if key.startswith("test/")]
    assert [row["val/x->y/iou"] for row in first.history] == [trial.user_attrs["validation"]]
