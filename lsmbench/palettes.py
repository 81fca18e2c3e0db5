"""Palettes: the colours of the classes in label maps."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.errors import UserError

Colour = tuple[int, int, int]

IGNORED = 255
"""The label of pixels that no score counts (Cityscapes' void)."""


@dataclass(frozen=True)
class Palette:
    """The colours of a dataset's classes.

    Attributes:
        name: The palette's name. Palettes of one name may still differ.
        colours: RGB of each class, 0 to 255, in the order of the labels.
        names: The classes' names.
        void: Colours of pixels without a class; in a true map they become `IGNORED`. A prediction has no void: each of
            its pixels gets a class.
    """

    name: str
    colours: tuple[Colour, ...]
    names: tuple[str, ...]
    void: tuple[Colour, ...] = ()

    def __post_init__(self) -> None:
        every = [*self.colours, *self.void]
        if len(set(every)) < len(every) or len(self.colours) != len(self.names) or not 2 <= len(self.colours) < IGNORED:
            raise ValueError(f"palette {self.name}: needs 2 to 254 classes of different colours, each with a name")

    def __len__(self) -> int:
        return len(self.colours)

    def __repr__(self) -> str:
        classes = ", ".join(f"{n}={r}/{g}/{b}" for n, (r, g, b) in zip(self.names, self.colours, strict=True))
        return f"Palette({self.name}: {classes}; void: {', '.join('/'.join(map(str, v)) for v in self.void) or 'none'})"

    def decode(self, colours: Tensor, void: bool = False) -> Tensor:
        """Gives each pixel the class of the nearest colour, by the Euclidean distance (Shukla et al., §4.1.2).

        Args:
            colours: (B, 3, H, W), uint8, or float in [0, 1], which is rounded to 256 steps as a file would.
            void: Whether pixels may be void: only in true maps.

        Returns:
            Labels, uint8 (B, H, W), `IGNORED` where void.
        """
        pixels = colours if colours.dtype == torch.uint8 else (colours.clamp(0, 1) * 255).round()
        known = torch.tensor([*self.colours, *(self.void if void else ())], device=colours.device, dtype=torch.float32)
        flat = pixels.float().movedim(1, -1).reshape(-1, 3)
        # |p − c|² minus |p|². Sums of products of whole numbers below 2²⁴: exact in float32, the same on every device.
        parts = torch.split(flat, 2**18)  # all distances at once would take much memory at full resolution
        labels = torch.cat([(known.square().sum(1) - 2 * p @ known.T).argmin(1).to(torch.uint8) for p in parts])
        labels[labels >= len(self)] = IGNORED
        return labels.reshape(len(colours), *colours.shape[2:])

    def encode(self, labels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Labels (..., H, W) as colours, uint8 (..., 3, H, W); `IGNORED` gets void's first colour, or black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.colours
        table[IGNORED] = self.void[0] if self.void else (0, 0, 0)
        return np.ascontiguousarray(np.moveaxis(table[labels.astype(np.uint8)], -1, -3))

    def unknown(self, pixels: NDArray[np.uint8]) -> list[tuple[Colour, str]]:
        """Colours of a map (H, W, 3) that are in no class and not void, each with the name of the nearest class."""
        channels = np.moveaxis(pixels, -1, 0).astype(np.uint32)
        codes = channels[0] << 16 | channels[1] << 8 | channels[2]
        known = np.zeros(2**24, bool)
        known[[r << 16 | g << 8 | b for r, g, b in (*self.colours, *self.void)]] = True
        strange = np.unique(codes[~known[codes]]).astype(np.int64)
        found = np.stack([strange >> 16, strange >> 8 & 255, strange & 255], -1)
        nearest = ((found[:, None] - np.array(self.colours)) ** 2).sum(-1).argmin(1)
        return [((int(r), int(g), int(b)), self.names[n]) for (r, g, b), n in zip(found, nearest.tolist(), strict=True)]


def read_palette(path: Path) -> Palette:
    """Reads a palette: a text file with a line `name,r,g,b` for each class; classes called `void…` have no label.

    Blank lines, lines that begin with # and a header `name,r,g,b` are passed over; columns may also be separated by
    blanks.

    Raises:
        UserError: If the file is missing or no palette, names a colour twice, or has fewer than 2 or over 254 classes.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a palette ({error}).") from error
    names: list[str] = []
    colours: list[Colour] = []
    void: list[Colour] = []
    for number, line in enumerate(lines, start=1):
        row = next(csv.reader([line]), []) if "," in line else line.rsplit(None, 3)
        cells = [cell.strip() for cell in row]
        if not cells or cells[0].startswith("#") or [c.lower() for c in cells] == ["name", "r", "g", "b"]:
            continue
        if len(cells) != 4 or not all(re.fullmatch(r"\d+", c) and int(c) <= 255 for c in cells[1:]):
            raise UserError(f"{path}: line {number}: expected name,r,g,b with numbers from 0 to 255, found {line!r}.")
        colour = (int(cells[1]), int(cells[2]), int(cells[3]))
        if colour in colours or colour in void:
            raise UserError(f"{path}: line {number}: the colour {colour} is named twice; a class needs one of its own.")
        if cells[0].lower().startswith("void"):
            void.append(colour)
        else:
            names.append(cells[0])
            colours.append(colour)
    if not 2 <= len(colours) < IGNORED:
        raise UserError(f"{path}: expected 2 to {IGNORED - 1} classes, a line name,r,g,b each; found {len(colours)}.")
    return Palette(path.stem, tuple(colours), tuple(names), tuple(void))


CITYSCAPES = Palette(
    "cityscapes",
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    ((0, 0, 0),),
)  # fmt: skip
"""The 19 classes that Cityscapes scores, by train id; void is black, which lies nearest to truck."""

FACADES = Palette(
    "facades",
    (
        (0, 0, 223), (0, 48, 255), (0, 128, 255), (0, 208, 255), (32, 255, 223), (112, 255, 143), (192, 255, 63),
        (255, 240, 0), (255, 160, 0), (255, 80, 0), (255, 0, 0), (175, 0, 0),
    ),
    (
        "background", "facade", "window", "door", "cornice", "sill", "balcony", "blind", "deco", "molding", "pillar",
        "shop",
    ),
)  # fmt: skip
"""The 12 classes of the CMP facades in pix2pix' colours (read off its JPEGs, rounded to its steps of 80)."""
