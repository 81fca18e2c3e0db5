"""Segmentation masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.base import Domain
from lsmbench.errors import UserError
from lsmbench.metrics import ForegroundIoU, SampleMetric

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


@dataclass(frozen=True)
class Mask(Domain):
    """Segmentation masks: views are class indices, int64 (B, H, W); stored as uint8.

    Two classes share one logit, with binary cross-entropy (equal to a softmax up to the parametrisation); of more
    classes each has its logit, with cross-entropy. Losses are never weighted by class frequencies.

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
        """Whether one logit decides the class."""
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

        Each foreground class gets the threshold on its per-pixel frequency that gives the best mean IoU; each pixel
        gets the class whose frequency exceeds its threshold by the greatest factor.
        """
        exceeds = torch.stack([_frequency_over_threshold(views == c) for c in range(1, self.classes)])
        factor, label = exceeds.max(0)
        return torch.where(factor >= 1, label + 1, 0).unsqueeze(0)

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Draws two classes in black and white, more classes in colours."""
        labels = views.detach().cpu().numpy()
        if self.binary:
            return np.repeat((labels != 0).astype(np.uint8)[..., None] * 255, 3, axis=-1)
        return CLASS_COLOURS[np.where(labels == 0, 0, (labels - 1) % (len(CLASS_COLOURS) - 1) + 1)]


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
