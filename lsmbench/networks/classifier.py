"""A small convolutional classifier."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class ConvClassifier(nn.Module):
    """Conv5 · Pool2 · Conv3 · Conv3 · Pool2 · Conv3 · Conv3, then two linear layers.

    Batch norm and ReLU follow each convolution. The side is halved twice, rounded down. With 16 filters and 1 channel,
    10 classes, images of 28 px take 472 762 parameters, of 16 px 202 426.

    Args:
        channels: Channels of the images.
        size: Height and width of the images, at least 8 px.
        classes: Number of logits.
        filters: Width of the first layer; the next ones have two and four times as many.
        hidden: Width of the layer before the last.
    """

    def __init__(self, channels: int, size: int, classes: int, filters: int = 16, hidden: int = 128) -> None:
        super().__init__()
        if size < 8:
            raise ValueError(f"a classifier of images of {size} px; at least 8 px are needed")
        f = filters
        self.features = nn.Sequential(
            _layer(channels, f, 5), nn.MaxPool2d(2), _layer(f, 2 * f), _layer(2 * f, 2 * f), nn.MaxPool2d(2),
            _layer(2 * f, 4 * f), _layer(4 * f, 4 * f), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(4 * f * (size // 2 // 2) ** 2, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, S, S)."""
        return cast(Tensor, self.head(self.features(images)))


def _layer(channels: int, filters: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(filters), nn.ReLU()
    )
