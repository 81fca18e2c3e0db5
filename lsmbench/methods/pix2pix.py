"""pix2pix: a conditional GAN on pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from lsmbench.data.module import Batch
from lsmbench.data.pools import ViewSet
from lsmbench.methods.base import Terms
from lsmbench.methods.gan import GAN, GANConfig, GeneratorWord
from lsmbench.options import option


@dataclass
class Pix2PixConfig(GANConfig):
    """The paper's own defaults."""

    gan: Literal["vanilla", "lsgan", "saturating"] = option("vanilla", "The adversarial loss", source="pix2pix, eq. 1")
    supervised: Literal["l1", "task"] = option(
        "l1",
        "Loss on the pairs. l1: in the networks' range; task: the target domain's own, such as cross-entropy",
        source="l1: pix2pix, eq. 3; task: LSM, §4.2",
    )
    w_xy: float = option(
        100.0,
        "λ, weight of the supervised loss",
        low=1e-4,
        high=1e3,
        source="pix2pix, §6.1; 1 in LSM's released comparison",
    )


class Pix2Pix(GAN):
    """Supervised translation by a conditional GAN and an L1 loss on the pairs (Isola et al. 2017, eqs. 1 to 4).

    The discriminator sees input and output together; landmarks are repeated as constant planes over the image (LSM,
    App. B). Instance normalisation, which the papers have, would all but hide such planes. Before training, another
    face's landmarks change the logits 0.40 times as much as another photo does; with batch normalisation 1.56 times,
    without any 2.32 times (16 HELEN faces, 64 filters). So there is none by default where landmarks are planes.

    The fake pair is (x, G(x)); the LSM paper's G(y) is taken for a misprint. The discriminator is updated first, and
    judges the fakes again for the generator's update. Its loss is halved (§3.3).

    The paper's generator is a U-Net with batch normalisation and dropout. At test time, the released code keeps dropout
    on, as the paper says, and normalises by the statistics of the test batch. Here neither is done by default;
    `test_time_dropout` switches the dropout on. The other defaults are the vanilla loss, 100·L1, and a learning rate
    that is constant and then decays linearly.
    """

    Config = Pix2PixConfig
    config: Pix2PixConfig
    needs_pairs = True
    groups = ("discriminators", "generators")
    weights: ClassVar = {"judge": 1.0, "adversarial": 1.0}

    @classmethod
    def own_generator(cls, side: int) -> GeneratorWord:
        """A U-Net, or a ResNet where the side cannot be halved often enough for a U-Net."""
        return "unet" if side in (32, 64, 128) or side % 256 == 0 else super().own_generator(side)

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs only."""
        return (self.pair,)

    def discriminator(self, source: str, target: str) -> nn.Module:
        """Judges input and output together."""
        return self.joint_discriminator(source, target)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Translates once for both groups, before either freezes the other's parameters; empty without pairs."""
        if self.pair not in batch:
            return {}
        pairs = batch[self.pair]
        x = self.domains[self.source].to_input(pairs[self.source])
        output = self.generate(x, self.source, self.target)
        return {"x": x, "y": pairs[self.target], "output": output, "fake": self.domains[self.target].activate(output)}

    def losses_discriminators(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 1, for the discriminator: ½ [ℓ(D(x, y), 1) + ℓ(D(x, G(x)), 0)]."""

        def judge() -> Tensor:
            if not views:
                return self.nothing("discriminators")
            real = self.verdict(views["x"], self.domains[self.target].to_input(views["y"]))
            return self.discriminator_loss(real, self.verdict(views["x"], self.shown(views).detach()))

        return {"judge": judge}

    def losses_generators(self, views: dict[str, Tensor]) -> Terms:
        """Eq. 4: fooling the discriminator, and the supervised loss."""
        if not views:
            return dict.fromkeys(("adversarial", "xy"), lambda: self.nothing("generators"))
        return {
            "adversarial": lambda: self.generator_loss(self.verdict(views["x"], self.shown(views))),
            "xy": lambda: self.supervised_loss(views),
        }

    def supervised_loss(self, views: dict[str, Tensor]) -> Tensor:
        """Eq. 3, or the target domain's own loss."""
        target = self.domains[self.target]
        if self.config.supervised == "task":
            return target.loss(views["output"], views["y"])
        return target.l1(views["fake"], target.to_input(views["y"]))

    def shown(self, views: dict[str, Tensor]) -> Tensor:
        """The output as the discriminator sees it: pixels to which the true view gives no class have none there."""
        target = self.domains[self.target]
        return target.veil(views["fake"], target.to_input(views["y"]))

    def verdict(self, x: Tensor, y: Tensor) -> Tensor:
        """The discriminator's logits for input and output together."""
        return self.joint_verdict(self.discriminators[self.target], x, y)
