"""Domains: what a kind of view is, what networks eat and give for it, how it is scored and drawn.

Every domain knows three forms of its data, and nothing else in the package needs to know them:

* a *view* is what a sample holds: an image in [0, 1], a map of class indices, points in [0, 1];
* a network *input* is what an encoder or a discriminator eats: an image in the network's range, one-hot classes;
* a network *output* is what a decoder ends in before any activation: `activate` brings it to the form of an input,
  differentiably; `decide` brings it to a view. Losses take outputs, so no activation is ever applied twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.metrics import (
    NRMSE,
    ClassAccuracy,
    ColourAccuracy,
    ForegroundIoU,
    MeanAbsoluteError,
    MeanIoU,
    MeanSquaredError,
    PixelAccuracy,
    SampleMetric,
)
from lsmbench.palettes import Palette
from lsmbench.segmenters import Segmenter

# Colours of classes 1, 2, 3 … in pictures (class 0 is black): distinct also to colour-blind eyes (Okabe and Ito).
CLASS_COLOURS = np.array(
    [
        [0, 0, 0],
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    dtype=np.uint8,
)


class Domain(ABC):
    """A kind of view. Subclasses are frozen dataclasses, so that a domain can be compared and printed."""

    kind: ClassVar[str]
    nearest: ClassVar[bool] = False
    """Whether a resized view takes its pixels as they are, since what lies between two of them means nothing."""

    @property
    def label_count(self) -> int | None:
        """Number of classes, if each pixel of a view belongs to one; else `None`."""
        return None

    def to_labels(self, view: Tensor) -> Tensor:
        """Views as class labels, int64 (B, H, W), 255 where a pixel has none.

        Raises:
            TypeError: If pixels have no classes.
        """
        raise TypeError(f"{self.kind} views have no classes")

    def from_labels(self, labels: Tensor) -> Tensor:
        """Class labels, int64 (B, H, W), as views.

        Raises:
            TypeError: If pixels have no classes.
        """
        raise TypeError(f"{self.kind} views have no classes")

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """A decided view and the truth in the form in which the metrics compare them.

        Args:
            prediction: Decided views.
            truth: True views; or what the dataset gives in place of them (`Dataset.truth`).
        """
        return prediction, truth

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one network input and of one network output: (C, H, W), or (F,) for a vector."""

    @property
    def is_vector(self) -> bool:
        """Whether a view is a vector rather than a map."""
        return len(self.shape) == 1

    @abstractmethod
    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks stored samples once, when they are decoded.

        Args:
            stored: Samples as the dataset stores them, first axis over samples.
            origin: Where they come from, for the message.

        Raises:
            UserError: If shape or values are not what the domain holds.
        """

    @abstractmethod
    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Stored samples as a batch of views in their compact form (uint8 where possible), for keeping in memory."""

    @abstractmethod
    def unpack(self, compact: Tensor) -> Tensor:
        """Compact views as the views that a batch holds."""

    @abstractmethod
    def to_input(self, view: Tensor) -> Tensor:
        """Views as a network eats them."""

    @abstractmethod
    def activate(self, output: Tensor) -> Tensor:
        """A network's output in the form and range of a network input, differentiable."""

    @abstractmethod
    def decide(self, output: Tensor) -> Tensor:
        """A network's output as views."""

    @abstractmethod
    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """The domain's task and reconstruction loss, a scalar: mean over samples and elements."""

    @abstractmethod
    def metrics(self) -> list[SampleMetric]:
        """New metrics of decided views; the first is the one that methods are selected and compared by."""

    @abstractmethod
    def constant(self, views: Tensor) -> Tensor:
        """The single view, shape (1, ...), that scores best on `views` when predicted for every sample (a floor)."""

    @abstractmethod
    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Pictures of the views, shape (B, H, W, 3)."""

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """Pictures of the views for people who compare: over the source's pictures where that shows more.

        Args:
            views: Decided views.
            pictures: The same samples' source views, drawn, shape (B, h, w, 3).
            truth: The true views, where `views` are predictions.

        Returns:
            Shape (B, H, W, 3).
        """
        return self.draw(views)


@dataclass(frozen=True)
class Image(Domain):
    """Images: views are float (B, C, H, W) in [0, 1]; stored as uint8, or as float32 in [0, 1].

    Attributes:
        channels: Number of channels.
        size: Height and width in pixels.
        signed: Whether networks work in [-1, 1] with tanh (GANs) rather than in [0, 1] with a sigmoid (LSM).
        reconstruction: The loss: `mse` (LSM, Table 4) or `l1` (default of the released code for SIT and SSS).
    """

    channels: int
    size: int
    signed: bool = False
    reconstruction: Literal["mse", "l1"] = "mse"
    kind: ClassVar[str] = "image"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, size, size)."""
        return (self.channels, self.size, self.size)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for (N, C, H, W), uint8 or float32 in [0, 1]."""
        expected = (self.channels, self.size, self.size)
        if stored.shape[1:] != expected:
            raise UserError(f"{origin}: expected images of shape {expected}, found {stored.shape[1:]}.")
        if stored.dtype == np.uint8:
            return
        if not np.issubdtype(stored.dtype, np.floating):
            raise UserError(f"{origin}: expected images as uint8, or float in [0, 1]; found {stored.dtype}.")
        low, high = float(np.min(stored)), float(np.max(stored))
        if not (low >= 0.0 and high <= 1.0):
            raise UserError(f"{origin}: expected float images in [0, 1], found values from {low:g} to {high:g}.")

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Keeps uint8 as it is, and anything else as float32."""
        return torch.from_numpy(np.ascontiguousarray(stored if stored.dtype == np.uint8 else stored.astype(np.float32)))

    def unpack(self, compact: Tensor) -> Tensor:
        """To float in [0, 1]."""
        return compact.float() / 255.0 if compact.dtype == torch.uint8 else compact

    def to_input(self, view: Tensor) -> Tensor:
        """From [0, 1] to the networks' range."""
        return view * 2.0 - 1.0 if self.signed else view

    def activate(self, output: Tensor) -> Tensor:
        """Tanh or sigmoid, as the range asks."""
        return torch.tanh(output) if self.signed else torch.sigmoid(output)

    def decide(self, output: Tensor) -> Tensor:
        """Back to [0, 1]."""
        return (self.activate(output) + 1.0) / 2.0 if self.signed else self.activate(output)

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """MSE or L1 in the networks' range."""
        error = F.mse_loss if self.reconstruction == "mse" else F.l1_loss
        return error(self.activate(output), self.to_input(view))

    def metrics(self) -> list[SampleMetric]:
        """MSE and L1 in [0, 1]."""
        return [MeanSquaredError(), MeanAbsoluteError()]

    def constant(self, views: Tensor) -> Tensor:
        """The mean image, which minimises the mean MSE."""
        return self.unpack(views).double().mean(0, keepdim=True).float()

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Grey or RGB; further channels are left out."""
        pixels = (views.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
        rgb = pixels[:, :3] if self.channels >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
        return np.ascontiguousarray(rgb.permute(0, 2, 3, 1).numpy())


Absent = Literal["zero", "ignore"]


@dataclass(frozen=True)
class LabelColours(Image):
    """Label maps as colour images, the way image-to-image GANs make them (Shukla et al., §4.1).

    Networks see and give colours. A prediction becomes labels by the nearest colour of a class; pixels without a class
    (void) are shown to networks in their colour, but no prediction is void, and none is scored there.

    Attributes:
        palette: The classes' colours.
        absent: What classes count in means over classes that do not occur at all.
    """

    palette: Palette = field(kw_only=True)
    absent: Absent = field(default="zero", kw_only=True)
    kind: ClassVar[str] = "label colours"
    nearest: ClassVar[bool] = True

    @property
    def label_count(self) -> int:
        """The number of classes, without void."""
        return len(self.palette)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for uint8 (N, 3, H, W) that holds colours of the palette only."""
        super().check(stored, origin)
        if stored.dtype != np.uint8:
            raise UserError(f"{origin}: expected label colours as uint8, found {stored.dtype}.")
        for number, picture in enumerate(np.moveaxis(np.asarray(stored, np.uint8), 1, -1)):
            if strange := self.palette.unknown(picture):
                (colour, near), more = strange[0], len(strange) - 1
                raise UserError(
                    f"{origin}: sample {number} holds the colour {colour}"
                    + (f" and {more} more that are" if more else ", which is")
                    + f" not in the palette {self.palette.name} (nearest: {near}). Correct the map or the palette."
                )

    def to_labels(self, view: Tensor) -> Tensor:
        """By the nearest colour, void included."""
        return self.palette.decode(view, void=True).long()

    def from_labels(self, labels: Tensor) -> Tensor:
        """The classes' colours in [0, 1]."""
        table = torch.from_numpy(self.palette.encode(np.arange(256).reshape(1, 256))).to(labels.device)[:, 0]
        return table.T[labels].movedim(-1, 1).float() / 255.0

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Labels, uint8 (B, H, W), at the truth's resolution.

        Where the truth is a map of labels of another size, as in Cityscapes' full resolution, the predicted colours are
        resized to it bilinearly before they are decoded (§4.1.2, which names no filter).
        """
        if truth.ndim == 4:
            return self.palette.decode(prediction), self.palette.decode(truth, void=True)
        decoded = []
        for one in prediction:  # full resolution is large: one sample at a time
            decoded.append(self.palette.decode(_resized(one[None], truth.shape[1:]))[0])
        return torch.stack(decoded), truth

    def metrics(self) -> list[SampleMetric]:
        """Pixel accuracy, mean class accuracy and mean IoU, of one confusion matrix over all test pixels."""
        return _label_metrics(self.label_count, self.absent)

    def constant(self, views: Tensor) -> Tensor:
        """Each pixel's most frequent class, which has the best pixel accuracy."""
        labels = self.palette.decode(views, void=True)
        counts = torch.stack([(labels == c).sum(0) for c in range(len(self.palette))])
        return self.from_labels(counts.argmax(0)[None])


@dataclass(frozen=True)
class MapImage(Image):
    """Drawn maps, which have few colours but no list of them: scored by the share of pixels of nearly the true colour.

    Shukla et al., §4.2.2, after UNIT.
    """

    kind: ClassVar[str] = "map"

    def metrics(self) -> list[SampleMetric]:
        """Colour accuracy; MSE and L1 in [0, 1]."""
        return [ColourAccuracy(), *super().metrics()]

    def constant(self, views: Tensor) -> Tensor:
        """At each pixel that of the set's most frequent colours which is nearly right most often."""
        coarse = torch.cat([self._steps(part)[:, :, ::4, ::4] for part in torch.split(views, 64)]).movedim(1, -1)
        kinds, counts = torch.unique(coarse.reshape(-1, self.channels) // 8, dim=0, return_counts=True)
        frequent = kinds[counts.argsort(descending=True, stable=True)[:16]] * 8 + 4
        right = torch.zeros(len(frequent), self.size, self.size, dtype=torch.long)
        for part in torch.split(views, 64):  # as floats, all samples at once would take much memory
            for number, colour in enumerate(frequent):
                right[number] += (self._steps(part) - colour[:, None, None]).abs().amax(1).lt(20).sum(0)
        best: Tensor = frequent[right.argmax(0)].movedim(-1, 0)[None] / 255.0
        return best.clamp(0, 1)

    def _steps(self, views: Tensor) -> Tensor:
        return (self.unpack(views) * 255).round()


@dataclass(frozen=True)
class SegmentedPhoto(Image):
    """Photos that are judged by what a segmenter sees in them: labels → photo (Shukla et al., §6.4).

    Attributes:
        segmenter: The network that tells the classes of pixels.
        absent: What classes count in means over classes that do not occur at all.
    """

    segmenter: Segmenter = field(kw_only=True)
    absent: Absent = field(default="zero", kw_only=True)

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """What the segmenter sees in the prediction, resized to the true labels' size; and these, uint8 (B, H, W)."""
        if truth.ndim != 3:
            raise TypeError("a segmented photo is compared with labels: the dataset has to give them as its truth")
        seen = [self.segmenter.labels(_resized(one[None], truth.shape[1:]))[0] for one in prediction]
        return torch.stack(seen), truth

    def metrics(self) -> list[SampleMetric]:
        """As for label colours."""
        return _label_metrics(self.segmenter.classes, self.absent)


def _label_metrics(classes: int, absent: Absent) -> list[SampleMetric]:
    return [PixelAccuracy(classes), ClassAccuracy(classes, absent), MeanIoU(classes, absent)]


def _resized(pictures: Tensor, size: Sequence[int]) -> Tensor:
    if list(pictures.shape[2:]) == list(size):
        return pictures
    return F.interpolate(pictures, tuple(size), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Mask(Domain):
    """Segmentation masks: views are class indices, int64 (B, H, W); stored as uint8.

    Two classes are one logit with binary cross-entropy (for two classes, equal to a softmax up to the parametrisation);
    more are one logit each with cross-entropy. Nothing is ever weighted by class frequencies.

    Attributes:
        classes: Number of classes; class 0 is the background.
        size: Height and width in pixels.
    """

    classes: int
    size: int
    kind: ClassVar[str] = "mask"
    nearest: ClassVar[bool] = True

    @property
    def label_count(self) -> int:
        """The number of classes."""
        return self.classes

    def to_labels(self, view: Tensor) -> Tensor:
        """A mask is a map of labels."""
        return view

    def from_labels(self, labels: Tensor) -> Tensor:
        """A mask is a map of labels."""
        return labels

    @property
    def binary(self) -> bool:
        """Whether one logit says it all."""
        return self.classes == 2

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, size, size) for two classes, else one channel for each class."""
        return (1 if self.binary else self.classes, self.size, self.size)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for uint8 (N, H, W) with values below the number of classes."""
        if stored.shape[1:] != (self.size, self.size):
            raise UserError(f"{origin}: expected masks of {self.size}×{self.size} px, found {stored.shape[1:]}.")
        if stored.dtype != np.uint8:
            raise UserError(f"{origin}: expected masks as uint8 class indices, found {stored.dtype}.")
        if stored.size and int(np.max(stored)) >= self.classes:
            outside = np.asarray(stored, dtype=np.uint8) >= self.classes
            bad = np.flatnonzero(outside.any(axis=(1, 2)))
            values = sorted({int(v) for v in np.asarray(stored)[outside].tolist()})
            raise UserError(
                f"{origin}: masks must hold the class indices 0 to {self.classes - 1}, but {len(bad)} of {len(stored)} "
                f"hold other values ({_few(values)}), the first being sample {bad[0]}. Masks saved as 0/255 need "
                "dividing by 255."
            )

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Keeps uint8."""
        return torch.from_numpy(np.ascontiguousarray(stored))

    def unpack(self, compact: Tensor) -> Tensor:
        """To int64."""
        return compact.long()

    def to_input(self, view: Tensor) -> Tensor:
        """One-hot, float (B, K, H, W); for two classes the foreground's channel alone."""
        if self.binary:
            return view.unsqueeze(1).to(torch.get_default_dtype())
        return F.one_hot(view, self.classes).movedim(-1, 1).to(torch.get_default_dtype())

    def activate(self, output: Tensor) -> Tensor:
        """Probabilities: a soft one-hot map."""
        return torch.sigmoid(output) if self.binary else torch.softmax(output, 1)

    def decide(self, output: Tensor) -> Tensor:
        """The most probable class; for two classes, probability above one half."""
        return (output[:, 0] > 0).long() if self.binary else output.argmax(1)

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """Binary cross-entropy (SIT) or cross-entropy (more than two classes) on logits (LSM, Table 4)."""
        if self.binary:
            return F.binary_cross_entropy_with_logits(output, self.to_input(view))
        return F.cross_entropy(output, view)

    def metrics(self) -> list[SampleMetric]:
        """Foreground IoU."""
        return [ForegroundIoU(self.classes)]

    def constant(self, views: Tensor) -> Tensor:
        """The best map among thresholded class frequencies.

        For each foreground class the threshold on its per-pixel frequency with the best mean IoU is found; a pixel
        gets the class that exceeds its threshold by the greatest factor.
        """
        exceeds = torch.stack([_frequency_over_threshold(views == c) for c in range(1, self.classes)])
        factor, label = exceeds.max(0)
        return torch.where(factor >= 1, label + 1, 0).unsqueeze(0)

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Two classes as black and white, more in colours."""
        labels = views.detach().cpu().numpy()
        if self.binary:
            return np.repeat((labels != 0).astype(np.uint8)[..., None] * 255, 3, axis=-1)
        return CLASS_COLOURS[np.where(labels == 0, 0, (labels - 1) % (len(CLASS_COLOURS) - 1) + 1)]


EYES = {"outer": (36, 45), "released_code": (37, 46)}
"""Points, counted from 0, whose distance is the unit of errors on faces with 68 points: the outer corners of the eyes,
or what the LSM authors' code takes by reading the 1-based numbers 37 and 46 as 0-based. The latter is about 0.84 times
as long, so that errors look 1.19 times as large."""

_TRUTH, _PREDICTION = (64, 190, 255), (255, 96, 32)


@dataclass(frozen=True)
class Landmarks(Domain):
    """Points: views are float (B, P, 2), x then y, in [0, 1] with the origin at the top left; stored as float32.

    A network eats and gives them as one vector of 2·P numbers, x and y in turn, and ends in a sigmoid.

    Attributes:
        points: Number of points.
        eyes: What the errors' unit is: the distance of the `outer` corners of the eyes or that of the `released_code`
            (both for 68 points; the other one is reported as well), the distance of any two points, or, with `None`,
            the diagonal of the true points' bounding box.
    """

    points: int
    eyes: Literal["outer", "released_code"] | tuple[int, int] | None = "outer"
    kind: ClassVar[str] = "landmarks"

    @property
    def shape(self) -> tuple[int, ...]:
        """(2·P,)."""
        return (2 * self.points,)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for float (N, P, 2) in [0, 1], and that no sample's unit of length is zero."""
        if stored.shape[1:] != (self.points, 2):
            raise UserError(f"{origin}: expected {self.points} points of 2 numbers, found shape {stored.shape[1:]}.")
        if not np.issubdtype(stored.dtype, np.floating):
            raise UserError(f"{origin}: expected points as floats in [0, 1], found {stored.dtype}.")
        points = np.asarray(stored, np.float64)
        inside = ((points >= 0.0) & (points <= 1.0)).all((1, 2))  # False for NaN
        if not inside.all():
            bad = np.flatnonzero(~inside)
            raise UserError(
                f"{origin}: points must lie in [0, 1], but those of {len(bad)} of {len(stored)} samples do not, the "
                f"first being sample {bad[0]}."
            )
        for metric in self.metrics():
            units = cast(NRMSE, metric).unit_length(torch.from_numpy(points)).numpy()
            if (units <= 0).any():
                bad = np.flatnonzero(units <= 0)
                raise UserError(
                    f"{origin}: sample {bad[0]} has no size to measure errors by ({metric.unit}; it is zero). Mend or "
                    "remove it."
                )

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """As float32."""
        return torch.from_numpy(np.ascontiguousarray(stored.astype(np.float32)))

    def unpack(self, compact: Tensor) -> Tensor:
        """Nothing to do."""
        return compact

    def to_input(self, view: Tensor) -> Tensor:
        """One vector a sample."""
        return view.flatten(1)

    def activate(self, output: Tensor) -> Tensor:
        """One sigmoid (the released landmark decoder has two, which confines points to (.5, .73))."""
        return torch.sigmoid(output)

    def decide(self, output: Tensor) -> Tensor:
        """Back to points."""
        return self.activate(output).reshape(-1, self.points, 2)

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """MSE (LSM, Table 4)."""
        return F.mse_loss(self.activate(output), self.to_input(view))

    def metrics(self) -> list[SampleMetric]:
        """NRMSE by the chosen unit; on faces with 68 points also by the other one."""
        if self.eyes in ("outer", "released_code"):
            named: dict[str, SampleMetric] = {
                "outer": NRMSE(EYES["outer"]),
                "released_code": NRMSE(EYES["released_code"], "nrmse_released"),
            }
            first = named.pop(str(self.eyes))
            return [first, *named.values()]
        return [NRMSE(cast(tuple[int, int] | None, self.eyes))]

    def constant(self, views: Tensor) -> Tensor:
        """The mean shape, which minimises the MSE."""
        return views.double().mean(0, keepdim=True).float()

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Points on a dark ground."""
        return self.overlay(views, np.full((len(views), 1, 1, 3), 24, np.uint8))

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """Points over the source: the truth in blue, predictions in orange with a line to where they belong."""
        side, fine = 256, 2  # drawn twice as large and reduced, for smooth edges
        predicted = views.detach().cpu().numpy()
        true = None if truth is None else truth.detach().cpu().numpy()
        drawn = np.empty((len(predicted), side, side, 3), np.uint8)
        for i, points in enumerate(predicted):
            picture = Picture.fromarray(pictures[i]).resize((side * fine, side * fine), Picture.Resampling.BICUBIC)
            pen = ImageDraw.Draw(picture)
            scale, radius = side * fine, 2.0 * fine
            if true is not None:
                for a, b in zip(points * scale, true[i] * scale, strict=True):
                    pen.line([*a.tolist(), *b.tolist()], fill=(255, 230, 90), width=fine)
            shown = [(points, _TRUTH)] if true is None else [(true[i], _TRUTH), (points, _PREDICTION)]
            for shape, colour in shown:
                for x, y in (shape * scale).tolist():
                    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
            drawn[i] = np.asarray(picture.resize((side, side), Picture.Resampling.BOX))
        return drawn


def _frequency_over_threshold(present: Tensor) -> Tensor:
    """A class's frequency per pixel, divided by the threshold of best mean IoU over the samples that hold it."""
    present = present[present.flatten(1).any(1)]
    if len(present) == 0:
        return torch.zeros(present.shape[1:])
    frequency = present.float().mean(0)
    thresholds = torch.unique(torch.quantile(frequency[frequency > 0], torch.linspace(0, 1, 101)))
    constants = (frequency[None] >= thresholds[:, None, None]).flatten(1).float()
    pixels = present.flatten(1).float()
    intersection = pixels @ constants.T
    union = pixels.sum(1, keepdim=True) + constants.sum(1)[None] - intersection
    best: Tensor = thresholds[(intersection / union).mean(0).argmax()]
    return frequency / best


def _few(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")
