"""Satellite photos and the maps of the same places (Isola et al. 2017; Shukla et al. 2019, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.dataset import Arrays
from lsmbench.data.layouts import Kind
from lsmbench.datasets.pictures import SideBySide
from lsmbench.domains import Domain, Image, MapImage
from lsmbench.options import option


@dataclass
class Maps(SideBySide):
    """Satellite photos to maps (pix2pix' maps; Shukla et al., §4.2; files of your own).

    Reads the files of pix2pix' set, 1200×600 px JPEG, the satellite photo on the left and the map on the right, in
    `train/` (1096) and `val/` (1098). As in the papers, `val/` is the test part, unless there is a `test/`; then an
    eighth of `train/` is drawn for validation, always the same unless the split has a seed.

    Views: `x`, photos, and `y`, maps, both stored as uint8 (N, 3, size, size), resized by an antialiased bilinear
    filter. Both views' loss is L1. A map has no list of colours: it is scored by the share of its pixels that differ by
    less than 20 of 255 in every channel (§4.2.2).

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "maps"
    where_from: ClassVar[str] = (
        "The maps are not shipped with lsmbench. Get maps.tar.gz from "
        "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/ and unpack it, so that train/ and val/ lie in "
        "LSMBENCH_DATA/maps; or name the folder that holds them with the option root."
    )

    root: str = option(
        "", "Folder that holds train/ and val/, the test part; empty: LSMBENCH_DATA/maps.", counts="never"
    )

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 drawn places of 32 px, 32 to train and validate on and 8 to test on; existing files are kept."""
        for i in range(40):
            path = folder / ("train" if i < 32 else "val") / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                Picture.fromarray(_example(i)).save(path)
        return cls(root=str(folder), size=32)

    def _domains_of(self, kind: Kind, arrays: Arrays) -> dict[str, Domain]:
        return {
            "x": Image(3, self.size, reconstruction="l1"),
            "y": MapImage(3, self.size, reconstruction="l1"),
        }


_KINDS = {
    "land": ((242, 239, 233), (125, 120, 105)),
    "park": ((203, 222, 173), (65, 95, 50)),
    "water": ((170, 218, 255), (35, 55, 70)),
    "road": ((255, 255, 255), (150, 150, 155)),
    "highway": ((255, 225, 104), (185, 180, 175)),
}
"""The kinds of ground in the example: colour on the map, and colour from above."""


def _example(i: int) -> NDArray[np.uint8]:
    """A drawn place, (32, 64, 3): on the left from above, with light, grain and noise; on the right as a map."""
    rng = np.random.default_rng((i, 43))
    drawn = Picture.new("L", (32, 32), 0)
    pen = ImageDraw.Draw(drawn)
    x, y, width, height = rng.integers((0, 0, 8, 8), (20, 20, 16, 16)).tolist()
    pen.rectangle([x, y, x + width, y + height], fill=1)
    if i % 2:
        shore = rng.integers(2, 12, 2).tolist()
        pen.polygon([(0, 0), (shore[0], 0), (shore[1], 31), (0, 31)], fill=2)
    offset, step = int(rng.integers(0, 8)), int(rng.integers(9, 13))
    for line in range(offset, 32, step):
        pen.line([(line, 0), (line, 31)], fill=3, width=2)
        pen.line([(0, line), (31, line)], fill=3, width=2)
    if i % 3 == 0:
        ends = rng.integers(0, 32, 2).tolist()
        pen.line([(0, ends[0]), (31, ends[1])], fill=4, width=3)
    kinds = np.asarray(drawn)
    chart, above = (np.array(colours)[kinds] for colours in zip(*_KINDS.values(), strict=True))
    grain = rng.integers(-12, 13, (32, 32, 1)) * np.array([2, 2, 1, 1, 1])[kinds][..., None]
    photo = above * rng.uniform(0.85, 1.1) + grain
    return np.concatenate([photo.clip(0, 255), chart], 1).astype(np.uint8)
