import pytest
import torch
from torch import nn
from torch.nn import functional

from lsmbench.networks.multiscale import MultiScaleDiscriminator, scales_for


def one_scale(c, f):
    convolutions = [(c, f), (f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f)]
    return sum(16 * taken * made + made for taken, made in convolutions) + 8 * f + 1


@pytest.mark.parametrize(("channels", "filters", "scales"), [(3, 64, 3), (1, 8, 1)])
def test_its_parameters_are_those_of_its_scales(channels, filters, scales):
    discriminator = MultiScaleDiscriminator(channels, filters, scales)
    assert sum(p.numel() for p in discriminator.parameters()) == scales * one_scale(channels, filters)


def test_the_released_width_by_hand():
    # 3·64·16+64 + 64·128·16+128 + 128·256·16+256 + 256·512·16+512 + 512+1
    assert one_scale(3, 64) == 3136 + 131200 + 524544 + 2097664 + 513


@pytest.mark.parametrize(
    ("side", "scales", "sides"),
    [(256, 3, [16, 8, 4]), (64, 3, [4, 2, 1]), (61, 3, [3, 1, 1]), (60, 2, [3, 1]), (31, 2, [1, 1]), (28, 1, [1]),
     (16, 1, [1]), (15, 0, [])],
)  # fmt: skip
def test_small_pictures_have_fewer_scales(side, scales, sides):
    assert scales_for(side) == scales
    if scales:
        logits = MultiScaleDiscriminator(1, 2, scales)(torch.rand(2, 1, side, side))
        assert [tuple(scale.shape) for scale in logits] == [(2, 1, s, s) for s in sides]


def test_each_scale_judges_the_picture_at_half_the_side_of_the_one_before():
    discriminator = MultiScaleDiscriminator(2, 2, 2)
    picture = torch.rand(1, 2, 32, 32)
    weights = torch.ones(1, 1, 3, 3)
    inside = functional.conv2d(torch.ones(1, 1, 32, 32), weights, stride=2, padding=1)
    half = functional.conv2d(picture.transpose(0, 1), weights, stride=2, padding=1).transpose(0, 1) / inside
    whole, halved = discriminator(picture)
    torch.testing.assert_close(whole, discriminator.scales[0](picture))
    torch.testing.assert_close(halved, discriminator.scales[1](half))


def test_its_layers():
    kinds = [type(m) for m in MultiScaleDiscriminator(1, 2, 1).scales[0]]
    assert kinds == [nn.Conv2d, nn.LeakyReLU] * 4 + [nn.Conv2d]
    assert {m.padding_mode for m in MultiScaleDiscriminator(1, 2, 1).scales[0] if isinstance(m, nn.Conv2d)} == {
        "reflect", "zeros",
    }  # fmt: skip


def test_pictures_too_small_for_a_scale_are_refused():
    with pytest.raises(ValueError, match="at least 16, but scale 2 of 2 is 14×14"):
        MultiScaleDiscriminator(1, 2, 2)(torch.rand(1, 1, 28, 28))
    with pytest.raises(ValueError, match="at least one scale, not 0"):
        MultiScaleDiscriminator(1, 2, 0)
