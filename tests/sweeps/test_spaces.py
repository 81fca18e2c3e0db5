"""Every file in `sweeps/` searches its method's options around the benchmarks' values; its mistakes are reported."""

from __future__ import annotations

import dataclasses
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsmbench.benchmarks import definition
from lsmbench.definitions import folders_of
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.methods.base import MethodConfig
from lsmbench.options import options_of
from lsmbench.sweeps import space as spaces
from lsmbench.sweeps.space import Space, distributions, load, start

ROOT = Path(__file__).parents[2]
TUNED = [name for name, kind in METHODS.items() if kind.trained]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.yaml"))


def rows(path: Path) -> dict[str, MethodConfig]:
    """The methods' options in every row of every size of a benchmark."""
    sizes = [None, *(yaml.safe_load(path.read_text()).get("sizes") or {})]
    found = {}
    for size in sizes:
        benchmark = definition.load(str(path), size, {"dataset": {"root": "."}} if path.stem == "folder" else None)
        for label in benchmark.methods:
            config = definition.run_config(benchmark, label, benchmark.amounts[0], benchmark.seeds[0])
            found[f"{size} {label} {config.method_name}"] = config.method
    return found


@pytest.mark.parametrize("method", TUNED)
def test_every_trained_method_has_a_space_of_its_options(method: str) -> None:
    space = load(method, ROOT / "sweeps" / f"{method}.yaml")
    assert space.method == method
    # A comparison is fair only if no method is searched harder.
    assert (space.trials, space.sampler, space.pruner) == (40, "gp", "none")
    assert "learning_rate" in space.ranges
    options = {o.name: o for o in options_of(METHODS[method].Config)}
    for name, (low, high) in space.ranges.items():
        option = options[name]
        assert option.low is not None
        assert option.high is not None
        assert option.low <= low <= option.default <= high <= option.high


def test_there_is_no_other_file() -> None:
    assert sorted(p.stem for p in (ROOT / "sweeps").iterdir()) == sorted(TUNED)


@pytest.mark.parametrize("method", ["baseline", "sop", "ioda", "lsm"])
def test_the_lsm_family_has_the_papers_ranges(method: str) -> None:
    ranges = load(method).ranges
    weights = {o.name for o in options_of(METHODS[method].Config) if o.name.startswith("w_")}
    assert ranges == {"learning_rate": (1e-6, 1e-1), **dict.fromkeys(weights, (1e-4, 10.0))}


@pytest.mark.parametrize("path", BENCHMARKS, ids=[p.stem for p in BENCHMARKS])
def test_every_row_of_every_benchmark_can_be_swept(path: Path) -> None:
    seen = 0
    for row, config in rows(path).items():
        method = row.split()[-1]
        if not METHODS[method].trained:
            continue
        space = load(method)
        values, off = start(space, config)
        assert {*values, *off} == space.ranges.keys()
        assert all(getattr(config, name) == 0 for name in off)
        for name, distribution in distributions(space, values).items():
            assert distribution.log
            assert distribution._contains(values[name])
        seen += 1
    assert seen


def test_what_a_benchmark_switches_off_is_not_searched() -> None:
    configs = rows(ROOT / "benchmarks" / "sit.yaml")
    values, off = start(load("cyclegan"), configs["tiny cyclegan cyclegan"])
    assert off == ["w_identity"]
    assert values == {"learning_rate": 2e-4, "w_cycle_x": 10.0, "w_cycle_y": 10.0}


def test_a_value_outside_its_range_is_refused_with_the_way_out() -> None:
    config = dataclasses.replace(METHODS["lsm"].Config(), w_distance=50.0)  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"lsm\.yaml: w_distance is searched in \[0\.0001, 10\], .* to 50.*--space"):
        start(load("lsm"), config)
    assert start(load("lsm"), dataclasses.replace(config, w_distance=10.0))[0]["w_distance"] == 10  # type: ignore[call-arg]


def test_nothing_left_to_search_is_refused(tmp_path: Path) -> None:
    space = load("cyclegan", written(tmp_path, method="cyclegan", space={"w_identity": {"low": 0.01, "high": 1}}))
    config = METHODS["cyclegan"].Config(w_identity=0.0)  # type: ignore[call-arg]
    with pytest.raises(UserError, match=r"nothing is left to search, .*w_identity"):
        start(space, config)


def test_the_wheel_and_the_source_archive_hold_the_files() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"]["sweeps"] == "lsmbench/sweeps/definitions"
    assert "sweeps/*.yaml" in targets["sdist"]["include"]
    assert folders_of("sweeps")[1:] == [ROOT / "sweeps", ROOT / "lsmbench" / "sweeps" / "definitions"]


# Files of one's own ---------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "method": "lsm",
    "space": {"learning_rate": {"low": 1e-5, "high": 1e-2}},
    "trials": 3,
    "sampler": "tpe",
}


def written(folder: Path, drop: str = "", **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**GOOD, **changes}.items() if k != drop}))
    return path


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert load("lsm", path) == Space("lsm", {"learning_rate": (1e-5, 1e-2)}, 3, "tpe", "none", path)
    # A range may be wider than the suggested one, and YAML's 1e-9, which is text to PyYAML, is a number.
    path.write_text(
        "method: lsm\nspace: {w_xx: {low: 1e-9, high: 1e+9}}\ntrials: 1\nsampler: random\npruner: hyperband\n"
    )
    assert load("lsm", path) == Space("lsm", {"w_xx": (1e-9, 1e9)}, 1, "random", "hyperband", path)


def test_the_working_folders_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    shutil.move(written(tmp_path), tmp_path / "sweeps" / "lsm.yaml")
    assert load("lsm").trials == 3
    assert load("sop").trials == 40


def rate(low: Any, high: Any) -> dict[str, Any]:
    return {"space": {"learning_rate": {"low": low, "high": high}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trails": 4}, "unknown key trails; did you mean trials"),
        ({"drop": "space"}, "missing: space"),
        ({"drop": "sampler"}, "missing: sampler"),
        ({"method": "sop"}, "method is 'sop', but the sweep is of lsm"),
        ({"trials": 0}, "trials: expected a whole number of at least 1, found 0"),
        ({"trials": 2.5}, "trials: .* found 2.5"),
        ({"trials": True}, "trials: .* found True"),
        ({"sampler": "grid"}, "sampler: expected one of gp, tpe, random, found 'grid'"),
        ({"pruner": "all"}, "pruner: expected one of none, median, hyperband, found 'all'"),
        ({"sampler": "gp", "pruner": "median"}, "sampler gp learns nothing .* sampler: tpe"),
        ({"space": {}}, "space: expected parameters"),
        ({"space": ["learning_rate"]}, "space: expected parameters"),
        ({"space": {"w_dist": {"low": 1, "high": 2}}}, "lsm has no option w_dist; did you mean w_distance"),
        ({"space": {"ablation": {"low": 1, "high": 2}}}, "ablation cannot be searched: it is not a real number"),
        ({"space": {"adv_on_pairs": {"low": 1, "high": 2}}}, "adv_on_pairs cannot be searched"),
        ({"space": {f"w_{i}": {"low": 1, "high": 2} for i in range(9)}}, "at most 8 parameters are searched, found 9"),
        ({"space": {"learning_rate": [1e-5, 1e-2]}}, "learning_rate: expected {low"),
        ({"space": {"learning_rate": {"low": 1e-5}}}, "learning_rate: expected {low"),
        ({"space": {"learning_rate": {"low": 1e-5, "high": 1, "log": True}}}, "learning_rate: expected {low"),
        (rate(1e-2, 1e-5), "learning_rate: expected low < high, found low 0.01 and high 1e-05"),
        (rate(1e-4, 1e-4), "learning_rate: expected low < high"),
        (rate(0, 1e-2), "learning_rate.low: expected more than 0 for a log scale, found 0"),
        (rate(-1, 1e-2), "learning_rate.low: expected more than 0"),
        (rate("few", 1e-2), "learning_rate.low: expected a number, found 'few'"),
        (rate(1e-5, float("inf")), "learning_rate.high: expected a number, found inf"),
        (rate(1e-5, float("nan")), "learning_rate.high: expected a number, found nan"),
        (rate(True, 2), "learning_rate.low: expected a number, found True"),
        (rate(1e-3, 1e-2), r"learning_rate: the default 0.0001 lies outside of \[0.001, 0.01\]"),
    ],
)
def test_mistakes_are_said_with_the_file(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{words}"):
        load("lsm", written(tmp_path, **changes))


def test_methods_without_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"floor has nothing to tune.* Methods with a sweep: .*lsm"):
        load("floor", written(tmp_path))
    with pytest.raises(UserError, match="unknown method 'lsmm'; did you mean lsm"):
        load("lsmm")
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        load("lsm", tmp_path / "none.yaml")
    monkeypatch.setattr(spaces, "available", lambda: {"sop": ROOT / "sweeps" / "sop.yaml"})
    with pytest.raises(
        UserError, match=r"lsm has no search space: no file sweeps/lsm\.yaml\. Methods with a space: sop\."
    ):
        load("lsm")
