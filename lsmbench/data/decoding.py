"""Decodes the files of a user's folder, sample by sample: pictures, masks, label maps in colours, and points."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.files import Exif, Findings, open_picture, read_pts, to_mode
from lsmbench.data.layouts import Kind, Points, Sample
from lsmbench.domains import EYES
from lsmbench.errors import UserError
from lsmbench.palettes import IGNORED, Palette

Fit = Literal["stretch", "crop", "pad"]
Eyes = Literal["outer", "released_code"] | tuple[int, int] | None

FAR = 20
"""A pixel further than this from the colour of every class (Euclidean distance, 8-bit steps) is reported as far."""

_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_FACE_POINTS = 68


@dataclass(frozen=True)
class Reading:
    """How files become arrays: the options of `Folder` with these names.

    Attributes:
        size: Height and width of all views.
        fit: How a picture becomes square.
        classes: Number of the masks' classes; 0: not known.
        channels: Channels of the images; 0: as stored.
        side_by_side: Which half of a picture of both views is `x`; `auto`: the left one, in files wider than high.
        eyes: Unit of landmarks' errors.
        exif: What to do with photos that are stored turned.
        palette: The classes' colours, where targets are label maps in colours.
    """

    size: int
    fit: Fit = "stretch"
    classes: int = 0
    channels: int = 0
    side_by_side: Literal["auto", "x_left", "x_right"] = "auto"
    eyes: str = "auto"
    exif: Exif = "refuse"
    palette: Palette | None = None

    def key(self) -> dict[str, object]:
        """The options as plain values, for the cache's key; of a palette only the colours, as names change no array."""
        key = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        palette = key.pop("palette")
        return key if palette is None else {**key, "palette": [palette.colours, palette.void]}


@dataclass
class Decoded:
    """One sample as arrays.

    Attributes:
        sample: The sample's files.
        size: Width and height of the picture; of the annotation, where there is no picture.
        x: View `x`; `None` if the sample has no picture.
        y: View `y`; `None` if the sample has no annotation.
        labels: Labels of the mask before resizing.
        counts: Pixels of each label, int64 (256,), in the label map in colours before resizing; else `None`.
        far: Number of these pixels that are further than `FAR` from any class; `None` for a lossless map.
    """

    sample: Sample
    size: tuple[int, int]
    x: NDArray[np.generic] | None
    y: NDArray[np.generic] | None
    labels: frozenset[int] = frozenset()
    counts: NDArray[np.int64] | None = None
    far: int | None = None


def decode(kind: Kind, sample: Sample, reading: Reading, findings: Findings) -> Decoded | None:
    """Decodes what a sample has; if a file is wrong, adds the problem to `findings` and returns `None`."""
    x: NDArray[np.generic] | None = None
    y: NDArray[np.generic] | None = None
    size: tuple[int, int] | None = None
    coloured: Picture.Image | None = None
    labels: frozenset[int] = frozenset()
    counts: NDArray[np.int64] | None = None
    far: int | None = None
    with findings.gathering():
        if sample.picture is not None:
            picture = open_picture(sample.picture, reading.exif)
            size = picture.size
            if kind == "sides":
                photo, other = _halves(picture, sample.picture, reading.side_by_side == "x_right")
                x = _image(photo, sample.picture, reading)
                if reading.palette is None:
                    y = _image(other, sample.picture, reading)
                else:
                    coloured = other
            else:
                x = _image(picture, sample.picture, reading)
    with findings.gathering():
        if sample.annotation is None:
            pass
        elif kind == "masks":
            read = _read_mask(sample.annotation, reading.exif) if reading.palette is None else None
            mask = open_picture(sample.annotation, reading.exif) if read is None else read
            if sample.picture is None:
                size = mask.size
            elif size is not None and mask.size != size:
                raise UserError(
                    f"{sample.annotation}: has {px(mask.size)} px, but its picture {sample.picture.name} has "
                    f"{px(size)}. Make both of one size."
                )
            if read is None:
                coloured = mask
            else:
                labels = frozenset(np.flatnonzero(np.bincount(np.asarray(mask).ravel(), minlength=256)).tolist())
                y = _fitted(mask, reading.fit, reading.size, Picture.Resampling.NEAREST)
        elif kind in ("pts", "csv"):
            points = sample.points if sample.points is not None else read_pts(sample.annotation)
            # Where the picture could not be read, its size is not known.
            y = None if size is None else _place(points, size, reading.fit, sample)
        elif kind == "images":
            other = open_picture(sample.annotation, reading.exif)
            size = other.size if sample.picture is None else size
            if reading.palette is None:
                y = _image(other, sample.annotation, reading)
            else:
                coloured = other
    if coloured is not None and sample.annotation is not None and reading.palette is not None:
        with findings.gathering():
            found, far = _read_colours(coloured, sample.annotation, reading.palette, kind == "masks")
            counts = np.bincount(found.ravel(), minlength=256)
            nearest = Picture.Resampling.NEAREST
            y = reading.palette.encode(
                _fitted(Picture.fromarray(found), reading.fit, reading.size, nearest, beyond=IGNORED)
            )
    wrong = (x is None) != (sample.picture is None) or (y is None) != (sample.annotation is None)
    return None if wrong or size is None else Decoded(sample, size, x, y, labels, counts, far)


def _halves(picture: Picture.Image, path: Path, x_right: bool) -> tuple[Picture.Image, Picture.Image]:
    """Views `x` and `y` of a picture that shows both side by side."""
    width, height = picture.size
    if width % 2:
        raise UserError(
            f"{path}: is {width} px wide; expected an even number, the left and the right half being the two views."
        )
    left, right = picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))
    return (right, left) if x_right else (left, right)


def _image(picture: Picture.Image, origin: Path, reading: Reading) -> NDArray[np.generic]:
    """A picture as (C, size, size), uint8 or float32 in [0, 1]."""
    bands = _bands(picture, reading.channels, origin)
    # Channel by channel: Pillow would weigh colours by the fourth channel, which need not be alpha.
    pixels = np.stack([_fitted(b, reading.fit, reading.size, Picture.Resampling.BILINEAR) for b in bands])
    return pixels if pixels.dtype == np.uint8 else pixels.clip(0.0, 1.0)


def _bands(picture: Picture.Image, channels: int, origin: Path) -> list[Picture.Image]:
    """A picture's channels: of 8 bits in mode L, or in mode F from 0 to 1 for 16 bits.

    Args:
        picture: Of any mode.
        channels: Number of channels to return; 0: as many as the picture has.
        origin: The file, for messages.

    Raises:
        UserError: If the picture holds neither 8 nor 16 bits.
    """
    if picture.mode[0] in "IF":
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise UserError(
                f"{origin}: holds numbers beyond 16 bits (mode {picture.mode}). Save it with 8 or 16 bits a channel."
            )
        grey = Picture.fromarray((values / 65535).astype(np.float32))
        opaque = [Picture.new("F", picture.size, 1.0)] if channels in (2, 4) else []
        return [grey] * max(1, channels - len(opaque)) + opaque
    if picture.mode == "P":
        own = "RGBA" if "transparency" in picture.info else "RGB"
    else:
        own = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
        own = own if own in _CHANNELS.values() else "RGB"
    try:
        return list(picture.convert(own).convert(_CHANNELS.get(channels, own)).split())
    except ValueError as error:
        raise UserError(f"{origin}: has colours of an unknown kind ({error}). Save it as RGB.") from error


def _read_mask(path: Path, exif: Exif) -> Picture.Image:
    """A mask as class numbers, mode L.

    Raises:
        UserError: If the file is a JPEG, has several channels, or labels beyond 0 to 255.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise UserError(f"{path}: is a JPEG, which changes labels in saving. Make the masks anew, as PNG.")
    picture = open_picture(path, exif)
    if _is_jpeg(path):
        raise UserError(
            f"{path}: is a JPEG, whatever its name says, which changes labels in saving. Make the masks anew, as PNG."
        )
    values = np.asarray(picture)
    if picture.mode in ("1", "L", "P"):
        return Picture.fromarray(values.astype(np.uint8))
    if picture.mode[0] == "I":
        if values.min() < 0 or values.max() > 255:
            raise UserError(
                f"{path}: holds labels from {values.min()} to {values.max()}; expected class numbers from 0 to 255."
            )
        return Picture.fromarray(values.astype(np.uint8))
    grey = picture.mode == "RGB" and bool((values == values[..., :1]).all())
    raise UserError(
        f"{path}: is a mask in mode {picture.mode}; expected class numbers, hence one channel. "
        + (
            "Its channels are equal: save it as grey, if its values are the classes."
            if grey
            else "If its colours stand for classes, name them by palette=FILE. Or save it as a palette PNG, whose "
            "index is the class and which shows any colours, or as a grey one."
        )
    )


def _read_colours(
    picture: Picture.Image, path: Path, palette: Palette, numbers: bool
) -> tuple[NDArray[np.uint8], int | None]:
    """A label map in colours as labels, uint8 (H, W), `IGNORED` where void.

    Args:
        picture: The map, at its own resolution.
        path: Its file.
        palette: The classes' colours.
        numbers: Whether the layout also allows class numbers in place of colours.

    Returns:
        The labels. In a JPEG, pixels get the nearest class or void; also the number of pixels further than `FAR` from
        that class or void. `None` for other files.

    Raises:
        UserError: If a lossless map has a colour that is not in the palette.
    """
    pixels = np.asarray(to_mode(picture, "RGB"))
    if _is_jpeg(path):
        labels = palette.decode(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), void=True)[0].numpy()
        apart = np.square(pixels - np.moveaxis(palette.encode(labels), 0, -1).astype(np.int32)).sum(-1)
        for colour in palette.void[1:]:  # `encode` knows the first one only
            other = np.square(pixels - np.array(colour, np.int32)).sum(-1)
            apart = np.where(labels == IGNORED, np.minimum(apart, other), apart)
        return labels, int((apart > FAR**2).sum())
    values = pixels.astype(np.int64) @ (65536, 256, 1)
    known = np.array([*palette.colours, *palette.void], np.int64) @ (65536, 256, 1)
    table = np.array([*range(len(palette)), *[IGNORED] * len(palette.void)], np.uint8)
    order = known.argsort()
    place = np.searchsorted(known[order], values).clip(max=len(known) - 1)
    strange = known[order][place] != values
    if strange.any():
        raise UserError(_strange_colours(values[strange], strange.mean(), path, palette, picture, numbers))
    return table[order][place], None


def _strange_colours(
    values: NDArray[np.int64], share: float, path: Path, palette: Palette, picture: Picture.Image, numbers: bool
) -> str:
    kinds, counts = np.unique(values, return_counts=True)
    most = int(kinds[counts.argmax()])
    (colour, near) = palette.unknown(np.array([[[most >> 16, most >> 8 & 255, most & 255]]], np.uint8))[0]
    others = f" (of {len(kinds)} such colours the most frequent one)" if len(kinds) > 1 else ""
    if numbers and picture.mode[0] in "1LI":
        remedy = "It is grey: if its values are class numbers, leave palette out."
    else:
        remedy = "Correct the map or the palette; a map must not be smoothed in resizing or saving."
    return (
        f"{path}: {percent(share)} of its pixels have a colour that is not in the palette {palette.name}: {colour}"
        f"{others}, nearest to {near}. {remedy}"
    )


def _is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG, by its content: files are often renamed rather than converted."""
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def _window(width: int, height: int, fit: Fit) -> tuple[float, float, float, float]:
    """Left, top, width and height, in pixels, of the part of a picture that is shown; `pad` shows more than it all."""
    if fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    if fit == "crop":
        side = min(width, height)
        return (width - side) / 2, (height - side) / 2, float(side), float(side)
    side = max(width, height)
    return float(-((side - width) // 2)), float(-((side - height) // 2)), float(side), float(side)


def _fitted(
    picture: Picture.Image, fit: Fit, size: int, resample: Picture.Resampling, beyond: int = 0
) -> NDArray[np.generic]:
    """One channel, made square and resized to (size, size); pixels beyond the picture get the value `beyond`."""
    left, top, width, height = _window(*picture.size, fit)
    if width > picture.width or height > picture.height:
        canvas = Picture.new(picture.mode, (int(width), int(height)), beyond)
        canvas.paste(picture, (int(-left), int(-top)))
        picture, left, top = canvas, 0.0, 0.0
    return np.asarray(picture.resize((size, size), resample, box=(left, top, left + width, top + height)))


def _place(points: Points, size: tuple[int, int], fit: Fit, sample: Sample) -> NDArray[np.float32]:
    """Points as shares of the shown part of their picture, shape (P, 2) in [0, 1].

    Raises:
        UserError: If a point lies outside the picture or its shown part.
    """
    outside = ((points < 0) | (points > size)).any(1)
    if outside.any():
        raise UserError(
            f"{sample.annotation}: point {np.flatnonzero(outside)[0]} (counted from 0) lies outside its picture "
            f"{sample.file.name} of {px(size)} px. Correct it."
        )
    left, top, width, height = _window(*size, fit)
    placed = (points - (left, top)) / (width, height)
    outside = ((placed < 0) | (placed > 1)).any(1)
    if outside.any():
        raise UserError(
            f"{sample.annotation}: point {np.flatnonzero(outside)[0]} (counted from 0) lies in the part of "
            f"{sample.file.name} that fit={fit} cuts off. Use fit=stretch or fit=pad."
        )
    return placed.astype(np.float32)


def eyes_of(word: str, points: int | None, name: str) -> Eyes:
    """Parses the option `eyes`.

    Args:
        word: The option's value.
        points: Number of points; `None` if not known yet: then any number is accepted.
        name: The dataset's name, for messages.

    Raises:
        UserError: If the value is unknown, or names points that do not exist.
    """
    if word == "auto":
        return "outer" if points == _FACE_POINTS else None
    if word == "box":
        return None
    if word in EYES:
        if points not in (None, _FACE_POINTS):
            raise UserError(
                f"dataset {name}: eyes={word} needs {_FACE_POINTS} points, found {points}; give box, or "
                "two points' numbers, counted from 0, as in 0,1."
            )
        return "outer" if word == "outer" else "released_code"
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", word)
    if match is None or int(match[1]) == int(match[2]):
        raise UserError(
            f"dataset {name}: eyes={word}; expected auto, outer, released_code, box, or two different "
            "points' numbers, counted from 0, as in 36,45."
        )
    first, second = int(match[1]), int(match[2])
    if points is not None and max(first, second) >= points:
        raise UserError(f"dataset {name}: eyes={word}; there are {points} points, numbered from 0 to {points - 1}.")
    return first, second


def px(size: tuple[int, int]) -> str:
    """Width and height for a message."""
    return f"{size[0]}×{size[1]}"


def percent(share: float) -> str:
    """A share for a message; a share above 0 is never shown as 0 %."""
    return "less than 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
