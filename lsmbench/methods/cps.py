"""Cross pseudo supervision: two networks, each taught by the other's classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.data.strong import cut_mixed
from lsmbench.methods.base import Terms
from lsmbench.methods.segmentation import ConsistencyConfig, SegmentationMethod, joined
from lsmbench.options import option


@dataclass
class CPSConfig(ConsistencyConfig):
    """How much the other's classes count, and on what."""

    cutmix: bool = option(
        True,
        "Whether the networks teach each other on photos with a box of another photo (CutMix), whose targets are mixed "
        "from what they say of both; if not, on pairs and photos as they are",
        source="CPS, §3.3",
    )
    w_cross: float = option(
        1.5, "λ, weight of the other's classes as targets", low=1e-2, high=1e2, source="CPS, §4.1, PASCAL VOC: 1.5"
    )


class CPS(SegmentationMethod):
    """Cross pseudo supervision (Chen et al. 2021, eqs. 1–4).

    Two networks of one architecture start from different weights. Each learns from the pairs, and from the other's most
    probable class at every pixel. The first one predicts, as in the paper.
    """

    Config = CPSConfig
    config: CPSConfig
    sees_photos: ClassVar = True
    classes_only: ClassVar = True

    def build(self) -> None:
        """Makes two networks."""
        super().build()
        self.second = self.made("second")

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """Both networks."""
        return (self.segmenter, self.second)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What both networks say of pairs and photos; of photos that CutMix will mix, without a gradient."""
        views, teach = self.shown(batch), not self.config.cutmix
        first = self.answers(views, self.segmenter, "output", "said", teach)
        return views | first | self.answers(views, self.second, "output2", "said2", teach)

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 1 of both networks, and eqs. 2 and 3."""
        return {**self.supervised(views, "output", "output2"), "cross": lambda: self.cross(views)}

    def cross(self, views: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each network against the other's classes."""
        if self.config.cutmix:
            if "photos" not in views:
                return self.nothing("segmenter")
            inside, photos = self.boxes(views["photos"]), views["photos"]
            classes = [views[name].detach().argmax(1) for name in ("said", "said2")]
            first, second = (cut_mixed(part, self.others(part), inside) for part in classes)
            mixed = self.feed(cut_mixed(photos, self.others(photos), inside))
            said, said2 = self.segmenter(mixed), self.second(mixed)
        else:
            said, said2 = joined(views, "output", "said"), joined(views, "output2", "said2")
            if said is None or said2 is None:
                return self.nothing("segmenter")
            first, second = said.detach().argmax(1), said2.detach().argmax(1)
        return F.cross_entropy(said.float(), second) + F.cross_entropy(said2.float(), first)
