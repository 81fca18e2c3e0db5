import pytest
import torch
from torch import nn

from lsmbench.networks.segmentation_unet import SegmentationUNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# The counts of the widely used implementation with transposed convolutions; a further class is 64 weights and a bias.
@pytest.mark.parametrize(("classes", "expected"), [(1, 31_037_633), (2, 31_037_698), (19, 31_038_803)])
def test_the_unet_has_as_many_parameters_as_the_widely_used_one(classes, expected):
    with torch.device("meta"):
        assert count(SegmentationUNet(3, classes)) == expected


def test_biases_in_place_of_batch_normalisation_would_be_5888_fewer_parameters():
    with torch.device("meta"):
        network = SegmentationUNet(3, 1)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 18
    assert sum(m.num_features for m in norms) == 5_888
    before = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m is not network.head]
    assert all(m.bias is None for m in before)


def test_shapes_and_the_sides_that_fit():
    network = SegmentationUNet(3, 5, filters=2)
    assert network(torch.rand(2, 3, 32, 64)).shape == (2, 5, 32, 64)
    assert SegmentationUNet(1, 1, filters=2, levels=2)(torch.rand(1, 1, 20, 20)).shape == (1, 1, 20, 20)
    with pytest.raises(ValueError, match=r"40×32.*multiples of 16"):
        network(torch.rand(2, 3, 40, 32))
    with pytest.raises(ValueError, match="at least once"):
        SegmentationUNet(1, 1, levels=0)


def test_the_gradient_reaches_all_parameters():
    network = SegmentationUNet(1, 2, filters=4)
    network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("level", range(4))
def test_every_level_is_joined_to_its_counterpart(level):
    network = SegmentationUNet(1, 2, filters=2).eval()
    image = torch.rand(1, 1, 32, 32)
    whole = network(image)
    # Without what comes from below, the counterpart alone must still carry the image through; and the other way round.
    below, beside = (slice(None), slice(2 * 2**level, None)), (slice(None), slice(0, 2 * 2**level))
    first = network.joined[3 - level][0]
    original = first.weight.detach().clone()
    for part in (below, beside):
        with torch.no_grad():
            first.weight.copy_(original)
            first.weight[part] = 0
        without = network(image)
        assert not torch.equal(whole, without)
        assert without.std() > 0


def test_weights_start_as_wide_as_the_paper_says():
    network = SegmentationUNet(3, 2, filters=16)
    conv, up = network.down[2][0], network.up[0]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.03)
    assert up.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.03)
    assert not up.bias.any()
