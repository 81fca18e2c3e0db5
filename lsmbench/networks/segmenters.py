"""Segmentation networks of an encoder and a decoder, which can be asked one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ATROUS = (6, 12, 18, 24)
"""Rates of DeepLabV2's four branches (Chen et al. 2018, §3.2, ASPP-L)."""


class Segments(Protocol):
    """A segmentation network whose maps can be changed between its two halves."""

    def encode(self, picture: Tensor) -> list[Tensor]:
        """Map a picture (B, C, H, W) to maps, fine to coarse."""

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map these to an output for each pixel, (B, out_channels, *size), unbounded."""

    def __call__(self, picture: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W)."""


class Segmenter(nn.Module):
    """An encoder, and a decoder that makes one output for each pixel of its maps.

    Args:
        encoder: Maps a picture to maps, fine to coarse.
        decoder: Maps these, and the picture's size, to outputs.
        frozen: Whether the encoder keeps its weights and its batch statistics.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, frozen: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.frozen = encoder, decoder, frozen
        if frozen:
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """A frozen encoder stays as it is in evaluation."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def encode(self, picture: Tensor) -> list[Tensor]:
        """Map a picture (B, C, H, W) to maps, fine to coarse."""
        return cast(list[Tensor], self.encoder(picture))

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map these to an output for each pixel, (B, out_channels, *size), unbounded."""
        return cast(Tensor, self.decoder(maps, size))

    def forward(self, picture: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W), unbounded."""
        return self.decode(self.encode(picture), picture.shape[-2:])


class AtrousPyramid(nn.Module):
    """DeepLabV2's head: four 3×3 convolutions of the coarsest map, spread by 6, 12, 18 and 24, are summed.

    Chen et al. 2018, §3.2; the outputs are enlarged bilinearly. Weights start from N(0, 0.01²), as in the released
    code. The paper's ASPP-L has two 1×1 convolutions of 1,024 channels after each branch; the released ResNet-101 and
    its reimplementations, which semanticGAN's comparison runs, have this head.

    Args:
        widths: Channels of the encoder's maps, fine to coarse.
        out_channels: Channels of the output.
    """

    def __init__(self, widths: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(widths[-1], out_channels, 3, padding=rate, dilation=rate) for rate in ATROUS
        )
        for branch in self.branches:
            nn.init.normal_(cast(Tensor, branch.weight), std=0.01)
            nn.init.zeros_(cast(Tensor, branch.bias))

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map an encoder's maps to (B, out_channels, *size)."""
        summed = torch.stack([branch(maps[-1]) for branch in self.branches]).sum(0)
        return enlarged(summed, size)


class UNetDecoder(nn.Module):
    """A U-Net's expanding path over the maps of any encoder.

    From the coarsest map on, the path is brought to the side of the next finer map by the nearest pixel, joined with
    that map, and goes through Conv3 · BN · ReLU twice. A 3×3 convolution makes the outputs at the finest map's side,
    from where they are enlarged bilinearly.

    Args:
        widths: Channels of the encoder's maps, fine to coarse.
        out_channels: Channels of the output.
        filters: Width of the path at the finest map; it doubles with every coarser one.
    """

    def __init__(self, widths: Sequence[int], out_channels: int, filters: int = 32) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        below = widths[-1]
        for place in reversed(range(len(widths) - 1)):
            wide = filters * 2**place
            self.levels.append(double_convolution(below + widths[place], wide))
            below = wide
        self.head = nn.Conv2d(below, out_channels, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map an encoder's maps to (B, out_channels, *size)."""
        x = maps[-1]
        for level, finer in zip(self.levels, reversed(maps[:-1]), strict=True):
            x = level(torch.cat([finer, F.interpolate(x, finer.shape[-2:])], 1))
        return enlarged(self.head(x), size)


class LinearHead(nn.Module):
    """One linear map of all of an encoder's features at a pixel: a 1×1 convolution on the enlarged, joined maps.

    Enlarging is linear, so each map is convolved at its own side first, which is the same and takes less.

    Args:
        widths: Channels of the encoder's maps, fine to coarse.
        out_channels: Channels of the output.
    """

    def __init__(self, widths: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Conv2d(width, out_channels, 1, bias=place == 0) for place, width in enumerate(widths)
        )

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map an encoder's maps to (B, out_channels, *size)."""
        return torch.stack([enlarged(part(one), size) for part, one in zip(self.parts, maps, strict=True)]).sum(0)


class PixelDiscriminator(nn.Module):
    """Says of every pixel whether a map of classes is a true one (Hung et al. 2018, §3.2).

    Four Conv4 s2 · LeakyReLU(0.2) of 64, 128, 256 and 512 channels, a fifth to one channel, and bilinear enlargement.

    Args:
        classes: Channels of a map of classes.
        filters: Width of the first convolution.
    """

    def __init__(self, classes: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = classes
        for wide in (filters, 2 * filters, 4 * filters, 8 * filters):
            layers += [nn.Conv2d(before, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
            before = wide
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, stride=2, padding=1))

    def forward(self, probabilities: Tensor) -> Tensor:
        """Map (B, classes, H, W), H and W at least 32, to logits (B, 1, H, W)."""
        return enlarged(self.layers(probabilities), probabilities.shape[-2:])


class FlawDetector(nn.Module):
    """Says of every pixel how wrong a prediction is, from it and the photo (GCT; Ke et al. 2020, §3.2).

    Conv4 · norm · LeakyReLU(0.2) of 64 (s2), 128 (s2), 128, 256 (s2), 256, 512 (s2) and 512 channels, then Conv4 s2 to
    one channel, enlarged bilinearly. The norm is batch normalisation of half of the channels, and instance
    normalisation of the others. Convolutions without a stride keep the map's side; the released code's lose a pixel.

    Args:
        channels: Channels of the photo and of the prediction together.
        filters: Width of the first convolution.
    """

    def __init__(self, channels: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for factor, stride in ((1, 2), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)):
            wide = filters * factor
            # Two pixels behind and one before keep the side of a convolution without a stride.
            pad = nn.ZeroPad2d(1 if stride == 2 else (1, 2, 1, 2))
            layers += [pad, nn.Conv2d(before, wide, 4, stride), _HalfNorm(wide), nn.LeakyReLU(0.2, inplace=True)]
            before = wide
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, stride=2, padding=1))

    def forward(self, photo: Tensor, prediction: Tensor) -> Tensor:
        """Map (B, C, H, W) and (B, K, H, W), H and W at least 32, to flaws (B, 1, H, W), 0 where there is none."""
        return enlarged(self.layers(torch.cat([photo, prediction], 1)), photo.shape[-2:])


class _HalfNorm(nn.Module):
    """Batch normalisation of the first half of the channels, instance normalisation of the others."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = (channels + 1) // 2
        self.batch = nn.BatchNorm2d(self.first)
        self.instance = nn.InstanceNorm2d(channels - self.first)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.batch(x[:, : self.first]), self.instance(x[:, self.first :])], 1)


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, h, w) at another size, bilinearly; or as they are."""
    if list(maps.shape[-2:]) == list(size):
        return maps
    precise = maps.to(torch.promote_types(maps.dtype, torch.float32))  # not every device resizes bfloat16
    return F.interpolate(precise, tuple(size), mode="bilinear", align_corners=False)


def double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Conv3 · BN · ReLU twice."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
