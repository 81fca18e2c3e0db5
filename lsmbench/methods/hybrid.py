"""The hybrid of pix2pix and CycleGAN for extremely weak supervision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor

from lsmbench.data.samplers import Turns
from lsmbench.losses import relativistic
from lsmbench.methods.base import MethodConfig, Terms
from lsmbench.methods.gan import TwoWayConfig, TwoWayGAN, TwoWayViews
from lsmbench.options import option


@dataclass
class HybridConfig(TwoWayConfig):
    """The paper's settings."""

    w_adversarial: float = option(1.0, "λ1, of the relativistic loss", low=1e-4, high=10, source="Shukla et al., §3.5")
    w_cycle: float = option(10.0, "λ2, of both cycles", low=1e-4, high=1e2, source="Shukla et al., §3.5")
    w_identity: float = option(
        10.0, "λ3, of both identity losses; needs views of one shape", low=1e-4, high=1e2, source="Shukla et al., §3.5"
    )
    w_l1: float = option(150.0, "λ4, of L1 on pairs, both ways", low=1e-4, high=1e3, source="Shukla et al., §3.5")
    order: Literal["interleaved", "sequential", "together"] = option(
        "interleaved",
        "Of updates. interleaved: one of pairs, one of unpaired samples, in turn; sequential: in every epoch first all "
        "of pairs, then all unpaired, as the released code does; together: every update has both",
        source="Shukla et al., §2.4: both in each epoch",
    )
    ablation: Literal["none", "without_cycle", "without_identity"] = option(
        "none", "Leaves a loss out", source="Shukla et al., Table 5"
    )


class Hybrid(TwoWayGAN):
    """CycleGAN with an L1 loss on few pairs and relativistic discriminators (Shukla et al. 2019, eqs. 1 to 6).

    Discriminators are updated first, then generators. All samples teach both; pairs also teach by L1. Pairs are
    repeated until there are as many updates of pairs as of unpaired samples (§4.1.5; `supervision.sampling=unbalanced`
    for Table 2's 20_unbal). Generators have nine residual blocks (§3.4); below 256 px they have six, as CycleGAN's. A
    batch of 2 is the paper's batch of 1: one pair, or one x and one y.

    The released code differs from the text: it computes reconstructions without a gradient, so that its cycle loss
    teaches nothing; it draws the generators' reals from pools; and it has separate pools of 10 for pairs beside those
    of 50. Here, as in the text, the cycle loss has a gradient, each discriminator has one pool of 50 fakes, and reals
    are those of the batch.
    """

    Config = HybridConfig
    config: HybridConfig
    any_sides = True
    groups = ("discriminators", "generators")
    weights: ClassVar = {"judge_x": 1.0, "judge_y": 1.0}

    @classmethod
    def identity_weight(cls, config: MethodConfig) -> float:
        """Its option, or zero where the ablation leaves the loss out."""
        c = cast(HybridConfig, config)
        return 0.0 if c.ablation == "without_identity" else c.w_identity

    @property
    def turns(self) -> Turns | None:
        """Updates of pairs and updates of unpaired samples take turns, unless the order is `together`."""
        if self.config.order == "together":
            return None
        return Turns(((self.pair,), ((self.source,), (self.target,))), self.config.order)

    def weight(self, term: str) -> float:
        """The weight of a term; zero where the ablation leaves it out."""
        return 0.0 if self.config.ablation == f"without_{term}" else super().weight(term)

    def losses_discriminators(self, views: TwoWayViews) -> Terms:
        """Eq. 1 for both views."""
        return {"judge_y": lambda: self.judge(views, self.target), "judge_x": lambda: self.judge(views, self.source)}

    def losses_generators(self, views: TwoWayViews) -> Terms:
        """Eq. 6: adversarial (eq. 2), cycle (eq. 3), identity (eq. 4), and L1 on pairs (eq. 5)."""
        x, y = self.source, self.target
        return {
            "adversarial": lambda: self.adversarial(views, y) + self.adversarial(views, x),
            "cycle": lambda: self.cycle(views, x, y) + self.cycle(views, y, x),
            "identity": lambda: self.identity(views, x, y) + self.identity(views, y, x),
            "l1": lambda: self.reconstruction(views, y) + self.reconstruction(views, x),
        }

    def judge(self, views: TwoWayViews, view: str) -> Tensor:
        """Eq. 1: reals should look more real than (pooled) fakes."""
        if view not in views.fake or view not in views.real:
            return self.nothing("discriminators")
        fakes = self.veiled(self.pooled(views, view), views.real, view)
        real, fake = self.verdict(view, views.real[view]), self.verdict(view, fakes)
        return relativistic(real, self.gathered(fake))

    def adversarial(self, views: TwoWayViews, view: str) -> Tensor:
        """Eq. 2: fakes should look more real than reals."""
        if view not in views.fake or view not in views.real:
            return self.nothing("generators")
        fakes = self.veiled(views.fake[view], views.real, view)
        fake, real = self.verdict(view, fakes), self.verdict(view, views.real[view])
        return relativistic(fake, self.gathered(real))

    def reconstruction(self, views: TwoWayViews, view: str) -> Tensor:
        """Eq. 5: L1 between the translation of a pair's other view and the true one."""
        if not views.pairs:
            return self.nothing("generators")
        return self.domains[view].l1(views.fake[view][: views.pairs], views.real[view][: views.pairs])
