"""A benchmark's plan, `benchmark.json`: its runs, its rows and columns, published values and outcomes of sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED, Use
from lsmbench.errors import UserError
from lsmbench.runs.results import read_json

SCHEMA = 1
BENCHMARK = "benchmark.json"
FLOORS = {"constant": "floor (constant)", "copy": "floor (copy of the input)"}


class Unit(StrEnum):
    """What N counts, and how an N is called: the only place that knows the difference."""

    PERCENT = "%"
    PAIRS = "pairs"

    @property
    def meaning(self) -> str:
        """What N is, for readers; continues "N is"."""
        if self is Unit.PAIRS:
            return "the number of training samples whose pair the methods may see; whatever else they see is not paired"
        return "the percentage of training samples whose pair the methods may see; the rest shows one view only"

    def number(self, n: float) -> str:
        """N alone, e.g. `5` or `2975`."""
        return f"{n:.12g}" if self is Unit.PAIRS else f"{n:g}"

    def amount(self, n: float) -> str:
        """N with its unit, e.g. `5 %`, `20 pairs` or `1 pair`."""
        return f"{self.number(n)} {'pair' if self is Unit.PAIRS and n == 1 else self.value}"

    def word(self, n: float) -> str:
        """N as a part of a file's name, e.g. `N5` or `20pairs`."""
        return f"{self.number(n)}pairs" if self is Unit.PAIRS else f"N{self.number(n)}"

    def tells(self, n: float, pairs: Span | None) -> bool:
        """Whether N itself already tells these numbers of pairs."""
        return self is Unit.PAIRS and (pairs is None or pairs.low == pairs.high == n)


@dataclass(frozen=True)
class PlannedRun:
    """A cell's run as the benchmark planned it.

    Attributes:
        id: The run's identity and the name of its folder.
        method: The method's word.
        paired: N; `None` for a run that holds for every N because its method uses no pairs.
        seed: `None` for a run that does not depend on a seed.
    """

    id: str
    method: str
    paired: float | None
    seed: int | None


@dataclass(frozen=True)
class Published:
    """Values that a paper reports.

    Attributes:
        source: Which paper, which table.
        metric: The metric's word.
        values: Method, then N, then the value.
        note: How the paper's setting differs from the benchmark's; empty if it does not.
        any_n: Methods without pairs whose one value the paper means for every N.
    """

    source: str
    metric: str
    values: dict[str, dict[float, float]]
    note: str = ""
    any_n: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for method in self.any_n:
            values = set(self.values.get(method, {}).values())
            if len(values) != 1:
                raise ValueError(f"published.any_n: {method} has {len(values)} different values, expected one")

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Published:
        """Reads one block of `benchmark.json`."""
        return cls(
            source=str(raw["source"]),
            metric=str(raw["metric"]),
            values={
                str(method): {float(n): float(value) for n, value in values.items()}
                for method, values in raw["values"].items()
            },
            note=str(raw.get("note") or ""),
            any_n=tuple(str(method) for method in raw.get("any_n") or ()),
        )


@dataclass(frozen=True)
class Manifest:
    """What `benchmark.json` says: the runs of a benchmark and how to present them; holds no training code.

    Attributes:
        name: The benchmark's word.
        title: Headline.
        description: A sentence or two.
        dataset: The dataset's word.
        methods: Methods in order of display.
        summaries: One line about a method.
        paired: The values of N in order of display.
        unit: What N counts.
        seeds: The seeds in order.
        size: Named network size, `None` for the papers' own.
        runs: Every run of the benchmark.
        skipped: Methods that are not run, with the reason.
        primary_metric: Metric that methods are compared by.
        published: Papers' values, by metric and source; where several have a value, the first counts.
        command: What to type to run the benchmark again.
        tuned: Outcomes of sweeps that the rows use; `None` if the benchmark was run with its own parameters.
    """

    name: str
    title: str
    description: str
    dataset: str
    methods: tuple[str, ...]
    summaries: dict[str, str]
    paired: tuple[float, ...]
    unit: Unit
    seeds: tuple[int, ...]
    size: str | None
    runs: tuple[PlannedRun, ...]
    skipped: tuple[tuple[str, str], ...]
    primary_metric: str
    published: tuple[Published, ...]
    command: str
    tuned: tuple[Use, ...] | None = None

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Reads `benchmark.json` from a benchmark's folder.

        Raises:
            UserError: If the folder or the file is missing, damaged, or written by a version with another layout.
        """
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder. Give the folder of a benchmark, the one that holds {BENCHMARK}."
            )
        path = folder / BENCHMARK
        if not path.is_file():
            raise UserError(f"{folder}: holds no {BENCHMARK}, so it is not the folder of a benchmark.")
        raw = read_json(path)
        if raw.get("schema") != SCHEMA:
            raise UserError(
                f"{path}: has benchmark layout {raw.get('schema')!r}, this version of lsmbench reads {SCHEMA}. "
                "Read it with the version that wrote it."
            )
        try:
            return cls._parse(raw)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            kind = type(error).__name__
            raise UserError(
                f"{path}: is not a complete benchmark ({kind}: {error}). Start the benchmark again."
            ) from error

    @classmethod
    def _parse(cls, raw: dict[str, Any]) -> Manifest:
        runs = tuple(
            PlannedRun(
                id=_folder_name(run["id"]),
                method=str(run["method"]),
                paired=None if run["paired"] is None else float(run["paired"]),
                seed=None if run["seed"] is None else int(run["seed"]),
            )
            for run in raw["runs"]
        )
        skipped = tuple((str(entry["method"]), str(entry["reason"])) for entry in raw.get("skipped", []))
        paired = [float(n) for n in raw["paired"]] + [run.paired for run in runs if run.paired is not None]
        methods = [str(m) for m in raw["methods"]] + [run.method for run in runs] + [method for method, _ in skipped]
        if not paired:
            raise ValueError("'paired' is empty")
        counted = raw.get("paired_unit", "%")
        if counted not in list(Unit):
            raise ValueError(f"'paired_unit' is {counted!r}, expected one of {', '.join(Unit)}")
        unit = Unit(counted)
        broken = [n for n in paired if n % 1 or n < 0]
        if unit is Unit.PAIRS and broken:
            raise ValueError(f"'paired' counts pairs, found {broken[0]:g}")
        said = raw.get("published") or []
        tuned = raw.get("tuned")
        return cls(
            name=str(raw["name"]),
            title=str(raw.get("title") or raw["name"]),
            description=str(raw.get("description") or ""),
            dataset=str(raw["dataset"]),
            methods=tuple(dict.fromkeys(methods)),
            summaries={str(k): str(v) for k, v in (raw.get("method_summaries") or {}).items()},
            paired=tuple(dict.fromkeys(paired)),
            unit=unit,
            seeds=tuple(int(seed) for seed in raw["seeds"]),
            size=None if raw.get("size") is None else str(raw["size"]),
            runs=runs,
            skipped=skipped,
            primary_metric=str(raw["primary_metric"]),
            published=tuple(Published.parse(block) for block in ([said] if isinstance(said, dict) else said)),
            command=str(raw.get("command") or ""),
            tuned=None if tuned is None else tuple(_use(entry, methods) for entry in tuned),
        )


class Span(NamedTuple):
    """Smallest and largest of some numbers that should be equal."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Span | None:
        """The span of the values, `None` without any."""
        known = list(values)
        return cls(min(known), max(known)) if known else None


def is_floor(config: dict[str, Any]) -> bool:
    """Whether a run's configuration is that of a trivial predictor."""
    method = config.get("method")
    return isinstance(method, dict) and method.get("name") == "floor"


def _use(raw: dict[str, Any], methods: Sequence[str]) -> Use:
    """Reads an outcome and checks what a damaged or hand-edited one could lack; the report relies on it."""
    use = Use.from_dict(raw)
    best, where = use.best, f"'tuned' for {use.row!r}"
    if use.row not in methods:
        raise ValueError(f"{where}: the benchmark has no such row")
    if [trial.number for trial in best.trials[:1]] != [0] or not all(
        c.validations for c in (best.candidate(0), *best.candidates)
    ):
        raise ValueError(f"{where}: the default configuration or a candidate has no score")
    names = best.space.keys()
    if not names == best.parameters.keys() == best.trials[0].parameters.keys() or not best.importance.keys() <= names:
        raise ValueError(f"{where}: other parameters than those of its search space")
    numbers = [
        *([] if best.amount is None else [best.amount]),
        *(best.floor, best.seconds, *best.importance.values(), *best.trials[0].parameters.values()),
        *(bound for low, high in best.space.values() for bound in (low, high)),
        *(value for candidate in best.candidates for value in candidate.validations),
        *(trial.validation for trial in best.trials),
    ]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{where}: a score or parameter is not finite")
    if any(trial.state not in (FINISHED, DIVERGED, PRUNED) for trial in best.trials):
        raise ValueError(f"{where}: a trial's state is unknown")
    if not all(isinstance(word, str) for word in (best.unit, best.metric, best.sampler, best.pruner)):
        raise TypeError(f"{where}: a word is missing")
    return use


def _folder_name(value: Any) -> str:
    # The id becomes a path below the benchmark's folder, from where it must not lead away.
    if not isinstance(value, str) or not value or "/" in value or "\\" in value or value in {".", ".."}:
        raise ValueError(f"{value!r} is not a run id")
    return value
