from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from lsmbench.arguments import parse_arguments
from lsmbench.benchmarks.definition import Benchmark
from lsmbench.benchmarks.request import add_benchmark_options, requested
from lsmbench.commands.console import parser_of

ROOT = Path(__file__).parents[2]


def asked(data: Path | str, output: Path) -> Benchmark:
    parser = parser_of("bench", "")
    add_benchmark_options(parser)
    found = requested(parse_arguments(parser, ["folder", "--data", str(data), "--output", str(output)]))
    folder = output / found.results
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.yaml").write_text(yaml.safe_dump({"dataset": found.dataset}))
    return found


def test_folders_of_one_name_keep_results_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "studyA" / "data", tmp_path / "studyB" / "data"
    for folder in (first, second):
        folder.mkdir(parents=True)
    output = tmp_path / "results"
    one, other = asked(first, output), asked(second, output)
    assert (one.name, one.title) == ("folder-data", "Your own data: data")
    assert (other.name, other.title) == ("folder-studyB-data", "Your own data: studyB/data")
    (tmp_path / "link").symlink_to(first)
    monkeypatch.chdir(tmp_path / "studyA")
    assert asked("data", output).name == asked(first / ".." / "data", output).name == "folder-data"
    assert asked(tmp_path / "link", output).name == "folder-data"
    assert asked("../studyB/data", output).name == "folder-studyB-data"


def test_options_may_be_set_one_by_one(tmp_path: Path) -> None:
    parser = parser_of("bench", "")
    add_benchmark_options(parser)
    words = ["sit", "--output", str(tmp_path), "--set", "training.epochs=3", "--set", "training.patience=2"]
    found = requested(parse_arguments(parser, words)).training
    assert (found["epochs"], found["patience"]) == (3, 2)


def test_make_passes_each_value_as_one_word() -> None:
    values = ["DATASET=folder", "OUTPUT=my results", "DATA=it's [v2]", "SET=a=1 b=[1,2]"]
    said = subprocess.run(
        ["make", "-n", "bench", *values], cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    ).stdout
    line = said.splitlines()[-1]
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True).stdout.splitlines()
    assert words[words.index("--output") + 1] == "my results"
    assert words[words.index("--data") + 1] == "it's [v2]"
    assert words[words.index("--set") + 1 :][:2] == ["a=1", "b=[1,2]"]
