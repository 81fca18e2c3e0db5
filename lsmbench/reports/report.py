"""A benchmark's report, made from its folder alone: tables, curves, pictures and scores, for reading and for papers."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from lsmbench.reports import (
    classes,
    confusion,
    distributions,
    epochs,
    figures,
    generated,
    latents,
    markup,
    over_n,
    pictures,
    refinements,
    tuning,
)
from lsmbench.reports.about import about
from lsmbench.reports.frame import (
    FINISHED,
    RUNS,
    Benchmark,
    lines,
    read_benchmark,
    samples,
)
from lsmbench.reports.table import Table, finished, tabulate
from lsmbench.runs.results import write_bytes

_FEW = 8  # published values beside the table's that a sentence can hold
# Pictures that a report may have made, whatever its N counted.
_DRAWN = tuple(
    f"{kind}-{pattern}.png"
    for kind, patterns in {
        "panel": ("N*", "*pairs"),
        "chosen": ("N*-*", "*pairs-*"),
        "confusion": ("N*", "*pairs", "*pairs-*"),
        "latents": ("N*", "*pairs"),
        "refinement": ("N*-*", "*pairs-*"),
        "generated": ("N*-*", "*pairs-*"),
    }.items()
    for pattern in patterns
)
_FIGURES = ("curves.???", "ced.???", "epochs.???", "tuning.???")


def write_report(folder: Path) -> list[Path]:
    """Writes a benchmark's report into its folder; the same runs give the same bytes.

    Args:
        folder: The benchmark's folder, with `benchmark.json` and `runs/`.

    Returns:
        The written files: `report.html`, which needs no other file, and the same as `report.md`; `table.tex`;
        `scores.csv` with every score of every run and test sample; the figures of scores over N (`curves`, if there
        is a score), of the errors' distributions (`ced`, if scores are errors), of the epochs that were selected
        (`epochs`) and of sweeps' trials (`tuning`, if a row was tuned) as PNG and SVG; pictures of translations
        (`panel-…`), of chosen pairs (`chosen-…`), of confusion matrices (`confusion-…`), of latent spaces
        (`latents-…`), of refined codes (`refinement-…`) and of what generators draw (`generated-…`).

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    benchmark = read_benchmark(folder)
    tables = tabulate(benchmark.plan, benchmark.runs)
    primary = tables[0]
    panels, problems = pictures.translations(benchmark, primary)
    chosen, more_problems = pictures.chosen(benchmark)
    spaces, damaged = latents.of(benchmark, primary)
    refined, unread = refinements.of(benchmark, primary)
    made, unusable = generated.of(benchmark, primary)
    problems += [*more_problems, *damaged, *unread, *unusable]
    confusions = confusion.of(tables)
    shown = distributions.of(primary)
    plots = {"curves": figures.curves(primary)} if benchmark.runs["value"].notna().any() else {}
    plots |= {"ced": distributions.figure(shown)} if shown else {}
    selected = epochs.of(primary)
    plots |= {"epochs": epochs.figure(primary, *selected)} if selected else {}
    plots |= {"tuning": tuning.figure(primary)} if any(row.tuned for row in primary.rows) else {}
    drawings = {name: figures.svg(plot) for name, plot in plots.items()}
    page = {
        "plan": benchmark.plan,
        "tables": tables,
        "looks": figures.styles(primary.rows),
        "about": about(benchmark, primary, len(problems)),
        "problems": [message for _, message in (*benchmark.problems, *problems)],
        "strangers": benchmark.strangers,
        "details": _details(benchmark, primary),
        "drawings": {"curves": "", "epochs": ""} | {name: _inline(drawing, name) for name, drawing in drawings.items()},
        "distributions": shown,
        "percentile": distributions.PERCENTILE,
        "over_n": over_n.of(benchmark.plan, primary),
        "classes": classes.of(tables),
        "confusions": confusions,
        "latents": spaces,
        "refinements": _by_label(refined),
        "generated": _by_label(made),
        "tuning": tuning.outcomes(primary),
        "panels": panels,
        "chosen": _by_label(chosen),
        "points": _draws_points(benchmark, primary),
        "elsewhere": [_published_elsewhere(table) for table in tables],
    }
    files = {f"{name}.svg": drawing.encode() for name, drawing in drawings.items()}
    files |= {f"{name}.png": figures.png(plot) for name, plot in plots.items()}
    drawn = (*panels, *chosen, *spaces, *refined, *made, *(picture for one in confusions for picture in one.pictures))
    files |= {picture.name: picture.data for picture in drawn}
    files["scores.csv"] = _scores(benchmark).to_csv(index=False, lineterminator="\n").encode()
    files |= {
        name: markup.render(f"{name}.j2", **page).encode(errors="backslashreplace")
        for name in ("table.tex", "report.md", "report.html")
    }
    for stale in {path for pattern in (*_DRAWN, *_FIGURES) for path in folder.glob(pattern) if path.name not in files}:
        stale.unlink(missing_ok=True)  # a picture of an earlier report
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]


def _by_label(shown: list[pictures.Shown]) -> dict[str, list[pictures.Shown]]:
    """Pictures by the N that they are of."""
    return {one.label: [other for other in shown if other.label == one.label] for one in shown}


def console_table(folder: Path) -> list[RichTable | Text]:
    """Makes tables for the terminal.

    Args:
        folder: A benchmark's folder.

    Returns:
        One table per test set, metric and direction of translation, and what holds for several of them; a sentence if
        there is no pair to score.

    Raises:
        UserError: If the folder is missing or is not that of a benchmark.
    """
    benchmark = read_benchmark(folder)
    tables = tabulate(benchmark.plan, benchmark.runs)
    if lacks := about(benchmark, tables[0])["lacks"]:
        return [Text(f"No pair to score: {lacks}. The report shows translations.")]
    notes = [markup.sentences(table, "notes") for table in tables]
    number = Counter(note for said in notes for note in said)
    shown: list[RichTable | Text] = [
        _console(table, benchmark.plan.title, [note for note in said if number[note] == 1])
        for table, said in zip(tables, notes, strict=True)
    ]
    shared = [note for note, times in number.items() if times > 1]
    return [*shown, Text("\n".join(["Of several tables:", *shared]), style="italic dim")] if shared else shown


def _console(table: Table, title: str, footnotes: list[str]) -> RichTable:
    notes = Text("\n".join(markup.sentences(table, "verdict")), style="bold")
    notes.append(Text("\n".join(["", *footnotes]), style="italic dim"))
    head = Text(f"{title}: {table.title} ({table.better} is better)")
    rich = RichTable(title=head, title_justify="left", caption=notes, caption_justify="left")
    rich.add_column("method", min_width=12)
    for column in table.columns:
        rich.add_column(Text(f"{column.amount}\n{markup.saw(column)}".rstrip()), justify="right", min_width=8)
    rich.add_column("time/run", justify="right", style="dim")
    rich.add_column("updates", justify="right", style="dim")
    digits = markup.digits(table)
    for number, row in enumerate(table.every_row):
        if number == len(table.rows):
            rich.add_section()
        cells = []
        for cell in row.cells:
            words = markup.words(cell, digits)
            style = "bold green" if cell.best else "dim" if row.floor else "yellow" if cell.at_floor else ""
            parts = (words.value or words.missing, words.half and f"± {words.half}", "‡" * cell.at_floor)
            said = " ".join(part for part in (*parts, words.seeds and f"({words.seeds})") if part)
            text = Text("not run" if row.skipped else said, style=style if words.value else "dim")
            cells.append(text.append(f"\npublished {words.published}" if words.published else "", style="dim"))
        label = Text(" ".join((row.label, *markup.marks(row))), style="dim" if row.floor else "")
        rich.add_row(label, *cells, markup.duration(row.wall_s), markup.whole(row.updates))
    if table.ceiling:
        half = markup.fixed(table.ceiling.half_width, digits)
        value = Text(markup.fixed(table.ceiling.value, digits) + (half and f" ± {half}"), style="dim")
        rich.add_row(Text("ceiling", style="dim"), *[value] * len(table.columns), "", "")
    return rich


def _details(benchmark: Benchmark, table: Table) -> list[dict[str, Any]]:
    """Every run of the benchmark, with its score in the primary table."""
    unit = benchmark.plan.unit
    found = {line.run: line for line in lines(table.key.of(benchmark.runs))}
    details = []
    runs = benchmark.runs[benchmark.runs["of"].isna()]  # what is evaluated again is trained once
    for run in lines(runs.drop_duplicates("run")):
        line = found.get(run.run)
        value = math.nan if line is None else line.value
        undefined = sum(map(math.isnan, line.score.values)) if line is not None and not line.pooled else 0
        score = f"{value:.4g}" + (f" ({undefined} undefined)" if undefined else "")
        details.append(
            {
                "run": run.run,
                "link": f"{RUNS}/{quote(run.run)}/" if run.folder.exists() else "",
                "method": run.label,
                "paired": "any" if math.isnan(run.paired) else unit.amount(run.paired),
                "n": "any" if math.isnan(run.paired) else repr(run.paired),
                "seed": ("any" if pd.isna(run.seed) else str(run.seed))
                + ("" if pd.isna(run.fold) else f", fold {run.fold}"),
                "score": "–" if line is None or run.state != FINISHED else "undefined" if math.isnan(value) else score,
                "value": value,
                "state": run.state,
                "record": run.record,
                "facts": run.facts if run.state == FINISHED else None,
                "wall_s": run.wall_s,
                "parameters": run.parameters,
            }
        )
    return details


def _published_elsewhere(table: Table) -> dict[str, Any]:
    """Published values that stand in no cell: of the rows at other N, and of methods that have no row.

    Of a method without a row, those at the table's N are told, or all if it has none there.
    """
    rows = {row.method for row in table.every_row if not row.skipped}
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
            said += [f"{method} {', '.join(told)}{source}"] if told else []
    return {"said": said, "number": number, "few": number <= _FEW}


def _draws_points(benchmark: Benchmark, table: Table) -> bool:
    """Whether the pictures of translations show landmarks."""
    domains = (facts.views.get(table.key.target, "") for facts in finished(benchmark.runs)["facts"])
    return any(str(domain).startswith("Landmarks(") for domain in domains)


def _scores(benchmark: Benchmark) -> pd.DataFrame:
    """Every score of every run and test sample."""
    every = samples(benchmark.runs)
    every["method"] = every["row"]
    every["paired"] = every["paired"].map(lambda n: "" if math.isnan(n) else benchmark.plan.unit.number(n))
    names = ["method", "paired", "seed", "run", "metric", "source", "target", "sample", "score", "test_set", "unit"]
    names += ["name"] + ["fold"] * bool(benchmark.plan.folds)
    return every[names].rename(columns={"score": "value"})


def _inline(drawing: str, name: str) -> str:
    """Makes an SVG fit to stand inside the page.

    Args:
        drawing: The SVG.
        name: Set before its ids, which are unique only within it.

    Returns:
        The SVG without prologue, in the page's colours, as wide as the window lets it.
    """
    body = drawing[drawing.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'( id="| href="#|url\(#)', rf"\g<1>{name}-", body)
    colours = {figures.INK: "ink", figures.SOFT: "soft", figures.GRID: "line", figures.PAPER: "card"}
    for colour, variable in colours.items():
        body = body.replace(colour, f"var(--{variable})")
    return body
