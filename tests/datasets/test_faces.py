import numpy as np
import pytest
import torch
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.datasets import DATASETS, faces
from lsmbench.datasets.faces import Faces
from lsmbench.domains import Image, Landmarks
from lsmbench.errors import UserError
from lsmbench.metrics import NRMSE
from lsmbench.options import options_of
from tests.conftest import fingerprint

JAW, LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE = (slice(*e) for e in ((0, 17), (17, 22), (22, 27), (36, 42), (42, 48)))


def arrays_of(dataset):
    return {view: np.array(array) for view, array in dataset.load().items()}


@pytest.fixture
def portraits():
    """Pictures of 128 px, (N, H, W, 3) as floats, with room around the faces, and points in pixels of them."""
    arrays = arrays_of(Faces(size=128, samples=60, margin=0.2))
    return arrays["x"].transpose(0, 2, 3, 1).astype(np.float64), arrays["y"].astype(np.float64) * 128


@pytest.fixture
def upright():
    """Points of 120 faces, (N, 68, 2), turned so that the eyes are level, in units of their distance."""
    y = arrays_of(Faces(size=16, samples=120))["y"].astype(np.float64)
    x_axis = y[:, 45] - y[:, 36]
    squared = (x_axis**2).sum(1)[:, None]
    y_axis = np.stack([-x_axis[:, 1], x_axis[:, 0]], 1)
    centred = y - y[:, 36:48].mean(1, keepdims=True)
    along, across = (np.einsum("npc,nc->np", centred, axis) / squared for axis in (x_axis, y_axis))
    return np.stack([along, across], 2)


def region(outline, side=128):
    mask = Picture.new("L", (side, side))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (outline - 0.5).tolist()], fill=1)
    return np.asarray(mask) == 1


# What is stored


def test_contents():
    dataset = Faces(size=32, samples=12)
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((12, 3, 32, 32), np.uint8),
        "y": ((12, 68, 2), np.float32),
    }
    assert dataset.domains == {"x": Image(3, 32), "y": Landmarks(68, "outer")}
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    other = Faces(reconstruction="l1", eyes="released_code").domains
    assert other == {"x": Image(3, 64, reconstruction="l1"), "y": Landmarks(68, "released_code")}
    assert len(np.unique(arrays["x"].reshape(12, -1), axis=0)) == 12
    assert arrays["x"].std((2, 3)).min() > 8, "no picture is empty"


def test_the_example_is_small():
    dataset = DATASETS["faces"].example(None)
    assert (dataset.size, dataset.samples) == (32, 40)


def test_a_larger_set_begins_with_the_smaller_one():
    small, large = Faces(size=16, samples=10).load(), Faces(size=16, samples=120).load()
    for view in ("x", "y"):
        assert np.array_equal(small[view], large[view][:10])


def test_determinism_and_seeds(monkeypatch, tmp_path):
    first = Faces(size=16, samples=10).load()
    seeded = [Faces(size=16, samples=10, data_seed=s) for s in range(3)]
    assert len({fingerprint(dataset) for dataset in seeded}) == 3
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "other"))
    again = Faces(size=16, samples=10).load()
    assert all(np.array_equal(first[v], again[v]) for v in first)


def test_the_cache_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path))
    calls = []
    generate = faces._generate
    monkeypatch.setattr(faces, "_generate", lambda *a: calls.append(a) or generate(*a))
    first = Faces(size=16, samples=10).load()
    second = Faces(size=16, samples=10, reconstruction="l1", eyes="released_code", margin=0).load()
    assert len(calls) == 1
    assert all(np.array_equal(first[v], second[v]) for v in first)
    Faces(size=16, samples=10, margin=0.1).load()
    assert len(calls) == 2


# The crop


def test_the_crop_is_the_square_around_the_points():
    y = arrays_of(Faces(size=16, samples=120))["y"]
    low, high = y.min(1), y.max(1)
    assert low.min() >= 0
    assert high.max() <= 1
    assert np.array_equal(low.min(1), np.zeros(120))
    assert np.array_equal(high.max(1), np.ones(120))
    assert (high - low).max(1) == pytest.approx(np.ones(120)), "the longer extent fills the square"
    assert (low + high) / 2 == pytest.approx(np.full((120, 2), 0.5), abs=1e-4)
    assert ((high - low).min(1) < 0.95).mean() > 0.2


def test_a_margin_shows_more_of_the_same_scene():
    tight, wide = arrays_of(Faces(size=64, samples=10)), arrays_of(Faces(size=128, samples=10, margin=0.5))
    assert (wide["y"] - 0.5) * 2 == pytest.approx(tight["y"] - 0.5, abs=1e-4)
    middle = wide["x"][:, :, 32:96, 32:96].astype(float)
    for i, points in enumerate(tight["y"]):
        skin = region(points[JAW] * 64, 64)
        own, others = (np.abs(middle[i] - x)[:, skin].mean() for x in (tight["x"][i], tight["x"][i - 1]))
        assert own < min(others, 14), i


def test_sizes_show_the_same_faces():
    small, large = arrays_of(Faces(size=32, samples=12)), arrays_of(Faces(size=128, samples=12))
    assert np.array_equal(small["y"], large["y"])
    reduced = large["x"].reshape(12, 3, 32, 4, 32, 4).mean((3, 5))
    assert np.abs(reduced - small["x"]).mean() < 6
    assert np.abs(reduced - np.roll(small["x"], 1, 0)).mean() > 20


# The points


def test_points_are_in_the_order_of_300w(upright):
    x, y = upright[..., 0], upright[..., 1]
    for left, right in [(i, 16 - i) for i in range(8)] + [(17, 26), (21, 22), (36, 45), (39, 42), (48, 54), (31, 35)]:
        assert (x[:, left] < x[:, right]).all(), (left, right)
    assert (np.diff(y[:, :8], axis=1) > 0).mean() > 0.98, "down to the chin"
    assert (np.diff(y[:, 9:17], axis=1) < 0).mean() > 0.98, "and up again"
    assert (np.diff(x[:, 17:27], axis=1) > 0).all(), "brows run from left to right"
    assert (np.diff(x[:, 31:36], axis=1) > 0).mean() > 0.97, "nostrils too, but for a wing that the nose hides"
    assert (np.diff(y[:, 27:31], axis=1) > 0).all(), "the ridge of the nose runs down"
    assert (np.diff(x[:, 48:55], axis=1) > 0).all(), "the upper lip runs from left to right"
    assert (np.diff(x[:, 54:60], axis=1) < 0).all(), "and the lower one back"
    for brow, eye in ((LEFT_BROW, LEFT_EYE), (RIGHT_BROW, RIGHT_EYE)):
        assert (y[:, brow].max(1) < y[:, eye].max(1)).all()
        assert (y[:, brow].mean(1) < y[:, eye].min(1)).all()
    for upper, lower in [(19, 37), (24, 44), (27, 30), (30, 33), (33, 51), (51, 57), (57, 8), (37, 41), (44, 46)]:
        assert (y[:, upper] < y[:, lower]).all(), (upper, lower)
    for outer, inner in [(50, 61), (51, 62), (52, 63)]:
        assert (y[:, outer] < y[:, inner]).all()
    for inner, outer in [(67, 58), (66, 57), (65, 56)]:
        assert (y[:, inner] < y[:, outer]).all()


def test_poses_and_expressions_vary(upright):
    y = arrays_of(Faces(size=16, samples=120))["y"]
    eyes = y[:, 45] - y[:, 36]
    assert np.linalg.norm(eyes, axis=1).min() > 0.3
    assert 8 < np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])).std() < 15, "roll"
    jaw = upright[:, JAW, 0]
    nose = (upright[:, 30, 0] - jaw[:, 0]) / (jaw[:, 16] - jaw[:, 0])
    assert nose.min() < 0.3, "turned to the left"
    assert nose.max() > 0.7, "turned to the right"
    gap = upright[:, 66, 1] - upright[:, 62, 1]
    assert 0.3 < (gap < 0.005).mean() < 0.7, "mouths are closed"
    assert gap.max() > 0.2, "or open"
    opening = (upright[:, 41, 1] - upright[:, 37, 1]) / (upright[:, 39, 0] - upright[:, 36, 0])
    assert 0.02 < (opening < 0.12).mean() < 0.2, "eyes are closed"
    assert np.median(opening) > 0.2
    smile = upright[:, [48, 54], 1].mean(1) - upright[:, 62, 1]
    assert smile.std() > 0.03


def test_floor():
    y = torch.from_numpy(arrays_of(Faces(size=16, samples=120))["y"])
    train, test = y[:84], y[84:]
    mean = Landmarks(68).constant(train).expand_as(test)
    outer, released = (NRMSE(eyes).score(mean, test).mean().item() for eyes in ((36, 45), (37, 46)))
    assert outer == pytest.approx(0.17, abs=0.02)
    assert released == pytest.approx(0.205, abs=0.025)


def test_pictures_tell_the_points():
    # A ridge regression on coarse pixels is no landmark detector, but must do better than the mean shape.
    arrays = arrays_of(Faces(size=16, samples=120))
    x = arrays["x"].mean(1).reshape(120, -1) / 255
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    y = arrays["y"].reshape(120, -1)
    train, test = np.arange(120) < 84, np.arange(120) >= 84
    kernel = x @ x[train].T
    weights = np.linalg.solve(kernel[train] + 100 * np.eye(84), y[train] - y[train].mean(0))
    predicted = torch.from_numpy((kernel[test] @ weights + y[train].mean(0)).reshape(-1, 68, 2))
    truth = torch.from_numpy(y[test].reshape(-1, 68, 2))
    mean = truth.new_tensor(y[train].mean(0).reshape(1, 68, 2)).expand_as(truth)
    score = NRMSE((36, 45)).score
    assert score(predicted, truth).mean() < 0.85 * score(mean, truth).mean()


# The picture is drawn where the points are


def redness(picture, mask):
    rgb = picture[mask].mean(0)
    return rgb[0] / rgb.sum()


def test_lips_are_red_where_the_mouth_is(portraits):
    pictures, points = portraits
    redder = []
    for picture, p in zip(pictures, points, strict=True):
        lower_lip = region(p[[54, 55, 56, 57, 58, 59, 48, 60, 67, 66, 65, 64]])
        cheeks = region(p[[2, 3, 48, 31]]) | region(p[[14, 13, 54, 35]])
        redder.append(redness(picture, lower_lip) - redness(picture, cheeks))
    assert np.mean(np.array(redder) > 0) > 0.9
    assert np.median(redder) > 0.03


def test_eyes_are_drawn_where_they_are_open(portraits):
    pictures, points = portraits
    stands_out = []
    for picture, p in zip(pictures, points, strict=True):
        grey, down = picture.mean(2), p[33] - p[27]
        for eye in (p[LEFT_EYE], p[RIGHT_EYE]):
            inside, below = region(eye), region(eye + 0.5 * down)
            if inside.sum() > 25:
                stands_out.append(grey[inside].std() / grey[below].std())
    assert len(stands_out) > 60
    assert np.mean(np.array(stands_out) > 1.5) > 0.85


def test_the_face_ends_at_the_jaw(portraits):
    pictures, points = portraits
    across, within = [], []
    for picture, p in zip(pictures, points, strict=True):
        outwards = p[JAW] - p[30]
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)

        def at(distance, picture=picture, p=p, outwards=outwards):
            column, row = np.floor(p[JAW] + distance * outwards).astype(int).T
            return picture[row, column]

        across.append(np.abs(at(2) - at(-2)).mean())
        within.append(np.abs(at(-3) - at(-7)).mean())
    assert np.median(across) > 2.5 * np.median(within)


def test_brows_are_darker_than_the_skin_below(portraits):
    pictures, points = portraits
    darker = []
    for picture, p in zip(pictures, points, strict=True):
        for brow, lids in ((p[18:21], p[[37, 37, 38]]), (p[23:26], p[[43, 44, 44]])):
            on_brow, below = (
                picture[tuple(np.floor(q).astype(int).T[::-1])].mean() for q in (brow, 0.55 * brow + 0.45 * lids)
            )
            darker.append(below - on_brow)
    assert np.mean(np.array(darker) > 0) > 0.7, "but for fair brows on dark skin, and fringes"


# Options


def test_every_option_is_described():
    assert [o.name for o in options_of(Faces)] == [
        "size", "samples", "margin", "data_seed", "eyes", "reconstruction",
    ]  # fmt: skip
    assert Faces.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size=12.*at least 16"),
        ({"size": 30}, "size=30.*divisible by 4"),
        ({"samples": 9}, "samples=9.*at least 10"),
        ({"margin": -0.1}, "margin=-0.1.*from 0 to 1"),
        ({"margin": 1.5}, "margin=1.5"),
        ({"margin": float("nan")}, "margin=nan"),
        ({"data_seed": -1}, "data_seed=-1"),
        ({"eyes": "inner"}, "eyes=inner.*outer, released_code"),
        ({"reconstruction": "l2"}, "reconstruction=l2.*mse, l1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        Faces(**options)
