"""Segmentation masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.base import Domain
from lsmbench.errors import UserError
from lsmbench.metrics import Dice, ForegroundIoU, MeanIoU, PixelAccuracy, PooledIoU, SampleMetric
from lsmbench.palettes import IGNORED, VOID_COLOUR, class_colours


@dataclass(frozen=True, repr=False)
class Mask(Domain):
    """Segmentation masks: views are class indices, int64 (B, H, W), 255 where a pixel is void; stored as uint8.

    Two classes share one logit, with binary cross-entropy (equal to a softmax up to the parametrisation); of more
    classes each has its logit, with cross-entropy. Losses are never weighted by class frequencies. Void pixels are
    neither trained nor scored: no loss counts them, and networks that read masks get all classes alike there.

    Attributes:
        classes: Number of classes.
        size: Height and width in pixels.
        void: Whether pixels may be void.
        background: The class that the foreground IoU leaves out; `None`: every class counts.
        names: What each class is called; empty: by its number.
        detailed: Whether mean IoU and pixel accuracy over all classes are measured besides the foreground IoU.
        dice: Whether Dice is the first metric, before the foreground IoU.
        pooled: Whether the foreground classes' IoU over all pixels of a test set is the first metric, before those of
            single samples.
        per_unit: Whether Dice and foreground IoU are those of units, e.g. of all slices of a patient together.
    """

    classes: int
    size: int
    void: bool = False
    background: int | None = 0
    names: tuple[str, ...] = ()
    detailed: bool = field(default=False, compare=False)
    dice: bool = field(default=False, compare=False)
    pooled: bool = field(default=False, compare=False)
    per_unit: bool = field(default=False, compare=False)
    kind: ClassVar[str] = "mask"
    nearest: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.void and self.classes > IGNORED:
            raise ValueError(f"{self.classes} classes leave no number for void pixels")
        if self.names and len(self.names) != self.classes:
            raise ValueError(f"expected {self.classes} names of classes, found {len(self.names)}")

    def __repr__(self) -> str:
        """Fields at their defaults are left out: fingerprints of data that do without them stay as they are."""
        more = [
            f", {name}={value!r}"
            for name, value, default in (
                ("void", self.void, False),
                ("background", self.background, 0),
                ("names", self.names, ()),
            )
            if value != default
        ]
        return f"Mask(classes={self.classes}, size={self.size}{''.join(more)})"

    @property
    def label_count(self) -> int:
        """The number of classes."""
        return self.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each class is called."""
        return self.names or tuple(f"class {number}" for number in range(self.classes))

    @property
    def foreground(self) -> tuple[int, ...]:
        """The classes that the foreground IoU scores."""
        return tuple(number for number in range(self.classes) if number != self.background)

    def to_labels(self, view: Tensor) -> Tensor:
        """A mask is a map of labels."""
        return view

    def from_labels(self, labels: Tensor) -> Tensor:
        """A mask is a map of labels."""
        return labels

    @property
    def binary(self) -> bool:
        """Whether one logit decides the class."""
        return self.classes == 2

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, size, size) for two classes, else one channel for each class."""
        return (1 if self.binary else self.classes, self.size, self.size)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for uint8 (N, H, W) with values below the number of classes, or 255 where a pixel is void."""
        if stored.shape[1:] != (self.size, self.size):
            raise UserError(f"{origin}: expected masks of {self.size}×{self.size} px, found {stored.shape[1:]}.")
        if stored.dtype != np.uint8:
            raise UserError(f"{origin}: expected masks as uint8 class indices, found {stored.dtype}.")
        if stored.size and int(np.max(stored)) >= self.classes:
            outside = np.asarray(stored, dtype=np.uint8) >= self.classes
            if self.void:
                outside &= np.asarray(stored) != IGNORED
                if not outside.any():
                    return
            bad = np.flatnonzero(outside.any(axis=(1, 2)))
            values = sorted({int(v) for v in np.asarray(stored)[outside].tolist()})
            raise UserError(
                f"{origin}: masks must hold the class indices 0 to {self.classes - 1}, but {len(bad)} of {len(stored)} "
                f"hold other values ({_few(values)}), first sample {bad[0]}. Masks saved as 0/255 need "
                "dividing by 255."
            )

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Keeps uint8."""
        return torch.from_numpy(np.ascontiguousarray(stored))

    def unpack(self, compact: Tensor) -> Tensor:
        """To int64."""
        return compact.long()

    def to_input(self, view: Tensor) -> Tensor:
        """One-hot, float (B, K, H, W); for two classes class 1's channel alone. In void pixels 1 / K everywhere."""
        counted = self._counted(view)
        known = view if counted is None else view.where(counted, 0)
        if self.binary:
            fed = known.unsqueeze(1).to(torch.get_default_dtype())
        else:
            fed = F.one_hot(known, self.classes).movedim(-1, 1).to(torch.get_default_dtype())
        return fed if counted is None else fed.where(counted.unsqueeze(1), 1 / self.classes)

    def l1(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean absolute difference, without void pixels."""
        if not self.void:
            return super().l1(made, real)
        counted = (~self._unknown(real)).expand_as(real)
        return _mean((made - real).abs(), counted)

    def veil(self, made: Tensor, real: Tensor) -> Tensor:
        """Generated inputs with the void of real ones, row by row, so that void does not tell them apart."""
        if not self.void:
            return made
        beside = real[torch.arange(len(made), device=real.device) % len(real)]
        return beside.where(self._unknown(beside), made)

    def _unknown(self, fed: Tensor) -> Tensor:
        """Where network inputs are void, (B, 1, H, W)."""
        return (fed == 1 / self.classes).all(1, keepdim=True)

    def _counted(self, view: Tensor) -> Tensor | None:
        """Which pixels are not void; `None` if no mask has void."""
        return view != IGNORED if self.void else None

    def activate(self, output: Tensor) -> Tensor:
        """Probabilities: a soft one-hot map."""
        return torch.sigmoid(output) if self.binary else torch.softmax(output, 1)

    def decide(self, output: Tensor) -> Tensor:
        """The most probable class; for two classes, probability above one half."""
        return (output[:, 0] > 0).long() if self.binary else output.argmax(1)

    def logits(self, output: Tensor) -> Tensor:
        """Of two classes the first has the logit 0: its share is then one minus the other's sigmoid."""
        return torch.cat([torch.zeros_like(output), output], 1) if self.binary else output

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """Binary cross-entropy (SIT) or cross-entropy (more than two classes) on logits (LSM, Table 4).

        With void: the mean over samples of the mean over a sample's pixels that are not void.
        """
        counted = self._counted(view)
        if counted is not None:
            known = view.where(counted, 0)
            if self.binary:
                loss = F.binary_cross_entropy_with_logits(output[:, 0], known.to(output.dtype), reduction="none")
            else:
                loss = F.cross_entropy(output, known, reduction="none")
            return _mean(loss, counted)
        if self.binary:
            return F.binary_cross_entropy_with_logits(output, self.to_input(view))
        return F.cross_entropy(output, view)

    def metrics(self) -> list[SampleMetric]:
        """Foreground IoU, after Dice with `dice`; of units with `per_unit`; `pooled` puts the IoU of all pixels first.

        If `detailed`, also mean IoU and pixel accuracy, of one confusion matrix over all pixels.
        """
        kinds = [Dice, ForegroundIoU] if self.dice else [ForegroundIoU]
        first: list[SampleMetric] = [kind(self.classes, self.background, self.void, self.per_unit) for kind in kinds]
        if self.pooled:
            first.insert(0, PooledIoU(self.classes, "ignore", self.background))
        if not self.detailed:
            return first
        return [*first, MeanIoU(self.classes, "ignore"), PixelAccuracy(self.classes)]

    def constant(self, views: Tensor) -> Tensor:
        """The best map among thresholded class frequencies.

        Each foreground class gets the threshold on its per-pixel frequency that gives the best mean IoU, or Dice where
        that is the first metric; with `per_unit` or `pooled` that of all views together. Each pixel gets the class
        whose frequency exceeds its threshold by the greatest factor, else the background. Without a background, a pixel
        that exceeds none gets the class that comes closest.
        """
        counted = self._counted(views)
        dice, together = self.dice and not self.pooled, self.per_unit or self.pooled
        exceeds = torch.stack([_frequency_over_threshold(views == c, counted, dice, together) for c in self.foreground])
        factor, place = exceeds.max(0)
        label = torch.tensor(self.foreground)[place]
        if self.background is not None:
            label = torch.where(factor >= 1, label, self.background)
        return label.unsqueeze(0)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """The classes' names and colours, and void's."""
        colours = [tuple(colour) for colour in self._colours().tolist()]
        classes = list(zip(self.class_names, colours, strict=True))
        return [*classes, ("not scored", VOID_COLOUR)] if self.void else classes

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Draws two classes in black and white, more classes in colours, void in grey."""
        table = np.full((256, 3), VOID_COLOUR, np.uint8)
        table[: self.classes] = self._colours()
        return table[views.detach().cpu().numpy().astype(np.uint8)]

    def _colours(self) -> NDArray[np.uint8]:
        """(K, 3)."""
        if self.binary:
            return np.array([[0] * 3, [255] * 3], np.uint8)
        return class_colours(self.classes)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over samples of the mean over the elements that count; a sample without any counts as 0."""
    parts = counted.flatten(1)
    sums = (values * counted).flatten(1).sum(1)
    return (sums / parts.sum(1).clamp_min(1)).mean()


def _frequency_over_threshold(present: Tensor, counted: Tensor | None, dice: bool, together: bool) -> Tensor:
    """A class's frequency per pixel, divided by the threshold of best IoU, or Dice.

    The best mean over the samples with the class, or that of all samples `together`.
    """
    holds = present.flatten(1).any(1)
    if not holds.any():
        return torch.zeros(present.shape[1:])
    if not together:
        present = present[holds]
    if counted is None:
        frequency = present.float().mean(0)
    else:
        counted = (counted if together else counted[holds]).float()
        frequency = present.float().sum(0) / counted.sum(0).clamp_min(1)
    thresholds = torch.unique(torch.quantile(frequency[frequency > 0], torch.linspace(0, 1, 101)))
    constants = (frequency[None] >= thresholds[:, None, None]).flatten(1).float()
    pixels = present.flatten(1)
    if together:
        pixels = pixels.sum(0, keepdim=True)
        counted = torch.full(present.shape[1:], len(present))[None] if counted is None else counted.sum(0, keepdim=True)
    pixels = pixels.float()
    intersection = pixels @ constants.T
    predicted = constants.sum(1)[None] if counted is None else counted.float().flatten(1) @ constants.T
    union = pixels.sum(1, keepdim=True) + predicted - intersection
    overlap = 2 * intersection / (intersection + union) if dice else intersection / union
    best: Tensor = thresholds[overlap.mean(0).argmax()]
    return frequency / best


def _few(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")
