"""The protocol, once: seed → data → stages → select → test once → write."""

from __future__ import annotations

import errno
import fcntl
import io
import logging
import math
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lsmbench.data.check import contact_sheet
from lsmbench.data.module import PairDataModule
from lsmbench.errors import DivergedError, UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method, Stage
from lsmbench.runs import environment
from lsmbench.runs.callbacks import EpochLog, Progress, ResumableEarlyStopping
from lsmbench.runs.config import PROTOCOL, Machine, RunConfig
from lsmbench.runs.results import (
    CHOSEN,
    FAILURE,
    PANEL,
    RESULT,
    Failure,
    Result,
    Score,
    read_json,
    write_bytes,
    write_json,
    write_text,
)

PANEL_SAMPLES = 6
CHECKPOINTS = "checkpoints"


class RunError(Exception):
    """A run ended without a result; its `failure.json` says why."""

    def __init__(self, failure: Failure, folder: Path) -> None:
        super().__init__(f"{failure.id}: {failure.reason}")
        self.failure = failure
        self.folder = folder


def data_of(config: RunConfig, testing: bool = True) -> PairDataModule:
    """The data of a run, with or without a test set."""
    training = config.training
    return PairDataModule(
        config.dataset,
        config.supervision,
        training.batch_size,
        training.steps_per_epoch,
        training.augment,
        testing=testing,
    )


def execute(
    config: RunConfig,
    root: Path,
    machine: Machine | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    testing: bool = True,
) -> Result:
    """Trains and tests one method once, or returns the result that is there already.

    Everything is written to `root/<identity>/`. Interrupted at any moment, the same call continues from the last
    finished epoch, and ends with the same scores, bit for bit on a CPU with the same number of threads.

    Args:
        config: What to run.
        root: Folder of runs.
        machine: Where to compute.
        tell: Called after every epoch.
        testing: Whether the selected weights are tested. If not, there is no test set, the result holds the validation
            value and no scores, and no weights are kept; asked for a test later, the run starts anew.

    Returns:
        The result.

    Raises:
        UserError: If something has to be mended by the user; nothing finished is lost.
        RunError: If the run diverged or broke; the reason is in `failure.json`.
    """
    data = data_of(config, testing)
    identity = config.identity(data.fingerprint, data.bank_fingerprint)
    folder = root / identity
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if (folder / RESULT).exists():
                found = Result.load(folder)
                if found.scores or not testing:
                    return found
            _claim(folder, identity, data.fingerprint)
            write_text(folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
            where: list[Progress] = []

            def remember(progress: Progress) -> None:
                where[:] = [progress]
                tell(progress)

            try:
                result = _run(config, data, folder, machine or Machine(), remember)
            except UserError:
                raise
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _failure(error, config, folder, where) from error
            except Exception as error:
                raise _failure(error, config, folder, where) from error
            result.save(folder)
            (folder / FAILURE).unlink(missing_ok=True)
            if not testing:
                shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            return result


def _run(
    config: RunConfig, data: PairDataModule, folder: Path, machine: Machine, tell: Callable[[Progress], None]
) -> Result:
    began = time.perf_counter()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    kind = METHODS[config.method_name]
    supported, reason = kind.supports(config.dataset, config.method)
    if not supported:
        raise UserError(f"method {config.method_name} {reason}.")
    dataset = config.dataset
    method = kind(dataset.domains, config.method, dataset.source, dataset.target, config.training.init_seed)
    data.learner = method
    supervision = data.supervision
    _check_stages(method, data, config)
    said = {"selection": config.supervision.selection, "y_bank": config.supervision.y_bank}
    write_json(folder / "supervision.json", {"split": _split(data), "groups": supervision.to_json(), **said})
    _save_chosen(data, folder)

    stages: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(method.stages):
        method.stage = stage
        done = _train_stage(method, data, config, machine, folder, number, stage, rows, tell)
        stages.append(done["summary"])
        rows.extend(done["rows"])

    trainer = _trainer(config, machine)
    validation = next((s["value"] for s in reversed(stages) if s["monitor"] == method.score_name), None)
    if not stages:
        validation = float(trainer.validate(method, datamodule=data, verbose=False)[0][method.score_name])
    scores = _test(method, data, trainer, folder) if data.testing else []

    split, counts = data.split, supervision.counts()
    trained = sum(row["seconds"] for row in rows)
    return Result(
        id=folder.name,
        protocol=PROTOCOL,
        config=config.to_dict(),
        dataset={
            "name": dataset.name,
            "fingerprint": data.fingerprint,
            "views": {view: repr(domain) for view, domain in data.domains.items()},
            "train": len(split.train),
            "val": len(split.val),
            "test": len(split.test),
        },
        supervision={**counts, "val_pairs": len(split.val)},
        selection={"rule": config.training.selection, "stages": stages},
        scores=scores,
        validation=validation,
        cost={
            "wall_s": round(time.perf_counter() - began + sum(s["seconds_before"] for s in stages), 3),
            "train_s": round(trained, 3),
            "epochs": len(rows),
            "updates": len(rows) * data.steps,
            "parameters": sum(p.numel() for p in method.parameters()),
            "peak_memory_mb": round(environment.peak_memory_mb(trainer.strategy.root_device.type), 1),
        },
        environment={
            **environment.describe(),
            "device": trainer.strategy.root_device.type,
            "threads": torch.get_num_threads(),
        },
        warnings=method.remarks,
    )


def _test(method: Method, data: PairDataModule, trainer: L.Trainer, folder: Path) -> list[Score]:
    trainer.test(method, datamodule=data, verbose=False)
    scores = []
    for direction, metric in method.all_metrics():
        source, target = direction.split("->")
        indices, values = metric.per_sample()
        better = bool(metric.higher_is_better)
        scores.append(Score(metric.name, source, target, metric.unit, better, indices, values, metric.pooled()))
    if not math.isfinite(scores[0].value):
        raise DivergedError(f"the test score {scores[0].metric} is not a number")
    _save_panel(method, data, folder)
    return scores


def _train_stage(
    method: Method,
    data: PairDataModule,
    config: RunConfig,
    machine: Machine,
    folder: Path,
    number: int,
    stage: Stage,
    rows: list[dict[str, Any]],
    tell: Callable[[Progress], None],
) -> dict[str, Any]:
    """Trains one stage, or takes it up where it was left; afterwards the method holds the selected weights."""
    training = config.training
    place = folder / CHECKPOINTS / f"{number}-{stage.name}"
    best, last, finished = place / "best.ckpt", place / "last.ckpt", place / "finished.json"
    selected = best if training.selection == "best_validation" else last
    if not finished.exists():
        mode = "max" if method.higher_is_better else "min"
        budgets = [s.epochs(training.epochs) for s in method.stages]
        epochs = budgets[number]
        log = EpochLog(folder / "log.csv", stage.name, sum(budgets[:number]), sum(budgets), rows, tell)
        stops_early = training.selection == "best_validation" and not stage.full_budget
        patience = training.patience if stops_early else epochs
        stopping = ResumableEarlyStopping(
            method.monitor, patience=patience, mode=mode, check_finite=False, check_on_train_epoch_end=False
        )
        keep_best = ModelCheckpoint(
            place, "best", method.monitor, save_top_k=1, mode=mode, save_weights_only=True,
            enable_version_counter=False, save_on_train_epoch_end=False,
        )  # fmt: skip
        keep_last = ModelCheckpoint(
            place, "last", save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True
        )
        trainer = _trainer(config, machine, [log, stopping, keep_best, keep_last], epochs)
        before = 0.0
        if last.exists():
            before = sum(row["seconds"] for row in _readable(last)["callbacks"][log.state_key]["rows"])
        try:
            trainer.fit(method, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        monitored = [row[method.monitor] for row in log.rows]
        chosen = len(monitored) - 1
        if training.selection == "best_validation":
            chosen = int(np.nanargmax(monitored) if method.higher_is_better else np.nanargmin(monitored))
        summary = {
            "stage": stage.name,
            "monitor": method.monitor,
            "higher_is_better": method.higher_is_better,
            "epoch": chosen,
            "value": monitored[chosen],
            "last": monitored[-1],
            "budget": "full" if stage.full_budget else "early stopping",
            "epochs": len(monitored),
            "stopped_early": len(monitored) < epochs,
            "seconds_before": round(before, 3),
        }
        write_json(finished, {"summary": summary, "rows": log.rows})
    method.load_state_dict(_readable(selected)["state_dict"])
    return read_json(finished)


def _trainer(
    config: RunConfig, machine: Machine, callbacks: list[Callback] | None = None, epochs: int = 1
) -> L.Trainer:
    # Lightning advises on loaders, loggers and accelerators; none of it is for the user of a benchmark.
    if machine.device == "gpu" and not torch.cuda.is_available():
        raise UserError("machine.device: gpu was asked for, and torch finds none here. Use auto or cpu.")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    return L.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "gpu": "gpu"}[machine.device],
        devices=1,
        max_epochs=epochs,
        precision=config.training.precision,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _split(data: PairDataModule) -> dict[str, list[int]]:
    split = data.split
    return {part: [int(i) for i in getattr(split, part)] for part in ("train", "val", "test")}


def _check_stages(method: Method, data: PairDataModule, config: RunConfig) -> None:
    """Refuses supervision that leaves a stage nothing to learn from.

    Raises:
        UserError: Naming what is missing.
    """
    first = method.stage
    for stage in method.stages:
        method.stage = stage
        if not set(method.uses) & data.supervision.groups.keys():
            needs = " or ".join("pairs" if len(shown) > 1 else f"{shown[0]}-only samples" for shown in method.uses)
            which = f"stage {stage.name} of " if len(method.stages) > 1 else ""
            said = config.supervision
            amount = (
                f"N = {said.paired:g} %" if said.paired_count is None else f"a number of pairs of {said.paired_count}"
            )
            raise UserError(
                f"{which}method {config.method_name} learns from {needs}, and {amount} leaves none (protocol "
                f"{said.protocol})."
            )
    method.stage = first


def _save_chosen(data: PairDataModule, folder: Path) -> None:
    """Draws the samples that are pairs, for people to see what was chosen."""
    pairs = data.supervision.pairs
    if not len(pairs) or (folder / CHOSEN).exists():
        return
    samples = {view: array[pairs] for view, array in data.arrays.items() if view in data.domains}
    picture = io.BytesIO()
    contact_sheet(data.dataset, samples, [f"sample {i}" for i in pairs]).save(picture, "PNG")
    write_bytes(folder / CHOSEN, picture.getvalue())


def _save_panel(method: Method, data: PairDataModule, folder: Path) -> None:
    """Keeps drawn input, truth and prediction of the first test samples, for pictures in the report."""
    views = data.test_dataloader().dataset.__getitems__(np.arange(min(PANEL_SAMPLES, len(data.split.test))))  # type: ignore[attr-defined]
    with torch.no_grad():
        batch = {name: view.to(method.device) for name, view in views.items()}
        predicted = method.eval().predict(batch, method.source, method.target)
    source, target = data.domains[method.source], data.domains[method.target]
    pictures, truth = source.draw(views[method.source]), views[method.target]
    temporary = folder / f".{PANEL}"
    with temporary.open("wb") as file:
        np.savez_compressed(
            file,
            index=views["index"].numpy(),
            x=pictures,
            y=target.overlay(truth, pictures),
            prediction=target.overlay(predicted, pictures, truth),
        )
    temporary.replace(folder / PANEL)


def _readable(path: Path) -> dict[str, Any]:
    """Loads a checkpoint, which holds tensors and plain values only."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}). Delete the folder {path.parent} to train "
            "this stage again; finished runs are not touched."
        ) from error
    return checkpoint


def _claim(folder: Path, identity: str, fingerprint: str) -> None:
    """Notes what the folder is for, or refuses a folder that is for something else."""
    mine = {"id": identity, "protocol": PROTOCOL, "fingerprint": fingerprint}
    note = folder / "run.json"
    if note.exists():
        found = read_json(note)
        if found != mine:
            raise UserError(
                f"{folder} was begun as {found}, this is {mine}. Move the folder away, or name another with --output."
            )
    write_json(note, mine)


def _failure(error: Exception, config: RunConfig, folder: Path, where: list[Progress]) -> RunError:
    diverged = isinstance(error, DivergedError)
    reason = str(error) if diverged else f"{type(error).__name__}: {error}"
    place = f"stage {where[0].stage}, after its epoch {where[0].epoch}" if where else "before the first epoch ended"
    detail = "" if diverged else "".join(traceback.format_exception(error))
    failure = Failure(folder.name, "diverged" if diverged else "failed", reason, place, config.to_dict(), detail)
    failure.save(folder)
    return RunError(failure, folder)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full or unwritable disk into a message."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{folder}: no space left on the disk. Free some and repeat the command; it goes on from the last "
                "finished epoch."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise UserError(f"{error.filename or folder}: cannot be written ({error.strerror}).") from error
        raise


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps two processes from computing one run: the second waits, then finds the result. Freed by any exit."""
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
