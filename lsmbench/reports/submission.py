"""Results that join others: what is checked before they do, and how they are kept."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsmbench.benchmarks.plan import BENCHMARK
from lsmbench.errors import UserError
from lsmbench.reports.frame import FAILED, FINISHED, LEFT_OUT, TO_COME, Benchmark, lines, read_benchmark
from lsmbench.reports.pooling import way_of
from lsmbench.reports.report import write_report
from lsmbench.runs.config import PROTOCOL, config_from_dict, setting_of
from lsmbench.runs.packed import PACKED, pack
from lsmbench.runs.results import Result, plain, write_json, write_text
from lsmbench.scores import Score

SUMS = "SHA256SUMS"
KEPT = (
    BENCHMARK,
    "benchmark.yaml",
    PACKED,
    "report.md",
    "table.tex",
    "curves.svg",
    "ced.svg",
    "epochs.svg",
    "tuning.svg",
)
"""What a folder of kept results holds beside the sums: no picture of anybody's data, and no weights."""

_PLACES = ("--output", "--data")  # options that name folders
_SAME = 1e-5  # absolute; a run computes its score in single precision


def check(folder: Path) -> list[str]:
    """Says what keeps a benchmark's results from joining others; nothing if they may.

    Files have to be those of their sums, if there are some; runs whole, finished, of this protocol version, and not
    doubled; a run's name the hash of its configuration and data; scores in their range, one per test sample, with the
    value that their samples give; and the configuration one that this version can run again.

    Args:
        folder: A benchmark's folder, as `lsmbench bench` or `keep` left it.

    Raises:
        UserError: If it is none, or a file that everything depends on is damaged.
    """
    problems = list(_altered(folder))
    benchmark = read_benchmark(folder)
    problems += [f"{run}: {message}" for run, message in benchmark.problems]
    name = benchmark.plan.name
    if Path(name).name != name or name.startswith("."):
        problems.append(f"{BENCHMARK}: the name {name!r} cannot be that of a folder.")
    every = benchmark.every.drop_duplicates("run")
    for state, said in ((FAILED, "has failed"), (TO_COME, "has no result"), (LEFT_OUT, "is of other data or protocol")):
        problems += [f"{run}: {said}." for run in every.loc[every["state"] == state, "run"]]
    left_out = benchmark.runs[benchmark.runs["state"] == LEFT_OUT].drop_duplicates("run")
    problems += [f"{run}: is of another protocol version or other data than the rest." for run in left_out["run"]]
    doubled = Counter(run.id for run in benchmark.plan.runs)
    problems += [f"{run}: is planned {count} times." for run, count in doubled.items() if count > 1]
    for line in lines(every[every["state"] == FINISHED]):
        problems += [f"{line.run}: {message}" for message in _wrong(line.record)]
    return problems


def keep(folder: Path, to: Path) -> Path:
    """Adds a benchmark's results to others: configurations, scores of all samples, environments and a report.

    Args:
        folder: A benchmark's folder without problems.
        to: The folder of results that it joins, under its own name.

    Returns:
        The folder that holds them now.

    Raises:
        UserError: If other results of its name are there.
    """
    benchmark = read_benchmark(folder)
    target = to / benchmark.plan.name
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".joining-") as made:
        place = Path(made) / benchmark.plan.name
        _write(benchmark, folder, place)
        if target.exists():
            if _sums(target) == _sums(place):
                return target
            raise UserError(
                f"{target}: holds other results of this name. Move them away, or name another folder by --to."
            )
        place.rename(target)
    return target


def _write(benchmark: Benchmark, folder: Path, place: Path) -> None:
    every = benchmark.every.drop_duplicates("run")
    write_json(place / BENCHMARK, plain(benchmark.plan) | {"command": _without_places(benchmark.plan.command)})
    pack([record for record in every["record"] if isinstance(record, Result)], place)
    if (folder / "benchmark.yaml").exists():
        shutil.copyfile(folder / "benchmark.yaml", place / "benchmark.yaml")
    write_report(place)
    for path in place.iterdir():
        if path.name not in KEPT:
            path.unlink()
    sums = [f"{_digest(path)}  {path.name}" for path in sorted(place.iterdir())]
    write_text(place / SUMS, "\n".join(sums) + "\n")


def _without_places(command: str) -> str:
    """A command without the folders of the machine that it was typed on."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    kept: list[str] = []
    for word in words:
        follows = bool(kept) and kept[-1] in _PLACES
        if follows:
            kept.pop()
        elif word.partition("=")[0] not in _PLACES or "=" not in word:
            kept.append(word)
    return shlex.join(kept)


def _sums(folder: Path) -> dict[str, str]:
    """The digests of the files that hold numbers."""
    return {name: _digest(folder / name) for name in (BENCHMARK, PACKED) if (folder / name).exists()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _altered(folder: Path) -> Iterator[str]:
    """Which files are not those of the sums that came with them."""
    path = folder / SUMS
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        wanted, _, name = line.partition("  ")
        if "/" in name or not (folder / name).is_file():
            yield f"{name}: is named in {SUMS} and missing."
        elif _digest(folder / name) != wanted:
            yield f"{name}: was changed after {SUMS} was written."


def _wrong(result: Result) -> Iterator[str]:
    """What is wrong with a finished run, in sentences."""
    if result.protocol != PROTOCOL:
        yield f"is of protocol version {result.protocol}, this is {PROTOCOL}: they do not compare. Run it again."
    try:
        values = {name: inside for name, inside in result.config.items() if name != "evaluation"}
        config = config_from_dict(values)
    except UserError as error:
        yield f"its configuration cannot be run again by this version: {error}"
        return
    if result.setting is not None and plain(result)["setting"] != json.loads(json.dumps(setting_of(result.config))):
        yield "its setting is not that of its configuration: one of them was changed."
    if "evaluation" not in result.config and config.supervision.y_bank is None:  # a bank's data is not known from here
        try:
            name = config.identity(str(result.dataset.get("fingerprint")))
            if name != result.id:
                yield f"its configuration and data make {name}: one of them was changed."
        except UserError as error:
            yield f"its name cannot be checked: {error}"
    for score in result.scores:
        said = f"{score.metric} on {score.test_set}, {score.source} → {score.target}"
        yield from (f"{said}: {message}" for message in _wrong_score(score, result))


def _wrong_score(score: Score, result: Result) -> Iterator[str]:
    values = np.array(score.values, float)
    known = values[~np.isnan(values)]
    if "0 to 1" in score.unit and ((known < -_SAME) | (known > 1 + _SAME)).any():
        yield f"a score is not from 0 to 1, as its unit says ({score.unit})."
    if not known.size:
        yield "no sample has a defined score."
    if len(set(score.indices)) < len(score.indices):
        yield "a test sample is there twice."
    expected = result.sizes.get(score.test_set)
    if not score.per_unit and expected is not None and len(values) > expected:
        yield f"has {len(values)} samples, the test set {expected}."
    if (
        score.pooled is not None
        and not math.isnan(score.pooled)
        and score.counts is not None
        and way_of([score]) is None
    ):
        yield "its value is not the one that its samples' counts give."
