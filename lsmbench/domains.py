"""Domains: what a kind of view is, what networks eat and give for it, how it is scored and drawn.

Every domain knows three forms of its data, and nothing else in the package needs to know them:

* a *view* is what a sample holds: an image in [0, 1], a map of class indices;
* a network *input* is what an encoder or a discriminator eats: an image in the network's range, one-hot classes;
* a network *output* is what a decoder ends in before any activation: `activate` brings it to the form of an input,
  differentiably; `decide` brings it to a view. Losses take outputs, so no activation is ever applied twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.errors import UserError
from lsmbench.metrics import ForegroundIoU, MeanAbsoluteError, MeanSquaredError, SampleMetric

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

    @property
    @abstractmethod
    def in_channels(self) -> int:
        """Channels (or features) of a network input."""

    @property
    @abstractmethod
    def out_channels(self) -> int:
        """Channels (or features) of a network output."""

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
    def in_channels(self) -> int:
        """Channels of a network input."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """Channels of a network output."""
        return self.channels

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

    @property
    def binary(self) -> bool:
        """Whether one logit says it all."""
        return self.classes == 2

    @property
    def in_channels(self) -> int:
        """Channels of a network input: one for two classes, else one each."""
        return 1 if self.binary else self.classes

    @property
    def out_channels(self) -> int:
        """Channels of a network output: one logit for two classes, else one each."""
        return self.in_channels

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
            return view.unsqueeze(1).float()
        return F.one_hot(view, self.classes).movedim(-1, 1).float()

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
