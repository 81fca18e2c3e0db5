import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.data.module import DataModule
from lsmbench.data.supervision import SupervisionConfig
from lsmbench.datasets.facades import Facades
from lsmbench.domains import Image, LabelColours, SegmentedPhoto
from lsmbench.errors import UserError
from lsmbench.options import options_of
from lsmbench.palettes import FACADES
from tests.conftest import truth_of

REAL_DATA = os.environ.get("LSMBENCH_DATA")
WHERE = r"efrosgans\.eecs\.berkeley\.edu/pix2pix/datasets/"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels).save(path, **options)


def pair(seed, side=64):
    """A photo of grey blocks and, on its right, their classes in colours."""
    labels = np.kron(np.random.default_rng(seed).integers(0, 12, (2, 2)), np.ones((side // 2,) * 2, int))
    photo = np.repeat(20 * labels[..., None], 3, -1).astype(np.uint8)
    return np.concatenate([photo, np.array(FACADES.colours, np.uint8)[labels]], 1), labels


def as_distributed(root, train=16, val=4, test=4, **options):
    for part, count, offset in (("train", train, 0), ("val", val, 100), ("test", test, 200)):
        for i in range(count):
            save(root / part / f"{i + 1}.jpg", pair(offset + i)[0], quality=95, **options)
    return root


def test_the_example(tmp_path):
    dataset = Facades.example(tmp_path)
    arrays = dataset.load()
    assert {view: (array.shape, array.dtype) for view, array in arrays.items()} == {
        "x": ((40, 3, 32, 32), np.uint8),
        "y": ((40, 3, 32, 32), np.uint8),
    }
    split = dataset.split(40, None)
    assert (len(split.train), len(split.val), len(split.test)) == (28, 4, 8)
    domain = dataset.domains["y"]
    domain.check(arrays["y"], "y")
    labels = domain.to_labels(domain.unpack(domain.views(arrays["y"])))
    assert len(labels.unique()) == 12, "every class occurs"
    # The photo shows the classes: their mean colours differ in any light.
    means = [arrays["x"].transpose(0, 2, 3, 1)[labels.numpy() == c].mean(0) for c in (0, 1, 2, 3, 11)]
    assert min(np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]) > 20
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert Facades.example(tmp_path) == dataset
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}, "kept"


def test_a_perfect_prediction(tmp_path):
    dataset = Facades.example(tmp_path)
    data = DataModule(dataset, SupervisionConfig())
    batch = next(iter(data.test_dataloader()))
    domain = dataset.domains["y"]
    for metric in domain.metrics():
        metric.update(*domain.comparable(batch["y"], batch["y"]), batch["index"])
        assert metric.compute() == 1
    constant = domain.constant(domain.unpack(data.compact("y", data.train)))
    accuracy = domain.metrics()[0]
    accuracy.update(*domain.comparable(constant.expand_as(batch["y"]), batch["y"]), batch["index"])
    assert 0.3 < accuracy.compute() < 0.9


@pytest.mark.parametrize("size", [64, 128, 256])
def test_domains_are_known_without_files(size):
    assert Facades(size=size).domains == {
        "x": Image(3, size, reconstruction="l1"),
        "y": LabelColours(3, size, reconstruction="l1", palette=FACADES),
    }
    assert Facades().size == 256
    assert Facades(absent="ignore").domains["y"].absent == "ignore"


def test_as_distributed(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_DATA", str(tmp_path))
    as_distributed(tmp_path / "facades")
    dataset = Facades(size=64)
    arrays = dataset.load()
    split = dataset.split(24, None)
    assert [part.tolist() for part in (split.train, np.sort(split.val), split.test)] == [
        list(range(16)),
        list(range(16, 20)),
        list(range(20, 24)),
    ]
    _, true = pair(200)
    y = arrays["y"][20].transpose(1, 2, 0)
    assert (y == np.array(FACADES.colours)[true]).all(-1).mean() > 0.95
    assert np.abs(arrays["x"][20, 0] - 20.0 * true).mean() < 5
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert inspection.counts == {"train": 16, "val": 4, "test": 4}
    assert sum("24 label maps are JPEG" in note for note in inspection.findings.notes) == 1
    turned = Facades(size=64, direction="y_to_x")
    assert (turned.source, turned.target, turned.photo) == ("y", "x", "x")


def test_the_label_map_on_the_left(tmp_path):
    as_distributed(tmp_path)
    with pytest.raises(UserError, match=r"24 label maps that are JPEG 100\.0 %.*as in photos"):
        Facades(str(tmp_path), size=64, side_by_side="x_right").load()


def test_a_segmenter_judges_photos(tmp_path):
    dataset = Facades.example(tmp_path / "data")
    torch.jit.script(torch.nn.Conv2d(3, 12, 1)).save(str(tmp_path / "net.pt"))
    judged = Facades(dataset.root, size=32, segmenter=str(tmp_path / "net.pt"), direction="y_to_x")
    domain = judged.domains["x"]
    assert isinstance(domain, SegmentedPhoto)
    assert domain.segmenter.classes == 12
    truth = truth_of(judged, "x", np.array([3, 1]))
    colours = np.array(FACADES.colours)[truth].transpose(0, 3, 1, 2)
    assert np.array_equal(colours, judged.load()["y"][[3, 1]])
    assert truth_of(dataset, "x", np.array([3, 1])) is None
    with pytest.raises(UserError, match=r"segmenter gone\.pt"):
        Facades(dataset.root, size=32, segmenter="gone.pt").load()


def test_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=f"dataset facades: LSMBENCH_DATA.* is not set.*tylecr1/facade.*{WHERE}"):
        Facades().load()
    monkeypatch.setenv("LSMBENCH_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"{tmp_path / 'facades'}: expected a folder, found no such folder.*{WHERE}"):
        Facades().load()
    with pytest.raises(UserError, match=f"root=nowhere: expected a folder, found no such folder.*{WHERE}"):
        Facades("nowhere").load()
    assert "nowhere" in Facades("nowhere").inspect().findings.problems[0]


def test_it_is_something_else(tmp_path):
    (tmp_path / "base").mkdir()
    with pytest.raises(UserError, match=f"expected the folders train/ and test/ or val/; found base/.*{WHERE}"):
        Facades(str(tmp_path)).load()
    as_distributed(tmp_path)
    shutil.rmtree(tmp_path / "val")
    save(tmp_path / "train" / "3.jpg", pair(0)[0][:, :64])
    with pytest.raises(UserError, match=r"1 problem.*\n.*3\.jpg: has 64×64 px; expected the photo and its counterpart"):
        Facades(str(tmp_path)).load()
    for part in ("train", "test"):
        shutil.rmtree(tmp_path / part)
        for name in ("A", "B"):
            save(tmp_path / part / name / "1.png", pair(0)[0])
    with pytest.raises(UserError, match=f"holds A/ with B/; expected pictures that show both views side.*{WHERE}"):
        Facades(str(tmp_path)).load()


def test_options():
    names = [o.name for o in options_of(Facades)]
    assert names == ["root", "size", "direction", "side_by_side", "segmenter", "absent"]
    assert all(o.help for o in options_of(Facades))
    with pytest.raises(UserError, match=r"side_by_side=auto.*x_left, x_right"):
        Facades(side_by_side="auto")
    with pytest.raises(UserError, match="size=30"):
        Facades(size=30)


@pytest.mark.real_data
def test_real_facades():
    if not REAL_DATA or not os.path.isdir(os.path.join(REAL_DATA, "facades")):
        pytest.skip("LSMBENCH_DATA/facades is missing")
    dataset = Facades(size=64)
    arrays = dataset.load()
    labels = FACADES.decode(torch.from_numpy(np.array(arrays["y"])))
    split = dataset.split(len(labels), None)
    assert (len(split.train) + len(split.val), len(split.test)) in ((400, 106), (500, 106))
    shares = torch.bincount(labels.flatten(), minlength=12) / labels.numel()
    assert (shares > 0).all()
    assert shares[1] > shares[0] > shares[2] > 0.05, "facade, background, windows"
