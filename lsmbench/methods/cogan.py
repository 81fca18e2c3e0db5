"""CoGAN: a joint distribution of two domains from samples of each, and a classifier that both share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch, Views
from lsmbench.errors import UserError
from lsmbench.losses import bce_to
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.classifying import ClassifyingMethod, Labelled
from lsmbench.networks.cogan import SIDE, CoupledDiscriminators, CoupledGenerators
from lsmbench.networks.presets import FILTERS
from lsmbench.options import option


@dataclass
class CoGANConfig(MethodConfig):
    """The released code's settings for digits."""

    learning_rate: float = option(2e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="released code")
    beta1: float = option(0.5, "Adam's decay of the mean gradient", source="released code")
    weight_decay: float = option(5e-4, "Weight decay (L2)", source="released code")
    noise: int = option(100, "Length of a noise vector", unit="numbers", source="CoGAN, §4; released code")
    w_class: float = option(
        10.0, "Weight of the cross-entropy of labelled images", low=1e-2, high=1e3, source="released code"
    )
    w_features: float = option(
        0.01,
        "Weight of the squared distance of both domains' features of one noise vector's images",
        low=1e-5,
        high=10,
        source="released code",
    )


@dataclass
class CoGANViews:
    """What a step has.

    Attributes:
        seen: Real images.
        noise: Noise vectors (B, Z) of the discriminators' update, and of the generators'.
    """

    seen: Labelled = field(default_factory=Labelled)
    noise: tuple[Tensor, ...] = ()


class CoGAN(ClassifyingMethod):
    """Coupled generative adversarial networks (Liu and Tuzel 2016, eq. 6 and §4 for domain adaptation).

    Two generators make an image of each domain from one noise vector, and share all layers but the last; two
    discriminators share all but the first. So the images of one vector come to show the same thing, without pairs.
    On the discriminators' shared features a layer tells the class; it learns from labelled images of the target, and
    at test time reads the features of source images. Nothing is translated.

    Networks, weights and optimisers are those of the released code for digits. `network` scales the generators; the
    discriminators, a LeNet of 432,102 parameters, keep their widths. Where the code does more than the paper says, so
    does this: discriminators also learn to see the two images of one noise vector alike (`w_features`), and
    each of the two updates draws noise of its own. The code tells real from fake by two logits and softmax, which is
    the same function as the one logit here.

    Both domains are brought to 28 px, bilinearly; the paper's USPS has 28 px from the start. Images are in [0, 1].
    """

    Config = CoGANConfig
    config: CoGANConfig
    groups = ("discriminators", "generators")
    full_budget = True
    weights: ClassVar = {"real": 1.0, "fake": 1.0, "gan": 1.0}

    @property
    def side(self) -> int:
        """28 px, the networks' own."""
        return SIDE

    def build(self) -> None:
        """Makes both generators, and both discriminators with the layer that tells the class.

        Raises:
            UserError: If a view is no map, or an option is out of its range.
        """
        if reason := self.misfit(self.domains, self.source, self.target):
            raise UserError(f"CoGAN {reason}.")
        if self.config.noise < 1:
            raise UserError(f"method.noise: expected at least 1 number, found {self.config.noise}.")
        channels = {view: self.domains[view].shape[0] for view in (self.source, self.target)}
        filters = FILTERS[self.config.network]
        self.generators = self.network("generators", partial(CoupledGenerators, channels, filters, self.config.noise))
        self.discriminators = self.network("discriminators", partial(CoupledDiscriminators, channels, self.classes))

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The discriminators with their heads, or the generators."""
        return (getattr(self, group),)

    def classify(self, view: Tensor, name: str) -> Tensor:
        """Logits (B, K) of the classes."""
        return cast(Tensor, self.discriminators.kind(self.latents(view, name)))

    def latents(self, view: Tensor, name: str) -> Tensor:
        """The features that tell the class, (B, 500)."""
        return self.discriminators.features(self.feed(view, name), name)

    def prepare(self, batch: Batch) -> CoGANViews:
        """Brings images to 28 px and draws as many noise vectors for each update as the target has images."""
        seen = self.labelled(batch)
        shown = next((images for images in (seen.target, seen.source) if images is not None), None)
        if shown is None:
            return CoGANViews(seen)
        form = shown.new_empty(len(shown), self.config.noise)
        return CoGANViews(seen, (self.normal(form), self.normal(form)))

    def made(self, noise: Tensor) -> Views:
        """The images of noise vectors, by view."""
        outputs = self.generators(noise)
        return {view: self.domains[view].activate(output) for view, output in outputs.items()}

    # Losses -----------------------------------------------------------------------------------------------------------

    def losses_discriminators(self, views: CoGANViews) -> Terms:
        """−V of eq. 6, the distance of features, and the cross-entropy of labelled images."""
        real = {self.source: views.seen.source, self.target: views.seen.target}
        known = self.features({view: images for view, images in real.items() if images is not None})
        fakes = self.made(views.noise[0]) if views.noise else {}
        made = self.features({view: fake.detach() for view, fake in fakes.items()})
        return {
            "real": lambda: self.judged(known, 1.0),
            "fake": lambda: self.judged(made, 0.0),
            "features": lambda: self.apart(made),
            "class": lambda: self.classified(known, views.seen.classes),
        }

    def losses_generators(self, views: CoGANViews) -> Terms:
        """−E log f(g(z)) of both domains, in place of the printed E log(1 − f(g(z))) (Goodfellow et al. 2014)."""
        return {"gan": lambda: self.adversarial(views)}

    def features(self, images: Views) -> Views:
        """The discriminators' features of images, by view."""
        return {view: self.discriminators.features(some, view) for view, some in images.items()}

    def judged(self, features: Views, real: float) -> Tensor:
        """Cross-entropy of the features of all images, of either domain, with `real` 1 or 0."""
        if not features:
            return self.nothing("discriminators")
        return bce_to(self.discriminators.real(torch.cat(list(features.values()))), real)

    def apart(self, features: Views) -> Tensor:
        """E ‖h_1 − h_2‖² of the features of the two images of a noise vector, summed over the features."""
        if not features:
            return self.nothing("discriminators")
        return (features[self.source] - features[self.target]).square().sum(1).mean()

    def classified(self, features: Views, classes: Tensor | None) -> Tensor:
        """Cross-entropy of the labelled images."""
        if classes is None:
            return self.nothing("discriminators")
        return F.cross_entropy(self.discriminators.kind(features[self.target]), classes)

    def adversarial(self, views: CoGANViews) -> Tensor:
        """Cross-entropy of the fakes of both domains with 1."""
        if not views.noise:
            return self.nothing("generators")
        return self.judged(self.features(self.made(views.noise[1])), 1.0)
