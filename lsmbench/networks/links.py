"""Links: modules that map one domain's latent space to another's."""

from __future__ import annotations

from math import prod
from typing import cast

from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm
from lsmbench.networks.resnet import ResnetBlock


class ResnetLink(nn.Module):
    """A link between two image-like latent spaces: one residual block.

    Source: the released LSM code; the paper (Mayet et al. 2022) does not say what links image latents.

    Args:
        channels: Channels of both latent maps (256 in the paper).
        norm: Normalisation of the block.
    """

    def __init__(self, channels: int, norm: Norm = "instance") -> None:
        super().__init__()
        self.block = init_normal(ResnetBlock(channels, norm))

    def forward(self, latent: Tensor) -> Tensor:
        """Map latents (B, channels, h, w) of one domain to the other's, same shape, unbounded."""
        return cast(Tensor, self.block(latent))


class LinearLink(nn.Module):
    """A link between latent spaces of any two shapes: flatten, one linear layer (LSM, App. B).

    The released code adds batch normalisation and LeakyReLU; the paper does not.

    Args:
        source: Shape of a source code without the batch: (C, h, w) or (F,).
        target: Shape of a target code.
    """

    def __init__(self, source: tuple[int, ...], target: tuple[int, ...]) -> None:
        super().__init__()
        self.target = target
        self.linear = init_normal(nn.Linear(prod(source), prod(target)))

    def forward(self, latent: Tensor) -> Tensor:
        """Map codes (B, *source) to (B, *target), unbounded."""
        return cast(Tensor, self.linear(latent.flatten(1))).reshape(-1, *self.target)
