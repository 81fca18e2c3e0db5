"""What GANs with a generator each way share: translations there and back, and pools of fakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.dataset import Dataset
from lsmbench.data.module import Batch
from lsmbench.domains import Domain
from lsmbench.errors import UserError
from lsmbench.methods.base import MethodConfig
from lsmbench.methods.generators import GeneratorConfig, GeneratorMethod
from lsmbench.networks.pool import ImagePool
from lsmbench.options import option


@dataclass
class TwoWayConfig(GeneratorConfig):
    """Options of methods that translate both ways."""

    pool: int = option(
        50, "Earlier fakes that each discriminator also sees", unit="samples", source="CycleGAN, §4; LSM's code: 0"
    )


@dataclass
class TwoWayViews:
    """Both views as network inputs, and their translations.

    Attributes:
        real: Network inputs by view; a view that no sample of the batch shows is absent.
        fake: Translations into each view, in the form of network inputs.
        back: Each view's translation there and back, for methods whose groups share it.
        pairs: How many samples are pairs: the first ones of every view, in the same order.
    """

    real: dict[str, Tensor] = field(default_factory=dict)
    fake: dict[str, Tensor] = field(default_factory=dict)
    back: dict[str, Tensor] = field(default_factory=dict)
    pairs: int = 0


class TwoWayMethod(GeneratorMethod):
    """A method with a generator in each direction, which learn from each other's translations."""

    Config: ClassVar[type[MethodConfig]] = TwoWayConfig
    config: TwoWayConfig
    both_ways = True

    @classmethod
    def supports(cls, dataset: Dataset, config: MethodConfig) -> tuple[bool, str]:
        """A generator can be fed its own target only where both views have one shape."""
        _, reason = super().supports(dataset, config)
        reason = reason or cls._without_identity(dataset.domains, config)
        return not reason, reason

    @classmethod
    def _without_identity(cls, domains: dict[str, Domain], config: MethodConfig) -> str:
        """Why the identity loss cannot be had, if it is asked for: it is not left out unasked."""
        x, y = (domain.shape for domain in domains.values())
        if x == y or not cls.identity_weight(config):
            return ""
        return (
            f"has an identity loss, which needs views of one shape, and the views' are {x} and {y}; switch it off by "
            "method.w_identity=0"
        )

    @classmethod
    def identity_weight(cls, config: MethodConfig) -> float:
        """The weight of the identity loss; 0 if the method has none."""
        return float(getattr(config, "w_identity", 0.0))

    def build(self) -> None:
        """Generators, discriminators, and a pool of fakes of each view."""
        if self.config.pool < 0:
            raise UserError(f"method.pool: expected 0 or more samples, found {self.config.pool}.")
        if reason := self._without_identity(self.domains, self.config):
            raise UserError(f"{type(self).__name__} {reason}.")
        super().build()
        self.pools = nn.ModuleDict(
            {v: ImagePool(self.config.pool, self.domains[v].shape) for v in (self.source, self.target)}
        )

    def prepare(self, batch: Batch) -> TwoWayViews:
        """Translates both views once, for all groups; pairs come first."""
        views = TwoWayViews(pairs=len(batch[self.pair][self.source]) if self.pair in batch else 0)
        for view in (self.source, self.target):
            shown = [batch[s][view] for s in sorted(batch, key=len, reverse=True) if view in s]
            if shown:
                views.real[view] = self.domains[view].to_input(torch.cat(shown))
        for source, target in self.directions:
            if source in views.real:
                views.fake[target] = self.made(views.real[source], source, target)
        return views

    def made(self, fed: Tensor, source: str, target: str) -> Tensor:
        """Translations of network inputs, in the form of network inputs."""
        return self.fakes(self.generate(fed, source, target), target)

    def verdict(self, view: str, seen: Tensor) -> Tensor:
        """The logits of a view's discriminator."""
        return cast(Tensor, self.discriminators[view](seen))

    def adversarial(self, views: TwoWayViews, view: str) -> Tensor:
        """The loss of a view's generator for fooling its discriminator (CycleGAN, eq. 1)."""
        if view not in views.fake:
            return self.nothing("generators")
        return self.fooling(self.verdict(view, views.fake[view]))

    def judge(self, views: TwoWayViews, view: str) -> Tensor:
        """½ [ℓ(D(real), 1) + ℓ(D(pooled fake), 0)] (CycleGAN, eq. 1)."""
        if view not in views.fake or view not in views.real:
            return self.nothing("discriminators")
        real, fake = self.verdict(view, views.real[view]), self.verdict(view, self.pooled(views, view))
        return (self.judgement(real, True) + self.judgement(fake, False)) / 2

    def pooled(self, views: TwoWayViews, view: str) -> Tensor:
        """Fakes of a view as its discriminator is taught with: some of them from earlier steps, of the whole batch."""
        pool, fakes = cast(ImagePool, self.pools[view]), self.gathered(views.fake[view].detach())
        return self.own(pool(fakes, self.drawn(pool.draw(len(fakes)))))

    def cycle(self, views: TwoWayViews, view: str, through: str) -> Tensor:
        """L1 between a view and its translation there and back (CycleGAN, eq. 2); teaches both generators."""
        if view not in views.real:
            return self.nothing("generators")
        return F.l1_loss(self.made(views.fake[through], through, view), views.real[view])

    def identity(self, views: TwoWayViews, source: str, target: str) -> Tensor:
        """L1 between a target and what a generator that is fed it makes of it (CycleGAN, §5.2)."""
        if target not in views.real:
            return self.nothing("generators")
        return F.l1_loss(self.made(views.real[target], source, target), views.real[target])
