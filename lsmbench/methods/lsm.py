"""LSM: latent spaces that are mapped onto each other, and made alike by a distance and by confusion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import ClassVar, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.losses import bce_to, reverse_gradient
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.latent import LatentConfig, LatentMethod, LatentViews, shapes_of
from lsmbench.methods.phases import Stage
from lsmbench.networks.mlp import VectorDiscriminator
from lsmbench.networks.patchgan import latent_discriminator, least_side
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.translators import LatentTranslator, greatest_side
from lsmbench.options import option


@dataclass
class LSMConfig(LatentConfig):
    """The weights of eq. 11. The paper's tuned values are not published; these are the released code's own."""

    w_xx: float = option(1.0, "λ1, weight of reconstructing x", low=1e-4, high=10, source="released code; range App. B")
    w_yy: float = option(1.0, "λ2, weight of reconstructing y", low=1e-4, high=10, source="released code; range App. B")
    w_xy: float = option(10.0, "λ3¹, weight of translating x to y", low=1e-4, high=10, source="released code; App. B")
    w_yx: float = option(10.0, "λ3², weight of translating y to x", low=1e-4, high=10, source="released code; App. B")
    w_distance: float = option(
        1.0, "λ4, weight of the latent distance", low=1e-4, high=10, source="released code; App. B"
    )
    w_confusion: float = option(1.0, "λ5, weight of the confusion", low=1e-4, high=10, source="released code; App. B")
    adversarial: Literal["confusion", "non_saturating", "saturating", "gradient_reversal"] = option(
        "confusion",
        "What encoders and links do to the domain classifiers",
        source="confusion: eqs. 9 and 10; the released code's default is saturating",
    )
    adv_on_pairs: bool = option(
        True, "Whether the adversarial terms see the pairs as well", source="eqs. 8 and 9, released code"
    )
    ablation: Literal["0000", "1000", "1100", "1110", "1111"] = option(
        "1111",
        "Row of Tables 5 to 7: digits switch λ1, λ2, λ4, λ5 off; 0000 also switches λ3² off, which makes it the "
        "baseline, as the paper's numbers do",
        source="LSM, App. D; the paper does not place λ3²",
    )


class LSM(LatentMethod):
    """Latent space mapping (Mayet et al. 2022, eqs. 2 to 11).

    The released code's `confusing` flag is not eq. 9: it pushes the classifiers' logits away from 0 without bound.
    Here the confusion loss is the paper's. Both groups of a step share one forward pass through encoders and links,
    which the classifiers' update does not change.

    Without any pair, reconstructions and confusion remain, and nothing ties a translation to its source.
    """

    Config = LSMConfig
    config: LSMConfig
    groups = ("classifiers", "mappers")
    has_code = True
    both_ways = True
    weights: ClassVar = {"classify_x": 1.0, "classify_y": 1.0}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, with the classifiers if the mappers learn from them."""
        return (Stage("train", self.groups if self.has_adversary else ("mappers",)),)

    def weight(self, term: str) -> float:
        """The weight of a term, after the ablation."""
        digit = {"xx": 0, "yy": 1, "distance": 2, "confusion": 3}.get(term)
        off = self.config.ablation[digit] == "0" if digit is not None else False
        if off or (term == "yx" and self.config.ablation == "0000"):
            return 0.0
        return super().weight(term)

    @property
    def has_adversary(self) -> bool:
        """Whether mappers learn from the classifiers: λ5 is not zero."""
        return self.weight("confusion") != 0.0

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs, and view-only samples where a term needs them."""
        x_only = self.has_adversary or self.weight("xx") != 0.0
        y_only = self.has_adversary or self.weight("yy") != 0.0
        unpaired = [(view,) for view, used in ((self.source, x_only), (self.target, y_only)) if used]
        return (self.pair, *unpaired)

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """What the family needs, and a greatest side of 24 px for the classifiers of a ResNet's codes."""
        shapes, least = shapes_of(dataset), 4 * least_side(1)
        encoder = LatentTranslator.image_encoder_for(cast(LatentConfig, config), shapes)
        view, side = greatest_side(shapes)
        if view and encoder == "resnet" and side < least:
            reason = f"needs a greatest side of {least} px or more for its domain classifiers, and {view} has {side} px"
            return False, reason
        return super().supports(dataset, config)

    def build(self) -> None:
        """The family's networks, and a domain classifier on each latent space."""
        super().build()
        self.classifiers = nn.ModuleDict(
            {v: self.network(f"classifier_{v}", partial(self._classifier, v)) for v in (self.source, self.target)}
        )

    def _classifier(self, view: str) -> nn.Module:
        """A PatchGAN on maps, a multilayer perceptron on vectors and on the native encoder's codes of a few pixels."""
        shape = self.translator.code_shape(view)
        if len(shape) == 1 or self.translator.image_encoder == "native":
            return VectorDiscriminator(prod(shape))
        return latent_discriminator(shape[0], shape[-1], FILTERS[self.config.network])

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The classifiers, or encoders, decoders and links."""
        return (self.classifiers,) if group == "classifiers" else super().modules_of(group)

    def prepare(self, batch: Batch) -> LatentViews:
        """Encodes and maps once for both groups, before either freezes the other's parameters."""
        views = super().prepare(batch)
        if self.has_adversary:
            for source, target in self.directions:
                views.mapped(source, target, pairs_only=False)
        return views

    def losses_classifiers(self, views: LatentViews) -> Terms:
        """Eq. 8 for both domains: mapped codes are 0, own codes are 1. Codes are detached."""

        def classify(source: str, target: str) -> Tensor:
            mapped, own = self._adversarial_codes(views, source, target)
            return self.verdict(mapped.detach(), target, 0.0) + self.verdict(own.detach(), target, 1.0)

        x, y = self.source, self.target
        return {"classify_y": lambda: classify(x, y), "classify_x": lambda: classify(y, x)}

    def losses_mappers(self, views: LatentViews) -> Terms:
        """Eq. 11 without the classifiers' part."""
        x, y = self.source, self.target
        return {
            "xx": lambda: self.reconstruction(views, x),
            "yy": lambda: self.reconstruction(views, y),
            "xy": lambda: self.supervised(views, x, y),
            "yx": lambda: self.supervised(views, y, x),
            "distance": lambda: self.distance(views, x, y) + self.distance(views, y, x),
            "confusion": lambda: self.confusion(views, x, y) + self.confusion(views, y, x),
        }

    def distance(self, views: LatentViews, source: str, target: str) -> Tensor:
        """L1 between mapped and own codes of the pairs (eq. 7); reaches both encoders and the link."""
        if not views.paired(source, target):
            return self.nothing("mappers")
        own = views.code(target)[views.beside(target, source)]
        return F.l1_loss(views.mapped(source, target, pairs_only=True), own)

    def confusion(self, views: LatentViews, source: str, target: str) -> Tensor:
        """Makes mapped codes indistinguishable from own ones (eqs. 9 and 10); reaches encoders and link alone."""
        mapped, own = self._adversarial_codes(views, source, target)
        match self.config.adversarial:
            case "confusion":
                return self.verdict(mapped, target, 0.5) + self.verdict(own, target, 0.5)
            case "non_saturating":
                return self.verdict(mapped, target, 1.0)
            case "saturating":
                return -self.verdict(mapped, target, 0.0)
            case "gradient_reversal":
                mapped, own = reverse_gradient(mapped), reverse_gradient(own)
                return self.verdict(mapped, target, 0.0) + self.verdict(own, target, 1.0)

    def verdict(self, codes: Tensor, view: str, verdict: float) -> Tensor:
        """Cross-entropy of a view's classifier on codes against one verdict for all of them."""
        return bce_to(self.classifiers[view](codes), verdict) if len(codes) else self.nothing("classifiers")

    def _adversarial_codes(self, views: LatentViews, source: str, target: str) -> tuple[Tensor, Tensor]:
        """Mapped and own codes in the target's latent space; those of pairs are left out without `adv_on_pairs`."""
        mapped, own = views.mapped(source, target, pairs_only=False), views.code(target)
        if self.config.adv_on_pairs:
            return mapped, own
        return mapped[views.beside(source, target, absent=True)], own[views.beside(target, source, absent=True)]
