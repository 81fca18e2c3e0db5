"""GTA: street scenes of a computer game with Cityscapes' classes (Playing for Data; Richter et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from PIL import Image as Picture

from lsmbench.datasets.streets import IDS_IN_PALETTES, Numbering, RenderedStreets, example_scene
from lsmbench.palettes import CITYSCAPES


@dataclass
class GTA(RenderedStreets):
    """Streets of a game and their labels (Playing for Data, Richter et al. 2016; files of your own).

    Reads `images/NNNNN.png` and `labels/NNNNN.png` of the same stem, as the owners' archives unpack. Label maps are
    palette pictures whose index is Cityscapes' label id (or grey ones); 34 is a number plate, hence void. A palette
    that gives an index the colour of another class is refused: such a file was made from a colour picture.

    Some of the owners' pairs differ in size. `load` refuses these pairs by name; remove them to go on. Label maps
    alone, for the y-only samples of another set (Shukla et al., §4.1.8), are read without their photos.

    The owners' files with splits are not read: samples come by number and are split 70/10/20 in that order, so that the
    frames of a drive stay together; `split_seed` shuffles them. A map and a photo take 5 GB each for all 24,966 scenes
    at 256 px; `samples` draws some.

    Views as in all street scenes: photo `x` and label colours `y`, uint8 (N, 3, size, size).

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "gta"
    where_from: ClassVar[str] = (
        "Playing for Data is for research only and not shipped with lsmbench: download it from its owners, "
        "https://download.visinf.tu-darmstadt.de/data/from_games/. Expected are images/00001.png and so on, and "
        "labels/00001.png and so on, in LSMBENCH_DATA/gta or in the folder that the option root names."
    )
    photo_folders: ClassVar[tuple[str, ...]] = ("images",)
    label_folder: ClassVar[str] = "labels"
    numbering: ClassVar[Numbering] = IDS_IN_PALETTES

    @classmethod
    def example(cls, folder: Path) -> Self:
        """36 streets of blocks, 48×24 px, read at 32 px; existing files are kept."""
        if not (folder / "labels").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)


def _write_example(folder: Path) -> None:
    rng = np.random.default_rng(0)
    palette = np.zeros((256, 3), np.uint8)
    scored = IDS_IN_PALETTES.classes < len(CITYSCAPES)
    palette[scored] = np.array(CITYSCAPES.colours)[IDS_IN_PALETTES.classes[scored]]
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(1, 37):
        ids, photo = example_scene(rng)
        labels = Picture.fromarray(ids)
        labels.putpalette(palette.tobytes())
        labels.save(folder / "labels" / f"{number:05d}.png")
        Picture.fromarray(photo).save(folder / "images" / f"{number:05d}.png")
