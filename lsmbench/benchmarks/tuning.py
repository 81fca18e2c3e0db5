"""What sweeps have found, and how: one file `benchmarks/best/<dataset>/<row>.yaml` for each row of a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, model_validator

from lsmbench.errors import UserError
from lsmbench.runs.results import mistakes, write_text

FOLDER = "best"
FINISHED, DIVERGED, PRUNED = "finished", "diverged", "pruned"
_HEAD = """\
# Parameters found by `lsmbench sweep`, and how; `lsmbench bench --tuned` uses those of the nearest N.
"""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trial(_Record):
    """One tried configuration.

    Attributes:
        number: Its place in the sweep; trial 0 is the default configuration.
        state: `finished`; `diverged`, which counts with the floor's score; or `pruned`, stopped early.
        validation: Score on the validation pairs (the floor's if diverged, the latest if pruned).
        seconds: Time of the run.
        parameters: What was tried.
    """

    number: int
    state: Literal["finished", "diverged", "pruned"]
    validation: float
    seconds: float
    parameters: dict[str, FiniteFloat]


class Candidate(_Record):
    """A trial's parameters, run again on seeds that the search has not seen.

    Attributes:
        trial: Number of the trial.
        validations: Score on the validation pairs for each seed; the floor's where it diverged.
        diverged: On how many seeds it diverged.
    """

    trial: int
    validations: Annotated[list[FiniteFloat], Field(min_length=1)]
    diverged: int = 0

    @property
    def mean(self) -> float:
        """Mean over the seeds, which candidates are compared by."""
        return sum(self.validations) / len(self.validations)


class Best(_Record):
    """The outcome of one sweep: for one row of a benchmark and one N.

    Attributes:
        study: Name of the study that holds the trials.
        benchmark: Name of the benchmark, with its size.
        row: Row of the benchmark's table.
        method: The method's word.
        amount: N in per cent, or the number of pairs; `None` if the method uses no pairs.
        unit: What `amount` counts, `%` or `pairs`.
        metric: The score that was searched by.
        higher_is_better: Its direction.
        floor: The trivial predictor's score on the validation pairs.
        parameters: The best parameters: those of the candidate with the best mean over new seeds.
        trial: Number of the trial that they come from; 0 is the default configuration.
        seed: Seed of all trials.
        seeds: The new seeds.
        candidates: What was run again: the best trials of the search, and the default configuration.
        sampler: How parameters were chosen.
        pruner: How trials were stopped early.
        space: Least and greatest value of each parameter, searched on a log scale.
        importance: Share of the validation error's variance that each parameter explains (fANOVA); empty if unknown.
        seconds: Time of all trials and repeated runs together; what was lost with killed workers is not known.
        trials: All trials in order.
        setting: The runs' configuration without what was searched.
        fingerprint: Of the dataset.
        protocol: Version of the protocol.
        environment: With what it was computed.
    """

    study: str
    benchmark: str
    row: str
    method: str
    amount: FiniteFloat | None
    unit: str
    metric: str
    higher_is_better: bool
    floor: FiniteFloat
    parameters: Annotated[dict[str, float], Field(min_length=1)]
    trial: int
    seed: int
    seeds: list[int]
    candidates: list[Candidate]
    sampler: str
    pruner: str
    space: dict[str, tuple[FiniteFloat, FiniteFloat]]
    importance: dict[str, FiniteFloat]
    seconds: FiniteFloat
    trials: list[Trial]
    setting: dict[str, Any]
    fingerprint: str
    protocol: str
    environment: dict[str, Any]

    @property
    def said(self) -> str:
        """N in words, e.g. `5 %`, `20 pairs` or `any N`."""
        if self.amount is None:
            return "any N"
        single = self.amount == 1 and self.unit in ("pairs", "units")
        return f"{self.amount:g} {self.unit.removesuffix('s') if single else self.unit}"

    def candidate(self, trial: int) -> Candidate:
        """The candidate that a trial's parameters became; a ValueError if they did not."""
        found = [c for c in self.candidates if c.trial == trial]
        if not found:
            raise ValueError(f"trial {trial} was not run again")
        return found[0]

    def best_so_far(self) -> list[float]:
        """For each trial the best validation score of those that finished up to it; NaN before the first."""
        best: list[float] = []
        choose = max if self.higher_is_better else min
        found: list[float] = []
        for trial in self.trials:
            found += [trial.validation] if trial.state == FINISHED else []
            best.append(choose(found, default=math.nan))
        return best

    def noise(self) -> float | None:
        """Standard deviation of one configuration's validation score over seeds, pooled over the candidates."""
        known = [c for c in self.candidates if not c.diverged]  # the floor's score has no noise
        squares = sum((v - c.mean) ** 2 for c in known for v in c.validations)
        freedom = sum(len(c.validations) - 1 for c in known)
        return math.sqrt(squares / freedom) if freedom > 0 else None

    @model_validator(mode="after")
    def _whole(self) -> Best:
        names = self.space.keys()
        if not self.trials or self.trials[0].number != 0:
            raise ValueError("trial 0, the default configuration, is missing")
        if (
            not names == self.parameters.keys() == self.trials[0].parameters.keys()
            or not self.importance.keys() <= names
        ):
            raise ValueError("other parameters than those of its search space")
        for trial in (0, self.trial):
            self.candidate(trial)
        return self


class Use(_Record):
    """An outcome that a benchmark uses.

    Attributes:
        row: Row of the benchmark's table.
        amounts: The values of N that it is used for.
        differs: How the benchmark's setting differs from the sweep's; sentences without a full stop.
        best: The outcome.
    """

    row: str
    amounts: list[float]
    differs: list[str]
    best: Best


def load(path: Path) -> list[Best]:
    """Reads a file of best parameters.

    Raises:
        UserError: If the file is damaged or incomplete.
    """
    try:
        return TypeAdapter(list[Best]).validate_python(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        found = mistakes(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: is not a file of best parameters ({found}). Move it away; the sweep that wrote it writes it "
            "again without repeating its trials."
        ) from error


def earlier(best: Best, folder: Path, dataset: str) -> Best | None:
    """What a row's file holds for the same benchmark and N, if anything; arguments as `save`."""
    path = _file(best, folder, dataset)
    key = (best.benchmark, best.unit, best.amount)
    return next((b for b in load(path) if (b.benchmark, b.unit, b.amount) == key), None) if path.exists() else None


def save(best: Best, folder: Path, dataset: str) -> Path:
    """Adds an outcome to its row's file, in place of an earlier one of the same benchmark and N.

    Args:
        best: The outcome.
        folder: The folder `best`.
        dataset: The dataset's word.

    Returns:
        The file.
    """
    path = _file(best, folder, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several sweeps may end at once; each keeps what the others wrote.
    with FileLock(path.parent / f".{best.row}.lock"):
        key = (best.benchmark, best.unit, best.amount)
        kept = [b for b in load(path) if (b.benchmark, b.unit, b.amount) != key] if path.exists() else []
        kept = sorted([*kept, best], key=lambda b: (b.benchmark, b.unit, -math.inf if b.amount is None else -b.amount))
        write_text(
            path,
            _HEAD + yaml.dump([b.model_dump(mode="json") for b in kept], Dumper=_Dumper, sort_keys=False, width=10_000),
        )
    return path


def _file(best: Best, folder: Path, dataset: str) -> Path:
    return folder / dataset / f"{best.row}.yaml"


def nearest(found: list[Best], amount: float, unit: str) -> Best | None:
    """The outcome for the nearest N (LSM, App. B): of least absolute difference, of two such the smaller N.

    Args:
        found: Outcomes of one row and one benchmark.
        amount: N, or a number of pairs.
        unit: What it counts.
    """
    usable = [b for b in found if b.amount is None or b.unit == unit]
    return min(
        usable, key=lambda b: (0.0, 0.0) if b.amount is None else (abs(b.amount - amount), b.amount), default=None
    )


class _Dumper(yaml.SafeDumper):
    """Writes a trial, a candidate or a list of numbers in one line, so that a file can be read and compared."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        short = ("trial" in mapping and "validations" in mapping) or "number" in mapping
        return super().represent_mapping(tag, mapping, flow_style=short or flow_style)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        numbers = all(isinstance(item, int | float) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=numbers or flow_style)

    def ignore_aliases(self, data: Any) -> bool:
        return True
