"""How people follow a run beside its `log.csv`: in Weights & Biases, TensorBoard or MLflow, without training waiting.

A tracker's work, its imports included, is done in a thread of its own. Whatever fails there is told once and stops
nothing. What the user has to mend is told before training, by `tracker`.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

from lsmbench.runs.tracking._loggers import MLflow, TensorBoard
from lsmbench.runs.tracking._threaded import Threaded
from lsmbench.runs.tracking._wandb import Wandb, unsent, wandb_run
from lsmbench.runs.tracking.base import Tracker, Tracking, Warn

__all__ = ["Tracker", "Tracking", "tracker", "unsent", "wandb_run"]

NAMES = {"wandb": "W&B", "tensorboard": "TensorBoard", "mlflow": "MLflow"}


def tracker(tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn) -> Tracker:
    """The tracker of a run.

    Args:
        tracking: What the user asks for.
        identity: The run's, by which it is found again when it is resumed.
        config: The run's configuration, nested plain values.
        tags: What the run is found by.
        warn: Takes one line of text; called in the thread that calls the tracker.

    Raises:
        UserError: If a package is missing or a folder cannot be written.
    """
    if tracking.track == "csv":
        return Tracker()
    messages = queue.SimpleQueue[str]()
    kind = {"wandb": Wandb, "tensorboard": TensorBoard, "mlflow": MLflow}[tracking.track]
    return Threaded(kind(tracking, identity, config, tags, messages.put), NAMES[tracking.track], messages, warn)
