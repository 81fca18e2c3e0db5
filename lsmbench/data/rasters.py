"""Pictures as numbers: what a file stores, beyond the 8 bits that Pillow keeps of colours, and arrays of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.files import Exif, check_pixels, holds_16_bits, opened_picture, without_limit
from lsmbench.errors import UserError

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
LUMA = np.array([299, 587, 114]) / 1000
"""Weights of red, green and blue in grey, as Pillow's."""


@dataclass(frozen=True)
class Raster:
    """A picture of 8 bits as Pillow's picture, or one of more bits as numbers; exactly one of the two is given.

    Attributes:
        picture: Of any mode of 8 bits or less.
        numbers: Shape (H, W, C) with 1 to 4 channels, the second or fourth being alpha; whole numbers or floats.
        frames: Number of pages or frames of the file, of which this is the first.
    """

    picture: Picture.Image | None = None
    numbers: NDArray[Any] | None = None
    frames: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        if self.picture is not None:
            return self.picture.size
        assert self.numbers is not None
        return self.numbers.shape[1], self.numbers.shape[0]

    def part(self, left: int, right: int) -> Raster:
        """The columns from `left` to before `right`."""
        if self.numbers is not None:
            return Raster(numbers=self.numbers[:, left:right], frames=self.frames)
        assert self.picture is not None
        with without_limit():
            return Raster(self.picture.crop((left, 0, right, self.picture.height)), frames=self.frames)


def read_raster(path: Path, exif: Exif = "refuse") -> Raster:
    """Reads a picture's file, or an array (H, W) or (H, W, C) that `numpy.save` wrote.

    Raises:
        UserError: As `open_picture`; if an array is no picture, or colours of 16 bits are stored in a way that is not
            read.
    """
    if path.suffix.lower() == ".npy":
        return _from_array(path)
    opened = opened_picture(path, exif)
    picture = opened.picture
    if opened.deep:
        numbers = _deep(path, grey=picture.mode == "LA")
        return Raster(numbers=_turned(numbers, opened.orientation if exif == "apply" else 1), frames=opened.frames)
    if picture.mode[0] in "IF":
        numbers = np.asarray(picture)[..., None]
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise UserError(f"{path}: holds nan or inf among its numbers. Fill such pixels, and save it anew.")
        return Raster(numbers=numbers, frames=opened.frames)
    return Raster(picture, frames=opened.frames)


def may_be_deep(path: Path) -> bool:
    """Whether a file may hold more than 8 bits a channel, by its beginning; also if it cannot be opened."""
    if path.suffix.lower() == ".npy":
        return True
    try:
        with without_limit(), Picture.open(path) as opened:
            return opened.mode[0] in "IF" or holds_16_bits(opened)
    except (OSError, SyntaxError, EOFError, ValueError):
        return True


def _from_array(path: Path) -> Raster:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as an array of numpy ({error}). Save it anew by numpy.save."
        ) from error
    shape: tuple[int, ...] = getattr(found, "shape", ())
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in _MODES) or found.dtype.kind not in "buif":
        raise UserError(
            f"{path}: holds {getattr(found, 'dtype', 'an archive')} of shape {shape}; expected numbers of shape "
            "(height, width), or (height, width, channels) with 1 to 4 channels."
        )
    check_pixels(path, shape[1], shape[0])
    if 0 in shape:
        raise UserError(f"{path}: has no pixels.")
    values = np.array(found).reshape(shape[0], shape[1], -1)
    if values.dtype == np.bool_ and values.shape[2] == 1:
        return Raster(Picture.fromarray(values[..., 0]))
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    if values.dtype == np.uint8:
        return Raster(Picture.fromarray(values[..., 0] if values.shape[2] == 1 else values))
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UserError(f"{path}: holds nan or inf among its numbers. Fill such pixels, and save it anew.")
        values = values.astype(np.float32)
    return Raster(numbers=values)


def _deep(path: Path, grey: bool) -> NDArray[Any]:
    """Colours of 16 bits, (H, W, C), by OpenCV, since Pillow keeps 8 bits of them."""
    import cv2  # imported here, since it takes a while and few files need it

    found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise UserError(
            f"{path}: holds colours of 16 bits in a form that is not read. Save it as a PNG of 16 bits, or as .npy."
        )
    numbers = found[..., [2, 1, 0, *range(3, found.shape[2])]]
    return numbers[..., [0, 3]] if grey and numbers.shape[2] == 4 else numbers


def _turned(numbers: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Numbers (H, W, C) as EXIF's orientation says that they are shown."""
    if orientation in (5, 6, 7, 8):
        numbers = numbers.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        numbers = numbers[:, ::-1]
    if orientation in (3, 4, 7, 8):
        numbers = numbers[::-1]
    return numbers


def bands_of(raster: Raster, channels: int, reach: tuple[float, float] | None, origin: Path) -> list[Picture.Image]:
    """A picture's channels: in mode L as stored, or in mode F from 0 to 1.

    Args:
        raster: The picture.
        channels: Number of channels to return; 0: as many as the picture has.
        reach: The numbers that become 0 and 1. `None`: 8 bits stay as they are, and of more bits 65535 becomes 1.
        origin: The file, for messages.

    Raises:
        UserError: If the colours are of an unknown kind.
    """
    if raster.numbers is not None:
        values = raster.numbers
        low, high = (0.0, 65535.0) if reach is None else reach
        own = values.shape[2]
        scaled = ((values[..., : own - (own + 1) % 2] - low) / (high - low)).clip(0, 1)
        if own % 2 == 0:  # alpha has the range of its type
            top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
            scaled = np.concatenate([scaled, (values[..., -1:] / top).clip(0, 1)], -1)
        planes = [Picture.fromarray(scaled[..., c].astype(np.float32)) for c in range(own)]
        return planes if channels in (0, own) else _converted(planes, scaled, channels)
    assert raster.picture is not None
    bands = _eight_bits(raster.picture, channels, origin)
    if reach is None:
        return bands
    low, high = reach
    scaled_bands = []
    for number, band in enumerate(bands):
        alpha = len(bands) % 2 == 0 and number == len(bands) - 1
        values = np.asarray(band) / 255 if alpha else (np.asarray(band) - low) / (high - low)
        scaled_bands.append(Picture.fromarray(values.clip(0, 1).astype(np.float32)))
    return scaled_bands


def _converted(planes: list[Picture.Image], scaled: NDArray[Any], channels: int) -> list[Picture.Image]:
    """Channels in mode F as another number of channels, as Pillow converts 8 bits."""
    alpha = [planes[-1] if len(planes) % 2 == 0 else Picture.new("F", planes[0].size, 1.0)]
    if channels >= 3:
        colours = planes[:3] if len(planes) >= 3 else planes[:1] * 3
    elif len(planes) >= 3:
        colours = [Picture.fromarray((scaled[..., :3] @ LUMA).astype(np.float32))]
    else:
        colours = planes[:1]
    return colours + alpha * (channels % 2 == 0)


def _eight_bits(picture: Picture.Image, channels: int, origin: Path) -> list[Picture.Image]:
    if picture.mode == "P":
        own = "RGBA" if "transparency" in picture.info else "RGB"
    else:
        own = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
        own = own if own in _MODES.values() else "RGB"
    try:
        return list(picture.convert(own).convert(_MODES.get(channels, own)).split())
    except ValueError as error:
        raise UserError(f"{origin}: has colours of an unknown kind ({error}). Save it as RGB.") from error
