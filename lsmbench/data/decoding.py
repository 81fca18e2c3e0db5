"""Decodes the files of a user's folder, sample by sample: pictures, masks, label maps in colours, and points."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.census import MOST_COLOURS, Levels, MaskFile, Reach, parse_window
from lsmbench.data.files import Exif, Findings, check_position, outside_by, read_pts, to_mode
from lsmbench.data.layouts import Kind, Sample
from lsmbench.data.rasters import Raster, bands_of, read_raster
from lsmbench.data.tables import Points
from lsmbench.domains import EYES
from lsmbench.errors import UserError
from lsmbench.palettes import IGNORED, Colour, Palette

Fit = Literal["stretch", "crop", "pad"]
Outside = Literal["keep", "skip", "refuse"]
"""What to do with points outside their picture: move them to the border, leave their samples out, or refuse them."""

Eyes = Literal["outer", "released_code"] | tuple[int, int] | None

FAR = 20
"""A pixel further than this from the colour of every class (Euclidean distance, 8-bit steps) is reported as far."""

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
        window: Which numbers of pictures become 0 and 1: `auto`, `low,high` or percentiles, `p1,p99`.
        x_reach: These numbers in pictures `x`, once they are known; `None`: 8 bits as they are, 65535 in 16 bits.
        y_reach: The same in pictures `y`.
        outside: What to do with points outside their picture.
    """

    size: int
    fit: Fit = "stretch"
    classes: int = 0
    channels: int = 0
    side_by_side: Literal["auto", "x_left", "x_right"] = "auto"
    eyes: str = "auto"
    exif: Exif = "refuse"
    palette: Palette | None = None
    window: str = "auto"
    x_reach: Reach | None = None
    y_reach: Reach | None = None
    outside: Outside = "refuse"

    def key(self) -> dict[str, object]:
        """The options as plain values, for the cache's key; of a palette only the colours, as names change no array."""
        key = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        palette = key.pop("palette")
        return key if palette is None else {**key, "palette": [palette.colours, palette.void]}

    def plain(self) -> dict[str, object]:
        """All of it as plain values, which JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Reading:
        """What `plain` gave, also after a way through JSON."""
        tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if (palette := values.get("palette")) is not None:
            rows = {k: tuple(map(tuple, palette[k])) for k in ("colours", "void")}
            tuples["palette"] = Palette(palette["name"], rows["colours"], tuple(palette["names"]), rows["void"])
        return cls(**tuples)


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
        mask: What the mask's file holds, for the census.
        levels: The numbers of the pictures' files, by view, where more than 8 bits or percentiles make them matter.
        alphas: The least and the greatest alpha of the pictures, by view, where they have alpha.
        points: The points in pixels of the picture.
        times: How often the mask goes into its picture, per side; below 1 if the mask is the larger one.
    """

    sample: Sample
    size: tuple[int, int]
    x: NDArray[np.generic] | None
    y: NDArray[np.generic] | None
    labels: frozenset[int] = frozenset()
    counts: NDArray[np.int64] | None = None
    far: int | None = None
    mask: MaskFile | None = None
    levels: dict[str, Levels] = dataclasses.field(default_factory=dict)
    alphas: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    points: Points | None = None
    times: float = 1.0


def decode(kind: Kind, sample: Sample, reading: Reading, findings: Findings) -> Decoded | None:
    """Decodes what a sample has; if a file is wrong, adds the problem to `findings` and returns `None`."""
    made = Decoded(sample, (0, 0), None, None)
    size: tuple[int, int] | None = None
    coloured: Raster | None = None
    times = 1.0
    with findings.gathering():
        if sample.picture is not None:
            picture = read_raster(sample.picture, reading.exif)
            size = picture.size
            if kind == "sides":
                photo, other = _halves(picture, sample.picture, reading.side_by_side == "x_right")
                made.x = _seen(photo, "x", sample.picture, reading, made)
                if reading.palette is None:
                    made.y = _seen(other, "y", sample.picture, reading, made)
                else:
                    coloured = other
            else:
                made.x = _seen(picture, "x", sample.picture, reading, made)
    with findings.gathering():
        if sample.annotation is None:
            pass
        elif kind == "masks":
            mask = read_raster(sample.annotation, reading.exif)
            if sample.picture is None:
                size = mask.size
            elif size is not None:
                times = _times(mask.size, size, sample)
            if reading.palette is None:
                numbers, made.mask = _read_mask(mask, sample.annotation)
                made.labels = made.mask.numbers
                made.y = _labels_fitted(numbers, reading, times, 0)
            else:
                coloured = mask
        elif kind in ("pts", "csv"):
            points = sample.points if sample.points is not None else read_pts(sample.annotation)
            # Where the picture could not be read, its size is not known.
            made.points, made.y = points, None if size is None else _place(points, size, reading, sample)
            if size is not None and made.y is None:  # outside=skip
                return Decoded(sample, size, None, None, points=points)
        elif kind == "images":
            other = read_raster(sample.annotation, reading.exif)
            size = other.size if sample.picture is None else size
            if reading.palette is None:
                made.y = _seen(other, "y", sample.annotation, reading, made)
            else:
                coloured = other
    if coloured is not None and sample.annotation is not None and reading.palette is not None:
        with findings.gathering():
            shown = _as_8_bits(coloured, sample.annotation)
            found, made.far = _read_colours(shown, sample.annotation, reading.palette, kind == "masks")
            made.counts = np.bincount(found.ravel(), minlength=256)
            made.y = reading.palette.encode(_labels_fitted(found, reading, times, IGNORED))
            alpha = _alpha(shown)
            if alpha is not None:
                made.alphas["y"] = alpha
    wrong = (made.x is None) != (sample.picture is None) or (made.y is None) != (sample.annotation is None)
    if wrong or size is None:
        return None
    made.size, made.times = size, times
    return made


def read_image(
    path: Path, reading: Reading, raster: Raster | None = None
) -> tuple[NDArray[np.generic], tuple[int, int]]:
    """Reads a photo as `decode` reads view `x` of a picture with an annotation.

    Args:
        path: The photo.
        reading: With the channels and the reach that the set has (`PictureFolder.reading`).
        raster: The file's picture or a part of it, if it is read already.

    Returns:
        The view, (C, size, size), uint8, or float32 in [0, 1]; and the photo's width and height.

    Raises:
        UserError: As `read_raster`.
    """
    raster = read_raster(path, reading.exif) if raster is None else raster
    return _image(raster, path, reading, "x"), raster.size


def read_colours(path: Path, reading: Reading, raster: Raster) -> NDArray[np.uint8]:
    """Reads a label map in colours as `decode` reads one that is given for `y`: uint8 (3, size, size).

    Raises:
        UserError: If it holds more than 8 bits, or, in a lossless file, a colour that is not in the palette.
    """
    assert reading.palette is not None
    found, _ = _read_colours(_as_8_bits(raster, path), path, reading.palette, False)
    return reading.palette.encode(_labels_fitted(found, reading, 1.0, IGNORED))


def shown_part(size: tuple[int, int], reading: Reading) -> NDArray[np.bool_]:
    """Which pixels of a view lie in the picture and not beyond it, (size, size); all but with `fit=pad`."""
    whole = Picture.new("L", size, 1)
    inside: NDArray[np.bool_] = _fitted(whole, reading.fit, reading.size, Picture.Resampling.NEAREST) == 1
    return inside


def _seen(raster: Raster, view: str, path: Path, reading: Reading, made: Decoded) -> NDArray[np.generic]:
    """A picture as a view; keeps in `made` what the census has to know of its file."""
    asked = parse_window(reading.window, "window")
    percentiles = asked is not None and len(asked) == 3 and (view == "x" or raster.numbers is not None)
    reach = reading.x_reach if view == "x" else reading.y_reach
    if reach is None and (raster.numbers is not None or percentiles):
        numbers: NDArray[np.generic]
        if raster.numbers is not None:
            colours = raster.numbers.shape[2]
            numbers = raster.numbers[..., : colours - (colours + 1) % 2]
        else:
            bands = bands_of(raster, reading.channels, None, path)
            numbers = np.stack([np.asarray(band) for band in bands[: len(bands) - (len(bands) + 1) % 2]])
        made.levels[view] = Levels.of(numbers, percentiles)
    alpha = _alpha(raster.picture) if raster.picture is not None else _deep_alpha(raster)
    if alpha is not None:
        made.alphas[view] = alpha
    return _image(raster, path, reading, view)


def _alpha(picture: Picture.Image | None) -> tuple[int, int] | None:
    """The least and the greatest alpha of a picture of 8 bits; `None` if it has none."""
    if picture is None:
        return None
    keyed = picture.mode == "P" and "transparency" in picture.info
    if not keyed and picture.mode not in ("LA", "PA", "La", "RGBA", "RGBa"):
        return None
    low, high = picture.convert("RGBA").getchannel("A").getextrema()
    return int(low), int(high)  # type: ignore[arg-type]


def _deep_alpha(raster: Raster) -> tuple[int, int] | None:
    if raster.numbers is None or raster.numbers.shape[2] % 2:
        return None
    alpha = raster.numbers[..., -1]
    return int(alpha.min() * 255), int(alpha.max() * 255)


def _as_8_bits(raster: Raster, path: Path) -> Picture.Image:
    """A label map in colours, which has 8 bits.

    Raises:
        UserError: If it holds more.
    """
    if raster.picture is None:
        raise UserError(
            f"{path}: holds more than 8 bits a channel, but the palette's colours are of 8 bits. Save the map anew."
        )
    return raster.picture


def _times(mask: tuple[int, int], picture: tuple[int, int], sample: Sample) -> float:
    """How often a mask goes into its picture, per side.

    Raises:
        UserError: If that is no whole number, nor one part of a whole number.
    """
    for k in range(1, max(*mask, *picture) + 1):
        if (mask[0] * k, mask[1] * k) == picture:
            return float(k)
        if (picture[0] * k, picture[1] * k) == mask:
            return 1 / k
        if k > max(mask[0] / picture[0], picture[0] / mask[0]):
            break
    assert sample.annotation is not None
    assert sample.picture is not None
    raise UserError(
        f"{sample.annotation}: has {px(mask)} px, but its picture {sample.picture.name} has {px(picture)}. Make both "
        "of one size, or the sides of one a whole multiple of the other's."
    )


def _labels_fitted(numbers: NDArray[np.uint8], reading: Reading, times: float, beyond: int) -> NDArray[np.generic]:
    """Class numbers, made square by the nearest pixel like the picture that they belong to."""
    mask = Picture.fromarray(numbers)
    if times > 1:
        mask = mask.resize((round(mask.width * times), round(mask.height * times)), Picture.Resampling.NEAREST)
        times = 1.0
    return _fitted(mask, reading.fit, reading.size, Picture.Resampling.NEAREST, beyond, round(1 / times))


def _halves(picture: Raster, path: Path, x_right: bool) -> tuple[Raster, Raster]:
    """Views `x` and `y` of a picture that shows both side by side."""
    width = picture.size[0]
    if width % 2:
        raise UserError(
            f"{path}: is {width} px wide; expected an even number, the left and the right half being the two views."
        )
    left, right = picture.part(0, width // 2), picture.part(width // 2, width)
    return (right, left) if x_right else (left, right)


def _image(raster: Raster, origin: Path, reading: Reading, view: str) -> NDArray[np.generic]:
    """A picture as (C, size, size), uint8 or float32 in [0, 1].

    Pictures of 8 bits are left as they are, unless they are view `x` and the user names a window.
    """
    reach = reading.x_reach if view == "x" else reading.y_reach
    if raster.numbers is None and (view != "x" or reading.window == "auto"):
        reach = None
    bands = bands_of(raster, reading.channels, reach, origin)
    # Channel by channel: Pillow would weigh colours by the fourth channel, which need not be alpha.
    pixels = np.stack([_fitted(b, reading.fit, reading.size, Picture.Resampling.BILINEAR) for b in bands])
    return pixels if pixels.dtype == np.uint8 else pixels.clip(0.0, 1.0)


def _read_mask(raster: Raster, path: Path) -> tuple[NDArray[np.uint8], MaskFile]:
    """A mask's numbers, uint8 (H, W), and what its file holds; of a JPEG its grey levels.

    Returns:
        Zeros in place of numbers if the file holds colours.

    Raises:
        UserError: If numbers are not whole, or beyond 0 to 255.
    """
    palette, alpha = None, None
    values: NDArray[Any]
    if raster.picture is not None:
        picture = raster.picture
        alpha = _alpha(picture) if picture.mode != "P" else None
        if picture.mode == "P":
            palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        elif picture.mode not in ("1", "L"):
            picture = picture.convert("LA").getchannel("L") if picture.mode in ("LA", "La", "PA") else picture
        values = np.asarray(picture if picture.mode in ("1", "L", "P") else picture.convert("RGB"))
        values = values.astype(np.uint8)
    else:
        assert raster.numbers is not None
        values = raster.numbers[..., : raster.numbers.shape[2] - (raster.numbers.shape[2] + 1) % 2]
        values = values[..., 0] if values.shape[2] == 1 else values
        alpha = _deep_alpha(raster)
        low, high = values.min(), values.max()
        if high == 65535 and values.dtype.kind in "iu" and set(np.unique(values).tolist()) <= {0, 65535}:
            values = values // 257
        elif low < 0 or high > 255 or (values.dtype.kind == "f" and (values != np.round(values)).any()):
            raise UserError(
                f"{path}: holds labels from {low:g} to {high:g}; expected class numbers, whole ones from 0 to 255."
            )
        values = values.astype(np.uint8)
    blurred = _is_jpeg(path)
    if values.ndim == 3:
        spread = np.ptp(values, axis=2).max() if blurred else np.ptp(values, axis=2).any() * 255
        if spread > 24:
            return np.zeros(values.shape[:2], np.uint8), MaskFile(
                path, np.zeros(256, np.int64), colours={} if blurred else _flat_colours(values), alpha=alpha
            )
        values = values[..., 1] if blurred else values[..., 0]
    values = np.ascontiguousarray(values)
    counts = np.bincount(values.ravel(), minlength=256)
    return values, MaskFile(path, counts, palette, blurred, alpha=alpha)


def _flat_colours(values: NDArray[np.uint8]) -> dict[Colour, int]:
    """Pixels of each colour of a map (H, W, 3); empty if there are more than `MOST_COLOURS`."""
    codes, counts = np.unique(values.astype(np.int64) @ (65536, 256, 1), return_counts=True)
    if len(codes) > MOST_COLOURS:
        return {}
    colours = [(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()]
    return dict(zip(colours, counts.tolist(), strict=True))


def flat_targets(kind: Kind, paths: Sequence[Path], reading: Reading) -> Counter[Colour] | None:
    """Pixels of each colour of pictures `y`, if all of them are maps of few flat colours, as classes are drawn in.

    Args:
        kind: `images`, or `sides` for the halves that are `y`.
        paths: Their files, all of which can be read; the first photo among them ends the look.
        reading: How files are read.

    Returns:
        `None` if one is a JPEG, has more than 8 bits, or if there are more than `MOST_COLOURS` colours.
    """
    total: Counter[Colour] = Counter()
    for path in paths:
        raster = read_raster(path, reading.exif)
        if kind == "sides":
            raster = _halves(raster, path, reading.side_by_side == "x_right")[1]
        if raster.picture is None or _is_jpeg(path):
            return None
        colours = _flat_colours(np.asarray(to_mode(raster.picture, "RGB")))
        total.update(colours)
        if not colours or len(total) > MOST_COLOURS:
            return None
    return total


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


def window_of(width: int, height: int, fit: Fit) -> tuple[float, float, float, float]:
    """Left, top, width and height, in pixels, of the part of a picture that is shown; `pad` shows more than it all."""
    if fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    if fit == "crop":
        side = min(width, height)
        return (width - side) / 2, (height - side) / 2, float(side), float(side)
    side = max(width, height)
    return float(-((side - width) // 2)), float(-((side - height) // 2)), float(side), float(side)


def _fitted(
    picture: Picture.Image, fit: Fit, size: int, resample: Picture.Resampling, beyond: int = 0, finer: int = 1
) -> NDArray[np.generic]:
    """One channel, made square and resized to (size, size); pixels beyond the picture get the value `beyond`.

    `finer` says how many pixels of this picture are one of the picture whose window is shown, per side.
    """
    window = window_of(picture.width // finer, picture.height // finer, fit)
    left, top, width, height = (finer * edge for edge in window)
    if width > picture.width or height > picture.height:
        canvas = Picture.new(picture.mode, (int(width), int(height)), beyond)
        canvas.paste(picture, (int(-left), int(-top)))
        picture, left, top = canvas, 0.0, 0.0
    return np.asarray(picture.resize((size, size), resample, box=(left, top, left + width, top + height)))


def _place(points: Points, size: tuple[int, int], reading: Reading, sample: Sample) -> NDArray[np.float32] | None:
    """Points as shares of the shown part of their picture, shape (P, 2) in [0, 1].

    Returns:
        `None` if a point lies outside and the sample is to be skipped.

    Raises:
        UserError: If a point lies outside the picture or its shown part, and points outside are refused; or if more
            than half of the points' box lies outside and they are kept.
    """
    assert sample.annotation is not None
    assert sample.picture is not None
    left, top, width, height = window_of(*size, reading.fit)
    placed = (points - (left, top)) / (width, height)
    beyond = outside_by(points, size)
    cut = ((placed < 0) | (placed > 1)).any(1)
    if not (beyond.any() or cut.any()) or reading.outside == "keep":
        if beyond.any():
            check_position(points, size, _origin(sample), sample.picture)
        return placed.clip(0, 1).astype(np.float32)
    if reading.outside == "skip":
        return None
    number = int(np.flatnonzero(beyond if beyond.any() else cut)[0])
    x, y = points[number] - (0.5 if sample.points is not None else -0.5)
    counted = "0" if sample.points is not None else "1"
    where = f"{_origin(sample)}: point {number} (counted from 0) at x={x:g}, y={y:g} (pixels counted from {counted})"
    others = int((beyond > 0).sum() if beyond.any() else cut.sum()) - 1
    more = f", as do {others} more points" if others else ""
    if beyond.any():
        hint = " 0,0 often marks a point that nobody set." if x == 0 and y == 0 else ""
        raise UserError(
            f"{where} lies outside its picture {sample.picture.name} of {px(size)} px, by {beyond[number]:.1f} px"
            f"{more}.{hint} Correct it; or outside=keep moves such points to the border, outside=skip leaves such "
            "samples out."
        )
    raise UserError(
        f"{where} lies in the part of {sample.picture.name} that fit={reading.fit} cuts off{more}. Use fit=stretch or "
        "fit=pad; or outside=keep moves such points to the border, outside=skip leaves such samples out."
    )


def _origin(sample: Sample) -> str:
    """The file of a sample's points, and the line where one file holds many samples."""
    return f"{sample.annotation}: line {sample.line}" if sample.line else str(sample.annotation)


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
