"""A benchmark's report, made from its folder alone: tables, curves, pictures and scores, for reading and for papers."""

from __future__ import annotations

import base64
import csv
import io
import math
import os
import re
import tempfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table as RichTable
from rich.text import Text

from lsmbench import __version__
from lsmbench.benchmarks import figures
from lsmbench.benchmarks.statistics import Cell, Manifest, PlannedRun, Row, Span, Table, comparable, is_floor, tabulate
from lsmbench.errors import UserError
from lsmbench.runs.results import FAILURE, RESULT, Failure, Result, write_text

RUNS, PANEL = "runs", "panel.npz"
PANEL_ROWS = 8  # more test samples than this no longer fit a page
DAMAGE = (UserError, AttributeError, IndexError, KeyError, TypeError, ValueError)
# What differs between runs of one benchmark without making them differ.
_PASSING = ("host", "time", "date", "start", "finish", "pid", "user")


@dataclass(frozen=True)
class Problem:
    """A file that could not be used.

    Attributes:
        run: The run's identity.
        message: What is wrong with which file.
    """

    run: str
    message: str


@dataclass(frozen=True)
class Contents:
    """What a benchmark's folder holds.

    Attributes:
        folder: The benchmark's folder.
        manifest: The benchmark's plan.
        results: Finished runs that can stand in one table, in the order of the benchmark.
        left_out: Finished runs of another version of the protocol or of the dataset.
        failures: Runs that ended without a result.
        problems: Files that could not be used.
        strangers: Number of run folders that are not part of the benchmark.
    """

    folder: Path
    manifest: Manifest
    results: tuple[Result, ...]
    left_out: tuple[Result, ...]
    failures: tuple[Failure, ...]
    problems: tuple[Problem, ...]
    strangers: int

    @property
    def tables(self) -> list[Table]:
        """The benchmark's tables, the one of the primary metric first."""
        return tabulate(self.manifest, self.results, self.failures)


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report.

    Attributes:
        html: The whole report in one file that needs no other.
        markdown: The same as text.
        tex: The tables for a paper.
        csv: Every score of every run and test sample.
        curves: The figure of scores over N as PNG and SVG; empty without a score.
        panels: Pictures of translations, one per N.
    """

    html: Path
    markdown: Path
    tex: Path
    csv: Path
    curves: tuple[Path, ...]
    panels: tuple[Path, ...]


@dataclass(frozen=True)
class _Picture:
    name: str
    label: str
    data: bytes

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.data).decode()


@dataclass
class _Page:
    """What the templates show, already in words."""

    manifest: Manifest
    tables: list[dict[str, Any]]
    status: str
    chips: list[str]
    warnings: list[str]
    supervision: list[dict[str, str]]
    outcomes: list[dict[str, str]]
    problems: tuple[Problem, ...]
    details: list[dict[str, str]]
    run_warnings: list[str]
    strangers: int
    facts: list[tuple[str, str]]
    published_elsewhere: str
    figure: str = ""
    panels: list[_Picture] = field(default_factory=list)
    panel_seed: str = ""


def read(folder: Path) -> Contents:
    """Reads a benchmark's folder; damaged run files are named among the problems, not raised.

    Args:
        folder: The benchmark's folder.

    Returns:
        What it holds.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    manifest = Manifest.load(folder)
    results, failures, problems = [], [], []
    for run in manifest.runs:
        home = folder / RUNS / run.id
        try:
            if (home / RESULT).exists():
                results.append(_whole(Result.load(home), run))
                continue
        except DAMAGE as error:
            problems.append(_problem(folder, run, RESULT, error))
        try:
            if (home / FAILURE).exists():
                failures.append(_whole_failure(Failure.load(home), run))
        except DAMAGE as error:
            problems.append(_problem(folder, run, FAILURE, error))
    kept, left_out = comparable(results)
    known = {run.id for run in manifest.runs}
    root = folder / RUNS
    homes = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    strangers = sum(name not in known and not name.startswith(".") for name in homes)
    return Contents(
        folder, manifest, tuple(kept), tuple(left_out), tuple(failures), tuple(dict.fromkeys(problems)), strangers
    )


def write_report(folder: Path) -> ReportPaths:
    """Writes a benchmark's report into its folder; the same runs give the same bytes.

    Args:
        folder: The benchmark's folder, with `benchmark.json` and `runs/`.

    Returns:
        The written files.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    contents = read(folder)
    tables = contents.tables
    panels, problems = _panels(contents, tables[0])
    page = _page(contents, tables, problems)
    page.panels = panels
    paths = ReportPaths(
        html=folder / "report.html",
        markdown=folder / "report.md",
        tex=folder / "table.tex",
        csv=folder / "scores.csv",
        curves=(folder / "curves.png", folder / "curves.svg") if _scored(tables[0]) else (),
        panels=tuple(folder / picture.name for picture in panels),
    )
    for stale in {*folder.glob("panel-N*.png"), folder / "curves.png", folder / "curves.svg"}:
        if stale not in (*paths.curves, *paths.panels):
            stale.unlink(missing_ok=True)  # pictures of an earlier report, which this one does not show
    for picture in panels:
        _write_bytes(folder / picture.name, picture.data)
    if paths.curves:
        figure = figures.curves(tables[0])
        drawing = figures.svg(figure)
        _write_bytes(paths.curves[0], figures.png(figure))
        write_text(paths.curves[1], drawing)
        page.figure = _inline(drawing)
    write_text(paths.csv, _scores_csv(contents, tables[0]))
    write_text(paths.tex, _render("table.tex.j2", page))
    write_text(paths.markdown, _render("report.md.j2", page))
    write_text(paths.html, _render("report.html.j2", page))
    return paths


def console_table(source: Path | Table) -> list[RichTable]:
    """Makes tables for the terminal.

    Args:
        source: A benchmark's folder, or one table.

    Returns:
        One table per metric and direction of translation.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    if isinstance(source, Table):
        return [_console(source, "")]
    contents = read(source)
    return [_console(table, contents.manifest.title) for table in contents.tables]


def _console(table: Table, title: str) -> RichTable:
    view = _table_view(table)
    rich = RichTable(title=Text(f"{title}: {view['title']}" if title else str(view["title"])), title_justify="left")
    rich.add_column("method", no_wrap=True)
    for column in view["columns"]:
        rich.add_column(
            Text(f"{column['label']} %" + (f"\n{column['pairs']}" if column["pairs"] else "")), justify="right"
        )
    rich.add_column("time/run", justify="right", style="dim")
    rich.add_column("updates", justify="right", style="dim")
    for number, row in enumerate(view["rows"] + view["floors"]):
        if number == len(view["rows"]):
            rich.add_section()
        cells = []
        for cell in row["cells"]:
            style = "bold green" if cell["best"] else "dim" if row["floor"] else "yellow" if cell["at_floor"] else ""
            text = Text("not run" if row["skipped"] else cell["text"], style=style if cell["value"] else "dim")
            if cell["published"]:
                text.append(f"\npublished {cell['published']}", style="dim")
            cells.append(text)
        rich.add_row(
            Text(row["label"] + row["mark"], style="dim" if row["floor"] else ""), *cells, row["time"], row["updates"]
        )
    rich.caption = Text("\n".join(view["notes"]))
    rich.caption_justify = "left"
    return rich


def _page(contents: Contents, tables: Sequence[Table], panel_problems: Sequence[Problem]) -> _Page:
    manifest, results = contents.manifest, contents.results
    outside = {result.id for result in contents.left_out}
    failed = {f.id: f for f in contents.failures}
    done = {result.id: result for result in results}
    damaged = {problem.run for problem in contents.problems}
    counts = Counter(
        "finished" if run.id in done
        else "failed" if run.id in failed
        else "left out" if run.id in outside
        else "damaged" if run.id in damaged
        else "to come"
        for run in manifest.runs
    )  # fmt: skip
    status = f"{counts['finished']} of {len(manifest.runs)} runs finished"
    status += "".join(f", {counts[w]} {w}" for w in ("failed", "left out", "damaged", "to come") if counts[w])
    seeds = ", ".join(map(str, manifest.seeds))
    return _Page(
        manifest=manifest,
        tables=[_table_view(table) for table in tables],
        status=status,
        chips=[
            f"dataset {manifest.dataset}",
            *([f"size {manifest.size}"] if manifest.size else []),
            f"{'seed' if len(manifest.seeds) == 1 else 'seeds'} {seeds}",
            status,
        ],
        warnings=_warnings(contents, tables[0]),
        supervision=[_supervision(column, tables[0].val_pairs) for column in tables[0].columns],
        outcomes=_outcomes(contents),
        problems=(*contents.problems, *panel_problems),
        details=[_detail(contents, run, tables[0], done, failed, damaged, outside) for run in manifest.runs],
        run_warnings=_run_warnings(results),
        strangers=contents.strangers,
        facts=_facts(results),
        published_elsewhere=_published_elsewhere(manifest),
        panel_seed=str(manifest.seeds[0]) if manifest.seeds else "",
    )


# --- words for the tables -----------------------------------------------------------------------------------------


def _table_view(table: Table) -> dict[str, Any]:
    means = [abs(c.mean) for row in (*table.rows, *table.floors) for c in row.cells if c.mean is not None]
    means += [abs(c.published) for row in table.rows for c in row.cells if c.published is not None]
    decimals = _decimals(means)
    looks = figures.styles(table.rows)
    better = "higher" if table.higher_is_better else "lower"
    rows = [_row_view(row, decimals, looks[row.label].colour, False) for row in table.rows]
    floors = [_row_view(row, decimals, figures.FLOOR, True) for row in table.floors]
    return {
        "title": f"{table.key.metric}, {table.key.source} → {table.key.target} ({better} is better)",
        "metric": table.key.metric,
        "direction": f"{table.key.source} → {table.key.target}",
        "unit": table.unit,
        "better": better,
        "primary": table.primary,
        "slug": "-".join(_slug(part) for part in table.key),
        "columns": [
            {"label": f"{c.paired:g}", "pairs": _count(c.pairs, "pair"), "number": _span(c.pairs)}
            for c in table.columns
        ],
        "rows": rows,
        "floors": floors,
        "notes": _notes(table),
        "published": table.published if any(c["published"] for row in rows for c in row["cells"]) else None,
    }


def _row_view(row: Row, decimals: int, colour: str, floor: bool) -> dict[str, Any]:
    mark = " †" if row.independent and not floor else ""
    return {
        "label": row.label,
        "mark": mark,
        "summary": row.summary,
        "colour": colour,
        "floor": floor,
        "skipped": row.skipped,
        "cells": [_cell_view(cell, decimals) for cell in row.cells],
        "has_published": any(cell.published is not None for cell in row.cells),
        "time": _duration(row.wall_s),
        "seconds": row.wall_s,
        "updates": "–" if row.updates is None else f"{row.updates:,.0f}",
        "update_number": row.updates,
        "rules": ", ".join(row.rules),
    }


def _cell_view(cell: Cell, decimals: int) -> dict[str, Any]:
    value = "" if cell.mean is None else f"{cell.mean:.{decimals}f}"
    sd = "" if cell.sd is None else f"{cell.sd:.{decimals}f}"
    seeds = f"{cell.finished}/{cell.expected}" if cell.finished < cell.expected else ""
    mark = "‡" if cell.at_floor else ""
    if value:
        missing = ""
    elif not cell.expected:
        missing = "–"
    elif cell.finished:
        missing = "undefined"
    elif len(cell.failures) == cell.expected:
        missing = "failed"
    else:
        missing = f"{len(cell.failures)} failed" if cell.failures else "to come"
    words = [value or missing, f"± {sd}" if sd else "", mark, f"({seeds})" if seeds and missing != "–" else ""]
    runs = ", ".join(f"seed {'any' if s.run.seed is None else s.run.seed}: {s.score:.{decimals}f}" for s in cell.runs)
    return {
        "value": value,
        "sd": sd,
        "mark": mark,
        "seeds": seeds,
        "missing": missing,
        "text": " ".join(word for word in words if word),
        "tip": f"{runs}; median {cell.median:.{decimals}f}" if cell.median is not None else "",
        "failed": len(cell.failures),
        "best": cell.best,
        "at_floor": cell.at_floor,
        "published": "" if cell.published is None else f"{cell.published:.{decimals}f}",
        "sort": cell.mean,
    }


def _notes(table: Table) -> list[str]:
    cells = [cell for row in table.rows for cell in row.cells]
    unit = f" Unit: {table.unit}." if table.unit else ""
    notes = [
        "Mean ± standard deviation over seeds of a run's mean over the test samples; the best mean of a column is "
        f"emphasised, which says nothing about significance.{unit}"
    ]
    if any(cell.mean is not None and cell.sd is None for cell in cells):
        notes.append("A value without ± stems from a single run.")
    if any(cell.finished < cell.expected for cell in cells):
        notes.append("k/n: only k of the n runs have a score so far; a mean over fewer seeds is not the final one.")
    if any(row.independent for row in table.rows):
        notes.append("† uses no pairs: the same runs are shown at every N.")
    if any(cell.at_floor for cell in cells):
        notes.append("‡ no better than the best floor (trivial predictor) at this N.")
    notes.append("Time and updates are means over a row's runs.")
    if table.rules:
        notes.append(f"Selection rule: {_rules(table)}.")
    if table.val_pairs:
        few = [column for column in table.columns if column.pairs]
        scarcest = min(few, key=lambda column: column.paired) if few else None
        example = (
            f": at N = {scarcest.paired:g} % a run saw {_count(scarcest.pairs, 'training pair')} and these"
            if scarcest
            else ""
        )
        notes.append(f"Validation pairs: {_span(table.val_pairs)} per run. They count as supervision{example}.")
    if table.published and any(cell.published is not None for cell in cells):
        notes.append(f"Published values: {table.published.source}.")
        if table.published.note:
            notes.append(f"Published values stem from another setting: {table.published.note}")
    return notes


def _rules(table: Table) -> str:
    if len(table.rules) == 1:
        return table.rules[0]
    return "; ".join(f"{rule} ({', '.join(r.label for r in table.rows if rule in r.rules)})" for rule in table.rules)


def _supervision(column: Any, val_pairs: Span | None) -> dict[str, str]:
    x, y = column.singles
    return {
        "paired": f"{column.paired:g} %",
        "pairs": _span(column.pairs),
        "x": _span(x),
        "y": _span(y),
        "val_pairs": _span(val_pairs),
    }


# --- what else there is to say ------------------------------------------------------------------------------------


def _warnings(contents: Contents, table: Table) -> list[str]:
    """Why the numbers might not be comparable."""
    results, said = contents.results, []
    if contents.left_out:
        kept = results[0]
        said.append(
            f"{_plural(len(contents.left_out), 'run')} left out, because runs of different protocol versions or "
            f"dataset fingerprints are not comparable. Shown: {_setting(kept)}. Left out: "
            + "; ".join(f"{r.id} ({_setting(r)})" for r in contents.left_out)
            + "."
        )
    for key, values in _environment(results).items():
        if len(values) > 1 and not any(word in key.lower() for word in _PASSING):
            told = ", ".join(f"{value} ({_plural(count, 'run')})" for value, count in values.items())
            said.append(f"The runs' environments differ in {key}: {told}.")
    competitors = [result for result in results if not is_floor(result.config)]
    if len({tuple(result.primary.indices) for result in results}) > 1:
        said.append("The runs were not all scored on the same test samples; compare them with care.")
    if len(table.rules) > 1:
        said.append(f"Methods follow different selection rules: {_rules(table)}.")
    for column in table.columns:
        if column.pairs and column.pairs.low != column.pairs.high:
            said.append(
                f"At N = {column.paired:g} % the numbers of training pairs differ between runs: {_span(column.pairs)}."
            )
    if table.val_pairs and table.val_pairs.low != table.val_pairs.high:
        said.append(f"The numbers of validation pairs differ between runs: {_span(table.val_pairs)}.")
    metrics = {(s.metric, s.source, s.target, s.unit, s.higher_is_better) for r in competitors for s in r.scores}
    twice = [key for key, count in Counter(m[:3] for m in metrics).items() if count > 1]
    said += [f"Runs disagree on unit or direction of {m}, {s} → {t}." for m, s, t in sorted(twice)]
    if contents.problems:
        said.append(f"{_plural(len(contents.problems), 'damaged file')} skipped; see below.")
    return said


def _outcomes(contents: Contents) -> list[dict[str, str]]:
    failed = {f.id: f for f in contents.failures}
    return [
        {
            "run": run.id,
            "link": _link(run),
            "method": run.method,
            "paired": _paired(run),
            "seed": _seed(run),
            "kind": failed[run.id].kind,
            "where": failed[run.id].where,
            "reason": failed[run.id].reason,
        }
        for run in contents.manifest.runs
        if run.id in failed
    ]


def _detail(
    contents: Contents,
    run: PlannedRun,
    table: Table,
    done: dict[str, Result],
    failed: dict[str, Failure],
    damaged: set[str],
    outside: set[str],
) -> dict[str, str]:
    words = {"run": run.id, "link": _link(run), "method": run.method, "paired": _paired(run), "seed": _seed(run)}
    words |= {"score": "–", "sort": "", "validation": "–", "epoch": "–", "time": "–", "seconds": "", "parameters": "–"}
    result = done.get(run.id)
    if result is None:
        states = (("failed", failed), ("left out", outside), ("damaged", damaged))
        return words | {"state": next((word for word, ids in states if run.id in ids), "to come")}
    score = table.key.find(result)
    mean = score.mean if score else math.nan
    undefined = sum(math.isnan(v) for v in score.values) if score else 0
    return words | {
        "state": "finished",
        "score": "undefined"
        if math.isnan(mean)
        else f"{mean:.4g}" + (f" ({undefined} undefined)" if undefined else ""),
        "sort": "" if math.isnan(mean) else repr(mean),
        "validation": "–" if result.validation is None else f"{result.validation:.4g}",
        "epoch": _epochs(result.selection),
        "time": _duration(result.cost.get("wall_s")),
        "seconds": repr(result.cost.get("wall_s", "")),
        "parameters": f"{result.cost['parameters']:,.0f}" if "parameters" in result.cost else "–",
    }


def _epochs(selection: dict[str, Any]) -> str:
    stages = [stage for stage in selection.get("stages", []) if stage.get("epoch") is not None]
    words = []
    for stage in stages:
        name = f"{stage.get('stage', '')} " if len(stages) > 1 else ""
        words.append(f"{name}{stage['epoch']} of {stage.get('epochs', '?')}")
    return ", ".join(words) or "–"


def _run_warnings(results: Sequence[Result]) -> list[str]:
    said: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            said.setdefault(str(warning), []).append(result.id)
    return [
        f"{warning} ({_plural(len(ids), 'run')}: {', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
        for warning, ids in said.items()
    ]


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What made the numbers, for the foot of the report."""
    facts = [("report made by", f"lsmbench {__version__}")]
    if results:
        first = results[0]
        counts = [f"{first.dataset[part]} {part}" for part in ("train", "val", "test") if part in first.dataset]
        facts += [
            ("protocol", first.protocol),
            ("dataset", f"{first.dataset.get('name', '')}, fingerprint {first.dataset.get('fingerprint', 'unknown')}"),
        ]
        facts += [("samples", ", ".join(counts))] if counts else []
    for key, values in _environment(results).items():
        if not any(word in key.lower() for word in _PASSING):
            facts.append((key, ", ".join(values)))
    return facts


def _environment(results: Sequence[Result]) -> dict[str, Counter[str]]:
    """Each fact about the runs' environments with the number of runs that share a value."""
    flat = [dict(_flatten("", result.environment)) for result in results]
    keys = dict.fromkeys(key for one in flat for key in one)
    return {key: Counter(one.get(key, "none") for one in flat) for key in keys}


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif value is not None:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _published_elsewhere(manifest: Manifest) -> str:
    """Published values that have no cell in the table."""
    if not manifest.published:
        return ""
    ours = {run.method for run in manifest.runs}
    parts = []
    for method, values in manifest.published.values.items():
        rest = [
            f"{value:g} at {n:g} %" for n, value in values.items() if method not in ours or n not in manifest.paired
        ]
        if rest:
            parts.append(f"{method} {', '.join(rest)}")
    return "; ".join(parts)


# --- files --------------------------------------------------------------------------------------------------------


def _panels(contents: Contents, table: Table) -> tuple[list[_Picture], list[Problem]]:
    """One picture of translations per N, of each method's first finished seed."""
    looks = figures.styles(table.rows)
    decimals = _decimals([c.mean for row in table.rows for c in row.cells if c.mean is not None])
    results = {result.id: result for result in contents.results}
    problems: dict[str, Problem] = {}
    loaded: dict[str, dict[str, NDArray[Any]] | None] = {}
    shown: NDArray[Any] | None = None
    pictures = []
    for i, n in enumerate(contents.manifest.paired):
        columns: list[figures.Translations] = []
        for row in (*table.rows, *table.floors):
            for score in row.cells[i].runs:
                run, path = score.run, contents.folder / RUNS / score.run.id / PANEL
                if run.id not in loaded:
                    try:
                        loaded[run.id] = _load_panel(path) if path.exists() else None
                    except (*DAMAGE, OSError, EOFError, zipfile.BadZipFile) as error:
                        loaded[run.id] = None
                        problems[run.id] = _problem(contents.folder, run, PANEL, error)
                panel = loaded[run.id]
                if panel is None:
                    continue
                shown = panel["index"] if shown is None else shown
                if not np.array_equal(panel["index"], shown):
                    problems[run.id] = Problem(run.id, f"{RUNS}/{run.id}/{PANEL}: shows other test samples; left out.")
                    continue
                if not columns:
                    columns = [figures.Translations("input", panel["x"]), figures.Translations("truth", panel["y"])]
                other = run.seed is not None and contents.manifest.seeds[:1] not in ((), (run.seed,))
                columns.append(
                    figures.Translations(
                        title=f"{row.label} (seed {run.seed})" if other else row.label,
                        images=panel["prediction"],
                        scores=_image_scores(results[run.id], table, panel["index"], decimals),
                        colour=looks[row.label].colour if row.label in looks else figures.FLOOR,
                    )
                )
                break
        if columns and shown is not None:
            figure = figures.panel(columns, [int(index) for index in shown])
            pictures.append(_Picture(f"panel-N{n:g}.png", f"{n:g} %", figures.png(figure, dpi=170)))
    return pictures, list(problems.values())


def _load_panel(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        panel = {name: file[name][:PANEL_ROWS] for name in ("index", "x", "y", "prediction")}
    for name in ("x", "y", "prediction"):
        images = panel[name]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != len(panel["index"]):
            raise ValueError(f"{name} is {images.dtype} {images.shape}, expected uint8 (K, H, W, 3)")
    return panel


def _image_scores(result: Result, table: Table, index: NDArray[Any], decimals: int) -> tuple[str, ...]:
    score = table.key.find(result)
    known = dict(zip(score.indices, score.values, strict=True)) if score else {}
    values = [known.get(int(i), math.nan) for i in index]
    return tuple("–" if math.isnan(value) else f"{value:.{min(decimals, 4)}f}" for value in values)


def _scores_csv(contents: Contents, table: Table) -> str:
    labels = {s.run.id: row.label for row in (*table.rows, *table.floors) for cell in row.cells for s in cell.runs}
    results = {result.id: result for result in contents.results}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("method", "paired", "seed", "run", "metric", "source", "target", "sample", "value"))
    for run in contents.manifest.runs:
        if run.id not in results:
            continue
        paired = "" if run.paired is None else f"{run.paired:g}"
        head = (labels.get(run.id, run.method), paired, "" if run.seed is None else run.seed, run.id)
        for score in results[run.id].scores:
            for index, value in zip(score.indices, score.values, strict=True):
                shown = "" if math.isnan(value) else repr(float(value))
                writer.writerow((*head, score.metric, score.source, score.target, index, shown))
    return buffer.getvalue()


def _render(template: str, page: _Page) -> str:
    loader = jinja2.PackageLoader("lsmbench.benchmarks")
    tags: dict[str, str] = {}
    if template.endswith(".tex.j2"):  # braces and percent signs are LaTeX's own
        tags = {
            "block_start_string": "<%",
            "block_end_string": "%>",
            "variable_start_string": "<<",
            "variable_end_string": ">>",
            "comment_start_string": "<#",
            "comment_end_string": "#>",
        }
    environment = jinja2.Environment(
        loader=loader,
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **tags,  # type: ignore[arg-type]
    )
    filters: dict[str, Callable[[str], str]] = {"md": _md, "tex": _tex, "slug": _slug, "line": _line}
    environment.filters.update(filters)
    return environment.get_template(template).render(page=page)


def _inline(drawing: str) -> str:
    """Makes an SVG fit to stand inside the page: no prologue, the page's colours, a width that follows the window."""
    body = drawing[drawing.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = body.replace("<svg", '<svg role="img" aria-label="Mean score over N, one line per method"', 1)
    for colour, variable in (
        (figures.INK, "ink"),
        (figures.SOFT, "soft"),
        (figures.GRID, "line"),
        (figures.PAPER, "card"),
    ):
        body = body.replace(colour, f"var(--{variable})")
    return body


def _write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file or nothing, as `write_text` does."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- checks -------------------------------------------------------------------------------------------------------


def _whole(result: Result, run: PlannedRun) -> Result:
    """Checks what a damaged or hand-edited result could lack; everything behind relies on it."""
    if result.id != run.id:
        raise ValueError(f"belongs to run {result.id}")
    if not isinstance(result.config["method"]["name"], str):
        raise TypeError("the method has no name")
    if not result.scores:
        raise ValueError("holds no scores")
    for score in result.scores:
        numbers = all(isinstance(value, int | float) for value in score.values)
        if not numbers or not score.values or len(score.values) != len(score.indices):
            raise ValueError(f"the scores of {score.metric} are not one number per test sample")
        if not all(isinstance(word, str) for word in (score.metric, score.source, score.target, score.unit)):
            raise TypeError("a score has no name")
    result.protocol = str(result.protocol)
    shapes = (result.supervision, result.cost, result.environment, result.selection, result.dataset)
    if not all(isinstance(value, dict) for value in shapes) or not isinstance(result.warnings, list):
        raise TypeError("a section has another layout")
    if not all(isinstance(v, int | float) for v in (*result.supervision.values(), result.validation or 0.0)):
        raise TypeError("the supervision or the validation is not a number")
    result.cost = {key: float(value) for key, value in result.cost.items() if value is not None}
    _epochs(result.selection)
    return result


def _whole_failure(failure: Failure, run: PlannedRun) -> Failure:
    if failure.id != run.id:
        raise ValueError(f"belongs to run {failure.id}")
    if not isinstance(failure.config, dict) or not all(
        isinstance(v, str) for v in (failure.kind, failure.reason, failure.where)
    ):
        raise TypeError("a section has another layout")
    return failure


def _problem(folder: Path, run: PlannedRun, file: str, error: BaseException) -> Problem:
    path = f"{RUNS}/{run.id}/{file}"
    message = str(error).replace(str(folder / path), path)
    return Problem(run.id, message if isinstance(error, UserError) else f"{path}: {message or type(error).__name__}.")


# --- small words --------------------------------------------------------------------------------------------------


def _scored(table: Table) -> bool:
    return any(cell.mean is not None for row in (*table.rows, *table.floors) for cell in row.cells)


def _setting(result: Result) -> str:
    return f"protocol {result.protocol}, fingerprint {result.dataset.get('fingerprint', 'unknown')}"


def _decimals(values: Sequence[float]) -> int:
    """Three significant digits of the largest value."""
    largest = max((abs(value) for value in values), default=1.0)
    return 3 if largest == 0 else min(8, max(0, 3 - math.ceil(math.log10(largest))))


def _duration(seconds: float | None) -> str:
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _span(span: Span | None) -> str:
    if span is None:
        return "–"
    return f"{span.low:.0f}" if span.low == span.high else f"{span.low:.0f}–{span.high:.0f}"


def _count(span: Span | None, noun: str) -> str:
    return "" if span is None else f"{_span(span)} {noun}{'' if span.high == 1 else 's'}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _paired(run: PlannedRun) -> str:
    return "any" if run.paired is None else f"{run.paired:g} %"


def _seed(run: PlannedRun) -> str:
    return "any" if run.seed is None else str(run.seed)


def _link(run: PlannedRun) -> str:
    return f"{RUNS}/{quote(run.id)}/"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _line(text: str) -> str:
    return " ".join(text.split())


def _md(text: str) -> str:
    """Escapes text for a line or a table's cell of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", _line(text))


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
} | {character: "\\" + character for character in "&%$#_{}"}


def _tex(text: str) -> str:
    """Escapes text for LaTeX; letters that pdflatex cannot set are spelled in ASCII."""
    return "".join(map(_tex_character, _line(text)))


def _tex_character(character: str) -> str:
    if character in _TEX:
        return _TEX[character]
    if character.isascii() or (character.isalpha() and "LATIN" in unicodedata.name(character, "")):
        return character
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(character, ""))
    if greek:
        # LaTeX spells lambda as Unicode did not, and borrows the capitals that look Latin.
        name = greek[2].replace("LAMDA", "LAMBDA").lower()
        if greek[1] == "SMALL":
            return "o" if name == "omicron" else rf"$\{name}$"
        capital = name in {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}
        return rf"$\{name.capitalize()}$" if capital else name[0].upper()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
