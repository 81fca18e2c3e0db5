"""Categories: the class of a whole sample, such as the digit that an image shows."""

from __future__ import annotations

from collections.abc import Sequence
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

    @property
    def categories(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.names

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
        return [CategoryAccuracy(len(self.names))]

    def constant(self, views: Tensor) -> Tensor:
        """The most frequent class."""
        return torch.bincount(views, minlength=len(self.names)).argmax()[None]

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """The classes' names."""
        return self.overlay(views, np.empty(0, np.uint8))

    def overlay(self, views: Tensor, pictures: NDArray[np.uint8], truth: Tensor | None = None) -> NDArray[np.uint8]:
        """The classes' names, in red where they are wrong."""
        right = [True] * len(views) if truth is None else (views == truth).tolist()
        return in_words([self.names[number] for number in views.tolist()], right)


def in_words(
    words: Sequence[str], right: Sequence[bool], side: int = _SIDE, letters: int = _LETTERS
) -> NDArray[np.uint8]:
    """Pictures of words, in red where they are wrong, (B, side, side, 3); letters have a size in pixels."""
    drawn = np.empty((len(words), side, side, 3), np.uint8)
    font = ImageFont.load_default(letters)
    for one, word, is_right in zip(drawn, words, right, strict=True):
        picture = Picture.new("RGB", (side, side), _PAPER)
        ink = _INK if is_right else _WRONG
        ImageDraw.Draw(picture).text((side / 2, side / 2), word, ink, font, anchor="mm")
        one[:] = np.asarray(picture)
    return drawn
