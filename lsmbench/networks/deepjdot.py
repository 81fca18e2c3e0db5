"""DeepJDOT's networks for digits: features of images, and a classifier of features."""

from __future__ import annotations

from typing import Final, cast

from torch import Tensor, nn

from lsmbench.networks.init import init_xavier

FEATURES: Final = 128
LEAST: Final = 8
"""Least height and width, in pixels."""


class Features(nn.Module):
    """Three times Conv3 · ReLU · Conv3 · ReLU · Pool2, then a linear layer and a sigmoid.

    The widths are `filters` / 2, `filters` and 2 `filters`. Pools move by one pixel, so that a side loses three pixels
    in all. Initial weights are Keras's: Glorot's uniform, biases of 0.

    Args:
        channels: Channels of the images.
        side: Their height and width, in pixels.
        filters: 64 in the paper.
    """

    def __init__(self, channels: int, side: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for width in (filters // 2, filters, 2 * filters):
            for read in (before, width):
                layers += [nn.Conv2d(read, width, 3, padding=1), nn.ReLU()]
            layers.append(nn.MaxPool2d(2, stride=1))
            before = width
        flat = before * (side - 3) ** 2
        self.body = init_xavier(nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, FEATURES), nn.Sigmoid()))

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 128) in [0, 1] of images (B, C, side, side)."""
        return cast(Tensor, self.body(images))


def classifier(classes: int) -> nn.Linear:
    """The layer that gives logits (B, K) from features (B, 128)."""
    return init_xavier(nn.Linear(FEATURES, classes))
