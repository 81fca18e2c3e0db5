"""The ResNet generator of Johnson et al. (2016) and CycleGAN (Zhu et al. 2017), whole and cut in half.

LSM (Mayet et al. 2022, App. B–C) cuts ``resnet_6blocks`` in the middle: the first half is the encoder of a domain,
the second its decoder. CycleGAN and the hybrid use the whole.

None of these networks ends in an activation. The published generators end in tanh because their images are in
[-1, 1]; here the domain owns the output activation (sigmoid for images in [0, 1], softmax for classes, ...).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm, conv_bias, norm_layer


class ResnetBlock(nn.Module):
    """A residual block ``x + F(x)``, without a ReLU after the sum.

    F is Conv3 · norm · ReLU · [Dropout ½] · Conv3 · norm with reflect padding.

    Args:
        channels: Channels of input and output.
        norm: Normalisation after each convolution.
        dropout: Whether to drop half of the hidden values in training.
    """

    def __init__(self, channels: int, norm: Norm = "instance", dropout: bool = False) -> None:
        super().__init__()
        bias = conv_bias(norm)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
        ]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=bias),
            norm_layer(norm, channels),
        ]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape; H and W are at least 2; any range in and out."""
        return x + cast(Tensor, self.body(x))


class ResnetEncoder(nn.Module):
    """The first half of the ResNet generator: an image becomes a latent map at a quarter of its side.

    Conv7 · norm · ReLU, two stride-2 Conv3 · norm · ReLU, then residual blocks.

    Args:
        in_channels: Channels of the image.
        filters: Filters of the first convolution; the latent map has ``4 * filters`` channels.
        blocks: Residual blocks.
        norm: Normalisation after each convolution.

    Attributes:
        out_channels: Channels of the latent map.
    """

    def __init__(self, in_channels: int, filters: int = 64, blocks: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        self.out_channels = 4 * filters
        bias = conv_bias(norm)
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, filters, 7, padding=3, padding_mode="reflect", bias=bias),
            norm_layer(norm, filters),
            nn.ReLU(inplace=True),
        ]
        for width in (filters, 2 * filters):
            layers += [
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias),
                norm_layer(norm, 2 * width),
                nn.ReLU(inplace=True),
            ]
        layers += [ResnetBlock(self.out_channels, norm) for _ in range(blocks)]
        self.body = init_normal(nn.Sequential(*layers))

    def forward(self, image: Tensor) -> Tensor:
        """Encode images.

        Args:
            image: (B, in_channels, H, W), H and W multiples of 4 and at least 8; the domain's range.

        Returns:
            Latent maps (B, 4 * filters, H / 4, W / 4), unbounded.

        Raises:
            ValueError: If the decoder could not restore H and W, or the image is too small to pad.
        """
        height, width = image.shape[-2:]
        if height % 4 or width % 4 or height < 8 or width < 8:
            raise ValueError(
                f"the ResNet encoder got an image of {height}×{width} (height×width): "
                "both sides must be multiples of 4 and at least 8"
            )
        return cast(Tensor, self.body(image))


class ResnetDecoder(nn.Module):
    """The second half of the ResNet generator: a latent map becomes an image of four times its side.

    Residual blocks, two ConvT3 s2 · norm · ReLU, then Conv7. There is no output activation: the domain owns it.

    Args:
        out_channels: Channels of the image.
        filters: Filters of the last hidden layer; the latent map has ``4 * filters`` channels.
        blocks: Residual blocks.
        norm: Normalisation after each convolution but the last.
    """

    def __init__(self, out_channels: int, filters: int = 64, blocks: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        bias = conv_bias(norm)
        layers: list[nn.Module] = [ResnetBlock(4 * filters, norm) for _ in range(blocks)]
        for width in (2 * filters, filters):
            layers += [
                nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=bias),
                norm_layer(norm, width),
                nn.ReLU(inplace=True),
            ]
        # No normalisation follows the last convolution, so it always has a bias.
        layers.append(nn.Conv2d(filters, out_channels, 7, padding=3, padding_mode="reflect"))
        self.body = init_normal(nn.Sequential(*layers))

    def forward(self, latent: Tensor) -> Tensor:
        """Map latents (B, 4 * filters, h, w) to (B, out_channels, 4h, 4w), unbounded: the domain's activation follows.

        h and w are at least 2.
        """
        return cast(Tensor, self.body(latent))


class ResnetGenerator(nn.Module):
    """The whole ResNet generator: a ``ResnetEncoder`` followed by a ``ResnetDecoder``.

    ``blocks=6`` is ``resnet_6blocks``, ``blocks=9`` is ``resnet_9blocks``, both without the final tanh: the domain
    owns the output activation. An odd number of blocks gives the encoder one more.

    Args:
        in_channels: Channels of the input image.
        out_channels: Channels of the output image.
        filters: Filters of the first and of the last hidden layer.
        blocks: Residual blocks of both halves together.
        norm: Normalisation after each convolution but the last.
    """

    def __init__(
        self, in_channels: int, out_channels: int, filters: int = 64, blocks: int = 6, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        self.encoder = ResnetEncoder(in_channels, filters, blocks - blocks // 2, norm)
        self.decoder = ResnetDecoder(out_channels, filters, blocks // 2, norm)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W), unbounded; H and W are multiples of 4, at least 8."""
        return cast(Tensor, self.decoder(self.encoder(image)))
