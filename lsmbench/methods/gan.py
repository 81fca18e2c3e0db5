"""What GANs share: generators, discriminators, their losses, and the decay of the learning rate.

`GAN` is the base of all of them. `TwoWayGAN` adds what methods with a generator in each direction have in common: the
views of a step with their translations, pools of earlier fakes, and cycle and identity losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, Views
from lsmbench.domains import Domain, signed
from lsmbench.errors import UserError
from lsmbench.losses import fooling, judged_as
from lsmbench.methods.base import Method, MethodConfig
from lsmbench.methods.phases import linear_decay
from lsmbench.networks.mlp import VectorDiscriminator
from lsmbench.networks.norm import Norm
from lsmbench.networks.patchgan import PatchGAN, least_side
from lsmbench.networks.pool import ImagePool
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.resnet import ResnetGenerator
from lsmbench.networks.translators import DirectTranslator, LatentOptions, LatentTranslator, encoder_misfit
from lsmbench.networks.unet import UNetGenerator
from lsmbench.options import option

_LAYERS, _FEWEST_LAYERS = 3, 2

GeneratorWord = Literal["latent", "resnet6", "resnet9", "unet"]


@dataclass
class GANConfig(LatentOptions, MethodConfig):
    """Options of all GANs. The defaults are those of their own papers and code.

    LSM (Mayet et al. 2022, §4.2) compares with `generator="latent"`: the same networks as its own.
    """

    learning_rate: float = option(
        2e-4, "Adam's learning rate", low=1e-6, high=1e-1, source="CycleGAN, §4; pix2pix, §3.3; range of LSM, App. B"
    )
    beta1: float = option(0.5, "Adam's decay of the mean gradient", source="CycleGAN's code; pix2pix, §3.3")
    generator: Literal["auto", "latent", "resnet6", "resnet9", "unet"] = option(
        "auto",
        "latent: D_y ∘ L ∘ E_x, the LSM family's networks; resnet6, resnet9 and unet: the papers' own, for images and "
        "masks in [-1, 1] with tanh; auto: latent where a view is a vector, else the paper's own",
        source="latent: LSM, §4.2",
    )
    gan: Literal["vanilla", "lsgan", "saturating"] = option("lsgan", "The adversarial loss", source="CycleGAN, §4")
    discriminator_norm: Literal["auto", "instance", "batch", "none"] = option(
        "auto",
        "Normalisation in discriminators; auto: none where one sees landmarks as constant planes, since instance "
        "normalisation would erase them; batch beside a U-Net; else instance",
        source="pix2pix: batch; CycleGAN and LSM: instance; none by own measurement",
    )
    schedule: Literal["constant", "linear", "linear_released"] = option(
        "linear",
        "Of the learning rate. linear: constant for half of the epochs, then towards zero; linear_released: as the "
        "released code does since 2020, one epoch earlier, so that the last epoch trains nothing",
        source="CycleGAN, §4",
    )
    test_time_dropout: bool = option(
        False, "Whether the U-Net's dropout stays on at test time, as the only noise", source="pix2pix, §3.3: yes"
    )


class GAN(Method):
    """A method whose translations are generators that discriminators judge.

    A subclass gives losses for the groups `discriminators` and `generators`; `own_generator` says which generator its
    paper has. All epochs are trained, and the best by the validation score is tested (LSM, App. C).
    """

    Config: ClassVar[type[MethodConfig]] = GANConfig
    config: GANConfig
    full_budget = True
    any_sides: ClassVar[bool] = False
    """Whether views may have different sides; a discriminator that sees both views needs one."""

    @classmethod
    def own_generator(cls, side: int) -> GeneratorWord:
        """The paper's generator for images of a side in pixels."""
        return "resnet9" if side >= 256 else "resnet6"

    @classmethod
    def generator_for(cls, config: GANConfig, domains: Mapping[str, Domain]) -> GeneratorWord:
        """The generator, after `auto` is resolved."""
        if config.generator != "auto":
            return config.generator
        vector = any(domain.is_vector for domain in domains.values())
        return "latent" if vector else cls.own_generator(next(iter(domains.values())).shape[-1])

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Whether source and target fit the networks."""
        views = sorted((dataset.source, dataset.target))
        reason = cls.misfit(cast(GANConfig, config), {view: dataset.domains[view] for view in views})
        return not reason, reason

    @classmethod
    def misfit(cls, config: GANConfig, domains: Mapping[str, Domain]) -> str:
        """Why the views do not fit: a PatchGAN needs 12 px, and generators other than `latent` maps; else empty."""
        kind = cls.generator_for(config, domains)
        shapes = {view: domain.shape for view, domain in domains.items()}
        for view, domain in domains.items():
            if not domain.is_vector and domain.shape[-1] < least_side(_FEWEST_LAYERS):
                least = least_side(_FEWEST_LAYERS)
                return f"needs sides of {least} px for its discriminators, and {view} has {domain.shape[-1]}"
        sides = sorted({domain.shape[-1] for domain in domains.values() if not domain.is_vector})
        if len(sides) > 1 and not cls.any_sides:
            return f"needs views of one side, and these have {' and '.join(map(str, sides))} px"
        if kind == "latent":
            return encoder_misfit(shapes, LatentTranslator.image_encoder_for(config, shapes))
        for view, domain in domains.items():
            if domain.is_vector:
                return f"cannot make or read {domain.kind} ({view}) with generator={kind}; use generator=latent"
            side = domain.shape[-1]
            if kind == "unet" and (side < 32 or (side & (side - 1) and side % 256)):
                return f"needs sides of 32, 64, 128 or a multiple of 256 px for its U-Net, and {view} has {side}"
        return encoder_misfit(shapes, "resnet")

    # Networks ---------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Makes the generators and `discriminators`, one for each target.

        Raises:
            UserError: If the views do not fit.
        """
        domains = {view: self.domains[view] for view in self.views}
        if reason := self.misfit(self.config, domains):
            raise UserError(f"{type(self).__name__} {reason}.")
        self.generator = self.generator_for(self.config, domains)
        self.generators: LatentTranslator | DirectTranslator
        if self.generator == "latent":
            shapes, filters = {v: domain.shape for v, domain in domains.items()}, FILTERS[self.config.network]
            self.generators = LatentTranslator(shapes, self.directions, self.network, filters, self.config)
        else:
            self.domains = {view: signed(domain) for view, domain in self.domains.items()}
            self.generators = DirectTranslator(
                {f"{s}{t}": self.network(f"generator_{s}{t}", partial(self._own, s, t)) for s, t in self.directions},
                {view: domain.shape[-1] for view, domain in domains.items()},
            )
        self.discriminators = nn.ModuleDict(
            {t: self.network(f"discriminator_{t}", partial(self.discriminator, s, t)) for s, t in self.directions}
        )

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The discriminators or the generators."""
        return (self.discriminators if group == "discriminators" else self.generators,)

    def _own(self, source: str, target: str) -> nn.Module:
        shape, made, filters = self.domains[source].shape, self.domains[target].shape[0], FILTERS[self.config.network]
        if self.generator == "unet":
            return UNetGenerator(shape[0], made, filters, downs=min(8, shape[-1].bit_length() - 1))
        return ResnetGenerator(shape[0], made, filters, blocks=9 if self.generator == "resnet9" else 6)

    def discriminator(self, source: str, target: str) -> nn.Module:
        """Judges views of the target alone: a PatchGAN, or a multilayer perceptron for vectors."""
        domain = self.domains[target]
        if domain.is_vector:
            return VectorDiscriminator(domain.shape[0])
        return self._patch_discriminator(domain.shape[0], "instance", domain.shape[-1])

    def joint_discriminator(self, source: str, target: str) -> nn.Module:
        """Judges both views together; landmarks beside a map are repeated over it as constant planes."""
        x, y = self.domains[source], self.domains[target]
        if x.is_vector and y.is_vector:
            return VectorDiscriminator(x.shape[0] + y.shape[0])
        planes = x.is_vector or y.is_vector
        auto: Norm = "none" if planes else "batch" if self.generator == "unet" else "instance"
        return self._patch_discriminator(
            x.shape[0] + y.shape[0], auto, max(d.shape[-1] for d in (x, y) if not d.is_vector)
        )

    def _patch_discriminator(self, channels: int, auto: Norm, side: int) -> PatchGAN:
        """A PatchGAN of three layers, of two below 24 px; `auto` is its normalisation where that is left open."""
        norm = auto if self.config.discriminator_norm == "auto" else self.config.discriminator_norm
        layers = _LAYERS if side >= least_side(_LAYERS) else _FEWEST_LAYERS
        return PatchGAN(channels, FILTERS[self.config.network], layers, norm)

    # Translations and losses ------------------------------------------------------------------------------------------

    def generate(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Network outputs of the target for network inputs of the source, which may be generated themselves."""
        return cast(Tensor, self.generators(fed, source, target))

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The generator of the direction."""
        return self.generate(self.domains[source].to_input(view), source, target)

    @property
    def random_at_test(self) -> bool:
        """Whether dropout is on at test time."""
        return self.config.test_time_dropout

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """Translates and decides; with `test_time_dropout`, dropout is on."""
        self._drop_at_test()
        return super().predict(views, source, target)

    def logits(self, views: Views, source: str, target: str) -> Tensor | None:
        """As `predict`."""
        self._drop_at_test()
        return super().logits(views, source, target)

    def _drop_at_test(self) -> None:
        for module in self.modules():
            if self.random_at_test and isinstance(module, nn.Dropout):
                module.train()

    def joint_verdict(self, discriminator: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The logits of a `joint_discriminator`."""
        if x.ndim == y.ndim:
            return cast(Tensor, discriminator(torch.cat([x, y], 1)))
        return cast(Tensor, discriminator(x, y) if y.ndim == 2 else discriminator(y, x))

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """A discriminator's loss ½ [ℓ(D(real), 1) + ℓ(D(fake), 0)] for its logits of reals and fakes."""
        return (judged_as(real, True, self.config.gan) + judged_as(fake, False, self.config.gan)) / 2

    def generator_loss(self, fake: Tensor) -> Tensor:
        """A generator's adversarial loss ℓ(D(fake), 1) for the logits of its fakes."""
        return fooling(fake, self.config.gan)

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """By the option `schedule`."""
        if self.config.schedule == "constant":
            return 1.0
        return linear_decay(epoch + 1 if self.config.schedule == "linear_released" else epoch, epochs)


@dataclass
class TwoWayConfig(GANConfig):
    """Options of GANs that translate both ways."""

    pool: int = option(
        50, "Earlier fakes that each discriminator also sees", unit="samples", source="CycleGAN, §4; LSM's code: 0"
    )


@dataclass
class TwoWayViews:
    """The views of a step as network inputs, and their translations.

    Attributes:
        real: Network inputs by view; a view that no sample of the batch shows is absent.
        fake: Translations into each view, in the form of network inputs.
        pairs: How many samples are pairs: the first ones of every view, in the same order.
    """

    real: dict[str, Tensor] = field(default_factory=dict)
    fake: dict[str, Tensor] = field(default_factory=dict)
    pairs: int = 0


class TwoWayGAN(GAN):
    """A GAN with a generator in each direction, which learn from each other's translations."""

    Config: ClassVar[type[MethodConfig]] = TwoWayConfig
    config: TwoWayConfig
    both_ways = True

    @classmethod
    def identity_weight(cls, config: MethodConfig) -> float:
        """The weight of the identity loss; 0 if the method has none."""
        return float(getattr(config, "w_identity", 0.0))

    @classmethod
    def misfit(cls, config: GANConfig, domains: Mapping[str, Domain]) -> str:
        """The identity loss feeds a generator with its own target, which takes views of one shape."""
        x, y = (domain.shape for domain in domains.values())
        if (reason := super().misfit(config, domains)) or x == y or not cls.identity_weight(config):
            return reason
        return (
            f"has an identity loss, which needs views of one shape, and the views' are {x} and {y}; switch it off by "
            "method.w_identity=0"
        )

    def build(self) -> None:
        """Generators, discriminators, and a pool of fakes of each view.

        Raises:
            UserError: If the views do not fit, or the pools' size is negative.
        """
        if self.config.pool < 0:
            raise UserError(f"method.pool: expected 0 or more samples, found {self.config.pool}.")
        super().build()
        self.pools = nn.ModuleDict(
            {v: ImagePool(self.config.pool, self.domains[v].shape) for v in (self.source, self.target)}
        )

    def prepare(self, batch: Batch) -> TwoWayViews:
        """Translates both views once, for all groups; pairs come first."""
        pairs = len(batch[self.pair][self.source]) if self.pair in batch else 0
        views = TwoWayViews(self.inputs(batch), pairs=pairs)
        for source, target in self.directions:
            if source in views.real:
                views.fake[target] = self.made(views.real[source], source, target)
        return views

    def made(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Translations of network inputs, in the form of network inputs; differentiable."""
        return self.domains[target].activate(self.generate(fed, source, target))

    def verdict(self, view: str, seen: Tensor) -> Tensor:
        """The logits of a view's discriminator."""
        return cast(Tensor, self.discriminators[view](seen))

    def pooled(self, views: TwoWayViews, view: str) -> Tensor:
        """The fakes of a view that its discriminator learns from: detached, and some of them from earlier steps.

        Each process exchanges the fakes of the whole batch, so that all have the same pool.
        """
        pool, fakes = cast(ImagePool, self.pools[view]), self.gathered(views.fake[view].detach())
        return self.own(pool(fakes, self.drawn(pool.draw(len(fakes)))))

    def judge(self, views: TwoWayViews, view: str) -> Tensor:
        """½ [ℓ(D(real), 1) + ℓ(D(pooled fake), 0)] (CycleGAN, eq. 1)."""
        if view not in views.fake or view not in views.real:
            return self.nothing("discriminators")
        fakes = self.veiled(self.pooled(views, view), views.real, view)
        return self.discriminator_loss(self.verdict(view, views.real[view]), self.verdict(view, fakes))

    def adversarial(self, views: TwoWayViews, view: str) -> Tensor:
        """The loss of a view's generator for fooling its discriminator (CycleGAN, eq. 1)."""
        if view not in views.fake:
            return self.nothing("generators")
        return self.generator_loss(self.verdict(view, self.veiled(views.fake[view], views.real, view)))

    def cycle(self, views: TwoWayViews, view: str, through: str) -> Tensor:
        """L1 between a view and its translation there and back (CycleGAN, eq. 2); teaches both generators."""
        if view not in views.real:
            return self.nothing("generators")
        return self.domains[view].l1(self.made(views.fake[through], through, view), views.real[view])

    def identity(self, views: TwoWayViews, source: str, target: str) -> Tensor:
        """L1 between a target and what a generator that is fed it makes of it (CycleGAN, §5.2)."""
        if target not in views.real:
            return self.nothing("generators")
        return self.domains[target].l1(self.made(views.real[target], source, target), views.real[target])
