"""The protocol, once: seed → data → stages → select → test once → write."""

from __future__ import annotations

import errno
import fcntl
import logging
import math
import os
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.nn.modules.batchnorm import _BatchNorm

from lsmbench.data.module import PairDataModule
from lsmbench.errors import DivergedError, Elsewhere, UserError
from lsmbench.launch.local import Children
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method, Stage
from lsmbench.runs import environment, pictures, ranks
from lsmbench.runs.callbacks import EpochLog, Progress, ResumableEarlyStopping
from lsmbench.runs.config import PROTOCOL, Machine, RunConfig
from lsmbench.runs.ranks import Ranks
from lsmbench.runs.results import (
    FAILURE,
    RESULT,
    Failure,
    Result,
    read_json,
    write_json,
    write_text,
)
from lsmbench.runs.tracking import Tracker, Tracking, tracker
from lsmbench.scores import Score

_LOOK_SECONDS = 2.0
CHECKPOINTS = "checkpoints"
LAST, FINISHED = "last.ckpt", "finished.json"

log = logging.getLogger(__name__)


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
    tracking: Tracking | None = None,
) -> Result:
    """Trains and tests one method once, or returns the result that is there already.

    Everything is written to `root/<identity>/`. Interrupted at any moment, the same call continues from the last
    finished epoch, and ends with the same scores, bit for bit on a CPU with the same number of threads.

    A run on several devices has a process for each. They are started here, unless torchrun or SLURM has started them
    and all of them make this call; then the first one alone writes.

    Args:
        config: What to run.
        root: Folder of runs.
        machine: Where to compute.
        tell: Called after every epoch, of several processes in the first.
        testing: Whether the selected weights are tested. If not, there is no test set, the result holds the validation
            value and no scores, and no weights are kept; asked for a test later, the run starts anew.
        tracking: Where the run is followed beside its own files.

    Returns:
        The result.

    Raises:
        UserError: If something has to be mended by the user; nothing finished is lost.
        RunError: If the run diverged or broke; the reason is in `failure.json`.
        Elsewhere: If another process of the run failed, which says why.
    """
    machine, tracking = machine or Machine(), tracking or Tracking()
    devices, started = config.training.devices, ranks.started()
    if devices != started > 1:
        raise UserError(
            f"training.devices: {devices} were asked for, and torchrun or SLURM has started {started} processes; say "
            f"--devices {started}."
        )
    if devices != started:
        return _in_processes(config, root, machine, tell, testing, tracking)
    machine = replace(machine, threads=machine.threads or ranks.threads(devices))
    if devices > 1 and machine.threads:
        os.environ["OMP_NUM_THREADS"] = str(machine.threads)  # else Lightning would set another number
    with ranks.joined(_trainer(config, machine).strategy) as crew:
        try:
            return _execute(config, root, machine, tell, testing, tracking, crew)
        except RuntimeError as error:
            if lost := crew.lost(error):
                raise Elsewhere(lost) from error
            raise


def _in_processes(
    config: RunConfig, root: Path, machine: Machine, tell: Callable[[Progress], None], testing: bool, tracking: Tracking
) -> Result:
    """Computes a run of several devices in as many processes of this machine."""
    data = data_of(config, testing)
    identity = config.identity(data.fingerprint, data.bank_fingerprint)
    if found := _found(root / identity, testing):
        return found
    children = Children(root, machine, jobs=1, testing=testing, every_epoch=True)
    children.start(identity, identity, config, tracking)
    try:
        while True:
            for _, message in children.wait():
                if isinstance(message, Progress):
                    tell(message)
                elif isinstance(message, Result):
                    return message
                else:
                    raise UserError(message.reason) if message.kind == "user" else RunError(message, root / identity)
    finally:
        children.stop(identity)


def _execute(
    config: RunConfig,
    root: Path,
    machine: Machine,
    tell: Callable[[Progress], None],
    testing: bool,
    tracking: Tracking,
    crew: Ranks,
) -> Result:
    data = data_of(config, testing)
    crew.first(lambda: data.fingerprint)  # then the others find the data decoded
    identity = crew.together(lambda: config.identity(data.fingerprint, data.bank_fingerprint))
    folder = root / identity
    same = crew.gathered(f"{identity}, {machine.accelerator}, {'with' if testing else 'without'} a test")
    crew.together(lambda: _check_same(same))
    tracked = crew.first(lambda: tracking.track != "csv")
    with _disk_errors(folder):
        crew.first(lambda: folder.mkdir(parents=True, exist_ok=True))
        crew.together(lambda: _check_shared(folder))
        with _lock(folder, crew):
            if found := crew.first(lambda: _found(folder, testing)):
                return found
            crew.first(lambda: _begin(config, data, folder))
            where: list[Progress] = []

            def remember(progress: Progress) -> None:
                where[:] = [progress]
                if crew.rank == 0:
                    tell(progress)

            follower = crew.together(lambda: _tracker(config, tracking, folder.name, crew))
            failed = True
            try:
                result = _run(config, data, folder, machine, crew, remember, follower, tracked)
                if crew.rank == 0:
                    _end(result, folder, testing)
                failed = False
            except (UserError, Elsewhere):
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _failure(error, config, folder, where, crew) from error
            finally:
                follower.close(failed)
            return result


def _tracker(config: RunConfig, tracking: Tracking, identity: str, crew: Ranks) -> Tracker:
    """The run's tracker, in the first process; the others have one that does nothing."""
    if crew.rank:
        return Tracker()
    said = config.supervision
    tags = [config.dataset.name, config.method_name, said.amount, said.protocol, f"protocol-{PROTOCOL}"]
    return tracker(tracking, identity, config.to_dict(), tags, log.warning)


def _found(folder: Path, testing: bool) -> Result | None:
    """The result, if the run was finished before."""
    if not (folder / RESULT).exists():
        return None
    found = Result.load(folder)
    return found if found.scores or not testing else None


def _begin(config: RunConfig, data: PairDataModule, folder: Path) -> None:
    _claim(folder, folder.name, data.fingerprint)
    write_text(folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
    (folder / FAILURE).unlink(missing_ok=True)


def _end(result: Result, folder: Path, testing: bool) -> None:
    result.save(folder)
    if not testing:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _check_same(tasks: list[str]) -> None:
    """Refuses processes that were started with different configurations or data."""
    if len(set(tasks)) > 1:
        said = "\n".join(f"- process {rank}: {task}" for rank, task in enumerate(tasks))
        raise UserError(
            f"the processes of this run were started with different configurations or data:\n{said}\nStart all of them "
            "with the same command on the same data."
        )


def _check_shared(folder: Path) -> None:
    if not folder.exists():
        raise UserError(
            f"{folder}: the first process made this folder, and another one does not see it. All nodes of a run have "
            "to share the folder of runs; name one that they do with --output."
        )


def _run(
    config: RunConfig,
    data: PairDataModule,
    folder: Path,
    machine: Machine,
    crew: Ranks,
    tell: Callable[[Progress], None],
    follower: Tracker,
    tracked: bool,
) -> Result:
    began = time.perf_counter()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    dataset, supervision = config.dataset, crew.together(lambda: data.supervision)
    method = data.learner = crew.together(lambda: _method(config))
    crew.together(lambda: _check_supervision(method, data, config, crew.size))
    crew.first(lambda: _save_supervision(data, folder))
    if crew.size > 1 and any(isinstance(module, _BatchNorm) for module in method.modules()):
        method.remarks.append(
            "batch normalisation has the statistics of each device's part of a batch, not of all of it"
        )

    stages: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    if crew.rank == 0:
        follower.start(_history(method, folder))
    for number, stage in enumerate(method.stages):
        method.stage = stage
        done = _train_stage(method, data, config, machine, crew, folder, number, stage, rows, tell, follower)
        stages.append(done["summary"])
        rows.extend(done["rows"])

    trainer = _trainer(config, machine)
    validation = next((s["value"] for s in reversed(stages) if s["monitor"] == method.score_name), None)
    if not stages:
        validation = float(trainer.validate(method, datamodule=data, verbose=False)[0][method.score_name])
    scores = _test(method, data, trainer) if data.testing else []
    if scores and not math.isfinite(scores[0].value):
        raise DivergedError(f"the test score {scores[0].metric} is not a number")
    if data.testing:
        crew.first(lambda: pictures.save_panel(method, data, folder))
    if tracked:
        follower.finish(_summary(scores, validation) | _floor(data, trainer))

    split, counts, device = data.split, supervision.counts(), trainer.strategy.root_device.type
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
            "peak_memory_mb": round(max(crew.gathered(environment.peak_memory_mb(device))), 1),
        },
        environment={
            **environment.describe(),
            "device": device,
            "nodes": trainer.num_nodes,
            "threads": torch.get_num_threads(),
        },
        warnings=method.remarks,
    )


def _method(config: RunConfig) -> Method:
    kind, dataset = METHODS[config.method_name], config.dataset
    supported, reason = kind.supports(dataset, config.method)
    if not supported:
        raise UserError(f"method {config.method_name} {reason}.")
    return kind(dataset.domains, config.method, dataset.source, dataset.target, config.training.init_seed)


def _test(method: Method, data: PairDataModule, trainer: L.Trainer) -> list[Score]:
    trainer.test(method, datamodule=data, verbose=False)
    scores = []
    for direction, metric in method.all_metrics():
        source, target = direction.split("->")
        indices, values = metric.per_sample()
        better = bool(metric.higher_is_better)
        scores.append(
            Score(
                metric=metric.name,
                source=source,
                target=target,
                unit=metric.unit,
                higher_is_better=better,
                indices=indices,
                values=values,
                pooled=metric.pooled(),
            )
        )
    return scores


def _summary(scores: list[Score], validation: float | None) -> dict[str, float | str]:
    """The final values, of the selected weights: on the test samples as in the log, and on the validation pairs."""
    final: dict[str, float | str] = {f"test/{s.source}->{s.target}/{s.metric}": s.value for s in scores}
    return final | ({"validation": validation} if validation is not None else {})


def _floor(data: PairDataModule, trainer: L.Trainer) -> dict[str, float | str]:
    """The trivial predictor's scores on the same samples, beside which the run's own are read."""
    dataset = data.dataset
    floor = METHODS["floor"](dataset.domains, None, dataset.source, dataset.target)
    if not data.testing:
        return {"floor/validation": trainer.validate(floor, datamodule=data, verbose=False)[0][floor.score_name]}
    return {
        f"floor/{score.source}->{score.target}/{score.metric}": score.value for score in _test(floor, data, trainer)
    }


def _place(folder: Path, number: int, stage: Stage) -> Path:
    """Where a stage keeps its checkpoints."""
    return folder / CHECKPOINTS / f"{number}-{stage.name}"


def _rows_in(checkpoint: Path) -> list[dict[str, Any]]:
    """The rows of the log that a checkpoint holds."""
    return list(_readable(checkpoint)["callbacks"][EpochLog.__qualname__]["rows"])


def _history(method: Method, folder: Path) -> list[dict[str, Any]]:
    """The rows of all epochs that need not be trained again."""
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(method.stages):
        place = _place(folder, number, stage)
        if (place / FINISHED).exists():
            rows += read_json(place / FINISHED)["rows"]
        elif (place / LAST).exists():
            rows += _rows_in(place / LAST)
    return rows


def _train_stage(
    method: Method,
    data: PairDataModule,
    config: RunConfig,
    machine: Machine,
    crew: Ranks,
    folder: Path,
    number: int,
    stage: Stage,
    rows: list[dict[str, Any]],
    tell: Callable[[Progress], None],
    follower: Tracker,
) -> dict[str, Any]:
    """Trains one stage, or takes it up where it was left; afterwards the method holds the selected weights."""
    training = config.training
    place = _place(folder, number, stage)
    best, last, finished = place / "best.ckpt", place / LAST, place / FINISHED
    selected = best if training.selection == "best_validation" else last
    if not crew.first(finished.exists):
        mode = "max" if method.higher_is_better else "min"
        budgets = [s.epochs(training.epochs) for s in method.stages]
        epochs = budgets[number]
        epoch_log = EpochLog(
            folder / "log.csv", stage.name, sum(budgets[:number]), sum(budgets), rows, tell, follower,
            lambda: pictures.translations(method, data),
        )  # fmt: skip
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
        trainer = _trainer(config, machine, [epoch_log, stopping, keep_best, keep_last], epochs)
        before, resumed = 0.0, crew.first(last.exists)
        if resumed:
            before = sum(row["seconds"] for row in _rows_in(last))
        try:
            trainer.fit(method, datamodule=data, ckpt_path=last if resumed else None, weights_only=True)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        monitored = [row[method.monitor] for row in epoch_log.rows]
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
        crew.first(lambda: write_json(finished, {"summary": summary, "rows": epoch_log.rows}))
    method.load_state_dict(_readable(selected)["state_dict"])
    done: dict[str, Any] = crew.first(lambda: read_json(finished))
    return done


def _trainer(
    config: RunConfig, machine: Machine, callbacks: list[Callback] | None = None, epochs: int = 1
) -> L.Trainer:
    # Lightning advises on loaders, loggers and accelerators; none of it is for the user of a benchmark.
    trained_on = ranks.strategy(config.training.devices)
    ranks.check(trained_on["devices"], machine.accelerator)
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    return L.Trainer(
        accelerator=machine.accelerator,
        **trained_on,
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


def _check_supervision(method: Method, data: PairDataModule, config: RunConfig, devices: int) -> None:
    """Refuses supervision that leaves a stage nothing to learn from, or a device nothing to do.

    Raises:
        UserError: Naming what is missing.
    """
    parts = {"validation": data.split.val} | ({"test": data.split.test} if data.testing else {})
    for part, samples in parts.items():
        if len(samples) < devices:
            raise UserError(
                f"training.devices: {devices} divide the {part} samples, and there are only {len(samples)}. Ask for "
                "fewer."
            )
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
        data.sampler(0, devices)  # it refuses a batch that cannot be divided
    method.stage = first


def _save_supervision(data: PairDataModule, folder: Path) -> None:
    """Writes which samples show what, and draws those that are pairs."""
    said = {"selection": data.config.selection, "y_bank": data.config.y_bank}
    write_json(folder / "supervision.json", {"split": _split(data), "groups": data.supervision.to_json(), **said})
    pictures.save_chosen(data, folder)


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


def _failure(
    error: Exception, config: RunConfig, folder: Path, where: list[Progress], crew: Ranks
) -> RunError | Elsewhere:
    """Records why a run has no result; of several processes, the one that knows."""
    diverged, lost = isinstance(error, DivergedError), crew.lost(error)
    reason = lost or (str(error) if diverged else f"{type(error).__name__}: {error}")
    if ((diverged or lost) and crew.rank) or (lost and (folder / FAILURE).exists()):
        return Elsewhere(reason)
    place = f"stage {where[0].stage}, after its epoch {where[0].epoch}" if where else "before the first epoch ended"
    detail = "" if diverged or lost else "".join(traceback.format_exception(error))
    kind = "diverged" if diverged else "failed"
    failure = Failure(id=folder.name, kind=kind, reason=reason, where=place, config=config.to_dict(), detail=detail)
    failure.save(folder)
    return Elsewhere(reason) if lost else RunError(failure, folder)


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
def _lock(folder: Path, crew: Ranks) -> Iterator[None]:
    """Keeps others from computing the same run: they wait, then find the result. Freed by any exit."""
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)

    def taken() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if crew.size > 1 else 0))
        except BlockingIOError:
            return False
        return True

    try:
        # The first process holds it for all, and tells the others that it waits, who would else lose patience.
        while not crew.first(taken):
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(handle)
