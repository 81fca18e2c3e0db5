"""Multilayer perceptrons: encoder and decoder of vectors such as landmarks, and the discriminator of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm, vector_norm


def _layers(widths: Sequence[int], norm: Norm, slope: float) -> list[nn.Module]:
    """Linear · norm · LeakyReLU from width to width; a bias before a normalisation would have no effect."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        linear = nn.Linear(width, following, bias=norm == "none")
        layers += [linear, vector_norm(norm, following), nn.LeakyReLU(slope, inplace=True)]
    return layers


class VectorEncoder(nn.Module):
    """An encoder of vectors: Linear · norm · LeakyReLU(.01) from width to width.

    LSM (Mayet et al. 2022, App. B) encodes 68 landmarks with the widths 136, 64, 256, 1024.

    Args:
        features: Length of the vector.
        widths: Widths of the hidden layers and of the code.
        norm: Normalisation after each layer: ``batch`` in the released code; the paper names none.
    """

    def __init__(self, features: int, widths: Sequence[int] = (64, 256, 1024), norm: Norm = "layer") -> None:
        super().__init__()
        self.body = init_normal(nn.Sequential(*_layers((features, *widths), norm, 0.01)))

    def forward(self, vector: Tensor) -> Tensor:
        """Map (B, features) to codes (B, widths[-1])."""
        return cast(Tensor, self.body(vector))


class VectorDecoder(nn.Module):
    """The mirror of `VectorEncoder`, ending in a plain linear layer: the domain owns the output activation.

    Args:
        features: Length of the vector.
        widths: Widths of the encoder, used in reverse order.
        norm: Normalisation after each layer but the last.
    """

    def __init__(self, features: int, widths: Sequence[int] = (64, 256, 1024), norm: Norm = "layer") -> None:
        super().__init__()
        back = tuple(reversed(widths))
        self.body = init_normal(nn.Sequential(*_layers(back, norm, 0.01), nn.Linear(back[-1], features)))

    def forward(self, code: Tensor) -> Tensor:
        """Map codes (B, widths[-1]) to (B, features), unbounded."""
        return cast(Tensor, self.body(code))


class VectorDiscriminator(nn.Module):
    """A discriminator of vectors, or of maps taken as vectors: features, 256, 128, 64, 1, with LeakyReLU(.2).

    LSM's released code has these widths for latent vectors; the paper does not name the activation.

    Args:
        features: Count of numbers in one input.
        widths: Widths of the hidden layers.
    """

    def __init__(self, features: int, widths: Sequence[int] = (256, 128, 64)) -> None:
        super().__init__()
        layers = _layers((features, *widths), "none", 0.2)
        self.body = init_normal(nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Judge (B, ...) with `features` numbers a sample: logits (B, 1), above 0 means real."""
        return cast(Tensor, self.body(x))
