"""Categories: the class of a whole sample, such as the digit that an image shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.base import Domain
from lsmbench.errors import UserError
from lsmbench.metrics import CategoryAccuracy, SampleMetric

_SIDE, _LETTERS = 256, 48
_PAPER, _INK, _WRONG = (245, 245, 245), (20, 20, 20), (200, 40, 20)


@dataclass(frozen=True)
class Category(Domain):
    """Categories: views are class numbers, int64 (B,); stored as integers (N,).

    A network eats them as one-hot vectors and gives one logit for each class.

    Attributes:
        names: What each class is called.
    """

    names: tuple[str, ...]
    kind: ClassVar[str] = "category"

    @property
    def shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (len(self.names),)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for integers (N,) from 0 to K − 1."""
        if stored.ndim != 1 or not np.issubdtype(stored.dtype, np.integer):
            raise UserError(f"{origin}: expected one integer a sample, found {stored.dtype} of shape {stored.shape}.")
        numbers = np.asarray(stored, np.int64)
        outside = np.flatnonzero((numbers < 0) | (numbers >= len(self.names)))
        if len(outside):
            raise UserError(
                f"{origin}: expected classes 0 to {len(self.names) - 1}, but {len(outside)} of {len(stored)} samples "
                f"have others, the first being sample {outside[0]} with {numbers[outside[0]]}."
            )

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """As int64."""
        return torch.from_numpy(np.ascontiguousarray(stored, np.int64))

    def unpack(self, compact: Tensor) -> Tensor:
        """Nothing to do."""
        return compact

    def to_input(self, view: Tensor) -> Tensor:
        """One-hot, float (B, K)."""
        return F.one_hot(view, len(self.names)).to(torch.get_default_dtype())

    def activate(self, output: Tensor) -> Tensor:
        """Probabilities."""
        return torch.softmax(output, 1)

    def decide(self, output: Tensor) -> Tensor:
        """The most probable class."""
        return output.argmax(1)

    def logits(self, output: Tensor) -> Tensor:
        """The outputs themselves."""
        return output

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """Cross-entropy on logits."""
        return F.cross_entropy(output, view)

    def metrics(self) -> list[SampleMetric]:
        """Accuracy."""
        return [CategoryAccuracy()]

    def constant(self, views: Tensor) -> Tensor:
        """The most frequent class."""
        return torch.bincount(views, minlength=len(self.names)).argmax()[None]

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """The classes' names."""
        return self._written(views, views)

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """The classes' names, in red where they are wrong."""
        return self._written(views, views if truth is None else truth)

    def _written(self, views: Tensor, truth: Tensor) -> NDArray[np.uint8]:
        drawn = np.empty((len(views), _SIDE, _SIDE, 3), np.uint8)
        for i, (shown, true) in enumerate(zip(views.tolist(), truth.tolist(), strict=True)):
            picture = Picture.new("RGB", (_SIDE, _SIDE), _PAPER)
            ink = _INK if shown == true else _WRONG
            font = ImageFont.load_default(_LETTERS)
            ImageDraw.Draw(picture).text((_SIDE / 2, _SIDE / 2), self.names[shown], ink, font, anchor="mm")
            drawn[i] = np.asarray(picture)
        return drawn
