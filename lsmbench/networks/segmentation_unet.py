"""The U-Net for segmentation (Ronneberger et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lsmbench.networks.segmenters import double_convolution


class SegmentationUNet(nn.Module):
    """A contracting path and an expanding path; concatenation joins each level to its counterpart.

    Each level applies Conv3 · BN · ReLU twice. Down: MaxPool2, then twice as many channels. Up: ConvT2 s2 to half as
    many channels, concatenated after the counterpart's channels. A 1×1 convolution makes the output. With
    ``filters=64`` and ``levels=4`` the widths are the paper's, 64 to 1024.

    Where the widely used implementation departs from the paper, this class follows the implementation: convolutions pad
    by one pixel, so nothing is cropped; batch normalisation, and hence no bias in the convolutions before it; no
    dropout at the end of the contracting path. 3 → 1 channels have 31 037 633 parameters, 3 → 2 have 31 037 698; with
    the paper's biases instead of batch normalisation there would be 5 888 fewer. Weights are drawn as in the paper's
    §3: N(0, 2/N) for N incoming nodes.

    Args:
        in_channels: Channels of the input image.
        out_channels: Channels of the output: one for each class.
        filters: Width of the outermost level.
        levels: Number of times that the side is halved, at least 1.
    """

    def __init__(self, in_channels: int, out_channels: int, filters: int = 64, levels: int = 4) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"a U-Net halves its input at least once, not {levels} times")
        self.levels = levels
        widths = [filters * 2**i for i in range(levels + 1)]
        self.down = nn.ModuleList(
            double_convolution(narrow, wide) for narrow, wide in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.joined = nn.ModuleList(double_convolution(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(filters, out_channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                _init(layer, layer.in_channels * math.prod(layer.kernel_size))
            elif isinstance(layer, nn.ConvTranspose2d):
                _init(layer, layer.in_channels)  # stride equals kernel: one input pixel per output pixel

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W), unbounded.

        Raises:
            ValueError: If H or W is no multiple of 2**levels.
        """
        return self.decode(self.encode(image), image.shape[-2:])

    def encode(self, image: Tensor) -> list[Tensor]:
        """Map an image to the maps of all levels, fine to coarse.

        Raises:
            ValueError: If H or W is no multiple of 2**levels.
        """
        height, width = image.shape[-2:]
        if height % 2**self.levels or width % 2**self.levels:
            raise ValueError(
                f"a U-Net of {self.levels} levels got an image of {height}×{width} (height×width): both sides must be "
                f"multiples of {2**self.levels}"
            )
        maps: list[Tensor] = []
        for level in self.down:
            maps.append(level(self.pool(maps[-1]) if maps else image))
        return maps

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map these to outputs of the finest map's size, which is `size`."""
        x = maps[-1]
        for up, joined, finer in zip(self.up, self.joined, reversed(maps[:-1]), strict=True):
            x = joined(torch.cat([finer, up(x)], 1))
        output: Tensor = self.head(x)
        return output


def _init(layer: nn.Conv2d | nn.ConvTranspose2d, incoming: int) -> None:
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / incoming))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
