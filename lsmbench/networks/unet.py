"""The U-Net generator of pix2pix (Isola et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm, conv_bias, norm_layer


class UNetGenerator(nn.Module):
    """An encoder of stride-2 convolutions and its mirror; concatenation joins each level to its counterpart.

    Down: LeakyReLU(.2) · Conv4 s2 · norm, of ``filters``, then twice, four and eight times as many channels. Up: ReLU ·
    ConvT4 s2 · norm · [Dropout ½ in the innermost levels of full width]. The outermost and innermost convolutions have
    no norm. The published generator ends in tanh; here the domain owns the output activation. ``downs=8`` is
    ``unet_256`` and ``downs=7`` is ``unet_128``.

    Args:
        in_channels: Channels of the input image.
        out_channels: Channels of the output image.
        filters: Filters of the outermost convolution.
        downs: Number of times that the side is halved, at least 5.
        norm: Normalisation of the other convolutions.
        dropout: Whether the inner levels drop half of their values in training (the paper's only noise).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        filters: int = 64,
        downs: int = 8,
        norm: Norm = "batch",
        dropout: bool = True,
    ) -> None:
        super().__init__()
        if downs < 5:
            raise ValueError(
                f"the U-Net halves its input at least 5 times, not {downs}: give images of 32 pixels or more"
            )
        self.downs = downs
        bias = conv_bias(norm)
        widths = [filters * min(2**i, 8) for i in range(downs)]
        down: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1, bias=bias)]
        for i in range(1, downs):
            layers: list[nn.Module] = [
                # Not in place: the skip connection uses the same tensor.
                nn.LeakyReLU(0.2),
                nn.Conv2d(widths[i - 1], widths[i], 4, stride=2, padding=1, bias=bias),
            ]
            if i < downs - 1:
                layers.append(norm_layer(norm, widths[i]))
            down.append(nn.Sequential(*layers))
        up: list[nn.Module] = []
        for i in reversed(range(1, downs)):
            joined = widths[i] if i == downs - 1 else 2 * widths[i]
            layers = [
                nn.ReLU(),
                nn.ConvTranspose2d(joined, widths[i - 1], 4, stride=2, padding=1, bias=bias),
                norm_layer(norm, widths[i - 1]),
            ]
            if dropout and 4 <= i < downs - 1:
                layers.append(nn.Dropout(0.5))
            up.append(nn.Sequential(*layers))
        # No normalisation follows the last convolution, so it always has a bias.
        last = nn.ConvTranspose2d(2 * widths[0], out_channels, 4, stride=2, padding=1)
        up.append(nn.Sequential(nn.ReLU(), last))
        self.down = init_normal(nn.ModuleList(down))
        self.up = init_normal(nn.ModuleList(up))

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W), unbounded.

        Raises:
            ValueError: If H or W is no multiple of 2**downs.
        """
        height, width = image.shape[-2:]
        if height % 2**self.downs or width % 2**self.downs:
            raise ValueError(
                f"a U-Net of {self.downs} levels got an image of {height}×{width} (height×width): both sides must be "
                f"multiples of {2**self.downs}"
            )
        levels = []
        for layer in self.down:
            image = layer(image)
            levels.append(image)
        x = levels.pop()
        for layer in self.up:
            x = layer(x)
            if levels:
                x = torch.cat([levels.pop(), x], 1)
        return x
