"""semanticGAN's discriminator of images together with their masks (Li et al. 2021), PatchGANs as pix2pixHD's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lsmbench.networks.init import init_normal
from lsmbench.networks.norm import conv_bias, norm_layer


class MultiScalePatchGAN(nn.Module):
    """Judges patches of its input, of the input at half its side, and so on; each scale has its own network.

    On each scale (Wang et al. 2018, pix2pixHD): ``layers`` times Conv4 stride 2 · LeakyReLU(0.2), then once the same
    with stride 1, then a Conv4 to one channel, all with padding 2. The width doubles from layer to layer up to
    ``8 * filters``. Every convolution has its spectral norm held at 1 (Miyato et al. 2018), and all hidden ones but the
    first are followed by instance normalisation. From scale to scale a 3×3 mean with stride 2 halves the side, rounded
    up; pixels outside do not count.

    In training, every forward pass takes one step of the power iteration that estimates the spectral norms, and stores
    it in buffers; in evaluation they stay.

    Args:
        in_channels: Channels of the image and of the mask together.
        filters: Filters of the first convolution.
        scales: Number of scales, at least 1.
        layers: Stride-2 convolutions of a scale, at least 1.
    """

    def __init__(self, in_channels: int, filters: int = 64, scales: int = 3, layers: int = 3) -> None:
        super().__init__()
        if scales < 1 or layers < 1:
            raise ValueError(f"a discriminator needs at least one scale and one layer, not {scales} and {layers}")
        self.scales = nn.ModuleList(_one_scale(in_channels, filters, layers) for _ in range(scales))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Judge patches, and show what each layer makes of them.

        Args:
            x: (B, in_channels, H, W), any range.

        Returns:
            For each scale, the finest first, the output of each of its ``layers + 2`` layers. The last are the logits
            (B, 1, h, w), no sigmoid: above 0 means real. With three layers h is 7, 5 and 4 for H = 32, and 35, 19 and
            11 for H = 256.

        Raises:
            ValueError: If H and W are so small that a normalised map has one pixel.
        """
        judged = []
        for number, scale in enumerate(self.scales):
            x = self.halve(x) if number else x
            maps = [x]
            for layer in scale.children():
                maps.append(layer(maps[-1]))
            judged.append(maps[1:])
        return judged


def _one_scale(in_channels: int, filters: int, layers: int) -> nn.Sequential:
    widths = [filters * min(2**i, 8) for i in range(layers + 1)]
    parts: list[nn.Module] = []
    for i, (narrow, wide) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True)):
        stride = 2 if i < layers else 1
        # The first layer is not normalised, so it always has a bias.
        conv = nn.Conv2d(narrow, wide, 4, stride, padding=2, bias=i == 0 or conv_bias("instance"))
        norm = [norm_layer("instance", wide)] if i else []
        parts.append(nn.Sequential(conv, *norm, nn.LeakyReLU(0.2, inplace=True)))
    parts.append(nn.Conv2d(widths[-1], 1, 4, padding=2))
    network = init_normal(nn.Sequential(*parts))
    for part in list(network.modules()):
        if isinstance(part, nn.Conv2d):
            spectral_norm(part)
    return network
