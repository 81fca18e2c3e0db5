"""A benchmark's report, made from its folder alone: tables, curves, pictures and scores, for reading and for papers."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table as RichTable
from rich.text import Text

from lsmbench import __version__
from lsmbench.benchmarks.plan import Manifest, PlannedRun
from lsmbench.reports import distributions, figures, markup, tuning
from lsmbench.reports.contents import (
    RANDOM,
    RUNS,
    Contents,
    Problem,
    doubts,
    environments,
    read,
    read_chosen,
    read_panels,
    run_warnings,
)
from lsmbench.reports.distributions import Distributions
from lsmbench.reports.table import Cell, Column, Row, Table
from lsmbench.runs.results import Result, write_bytes, write_text

_EMBEDDED = 1_000_000  # bytes; larger pictures would make a page that is slow to load and to send
_FEW = 8  # published values beside the table's that a sentence can hold
_LONG = 14  # letters of a row's name
_LEAST = 480  # pixels; pictures of chosen pairs shrink to this and are scrolled from there on
_BROAD = 10  # columns of a picture that want more than a page's width
# Pictures that a report may have made, whatever its N counted.
_DRAWN = ("panel-N*.png", "panel-*pairs.png", "chosen-N*-*.png", "chosen-*pairs-*.png")


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report.

    Attributes:
        html: The whole report in one file that needs no other.
        markdown: The same as text.
        tex: The tables for a paper.
        csv: Every score of every run and test sample.
        curves: The figure of scores over N as PNG and SVG; empty without a score.
        distributions: The figure of the errors' distributions as PNG and SVG; empty where scores are no errors.
        tuning: The figure of the sweeps' trials as PNG and SVG; empty if no row was tuned.
        panels: Pictures of translations, one per N.
        chosen: Pictures of the samples that were chosen as pairs, one per N and rule.
    """

    html: Path
    markdown: Path
    tex: Path
    csv: Path
    curves: tuple[Path, ...]
    distributions: tuple[Path, ...]
    tuning: tuple[Path, ...]
    panels: tuple[Path, ...]
    chosen: tuple[Path, ...]


@dataclass(frozen=True)
class _Picture:
    """A picture of the report.

    Attributes:
        name: Its file.
        label: The N that it is of.
        about: What it shows beside the N; empty if all pictures of its kind do.
        data: The PNG's content.
        least: Width on a page, in pixels; a narrower one is scrolled.
        broad: Whether it wants more than a page's width.
    """

    name: str
    label: str
    about: str
    data: bytes
    least: int
    broad: bool = False

    @property
    def uri(self) -> str:
        kind, data = "png", self.data
        if len(data) > _EMBEDDED:
            kind, data = "jpeg", figures.jpeg(data)
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


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
    primary = tables[0]
    pictures, problems = _pictures(contents, primary)
    chosen, more_problems = _chosen_pictures(contents)
    scored = any(cell.mean is not None for row in (*primary.rows, *primary.floors) for cell in row.cells)
    shown = distributions.of(primary, contents.results)
    plots = {"curves": figures.curves(primary)} if scored else {}
    plots |= {"ced": distributions.figure(shown)} if shown else {}
    plots |= {"tuning": tuning.figure(primary)} if any(row.tuned for row in primary.rows) else {}
    files = {name: (folder / f"{name}.png", folder / f"{name}.svg") for name in ("curves", "ced", "tuning")}
    paths = ReportPaths(
        html=folder / "report.html",
        markdown=folder / "report.md",
        tex=folder / "table.tex",
        csv=folder / "scores.csv",
        curves=files["curves"] if "curves" in plots else (),
        distributions=files["ced"] if "ced" in plots else (),
        tuning=files["tuning"] if "tuning" in plots else (),
        panels=tuple(folder / picture.name for picture in pictures),
        chosen=tuple(folder / picture.name for picture in chosen),
    )
    # Pictures of an earlier report, which this one does not show.
    drawable = {path for pair in files.values() for path in pair}
    drawable |= {path for pattern in _DRAWN for path in folder.glob(pattern)}
    for stale in drawable - {*paths.curves, *paths.distributions, *paths.tuning, *paths.panels, *paths.chosen}:
        stale.unlink(missing_ok=True)
    for picture in (*pictures, *chosen):
        write_bytes(folder / picture.name, picture.data)
    drawings = {name: figures.svg(plot) for name, plot in plots.items()}
    for name, plot in plots.items():
        png, svg = files[name]
        write_text(svg, drawings[name])
        write_bytes(png, figures.png(plot))
    page = _page(contents, tables, problems + more_problems) | {
        "panels": pictures,
        "chosen": _by_label(chosen),
        "legend": _legend(contents, primary) if pictures else "",
        "figure": _inline(drawings["curves"], "curves", "Mean score over N, one line per method") if scored else "",
        "distributions": _distributions_view(shown, drawings["ced"]) if shown else None,
        "tuning": _tuning_view(primary, drawings["tuning"]) if "tuning" in plots else None,
    }
    write_text(paths.csv, _scores_csv(contents, primary))
    write_text(paths.tex, markup.render("table.tex.j2", page))
    write_text(paths.markdown, markup.render("report.md.j2", page))
    write_text(paths.html, markup.render("report.html.j2", page))
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
    return [_console(table, f"{contents.manifest.title}: ") for table in contents.tables]


def _console(table: Table, title: str) -> RichTable:
    view = _table_view(table)
    notes = Text("\n".join(view["notes"]))
    rich = RichTable(title=Text(title + view["title"]), title_justify="left", caption=notes, caption_justify="left")
    rich.add_column("method", no_wrap=True)
    for column in view["columns"]:
        rich.add_column(Text(f"{column['label']}\n{column['pairs']}".rstrip()), justify="right")
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
        label = Text(row["label"] + row["mark"], style="dim" if row["floor"] else "")
        rich.add_row(label, *cells, row["time"], row["updates"])
    return rich


def _page(contents: Contents, tables: Sequence[Table], picture_problems: Sequence[Problem]) -> dict[str, Any]:
    """What the templates show, already in words."""
    manifest, primary, states = contents.manifest, tables[0], contents.states
    planned = {run.id: run for run in manifest.runs}
    results = {result.id: result for result in contents.results}
    counts = Counter(states.values())
    status = f"{counts['finished']} of {len(planned)} runs finished"
    status += "".join(f", {counts[w]} {w}" for w in ("failed", "left out", "damaged", "to come") if counts[w])
    return {
        "manifest": manifest,
        "tables": [_table_view(table) for table in tables],
        "status": status,
        "chips": [
            f"dataset {manifest.dataset}",
            *([f"size {manifest.size}"] if manifest.size else []),
            *(["tuned"] if any(row.tuned for row in primary.rows) else []),
            f"{'seed' if len(manifest.seeds) == 1 else 'seeds'} {', '.join(map(str, manifest.seeds))}",
            status,
        ],
        "warnings": doubts(contents, primary),
        "supervision": [_supervision_view(column, primary) for column in primary.columns],
        "outcomes": [
            {**_run_view(planned[f.id], manifest), "kind": f.kind, "where": f.where, "reason": f.reason}
            for f in contents.failures
        ],
        "problems": (*contents.problems, *picture_problems),
        "details": [
            {**_run_view(run, manifest), **_result_view(results.get(run.id), primary), "state": states[run.id]}
            for run in manifest.runs
        ],
        "run_warnings": run_warnings(contents.results),
        "strangers": contents.strangers,
        "facts": _facts(contents.results),
        "panel_seed": str(manifest.seeds[0]) if manifest.seeds else "",
    }


# --- tables -------------------------------------------------------------------------------------------------------


def _table_view(table: Table) -> dict[str, Any]:
    cells = [cell for row in (*table.rows, *table.floors) for cell in row.cells]
    decimals = markup.decimals(v for cell in cells for v in (cell.mean, cell.published) if v is not None)
    looks = figures.styles(table.rows)
    better = "higher" if table.higher_is_better else "lower"
    return {
        "title": f"{table.key.metric}, {table.key.source} → {table.key.target} ({better} is better)",
        "metric": table.key.metric,
        "run_score": markup.run_score(table),
        "better": better,
        "primary": table.primary,
        "slug": "-".join(map(markup.slug, table.key)),
        "columns": [{"label": c.amount, "pairs": markup.saw(c), "number": markup.span(c.pairs)} for c in table.columns],
        # Long names leave less room for numbers.
        "wide": len(table.columns) > (5 if all(len(row.label) <= _LONG for row in table.rows) else 4),
        "told": all(column.told for column in table.columns),
        "rows": [_row_view(row, decimals, looks[row.label]) for row in table.rows],
        "floors": [_row_view(row, decimals, None) for row in table.floors],
        "dashed": figures.on_chosen(table.rows),
        "notes": markup.notes(table),
        "elsewhere": _published_elsewhere(table),
    }


def _row_head(row: Row, look: figures.Style | None) -> dict[str, Any]:
    """A row's name and look; a floor has no look."""
    marks = [mark for mark, has in (("†", row.independent and look), ("§", row.untuned)) if has]
    return {
        "label": row.label,
        "mark": "".join(f" {mark}" for mark in marks),
        "marks": marks,
        "independent": row.independent,
        "colour": look.colour if look else figures.FLOOR,
        "ring": look is not None and look.chosen,
        "floor": look is None,
    }


def _row_view(row: Row, decimals: int, look: figures.Style | None) -> dict[str, Any]:
    return _row_head(row, look) | {
        "summary": row.summary,
        "skipped": row.skipped,
        "cells": [_cell_view(cell, decimals) for cell in row.cells],
        "has_published": any(cell.published is not None for cell in row.cells),
        "published_any_n": all(cell.published_any_n for cell in row.cells),
        "time": markup.duration(row.wall_s),
        "seconds": row.wall_s,
        "updates": "–" if row.updates is None else f"{row.updates:,.0f}",
        "update_number": row.updates,
    }


def _cell_view(cell: Cell, decimals: int) -> dict[str, Any]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.{decimals}f}"

    value, sd = number(cell.mean), number(cell.sd)
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
    words = (value or missing, f"± {sd}" if sd else "", mark, f"({seeds})" if seeds else "")
    runs = ", ".join(f"seed {'any' if s.run.seed is None else s.run.seed}: {number(s.score)}" for s in cell.runs)
    return {
        "value": value,
        "sd": sd,
        "mark": mark,
        "seeds": seeds,
        "missing": missing,
        "text": " ".join(word for word in words if word),
        "tip": f"{runs}; median {number(cell.median)}" if value else "",
        "failed": len(cell.failures),
        "best": cell.best,
        "at_floor": cell.at_floor,
        "published": number(cell.published) + (" (any N)" if cell.published_any_n else ""),
        "sort": cell.mean,
    }


def _distributions_view(shown: Distributions, drawing: str) -> dict[str, Any]:
    looks = figures.styles(shown.table.rows)
    lines = [(*line, looks.get(line[0].label)) for line in (*shown.rows, *shown.floors) if not line[0].skipped]
    decimals = markup.decimals(one.median for _, line, _ in lines for one in line if one)
    return {
        "figure": _inline(drawing, "ced", "Share of test samples within an error, one line per method"),
        "columns": [column.amount for column in shown.columns],
        "wide": len(shown.columns) > 1,
        "rows": [
            {
                **_row_head(row, look),
                "cells": [
                    (f"{one.median:.{decimals}f}", f"{one.area(shown.limit):.3f}") if one else ("–", "–")
                    for one in line
                ],
            }
            for row, line, look in lines
        ],
        "notes": distributions.notes(shown),
    }


def _tuning_view(table: Table, drawing: str) -> dict[str, Any]:
    looks = figures.styles(table.rows)
    rows = tuning.outcomes(table)
    return {
        "figure": _inline(drawing, "tuning", "Validation score of every trial, a plot per method and N"),
        "wide": max(len(uses) for _, uses in rows) > 1,
        "rows": [
            {**_row_head(row, looks[row.label]), "outcomes": [tuning.view(use, table) for use in uses]}
            for row, uses in rows
        ],
        "notes": tuning.NOTES,
    }


def _supervision_view(column: Column, table: Table) -> dict[str, str]:
    spans = {"pairs": column.pairs, "x": column.singles[0], "y": column.singles[1], "val_pairs": table.val_pairs}
    return {"paired": column.amount} | {word: markup.span(numbers) for word, numbers in spans.items()}


# --- runs ---------------------------------------------------------------------------------------------------------


def _run_view(run: PlannedRun, manifest: Manifest) -> dict[str, str]:
    return {
        "run": run.id,
        "link": f"{RUNS}/{quote(run.id)}/",
        "method": run.method,
        "paired": "any" if run.paired is None else manifest.unit.amount(run.paired),
        "n": "any" if run.paired is None else repr(run.paired),
        "seed": "any" if run.seed is None else str(run.seed),
    }


def _result_view(result: Result | None, table: Table) -> dict[str, str]:
    view = {"score": "–", "sort": "", "validation": "–", "epoch": "–", "time": "–", "seconds": "", "parameters": "–"}
    if result is None:
        return view
    score = table.key.find(result)
    value = score.value if score else math.nan
    if math.isnan(value):
        view["score"] = "undefined"
    else:
        undefined = sum(map(math.isnan, score.values)) if score and score.pooled is None else 0
        view |= {"score": f"{value:.4g}" + (f" ({undefined} undefined)" if undefined else ""), "sort": repr(value)}
    if "parameters" in result.cost:
        view["parameters"] = f"{result.cost['parameters']:,.0f}"
    return view | {
        "validation": markup.validation(result),
        "epoch": markup.epochs(result.selection),
        "time": markup.duration(result.cost.get("wall_s")),
        "seconds": repr(result.cost.get("wall_s", "")),
    }


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What made the numbers, for the foot of the report."""
    facts = [("report made by", f"lsmbench {__version__}")]
    if results:
        dataset = results[0].dataset
        counts = [f"{dataset[part]} {part}" for part in ("train", "val", "test") if part in dataset]
        facts += [
            ("protocol", results[0].protocol),
            ("dataset", f"{dataset.get('name', '')}, fingerprint {dataset.get('fingerprint', 'unknown')}"),
        ]
        facts += [("samples", ", ".join(counts))] if counts else []
    return facts + [(key, ", ".join(values)) for key, values in environments(results).items()]


def _published_elsewhere(table: Table) -> dict[str, Any]:
    """Published values that stand in no cell: of the rows at other N, and of methods that have no row.

    Of a method without a row, those at the table's N are told, or all if it has none there.
    """
    rows = {row.method for row in (*table.rows, *table.floors) if not row.skipped}
    columns = {column.paired for column in table.columns}
    unit = table.columns[0].unit
    named = {block.source for block in table.used}
    known: set[tuple[str, float | None]] = set()
    said, number = [], 0
    for block in table.published:
        for method, values in block.values.items():
            left: list[tuple[float | None, float]]
            if method in block.any_n:
                left = [] if method in rows else [(None, next(iter(values.values())))]
            elif method in rows:
                left = [(n, value) for n, value in values.items() if n not in columns]
            else:
                left = [(n, value) for n, value in values.items() if n in columns] or [*values.items()]
            left = [(n, value) for n, value in left if (method, n) not in known]
            known |= {(method, n) for n, _ in left}
            number += len(left)
            told = [f"{value:g} at {'any N' if n is None else unit.amount(n)}" for n, value in left]
            source = "" if block.source in named else f" ({block.source})"
            if told:
                said.append(f"{method} {', '.join(told)}{source}")
    return {"said": said, "number": number, "few": number <= _FEW}


# --- files --------------------------------------------------------------------------------------------------------


def _pictures(contents: Contents, table: Table) -> tuple[list[_Picture], list[Problem]]:
    """One picture of translations per N, of each method's first finished seed."""
    looks = figures.styles(table.rows)
    decimals = min(4, markup.decimals(c.mean for row in table.rows for c in row.cells if c.mean is not None))
    results = {result.id: result for result in contents.results}
    first_seed = contents.manifest.seeds[:1]
    found, problems = read_panels(contents, table)
    pictures = []
    for column, shown in zip(table.columns, found, strict=True):
        if not shown:
            continue
        panel = shown[0][2]
        columns = [figures.Translations("input", panel["x"]), figures.Translations("truth", panel["y"])]
        for row, run, panel in shown:
            score = table.key.find(results[run.id])
            known = dict(zip(score.indices, score.values, strict=True)) if score else {}
            values = [known.get(int(i), math.nan) for i in panel["index"]]
            look = looks.get(row.label)
            other = run.seed is not None and first_seed not in ((), (run.seed,))
            columns.append(
                figures.Translations(
                    title=f"{row.label} (seed\u00a0{run.seed})" if other else row.label,
                    images=panel["prediction"],
                    scores=tuple("–" if math.isnan(value) else f"{value:.{decimals}f}" for value in values),
                    **({"colour": look.colour, "dash": look.dash} if look else {"colour": figures.FLOOR}),
                )
            )
        figure = figures.panel(columns, [int(index) for index in panel["index"]])
        data, large = figures.png(figure, dpi=170), figures.is_large(columns)
        name, least = f"panel-{column.unit.word(column.paired)}.png", len(columns) * (130 if large else 75)
        broad = large or len(columns) > _BROAD
        pictures.append(_Picture(name, column.amount, "", data, least, broad))
    return pictures, problems


def _chosen_pictures(contents: Contents) -> tuple[list[_Picture], list[Problem]]:
    """The pictures of chosen pairs, by N, then by rule."""
    found, problems = read_chosen(contents)
    unit = contents.manifest.unit
    pictures = []
    for one in found:
        # Chance is another with every seed; a rule looks at the samples alone.
        about = f"{one.rule}, {f'seed {one.seed}' if one.rule == RANDOM else 'the same for every seed'}"
        name = f"chosen-{unit.word(one.paired)}-{one.rule}.png"
        pictures.append(_Picture(name, unit.amount(one.paired), about, one.data, min(one.width, _LEAST)))
    return pictures, problems


def _by_label(pictures: Sequence[_Picture]) -> dict[str, list[_Picture]]:
    groups: defaultdict[str, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.label].append(picture)
    return dict(groups)


def _legend(contents: Contents, table: Table) -> str:
    """What the marks in the pictures of translations mean; empty where there are none."""
    domains = (result.dataset.get("views", {}).get(table.key.target, "") for result in contents.results)
    if not any(str(domain).startswith("Landmarks(") for domain in domains):
        return ""
    return "Points: truth blue, prediction orange, with a yellow line to where each belongs."


def _scores_csv(contents: Contents, table: Table) -> str:
    labels = {s.run.id: row.label for row in (*table.rows, *table.floors) for cell in row.cells for s in cell.runs}
    results = {result.id: result for result in contents.results}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("method", "paired", "seed", "run", "metric", "source", "target", "sample", "value"))
    for run in contents.manifest.runs:
        if run.id not in results:
            continue
        paired = "" if run.paired is None else contents.manifest.unit.number(run.paired)
        head = (labels.get(run.id, run.method), paired, "" if run.seed is None else run.seed, run.id)
        for score in results[run.id].scores:
            for index, value in zip(score.indices, score.values, strict=True):
                shown = "" if math.isnan(value) else repr(float(value))
                writer.writerow((*head, score.metric, score.source, score.target, index, shown))
    return buffer.getvalue()


def _inline(drawing: str, name: str, label: str) -> str:
    """Makes an SVG fit to stand inside the page.

    Args:
        drawing: The SVG.
        name: Set before its ids, which are unique only within it.
        label: What it shows, for who cannot see it.

    Returns:
        The SVG without prologue, in the page's colours, as wide as the window lets it.
    """
    body = drawing[drawing.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    for size in ("width", "height"):
        body = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    colours = {figures.INK: "ink", figures.SOFT: "soft", figures.GRID: "line", figures.PAPER: "card"}
    for colour, variable in colours.items():
        body = body.replace(colour, f"var(--{variable})")
    return body
