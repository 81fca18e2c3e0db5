import math

import pytest
import torch
from torch import nn

from lsmbench.networks.pyramid import Head, PyramidEncoder, ResNetTrunk


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("depth", [18, 50])
def test_the_trunk_is_torchvisions(depth):
    models = pytest.importorskip("torchvision.models")
    theirs = models.get_model(f"resnet{depth}", weights=None)
    theirs.fc = nn.Identity()
    trunk = ResNetTrunk(3, depth=depth)
    assert count(trunk) == count(theirs) == {18: 11_176_512, 50: 23_508_032}[depth]
    # Both name their layers in the order of their use.
    trunk.load_state_dict(dict(zip(trunk.state_dict(), theirs.state_dict().values(), strict=True)))
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = trunk.eval()(picture)
        assert torch.equal(maps[-1].mean((2, 3)), theirs.eval()(picture))
    width = 64 if depth == 18 else 256
    assert [tuple(m.shape) for m in maps] == [(2, width * 2**i, 16 >> i, 16 >> i) for i in range(4)]


def test_at_256_pixels_it_has_the_papers_size():
    with torch.device("meta"):
        encoder = PyramidEncoder(3, 256, 14)
    lateral = (256 + 512 + 1024 + 2048) * 512 + 4 * 512
    conv = 9 * 512 * 512 + 512
    linear = 512 * 512 + 512
    heads = (3 * 4 + 4 * 5 + 7 * 6) * conv + 14 * linear
    assert count(encoder) == 23_508_032 + lateral + 3 * conv + heads == 210_858_560
    assert [len(head.down) // 2 for head in encoder.heads] == [4] * 3 + [5] * 4 + [6] * 7
    assert count(ResNetTrunk(3, 8)) - count(ResNetTrunk(1, 8)) == 2 * 49 * 8


@pytest.mark.parametrize(("size", "codes", "levels"), [(32, 8, 3), (64, 10, 4), (256, 14, 4)])
def test_its_styles_and_the_levels_of_its_pyramid(size, codes, levels):
    encoder = PyramidEncoder(1, size, codes, width=6, filters=2, depth=18)
    assert len(encoder.trunk.widths) == levels
    assert encoder(torch.rand(2, 1, size, size)).shape == (2, codes, 6)


@pytest.mark.parametrize(("size", "depth"), [(32, 50), (64, 18)])
def test_one_picture_trains_every_parameter(size, depth):
    encoder = PyramidEncoder(3, size, 2 * size.bit_length() - 4, width=8, filters=4, depth=depth).train()
    encoder(torch.rand(1, 3, size, size)).square().sum().backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_the_first_three_styles_see_stride_16_the_next_four_stride_8_the_others_stride_4():
    encoder = PyramidEncoder(1, 64, 10, width=4, filters=2, depth=18).eval()
    pictures = torch.rand(1, 1, 64, 64)
    before = encoder(pictures)
    # What FPN makes of a level is not passed on to others.
    for level, seen in enumerate([[7, 8, 9], [3, 4, 5, 6], [0, 1, 2]]):
        with torch.no_grad():
            encoder.pyramid.layer_blocks[level][0].bias += 1
        after = encoder(pictures)
        assert ((after - before).abs().amax((0, 2)) > 0).nonzero().flatten().tolist() == seen
        before = after


def test_a_heads_linear_layer_has_an_equalised_rate():
    head = Head(64, 2)
    head.down = nn.Identity()
    assert head.style.weight.std().item() == pytest.approx(1, abs=0.05)
    assert not head.style.bias.any()
    with torch.no_grad():
        head.style.bias.normal_()
    x = torch.randn(3, 64, 1, 1)
    torch.testing.assert_close(head(x), x[:, :, 0, 0] @ head.style.weight.T / math.sqrt(64) + head.style.bias)


def test_sides_and_styles_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"32, 64, 128, 256.*not 48"):
        PyramidEncoder(3, 48, 9)
    with pytest.raises(ValueError, match="more than 7 styles, not 7"):
        PyramidEncoder(3, 32, 7)
