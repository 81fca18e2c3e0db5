"""A benchmark: a grid of runs over methods × N × seeds (× folds) on one dataset, read from a YAML file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonargparse import ArgumentParser
from pydantic import ValidationError

from lsmbench.arguments import nearest, parsed
from lsmbench.benchmarks import tuning
from lsmbench.benchmarks.plan import Looks, refined, summary_of
from lsmbench.benchmarks.tuning import Best, Use
from lsmbench.data.dataset import Dataset, pools_of
from lsmbench.data.folds import folded, number_of_folds
from lsmbench.data.module import DataModule
from lsmbench.data.pools import TEST, TRAIN, VAL, Pools
from lsmbench.data.supervision import NoPairError, SupervisionConfig, check_amount, fullest_of, possible
from lsmbench.definitions import folders_of, load_yaml, named_files
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.options import options_of
from lsmbench.runs.config import RunConfig, add_options, config_from_dict
from lsmbench.runs.nested import differences
from lsmbench.runs.results import mistakes
from lsmbench.runs.run import data_of
from lsmbench.runs.weights import evaluation_folder

SCHEMA = 1
MANIFEST = "benchmark.json"


@dataclass
class Benchmark:
    """What a benchmark's YAML says.

    Attributes:
        name: Its word, and the folder of its results.
        title: One line for people.
        description: What it is good for.
        dataset: Options of the dataset, with its `name`.
        methods: For each row of the table the method's options; `name` is the method where it is not the row's name,
            and `supervision` and `training` are options of these for this row alone.
        method: Options for all methods that have them, such as the networks' size.
        paired: The values of N, in per cent.
        paired_count: Numbers of pairs, or of units that are pairs (`supervision.by`), in place of N.
        selection: How pairs are selected; with several, each row of a method with pairs is there once for each, those
            of `k_medoids` under the name with `-k_medoids`.
        seeds: Each is both the seed of the supervision and of the initial weights.
        supervision: Further options of the supervision.
        training: Options of the training.
        sizes: Named variations, each with any of the sections above; and `when`, sections that the options have to
            agree with for the variation to be used when none is named.
        size: The variation that is used when none is named and no `when` holds.
        then: Benchmarks that `bench` runs after this one, with the same options.
        published: Values printed in a paper: `source`, `metric`, `note`, `values` by row and N; or several of them.
        tuned: Whether each row has the parameters that a sweep found best for the nearest N; those without a sweep
            keep their own.
        refine: Options of the evaluation `refine`; where several values are given, each is tried with each. The runs
            of methods that have a code are also evaluated so, in rows of their own.
        margins: How far apart two rows may be to be practically equal, by metric, in its unit.
        reference: The row that others are compared with over all N; `baseline` if there is one.
        looks: `first`, `most` and `precision`: seeds are added from the first number to at most the other one, where
            the difference to the best row is not known to ± the precision. `None`: the seeds are those of `seeds`.
    """

    name: str
    title: str
    dataset: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    seeds: list[int]
    paired: list[float] = field(default_factory=list)
    paired_count: list[int] | None = None
    selection: list[str] | None = None
    description: str = ""
    method: dict[str, Any] = field(default_factory=dict)
    supervision: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    size: str | None = None
    then: list[str] = field(default_factory=list)
    published: dict[str, Any] | list[dict[str, Any]] | None = None
    tuned: bool = False
    refine: dict[str, Any] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    reference: str | None = None
    looks: dict[str, Any] | None = None

    @property
    def results(self) -> str:
        """The folder of its results; a tuned table stands beside the other, not in its place."""
        return f"{self.name}-tuned" if self.tuned else self.name

    @property
    def unit(self) -> str:
        """What the columns of the table count: `%`, `pairs`, or `units` and `% of units` where these are chosen."""
        if self.supervision.get("by") == "unit":
            return "% of units" if self.paired_count is None else "units"
        return "%" if self.paired_count is None else "pairs"

    @property
    def amounts(self) -> list[float]:
        """The columns of the table: values of N, or numbers of pairs."""
        return self.paired if self.paired_count is None else [*self.paired_count]


@dataclass(frozen=True)
class GridRun:
    """One cell and seed of the table.

    Attributes:
        id: Identity of the run.
        label: Row of the table.
        paired: N, or the number of pairs; `None` if the score holds for every N.
        seed: Seed; `None` if the score holds for every seed.
        config: What to run.
        fold: Which fold is tested, from 0; `None` without folds.
        refine: How its codes are refined in further evaluations.
    """

    id: str
    label: str
    paired: float | None
    seed: int | None
    config: RunConfig
    fold: int | None = None
    refine: tuple[RefineConfig, ...] = ()

    def refined_folders(self, root: Path) -> dict[str, Path]:
        """Where the results of its evaluations lie, by their rows of the table.

        Args:
            root: Folder of runs.
        """
        home = root / self.id
        return {refined(self.label, how.told()): evaluation_folder(home, "refine", how) for how in self.refine}


@dataclass(frozen=True)
class Grid:
    """All runs of a benchmark.

    Attributes:
        benchmark: As it was resolved: with the folds, and the values of N, that its data allows.
        runs: In the order in which they are computed.
        skipped: The rows that cannot take part, with the reason.
        primary_metric: The metric that methods are compared by.
        uses: What sweeps found for rows.
        folds: Number of folds; `None` without folds.
        notes: What the data made of the benchmark, in sentences.
    """

    benchmark: Benchmark
    runs: list[GridRun]
    skipped: dict[str, str]
    primary_metric: str
    uses: list[Use]
    folds: int | None
    notes: list[str]

    def of_seeds(self, count: int, runs: list[GridRun]) -> Grid:
        """The part of the grid that its first seeds make.

        Args:
            count: How many seeds.
            runs: Those of their runs that take part.
        """
        return replace(self, benchmark=replace(self.benchmark, seeds=self.benchmark.seeds[:count]), runs=runs)

    def manifest(self, command: str) -> dict[str, Any]:
        """What the report needs to know of the grid, as plain values."""
        b = self.benchmark
        kinds = {label: METHODS[options.get("name", label)] for label, options in b.methods.items()}
        summaries, rows = {}, []
        for label, kind in kinds.items():
            rows.append(label)
            summaries[label] = summary(kind)
            for row in dict.fromkeys(r for run in self.runs if run.label == label for r in run.refined_folders(Path())):
                rows.append(row)
                summaries[row] = summary_of(label)
        runs = [{"id": r.id, "method": r.label, "paired": r.paired, "seed": r.seed, "fold": r.fold} for r in self.runs]
        evaluated = [
            one | {"id": folder.name, "method": row, "of": run.id}
            for run, one in zip(self.runs, runs, strict=True)
            for row, folder in run.refined_folders(Path()).items()
        ]
        return {
            "schema": SCHEMA,
            "name": b.results,
            "title": b.title,
            "description": " ".join(b.description.split()),
            "dataset": b.dataset["name"],
            "methods": rows,
            "method_summaries": summaries,
            "paired": b.amounts,
            "paired_unit": b.unit,
            "seeds": b.seeds,
            "size": b.size,
            "folds": self.folds,
            "runs": [*runs, *evaluated],
            "notes": self.notes,
            "skipped": [{"method": label, "reason": reason} for label, reason in self.skipped.items()],
            "primary_metric": self.primary_metric,
            "published": b.published,
            "tuned": [use.model_dump(mode="json") for use in self.uses] if b.tuned else None,
            "margins": b.margins,
            "reference": b.reference,
            "looks": b.looks,
            "command": command,
        }


def summary(kind: type[object]) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def available() -> dict[str, Path]:
    """The benchmarks that can be named, and their files."""
    return named_files("benchmarks")


def load(name_or_path: str, size: str | None = None, overrides: Mapping[str, Any] | None = None) -> Benchmark:
    """Reads a benchmark.

    Args:
        name_or_path: A name as `lsmbench list` shows it, or the path of a YAML file.
        size: A variation of the file's `sizes`; if `None` the first whose `when` holds, else the file's `size`.
        overrides: Sections that take precedence over the file.

    Raises:
        UserError: If there is no such file, it lacks a key or has an unknown one, or has no such size.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        known = available()
        if name_or_path not in known:
            raise UserError(f"unknown benchmark {name_or_path!r}{nearest(name_or_path, known)} Known: {_list(known)}.")
        path = known[name_or_path]
    values = _with_base(path)
    sizes = values.get("sizes") or {}
    asked = merge(values, overrides or {})
    fitting = [name for name, options in sizes.items() if (when := (options or {}).get("when")) and _holds(when, asked)]
    size = size or next(iter(fitting), values.get("size"))
    if size is not None and size not in sizes:
        raise UserError(f"{path}: has no size {size!r}; it has {_list(sizes)}.")
    merged = merge(values, {key: value for key, value in (sizes.get(size) or {}).items() if key != "when"})
    merged = merge(merged, overrides or {})
    known_keys = list(Benchmark.__dataclass_fields__)
    for key in merged:
        if key not in known_keys:
            raise UserError(f"{path}: unknown key {key}{nearest(key, known_keys)}")
    absent = [k for k in ("name", "title", "dataset", "methods", "seeds") if not merged.get(k)]
    absent += ["paired"] if not merged.get("paired") and not merged.get("paired_count") else []
    if absent:
        raise UserError(f"{path}: says nothing of {_list(absent)}.")
    merged["size"] = size
    if size is not None and size != values.get("size"):
        merged["name"] = f"{merged['name']}-{size}"
    merged["methods"] = {label: options or {} for label, options in merged["methods"].items()}
    return Benchmark(**merged)


def _with_base(path: Path) -> dict[str, Any]:
    values = load_yaml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    beside = path.parent / str(base)
    # A user's file may extend one of the package's by its name alone, wherever it lies.
    inherited = _with_base(beside if beside.exists() else available().get(beside.stem, beside))
    # Sizes and methods are lists of choices: a file that names its own means only those.
    own = {"sizes", "methods"} & values.keys()
    return merge({key: value for key, value in inherited.items() if key not in {*own, "then"}}, values)


def _holds(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether values, which may be more, are as nested options say."""
    return all(
        _holds(value, values.get(key) or {}) if isinstance(value, Mapping) else values.get(key) == value
        for key, value in when.items()
    )


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the second taking precedence."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else copy.deepcopy(value)
    return result


def _refinements(benchmark: Benchmark) -> tuple[RefineConfig, ...]:
    """Each combination of the options of `refine`; none without options.

    Raises:
        UserError: If an option is unknown, or a value is of the wrong type or out of range.
    """
    if not benchmark.refine:
        return ()
    known = {o.name: o for o in options_of(RefineConfig)}
    for name in benchmark.refine:
        if name not in known:
            raise UserError(f"refine: unknown option {name}{nearest(name, known)}")
    several = {name: value if isinstance(value, list) else [value] for name, value in benchmark.refine.items()}
    for steps in several.get("refine_steps", ()):
        if type(steps) is not int or steps < 1:
            raise UserError(
                f"refine: expected whole numbers above 0 for refine_steps, found {steps!r}. The row without refinement "
                "is always there."
            )
    parser = ArgumentParser(exit_on_error=False)
    add_options(parser, "", RefineConfig)
    combined = [dict(zip(several, values, strict=True)) for values in product(*several.values())]
    made = [parsed(partial(parser.parse_object, one)).as_dict() for one in combined]
    return tuple(dict.fromkeys(RefineConfig(**one) for one in made))


def expand(benchmark: Benchmark, asked: bool = False) -> Grid:
    """All runs of a benchmark, checked before any is started.

    Runs come seed by seed and fold by fold, so that a first full table is there early.

    Args:
        benchmark: The benchmark.
        asked: Whether a person asked for its values of N. If not, those that leave no pair are left out.

    Raises:
        UserError: If a configuration or a refinement is invalid, folds are impossible, no N that was asked for or
            none at all leaves a pair although there are some, or the benchmark is tuned and no sweep has found anything
            for it.
    """
    refine = _refinements(benchmark)
    benchmark = with_folds(with_selections(benchmark))
    data = _Data.of(benchmark)
    _check_margins(benchmark, data)
    benchmark = _with_looks(benchmark)
    benchmark, notes = _with_possible(benchmark, data, asked)
    notes = data.notes + notes
    runs: dict[str, GridRun] = {}
    skipped: dict[str, str] = {}
    without: dict[str, str] = {}
    uses = _uses(benchmark)
    for seed in benchmark.seeds:
        for fold in data.folds:
            for paired in benchmark.amounts:
                for label in benchmark.methods:
                    use = next((use for use in uses if use.row == label and paired in use.amounts), None)
                    parameters = use.best.parameters if use else {}
                    config = run_config(benchmark, label, paired, seed, parameters, fold)
                    kind = METHODS[config.method_name]
                    supported, reason = kind.fits(config.dataset, config.method)
                    if not supported:
                        skipped[label] = reason
                    elif paired == 0 and kind.needs_pairs:
                        without[label] = "learns to translate from pairs alone, and N = 0 leaves none"
                    else:
                        identity = config.identity(data.contents(config))
                        amount = paired if kind.learns_from_pairs(config.method) else None
                        holds_for = (amount, None if kind.deterministic else seed)
                        how = refine if kind.has_code else ()
                        runs.setdefault(identity, GridRun(identity, label, *holds_for, config, fold, how))
    trained = {run.label for run in runs.values()}
    skipped |= {label: reason for label, reason in without.items() if label not in trained}
    if elsewhere := [label for label in without if label in trained]:
        several = len(elsewhere) > 1
        notes.append(
            f"{_list(elsewhere)} {'learn' if several else 'learns'} to translate from pairs alone, and "
            f"{'are' if several else 'is'} not run at N = 0."
        )
    if not runs:
        raise UserError("no method of the benchmark can be run: " + "; ".join(f"{m} {r}" for m, r in skipped.items()))
    uses = [use.model_copy(update={"differs": [*use.differs, *data.unlike(use)]}) for use in uses if use.row in trained]
    return Grid(benchmark, list(runs.values()), skipped, data.metric, uses, data.count, notes)


def with_folds(benchmark: Benchmark) -> Benchmark:
    """The benchmark with its dataset's own folds, if it says nothing of folds.

    Raises:
        UserError: If it names a single fold, or a row has folds of its own.
    """
    said = [benchmark.supervision, *(options.get("supervision") or {} for options in benchmark.methods.values())]
    if any("fold" in one for one in said) or any("folds" in one for one in said[1:]):
        raise UserError(
            "supervision.fold: a benchmark runs all of its folds, and all rows on the same ones; it says "
            "supervision.folds alone, for all rows."
        )
    if "folds" in benchmark.supervision:
        return benchmark
    dataset = _floor(benchmark).dataset
    return replace(benchmark, supervision={**benchmark.supervision, "folds": dataset.default_folds()})


@dataclass(frozen=True)
class _Data:
    """What a grid has to know of its data.

    Attributes:
        first: The data, in the dataset's own parts, without another dataset's samples.
        metric: The primary metric's word.
        parts: The pools in the parts of each fold; those of the one split without folds.
        count: Number of folds; `None` without folds.
    """

    first: DataModule
    metric: str
    parts: list[Pools]
    count: int | None
    _contents: dict[str | None, str] = field(default_factory=dict)

    @classmethod
    def of(cls, benchmark: Benchmark) -> _Data:
        """Reads a benchmark's data."""
        config = _floor(benchmark)
        data, folds = data_of(config), config.supervision.folds
        views, seed = (data.dataset.source, data.dataset.target), config.supervision.split_seed
        metric = str(data.domains[data.dataset.target].metrics()[0].name)
        if folds is None:
            return cls(data, metric, [data.undivided], None)
        count = number_of_folds(data.undivided, folds, views)
        return cls(data, metric, [folded(data.undivided, folds, k, views, seed).pools for k in range(count)], count)

    @property
    def folds(self) -> list[int | None]:
        """The folds that are run; no fold is one of them without folds."""
        return [None] if self.count is None else [*range(self.count)]

    def contents(self, config: RunConfig) -> str:
        """Fingerprint of all that a run learns from."""
        bank = config.supervision.y_bank
        if bank not in self._contents:
            self._contents[bank] = self.first.contents if bank is None else data_of(config).contents
        return self._contents[bank]

    def unlike(self, use: Use) -> list[str]:
        """How the data differs from that of a sweep."""
        said = [] if use.best.fingerprint == self.first.fingerprint else ["the data is other than the sweep's"]
        return said + ([] if self.count is None else ["the sweep compared trials by pairs that other folds test on"])

    @property
    def notes(self) -> list[str]:
        """What a reader has to know of the data: folds, and that there is nothing to score."""
        if self.count is not None:
            pairs = sum(len(parts.part(TEST)) for parts in self.parts)
            left = _range([fullest_of(parts, self.first.config.by)[1] for parts in self.parts])
            val = [len(parts.part(VAL)) for parts in self.parts]
            validates = f"Each run validates on {_range(val)} of the others, and" if any(val) else f"{_NO_VALIDATION} N"
            return [
                f"The {pairs} pairs are cross-validated in {self.count} folds: each is tested on once, by runs that "
                f"never saw it. {validates} N is the share of the {left} that remain{'s' * (left == '1')}."
            ]
        return _lacking(self.first.undivided, self.first.dataset)


_NO_VALIDATION = "No pair is left to validate with, so that the last weights are used."


def _lacking(pools: Pools, dataset: Dataset) -> list[str]:
    """What a single split lacks: pairs to test on, and, where some are trained on, pairs to validate with."""
    views = dataset.source, dataset.truths.get(dataset.target, dataset.target)

    def holds_pairs(*parts: str) -> bool:
        return any(np.logical_and(*(pools.has(view, pools.part(part)) for view in views)).any() for part in parts)

    said = []
    if not holds_pairs(*pools.test_sets):
        both = f"both {dataset.source} and {dataset.target}"
        said.append(f"No test sample has {both}: nothing can be scored. The report shows translations alone.")
    if holds_pairs(TRAIN) and not holds_pairs(VAL):
        said.append(_NO_VALIDATION)
    return said


def _with_possible(benchmark: Benchmark, data: _Data, asked: bool) -> tuple[Benchmark, list[str]]:
    """The benchmark with those values of N that leave a pair in every fold; and which were left out.

    Raises:
        UserError: As `expand`.
    """
    rows = [label for label in benchmark.methods if learns_from_pairs(benchmark, label)]
    left_out: dict[float, NoPairError] = {}
    for paired in benchmark.amounts:
        for label in rows:
            config = run_config(benchmark, label, paired, benchmark.seeds[0])
            for pools in data.parts:
                try:
                    check_amount(pools, config.supervision)
                except NoPairError as error:
                    if asked:
                        raise
                    left_out.setdefault(paired, error)
    some = any(fullest_of(pools)[1] for pools in data.parts)
    kept = [paired for paired in benchmark.amounts if paired not in left_out and (some or paired == 0 or asked)]
    if kept == benchmark.amounts:
        return benchmark, []
    if not kept:
        if some:
            raise next(iter(left_out.values()))
        kept, note = [0.0], "There is no pair to train with, so that N = 0 stands in place of the benchmark's N."
    else:
        unit = "" if benchmark.paired_count is not None else " %"
        what = "training unit" if benchmark.supervision.get("by") == "unit" else "training sample"
        amounts = ", ".join(f"{paired:g}" for paired in left_out)
        config = run_config(benchmark, rows[0], kept[0], benchmark.seeds[0])
        most, least = min((possible(pools, config.supervision) for pools in data.parts), key=itemgetter(0))
        note = f"Left out: N = {amounts}{unit}, since at most {most} {what}{'s' * (most > 1)} can be pairs" + (
            f"; the least N with a pair is {least:g} %." if unit else "."
        )
    if benchmark.paired_count is None:
        return replace(benchmark, paired=kept), [note]
    return replace(benchmark, paired_count=[int(paired) for paired in kept]), [note]


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _floor(benchmark: Benchmark) -> RunConfig:
    """The configuration of a trivial predictor on a benchmark's data, without a bank of another dataset."""
    return config_from_dict(
        {
            "dataset": benchmark.dataset,
            "method": {"name": "floor"},
            "supervision": {**benchmark.supervision, "y_bank": None},
            "training": benchmark.training,
        }
    )


def _kind(benchmark: Benchmark, label: str) -> type[Method]:
    """The method of a row.

    Raises:
        UserError: If it is unknown.
    """
    name = benchmark.methods[label].get("name", label)
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{nearest(name, METHODS)} Known: {_list(METHODS)}.")
    return METHODS[name]


def possible_amounts(dataset: Dataset) -> list[str]:
    """What the dataset's benchmark makes of its pairs: folds, numbers of pairs at each N, and the least N.

    Args:
        dataset: A dataset without problems.

    Returns:
        Sentences for `lsmbench data check`.
    """
    named = available().get(dataset.name)
    values = _with_base(named) if named else {}
    supervision = values.get("supervision") or {}
    protocol, by = supervision.get("protocol", "bank"), supervision.get("by", "sample")
    folds, config = dataset.default_folds(), SupervisionConfig(protocol=protocol, by=by)
    what = config.counted.removesuffix("s")
    pools, views = pools_of(dataset), (dataset.source, dataset.target)
    parts = [pools] if folds is None else [folded(pools, folds, k, views).pools for k in range(folds)]
    most, least = min((possible(one, config) for one in parts), key=itemgetter(0))
    said = [f"A benchmark cross-validates the pairs in {folds} folds."] if folds else _lacking(pools, dataset)
    if folds and not any(len(one.part(VAL)) for one in parts):
        said.append(_NO_VALIDATION)
    if least is None:
        return [*said, "No training sample has both views: only N = 0 is possible."]
    where = f"protocol {protocol}" + ("" if folds is None else ", in each fold")
    if most == 1:
        return [*said, f"Possible N: 100 % (1 {what}; {where}), or 0."]
    amounts = [n for n in values.get("paired") or () if n >= least]
    each = ", ".join(f"{n:g} % = {int(most * n / 100 + 1e-9)}" for n in amounts)
    return [
        *said,
        f"Possible N: {least:g} % (1 {what}) to 100 % ({most} {what}s; {where})" + (f"; {each}." if each else "."),
    ]


def _check_margins(benchmark: Benchmark, data: _Data) -> None:
    """Raises a UserError if a margin is of a metric that nothing is scored by, or not in its unit."""
    if benchmark.reference is not None and benchmark.reference not in benchmark.methods:
        raise UserError(
            f"reference: {benchmark.reference!r} is no row{nearest(benchmark.reference, benchmark.methods)} "
            f"Rows: {_list(benchmark.methods)}."
        )
    metrics = {metric.name: metric for domain in data.first.domains.values() for metric in domain.metrics()}
    for name, margin in benchmark.margins.items():
        if name not in metrics:
            raise UserError(f"margins: {name!r} is no metric here{nearest(name, metrics)} Known: {_list(metrics)}.")
        unit = metrics[name].unit
        number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not number or not margin > 0 or ("0 to 1" in unit and margin >= 1):
            raise UserError(f"margins: expected a number above 0 in the unit of {name} ({unit}), found {margin!r}.")


def _with_looks(benchmark: Benchmark) -> Benchmark:
    """The benchmark with as many seeds as there may be.

    Raises:
        UserError: If `looks` lacks something, or holds something else.
    """
    if benchmark.looks is None:
        return benchmark
    try:
        looks = Looks.model_validate(benchmark.looks)
    except ValidationError as error:
        raise UserError(f"looks: {mistakes(error)}.") from error
    if looks.most <= looks.first:
        raise UserError(
            f"looks: expected more seeds at the last look than {looks.first} at the first, found {looks.most}."
        )
    seeds = list(
        dict.fromkeys([*benchmark.seeds[: looks.most], *range(benchmark.seeds[0], looks.most + max(benchmark.seeds))])
    )
    return replace(benchmark, seeds=seeds[: looks.most])


def with_selections(benchmark: Benchmark) -> Benchmark:
    """The benchmark with its rows multiplied by the ways to select pairs."""
    if not benchmark.selection:
        return benchmark
    rows: dict[str, dict[str, Any]] = {}
    for label, options in benchmark.methods.items():
        own = "selection" in (options.get("supervision") or {})
        kind = METHODS.get(options.get("name", label))
        several = len(benchmark.selection) > 1 and not own and kind is not None and learns_from_pairs(benchmark, label)
        for selection in benchmark.selection if several else benchmark.selection[:1]:
            name = f"{label}-{selection}" if several and selection != "random" else label
            base = {"name": options.get("name", label), "supervision": {"selection": selection}}
            rows[name] = merge(base, options)
    return replace(benchmark, methods=rows)


def run_config(
    benchmark: Benchmark,
    label: str,
    paired: float,
    seed: int,
    parameters: Mapping[str, float] | None = None,
    fold: int | None = None,
) -> RunConfig:
    """The configuration of one cell, seed and fold.

    Args:
        benchmark: The benchmark.
        label: Row of the table.
        paired: N, or the number of pairs.
        seed: Of the supervision and of the initial weights.
        parameters: Options of the method that take precedence over the row's.
        fold: Which fold is tested; `None`: the first, if there are folds.

    Raises:
        UserError: If it is invalid.
    """
    options, kind = benchmark.methods[label], _kind(benchmark, label)
    name = options.get("name", label)
    fields = kind.Config.__dataclass_fields__
    common = {key: value for key, value in benchmark.method.items() if key in fields}
    own = {key: value for key, value in options.items() if key not in ("supervision", "training")}
    config = config_from_dict(
        {
            "dataset": benchmark.dataset,
            "method": {**common, **own, **(parameters or {}), "name": name},
            "supervision": {
                **benchmark.supervision,
                **(options.get("supervision") or {}),
                **_of_pairs(benchmark, paired),
                "supervision_seed": 0 if kind.deterministic else seed,
                **({} if fold is None else {"fold": fold}),
            },
            "training": {
                **benchmark.training,
                **(options.get("training") or {}),
                "init_seed": 0 if kind.deterministic else seed,
            },
        }
    )
    if not kind.learns_from_pairs(config.method):
        # It is trained once, on all samples as view-only.
        config.supervision = replace(config.supervision, **_of_pairs(benchmark, 0))
    return config


def learns_from_pairs(benchmark: Benchmark, label: str) -> bool:
    """Whether a row's results depend on which samples are paired; if not, they are the same at every N."""
    config = run_config(benchmark, label, 0, benchmark.seeds[0])
    return METHODS[config.method_name].learns_from_pairs(config.method)


def _of_pairs(benchmark: Benchmark, amount: float) -> dict[str, Any]:
    """The options of supervision that say how many pairs are seen."""
    return {"paired": float(amount)} if benchmark.paired_count is None else {"paired_count": amount}


def best_folders() -> list[Path]:
    """Where outcomes of sweeps are looked for."""
    return [folder / tuning.FOLDER for folder in folders_of("benchmarks")]


def _uses(benchmark: Benchmark) -> list[Use]:
    """Which outcome of a sweep each row uses for which N.

    Outcomes of the same benchmark come first; else those of the most similar setting count, and how it differs is told.
    """
    uses: list[Use] = []
    if not benchmark.tuned:
        return uses
    dataset = benchmark.dataset["name"]
    for label in benchmark.methods:
        # Pairs selected by another rule have their row's parameters, unless they have a sweep of their own.
        names = [label, *(label.removesuffix(f"-{rule}") for rule in benchmark.selection or ())]
        files = [folder / dataset / f"{name}.yaml" for name in names for folder in best_folders()]
        method = benchmark.methods[label].get("name", label)
        every = [outcome for path in files if path.exists() for outcome in tuning.load(path)]
        found = [outcome for outcome in every if outcome.method == method]
        if not found:
            continue
        config = run_config(benchmark, label, benchmark.amounts[0], benchmark.seeds[0])
        unlike = {id(outcome): _differences(outcome, config) for outcome in found}
        first = min(found, key=lambda outcome: (outcome.benchmark != benchmark.name, len(unlike[id(outcome)])))
        alike = [outcome for outcome in found if (outcome.benchmark, outcome.row) == (first.benchmark, first.row)]
        for amount in benchmark.amounts:
            if (nearest_one := tuning.nearest(alike, amount, benchmark.unit)) is None:
                continue
            use = next((use for use in uses if use.row == label and use.best is nearest_one), None)
            if use is None:
                uses.append(use := Use(row=label, amounts=[], differs=unlike[id(nearest_one)], best=nearest_one))
            use.amounts.append(amount)
    if not uses:
        raise UserError(
            f"no sweep has found parameters for dataset {dataset}: nothing of use in {best_folders()[0] / dataset}. "
            "Run `lsmbench sweep` first (make sweep DATASET=… METHOD=…), or leave out --tuned."
        )
    return uses


def _differences(found: Best, config: RunConfig) -> list[str]:
    """How a run's setting differs from the one in which its parameters were found."""
    unlike = differences(config.setting(found.parameters), found.setting)
    sentences = [f"{key} is {now}, was {then} in the sweep" for key, (now, then) in unlike.items()]
    off = [name for name in found.parameters if getattr(config.method, name, None) == 0]
    return sentences + [f"method.{name} is 0 without the sweep's value" for name in off]


def to_yaml(benchmark: Benchmark) -> str:
    """The benchmark as it was resolved, for keeping beside its results."""
    return yaml.safe_dump({k: v for k, v in vars(benchmark).items() if k != "sizes"}, sort_keys=False)


def _list(words: Any) -> str:
    return ", ".join(words) or "none"
