"""UNIT: translation without pairs through a latent space that both views share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, Views
from lsmbench.domains import Domain, signed
from lsmbench.errors import UserError
from lsmbench.losses import fooling, judged_as
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.networks.multiscale import LEAST, MultiScaleDiscriminator, scales_for
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.translators import encoder_misfit
from lsmbench.networks.vae import BLOCKS, CoupledVAEs
from lsmbench.options import option


@dataclass
class UNITConfig(MethodConfig):
    """The released code's values: the weights are a tenth of the paper's (§4: 10, 0.1, 100, 0.1, 100)."""

    learning_rate: float = option(1e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="UNIT, §4; released code")
    beta1: float = option(0.5, "Adam's decay of the mean gradient", source="UNIT, §4; released code")
    weight_decay: float = option(1e-4, "Weight decay (L2)", source="released code")
    decay_every: int = option(
        100_000,
        "The learning rate is halved in the first epoch after as many updates, and so on; 0: never",
        unit="updates",
        source="released code",
    )
    w_gan: float = option(1.0, "λ0, of the adversarial loss", low=1e-4, high=1e2, source="released code")
    w_vae_kl: float = option(
        0.01, "λ1, of the codes' divergence from N(0, 1)", low=1e-4, high=10, source="released code"
    )
    w_vae_l1: float = option(10.0, "λ2, of both reconstructions", low=1e-4, high=1e3, source="released code")
    w_cc_kl: float = option(
        0.01, "λ3, of the divergence of translations' codes from N(0, 1)", low=1e-4, high=10, source="released code"
    )
    w_cc_l1: float = option(10.0, "λ4, of both cycles", low=1e-4, high=1e3, source="released code")
    gan: Literal["lsgan", "vanilla"] = option(
        "lsgan", "The adversarial loss; vanilla is the paper's eq. 4", source="released code"
    )
    shared: int = option(
        0,
        f"Residual blocks that both encoders share, their last ones, and both generators, their first; 0 to {BLOCKS}",
        source="released code: 0; UNIT, §3 and its table of networks: 1",
    )


@dataclass
class UNITViews:
    """The views of a step, all as network inputs, with what the networks make of them.

    Attributes:
        real: Views that are shown.
        mean: Means of their codes.
        again: Views decoded from their own codes.
        fake: Translations, by the view that they are in.
        carried: Means of the translations' codes, by the view that was translated.
        back: Views translated there and back.
    """

    real: Views = field(default_factory=dict)
    mean: Views = field(default_factory=dict)
    again: Views = field(default_factory=dict)
    fake: Views = field(default_factory=dict)
    carried: Views = field(default_factory=dict)
    back: Views = field(default_factory=dict)


class UNIT(Method):
    """Unsupervised image-to-image translation networks (Liu, Breuel and Kautz 2017, eqs. 1 to 7).

    Each view has a variational autoencoder whose codes are E(x) + N(0, 1); the other's generator translates them. At
    test time there is no noise. Pairs are taken as unpaired samples, so the score does not depend on N. Discriminators
    are updated first, then encoders and generators, which share one forward pass and so its noise.

    Networks, losses, weights and optimiser are those of the current released code. Where the paper differs:

    * It shares the last layer of the encoders and the first of the generators: `shared=1`.
    * Its adversarial loss is cross-entropy (`gan=vanilla`) of one discriminator for each view. The code's have three
      scales, whose least-squares losses are added up. Below 61 px there are two scales, below 31 px one.
    * Its KL is ½ the sum of μ² over a code; the code's is the mean of μ². Eqs. 6 and 7 count the divergence of a
      view's own code again, which adds λ3 to λ1; the code counts it once.
    * Its learning rate is constant: `decay_every=0`.

    Left out is the code's perceptual loss: only streets have it, and it needs trained VGG weights. Views of different
    sides are brought to the greater one before they are encoded, and back after they are generated, since a code has to
    fit both generators; the paper's digits had one side.
    """

    Config = UNITConfig
    config: UNITConfig
    groups = ("discriminators", "vaes")
    both_ways = full_budget = True
    weights: ClassVar = {"judge_x": 1.0, "judge_y": 1.0}
    uses_pairs = False

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Maps of at least 16 px, the greater a multiple of 4."""
        reason = cls.misfit({view: dataset.domains[view] for view in sorted((dataset.source, dataset.target))})
        return not reason, reason

    @classmethod
    def misfit(cls, domains: Mapping[str, Domain]) -> str:
        """Why the views do not fit the networks; empty if they do."""
        for view, domain in domains.items():
            if domain.is_vector:
                return f"cannot make or read {domain.kind} ({view})"
            if domain.shape[-1] < LEAST:
                return f"needs sides of {LEAST} px for its discriminators, and {view} has {domain.shape[-1]}"
        return encoder_misfit({view: domain.shape for view, domain in domains.items()}, "resnet")

    def build(self) -> None:
        """Makes both autoencoders, and a discriminator of each view.

        Raises:
            UserError: If the views do not fit, or an option is out of its range.
        """
        domains = {view: self.domains[view] for view in self.views}
        if reason := self.misfit(domains):
            raise UserError(f"{type(self).__name__} {reason}.")
        if not 0 <= self.config.shared <= BLOCKS:
            raise UserError(f"method.shared: expected 0 to {BLOCKS} residual blocks, found {self.config.shared}.")
        if self.config.decay_every < 0:
            raise UserError(f"method.decay_every: expected 0 or more updates, found {self.config.decay_every}.")
        self.domains = {view: signed(domain) for view, domain in self.domains.items()}
        shapes, filters = {v: domain.shape for v, domain in domains.items()}, FILTERS[self.config.network]
        self.vaes = CoupledVAEs(shapes, self.network, filters, self.config.shared)
        judges = {v: partial(MultiScaleDiscriminator, s[0], filters, scales_for(s[-1])) for v, s in shapes.items()}
        self.discriminators = nn.ModuleDict({v: self.network(f"discriminator_{v}", j) for v, j in judges.items()})

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The discriminators, or encoders and generators."""
        return (self.discriminators if group == "discriminators" else self.vaes,)

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """½ for every `decay_every` updates that were done before the epoch."""
        every = self.config.decay_every
        return 0.5 ** (self.global_step // every) if every else 1.0

    def latents(self, view: Tensor, name: str) -> Tensor:
        """Means of codes."""
        return self.vaes.encode(self.domains[name].to_input(view), name)

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """G_y(E_x(x)), without noise."""
        return self.vaes.generate(self.vaes.encode(self.domains[source].to_input(view), source), target)

    def prepare(self, batch: Batch) -> UNITViews:
        """Decodes each view from its code, translates it by the same code, and translates it back."""
        views = UNITViews(self.inputs(batch))
        for view, other in self.directions:
            if view not in views.real:
                continue
            views.mean[view], code = self.coded(views.real[view], view)
            views.again[view], views.fake[other] = self.made(code, view), self.made(code, other)
            views.carried[view], code = self.coded(views.fake[other], other)
            views.back[view] = self.made(code, view)
        return views

    def coded(self, fed: Tensor, view: str) -> tuple[Tensor, Tensor]:
        """The means of codes, and codes z ~ q(z | x) = N(E(x), 1)."""
        mean = self.vaes.encode(fed, view)
        return mean, mean + self.normal(mean)

    def made(self, code: Tensor, view: str) -> Tensor:
        """What a generator makes of codes, in the form of network inputs."""
        return self.domains[view].activate(self.vaes.generate(code, view))

    def losses_discriminators(self, views: UNITViews) -> Terms:
        """−L_GAN (eqs. 4 and 5) of each view."""
        return {
            "judge_y": lambda: self.judge(views, self.target),
            "judge_x": lambda: self.judge(views, self.source),
        }

    def losses_vaes(self, views: UNITViews) -> Terms:
        """L_VAE (eqs. 2 and 3), L_GAN (eqs. 4 and 5) and L_CC (eqs. 6 and 7), each of both views."""
        return {
            "vae_kl": lambda: self.divergence(views.mean),
            "vae_l1": lambda: self.difference(views.again, views.real),
            "gan": lambda: self.adversarial(views),
            "cc_kl": lambda: self.divergence(views.carried),
            "cc_l1": lambda: self.difference(views.back, views.real),
        }

    def divergence(self, means: Views) -> Tensor:
        """KL(q(z | x) ‖ N(0, 1)) up to a factor: the mean of μ²."""
        if not means:
            return self.nothing("vaes")
        return cast(Tensor, sum(mean.square().mean() for mean in means.values()))

    def difference(self, made: Views, real: Views) -> Tensor:
        """−log p(x | z) of a Laplacian p up to a factor: L1."""
        if not made:
            return self.nothing("vaes")
        return cast(Tensor, sum(self.domains[view].l1(made[view], real[view]) for view in made))

    def judge(self, views: UNITViews, view: str) -> Tensor:
        """ℓ(D(real), 1) + ℓ(D(fake), 0), added up over the scales."""
        if view not in views.fake or view not in views.real:
            return self.nothing("discriminators")
        fakes = self.veiled(views.fake[view], views.real, view).detach()
        real, fake = self.verdict(views.real[view], view), self.verdict(fakes, view)
        loss = (
            judged_as(r, True, self.config.gan) + judged_as(f, False, self.config.gan)
            for r, f in zip(real, fake, strict=True)
        )
        return cast(Tensor, sum(loss))

    def adversarial(self, views: UNITViews) -> Tensor:
        """ℓ(D(fake), 1), added up over the scales and over the views."""
        if not views.fake:
            return self.nothing("vaes")
        shown = {view: self.veiled(fakes, views.real, view) for view, fakes in views.fake.items()}
        logits = (scale for view, fakes in shown.items() for scale in self.verdict(fakes, view))
        return cast(Tensor, sum(fooling(scale, self.config.gan) for scale in logits))

    def verdict(self, seen: Tensor, view: str) -> list[Tensor]:
        """The logits of a view's discriminator on each scale."""
        return cast(list[Tensor], self.discriminators[view](seen))
