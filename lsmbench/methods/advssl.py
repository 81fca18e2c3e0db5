"""AdvSSL: a discriminator of masks says where a prediction of a photo can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.losses import pseudo_cross_entropy
from lsmbench.methods.base import Terms
from lsmbench.methods.phases import Optimizer, Phase, Stage
from lsmbench.methods.segmentation import ConsistencyConfig, SegmentationMethod
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.segmenters import PixelDiscriminator
from lsmbench.options import option
from lsmbench.palettes import IGNORED


@dataclass
class AdvSSLConfig(ConsistencyConfig):
    """The weights are those of Hung et al. 2018, §4.2."""

    variant: Literal["paper", "pixelssl"] = option(
        "paper",
        "paper: with predictions that the discriminator trusts as targets (L_semi); pixelssl: without, as in "
        "semanticGAN's comparison",
        source="Hung et al. 2018; PixelSSL",
    )
    discriminator_rate: float = option(
        1e-4, "The discriminator's learning rate", low=1e-6, high=1e-1, source="Hung et al., §4.1"
    )
    threshold: float = option(0.2, "Logistic of the discriminator from which a pixel is trusted", source="§4.2")
    semi_after: float = option(
        0.25, "Share of the updates before trusted predictions are targets", source="§4.1: 5,000 of 20,000 updates"
    )
    w_adv: float = option(
        0.01, "λ_adv on pairs, weight of fooling the discriminator", low=1e-4, high=1.0, source="§4.2: .01"
    )
    w_adv_photos: float = option(0.001, "λ_adv on photos without a mask", low=1e-5, high=1.0, source="§4.2: .001")
    w_semi: float = option(
        0.1, "λ_semi, weight of trusted predictions as targets", low=1e-3, high=1e1, source="§4.2: .1"
    )


class AdvSSL(SegmentationMethod):
    """Adversarial learning for semi-supervised segmentation (Hung et al. 2018, eqs. 1–5).

    The discriminator tells true masks, one-hot, from predicted probabilities, pixel by pixel (eq. 1); it learns from
    the pairs alone. The segmenter fools it on pairs and, with a smaller weight, on photos (eq. 4). After a quarter of
    the updates, the most probable class of a photo's pixel is a target where the discriminator's logistic is above .2
    (eq. 5, with the mean over all pixels of the photos).

    The optimiser is semanticGAN's (Adam at 2.5e-4) without the paper's polynomial decay; the discriminator's Adam has
    β of .9 and .99.
    """

    Config = AdvSSLConfig
    config: AdvSSLConfig
    groups = ("segmenter", "discriminator")
    weights: ClassVar = {"xy": 1.0, "true": 1.0, "predicted": 1.0}
    sees_photos: ClassVar = True
    classes_only: ClassVar = True
    least: ClassVar = 32  # the discriminator halves its input five times

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Both networks at every update, the segmenter first."""
        own = Optimizer("discriminator", self.config.discriminator_rate, beta1=0.9, beta2=0.99)
        return (Stage("train", ("segmenter", Phase("discriminator", optimizer=own))),)

    def build(self) -> None:
        """Makes both networks."""
        super().build()
        filters = FILTERS[self.config.network]
        self.discriminator = self.network("discriminator", lambda: PixelDiscriminator(self.classes or 1, filters))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The network of the group's name."""
        return (self.segmenter if group == "segmenter" else self.discriminator,)

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 2: supervised, adversarial on pairs and on photos, and trusted predictions."""
        return {
            **self.supervised(views),
            "adv": lambda: self.fooling(views, "output"),
            "adv_photos": lambda: self.fooling(views, "said"),
            "semi": lambda: self.trusted(views),
        }

    def fooling(self, views: dict[str, Tensor], name: str) -> Tensor:
        """Eq. 4: predictions that pass for true masks."""
        if name not in views:
            return self.nothing("segmenter")
        return F.softplus(-self.discriminator(torch.softmax(views[name], 1))).mean()

    def trusted(self, views: dict[str, Tensor]) -> Tensor:
        """Eq. 5: cross-entropy against the own classes where the discriminator takes them for true."""
        if "said" not in views or self.progress < self.config.semi_after:
            return self.nothing("segmenter")
        with torch.no_grad():
            sure = torch.sigmoid(self.discriminator(torch.softmax(views["said"], 1)))[:, 0] > self.config.threshold
        return pseudo_cross_entropy(views["said"], views["said"].detach().argmax(1), sure)

    def losses_discriminator(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 1, on the pairs."""
        if "y" not in views:
            return dict.fromkeys(("true", "predicted"), lambda: self.nothing("discriminator"))
        counted = views["y"] != IGNORED
        mask = F.one_hot(views["y"].where(counted, 0), self.classes or 1).movedim(-1, 1).to(views["output"].dtype)

        def judged(maps: Tensor, sign: int) -> Tensor:
            losses = F.softplus(sign * self.discriminator(maps * counted[:, None])[:, 0]) * counted
            return self.summed(losses.sum()) / self.summed(counted.sum()).clamp_min(1)

        return {
            "true": lambda: judged(mask, -1),
            "predicted": lambda: judged(torch.softmax(views["output"].detach(), 1), 1),
        }

    def weight(self, term: str) -> float:
        """PixelSSL's has no trusted predictions."""
        return 0.0 if term == "semi" and self.config.variant == "pixelssl" else super().weight(term)
