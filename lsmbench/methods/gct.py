"""Guided collaborative training: two networks, and a detector of their flaws that says which of them is right where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.losses import ramp_up
from lsmbench.methods.base import Terms
from lsmbench.methods.phases import Optimizer, Phase, Stage
from lsmbench.methods.segmentation import ConsistencyConfig, SegmentationMethod, joined
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.segmenters import FlawDetector
from lsmbench.options import option
from lsmbench.palettes import IGNORED

SMALL = 0.1
"""Flaws are taken for none where the greatest of a photo is not above this (released code)."""


@dataclass
class GCTConfig(ConsistencyConfig):
    """The weights are those of the released code, PixelSSL."""

    detector_rate: float = option(
        1e-4, "The flaw detector's learning rate", low=1e-6, high=1e-1, source="released code: 1e-4"
    )
    threshold: float = option(
        0.6, "ξ, flaw above which nothing is learnt from a prediction", source="GCT, §4; PixelSSL"
    )
    ramp: float = option(
        0.1, "Share of the updates in which the consistency's weight rises", source="released code: 3 of 34 epochs"
    )
    w_consistency: float = option(
        100.0, "λ_dc, weight of the dynamic consistency", low=1.0, high=1e3, source="released code: 100"
    )
    w_correction: float = option(
        1.0, "λ_fc, weight of the flaw correction", low=1e-2, high=1e2, source="released code: 1"
    )
    w_flaws: float = option(10.0, "Weight of the flaw detector's loss", low=1e-1, high=1e3, source="released code: 10")


class GCT(SegmentationMethod):
    """Guided collaborative training (Ke et al. 2020, eqs. 1–6): two networks that correct each other.

    A detector learns from the pairs where predictions differ from the mask (`flaws`). Where one network's prediction
    looks less flawed than the other's, the other comes closer to it (dynamic consistency); where both look flawed,
    both learn to look less so (flaw correction). Both hold on pairs and photos. The first network predicts.

    The released code updates the first network, the second, then the detector; since what they are taught is computed
    before, one update of both networks is the same, save for the norm that `clip` sees. The optimiser is semanticGAN's.
    Widths of the blur are the released code's shares of the side: 1/16, 1/8 and 1/4.
    """

    Config = GCTConfig
    config: GCTConfig
    groups = ("segmenter", "detector")
    sees_photos: ClassVar = True
    classes_only: ClassVar = True
    least: ClassVar = 32  # the detector halves its input five times

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Both networks, then the detector."""
        own = Optimizer("detector", self.config.detector_rate, beta1=0.9, beta2=0.99)
        return (Stage("train", ("segmenter", Phase("detector", optimizer=own))),)

    def build(self) -> None:
        """Makes two networks and the detector."""
        super().build()
        self.second = self.made("second")
        channels = len(self.mean) + (self.classes or 1)
        self.detector = self.network("detector", lambda: FlawDetector(channels, FILTERS[self.config.network]))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """Both networks, or the detector."""
        return (self.segmenter, self.second) if group == "segmenter" else (self.detector,)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What both networks say of pairs and photos."""
        views = super().prepare(batch)
        return views | self.answers(views, self.second, "output2", "said2")

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """Eqs. 3–5: supervised, dynamic consistency and flaw correction."""
        terms = self.supervised(views, "output", "output2")
        photos, said, said2 = (joined(views, *n) for n in (("x", "photos"), ("output", "said"), ("output2", "said2")))
        if photos is None or said is None or said2 is None:
            return terms | dict.fromkeys(("consistency", "correction"), lambda: self.nothing("segmenter"))
        fed, first, second = self.feed(photos), torch.softmax(said.float(), 1), torch.softmax(said2.float(), 1)
        flaws = [self.detector(fed, one) for one in (first, second)]
        taught = [taken(one.detach(), self.config.threshold) for one in flaws]
        both_bad = (taught[0] >= 1) & (taught[1] >= 1)

        def consistency() -> Tensor:
            rise = ramp_up(self.progress, self.config.ramp)
            better = torch.where(taught[1] >= taught[0], first, second).detach()
            best = torch.where(taught[0] >= taught[1], second, first).detach()
            return rise * (F.mse_loss(first, better) + F.mse_loss(second, best))

        def correction() -> Tensor:
            return torch.stack([(one.square() * both_bad).mean() for one in flaws]).sum()

        return {**terms, "consistency": consistency, "correction": correction}

    def losses_detector(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 2: squared difference from the flaws of both networks' predictions of the pairs, in the mean of both."""
        if "y" not in views:
            return {"flaws": lambda: self.nothing("detector")}

        def loss() -> Tensor:
            fed, found = self.feed(views["x"]), []
            for name in ("output", "output2"):
                said = torch.softmax(views[name].detach().float(), 1)
                found.append(F.mse_loss(self.detector(fed, said), flaws(said, views["y"])))
            return torch.stack(found).mean()

        return {"flaws": loss}


def flaws(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Where a prediction is wrong, smoothed, as the detector learns it (pipeline C of §3.2, as in the released code).

    Half of the sum over classes of |p − t|, blurred; then the greatest of 3×3 pixels, blurred again; then each photo's
    least value becomes 0 and its greatest 1. Pixels without a class count as right.

    Args:
        probabilities: (B, K, H, W).
        labels: (B, H, W), int64, 255 where a pixel has no class.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    counted = labels != IGNORED
    truth = F.one_hot(labels.where(counted, 0), probabilities.shape[1]).movedim(-1, 1)
    wrong = 0.5 * ((probabilities - truth).abs().sum(1, keepdim=True) * counted[:, None])
    wide = blurred(wrong, 1 / 8)
    wide = F.max_pool2d(F.pad(wide, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    return spanned(blurred(wide, 1 / 4))


def taken(flawed: Tensor, threshold: float) -> Tensor:
    """A detected flaw as it decides who is right (released code): 1 above the threshold, else from 0 up to it.

    Negative flaws are 0; the map is blurred, is 0 if its greatest value is not above `SMALL`, and is then spanned from
    0 to 1.
    """
    smooth = blurred(flawed.float().clamp_min(0), 1 / 16)
    smooth = spanned(smooth * (smooth.amax((1, 2, 3), keepdim=True) > SMALL))
    return smooth.where(smooth <= threshold, 1.0)


def spanned(maps: Tensor) -> Tensor:
    """Maps (B, 1, H, W) whose least value is 0 and whose greatest is 1; 0 where they are constant."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low + 1e-9)


def blurred(maps: Tensor, share: float) -> Tensor:
    """Maps (B, 1, H, W) under a Gaussian whose kernel is a share of their side, an odd number of pixels."""
    from torchvision.transforms.v2 import functional as T  # type: ignore[import-untyped]  # noqa: N812

    size = int(maps.shape[-1] * share) // 2 * 2 + 1
    width = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    made: Tensor = T.gaussian_blur(maps, [size, size], [width, width])
    return made
