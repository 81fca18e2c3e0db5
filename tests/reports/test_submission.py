from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lsmbench import cli
from lsmbench.benchmarks import definition, limits
from lsmbench.benchmarks import grid as grids
from lsmbench.errors import UserError
from lsmbench.reports.frame import read_benchmark
from lsmbench.reports.results_page import write_page
from lsmbench.reports.submission import check, keep
from lsmbench.reports.table import tabulate
from lsmbench.runs.packed import PACKED
from lsmbench.runs.results import Result, write_json
from tests.benchmarks.test_grid import SMALL
from tests.reports.made import change, score


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> grids.Grid:
    path = tmp_path_factory.mktemp("plan") / "small.yaml"
    rows = {"floor": None, "baseline": None, "lsm": None}
    path.write_text(yaml.safe_dump({**SMALL, "methods": rows, "paired": [100, 50], "seeds": [0, 1, 2]}))
    return grids.expand(definition.load(str(path)))


@pytest.fixture
def folder(tmp_path: Path, grid: grids.Grid) -> Path:
    """A benchmark's results with real configurations and made-up scores."""
    made = tmp_path / "results" / "small"
    write_json(made / "benchmark.json", grid.manifest("lsmbench bench small.yaml --output /home/me/results --jobs 2"))
    (made / "benchmark.yaml").write_text(definition.to_yaml(grid.benchmark))
    fingerprint = limits.Data.of(grid.benchmark).first.contents
    draw = np.random.default_rng(0)
    for run in grid.runs:
        mean = {"floor": 0.3, "baseline": 0.6, "lsm": 0.7}[run.label] + 0.01 * draw.normal()
        values = (mean + 0.01 * draw.normal(size=8)).tolist()
        Result(
            id=run.id, protocol="1", config=run.config.to_dict(),
            dataset={"name": "sit", "fingerprint": fingerprint, "train": 20, "val": 4, "test": 8},
            supervision={"pairs": int(20 * (run.paired or 0) / 100), "x": 5, "y": 5, "val_pairs": 4},
            selection={"rule": "best_validation", "stages": []},
            scores=[score(values).model_copy(update={"unit": "foreground IoU, 0 to 1"})],
            validation=0.5, cost={"wall_s": 3.0, "updates": 9, "parameters": 5}, environment={"torch": "2.9"},
        ).save(made / "runs" / run.id)  # fmt: skip
    return made


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(words))
    return int(caught.value.code or 0)


def edit(folder: Path, change_scores: Any, run: str = "lsm-N50-s1") -> Path:
    home = next(folder.glob(f"runs/{run}-*"))
    change(home, change_scores)
    return home


def test_whole_results_join_as_one_file_that_gives_the_same_tables(folder: Path, tmp_path: Path) -> None:
    assert check(folder) == []
    kept = keep(folder, tmp_path / "kept")
    names = {path.name for path in kept.iterdir()}
    assert names == {
        "benchmark.json", "benchmark.yaml", PACKED, "report.md", "table.tex", "curves.svg", "SHA256SUMS"
    }  # fmt: skip
    assert check(kept) == []
    before, after = (read_benchmark(place) for place in (folder, kept))
    for one, other in zip(tabulate(before.plan, before.runs), tabulate(after.plan, after.runs), strict=True):
        assert [(c.mean, c.half_width) for c in one.cells] == [(c.mean, c.half_width) for c in other.cells]
    assert json.loads((kept / "benchmark.json").read_text())["command"] == "lsmbench bench small.yaml --jobs 2"
    assert "/home/me" not in (kept / "report.md").read_text()
    assert "](runs/" not in (kept / "report.md").read_text(), "a link that leads nowhere"


def test_joining_again_changes_nothing_and_other_results_are_not_overwritten(folder: Path, tmp_path: Path) -> None:
    kept = keep(folder, tmp_path / "kept")
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    keep(folder, tmp_path / "kept")
    keep(kept, tmp_path / "kept")
    edit(folder, lambda raw: raw["cost"].update(wall_s=4.0))
    with pytest.raises(UserError, match="holds other results"):
        keep(folder, tmp_path / "kept")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["small"]


@pytest.mark.parametrize(
    ("edited", "part"),
    [
        (lambda raw: raw.update(protocol="0"), "another protocol version"),
        (lambda raw: raw["config"]["method"].update(learning_rate=0.5), "one of them was changed"),
        (lambda raw: raw["dataset"].update(fingerprint="f00d"), "other data"),
        (lambda raw: raw["config"]["method"].update(unheard=1), "cannot be run again"),
        (lambda raw: raw["scores"][0]["values"].__setitem__(0, 60.0), "not from 0 to 1"),
        (lambda raw: raw["scores"][0].update(values=[None] * 8), "no sample has a defined score"),
        (lambda raw: raw["scores"][0]["indices"].__setitem__(0, 1), "there twice"),
        (lambda raw: raw["dataset"].update(test=7), "has 8 samples, the test set 7"),
        (lambda raw: raw["scores"][0]["values"].pop(), "7 values for 8 samples"),
        (lambda raw: raw.update(id="other"), "belongs to run other"),
    ],
)
def test_what_is_wrong_with_a_run_is_said(folder: Path, edited: Any, part: str) -> None:
    home = edit(folder, edited)
    (said,) = [problem for problem in check(folder) if part in problem]
    assert home.name in said


def test_missing_and_changed_files_are_said_and_nothing_joins(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = keep(folder, tmp_path / "kept")
    path = kept / PACKED
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(lzma.compress("\n".join(lines[1:]).encode()))
    assert code_of("submit", str(kept), "--to", str(tmp_path / "others")) == 2
    said = capsys.readouterr().err
    assert f"{PACKED}: was changed after SHA256SUMS was written." in said
    assert "has no result." in said
    assert not (tmp_path / "others").exists()
    path.write_bytes(b"no archive")
    assert code_of("submit", str(kept)) == 2
    assert "is not a whole file of results" in capsys.readouterr().err
    (kept / "report.md").unlink()
    assert code_of("submit", str(tmp_path / "nowhere")) == 2


def test_a_name_cannot_lead_out_of_the_folder(folder: Path) -> None:
    change(folder, lambda raw: raw.update(name="../elsewhere"), "benchmark.json")
    assert any("cannot be that of a folder" in problem for problem in check(folder))


def test_the_page_of_kept_results_has_their_numbers_and_sentences(folder: Path, tmp_path: Path) -> None:
    assert code_of("submit", str(folder), "--to", str(tmp_path / "kept")) == 0
    assert code_of("leaderboard", str(tmp_path / "kept"), "--output", str(tmp_path / "docs" / "page.md")) == 0
    text = (tmp_path / "docs" / "page.md").read_text()
    found = read_benchmark(folder)
    (table,) = tabulate(found.plan, found.runs)
    for cell in table.cells:
        assert f"{cell.mean:.3f}" in text
        assert f"± {cell.half_width:.3f}" in text
    assert "- At N = 100 %, lsm is better than baseline by" in text
    assert "[small](../kept/small)" in text
    write_page(tmp_path / "kept", tmp_path / "docs" / "page.md")
    assert (tmp_path / "docs" / "page.md").read_text() == text
    assert code_of("leaderboard", str(tmp_path / "kept"), "--output", str(tmp_path / "board.html")) == 0
    board = (tmp_path / "board.html").read_text()
    assert "the benchmark's command repeats it" in board.replace("&#39;", "'")
    assert "/runs/" not in board, "a link that leads nowhere"
    with pytest.raises(UserError, match="holds no benchmark's results"):
        write_page(tmp_path / "docs", tmp_path / "page.md")
