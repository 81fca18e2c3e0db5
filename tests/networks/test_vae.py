import pytest
import torch
from torch import nn
from torch.nn import functional

from lsmbench.networks.resnet import ResnetBlock
from lsmbench.networks.vae import CoupledVAEs, VAEEncoder, VAEGenerator


def count(module):
    return sum(p.numel() for p in module.parameters())


def block(f):
    return 2 * (9 * (4 * f) ** 2 + 4 * f)


def encoder(c, f, blocks):
    return (49 * c * f + f) + (16 * f * 2 * f + 2 * f) + (16 * 2 * f * 4 * f + 4 * f) + blocks * block(f)


def generator(c, f, blocks):
    normalised = 2 * (2 * f + f)
    return blocks * block(f) + (25 * 4 * f * 2 * f + 2 * f) + (25 * 2 * f * f + f) + normalised + (49 * f * c + c)


def made(name, make):
    return make()


def coupled(shapes, filters=2, shared=0):
    return CoupledVAEs(shapes, made, filters, shared)


@pytest.mark.parametrize(("channels", "filters", "blocks"), [(3, 64, 4), (1, 8, 3), (1, 2, 0)])
def test_parameters_are_those_of_the_layers(channels, filters, blocks):
    assert count(VAEEncoder(channels, filters, blocks)) == encoder(channels, filters, blocks)
    assert count(VAEGenerator(channels, filters, blocks)) == generator(channels, filters, blocks)


def test_the_released_width_by_hand():
    assert block(64) == 1_180_160
    assert encoder(3, 64, 4) == 9_472 + 131_200 + 524_544 + 4 * 1_180_160
    assert generator(3, 64, 4) == 4 * 1_180_160 + 819_328 + 204_864 + 384 + 9_411


@pytest.mark.parametrize("shared", [0, 1, 4])
def test_shared_blocks_are_counted_once(shared):
    shapes = {"x": (3, 16, 16), "y": (1, 16, 16)}
    own = sum(encoder(c, 2, 4 - shared) + generator(c, 2, 4 - shared) for c in (3, 1))
    assert count(coupled(shapes, shared=shared)) == own + 2 * shared * block(2)


def test_shapes():
    picture = torch.rand(2, 3, 28, 20)
    code = VAEEncoder(3, 4)(picture)
    assert code.shape == (2, 16, 7, 5)
    assert VAEGenerator(5, 4)(code).shape == (2, 5, 28, 20)


def test_the_order_of_layers():
    kinds = [type(m) for m in VAEEncoder(1, 2).body]
    assert kinds == [nn.Conv2d, nn.InstanceNorm2d, nn.ReLU] * 3 + [ResnetBlock] * 4
    enlarged = [nn.Upsample, nn.Conv2d, nn.GroupNorm, nn.ReLU]
    assert [type(m) for m in VAEGenerator(1, 2).body] == [ResnetBlock] * 4 + enlarged * 2 + [nn.Conv2d]
    for network in (VAEEncoder(1, 2), VAEGenerator(1, 2)):
        assert {m.padding_mode for m in network.modules() if isinstance(m, nn.Conv2d)} == {"reflect"}


def test_sharing_shares_the_last_blocks_of_encoders_and_the_first_of_generators():
    vaes = coupled({"x": (1, 16, 16), "y": (1, 16, 16)}, shared=1)
    picture, code = torch.rand(1, 1, 16, 16), torch.randn(1, 8, 4, 4)
    for part, there, back in (
        ("encoder", lambda v: vaes.encode(picture, v), vaes.encoders),
        ("generator", lambda v: vaes.generate(code, v), vaes.generators),
    ):
        before = {v: there(v) for v in ("x", "y")}
        with torch.no_grad():
            getattr(vaes, f"shared_{part}")[0].body[0].weight.mul_(-1)
        assert all(not torch.allclose(before[v], there(v)) for v in ("x", "y")), part
        before = {v: there(v) for v in ("x", "y")}
        with torch.no_grad():
            next(back["x"].parameters()).mul_(-1)
        assert not torch.allclose(before["x"], there("x"))
        assert torch.equal(before["y"], there("y"))
    torch.testing.assert_close(vaes.encode(picture, "x"), vaes.shared_encoder(vaes.encoders["x"](picture)))


def test_views_of_different_sides_have_codes_of_one_shape_and_keep_their_sides():
    vaes = coupled({"x": (1, 28, 28), "y": (3, 16, 16)})
    x, y = torch.rand(2, 1, 28, 28), torch.rand(2, 3, 16, 16)
    codes = [vaes.encode(x, "x"), vaes.encode(y, "y")]
    assert [code.shape for code in codes] == [(2, 8, 7, 7)] * 2
    assert [vaes.generate(code, "x").shape for code in codes] == [x.shape] * 2
    assert [vaes.generate(code, "y").shape for code in codes] == [y.shape] * 2
    enlarged = functional.interpolate(y, (28, 28), mode="bilinear")
    torch.testing.assert_close(codes[1], vaes.encoders["y"](enlarged), atol=1e-4, rtol=1e-4)


def test_a_reduced_picture_skips_no_pixel():
    vaes = coupled({"x": (1, 64, 64), "y": (1, 16, 16)})
    whole = torch.rand(1, 1, 64, 64, requires_grad=True)
    vaes.generators["y"] = nn.Identity()
    vaes.generate(whole, "y").sum().backward()
    assert (whole.grad > 0).all()


def test_views_of_one_side_are_not_resized():
    vaes = coupled({"x": (1, 16, 16), "y": (2, 16, 16)})
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(vaes.encode(x, "x"), vaes.encoders["x"](x))


def test_more_blocks_than_there_are_cannot_be_shared():
    with pytest.raises(ValueError, match="0 to 4 residual blocks can be shared, not 5"):
        coupled({"x": (1, 16, 16)}, shared=5)
