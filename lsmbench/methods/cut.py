"""CUT: translation by a contrast of patches, without a way back, and with L1 on pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from lsmbench.data.module import Batch
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.losses import contrast
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.gan import GAN, GANConfig, TwoWayViews
from lsmbench.networks.init import init_normal
from lsmbench.networks.patches import PatchProjection, feature_widths, residual_features
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.translators import LatentTranslator, at_side, greatest_side
from lsmbench.options import option


@dataclass
class CUTConfig(GANConfig):
    """The paper's settings. Those of FastCUT are `w_nce` 10 and `w_identity` 0."""

    w_nce: float = option(
        1.0, "λ_X, of the contrast of patches of G(x) and x", low=1e-2, high=1e2, source="CUT, §3; FastCUT: 10"
    )
    w_identity: float = option(
        1.0,
        "λ_Y, of the contrast of patches of G(y) and y, the identity loss; needs views of equally many channels",
        low=1e-2,
        high=1e2,
        source="CUT, §3; FastCUT: 0",
    )
    w_l1: float = option(
        100.0,
        "Weight of L1 on pairs; 0 never uses which x and y belong together",
        low=1e-2,
        high=1e3,
        source="the paper has no pairs; pix2pix, §6.1, beside the same weight of the adversarial loss",
    )
    temperature: float = option(0.07, "τ, which similarities are divided by", low=1e-2, high=1.0, source="CUT, §3")
    patches: int = option(
        256, "Places of each layer whose patches are compared, at most as many as it has", source="released code"
    )


class CUT(GAN):
    """Unpaired translation by a contrast of patches (Park et al. 2020, §3, with internal negatives), and L1 on pairs.

    There is one generator, and nothing is translated back. A patch of G(x) has to resemble the patch of x at its own
    place more than those at other places, by what the generator's own first half sees in them and a perceptron for each
    of five layers. The same holds for G(y) and y, which is the paper's identity loss. The discriminator is updated
    first, then the generator with the perceptrons; fakes are judged as they are, without a pool. All samples teach by
    these losses. L1 on pairs is not in the paper; with `w_l1` 0 the method takes the two views of a pair as unpaired
    samples, and a benchmark trains it once per seed.

    As in the released code, whose weights these are, the contrast is a mean over layers and places, where the paper's
    formula has a sum, and all samples of a batch are compared at the same places. The code also halves both contrasts
    where there are two, blurs when it changes the side, and draws initial weights after Xavier; here λ are the paper's,
    and networks are CycleGAN's. Nor is there the code's term for flipped images, which its FastCUT has.

    The paper's domains have three channels each. Where source and target differ, G(x) enters the generator's first half
    through a first convolution of its own, and pixels, which one perceptron could not take, are not compared. This is
    ours, and so is `generator=latent`, whose residual blocks are counted from E_x over the link to D_y.
    """

    Config = CUTConfig
    config: CUTConfig
    groups = ("discriminators", "generators")
    weights: ClassVar = {"judge": 1.0, "adversarial": 1.0}
    any_sides = True

    # What it takes ----------------------------------------------------------------------------------------------------

    @classmethod
    def learns_from_pairs(cls, config: MethodConfig) -> bool:
        """Only by `w_l1`."""
        return cast(CUTConfig, config).w_l1 != 0

    @classmethod
    def misfit(cls, config: GANConfig, domains: Mapping[str, Domain]) -> str:
        """Besides what `GAN` says: patches are those of maps, features of residual blocks; the identity loss."""
        for view, domain in domains.items():
            if domain.is_vector:
                return f"compares patches of images or masks, and {view} is {domain.kind}"
        shapes = {view: domain.shape for view, domain in domains.items()}
        kind = cls.generator_for(config, domains)
        if kind == "unet" or (kind == "latent" and LatentTranslator.image_encoder_for(config, shapes) == "native"):
            found, other = (
                ("generator=unet", "generator=auto")
                if kind == "unet"
                else ("image_encoder=native", "image_encoder=resnet")
            )
            return f"compares features of residual blocks, and {found} has none; use {other}"
        x, y = (shape[0] for shape in shapes.values())
        if (reason := super().misfit(config, domains)) or x == y or not cast(CUTConfig, config).w_identity:
            return reason
        return (
            f"has an identity loss, which needs views of equally many channels, and these have {x} and {y}; switch it "
            "off by method.w_identity=0"
        )

    # Networks ---------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """The generator, the discriminator, a perceptron for each layer; a first convolution for the target if needed.

        Raises:
            UserError: If the views do not fit, or the temperature or the number of patches is out of range.
        """
        if wrong := [
            f"method.{name}: expected {expected}, found {found}."
            for name, found, expected, right in (
                ("temperature", self.config.temperature, "more than 0", self.config.temperature > 0),
                ("patches", self.config.patches, "at least 2", self.config.patches >= 2),
            )
            if not right
        ]:
            raise UserError(" ".join(wrong))
        super().build()
        shapes, filters = {view: self.domains[view].shape for view in self.views}, FILTERS[self.config.network]
        self.side = greatest_side(shapes)[1]
        channels, made = shapes[self.source][0], shapes[self.target][0]
        widths = feature_widths(channels, filters)
        self.entries = nn.ModuleDict()
        if channels != made:
            widths = widths[1:]
            self.entries[self.target] = self.network(f"entry_{self.target}", partial(_entry, made, filters))
        self.projections = nn.ModuleList(
            self.network(f"projection_{number}_{width}", partial(PatchProjection, width, 4 * filters))
            for number, width in enumerate(widths)
        )

    def modules_of(self, group: str) -> Iterable[nn.Module]:
        """The generator learns together with all that its contrasts need."""
        own = (self.entries, self.projections) if group == "generators" else ()
        return (*super().modules_of(group), *own)

    @property
    def layers(self) -> list[nn.Module]:
        """The generator's layers, in order."""
        way, nets = f"{self.source}{self.target}", self.generators
        if not isinstance(nets, LatentTranslator):
            generator = cast(Any, nets[way])
            return [*generator.encoder.body, *generator.decoder.body]
        encoder, decoder = cast(Any, nets.encoders[self.source]), cast(Any, nets.decoders[self.target])
        return [*encoder.body, cast(Any, nets.links[way]).block, *decoder.body]

    def features(self, fed: Tensor, view: str) -> list[Tensor]:
        """Features of a view's network inputs in each layer that is compared."""
        layers = self.layers
        if view in self.entries:
            layers[0] = self.entries[view]
        return residual_features(layers, at_side(fed, self.side))[-len(self.projections) :]

    # Losses -----------------------------------------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> TwoWayViews:
        """Translates once, for both groups; pairs come first."""
        pairs = len(batch[self.pair][self.source]) if self.pair in batch else 0
        views = TwoWayViews(self.inputs(batch), pairs=pairs)
        if self.source in views.real:
            views.fake[self.target] = self.made(views.real[self.source])
        return views

    def made(self, fed: Tensor) -> Tensor:
        """G of network inputs, in the form of the target's network inputs; differentiable."""
        return self.domains[self.target].activate(self.generate(fed, self.source, self.target))

    def losses_discriminators(self, views: TwoWayViews) -> Terms:
        """½ [ℓ(D(y), 1) + ℓ(D(G(x)), 0)]."""
        return {"judge": lambda: self.judge(views)}

    def losses_generators(self, views: TwoWayViews) -> Terms:
        """The paper's objective (§3), and L1 on pairs."""
        return {
            "adversarial": lambda: self.adversarial(views),
            "nce": lambda: self.nce(views),
            "identity": lambda: self.identity(views),
            "l1": lambda: self.l1(views),
        }

    def judge(self, views: TwoWayViews) -> Tensor:
        """The discriminator's loss."""
        y, judge = self.target, self.discriminators[self.target]
        if y not in views.fake or y not in views.real:
            return self.nothing("discriminators")
        fakes = self.veiled(views.fake[y].detach(), views.real, y)
        return self.discriminator_loss(judge(views.real[y]), judge(fakes))

    def adversarial(self, views: TwoWayViews) -> Tensor:
        """The generator's loss for fooling the discriminator."""
        y = self.target
        if y not in views.fake:
            return self.nothing("generators")
        return self.generator_loss(self.discriminators[y](self.veiled(views.fake[y], views.real, y)))

    def nce(self, views: TwoWayViews) -> Tensor:
        """PatchNCE(X): patches of G(x) beside those of x."""
        if self.target not in views.fake:
            return self.nothing("generators")
        return self.contrasted(views.fake[self.target], views.real[self.source], self.source)

    def identity(self, views: TwoWayViews) -> Tensor:
        """PatchNCE(Y): patches of G(y) beside those of y."""
        if self.target not in views.real:
            return self.nothing("generators")
        return self.contrasted(self.made(views.real[self.target]), views.real[self.target], self.target)

    def l1(self, views: TwoWayViews) -> Tensor:
        """L1 between G(x) and the true y of pairs."""
        if not views.pairs:
            return self.nothing("generators")
        y = self.target
        return self.domains[y].l1(views.fake[y][: views.pairs], views.real[y][: views.pairs])

    def contrasted(self, made: Tensor, fed: Tensor, view: str) -> Tensor:
        """PatchNCE: the mean over layers of how well a translation's patches are told by those of its origin.

        Places are drawn from the same seed in all processes.

        Args:
            made: Translations, in the form of the target's network inputs.
            fed: The network inputs that they were made from.
            view: Which view those are.
        """
        seed = int(self.drawn(torch.randint(2**62, ())))
        generator = torch.Generator(made.device).manual_seed(seed)
        queries = self.features(made, self.target)
        with torch.no_grad():
            keys = self.features(fed, view)
        losses = []
        for project, query, key in zip(self.projections, queries, keys, strict=True):
            places = torch.randperm(query[0, 0].numel(), generator=generator, device=query.device)
            places = places[: self.config.patches]
            losses.append(contrast(project(query, places), project(key, places), self.config.temperature))
        return torch.stack(losses).mean()


def _entry(channels: int, filters: int) -> nn.Conv2d:
    """A first convolution as the ResNet generator's."""
    return init_normal(nn.Conv2d(channels, filters, 7, padding=3, padding_mode="reflect"))
