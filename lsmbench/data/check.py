"""`lsmbench data check`: what a dataset holds, what is wrong with it, and a picture of some samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lsmbench.data.base import Arrays, Dataset, Inspection
from lsmbench.errors import UserError

_CELL, _LABEL, _GAP = 192, 14, 6
_COLUMNS, _ROWS = 6, 8
_LETTERS = 60


def check(dataset: Dataset, sheet: Path, console: Console) -> bool:
    """Prints what `Dataset.inspect` finds, and draws a contact sheet of the samples without problems.

    Args:
        dataset: What to look at.
        sheet: The PNG file to write; its folder is made if need be. Not written if no sample is usable.
        console: Where to print.

    Returns:
        Whether there is no problem.

    Raises:
        UserError: If `sheet` is no name for a PNG file.
    """
    # Known at once rather than after all files have been read.
    if sheet.suffix.lower() != ".png" or sheet.is_dir():
        raise UserError(f"--output {sheet}: expected the name of a .png file.")
    inspection = dataset.inspect()
    console.print(f"[bold]dataset {dataset.name}[/]", highlight=False)
    console.print(_table(inspection))
    findings = inspection.findings
    for title, lines, style in (("problems", findings.problems, "bold red"), ("notes", findings.notes, "bold")):
        if lines:
            console.print(f"\n[{style}]{title}[/] ({len(lines)})", highlight=False)
            for line in lines:
                console.print(f"  - {escape(line)}", highlight=False, soft_wrap=True)
    console.print()
    if inspection.samples:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(dataset, inspection.samples, inspection.names).save(sheet)
        console.print(f"Contact sheet: {escape(str(sheet))}", highlight=False, soft_wrap=True)
    else:
        console.print("No contact sheet: there is no usable sample.", highlight=False)
    if findings.problems:
        console.print("The dataset is refused by train and bench until the problems are mended.", highlight=False)
        return False
    console.print("No problems.", highlight=False)
    return True


def contact_sheet(dataset: Dataset, samples: Arrays, names: Sequence[str] = ()) -> Picture.Image:
    """Draws up to 48 samples, spread evenly over all: the source, and beside it the target drawn over it.

    Args:
        dataset: Knows how its views are drawn.
        samples: At least one, as `Dataset.load` gives them.
        names: What each is called; empty to number them.

    Returns:
        An RGB picture, up to 6 samples wide and 8 high.
    """
    count = len(samples[dataset.source])
    shown = np.linspace(0, count - 1, min(count, _COLUMNS * _ROWS)).round().astype(np.int64)
    views = {}
    for view in (dataset.source, dataset.target):
        domain = dataset.domains[view]
        views[view] = domain.unpack(domain.views(samples[view][shown]))
    sources = dataset.domains[dataset.source].draw(views[dataset.source])
    targets = dataset.domains[dataset.target].overlay(views[dataset.target], sources)

    width, height = 2 * _CELL + _GAP, _CELL + _LABEL + _GAP
    columns, rows = min(len(shown), _COLUMNS), -(-len(shown) // _COLUMNS)
    sheet = Picture.new("RGB", (columns * (width + _GAP) + _GAP, rows * height + _GAP), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for k, number in enumerate(shown.tolist()):
        left, top = _GAP + k % _COLUMNS * (width + _GAP), _GAP + k // _COLUMNS * height
        name = names[number] if names else f"sample {number}"
        pen.text((left, top), name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :], fill=(60, 60, 60))
        sheet.paste(_fitted(sources[k]), (left, top + _LABEL))
        sheet.paste(_fitted(targets[k]), (left + _CELL, top + _LABEL))
    return sheet


def _table(inspection: Inspection) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    parts = {f"samples of {part}": str(count) for part, count in inspection.counts.items()}
    total = {"samples": str(sum(inspection.counts.values()))}
    for title, value in {**parts, **total, **inspection.facts}.items():
        table.add_row(f"  {escape(title)}", escape(value))
    return table


def _fitted(pixels: NDArray[np.uint8]) -> Picture.Image:
    """A picture with its longer side brought to a cell's; small ones keep their pixels visible."""
    picture = Picture.fromarray(pixels)
    scale = _CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Picture.Resampling.NEAREST if scale > 1 else Picture.Resampling.LANCZOS)
