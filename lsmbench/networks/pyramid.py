"""semanticGAN's encoder (Li et al. 2021): a ResNet with a feature pyramid and a small head for each style of W⁺."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from lsmbench.networks.encoders import ResNetTrunk
from lsmbench.networks.stylegan2 import SIDES, EqualLinear

COARSE, MIDDLE = 3, 4
"""Styles that are read from stride 16 and from stride 8; stride 4 gives all others."""


class Head(nn.Module):
    """Reads one style from a map: Conv3 stride 2 · LeakyReLU(0.01) down to one pixel, then a linear layer.

    The linear layer has an equalised learning rate.

    Args:
        width: Channels of the map, and numbers in a style.
        side: Side of the map in pixels, a power of two from 2 on.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(side.bit_length() - 1):
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
        self.down = nn.Sequential(*layers)
        self.style = EqualLinear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, side, side) to styles (B, width)."""
        return cast(Tensor, self.style(self.down(features).flatten(1)))


class PyramidEncoder(nn.Module):
    """Maps a picture to the styles of all layers of a StyleGAN2 generator, a point of its space W⁺.

    A ResNet with batch normalisation, trained from scratch, and a feature pyramid (Lin et al. 2017) over its maps of
    strides 4, 8, 16 and 32. The first 3 styles are read from stride 16, the next 4 from stride 8 and all others from
    stride 4, each by a head of its own (`Head`). At 32 px stride 32 is left out: its map would have one pixel, and
    batch normalisation needs more than one value.

    Args:
        channels: Channels of the picture.
        size: Side of the picture in pixels, one of `SIDES`.
        codes: Number of styles, more than 7; 2·log₂(size) - 2 for StyleGAN2.
        width: Numbers in a style, and channels of the pyramid.
        filters: Width of the ResNet's first convolution.
        depth: Layers of the ResNet.

    Raises:
        ValueError: If `size` or `codes` is none of these.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        codes: int,
        width: int = 512,
        filters: int = 64,
        depth: Literal[18, 50] = 50,
    ) -> None:
        super().__init__()
        if size not in SIDES:
            raise ValueError(f"expected pictures of a side of {', '.join(map(str, SIDES))} pixels, not {size}")
        if codes <= COARSE + MIDDLE:
            raise ValueError(f"expected more than {COARSE + MIDDLE} styles, not {codes}")
        from torchvision.ops import FeaturePyramidNetwork  # type: ignore[import-untyped]

        self.trunk = ResNetTrunk(channels, filters, depth, stages=4 if size > 32 else 3)
        self.pyramid = FeaturePyramidNetwork(self.trunk.widths, width)
        if size > 32:
            # Nothing is read from stride 32 itself.
            self.pyramid.layer_blocks[-1] = nn.Identity()
        # Which map each style is read from, as the power of two between its stride and 4. One convolution with groups
        # for all heads of a map gave no gain on a CPU, and took up to twice the time at a width of 512.
        self.levels = [2] * COARSE + [1] * MIDDLE + [0] * (codes - COARSE - MIDDLE)
        self.heads = nn.ModuleList(Head(width, size // 4 >> level) for level in self.levels)

    def forward(self, picture: Tensor) -> Tensor:
        """Map a picture (B, channels, size, size) in [-1, 1] to styles (B, codes, width), unbounded."""
        maps = self.pyramid(dict(enumerate(self.trunk(picture))))
        return torch.stack([head(maps[level]) for head, level in zip(self.heads, self.levels, strict=True)], 1)
