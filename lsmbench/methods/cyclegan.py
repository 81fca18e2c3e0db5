"""CycleGAN: translation without pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.module import Batch
from lsmbench.errors import UserError
from lsmbench.methods.base import Terms
from lsmbench.methods.generators import GeneratorConfig, GeneratorMethod
from lsmbench.networks.pool import ImagePool
from lsmbench.options import option


@dataclass
class CycleGANConfig(GeneratorConfig):
    """The paper's own defaults."""

    w_cycle_x: float = option(10.0, "λ of the cycle x → y → x", low=1e-4, high=1e2, source="CycleGAN, §4")
    w_cycle_y: float = option(10.0, "λ of the cycle y → x → y", low=1e-4, high=1e2, source="CycleGAN, §4")
    w_identity: float = option(
        0.5,
        "Weight of the identity loss, in units of the cycles' weights; applies where both views have the same channels",
        low=1e-4,
        high=10,
        source="CycleGAN, §5.2; 0 in LSM's released comparison",
    )
    pool: int = option(
        50, "Earlier fakes that each discriminator also sees", unit="samples", source="CycleGAN, §4; LSM's code: 0"
    )


@dataclass
class CycleViews:
    """Both views as network inputs, and their translations.

    Attributes:
        real: Network inputs by view; a view that no sample of the batch shows is absent.
        fake: Translations into each view, in the form of network inputs.
    """

    real: dict[str, Tensor] = field(default_factory=dict)
    fake: dict[str, Tensor] = field(default_factory=dict)


class CycleGAN(GeneratorMethod):
    """Unpaired translation by two GANs and cycle consistency (Zhu et al. 2017, eqs. 1 to 4, identity loss of §5.2).

    Both generators, then both discriminators, which see fakes of the same forward through a pool. Which x and y belong
    together is never used: pairs count as x and y apart, and the score does not depend on N, so that a benchmark trains
    it once a seed, on view-only samples, and shows that in every column. The epoch that is tested is selected by
    validation pairs, which is supervision; the result keeps the last epoch's value as well.

    The identity loss applies where both views have the same shape, and the result says where it does not. Two classes
    or landmarks are judged as probabilities or coordinates.
    """

    Config = CycleGANConfig
    config: CycleGANConfig
    groups = ("generators", "discriminators")
    both_ways = True
    uses_pairs = False

    def build(self) -> None:
        """Generators, discriminators, and a pool of fakes of each view."""
        if self.config.pool < 0:
            raise UserError(f"method.pool: expected 0 or more samples, found {self.config.pool}.")
        super().build()
        x, y = self.domains[self.source], self.domains[self.target]
        self.pools = nn.ModuleDict(
            {v: ImagePool(self.config.pool, self.domains[v].shape) for v in (self.source, self.target)}
        )
        self.has_identity = x.shape == y.shape
        if not self.has_identity and self.config.w_identity:
            self.remarks.append(
                f"The identity loss is off: it needs views of one shape, and x has {x.shape}, y has {y.shape}."
            )

    def weight(self, term: str) -> float:
        """No identity loss between views of different shapes."""
        return 0.0 if term == "identity" and not self.has_identity else super().weight(term)

    def prepare(self, batch: Batch) -> CycleViews:
        """Translates both views once, for both groups."""
        views = CycleViews()
        for view in (self.source, self.target):
            shown = [batch[s][view] for s in sorted(batch, key=len, reverse=True) if view in s]
            if shown:
                views.real[view] = self.domains[view].to_input(torch.cat(shown))
        for source, target in self.directions:
            if source in views.real:
                output = self.generate(views.real[source], source, target)
                views.fake[target] = self.fakes(output, target)
        return views

    def losses_generators(self, views: CycleViews) -> Terms:
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

    def losses_discriminators(self, views: CycleViews) -> Terms:
        """½ [ℓ(D(real), 1) + ℓ(D(pooled fake), 0)] for each view."""
        return {"judge_y": lambda: self.judge(views, self.target), "judge_x": lambda: self.judge(views, self.source)}

    def adversarial(self, views: CycleViews, view: str) -> Tensor:
        """Eq. 1 for the generator of a view."""
        if view not in views.fake:
            return self.nothing("generators")
        return self.fooling(self.discriminators[view](views.fake[view]))

    def cycle(self, views: CycleViews, view: str, through: str) -> Tensor:
        """Eq. 2: L1 between a view and its translation there and back."""
        if view not in views.real:
            return self.nothing("generators")
        back = self.generate(views.fake[through], through, view)
        return F.l1_loss(self.fakes(back, view), views.real[view])

    def identity(self, views: CycleViews, source: str, target: str) -> Tensor:
        """§5.2: a generator fed its own target should change nothing."""
        if target not in views.real:
            return self.nothing("generators")
        same = self.generate(views.real[target], source, target)
        return F.l1_loss(self.fakes(same, target), views.real[target])

    def judge(self, views: CycleViews, view: str) -> Tensor:
        """Eq. 1 for the discriminator of a view."""
        if view not in views.fake or view not in views.real:
            return self.nothing("discriminators")
        discriminator = self.discriminators[view]
        fake = self.pools[view](views.fake[view])
        return (self.judgement(discriminator(views.real[view]), True) + self.judgement(discriminator(fake), False)) / 2
