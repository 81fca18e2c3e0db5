"""One stage of a run: trained, or taken up where it was left."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lsmbench.methods.phases import Stage
from lsmbench.runs.callbacks import EpochLog, ResumableEarlyStopping, rows_in
from lsmbench.runs.context import Run
from lsmbench.runs.folder import StageFolder, load_checkpoint
from lsmbench.runs.generated import Samples
from lsmbench.runs.results import read_json, write_json


@dataclass(frozen=True)
class Trained:
    """What a trained stage leaves.

    Attributes:
        summary: As `Result.selection` has it for each stage, with `seconds_before`, the time before an interruption.
        rows: The log, one row per epoch.
    """

    summary: dict[str, Any]
    rows: list[dict[str, Any]]


def train(run: Run, number: int) -> Trained:
    """Trains a stage, if it is not trained yet, from its last finished epoch on; then loads the selected weights.

    Args:
        run: The run, whose method holds the selected weights of the stage before.
        number: Of the stage, from 0.
    """
    stage, place = run.stage(number)
    run.method.stage = stage
    if not run.ranks.first(place.finished.exists):
        _fit(run, number)
    return load(run, number)


def load(run: Run, number: int) -> Trained:
    """Loads the selected weights of a trained stage into the run's method.

    Raises:
        UserError: If the checkpoint is damaged, or the stage is not trained.
    """
    place = run.stage(number)[1]
    checkpoint = selected(run, number)
    run.method.load_weights(load_checkpoint(checkpoint), str(checkpoint))
    return Trained(**run.ranks.first(lambda: read_json(place.finished)))


def history(run: Run) -> list[dict[str, Any]]:
    """The log's rows of all epochs that need not be trained again."""
    rows: list[dict[str, Any]] = []
    for number in range(len(run.method.stages)):
        _, place = run.stage(number)
        if place.finished.exists():
            rows += read_json(place.finished)["rows"]
        elif place.last.exists():
            rows += rows_in(load_checkpoint(place.last))
    return rows


def selected(run: Run, number: int) -> Path:
    """The checkpoint of a trained stage that is tested, and that the next stage starts from."""
    stage, place = run.stage(number)
    return place.best if _by_validation(run, stage) else place.last


def _by_validation(run: Run, stage: Stage) -> bool:
    """Whether the weights of the best validation value are selected; if not, the last ones are."""
    return stage.validated and run.config.training.selection != "last"


def _fit(run: Run, number: int) -> None:
    """Trains a stage from its last finished epoch on, and writes its summary."""
    stage, place = run.stage(number)
    method, epochs = run.method, run.budgets[number]
    log = EpochLog(run, number)
    samples = [Samples(run, number)] if stage.name == method.generator_stage else []
    trainer = run.trainer([log, *samples, *_selection(run, stage, place, epochs)], epochs, stage)
    resumed = run.ranks.first(place.last.exists)
    seconds_before = sum((row["seconds"] for row in rows_in(load_checkpoint(place.last))), 0.0) if resumed else 0.0
    try:
        trainer.fit(method, datamodule=run.data, ckpt_path=place.last if resumed else None, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from error
    values = log.monitored()
    chosen = len(values) - 1
    if _by_validation(run, stage):
        chosen = int(np.nanargmax(values) if method.higher_is_better else np.nanargmin(values))
    summary = {
        "stage": stage.name,
        "monitor": method.monitor if stage.validated else None,
        "higher_is_better": method.higher_is_better,
        "epoch": chosen,
        "value": values[chosen] if stage.validated else None,
        "last": values[-1] if stage.validated else None,
        "budget": "full" if run.method.stages[number].full_budget else "early stopping",
        "epochs": len(values),
        "stopped_early": len(values) < epochs,
        "seconds_before": round(seconds_before, 3),
    }
    run.ranks.first(lambda: write_json(place.finished, {"summary": summary, "rows": log.rows}))


def _selection(run: Run, stage: Stage, place: StageFolder, epochs: int) -> list[Callback]:
    """Early stopping, and the checkpoints of the best and of the last epoch; without validation the last alone."""
    last = ModelCheckpoint(
        place.path, place.last.stem, save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True
    )
    if not stage.validated:
        return [last]
    mode = "max" if run.method.higher_is_better else "min"
    stops_early = _by_validation(run, stage) and not stage.full_budget
    patience = run.config.training.patience if stops_early else epochs
    stopping = ResumableEarlyStopping(
        run.method.monitor,
        patience=ceil(patience / stage.validate_every),  # Lightning counts validations
        mode=mode,
        check_finite=False,
        check_on_train_epoch_end=False,
    )
    best = ModelCheckpoint(
        place.path,
        place.best.stem,
        run.method.monitor,
        save_top_k=1,
        mode=mode,
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    return [stopping, best, last]
