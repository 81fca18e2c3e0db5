"""The pictures that runs kept: translations of test samples, and samples that were chosen as pairs."""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from lsmbench.errors import UserError
from lsmbench.reports import figures, markup
from lsmbench.reports.frame import DAMAGE, RANDOM, RUNS, Benchmark, lines
from lsmbench.reports.table import Column, Row, Table, finished
from lsmbench.runs.results import CHOSEN, PANEL

PANEL_ROWS = 8  # more test samples than this no longer fit a page
PANEL_DAMAGE = (*DAMAGE, OSError, EOFError, zipfile.BadZipFile, zlib.error)
_EMBEDDED = 1_000_000  # bytes; larger pictures would make a page that is slow to load and to send
_LEAST = 480  # pixels; pictures of chosen pairs shrink to this and are scrolled from there on
_BROAD = 10  # columns of a picture that want more than a page's width

_MOST_CLASSES = 64  # that a legend lists
_MODEL = "model.json"

Panel = dict[str, NDArray[Any]]
Problem = tuple[str, str]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Shown:
    """A picture of the report.

    Attributes:
        name: Its file.
        label: The N that it is of.
        about: What it shows beside the N; empty if all pictures of its kind do.
        data: The PNG's content.
        least: Width on a page, in pixels; a narrower one is scrolled.
        broad: Whether it wants more than a page's width.
        back: The view that some columns translate back to; empty without such columns.
    """

    name: str
    label: str
    about: str
    data: bytes
    least: int
    broad: bool = False
    back: str = ""

    @property
    def uri(self) -> str:
        """The picture for embedding, large ones as JPEG."""
        kind, data = "png", self.data
        if len(data) > _EMBEDDED:
            kind, data = "jpeg", figures.jpeg(data)
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def load_panel(home: Path) -> Panel:
    """Reads the pictures that a run kept of its translations, and checks their shapes.

    Args:
        home: The run's folder.

    Returns:
        Arrays `index` (K,), `unit` (K,) if scores are those of units, `name` (K,) of text, and `source`, `target`,
        `prediction` and `back`, uint8 (K, H, W, 3); no `target` where there was no truth, and no `back` where
        predictions were not translated back.

    Raises:
        FileNotFoundError: If the run kept none.
        Exception: One of `PANEL_DAMAGE`, if they cannot be used.
    """
    with np.load(home / PANEL, allow_pickle=False) as file:
        source, *targets = [name for name in file.files if name not in ("index", "unit", "name", "prediction", "back")]
        names = {"index": "index", "source": source, "prediction": "prediction"}
        names |= {name: name for name in ("unit", "back") if name in file.files}
        if targets:
            names["target"] = targets[0]
        panel = {name: file[stored][:PANEL_ROWS] for name, stored in names.items()}
        called = file["name"] if "name" in file.files else [str(int(number)) for number in panel["index"]]
    panel["name"] = np.array(called, dtype=np.str_)[:PANEL_ROWS]
    if len(panel["name"]) != len(panel["index"]):
        raise ValueError(f"it names {len(panel['name'])} samples of {len(panel['index'])}")
    if "unit" in panel and panel["unit"].shape != panel["index"].shape:
        raise ValueError(f"it has {len(panel['unit'])} units of {len(panel['index'])} samples")
    for name in panel.keys() - {"index", "unit", "name"}:
        images, samples = panel[name], len(panel["index"])
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != samples:
            raise ValueError(f"{name} is {images.dtype} {images.shape}, expected uint8 (K, H, W, 3)")
        if not images.size:
            raise ValueError(f"{name} holds no picture")
    return panel


def translations(benchmark: Benchmark, table: Table) -> tuple[list[Shown], list[Problem]]:
    """Draws one picture of translations per N: of each method the first run that kept some, all of one fold.

    Where pixels have more than two classes, a legend below the samples tells their colours, if a shown run kept what
    they mean.

    Args:
        benchmark: The benchmark.
        table: Its primary table.

    Returns:
        The pictures, all of the same test samples, and what is wrong with which file, by run.
    """
    seen: dict[str, Panel | None] = {}
    problems: dict[str, str] = {}
    index: NDArray[Any] | None = None
    fold: int | None = None
    sheets = []
    for i, column in enumerate(table.columns):
        shown = []
        for row in table.every_row:
            others = []
            for run in lines(row.cells[i].drawn):
                if index is not None and not pd.isna(run.fold) and run.fold != fold:
                    continue
                if run.run not in seen:
                    seen[run.run], wrong = _read_panel(run.folder)
                    problems |= {run.run: wrong} if wrong else {}
                panel = seen[run.run]
                if panel is None:
                    continue
                if index is None:
                    index, fold = panel["index"], None if pd.isna(run.fold) else run.fold
                if np.array_equal(panel["index"], index):
                    shown.append((row, run, panel))
                    break
                others.append(run.run)
            else:
                problems |= dict.fromkeys(others, "shows other test samples; left out.")
        if shown:
            sheets.append((column, shown))
    told = [(run, f"{RUNS}/{run}/{PANEL}: {wrong}") for run, wrong in problems.items()]
    legend, damaged = _legend(run for _, shown in sheets for _, run, _ in shown)
    first = benchmark.plan.seeds[:1]
    return [_sheet(column, shown, table, first, legend) for column, shown in sheets], [*told, *damaged]


def chosen(benchmark: Benchmark) -> tuple[list[Shown], list[Problem]]:
    """Reads the pictures of chosen pairs, where it matters which samples were chosen.

    That is the case if N counts pairs or units, or if a run chooses them by another rule than at random.

    Args:
        benchmark: The benchmark.

    Returns:
        For each N and rule, in the order of the benchmark, the picture of the first seed that has one; and what is
        wrong with which file, by run.
    """
    plan, runs = benchmark.plan, finished(benchmark.runs)
    rules = runs["choice"].unique()
    found: list[Shown] = []
    problems: list[Problem] = []
    if not plan.unit.absolute and (runs["choice"] == RANDOM).all():
        return found, problems
    own = runs["facts"].map(lambda facts: facts.training.init_seed).astype("Int64")
    runs = runs.assign(seed=runs["seed"].fillna(own))[runs["paired"].notna()]
    ranks = {seed: rank for rank, seed in enumerate(plan.seeds)}
    runs = runs.sort_values("seed", key=lambda seeds: seeds.map(ranks).fillna(len(ranks)), kind="stable")
    for n, rule in [(n, rule) for n in plan.paired for rule in rules]:
        for run in lines(runs[(runs["paired"] == n) & (runs["choice"] == rule)]):
            seen, wrong = _read_picture(run.folder / CHOSEN)
            if wrong:
                problems.append((run.run, f"{RUNS}/{run.run}/{CHOSEN}: {wrong}"))
            elif seen:
                # Chance is another with every seed; a rule looks at the samples alone.
                about = f"{rule}, {f'seed {run.seed}' if rule == RANDOM else 'the same for every seed'}"
                about += "" if pd.isna(run.fold) else f", fold {run.fold}"
                name = f"chosen-{plan.unit.word(n)}-{rule}.png"
                found.append(Shown(name, plan.unit.amount(n), about, seen[0], min(seen[1], _LEAST)))
                break
    return found, problems


def _legend(runs: Iterable[Any]) -> tuple[list[figures.ClassColour], list[Problem]]:
    """What the colours of more than two classes mean, as the first run tells that kept it.

    Args:
        runs: Lines of a frame, of runs whose pictures are shown.

    Returns:
        Names and colours, none where none need to be told; and what is wrong with which file, by run.
    """
    problems: dict[str, Problem] = {}
    for run in runs:
        path = run.folder / _MODEL
        if run.run in problems or not any(map(_has_classes, run.facts.views.values())) or not path.exists():
            continue
        # These import torch, which a report of other views does without.
        from lsmbench.domains import from_plain
        from lsmbench.runs.model import Model

        try:
            model = Model.load(run.folder)
            views = [view for view in (model.source, model.target) if view in model.domains]
            domains = {view: from_plain(model.domains[view]) for view in views}
        except UserError as error:
            problems[run.run] = (run.run, f"{RUNS}/{run.run}/{_MODEL}: {str(error).removeprefix(f'{path}: ')}")
            continue
        told = {view: domain.legend() for view, domain in domains.items() if domain.label_count not in (None, 2)}
        if len(told) > 1 and told[model.source] != told[model.target]:
            told = {view: [(f"{view}: {name}", colour) for name, colour in told[view]] for view in told}
        entries = dict.fromkeys(entry for entries in told.values() for entry in entries)
        return [*entries][:_MOST_CLASSES], list(problems.values())
    return [], list(problems.values())


def _has_classes(view: object) -> bool:
    """Whether pixels of a view, by its domain's words in a result, have more than two classes."""
    words = str(view)
    return words.startswith(("Mask(", "LabelColours(")) and not words.startswith("Mask(classes=2,")


def _sheet(
    column: Column,
    shown: Sequence[tuple[Row, Any, Panel]],
    table: Table,
    first: tuple[int, ...],
    legend: Sequence[figures.ClassColour],
) -> Shown:
    looks = figures.styles(table.rows)
    digits = min(4, markup.decimals(cell.mean for cell in table.cells if cell.mean is not None))
    panel = shown[0][2]
    given = {"input": panel["source"], **({"truth": panel["target"]} if "target" in panel else {})}
    columns = [figures.Translations(title, images) for title, images in given.items()]
    fold, source = shown[0][1].fold, table.key.source or "input"
    for row, run, panel in shown:
        known = dict(zip(run.score.indices, run.score.values, strict=True)) if run.score else {}
        look = looks.get(row.label)
        other = not pd.isna(run.seed) and first not in ((), (run.seed,))
        columns.append(
            figures.Translations(
                title=f"{row.label} (seed\u00a0{run.seed})" if other else row.label,
                images=panel["prediction"],
                scores=tuple(markup.fixed(known.get(int(i)), digits) or "–" for i in panel.get("unit", panel["index"])),
                **(drawn := {"colour": look.colour, "dash": look.dash} if look else {"colour": figures.FLOOR}),
            )
        )
        if "back" in panel:
            columns.append(figures.Translations(f"back to {source}", panel["back"], **drawn))
    data = figures.png(figures.panel(columns, panel["name"].tolist(), legend), dpi=170)
    about = "" if pd.isna(fold) else f"fold {fold}"
    large = figures.is_large(columns)
    least, broad = len(columns) * (130 if large else 75), large or len(columns) > _BROAD
    name, back = f"panel-{column.unit.word(column.paired)}.png", any("back" in panel for _, _, panel in shown)
    return Shown(name, column.amount, about, data, least, broad, source if back else "")


def _read_panel(home: Path) -> tuple[Panel | None, str]:
    """A run's panel, if it kept one, and what is wrong with it."""
    try:
        return load_panel(home), ""
    except FileNotFoundError:
        return None, ""
    except PANEL_DAMAGE as error:
        return None, f"{error or type(error).__name__}."


def _read_picture(path: Path) -> tuple[tuple[bytes, int] | None, str]:
    """A PNG's content and width, once it is known to be whole; and what is wrong with it."""
    try:
        data = path.read_bytes()
        with Picture.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            return (data, picture.width), ""
    except FileNotFoundError:
        return None, ""
    except UnidentifiedImageError:  # whose own words name an object in memory, not what is wrong
        return None, "is not a PNG picture."
    except (*PANEL_DAMAGE, SyntaxError, Picture.DecompressionBombError) as error:
        return None, f"{error or type(error).__name__}."


def woven(above: NDArray[np.uint8], below: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two views of each sample in turn, (2M, h, w, 3), the first resized to the second's size."""
    height, width = below.shape[1:3]
    nearest = Picture.Resampling.NEAREST
    sized = [np.asarray(Picture.fromarray(one).resize((width, height), nearest)) for one in above]
    return np.stack([picture for both in zip(sized, below, strict=True) for picture in both])


def first_kept(
    row: Row, column: int, file: str, load: Callable[[Path], Kept], problems: dict[str, Problem]
) -> tuple[Any, Kept] | None:
    """The first run or evaluation of a row at one N that kept a file, and what the file holds; `None` if none did.

    Args:
        row: Of the primary table.
        column: Number of the N.
        file: The file's name.
        load: Reads the file of a folder; raises FileNotFoundError without one, else one of `PANEL_DAMAGE`.
        problems: Takes what is wrong with a file, by run.
    """
    for run in lines(row.cells[column].drawn):
        try:
            return run, load(run.folder)
        except FileNotFoundError:
            continue
        except PANEL_DAMAGE as error:
            where = run.run if pd.isna(run.of) else f"{run.of}/…/{run.run}"
            problems[run.run] = (run.run, f"{RUNS}/{where}/{file}: {error or type(error).__name__}.")
    return None
