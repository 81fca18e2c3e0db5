import os

import numpy as np
import pytest
from PIL import Image as Picture

from lsmbench.data.module import DataModule
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets.maps import Maps
from lsmbench.domains import Image, MapImage
from lsmbench.errors import UserError
from lsmbench.options import options_of
from tests.conftest import truth_of

WHERE = r"efrosgans\.eecs\.berkeley\.edu/pix2pix/datasets/"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


def as_distributed(root, train=16, val=6, test=0):
    """JPEGs twice as wide as high; the photo is dark, with a grey value by its part; the map is light."""
    for part, count, grey in (("train", train, 20), ("val", val, 60), ("test", test, 100)):
        for i in range(count):
            pixels = np.full((60, 120, 3), grey + i, np.uint8)
            pixels[:, 60:] = (242, 239, 233)
            pixels[30:, 60:] = (170, 218, 255)
            (root / part).mkdir(parents=True, exist_ok=True)
            Picture.fromarray(pixels).save(root / part / f"{i + 1}.jpg", quality=95)
    return root


def shown(dataset, seed=None):
    """The parts' grey values, by the samples' folder: from 20 on in train/, from 60 on in val/ …"""
    x = dataset.load()["x"].mean((1, 2, 3)).round().astype(int)
    split = dataset.split(len(x), seed)
    return [sorted(x[getattr(split, part)].tolist()) for part in ("train", "val", "test")]


def test_the_example(tmp_path):
    dataset = Maps.example(tmp_path)
    arrays = dataset.load()
    assert {view: (array.shape, array.dtype) for view, array in arrays.items()} == {
        "x": ((40, 3, 32, 32), np.uint8),
        "y": ((40, 3, 32, 32), np.uint8),
    }
    split = dataset.split(40, None)
    assert (len(split.train), len(split.val), len(split.test)) == (28, 4, 8)
    assert len(np.unique(arrays["y"].transpose(0, 2, 3, 1).reshape(-1, 3), axis=0)) == 5
    assert dataset.inspect().findings.problems == []
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert Maps.example(tmp_path) == dataset
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}, "kept"


def test_a_perfect_prediction(tmp_path):
    dataset = Maps.example(tmp_path)
    data = DataModule(dataset, SupervisionConfig())
    batch = next(iter(data.test_dataloader()))
    domain = dataset.domains["y"]
    accuracy = domain.metrics()[0]
    accuracy.update(*domain.comparable(batch["y"], batch["y"]), batch["index"])
    assert (accuracy.name, accuracy.compute()) == ("accuracy", 1)
    constant = domain.constant(data.compact("y", data.train))
    accuracy = domain.metrics()[0]
    accuracy.update(*domain.comparable(constant.expand_as(batch["y"]), batch["y"]), batch["index"])
    assert 0.3 < accuracy.compute() < 0.9


@pytest.mark.parametrize("size", [64, 256])
def test_domains_are_known_without_files(size):
    assert Maps(size=size).domains == {
        "x": Image(3, size, reconstruction="l1"),
        "y": MapImage(3, size, reconstruction="l1"),
    }
    assert Maps().size == 256


def test_as_distributed(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_DATA", str(tmp_path))
    as_distributed(tmp_path / "maps")
    dataset = Maps(size=32)
    train, val, test = shown(dataset)
    assert (len(train), len(val)) == (14, 2)
    assert sorted(train + val) == list(range(20, 36))
    assert test == list(range(60, 66)), "val/ is tested on"
    assert shown(dataset, 5)[2] == test
    y = dataset.load()["y"]
    assert np.abs(y[:, :, :12].mean((0, 2, 3)) - (242, 239, 233)).max() < 4
    assert np.abs(y[:, :, 20:].mean((0, 2, 3)) - (170, 218, 255)).max() < 4
    inspection = dataset.inspect()
    assert inspection.counts == {"train": 14, "val": 2, "test": 6}
    assert inspection.findings.problems == []
    assert "val/ is the test part" in " ".join(inspection.findings.notes)
    turned = Maps(size=32, direction="y_to_x")
    assert (turned.source, turned.target, turned.photo) == ("y", "x", "x")
    assert truth_of(turned, "x", np.array([0])) is None
    assert shown(turned) == [train, val, test]


def test_a_test_part_of_its_own(tmp_path):
    as_distributed(tmp_path, test=3)
    train, val, test = shown(Maps(str(tmp_path), size=32))
    assert (len(train), val, test) == (16, list(range(60, 66)), [100, 101, 102])


def test_the_map_on_the_left(tmp_path):
    as_distributed(tmp_path)
    arrays = Maps(str(tmp_path), size=32).load()
    turned = Maps(str(tmp_path), size=32, side_by_side="x_right").load()
    assert np.array_equal(turned["x"], arrays["y"])
    assert np.array_equal(turned["y"], arrays["x"])


def test_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=f"dataset maps: LSMBENCH_DATA.* is not set.*maps.tar.gz.*{WHERE}"):
        Maps().load()
    monkeypatch.setenv("LSMBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"{tmp_path / 'maps'}: expected a folder, found no such folder.*{WHERE}"):
        Maps().load()
    for name in ("trainA", "trainB"):  # CycleGAN's form of the set
        (tmp_path / "maps" / name).mkdir(parents=True)
    with pytest.raises(
        UserError, match=f"expected the folders train/ and test/ or val/; found trainA/, trainB/.*{WHERE}"
    ):
        Maps().load()


def test_all_mistakes_are_named(tmp_path):
    as_distributed(tmp_path)
    (tmp_path / "train" / "2.jpg").write_bytes(b"no picture")
    Picture.new("RGB", (121, 60)).save(tmp_path / "train" / "3.jpg")
    Picture.new("RGB", (60, 60)).save(tmp_path / "val" / "4.jpg")
    with pytest.raises(UserError) as caught:
        Maps(str(tmp_path), size=32).load()
    text = str(caught.value)
    for problem in ("3 problems", "2.jpg: cannot be read", "3.jpg: is 121 px wide", "4.jpg: has 60×60 px"):
        assert problem in text
    assert len(Maps(str(tmp_path), size=32).inspect().findings.problems) == 3


def test_options():
    assert [o.name for o in options_of(Maps)] == ["root", "size", "direction", "side_by_side"]
    assert all(o.help for o in options_of(Maps))


@pytest.mark.real_data
def test_real_maps():
    root = os.environ.get("LSMBENCH_DATA")
    if not root or not os.path.isdir(os.path.join(root, "maps")):
        pytest.skip("LSMBENCH_DATA/maps is missing")
    dataset = Maps(size=64)
    split = dataset.split(len(dataset.load()["x"]), None)
    assert (len(split.train) + len(split.val), len(split.test)) == (1096, 1098)
