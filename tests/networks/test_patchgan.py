import pytest
import torch
from torch import nn

from lsmbench.networks.patchgan import PatchGAN, latent_discriminator


def count(module):
    return sum(p.numel() for p in module.parameters())


# The counts are those of the released CycleGAN and pix2pix code.
@pytest.mark.parametrize(
    ("channels", "norm", "expected"),
    [
        (1, "instance", 2_762_689),
        (3, "instance", 2_764_737),
        (6, "instance", 2_767_809),
        (139, "instance", 2_904_001),
        (256, "instance", 3_023_809),
        (6, "batch", 2_768_705),
    ],
)
def test_it_has_as_many_parameters_as_the_released_one(channels, norm, expected):
    assert count(PatchGAN(channels, norm=norm)) == expected


@pytest.mark.parametrize(("side", "left"), [(24, 1), (32, 2), (64, 6), (128, 14), (256, 30)])
def test_the_map_of_logits_has_the_released_side(side, left):
    assert PatchGAN(3, filters=2)(torch.rand(2, 3, side, side)).shape == (2, 1, left, left)


def test_one_logit_sees_70_pixels():
    image = torch.rand(1, 1, 128, 128, requires_grad=True)
    # Without normalisation, as the statistics of a whole map would let every pixel reach every logit.
    PatchGAN(1, filters=2, norm="none")(image)[0, 0, 7, 7].backward()
    seen = image.grad[0, 0].nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [70, 70]


def test_it_returns_logits_of_either_sign_and_any_size():
    discriminator = PatchGAN(1, filters=2)
    with torch.no_grad():
        for p in discriminator.parameters():
            p.mul_(100)
    logits = discriminator(torch.rand(1, 1, 64, 64))
    assert logits.min() < -1
    assert logits.max() > 1


def test_the_first_hidden_layer_is_not_normalised():
    discriminator = PatchGAN(1, filters=2)
    kinds = [type(m) for m in discriminator.modules() if not isinstance(m, nn.Sequential | PatchGAN)]
    hidden = [nn.Conv2d, nn.InstanceNorm2d, nn.LeakyReLU]
    assert kinds == [nn.Conv2d, nn.LeakyReLU, *hidden * 3, nn.Conv2d]
    assert {m.negative_slope for m in discriminator.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


def test_the_width_stops_at_eight_times_the_filters():
    widths = [m.out_channels for m in PatchGAN(1, filters=2, layers=5).modules() if isinstance(m, nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16, 1]


@pytest.mark.parametrize(("side", "layers"), [(32, 3), (16, 2), (8, 1)])
def test_a_latent_discriminator_leaves_2_by_2_logits(side, layers):
    discriminator = latent_discriminator(16, side, filters=4)
    assert discriminator.layers == layers
    assert discriminator(torch.randn(2, 16, side, side)).shape == (2, 1, 2, 2)


def test_a_latent_discriminator_of_a_large_map_has_three_layers():
    assert latent_discriminator(16, 64, filters=4).layers == 3
    assert count(latent_discriminator(256, 64)) == 3_023_809


@pytest.mark.parametrize("side", range(8, 33))
def test_a_latent_discriminator_takes_sides_that_are_no_powers_of_two(side):
    left = latent_discriminator(4, side, filters=1)(torch.randn(1, 4, side, side)).shape[-1]
    assert 2 <= left <= 5


@pytest.mark.parametrize("side", [6, 7])
def test_a_latent_discriminator_of_a_small_map_leaves_one_logit(side):
    assert latent_discriminator(4, side, filters=1)(torch.randn(2, 4, side, side)).shape == (2, 1, 1, 1)


@pytest.mark.parametrize("side", [5, 4, 0])
def test_a_latent_map_that_is_too_small_is_refused(side):
    with pytest.raises(ValueError, match=f"side {side} .*at least 24 pixels"):
        latent_discriminator(256, side)


def test_an_input_that_leaves_no_patch_is_refused():
    with pytest.raises(ValueError, match=r"at least 24.*32×23"):
        PatchGAN(1, filters=2)(torch.rand(1, 1, 32, 23))


def test_a_patchgan_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer, not 0"):
        PatchGAN(1, layers=0)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 27)])
def test_numbers_given_as_planes_are_judged_like_repeated_channels(height, width):
    judge = PatchGAN(2 + 5, filters=4, layers=2, norm="batch").double()
    x, planes = torch.rand(3, 2, height, width).double(), torch.randn(3, 5).double()
    repeated = torch.cat([x, planes[:, :, None, None].expand(-1, -1, height, width)], 1)
    torch.testing.assert_close(judge(x, planes), judge(repeated))
