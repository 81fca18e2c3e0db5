"""FCN-8s (Long et al. 2015) on VGG-16 (Simonyan and Zisserman 2015), and VGG-16's weights from ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from lsmbench.errors import UserError
from lsmbench.networks.pretrained import downloaded

IMAGENET_URL: Final = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""torchvision's `VGG16_Weights.IMAGENET1K_V1`, 528 MB; the name holds the beginning of the file's SHA-256."""

WIDTHS: Final = (1, 2, 4, 8, 8)
"""Widths of VGG-16's five blocks, as multiples of the first."""

_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions of VGG-16's five blocks."""


class FCN8s(nn.Module):
    """VGG-16 as a fully convolutional network that adds its scores at strides 32, 16 and 8.

    Five blocks of Conv3 · ReLU, each ended by a MaxPool2; fc6 and fc7 as Conv7 and Conv1, each with ReLU and Dropout ½;
    a 1×1 score head on each of pool3, pool4 and fc7. The scores of fc7 are upsampled ×2 and added to those of pool4;
    the sum is upsampled ×2 and added to the scores of pool3; that sum is upsampled ×8.

    * The heads start at zero, as in the paper's §4.3. The transposed convolutions start as bilinear interpolation,
      separate for each class, and are learnt; the paper keeps the last one fixed.
    * fc6 pads its input by 3 pixels, so that every side that is a multiple of 32 works. The paper pads the image by
      100 pixels and crops the scores.
    * Pools are not scaled. The variant trained in one stage (Shelhamer et al. 2017) multiplies pool3 by 0.0001 and
      pool4 by 0.01, for images with values up to 255.
    * Without ImageNet's weights the layers below the heads start from He et al. (2015): N(0, 2/N) for N inputs.

    The network does not normalise its input.

    Args:
        in_channels: Channels of the input image.
        classes: Channels of the output.
        filters: Width of the first block. The others are 2, 4, 8 and 8 times as wide, and fc6 and fc7 64 times: 4096
            for ``filters=64``.
    """

    def __init__(self, in_channels: int, classes: int, filters: int = 64) -> None:
        super().__init__()
        widths = [filters * factor for factor in WIDTHS]
        self.blocks = nn.ModuleList(vgg16_blocks(in_channels, filters))
        self.classifier = nn.Sequential(
            nn.Conv2d(widths[4], 64 * filters, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(64 * filters, 64 * filters, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                _zero(layer.bias)
        self.score_fc7 = _head(64 * filters, classes)
        self.score_pool4 = _head(widths[3], classes)
        self.score_pool3 = _head(widths[2], classes)
        self.up_fc7 = _bilinear(classes, 2)
        self.up_pool4 = _bilinear(classes, 2)
        self.up_pool3 = _bilinear(classes, 8)

    def features(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the inputs of the score heads: pool3, pool4 and fc7, at 1/8, 1/16 and 1/32 of the side.

        Args:
            image: (B, in_channels, H, W).

        Raises:
            ValueError: If H or W is no multiple of 32.
        """
        height, width = image.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(
                f"FCN-8s got an image of {height}×{width} (height×width): both sides must be multiples of 32"
            )
        pools: list[Tensor] = []
        x = image
        for block in self.blocks:
            x = block(x)
            pools.append(x)
        return pools[2], pools[3], self.classifier(x)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, in_channels, H, W), sides multiples of 32, to (B, classes, H, W), unbounded."""
        pool3, pool4, fc7 = self.features(image)
        x = self.up_fc7(self.score_fc7(fc7)) + self.score_pool4(pool4)
        x = self.up_pool4(x) + self.score_pool3(pool3)
        output: Tensor = self.up_pool3(x)
        return output

    @torch.no_grad()
    def transplant(self, vgg16: Mapping[str, Tensor]) -> None:
        """Copy a classifier's weights into all convolutions, fc6 and fc7, in place.

        Args:
            vgg16: State dictionary of torchvision's `vgg16`, without batch normalisation.

        Raises:
            UserError: If layers are missing or have other shapes.
        """
        convolutions = [layer for layer in self.blocks.modules() if isinstance(layer, nn.Conv2d)]
        dense = [layer for layer in self.classifier if isinstance(layer, nn.Conv2d)]
        # torchvision numbers every layer: a convolution and its ReLU take two numbers, a pool takes one.
        numbers, number = [], 0
        for count in _CONVOLUTIONS:
            numbers += [number + 2 * i for i in range(count)]
            number += 2 * count + 1
        names = [*(f"features.{n}" for n in numbers), "classifier.0", "classifier.3"]
        copies: list[tuple[nn.Parameter, Tensor]] = []
        for name, layer in zip(names, [*convolutions, *dense], strict=True):
            for part, own in layer.named_parameters():
                given = vgg16.get(f"{name}.{part}")
                # A linear layer's weights have the order of a convolution's kernel: channels, rows, columns.
                if given is None or given.numel() != own.numel() or given.shape[0] != own.shape[0]:
                    found = "no such weights" if given is None else f"shape {tuple(given.shape)}"
                    raise UserError(
                        f"weights of VGG-16, {name}.{part}: expected {own.numel()} numbers for a layer of shape "
                        f"{tuple(own.shape)}, found {found}. They have to be a state dictionary of torchvision's "
                        "vgg16; the network needs 3 input channels and 64 filters."
                    )
                copies.append((own, given))
        for own, checked in copies:
            own.copy_(checked.reshape(own.shape))


def imagenet_vgg16() -> dict[str, Tensor]:
    """Load torchvision's ImageNet weights of VGG-16 from PyTorch's cache; download them if the cache lacks them.

    Raises:
        UserError: If the weights can be neither loaded nor downloaded.
    """
    otherwise = "It has 528 MB. Or set method.pretrained=none to start from random weights."
    return downloaded(IMAGENET_URL, "VGG-16, ImageNet", otherwise)


def vgg16_blocks(in_channels: int, filters: int = 64) -> list[nn.Sequential]:
    """Make VGG-16's five blocks of Conv3 · ReLU, each ended by a MaxPool2.

    Args:
        in_channels: Channels of the input image.
        filters: Width of the first block. The others are 2, 4, 8 and 8 times as wide.
    """
    widths = [filters * factor for factor in WIDTHS]
    return [
        _block(narrow, wide, count)
        for narrow, wide, count in zip([in_channels, *widths[:-1]], widths, _CONVOLUTIONS, strict=True)
    ]


def _block(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in [in_channels, *[out_channels] * (count - 1)]:
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def _head(in_channels: int, classes: int) -> nn.Conv2d:
    head = nn.Conv2d(in_channels, classes, 1)
    nn.init.zeros_(head.weight)
    _zero(head.bias)
    return head


def _bilinear(classes: int, factor: int) -> nn.ConvTranspose2d:
    """Upsampling by an even factor that starts as bilinear interpolation, separate for each class."""
    up = nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    distance = (torch.arange(2 * factor, dtype=torch.float32) - (factor - 0.5)).abs()
    line = 1 - distance / factor
    with torch.no_grad():
        up.weight.zero_()
        up.weight[range(classes), range(classes)] = torch.outer(line, line)
    return up


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
