"""UniMatch: FixMatch with two strong views, and with perturbed features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from lsmbench.data.module import Batch
from lsmbench.losses import pseudo_cross_entropy
from lsmbench.methods.base import Terms
from lsmbench.methods.fixmatch import FixMatch, FixMatchConfig
from lsmbench.networks.segmenters import Segments
from lsmbench.options import option

DROPPED = 0.5
"""Share of the channels of each map that are dropped (UniMatch, §3.2)."""


@dataclass
class UniMatchConfig(FixMatchConfig):
    """The weights of eq. 8: λ = μ = ½; the mean over the two strong views has the weight μ."""

    w_strong: float = option(
        0.5,
        "μ, weight of the mean cross-entropy on two strong views",
        low=1e-2,
        high=1e2,
        source="UniMatch, eq. 8 and §4.1",
    )
    w_perturbed: float = option(
        0.5,
        "λ, weight of the cross-entropy where features are perturbed",
        low=1e-2,
        high=1e2,
        source="UniMatch, eq. 8 and §4.1",
    )


class UniMatch(FixMatch):
    """UniMatch (Yang et al. 2023, eq. 8): what is sure of a weak view holds for more than one other view of it.

    Two strong views of each photo, drawn apart, each with a box of its own; and the weak view itself, decoded from maps
    of which half of the channels are dropped. The paper drops channels of two maps of DeepLabV3+; here it is all maps
    that the decoder reads. The rest is as in `FixMatch`.
    """

    Config = UniMatchConfig
    config: UniMatchConfig

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What is shown, what the network says of it, and the photos' maps in between: `map 0` and so on."""
        views, segmenter = self.shown(batch), cast(Segments, self.segmenter)
        if "x" in views:
            views["output"] = segmenter(self.feed(views["x"]))
        if "photos" in views:
            maps = segmenter.encode(self.feed(views["photos"]))
            with torch.no_grad():
                views["said"] = segmenter.decode(maps, views["photos"].shape[-2:])
            views |= {f"map {place}": part for place, part in enumerate(maps)}
        return views

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """The supervised losses, the strong views' mean, and that of perturbed features."""
        return {
            **self.supervised(views),
            "strong": lambda: (self.strong_loss(views) + self.strong_loss(views)) / 2,
            "perturbed": lambda: self.perturbed_loss(views),
        }

    def perturbed_loss(self, views: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of the weak view, decoded from maps with channels dropped, where it is sure."""
        if "photos" not in views:
            return self.nothing("segmenter")
        maps = [self.dropped(part) for name, part in views.items() if name.startswith("map ")]
        sure, classes = self.believed(views)
        said = cast(Segments, self.segmenter).decode(maps, views["photos"].shape[-2:])
        return pseudo_cross_entropy(said, classes, sure >= self.config.threshold)

    def dropped(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) with half of the channels 0 and the others doubled, drawn for each sample."""
        kept = self.uniform(torch.empty(maps.shape[:2])) >= DROPPED
        return maps * (kept.to(maps) / (1 - DROPPED))[:, :, None, None]
