"""Domains: what a kind of view is, what networks eat and give for it, how it is scored and drawn.

Every domain knows three forms of its data, and nothing else in the package needs to know them:

* a *view* is what a sample holds: an image in [0, 1], a map of class indices, points in [0, 1];
* a network *input* is what an encoder or a discriminator eats: an image in the network's range, one-hot classes;
* a network *output* is what a decoder ends in before any activation: `activate` brings it to the form of an input,
  differentiably; `decide` brings it to a view. Losses take outputs, so no activation is ever applied twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.metrics import SampleMetric


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
