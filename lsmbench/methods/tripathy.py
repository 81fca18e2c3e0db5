"""The method with paired and unpaired samples that the hybrid's paper compares with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.methods.base import Terms
from lsmbench.methods.gan import TwoWayConfig, TwoWayGAN, TwoWayViews
from lsmbench.methods.phases import Stage
from lsmbench.options import option


@dataclass
class TripathyConfig(TwoWayConfig):
    """The paper's stages are known, and little else; all other defaults are CycleGAN's."""

    w_cycle: float = option(
        1.0, "Weight of fooling the cycles' discriminators", low=1e-4, high=1e2, source="none is known"
    )


@dataclass
class CycleViews(TwoWayViews):
    """The views of a step with their translations there and back, which both groups share.

    Attributes:
        back: Each view's translation there and back.
    """

    back: dict[str, Tensor] = field(default_factory=dict)


class Tripathy(TwoWayGAN):
    """Paired, then unpaired training with conditional cycle discriminators (Tripathy et al. 2018).

    No code was released, so this follows the description by Shukla et al. (2019, §2.4). In place of an L1 loss, a
    second discriminator for each view tells views from their translations there and back. It is conditioned on the
    translation there; for pairs, on the true other view. A first stage trains on pairs for a quarter of the epochs
    (50), a second one on unpaired samples for the rest (150). Discriminators of single views, loss, pools, optimiser
    and decay are CycleGAN's; the learning rate decays anew in each stage.
    """

    Config = TripathyConfig
    config: TripathyConfig
    needs_pairs = True
    groups = ("discriminators", "generators")
    weights: ClassVar = dict.fromkeys(("judge_x", "judge_y", "judge_cycle_x", "judge_cycle_y", "adversarial"), 1.0)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Pairs, then unpaired samples, in the proportion of 50 and 150 epochs."""
        return (
            Stage("paired", self.groups, full_budget=True, share=0.25),
            Stage("unpaired", self.groups, full_budget=True, share=0.75),
        )

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs in the first stage, unpaired samples in the second."""
        return (self.pair,) if self.stage.name == "paired" else ((self.source,), (self.target,))

    def build(self) -> None:
        """Makes CycleGAN's networks, and a discriminator of each view's cycle."""
        super().build()
        self.discriminators.update(
            {
                f"cycle_{t}": self.network(f"discriminator_cycle_{t}", partial(self.joint_discriminator, s, t))
                for s, t in self.directions
            }
        )

    def prepare(self, batch: Batch) -> CycleViews:
        """Translates both views there and back, once for both groups."""
        views = super().prepare(batch)
        back = {t: self.made(views.fake[s], s, t) for t, s in self.directions if t in views.real}
        return CycleViews(views.real, views.fake, views.pairs, back)

    def losses_discriminators(self, views: CycleViews) -> Terms:
        """The losses of all four discriminators: of single views, and of cycles."""
        x, y = self.source, self.target
        return {
            "judge_y": lambda: self.judge(views, y),
            "judge_x": lambda: self.judge(views, x),
            "judge_cycle_x": lambda: self.judge_cycle(views, x, y),
            "judge_cycle_y": lambda: self.judge_cycle(views, y, x),
        }

    def losses_generators(self, views: CycleViews) -> Terms:
        """The losses for fooling all four discriminators."""
        x, y = self.source, self.target
        return {
            "adversarial": lambda: self.adversarial(views, y) + self.adversarial(views, x),
            "cycle": lambda: self.fooling_cycle(views, x, y) + self.fooling_cycle(views, y, x),
        }

    def condition(self, views: CycleViews, view: str, through: str) -> Tensor:
        """What the cycle's discriminator sees beside `view`: the true other view of pairs, else the translation."""
        made = views.fake[through][views.pairs :]
        return torch.cat([views.real[through][: views.pairs], made]) if views.pairs else made

    def judge_cycle(self, views: CycleViews, view: str, through: str) -> Tensor:
        """½ [ℓ(D(x | condition), 1) + ℓ(D(there and back | condition), 0)]."""
        if view not in views.real:
            return self.nothing("discriminators")
        discriminator, beside = self.discriminators[f"cycle_{view}"], self.condition(views, view, through).detach()
        real = self.joint_verdict(discriminator, beside, views.real[view])
        fake = self.joint_verdict(discriminator, beside, views.back[view].detach())
        return self.discriminator_loss(real, fake)

    def fooling_cycle(self, views: CycleViews, view: str, through: str) -> Tensor:
        """ℓ(D(there and back | condition), 1)."""
        if view not in views.real:
            return self.nothing("generators")
        beside = self.condition(views, view, through)
        return self.generator_loss(self.joint_verdict(self.discriminators[f"cycle_{view}"], beside, views.back[view]))
