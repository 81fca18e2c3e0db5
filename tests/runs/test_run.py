"""The protocol: same bits again, same bits after an interruption, nothing finished is ever lost."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lsmbench.data.module import DataModule
from lsmbench.data.transforms import AUGMENTATIONS
from lsmbench.errors import UserError
from lsmbench.launch.local import compute
from lsmbench.methods import LSM, METHODS, Baseline
from lsmbench.methods.floor import FloorConfig
from lsmbench.runs import run as run_module
from lsmbench.runs.config import Machine, RunConfig, config_from_dict
from lsmbench.runs.context import Progress
from lsmbench.runs.results import Failure, Result
from lsmbench.runs.run import RunError, data_of, execute
from lsmbench.runs.tracking import Tracking
from tests import wandb_file
from tests.conftest import Make, each_form, home
from tests.ranks import commanded

CPU = Machine("cpu", 1)
THOROUGH = pytest.mark.thorough


class Interrupted(BaseException):
    """Not an Exception, so that nothing but the end of the process follows it."""


def interrupt_after(epochs: int) -> Callable[[Progress], None]:
    """Interrupts when an epoch is trained but not yet saved: the next run has to repeat it."""

    def tell(progress: Progress) -> None:
        if progress.done == epochs:
            raise Interrupted

    return tell


def comparable(result: Result) -> dict[str, Any]:
    """All of a result but times and memory."""
    values = result.model_dump(mode="json")
    values.pop("cost")
    for stage in values["selection"]["stages"]:
        stage.pop("seconds_before")
    return values


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        # Each method on maps and on vectors; test_contract.py trains each on every form of data.
        pytest.param(name, dataset, marks=() if name == "floor" or dataset in (home(name), "faces") else THOROUGH)
        for name, dataset in each_form(METHODS)
    ],
)
def test_a_run_leaves_a_complete_result(name: str, dataset: str, make: Make, tmp_path: Path) -> None:
    config = make(name, dataset)
    if not METHODS[name].fits(config.dataset, config.method)[0]:
        pytest.skip("not supported")
    result = execute(config, tmp_path, CPU)
    folder = tmp_path / result.id
    assert comparable(Result.load(folder)) == comparable(result)
    count = result.dataset["test"]
    split = json.loads((folder / "supervision.json").read_text())["split"]
    for score in result.scores:
        if score.per_unit:
            assert set(score.indices) < set(split[score.test_set]), "of each unit the first sample"
        else:
            assert score.indices == sorted(split[score.test_set])
            assert len(score.values) == result.dataset["test_sets"][score.test_set]
        assert math.isfinite(score.mean)
    assert config_from_dict(yaml.safe_load((folder / "config.yaml").read_text())).to_dict() == config.to_dict()
    assert result.cost["updates"] == 3 * sum(stage["epochs"] for stage in result.selection["stages"])
    assert (folder / "chosen.png").exists() == bool(result.supervision["pairs"])
    assert result.supervision["val_pairs"] == result.dataset["val"]
    with np.load(folder / "panel.npz") as panel:
        assert len(panel["source"]) == len(panel["index"])
        if config.dataset.paired:
            assert panel["target"].shape == panel["prediction"].shape
            # Landmarks are drawn over enlarged pictures of their source.
            assert (panel["source"].shape == panel["target"].shape) != config.dataset.domains["y"].is_vector
        assert len(set(panel["index"].tolist()) & set(split["test"])) == len(panel["index"]) == min(6, count)
    rows = list(csv.DictReader((folder / "log.csv").open())) if result.cost["epochs"] else []
    assert len(rows) == result.cost["epochs"]
    if rows:
        assert int(rows[-1]["updates"]) == 3 * result.selection["stages"][-1]["epochs"]


@pytest.mark.parametrize("name", ["floor", "lsm", "fcn8s"])
def test_the_same_configuration_gives_the_same_bits(name: str, make: Make, tmp_path: Path) -> None:
    results = [execute(make(name), tmp_path / place, CPU) for place in ("a", "b")]
    assert comparable(results[0]) == comparable(results[1])
    different = execute(make(name, seed=1), tmp_path / "a", CPU)
    assert different.id != results[0].id
    if not METHODS[name].deterministic:  # the losses, since so short a training may predict nothing at all
        losses = [
            [{k: v for k, v in row.items() if k.startswith("train/")} for row in csv.DictReader(log.open())]
            for log in (tmp_path / "a" / result.id / "log.csv" for result in (results[0], different))
        ]
        assert losses[0] != losses[1]


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if kind.trained])
def test_an_interrupted_run_continues_to_the_same_bits(name: str, make: Make, tmp_path: Path) -> None:
    """Each stage in its second epoch, which has a state to start from; IODA's also in others.

    Interrupted after it is trained and before it is saved, an epoch is trained again.
    """
    config = make(name, training={"epochs": 2, "patience": 2})
    others = [1, 3] if name == "ioda" else []  # with nothing saved, and in a second stage's first epoch
    moments: list[int] = []
    runs, whole_runs = tmp_path / "runs", tmp_path / "whole"

    def keep(progress: Progress) -> None:
        if progress.epoch == 1 or progress.done in others:
            moments.append(progress.done)
            shutil.copytree(runs, tmp_path / f"broken-{progress.done}")

    whole = execute(config, runs, CPU, keep)
    runs.rename(whole_runs)
    assert moments
    for after in moments:
        (tmp_path / f"broken-{after}").rename(runs)  # where it was killed: checkpoints know their place
        assert not (runs / whole.id / "result.json").exists()
        trained: list[int] = []
        resumed = execute(config, runs, CPU, lambda p, trained=trained: trained.append(p.done))  # type: ignore[misc]
        assert trained[0] == after, "only the unfinished epoch is repeated"
        assert comparable(resumed) == comparable(whole)
        logs = [list(csv.DictReader((place / whole.id / "log.csv").open())) for place in (whole_runs, runs)]
        for row in (*logs[0], *logs[1]):
            row.pop("seconds")
        assert logs[0] == logs[1]
        shutil.rmtree(runs)


def test_an_interruption_is_no_failure(make: Make, tmp_path: Path) -> None:
    _, folder = half_done(make, tmp_path)
    assert not (folder / "result.json").exists()
    assert not (folder / "failure.json").exists()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_turns_augmentation_and_selected_pairs_survive_an_interruption(
    augment: str, make: Make, tmp_path: Path
) -> None:
    supervision = {"protocol": "shared", "paired_count": 3, "selection": "k_medoids", "features": "pixels"}
    training = {"epochs": 2, "batch_size": 2, "steps_per_epoch": 3, "augment": augment}
    config = make("hybrid", "facades", pool=3, supervision=supervision, training=training)
    whole = execute(config, tmp_path / "whole", CPU)
    with pytest.raises(Interrupted):
        execute(config, tmp_path / "broken", CPU, interrupt_after(2))
    assert comparable(execute(config, tmp_path / "broken", CPU)) == comparable(whole)


def test_a_stage_that_had_stopped_early_is_not_trained_further_when_resumed(make: Make, tmp_path: Path) -> None:
    config = make("baseline", learning_rate=0.0, training={"epochs": 9, "patience": 2})
    whole = execute(config, tmp_path / "whole", CPU)
    assert whole.selection["stages"][0]["stopped_early"]
    assert whole.cost["epochs"] == 3  # the first is the best, two bring nothing better
    execute(config, tmp_path / "broken", CPU)
    folder = tmp_path / "broken" / whole.id
    (folder / "result.json").unlink()  # as if killed between the last epoch and the mark that the stage is finished
    (folder / "checkpoints" / "0-train" / "finished.json").unlink()
    trained: list[int] = []
    assert comparable(execute(config, tmp_path / "broken", CPU, lambda p: trained.append(p.done))) == comparable(whole)
    assert trained == []


def test_a_killed_process_continues_to_the_same_bits(make: Make, tmp_path: Path) -> None:
    """`kill -9` in the middle of an epoch, for real."""
    config = make("lsm", training={"epochs": 3, "steps_per_epoch": 6})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    whole = execute(config, tmp_path / "whole", CPU)
    words = ["train", "--config", str(file), "--output", str(tmp_path / "runs"),
             "--machine.accelerator", "cpu", "--machine.threads", "1"]  # fmt: skip
    process = commanded(words, {}, tmp_path / "output.txt")
    log = tmp_path / "runs" / whole.id / "log.csv"
    deadline = time.monotonic() + 120
    while not log.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (log.parent / "result.json").exists()
    resumed = execute(config, tmp_path / "runs", CPU)
    assert comparable(resumed) == comparable(whole)


@pytest.fixture
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.mark.usefixtures("_no_key")
@pytest.mark.parametrize("devices", [1, 2])
def test_a_tracked_run_is_kept_whole_in_a_file_of_wandb_and_has_the_same_bits(
    devices: int, make: Make, tmp_path: Path
) -> None:
    """Also when it is interrupted, here on one device: the second file then has all of it."""
    training = {"epochs": 2, "patience": 2, "batch_size": 12, "steps_per_epoch": 2, "devices": devices}
    config = make("ioda", training=training)
    plain = compute(config, tmp_path / "plain", CPU)
    tracking = Tracking("wandb", group="small", folder=str(tmp_path / "followed"))
    if devices == 1:
        with pytest.raises(Interrupted):
            compute(config, tmp_path / "tracked", CPU, interrupt_after(4), tracking=tracking)
    tracked = compute(config, tmp_path / "tracked", CPU, tracking=tracking)
    assert comparable(tracked) == comparable(plain)
    assert [score.values for score in tracked.scores] == [score.values for score in plain.scores]
    (file,) = (tmp_path / "followed" / "wandb").glob("offline-run-*/*.wandb")
    logged = wandb_file.read(file)
    assert (logged.run.run_group, logged.run.job_type) == ("small", "train")
    assert sorted(logged.run.tags) == ["N50", "bank", "ioda", "protocol-1", "sit"]
    assert {key: logged.config[key] for key in config.to_dict()} == config.to_dict()
    with (tmp_path / "tracked" / tracked.id / "log.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    curves = [row for row in logged.history if "seconds" in row]
    assert [row["_step"] for row in curves] == list(range(6))
    for row, written in zip(curves, rows, strict=True):
        numbers = {k: float(v) for k, v in written.items() if v and k not in ("stage", "seconds")}
        assert {k: row[k] for k in numbers} == numbers
    panels = [row for row in logged.history if "translations" in row]
    assert [row["_step"] for row in panels] == [4, 5], "every epoch of so few, and not of autoencoders"
    for row in panels:
        with Image.open(file.parent / "files" / row["translations"]["path"]) as picture:
            assert picture.size == (3 * 32, 4 * 32), "input, truth and prediction of the validation samples"
    assert logged.summary["test/x->y/iou"] == tracked.primary.value
    assert logged.summary["validation"] == tracked.validation
    floor = compute(make("floor"), tmp_path, CPU)
    assert logged.summary["floor/x->y/iou"] == floor.primary.value


def test_ctrl_c_is_no_failure(make: Make, tmp_path: Path) -> None:
    def ctrl_c(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(make("baseline"), tmp_path, CPU, ctrl_c)
    assert not list(tmp_path.glob("*/failure.json"))
    assert execute(make("baseline"), tmp_path, CPU).cost["epochs"] == 2


def test_a_finished_run_is_not_repeated(make: Make, tmp_path: Path) -> None:
    first = execute(make("baseline"), tmp_path, CPU)
    trained: list[Progress] = []
    assert comparable(execute(make("baseline"), tmp_path, CPU, trained.append)) == comparable(first)
    assert trained == []


def test_two_processes_compute_a_run_once(make: Make, tmp_path: Path) -> None:
    config = make("baseline", training={"epochs": 4})
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            counted: list[int] = []
            execute(config, tmp_path, CPU, lambda p, counted=counted: counted.append(p.done))  # type: ignore[misc]
            (tmp_path / f"trained-{os.getpid()}").write_text(str(len(counted)))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert sorted((tmp_path / f"trained-{pid}").read_text() for pid in pids) == ["0", "4"]


def test_best_and_last_select_what_they_say(make: Make, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 5, "patience": 5}
    for rule in ("best_validation", "last"):
        result = execute(make("baseline", learning_rate=0.02, training={**options, "selection": rule}), tmp_path, CPU)
        rows = list(csv.DictReader((tmp_path / result.id / "log.csv").open()))
        values = [float(r["val/x->y/iou"]) for r in rows]
        chosen = result.selection["stages"][0]["epoch"]
        assert chosen == (int(np.argmax(values)) if rule == "best_validation" else 4)
        assert result.validation == pytest.approx(values[chosen])
        name = "best" if rule == "best_validation" else "last"
        checkpoint = torch.load(tmp_path / result.id / "checkpoints" / "0-train" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["epoch"] == chosen
        assert checkpoint["lsmbench"]["stage"] == "train"


def test_ioda_carries_the_best_weights_over_and_stops_each_stage_by_itself(make: Make, tmp_path: Path) -> None:
    result = execute(make("ioda", learning_rate=0.01, training={"epochs": 4, "patience": 1}), tmp_path, CPU)
    names = ["pretrain_x", "pretrain_y", "translate"]
    assert [s["stage"] for s in result.selection["stages"]] == names
    place = tmp_path / result.id / "checkpoints"
    best_x = torch.load(place / "0-pretrain_x" / "best.ckpt", weights_only=True)["state_dict"]
    later = torch.load(place / "1-pretrain_y" / "last.ckpt", weights_only=True)
    assert all(torch.equal(best_x[k], later["state_dict"][k]) for k in best_x if k.startswith("encoders.x"))
    assert len(later["optimizer_states"]) == 1
    steps = later["optimizer_states"][0]["state"][0]["step"]
    assert steps == 3 * result.selection["stages"][1]["epochs"], "the optimiser is new in each stage"


def test_the_test_set_is_read_once_and_only_after_training(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    read = DataModule._evaluation

    def watched(self: DataModule, part: str, indices: Any) -> Any:
        if part == "test" and part not in self._loaded:
            order.append("test")
        return read(self, part, indices)

    monkeypatch.setattr(DataModule, "_evaluation", watched)
    execute(make("baseline"), tmp_path, CPU, lambda p: order.append("epoch"))
    assert order == ["epoch", "epoch", "test"]


def test_a_diverged_run_is_recorded_and_tried_again(make: Make, tmp_path: Path) -> None:
    config = make("baseline", learning_rate=1e30)
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            execute(config, tmp_path, CPU)
        failure = Failure.load(caught.value.folder)
        assert failure.kind == "diverged"
        assert "learning_rate" in failure.reason
        assert failure.config == config.to_dict()
        assert not (caught.value.folder / "result.json").exists()


def test_a_broken_run_is_recorded_with_its_traceback_and_leaves_no_record_when_mended(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Baseline, views: Any) -> Any:
        raise ZeroDivisionError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(Baseline, "losses_mappers", broken)
        with pytest.raises(RunError) as caught:
            execute(make("baseline"), tmp_path, CPU)
    failure = Failure.load(caught.value.folder)
    assert failure.kind == "failed"
    assert "planted" in failure.reason
    assert "in broken" in failure.detail
    execute(make("baseline"), tmp_path, CPU)
    assert not (caught.value.folder / "failure.json").exists()


def half_done(make: Make, root: Path) -> tuple[RunConfig, Path]:
    config = make("baseline")
    with pytest.raises(Interrupted):
        execute(config, root, CPU, interrupt_after(2))
    return config, next(root.iterdir())


def test_a_damaged_checkpoint_is_named(make: Make, tmp_path: Path) -> None:
    config, folder = half_done(make, tmp_path)
    last = folder / "checkpoints" / "0-train" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.ckpt: the checkpoint is damaged.*Delete the folder"):
        execute(config, tmp_path, CPU)
    assert last.exists(), "nothing is deleted for the user"


def test_a_folder_of_another_protocol_is_left_alone(make: Make, tmp_path: Path) -> None:
    config, folder = half_done(make, tmp_path)
    note = folder / "run.json"
    note.write_text(note.read_text().replace('"protocol": "1"', '"protocol": "0"'))
    with pytest.raises(UserError, match=r"was begun as .*'protocol': '0'.*--output"):
        execute(config, tmp_path, CPU)


def test_a_result_of_another_layout_or_a_damaged_one_is_named(make: Make, tmp_path: Path) -> None:
    result = execute(make("floor"), tmp_path, CPU)
    file = tmp_path / result.id / "result.json"
    whole = file.read_text()
    file.write_text(whole.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(UserError, match=r"result\.json: has result layout 99, this version of lsmbench reads 1"):
        Result.load(file.parent)
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"result\.json: cannot be read as JSON"):
        Result.load(file.parent)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_message_and_the_run_continues_when_there_is_room(
    code: int, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make("baseline")
    whole = execute(config, tmp_path / "whole", CPU)
    written: list[Path] = []

    def full(path: Path, text: str) -> None:
        if path.name == "log.csv" and len(written) == 1:
            raise OSError(code, "No space left on device", str(path))
        written.append(path) if path.name == "log.csv" else None
        real(path, text)

    from lsmbench.runs import callbacks

    real = callbacks.write_text
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "write_text", full)
        with pytest.raises(UserError, match=r"no space left on the disk.*repeat the command"):
            execute(config, tmp_path / "full", CPU)
    assert comparable(execute(config, tmp_path / "full", CPU)) == comparable(whole)


def test_an_unwritable_place_is_a_message(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        execute(make("floor"), tmp_path / "file", CPU)


def test_methods_that_need_pairs_refuse_n_of_zero(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="baseline learns from pairs, and N = 0 % leaves none"):
        execute(make("baseline", paired=0), tmp_path, CPU)
    assert execute(make("lsm", paired=0), tmp_path, CPU).supervision["pairs"] == 0


def test_validation_pairs_can_be_limited(make: Make, tmp_path: Path) -> None:
    result = execute(make("baseline", supervision={"val_pairs": 2}), tmp_path, CPU)
    assert result.supervision["val_pairs"] == 2


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_run(precision: str, make: Make, tmp_path: Path) -> None:
    result = execute(make("lsm", training={"precision": precision, "epochs": 1}), tmp_path, CPU)
    assert math.isfinite(result.primary.mean)


def test_the_constant_floor_is_a_constant_of_all_training_targets(make: Make, tmp_path: Path) -> None:
    config = make("floor")
    result = execute(config, tmp_path, CPU)
    arrays = config.dataset.load()
    split = config.dataset.split(len(arrays["y"]), None)
    train = arrays["y"][split.train] > 0

    def mean_iou(constant: Any) -> float:
        return float(np.mean([(constant & m).sum() / (constant | m).sum() for m in train]))

    frequency = train.mean(0)
    best = max(mean_iou(frequency >= t) for t in np.unique(frequency[frequency > 0]))
    with np.load(tmp_path / result.id / "panel.npz") as panel:
        assert (panel["prediction"] == panel["prediction"][0]).all()
        chosen = panel["prediction"][0, :, :, 0] > 0
    assert mean_iou(chosen) == pytest.approx(best)


def test_the_copy_floor_is_the_inputs_own_mask(make: Make, tmp_path: Path) -> None:
    config = make("floor")
    config.method = FloorConfig(network="tiny", kind="copy")
    result = execute(config, tmp_path, CPU)
    copies, arrays = config.dataset.evaluation_views()["copy"], config.dataset.load()
    for index, value in zip(result.primary.indices, result.primary.values, strict=True):
        a, b = copies[index] > 0, arrays["y"][index] > 0
        assert value == pytest.approx((a & b).sum() / (a | b).sum())


def test_photos_made_from_labels_are_judged_by_the_segmenter_that_is_named(make: Make, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    torch.jit.trace(torch.nn.Conv2d(3, 12, 1), torch.rand(1, 3, 32, 32)).save(str(model))
    config = make("cyclegan", "facades")
    config.dataset = dataclasses.replace(config.dataset, direction="y_to_x", segmenter=str(model))  # type: ignore[call-arg]
    result = execute(config, tmp_path, CPU)
    names = ["accuracy", "class_accuracy", "miou"]
    assert [(s.source, s.target, s.metric) for s in result.scores] == [
        *(("y", "x", name) for name in names),
        *(("x", "y", name) for name in names),
    ]
    assert all(s.pooled is not None and 0 <= s.pooled <= 1 for s in result.scores)
    moved = model.rename(tmp_path / "moved.pt")
    config.dataset = dataclasses.replace(config.dataset, segmenter=str(moved))  # type: ignore[call-arg]
    assert config.identity(data_of(config).contents) == result.id


def test_lsm_scores_both_directions(make: Make, tmp_path: Path) -> None:
    assert LSM.both_ways
    scores = execute(make("lsm"), tmp_path, CPU).scores
    assert [(s.source, s.target, s.metric, s.higher_is_better) for s in scores] == [
        ("x", "y", "iou", True),
        ("y", "x", "mse", False),
        ("y", "x", "l1", False),
    ]
    assert run_module.PROTOCOL == "1"
