"""The U-Net as a plain supervised reference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lsmbench.methods.base import Terms
from lsmbench.methods.segmentation import SegmentationConfig, SegmentationMethod, soft_dice
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.segmentation_unet import SegmentationUNet
from lsmbench.options import option


@dataclass
class UNetConfig(SegmentationConfig):
    """The optimiser is that of the semanticGAN paper's comparator."""

    w_dice: float = option(
        1.0,
        "Weight of the soft Dice loss beside the cross-entropy, where the target has classes; 0 is the paper",
        low=1e-2,
        high=1e2,
        source="the widely used PyTorch implementation: 1",
    )


class UNet(SegmentationMethod):
    """U-Net on the pairs alone (Ronneberger et al. 2015): cross-entropy, and a soft Dice loss.

    The settings are those of the semanticGAN paper's comparator (Li et al. 2021, supplement, §5), a widely used PyTorch
    implementation that is trained by Adam at 2.5e-4 on 16 images a step for 10 000 steps. The original has no padding,
    no batch normalisation and no Dice loss, and weights pixels by their distance to borders between cells, which is not
    done here.

    For targets that are images, the loss is the target domain's own alone.
    """

    Config = UNetConfig
    config: UNetConfig
    multiple = 16
    least = 32
    """At 16 px the innermost level is one pixel, which batch normalisation cannot take from a single image."""

    def make_segmenter(self, in_channels: int, out_channels: int) -> SegmentationUNet:
        """Makes a U-Net of four levels."""
        return SegmentationUNet(in_channels, out_channels, FILTERS[self.config.network])

    def build(self) -> None:
        """Makes the network, and says where the Dice loss does not apply."""
        super().build()
        if self.classes is None and self.config.w_dice:
            self.remarks.append(f"w_dice does not apply: {self.target} is an image without classes")

    def losses_segmenter(self, views: dict[str, Tensor]) -> Terms:
        """The supervised loss, and for classes the soft Dice loss."""

        def dice() -> Tensor:
            return soft_dice(views["output"], views["y"], self.summed) if views else self.nothing("segmenter")

        return {**super().losses_segmenter(views), "dice": dice}

    def weight(self, term: str) -> float:
        """No Dice loss where the target has no classes."""
        return 0.0 if term == "dice" and self.classes is None else super().weight(term)
