"""The plain convolutional encoder of LSM's released code for faces (`native`), and the decoder that mirrors it."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm, norm_layer

BLOCKS = 5
"""Number of blocks. Each block halves the side: a 64-pixel image has a code of 1024×2×2."""


class ConvEncoder(nn.Module):
    """Five blocks Conv3 · norm · LeakyReLU(.01) · MaxPool2; the width doubles from block to block.

    The released code of LSM (Mayet et al. 2022) has 64, 126, 256, 512 and 1024 channels; this class takes 126 for a
    misprint of 128. The paper's text says ResNet for all images, but 64-pixel faces would then need a link of 67
    million weights.

    Args:
        in_channels: Channels of the image.
        filters: Filters of the first convolution; the code has ``16 * filters`` channels.
        norm: Normalisation after each convolution: ``batch`` in the released code.
    """

    def __init__(self, in_channels: int, filters: int = 64, norm: Norm = "layer") -> None:
        super().__init__()
        widths = [in_channels, *(filters * 2**i for i in range(BLOCKS))]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [
                nn.Conv2d(width, following, 3, padding=1, bias=norm == "none"),
                norm_layer(norm, following),
                nn.LeakyReLU(0.01, inplace=True),
                nn.MaxPool2d(2),
            ]
        self.body = init_normal(nn.Sequential(*layers))

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        Args:
            image: (B, in_channels, H, W), H and W multiples of 32; the domain's range.

        Returns:
            Codes (B, 16 * filters, H / 32, W / 32).

        Raises:
            ValueError: If H or W is no multiple of 32.
        """
        height, width = image.shape[-2:]
        if height % 2**BLOCKS or width % 2**BLOCKS:
            raise ValueError(
                f"the native encoder got an image of {height}×{width} (height×width): both sides must be multiples of "
                f"{2**BLOCKS}"
            )
        return cast(Tensor, self.body(image))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: five blocks of nearest-neighbour upsampling ×2 · Conv3 · norm · LeakyReLU(.01).

    The last block has no norm and no activation.

    Args:
        out_channels: Channels of the image.
        filters: Filters of the encoder's first convolution.
        norm: Normalisation after each convolution but the last.
    """

    def __init__(self, out_channels: int, filters: int = 64, norm: Norm = "layer") -> None:
        super().__init__()
        widths = [*(filters * 2**i for i in reversed(range(BLOCKS))), out_channels]
        layers: list[nn.Module] = []
        for i, (width, following) in enumerate(pairwise(widths), start=1):
            last = i == BLOCKS
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(width, following, 3, padding=1, bias=last or norm == "none"),
            ]
            if not last:
                layers += [norm_layer(norm, following), nn.LeakyReLU(0.01, inplace=True)]
        self.body = init_normal(nn.Sequential(*layers))

    def forward(self, code: Tensor) -> Tensor:
        """Map codes (B, 16 * filters, h, w) to (B, out_channels, 32h, 32w), unbounded; the domain activates."""
        return cast(Tensor, self.body(code))
