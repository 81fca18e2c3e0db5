"""A benchmark's plan, `benchmark.json`: its runs, its rows and columns, published values and outcomes of sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, Strict, model_validator

from lsmbench.benchmarks.tuning import Use
from lsmbench.errors import UserError
from lsmbench.runs.results import EVALUATED, Record

SCHEMA = 1
BENCHMARK = "benchmark.json"
_SHORT = {"refine_rate": "rate", "refine_patience": "patience", "w_pixels": "λ2", "w_encoder": "λ3"}
"""What options of refinement are called in names of rows: the letters are those of semanticGAN's supplement, §3."""

FLOORS = {"constant": "floor (constant)", "copy": "floor (copy of the input)"}


class Unit(StrEnum):
    """What N counts, and how an N is called: the only place that knows the difference."""

    PERCENT = "%"
    PAIRS = "pairs"
    PERCENT_OF_UNITS = "% of units"
    UNITS = "units"

    @property
    def absolute(self) -> bool:
        """Whether N is a number of something, not a share."""
        return self in (Unit.PAIRS, Unit.UNITS)

    @property
    def meaning(self) -> str:
        """What N is, for readers; continues "N is"."""
        if self is Unit.PAIRS:
            return "the number of training samples whose pair the methods may see; whatever else they see is not paired"
        if self is Unit.PERCENT:
            return "the percentage of training samples whose pair the methods may see; the rest shows one view only"
        share = "number" if self is Unit.UNITS else "percentage"
        return (
            f"the {share} of training units (patients, persons, scenes) all of whose samples show the methods their "
            "pair; the rest shows one view only"
        )

    def number(self, n: float) -> str:
        """N alone, e.g. `5` or `2975`."""
        return f"{n:.12g}" if self.absolute else f"{n:g}"

    def amount(self, n: float) -> str:
        """N with its unit, e.g. `5 %`, `20 pairs` or `1 pair`."""
        return f"{self.number(n)} {self.value.removesuffix('s') if self.absolute and n == 1 else self.value}"

    def word(self, n: float) -> str:
        """N as a part of a file's name, e.g. `N5` or `20pairs`."""
        return f"{self.number(n)}{self.value}" if self.absolute else f"N{self.number(n)}"

    def tells(self, n: float, pairs: Span | None) -> bool:
        """Whether N itself already tells these numbers of pairs."""
        return self is Unit.PAIRS and (pairs is None or pairs.low == pairs.high == n)


def _folder_name(value: str) -> str:
    # The id becomes a path below the benchmark's folder, from where it must not lead away.
    if not value or "/" in value or "\\" in value or value in {".", ".."}:
        raise ValueError(f"{value!r} is not a run id")
    return value


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


class _Entry(Record):
    """A part of `benchmark.json`; what is `null` there has its default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, raw: Any) -> Any:
        return {key: value for key, value in raw.items() if value is not None} if isinstance(raw, dict) else raw


class PlannedRun(_Entry):
    """A cell's run as the benchmark planned it, or an evaluation of one with refined codes.

    Attributes:
        id: The identity of the run or evaluation, and the name of its folder.
        method: The word that the benchmark calls the run's row by.
        paired: N; `None` for a run that holds for every N because its method uses no pairs.
        seed: `None` for a run that does not depend on a seed.
        fold: Which fold is tested, from 0; `None` without folds.
        of: Of an evaluation, the run; `None` for a run.
    """

    id: Annotated[str, Strict(), AfterValidator(_folder_name)]
    method: str
    paired: FiniteFloat | None = None
    seed: int | None = None
    fold: int | None = None
    of: Annotated[str, Strict(), AfterValidator(_folder_name)] | None = None

    def folder(self, runs: Path) -> Path:
        """Where its result lies.

        Args:
            runs: The folder of the benchmark's runs.
        """
        return runs / self.id if self.of is None else runs / self.of / EVALUATED / self.id


class Published(_Entry):
    """Values that a paper reports.

    Attributes:
        source: Which paper, which table.
        metric: The metric's word.
        values: Method, then N, then the value.
        note: How the paper's setting differs from the benchmark's; empty if it does not.
        any_n: Methods without pairs whose one value the paper means for every N.
        test_set: The test set that the values are of; empty: the first that has the metric.
        classes: Method, then N, then the IoU of each class that the paper prints one of, by the class's name.
    """

    source: str
    metric: str
    values: dict[str, dict[float, float]]
    note: str = ""
    any_n: tuple[str, ...] = ()
    test_set: str = ""
    classes: dict[str, dict[float, dict[str, float]]] = Field(default={})

    @model_validator(mode="after")
    def _one_for_any_n(self) -> Published:
        for method in self.any_n:
            values = set(self.values.get(method, {}).values())
            if len(values) != 1:
                raise ValueError(f"published.any_n: {method} has {len(values)} different values, expected one")
        return self


class Looks(_Entry):
    """When a benchmark decides on further seeds by looking at its results (`SEEDS=auto`).

    Attributes:
        first: Number of seeds at the first look.
        most: Number of seeds at the last one; there is a look after each seed between.
        precision: How well the difference to a column's best row shall be known: half of its interval's width.
    """

    first: int = Field(ge=2)
    most: int
    precision: FiniteFloat = Field(gt=0)

    @property
    def number(self) -> int:
        """How many looks there can be; each may go wrong with an equal part of the 5 % of all."""
        return max(1, self.most - self.first + 1)


class Skipped(_Entry):
    """A method that is not run, and why."""

    method: str
    reason: str


class Manifest(_Entry):
    """What `benchmark.json` says: the runs of a benchmark and how to present them; holds no training code.

    Attributes:
        name: The benchmark's word.
        title: Headline.
        description: A sentence or two.
        dataset: The dataset's word.
        methods: Rows in order of display, those of skipped methods included.
        summaries: One line about a method.
        paired: The values of N in order of display.
        unit: What N counts.
        seeds: The seeds in order.
        size: Named network size, `None` for the papers' own.
        runs: Every run of the benchmark, and every evaluation of one with refined codes.
        skipped: Methods that are not run, with the reason.
        primary_metric: Metric that methods are compared by.
        published: Papers' values, by metric and source; where several have a value, the first counts.
        command: What to type to run the benchmark again.
        folds: Number of folds that the pairs are cross-validated in; `None` for one split.
        notes: What the data made of the benchmark, in sentences.
        tuned: Outcomes of sweeps that the rows use; `None` if the benchmark was run with its own parameters.
        margins: How far apart two rows may be to be practically equal, by metric, in its unit.
        reference: The row that others are compared with; empty: `baseline`, or the first row that is no floor.
        looks: How the number of seeds was decided; `None` if it was given.
    """

    FILE, NAME, REMEDY = BENCHMARK, "benchmark", "Start the benchmark again."

    layout: int = Field(default=SCHEMA, alias="schema")
    name: str
    title: str = ""
    description: str = ""
    dataset: str
    methods: Annotated[tuple[str, ...], AfterValidator(_unique)]
    summaries: dict[str, str] = Field(default={}, alias="method_summaries")
    paired: Annotated[tuple[FiniteFloat, ...], Field(min_length=1), AfterValidator(_unique)]
    unit: Unit = Field(default=Unit.PERCENT, alias="paired_unit")
    seeds: tuple[int, ...]
    size: str | None = None
    runs: tuple[PlannedRun, ...]
    skipped: tuple[Skipped, ...] = ()
    primary_metric: str
    published: tuple[Published, ...] = ()
    command: str = ""
    folds: int | None = None
    notes: tuple[str, ...] = ()
    tuned: tuple[Use, ...] | None = None
    margins: dict[str, Annotated[FiniteFloat, Field(gt=0)]] = Field(default={})
    reference: str = ""
    looks: Looks | None = None

    @model_validator(mode="before")
    @classmethod
    def _everything_named(cls, raw: Any) -> Any:
        """Adds rows and values of N that only a run or a reason names, and puts one block of published values alone."""
        if not isinstance(raw, dict):
            return raw
        lists = {key: raw[key] for key in ("runs", "skipped", "methods", "paired") if isinstance(raw.get(key), list)}
        entries = [e for key in ("runs", "skipped") for e in lists.get(key, []) if isinstance(e, dict)]
        named = {
            key: [entry[word] for entry in entries if entry.get(word) is not None]
            for key, word in (("methods", "method"), ("paired", "paired"))
        }
        published = raw.get("published", ())
        return raw | {
            "title": raw.get("title") or raw.get("name"),
            "published": [published] if isinstance(published, dict) else published,
            **{key: [*lists[key], *entries] for key, entries in named.items() if key in lists},
        }

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        broken = [n for n in self.paired if n % 1 or n < 0]
        if self.unit.absolute and broken:
            raise ValueError(f"'paired' counts {self.unit.value}, found {broken[0]:g}")
        for use in self.tuned or ():
            if use.row not in self.methods:
                raise ValueError(f"'tuned' for {use.row!r}: the benchmark has no such row")
            if not all(math.isfinite(trial.validation) for trial in use.best.trials):
                raise ValueError(f"'tuned' for {use.row!r}: a score is not finite")
        return self

    @property
    def evaluated(self) -> dict[str, str]:
        """The rows that evaluate runs of other rows, each with that row."""
        rows = {run.id: run.method for run in self.runs if run.of is None}
        return {run.method: rows[run.of] for run in self.runs if run.of is not None and run.of in rows}

    def with_evaluations(self, evaluations: Sequence[PlannedRun]) -> Manifest:
        """The plan with further evaluations of its runs, whose rows stand below those of the runs."""
        made = self.model_copy(update={"runs": (*self.runs, *evaluations)})
        below: dict[str, list[str]] = {}
        for row, base in made.evaluated.items():
            below.setdefault(base, []).append(row)
        rows: list[str] = []
        for row in self.methods:
            if row not in made.evaluated:
                rows += [row, *sorted(below.get(row, []), key=lambda label: (len(label), label))]
        about = {row: summary_of(base) for row, base in made.evaluated.items()}
        return made.model_copy(update={"methods": tuple(rows), "summaries": about | self.summaries})

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
        if not (folder / BENCHMARK).is_file():
            raise UserError(f"{folder}: holds no {BENCHMARK}, so it is not the folder of a benchmark.")
        return super().load(folder)

    def uses(self, row: str) -> tuple[Use, ...] | None:
        """The outcomes of sweeps that a row uses, the greatest N first.

        `None` if the benchmark was not tuned, or if the row evaluates another row's runs, whose parameters it has.
        """
        if self.tuned is None or row in self.evaluated:
            return None
        uses = [use for use in self.tuned if use.row == row]
        return tuple(sorted(uses, key=lambda use: -math.inf if use.best.amount is None else -use.best.amount))


class Span(NamedTuple):
    """Smallest and largest of some numbers that should be equal."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Span | None:
        """The span of the values, `None` without any."""
        known = list(values)
        return cls(min(known), max(known)) if known else None


def refined(row: str, evaluation: Mapping[str, Any]) -> str:
    """What a row is called when its runs are evaluated with refined codes, e.g. `lsm, 100 steps`.

    Args:
        row: The row of the runs.
        evaluation: Options that tell it from others: `refine_steps`, and any that are not the usual ones.
    """
    steps = evaluation.get("refine_steps")
    others = [
        "noise fixed" if name == "refine_noise" and value is False else f"{_SHORT.get(name, name)} {_brief(value)}"
        for name, value in evaluation.items()
        if name != "refine_steps"
    ]
    return ", ".join([row, f"{steps} step{'' if steps == 1 else 's'}", *others])


def _brief(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def summary_of(row: str) -> str:
    """One line about a row whose runs are those of another row, evaluated with refined codes."""
    return f"As {row}, with the code of each test sample refined until its source is decoded from it"


def is_floor(config: dict[str, Any]) -> bool:
    """Whether a run's configuration is that of a trivial predictor."""
    method = config.get("method")
    return isinstance(method, dict) and method.get("name") == "floor"


def is_floor_word(label: str) -> bool:
    """Whether a benchmark's row is called like a trivial predictor; its runs tell more once they have ended."""
    return label == "floor" or label.startswith(("floor-", "floor_"))
