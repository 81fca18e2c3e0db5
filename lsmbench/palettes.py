"""Palettes: the colours of the classes in label maps."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor

from lsmbench.errors import UserError

Colour = tuple[int, int, int]

IGNORED = 255
"""The label of pixels that no score counts (Cityscapes' void)."""


VOID_COLOUR: Colour = (128, 128, 128)
"""The colour that pixels without a class are drawn in, where no palette gives another."""

_FIRST: tuple[Colour, ...] = (
    (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
"""Black, and the colours that Okabe and Ito chose to be distinct to colour-blind eyes too."""

# What people without long or middle cones see of linear RGB (Machado et al. 2009, severity 1).
_BLIND = (
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
)
_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.9505, 1.0, 1.089)


@lru_cache
def class_colours(classes: int) -> NDArray[np.uint8]:
    """Colours in which classes are drawn, shape (K, 3): the first is black, and the others differ from each other.

    After the seven colours of Okabe and Ito each further colour is the one of a grid that lies furthest from all
    before it and from `VOID_COLOUR`: by the least distance in CIELAB over normal and two kinds of colour-blind vision.
    """
    chosen = np.array(_FIRST[:classes], np.uint8)
    if classes > len(_FIRST):
        steps = np.linspace(0, 255, 10).round()
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3).astype(np.uint8)
        seen = _as_seen(grid)
        apart = np.full(len(grid), np.inf)
        taken = [*chosen, np.array(VOID_COLOUR, np.uint8)]
        for colour in taken:
            apart = np.minimum(apart, _least_distance(seen, _as_seen(colour[None])))
        while len(chosen) < classes:
            best = int(apart.argmax())
            chosen = np.concatenate([chosen, grid[best][None]])
            apart = np.minimum(apart, _least_distance(seen, seen[:, best][:, None]))
    chosen.setflags(write=False)
    return chosen


def _least_distance(some: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.linalg.norm(some - other, axis=-1).min(0)
    return out


def _as_seen(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIELAB (D65) of sRGB colours (n, 3), for normal and for colour-blind eyes: (3, n, 3)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    kinds = np.stack([linear, *(linear @ np.array(matrix).T for matrix in _BLIND)]).clip(0, 1)
    xyz = kinds @ np.array(_XYZ).T / _WHITE
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


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

    Blank lines, lines that begin with # and a header `name,r,g,b` are passed over, and so is a fifth column, such as
    the share of pixels that `palette_text` writes; columns may also be separated by blanks.

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
        if not cells or cells[0].startswith("#") or [c.lower() for c in cells[:4]] == ["name", "r", "g", "b"]:
            continue
        if len(cells) not in (4, 5) or not all(re.fullmatch(r"\d+", c) and int(c) <= 255 for c in cells[1:4]):
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


def palette_text(shares: Mapping[Colour, float]) -> str:
    """A file for `read_palette`, with a line for each colour that maps were found to hold; the user corrects the names.

    Args:
        shares: Share of the pixels of each colour.
    """
    known = {ImageColor.getrgb(word)[:3]: name for name, word in reversed(ImageColor.colormap.items())}
    lines = ["name,r,g,b,share of pixels"]
    for (r, g, b), share in sorted(shares.items(), key=lambda entry: -entry[1]):
        lines.append(f"{known.get((r, g, b), f'colour {r:02x}{g:02x}{b:02x}')},{r},{g},{b},{100 * share:.2f} %")
    return "\n".join(lines) + "\n"


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
