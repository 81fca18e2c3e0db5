"""semanticGAN: a generator of images with their masks, and an encoder that finds an image's code in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import cos, pi
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch, DataModule, Views
from lsmbench.data.pools import ViewSet
from lsmbench.domains import Image, signed
from lsmbench.losses import path_lengths, steepness
from lsmbench.methods.base import Method, MethodConfig, Terms
from lsmbench.methods.phases import Optimizer, Phase, Stage, lazily
from lsmbench.methods.ranger import Ranger
from lsmbench.methods.refinement import Code, Refinement
from lsmbench.networks.joint_discriminator import MultiScalePatchGAN
from lsmbench.networks.lpips import LPIPS
from lsmbench.networks.pyramid import PyramidEncoder
from lsmbench.networks.stylegan2 import (
    GROUP,
    SIDES,
    StyleDiscriminator,
    StyleGenerator,
    correlation,
    nearest_sides,
)
from lsmbench.options import option
from lsmbench.palettes import IGNORED

R1_EVERY, PATH_EVERY = 16, 4
"""Updates from one regularisation to the next (StyleGAN2, App. B)."""
MIXED, PATH_DECAY = 0.9, 0.01
"""Share of fakes with mixed styles; decay of the mean path length."""
HEAT, DICE_HEAT = 0.1, 0.3
"""What logits are divided by in the encoder's losses (released code)."""


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


class SemanticGAN(Method):
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
    generator_stage = "generator"
    has_code = True
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

    @property
    def classes(self) -> int:
        """Channels of the map of classes: one for two classes, else one for each."""
        count = cast(int, self.domains[self.target].label_count)
        return 1 if count == 2 else count

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
        # In a tuple, so that its weights, which are not learnt here, are in no checkpoint.
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
        """How far the slopes of G's image are from their running mean (StyleGAN2, eq. 4), times the updates between."""

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
            generator = cast(StyleGenerator, self.averaged_networks("generator")[0])
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

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What pictures (B, C, side, side) in [−1, 1] are compared by: maps whose pixels are vectors of length 1."""
        if self.lpips:
            return self.lpips[0].to(self.device).features(pictures)
        return [F.normalize(level, dim=1) for level in self.image_discriminator.features(pictures)]

    def apart(self, made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """The perceptual distance of each sample, (B,), of two lists of features.

        LPIPS; or, of the discriminator's features, the squared distance of vectors, 0 to 4, in the mean over the pixels
        of a map and over the maps.
        """
        if self.lpips:
            return self.lpips[0].between(made, wanted)
        levels = [(m - w).square().sum(1).mean((1, 2)) for m, w in zip(made, wanted, strict=True)]
        return torch.stack(levels).mean(0)

    def learning_rate_factor(self, epoch: int, epochs: int) -> float:
        """Of the encoder, as in 60,000 updates: constant for 30,000, then by a cosine to 0.01 at 100,000."""
        done = 0.6 * epoch / epochs
        if self.stage.name == "generator" or done < 0.3:
            return 1.0
        return 0.01 + 0.99 * (0.5 + 0.5 * cos(pi * (done - 0.3) / 0.7))

    # Predictions ------------------------------------------------------------------------------------------------------

    @property
    def random_at_test(self) -> bool:
        """Noise maps are random."""
        return True

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The map of classes, (B, classes, side, side), that G makes of E's codes."""
        generator = cast(StyleGenerator, self.averaged_networks("generator")[0])
        codes = self.encoder(self.domains[source].to_input(view))
        masks: Tensor = generator(codes, generator.noise(len(view), view.device))[1]
        return masks

    def decided(self, output: Tensor, target: str) -> Tensor:
        """Images are cut off at [−1, 1], which G learns without tanh; of classes the most probable is taken."""
        if target == self.source:
            return (output.clamp(-1, 1) + 1) / 2
        labels = output[:, 0] > 0 if self.classes == 1 else output.argmax(1)
        return self.domains[target].from_labels(labels.long())

    def logits_of(self, output: Tensor, target: str) -> Tensor | None:
        """One logit for each class."""
        if target == self.source:
            return None
        return torch.cat([torch.zeros_like(output), output], 1) if self.classes == 1 else output

    @torch.no_grad()
    def sample(self, count: int, seed: int, truncation: float = 1.0) -> Views:
        """Images and masks of new z, whose w are drawn towards the mean of 1,000."""
        generator = cast(StyleGenerator, self.averaged_networks("generator")[0])
        with self.seeded(seed):
            codes = generator.map(self.path_mean.new_empty(1000 + count, generator.width).normal_())
            noise = generator.noise(count, self.device)
        mean = codes[count:].mean(0)
        return self._views(generator(generator.spread(mean + truncation * (codes[:count] - mean)), noise))

    @torch.no_grad()
    def between(self, view: Tensor, count: int, seed: int) -> Views:
        """Images and masks on the straight line between E's codes, in W⁺."""
        generator = cast(StyleGenerator, self.averaged_networks("generator")[0])
        first, last = self.encoder(self.domains[self.source].to_input(view)).split(1)
        share = torch.linspace(0, 1, count, device=self.device, dtype=first.dtype)[:, None, None]
        with self.seeded(seed):
            noise = [level.expand(count, -1, -1, -1) for level in generator.noise(1, self.device)]
        return self._views(generator(first + share * (last - first), noise))

    def _views(self, made: tuple[Tensor, Tensor]) -> Views:
        return {view: self.decided(out, view) for view, out in zip((self.source, self.target), made, strict=True)}

    def code(self, view: Tensor, source: str, seeds: Sequence[int], how: Refinement) -> Code:
        """E's codes and noise maps, refined until G makes the photo of them."""
        return GeneratorCode(self, self.domains[source].to_input(view), source, seeds, how)


class GeneratorCode(Code):
    """Codes w⁺ and noise maps for given photos (supplement, §3).

    The loss is the perceptual one, λ2 times the mean squared error, λ3 times the mean square of w⁺ − E(G(w⁺)), through
    whose E(G(w⁺)) no gradient goes, and 100 times the correlation of the noise. (The text at Fig. 2 calls λ2 what §3
    calls λ3.) Noise is brought back to mean 0 and deviation 1 after each step.

    Args:
        method: Trained.
        photos: Network inputs (B, C, side, side).
        source: The photos' view.
        seeds: Of each photo's noise.
        how: The weights.
    """

    def __init__(self, method: SemanticGAN, photos: Tensor, source: str, seeds: Sequence[int], how: Refinement) -> None:
        self.method, self.photos, self.source, self.how = method, photos, source, how
        self.generator = cast(StyleGenerator, method.averaged_networks("generator")[0])
        drawn = []
        for seed in seeds:
            with method.seeded(seed):
                drawn.append(self.generator.noise(1, photos.device))
        with torch.no_grad():
            self.codes = method.encoder(photos)
            self.wanted = method.features(photos)
        self.noise = [torch.cat(maps).to(photos.dtype) for maps in zip(*drawn, strict=True)]

    @property
    def tensors(self) -> list[Tensor]:
        """w⁺, and the noise maps if they are optimised."""
        return [self.codes, *(self.noise if self.how.noise else ())]

    def losses(self) -> Tensor:
        """The weighted sum, (B,)."""
        images, _ = self.generator(self.codes, self.noise)
        loss: Tensor = self.method.apart(self.method.features(images), self.wanted)
        loss = loss + self.how.w_pixels * (images - self.photos).square().mean((1, 2, 3))
        if self.how.w_encoder:
            with torch.no_grad():
                found = self.method.encoder(images)
            loss = loss + self.how.w_encoder * (self.codes - found).square().mean((1, 2))
        return loss + self.how.w_noise * correlation(self.noise) if self.how.noise else loss

    def decode(self, name: str) -> Tensor:
        """The image or the map of classes."""
        made: tuple[Tensor, Tensor] = self.generator(self.codes, self.noise)
        return made[0] if name == self.source else made[1]

    def settle(self) -> None:
        """Brings each noise map back to mean 0 and deviation 1."""
        for level in self.noise if self.how.noise else ():
            level -= level.mean((1, 2, 3), keepdim=True)
            level *= level.square().mean((1, 2, 3), keepdim=True).rsqrt()


def tempered_cross_entropy(maps: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, K, H, W) / 0.1; of one channel (two classes) binary, of logits / 0.3.

    Args:
        maps: What G makes of codes.
        labels: (B, H, W), 255 where a pixel does not count.

    Returns:
        The mean over the counted pixels.
    """
    counted = labels != IGNORED
    known = labels.where(counted, 0)
    if maps.shape[1] == 1:
        losses = F.binary_cross_entropy_with_logits(maps[:, 0] / DICE_HEAT, known.to(maps.dtype), reduction="none")
    else:
        losses = F.cross_entropy(maps / HEAT, known, reduction="none")
    return (losses * counted).sum() / counted.sum().clamp_min(1)


def tempered_dice(maps: Tensor, labels: Tensor) -> Tensor:
    """1 − 2 Σ p·t / (Σ p² + Σ t²) with p = sigmoid(maps / 0.3), sums over a sample's counted pixels.

    Args:
        maps: (B, K, H, W), or (B, 1, H, W) for two classes.
        labels: (B, H, W), 255 where a pixel does not count.

    Returns:
        The mean over samples and foreground classes; the background is left out.
    """
    counted = (labels != IGNORED).unsqueeze(1)
    count = max(2, maps.shape[1])
    truth = F.one_hot(labels.where(counted[:, 0], 0), count).movedim(-1, 1)[:, 1:].to(maps.dtype) * counted
    chance = torch.sigmoid(maps / DICE_HEAT)[:, -(count - 1) :] * counted
    common, size = (chance * truth).sum((2, 3)), (chance.square() + truth.square()).sum((2, 3))
    return (1 - 2 * common / size.clamp_min(1e-6)).mean()
