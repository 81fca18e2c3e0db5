"""A benchmark: a grid of runs over methods × N × seeds on one dataset, read from a YAML file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from lsmbench.arguments import nearest
from lsmbench.benchmarks import tuning
from lsmbench.benchmarks.tuning import Best, Use
from lsmbench.data.supervision import pairs_of
from lsmbench.definitions import folders_of, load_yaml, named_files
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.runs.config import RunConfig, config_from_dict, differences
from lsmbench.runs.run import data_of

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
        paired_count: Numbers of pairs, in place of N.
        selection: How pairs are selected; with several, each row of a method with pairs is there once for each, those
            of `k_medoids` under the name with `-k_medoids`.
        seeds: Each is both the seed of the supervision and of the initial weights.
        supervision: Further options of the supervision.
        training: Options of the training.
        sizes: Named variations, each with any of the sections above.
        size: The variation that is used when none is named.
        published: Values printed in a paper: `source`, `metric`, `note`, `values` by row and N; or several of them.
        tuned: Whether each row has the parameters that a sweep found best for the nearest N; those without a sweep
            keep their own.
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
    published: dict[str, Any] | list[dict[str, Any]] | None = None
    tuned: bool = False

    @property
    def results(self) -> str:
        """The folder of its results; a tuned table stands beside the other, not in its place."""
        return f"{self.name}-tuned" if self.tuned else self.name

    @property
    def unit(self) -> str:
        """What the columns of the table count: `%` or `pairs`."""
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
    """

    id: str
    label: str
    paired: float | None
    seed: int | None
    config: RunConfig


@dataclass(frozen=True)
class Grid:
    """All runs of a benchmark, the methods that cannot take part, with the reason, and what sweeps found for others."""

    benchmark: Benchmark
    runs: list[GridRun]
    skipped: dict[str, str]
    primary_metric: str
    uses: list[Use]

    def manifest(self, command: str) -> dict[str, Any]:
        """What the report needs to know of the grid, as plain values."""
        b = self.benchmark
        kinds = {label: METHODS[options.get("name", label)] for label, options in b.methods.items()}
        return {
            "schema": SCHEMA,
            "name": b.results,
            "title": b.title,
            "description": " ".join(b.description.split()),
            "dataset": b.dataset["name"],
            "methods": list(b.methods),
            "method_summaries": {label: summary(kind) for label, kind in kinds.items()},
            "paired": b.amounts,
            "paired_unit": b.unit,
            "seeds": b.seeds,
            "size": b.size,
            "runs": [{"id": r.id, "method": r.label, "paired": r.paired, "seed": r.seed} for r in self.runs],
            "skipped": [{"method": label, "reason": reason} for label, reason in self.skipped.items()],
            "primary_metric": self.primary_metric,
            "published": b.published,
            "tuned": [use.model_dump(mode="json") for use in self.uses] if b.tuned else None,
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
        size: A variation of the file's `sizes`; the file's `size` if `None`.
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
    size = size or values.get("size")
    if size is not None and size not in sizes:
        raise UserError(f"{path}: has no size {size!r}; it has {_list(sizes)}.")
    merged = merge(values, sizes.get(size, {}))
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
    return merge({k: v for k, v in inherited.items() if k not in {"sizes", "methods"} & values.keys()}, values)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries, the second taking precedence."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else copy.deepcopy(value)
    return result


def expand(benchmark: Benchmark) -> Grid:
    """All runs of a benchmark, checked before any is started.

    Runs come seed by seed, so that a first full table is there early.

    Raises:
        UserError: If a configuration is invalid, N leaves no pair, or the benchmark is tuned and no sweep has found
            anything for it.
    """
    runs: dict[str, GridRun] = {}
    skipped: dict[str, str] = {}
    fingerprint, metric, contents = "", "", dict[str | None, str]()
    benchmark = with_selections(benchmark)
    uses = _uses(benchmark)
    for seed in benchmark.seeds:
        for paired in benchmark.amounts:
            for label in benchmark.methods:
                use = next((use for use in uses if use.row == label and paired in use.amounts), None)
                config = run_config(benchmark, label, paired, seed, use.best.parameters if use else {})
                kind = METHODS[config.method_name]
                supported, reason = kind.supports(config.dataset, config.method)
                if not supported:
                    skipped[label] = reason
                    continue
                bank = config.supervision.y_bank
                if bank not in contents:
                    data = data_of(config)
                    fingerprint, contents[bank] = data.fingerprint, data.contents
                    metric = data.domains[data.dataset.target].metrics()[0].name
                    samples = len(data.train)
                pairs_of(samples, config.supervision)
                identity = config.identity(contents[bank])
                holds_for = (paired if kind.uses_pairs else None, None if kind.deterministic else seed)
                runs.setdefault(identity, GridRun(identity, label, *holds_for, config))
    if not runs:
        raise UserError("no method of the benchmark can be run: " + "; ".join(f"{m} {r}" for m, r in skipped.items()))
    uses = [
        use.model_copy(update={"differs": [*use.differs, "the data is other than the sweep's"]})
        if use.best.fingerprint != fingerprint
        else use
        for use in uses
        if use.row not in skipped
    ]
    return Grid(benchmark, list(runs.values()), skipped, str(metric), uses)


def with_selections(benchmark: Benchmark) -> Benchmark:
    """The benchmark with its rows multiplied by the ways to select pairs."""
    if not benchmark.selection:
        return benchmark
    rows: dict[str, dict[str, Any]] = {}
    for label, options in benchmark.methods.items():
        own = "selection" in (options.get("supervision") or {})
        kind = METHODS.get(options.get("name", label))
        several = len(benchmark.selection) > 1 and not own and kind is not None and kind.uses_pairs
        for selection in benchmark.selection if several else benchmark.selection[:1]:
            name = f"{label}-{selection}" if several and selection != "random" else label
            base = {"name": options.get("name", label), "supervision": {"selection": selection}}
            rows[name] = merge(base, options)
    return replace(benchmark, methods=rows)


def run_config(
    benchmark: Benchmark, label: str, paired: float, seed: int, parameters: Mapping[str, float] | None = None
) -> RunConfig:
    """The configuration of one cell and seed.

    Args:
        benchmark: The benchmark.
        label: Row of the table.
        paired: N, or the number of pairs.
        seed: Of the supervision and of the initial weights.
        parameters: Options of the method that take precedence over the row's.

    Raises:
        UserError: If it is invalid.
    """
    options = benchmark.methods[label]
    name = options.get("name", label)
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{nearest(name, METHODS)} Known: {_list(METHODS)}.")
    kind = METHODS[name]
    fields = kind.Config.__dataclass_fields__
    common = {key: value for key, value in benchmark.method.items() if key in fields}
    own = {key: value for key, value in options.items() if key not in ("supervision", "training")}
    # A method that uses no pairs is trained once, on all samples as view-only.
    amount = paired if kind.uses_pairs else 0
    return config_from_dict(
        {
            "dataset": benchmark.dataset,
            "method": {**common, **own, **(parameters or {}), "name": name},
            "supervision": {
                **benchmark.supervision,
                **(options.get("supervision") or {}),
                **({"paired": float(amount)} if benchmark.paired_count is None else {"paired_count": amount}),
                "supervision_seed": 0 if kind.deterministic else seed,
            },
            "training": {
                **benchmark.training,
                **(options.get("training") or {}),
                "init_seed": 0 if kind.deterministic else seed,
            },
        }
    )


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
