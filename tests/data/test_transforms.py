from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsmbench.data.transforms import AUGMENTATIONS, Augmentation, CropFlip
from lsmbench.domains import Domain, Image, LabelColours, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.palettes import Palette

SIDE, LARGE = 64, 72
OFFSETS = LARGE - SIDE + 1
X, Y, XY = ("x",), ("y",), ("x", "y")


def numbers(count: int, first: int = 0) -> NDArray[np.int64]:
    return np.arange(first, first + count, dtype=np.int64)


def positions(count: int) -> Tensor:
    """Float images whose two channels are each pixel's row and column, divided by the side."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (torch.stack([rows, columns]).float() / SIDE).expand(count, -1, -1, -1).clone()


def noise(count: int, channels: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, SIDE, SIDE), dtype=np.uint8))


def geometry(
    augment: Augmentation, shown: tuple[str, ...], draws: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """First row and column of each draw's crop in the enlarged image, and whether it was flipped, read off its pixels.

    Pixel t of the enlarged image lies at (t + 1/2)·S/L - 1/2 of the original.
    """
    made = augment({"x": positions(len(draws))}, shown, draws)["x"].double().numpy()
    middle = SIDE // 2
    flipped = made[:, 1, middle, 10] > made[:, 1, middle, -10]
    unflipped = np.where(flipped[:, None, None, None], made[..., ::-1], made)
    row, column = unflipped[:, :, middle, middle].T * SIDE
    top, left = (np.round((at + 0.5) * LARGE / SIDE - 0.5).astype(np.int64) - middle for at in (row, column))
    return top, left, flipped


@pytest.fixture(scope="module")
def many() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    return geometry(CropFlip({"x": Image(2, SIDE)}, seed=0), X, numbers(2000))


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_a_draw_is_the_same_in_any_batch_and_any_process(word: str) -> None:
    views = {"x": noise(6, 3), "y": noise(6, 1)[:, 0] % 2}
    domains: dict[str, Domain] = {"x": Image(3, SIDE), "y": Mask(2, SIDE)}
    augment = AUGMENTATIONS[word](domains, 3)
    first = augment(views, XY, numbers(6, 40))
    fresh = AUGMENTATIONS[word](domains, 3)
    fresh(views, XY, numbers(6))
    for i in (5, 0, 3):
        alone = fresh({view: kept[i : i + 1] for view, kept in views.items()}, XY, numbers(1, 40 + i))
        for view in XY:
            torch.testing.assert_close(alone[view][0], first[view][i], rtol=0, atol=0)
    swapped = fresh(dict(reversed(views.items())), XY, numbers(6, 40))
    assert all(torch.equal(swapped[view], first[view]) for view in XY)


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_what_was_given_is_left_as_it_is(word: str) -> None:
    views = {"x": noise(2, 3)}
    before = views["x"].clone()
    AUGMENTATIONS[word]({"x": Image(3, SIDE)}, 0)(views, X, numbers(2))
    assert torch.equal(views["x"], before)


def test_draws_groups_and_seeds_are_independent() -> None:
    augment = CropFlip({"x": Image(2, SIDE), "y": Image(2, SIDE)}, seed=0)
    reference = np.stack(geometry(augment, X, numbers(400)))
    others = {
        "draws": geometry(augment, X, numbers(400, 1)),
        "group of pairs": geometry(augment, XY, numbers(400)),
        "group of y": geometry(augment, Y, numbers(400)),
        "seed": geometry(CropFlip({"x": Image(2, SIDE)}, seed=1), X, numbers(400)),
    }
    for what, other in others.items():
        same = (reference == np.stack(other)).mean(1)
        # 1/9, 1/9 and 1/2 are expected by chance; five standard deviations of 400 draws.
        assert np.abs(same - [1 / OFFSETS, 1 / OFFSETS, 1 / 2]).max() < 5 * 0.025, what


def test_crops_are_uniform_over_all_offsets(many: tuple[NDArray[np.int64], ...]) -> None:
    for offsets in many[:2]:
        counts = np.bincount(offsets, minlength=OFFSETS)
        assert len(counts) == OFFSETS
        expected = len(offsets) / OFFSETS
        assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-square, 8 degrees of freedom, p = 0.001


def test_half_of_the_draws_are_flipped(many: tuple[NDArray[np.int64], ...]) -> None:
    assert 75 < many[2][:200].sum() < 125
    assert many[2].mean() == pytest.approx(0.5, abs=0.05)


def test_flip_row_and_column_are_independent_of_each_other_and_of_the_draw_before(
    many: tuple[NDArray[np.int64], ...],
) -> None:
    now = np.stack(many).astype(float)
    correlation = np.corrcoef(np.concatenate([now[:, 1:], now[:, :-1]]))
    assert np.abs(correlation - np.eye(6)).max() < 0.11  # five standard deviations of 2,000 draws


def test_flips_and_crops_can_be_turned_off() -> None:
    views = {"x": noise(4, 3)}
    plain = CropFlip({"x": Image(3, SIDE)}, seed=0, enlarge=1, flip=0)
    assert torch.equal(plain(views, X, numbers(4))["x"], views["x"])
    mirror = CropFlip({"x": Image(3, SIDE)}, seed=0, enlarge=1, flip=1)
    assert torch.equal(mirror(views, X, numbers(4))["x"], views["x"].flip(-1))


def test_a_pair_keeps_its_correspondence() -> None:
    x = positions(20)
    rows, columns = (torch.round(x[:, i] * SIDE).to(torch.uint8) for i in (0, 1))
    domains: dict[str, Domain] = {"x": Image(2, SIDE), "rows": Mask(SIDE, SIDE), "columns": Mask(SIDE, SIDE)}
    made = CropFlip(domains, 0)({"rows": rows, "x": x, "columns": columns}, tuple(domains), numbers(20))
    inner = made["x"][:, :, 4:-4, 4:-4] * SIDE  # bicubic interpolation of a slope is exact but at the image's edge
    for i, view in enumerate(("rows", "columns")):
        error = inner[:, i] - made[view][:, 4:-4, 4:-4].float()
        # The nearest pixel is at most half a pixel away, on either side: class maps are not shifted against images.
        assert error.abs().max() < 0.5 + 1e-3
        assert error.mean().abs() < 0.05


def test_images_with_different_numbers_of_channels_move_together() -> None:
    grey = noise(4, 1)
    counts = {f"c{n}": n for n in (1, 3, 4, 5)}
    domains: dict[str, Domain] = {view: Image(n, SIDE) for view, n in counts.items()}
    views = {view: grey.expand(-1, n, -1, -1) for view, n in counts.items()}
    made = CropFlip(domains, 0)(views, tuple(domains), numbers(4))
    assert not torch.equal(made["c1"], grey)
    for view, n in counts.items():
        assert torch.equal(made[view], made["c1"].expand(-1, n, -1, -1))


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_types_shapes_and_range_are_kept(channels: int) -> None:
    augment = CropFlip({"x": Image(channels, SIDE), "y": Mask(2, SIDE)}, seed=0)
    x = noise(3, channels)
    hard = (x > 127).float()  # edges at which bicubic interpolation overshoots
    for given in (x, hard):
        made = augment({"x": given, "y": x[:, 0] % 2}, XY, numbers(3))
        assert made["x"].dtype == given.dtype
        assert made["x"].shape == given.shape
        assert made["x"].is_contiguous()
        assert made["y"].dtype == torch.uint8
        assert made["y"].shape == (3, SIDE, SIDE)
        assert np.unique(made["y"].numpy()).tolist() == [0, 1]
    made = augment({"x": hard}, X, numbers(3))
    assert [made["x"].min().item(), made["x"].max().item()] == [0, 1]


def test_bytes_saturate_where_bicubic_interpolation_overshoots() -> None:
    half = torch.zeros(8, 1, SIDE, SIDE, dtype=torch.uint8)
    half[:, :, SIDE // 2 :] = 255
    made = CropFlip({"x": Image(1, SIDE)}, 0)({"x": half}, X, numbers(8))["x"].int()
    assert (made.diff(dim=2) >= 0).all()  # bytes that wrapped around would leave a line beside the edge
    assert [made.min().item(), made.max().item()] == [0, 255]


@pytest.mark.parametrize("alone", [True, False])
def test_label_colours_stay_colours_of_the_palette(alone: bool) -> None:
    palette = Palette("three", ((0, 0, 0), (128, 64, 128), (70, 130, 180)), ("void", "road", "sky"))
    labels = np.random.default_rng(0).integers(0, 3, (5, SIDE, SIDE))
    colours = torch.from_numpy(np.array(palette.colours, np.uint8)[labels]).permute(0, 3, 1, 2)
    domains: dict[str, Domain] = {"x": Image(3, SIDE), "y": LabelColours(3, SIDE, palette=palette)}
    views = {"y": colours} if alone else {"y": colours, "x": colours}
    made = CropFlip(domains, 0)(views, Y if alone else XY, numbers(5))
    assert set(map(tuple, made["y"].permute(0, 2, 3, 1).reshape(-1, 3).tolist())) == set(palette.colours)
    if not alone:
        assert len(np.unique(made["x"].numpy())) > 10


def test_masks_alone_are_augmented_as_beside_an_image() -> None:
    domains: dict[str, Domain] = {"x": Image(3, SIDE), "y": Mask(3, SIDE)}
    x = noise(5, 3)
    y = x[:, 0] % 3
    augment = CropFlip(domains, 0)
    together, alone = augment({"x": x, "y": y}, XY, numbers(5)), augment({"y": y}, XY, numbers(5))
    assert torch.equal(together["y"], alone["y"])


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_landmarks_are_refused_by_name(word: str) -> None:
    with pytest.raises(UserError, match=r"view points \(landmarks\).*training\.augment=none"):
        AUGMENTATIONS[word]({"x": Image(1, SIDE), "points": Landmarks(68)}, 0)


def test_views_of_different_sizes_are_refused() -> None:
    x = Image(1, SIDE)
    with pytest.raises(UserError, match=r"x of 64 px, y of 32 px"):
        CropFlip({"x": x, "y": replace(x, size=32)}, seed=0)


@pytest.mark.parametrize(("enlarge", "flip", "named"), [(0.9, 0.5, "enlarge"), (1.1, 1.5, "flip"), (1.1, -0.1, "flip")])
def test_options_out_of_range_are_refused(enlarge: float, flip: float, named: str) -> None:
    with pytest.raises(UserError, match=named):
        CropFlip({"x": Image(1, SIDE)}, 0, enlarge, flip)


@pytest.mark.parametrize("word", AUGMENTATIONS)
def test_every_sample_needs_a_draw(word: str) -> None:
    with pytest.raises(ValueError, match="4 samples but 3 draws"):
        AUGMENTATIONS[word]({"x": Image(1, SIDE)}, 0)({"x": noise(4, 1)}, X, numbers(3))


def test_the_module_is_imported_without_albumentations() -> None:
    code = "import sys, lsmbench.data.transforms; sys.exit('albumentations' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
