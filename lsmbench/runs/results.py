"""What a run leaves on disk: `result.json` when it finished, `failure.json` when it could not. Plain values only."""

from __future__ import annotations

import json
import math
import os
import reprlib
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from lsmbench.errors import UserError
from lsmbench.scores import Score

SCHEMA = 1
RESULT, FAILURE = "result.json", "failure.json"
PANEL = "panel.npz"
CHOSEN = "chosen.png"
LATENTS = "latents.npz"
GENERATED = "generated.npz"
REFINEMENT = "refinement.npz"
EVALUATED = "evaluations"
"""The folder inside a run's folder that holds the results of further evaluations, each in a folder of its own."""


class Record(BaseModel):
    """A JSON file of plain values in a folder, checked when it is read.

    Attributes:
        FILE: The file's name.
        NAME: What it is, for errors.
        REMEDY: What to do if it is not, for errors.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, coerce_numbers_to_str=True)
    FILE: ClassVar[str]
    NAME: ClassVar[str]
    REMEDY: ClassVar[str]

    def save(self, folder: Path) -> None:
        """Writes the file atomically."""
        write_json(folder / self.FILE, plain(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the file.

        Raises:
            UserError: If it is missing, damaged, incomplete, or written by a version with another layout.
        """
        path = folder / cls.FILE
        return cls.checked(read_json(path), path)

    @classmethod
    def checked(cls, raw: dict[str, Any], path: Path) -> Self:
        """Checks what a file holds.

        Args:
            raw: Its content.
            path: The file, for errors.

        Raises:
            UserError: If it is incomplete, or written by a version with another layout.
        """
        if "layout" in cls.model_fields and raw.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: has {cls.NAME} layout {raw.get('schema')!r}, this version of lsmbench reads {SCHEMA}. "
                f"Read it with the version that wrote it. Otherwise: {cls.REMEDY}"
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise UserError(f"{path}: is not a complete {cls.NAME} ({mistakes(error)}). {cls.REMEDY}") from error


def plain(record: Record) -> dict[str, Any]:
    """What a record's file holds: plain values, NaN as `None`."""
    values: dict[str, Any] = _without_nan(record.model_dump(mode="json", by_alias=True))
    return values


def mistakes(error: ValidationError, most: int = 3) -> str:
    """Says what pydantic found wrong, in one line: where, what was expected, what was found."""
    told = []
    for one in error.errors(include_url=False)[:most]:
        where = ".".join(map(str, one["loc"]))
        found = "" if one["type"] in ("missing", "value_error") else f", found {reprlib.repr(one['input'])}"
        told.append(f"{where}: {one['msg']}{found}".removeprefix(": "))
    return "; ".join(told) + ("; …" if error.error_count() > most else "")


class Result(Record):
    """A finished run, `result.json`.

    Attributes:
        id: The run's identity and the name of its folder.
        protocol: Version of the protocol that made the scores; other versions are not comparable.
        config: The run's whole configuration, plain values.
        dataset: Name, fingerprint, views, and sample counts of train, val, test and of all `test_sets` by name;
            `in_training`, the test samples whose source is that of a training sample too, if there are some.
        supervision: Numbers of `pairs`, of view-only samples (`x`, `y`) and of validation pairs (`val_pairs`).
        selection: The rule, and per stage the chosen epoch (from 0), the monitored value's name, its direction and
            its value, that of the last epoch, the number of epochs trained, whether early stopping ended the stage, and
            whether the stage's budget is the full one.
        scores: One entry per direction and metric; the first is the one that methods are compared by. None without a
            test, or if the test lacks something.
        judge: Who turns predicted targets into what is compared with the truth, as `Domain.judged`; empty without one.
        lacks: What a test lacked to give scores, a sentence without a full stop; empty if it lacked nothing.
        validation: The primary metric's mean on the validation pairs, from the selected weights.
        cost: `wall_s` (whole run), `train_s`, `epochs`, `updates`, `parameters`, `peak_memory_mb`.
        environment: Versions, git commit, hardware.
        warnings: What a reader of the scores has to know.
        saw: Whose weights the method starts from, if these learnt from other data; empty if it saw this data alone.
        setting: What the runs of one row share, as `config.setting_of` tells it of the configuration, for readers that
            do without torch; `None` in results from before it was kept.
    """

    FILE, NAME, REMEDY = RESULT, "result", "Move it away and run again."

    id: str
    protocol: str
    config: dict[str, Any]
    dataset: dict[str, Any]
    supervision: dict[str, int]
    selection: dict[str, Any]
    scores: list[Score]
    validation: float | None
    cost: dict[str, int | float]
    environment: dict[str, Any]
    layout: int = Field(default=SCHEMA, alias="schema")
    warnings: list[str] = []
    saw: str = ""
    lacks: str = ""
    judge: dict[str, Any] = {}
    setting: dict[str, Any] | None = None

    @field_validator("cost", mode="before")
    @classmethod
    def _known(cls, cost: Any) -> Any:
        return {k: v for k, v in cost.items() if v is not None} if isinstance(cost, dict) else cost

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
    def sizes(self) -> dict[str, int]:
        """Sample counts of train, val and each test set, as far as they are known."""
        sets = self.dataset.get("test_sets")
        known = {part: self.dataset.get(part) for part in ("train", "val", "test")}
        known |= sets if isinstance(sets, dict) else {}
        if sets and "test" not in sets:
            del known["test"]
        return {part: count for part, count in known.items() if isinstance(count, int)}

    @property
    def tested(self) -> bool:
        """Whether there was a test, which may have lacked what scores need; trials of sweeps have none."""
        return bool(self.scores or self.lacks)

    @property
    def primary(self) -> Score:
        """The score that methods are compared by; there is one if the result has scores."""
        return self.scores[0]


class Failure(Record):
    """A run that ended without a result, `failure.json`.

    Attributes:
        id: The run's identity.
        kind: `diverged`, `failed` (an error of the program or machine) or `user` (something to mend).
        reason: One sentence.
        where: Stage and epoch, if training had begun.
        config: The run's whole configuration.
        detail: The traceback, for `failed`.
    """

    FILE, NAME, REMEDY = FAILURE, "record of a failure", "Delete it and run again."

    id: str
    kind: str
    reason: str
    where: str
    config: dict[str, Any]
    detail: str = ""


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        value = from_json(path.read_bytes())
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
    write_bytes(path, text.encode(errors="backslashreplace"))  # a name may hold bytes that are no UTF-8


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
