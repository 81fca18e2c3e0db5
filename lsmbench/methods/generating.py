"""What a method with a generator of both views and an encoder of the source shares: predictions, codes, samples.

And the losses of masks that its encoder learns by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Views
from lsmbench.methods.base import Method
from lsmbench.methods.refinement import Code, Refinement
from lsmbench.networks.lpips import LPIPS
from lsmbench.networks.pyramid import PyramidEncoder
from lsmbench.networks.stylegan2 import StyleDiscriminator, StyleGenerator, correlation
from lsmbench.palettes import IGNORED

_HEAT, _DICE_HEAT = 0.1, 0.3
"""What logits are divided by in semanticGAN's losses of masks (released code)."""


class GeneratingMethod(Method):
    """A method whose generator makes source and target of one code, and whose encoder finds the code of a source.

    A subclass makes `generator`, of which an average over the updates is kept, `encoder` and `image_discriminator`, and
    says in `lpips` what images are compared by. Predictions are made with the average.

    Attributes:
        generator: Codes w⁺ and noise to an image in [−1, 1] and a map of classes: one channel for two classes.
        encoder: Images to codes w⁺.
        image_discriminator: Judges images.
        lpips: LPIPS, or nothing. It is a tuple, so that its weights, which are not learnt here, are in no checkpoint.
    """

    generator: StyleGenerator
    encoder: PyramidEncoder
    image_discriminator: StyleDiscriminator
    lpips: tuple[LPIPS, ...]
    generator_stage: ClassVar[str | None] = "generator"
    has_code: ClassVar[bool] = True

    @property
    def classes(self) -> int:
        """Channels of the map of classes: one for two classes, else one for each."""
        count = cast(int, self.domains[self.target].label_count)
        return 1 if count == 2 else count

    @property
    def averaged_generator(self) -> StyleGenerator:
        """The generator with averaged parameters."""
        return cast(StyleGenerator, self.averaged_networks("generator")[0])

    # How images are compared ------------------------------------------------------------------------------------------

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

    # Predictions ------------------------------------------------------------------------------------------------------

    @property
    def random_at_test(self) -> bool:
        """Noise maps are random."""
        return True

    def translate(self, view: Tensor, source: str, target: str) -> Tensor:
        """The map of classes, (B, classes, side, side), that G makes of E's codes."""
        generator, codes = self.averaged_generator, self.encoder(self.domains[source].to_input(view))
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
        generator = self.averaged_generator
        with self.seeded(seed):
            codes = generator.map(generator.start.new_empty(1000 + count, generator.width).normal_())
            noise = generator.noise(count, self.device)
        mean = codes[count:].mean(0)
        return self._views(generator(generator.spread(mean + truncation * (codes[:count] - mean)), noise))

    @torch.no_grad()
    def between(self, view: Tensor, count: int, seed: int) -> Views:
        """Images and masks on the straight line between E's codes, in W⁺."""
        generator = self.averaged_generator
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

    def __init__(
        self, method: GeneratingMethod, photos: Tensor, source: str, seeds: Sequence[int], how: Refinement
    ) -> None:
        self.method, self.photos, self.source, self.how = method, photos, source, how
        self.generator = method.averaged_generator
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
        maps: (B, K, H, W), or (B, 1, H, W) for two classes.
        labels: (B, H, W), 255 where a pixel does not count.

    Returns:
        The mean over the counted pixels.
    """
    counted = labels != IGNORED
    known = labels.where(counted, 0)
    if maps.shape[1] == 1:
        losses = F.binary_cross_entropy_with_logits(maps[:, 0] / _DICE_HEAT, known.to(maps.dtype), reduction="none")
    else:
        losses = F.cross_entropy(maps / _HEAT, known, reduction="none")
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
    chance = torch.sigmoid(maps / _DICE_HEAT)[:, -(count - 1) :] * counted
    common, size = (chance * truth).sum((2, 3)), (chance.square() + truth.square()).sum((2, 3))
    return (1 - 2 * common / size.clamp_min(1e-6)).mean()
