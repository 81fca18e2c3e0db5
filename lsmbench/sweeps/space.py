"""The search space and the budget of one method's sweep, read from a YAML file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from optuna.distributions import FloatDistribution

from lsmbench.arguments import nearest
from lsmbench.definitions import load_yaml, named_files
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import MethodConfig
from lsmbench.options import Option, options_of

Sampler = Literal["gp", "tpe", "random"]
Pruner = Literal["none", "median", "hyperband"]

MOST_PARAMETERS = 8
"""More than these cannot be searched sensibly in the forty trials of the LSM paper."""

KEYS = ("method", "space", "trials", "sampler", "pruner")


@dataclass(frozen=True)
class Space:
    """The content of a sweep's YAML file.

    Attributes:
        method: Name of the method.
        ranges: For each searched option of the method its least and greatest value; all on a log scale.
        trials: Finished trials after which the sweep ends.
        sampler: How values are proposed: `gp` is Bayesian optimisation by a Gaussian process.
        pruner: How hopeless trials are ended early.
        path: The file.
    """

    method: str
    ranges: dict[str, tuple[float, float]]
    trials: int
    sampler: Sampler
    pruner: Pruner
    path: Path


def available() -> dict[str, Path]:
    """The methods that have a search space, and their files."""
    return named_files("sweeps")


def load(method: str, path: Path | None = None) -> Space:
    """Reads a method's search space.

    A range may be wider than the range that the option suggests.

    Args:
        method: Name of the method.
        path: The user's file; `None`: the package's.

    Raises:
        UserError: If there is no such file, the method has nothing to tune, or the file holds a wrong value.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}{nearest(method, METHODS)} Known: {', '.join(METHODS)}.")
    if not METHODS[method].trained:
        raise UserError(f"{method} has nothing to tune: it is not trained. Methods with a sweep: {_known()}.")
    if path is None:
        path = available().get(method)
        if path is None:
            raise UserError(
                f"{method} has no search space: no file sweeps/{method}.yaml. Methods with a space: {_known()}. "
                "Write such a file, or name one by --space."
            )
    values = load_yaml(path)
    for key in values:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key}{nearest(str(key), KEYS)} Known: {', '.join(KEYS)}.")
    absent = [key for key in KEYS if key not in values and key != "pruner"]
    if absent:
        raise UserError(f"{path}: missing: {', '.join(absent)}. Expected keys: {', '.join(KEYS)}.")
    if values["method"] != method:
        raise UserError(
            f"{path}: method is {values['method']!r}, but the sweep is of {method}; name the file of {method}."
        )
    trials = values["trials"]
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError(f"{path}: trials: expected a whole number of at least 1, found {trials!r}.")
    sampler = _choice(path, "sampler", values["sampler"], get_args(Sampler))
    # YAML has two ways to write "no value": `pruner: null`, or a key without a value.
    pruner = _choice(path, "pruner", values.get("pruner") or "none", get_args(Pruner))
    if sampler == "gp" and pruner != "none":
        raise UserError(
            f"{path}: sampler gp learns nothing from trials that a pruner ended, so that pruner: {pruner} would starve "
            f"it. Use pruner: none, or sampler: tpe with pruner: {pruner}."
        )
    return Space(method, _ranges(path, method, values["space"]), trials, sampler, pruner, path)  # type: ignore[arg-type]


def start(space: Space, config: MethodConfig) -> tuple[dict[str, float], list[str]]:
    """The parameters of a sweep's first trial: those that the benchmark's row has without a sweep.

    Args:
        space: The search space.
        config: The method's options in the benchmark's row.

    Returns:
        The value of each searched parameter, and the names of parameters that are 0. The benchmark switches those off,
        and a log scale has no 0, so that they are not searched.

    Raises:
        UserError: If a value lies outside its range, or no parameter is left to search.
    """
    values: dict[str, float] = {}
    off: list[str] = []
    for name, (low, high) in space.ranges.items():
        value = float(getattr(config, name))
        if value == 0:
            off.append(name)
        elif low <= value <= high:
            values[name] = value
        else:
            raise UserError(
                f"{space.path}: {name} is searched in [{low:g}, {high:g}], but the benchmark sets it to {value:g}, and "
                "every sweep starts there. Widen the range in a copy of the file and name the copy by --space, or "
                f"leave {name} out of it."
            )
    if not values:
        raise UserError(
            f"{space.path}: nothing is left to search, since the benchmark sets {', '.join(off)} to 0, which switches "
            "it off. Add another parameter in a copy of the file and name the copy by --space."
        )
    return values, off


def distributions(space: Space, names: Iterable[str]) -> dict[str, FloatDistribution]:
    """Optuna's distributions of the named parameters, on a log scale."""
    return {name: FloatDistribution(*space.ranges[name], log=True) for name in names}


def _ranges(path: Path, method: str, ranges: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(ranges, dict) or not ranges:
        raise UserError(f"{path}: space: expected parameters with low and high, found {ranges!r}.")
    if len(ranges) > MOST_PARAMETERS:
        raise UserError(f"{path}: space: at most {MOST_PARAMETERS} parameters are searched, found {len(ranges)}.")
    options = {o.name: o for o in options_of(METHODS[method].Config)}
    numbers = [name for name, o in options.items() if o.type is float]
    found = {}
    for name, interval in ranges.items():
        if name not in options:
            near = nearest(str(name), numbers)
            raise UserError(f"{path}: {method} has no option {name}{near} Numbers of {method}: {', '.join(numbers)}.")
        if name not in numbers:
            raise UserError(
                f"{path}: {name} cannot be searched: it is not a real number. Numbers of {method}: "
                f"{', '.join(numbers)}."
            )
        found[name] = _range(path, options[name], interval)
    return found


def _range(path: Path, option: Option, interval: Any) -> tuple[float, float]:
    if not isinstance(interval, dict) or interval.keys() != {"low", "high"}:
        raise UserError(f"{path}: {option.name}: expected {{low: …, high: …}}, found {interval!r}.")
    low, high = (_number(path, f"{option.name}.{key}", interval[key]) for key in ("low", "high"))
    if low <= 0:
        raise UserError(f"{path}: {option.name}.low: expected more than 0 for a log scale, found {low:g}.")
    if low >= high:
        raise UserError(f"{path}: {option.name}: expected low < high, found low {low:g} and high {high:g}.")
    # A weight that is 0 by default is switched off, and is searched where a benchmark sets it.
    if option.default != 0 and not low <= option.default <= high:
        raise UserError(
            f"{path}: {option.name}: the default {option.default:g} lies outside of [{low:g}, {high:g}], so that a "
            "sweep could not find the default; widen the range."
        )
    return low, high


def _number(path: Path, key: str, value: Any) -> float:
    try:
        # YAML 1.1 reads 1e-6 as text, and 1.0e-6 as a number; users mean a number by both.
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path}: {key}: expected a number, found {value!r}.")
    return number


def _choice(path: Path, key: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UserError(f"{path}: {key}: expected one of {', '.join(choices)}, found {value!r}.")
    return str(value)


def _known() -> str:
    return ", ".join(name for name in METHODS if name in available()) or "none"
