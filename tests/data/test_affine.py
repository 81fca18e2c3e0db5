"""The augmentation `affine`: turned, scaled and shifted."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kstest
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.data.transforms import Affine, Moves, moved
from lsmbench.domains import Category, Domain, Image, LabelColours, MapImage, Mask
from lsmbench.palettes import IGNORED, Palette

SIDE = 28
X, Y, XY = ("x",), ("y",), ("x", "y")
BLACK = torch.zeros(1, 1)


def numbers(count: int, first: int = 0) -> NDArray[np.int64]:
    return np.arange(first, first + count, dtype=np.int64)


def noise(count: int, channels: int = 1, side: int = SIDE) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, side, side), dtype=np.uint8))


def discs(count: int, side: int = SIDE) -> Tensor:
    """Float images of one smooth blob each, away from the border, brightest in its middle."""
    at = torch.from_numpy(np.random.default_rng(1).uniform(0.35, 0.65, (2, count, 1, 1))) * side
    places = torch.arange(side) + 0.5
    squared = (places[:, None] - at[0]) ** 2 + 3 * (places[None, :] - at[1]) ** 2
    return torch.exp(-squared / (side / 4) ** 2).float()[:, None]


def one(angle: float = 0.0, scale: float = 1.0, right: float = 0.0, down: float = 0.0) -> Moves:
    return Moves(*(np.array([value]) for value in (angle, scale, right, down)))


@pytest.mark.parametrize("side", [16, 17, 28, 64])
@pytest.mark.parametrize("nearest", [False, True])
def test_no_move_and_moves_by_whole_pixels_keep_the_values(side: int, nearest: bool) -> None:
    views = noise(1, 3, side)
    outside = torch.tensor([[7, 8, 9]])
    for given in (views, views.float() / 255):
        made = moved(given, one(), outside, nearest)
        assert torch.equal(made, given)
        assert made.dtype == given.dtype
    made = moved(views, one(right=2 / side, down=-1 / side), outside, nearest)
    assert torch.equal(made[:, :, :-1, 2:], views[:, :, 1:, :-2])
    for channel, value in enumerate((7, 8, 9)):
        assert (made[:, channel, -1] == value).all()
        assert (made[:, channel, :, :2] == value).all()


def test_positive_angles_turn_counter_clockwise_and_scales_above_one_enlarge() -> None:
    views = noise(1, 2)
    for nearest in (False, True):
        quarter = moved(views, one(angle=np.pi / 2), BLACK.expand(1, 2), nearest)
        assert (quarter.int() - torch.rot90(views, 1, (2, 3)).int()).abs().max() <= 1
    twice = moved(views.float(), one(scale=2.0), BLACK.expand(1, 2), False)
    large = F.interpolate(views.float(), scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(twice, large[:, :, SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2])


def test_it_resamples_as_torch_does() -> None:
    x = noise(40, 3).float() / 255
    moves = Affine({"x": Image(3, SIDE)}, 4).moves(X, numbers(40))
    angle, scale, right, down = (torch.from_numpy(values).float() for values in moves)
    along, across = angle.cos() / scale, angle.sin() / scale
    matrix = torch.stack(
        [along, -across, -2 * (along * right - across * down), across, along, -2 * (across * right + along * down)], 1
    ).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    made = moved(x, moves, BLACK.expand(1, 3), False)
    torch.testing.assert_close(made, F.grid_sample(x, grid, align_corners=False), rtol=0, atol=1e-4)


def test_a_mask_moves_with_its_image() -> None:
    side = 128
    x = discs(60, side)
    before = (x > 0.5)[:, 0]
    domains: dict[str, Domain] = {"x": Image(1, side), "y": Mask(2, side)}
    made = Affine(domains, 0)({"x": x, "y": before.to(torch.uint8)}, XY, numbers(60))
    image, mask = (made["x"] > 0.5)[:, 0], made["y"] == 1

    def iou(one: Tensor, other: Tensor) -> Tensor:
        return (one & other).sum((1, 2)) / (one | other).sum((1, 2))

    assert iou(image, mask).mean() > 0.95
    assert iou(image, before).mean() < 0.85

    def middle(at: Tensor) -> Tensor:
        places = torch.arange(side).float()
        return torch.stack([(at.sum(axis) * places).sum(1) / at.sum((1, 2)) for axis in (1, 2)])

    assert (middle(image) - middle(mask)).mean(1).abs().max() < 0.05, "no shift by half a pixel"


def test_views_of_two_sizes_move_alike() -> None:
    domains: dict[str, Domain] = {"x": Image(1, 56), "y": Image(1, SIDE), "z": Image(1, SIDE)}
    x = discs(30, 56)
    y = F.avg_pool2d(x, 2)
    made = Affine(domains, 0)({"x": x, "y": y, "z": y}, ("x", "y", "z"), numbers(30))
    assert torch.equal(made["y"], made["z"])
    assert (F.avg_pool2d(made["x"], 2) - made["y"]).abs().max() < 0.02
    assert (made["y"] - y).abs().amax((1, 2, 3)).min() > 0.02


@pytest.mark.parametrize(
    ("sizes", "most"), [((28,), 2 / 28), ((16,), 2 / 16), ((28, 16), 2 / 28), ((256,), 2 / 28), ((16, 256), 2 / 28)]
)
def test_the_numbers_are_uniform_in_the_papers_ranges(sizes: tuple[int, ...], most: float) -> None:
    domains: dict[str, Domain] = {f"view{size}": Image(1, size) for size in sizes}
    moves = Affine(domains, 2).moves(tuple(sorted(domains)), numbers(2000))
    ranges = [(-np.pi / 18, np.pi / 18), (0.9, 1.1), (-most, most), (-most, most)]
    for values, (low, high) in zip(moves, ranges, strict=True):
        assert low <= values.min()
        assert values.max() <= high
        assert kstest(values, "uniform", (low, high - low)).pvalue > 0.001


def test_numbers_are_independent_of_each_other_and_of_other_draws_groups_and_seeds() -> None:
    domains: dict[str, Domain] = {"x": Image(1, SIDE), "y": Image(1, SIDE)}
    augment = Affine(domains, 0)
    drawn = [
        augment.moves(X, numbers(2000)),
        augment.moves(X, numbers(2000, 1)),
        augment.moves(X, numbers(2000, 2000)),
        augment.moves(Y, numbers(2000)),
        augment.moves(XY, numbers(2000)),
        Affine(domains, 1).moves(X, numbers(2000)),
    ]
    for first, second in combinations(drawn, 2):
        correlation = np.corrcoef(np.stack([*first, *second]))
        assert np.abs(correlation - np.eye(8)).max() < 0.11  # five standard deviations of 2,000 draws


def test_draws_may_come_in_any_order_and_with_gaps() -> None:
    augment = Affine({"x": Image(1, SIDE)}, 0)
    every = augment.moves(X, numbers(1000))
    for chosen in (np.array([999, 3, 500, 3]), np.arange(1, 1000, 2), np.array([70])):
        for some, all_of_them in zip(augment.moves(X, chosen), every, strict=True):
            assert np.array_equal(some, all_of_them[chosen])
    late = augment.moves(X, np.array([2**40 + 5, 2**40]))
    assert np.array_equal(late.angle[1:], augment.moves(X, np.array([2**40])).angle)
    nothing = augment({"x": noise(0)}, X, numbers(0))
    assert nothing["x"].shape == (0, 1, SIDE, SIDE)


def test_types_shapes_and_range_are_kept() -> None:
    domains: dict[str, Domain] = {"x": Image(3, SIDE), "y": Mask(5, SIDE)}
    x = noise(20, 3)
    for given in (x, (x > 127).float(), x.float() / 255):
        made = Affine(domains, 0)({"x": given, "y": x[:, 0] % 5}, XY, numbers(20))
        assert (made["x"].dtype, made["x"].shape, made["x"].is_contiguous()) == (given.dtype, given.shape, True)
        assert (made["y"].dtype, made["y"].shape) == (torch.uint8, (20, SIDE, SIDE))
        assert set(made["y"].unique().tolist()) == set(range(5))
        assert made["x"].min() >= given.min()
        assert made["x"].max() <= given.max()


@pytest.mark.parametrize("ground", [0, 255])
def test_a_digits_ground_comes_in_from_outside(ground: int) -> None:
    digit = torch.full((50, 1, SIDE, SIDE), ground, dtype=torch.uint8)
    digit[:, :, :20, 9:19] = 255 - ground  # touches the upper border, as digits of USPS do
    made = Affine({"x": Image(1, SIDE)}, 0)({"x": digit}, X, numbers(50))["x"]
    assert (made[:, :, -4:] == ground).all()
    assert (made[:, :, :, :3] == ground).all()
    assert (made[:, 0, 0, 14] == ground).any(), "the digit goes on beyond the border"


def test_void_comes_into_maps_of_classes_or_else_the_background() -> None:
    domains: dict[str, Domain] = {
        "plain": Mask(3, SIDE),
        "ground 2": Mask(3, SIDE, background=2),
        "no ground": Mask(3, SIDE, background=None),
        "void": Mask(3, SIDE, void=True),
    }
    ones = torch.ones(40, SIDE, SIDE, dtype=torch.uint8)
    made = Affine(domains, 0)(dict.fromkeys(domains, ones), tuple(sorted(domains)), numbers(40))
    found = {view: set(labels.unique().tolist()) - {1} for view, labels in made.items()}
    assert found == {"plain": {0}, "ground 2": {2}, "no ground": {0}, "void": {IGNORED}}


def test_label_colours_stay_colours_of_the_palette_and_drawn_maps_do_not() -> None:
    colours = ((0, 0, 0), (128, 64, 128), (70, 130, 180))
    bare = Palette("three", colours, ("first", "road", "sky"))
    void = Palette("four", colours, ("first", "road", "sky"), ((9, 9, 9),))
    labels = np.random.default_rng(0).integers(1, 3, (5, SIDE, SIDE))
    y = torch.from_numpy(np.array(colours, np.uint8)[labels]).permute(0, 3, 1, 2)
    for palette, outside in ((bare, colours[0]), (void, (9, 9, 9))):
        domains: dict[str, Domain] = {"x": MapImage(3, SIDE), "y": LabelColours(3, SIDE, palette=palette)}
        made = Affine(domains, 0)({"x": y, "y": y}, XY, numbers(5))
        assert set(map(tuple, made["y"].permute(0, 2, 3, 1).reshape(-1, 3).tolist())) == {outside, *colours[1:]}
        assert len(made["x"].unique()) > 10


def test_classes_of_samples_pass_unchanged() -> None:
    domains: dict[str, Domain] = {"digit": Category(tuple("0123456789")), "x": Image(1, SIDE)}
    digit, x = torch.arange(10), noise(10)
    shown = tuple(domains)
    made = Affine(domains, 0)({"digit": digit, "x": x}, shown, numbers(10))
    assert torch.equal(made["digit"], digit)
    assert not torch.equal(made["x"], x)
    assert torch.equal(Affine(domains, 0)({"x": x}, shown, numbers(10))["x"], made["x"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_bits_are_the_same_on_a_gpu_and_stay_there() -> None:
    domains: dict[str, Domain] = {"x": Image(3, 64), "y": Mask(3, 64), "z": Image(1, 64)}
    x = noise(64, 3, 64)
    views = {"x": x, "y": x[:, 0] % 3, "z": x[:, 1:2].float() / 255}
    here = Affine(domains, 0)(views, tuple(domains), numbers(64))
    there = Affine(domains, 0)({view: kept.cuda() for view, kept in views.items()}, tuple(domains), numbers(64))
    for view, made in there.items():
        assert made.is_cuda
        assert torch.equal(made.cpu(), here[view]), view
