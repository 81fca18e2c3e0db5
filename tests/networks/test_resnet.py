import pytest
import torch
from torch import nn
from torch.nn import functional

from lsmbench.networks.links import ResnetLink
from lsmbench.networks.presets import FILTERS
from lsmbench.networks.resnet import ResnetBlock, ResnetDecoder, ResnetEncoder, ResnetGenerator


def count(module):
    return sum(p.numel() for p in module.parameters())


# The counts are those of the released CycleGAN code.
@pytest.mark.parametrize(
    ("in_channels", "out_channels", "blocks", "expected"),
    [(3, 3, 6, 7_837_699), (1, 2, 6, 7_828_290), (1, 4, 6, 7_834_564), (3, 3, 9, 11_378_179)],
)
def test_the_generator_has_as_many_parameters_as_the_released_one(in_channels, out_channels, blocks, expected):
    assert count(ResnetGenerator(in_channels, out_channels, blocks=blocks)) == expected
    halves = count(ResnetEncoder(in_channels, blocks=(blocks + 1) // 2)) + count(
        ResnetDecoder(out_channels, blocks=blocks // 2)
    )
    assert halves == expected


def test_an_odd_block_goes_to_the_encoder():
    generator = ResnetGenerator(1, 1, filters=2, blocks=5)
    residual = [sum(isinstance(m, ResnetBlock) for m in half.modules()) for half in generator.children()]
    assert residual == [3, 2]


def test_shapes_of_encoder_link_and_decoder():
    image = torch.rand(2, 3, 32, 48)
    encoder = ResnetEncoder(3, filters=4)
    latent = encoder(image)
    assert encoder.out_channels == 16
    assert latent.shape == (2, 16, 8, 12)
    assert ResnetLink(encoder.out_channels)(latent).shape == latent.shape
    assert ResnetDecoder(5, filters=4)(latent).shape == (2, 5, 32, 48)
    assert ResnetGenerator(3, 5, filters=4)(image).shape == (2, 5, 32, 48)


def test_the_generator_is_its_decoder_after_its_encoder():
    generator = ResnetGenerator(1, 2, filters=4)
    image = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(generator(image), generator.decoder(generator.encoder(image)))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_residual_block_adds_f_of_x_and_nothing_after_it(norm):
    def convolve(h, layer):
        return functional.conv2d(functional.pad(h, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias)

    def normalise(h):
        dims = (2, 3) if norm == "instance" else (0, 2, 3)
        return (h - h.mean(dims, keepdim=True)) / (h.var(dims, unbiased=False, keepdim=True) + 1e-5).sqrt()

    block = ResnetBlock(3, norm)
    x = torch.randn(2, 3, 6, 5)
    before = x.clone()
    first, second = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    hidden = normalise(
        functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), first.weight, first.bias)
    ).relu()
    f = normalise(functional.conv2d(functional.pad(hidden, (1, 1, 1, 1), mode="reflect"), second.weight, second.bias))
    y = block(x)
    torch.testing.assert_close(y, x + f, atol=1e-5, rtol=1e-4)
    assert (y < 0).any()
    assert torch.equal(x, before)


def test_a_link_is_one_residual_block():
    link = ResnetLink(256)
    assert count(link) == 2 * (256 * 256 * 9 + 256)
    link = ResnetLink(4)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(link(x), link.block(x))


def test_dropout_acts_in_training_only():
    x = torch.randn(1, 8, 8, 8)
    block = ResnetBlock(8, dropout=True)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
    block = ResnetBlock(8)
    assert torch.equal(block(x), block(x))


def test_instance_norm_keeps_samples_apart_and_does_not_change_in_evaluation():
    generator = ResnetGenerator(1, 1, filters=2, blocks=2)
    images = torch.rand(2, 1, 16, 16)
    together = generator(images)
    torch.testing.assert_close(together[:1], generator(images[:1]))
    torch.testing.assert_close(together, generator.eval()(images))
    assert not list(generator.buffers())


@pytest.mark.parametrize(("norm", "bias"), [("instance", True), ("batch", False), ("none", False)])
def test_convolutions_have_a_bias_before_instance_norm_only(norm, bias):
    convolutions = [
        m for m in ResnetGenerator(1, 1, 2, 2, norm).modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert len(convolutions) == 10
    assert [c.bias is not None for c in convolutions[:-1]] == [bias] * 9
    assert convolutions[-1].bias is not None


def test_the_decoder_ends_in_its_last_convolution():
    decoder = ResnetDecoder(2, filters=4)
    latent = torch.randn(1, 16, 4, 4)
    once = decoder(latent)
    *_, last = (m for m in decoder.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        last.weight.mul_(100)
        last.bias.mul_(100)
    torch.testing.assert_close(decoder(latent), 100 * once, atol=1e-4, rtol=1e-4)
    # Neither a sigmoid, nor a tanh, nor a ReLU could give this.
    assert decoder(latent).min() < -1
    assert decoder(latent).max() > 1


@pytest.mark.parametrize("size", [(30, 32), (32, 33), (4, 32), (32, 4)])
def test_the_encoder_refuses_sides_it_cannot_restore(size):
    with pytest.raises(ValueError, match=f"{size[0]}×{size[1]}.*multiples of 4 and at least 8"):
        ResnetGenerator(1, 1, filters=2)(torch.rand(1, 1, *size))


def test_the_smallest_image_passes():
    assert ResnetGenerator(1, 1, filters=2)(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_every_weight_of_the_generator_gets_a_gradient():
    generator = ResnetGenerator(1, 1, filters=2, norm="none")
    generator(torch.rand(1, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_the_paper_preset_is_the_papers_width():
    assert FILTERS["paper"] == 64
    assert FILTERS["paper"] > FILTERS["small"] > FILTERS["tiny"]


def test_the_outer_convolutions_show_no_border_on_a_flat_image():
    first, *_, last = (m for m in ResnetGenerator(1, 1, filters=2).modules() if isinstance(m, nn.Conv2d))
    for layer in (first, last):
        flat = layer(torch.ones(1, layer.in_channels, 9, 9))
        torch.testing.assert_close(flat, flat[..., 4:5, 4:5].expand_as(flat))
