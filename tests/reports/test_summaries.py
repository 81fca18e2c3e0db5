"""The leaderboard in W&B, read back from W&B's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from lsmbench.commands import leaderboard as leaderboard_command
from lsmbench.reports.board import boards
from tests import wandb_file
from tests.reports.made import Disk, fill_disk


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def test_each_row_of_a_board_is_a_summary_run_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path)
    fill_disk(disk)
    (board,) = boards([tmp_path / "results"])
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    output = tmp_path / "results" / "leaderboard.html"
    monkeypatch.setattr(leaderboard_command, "console", console)
    words = [str(tmp_path / "results"), "--output", str(output), "--track", "wandb"]
    assert leaderboard_command.run(words) == 0
    files = list(tmp_path.glob("results/wandb/offline-run-*/*.wandb"))
    logged = {one.run.display_name: (file, one) for file in files for one in [wandb_file.read(file)]}
    assert len(logged) == len(files) == len(board.rows)
    for row in board.rows:
        file, one = logged[f"sit {row.label}"]
        assert one.run.job_type == "leaderboard"
        assert {"sit", row.method, "protocol-1"} <= set(one.run.tags)
        assert one.config["runs"] == sorted({run for cell in row.cells for run in cell.runs["run"]})
        (step,) = one.history
        table = json.loads((file.parent / "files" / step["scores"]["path"]).read_text())
        lines = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
        for column, cell, line in zip(board.table.columns, row.cells, lines, strict=True):
            assert line["N"] == column.paired
            assert (line["mean"], line["sd"], line["floor"]) == (cell.mean, cell.sd, column.floor)
            assert (line["seeds"], line["published"]) == (cell.finished, cell.published)
            if cell.mean is not None:
                assert step[f"mean/{column.unit.word(column.paired)}"] == cell.mean
    assert "wandb sync" in (tmp_path / "said").read_text()
