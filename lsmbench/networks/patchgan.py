"""The PatchGAN discriminator of pix2pix (Isola et al. 2017), on images and on latent maps."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import Norm, conv_bias, norm_layer


class PatchGAN(nn.Module):
    """A discriminator that judges overlapping patches; with three layers, patches are 70×70 pixels.

    ``layers`` times stride-2 Conv4 · norm · LeakyReLU(0.2), the first without norm; then the same once with stride 1;
    then a stride-1 Conv4 to one channel. The width doubles from layer to layer up to ``8 * filters``.

    Args:
        in_channels: Channels of the input; for a conditional discriminator, of the concatenated views.
        filters: Filters of the first convolution.
        layers: Stride-2 convolutions, at least 1.
        norm: Normalisation of the hidden layers but the first.
    """

    def __init__(self, in_channels: int, filters: int = 64, layers: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"a PatchGAN needs at least one layer, not {layers}")
        self.layers = layers
        widths = [filters * min(2**i, 8) for i in range(layers + 1)]
        # No normalisation follows the first and the last convolution, so they always have a bias.
        body: list[nn.Module] = [
            nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            body += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride=stride, padding=1, bias=conv_bias(norm)),
                norm_layer(norm, widths[i]),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        body.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.body = init_normal(nn.Sequential(*body))

    def forward(self, x: Tensor, planes: Tensor | None = None) -> Tensor:
        """Judge patches.

        Args:
            x: (B, C, H, W), any range.
            planes: (B, F): values of F further channels, each constant over the image; C + F is ``in_channels``. The
                result equals that of F full channels, for a fraction of the work.

        Returns:
            Logits (B, 1, H // 2**layers - 2, W // 2**layers - 2), no sigmoid: above 0 means real.

        Raises:
            ValueError: If H or W is too small for a logit.
        """
        height, width = x.shape[-2:]
        least = least_side(self.layers)
        if min(height, width) < least:
            raise ValueError(
                f"a PatchGAN of {self.layers} layers needs sides of at least {least}, "
                f"but its input is {height}×{width} (height×width)"
            )
        if planes is None:
            return cast(Tensor, self.body(x))
        return cast(Tensor, self.body[1:](self._first(x, planes)))

    def _first(self, x: Tensor, planes: Tensor) -> Tensor:
        """Apply the first convolution; to the constant planes, once for each kind of place: corner, edge, inside."""
        first = cast(nn.Conv2d, self.body[0])
        of_x, of_planes = first.weight[:, : x.shape[1]], first.weight[:, x.shape[1] :]
        out = nn.functional.conv2d(x, of_x, first.bias, stride=2, padding=1)
        small = planes[:, :, None, None].expand(-1, -1, 8, 8)
        kinds = nn.functional.conv2d(small, of_planes, stride=2, padding=1)  # rows 0 and 3 see the border's zeros
        rows, columns = (self._kinds(side, length) for side, length in zip(x.shape[2:], out.shape[2:], strict=True))
        return out + kinds[:, :, rows][:, :, :, columns]

    @staticmethod
    def _kinds(side: int, length: int) -> list[int]:
        """For each place of the output, the place of the small output that sees the same borders."""
        return [0, *[1] * (length - 2), 3 if side % 2 == 0 else 1]


def least_side(layers: int) -> int:
    """The least side in pixels on which a PatchGAN of so many layers leaves a logit."""
    return 3 << layers


def latent_discriminator(channels: int, side: int, filters: int = 64, norm: Norm = "instance") -> PatchGAN:
    """Make LSM's discriminator of latent maps (Mayet et al. 2022): a PatchGAN as deep as the map allows.

    A side of 32 (images of 128) gives 3 layers, 16 gives 2 as in the released face configuration, 8 gives 1; each
    leaves 2×2 logits. Larger maps keep 3 layers and leave more logits, and sides in between leave up to 5×5. Sides of 6
    and 7 (images of 24 and 28) give 1 layer and leave one logit.

    Args:
        channels: Channels of the latent map (256 in the paper).
        side: The shorter side of the latent map, at least 6.
        filters: Filters of the first convolution.
        norm: Normalisation of the hidden layers but the first.

    Raises:
        ValueError: If ``side`` is below 6.
    """
    if side < (least := least_side(1)):
        raise ValueError(
            f"a latent map of side {side} is too small for a latent discriminator, which needs at least {least}: "
            f"with the ResNet encoder, images must be at least {4 * least} pixels high and wide"
        )
    # The whole part of log2(side / 4), in integers.
    layers = min(max((side // 4).bit_length() - 1, 1), 3)
    return PatchGAN(channels, filters, layers, norm)
