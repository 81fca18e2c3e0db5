"""What a benchmark's YAML file says, and the configuration of each of its runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from lsmbench.arguments import nearest
from lsmbench.definitions import load_yaml, named_files
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import Method
from lsmbench.runs.config import RunConfig, config_from_dict


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
            raise UserError(f"unknown benchmark {name_or_path!r}{nearest(name_or_path, known)} Known: {listed(known)}.")
        path = known[name_or_path]
    values = values_of(path)
    sizes = values.get("sizes") or {}
    asked = merge(values, overrides or {})
    fitting = [name for name, options in sizes.items() if (when := (options or {}).get("when")) and _holds(when, asked)]
    size = size or next(iter(fitting), values.get("size"))
    if size is not None and size not in sizes:
        raise UserError(f"{path}: has no size {size!r}; it has {listed(sizes)}.")
    merged = merge(values, {key: value for key, value in (sizes.get(size) or {}).items() if key != "when"})
    merged = merge(merged, overrides or {})
    known_keys = list(Benchmark.__dataclass_fields__)
    for key in merged:
        if key not in known_keys:
            raise UserError(f"{path}: unknown key {key}{nearest(key, known_keys)}")
    absent = [k for k in ("name", "title", "dataset", "methods", "seeds") if not merged.get(k)]
    absent += ["paired"] if not merged.get("paired") and not merged.get("paired_count") else []
    if absent:
        raise UserError(f"{path}: says nothing of {listed(absent)}.")
    merged["size"] = size
    if size is not None and size != values.get("size"):
        merged["name"] = f"{merged['name']}-{size}"
    merged["methods"] = {label: options or {} for label, options in merged["methods"].items()}
    return Benchmark(**merged)


def values_of(path: Path) -> dict[str, Any]:
    """What a file says, together with the one that it extends.

    Raises:
        UserError: If either is missing or is no YAML mapping.
    """
    values = load_yaml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    beside = path.parent / str(base)
    # A user's file may extend one of the package's by its name alone, wherever it lies.
    inherited = values_of(beside if beside.exists() else available().get(beside.stem, beside))
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


def floor_config(benchmark: Benchmark) -> RunConfig:
    """The configuration of a trivial predictor on a benchmark's data, without a bank of another dataset."""
    return config_from_dict(
        {
            "dataset": benchmark.dataset,
            "method": {"name": "floor"},
            "supervision": {**benchmark.supervision, "y_bank": None},
            "training": benchmark.training,
        }
    )


def learns_from_pairs(benchmark: Benchmark, label: str) -> bool:
    """Whether a row's results depend on which samples are paired; if not, they are the same at every N."""
    config = run_config(benchmark, label, 0, benchmark.seeds[0])
    return METHODS[config.method_name].learns_from_pairs(config.method)


def _kind(benchmark: Benchmark, label: str) -> type[Method]:
    """The method of a row.

    Raises:
        UserError: If it is unknown.
    """
    name = benchmark.methods[label].get("name", label)
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}{nearest(name, METHODS)} Known: {listed(METHODS)}.")
    return METHODS[name]


def _of_pairs(benchmark: Benchmark, amount: float) -> dict[str, Any]:
    """The options of supervision that say how many pairs are seen."""
    return {"paired": float(amount)} if benchmark.paired_count is None else {"paired_count": amount}


def to_yaml(benchmark: Benchmark) -> str:
    """The benchmark as it was resolved, for keeping beside its results."""
    return yaml.safe_dump({k: v for k, v in vars(benchmark).items() if k != "sizes"}, sort_keys=False)


def listed(words: Any) -> str:
    """Words in a line; `none` without any."""
    return ", ".join(words) or "none"
