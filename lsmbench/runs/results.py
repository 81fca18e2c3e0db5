"""What a run leaves on disk: `result.json` when it finished, `failure.json` when it could not. Plain values only."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsmbench.errors import UserError
from lsmbench.scores import Score

SCHEMA = 1
RESULT, FAILURE = "result.json", "failure.json"
PANEL = "panel.npz"
CHOSEN = "chosen.png"


@dataclass
class Result:
    """A finished run.

    Attributes:
        id: The run's identity and the name of its folder.
        protocol: Version of the protocol that made the scores; other versions are not comparable.
        config: The run's whole configuration, plain values.
        dataset: Name, fingerprint, views, and sample counts of train, val and test.
        supervision: Numbers of `pairs`, of view-only samples (`x`, `y`) and of validation pairs (`val_pairs`).
        selection: The rule, and per stage the chosen epoch (from 0), the monitored value's name, its direction and
            its value, that of the last epoch, the number of epochs trained, whether early stopping ended the stage, and
            whether the stage's budget is the full one.
        scores: One entry per direction and metric; the first is the one that methods are compared by. None without a
            test.
        validation: The primary metric's mean on the validation pairs, from the selected weights.
        cost: `wall_s` (whole run), `train_s`, `epochs`, `updates`, `parameters`, `peak_memory_mb`.
        environment: Versions, git commit, hardware.
        warnings: What a reader of the scores has to know.
    """

    id: str
    protocol: str
    config: dict[str, Any]
    dataset: dict[str, Any]
    supervision: dict[str, int]
    selection: dict[str, Any]
    scores: list[Score]
    validation: float | None
    cost: dict[str, float]
    environment: dict[str, Any]
    schema: int = SCHEMA
    warnings: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        """The method's word."""
        return str(self.config["method"]["name"])

    @property
    def paired(self) -> float:
        """N: percentage of paired samples."""
        return float(self.config["supervision"]["paired"])

    @property
    def seed(self) -> int:
        """The seed that the supervision and the initialisation share in a benchmark."""
        return int(self.config["training"]["init_seed"])

    @property
    def primary(self) -> Score:
        """The score that methods are compared by."""
        return self.scores[0]

    def save(self, folder: Path) -> None:
        """Writes `result.json` atomically."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        write_json(folder / RESULT, values | {"scores": [score.model_dump(mode="json") for score in self.scores]})

    @classmethod
    def load(cls, folder: Path) -> Result:
        """Reads `result.json`.

        Raises:
            UserError: If the file is missing, damaged, or written by a version with another layout.
        """
        path = folder / RESULT
        raw = read_json(path)
        if raw.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: has result layout {raw.get('schema')!r}, this version of lsmbench reads {SCHEMA}. "
                "Read it with the version that wrote it, or move the folder away and run again."
            )
        try:
            scores = [Score(**score) for score in raw.pop("scores")]
            return cls(scores=scores, **raw)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: is not a complete result ({error}). Move it away and run again.") from error


@dataclass
class Failure:
    """A run that ended without a result.

    Attributes:
        id: The run's identity.
        kind: `diverged`, `failed` (an error of the program or machine) or `user` (something to mend).
        reason: One sentence.
        where: Stage and epoch, if training had begun.
        config: The run's whole configuration.
        detail: The traceback, for `failed`.
    """

    id: str
    kind: str
    reason: str
    where: str
    config: dict[str, Any]
    detail: str = ""

    def save(self, folder: Path) -> None:
        """Writes `failure.json` atomically."""
        write_json(folder / FAILURE, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Failure:
        """Reads `failure.json`."""
        path = folder / FAILURE
        try:
            return cls(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path}: is not a complete record ({error}). Delete it and run again.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}). Move it away and run again.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}.")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON atomically (NaN as null)."""
    write_text(path, json.dumps(_without_nan(value), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file or nothing, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing: into a temporary file beside it, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return value
