"""TensorBoard and MLflow, through Lightning's loggers."""

from __future__ import annotations

import importlib.util
import logging
import numbers
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from lsmbench.errors import UserError
from lsmbench.runs.nested import flat
from lsmbench.runs.tracking import base
from lsmbench.runs.tracking.base import PANELS, PROJECT, Service, Tracking, Warn, writable

TAG = "lsmbench.run"


class LightningLogger(Service):
    """One of Lightning's loggers."""

    _logger: Any
    _step = 0

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        self._step = step
        self._logger.log_metrics(_numbers(row), step)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._logger.log_metrics(_numbers(summary), self._step)

    def close(self, failed: bool = False) -> None:
        self._logger.finalize("failed" if failed else "success")


class TensorBoard(LightningLogger):
    def __init__(
        self, tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn
    ) -> None:
        _installed("tensorboard", "tensorboard")
        self._folder = Path(tracking.folder) / "tensorboard" / identity
        writable(self._folder, "The folder of TensorBoard")
        self._parameters = {**dict(flat(config)), "tags": ", ".join(tags)}

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

        events = EventAccumulator(str(self._folder), {"scalars": 0}).Reload()
        there = {event.step for event in events.Scalars("epoch")} if "epoch" in events.Tags()["scalars"] else set()
        # Steps that a killed run logged and a resumed one repeats are purged from what is there.
        self._logger = TensorBoardLogger(
            self._folder.parent, self._folder.name, "", default_hp_metric=False, purge_step=len(history)
        )
        if not there:
            self._logger.log_hyperparams(self._parameters)
            self._logger.save()
        for step, row in enumerate(history):
            if step not in there:
                self.epoch(row, step)

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        super().epoch(row, step)
        self._logger.experiment.flush()  # or a kill takes up to two minutes of them

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        self._logger.experiment.add_image(PANELS, picture, step, dataformats="HWC")
        self._logger.experiment.flush()


class MLflow(LightningLogger):
    def __init__(
        self, tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn
    ) -> None:
        _installed("mlflow", "mlflow")
        self._address, self._artifacts = os.environ.get("MLFLOW_TRACKING_URI", ""), None
        self._folder: Path | None = None
        if not self._address:
            self._folder = (Path(tracking.folder) / "mlflow").resolve()
            writable(self._folder, "The folder of MLflow")
            self._address = f"sqlite:///{self._folder / 'mlflow.db'}"
            self._artifacts = (self._folder / "artifacts").as_uri()
        self._experiment = tracking.group or PROJECT
        self._parameters = config
        self._tags = {TAG: identity, "job_type": tracking.job_type, **dict.fromkeys(tags, "true")}
        self._name = tracking.name or identity

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]

        if self._address.startswith("http") and not base.answers(self._address):
            raise ConnectionError(f"{urlsplit(self._address).hostname} does not answer")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        # MLflow makes a file's tables without a lock.
        with FileLock(self._folder / ".lock") if self._folder else nullcontext():
            client = MlflowClient(self._address)
            if client.get_experiment_by_name(self._experiment) is None:
                with suppress(Exception):  # somebody has just made it on the server; if not, the logger says so below
                    client.create_experiment(self._experiment, self._artifacts)
        experiment = client.get_experiment_by_name(self._experiment)
        wanted = f"tags.`{TAG}` = '{self._tags[TAG]}'"
        found = client.search_runs([experiment.experiment_id], wanted) if experiment is not None else []
        self._logger = MLFlowLogger(
            self._experiment, self._name, self._address, self._tags, run_id=found[0].info.run_id if found else None
        )
        there: set[int] = set()
        if found:
            client.update_run(self._logger.run_id, "RUNNING")
            there = {metric.step for metric in client.get_metric_history(self._logger.run_id, "epoch")}
        else:
            self._logger.log_hyperparams(self._parameters)
        for step, row in enumerate(history):
            if step not in there:
                self.epoch(row, step)

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        self._logger.experiment.log_image(self._logger.run_id, picture, key=PANELS, step=step)


def _installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"--track {extra}: the package {package} is not installed. Install it: pip install 'lsmbench[{extra}]'"
        )


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row; TensorBoard and MLflow know no `>` in names."""
    return {name.replace("->", "-to-"): float(value) for name, value in row.items() if isinstance(value, numbers.Real)}
