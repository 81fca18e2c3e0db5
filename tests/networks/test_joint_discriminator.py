import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks.joint_discriminator import MultiScalePatchGAN


def one_scale(c, f):
    convolutions = [(c, f), (f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f), (8 * f, 1)]
    return sum(16 * taken * made + made for taken, made in convolutions)


def test_its_parameters_are_those_of_its_scales():
    discriminator = MultiScalePatchGAN(4)
    # 4·64·16+64 + 64·128·16+128 + 128·256·16+256 + 256·512·16+512 + 512·16+1
    assert one_scale(4, 64) == 4160 + 131200 + 524544 + 2097664 + 8193
    assert sum(p.numel() for p in discriminator.parameters()) == 3 * one_scale(4, 64)


@pytest.mark.parametrize(
    ("side", "sides"),
    [(32, [[17, 9, 5, 6, 7], [9, 5, 3, 4, 5], [5, 3, 2, 3, 4]]),
     (64, [[33, 17, 9, 10, 11], [17, 9, 5, 6, 7], [9, 5, 3, 4, 5]])],
)  # fmt: skip
def test_it_shows_every_layer_of_every_scale(side, sides):
    maps = MultiScalePatchGAN(2, filters=2)(torch.rand(2, 2, side, side))
    widths = [2, 4, 8, 16, 1]
    assert [[tuple(m.shape) for m in scale] for scale in maps] == [
        [(2, width, s, s) for width, s in zip(widths, one, strict=True)] for one in sides
    ]


def test_other_numbers_of_scales_and_layers():
    (maps,) = MultiScalePatchGAN(1, filters=2, scales=1, layers=5)(torch.rand(1, 1, 32, 32))
    assert [m.shape[1] for m in maps] == [2, 4, 8, 16, 16, 16, 1]
    with pytest.raises(ValueError, match="not 0 and 3"):
        MultiScalePatchGAN(1, scales=0)
    with pytest.raises(ValueError, match="not 3 and 0"):
        MultiScalePatchGAN(1, layers=0)


def test_its_layers_by_hand():
    discriminator = MultiScalePatchGAN(2, filters=2, scales=2).eval()
    picture = torch.rand(1, 2, 32, 32)
    ones = torch.ones(1, 1, 3, 3)
    inside = F.conv2d(torch.ones(1, 1, 32, 32), ones, stride=2, padding=1)
    x = F.conv2d(picture.transpose(0, 1), ones, stride=2, padding=1).transpose(0, 1) / inside
    convolutions = [m for m in discriminator.scales[1].modules() if isinstance(m, nn.Conv2d)]
    for i, (conv, stride) in enumerate(zip(convolutions, (2, 2, 2, 1, 1), strict=True)):
        x = F.conv2d(x, conv.weight, conv.bias, stride, padding=2)
        if 0 < i < 4:
            x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = x.where(x > 0, 0.2 * x) if i < 4 else x
        torch.testing.assert_close(discriminator(picture)[1][i], x)


def test_every_convolution_has_a_spectral_norm_of_one_which_training_follows():
    discriminator = MultiScalePatchGAN(2, filters=4)
    convolutions = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 3 * 5

    def norms():
        return torch.stack([torch.linalg.matrix_norm(c.weight.flatten(1), 2) for c in convolutions])

    with torch.no_grad():
        for conv in convolutions:
            conv.parametrizations.weight.original.copy_(3 * torch.randn_like(conv.weight))
        for _ in range(30):
            discriminator(torch.rand(1, 2, 32, 32))
        torch.testing.assert_close(norms(), torch.ones(15), atol=0.05, rtol=0)


def test_evaluation_changes_nothing_and_copies_judge_alike():
    discriminator = MultiScalePatchGAN(2, filters=2)
    picture = torch.rand(2, 2, 32, 32)
    discriminator(picture)
    copied = copy.deepcopy(discriminator)
    loaded = MultiScalePatchGAN(2, filters=2)
    loaded.load_state_dict(discriminator.state_dict())

    def judged(network):
        with torch.no_grad():
            return torch.cat([m.flatten() for scale in network(picture) for m in scale])

    # In training all three take the same step of the power iteration.
    first = judged(discriminator)
    assert all(torch.equal(judged(network), first) for network in (copied, loaded))
    state = copy.deepcopy(discriminator.state_dict())
    first = judged(discriminator.eval())
    assert all(torch.equal(judged(network.eval()), first) for network in (discriminator, copied, loaded))
    assert all(torch.equal(value, state[name]) for name, value in discriminator.state_dict().items())


def test_the_gradient_reaches_its_input_and_its_parameters():
    discriminator = MultiScalePatchGAN(2, filters=2)
    picture = torch.rand(2, 2, 32, 32, requires_grad=True)
    # Instance normalisation takes the means off, so the biases before it have no say.
    sum(m.square().sum() for scale in discriminator(picture) for m in scale).backward()
    assert picture.grad.abs().sum() > 0
    for name, p in discriminator.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0 or name.endswith("bias"), name
