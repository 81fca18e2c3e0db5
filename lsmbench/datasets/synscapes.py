"""Synscapes: rendered street scenes with Cityscapes' classes (Wrenninge and Unger 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from PIL import Image as Picture

from lsmbench.datasets.streets import IDS_WITH_PLATES, Numbering, RenderedStreets, example_scene


@dataclass
class Synscapes(RenderedStreets):
    """Rendered streets and their labels (Synscapes, Wrenninge and Unger 2018; files of your own).

    Reads `img/class/N.png`, grey, whose values are Cityscapes' label ids, and the photos `img/rgb/N.png`, or
    `img/rgb-2k/N.png` where there is no `img/rgb`. Photos are given at 1440×720 and, enlarged, at 2048×1024: photo and
    label map have to agree in their proportions only. The owners say that classes follow Cityscapes' convention, but
    not the number of number plates, −1 in Cityscapes: 255 and 34 are both read as number plates, hence void.

    Scenes are independent of each other; samples come by number and are split 70/10/20 in that order; `split_seed`
    shuffles them. A map and a photo take 5 GB each for all 25,000 scenes at 256 px; `samples` draws some. Label maps
    alone, for the y-only samples of another set (Shukla et al., §4.1.8), are read without photos.

    Views as in all street scenes: photo `x` and label colours `y`, uint8 (N, 3, size, size).

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "synscapes"
    where_from: ClassVar[str] = (
        "Synscapes is for research only and not shipped with lsmbench: download it from its owners, "
        "https://synscapes.on.liu.se/. Expected are img/class/1.png and so on, and img/rgb/1.png (or img/rgb-2k/1.png) "
        "and so on, in LSMBENCH_DATA/synscapes or in the folder that the option root names."
    )
    photo_folders: ClassVar[tuple[str, ...]] = ("img/rgb", "img/rgb-2k")
    label_folder: ClassVar[str] = "img/class"
    numbering: ClassVar[Numbering] = IDS_WITH_PLATES
    any_scale: ClassVar[bool] = True

    @classmethod
    def example(cls, folder: Path) -> Self:
        """36 streets of blocks, 48×24 px, read at 32 px; existing files are kept."""
        if not (folder / "img").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)


def _write_example(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("class", "rgb"):
        (folder / "img" / name).mkdir(parents=True)
    for number in range(1, 37):
        ids, photo = example_scene(rng)
        Picture.fromarray(ids).save(folder / "img" / "class" / f"{number}.png")
        Picture.fromarray(photo).save(folder / "img" / "rgb" / f"{number}.png")
