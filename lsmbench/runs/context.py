"""A run as one of its processes works on it: the object that all parts of the protocol are given."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.callbacks import Callback

from lsmbench.data.module import DataModule
from lsmbench.methods.base import Method
from lsmbench.methods.phases import Stage
from lsmbench.runs import ranks
from lsmbench.runs.config import Machine, RunConfig
from lsmbench.runs.folder import RunFolder, StageFolder
from lsmbench.runs.ranks import Ranks
from lsmbench.runs.tracking import Tracker


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an epoch.

    Attributes:
        stage: Name of the stage.
        epoch: Epoch of the stage, from 0.
        done: Epochs trained, over all stages.
        total: Epochs that could be trained at most, over all stages.
        monitor: Name of the validation value.
        value: Its latest value; NaN before the first.
        best: Its best value so far in the stage; NaN before the first.
    """

    stage: str
    epoch: int
    done: int
    total: int
    monitor: str
    value: float
    best: float

    @property
    def text(self) -> str:
        """The latest value with its name, e.g. `iou 0.412`; nothing without one."""
        return "" if math.isnan(self.value) else f"{self.monitor.rpartition('/')[2]} {self.value:.3f}"


@dataclass
class Run:
    """One run, in one of its processes.

    Attributes:
        config: What is run.
        machine: Where it is computed.
        ranks: All processes of the run.
        data: The data, split and supervised.
        on_progress: Called after every epoch, in the first process.
        folder: Where everything is written.
        tracker: Follows the run; in all processes but the first it does nothing.
        method: What is trained.
        rows: The log's rows of all stages that are trained.
        progress: After the latest epoch; `None` before the first one ends.
    """

    config: RunConfig
    machine: Machine
    ranks: Ranks
    data: DataModule
    on_progress: Callable[[Progress], None]
    folder: RunFolder = field(init=False)
    tracker: Tracker = field(init=False)
    method: Method = field(init=False)
    rows: list[dict[str, Any]] = field(default_factory=list)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Sets the number of CPU threads: runs side by side with more threads than cores slow each other."""
        if self.machine.threads:
            torch.set_num_threads(self.machine.threads)

    @property
    def budgets(self) -> list[int]:
        """Most epochs of each stage."""
        return [stage.epochs(self.config.training.epochs) for stage in self.method.stages]

    @cached_property
    def validates(self) -> bool:
        """Whether there are validation samples to select by; if not, the last weights of each stage are selected."""
        return len(self.data.scored(self.data.val)) > 0

    @property
    def rule(self) -> str:
        """The rule by which weights are selected."""
        return self.config.training.selection if self.validates else "last"

    def stage(self, number: int) -> tuple[Stage, StageFolder]:
        """A stage of the method, as this data lets it be trained, and where it keeps its checkpoints."""
        stage = self.method.stages[number]
        return stage if self.validates else stage.unvalidated(), self.folder.stage(number, stage.name)

    def trainer(
        self, callbacks: list[Callback] | None = None, epochs: int = 1, stage: Stage | None = None
    ) -> L.Trainer:
        """A Trainer for this run; see `trainer`."""
        return trainer(self.config, self.machine, callbacks, epochs, stage)

    def reached(self, progress: Progress) -> None:
        """Remembers how far the run has come, and reports it from the first process."""
        self.progress = progress
        if self.ranks.rank == 0:
            self.on_progress(progress)


def trainer(
    config: RunConfig,
    machine: Machine,
    callbacks: list[Callback] | None = None,
    epochs: int = 1,
    stage: Stage | None = None,
) -> L.Trainer:
    """A Trainer for a run, silent, without Lightning's own loggers and bars.

    Args:
        config: What is run.
        machine: Where it is computed.
        callbacks: What is added to the loop; without any, nothing is written.
        epochs: Most epochs.
        stage: Which stage is trained; it says when it is validated.

    Raises:
        UserError: If the machine has fewer devices than the run asks for.
    """
    # Lightning advises on loaders, loggers and accelerators; none of it is for the user of a benchmark.
    processes = ranks.strategy(config.training.devices)
    ranks.check(processes["devices"], machine.accelerator)
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    return L.Trainer(
        accelerator=machine.accelerator,
        **processes,
        max_epochs=epochs,
        precision=config.training.precision,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if stage is None or stage.validated else 0,
        check_val_every_n_epoch=1 if stage is None else stage.validate_every,
        use_distributed_sampler=False,
    )
