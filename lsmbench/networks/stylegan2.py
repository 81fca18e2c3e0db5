"""StyleGAN2 (Karras et al. 2020) with a branch for classes beside the image (semanticGAN), in plain PyTorch.

Layers have equalised learning rates: weights are drawn from N(0, 1), and multiplied by 1 / √fan-in whenever they are
used. A style multiplies a layer's input channels and, where the layer is demodulated, a factor of the style and the
weights divides its output channels. This equals the paper's weights of each sample (eqs. 1 to 3), since a convolution
is linear, and needs no gradients of such weights where only styles are optimised.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log2, sqrt
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

SIDES: Final = (32, 64, 128, 256)
"""The sides of pictures, in pixels."""
GROUP: Final = 4
"""Samples over which the discriminator's deviation is taken."""
_TAPS: Final = (1.0, 3.0, 3.0, 1.0)
_SLOPE: Final = 0.2


def nearest_sides(side: int) -> tuple[int, ...]:
    """The sides that networks can have, nearest to one that they cannot have: one above, one below, or both."""
    below, above = [s for s in SIDES if s < side], [s for s in SIDES if s > side]
    return tuple(below[-1:] + above[:1])


def width_at(side: int, multiplier: float, cap: int) -> int:
    """Channels of maps of a side: 16384 · multiplier / side, at most `cap`, at least 1."""
    return max(1, min(cap, int(16384 * multiplier / side)))


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate.

    Args:
        inputs: Numbers that come in.
        outputs: Numbers that go out.
        bias: Initial bias.
        rate: Factor of the learning rate of weights and biases (0.01 in the mapping network).
        active: Whether a leaky ReLU follows, with gain √2.
    """

    def __init__(
        self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, *, active: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate, self.active = rate / sqrt(inputs), rate, active

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs) to (B, outputs)."""
        out = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return _leaky(out) if self.active else out


class EqualConv(nn.Module):
    """A convolution with equalised learning rate that keeps the side, or halves it after a smoothing filter.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: 1 or 3.
        down: Whether the side is halved.
        active: Whether a bias and a leaky ReLU with gain √2 follow.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, down: bool = False, active: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.scale, self.kernel, self.down = 1 / (kernel * sqrt(inputs)), kernel, down

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W), or to half the sides."""
        weight = self.weight * self.scale
        if self.down:
            x = smoothed(x, before=self.kernel // 2 + 1, after=self.kernel // 2 + 1)
            out = F.conv2d(x, weight, stride=2)
        else:
            out = F.conv2d(x, weight, padding=self.kernel // 2)
        return out if self.bias is None else _leaky(out + self.bias.view(-1, 1, 1))


class ModulatedConv(nn.Module):
    """A convolution whose input channels a style multiplies (Karras et al. 2020, eqs. 1 to 3).

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: 1 or 3.
        width: Numbers of a code.
        up: Whether the side is doubled, and smoothed afterwards.
        demodulate: Whether outputs are divided so that they have unit variance for inputs of unit variance.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, width: int, *, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.style = EqualLinear(width, inputs, bias=1.0)
        self.scale, self.kernel, self.up, self.demodulate = 1 / (kernel * sqrt(inputs)), kernel, up, demodulate

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map (B, inputs, H, W) and codes (B, width) to (B, outputs, H, W), or to double the sides."""
        style, weight = self.style(code), self.weight * self.scale
        x = x * style[:, :, None, None]
        if self.up:
            out = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            out = smoothed(out, before=1, after=1, gain=4.0)
        else:
            out = F.conv2d(x, weight, padding=self.kernel // 2)
        if self.demodulate:
            energy = F.linear(style.square(), weight.square().sum((2, 3)))
            out = out * torch.rsqrt(energy + 1e-8)[:, :, None, None]
        return out


class StyledLayer(nn.Module):
    """A modulated 3×3 convolution, noise, bias and leaky ReLU with gain √2."""

    def __init__(self, inputs: int, outputs: int, width: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, width, up=up)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """Map (B, inputs, h, w), codes (B, width) and noise (B, 1, H, W) to (B, outputs, H, W)."""
        return _leaky(self.conv(x, code) + self.strength * noise + self.bias.view(-1, 1, 1))


class Branch(nn.Module):
    """What is made of the trunk at one side, a 1×1 modulated convolution; the branch of the side before is added."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 1, width, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, code: Tensor, before: Tensor | None) -> Tensor:
        """Map the trunk (B, inputs, H, W), codes (B, width) and (B, outputs, H/2, W/2) to (B, outputs, H, W)."""
        out = cast(Tensor, self.conv(x, code)) + self.bias.view(-1, 1, 1)
        return out if before is None else out + doubled(before)


class StyleGenerator(nn.Module):
    """The generator: z to w by a mapping network, codes w⁺ to an image and to a map of classes.

    The trunk begins with a learnt 4×4 map and doubles its side up to the picture's, with two layers at each side but
    the first, which has one. At each side an image and a map of classes are made of the same trunk by the same code;
    those of all sides are added up (skip connections). Codes are used in this order: the layer and the branches at
    4 px; then, at each side, the two layers, the second of which shares its code with no one, and the branches, which
    share theirs with the first layer of the next side.

    Args:
        side: Of the picture, one of `SIDES`.
        channels: Of the image.
        classes: Channels of the map of classes.
        width: Numbers of z and of each code.
        multiplier: Of the trunk's channels, see `width_at`.
        cap: Most channels of the trunk.
        depth: Layers of the mapping network.

    Raises:
        ValueError: If the side is none of `SIDES`.
    """

    def __init__(
        self,
        side: int,
        channels: int,
        classes: int,
        width: int = 512,
        multiplier: float = 2.0,
        cap: int = 512,
        depth: int = 8,
    ) -> None:
        super().__init__()
        if side not in SIDES:
            raise ValueError(f"expected a side of {', '.join(map(str, SIDES))} px, found {side}")
        self.width = width
        self.codes = 2 * int(log2(side)) - 2
        self.noise_sides = [4, *(s for n in range(3, int(log2(side)) + 1) for s in (2**n, 2**n))]
        self.mapping = nn.Sequential(*(EqualLinear(width, width, rate=0.01, active=True) for _ in range(depth)))
        trunk = [width_at(2**n, multiplier, cap) for n in range(2, int(log2(side)) + 1)]
        self.start = nn.Parameter(torch.randn(1, trunk[0], 4, 4))
        layers = [StyledLayer(trunk[0], trunk[0], width)]
        for before, after in pairwise(trunk):
            layers += [StyledLayer(before, after, width, up=True), StyledLayer(after, after, width)]
        self.layers = nn.ModuleList(layers)
        self.to_image = nn.ModuleList(Branch(inputs, channels, width) for inputs in trunk)
        self.to_classes = nn.ModuleList(Branch(inputs, classes, width) for inputs in trunk)

    def map(self, z: Tensor) -> Tensor:
        """Map z (B, width), scaled to a mean square of 1, to codes w (B, width)."""
        return cast(Tensor, self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)))

    def spread(self, first: Tensor, second: Tensor | None = None, crossing: int = 0) -> Tensor:
        """Codes w⁺ (B, codes, width): w at every place; with `second` that from place `crossing` on (style mixing)."""
        spread = first.unsqueeze(1).expand(-1, self.codes, -1)
        if second is None:
            return spread
        return torch.cat([spread[:, :crossing], second.unsqueeze(1).expand(-1, self.codes - crossing, -1)], 1)

    def noise(self, count: int, device: torch.device | None = None) -> list[Tensor]:
        """Noise maps of N(0, 1), (count, 1, s, s) for every side in `noise_sides`, by torch's global generator."""
        return [torch.randn(count, 1, side, side, device=device) for side in self.noise_sides]

    def forward(self, codes: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Make images and maps of classes.

        Args:
            codes: w⁺, (B, codes, width).
            noise: A map (B, 1, s, s) for every layer, as `noise` gives them.

        Returns:
            Images (B, channels, side, side) and maps of classes (B, classes, side, side), both unbounded.
        """
        x = self.layers[0](self.start.expand(len(codes), -1, -1, -1), codes[:, 0], noise[0])
        image, classes = self.to_image[0](x, codes[:, 1], None), self.to_classes[0](x, codes[:, 1], None)
        for level in range(1, len(self.to_image)):
            at = 2 * level - 1
            x = self.layers[at](x, codes[:, at], noise[at])
            x = self.layers[at + 1](x, codes[:, at + 1], noise[at + 1])
            image = self.to_image[level](x, codes[:, at + 2], image)
            classes = self.to_classes[level](x, codes[:, at + 2], classes)
        return image, classes


class StyleDiscriminator(nn.Module):
    """The residual discriminator of images, which also sees how much the samples of a group deviate from each other.

    Args:
        side: Of the picture, one of `SIDES`.
        channels: Of the image.
        multiplier: As the generator's.
        cap: As the generator's.

    Raises:
        ValueError: If the side is none of `SIDES`.
    """

    def __init__(self, side: int, channels: int, multiplier: float = 2.0, cap: int = 512) -> None:
        super().__init__()
        if side not in SIDES:
            raise ValueError(f"expected a side of {', '.join(map(str, SIDES))} px, found {side}")
        widths = [width_at(2**n, multiplier, cap) for n in range(int(log2(side)), 1, -1)]
        self.first = EqualConv(channels, widths[0], 1)
        self.blocks = nn.ModuleList(_Halving(a, b) for a, b in pairwise(widths))
        last = widths[-1]
        self.last = EqualConv(last + 1, last, 3)
        self.verdict = nn.Sequential(EqualLinear(last * 16, last, active=True), EqualLinear(last, 1))

    def features(self, image: Tensor) -> list[Tensor]:
        """The maps after each block, (B, C, side/2, side/2) to (B, C, 4, 4): none of them depends on other samples."""
        x = self.first(image)
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def forward(self, image: Tensor) -> Tensor:
        """Judge images (B, channels, side, side); logits (B, 1), above 0 means real."""
        x = self.features(image)[-1]
        x = self.last(torch.cat([x, deviation(x)], 1))
        return cast(Tensor, self.verdict(x.flatten(1)))


class _Halving(nn.Module):
    """Two 3×3 convolutions, the second of which halves the side, beside a 1×1 convolution; their sum over √2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualConv(inputs, inputs, 3)
        self.second = EqualConv(inputs, outputs, 3, down=True)
        self.beside = EqualConv(inputs, outputs, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, (self.second(self.first(x)) + self.beside(x)) / sqrt(2))


def deviation(x: Tensor, group: int = GROUP) -> Tensor:
    """How far samples lie apart: the standard deviation over a group of samples, in the mean over all numbers of a map.

    Sample i is in a group with i ± M, i ± 2M …, where B = M · group. A batch that `group` does not divide has groups of
    its greatest divisor below. Processes that take every R-th sample of a batch thus have the groups of the whole batch
    if `group` divides their part.

    Args:
        x: (B, C, H, W).
        group: Samples of a group.

    Returns:
        (B, 1, H, W), one number for all samples of a group.
    """
    size = next(n for n in range(min(group, len(x)), 0, -1) if len(x) % n == 0)
    members = x.view(size, -1, *x.shape[1:])
    spread = torch.sqrt(members.var(0, unbiased=False) + 1e-8).mean((1, 2, 3))
    return spread.repeat(size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])


def correlation(noise: Sequence[Tensor]) -> Tensor:
    """How far noise maps are from white noise (StyleGAN2, App. D), a number of each sample.

    Of each map, and of its means of 2×2 pixels (times 2, which keeps the variance) down to 8 px: the squared mean
    product of pixels with their left neighbours and with their upper ones, around the edges.

    Args:
        noise: Maps (B, 1, s, s); those below 8 px do not count.

    Returns:
        The sum, (B,).
    """
    terms = [torch.zeros(len(noise[0]), device=noise[0].device, dtype=noise[0].dtype)]
    for level in noise:
        while level.shape[-1] >= 8:
            terms += [(level * level.roll(1, side)).mean((1, 2, 3)).square() for side in (2, 3)]
            level = 2 * F.avg_pool2d(level, 2)
    return torch.stack(terms).sum(0)


def smoothed(x: Tensor, before: int, after: int, gain: float = 1.0) -> Tensor:
    """Filters maps (B, C, H, W) by [1, 3, 3, 1] along both sides, with a sum of `gain`, after padding with zeros."""
    kernel = _kernel(x, gain)
    if before == after:
        return F.conv2d(x, kernel, padding=before, groups=x.shape[1])
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) at double the sides: zeros between the pixels, then the filter [1, 3, 3, 1] with a sum of 4."""
    return F.conv_transpose2d(x, _kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def _kernel(x: Tensor, gain: float) -> Tensor:
    """The filter for each channel, (C, 1, 4, 4)."""
    taps = torch.tensor(_TAPS, dtype=x.dtype, device=x.device)
    square = torch.outer(taps, taps)
    return (square * (gain / square.sum())).expand(x.shape[1], 1, 4, 4)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE) * sqrt(2)
