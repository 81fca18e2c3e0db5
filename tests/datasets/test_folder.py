import dataclasses
import os
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.benchmarks.limits import possible_amounts
from lsmbench.data import decoding
from lsmbench.data.dataset import pools_of
from lsmbench.data.module import DataModule
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets import DATASETS
from lsmbench.datasets.folder import Folder
from lsmbench.domains import Image, LabelColours, Landmarks, Mask, SegmentedPhoto
from lsmbench.domains.judges import Segmenter
from lsmbench.errors import UserError
from lsmbench.metrics import ForegroundIoU
from lsmbench.options import options_of
from lsmbench.palettes import FACADES, IGNORED, Palette
from tests.conftest import truth_of

REAL_DATA = os.environ.get("LSMBENCH_DATA")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "mine"
    made.mkdir()
    return made


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Picture.Image) else Picture.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)


def grey(seed=0, width=40, height=36):
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def labels(classes=3, width=40, height=36):
    return (np.arange(width * height).reshape(height, width) // 100 % classes).astype(np.uint8)


def masks_in(root, count=12, classes=3):
    for i in range(count):
        save(root / "images" / f"{i:02}.png", grey(i))
        save(root / "masks" / f"{i:02}.png", labels(classes))


def refused(root, *patterns, **options):
    with pytest.raises(UserError) as caught:
        Folder(str(root), size=32, **options).load()
    text = str(caught.value)
    for pattern in patterns:
        assert pattern in text, text
    return text


# Layouts


def test_images_with_masks(root):
    masks_in(root)
    dataset = Folder(str(root), size=32)
    assert dataset.domains == {"x": Image(1, 32), "y": Mask(3, 32)}
    arrays = dataset.load()
    assert {v: (a.shape, a.dtype) for v, a in arrays.items()} == {
        "x": ((12, 1, 32, 32), np.uint8),
        "y": ((12, 32, 32), np.uint8),
    }
    assert set(np.unique(arrays["y"])) == {0, 1, 2}


def test_a_run_can_be_configured_from_it(root):
    masks_in(root)
    dataset = Folder(str(root), size=32)
    before = dataclasses.asdict(dataset)
    assert dataset.domains
    dataset.load()
    assert dataclasses.asdict(dataset) == before == {o.name: getattr(dataset, o.name) for o in options_of(Folder)}
    assert dataset == Folder(str(root), size=32)
    data = DataModule(dataset, SupervisionConfig())
    assert sum(len(indices) for indices in data.supervision.groups.values()) == 4
    batch = next(iter(data.test_dataloader()))
    assert batch["x"].shape == (3, 1, 32, 32)


@pytest.mark.parametrize("place", ["landmarks", "images"])
def test_images_with_pts(root, place):
    for i in range(10):
        save(root / "images" / f"{i}.jpg", grey(i))
        write_pts(root / place / f"{i}.pts", [(1 + i, 2), (30, 20.5), (7, 36)])
    dataset = Folder(str(root), size=32)
    assert dataset.domains == {"x": Image(1, 32), "y": Landmarks(3, None, proportions=True)}
    y = dataset.load()["y"]
    assert y.dtype == np.float32
    assert y[4] == pytest.approx(np.array([(4.5 / 40, 1.5 / 36), (29.5 / 40, 20 / 36), (6.5 / 40, 35.5 / 36)]))


def write_pts(path, points, header=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{x} {y}" for x, y in points]
    path.write_text("\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}"] if header else lines))


def write_csv(path, rows, points=2):
    header = ",".join(["file", *(f"{a}{n + 1}" for n in range(points) for a in "xy")])
    path.write_text("\n".join([header, *rows]) + "\n")


def test_images_with_csv(root):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i))
    write_csv(root / "landmarks.csv", [f"{i}{'.png' * (i % 2)},{i},0,39,35" for i in reversed(range(10))])
    dataset = Folder(str(root), size=32, eyes="0,1")
    assert dataset.domains["y"] == Landmarks(2, (0, 1), proportions=True)
    y = dataset.load()["y"]
    assert y[:, 0, 0] == pytest.approx((np.arange(10) + 0.5) / 40), "samples are in the pictures' order"
    assert y[0, 1] == pytest.approx(np.array([39.5 / 40, 35.5 / 36]))


def test_faces_have_eyes(root):
    shape = [(5 + i % 30, 5 + i % 25) for i in range(68)]
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i))
        write_pts(root / "landmarks" / f"{i}.pts", shape)
    expected = {"auto": "outer", "outer": "outer", "released_code": "released_code", "box": None, "3, 40": (3, 40)}
    for eyes, meant in expected.items():
        assert Folder(str(root), size=32, eyes=eyes).domains["y"] == Landmarks(68, meant, proportions=True)
    refused(root, "eyes=70,80; there are 68 points", eyes="70,80")


def test_images_with_images(root):
    for i in range(10):
        save(root / "A" / f"{i}.png", grey(i))
        save(root / "B" / f"{i}.jpg", np.full((20, 30, 3), (250, 10, 10), np.uint8))
    dataset = Folder(str(root), size=32, reconstruction="l1")
    assert dataset.domains == {"x": Image(1, 32, reconstruction="l1"), "y": Image(3, 32, reconstruction="l1")}
    assert np.abs(dataset.load()["y"].mean((0, 2, 3)) - (250, 10, 10)).max() < 3
    assert Folder(str(root), size=32, channels=3).domains["x"] == Image(3, 32)


def side_by_side(root, count=10, width=64):
    for i in range(count):
        pixels = np.zeros((32, width, 3), np.uint8)
        pixels[:, : width // 2] = (10 * i, 0, 0)
        pixels[:, width // 2 :] = (0, 200, 0)
        save(root / f"{i}.png", pixels)


def test_side_by_side(root):
    side_by_side(root)
    arrays = Folder(str(root), size=32).load()
    assert (arrays["x"][5] == np.array([50, 0, 0])[:, None, None]).all()
    assert (arrays["y"][5] == np.array([0, 200, 0])[:, None, None]).all()
    turned = Folder(str(root), size=32, side_by_side="x_right").load()
    assert np.array_equal(turned["x"], arrays["y"])
    assert np.array_equal(turned["y"], arrays["x"])


def test_pictures_with_pts_beside_them_are_not_cut_in_halves(root):
    for i in range(10):
        save(root / f"{i}.png", grey(i, 60, 30))
        write_pts(root / f"{i}.pts", [(1, 1), (60, 30)], header=False)
    assert Folder(str(root), size=32).load()["y"][0] == pytest.approx(
        np.array([(0.5 / 60, 0.5 / 30), (59.5 / 60, 29.5 / 30)])
    )


# Parts


def parts_in(root, **counts):
    for offset, (part, count) in enumerate(counts.items()):
        for i in range(count):
            save(root / part / "images" / f"{i:02}.png", np.full((36, 40), 50 * offset + i, np.uint8))
            save(root / part / "masks" / f"{i:02}.png", labels())


def shown(root, seed=None):
    """The parts' grey values, by the samples' folder: 0 to 49 in the first folder, 50 to 99 in the second …"""
    dataset = Folder(str(root), size=32)
    x = dataset.load()["x"][:, 0, 0, 0]
    split = dataset.split(len(x), seed)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(len(x)))
    return [sorted(x[getattr(split, part)].tolist()) for part in ("train", "val", "test")]


@pytest.mark.parametrize("seed", [None, 3])
def test_parts(root, seed):
    parts_in(root, train=5, val=2, test=3)
    assert shown(root, seed) == [[0, 1, 2, 3, 4], [50, 51], [100, 101, 102]]


def test_validation_is_drawn_from_train(root):
    parts_in(root, train=32, test=3)
    train, val, test = shown(root)
    assert (len(train), len(val), test) == (28, 4, [50, 51, 52])
    assert shown(root) == [train, val, test]
    assert shown(root, 1)[1] != val
    assert np.ptp(val) > 4, "not neighbours"


def test_val_is_tested_on_where_there_is_no_test(root):
    parts_in(root, train=16, val=3)
    train, val, test = shown(root)
    assert (len(train), len(val), test) == (14, 2, [50, 51, 52])
    assert "val/ is the test part" in " ".join(Folder(str(root), size=32).inspect().findings.notes)


def test_train_alone_is_split(root):
    parts_in(root, train=20)
    assert [len(part) for part in shown(root)] == [14, 2, 4]


def test_without_parts_files_are_drawn(root):
    masks_in(root, 40)
    dataset = Folder(str(root), size=32)
    split = dataset.split(40, None)
    assert (len(split.train), len(split.val), len(split.test)) == (28, 4, 8)
    assert np.ptp(split.test) > 10, "a row of names is often one class"
    assert np.array_equal(split.test, dataset.split(40, None).test)
    assert not np.array_equal(split.test, dataset.split(40, 1).test)


def test_parts_of_other_layouts(root):
    parts_in(root, train=3)
    for i in range(3):
        save(root / "test" / f"{i}.png", grey(i, 64, 32))
    refused(root, "all parts must be laid out alike", "pictures alone in test/")


def test_no_train(root):
    parts_in(root, val=3, test=3)
    refused(root, "holds val/ and test/, but no train/")


def test_another_word_for_val(root):
    parts_in(root, train=3, valid=2, Testing=4)
    assert [len(part) for part in shown(root)] == [3, 2, 4]


# Partial data


def partial_in(root, pairs=20, pictures=9, masks=7):
    masks_in(root, pairs)
    for i in range(pictures):
        save(root / "images" / f"p{i}.png", grey(100 + i))
    for i in range(masks):
        save(root / "masks" / f"m{i}.png", labels(4))


def test_what_has_one_view_is_a_pool_of_its_own(root):
    partial_in(root)
    dataset = Folder(str(root), size=32)
    pairs, x, y = dataset.pools()
    assert [(pool.name, tuple(pool.views), len(pool)) for pool in (pairs, x, y)] == [
        ("samples", ("x", "y"), 20),
        ("x", ("x",), 9),
        ("y", ("y",), 7),
    ]
    assert {part: len(rows) for part, rows in pairs.parts.items()} == {"train": 14, "val": 2, "test": 4}
    assert [list(pool.parts) for pool in (x, y)] == [["train"], ["train"]]
    assert (pairs.names[3], x.names[1], y.names[2]) == ("images/03.png", "images/p1.png", "masks/m2.png")
    assert dataset.domains["y"] == Mask(4, 32), "labels that only masks without a photo hold count"
    assert len(dataset.targets()) == 27
    shown = DataModule(dataset, SupervisionConfig(paired=50)).supervision
    assert shown.counts() == {"pairs": 3, "x": 4 + 9, "y": 4 + 7}
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert (inspection.facts["pictures without a mask"], inspection.facts["masks without a picture"]) == ("9", "7")


def test_pairs_are_what_they_are_without_the_others(root, tmp_path):
    partial_in(root)
    masks_in(tmp_path / "pairs", 20)
    dataset, alone = Folder(str(root), size=32, classes=4), Folder(str(tmp_path / "pairs"), size=32, classes=4)
    (pairs, *_), (same,) = dataset.pools(3), alone.pools(3)
    assert all(np.array_equal(pairs.views[view], same.views[view]) for view in "xy")
    assert all(np.array_equal(rows, same.parts[part]) for part, rows in pairs.parts.items())


def test_a_folder_without_any_pair(root):
    for i in range(6):
        save(root / "A" / f"horse{i}.png", grey(i))
        save(root / "B" / f"zebra{i}.png", np.zeros((20, 30, 3), np.uint8))
    dataset = Folder(str(root), size=32)
    assert dataset.domains == {"x": Image(1, 32), "y": Image(3, 32)}
    assert [(pool.name, len(pool.parts["train"])) for pool in dataset.pools()] == [("x", 6), ("y", 6)]
    assert {view: array.shape for view, array in dataset.load().items()} == {"x": (0, 1, 32, 32), "y": (0, 3, 32, 32)}
    assert dataset.inspect().findings.problems == []


def test_what_lies_in_other_parts_is_not_trained_on(root):
    parts_in(root, train=10, val=2, test=4)
    for part in ("train", "val", "test"):
        save(root / part / "images" / "more.png", grey())
        save(root / part / "masks" / "other.png", labels())
    dataset = Folder(str(root), size=32)
    pairs, x, y = dataset.pools()
    assert {part: len(rows) for part, rows in pairs.parts.items()} == {"train": 10, "val": 2, "test": 4}
    assert {part: [x.names[row] for row in rows] for part, rows in x.parts.items()} == {
        part: [f"{part}/images/more.png"] for part in ("train", "val", "test")
    }
    assert {part: [y.names[row] for row in rows] for part, rows in y.parts.items()} == {
        part: [f"{part}/masks/other.png"] for part in ("train", "val", "test")
    }
    assert any(
        note.startswith("4 files without a counterpart lie outside train/") for note in dataset.inspect().findings.notes
    )


def test_pictures_without_a_row(root):
    for i in range(12):
        save(root / "images" / f"{i:02}.png", grey(i))
    write_csv(root / "landmarks.csv", [f"{i:02},1,2,30,4" for i in range(2, 12)])
    pairs, x = Folder(str(root), size=32).pools()
    assert (len(pairs), x.names) == (10, ["images/00.png", "images/01.png"])


# Pictures


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [
        (Picture.fromarray(grey()), 1),
        (Picture.fromarray(grey()).convert("1"), 1),
        (Picture.fromarray(grey()).convert("LA"), 1),
        (Picture.fromarray(grey()).convert("P"), 3),
        (Picture.fromarray(grey()).convert("RGB"), 3),
        (Picture.fromarray(grey()).convert("RGBA"), 3),
    ],
)
def test_modes(root, pixels, channels):
    masks_in(root, 10)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", pixels)
    dataset = Folder(str(root), size=36, fit="crop")
    x = dataset.load()["x"]
    assert x.shape == (10, channels, 36, 36)
    assert x.dtype == np.uint8
    if pixels.mode != "1":
        assert np.array_equal(x[0, 0], grey()[:, 2:38])
    for wanted in (1, 2, 3, 4):
        assert Folder(str(root), size=32, channels=wanted).load()["x"].shape == (10, wanted, 32, 32)


def test_a_fourth_channel_is_no_transparency(root):
    masks_in(root, 10)
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0] = 200
    for i in range(10):
        save(root / "images" / f"{i:02}.png", pixels)
        save(root / "masks" / f"{i:02}.png", labels(3, 64, 64))
    assert (Folder(str(root), size=32).load()["x"][0, 0] == 200).all()


def test_16_bits(root):
    masks_in(root, 10)
    ramp = np.linspace(0, 65535, 36 * 36).reshape(36, 36).astype(np.uint16)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", np.pad(ramp, ((0, 0), (2, 2))))
    x = Folder(str(root), size=36, fit="crop").load()["x"]
    assert x.dtype == np.float32
    assert x[0, 0] == pytest.approx(ramp / 65535, abs=1e-6)
    assert (x.min(), x.max()) == (0, 1)
    rgb = Folder(str(root), size=36, fit="crop", channels=3).load()["x"]
    assert np.array_equal(rgb, np.repeat(x, 3, 1))
    assert (Folder(str(root), size=36, channels=4).load()["x"][:, 3] == 1).all()


def test_8_and_16_bits(root):
    masks_in(root, 10)
    save(root / "images" / "00.png", np.full((36, 40), 65535, np.uint16))
    save(root / "images" / "01.png", np.full((36, 40), 255, np.uint8))
    dataset = Folder(str(root), size=32)
    x = dataset.load()["x"]
    assert x.dtype == np.float32
    assert (x[:2] == 1).all()
    assert "8 and of 16 bits are mixed" in " ".join(dataset.inspect().findings.notes)


def test_reduced_pictures_are_averaged(root):
    masks_in(root, 10)
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", checks)
        save(root / "masks" / f"{i:02}.png", labels(3, 256, 256))
    assert np.abs(Folder(str(root), size=32).load()["x"].astype(int) - 128).max() < 8


# Masks


def masks_as(root, saved, count=10):
    for i in range(count):
        save(root / "images" / f"{i}.png", grey(i, 36, 36))
        save(root / "masks" / f"{i}.png", saved)


def test_palette_masks_hold_indices(root):
    indexed = Picture.fromarray(labels(4, 36, 36))
    indexed.putpalette([255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert indexed.mode == "P"
    masks_as(root, indexed)
    dataset = Folder(str(root), size=36)
    assert dataset.domains["y"] == Mask(4, 36)
    assert np.array_equal(dataset.load()["y"][0], labels(4, 36, 36))


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("how", ["1 bit", "0 and 255", "0 and 1", "16 bit"])
def test_two_classes(root, how, classes):
    two = labels(2, 36, 36)
    saved = {
        "1 bit": Picture.fromarray(two * 255).convert("1"),
        "0 and 255": Picture.fromarray(two * 255),
        "0 and 1": Picture.fromarray(two),
        "16 bit": Picture.fromarray(two.astype(np.uint16)),
    }[how]
    masks_as(root, saved)
    save(root / "masks" / "9.png", np.zeros((36, 36), np.uint8))  # one without foreground
    dataset = Folder(str(root), size=36, classes=classes)
    assert dataset.domains["y"] == Mask(2, 36)
    y = dataset.load()["y"]
    assert np.array_equal(y[0], two)
    assert not y[9].any()


def test_labels_are_never_mixed(root):
    steps = np.zeros((61, 61), np.uint8)
    steps[20:, 10:] = 5
    masks_as(root, steps)
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i, 61, 61))
    for fit in ("stretch", "crop", "pad"):
        for size in (16, 32, 128):
            y = Folder(str(root), size=size, fit=fit, classes=6).load()["y"]
            assert set(np.unique(y)) == {0, 5}
            assert (y[0] == 5).mean() == pytest.approx((steps == 5).mean(), abs=0.08)


def test_the_greatest_label_counts_even_if_it_vanishes_in_resizing(root):
    mask = labels(2, 36, 36)
    mask[0, 0] = 2
    masks_as(root, mask)
    dataset = Folder(str(root), size=16)
    assert 2 not in dataset.load()["y"]
    assert dataset.domains["y"] == Mask(3, 16)


# Geometry


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (65, 64), (64, 64), (23, 31), (201, 100)])
@pytest.mark.parametrize("layout", ["pts", "csv"])
def test_points_and_masks_follow_the_picture(tmp_path, fit, width, height, layout):
    """A dot planted in the picture is found where its landmark is, and where its mask is."""
    size, rng = 64, np.random.default_rng(width)
    marked, masked = tmp_path / "marked", tmp_path / "masked"
    side = min(width, height)
    low = np.array([(width - side) // 2 + 4, (height - side) // 2 + 4])
    dots = rng.integers(low, low + side - 8, (10, 2))
    corner = low + 1
    for i, (column, row) in enumerate(dots.tolist()):
        pixels = np.zeros((height, width), np.uint8)
        pixels[row - 1 : row + 2, column - 1 : column + 2] = 255
        for root in (marked, masked):
            save(root / "images" / f"{i}.png", pixels)
        save(masked / "masks" / f"{i}.png", pixels)
        if layout == "pts":
            write_pts(marked / "landmarks" / f"{i}.pts", [(column + 1, row + 1), tuple(corner + 1)])
    if layout == "csv":
        rows = [f"{i}.png,{c},{r},{corner[0]},{corner[1]}" for i, (c, r) in enumerate(dots.tolist())]
        write_csv(marked / "landmarks.csv", rows)
    arrays = Folder(str(marked), size=size, fit=fit).load()
    planted = arrays["y"][:, 0] * size
    centres = np.arange(size) + 0.5
    coarse = max(width, height) / size
    masks = Folder(str(masked), size=size, fit=fit).load()["y"]
    for picture, mask, (x, y) in zip(arrays["x"][:, 0].astype(float), masks, planted, strict=True):
        for seen, tolerance in ((picture, 0.12), (mask, 0.5 + 0.5 / coarse)):
            assert (seen * centres).sum() / seen.sum() == pytest.approx(x, abs=tolerance)
            assert (seen * centres[:, None]).sum() / seen.sum() == pytest.approx(y, abs=tolerance)


def test_fits_differ(root):
    masks_in(root, 10)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", np.full((32, 64), 90, np.uint8))
        save(root / "masks" / f"{i:02}.png", np.ones((32, 64), np.uint8))
    pad = Folder(str(root), size=32, fit="pad", classes=2).load()
    assert (pad["x"][:, :, 9:23] == 90).all()
    assert not pad["x"][:, :, :7].any()
    assert pad["y"][0].sum() == 32 * 16
    for fit in ("stretch", "crop"):
        assert (Folder(str(root), size=32, fit=fit, classes=2).load()["y"] == 1).all()


def test_points_that_are_cut_off(root):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i, 60, 30))
        write_pts(root / "landmarks" / f"{i}.pts", [(20, 10), (30, 20), (2 if i == 3 else 40, 10)])
    assert Folder(str(root), size=32).load()["y"].shape == (10, 3, 2)
    text = refused(root, "(pixels counted from 1) lies in the part of 3.png that fit=crop cuts off", fit="crop")
    assert "1 problem" in text


# What is refused


def test_no_root():
    with pytest.raises(UserError, match=r"make bench DATASET=folder DATA=PATH.*images/ with masks/.*A/ with B/"):
        Folder()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size=12"),
        ({"size": 30}, "size=30"),
        ({"classes": 1}, "classes=1"),
        ({"classes": 300}, "classes=300"),
        ({"channels": 5}, "channels=5"),
        ({"fit": "zoom"}, "fit=zoom.*stretch, crop, pad"),
        ({"exif": "turn"}, "exif=turn.*refuse, apply, ignore"),
        ({"side_by_side": "left"}, "side_by_side=left.*x_left"),
        ({"reconstruction": "l2"}, "reconstruction=l2"),
        ({"eyes": "inner"}, "eyes=inner.*outer, released_code, box"),
        ({"eyes": "3,3"}, "eyes=3,3.*two different points"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        Folder("somewhere", **options)


def test_options_that_do_not_apply(root):
    side_by_side(root)
    refused(root, "2 problems", "classes=3 does not apply", "eyes=box does not apply", classes=3, eyes="box")


def test_no_such_folder(root):
    refused(root / "nowhere", "no such folder")
    (root / "file").write_text("")
    refused(root / "file", "is a file")


def test_none_of_the_layouts(root):
    refused(root, "holds none of the layouts; found nothing", "images/ with masks/")
    (root / "pictures").mkdir()
    (root / "notes.txt").write_text("")
    refused(root, "found notes.txt, pictures/.", "A/ with B/")
    (root / "images").mkdir()
    refused(root, "found images/, notes.txt, pictures/.")


def test_two_layouts(root):
    masks_in(root, 3)
    write_pts(root / "landmarks" / "00.pts", [(1, 1)])
    refused(root, "holds images/ with masks/ and images/ with landmarks/; expected one")


def test_empty_folders(root):
    (root / "images").mkdir()
    (root / "masks").mkdir()
    refused(root, "holds none of the layouts", "Not read: images, masks (an empty folder)")
    save(root / "images" / "1.png", grey())
    (root / "masks" / "1.xml").write_text("")
    refused(root, "no annotation was recognised", "Not read: masks/1.xml (.xml, which is not read)")


def test_names_that_do_not_match_at_all_are_one_problem(root):
    for i in range(9):
        save(root / "images" / f"{i}.png", grey())
        write_pts(root / "landmarks" / f"{i}_points.pts", [(1, 1), (2, 2)])
    text = refused(root, "1 problem", "found 0_points.pts, 1_points.pts", "0.png, 1.png", "pairing=_points")
    assert len(text.splitlines()) == 2
    assert len(Folder(str(root), size=32, pairing="_points").load()["x"]) == 9


def test_everything_wrong_is_named_at_once(root):
    masks_in(root, 12)
    (root / "masks" / "00.png").unlink()
    (root / "images" / "01.png").unlink()
    path = root / "images" / "02.png"
    path.write_bytes(path.read_bytes()[:300])
    path = root / "masks" / "03.png"
    path.write_bytes(path.read_bytes()[:60])
    save(root / "images" / "04.png", grey(), "RGB")
    save(root / "masks" / "05.png", labels(3, 20, 19))
    save(root / "masks" / "06.png", labels(7))
    save(root / "masks" / "07.png", labels(), "RGB")
    turned = Picture.Exif()
    turned[0x0112] = 6
    save(root / "images" / "08.png", grey(), exif=turned)
    (root / "images" / "09.png").write_bytes(b"no picture")
    save(root / "masks" / "10.png", np.full((36, 40), 300, np.uint16))
    save(root / "images" / "11.jpg", grey())
    text = refused(
        root,
        f"dataset folder, {root}: 9 problems.",
        "images/02.png: cannot be read as a picture",
        "masks/03.png: cannot be read as a picture",
        "images/04.png: has 3 channels, most others have 1; channels=1 converts all",
        "masks/05.png: has 20×19 px, but its picture 05.png has 40×36",
        "masks/06.png: holds the labels 3, 4, 5, 6; expected 0 to 2",
        "images/08.png: is stored turned",
        "images/09.png: cannot be read as a picture",
        "masks/10.png: holds labels from 300 to 300; expected class numbers, whole ones from 0 to 255",
        "images/11.png: has the same stem as 11.jpg",
        classes=3,
    )
    inspection = Folder(str(root), size=32, classes=3).inspect()
    assert [problem in text for problem in inspection.findings.problems] == [True] * 9
    assert inspection.names == ["images/07.png", "images/11.jpg"]
    assert {view: names for view, (_, names) in inspection.alone.items()} == {
        "x": ["images/00.png"],
        "y": ["masks/01.png"],
    }


def test_masks_in_colours(root):
    masks_in(root, 10)
    save(root / "masks" / "03.png", np.stack([labels(), labels() * 2, labels()], -1))
    save(root / "masks" / "04.png", labels(), "RGB")
    refused(root, "1 problem", "1 of 10 masks hold colours, not class numbers (03.png): 3 flat colours")


def test_masks_saved_as_jpeg(root):
    masks_in(root, 10)
    (root / "masks" / "03.png").unlink()
    save(root / "masks" / "03.jpg", labels())
    refused(root, "1 of 10 masks are JPEG (03.jpg), which changes labels")


def test_an_ignored_label(root):
    masks_in(root, 10)
    mask = labels()
    mask[0] = 255
    save(root / "masks" / "03.png", mask)
    refused(root, "the label 255 lies beside others in 1 of 10 masks (03.png)", "classes=256")
    assert Folder(str(root), size=32, classes=256).domains["y"] == Mask(256, 32)
    refused(root, "03.png: holds the labels 255; expected 0 to 2", classes=3)


def test_labels_that_are_greys(root):
    masks_as(root, labels(2, 36, 36) * 127)
    refused(root, "labels are 0, 127, which would make 128 classes", "classes=128")


def test_masks_without_foreground(root):
    masks_as(root, np.zeros((36, 36), np.uint8))
    refused(root, "all masks hold class 0 only")


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_turned_photos(root, exif):
    turned = Picture.Exif()
    turned[0x0112] = 6
    for i in range(10):
        save(root / "images" / f"{i}.jpg", grey(i), exif=turned)
        save(root / "masks" / f"{i}.png", labels(3, 36, 40) if exif == "apply" else labels())
    assert Folder(str(root), size=32, exif=exif).load()["y"].shape == (10, 32, 32)
    assert refused(root, "10 problems").count("stored turned") == 10


def test_wrong_landmarks(root):
    for i in range(12):
        save(root / "images" / f"{i}.png", grey(i))
        write_pts(root / "landmarks" / f"{i}.pts", [(1, 1), (20, 20), (30, 30)])
    write_pts(root / "landmarks" / "1.pts", [(1, 1), (20, 20)])
    (root / "landmarks" / "2.pts").write_text("1 one")
    write_pts(root / "landmarks" / "3.pts", [(1, 1), (20, 20), (41.5, 3)])
    write_pts(root / "landmarks" / "4.pts", [(9, 9)] * 3)
    (root / "landmarks" / "5.pts").unlink()
    write_pts(root / "landmarks" / "99.pts", [(1, 1)])
    refused(
        root,
        "4 problems",
        "1.pts: has 2 points, most others have 3",
        "2.pts: line 1: expected two numbers",
        "3.pts: point 2 (counted from 0) at x=41.5, y=3 (pixels counted from 1) lies outside its picture 3.png",
        "4.pts, 4.png: the errors of sample 0 have no unit",
    )
    inspection = Folder(str(root), size=32).inspect()
    assert inspection.alone["x"][1] == ["images/5.png"]
    assert inspection.unread == {"points without a picture, whose size they refer to": ["landmarks/99.pts"]}


def test_landmarks_and_eyes(root):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i))
        write_pts(root / "landmarks" / f"{i}.pts", [(3, 4)])
    refused(root, "1 problem", "holds one point")
    for i in range(10):
        write_pts(root / "landmarks" / f"{i}.pts", [(3, 4), (9, 9), (3, 4)])
    refused(root, "eyes=outer needs 68 points, found 3", eyes="outer")
    refused(root, "eyes=1,3; there are 3 points, numbered from 0 to 2", eyes="1,3")
    refused(root, "10 problems", "0.pts, 0.png: the errors of sample 0 have no unit", eyes="0,2")


def test_wrong_csv(root):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i))
    rows = [f"{i}.png,1,2,30,4" for i in range(10)]
    rows[1] = "1.png,1,2,x,4"
    rows[2] = "two.png,1,2,30,4"
    rows[3] = "3.png,1,2,30"
    rows[4] = "3.png,1,2,30,4"
    rows[5] = "5.png,1,2,nan,4"
    rows[6] = "6.png,1,2,300,4"
    write_csv(root / "landmarks.csv", rows)
    refused(
        root,
        "5 problems",
        "landmarks.csv: line 3: 1.png: expected numbers, found 'x'",
        "line 5: 3.png has 3 numbers, but the header names 4",
        "line 6: 3.png has a row already, line 5",
        "line 7: 5.png: expected finite numbers",
        "line 8: point 1 (counted from 0) at x=300, y=4 (pixels counted from 0) lies outside its picture 6.png",
    )
    notes = Folder(str(root), size=32).inspect().findings.notes
    assert any("there is no picture of that name: line 4 (two.png)" in note for note in notes)
    write_csv(root / "landmarks.csv", ["a.png,1,2,3,4", "b.png,1,2,3,4"])
    refused(root, "1 problem", "none of its rows names a picture; expected names such as 0.png")
    for text in ("", "name,x1,y1\n", "file,x1,y1,x2\n", "file;x1;y1\n", "0.png,1,2\n"):
        (root / "landmarks.csv").write_text(text)
        refused(root, "landmarks.csv: expected the header file,x1,y1,x2,y2")
    (root / "landmarks.csv").write_bytes(b"file,x1,y1\n\xff\xfe")
    refused(root, "landmarks.csv: cannot be read as CSV")


def test_wrong_side_by_side_files(root):
    side_by_side(root)
    save(root / "3.png", np.zeros((32, 63, 3), np.uint8))
    save(root / "4.png", np.zeros((64, 64, 3), np.uint8))
    save(root / "5.png", np.zeros((32, 64), np.uint8))
    refused(
        root, "3 problems", "3.png: is 63 px wide; expected an even number", "4.png: has 64×64 px", "5.png: has 1 chan"
    )


def test_ordinary_pictures_are_not_cut_in_halves(root):
    for i in range(10):
        save(root / f"{i}.png", grey(i, 64, 64))
    refused(root, "no annotation was recognised (0.png: 64×64 px", "set side_by_side=x_left")
    assert Folder(str(root), size=32, side_by_side="x_left").load()["x"].shape == (10, 1, 32, 32)


def test_two_pairs_are_one_to_train_with_and_one_to_test(root):
    masks_in(root, 2)
    for i in range(10, 15):
        save(root / "images" / f"{i}.png", grey(i))
    dataset = Folder(str(root), size=32)
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert inspection.counts == {"train": 1, "val": 0, "test": 1}
    assert dataset.default_folds() == 2
    assert len(pools_of(dataset).part("train")) == 6
    assert possible_amounts(dataset) == [
        "A benchmark cross-validates the pairs in 2 folds.",
        "No pair is left to validate with, so that the last weights are used.",
        "Possible N: 100 % (1 pair; protocol disjoint, in each fold), or 0.",
    ]


def test_a_single_pair_is_trained_on(root):
    masks_in(root, 1)
    for i in range(10, 15):
        save(root / "images" / f"{i}.png", grey(i))
    dataset = Folder(str(root), size=32)
    assert dataset.inspect().counts == {"train": 1, "val": 0, "test": 0}
    assert dataset.default_folds() is None
    assert possible_amounts(dataset) == [
        "No test sample has both x and y: nothing can be scored. The report shows translations alone.",
        "No pair is left to validate with, so that the last weights are used.",
        "Possible N: 100 % (1 pair; protocol disjoint), or 0.",
    ]


def test_a_part_with_one_pair_validates_with_none(root):
    masks_in(root / "train", 1)
    masks_in(root / "test", 3)
    dataset = Folder(str(root), size=32)
    assert dataset.inspect().counts == {"train": 1, "val": 0, "test": 3}
    assert possible_amounts(dataset)[0] == "No pair is left to validate with, so that the last weights are used."


def test_pairs_that_are_all_of_one_unit_are_refused(root):
    masks_in(root, 6)
    dataset = Folder(str(root), size=32, unit="^(.)")
    with pytest.raises(UserError, match=r"all 6 pairs are of one unit, 0, .* Look whether unit="):
        dataset.split(6, None)
    assert "all 6 pairs are of one unit" in dataset.inspect().findings.problems[0]


def test_few_pairs_take_folds_of_their_own_accord_unless_they_lie_in_parts(root):
    masks_in(root, 5)
    assert Folder(str(root), size=32).default_folds() == 5
    split = Folder(str(root), size=32).split(5, None)
    assert [len(part) for part in (split.train, split.val, split.test)] == [3, 1, 1]
    for part in ("train", "val", "test"):
        masks_in(root / "parts" / part, 3)
    assert Folder(str(root / "parts"), size=32).default_folds() is None


# Looking, caching, examples


def test_inspection(root):
    masks_in(root, 20)
    (root / "images" / "07.png").write_bytes((root / "images" / "03.png").read_bytes())
    dataset = Folder(str(root), size=32)
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert inspection.counts == {"train": 14, "val": 2, "test": 4}
    assert inspection.facts["layout"] == "images/ with masks/"
    assert inspection.facts["picture sizes"] == "40×36 (20)"
    assert inspection.facts["labels"] == "0 in 20 masks, 1 in 20 masks, 2 in 20 masks"
    assert inspection.names[3] == "images/03.png"
    assert all(np.array_equal(inspection.samples[view], array) for view, array in dataset.load().items())
    notes = "\n".join(inspection.findings.notes)
    assert "20 of 20 pictures are not square and change their proportions" in notes
    assert "The same picture 2 times: images/03.png, images/07.png." in notes


def test_inspection_of_what_is_refused(root):
    masks_in(root, 20)
    (root / "masks" / "07.png").write_bytes(b"")
    dataset = Folder(str(root), size=32)
    inspection = dataset.inspect()
    assert len(inspection.findings.problems) == 1
    assert len(inspection.samples["x"]) == 19
    assert dataset.domains["y"] == Mask(3, 32), "so that usable samples can be drawn"
    with pytest.raises(UserError, match=r"07\.png"):
        dataset.load()
    assert "no such folder" in Folder(str(root / "nowhere")).inspect().findings.problems[0]


def test_leaks_are_told(root):
    parts_in(root, train=12, test=3)
    (root / "test" / "images" / "00.png").write_bytes((root / "train" / "images" / "05.png").read_bytes())
    notes = "\n".join(Folder(str(root), size=32).inspect().findings.notes)
    assert "train/images/05.png, test/images/00.png. They lie in several parts" in notes


def test_files_are_decoded_once_and_anew_when_they_change(root, monkeypatch):
    masks_in(root, 10)
    opened = []
    monkeypatch.setattr(decoding, "read_raster", lambda *a, real=decoding.read_raster: opened.append(a) or real(*a))
    first = Folder(str(root), size=32)
    assert first.domains
    assert len(opened) == 20
    again = Folder(str(root), size=32, reconstruction="l1")
    assert again.domains["x"] == Image(1, 32, reconstruction="l1")
    assert np.array_equal(again.load()["x"], first.load()["x"])
    assert len(opened) == 20
    save(root / "masks" / "04.png", labels(5))
    os.utime(root / "masks" / "04.png", ns=(time.time_ns(), time.time_ns() + 10**9))
    assert Folder(str(root), size=32).domains["y"] == Mask(5, 32)


def test_hidden_and_other_files_do_not_matter(root):
    masks_in(root, 10)
    for name in (".DS_Store", "images/.hidden.png", "images/Thumbs.db", "masks/read.me"):
        (root / name).write_bytes(b"")
    assert len(Folder(str(root), size=32).load()["x"]) == 10


def test_the_example(tmp_path):
    first = Folder.example(tmp_path)
    arrays = first.load()
    assert arrays["x"].shape == (40, 1, 32, 32)
    assert first.domains == {"x": Image(1, 32), "y": Mask(3, 32)}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert Folder.example(tmp_path) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}, "kept"


def test_it_is_listed_and_documented():
    assert DATASETS["folder"] is Folder
    assert [o.name for o in options_of(Folder)] == [f.name for f in dataclasses.fields(Folder)]
    assert all(o.help for o in options_of(Folder))
    assert Folder.__doc__.splitlines()[0].endswith(".")


# Label maps in colours

COLOURS = {"road": (10, 20, 30), "tree": (0, 200, 0), "car": (200, 0, 0), "void": (255, 255, 255)}
TABLE = np.array(list(COLOURS.values()), np.uint8)


@pytest.fixture
def palette(tmp_path):
    return write_palette(tmp_path / "street.csv", COLOURS)


def write_palette(path, colours):
    path.write_text("".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in colours.items()))
    return str(path)


def classes_in(side, seed=0, step=5):
    """Blocks of the four colours' numbers, 3 being void."""
    blocks = np.random.default_rng(seed).integers(0, 4, (side // step + 1,) * 2)
    return np.kron(blocks, np.ones((step, step), int))[:side, :side]


def coloured(root, kind="masks", count=10, side=40, suffix=".png", step=5, **options):
    """Photos that are label maps with some noise, and the label maps."""
    for i in range(count):
        colours = TABLE[classes_in(side, i, step)]
        photo = (colours // 2 + np.random.default_rng(i).integers(0, 20, colours.shape)).astype(np.uint8)
        if kind == "sides":
            save(root / f"{i:02}{suffix}", np.concatenate([photo, colours], 1), **options)
        else:
            first, second = {"masks": ("images", "masks"), "images": ("A", "B")}[kind]
            save(root / first / f"{i:02}.png", photo)
            save(root / second / f"{i:02}{suffix}", colours, **options)
    return root


@pytest.mark.parametrize("kind", ["masks", "images", "sides"])
@pytest.mark.parametrize("size", [40, 20, 64])
def test_label_maps_in_colours(root, palette, kind, size):
    dataset = Folder(str(coloured(root, kind)), size=size, palette=palette)
    named = Palette("street", tuple(list(COLOURS.values())[:3]), ("road", "tree", "car"), ((255, 255, 255),))
    assert dataset.domains == {
        "x": Image(3, size),
        "y": LabelColours(3, size, reconstruction="l1", palette=named),
    }
    arrays = dataset.load()
    assert arrays["y"].dtype == np.uint8
    dataset.domains["y"].check(arrays["y"], "y")
    shown = np.asarray(Picture.fromarray(TABLE[classes_in(40, 4)]).resize((size, size), Picture.Resampling.NEAREST))
    assert np.array_equal(arrays["y"][4].transpose(1, 2, 0), shown)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_label_maps_of_other_modes(root, palette, mode):
    coloured(root)
    expected = Folder(str(root), size=40, palette=palette).load()["y"]
    for path in (root / "masks").iterdir():
        picture = Picture.open(path)
        # Cityscapes' colour maps have a fourth channel; of a palette PNG the shown colours count, not the indices.
        save(path, picture.convert("RGBA") if mode == "RGBA" else picture.quantize(8, dither=Picture.Dither.NONE))
    assert Picture.open(root / "masks" / "03.png").mode == mode
    assert np.array_equal(Folder(str(root), size=40, palette=palette).load()["y"], expected)


def test_void_stays_void_and_is_not_scored(root, palette):
    dataset = Folder(str(coloured(root)), size=40, palette=palette)
    domain = dataset.domains["y"]
    y = domain.unpack(domain.views(dataset.load()["y"]))
    labels = np.stack([classes_in(40, i) for i in range(10)])
    assert np.array_equal(domain.to_labels(y).numpy(), np.where(labels == 3, IGNORED, labels))
    # Right where there is a class; pixels without a class are not counted, whatever the prediction.
    prediction = torch.where(torch.from_numpy(labels == 3)[:, None], torch.rand(10, 3, 40, 40), y)
    metrics = domain.metrics()
    for metric in metrics:
        metric.update(*domain.comparable(prediction, y), torch.arange(10))
        assert metric.compute() == 1
    assert [metric.name for metric in metrics] == ["accuracy", "class_accuracy", "miou"]


def test_several_colours_of_void_become_one(root, tmp_path):
    coloured(root)
    palette = write_palette(
        tmp_path / "p.csv", {"road": TABLE[0], "tree": TABLE[1], "void": TABLE[2], "void 2": TABLE[3]}
    )
    y = Folder(str(root), size=40, palette=palette).load()["y"]
    labels = classes_in(40, 0)
    assert np.array_equal(y[0].transpose(1, 2, 0), TABLE[np.where(labels == 3, 2, labels)])


def test_colours_that_are_not_in_the_palette(root, palette):
    coloured(root)
    colours = TABLE[classes_in(40, 3)]
    colours[:2] = (0, 190, 10)
    colours[5, 5] = (1, 2, 3)
    save(root / "masks" / "03.png", colours)
    save(root / "masks" / "05.png", TABLE[classes_in(40, 5)], "L")
    text = refused(
        root,
        "2 problems",
        "masks/03.png: 5.1 % of its pixels have a colour that is not in the palette street: (0, 190, 10) (of 2 such",
        "nearest to tree",
        "masks/05.png: ",
        "It is grey: if its values are class numbers, leave palette out.",
        palette=palette,
    )
    inspection = Folder(str(root), size=32, palette=palette).inspect()
    assert [problem in text for problem in inspection.findings.problems] == [True] * 2
    assert len(inspection.samples["y"]) == 8


def test_smoothed_label_maps_are_refused_under_any_name(root, palette):
    """A WebP with loss, or a map that was resized smoothly, would get wrong classes at all edges."""
    coloured(root, "images", suffix=".webp", quality=50)
    assert refused(root, "10 problems", palette=palette).count("must not be smoothed") == 10


@pytest.mark.parametrize("kind", ["masks", "images", "sides"])
def test_label_maps_saved_as_jpeg(root, palette, kind):
    coloured(root, kind, suffix=".jpg", side=64, step=16, quality=90)
    dataset = Folder(str(root), size=64, palette=palette)
    y = dataset.load()["y"]
    dataset.domains["y"].check(y, "y")
    true = np.stack([TABLE[classes_in(64, i, 16)] for i in range(10)]).transpose(0, 3, 1, 2)
    assert (y == true).all(1).mean() > 0.95
    notes = [note for note in dataset.inspect().findings.notes if "JPEG" in note]
    assert len(notes) == 1
    share = re.fullmatch(r"10 label maps are JPEG: compression blurs .* that (\d+\.\d) % of .* use PNG\.", notes[0])
    assert 1 < float(share[1]) < 25


def test_a_jpeg_that_is_called_png(root, palette):
    coloured(root)
    save(root / "masks" / "03.png", TABLE[classes_in(40, 3)], format="JPEG")
    notes = Folder(str(root), size=40, palette=palette).inspect().findings.notes
    assert sum(note.startswith("1 label maps are JPEG") for note in notes) == 1
    masks_in(root, 10)
    save(root / "masks" / "03.png", labels(), format="JPEG")
    refused(root, "1 of 10 masks are JPEG, whatever their names say (03.png)")


def test_photos_taken_for_label_maps(root, palette):
    coloured(root, "sides", suffix=".jpg", side=64, step=16)
    refused(root, "1 problem", "10 label maps that are JPEG", "as in photos", palette=palette, side_by_side="x_right")


def test_padded_label_maps(root, palette, tmp_path):
    for i in range(10):
        save(root / "A" / f"{i}.png", grey(i))
        save(root / "B" / f"{i}.png", TABLE[np.full((20, 40), 1)])
    dataset = Folder(str(root), size=40, palette=palette, fit="pad")
    domain = dataset.domains["y"]
    seen = domain.to_labels(domain.unpack(domain.views(dataset.load()["y"])))
    assert (seen[:, 10:30] == 1).all()
    assert (seen[:, :10] == IGNORED).all()
    bare = write_palette(tmp_path / "bare.csv", {"road": TABLE[0], "tree": TABLE[1]})
    refused(root, "1 problem", "fit=pad adds pixels that have no class, but the palette bare", palette=bare, fit="pad")


def test_inspection_of_label_maps(root, tmp_path):
    palette = write_palette(tmp_path / "street.csv", {**COLOURS, "lamp": (9, 9, 9)})
    for i in range(10):
        save(root / f"{i}.png", TABLE[np.repeat([[0, 0, 0, 0, 0, 1, 2, 3]], 4, 0)])
    inspection = Folder(str(root), size=16, palette=palette).inspect()
    assert inspection.findings.problems == []
    assert inspection.facts["share of pixels"] == "road 25.0 %, tree 25.0 %, car 25.0 %, void 25.0 %"
    assert "Classes that never occur: lamp; means over classes follow absent=zero." in inspection.findings.notes


def test_label_maps_without_any_class(root, palette):
    for i in range(10):
        save(root / f"{i}.png", TABLE[np.full((8, 16), 3)])
    refused(root, "1 problem", "all label maps are void", palette=palette)


def test_a_changed_palette_is_read(root, palette, tmp_path):
    coloured(root)
    assert Folder(str(root), size=40, palette=palette).load()
    write_palette(tmp_path / "street.csv", {k: v for k, v in COLOURS.items() if k != "tree"})
    refused(root, "10 problems", "not in the palette street: (0, 200, 0)", palette=palette)


def test_palettes_by_name(root):
    for i in range(10):
        save(root / f"{i}.png", np.array(FACADES.colours, np.uint8)[np.arange(12).reshape(1, 12).repeat(6, 0)])
    domains = Folder(str(root), size=16, palette="facades", absent="ignore").domains
    assert domains["y"] == LabelColours(3, 16, reconstruction="l1", palette=FACADES, absent="ignore")
    refused(root, "not in the palette cityscapes", palette="cityscapes")
    refused(root, "palette=nothing.csv: no such file", "name,r,g,b", "cityscapes, facades", palette="nothing.csv")
    assert "palette=nothing.csv" in Folder(str(root), palette="nothing.csv").inspect().findings.problems[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"palette": "facades", "classes": 3}, "classes=3 and palette=facades"),
        ({"segmenter": "model.pt"}, r"segmenter=model\.pt applies only to label maps in colours"),
        ({"absent": "ignore"}, "absent=ignore applies only to label maps"),
        ({"absent": "skip", "palette": "facades"}, "absent=skip.*zero, ignore"),
        ({"direction": "both"}, "direction=both.*x_to_y, y_to_x"),
    ],
)
def test_options_of_label_maps_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        Folder("somewhere", **options)


def test_a_palette_where_there_are_no_pictures(root, palette):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i))
        write_pts(root / "landmarks" / f"{i}.pts", [(3, 4), (9, 9)])
    refused(root, "1 problem", "does not apply to images/ with landmarks/", palette=palette)
    dataset = Folder(str(root), size=32, palette=palette)
    assert len(dataset.inspect().findings.problems) == 1
    assert dataset.domains["y"] == Landmarks(2, None, proportions=True), "what is there can be drawn"


# Directions


def test_directions(root, palette, monkeypatch):
    coloured(root, "sides")
    there = Folder(str(root), size=40, palette=palette)
    assert (there.source, there.target, there.photo) == ("x", "y", "x")
    arrays, split = there.load(), there.split(10, 3)
    monkeypatch.setattr(decoding, "read_raster", lambda *_: pytest.fail("it is in the cache"))
    back = Folder(str(root), size=40, palette=palette, direction="y_to_x")
    assert (back.source, back.target, back.photo) == ("y", "x", "x")
    assert back.domains == there.domains
    assert all(np.array_equal(back.load()[view], array) for view, array in arrays.items())
    assert all(
        np.array_equal(getattr(back.split(10, 3), part), getattr(split, part)) for part in ("train", "val", "test")
    )


def test_any_folder_can_be_turned(root):
    masks_in(root)
    dataset = Folder(str(root), size=32, direction="y_to_x")
    assert (dataset.source, dataset.target) == ("y", "x")
    assert dataset.domains == {"x": Image(1, 32), "y": Mask(3, 32)}
    assert truth_of(dataset, "x", np.array([0])) is None


class Sees(torch.nn.Module):
    """Returns the class whose halved colour is nearest: the photos of `coloured` are made of halved colours."""

    def __init__(self):
        super().__init__()
        colours = torch.tensor(TABLE[:3] / 510, dtype=torch.float32)
        mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.layer = torch.nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.layer.weight.copy_((2 * colours * sd)[..., None, None])
            self.layer.bias.copy_(2 * colours @ mean - colours.square().sum(1))

    def forward(self, x):
        return self.layer(x)


@pytest.fixture
def segmenter(tmp_path):
    path = tmp_path / "sees.pt"
    torch.jit.script(Sees()).save(str(path))
    return str(path)


def test_photos_that_a_segmenter_judges(root, palette, segmenter):
    coloured(root, "sides")
    dataset = Folder(str(root), size=40, palette=palette, segmenter=segmenter, direction="y_to_x", absent="ignore")
    seen = Segmenter.named(segmenter, 3)
    domain = dataset.domains["x"]
    assert domain == SegmentedPhoto(3, 40, segmenter=seen, absent="ignore")
    indices = np.array([7, 2, 3])
    truth = truth_of(dataset, "x", indices)
    labels = np.stack([classes_in(40, i) for i in indices])
    assert truth.dtype == np.uint8
    assert np.array_equal(truth, np.where(labels == 3, 255, labels))
    assert truth_of(dataset, "y", indices) is None
    photos = domain.unpack(domain.views(dataset.load()["x"][indices]))
    for metric in domain.metrics():
        metric.update(*domain.comparable(photos, torch.from_numpy(truth)), torch.from_numpy(indices))
        assert metric.compute() == 1
    without = Folder(str(root), size=40, palette=palette, direction="y_to_x")
    assert without.domains["x"] == Image(3, 40)
    assert truth_of(without, "x", indices) is None


def test_segmenters_that_cannot_be_used(root, palette, segmenter):
    coloured(root, "sides")
    refused(root, "segmenter nowhere.pt", "cannot be read", palette=palette, segmenter="nowhere.pt")
    refused(root, "1 problem", "1 channel. Give channels=3", palette=palette, segmenter=segmenter, channels=1)


# Real data


def real(*place, **options):
    if not REAL_DATA:
        pytest.skip("LSMBENCH_DATA is not set")
    path = os.path.join(REAL_DATA, *place)
    if not os.path.isdir(path):
        pytest.skip(f"{path} is missing")
    return Folder(path, **options)


@pytest.mark.real_data
def test_chest_radiographs():
    dataset = real("chest_xray", "montgomery", size=64)
    assert dataset.domains == {"x": Image(1, 64), "y": Mask(2, 64)}
    arrays = dataset.load()
    assert arrays["x"].shape == (138, 1, 64, 64)
    y = torch.from_numpy(np.array(arrays["y"]))
    assert 0.2 < y.float().mean() < 0.35, "lungs"
    assert arrays["x"][:, 0][arrays["y"] == 1].mean() < arrays["x"][:, 0][arrays["y"] == 0].mean() + 20
    split = dataset.split(138, None)
    constant = Mask(2, 64).constant(y[split.train]).expand(len(split.test), -1, -1)
    assert 0.5 < ForegroundIoU(2).score(constant, y[split.test]).mean() < 0.85
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert sum(inspection.counts.values()) == 138


@pytest.mark.real_data
def test_facades():
    dataset = real("facades", size=32)
    assert dataset.domains == {"x": Image(3, 32), "y": Image(3, 32)}
    arrays = dataset.load()
    split = dataset.split(len(arrays["x"]), None)
    assert (len(split.train), len(split.val), len(split.test)) == (350, 50, 106)
    blue = arrays["y"][:, 2].mean() - arrays["y"][:, 0].mean()
    assert blue > 40, "the labels' ground is blue; they are on the right"
    assert abs(arrays["x"][:, 2].mean() - arrays["x"][:, 0].mean()) < 40
