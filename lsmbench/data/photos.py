"""Photos in colours, of 8 or 16 bits, with or without alpha."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.files import Exif
from lsmbench.data.rasters import bands_of, read_raster
from lsmbench.errors import UserError


@dataclass(frozen=True)
class Photo:
    """A photo at its own size.

    Attributes:
        bands: Red, green and blue, all of Pillow's mode L, or of mode F from 0 to 1.
        grey: Whether the file holds grey.
        alpha: Whether the file holds alpha, the same in all pixels, which is dropped.
    """

    bands: tuple[Picture.Image, Picture.Image, Picture.Image]
    grey: bool = False
    alpha: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.bands[0].size

    @property
    def deep(self) -> bool:
        """Whether the file holds more than 8 bits a channel."""
        return self.bands[0].mode == "F"

    def view(self, side: int) -> NDArray[np.uint8]:
        """The photo as a network's source, uint8 (3, side, side), squeezed to a square by Pillow's bilinear filter."""
        return np.stack([self._bytes(band.resize((side, side), Picture.Resampling.BILINEAR)) for band in self.bands])

    def picture(self) -> Picture.Image:
        """The photo in RGB of 8 bits, to draw on."""
        return Picture.fromarray(np.stack([self._bytes(band) for band in self.bands], -1))

    def digest(self) -> bytes:
        """16 bytes that tell the decoded picture from all others, whatever file it is stored in."""
        found = hashlib.blake2b(repr(self.size).encode(), digest_size=16)
        for band in self.bands:
            found.update(self._bytes(band).tobytes())
        return found.digest()

    def _bytes(self, band: Picture.Image) -> NDArray[np.uint8]:
        values = np.asarray(band)
        return (values * 255).round().clip(0, 255).astype(np.uint8) if self.deep else values


def read_photo(path: Path, exif: Exif = "refuse") -> Photo:
    """Reads a photo as RGB; grey becomes three equal channels, and alpha that is one number throughout is dropped.

    White is 255 in files of 8 bits, and in deeper ones the greatest number of the fewest bits that hold the photo's
    greatest.

    Args:
        path: The file.
        exif: What to do with a photo that is stored turned.

    Raises:
        UserError: If it cannot be read; if alpha differs from pixel to pixel; or if it holds floats or numbers below 0.
    """
    raster = read_raster(path, exif)
    reach: tuple[float, float] | None = None
    if raster.numbers is not None:
        values = raster.numbers
        colours = values[..., : values.shape[2] - (values.shape[2] + 1) % 2]
        if values.dtype.kind not in "iu" or colours.min() < 0:
            raise UserError(
                f"{path}: holds {values.dtype} from {colours.min():g} to {colours.max():g}; expected a photo of 8 or "
                "16 bits, 0 being black. Save it as PNG or JPEG."
            )
        reach = (0.0, float(2 ** max(8, int(colours.max()).bit_length()) - 1))
    bands = bands_of(raster, 0, reach, path)
    alpha = len(bands) % 2 == 0
    if alpha:
        low, high = bands.pop().getextrema()
        if low != high:
            raise UserError(
                f"{path}: its alpha differs from pixel to pixel, and nobody but you knows what lies below. Save it "
                "without alpha, on a ground of your choice."
            )
    red, green, blue = bands if len(bands) == 3 else bands * 3
    return Photo((red, green, blue), len(bands) == 1, alpha)
