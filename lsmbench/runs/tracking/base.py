"""What all trackers share: the request, the interface, how long a server may take, and what is told of failures."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError
from lsmbench.options import option

Warn = Callable[[str], None]

PROJECT = "lsmbench"
PANELS = "translations"

PROBE_S, INIT_S, FINISH_S = 3.0, 15.0, 10.0
"""How long a server may take until it answers at all, until it knows a run, and until it has all of it, in seconds."""
CLOSE_S = PROBE_S + INIT_S + FINISH_S + 2
"""How long a run waits for its tracker at most, if the run is so short that the tracker has not begun."""


@dataclass(frozen=True)
class Tracking:
    """Where runs are followed. Not part of their identity.

    Attributes:
        track: The tracker.
        group: Benchmark or study that the run belongs to.
        job_type: What the run is for.
        name: What people see; the run's identity if empty.
        folder: Where trackers keep their files. `WANDB_DIR` and `MLFLOW_TRACKING_URI` take precedence.
    """

    track: Literal["csv", "wandb", "tensorboard", "mlflow"] = option(
        "csv",
        "Where runs are followed. csv: the log.csv that every run writes; wandb: offline if there is no key",
    )
    group: str = ""
    job_type: Literal["train", "trial"] = "train"
    name: str = ""
    folder: str = ""


class Tracker:
    """Follows a run; this one does nothing, since every run writes `log.csv` itself.

    Attributes:
        wants_panels: Whether pictures are shown at all, so that none is drawn in vain.
    """

    wants_panels = False

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Begins, or continues where the run was interrupted.

        Args:
            history: The rows of earlier epochs, as `epoch` has them.
        """

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        """Logs an epoch.

        Args:
            row: A row of `log.csv`.
            step: Its number over all stages, from 0.
        """

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        """Shows what the method does, after the epoch of the same step.

        Args:
            picture: RGB, (H, W, 3).
            step: As `epoch`.
        """

    def finish(self, summary: Mapping[str, float | str]) -> None:
        """Logs the final values, by name, e.g. `test/iou` and `floor/iou`."""

    def close(self, failed: bool = False) -> None:
        """Ends, however the run ended; waits for at most `FINISH_S` + 2 seconds, or `CLOSE_S` if it has not begun.

        Args:
            failed: Whether the run broke.
        """


class Service(Tracker):
    """A tracker that works at once, may take its time and may raise."""

    def where(self) -> str:
        """Says where the run is kept although the service failed."""
        return "The run's own log.csv is whole."

    def abandon(self) -> None:
        """Lets the process end without waiting for this tracker's work."""


def answers(server: str) -> bool:
    """Whether a server says anything within `PROBE_S`, be it an error; finding its address is part of that time."""
    heard, parts = threading.Event(), urlsplit(server)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S).close()
        except urllib.error.HTTPError:
            pass
        except Exception as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # a certificate is W&B's to judge
                return
        heard.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return heard.is_set()


def writable(folder: Path, what: str) -> None:
    """Makes a folder and refuses one that cannot be written.

    Args:
        folder: The folder.
        what: What the message calls it.

    Raises:
        UserError: Naming the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{what}: {folder} cannot be written ({error.strerror or error}). Make it writable, or track elsewhere."
        ) from error


def one_line(error: Exception) -> str:
    """An error as part of a sentence, without keys."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    return text if len(text) <= 200 else text[:199] + "…"
