"""The contact sheet: a picture of some samples of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.dataset import Arrays, Dataset

_CELL, _LABEL, _GAP = 192, 14, 6
_COLUMNS, _ROWS = 6, 8
_LETTERS = 60


def contact_sheet(dataset: Dataset, samples: Arrays, names: Sequence[str] = ()) -> Picture.Image:
    """Draws up to 48 samples, spread evenly over all: the source, and beside it the target drawn over the source.

    Args:
        dataset: The dataset of the samples.
        samples: Stored samples, at least one, as `Dataset.load` returns them.
        names: The samples' names; empty: their numbers.

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


def _fitted(pixels: NDArray[np.uint8]) -> Picture.Image:
    """A picture scaled so that its longer side fits a cell; enlarged pictures keep their pixels visible."""
    picture = Picture.fromarray(pixels)
    scale = _CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Picture.Resampling.NEAREST if scale > 1 else Picture.Resampling.LANCZOS)
