"""The leaderboard in Weights & Biases: a summary run per dataset and method, for workspaces and Reports to compare."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from lsmbench.reports.board import Board
from lsmbench.reports.table import Row
from lsmbench.runs.tracking import Tracking, unsent, wandb_run

GROUP = "leaderboard"
COLUMNS = ("N", "counts", "pairs", "mean", "half_width", "sd", "seeds", "rank", "floor", "published")


def write_summaries(boards: Sequence[Board], folder: Path, console: Console) -> None:
    """Writes the summary runs of all rows of all boards; written again, a run shows what is so now.

    A run holds a Table with a line per N, a plot of the mean over N, and each number by a name of its own, such as
    `mean/N5`, by which W&B compares runs. A method in several settings has a run for each.

    Args:
        boards: As `board.boards` reads them.
        folder: Where W&B keeps its files.
        console: For a bar, and for what W&B fails at.

    Raises:
        UserError: If the folder cannot be written, or the environment asks W&B for what cannot be.
    """
    warned: set[str] = set()

    def warn(text: str) -> None:
        if text not in warned:
            warned.add(text)
            console.print(f"[yellow]–[/] {escape(text)}", highlight=False)

    rows = [(board, row) for board in boards for row in board.rows]
    # Unlike bars elsewhere it stays, since it says how many there are.
    for board, row in track(rows, "Summaries for W&B", console=console, disable=not console.is_terminal):
        _write(board, row, folder, warn)
    console.print(f"{len(rows)} summaries in W&B, job type leaderboard.", highlight=False)
    if said := unsent(Tracking("wandb", folder=str(folder))):
        console.print(escape(said), highlight=False, soft_wrap=True)


def lines(board: Board, row: Row) -> list[dict[str, Any]]:
    """What a board says of a row at each N, by `COLUMNS`; `None` where it says nothing."""
    return [
        {
            "N": column.paired,
            "counts": column.unit.value,
            "pairs": column.pairs.high if column.pairs else None,
            "mean": cell.mean,
            "half_width": cell.half_width,
            "sd": cell.sd,
            "seeds": cell.finished,
            "rank": cell.rank,
            "floor": column.floor,
            "published": cell.published,
        }
        for column, cell in zip(board.table.columns, row.cells, strict=True)
    ]


def _write(board: Board, row: Row, folder: Path, warn: Any) -> None:
    import wandb

    told = lines(board, row)
    said = {
        "dataset": {"name": board.dataset, "fingerprint": board.fingerprint, "samples": board.samples},
        "protocol": board.protocol,
        "method": {"name": row.method, "row": row.label, "differs": row.differs, "size": row.size},
        "metric": {
            "name": board.table.key.metric,
            "unit": board.table.unit,
            "higher_is_better": board.table.higher_is_better,
        },
        "benchmarks": [origin.name for origin in row.origins],
        "runs": sorted({run for cell in row.cells for run in cell.each["run"]}),
    }
    name = f"{board.dataset} {row.label}" + (f" ({row.differs})" if row.differs else "")
    identity = hashlib.sha256(f"{board.key}/{row.key}".encode()).hexdigest()[:12]
    tags = [
        board.dataset,
        row.method,
        f"protocol-{board.protocol}",
        *([row.protocol] if row.protocol else []),
    ]
    options = {"id": f"leaderboard-{identity}", "name": name, "group": f"{GROUP} {board.label}", "tags": tags}
    with wandb_run(folder, warn, job_type=GROUP, config=said, **options) as run:
        table = wandb.Table(list(COLUMNS), [[line[column] for column in COLUMNS] for line in told])
        numbers = {
            f"{column}/{_word(board, number)}": line[column]
            for number, line in enumerate(told)
            for column in ("mean", "half_width", "sd", "rank", "floor", "published")
            if line[column] is not None
        }
        run.log({"scores": table, "over N": wandb.plot.line(table, "N", "mean", title=name), **numbers})


def _word(board: Board, number: int) -> str:
    column = board.table.columns[number]
    return column.unit.word(column.paired)
