"""The contact sheet: a picture of some samples of a dataset, and what sheets of other commands share with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from lsmbench.data.dataset import Arrays, Dataset
from lsmbench.domains import Image

CELL, LINE, GAP = 192, 15, 6
COLUMNS, SHOWN = 6, 48
INK, SOFT, PAPER = (27, 34, 48), (93, 102, 117), (255, 255, 255)
_ALONE = 6  # samples of each view alone
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
_POINTS = 11
_TINT = (1.0, 0.55, 0.0)
_WIDE = ("CJK", "Han Sans", "WenQuanYi", "Fallback", "Unicode", "Hiragino", "PingFang", "SimSun", "YaHei", "Gothic")
"""Parts of the names of fonts that have Chinese, Japanese or Korean characters; these are tried first."""
_MOST_ENTRIES = 64
"""More classes are not listed below a sheet."""


def contact_sheet(
    dataset: Dataset,
    samples: Arrays,
    names: Sequence[str] = (),
    alone: Mapping[str, tuple[NDArray[np.generic], Sequence[str]]] | None = None,
) -> Picture.Image:
    """Draws up to 48 samples, spread evenly over all: the source, and beside it the target.

    Targets whose pixels have classes are laid over a source that is an image in half-transparent colours, all but class
    0. Each view has its name on it.

    Args:
        dataset: The dataset of the samples.
        samples: Stored samples, as `Dataset.load` returns them; may be empty if `alone` is not.
        names: The samples' names; empty: their numbers.
        alone: Of each view, samples that have this view only, and their names; up to 6 of each are drawn besides.

    Returns:
        An RGB picture, up to 6 samples wide; below the samples the classes' colours, where pixels have classes.
    """
    order = (dataset.source, dataset.target)
    cells: list[tuple[str, list[NDArray[np.uint8] | None]]] = []
    alone = {view: alone[view] for view in order if alone and view in alone}
    count = len(samples[dataset.source]) if samples else 0
    rows = _spread(count, SHOWN - _ALONE * len(alone) * (count > SHOWN - _ALONE * len(alone)))
    if count:
        sources, targets = (_unpacked(dataset, view, samples[view][rows]) for view in order)
        pictures = dataset.domains[order[0]].draw(sources)
        drawn = dataset.domains[order[1]].overlay(targets, pictures)
        if dataset.domains[order[1]].label_count and isinstance(dataset.domains[order[0]], Image):
            drawn = _laid_over(drawn, dataset.domains[order[1]].to_labels(targets).numpy(), pictures)
        for k, number in enumerate(rows.tolist()):
            cells.append((names[number] if names else f"sample {number}", [pictures[k], drawn[k]]))
    for view, (stored, called) in alone.items():
        rows = _spread(len(stored), _ALONE)
        for number, picture in zip(rows.tolist(), _alone(dataset, view, stored[rows]), strict=True):
            cells.append((called[number], [picture if view == one else None for one in order]))

    width, height = 2 * CELL + 2 * GAP, 2 * LINE + CELL + GAP
    sheet = blank(len(cells), width, height)
    pen, font = ImageDraw.Draw(sheet), font_for([name for name, _ in cells])
    for k, (name, shown) in enumerate(cells):
        left, top = GAP + k % COLUMNS * (width + GAP), GAP + k // COLUMNS * height
        pen.text((left, top), legible(name, font, 2 * CELL), fill=INK, font=font)
        for side, (view, picture) in enumerate(zip(order, shown, strict=True)):
            at = left + side * (CELL + GAP)
            pen.text((at, top + LINE), view if picture is not None else f"no {view}", fill=SOFT, font=font)
            if picture is not None:
                sheet.paste(fitted(Picture.fromarray(picture)), (at, top + 2 * LINE))
    domains = [dataset.domains[view] for view in order]
    # Of two classes one is laid over the photo: that says itself.
    legends = [entry for domain in domains if domain.label_count != 2 for entry in domain.legend()]
    return with_legend(sheet, legends[:_MOST_ENTRIES]) if legends else sheet


def with_legend(sheet: Picture.Image, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> Picture.Image:
    """A sheet with what the classes' colours mean below it, in as many columns as it has place for."""
    columns = max(1, (sheet.width - GAP) // (CELL + GAP))
    rows = -(-len(entries) // columns)
    larger = Picture.new("RGB", (sheet.width, sheet.height + rows * LINE + GAP), PAPER)
    larger.paste(sheet, (0, 0))
    pen, font = ImageDraw.Draw(larger), font_for([name for name, _ in entries])
    for number, (name, colour) in enumerate(entries):
        left, top = GAP + number % columns * (CELL + GAP), sheet.height + number // columns * LINE
        pen.rectangle([left, top + 1, left + LINE - 3, top + LINE - 3], fill=colour, outline=SOFT)
        pen.text((left + LINE + 2, top), legible(name, font, CELL - LINE - 2), fill=INK, font=font)
    return larger


def blank(cells: int, width: int, height: int) -> Picture.Image:
    """An empty sheet for some cells of one size, in rows of `COLUMNS`, with gaps."""
    columns, rows = min(max(1, cells), COLUMNS), max(1, -(-cells // COLUMNS))
    return Picture.new("RGB", (columns * (width + GAP) + GAP, rows * height + GAP), PAPER)


def fitted(picture: Picture.Image) -> Picture.Image:
    """A picture scaled so that its longer side fits a cell; enlarged pictures keep their pixels visible."""
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Picture.Resampling.NEAREST if scale > 1 else Picture.Resampling.LANCZOS)


def font_for(texts: Sequence[str]) -> ImageFont.FreeTypeFont:
    """A font that has all characters of some texts, of those on this machine; else DejaVu Sans."""
    needed = frozenset("".join(unicodedata.normalize("NFC", text) for text in texts))
    return ImageFont.truetype(str(_file_for(frozenset(c for c in needed if ord(c) not in _characters(_FONT)))), _POINTS)


@cache
def _file_for(beyond: frozenset[str]) -> Path:
    """The file of a font with these characters, which DejaVu Sans lacks."""
    if beyond:
        from matplotlib import font_manager

        def wide_first(path: str) -> tuple[bool, str]:
            return not any(word.replace(" ", "") in Path(path).name for word in _WIDE), path

        needed = {ord(c) for c in beyond}
        # The font "Last Resort", which comes with matplotlib, has a box for every character.
        paths = {font.fname for font in font_manager.fontManager.ttflist if "Last Resort" not in font.name}
        for path in sorted(paths, key=wide_first):
            if needed <= _characters(Path(path)) and ord("a") in _characters(Path(path)):
                return Path(path)
    return _FONT


@cache
def _characters(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (OSError, RuntimeError):  # no longer there, or no font
        return frozenset()


def legible(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A text as a font can show it, cut at its beginning to a width in pixels; other characters by their number."""
    known = _characters(Path(str(font.path)))
    composed = unicodedata.normalize("NFC", text)
    shown = "".join(c if ord(c) in known else c.encode("ascii", "backslashreplace").decode() for c in composed)
    if font.getlength(shown) <= width:
        return shown
    while shown and font.getlength(f"…{shown}") > width:
        shown = shown[1:]
    return f"…{shown}"


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _unpacked(dataset: Dataset, view: str, stored: NDArray[np.generic]) -> Any:
    domain = dataset.domains[view]
    return domain.unpack(domain.views(stored))


def _alone(dataset: Dataset, view: str, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
    return dataset.domains[view].draw(_unpacked(dataset, view, stored))


def _laid_over(drawn: NDArray[np.uint8], labels: NDArray[np.int64], pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drawn classes, half transparent over pictures; class 0 is left out, so that what was annotated is seen."""
    below = np.stack(
        [np.asarray(Picture.fromarray(p).resize(drawn.shape[2:0:-1], Picture.Resampling.BILINEAR)) for p in pictures]
    )
    if (drawn == drawn[..., :1]).all():  # two classes are drawn black and white, which a grey photo would hide
        drawn = (drawn * np.array(_TINT)).astype(np.uint8)
    mixed = (drawn.astype(np.uint16) + below) // 2
    return np.where((labels == 0)[..., None], below, mixed).astype(np.uint8)
