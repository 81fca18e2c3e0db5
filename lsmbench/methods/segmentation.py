"""What plain segmentation networks share: one network, trained on the pairs alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.options import option
from lsmbench.palettes import IGNORED


@dataclass
class SegmentationConfig(MethodConfig):
    """Options of all plain segmentation networks."""

    learning_rate: float = option(
        2.5e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="semanticGAN, supplement, §5; range of LSM, App. B"
    )


class SegmentationMethod(Method):
    """A segmentation network trained on pairs alone, as a reference for methods that use unpaired samples.

    Where the target's pixels have classes, the network gives one logit for each class, two also for two classes, and
    learns by cross-entropy; pixels without a class (void) are not counted. Otherwise it gives the target's channels and
    learns by the target domain's own loss, so that it translates images to images.

    A subclass makes the network in `make_segmenter` and says which sides it takes.
    """

    Config: ClassVar[type[MethodConfig]] = SegmentationConfig
    config: SegmentationConfig
    groups = ("segmenter",)
    needs_pairs = True
    weights: ClassVar = {"xy": 1.0}
    multiple: ClassVar[int] = 1
    """What sides have to be a multiple of, in pixels."""
    least: ClassVar[int] = 1
    """The least side, in pixels."""

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs two maps of one size, with sides that the network can halve often enough."""
        source, target = dataset.domains[dataset.source], dataset.domains[dataset.target]
        for view, domain in ((dataset.source, source), (dataset.target, target)):
            if domain.is_vector:
                return False, f"translates maps to maps, and {view} is {domain.kind}"
        if source.shape[1:] != target.shape[1:]:
            sides = " and ".join("×".join(map(str, d.shape[1:])) for d in (source, target))
            return False, f"needs source and target of one size, and they have {sides} px"
        side = next((s for s in source.shape[1:] if s % cls.multiple or s < cls.least), None)
        if side is not None:
            least = f" from {cls.least} px" if cls.least > cls.multiple else ""
            return False, f"needs sides that are multiples of {cls.multiple} px{least}, and the views have {side} px"
        return True, ""

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs only."""
        return (self.pair,)

    @property
    def classes(self) -> int | None:
        """Number of classes of the target; `None` if it is an image."""
        return self.domains[self.target].label_count

    @abstractmethod
    def make_segmenter(self, in_channels: int, out_channels: int) -> nn.Module:
        """Makes the network, (B, in_channels, H, W) to (B, out_channels, H, W), unbounded."""

    def input_channels(self) -> int:
        """Channels of what `feed` gives."""
        return self.domains[self.source].shape[0]

    def feed(self, view: Tensor) -> Tensor:
        """Source views in the form of the network's input."""
        return self.domains[self.source].to_input(view)

    def build(self) -> None:
        """Makes the network."""
        out_channels = self.classes or self.domains[self.target].shape[0]
        self.segmenter = self.network("segmenter", partial(self.make_segmenter, self.input_channels(), out_channels))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The network."""
        return (self.segmenter,)

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The network's output, (B, channels, H, W): logits of K classes where the target has classes."""
        output: Tensor = self.segmenter(self.feed(view))
        return output

    def decided(self, output: Tensor, target: str) -> Tensor:
        """The most probable classes as a view; or the image."""
        return (
            super().decided(output, target)
            if self.classes is None
            else self.domains[target].from_labels(output.argmax(1))
        )

    def logits_of(self, output: Tensor, target: str) -> Tensor | None:
        """The network's output, if the target has classes."""
        return None if self.classes is None else output

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Translates the pairs once for all terms: the `output`, and `y`, the true view or its labels; else empty."""
        if self.pair not in batch:
            return {}
        pairs, target = batch[self.pair], self.domains[self.target]
        y = pairs[self.target]
        return {
            "output": self.translate(pairs[self.source], self.source, self.target),
            "y": y if self.classes is None else target.to_labels(y),
        }

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """Cross-entropy, or the image's own loss."""
        return {"xy": lambda: self.supervised_loss(views) if views else self.nothing("segmenter")}

    def supervised_loss(self, views: dict[str, Tensor]) -> Tensor:
        """The loss of `prepare`'s pairs."""
        if self.classes is None:
            return self.domains[self.target].loss(views["output"], views["y"])
        return cross_entropy(views["output"], views["y"], self.summed)


Sum = Callable[[Tensor], Tensor]
"""Adds up a sum over all processes that divide a batch: `Method.summed`."""


def cross_entropy(logits: Tensor, labels: Tensor, summed: Sum = lambda part: part) -> Tensor:
    """Cross-entropy of the pixels that have a class.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W), int64, 0 to K − 1, or 255 where a pixel is not counted.
        summed: Adds up over processes.

    Returns:
        Mean over the counted pixels of the batch, a scalar; 0, with a gradient of zero, if there are none.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return summed(total) / summed((labels != IGNORED).sum()).clamp_min(1)


def soft_dice(logits: Tensor, labels: Tensor, summed: Sum = lambda part: part) -> Tensor:
    """One minus the Dice coefficient, with probabilities p in place of decisions: 1 − 2 Σ p·t / (Σ p + Σ t).

    The sums of a class go over all counted pixels of the batch. A class that no counted pixel has is left out: its
    coefficient would be 0, however little of it is predicted.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W), int64, 0 to K − 1, or 255 where a pixel is not counted.
        summed: Adds up over processes.

    Returns:
        Mean over the classes that occur, a scalar in [0, 1]; 0, with a gradient of zero, if there are none.
    """
    counted = labels != IGNORED
    truth = F.one_hot(labels.where(counted, 0), logits.shape[1]).movedim(-1, 1).float() * counted[:, None]
    probabilities = torch.softmax(logits.float(), 1) * counted[:, None]
    over = (0, 2, 3)
    area = summed(truth.sum(over))
    common, expected = summed((probabilities * truth).sum(over)), summed(probabilities.sum(over))
    dice = 2 * common / (expected + area).clamp_min(1e-6)
    occurs = (area > 0).float()
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp_min(1)
