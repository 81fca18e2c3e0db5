"""`lsmbench leaderboard`: every result on disk on one page, which needs no other file and no network."""

from __future__ import annotations

import base64
import io
import math
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml
from PIL import Image as Picture

from lsmbench import __version__
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.about import told
from lsmbench.reports.board import Board
from lsmbench.reports.board import boards as sort
from lsmbench.reports.cell import Cell
from lsmbench.reports.frame import Facts, Found, lines
from lsmbench.reports.frame import read as read_runs
from lsmbench.reports.pareto import pareto
from lsmbench.reports.pictures import PANEL_DAMAGE, Panel, load_panel
from lsmbench.reports.table import Column, Origin, Row
from lsmbench.runs.nested import differences
from lsmbench.runs.results import PANEL, write_bytes

FOLDERS = ("results", "runs")
OUTPUT = "results/leaderboard.html"
AGAIN = "again"
"""Folder of a repeated run in the page's commands: in its own folder a finished run is not repeated."""

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C where PyYAML has it
_OF_A_RUN = ["run", "of", "folder", "home", "fold", "value", "wall_s", "rule", "facts", "record"]
"""The columns of a frame that the page shows of a run."""

_LOG = "log.csv"
_NO_CURVE = ["stage", "epoch", "updates", "seconds"]
_POINTS = 80  # of a curve: more than its pixels would say nothing
_CURVES = 18  # of a run
# Rows of a picture of translations, and what they are called.
_STRIPS = {"source": "input", "target": "truth", "prediction": "prediction", "back": "back"}
_TILE = 128  # pixels; translations are shown about so large
_HEAVY = 200_000  # bytes of a picture
_PICTURES = 24_000_000  # bytes of all pictures together, beyond which a page is slow to load and to send


def read(folders: Sequence[Path]) -> tuple[list[Board], Found]:
    """Reads every result below some folders.

    Args:
        folders: Where to look.

    Returns:
        At least one board, and what could not be used.

    Raises:
        UserError: If a folder is missing, or there is no finished run in any.
    """
    found = read_runs(folders)
    made = sort(found)
    if not made:
        where = ", ".join(map(str, folders)) or " and ".join(FOLDERS)
        damaged = f" {len(found.problems)} could not be read, first: {found.problems[0]}" if found.problems else ""
        raise UserError(
            f"{where}: no finished run with scores.{damaged} `lsmbench bench quick` (make bench) makes some, "
            "`lsmbench train` makes one; other folders are named behind the command."
        )
    return made, found


def write_leaderboard(boards: Sequence[Board], found: Found, output: Path) -> list[str]:
    """Writes the page; the same results give the same bytes.

    Args:
        boards: What to show.
        found: What the folders hold.
        output: The page's file.

    Returns:
        Sentences about the files that could not be used, those of `found` first.
    """
    page = _Page(output)
    views = [page.board(board) for board in boards]
    rows = [row for board in boards for row in board.rows if not row.floor]
    problems = [*found.problems, *dict.fromkeys(page.problems)]
    content = {
        "boards": views,
        "protocols": sorted({row.protocol for row in rows if row.protocol}),
        "test_sets": list(dict.fromkeys(board.table.key.test_set for board in boards)),
        "versions": list(dict.fromkeys(board.protocol for board in boards)),
        "sizes": sorted({row.size for row in rows if row.size}),
        "problems": problems,
        "untested": found.untested,
        "left_out": page.left_out,
        "runs": len({run for board in boards for run in board.trained}),
        "version": __version__,
    }
    # Half a character, which a damaged file may hold, is no reason to have no page.
    write_bytes(output, markup.render("leaderboard.html.j2", page=content).encode(errors="replace"))
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
    _pictured: set[Path] = field(default_factory=set)
    _names: Counter[str] = field(default_factory=Counter)

    def board(self, board: Board) -> dict[str, Any]:
        """A board with its tables and the runs behind their cells."""
        table, digits = board.table, markup.digits(board.table)
        key = self._name(board.key)
        opened: list[dict[str, Any]] = []
        places = defaultdict(list)
        for run, folder in zip(board.runs["run"], board.runs["folder"], strict=True):
            places[run].append(folder)
        origins = {origin.folder: origin for row in board.rows for origin in row.origins}
        sign = -1 if board.table.higher_is_better else 1

        def order(at: int) -> list[int]:
            means = [row.cells[at].mean for row in board.rows]
            return sorted(range(len(means)), key=lambda i: math.inf if (mean := means[i]) is None else sign * mean)

        return {
            "key": key,
            "board": board,
            "digits": digits,
            "first": "descending" if board.table.higher_is_better else "ascending",
            "columns": [{"column": c, "word": c.unit.word(c.paired)} for c in board.table.columns],
            "rows": [self._row(board, row, key, opened, places) for row in board.rows],
            # By the mean, the best first and those without one last.
            "orders": [order(at) for at in range(len(board.table.columns))],
            "paretos": [
                pareto([(r.label, r.cells[at]) for r in table.rows], column.floor, table.higher_is_better, digits)
                for at, column in enumerate(table.columns)
            ],
            "sources": [self._source(origin) for origin in origins.values()],
            "opened": opened,
        }

    def _row(
        self, board: Board, row: Row, key: str, opened: list[dict[str, Any]], places: Mapping[str, list[Path]]
    ) -> dict[str, Any]:
        known = {run.run: run for run in lines(board.table.key.of(row.scores)[_OF_A_RUN])}
        cells: list[dict[str, Any]] = []
        names: dict[tuple[str, ...], str] = {}
        for column, cell in zip(board.table.columns, row.cells, strict=True):
            runs = tuple(cell.each["run"])
            if (runs or cell.failures) and runs not in names:
                word = "any" if cell.independent else column.unit.word(column.paired)
                name = names[runs] = self._name(f"{key}-{row.key}-{word}")
                behind = [known[run] for run in runs]
                opened.append(self._opened(row, column, cell, name, behind, places))
            cells.append({"cell": cell, "opens": names.get(runs, "")})
        tuned = "" if row.tuned is None else "tuned" if row.tuned else "not tuned"
        sources = ", ".join(dict.fromkeys(origin.name for origin in row.origins))
        return {
            "row": row,
            "about": [
                word for word in (sources, *(() if row.floor else (row.size, row.protocol, tuned, row.saw))) if word
            ],
            "text": " ".join(filter(None, (row.label, row.method, sources, row.differs, tuned))).lower(),
            "cells": cells,
        }

    def _opened(
        self, row: Row, column: Column, cell: Cell, name: str, behind: list[Any], places: Mapping[str, list[Path]]
    ) -> dict[str, Any]:
        """The runs behind a cell."""
        runs: list[dict[str, Any]] = []
        pictured = False
        for run in behind:
            before = self.left_out
            panel = None if pictured else self._panel(run.folder)
            pictured = pictured or panel is not None or self.left_out > before
            copies = [str(place) for place in places[run.run] if place != run.folder]
            config = run.record.config
            if runs:
                config = {name: one for name, (one, _) in differences(config, behind[0].record.config).items()}
            runs.append(self._run(run, config) | {"panel": panel, "copies": copies})
        return {"name": name, "row": row, "column": column, "cell": cell, "runs": runs}

    def _run(self, run: Any, config: dict[str, Any]) -> dict[str, Any]:
        file, facts = run.folder / "config.yaml", run.facts
        pairs, seed = facts.seeds
        command = ["lsmbench", "train", "--config", str(file), "--output", AGAIN]
        environment = told(run.record)
        return {
            "run": run,
            "seed": (f"{seed}" if pairs in (seed, None) else f"{seed} (pairs {pairs})")
            + ("" if pd.isna(run.fold) else f", fold {run.fold}"),
            "environment": ", ".join(f"{key} {value}" for key, value in environment.items()),
            "config": yaml.dump(config, Dumper=_DUMPER, sort_keys=False, allow_unicode=True),
            "curves": self._curves(run.folder, facts),
            "folder": self._link(run.folder) + "/" if run.folder.is_dir() else "",
            "command": shlex.join(command) if file.exists() else "",
        }

    def _curves(self, folder: Path, facts: Facts) -> list[dict[str, Any]]:
        """What the run's log tells of each epoch, the monitored values first."""
        path = folder / _LOG
        if not path.exists():
            return []
        try:
            log = pd.read_csv(path, dtype={"stage": str})
            values = log.drop(columns=_NO_CURVE, errors="ignore").astype(float)
            places = list(zip(log["stage"], log["epoch"].astype(int), strict=True))
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.problems.append(f"{path}: is not a whole log ({type(error).__name__}: {error}).")
            return []
        marks: defaultdict[str, list[int]] = defaultdict(list)  # by monitored value, the rows of the selected epochs
        for stage in facts.selection.stages:
            marks[str(stage.monitor)] += [i for i, place in enumerate(places) if place == (stage.stage, stage.epoch)]
        borders = [i for i in range(1, len(places)) if places[i][0] != places[i - 1][0]]
        names = sorted(map(str, values), key=lambda name: (name not in marks, not name.startswith("val/")))
        drawn = (_curve(name, values[name].tolist(), borders, marks.get(name, [])) for name in names)
        return [curve for curve in drawn if curve][:_CURVES]

    def _panel(self, folder: Path) -> dict[str, Any] | None:
        """The run's picture of translations, if it kept one that no board shows yet, and there is room."""
        if folder in self._pictured:
            return None
        try:
            panel = load_panel(folder)
        except FileNotFoundError:
            return None
        except PANEL_DAMAGE as error:
            self.problems.append(f"{folder / PANEL}: {error or type(error).__name__}.")
            return None
        kind, data, width = _picture(panel)
        if self._bytes + len(data) > _PICTURES:
            self.left_out += 1
            return None
        self._bytes += len(data)
        self._pictured.add(folder)
        return {
            "uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}",
            "width": width,
            "rows": [said for name, said in _STRIPS.items() if name in panel],
            "samples": ", ".join(panel["name"]),
        }

    def _source(self, origin: Origin) -> dict[str, Any]:
        report = origin.folder / "report.html"
        link = self._link(report) if origin.plan and report.exists() else ""
        return {"origin": origin, "report": link}

    def _link(self, path: Path) -> str:
        return quote(os.path.relpath(path, self.output.parent).replace(os.sep, "/"))

    def _name(self, words: str) -> str:
        """An anchor that no other on the page has."""
        name = markup.slug(words) or "board"
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}-{self._names[name]}"


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
    """Input, truth, prediction and this translated back as rows of small pictures, as far as they are there.

    Returns:
        Kind of file, content, and width in pixels at which to show it.
    """
    strips = [panel[name] for name in _STRIPS if name in panel]
    side = max(strips[0].shape[1:3])
    zoom = max(1, _TILE // side)
    gap = max(1, 4 // zoom)
    for tile in (min(side, _TILE), 96, 64):
        step = tile + gap
        sheet = Picture.new("RGB", (len(strips[0]) * step - gap, len(strips) * step - gap), "white")
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
