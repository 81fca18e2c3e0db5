import pytest
import torch
from torch import nn

from lsmbench.networks.convnet import ConvDecoder, ConvEncoder
from lsmbench.networks.links import LinearLink


def test_a_face_of_64_pixels_has_a_code_of_1024_channels_and_2_by_2():
    encoder = ConvEncoder(3, norm="batch")
    assert [m.out_channels for m in encoder.modules() if isinstance(m, nn.Conv2d)] == [64, 128, 256, 512, 1024]
    code = encoder(torch.rand(2, 3, 64, 64))
    assert code.shape == (2, 1024, 2, 2)
    assert ConvDecoder(3, norm="batch")(code).shape == (2, 3, 64, 64)
    weights = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
    assert sum(p.numel() for p in encoder.parameters()) == weights + 2 * (64 + 128 + 256 + 512 + 1024)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "none"])
def test_shapes_at_other_widths(norm):
    code = ConvEncoder(1, filters=2, norm=norm)(torch.rand(2, 1, 64, 96))
    assert code.shape == (2, 32, 2, 3)
    assert ConvDecoder(4, filters=2, norm=norm)(code).shape == (2, 4, 64, 96)


def test_sides_that_cannot_be_halved_five_times_are_refused():
    with pytest.raises(ValueError, match="48×64"):
        ConvEncoder(1, filters=2)(torch.rand(1, 1, 48, 64))


def test_the_linear_link_joins_any_two_shapes():
    link = LinearLink((16, 2, 2), (32,))
    codes = torch.rand(3, 16, 2, 2)
    torch.testing.assert_close(
        link(codes), nn.functional.linear(codes.flatten(1), link.linear.weight, link.linear.bias)
    )
    assert LinearLink((32,), (16, 2, 2))(torch.rand(3, 32)).shape == (3, 16, 2, 2)
