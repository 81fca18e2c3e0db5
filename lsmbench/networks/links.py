"""Links: what maps one domain's latent space to another's."""

from __future__ import annotations

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
