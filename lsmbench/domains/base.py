"""Domains: the kinds of views, each with its network inputs and outputs, loss, metrics and pictures.

Only domains know the three forms of their data:

* a *view* is what a sample holds: an image in [0, 1], a map of class indices, points in [0, 1];
* a network *input* is what an encoder or a discriminator takes: an image in the network's range, one-hot classes;
* a network *output* is a decoder's result before any activation: `activate` converts it to the form of an input,
  differentiably; `decide` converts it to a view. Losses take outputs, so no activation is ever applied twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.metrics import SampleMetric


class Domain(ABC):
    """A kind of view. Subclasses are frozen dataclasses, so that a domain can be compared and printed."""

    kind: ClassVar[str]
    nearest: ClassVar[bool] = False
    """Whether views are resized by the nearest pixel, because a mean of two pixels (two classes) means nothing."""

    @property
    def label_count(self) -> int | None:
        """Number of classes, if each pixel of a view belongs to one; else `None`."""
        return None

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each class is called, if each pixel of a view belongs to one and classes have names; else empty."""
        return ()

    @property
    def categories(self) -> tuple[str, ...]:
        """What the class of a whole view is called, if predictions are scored by it; else empty."""
        return ()

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

    def logits(self, output: Tensor) -> Tensor | None:
        """Network outputs as one logit for each class, (B, K, …), whose greatest `decide` takes.

        `None` for domains without classes, and for those whose outputs are something else.
        """
        return None

    def comparable(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Converts decided views and the truth to the form that the metrics compare.

        Args:
            prediction: Decided views.
            truth: True views, or what `Dataset.truth` returns in their place.
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
            origin: Source of the samples, for the message.

        Raises:
            UserError: If shape or values do not fit the domain.
        """

    @abstractmethod
    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Converts stored samples to a batch of compact views (uint8 where possible), which are kept in memory."""

    @abstractmethod
    def unpack(self, compact: Tensor) -> Tensor:
        """Converts compact views to the views that a batch holds."""

    @abstractmethod
    def to_input(self, view: Tensor) -> Tensor:
        """Converts views to network inputs."""

    @abstractmethod
    def activate(self, output: Tensor) -> Tensor:
        """Converts network outputs to the form and range of network inputs, differentiably."""

    @abstractmethod
    def decide(self, output: Tensor) -> Tensor:
        """Converts network outputs to views."""

    @abstractmethod
    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """The domain's task and reconstruction loss, a scalar: mean over samples and elements."""

    def l1(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean absolute difference of two network inputs, as GANs measure it; pixels without a class do not count.

        Args:
            made: Generated, differentiable.
            real: Of true views.
        """
        return F.l1_loss(made, real)

    def veil(self, made: Tensor, real: Tensor) -> Tensor:
        """Generated network inputs as discriminators see them beside real ones: without a class where these have none.

        Args:
            made: (B, …).
            real: (b, …), at least one.
        """
        return made

    @abstractmethod
    def metrics(self) -> list[SampleMetric]:
        """New metrics of decided views; methods are selected and compared by the first metric."""

    def judged(self) -> dict[str, Any]:
        """What is known of the judge that turns views into what is compared; plain values, empty without a judge.

        `kind` and `digest` say which it is. One that was tested has the `metric` that it was tested by, its `value` on
        real views, the ceiling of what it says of translations, and the number of `samples`.
        """
        return {}

    @abstractmethod
    def constant(self, views: Tensor) -> Tensor:
        """The one view, shape (1, ...), that scores best if predicted for all samples of compact `views` (a floor)."""

    @abstractmethod
    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Draws the views, shape (B, H, W, 3)."""

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """What the colours of `draw` mean: classes' names and RGB; empty where colours need no legend."""
        return []

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """Draws the views, over the source's pictures where that shows more.

        Args:
            views: Decided views.
            pictures: Pictures of the same samples' source views, shape (B, h, w, 3).
            truth: The true views, if `views` are predictions.

        Returns:
            Shape (B, H, W, 3).
        """
        return self.draw(views)
