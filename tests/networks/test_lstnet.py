import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lsmbench.networks import lstnet
from lsmbench.networks.lstnet import Plan, SharedTranslator, find_plans, nearest_sides

MNIST, USPS = Plan(28, (2, 2), valid=False), Plan(16, (2, 1), valid=True)


def count(module):
    return sum(p.numel() for p in module.parameters())


def translator(first, second, channels=(1, 1), filters=2):
    one, two = find_plans(first, second)
    shapes = {"x": (channels[0], first, first), "y": (channels[1], second, second)}
    return SharedTranslator(shapes, {"x": one, "y": two}, lambda name, make: make(), filters)


def sides_in(network, images):
    """The sides of what each layer of a sequence gives."""
    sides = []
    for layer in network:
        images = layer(images)
        sides.append(images.shape[-1])
    return sides


def test_28_and_16_pixels_have_the_papers_plans_in_either_order():
    assert find_plans(28, 16) == (MNIST, USPS)
    assert find_plans(16, 28) == (USPS, MNIST)


# Counted by hand from Table 1, with biases, two numbers for each channel that is normalised, and a stride of 1 in the
# encoders' last layer.
@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: lstnet.own_encoder(1, 64, MNIST), 1_685_376),
        (lambda: lstnet.own_encoder(1, 64, USPS), 1_030_016),
        (lambda: lstnet.shared_encoder(64), 1_475_712),
        (lambda: lstnet.shared_generator(64), 443_520),
        (lambda: lstnet.own_generator(1, 64, MNIST), 3_582_849),
        (lambda: lstnet.own_generator(1, 64, USPS), 2_927_489),
        (lambda: lstnet.image_discriminator(1, 64, MNIST), 2_082_305),
        (lambda: lstnet.image_discriminator(1, 64, USPS), 1_426_945),
        (lambda: lstnet.latent_discriminator(64, 7), 2_659_329),
    ],
)
def test_they_have_as_many_parameters_as_table_1(network, expected):
    with torch.device("meta"):
        assert count(network()) == expected


@pytest.mark.parametrize(
    ("plan", "down", "up", "judged"),
    [
        (MNIST, [28, 14, 7, 7], [7, 14, 28, 28, 28], [28, 14, 7, 4]),
        (USPS, [16, 8, 8, 7], [8, 16, 16, 16, 16], [16, 16, 8, 4]),
    ],
)
def test_layers_have_the_sides_of_table_1(plan, down, up, judged):
    images = torch.rand(2, 1, plan.side, plan.side)
    assert sides_in(lstnet.own_encoder(1, 2, plan), images) == down
    assert sides_in(lstnet.shared_encoder(2), torch.rand(2, 16, 7, 7)) == [7, 7]
    assert sides_in(lstnet.shared_generator(2), torch.rand(2, 4, 7, 7)) == [7, 7]
    assert sides_in(lstnet.own_generator(1, 2, plan), torch.rand(2, 8, 7, 7)) == up
    discriminator = lstnet.image_discriminator(1, 2, plan)
    assert sides_in(discriminator[:4], images) == judged
    assert discriminator(images).shape == (2, 1)
    latents = lstnet.latent_discriminator(2, 7)
    assert sides_in(latents[:3], torch.rand(2, 4, 7, 7)) == [7, 4, 4]
    assert latents(torch.rand(2, 4, 7, 7)).shape == (2, 1)


@pytest.mark.parametrize(
    "sides", [(28, 16), (16, 28), (32, 16), (32, 32), (64, 64), (128, 128), (64, 16), (32, 14), (8, 28), (30, 16)]
)
def test_every_view_becomes_either_view(sides):
    channels = (1, 3)
    network = translator(*sides, channels, filters=1)
    fed = {v: torch.rand(2, c, s, s) for v, c, s in zip("xy", channels, sides, strict=True)}
    codes = {view: network.encode(images, view) for view, images in fed.items()}
    assert codes["x"].shape == codes["y"].shape
    for source, target in itertools.product("xy", repeat=2):
        assert network(fed[source], source, target).shape == fed[target].shape
    for view, plan in zip("xy", find_plans(*sides), strict=True):
        channel = fed[view].shape[1]
        assert lstnet.image_discriminator(channel, 1, plan)(fed[view]).shape == (2, 1)
        assert lstnet.latent_discriminator(1, plan.latent)(codes[view]).shape == (2, 1)


def test_images_of_one_side_have_one_plan_and_latents_of_a_quarter():
    for side in (32, 64, 128, 256):
        one, two = find_plans(side, side)
        assert one == two == Plan(side, (2, 2), valid=False)
        assert one.latent == side // 4


def test_every_plan_that_is_found_gives_the_sides_back():
    found = 0
    for first, second in itertools.product(range(7, 49), repeat=2):
        plans = find_plans(first, second)
        if plans is None:
            continue
        found += 1
        assert plans[0].latent == plans[1].latent >= 7
        assert (plans[0].restored, plans[1].restored) == (first, second)
    assert found > 100


@pytest.mark.parametrize(
    ("sides", "nearest"),
    [
        ((30, 17), [(30, 16), (32, 17), (30, 15)]),
        ((17, 30), [(16, 30), (17, 32), (15, 30)]),
        ((255, 255), [(256, 256), (254, 254), (258, 258)]),
        ((8, 8), [(14, 14), (16, 16), (18, 18)]),
    ],
)
def test_sides_without_a_plan_have_neighbours_with_one(sides, nearest):
    assert find_plans(*sides) is None
    assert nearest_sides(*sides) == nearest
    assert all(find_plans(*one) for one in nearest)
    # No nearer sides work.
    reach = abs(nearest[0][0] - sides[0]) + abs(nearest[0][1] - sides[1])
    for one, two in itertools.product(range(-reach, reach + 1), repeat=2):
        if abs(one) + abs(two) < reach and (sides[0] != sides[1] or one == two):
            assert find_plans(sides[0] + one, sides[1] + two) is None


def test_plans_that_do_not_meet_or_do_not_fit_are_refused():
    shapes = {"x": (1, 28, 28), "y": (1, 16, 16)}
    with pytest.raises(ValueError, match="latents have different sides: x 7, y 8"):
        SharedTranslator(shapes, {"x": MNIST, "y": Plan(16, (2, 1), valid=False)}, lambda name, make: make(), 2)
    with pytest.raises(ValueError, match=r"images of y have sides \(16, 16\)"):
        SharedTranslator(shapes, {"x": MNIST, "y": Plan(32, (2, 2), valid=False)}, lambda name, make: make(), 2)
    with pytest.raises(ValueError, match=r"images of x have sides \(27, 27\).*gives 28"):
        SharedTranslator(
            {**shapes, "x": (1, 27, 27)}, {"x": Plan(27, (2, 2), valid=False), "y": USPS}, lambda name, make: make(), 2
        )


def test_halves_are_shared_and_domains_keep_their_own():
    network = translator(28, 16)
    reached = {}
    for source, target in itertools.product("xy", repeat=2):
        network.zero_grad()
        side = 28 if source == "x" else 16
        network(torch.rand(2, 1, side, side), source, target).square().sum().backward()
        names = {
            n.split(".")[0] + n.split(".")[1] * n.startswith("own")
            for n, p in network.named_parameters()
            if p.grad is not None
        }
        reached[source, target] = names
    assert reached == {
        (s, t): {f"own_encoders{s}", "shared_encoder", "shared_generator", f"own_generators{t}"}
        for s, t in itertools.product("xy", repeat=2)
    }


def test_the_running_statistics_of_shared_halves_are_of_both_domains_in_turn():
    network = translator(28, 16)
    first, expected = network.shared_encoder[0], torch.zeros(8)
    for view, images in (("x", torch.rand(3, 1, 28, 28)), ("y", torch.rand(2, 1, 16, 16) + 1)):
        own = network.own_encoders[view](images)
        mean = F.conv2d(own, first[0].weight, first[0].bias, padding=1).mean((0, 2, 3))
        expected = 0.99 * expected + 0.01 * mean
        network.encode(images, view)
    torch.testing.assert_close(first[1].running_mean, expected, rtol=1e-3, atol=1e-6)


def test_constants_are_those_of_keras():
    network = translator(28, 16)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    judges = lstnet.image_discriminator(1, 2, MNIST)
    assert not [m for m in judges.modules() if isinstance(m, nn.BatchNorm2d)]
    for part in (network, judges):
        assert {m.negative_slope for m in part.modules() if isinstance(m, nn.LeakyReLU)} == {0.3}


def test_what_pooling_pads_is_never_the_greatest():
    maps = -1 - torch.rand(2, 3, 7, 7)
    for stride in (1, 2):
        pooled = lstnet._Pooling(stride)(maps)
        expected = torch.stack(
            [
                maps[:, :, i : i + 2, j : j + 2].amax((2, 3))
                for i, j in itertools.product(range(0, 7, stride), repeat=2)
            ],
            -1,
        )
        assert torch.equal(pooled.flatten(2), expected)
        assert pooled.max() < 0
