"""Runs on disk as one tidy table: a row per run and score, of validated records; damaged files are named, not used."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lsmbench.benchmarks.plan import BENCHMARK, FLOORS, Manifest, PlannedRun, Unit, is_floor, is_floor_word, refined
from lsmbench.errors import UserError
from lsmbench.runs.packed import PACKED, unpacked
from lsmbench.runs.results import EVALUATED, FAILURE, RESULT, Failure, Result, mistakes, read_json

RUNS = "runs"
RANDOM = "random"
FINISHED, FAILED, DAMAGED, LEFT_OUT, TO_COME = "finished", "failed", "damaged", "left out", "to come"
DAMAGE = (UserError, AttributeError, IndexError, KeyError, TypeError, ValueError)
KEY = ["test_set", "metric", "source", "target"]
_PRUNED = {"checkpoints"}

COLUMNS = {
    "run": "identity, of the run or evaluation",
    "of": "the run that is evaluated again; None for a run, which is tested once at its end",
    "folder": "the run's",
    "origin": "the benchmark's word, or the name of the folder of runs that were trained on their own",
    "home": "the benchmark's folder, or that folder of runs",
    "plan": "the benchmark's Manifest; None for runs that are part of no benchmark's plan",
    "state": "finished, failed, damaged, left out or to come",
    "label": "the word that the benchmark calls the row by, or the method's",
    "row": "what to print: the label, or which floor it is",
    "floor": "whether the run is a trivial predictor's",
    "method": "the method's word",
    "paired": "N; NaN for a run that holds for every N because its method uses no pairs",
    "counts": "what N counts, a Unit",
    "seed": "of the benchmark's cell; NA for a run that holds for all",
    "fold": "which fold the run tests on; NA without folds",
    "folds": "number of folds; NaN without folds, and of a run without a result",
    "seeds": "of supervision and initial weights",
    "dataset": "its word",
    "fingerprint": "the data's",
    "protocol": "its version",
    "test_set": "name of the test set",
    "metric": "the metric's word; None without a score, as for what follows",
    "source": "view that was given",
    "target": "view that was predicted",
    "higher_is_better": "the metric's direction",
    "primary": "whether methods are compared by this score",
    "value": "the run's score; NaN if the metric is undefined",
    "pooled": "whether the value is one over all samples together, not a mean over samples",
    "n": "number of test samples",
    "samples": "hash of the test samples' numbers; with folds, of how the pairs are dealt to them",
    "validation": "score on the validation pairs",
    "pairs": "training pairs that the run saw",
    "val_pairs": "validation pairs that it saw",
    "rule": "selection rule of the epoch",
    "choice": "how pairs were chosen",
    "full_budget": "whether the run trains for all its epochs, whatever the validation says",
    "wall_s": "wall time; of an evaluation its own",
    "updates": "number of updates; NaN of an evaluation",
    "parameters": "number of trained parameters",
    "record": "the whole Result, Failure, or reason why the file cannot be used",
    "facts": "what the result says of its run, as `Facts`",
    "score": "the whole Score, with the values of its samples",
}
"""The columns of a frame of runs; `read` adds `setting`, which runs of one mean share."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


class _Stage(_Section):
    stage: str | None = None
    monitor: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    value: float | None = None
    last: float | None = None
    budget: str | None = None


class _Selection(_Section):
    rule: str | None = None
    stages: list[_Stage] = []


class _Method(_Section):
    name: str


class _Supervision(_Section):
    paired: float = 100.0
    paired_count: int | None = None
    by: str = "sample"  # runs from before there was a choice count samples
    supervision_seed: int | None = None
    # Becomes a part of a file's name. Runs from before there was a choice took pairs at random.
    folds: int | str | None = None
    fold: int = 0
    split_seed: int | None = None
    selection: Annotated[str, Field(pattern=r"^\w[\w-]*$")] = RANDOM


class _Training(_Section):
    init_seed: int | None = None


class _Config(_Section):
    method: _Method
    supervision: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Facts(_Section):
    """What pages need to know of a run beyond its scores, checked."""

    method: _Method
    supervision: _Supervision
    training: _Training = _Training()
    dataset: dict[str, Any] = {}
    selection: _Selection
    views: dict[str, Any] = {}
    in_training: dict[str, set[int]] = {}

    @classmethod
    def of(cls, result: Result) -> Facts:
        """Those of a result.

        Raises:
            ValidationError: If a section lacks something or holds something else.
        """
        values = {**result.config, "selection": result.selection}
        values |= {name: result.dataset.get(name, {}) for name in ("views", "in_training")}
        values["dataset"] = result.dataset
        return cls.model_validate(values)

    @property
    def amount(self) -> tuple[Unit, float]:
        """N and what it counts."""
        count, units = self.supervision.paired_count, self.supervision.by == "unit"
        if count is None:
            return (Unit.PERCENT_OF_UNITS if units else Unit.PERCENT), self.supervision.paired
        return (Unit.UNITS if units else Unit.PAIRS), float(count)

    @property
    def fold(self) -> int | None:
        """Which fold was tested; `None` without folds."""
        return None if self.supervision.folds is None else self.supervision.fold

    @property
    def folds(self) -> int | None:
        """Number of folds; `None` without folds."""
        return None if self.supervision.folds is None else int(self.dataset.get("folds", self.supervision.folds))

    @property
    def seeds(self) -> tuple[int | None, int | None]:
        """Of supervision and initial weights."""
        return self.supervision.supervision_seed, self.training.init_seed


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark's folder holds.

    Attributes:
        folder: The benchmark's folder.
        plan: What `benchmark.json` says.
        every: A row per planned run and score, in the order of the plan; a run without a result has one row. So have
            evaluations of these runs with refined codes, planned or made by `lsmbench test`.
        problems: What is wrong with which file, by run.
        strangers: Number of run folders that are not part of the benchmark.
    """

    folder: Path
    plan: Manifest
    every: pd.DataFrame
    problems: tuple[tuple[str, str], ...]
    strangers: int

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The frame of what can stand in one table; see `comparable`."""
        return comparable(self.every)


@dataclass(frozen=True)
class Found:
    """What some folders hold.

    Attributes:
        runs: A row per run and score, those of benchmarks first. A run that lies in several folders is there for each.
        problems: Sentences about files that could not be used.
        untested: Number of runs without a test, such as trials of sweeps.
    """

    runs: pd.DataFrame
    problems: tuple[str, ...]
    untested: int


def read_benchmark(folder: Path, wanted: Callable[[PlannedRun], bool] | None = None) -> Benchmark:
    """Reads a benchmark's folder; damaged run files are named among the problems, not raised.

    Args:
        folder: The benchmark's folder.
        wanted: Which of the planned runs to read; `None`: all.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    plan = _with_evaluations(Manifest.load(folder), folder / RUNS)
    packed = unpacked(folder)
    rows: list[dict[str, Any]] = []
    problems: list[tuple[str, str]] = []
    for run in plan.runs:
        if wanted is not None and not wanted(run):
            continue
        home = run.folder(folder / RUNS)
        head: dict[str, Any] = {"origin": plan.name, "home": folder, "plan": plan, "folder": home, "seed": run.seed}
        head |= {"fold": run.fold, "of": run.of}
        head |= {"run": run.id, "label": run.method, "paired": run.paired, "counts": plan.unit}
        found, wrong = _read_run(home, run, packed)
        rows += [head | one for one in found]
        problems += [(run.id, message.replace(str(folder) + os.sep, "")) for message in wrong]
    known = {run.id for run in plan.runs}
    homes = {path.name for path in folder.glob(f"{RUNS}/*/") if not path.name.startswith(".")}
    return Benchmark(folder, plan, frame(rows), tuple(problems), len(homes - known))


def read(folders: Iterable[Path], wanted: Callable[[PlannedRun], bool] | None = None) -> Found:
    """Reads every result below some folders, at any depth: benchmarks and runs that were trained on their own.

    Args:
        folders: Where to look.
        wanted: Which of the runs that a benchmark planned to read; `None`: all.

    Raises:
        UserError: If a folder is missing. Damaged files are named among the problems.
    """
    tops, homes = _find(folders)
    benchmarks: list[Benchmark] = []
    problems: list[str] = []
    for folder in tops:
        try:
            benchmarks.append(one := read_benchmark(folder, wanted))
            problems += [f"{folder}{os.sep}{message}" for _, message in one.problems]
        except UserError as error:
            problems.append(str(error))
    planned = {run.folder(one.folder / RUNS) for one in benchmarks for run in one.plan.runs}
    rows: list[dict[str, Any]] = []
    untested = 0
    for home in homes:
        if home in planned:
            continue
        try:
            result = Result.load(home)
            if result.scores:  # what a test lacked to give any is told where the run was made
                rows += _alone(home, result, benchmarks)
            else:
                untested += 1
        except DAMAGE as error:
            problems.append(_told(home / RESULT, error))
    # Order of display: benchmarks and their rows in the order of the plan, then methods by name.
    rows.sort(key=lambda row: str(row["label"]))
    frames = [*(_displayed(one) for one in benchmarks), frame(rows)]
    runs = pd.concat([one for one in frames if len(one)] or frames[-1:], ignore_index=True)
    runs["setting"] = pd.Series(map(_setting, runs["record"]), index=runs.index, dtype=object)
    return Found(runs, tuple(dict.fromkeys(problems)), untested)


def _setting(record: object) -> str | None:
    """What the runs of one row share, as text; `None` of a run that has not ended."""
    if not isinstance(record, Result | Failure):
        return None
    setting = record.setting if isinstance(record, Result) else None
    if setting is None:
        from lsmbench.runs.config import setting_of  # imports torch, which takes seconds

        setting = setting_of(record.config)
    return json.dumps(setting, sort_keys=True, default=str)


def comparable(runs: pd.DataFrame) -> pd.DataFrame:
    """Leaves out what must not stand in one table.

    Finished runs compare if they share the protocol's version and the dataset's fingerprint; the largest such group is
    kept, of equally large ones that of the first run.

    Args:
        runs: A benchmark's frame.

    Returns:
        The frame in which each other finished run has one row, without a score, in the state `left out`.
    """
    done = runs["state"] == FINISHED
    if not done.any():
        return runs
    group = runs[done].groupby(["protocol", "fingerprint"], sort=False)
    size = group["run"].transform("nunique")
    most = group.ngroup()[size == size.max()].iloc[0]
    other = done & (group.ngroup().reindex(runs.index) != most)
    left_out = runs[other].drop_duplicates("run").assign(state=LEFT_OUT, metric=None, score=None, value=math.nan)
    kept: pd.DataFrame = pd.concat([runs[~other], left_out])
    return kept.sort_index(kind="stable")


def lines(runs: pd.DataFrame) -> Iterator[Any]:
    """The lines of a frame, each with the columns as attributes."""
    return iter(runs.itertuples())


def samples(runs: pd.DataFrame) -> pd.DataFrame:
    """The scores of single samples.

    Args:
        runs: A frame of runs.

    Returns:
        A row per run, score and test sample: the frame's columns with `sample`, its `unit` and `name` (missing without
        one), and `score`, a number.
    """
    scored = runs[runs["metric"].notna()]
    lists = {
        "sample": [score.indices for score in scored["score"]],
        "unit": [score.units or [None] * len(score.indices) for score in scored["score"]],
        "name": [score.names or [None] * len(score.indices) for score in scored["score"]],
        "score": [score.values for score in scored["score"]],
    }
    return scored.assign(**lists).explode(list(lists), ignore_index=True).astype({"score": float})


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A frame of runs; what a row does not say is missing in it."""
    types: dict[str, Any] = {"seed": "Int64", "fold": "Int64", "floor": bool} | dict.fromkeys(
        ("paired", "folds", "value", "validation", "pairs", "val_pairs", "wall_s", "updates", "parameters"), float
    )
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=types.get(name, object)) for name in COLUMNS}
    return pd.DataFrame(columns)


def _with_evaluations(plan: Manifest, runs: Path) -> Manifest:
    """The plan with those evaluations of its runs with refined codes that are on disk without being planned.

    Each has a row below that of its run. What cannot be read is left out: nothing planned is missing then.

    Args:
        plan: What `benchmark.json` says.
        runs: The folder of runs.
    """
    planned = {run.id for run in plan.runs}
    found: list[PlannedRun] = []
    evaluated = defaultdict(list)
    for path in sorted(runs.glob(f"*/{EVALUATED}/*-refine-*/{RESULT}")):
        evaluated[path.parents[2].name].append(path)
    for run in plan.runs:
        for path in evaluated[run.id] if run.of is None else ():
            try:
                asked = read_json(path)["config"]["evaluation"]
                if path.parent.name not in planned and asked["refine_steps"]:
                    row = _refined(run.method, asked)
                    found.append(run.model_copy(update={"id": path.parent.name, "method": row, "of": run.id}))
            except DAMAGE:
                continue
    return plan.with_evaluations(found) if found else plan


def _refined(row: str, evaluation: dict[str, Any]) -> str:
    """What to call the row of runs that are evaluated with refined codes."""
    from lsmbench.evaluations import told  # imports torch, which a benchmark's report does without

    return refined(row, told(evaluation))


def _read_run(home: Path, run: PlannedRun, packed: dict[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a planned run, without what the plan knows, and what is wrong with its files.

    Args:
        home: The run's folder.
        run: As it was planned.
        packed: Results in the benchmark's packed file, for a run without a folder.
    """
    wrong: list[str] = []

    def attempt(path: Path, load: Callable[[Path], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        try:
            return load(path.parent) if path.exists() else []
        except DAMAGE as error:
            wrong.append(_told(path, error))
            return []

    def failed(place: Path) -> list[dict[str, Any]]:
        failure = Failure.load(place)
        if failure.id != place.name:
            raise ValueError(f"belongs to run {failure.id}")
        _Config.model_validate(failure.config)
        return [_named(run.method, failure.config) | {"state": FAILED, "record": failure, "pooled": False}]

    if run.id in packed and not home.exists():
        try:
            return _finished(Result.checked(json.loads(packed[run.id]), Path(PACKED)), run.method, run.id), []
        except DAMAGE as error:
            return [{"state": DAMAGED, "row": run.method, "floor": is_floor_word(run.method)}], [
                _told(Path(PACKED), error)
            ]
    found = attempt(home / RESULT, lambda home: _finished(Result.load(home), run.method, run.id))
    found = found or attempt(home / FAILURE, failed)
    if not found and run.of is not None and not (home.parents[1] / RESULT).exists():
        with suppress(*DAMAGE):  # what is wrong with the run's own files is told of the run
            found = failed(home.parents[1])
    state = {"state": DAMAGED if wrong else TO_COME, "row": run.method, "floor": is_floor_word(run.method)}
    return found or [state], wrong


def _finished(result: Result, label: str, identity: str | None = None) -> list[dict[str, Any]]:
    """A finished run's rows; raises one of `DAMAGE` if its result cannot be used."""
    if identity is not None and result.id != identity:
        raise ValueError(f"belongs to run {result.id}")
    if not result.tested:
        raise ValueError("holds no scores")
    for score in result.scores:
        if not score.values:
            raise ValueError(f"{score.metric} has no value")
        if any(map(math.isinf, (*score.values, score.pooled or 0.0))):
            raise ValueError(f"a score of {score.metric} is infinite")
    facts = Facts.of(result)
    head = _named(label, result.config) | {
        "state": FINISHED,
        "method": facts.method.name,
        "seeds": facts.seeds,
        "fold": facts.fold,
        "folds": facts.folds,
        "dataset": str(result.dataset.get("name", "unknown")),
        "fingerprint": str(result.dataset.get("fingerprint", "unknown")),
        "protocol": result.protocol,
        "validation": result.validation,
        "rule": facts.selection.rule,
        "choice": facts.supervision.selection,
        "full_budget": any(stage.budget == "full" for stage in facts.selection.stages),
        **{name: result.supervision.get(name) for name in ("pairs", "val_pairs")},
        **_cost(result),
        "record": result,
        "facts": facts,
    }
    if not result.scores:
        return [head]
    return [
        head
        | {name: getattr(score, name) for name in (*KEY, "higher_is_better", "value")}
        | {
            "primary": score is result.primary,
            "pooled": score.pooled is not None,
            "n": len(score.indices),
            "samples": hashlib.sha256(repr(_samples_of(score.indices, facts)).encode()).hexdigest(),
            "score": score,
        }
        for score in result.scores
    ]


def _cost(result: Result) -> dict[str, Any]:
    """What a run cost; what an evaluation cost beside the training, which is its run's."""
    cost = result.cost
    if "evaluation" in result.config:
        return {"wall_s": cost.get("evaluation_s"), "parameters": cost.get("parameters")}
    return {name: cost.get(name) for name in ("wall_s", "updates", "parameters")}


def _samples_of(indices: list[int], facts: Facts) -> object:
    """What is the same for all runs on the same test samples; those of several folds are on the same together."""
    return indices if facts.folds is None else ["folds", facts.folds, facts.supervision.split_seed]


def _named(label: str, config: dict[str, Any]) -> dict[str, Any]:
    """What to call the row of a run that has ended."""
    if not is_floor(config):
        return {"row": label, "floor": False}
    kind = str(config["method"].get("kind") or "")
    return {"row": FLOORS.get(kind, f"floor ({kind})" if kind else label), "floor": True}


def _alone(home: Path, result: Result, benchmarks: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """The rows of a run that is part of no benchmark's plan."""
    from lsmbench.methods import METHODS

    facts = Facts.of(result)
    unit, paired = facts.amount
    no_pairs = is_floor(result.config)
    if paired == 0 and (kind := METHODS.get(result.method)):
        known = kind.Config.__dataclass_fields__  # the run may be of a version with other options
        options = {name: value for name, value in result.config["method"].items() if name in known}
        no_pairs |= not kind.learns_from_pairs(kind.Config(**options))
    # A run in a benchmark's folder may be of an earlier plan, or of one that is damaged.
    again = result.config.get("evaluation") or {}
    top = (home.parents[1] if again and home.parent.name == EVALUATED else home).parent
    earlier = [one.plan.name for one in benchmarks if top == one.folder / RUNS]
    inside = top.name == RUNS and (top.parent / BENCHMARK).exists()
    origin = f"{top.parent.name}/{RUNS}" if inside else top.name
    label = _refined(result.method, again) if again.get("refine_steps") else result.method
    head = {
        "run": result.id,
        "of": home.parents[1].name if again else None,
        "folder": home,
        "origin": f"{earlier[0]}, earlier" if earlier else origin,
        "home": top,
        "label": label,
        "paired": None if no_pairs else paired,
        "counts": unit,
        "seed": facts.training.init_seed,
        "fold": facts.fold,
    }
    return [head | row for row in _finished(result, label)]


def _displayed(benchmark: Benchmark) -> pd.DataFrame:
    places = {method: place for place, method in enumerate(benchmark.plan.methods)}
    return benchmark.every.sort_values("label", key=lambda labels: labels.map(places), kind="stable")


def _find(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """The folders of benchmarks and of runs below some folders, each once."""
    benchmarks: dict[str, Path] = {}
    homes: dict[str, Path] = {}
    for top in folders:
        if not top.is_dir():
            raise UserError(f"{top}: no such folder. Name folders that hold results, such as results and runs.")
        real = os.path.realpath(top)
        for place, inside, files in os.walk(top):  # below the top it follows no links
            inside[:] = sorted(name for name in inside if not name.startswith(".") and name not in _PRUNED)
            for name, found in ((BENCHMARK, benchmarks), (RESULT, homes)):
                if name in files:
                    found.setdefault(os.path.normpath(os.path.join(real, os.path.relpath(place, top))), Path(place))
    return list(benchmarks.values()), list(homes.values())


def _told(path: Path, error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    said = mistakes(error) if isinstance(error, ValidationError) else str(error) or type(error).__name__
    return f"{path}: {said}."
