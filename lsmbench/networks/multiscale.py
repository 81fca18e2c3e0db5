"""The discriminator of UNIT's and MUNIT's released code: one small network on each of several scales of a picture."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from lsmbench.networks.init import init_normal

LAYERS: Final = 4
LEAST: Final = 2**LAYERS
"""The least side in pixels on which a scale leaves a logit."""


class MultiScaleDiscriminator(nn.Module):
    """Judges patches of a picture, of the picture at half its side, and so on; each scale has its own network.

    On each scale: four times Conv4 stride 2 · LeakyReLU(0.2) with reflect padding, whose width doubles from ``filters``
    to ``8 * filters``, then a Conv1 to one channel. There is no normalisation. From scale to scale a 3×3 mean with
    stride 2 halves the side, rounded up; pixels outside the picture do not count.

    Args:
        in_channels: Channels of the picture.
        filters: Filters of the first convolution.
        scales: Number of scales, at least 1.
    """

    def __init__(self, in_channels: int, filters: int = 64, scales: int = 3) -> None:
        super().__init__()
        if scales < 1:
            raise ValueError(f"a discriminator needs at least one scale, not {scales}")
        self.scales = nn.ModuleList(_one_scale(in_channels, filters) for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Judge patches.

        Args:
            picture: (B, in_channels, H, W), any range.

        Returns:
            Logits (B, 1, h // 16, w // 16) of each scale, the finest first, where h and w are the scale's sides; no
            sigmoid: above 0 means real.

        Raises:
            ValueError: If H or W is too small for the coarsest scale.
        """
        logits = []
        for number, judge in enumerate(self.scales):
            picture = self.halve(picture) if number else picture
            height, width = picture.shape[-2:]
            if min(height, width) < LEAST:
                raise ValueError(
                    f"each scale needs sides of at least {LEAST}, but scale {number + 1} of {len(self.scales)} is "
                    f"{height}×{width} (height×width)"
                )
            logits.append(judge(picture))
        return logits


def scales_for(side: int, most: int = 3) -> int:
    """How many scales a picture of a side in pixels has, at most ``most``: 3 from 61 px on, 2 from 31, 1 from 16."""
    count = 0
    while side >= LEAST and count < most:
        count, side = count + 1, (side + 1) // 2
    return count


def _one_scale(in_channels: int, filters: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (filters * 2**i for i in range(LAYERS)):
        layers += [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1, padding_mode="reflect"),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        in_channels = width
    layers.append(nn.Conv2d(in_channels, 1, 1))
    return init_normal(nn.Sequential(*layers))
