"""What a run adds to Lightning's training loop: its log, its progress and early stopping that survives a kill."""

from __future__ import annotations

import csv
import io
import math
import time
from math import ceil
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
from lightning.pytorch.callbacks import Callback, EarlyStopping
from numpy.typing import NDArray

from lsmbench.errors import DivergedError
from lsmbench.runs import pictures
from lsmbench.runs.context import Progress, Run
from lsmbench.runs.results import write_text

PANELS = 10
"""Pictures of translations that a tracked run shows, spread evenly over the most epochs that it may have."""


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that does not train one more epoch when a stage is resumed that had stopped."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops at once, if that was decided before the run was interrupted."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class EpochLog(Callback):
    """Writes `log.csv`, one row per epoch, and keeps its rows in the checkpoint so that a resumed log is whole.

    Every process of a run keeps the rows, which differ in their seconds; the first process writes them.

    Args:
        run: The run.
        number: Of the stage, from 0.
    """

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.stage = run.method.stages[number].name
        self.offset, self.total = sum(run.budgets[:number]), sum(run.budgets)
        self.rows = list[dict[str, Any]]()
        self.picture: NDArray[np.uint8] | None = None
        self.validated = False
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The rows of this stage."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows back."""
        self.rows = list(state_dict["rows"])

    def monitored(self) -> list[float]:
        """The validation value of each epoch of this stage; NaN where it is undefined or was not computed."""
        return [row.get(self.run.method.monitor, math.nan) for row in self.rows]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock; the last epoch is validated in any case."""
        self.started = time.perf_counter()
        self.validated = False
        trainer.callback_metrics.clear()  # Lightning keeps what earlier epochs logged and this one may not
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws translations with the weights that were just scored, in the epochs that are to have a picture."""
        self.validated = True
        every = ceil(self.total / PANELS)
        due = (self.offset + len(self.rows) + 1) % every == 0 and pl_module.monitor == pl_module.score_name
        if due and self.run.tracker.wants_panels and trainer.is_global_zero:
            self.picture = pictures.translations(self.run.method, self.run.data)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Adds a row. Validation of the epoch has been done by now; checkpoints are written after this."""
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        monitor = str(pl_module.monitor)
        row = {
            "stage": self.stage,
            "epoch": trainer.current_epoch,
            "updates": trainer.global_step,
            "seconds": round(time.perf_counter() - self.started, 4),
            **values,
        }
        self.rows.append(row)
        all_rows = [*self.run.rows, *self.rows]
        if trainer.is_global_zero:
            write_text(self.run.folder.log, to_csv(all_rows))
            self.run.tracker.epoch(row, len(all_rows) - 1)
            if self.picture is not None:
                self.run.tracker.panel(self.picture, len(all_rows) - 1)
                self.picture = None
        seen = [value for value in self.monitored() if not math.isnan(value)] or [math.nan] * (not self.validated)
        if not seen:
            raise DivergedError(f"{monitor} is not a number in epoch {trainer.current_epoch} of stage {self.stage}")
        best = max(seen) if pl_module.higher_is_better else min(seen)
        done = self.offset + len(self.rows)
        latest = next((row[monitor] for row in reversed(self.rows) if monitor in row), math.nan)
        self.run.reached(Progress(self.stage, trainer.current_epoch, done, self.total, monitor, latest, best))


def rows_in(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the log that a loaded checkpoint holds."""
    return list(checkpoint["callbacks"][EpochLog.__qualname__]["rows"])


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; the columns are all keys, in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
