"""What a run adds to Lightning's training loop: its log, its progress and a stop that survives a kill."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import numpy as np
from lightning.pytorch.callbacks import Callback, EarlyStopping
from numpy.typing import NDArray

from lsmbench.errors import DivergedError
from lsmbench.runs.results import write_text
from lsmbench.runs.tracking import Tracker

PANELS = 10
"""Pictures of translations that a tracked run shows, spread evenly over the most epochs that it may have."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told after every epoch.

    Attributes:
        stage: Name of the stage.
        epoch: Epoch of the stage, from 0.
        done: Epochs trained, over all stages.
        total: Epochs that could be trained at most, over all stages.
        monitor: Name of the validation value.
        value: Its latest value.
        best: Its best value so far in the stage.
    """

    stage: str
    epoch: int
    done: int
    total: int
    monitor: str
    value: float
    best: float

    @property
    def said(self) -> str:
        """The latest value with its name, e.g. `iou 0.412`."""
        return f"{self.monitor.rpartition('/')[2]} {self.value:.3f}"


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that does not train one more epoch when it is resumed after it had stopped."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops at once, if that was decided before the run was interrupted."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class EpochLog(Callback):
    """Writes `log.csv`, one row per epoch, and keeps its rows in the checkpoint so that a resumed log is whole.

    Every process of a run keeps the rows, which differ in their seconds; the first one writes them.

    Args:
        path: The file.
        stage: Name of the stage, a column of the log.
        offset: Epochs of the stages before.
        total: Epochs at most, over all stages.
        rows: Rows of the stages before.
        tell: Called after every epoch.
        tracker: Follows the run.
        draw: Draws translations of the method as it is, (H, W, 3).
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        offset: int,
        total: int,
        rows: list[dict[str, Any]],
        tell: Callable[[Progress], None],
        tracker: Tracker,
        draw: Callable[[], NDArray[np.uint8]],
    ) -> None:
        self.path = path
        self.stage = stage
        self.offset, self.total = offset, total
        self.before, self.rows = rows, list[dict[str, Any]]()
        self.tell = tell
        self.tracker, self.draw = tracker, draw
        self.picture: NDArray[np.uint8] | None = None
        self.started = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """The rows of this stage."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows back."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws translations, of the weights that were scored, where that epoch is to have some."""
        every = ceil(self.total / PANELS)
        due = (self.offset + len(self.rows) + 1) % every == 0 and pl_module.monitor == pl_module.score_name
        if due and self.tracker.wants_panels and trainer.is_global_zero:
            self.picture = self.draw()

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
        all_rows = [*self.before, *self.rows]
        if trainer.is_global_zero:
            write_text(self.path, to_csv(all_rows))
            self.tracker.epoch(row, len(all_rows) - 1)
            if self.picture is not None:
                self.tracker.panel(self.picture, len(all_rows) - 1)
                self.picture = None
        seen = [r[monitor] for r in self.rows if not math.isnan(r[monitor])]
        if not seen:
            raise DivergedError(f"{monitor} is not a number in epoch {trainer.current_epoch} of stage {self.stage}")
        best = max(seen) if pl_module.higher_is_better else min(seen)
        done = self.offset + len(self.rows)
        self.tell(Progress(self.stage, trainer.current_epoch, done, self.total, monitor, values[monitor], best))


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV; the columns are all keys, in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
