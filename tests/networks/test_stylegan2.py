"""StyleGAN2 with a branch for classes: counts, filters, modulation, gradients."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.stylegan2 import (
    SIDES,
    ModulatedConv,
    StyleDiscriminator,
    StyleGenerator,
    correlation,
    deviation,
    doubled,
    nearest_sides,
    smoothed,
    width_at,
)

TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_networks_of_the_papers_size_have_its_parameters() -> None:
    """256 px, counted by hand: each style is 512·C + C, each layer 9·C·C' + C' and the strength of its noise."""
    widths = [512, 512, 512, 512, 512, 256, 128]  # 4 to 256 px
    assert widths == [width_at(2**n, 2.0, 512) for n in range(2, 9)]
    style = {c: 513 * c for c in widths}
    layers = 9 * 512 * 512 + 512 + 1 + style[512]
    for a, b in pairwise(widths):
        layers += 9 * a * b + b + 1 + style[a] + 9 * b * b + b + 1 + style[b]
    branch = {k: sum(k * c + k + style[c] for c in widths) for k in (3, 8)}
    generator = StyleGenerator(256, 3, 8)
    assert size(generator) == 8 * (512 * 512 + 512) + 512 * 16 + layers + branch[3] + branch[8]
    assert generator.codes == 14
    back = widths[::-1]
    blocks = sum(9 * a * a + a + 9 * a * b + b + a * b for a, b in pairwise(back))
    assert size(StyleDiscriminator(256, 3)) == 3 * 128 + 128 + blocks + 9 * 513 * 512 + 512 + 8192 * 512 + 512 + 513


@pytest.mark.parametrize("side", SIDES)
def test_every_side_has_its_codes_and_shapes(side: int) -> None:
    generator = StyleGenerator(side, 1, 3, width=8, multiplier=1 / 512, cap=8)
    assert generator.codes == 2 * (side.bit_length() - 1) - 2
    noise = generator.noise(2)
    assert [level.shape[-1] for level in noise] == [4, *(2**n for n in range(3, side.bit_length()) for _ in (0, 1))]
    codes = generator.spread(generator.map(torch.randn(2, 8)))
    image, classes = generator(codes, noise)
    assert image.shape == (2, 1, side, side)
    assert classes.shape == (2, 3, side, side)
    judge = StyleDiscriminator(side, 1, 1 / 512, 8)
    assert judge(image).shape == (2, 1)
    assert [level.shape[-1] for level in judge.features(image)] == [2**n for n in range(side.bit_length() - 2, 1, -1)]


def test_sides_that_are_no_power_of_two_are_refused() -> None:
    for made in (lambda: StyleGenerator(48, 1, 1), lambda: StyleDiscriminator(512, 1)):
        with pytest.raises(ValueError, match="32, 64, 128, 256"):
            made()
    assert [nearest_sides(side) for side in (16, 48, 512)] == [(32,), (32, 64), (256,)]


def by_weights(conv: ModulatedConv, x: Tensor, code: Tensor) -> Tensor:
    """The paper's form (eqs. 1 to 3): weights of each sample, one group of channels for each."""
    weight = conv.weight * conv.scale * conv.style(code)[:, None, :, None, None]
    if conv.demodulate:
        weight = weight / torch.sqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    count, outputs, inputs = weight.shape[:3]
    flat = x.reshape(1, -1, *x.shape[2:])
    if not conv.up:
        out = F.conv2d(flat, weight.flatten(0, 1), padding=conv.kernel // 2, groups=count)
        return out.view(count, outputs, *out.shape[2:])
    out = F.conv_transpose2d(flat, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=count)
    assert inputs == conv.weight.shape[1]
    return smoothed(out.view(count, outputs, *out.shape[2:]), 1, 1, gain=4.0)


@pytest.mark.parametrize(("kernel", "up", "demodulate"), [(3, False, True), (3, True, True), (1, False, False)])
def test_modulated_activations_equal_modulated_weights(kernel: int, up: bool, demodulate: bool) -> None:
    torch.manual_seed(0)
    conv = ModulatedConv(5, 4, kernel, 6, up=up, demodulate=demodulate).double()
    x, code = torch.randn(3, 5, 8, 8).double().requires_grad_(), torch.randn(3, 6).double().requires_grad_()
    given = [x, code, *conv.parameters()]
    ours, theirs = conv(x, code), by_weights(conv, x, code)
    along = torch.randn_like(ours)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, given, along), torch.autograd.grad(theirs, given, along))


def test_demodulation_gives_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    conv = ModulatedConv(64, 48, 3, 16)
    code = torch.randn(4, 16) * torch.tensor([0.2, 1.0, 5.0, 20.0])[:, None]
    out = conv(torch.randn(4, 64, 34, 34), code)[:, :, 1:-1, 1:-1]
    assert out.std((1, 2, 3)).tolist() == pytest.approx([1] * 4, abs=0.03)


def test_filters_equal_a_slow_reference() -> None:
    x = torch.randn(1, 2, 6, 6).double()
    stuffed = np.zeros((2, 12, 12))
    stuffed[:, ::2, ::2] = x[0]
    for channel in range(2):
        whole = convolve2d(np.pad(stuffed[channel], ((2, 1), (2, 1))), 4 * TAPS, "valid")
        np.testing.assert_allclose(doubled(x)[0, channel], whole)
        padded = np.pad(x[0, channel].numpy(), ((2, 1), (2, 1)))
        np.testing.assert_allclose(smoothed(x, 2, 1, gain=3.0)[0, channel], convolve2d(padded, 3 * TAPS, "valid"))
    assert doubled(torch.ones(1, 1, 4, 4))[0, 0, 2:-2, 2:-2].tolist() == [[1] * 4] * 4


def test_styles_are_mixed_from_the_crossing_on() -> None:
    generator = StyleGenerator(32, 1, 1, width=4, multiplier=1 / 512, cap=4)
    a, b = torch.zeros(2, 4), torch.ones(2, 4)
    codes = generator.spread(a, b, crossing=3)
    assert codes.shape == (2, 8, 4)
    assert codes[:, :, 0].tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]] * 2
    assert torch.equal(generator.spread(a), generator.spread(a, b, crossing=8))


def test_each_code_and_each_noise_map_reaches_the_picture() -> None:
    torch.manual_seed(0)
    generator = StyleGenerator(32, 1, 1, width=4, multiplier=1 / 256, cap=4)
    with torch.no_grad():
        for layer in generator.layers:
            layer.strength.fill_(0.1)
    codes, noise = torch.randn(1, 8, 4, requires_grad=True), [n.requires_grad_() for n in generator.noise(1)]
    for made in generator(codes, noise):
        slopes = torch.autograd.grad(made.sum(), [codes, *noise], retain_graph=True)
        assert (slopes[0].abs().sum((0, 2)) > 0).all()
        assert all(slope.abs().sum() > 0 for slope in slopes[1:])


def test_slopes_have_slopes() -> None:
    """R1 and path lengths differentiate a gradient."""
    conv = ModulatedConv(2, 2, 3, 3, up=True).double()
    given = (torch.randn(1, 2, 3, 3).double().requires_grad_(), torch.randn(1, 3).double().requires_grad_())
    assert torch.autograd.gradgradcheck(conv, given)


def test_deviation_is_that_of_a_group_and_parts_of_a_batch_have_its_groups() -> None:
    x = torch.randn(8, 3, 4, 4)
    found = deviation(x)
    assert found.shape == (8, 1, 4, 4)
    for first in range(2):
        alone = np.sqrt(x[first::2].numpy().var(0) + 1e-8).mean()
        np.testing.assert_allclose(found[first::2], alone, rtol=1e-5)
        torch.testing.assert_close(deviation(x[first::2]), found[first::2])
    assert deviation(x[:7])[:, 0, 0, 0].tolist() == pytest.approx([sqrt(1e-8)] * 7)  # of seven each is alone


def test_correlation_is_low_for_white_noise_only() -> None:
    torch.manual_seed(0)
    white = torch.randn(2, 1, 32, 32)
    waves = white.clone()
    waves[1] += torch.linspace(-2, 2, 32)
    assert correlation([white]).max() < 0.1
    assert correlation([waves])[1] > 1
    level, terms = white[0, 0].numpy(), []
    for _ in range(3):  # 32, 16 and 8 px
        terms += [(level * np.roll(level, 1, side)).mean() ** 2 for side in (0, 1)]
        level = level.reshape(len(level) // 2, 2, -1, 2).sum((1, 3)) / 2
    assert correlation([white, torch.randn(2, 1, 4, 4)])[0].item() == pytest.approx(sum(terms), rel=1e-4)
