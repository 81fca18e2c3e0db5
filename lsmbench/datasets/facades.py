"""Facades of buildings and maps of their parts (CMP Facade Database, Tyleček and Šára 2013; in pix2pix' form)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.dataset import Arrays
from lsmbench.data.layouts import Kind
from lsmbench.datasets.pictures import LabelMaps, SideBySide
from lsmbench.domains import Domain
from lsmbench.options import option
from lsmbench.palettes import FACADES


@dataclass
class Facades(SideBySide):
    """Photos of facades to maps of 12 classes in colours (CMP facades in pix2pix' form; files of your own).

    Reads the files of pix2pix' set (Isola et al. 2017), 512×256 px JPEG, the photo on the left and the label map on the
    right, in `train/` (400), `val/` (100) and `test/` (106). Without `val/` an eighth of `train/` is drawn for
    validation, always the same unless the split has a seed.

    Views: `x`, photos, and `y`, label maps, both stored as uint8 (N, 3, size, size). Compression has blurred the maps'
    colours: each pixel of a file gets the class of the nearest colour of the palette `facades`; classes are resized by
    the nearest pixel and become the palette's exact colours again. Both views' loss is L1.

    `direction=y_to_x` makes photos from label maps. The photos are scored as images, or, with `segmenter`, by the
    classes that your network gives to their pixels.

    Floor, the best constant map of the training part on the test part, 256 px, without `val/` (350 to train): pixel
    accuracy .370, class accuracy .107, mean IoU .052.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "facades"
    where_from: ClassVar[str] = (
        "The CMP facades (https://cmp.felk.cvut.cz/~tylecr1/facade/) are not shipped with lsmbench. Get "
        "facades.tar.gz, their form for pix2pix, from http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/ and unpack "
        "it, so that train/, val/ and test/ lie in LSMBENCH_DATA/facades; or name the folder that holds them with the "
        "option root."
    )

    root: str = option(
        "", "Folder that holds train/, test/ and, as a rule, val/; empty: LSMBENCH_DATA/facades.", counts="never"
    )
    segmenter: str = option(
        "",
        "The network that classifies the pixels of photos made from label maps, a TorchScript FILE or NAME:FILE with a "
        "network of torchvision and its weights; empty: such photos are scored as images.",
        counts="never",
    )
    absent: Literal["zero", "ignore"] = option(
        "zero",
        "How means over classes treat a class that does not occur: zero scores 0, ignore leaves it out.",
        choices=("zero", "ignore"),
        source="Cityscapes' scores in pix2pix' released code",
    )

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 drawn facades of 32 px, 32 to train and validate on and 8 to test on; existing files are kept."""
        for i in range(40):
            path = folder / ("train" if i < 32 else "test") / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                Picture.fromarray(_example(i)).save(path)
        return cls(root=str(folder), size=32)

    def _find_label_maps(self) -> LabelMaps:
        return LabelMaps.named(FACADES, self.segmenter, self.absent)

    def _domains_of(self, kind: Kind, arrays: Arrays) -> dict[str, Domain]:
        maps = cast(LabelMaps, self._label_maps)
        return {"x": maps.photo(3, self.size, "l1"), "y": maps.target(self.size)}


_MATERIALS = (
    (150, 185, 215), (170, 130, 105), (60, 70, 85), (95, 60, 40), (205, 190, 165), (225, 220, 210), (120, 120, 125),
    (85, 125, 95), (190, 160, 120), (215, 200, 150), (235, 225, 195), (120, 45, 55),
)  # fmt: skip
"""Colour of each class in the example's photos: sky, plaster, glass, wood …"""


def _example(i: int) -> NDArray[np.uint8]:
    """A drawn facade, (32, 64, 3): on the left as a photo, with light, grain and noise; on the right its label map."""
    rng = np.random.default_rng((i, 41))
    labels = np.zeros((32, 32), np.uint8)
    left, right, top = rng.integers(1, 4), 32 - rng.integers(1, 4), rng.integers(3, 7)
    labels[top:, left:right] = 1
    labels[top : top + 1, left:right] = 4
    labels[25:, left:right] = 11 if i % 2 else 1
    labels[24:25, left:right] = 9
    floors, columns, wide = 2, rng.integers(2, 5), rng.integers(3, 5)
    for row in np.linspace(top + 3, 17, floors).astype(int):
        for column in np.linspace(left + 2, right - 2 - wide, columns).astype(int):
            labels[row : row + 4, column : column + wide] = 2
            labels[row + 4, column : column + wide] = 6 if i % 3 == 0 else 5
            if i % 4 == 1:
                labels[row : row + 1, column : column + wide] = 7
    if i % 5 == 0:
        labels[top + 1 : 24, [left, right - 1]] = 10
    if i % 5 == 2:
        labels[top + 1 : top + 2, left + 3 : right - 3] = 8
    door = rng.integers(left + 1, right - 5)
    labels[27:, door : door + 4] = 3
    grain = rng.integers(-12, 13, (32, 32, 1)) + 8 * (np.indices((32, 32)).sum(0) % 2)[..., None]
    photo = np.array(_MATERIALS)[labels] * rng.uniform(0.8, 1.1) + grain
    return np.concatenate([photo.clip(0, 255).astype(np.uint8), np.array(FACADES.colours, np.uint8)[labels]], 1)
