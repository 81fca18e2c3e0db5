"""The variational autoencoders of UNIT (Liu et al. 2017), one for each view, whose codes the other's generator takes.

The networks are those of the released code: the paper's table has twice the width in the residual blocks, LeakyReLUs,
and transposed convolutions. Its layer normalisation draws its first weights from U(0, 1); here they are 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Literal, cast

from torch import Tensor, nn

from lsmbench.networks.init import init_kaiming
from lsmbench.networks.norm import norm_layer
from lsmbench.networks.resnet import ResnetBlock
from lsmbench.networks.translators import Named, Shape, at_side

BLOCKS: Final = 4
"""Residual blocks of an encoder, and of a generator."""


class VAEEncoder(nn.Module):
    """Conv7 · norm · ReLU, two stride-2 Conv4 · norm · ReLU, then residual blocks; instance norm, reflect padding.

    Args:
        in_channels: Channels of the picture.
        filters: Filters of the first convolution; codes have ``4 * filters`` channels.
        blocks: Residual blocks.
    """

    def __init__(self, in_channels: int, filters: int = 64, blocks: int = BLOCKS) -> None:
        super().__init__()
        layers = [_convolution(in_channels, filters, 7, 1), *_normalised(filters)]
        for width in (filters, 2 * filters):
            layers += [_convolution(width, 2 * width, 4, 2), *_normalised(2 * width)]
        self.body = init_kaiming(nn.Sequential(*layers, *residual_blocks(4 * filters, blocks)))

    def forward(self, picture: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * filters, H / 4, W / 4); H and W are multiples of 4, at least 8."""
        return cast(Tensor, self.body(picture))


class VAEGenerator(nn.Module):
    """Residual blocks, twice nearest-pixel enlargement · Conv5 · layer norm · ReLU, then Conv7; reflect padding.

    There is no output activation: the domain owns it.

    Args:
        out_channels: Channels of the picture.
        filters: Filters of the last hidden layer; codes have ``4 * filters`` channels.
        blocks: Residual blocks.
    """

    def __init__(self, out_channels: int, filters: int = 64, blocks: int = BLOCKS) -> None:
        super().__init__()
        layers = [*residual_blocks(4 * filters, blocks)]
        for width in (2 * filters, filters):
            layers += [nn.Upsample(scale_factor=2), _convolution(2 * width, width, 5, 1), *_normalised(width, "layer")]
        self.body = init_kaiming(nn.Sequential(*layers, _convolution(filters, out_channels, 7, 1)))

    def forward(self, code: Tensor) -> Tensor:
        """Map (B, 4 * filters, h, w) to (B, out_channels, 4h, 4w), unbounded; h and w are at least 2."""
        return cast(Tensor, self.body(code))


class CoupledVAEs(nn.Module):
    """An encoder and a generator for each view, with codes of one shape, so that codes can change places.

    All pictures are brought to the greatest side of the views, bilinearly, before they are encoded. What is generated
    for a smaller view is brought back to its side, bilinearly over areas so that no pixel is skipped.

    Args:
        shapes: Shapes of network inputs by view, (C, side, side).
        network: Makes the networks by the names `encoder_x`, `generator_x`, `encoder_shared` and `generator_shared`.
        filters: Filters of the first convolution.
        shared: How many residual blocks, the last of the encoders and the first of the generators, are one for all
            views: 0 to `BLOCKS`.
    """

    def __init__(self, shapes: Mapping[str, Shape], network: Named, filters: int = 64, shared: int = 0) -> None:
        super().__init__()
        if not 0 <= shared <= BLOCKS:
            raise ValueError(f"0 to {BLOCKS} residual blocks can be shared, not {shared}")
        self.sides = {view: shape[-1] for view, shape in shapes.items()}
        self.side = max(self.sides.values())
        own, both = BLOCKS - shared, partial(_shared, 4 * filters, shared)
        self.encoders = nn.ModuleDict(
            {v: network(f"encoder_{v}", partial(VAEEncoder, s[0], filters, own)) for v, s in shapes.items()}
        )
        self.shared_encoder = network("encoder_shared", both)
        self.shared_generator = network("generator_shared", both)
        self.generators = nn.ModuleDict(
            {v: network(f"generator_{v}", partial(VAEGenerator, s[0], filters, own)) for v, s in shapes.items()}
        )

    def encode(self, fed: Tensor, view: str) -> Tensor:
        """Map network inputs (B, C, side, side) of a view to the means of their codes: E_x."""
        return cast(Tensor, self.shared_encoder(self.encoders[view](at_side(fed, self.side))))

    def generate(self, code: Tensor, view: str) -> Tensor:
        """Map codes to network outputs (B, C, side, side) of a view: G_x."""
        return at_side(self.generators[view](self.shared_generator(code)), self.sides[view])


def residual_blocks(channels: int, count: int) -> list[nn.Module]:
    """Residual blocks (B, channels, h, w), with instance normalisation."""
    return [ResnetBlock(channels) for _ in range(count)]


def _shared(channels: int, count: int) -> nn.Module:
    return init_kaiming(nn.Sequential(*residual_blocks(channels, count)))


def _convolution(taken: int, made: int, kernel: int, stride: int) -> nn.Module:
    """A convolution that keeps the side, or halves it at stride 2."""
    return nn.Conv2d(taken, made, kernel, stride, (kernel - 1) // 2, padding_mode="reflect")


def _normalised(channels: int, norm: Literal["instance", "layer"] = "instance") -> list[nn.Module]:
    return [norm_layer(norm, channels), nn.ReLU(inplace=True)]
