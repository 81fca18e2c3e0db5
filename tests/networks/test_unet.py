import pytest
import torch
from torch import nn

from lsmbench.networks.unet import UNetGenerator


# The counts are those of the released pix2pix code (unet_128 and unet_256, batch normalisation).
@pytest.mark.parametrize(("downs", "expected"), [(7, 41_828_995), (8, 54_413_955)])
def test_the_unet_has_as_many_parameters_as_the_released_one(downs, expected):
    assert sum(p.numel() for p in UNetGenerator(3, 3, downs=downs).parameters()) == expected


@pytest.mark.parametrize(("downs", "dropouts"), [(5, 0), (7, 2), (8, 3)])
def test_dropout_is_in_the_inner_levels_of_full_width(downs, dropouts):
    generator = UNetGenerator(1, 1, filters=2, downs=downs)
    assert sum(isinstance(m, nn.Dropout) for m in generator.modules()) == dropouts
    assert not any(isinstance(m, nn.Dropout) for m in UNetGenerator(1, 1, filters=2, dropout=False).modules())


def test_shapes_and_the_sides_that_fit():
    generator = UNetGenerator(3, 2, filters=2, downs=5)
    assert generator(torch.rand(2, 3, 32, 64)).shape == (2, 2, 32, 64)
    with pytest.raises(ValueError, match="multiples of 32"):
        generator(torch.rand(2, 3, 48, 32))
    with pytest.raises(ValueError, match="at least 5 times"):
        UNetGenerator(1, 1, downs=4)


def test_every_level_is_joined_to_its_counterpart():
    generator = UNetGenerator(1, 1, filters=2, downs=5, norm="none").eval()
    image = torch.rand(1, 1, 32, 32)
    whole = generator(image)
    # Without the innermost level the skips alone must still carry the image through.
    for layer in generator.up[0]:
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.zeros_(layer.weight)
    without = generator(image)
    assert not torch.equal(whole, without)
    assert without.std() > 0
