"""CycleGAN: translation without pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lsmbench.methods.base import Terms
from lsmbench.methods.gan import TwoWayConfig, TwoWayGAN, TwoWayViews
from lsmbench.options import option


@dataclass
class CycleGANConfig(TwoWayConfig):
    """The paper's own defaults."""

    w_cycle_x: float = option(10.0, "λ of the cycle x → y → x", low=1e-4, high=1e2, source="CycleGAN, §4")
    w_cycle_y: float = option(10.0, "λ of the cycle y → x → y", low=1e-4, high=1e2, source="CycleGAN, §4")
    w_identity: float = option(
        0.5,
        "Weight of the identity loss, in units of the cycles' weights; needs views of one shape",
        low=1e-4,
        high=10,
        source="CycleGAN, §5.2; 0 in LSM's released comparison",
    )


class CycleGAN(TwoWayGAN):
    """Unpaired translation by two GANs and cycle consistency (Zhu et al. 2017, eqs. 1 to 4, identity loss of §5.2).

    Both generators are updated first, then both discriminators, which see the fakes of the same forward pass through a
    pool. The method never uses which x and y belong together: it takes the two views of a pair as unpaired samples. So
    its score does not depend on N, and a benchmark trains it once per seed, on unpaired samples, and shows that score
    in every column. Validation pairs select the epoch that is tested, which is supervision; the result also keeps the
    last epoch's validation score.

    Discriminators see masks of two classes as probabilities, and landmarks as coordinates.
    """

    Config = CycleGANConfig
    config: CycleGANConfig
    groups = ("generators", "discriminators")
    weights: ClassVar = {"judge_x": 1.0, "judge_y": 1.0, "adversarial": 1.0}
    uses_pairs = False
    any_sides = True

    def losses_generators(self, views: TwoWayViews) -> Terms:
        """Eq. 3 for both generators, with the identity loss."""
        x, y = self.source, self.target
        return {
            "adversarial": lambda: self.adversarial(views, y) + self.adversarial(views, x),
            "cycle_x": lambda: self.cycle(views, x, y),
            "cycle_y": lambda: self.cycle(views, y, x),
            "identity": lambda: (
                self.config.w_cycle_y * self.identity(views, x, y) + self.config.w_cycle_x * self.identity(views, y, x)
            ),
        }

    def losses_discriminators(self, views: TwoWayViews) -> Terms:
        """½ [ℓ(D(real), 1) + ℓ(D(pooled fake), 0)] for each view."""
        return {"judge_y": lambda: self.judge(views, self.target), "judge_x": lambda: self.judge(views, self.source)}
