"""Which benchmark a command asks for: the options that `bench` and `sweep` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lsmbench.arguments import numbers, words_of
from lsmbench.benchmarks import definition
from lsmbench.benchmarks.definition import Benchmark
from lsmbench.definitions import load_yaml
from lsmbench.errors import UserError


def add_benchmark_options(parser: Any) -> None:
    """Adds the options that name a benchmark and change it."""
    parser.add_argument("benchmark", nargs="?", default=None, help="A name from `lsmbench list`, or a YAML file")
    parser.add_argument("--dataset", type=str, help="The benchmark of this dataset (the same as naming it first)")
    parser.add_argument("--data", type=str, help="Folder of the dataset's files, in place of dataset.root")
    parser.add_argument("--paired", type=str, help="Values of N in per cent, separated by commas")
    parser.add_argument("--paired-count", type=str, help="Numbers of pairs in place of N, separated by commas")
    parser.add_argument("--selection", type=str, help="How pairs are selected: random, k_medoids or both, with a comma")
    parser.add_argument("--size", type=str, help="A size of the benchmark, such as paper, small or tiny")
    parser.add_argument("--devices", type=int, help="GPUs, or processes on a CPU, that share each run")
    parser.add_argument(
        "--set", type=str, nargs="+", action="extend", default=[], help="Further options: training.epochs=20 …"
    )
    parser.add_argument("--output", type=str, default="results", help="Folder of benchmarks' results")


def requested(values: Any, rows: str | None = None, **sections: Any) -> Benchmark:
    """The benchmark that parsed options name, with their changes.

    Args:
        values: Of the options of `add_benchmark_options`.
        rows: Rows of the table, separated by commas; floors stay. All if `None`.
        sections: Further sections of the benchmark that take precedence.

    Raises:
        UserError: If there is no such benchmark, or an option cannot be understood.
    """
    overrides: dict[str, Any] = {}
    for word in values.set:
        overrides = definition.merge(overrides, _setting(word))
    if values.paired and values.paired_count:
        raise UserError("--paired and --paired-count say the same; leave one out.")
    if values.paired:
        overrides |= {"paired": numbers("--paired", values.paired, float), "paired_count": None}
    if values.paired_count:
        overrides["paired_count"] = numbers("--paired-count", values.paired_count, int)
    if values.selection:
        overrides["selection"] = words_of(values.selection)
    if values.devices is not None:
        overrides = definition.merge(overrides, {"training": {"devices": values.devices}})
    if values.data:
        overrides = definition.merge(overrides, {"dataset": {"root": values.data}})
    benchmark = definition.load(values.benchmark or values.dataset or "quick", values.size, overrides | sections)
    if values.data and benchmark.dataset["name"] == "folder":
        _name_apart(benchmark, Path(values.data).expanduser().resolve(), Path(values.output))
    if rows:
        floors = [label for label, o in benchmark.methods.items() if o.get("name", label) == "floor"]
        labels = list(dict.fromkeys([*floors, *words_of(rows)]))
        benchmark.methods = {label: benchmark.methods.get(label, {}) for label in labels}
    return benchmark


def _name_apart(benchmark: Benchmark, root: Path, output: Path) -> None:
    """Names results and title after the folder of data, with as many of its parents as tell it from other folders.

    Raises:
        UserError: If results of other folders have all these names.
    """
    parts = [part for part in root.parts if part != root.anchor] or ["root"]
    names = ["-".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    base, owners = benchmark.name, {}
    for name in names:
        benchmark.name = f"{base}-{name}"
        owners[name] = _root_of(output / benchmark.results)
    mine = [name for name in names if owners[name] == root] or [name for name in names if owners[name] is None]
    if not mine:
        raise UserError(
            f"--data {root}: {output / f'{base}-{names[0]}'} holds the results of {owners[names[0]]}, and all longer "
            "names are taken too. Name another folder of results by --output."
        )
    benchmark.name = f"{base}-{mine[0]}"
    benchmark.dataset["root"] = str(root)  # what it is does not depend on the folder that the command was started in
    benchmark.title += ": " + "/".join(parts[-1 - names.index(mine[0]) :])


def _root_of(results: Path) -> Path | None:
    """The folder of data that a benchmark's results are of; `None` if there are none, or if they do not say."""
    path = results / "benchmark.yaml"
    root = (load_yaml(path).get("dataset") or {}).get("root") if path.exists() else None
    return Path(str(root)).expanduser().resolve() if root else None


def _setting(word: str) -> dict[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"--set {word}: expected KEY=VALUE, e.g. training.epochs=20.")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {word}: cannot be read: {error}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)
