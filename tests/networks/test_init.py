import pytest
import torch
from torch import nn

from lsmbench.networks.init import init_kaiming, init_normal
from lsmbench.networks.links import ResnetLink
from lsmbench.networks.norm import norm_layer
from lsmbench.networks.patchgan import PatchGAN
from lsmbench.networks.resnet import ResnetDecoder, ResnetEncoder, ResnetGenerator


@pytest.mark.parametrize(
    "layer",
    [nn.Conv1d(64, 64, 9), nn.Conv2d(64, 64, 3), nn.ConvTranspose2d(64, 64, 3), nn.Linear(192, 192)],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("std", [0.02, 0.5])
def test_weights_are_normal_and_biases_zero(layer, std):
    torch.manual_seed(0)
    nn.init.constant_(layer.bias, 3.0)
    assert init_normal(layer, std) is layer
    assert abs(layer.weight.mean()) < std / 20
    assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
    # A normal variable is beyond two standard deviations in 4.6 % of all cases; a uniform one never.
    assert (layer.weight.abs() > 2 * std).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    assert not layer.bias.any()


@pytest.mark.parametrize(("layer", "taken"), [(nn.Conv2d(64, 64, 3), 576), (nn.Linear(192, 192), 192)])
def test_kaimings_weights_keep_the_size_of_what_relus_pass_on(layer, taken):
    torch.manual_seed(0)
    nn.init.constant_(layer.bias, 3.0)
    assert init_kaiming(layer) is layer
    assert layer.weight.std().item() == pytest.approx((2 / taken) ** 0.5, rel=0.05)
    assert (layer.weight.abs() > 2 * layer.weight.std()).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    assert not layer.bias.any()
    init_kaiming(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU()))


def test_batch_norm_starts_around_one():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4096)
    nn.init.constant_(norm.bias, 3.0)
    init_normal(nn.Sequential(norm))
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.002)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not norm.bias.any()


def test_layers_without_weights_or_biases_pass():
    init_normal(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, affine=False), nn.ReLU()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResnetEncoder(3, 16),
        lambda: ResnetDecoder(3, 16),
        lambda: ResnetGenerator(3, 3, 16),
        lambda: PatchGAN(3, 16),
        lambda: ResnetLink(64),
    ],
    ids=["encoder", "decoder", "generator", "patchgan", "link"],
)
def test_constructors_initialise_every_weight(make):
    torch.manual_seed(0)
    for name, p in make().named_parameters():
        if name.endswith("bias"):
            assert not p.any(), name
        elif p.numel() > 1000:
            assert p.std().item() == pytest.approx(0.02, rel=0.1), name


def test_the_same_seed_gives_the_same_network():
    torch.manual_seed(1)
    first = ResnetGenerator(1, 1, 2).state_dict()
    torch.manual_seed(1)
    second = ResnetGenerator(1, 1, 2).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_norm_layers():
    instance = norm_layer("instance", 4)
    assert isinstance(instance, nn.InstanceNorm2d)
    assert not list(instance.parameters())
    assert not list(instance.buffers())
    assert isinstance(norm_layer("batch", 4), nn.BatchNorm2d)
    assert isinstance(norm_layer("none", 4), nn.Identity)
    with pytest.raises(ValueError, match="unknown norm 'spectral'"):
        norm_layer("spectral", 4)
