"""`lsmbench leaderboard`: every result on disk on one page, which needs no other file and no network."""

from __future__ import annotations

import base64
import csv
import io
import math
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from PIL import Image as Picture

from lsmbench import __version__
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.board import Board, BoardRow, Run, Source, Survey, survey
from lsmbench.reports.contents import PANEL_DAMAGE, Panel, environments, load_panel
from lsmbench.reports.table import Cell, Column
from lsmbench.runs.results import PANEL, Result, write_bytes

FOLDERS = ("results", "runs")
OUTPUT = "results/leaderboard.html"
AGAIN = "again"
"""Folder of a repeated run in the page's commands: in its own folder a finished run is not repeated."""

_LOG = "log.csv"
_NO_CURVE = {"stage", "epoch", "updates", "seconds"}
_POINTS = 80  # of a curve: more than its pixels would say nothing
_CURVES = 18  # of a run
_TILE = 128  # pixels; translations are shown about so large
_HEAVY = 200_000  # bytes of a picture
_PICTURES = 24_000_000  # bytes of all pictures together, beyond which a page is slow to load and to send


def read(folders: Sequence[Path]) -> Survey:
    """Reads every result below some folders.

    Args:
        folders: Where to look.

    Returns:
        What they hold, at least one board.

    Raises:
        UserError: If a folder is missing, or there is no finished run in any.
    """
    found = survey(folders)
    if not found.boards:
        where = ", ".join(map(str, folders)) or " and ".join(FOLDERS)
        damaged = f" {len(found.problems)} could not be read, first: {found.problems[0]}" if found.problems else ""
        raise UserError(
            f"{where}: no finished run with scores.{damaged} `lsmbench bench quick` (make bench) makes some, "
            "`lsmbench train` makes one; other folders are named behind the command."
        )
    return found


def write_leaderboard(found: Survey, output: Path) -> list[str]:
    """Writes the page; the same results give the same bytes.

    Args:
        found: What to show.
        output: The page's file.

    Returns:
        Sentences about the files that could not be used, those of `found` first.
    """
    page = _Page(output)
    boards = [page.board(board) for board in found.boards]
    rows = [row for board in found.boards for row in board.rows if not row.floor]
    versions = list(dict.fromkeys(board.protocol for board in found.boards))
    problems = [*found.problems, *dict.fromkeys(page.problems)]
    content = {
        "boards": boards,
        "protocols": sorted({row.protocol for row in rows if row.protocol}),
        "versions": versions,
        "sizes": sorted({row.size for row in rows if row.size}),
        "problems": problems,
        "untested": markup.plural(found.untested, "run") if found.untested else "",
        "left_out": page.left_out,
        "runs": markup.plural(len({i for board in found.boards for i in board.runs}), "run"),
        "version": __version__,
    }
    # Half a character, which a damaged file may hold, is no reason to have no page.
    write_bytes(output, markup.render("leaderboard.html.j2", content).encode(errors="replace"))
    return problems


@dataclass
class _Page:
    """Puts boards into the words of the page, and keeps account of what it has put there.

    Attributes:
        output: The page's file, from which links lead.
        problems: Files of runs that could not be used.
        left_out: Pictures of translations that are only in the runs' folders.
    """

    output: Path
    problems: list[str] = field(default_factory=list)
    left_out: int = 0
    _bytes: int = 0
    _names: Counter[str] = field(default_factory=Counter)

    def board(self, board: Board) -> dict[str, Any]:
        """A board with its tables and the runs behind their cells."""
        digits = markup.decimals(
            value
            for row in board.rows
            for cell in row.cells
            for value in (cell.mean, cell.published)
            if value is not None
        )
        key = self._name(board.key)
        better = "higher" if board.higher_is_better else "lower"
        opened: list[dict[str, Any]] = []
        rows = [self._row(board, row, key, digits, opened) for row in board.rows]
        columns = [
            {"label": column.amount, "word": column.unit.word(column.paired), "pairs": markup.saw(column)}
            for column in board.columns
        ]
        orders = [_order([row.cells[i].mean for row in board.rows], board) for i in range(len(columns))]
        sources = {source.folder: source for row in board.rows for source in row.sources}
        return {
            "key": key,
            "label": board.label,
            "title": f"{board.score.metric}, {board.score.source} → {board.score.target} ({better} is better)",
            "metric": board.score.metric,
            "first": "descending" if board.higher_is_better else "ascending",
            "protocol": board.protocol,
            "chips": _chips(board),
            "columns": columns,
            "rows": rows,
            "orders": orders,
            "notes": _notes(board),
            "sources": [self._source(source) for source in sources.values()],
            "opened": opened,
        }

    def _row(self, board: Board, row: BoardRow, key: str, digits: int, opened: list[dict[str, Any]]) -> dict[str, Any]:
        cells: list[dict[str, Any]] = []
        names: dict[tuple[str, ...], str] = {}
        for column, cell, rank in zip(board.columns, row.cells, row.ranks, strict=True):
            runs = tuple(score.run.id for score in cell.runs)
            if (runs or cell.failures) and runs not in names:
                word = "any" if cell.independent else column.unit.word(column.paired)
                name = names[runs] = self._name(f"{key}-{row.key}-{word}")
                opened.append(self._opened(board, row, column, cell, name, digits))
            cells.append(_cell(cell, rank, digits) | {"opens": names.get(runs, "")})
        sources = ", ".join(dict.fromkeys(source.name for source in row.sources))
        marks = {True: "tuned", False: "not tuned", None: ""}[row.tuned]
        return {
            "label": row.label,
            "mark": " †" if row.independent and not row.floor else "",
            "summary": row.summary,
            "differs": ", ".join(row.differs),
            "about": " · ".join(
                word for word in (sources, *(() if row.floor else (row.size, row.protocol, marks))) if word
            ),
            "text": " ".join((row.label, row.method, sources, *row.differs, marks)).lower(),
            "size": row.size,
            "protocol": row.protocol,
            "floor": row.floor,
            "cells": cells,
            "time": markup.duration(row.wall_s),
            "seconds": _sortable(row.wall_s),
            "parameters": _count(row.parameters.high if row.parameters else None),
            "parameter_number": _sortable(row.parameters.high if row.parameters else None),
        }

    def _opened(
        self, board: Board, row: BoardRow, column: Column, cell: Cell, name: str, digits: int
    ) -> dict[str, Any]:
        """The runs behind a cell."""
        runs, pictured = [], False
        for score in cell.runs:
            run = board.runs[score.run.id]
            view = self._run(board, run, digits)
            before = self.left_out
            panel = None if pictured else self._panel(run)
            pictured = pictured or panel is not None or self.left_out > before
            runs.append(view | {"panel": panel})
        facts = [
            ("seeds", f"{cell.finished} of {cell.expected}" if cell.finished < cell.expected else f"{cell.finished}")
        ]
        if column.floor is not None:
            facts.append(("floor", f"{column.floor:.{digits}f}"))
        if cell.published is not None and cell.published_by:
            facts.append(("published", f"{cell.published:.{digits}f} ({cell.published_by.source})"))
        return {
            "name": name,
            "title": row.label + (f", {', '.join(row.differs)}" if row.differs else ""),
            "where": f"{board.label}, N = {'any' if cell.independent else column.amount}",
            "score": _cell(cell, None, digits),
            "metric": board.score.metric,
            "facts": facts,
            "runs": runs,
            "failures": [(failure.id, failure.kind, failure.reason, failure.where) for failure in cell.failures],
            "commands": [(source.name, source.manifest.command.strip()) for source in row.sources if source.manifest],
        }

    def _run(self, board: Board, run: Run, digits: int) -> dict[str, Any]:
        result, config = run.result, run.folder / "config.yaml"
        score = board.score.find(result)
        value = score.value if score else math.nan
        cost = result.cost
        numbers = [f"{cost[k]:,.0f} {k}" for k in ("epochs", "updates", "parameters") if k in cost]
        supervision = ", ".join(f"{number:,} {group}" for group, number in result.supervision.items())
        command = ["lsmbench", "train", "--config", str(config), "--output", AGAIN]
        return {
            "id": result.id,
            "seed": _seed(result),
            "score": "undefined" if math.isnan(value) else f"{value:.{digits}f}",
            "validation": markup.validation(result),
            "epoch": markup.epochs(result.selection),
            "time": markup.duration(cost.get("wall_s")),
            "facts": [
                ("selection", str(result.selection.get("rule", "–"))),
                ("samples seen", supervision.replace("_", " ")),
                ("cost", ", ".join([*numbers, *_memory(cost)]) or "–"),
                ("environment", ", ".join(f"{key} {next(iter(v))}" for key, v in environments([result]).items())),
            ],
            "warnings": [str(warning) for warning in result.warnings],
            "config": yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True),
            "curves": self._curves(run),
            "folder": self._link(run.folder) + "/",
            "path": str(run.folder),
            "copies": [str(copy) for copy in run.copies],
            "command": shlex.join(command) if config.exists() else "",
        }

    def _curves(self, run: Run) -> list[dict[str, Any]]:
        """What the run's log tells of each epoch, the monitored values first."""
        path = run.folder / _LOG
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            columns = [name for name in (rows[0] if rows else ()) if name and name not in _NO_CURVE]
            values = {name: [float(row[name] or "nan") for row in rows] for name in columns}
            stages = [row["stage"] for row in rows]
            marks = _chosen(rows, run.result)
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            self.problems.append(f"{path}: is not a whole log ({type(error).__name__}: {error}).")
            return []
        columns.sort(key=lambda name: (name not in marks, not name.startswith("val/")))
        borders = [i for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
        drawn = (_curve(name, values[name], borders, marks.get(name, [])) for name in columns)
        return [curve for curve in drawn if curve][:_CURVES]

    def _panel(self, run: Run) -> dict[str, Any] | None:
        """The run's picture of translations, if it kept one and the page can still hold it."""
        try:
            panel = load_panel(run.folder)
        except FileNotFoundError:
            return None
        except PANEL_DAMAGE as error:
            self.problems.append(f"{run.folder / PANEL}: {error or type(error).__name__}.")
            return None
        kind, data, width = _picture(panel)
        if self._bytes + len(data) > _PICTURES:
            self.left_out += 1
            return None
        self._bytes += len(data)
        return {
            "uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
            "width": width,
            "samples": ", ".join(str(int(i)) for i in panel["index"]),
        }

    def _source(self, source: Source) -> dict[str, str]:
        report = source.folder / "report.html"
        return {
            "name": source.name,
            "folder": str(source.folder),
            "report": self._link(report) if source.manifest and report.exists() else "",
            "command": source.manifest.command.strip() if source.manifest else "",
        }

    def _link(self, path: Path) -> str:
        return quote(os.path.relpath(path, self.output.parent).replace(os.sep, "/"))

    def _name(self, words: str) -> str:
        """An anchor that no other on the page has."""
        name = markup.slug(words) or "board"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}-{self._names[name]}"


# --- tables -------------------------------------------------------------------------------------------------------


def _cell(cell: Cell, rank: int | None, digits: int) -> dict[str, Any]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    missing = ""
    if cell.mean is None:
        failed = cell.failures and len(cell.failures) == cell.expected
        missing = "–" if not cell.expected else "failed" if failed else "undefined" if cell.finished else "to come"
    return {
        "rank": rank,
        "mean": number(cell.mean),
        "sd": number(cell.sd),
        "seeds": f"{cell.finished}/{cell.expected}" if cell.finished < cell.expected else str(cell.finished or "–"),
        "whole": cell.finished >= cell.expected,
        "missing": missing,
        "published": number(cell.published),
        "any_n": cell.published_any_n,
        "best": cell.best,
        "at_floor": cell.at_floor,
        "time": markup.duration(cell.wall_s),
        "sort": {
            "mean": _sortable(cell.mean),
            "sd": _sortable(cell.sd),
            "seeds": str(cell.finished),
            "published": _sortable(cell.published),
            "time": _sortable(cell.wall_s),
        },
    }


def _order(means: Sequence[float | None], board: Board) -> list[int]:
    """Rows by their mean, the best first and those without one last."""
    sign = -1 if board.higher_is_better else 1
    return sorted(range(len(means)), key=lambda i: math.inf if (mean := means[i]) is None else sign * mean)


def _chips(board: Board) -> list[str]:
    samples = ", ".join(f"{number:,} {part}" for part, number in board.samples.items())
    return [
        *([f"unit: {board.unit}"] if board.unit else []),
        *([f"samples: {samples}"] if samples else []),
        f"protocol {board.protocol}",
        f"data {board.fingerprint}",
    ]


def _notes(board: Board) -> list[str]:
    """What to know for reading a board's tables, a sentence each."""
    cells = [cell for row in board.rows if not row.floor for cell in row.cells]
    score = "score over all test samples together" if board.pooled else "mean score over the test samples"
    said = [
        f"Mean ± sample standard deviation over seeds of a run's {score}. Ranks are by the mean alone, whatever the "
        "spread; equal means share a rank."
    ]
    if any(cell.mean is not None and cell.sd is None for cell in cells):
        said.append("A value without ± stems from a single run.")
    if any(cell.finished < cell.expected for cell in cells):
        said.append("k/n: only k of the n planned runs have a score so far.")
    if any(row.independent and not row.floor for row in board.rows):
        said.append("† uses no pairs: the same runs stand at every N.")
    if any(row.floor for row in board.rows):
        said.append("Floors are trivial predictors. They stand where their score puts them, and have no rank.")
    if any(cell.at_floor for cell in cells):
        said.append("‡ no better than the best floor at this N.")
    rules = sorted({rule for cell in cells for rule in cell.rules})
    if rules:
        each = "; rows differ in it, see their runs" if len(rules) > 1 else ""
        said.append(f"Selection rule: {', '.join(rules)}{each}.")
    pairs = sorted({int(n) for cell in cells if cell.val_pairs for n in cell.val_pairs})
    if pairs:
        said.append(f"Validation pairs per run, which count as supervision: {', '.join(map(str, pairs))}.")
    said += [
        f"Published: {block.source}. {'Another setting: ' + block.note if block.note else ''}".strip()
        for block in board.published
    ]
    return said


# --- runs ---------------------------------------------------------------------------------------------------------


def _seed(result: Result) -> str:
    seed = (result.config.get("training") or {}).get("init_seed")
    other = (result.config.get("supervision") or {}).get("supervision_seed", seed)
    return f"{seed}" if other == seed else f"{seed} (pairs {other})"


def _memory(cost: dict[str, float]) -> list[str]:
    return [f"{cost['peak_memory_mb']:,.0f} MB at most"] if "peak_memory_mb" in cost else []


def _chosen(rows: Sequence[dict[str, str]], result: Result) -> dict[str, list[int]]:
    """By monitored value, the log's rows of the selected epochs."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for stage in result.selection.get("stages", []):
        place = str(stage.get("stage")), str(stage.get("epoch"))
        found[str(stage.get("monitor"))] += [i for i, row in enumerate(rows) if (row["stage"], row["epoch"]) == place]
    return found


def _curve(name: str, values: Sequence[float], borders: Sequence[int], marks: Sequence[int]) -> dict[str, Any] | None:
    """A curve over the epochs in a box of 100 × 40, with lines where stages end and where epochs were selected."""
    known = [(i, value) for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    step = math.ceil(len(known) / _POINTS)
    kept = known[::step] + ([known[-1]] if (len(known) - 1) % step else [])
    last = max(1, len(values) - 1)

    def at(i: float) -> float:
        return round(100 * i / last, 1)

    return {
        "name": name,
        "points": " ".join(
            f"{at(i):g},{round(38 - 36 * ((value - low) / (high - low) if high > low else 0.5), 1):g}"
            for i, value in kept
        ),
        "alone": len(known) == 1,
        "borders": [at(i - 0.5) for i in borders],
        "marks": [at(i) for i in marks],
        "from_to": f"{markup.number(known[0][1])} → {markup.number(known[-1][1])}",
        "span": f"{markup.number(low)} to {markup.number(high)}",
        "epochs": len(values),
    }


def _picture(panel: Panel) -> tuple[str, bytes, int]:
    """Input, truth and prediction as three rows of small pictures.

    Returns:
        Kind of file, content, and width in pixels at which to show it.
    """
    strips = [panel[name] for name in ("x", "y", "prediction")]
    side = max(strips[0].shape[1:3])
    zoom = max(1, _TILE // side)
    gap = max(1, 4 // zoom)
    for tile in (min(side, _TILE), 96, 64):
        step = tile + gap
        sheet = Picture.new("RGB", (len(strips[0]) * step - gap, 3 * step - gap), "white")
        for r, strip in enumerate(strips):
            for c, image in enumerate(strip):
                small = Picture.fromarray(image)
                small.thumbnail((tile, tile), Picture.Resampling.LANCZOS)
                sheet.paste(small, (c * step, r * step))
        # Small drawings are sharper, and no larger, in PNG; photographs are a fifth as large in JPEG.
        for kind, most in (("png", _HEAVY // 4), ("jpeg", _HEAVY)):
            buffer = io.BytesIO()
            sheet.save(buffer, kind, optimize=True, quality=85, subsampling=0)
            if len(buffer.getvalue()) <= most:
                return kind, buffer.getvalue(), sheet.width * zoom
    return kind, buffer.getvalue(), sheet.width * zoom


def _sortable(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _count(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.3g} k" if value >= 1e4 else f"{value:.0f}"
