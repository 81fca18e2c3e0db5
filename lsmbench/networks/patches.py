"""What contrastive translation compares: features of patches, from a generator's own layers (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.init import init_normal
from lsmbench.networks.resnet import ResnetBlock

FIRST, FIFTH = 1, 5
"""The residual blocks that features are taken from."""
_LEAST: Final = 1e-7
"""The length below which features are not brought to length 1."""


def feature_widths(channels: int, filters: int) -> list[int]:
    """Channels of what `residual_features` gives, for images of so many channels."""
    return [channels, 2 * filters, 4 * filters, 4 * filters, 4 * filters]


def residual_features(layers: Iterable[nn.Module], maps: Tensor) -> list[Tensor]:
    """Features of five layers of a ResNet generator: those of small patches first.

    They are the pixels, what both convolutions of stride 2 give before they are normalised, and what the first and the
    fifth residual block give. Layers after the fifth block are not computed.

    Args:
        layers: The generator's layers, in order.
        maps: What the generator is fed, (B, C, H, W).

    Returns:
        Maps (B, C, H, W), then of half the side, then three of a quarter.

    Raises:
        ValueError: If there are fewer than five residual blocks.
    """
    found, blocks = [maps], 0
    for layer in layers:
        maps = layer(maps)
        if isinstance(layer, ResnetBlock):
            blocks += 1
            if blocks in (FIRST, FIFTH):
                found.append(maps)
            if blocks == FIFTH:
                return found
        elif isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            found.append(maps)
    raise ValueError(f"features of the fifth residual block were asked for, and there are {blocks}")


class PatchProjection(nn.Module):
    """H_l: Linear · ReLU · Linear, on the features of single places, then brought to length 1.

    Args:
        channels: Channels of the features.
        width: Units of both layers; 256 in the paper.
    """

    def __init__(self, channels: int, width: int = 256) -> None:
        super().__init__()
        self.body = init_normal(nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width)))

    def forward(self, maps: Tensor, places: Tensor) -> Tensor:
        """Map features (B, channels, H, W) at S places, numbers below H · W, to vectors (B, S, width) of length 1."""
        picked = maps.flatten(2)[:, :, places].transpose(1, 2)
        return F.normalize(self.body(picked), dim=2, eps=_LEAST)
