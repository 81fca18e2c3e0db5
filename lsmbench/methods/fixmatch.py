"""FixMatch for segmentation: what is sure of a photo has to be said of its strong view too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.data.strong import cut_mixed
from lsmbench.domains import Image
from lsmbench.losses import pseudo_cross_entropy
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.segmentation import ConsistencyConfig, SegmentationMethod
from lsmbench.options import option


@dataclass
class FixMatchConfig(ConsistencyConfig):
    """What counts as sure, and how much it counts."""

    threshold: float = option(
        0.95, "Probability from which a class is taken for true", source="FixMatch, Table 4; UniMatch, §4.1"
    )
    w_strong: float = option(
        1.0,
        "λ, weight of the cross-entropy on strong views of photos without a mask",
        low=1e-2,
        high=1e2,
        source="FixMatch, Table 4; UniMatch, eq. 3, has the same ratio",
    )


class FixMatch(SegmentationMethod):
    """FixMatch (Sohn et al. 2020) for segmentation, as Yang et al. 2023 (UniMatch, §3.1) write it.

    The photo as it is drawn, moved by `training.augment`, is the weak view. Where the network gives a class a
    probability of .95 or more, the class is what it has to say of the strong view (eq. 4; `strong_views`). CutMix puts
    a box of another photo into the strong view, and that photo's classes and probabilities into the targets.

    Weak views are judged in training mode, as in UniMatch's code. There, pairs and weak views go through the network at
    once, and the other photo is of a second batch, where here it is the one before in the same batch. UniMatch halves
    the sum of both losses, which Adam does not see.
    """

    Config = FixMatchConfig
    config: FixMatchConfig
    sees_photos: ClassVar = True
    classes_only: ClassVar = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Strong views are those of photos: pixels are brightened and blurred."""
        source = dataset.domains[dataset.source]
        if not isinstance(source, Image) or source.label_count is not None:
            return False, f"makes strong views of photos, and {dataset.source} is {source.kind}"
        return super().supports(dataset, config)

    def build(self) -> None:
        """Makes the network, and says where strong views are weaker than the papers'."""
        super().build()
        if not self.photo:
            channels = self.domains[self.source].shape[0]
            self.remarks.append(f"strong views of {channels} channels are blurred alone, without changes of colour")

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What is shown, and what the network says of it; weak views teach and are not taught."""
        views = self.shown(batch)
        return views | self.answers(views, self.segmenter, "output", "said", photos_teach=False)

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """The supervised losses, and the strong views' cross-entropy."""
        return {**self.supervised(views), "strong": lambda: self.strong_loss(views)}

    def strong_loss(self, views: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of a strong view where the weak one is sure."""
        if "photos" not in views:
            return self.nothing("segmenter")
        inside, photos = self.boxes(views["photos"]), self.strong(views["photos"])
        sure, classes = self.believed(views)
        said = self.segmenter(self.feed(cut_mixed(photos, self.others(photos), inside)))
        classes, sure = (cut_mixed(part, self.others(part), inside) for part in (classes, sure))
        return pseudo_cross_entropy(said, classes, sure >= self.config.threshold)

    def believed(self, views: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The greatest probability at each pixel of the photos, (B, H, W), and its class; without a gradient."""
        probabilities, classes = torch.softmax(views["said"].detach().float(), 1).max(1)
        return probabilities, classes
