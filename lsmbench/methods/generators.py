"""What the image-to-image GANs share: generators, discriminators, their losses and the learning rate's decay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Views
from lsmbench.domains import Domain, Image
from lsmbench.losses import fooling, judged_as
from lsmbench.methods.base import MethodConfig
from lsmbench.methods.latent import LatentConfig, LatentNetworks
from lsmbench.methods.phases import Stage
from lsmbench.networks.mlp import VectorDiscriminator
from lsmbench.networks.norm import Norm
from lsmbench.networks.patchgan import PatchGAN
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.resnet import ResnetGenerator
from lsmbench.networks.unet import UNetGenerator
from lsmbench.options import option

GeneratorWord = Literal["latent", "resnet6", "resnet9", "unet"]


@dataclass
class GeneratorConfig(LatentConfig):
    """Options of all methods with generators and discriminators. The defaults are those of their own papers and code.

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


class GeneratorMethod(LatentNetworks):
    """A method whose translations are generators that discriminators judge.

    A subclass says by `own_generator` which one its paper has, and gives losses for `discriminators` and `generators`.
    All epochs are trained, and the best by the validation score is tested (LSM, App. C).
    """

    Config: ClassVar[type[MethodConfig]] = GeneratorConfig
    config: GeneratorConfig

    @classmethod
    def own_generator(cls, side: int) -> GeneratorWord:
        """The paper's generator for images of a side in pixels."""
        return "resnet9" if side >= 256 else "resnet6"

    @classmethod
    def generator_for(cls, config: GeneratorConfig, domains: dict[str, Domain]) -> GeneratorWord:
        """The generator, after `auto` is resolved."""
        if config.generator != "auto":
            return config.generator
        vector = any(domain.is_vector for domain in domains.values())
        return "latent" if vector else cls.own_generator(next(iter(domains.values())).shape[-1])

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Generators other than `latent` translate maps to maps; a PatchGAN needs 24 px."""
        options = cast(GeneratorConfig, config)
        kind = cls.generator_for(options, dataset.domains)
        for view, domain in dataset.domains.items():
            if not domain.is_vector and domain.shape[-1] < 24:
                return False, f"needs sides of 24 px for its discriminators, and {view} has {domain.shape[-1]}"
        if kind == "latent":
            return super().supports(dataset, config)
        for view, domain in dataset.domains.items():
            if domain.is_vector:
                return False, f"cannot make or read {domain.kind} ({view}) with generator={kind}; use generator=latent"
            side = domain.shape[-1]
            if kind == "unet" and (side < 32 or (side & (side - 1) and side % 256)):
                return False, f"needs sides of 32, 64, 128 or a multiple of 256 px for its U-Net, and {view} has {side}"
        return cls._fits(dataset.domains, "resnet")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, of the full budget."""
        return (Stage("train", self.groups, full_budget=True),)

    def build(self) -> None:
        """Makes the generators and `discriminators`, one for each target."""
        if self.generator == "latent":
            super().build()
        else:
            self.domains = {view: _signed(domain) for view, domain in self.domains.items()}
            self.generators = nn.ModuleDict(
                {
                    f"{s}{t}": self.network(f"generator_{s}{t}", partial(self._generator, s, t))
                    for s, t in self.directions
                }
            )
        self.discriminators = nn.ModuleDict(
            {t: self.network(f"discriminator_{t}", partial(self.discriminator, s, t)) for s, t in self.directions}
        )

    @property
    def generator(self) -> GeneratorWord:
        """The generator, after `auto` is resolved."""
        return self.generator_for(self.config, self.domains)

    def _generator(self, source: str, target: str) -> nn.Module:
        shape, made, filters = self.domains[source].shape, self.domains[target].shape[0], FILTERS[self.config.network]
        if self.generator == "unet":
            downs = min(8, shape[-1].bit_length() - 1)
            return UNetGenerator(shape[0], made, filters, downs)
        return ResnetGenerator(shape[0], made, filters, blocks=9 if self.generator == "resnet9" else 6)

    def discriminator(self, source: str, target: str) -> nn.Module:
        """Judges views of the target alone: a PatchGAN, or a multilayer perceptron for vectors."""
        domain = self.domains[target]
        if domain.is_vector:
            return VectorDiscriminator(domain.shape[0])
        return self.patch_discriminator(domain.shape[0], "instance")

    def joint_discriminator(self, source: str, target: str) -> nn.Module:
        """Judges both views together; landmarks beside a map are repeated over it as constant planes."""
        x, y = self.domains[source], self.domains[target]
        if x.is_vector and y.is_vector:
            return VectorDiscriminator(x.shape[0] + y.shape[0])
        planes = x.is_vector or y.is_vector
        auto: Norm = "none" if planes else "batch" if self.generator == "unet" else "instance"
        return self.patch_discriminator(x.shape[0] + y.shape[0], auto)

    def joint_verdict(self, discriminator: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The logits of a `joint_discriminator`."""
        if x.ndim == y.ndim:
            return cast(Tensor, discriminator(torch.cat([x, y], 1)))
        return cast(Tensor, discriminator(x, y) if y.ndim == 2 else discriminator(y, x))

    def patch_discriminator(self, channels: int, auto: Norm) -> PatchGAN:
        """A PatchGAN; `auto` is its normalisation where the configuration leaves that open."""
        norm = auto if self.config.discriminator_norm == "auto" else self.config.discriminator_norm
        return PatchGAN(channels, FILTERS[self.config.network], norm=norm)

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The discriminators, or all that generates."""
        if group == "discriminators":
            return (self.discriminators,)
        return super().modules_of(group) if self.generator == "latent" else (self.generators,)

    def generate(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Network outputs of the target for network inputs of the source, which may be generated themselves."""
        if self.generator == "latent":
            return self.translate_input(fed, source, target)
        output: Tensor = self.generators[f"{source}{target}"](fed)
        return output

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The generator of the direction."""
        return self.generate(self.domains[source].to_input(view), source, target)

    @property
    def random_at_test(self) -> bool:
        """Whether dropout is on at test time."""
        return self.config.test_time_dropout

    def predict(self, views: Views, source: str, target: str) -> Tensor:
        """Translates and decides; with `test_time_dropout`, dropout is on."""
        for module in self.modules():
            if self.random_at_test and isinstance(module, nn.Dropout):
                module.train()
        return super().predict(views, source, target)

    def fakes(self, output: Tensor, view: str) -> Tensor:
        """A network output as its discriminator and the way back see it: in the form of an input, differentiable."""
        return self.domains[view].activate(output)

    def judgement(self, logits: Tensor, real: bool) -> Tensor:
        """The discriminator's loss."""
        return judged_as(logits, real, self.config.gan)

    def fooling(self, logits: Tensor) -> Tensor:
        """The generator's adversarial loss."""
        return fooling(logits, self.config.gan)

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """`linear`: 1 in the first half, then down by equal steps; the last epoch still trains."""
        if self.config.schedule == "constant":
            return 1.0
        constant = epochs // 2
        ahead = 1 if self.config.schedule == "linear_released" else 0
        return 1.0 - max(0, epoch + 1 + ahead - constant) / (epochs - constant + 1)


def _signed(domain: Domain) -> Domain:
    return dataclasses.replace(domain, signed=True) if isinstance(domain, Image) else domain
