"""Decoders and discriminators of segmentation: shapes, parameter counts, what each pixel depends on."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.encoders import ResNetEncoder
from lsmbench.networks.segmentation_unet import SegmentationUNet
from lsmbench.networks.segmenters import (
    ATROUS,
    AtrousPyramid,
    FlawDetector,
    LinearHead,
    PixelDiscriminator,
    Segmenter,
    UNetDecoder,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_deeplabv2_has_its_published_size() -> None:
    with torch.device("meta"):
        network = Segmenter(ResNetEncoder(3, 64, 101, 8), AtrousPyramid([2048], 21))
    assert count(network.encoder) == 42_500_160  # torchvision's ResNet-101 without its classifier
    assert count(network.decoder) == 4 * (9 * 2048 * 21 + 21)


def test_the_atrous_branches_are_summed() -> None:
    head, maps = AtrousPyramid([4, 6], 3), [torch.randn(2, 4, 9, 9), torch.randn(2, 6, 40, 40)]
    expected = sum(
        F.conv2d(maps[1], branch.weight, branch.bias, padding=rate, dilation=rate)
        for branch, rate in zip(head.branches, ATROUS, strict=True)
    )
    torch.testing.assert_close(head(maps, (40, 40)), expected)
    enlarged = head(maps, (80, 80))
    assert enlarged.shape == (2, 3, 80, 80)
    torch.testing.assert_close(enlarged, F.interpolate(expected, (80, 80), mode="bilinear"))


def test_the_linear_head_is_one_linear_map_of_the_enlarged_maps() -> None:
    head, maps = LinearHead([2, 3], 4), [torch.randn(1, 2, 8, 8), torch.randn(1, 3, 4, 4)]
    joined = torch.cat([F.interpolate(m, (16, 16), mode="bilinear") for m in maps], 1)
    weight = torch.cat([part.weight for part in head.parts], 1)
    torch.testing.assert_close(head(maps, (16, 16)), F.conv2d(joined, weight, head.parts[0].bias))
    assert count(head) == 4 * 5 + 4


@pytest.mark.parametrize("stride", [8, 32])
def test_a_unets_decoder_takes_maps_of_any_sides(stride: int) -> None:
    encoder = ResNetEncoder(1, 8, 18, stride)  # type: ignore[arg-type]
    network = Segmenter(encoder, UNetDecoder(encoder.widths, 3, filters=4))
    made = network(torch.rand(2, 1, 36, 44))
    assert made.shape == (2, 3, 36, 44)
    made.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_network_is_its_encoder_and_its_decoder() -> None:
    for network in (
        SegmentationUNet(3, 2, 4),
        Segmenter(encoder := ResNetEncoder(3, 4, 18), LinearHead(encoder.widths, 2)),
    ):
        network.eval()
        photo = torch.rand(2, 3, 32, 32)
        assert torch.equal(network(photo), network.decode(network.encode(photo), (32, 32)))


def test_a_frozen_encoder_keeps_weights_and_statistics() -> None:
    encoder = ResNetEncoder(1, 4, 18)
    network = Segmenter(encoder, LinearHead(encoder.widths, 2), frozen=True).train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    network(torch.rand(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is None for p in encoder.parameters())
    assert all(p.grad is not None for p in network.decoder.parameters())
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_the_discriminator_has_its_papers_layers() -> None:
    network = PixelDiscriminator(21)
    widths = [21, 64, 128, 256, 512, 1]
    assert count(network) == sum(16 * a * b + b for a, b in pairwise(widths)) == 2_783_169
    assert network(torch.rand(2, 21, 40, 40)).shape == (2, 1, 40, 40)


def test_the_flaw_detector_has_its_released_size_and_keeps_the_photos() -> None:
    network = FlawDetector(3 + 21)
    widths = [24, 64, 128, 128, 256, 256, 512, 512, 1]
    convolutions = sum(16 * a * b + b for a, b in pairwise(widths))
    assert count(network) == convolutions + sum(widths[1:-1])  # half of the channels have a weight and a bias
    assert network(torch.rand(2, 3, 32, 32), torch.rand(2, 21, 32, 32)).shape == (2, 1, 32, 32)
