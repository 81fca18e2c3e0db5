"""Predictions brought back to users' files: at a file's own size, in the form that the data came in."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from torch import Tensor

from lsmbench.data.files import open_picture, read_pts
from lsmbench.data.inputs import Given
from lsmbench.domains import Category, Domain, Image, LabelColours, Landmarks
from lsmbench.palettes import IGNORED
from lsmbench.runs.results import write_bytes

_NUMBERS = 2**24
"""Numbers that are computed at a time, so that huge pictures of many classes take little memory."""
_DIGITS = 6


@dataclass(frozen=True)
class Said:
    """What one trained method says of one file, at the network's size.

    Attributes:
        view: The decided view, without the axis over samples.
        logits: One logit for each class, (K, h, w) or (K,); `None` where the method has none.
    """

    view: Tensor
    logits: Tensor | None


@dataclass
class Prediction:
    """What the methods say of one file; several methods (seeds, folds) by their mean.

    Attributes:
        path: The file.
        domain: What is predicted.
        size: Width and height of the file's picture, in pixels.
        photo: The picture in RGB.
        mask: Classes, uint8 (H, W), of masks and of label maps in colours; 255 in a part of the picture that the
            method was not shown, if void has a meaning in the data, else class 0.
        points: Landmarks in pixels from the top left corner, (P, 2); the first pixel's centre is (0.5, 0.5).
        image: Images, uint8 (H, W, C), or uint16 where the run's data had more than 8 bits and one channel.
        category: The class of a category.
        shares: Of masks and label maps the share of the shown pixels of each class; of categories its probability.
        confidence: The greatest probability of a class, in the mean over the shown pixels; `None` where the method
            gives none.
        disagreement: How far the methods lie apart, 0 for one; `None` for one method. Classes: the distance (total
            variation) of each method's probabilities from their mean, 0 to 1, in the mean over pixels. Images: the same
            with absolute differences. Points: the mean distance from the mean point, as a share of the diagonal.
        disagreement_map: The same for each pixel, uint8 (H, W), 255 being 1; `None` for points and categories.
        cut: Whether the method was not shown all of the picture.
    """

    path: Path
    domain: Domain
    size: tuple[int, int]
    photo: Picture.Image = field(repr=False)
    mask: NDArray[np.uint8] | None = field(default=None, repr=False)
    points: NDArray[np.float64] | None = field(default=None, repr=False)
    image: NDArray[Any] | None = field(default=None, repr=False)
    category: str | None = None
    shares: dict[str, float] = field(default_factory=dict)
    confidence: float | None = None
    disagreement: float | None = None
    disagreement_map: NDArray[np.uint8] | None = field(default=None, repr=False)
    cut: bool = False

    @property
    def suffix(self) -> str:
        """The ending of its file; empty for a category, which has none."""
        return suffix_of(self.domain)

    def save(self, path: str | Path) -> None:
        """Writes the prediction, whole or not at all.

        A mask becomes a palette PNG whose index is the class, a label map a PNG in the palette's colours, an image a
        PNG, landmarks a `.pts` file as 300-W's.

        Args:
            path: The file to write.

        Raises:
            TypeError: If the prediction is a category, which is a word.
        """
        write_bytes(Path(path), self.content())

    def content(self) -> bytes:
        """What `save` writes."""
        if self.points is not None:
            lines = [f"{x:.3f} {y:.3f}" for x, y in (self.points + 0.5).tolist()]
            return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""]).encode()
        if self.mask is not None and not isinstance(self.domain, LabelColours):
            picture = Picture.fromarray(self.mask)  # grey; a palette makes the same numbers indices
            picture.putpalette(_table(self.domain).ravel().tolist())
            return _png(picture)
        if self.mask is not None:
            return _png(Picture.fromarray(_table(self.domain)[self.mask]))
        if self.image is not None:
            return _png(Picture.fromarray(self.image[..., 0] if self.image.shape[2] == 1 else self.image))
        raise TypeError("a category is a word, and has no file")

    def overlay(self) -> Picture.Image:
        """The prediction drawn on the photo, or beside it nothing of the photo if it is an image; RGB."""
        if self.points is not None:
            drawn = self.photo.copy()
            pen, radius = ImageDraw.Draw(drawn), max(1.0, max(self.size) / 150)
            for x, y in self.points.tolist():
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(255, 96, 32))
            return drawn
        if self.mask is not None and isinstance(self.domain, LabelColours):
            return Picture.fromarray(_table(self.domain)[self.mask])
        if self.mask is not None:
            table = _table(self.domain)
            if self.domain.label_count == 2:
                table[1] = (255, 96, 32)  # white would hide in bright photos
            photo = np.asarray(self.photo, np.float32)
            mixed = np.where((self.mask > 0)[..., None], 0.5 * photo + 0.5 * table[self.mask], photo)
            return Picture.fromarray(mixed.round().astype(np.uint8))
        if self.image is not None:
            pixels = self.image if self.image.dtype == np.uint8 else (self.image // 257).astype(np.uint8)
            rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, -1)
            return Picture.fromarray(np.ascontiguousarray(rgb))
        drawn = self.photo.copy()
        ImageDraw.Draw(drawn).text((4, 4), str(self.category), fill=(255, 96, 32))
        return drawn

    def row(self) -> dict[str, str]:
        """Its numbers by the names of columns, as text; a rerun writes the same."""
        numbers: dict[str, float | None] = {f"share {name}": share for name, share in self.shares.items()}
        if self.points is not None:
            for i, (x, y) in enumerate((self.points + 0.5).tolist(), start=1):
                numbers |= {f"x{i}": x, f"y{i}": y}
        numbers |= {"confidence": self.confidence, "disagreement": self.disagreement}
        row = {name: "" if number is None else f"{number:.{_DIGITS}f}" for name, number in numbers.items()}
        return row if self.category is None else {"class": self.category, **row}


def suffix_of(domain: Domain) -> str:
    """The ending of the files that predictions of a domain are written to; empty if they have none."""
    if isinstance(domain, Category):
        return ""
    return ".pts" if isinstance(domain, Landmarks) else ".png"


def brought_back(path: Path, given: Given, said: Sequence[Said], domain: Domain, deep: bool) -> Prediction:
    """Brings what methods say of a file back to the file's size.

    Probabilities, colours and logits are resized, not decisions: by triangles (bilinear), which average where a file is
    smaller than the network's view.

    Args:
        path: The file.
        given: The file as it was given.
        said: What each method says, at least one.
        domain: What is predicted.
        deep: Whether images have more than 8 bits.
    """
    found = Prediction(path, domain, given.size, given.photo, cut=given.cut)
    if isinstance(domain, Landmarks):
        found.cut = False
        _points(found, given, said)
    elif isinstance(domain, Category):
        _category(found, domain, said)
    elif domain.label_count is not None:
        _classes(found, given, said)
    else:
        _image(found, given, said, deep)
    return found


def written(path: Path, output: Path, domain: Domain, given: Given, category: str | None = None) -> Prediction:
    """A prediction as `save` wrote it, without its numbers.

    Args:
        path: The file that was predicted.
        output: What was written.
        domain: What was predicted.
        given: The file as it was given.
        category: The class, if a category was predicted.

    Raises:
        UserError: If the file cannot be read.
    """
    found = Prediction(path, domain, given.size, given.photo, category=category)
    if isinstance(domain, Landmarks):
        found.points = read_pts(output)
    elif not isinstance(domain, Category):
        pixels = np.asarray(open_picture(output))
        if domain.label_count is None:
            found.image = pixels if pixels.ndim == 3 else pixels[..., None]
        elif isinstance(domain, LabelColours):
            found.mask = domain.palette.decode(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), True)[
                0
            ].numpy()
        else:
            found.mask = pixels
    return found


def _points(found: Prediction, given: Given, said: Sequence[Said]) -> None:
    left, top, width, height = given.shown
    views = np.stack([one.view.double().cpu().numpy() for one in said])
    each = views * (width, height) + (left, top)
    found.points = each.mean(0)
    if len(said) > 1:
        apart = np.linalg.norm(each - found.points, axis=-1).mean()
        found.disagreement = float(apart / np.hypot(*found.size))


def _category(found: Prediction, domain: Category, said: Sequence[Said]) -> None:
    classes = len(domain.names)
    each = torch.stack([_probabilities(one, domain, classes) for one in said])
    mean = each.mean(0)
    found.category = domain.names[int(mean.argmax())]
    found.shares = dict(zip(domain.names, mean.tolist(), strict=True))
    found.confidence = float(mean.max()) if all(one.logits is not None for one in said) else None
    if len(said) > 1:
        found.disagreement = float((each - mean).abs().sum(1).mean() / 2)


def _probabilities(one: Said, domain: Domain, classes: int) -> Tensor:
    if one.logits is not None:
        return torch.softmax(one.logits.float(), 0)
    return torch.nn.functional.one_hot(one.view, classes).float()


def _classes(found: Prediction, given: Given, said: Sequence[Said]) -> None:
    domain, classes = found.domain, cast(int, found.domain.label_count)
    width, height = given.size
    mapping = _Back(given, _side(said[0]))
    soft = [_Soft(one, domain, classes, mapping) for one in said]
    sure = all(one.logits is not None for one in said)
    mask = np.full((height, width), _beyond(domain), np.uint8)
    differs = np.zeros((height, width), np.uint8) if len(said) > 1 else None
    counts = np.zeros(256, np.int64)
    surest, apart = 0.0, 0.0
    for rows in mapping.strips(classes * (1 + len(said))):
        place = (rows, mapping.columns)
        each = [one.at(rows) for one in soft]
        mean = torch.stack([shares for shares, _ in each]).mean(0)
        labels = each[0][1] if len(said) == 1 else mean.argmax(0)
        mask[place] = labels.to(torch.uint8).numpy()
        counts += np.bincount(mask[place].ravel(), minlength=256)
        surest += float(mean.amax(0).double().sum())
        if differs is not None:
            distance = torch.stack([(shares - mean).abs().sum(0) / 2 for shares, _ in each]).mean(0)
            apart += float(distance.double().sum())
            differs[place] = (distance * 255).round().to(torch.uint8).numpy()
    shown = max(1, int(counts.sum()))
    found.mask, found.disagreement_map = mask, differs
    found.shares = {name: int(counts[k]) / shown for k, name in enumerate(class_names(domain))}
    found.confidence = surest / shown if sure else None
    found.disagreement = apart / shown if differs is not None else None


def _image(found: Prediction, given: Given, said: Sequence[Said], deep: bool) -> None:
    domain = cast(Image, found.domain)
    width, height = given.size
    mapping = _Back(given, _side(said[0]))
    deep = deep and domain.channels == 1
    top, kind = (65535, np.uint16) if deep else (255, np.uint8)
    image = np.zeros((height, width, domain.channels), kind)
    differs = np.zeros((height, width), np.uint8) if len(said) > 1 else None
    apart, shown = 0.0, 0
    for rows in mapping.strips(domain.channels * (1 + len(said))):
        place = (rows, mapping.columns)
        each = torch.stack([mapping.resized(one.view.float().cpu(), rows) for one in said]).clamp(0, 1)
        mean = each.mean(0)
        image[place] = (mean * top).round().movedim(0, -1).numpy().astype(kind)
        shown += mean[0].numel()
        if differs is not None:
            distance = (each - mean).abs().mean((0, 1))
            apart += float(distance.double().sum())
            differs[place] = (distance * 255).round().to(torch.uint8).numpy()
    found.image, found.disagreement_map = image, differs
    found.disagreement = apart / max(1, shown) if differs is not None else None


class _Soft:
    """What one method says of every pixel of a file, in strips: classes' shares and the decision."""

    def __init__(self, one: Said, domain: Domain, classes: int, mapping: _Back) -> None:
        self.mapping, self.classes, self.domain = mapping, classes, domain
        self.soft: Tensor
        self.decide: Callable[[Tensor], tuple[Tensor, Tensor]]
        if one.logits is not None:
            self.soft, self.decide = one.logits.float().cpu(), self._by_logits
        elif isinstance(domain, LabelColours):
            self.soft, self.decide = one.view.float().cpu(), self._by_colours
        else:
            labels = domain.to_labels(one.view[None].cpu())[0]
            self.soft, self.decide = self._one_hot(labels), self._by_shares

    def at(self, rows: slice) -> tuple[Tensor, Tensor]:
        """The shares (K, h, w) and the classes (h, w) of some rows."""
        return self.decide(self.mapping.resized(self.soft, rows))

    def _by_logits(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return torch.softmax(logits, 0), logits.argmax(0)

    def _by_colours(self, colours: Tensor) -> tuple[Tensor, Tensor]:
        labels = cast(LabelColours, self.domain).palette.decode(colours[None])[0].long()
        return self._one_hot(labels), labels

    def _by_shares(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        return shares, shares.argmax(0)

    def _one_hot(self, labels: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(labels.clamp(max=self.classes - 1), self.classes).movedim(-1, 0).float()


class _Back:
    """From a square view to the pixels of a picture that the view shows."""

    def __init__(self, given: Given, side: int) -> None:
        left, top, width, height = given.shown
        self.size, self.side = given.size, side
        self.rows, self.columns = _inside(top, height, given.size[1]), _inside(left, width, given.size[0])
        self.same = given.size == (side, side) and given.shown == (0, 0, side, side)
        self._across = torch.from_numpy(_weights(self.columns, left, width, side))
        self._down = torch.from_numpy(_weights(self.rows, top, height, side))

    def strips(self, channels: int) -> list[slice]:
        """The shown rows, in parts that take little memory."""
        wide = max(1, self.columns.stop - self.columns.start)
        step = max(1, _NUMBERS // (channels * wide))
        return [slice(i, min(i + step, self.rows.stop)) for i in range(self.rows.start, self.rows.stop, step)]

    def resized(self, values: Tensor, rows: slice) -> Tensor:
        """Values (C, side, side) at the shown pixels of some rows, (C, h, w)."""
        if self.same:
            return values[:, rows]
        down = self._down[rows.start - self.rows.start : rows.stop - self.rows.start]
        return torch.stack([down @ channel @ self._across.T for channel in values])


def _inside(start: float, extent: float, length: int) -> slice:
    """The pixels whose centre lies in a part of a side."""
    low, high = np.ceil(start - 0.5), np.ceil(start + extent - 0.5)
    first = int(np.clip(low, 0, length))
    return slice(first, int(np.clip(high, first, length)))


def _weights(pixels: slice, start: float, extent: float, side: int) -> NDArray[np.float32]:
    """How much each of `side` numbers, which fill `extent` pixels from `start`, counts for each pixel, (n, side)."""
    centres = (np.arange(pixels.start, pixels.stop) + 0.5 - start) / extent * side - 0.5
    reach = max(1.0, side / extent)
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(side) - centres[:, None]) / reach)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _side(one: Said) -> int:
    return int((one.view if one.logits is None else one.logits).shape[-1])


def _beyond(domain: Domain) -> int:
    """The class of pixels that the method is not shown."""
    has_void = bool(domain.palette.void) if isinstance(domain, LabelColours) else bool(getattr(domain, "void", False))
    return IGNORED if has_void else 0


def class_names(domain: Domain) -> tuple[str, ...]:
    """What the classes of a domain are called."""
    return domain.palette.names if isinstance(domain, LabelColours) else domain.class_names


def _table(domain: Domain) -> NDArray[np.uint8]:
    """The colour of each label, (256, 3)."""
    table = np.zeros((256, 3), np.uint8)
    if isinstance(domain, LabelColours):
        return np.moveaxis(domain.palette.encode(np.arange(256).reshape(1, 256))[:, 0], 0, -1).copy()
    for label, (_, colour) in enumerate(domain.legend()):
        table[label if label < (domain.label_count or 0) else IGNORED] = colour
    return table


def _png(picture: Picture.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
