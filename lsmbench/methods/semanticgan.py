"""semanticGAN: a generator of images with their masks, and an encoder that finds an image's code in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from math import cos, pi
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, DataModule
from lsmbench.data.pools import ViewSet
from lsmbench.domains import Image, signed
from lsmbench.losses import path_lengths, steepness
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.generating import GeneratingMethod, tempered_cross_entropy, tempered_dice
from lsmbench.methods.phases import Optimizer, Phase, Stage, lazily
from lsmbench.methods.ranger import Ranger
from lsmbench.networks.joint_discriminator import MultiScalePatchGAN
from lsmbench.networks.lpips import LPIPS
from lsmbench.networks.pyramid import PyramidEncoder
from lsmbench.networks.stylegan2 import (
    GROUP,
    SIDES,
    StyleDiscriminator,
    StyleGenerator,
    nearest_sides,
)
from lsmbench.options import option
from lsmbench.palettes import IGNORED

R1_EVERY, PATH_EVERY = 16, 4
"""Updates from one regularisation to the next (StyleGAN2, App. B)."""
MIXED, PATH_DECAY = 0.9, 0.01
"""Share of fakes with mixed styles; decay of the mean path length."""


class Widths(NamedTuple):
    """Widths of the networks: of codes, of the generator's trunk, of the encoder and of the discriminator of pairs."""

    code: int
    multiplier: float
    cap: int
    filters: int
    depth: Literal[18, 50]


WIDTHS = {
    "paper": Widths(512, 2.0, 512, 64, 50),
    "small": Widths(64, 1 / 32, 64, 16, 18),
    "tiny": Widths(16, 1 / 64, 16, 4, 18),
}


@dataclass
class SemanticGANConfig(MethodConfig):
    """The supplement's settings, §2."""

    learning_rate: float = option(
        2e-3, "Adam's learning rate for generator and discriminators", low=1e-5, high=1e-1, source="supplement, §2"
    )
    beta1: float = option(0.0, "Adam's decay of the mean gradient", source="supplement, §2")
    beta2: float = option(0.99, "Adam's decay of the mean squared gradient", source="supplement, §2")
    encoder_rate: float = option(1e-3, "Ranger's learning rate", low=1e-5, high=1e-1, source="supplement, §2")
    labelled_clip: float = option(
        2.0, "Greatest norm of the encoder's gradient in its labelled updates", source="supplement, §2; 5 in its code"
    )
    perceptual: Literal["discriminator", "lpips_vgg", "auto"] = option(
        "discriminator",
        "Features in which images are compared. lpips_vgg: LPIPS with VGG-16, whose weights are two downloads; "
        "discriminator: those of the trained discriminator of images; auto: lpips_vgg if its files are there",
        source="lpips_vgg: supplement, §1.2",
    )
    w_r1: float = option(10.0, "γ of R1, the gradient penalty of D_r", low=1e-2, high=1e3, source="StyleGAN2, App. B")
    w_path: float = option(
        2.0, "Weight of the path length regularisation", low=1e-2, high=1e2, source="StyleGAN2, App. B"
    )
    w_features: float = option(2.0, "Weight of feature matching", low=1e-2, high=1e2, source="released code")
    w_perceptual: float = option(
        10.0, "Weight of the perceptual term of the encoder", low=1e-2, high=1e2, source="released code"
    )
    w_pixels: float = option(
        1.0,
        "Weight of the squared error of the encoder: λ1 = 0.1 of the perceptual one",
        low=1e-2,
        high=1e2,
        source="supplement, §2",
    )


class Shown(NamedTuple):
    """What an update sees: `photos` without masks, and the `images` of pairs with their masks' `labels`."""

    photos: Tensor
    images: Tensor
    labels: Tensor


class SemanticGAN(GeneratingMethod):
    """Generative segmentation (Li et al. 2021): G makes images with their masks; E finds a photo's code in G.

    The sources are the supplement, whose §2 has the training, and facts of the released code where the supplement is
    silent; the equations 7 and 8 that it cites are the main paper's. First G is trained against D_r, which sees images,
    and D_m, which sees images with masks; its average over the updates is kept. Then E is trained to find codes w⁺ from
    which G, which stays as it is, makes the photo, and for pairs the mask. A prediction is the mask that G makes of
    E's code, with noise that depends on the sample alone. `code` refines codes (§3).

    D_r's real images are the photos without a mask; where there are none, those of the pairs. R1 is for D_r alone, as
    the paper says; the released code adds one for D_m. The fakes and the pairs of an update do not belong together, so
    that features of fakes are matched with those of any pair. G is trained for its whole budget, where the paper waits
    for FID to converge, and its last average is taken.
    """

    Config = SemanticGANConfig
    config: SemanticGANConfig
    needs_pairs = True
    averaged: ClassVar = {"generator": 0.5 ** (32 / 10_000)}
    weights: ClassVar = {"judge_images": 1.0, "judge_pairs": 1.0, "fool_images": 1.0, "fool_pairs": 1.0,
                         "cross_entropy": 1.0, "dice": 1.0}  # fmt: skip

    @property
    def stages(self) -> tuple[Stage, ...]:
        """G with its discriminators, then E. An optimiser that a lazy regularisation shares has its rate corrected."""
        images = lazily("image_discriminator", self.config, R1_EVERY)
        generator = lazily("generator", self.config, PATH_EVERY)
        ranger = partial(Ranger, lr=self.config.encoder_rate)
        return (
            Stage("generator", (
                Phase("image_discriminator", optimizer=images),
                Phase("mask_discriminator"),
                Phase("r1", ("image_discriminator",), every=R1_EVERY, optimizer=images),
                Phase("generator", optimizer=generator),
                Phase("path_length", ("generator",), every=PATH_EVERY, optimizer=generator),
            ), validated=False),
            Stage("encoder", (
                Phase("unlabelled", ("encoder",), optimizer=Optimizer("unlabelled", make=ranger), clip=2.0),
                Phase("labelled", ("encoder",), optimizer=Optimizer("labelled", make=ranger),
                      clip=self.config.labelled_clip),
            ), share=0.6),
        )  # fmt: skip

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """Needs photos, a target with classes, and a side that is a power of two."""
        source, target = (dataset.domains[view] for view in (dataset.source, dataset.target))
        if not isinstance(source, Image) or target.label_count is None:
            return False, f"makes masks of images, and {dataset.name} asks for {target.kind} of {source.kind}"
        if source.shape[1:] != target.shape[1:]:
            sides = " and ".join(str(domain.shape[-1]) for domain in (source, target))
            return False, f"needs source and target of one size, and they have {sides} px"
        side = source.shape[-1]
        if side not in SIDES:
            near = " or ".join(map(str, nearest_sides(side)))
            return False, f"needs sides that are a power of two from {SIDES[0]} to {SIDES[-1]} px, and the views have "\
                          f"{side} px; the nearest: {near}"  # fmt: skip
        return True, ""

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs, and photos without a mask."""
        return (self.pair, (self.source,))

    def learn(self, data: DataModule) -> None:
        """Says what the data makes of the method; nothing is learnt."""
        groups = data.groups()
        if (self.source,) not in groups:
            self.remarks.append("there is no photo without a mask: the generator saw the photos of the pairs as real")
        shares = data.sampler().shares or {}
        if (least := shares.get((self.source,), shares.get(self.pair, GROUP))) < GROUP:
            self.remarks.append(
                f"an update shows {least} real photos, fewer than the {GROUP} over which minibatch deviation is taken"
            )
        self.remarks.append(
            "images were compared by LPIPS with VGG-16" if self.lpips else "images were compared by features of the "
            "trained discriminator, not by LPIPS as in the paper"
        )  # fmt: skip

    # Networks ---------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Makes G, D_r, D_m and E."""
        self.domains = {view: signed(domain) for view, domain in self.domains.items()}
        channels, side = self.domains[self.source].shape[:2]
        wide = WIDTHS[self.config.network]
        trunk = (wide.multiplier, wide.cap)
        self.generator = self.network(
            "generator", lambda: StyleGenerator(side, channels, self.classes, wide.code, *trunk)
        )
        self.image_discriminator = self.network(
            "image_discriminator", lambda: StyleDiscriminator(side, channels, *trunk)
        )
        self.mask_discriminator = self.network(
            "mask_discriminator", lambda: MultiScalePatchGAN(channels + self.classes, wide.filters)
        )
        self.encoder = self.network(
            "encoder",
            lambda: PyramidEncoder(channels, side, self.generator.codes, wide.code, wide.filters, wide.depth),
        )
        self.register_buffer("path_mean", torch.zeros(()))
        self.path_mean: Tensor
        self.lpips = (LPIPS.load(),) if self.config.perceptual == "lpips_vgg" or (
            self.config.perceptual == "auto" and LPIPS.is_there()) else ()  # fmt: skip

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The network of that name."""
        return (cast(nn.Module, getattr(self, group)),)

    def prepare(self, batch: Batch) -> Shown:
        """Photos without a mask, or else those of the pairs; images and labels of the pairs. Perhaps none of either."""
        pairs, fed = batch.get(self.pair), self.domains[self.source].to_input
        photos = batch.get((self.source,), pairs)
        if photos is None:
            return Shown(*[torch.zeros(0, device=self.device)] * 3)
        if pairs is None:
            return Shown(fed(photos[self.source]), *[torch.zeros(0, device=self.device)] * 2)
        labels = self.domains[self.target].to_labels(pairs[self.target])
        return Shown(fed(photos[self.source]), fed(pairs[self.source]), labels)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Labels (B, H, W) as D_m sees them, (B, classes, H, W) in [−1, 1]; where there is none, all classes alike."""
        count = cast(int, self.domains[self.target].label_count)
        known = labels != IGNORED
        one_hot = F.one_hot(labels.where(known, 0), count).movedim(-1, 1).to(self.path_mean.dtype)
        one_hot = one_hot.where(known.unsqueeze(1), 1 / count)[:, -self.classes :]
        return 2 * one_hot - 1

    def generated(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (B, codes, width) of new z with style mixing, and G's images and maps of classes for them."""
        like = self.path_mean.new_empty
        first, second = self.normal(like(count, 2, self.generator.width)).unbind(1)
        mixed = float(self.drawn(torch.rand(()))) < MIXED
        crossing = int(self.drawn(torch.randint(1, self.generator.codes, ())))
        codes = self.generator.spread(
            self.generator.map(first), self.generator.map(second) if mixed else None, crossing
        )
        return codes, *self.generator(codes, self.noise(count))

    def noise(self, count: int) -> list[Tensor]:
        """Noise maps of an update."""
        sides = self.generator.noise_sides
        numbers = self.normal(self.path_mean.new_empty(count, sum(side**2 for side in sides)))
        parts = torch.split(numbers, [side**2 for side in sides], 1)
        return [part.view(count, 1, side, side) for part, side in zip(parts, sides, strict=True)]

    # Stage 1: the generator -------------------------------------------------------------------------------------------

    def losses_image_discriminator(self, shown: Shown) -> Terms:
        """D_r, non-saturating logistic: softplus(D_r(G(z))) + softplus(−D_r(x))."""

        def judge() -> Tensor:
            with torch.no_grad():
                _, fakes, _ = self.generated(len(shown.photos))
            judged = self.image_discriminator
            return F.softplus(judged(fakes)).mean() + F.softplus(-judged(shown.photos)).mean()

        return {"judge_images": judge}

    def losses_mask_discriminator(self, shown: Shown) -> Terms:
        """D_m, hinge, in the mean over its scales: ½ [max(0, 1 − D_m(x, m)) + max(0, 1 + D_m(G(z)))]."""

        def judge() -> Tensor:
            if not len(shown.images):
                return self.nothing("mask_discriminator")
            with torch.no_grad():
                _, images, masks = self.generated(len(shown.images))
            pairs = torch.cat([shown.images, self.one_hot(shown.labels)], 1)
            # In one batch, which is quicker; its samples do not depend on each other.
            scales = self.mask_discriminator(torch.cat([pairs, torch.cat([images, masks], 1)]))
            verdicts = [scale[-1].chunk(2) for scale in scales]
            hinges = [F.relu(1 - real).mean() + F.relu(1 + fake).mean() for real, fake in verdicts]
            return torch.stack(hinges).mean() / 2

        return {"judge_pairs": judge}

    def losses_r1(self, shown: Shown) -> Terms:
        """R1 on D_r (Mescheder et al. 2018): ½ |∇D_r(x)|², times the updates from one to the next."""

        def penalty() -> Tensor:
            with torch.autocast(self.device.type, enabled=False):  # slopes of slopes need all digits
                return steepness(self.image_discriminator, shown.photos) * R1_EVERY

        return {"r1": penalty}

    def losses_generator(self, shown: Shown) -> Terms:
        """G against D_r and D_m, and feature matching.

        No gradient of D_m reaches the image, so that D_m does not train the layers that make it; it does train the
        trunk, through the layers that make the mask.
        """

        @cache
        def fakes() -> tuple[Tensor, Tensor, Tensor]:
            return self.generated(len(shown.photos))

        @cache
        def judged() -> list[list[Tensor]]:
            _, images, masks = fakes()
            return cast(list[list[Tensor]], self.mask_discriminator(torch.cat([images.detach(), masks], 1)))

        def matched() -> Tensor:
            if not len(shown.images):
                return self.nothing("generator")
            rows = torch.arange(len(shown.photos), device=self.device) % len(shown.images)
            with torch.no_grad():
                pairs = torch.cat([shown.images, self.one_hot(shown.labels)], 1)
                real = self.mask_discriminator(pairs)
            scales = zip(judged(), real, strict=True)
            misses = [F.l1_loss(f, r[rows]) for fake, true in scales for f, r in zip(fake[:-1], true[:-1], strict=True)]
            return torch.stack(misses).sum() / len(real)

        return {
            "fool_images": lambda: F.softplus(-self.image_discriminator(fakes()[1])).mean(),
            "fool_pairs": lambda: -torch.stack([scale[-1].mean() for scale in judged()]).mean(),
            "features": matched,
        }

    def losses_path_length(self, shown: Shown) -> Terms:
        """How far the slopes of G's image are from their running mean (StyleGAN2, eq. 4), times the updates between.

        Half as many fakes as photos are taken (StyleGAN2, App. B). Processes that divide a batch hence compute what one
        process does if the part of each is even.
        """

        def penalty() -> Tensor:
            with torch.autocast(self.device.type, enabled=False):
                codes, images, _ = self.generated(max(1, len(shown.photos) // 2))
                lengths = path_lengths(images, codes, self.normal(images))
                mean = self.summed(lengths.detach().mean()) / self.devices
                self.path_mean.lerp_(mean, PATH_DECAY)
                return (lengths - self.path_mean.clone()).square().mean() * PATH_EVERY

        return {"path": penalty}

    # Stage 2: the encoder ---------------------------------------------------------------------------------------------

    def losses_unlabelled(self, shown: Shown) -> Terms:
        """E on photos: perceptual and squared error of what G makes of their codes."""
        return self._likeness(shown.photos)[0]

    def losses_labelled(self, shown: Shown) -> Terms:
        """E on pairs: the same, and the cross-entropy and Dice of the masks."""
        terms, masks = self._likeness(shown.images)

        def of_masks(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return loss(masks(), shown.labels) if len(shown.images) else self.nothing("encoder")

        return terms | {
            "cross_entropy": lambda: of_masks(tempered_cross_entropy),
            "dice": lambda: of_masks(tempered_dice),
        }

    def _likeness(self, pictures: Tensor) -> tuple[Terms, Callable[[], Tensor]]:
        """The terms that compare pictures with what G makes of their codes; and what gives the maps of classes."""

        @cache
        def made() -> tuple[Tensor, Tensor]:
            generator = self.averaged_generator
            return cast(tuple[Tensor, Tensor], generator(self.encoder(pictures), self.noise(len(pictures))))

        def perceptual() -> Tensor:
            if not len(pictures):
                return self.nothing("encoder")
            with torch.no_grad():
                wanted = self.features(pictures)
            return self.apart(self.features(made()[0]), wanted).mean()

        def pixels() -> Tensor:
            return F.mse_loss(made()[0], pictures) if len(pictures) else self.nothing("encoder")

        return {"perceptual": perceptual, "pixels": pixels}, lambda: made()[1]

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """Of the encoder, as in 60,000 updates: constant for 30,000, then by a cosine to 0.01 at 100,000."""
        done = 0.6 * epoch / epochs
        if self.stage.name == "generator" or done < 0.3:
            return 1.0
        return 0.01 + 0.99 * (0.5 + 0.5 * cos(pi * (done - 0.3) / 0.7))
