"""The U-Net as a plain supervised reference."""

from __future__ import annotations

from dataclasses import dataclass

from lsmbench.methods.segmentation import SegmentationConfig, SegmentationMethod
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

    Another encoder takes the place of the contracting path; the expanding path then joins its maps (`UNetDecoder`).

    For targets that are images, the loss is the target domain's own alone.
    """

    Config = UNetConfig
    config: UNetConfig
    architecture = "unet"
