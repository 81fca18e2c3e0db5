"""The results that the repository holds: whole, unaltered, and the source of every number of docs/results.md."""

from __future__ import annotations

import json
import lzma
import math
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lsmbench import cli
from lsmbench.reports.submission import check
from lsmbench.runs.packed import PACKED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
HOMES = sorted(path.parent for path in RESULTS.glob(f"*/{PACKED}"))
PAGE = ROOT / "docs" / "results.md"


@pytest.mark.parametrize("home", HOMES, ids=lambda home: str(home.name))
def test_nothing_keeps_the_results_from_joining_others(home: Path) -> None:
    assert check(home) == []


def test_the_page_is_the_one_that_the_command_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(RESULTS, tmp_path / "benchmarks" / "results")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["leaderboard", "benchmarks/results", "--output", "docs/results.md"])
    assert not caught.value.code
    assert (tmp_path / "docs" / "results.md").read_text() == PAGE.read_text(), "make results writes it again"


@pytest.mark.parametrize("home", HOMES, ids=lambda home: str(home.name))
def test_the_numbers_of_the_page_are_those_of_the_files(home: Path) -> None:
    """The means of the first table, computed here from the scores of the samples alone."""
    plan = json.loads((home / "benchmark.json").read_text())
    results = {
        one["id"]: one for one in map(json.loads, lzma.decompress((home / PACKED).read_bytes()).decode().splitlines())
    }
    values: dict[tuple[str, float], list[float]] = defaultdict(list)
    for run in plan["runs"]:
        for n in plan["paired"] if run.get("paired") is None else [run["paired"]]:
            values[run["method"], n].append(_value(results[run["id"]]["scores"][0]))
    printed = _rows(_section(home.name))
    told = 0
    for (row, n), each in values.items():
        cells = printed.get(row)
        if cells is None:  # a floor, which the page calls by its kind
            continue
        mean = cells[plan["paired"].index(n)]
        assert math.isclose(float(mean), sum(each) / len(each), abs_tol=0.51 * 10 ** -len(mean.partition(".")[2]))
        told += 1
    assert told >= len(plan["paired"])


def _value(score: dict[str, Any]) -> float:
    if score["pooled"] is not None:
        return float(score["pooled"])
    known = [value for value in score["values"] if value is not None]
    return sum(known) / len(known)


def _section(name: str) -> str:
    (found,) = [one for one in PAGE.read_text().split("\n## ") if f"results/{name})" in one]
    return found


def _rows(section: str) -> dict[str, list[str]]:
    """The means of the section's first table, by row."""
    rows: dict[str, list[str]] = {}
    for line in re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0].splitlines()[2:]:  # type: ignore[index]
        label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        word = re.sub(r"[*†‡§¶\\]", "", label).strip()
        rows.setdefault(word, [(re.findall(r"\d*\.\d+|\d+", cell) or [""])[0] for cell in cells])
    return rows
