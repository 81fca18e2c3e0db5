"""The folder of a run: what lies where, which process may write there, and what the user reads if the disk fails."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout

from lsmbench.data.module import DataModule
from lsmbench.errors import UserError
from lsmbench.runs import pictures
from lsmbench.runs.config import PROTOCOL, RunConfig
from lsmbench.runs.ranks import Ranks
from lsmbench.runs.results import FAILURE, RESULT, Result, read_json, write_json, write_text

CHECKPOINTS = "checkpoints"

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors of a full disk or an exhausted quota."""

_NOT_WRITABLE = (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class StageFolder:
    """Where one stage keeps its checkpoints and, once it is trained, its summary."""

    path: Path

    @property
    def best(self) -> Path:
        """The weights of the best validation value."""
        return self.path / "best.ckpt"

    @property
    def last(self) -> Path:
        """All state after the last epoch, from which an interrupted stage continues."""
        return self.path / "last.ckpt"

    @property
    def finished(self) -> Path:
        """The summary and the log of a stage that is trained."""
        return self.path / "finished.json"


class RunFolder:
    """The folder of one run.

    Args:
        path: The folder; its name is the run's identity.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The run's identity."""
        return self.path.name

    @property
    def log(self) -> Path:
        """The table of all epochs."""
        return self.path / "log.csv"

    def stage(self, number: int, name: str) -> StageFolder:
        """The folder of the run's stage of that number, from 0."""
        return StageFolder(self.path / CHECKPOINTS / f"{number}-{name}")

    def make(self) -> None:
        """Makes the folder, if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True)

    def check_seen(self) -> None:
        """Refuses to go on where the folder is not there, although the first process has made it.

        Raises:
            UserError: Naming the folder.
        """
        if not self.path.exists():
            raise UserError(
                f"{self.path}: the first process made this folder, and another one does not see it. All nodes of a run "
                "have to share the folder of runs; name one that they do with --output."
            )

    @contextmanager
    def lock(self, ranks: Ranks) -> Iterator[None]:
        """Keeps other processes from computing the same run. They wait, then find the result. Any exit frees the lock.

        The first process of a run holds the lock for all of its processes.
        """
        lock = FileLock(self.path / ".lock")

        def take() -> bool:
            try:
                # One process waits as long as it takes. Several look now and then, so that the first process can tell
                # the others that it still waits before they lose patience.
                lock.acquire(blocking=ranks.size == 1)
            except Timeout:
                return False
            return True

        try:
            while not ranks.first(take):
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            lock.release()

    def result(self, testing: bool) -> Result | None:
        """The result, if the run was finished before.

        Args:
            testing: Whether a result without a test does not count.
        """
        if not (self.path / RESULT).exists():
            return None
        found = Result.load(self.path)
        return found if found.tested or not testing else None

    def begin(self, config: RunConfig, fingerprint: str) -> None:
        """Notes what the folder is for, and forgets an earlier failure.

        Raises:
            UserError: If the folder was begun for something else.
        """
        mine = {"id": self.id, "protocol": PROTOCOL, "fingerprint": fingerprint}
        note = self.path / "run.json"
        if note.exists() and (found := read_json(note)) != mine:
            raise UserError(
                f"{self.path} was begun as {found}, this is {mine}. Move the folder away, or name another with "
                "--output."
            )
        write_json(note, mine)
        write_text(self.path / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
        (self.path / FAILURE).unlink(missing_ok=True)

    def save_supervision(self, data: DataModule) -> None:
        """Writes which samples show which views, and draws the pairs."""
        parts = {"train": data.train, "val": data.val, **data.test_sets}
        names = data.pools.names(np.arange(len(data.pools)))
        write_json(
            self.path / "supervision.json",
            {
                "split": {part: numbers.tolist() for part, numbers in parts.items()},
                **({} if data.folded is None else {"fold": data.config.fold, "folds": data.folded.folds}),
                "groups": data.supervision.to_json(),
                "pools": data.supervision.ranges,
                "selection": data.config.selection,
                "y_bank": data.config.y_bank,
                **({} if names is None else {"names": dict(enumerate(names))}),
            },
        )
        pictures.save_chosen(data, self.path)

    def end(self, result: Result, testing: bool) -> None:
        """Writes the result; without a test, the weights are deleted."""
        result.save(self.path)
        if not testing:
            shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turns the errors of a full or unwritable disk into a UserError."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL_DISK:
                raise UserError(
                    f"{self.path}: no space left on the disk. Free some and repeat the command; it goes on from the "
                    "last finished epoch."
                ) from error
            if error.errno in _NOT_WRITABLE:
                raise UserError(f"{error.filename or self.path}: cannot be written ({error.strerror}).") from error
            raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Loads a checkpoint, which holds tensors and plain values only.

    Raises:
        UserError: If it is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}). Delete the folder {path.parent} to train "
            "this stage again; finished runs are not touched."
        ) from error
    return checkpoint
