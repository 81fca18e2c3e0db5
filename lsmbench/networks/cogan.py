"""CoGAN's networks for digits: generators and discriminators of two domains that differ in one layer each."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final, cast

from torch import Tensor, nn

from lsmbench.networks.init import init_xavier

SIDE: Final = 28
"""Height and width of what is generated and read, in pixels."""
FEATURES: Final = 500
_GAIN, _BIAS = sqrt(2), 0.1
"""Of the initial weights, which are Xavier's, and the biases: the released code's."""


class CoupledGenerators(nn.Module):
    """One image of each domain from one noise vector; only the last layers differ (Liu and Tuzel 2016, §3).

    Four transposed convolutions to 4, 7, 13 and 25 px, each with batch normalisation (without a scale and shift of its
    own) and PReLU, then one for each domain to 28 px. There is no output activation: the domain owns it.

    Args:
        channels: Channels of each domain's images, by view.
        filters: The widths are 16, 8, 4 and 2 times as many; the paper's is 64.
        noise: Length of a noise vector.
    """

    def __init__(self, channels: Mapping[str, int], filters: int, noise: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = noise
        for width, kernel, stride, padding in (
            (16 * filters, 4, 1, 0),
            (8 * filters, 3, 2, 1),
            (4 * filters, 3, 2, 1),
            (2 * filters, 3, 2, 1),
        ):
            layers += [
                nn.ConvTranspose2d(before, width, kernel, stride, padding),
                nn.BatchNorm2d(width, affine=False),
                nn.PReLU(),
            ]
            before = width
        self.body = nn.Sequential(*layers)
        self.last = nn.ModuleDict({v: nn.ConvTranspose2d(before, c, 6, 1, 1) for v, c in sorted(channels.items())})
        init_xavier(self, _GAIN, _BIAS)

    def forward(self, noise: Tensor) -> dict[str, Tensor]:
        """Images (B, C, 28, 28) of each domain, unbounded, from noise (B, Z)."""
        shared = self.body(noise[:, :, None, None])
        return {view: last(shared) for view, last in self.last.items()}


class CoupledDiscriminators(nn.Module):
    """Features of images of either domain, of which only the first layers differ, with two heads.

    Conv5·20 of each domain · Pool2 · Conv5·50 · Pool2 · Conv4·500 · PReLU, all without padding; then one layer that
    tells real from fake and one that tells the class. With 1 channel and 10 classes 432 102 parameters.

    Args:
        channels: Channels of each domain's images, by view.
        classes: Number of classes.
    """

    def __init__(self, channels: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.first = nn.ModuleDict({view: nn.Conv2d(c, 20, 5) for view, c in sorted(channels.items())})
        self.body = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Conv2d(50, FEATURES, 4), nn.PReLU(), nn.Flatten()
        )
        self.real, self.kind = nn.Linear(FEATURES, 1), nn.Linear(FEATURES, classes)
        init_xavier(self, _GAIN, _BIAS)

    def features(self, images: Tensor, view: str) -> Tensor:
        """Features (B, 500) of images (B, C, 28, 28) of a domain."""
        return cast(Tensor, self.body(self.first[view](images)))
