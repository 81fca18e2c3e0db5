"""The protocol, once: seed → data → stages → select → test once → write."""

from __future__ import annotations

import logging
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from lsmbench.data.module import DataModule
from lsmbench.data.pools import TEST
from lsmbench.datasets.bank import bank_of
from lsmbench.errors import DivergedError, Elsewhere, UserError
from lsmbench.evaluations import Predict
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.runs import environment, generated, latents, model, pictures, stage
from lsmbench.runs.checks import check_same, check_started, check_supervision
from lsmbench.runs.config import PROTOCOL, Machine, RunConfig, setting_of
from lsmbench.runs.context import Progress, Run, trainer
from lsmbench.runs.folder import FULL_DISK, RunFolder
from lsmbench.runs.ranks import joined, threads
from lsmbench.runs.results import FAILURE, Failure, Result
from lsmbench.runs.tracking import Tracker, Tracking, tracker
from lsmbench.scores import Score

log = logging.getLogger(__name__)


class RunError(Exception):
    """A run ended without a result; its `failure.json` says why."""

    def __init__(self, failure: Failure, folder: Path) -> None:
        super().__init__(f"{failure.id}: {failure.reason}")
        self.failure = failure
        self.folder = folder


def data_of(config: RunConfig, testing: bool = True) -> DataModule:
    """The data of a run, with or without a test set."""
    training = config.training
    return DataModule(
        config.dataset,
        config.supervision,
        training.batch_size,
        training.steps_per_epoch,
        training.augment,
        testing=testing,
        bank=bank_of(config.supervision, config.dataset),
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

    A run on several devices has a process for each. All of them make this call; the first process alone writes.
    `lsmbench.launch.local.compute` starts them, if torchrun or SLURM has not.

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
        UserError: If something has to be mended by the user, such as another number of started processes than of
            devices; nothing finished is lost.
        RunError: If the run diverged or broke; the reason is in `failure.json`.
        Elsewhere: If another process of the run failed, which says why.
    """
    machine, tracking = machine or Machine(), tracking or Tracking()
    devices = config.training.devices
    check_started(devices)
    machine = replace(machine, threads=machine.threads or threads(devices))
    if devices > 1 and machine.threads:
        os.environ["OMP_NUM_THREADS"] = str(machine.threads)  # else Lightning would set another number
    with joined(trainer(config, machine).strategy) as ranks:
        run = Run(config, machine, ranks, data_of(config, testing), tell)
        folder = run.folder = RunFolder(root / _identity(run))
        tracked = ranks.first(lambda: tracking.track != "csv")
        with folder.disk_errors():
            ranks.first(folder.make)
            ranks.together(folder.check_seen)
            with folder.lock(ranks):
                if found := ranks.first(lambda: folder.result(testing)):
                    return found
                ranks.first(lambda: folder.begin(config, run.data.fingerprint))
                run.tracker = ranks.together(lambda: _tracker(run, tracking))
                with _failures_recorded(run):
                    result = _train_and_test(run, tracked)
                    if ranks.rank == 0:
                        if testing:
                            model.keep(run)
                        folder.end(result, testing)
                    return result


def _identity(run: Run) -> str:
    """The identity that all processes agree on."""
    data = run.data
    run.ranks.first(lambda: data.fingerprint)  # then the other processes find the data decoded
    identity = run.ranks.together(lambda: run.config.identity(data.contents))
    check_same(run, identity)
    return identity


def _tracker(run: Run, tracking: Tracking) -> Tracker:
    """The run's tracker, in the first process; the other processes have one that does nothing."""
    if run.ranks.rank:
        return Tracker()
    config, supervision = run.config, run.config.supervision
    tags = [config.dataset.name, config.method_name, supervision.amount, supervision.protocol, f"protocol-{PROTOCOL}"]
    tags += [] if supervision.folds is None else [f"fold-{supervision.fold}"]
    return tracker(tracking, run.folder.id, config.to_dict(), tags, log.warning)


@contextmanager
def _failures_recorded(run: Run) -> Iterator[None]:
    """Turns what breaks a run into a RunError with a record in the run's folder, and ends the tracker."""
    failed = True
    try:
        yield
        failed = False
    except (UserError, Elsewhere):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise _failure(error, run) from error
    finally:
        run.tracker.close(failed)


def _failure(error: Exception, run: Run) -> RunError | Elsewhere:
    """Records why a run has no result; of several processes, the one that knows the cause records it."""
    folder, diverged, lost = run.folder, isinstance(error, DivergedError), run.ranks.lost(error)
    reason = lost or (str(error) if diverged else f"{type(error).__name__}: {error}")
    if ((diverged or lost) and run.ranks.rank) or (lost and (folder.path / FAILURE).exists()):
        return Elsewhere(reason)
    failure = Failure(
        id=folder.id,
        kind="diverged" if diverged else "failed",
        reason=reason,
        where=(
            f"stage {run.progress.stage}, after its epoch {run.progress.epoch}"
            if run.progress
            else "before the first epoch ended"
        ),
        config=run.config.to_dict(),
        detail="" if diverged or lost else "".join(traceback.format_exception(error)),
    )
    failure.save(folder.path)
    return Elsewhere(reason) if lost else RunError(failure, folder.path)


def _train_and_test(run: Run, tracked: bool) -> Result:
    """The protocol itself: method and supervision → stages → select → test once.

    Args:
        run: The run.
        tracked: Whether the first process has a tracker.
    """
    began = time.perf_counter()
    prepare(run)
    if run.ranks.rank == 0:
        run.tracker.start(stage.history(run))
    stages = []
    for number in range(len(run.method.stages)):
        trained = stage.train(run, number)
        stages.append(trained.summary)
        run.rows.extend(trained.rows)
    final = run.trainer()
    validation = _validation(run, stages, final)
    scores = _test_once(run, final)
    if tracked:
        known = validation is not None if not run.data.testing else bool(scores)
        run.tracker.finish(_summary(scores, validation) | (_floor(run.data, final) if known else {}))
    return _result(run, stages, validation, scores, final, began)


def prepare(run: Run) -> None:
    """Makes the run's method, and writes down its supervision.

    Raises:
        UserError: If the method cannot learn from the data.
    """
    data, ranks = run.data, run.ranks
    ranks.together(lambda: data.supervision)
    method = run.method = data.learner = ranks.together(lambda: method_of(run.config))
    ranks.together(lambda: check_supervision(run))
    ranks.together(lambda: method.learn(data))
    ranks.first(lambda: run.folder.save_supervision(data))
    if not run.validates and method.stages:
        method.remarks.append("there is no validation pair to select by: the last weights are tested")
    if ranks.size > 1 and any(isinstance(module, _BatchNorm) for module in method.modules()):
        method.remarks.append(
            "batch normalisation has the statistics of each device's part of a batch, not of all of it"
        )


def method_of(config: RunConfig) -> Method:
    """The method of a run, with its initial weights.

    Raises:
        UserError: If the method cannot be trained on the dataset.
    """
    kind, dataset = METHODS[config.method_name], config.dataset
    supported, reason = kind.fits(dataset, config.method)
    if not supported:
        raise UserError(f"method {config.method_name} {reason}.")
    seed = config.training.init_seed
    return kind(dataset.domains, config.method, dataset.source, dataset.target, seed, dataset.truths)


def _name(score: Score) -> str:
    """A score's name for trackers, e.g. `x->y/iou`; with that of its test set, if it is not the usual one."""
    place = "" if score.test_set == TEST else f"{score.test_set}/"
    return f"{place}{score.source}->{score.target}/{score.metric}"


def _summary(scores: list[Score], validation: float | None) -> dict[str, float | str]:
    """The final values, of the selected weights: on the test samples as in the log, and on the validation pairs."""
    final: dict[str, float | str] = {f"test/{_name(score)}": score.value for score in scores}
    return final | ({"validation": validation} if validation is not None else {})


def _floor(data: DataModule, trainer: L.Trainer) -> dict[str, float | str]:
    """The trivial predictor's scores on the same samples, beside which the run's own are read."""
    dataset = data.dataset
    floor = METHODS["floor"](dataset.domains, None, dataset.source, dataset.target, truths=dataset.truths)
    floor.learn(data)
    if not data.testing:
        return {"floor/validation": trainer.validate(floor, datamodule=data, verbose=False)[0][floor.score_name]}
    return {f"floor/{_name(score)}": score.value for score in Predict()(floor, data, trainer)}


def _validation(run: Run, stages: list[dict[str, Any]], trainer: L.Trainer) -> float | None:
    """The validation score of the selected weights; `None` without validation samples."""
    name = run.method.score_name
    if stages and stages[-1]["monitor"] == name:
        return float(stages[-1]["value"])
    if not run.validates:
        return None
    return float(trainer.validate(run.method, datamodule=run.data, verbose=False)[0][name])


def _test_once(run: Run, trainer: L.Trainer) -> list[Score]:
    """The test scores of the selected weights, and pictures of them; none without a test or a sample to score."""
    if not run.data.testing:
        return []
    scores = [] if run.data.lacks else Predict()(run.method, run.data, trainer)
    if scores and not math.isfinite(scores[0].value):
        raise DivergedError(f"the test score {scores[0].metric} is not a number")
    run.ranks.first(lambda: pictures.save_panel(run.method, run.data, run.folder.path))
    run.ranks.first(lambda: generated.save_generated(run.method, run.data, run.folder.path))
    run.ranks.first(lambda: latents.save_latents(run.method, lambda: method_of(run.config), run.data, run.folder.path))
    return scores


def _fold(data: DataModule) -> dict[str, int]:
    """Which of how many folds was tested, and how many samples were left out for it; nothing without folds."""
    if data.folded is None:
        return {}
    return {"fold": data.config.fold, "folds": data.folded.folds, "unused": data.folded.unused}


def _result(
    run: Run,
    stages: list[dict[str, Any]],
    validation: float | None,
    scores: list[Score],
    trainer: L.Trainer,
    began: float,
) -> Result:
    data, method, device = run.data, run.method, trainer.strategy.root_device.type
    return Result(
        id=run.folder.id,
        protocol=PROTOCOL,
        config=run.config.to_dict(),
        dataset={
            "name": data.dataset.name,
            "fingerprint": data.fingerprint,
            "views": {view: repr(domain) for view, domain in data.domains.items()},
            "train": len(data.train),
            "val": len(data.val),
            "test": len(data.test_sets.get(TEST, ())),
            "test_sets": {name: len(numbers) for name, numbers in data.test_sets.items()},
            **_fold(data),
            **({"in_training": data.in_training} if data.in_training else {}),
        },
        supervision={**data.supervision.counts(), "val_pairs": len(data.scored(data.val))},
        selection={"rule": run.rule, "stages": stages},
        scores=scores,
        validation=validation,
        cost={
            "wall_s": round(time.perf_counter() - began + sum(s["seconds_before"] for s in stages), 3),
            "train_s": round(sum(row["seconds"] for row in run.rows), 3),
            "epochs": len(run.rows),
            "updates": len(run.rows) * data.steps,
            "parameters": method.size,
            "peak_memory_mb": round(max(run.ranks.gathered(environment.peak_memory_mb(device))), 1),
        },
        environment={
            **environment.describe(),
            "device": device,
            "nodes": trainer.num_nodes,
            "threads": torch.get_num_threads(),
        },
        warnings=method.remarks,
        saw=method.saw,
        lacks=data.lacks if data.testing else "",
        judge=data.domains[data.dataset.target].judged() if data.testing else {},
        setting=setting_of(run.config.to_dict()),
    )
