"""X-ray photos as grey, of any depth, with their histograms equalised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.files import Exif, to_mode
from lsmbench.data.rasters import LUMA, read_raster
from lsmbench.errors import UserError

Preprocessing = Literal["equalised", "none"]

GAMMA = 0.5
"""Exponent of the gamma correction after equalisation. semanticGAN's supplement (§4) follows Oh et al. 2020 and gives
none; 0.5 is that of Oh et al. by public accounts, since their paper was not at hand."""

RAW = ".img"
"""Ending of JSRT's raw files: 2048×2048 numbers of 2 bytes, the greater one first, 12 bits in use, black being 4095."""

_RAW_SIDE, _RAW_WHITE = 2048, 4095


@dataclass(frozen=True)
class Radiograph:
    """An X-ray photo at its own size and depth.

    Attributes:
        numbers: Whole numbers from 0, (H, W); bones are bright.
        white: The number that is shown as white: of 8, 12 or 16 bits the greatest.
    """

    numbers: NDArray[np.integer]
    white: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.numbers.shape[1], self.numbers.shape[0]

    def view(self, side: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """The photo as a network's source, uint8 (1, side, side), squeezed to a square.

        The order is that of Oh et al. 2020, whom semanticGAN follows (supplement, §4): the histogram is equalised at
        the photo's own size and depth, then comes gamma correction, then Pillow's bilinear filter, which averages when
        it reduces.
        """
        scale = (
            equalising(self.numbers, self.white) ** GAMMA if preprocessing == "equalised" else _plain_scale(self.white)
        )
        grey = Picture.fromarray(scale.astype(np.float32)[self.numbers])
        small = np.asarray(grey.resize((side, side), Picture.Resampling.BILINEAR))
        return (small * 255).round().clip(0, 255).astype(np.uint8)[None]

    def picture(self) -> Picture.Image:
        """The photo in RGB of 8 bits as it is, to draw on."""
        return Picture.fromarray((_plain_scale(self.white)[self.numbers] * 255).round().astype(np.uint8)).convert("RGB")


def equalising(numbers: NDArray[np.integer], white: int) -> NDArray[np.float64]:
    """What each number becomes in histogram equalisation, from 0 to 1: (white + 1,).

    The formula of OpenCV's `equalizeHist`, which takes 8 bits only, without its rounding to 8 bits: the share of pixels
    that are no brighter, the darkest number being 0. A photo of one number keeps it.

    Args:
        numbers: Whole numbers from 0 to `white`, of any shape.
        white: The greatest number of the photo's depth.
    """
    counts = np.bincount(numbers.ravel(), minlength=white + 1)
    darkest = counts[np.flatnonzero(counts)[0]]
    if darkest == numbers.size:
        return _plain_scale(white)
    scale: NDArray[np.float64] = (counts.cumsum() - darkest).clip(0) / (numbers.size - darkest)
    return scale


def _plain_scale(white: int) -> NDArray[np.float64]:
    return np.arange(white + 1) / white


def read_radiograph(path: Path, exif: Exif = "refuse") -> Radiograph:
    """Reads a photo of 8, 12 or 16 bits as grey, or a raw file of JSRT.

    White is 255 in files of 8 bits, and in deeper ones the greatest number of the fewest bits that hold the photo's
    greatest: a 16-bit PNG may well hold the 12 bits of a scanner. Colours become grey. Of floats and of signed numbers,
    the least and the greatest become 0 and 65535.

    Raises:
        UserError: If the file cannot be read, or a raw file has another length than JSRT's.
    """
    if path.suffix.lower() == RAW:
        return _read_raw(path)
    raster = read_raster(path, exif)
    if raster.picture is not None:
        return Radiograph(np.asarray(to_mode(raster.picture, "L")), 255)
    assert raster.numbers is not None
    found = raster.numbers
    whole = found.dtype.kind in "iu"
    grey = found[..., :3] @ LUMA if found.shape[2] > 2 else found[..., 0].astype(np.float64)
    low, high = grey.min(), grey.max()
    if not whole or low < 0 or high > 65535:
        return Radiograph(((grey - low) / ((high - low) or 1) * 65535).round().astype(np.uint16), 65535)
    numbers = grey.round().astype(np.uint16)
    return Radiograph(numbers, 2 ** max(8, int(numbers.max()).bit_length()) - 1)


def _read_raw(path: Path) -> Radiograph:
    try:
        found = np.fromfile(path, ">u2")
        length = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Get it again or remove it.") from error
    if length != 2 * _RAW_SIDE**2:
        raise UserError(
            f"{path}: holds {length:,} bytes; expected {2 * _RAW_SIDE**2:,}, JSRT's {_RAW_SIDE}×{_RAW_SIDE} numbers of "
            "2 bytes. Get it again or remove it."
        )
    if int(found.max()) > _RAW_WHITE:
        raise UserError(
            f"{path}: holds numbers up to {found.max()}; expected 12 bits, 0 to {_RAW_WHITE}, the greater byte of each "
            "number first. Get it again or remove it."
        )
    return Radiograph(_RAW_WHITE - found.astype(np.uint16).reshape(_RAW_SIDE, _RAW_SIDE), _RAW_WHITE)
