"""Trials as runs in Weights & Biases: logged when they end, beside the sweep, which does not wait."""

from __future__ import annotations

import csv
import netrc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.markup import escape

from lsmbench.runs.results import RESULT, read_json
from lsmbench.sweeps.slots import SLOT
from lsmbench.sweeps.study import AGAIN
from lsmbench.sweeps.worker import SECONDS, STATE, VALIDATION

PROJECT = "lsmbench"


class WandbTrials:
    """Logs each trial as a W&B run: job type `trial`, in the group of its study.

    Without a key of W&B runs are kept offline, for `wandb sync`; `WANDB_MODE` and `WANDB_PROJECT` are respected. If W&B
    fails, e.g. because the network does, that is told once, and later trials are kept offline. A trial is logged by the
    worker that finished it; one whose worker was killed in that moment is not.

    Args:
        folder: Where W&B keeps its files.
        console: For the warning.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        import wandb  # takes a second, which only those who track should wait

        self.wandb = wandb
        self.folder = folder
        self.console = console
        self.mode = _mode()
        self.warned = False
        # One at a time, and not in the sweep's thread: it has to say that it lives while the network does not.
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, study: str, trial: FrozenTrial, run: Path) -> None:
        """Logs one trial, soon.

        Args:
            study: Name of its study.
            trial: The trial, finished.
            run: Folder of its run.
        """
        self._thread.submit(self._logged, study, trial, run)

    def close(self) -> None:
        """Waits until all is logged."""
        self._thread.shutdown()

    def _logged(self, study: str, trial: FrozenTrial, run: Path) -> None:
        try:
            self._log(study, trial, run)
        except Exception as error:  # whatever W&B or the network does, the trial is finished and kept
            self.mode = "offline"
            if not self.warned:
                said = f"W&B failed ({type(error).__name__}: {error}); trials are kept offline, for `wandb sync`."
                self.console.print(f"[yellow]–[/] {escape(said)}", highlight=False)
                self.warned = True

    def _log(self, study: str, trial: FrozenTrial, run: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = trial.user_attrs[SLOT]
        said: dict[str, Any] = {"parameters": trial.params, "trial": key, "run": run.name}
        tags = [study.removesuffix(AGAIN).rpartition("/")[2]]
        if (run / RESULT).exists():  # not of one that diverged or was pruned
            config = read_json(run / RESULT)["config"]
            said |= config
            tags += [config["dataset"]["name"], config["method"]["name"]]
        logged = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=f"trial {key}",
            group=study,
            job_type="trial",
            tags=tags,
            config=said,
            dir=str(self.folder),
            mode=self.mode,
            settings=self.wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        with logged:
            for number, row in enumerate(_rows(run / "log.csv")):
                logged.log(row, step=number)
            logged.summary.update(
                {"validation": trial.user_attrs[VALIDATION], "seconds": trial.user_attrs[SECONDS]}
                | {"state": trial.user_attrs[STATE], "objective": trial.value}
            )


def _mode() -> Literal["online", "offline", "disabled", "shared"]:
    """What the user asks for; else online where there is a key, since W&B would ask for one in batch work."""
    if asked := os.environ.get("WANDB_MODE"):
        return cast(Literal["online", "offline", "disabled", "shared"], asked)
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    """Whether a key lies where W&B looks for it: its variable, or the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _rows(path: Path) -> list[dict[str, Any]]:
    """The numbers of a run's log, one row per epoch."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) for key, value in row.items() if value and key != "stage"} for row in rows]
