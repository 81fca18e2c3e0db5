from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import nn

from lsmbench.datasets import streets
from lsmbench.datasets.cityscapes import Cityscapes
from lsmbench.datasets.streets import IDS
from lsmbench.domains import Image, LabelColours, SegmentedPhoto
from lsmbench.errors import UserError
from lsmbench.palettes import CITYSCAPES
from tests.conftest import fingerprint, truth_of

FIRST = "aachen_000000_000019"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LSMBENCH_DATA", str(root))
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))
    return root


@pytest.fixture
def root(data: Path) -> Path:
    """28 scenes in train, 8 in val."""
    Cityscapes.example(data / "cityscapes")
    return data / "cityscapes"


def labels_of(root: Path, stem: str = FIRST, kind: str = "labelIds") -> Path:
    city = stem.split("_")[0]
    part = "val" if city in ("lindau", "munster") else "train"
    return root / "gtFine" / part / city / f"{stem}_gtFine_{kind}.png"


def photo_of(root: Path, stem: str = FIRST) -> Path:
    part = labels_of(root, stem).parent.parent.name
    return root / "leftImg8bit" / part / stem.split("_")[0] / f"{stem}_leftImg8bit.png"


def save(array: object, path: Path) -> None:
    Picture.fromarray(np.asarray(array, np.uint8)).save(path)


def read(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.array(picture)


def refused(match: str, **options: object) -> str:
    dataset = Cityscapes(**{"size": 32, **options})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=match) as caught:
        dataset.load()
    message = str(caught.value)
    problems = dataset.inspect().findings.problems
    assert problems
    assert all(problem in message for problem in problems), "inspect says the same"
    return message


# What is read


def test_contents(root: Path) -> None:
    dataset = Cityscapes(size=32)
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((36, 3, 32, 32), np.uint8),
        "y": ((36, 3, 32, 32), np.uint8),
    }
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    names = dataset.inspect().names
    assert names[:2] == [f"train/aachen/{FIRST}", "train/aachen/aachen_000001_000019"]
    assert names[14] == "train/ulm/ulm_000000_000019"
    assert names[-1] == "val/munster/munster_000003_000019"
    small = Picture.fromarray(IDS.classes[read(labels_of(root))]).resize((32, 32), Picture.Resampling.NEAREST)
    assert np.array_equal(CITYSCAPES.encode(np.asarray(small)), arrays["y"][0])
    assert Cityscapes().size == 256


def test_the_example_is_the_same_every_time(root: Path, tmp_path: Path) -> None:
    first, second = Cityscapes.example(root), Cityscapes.example(tmp_path / "b")
    assert first == Cityscapes(root=str(root), size=32, scoring="full")
    assert fingerprint(first) == fingerprint(second)
    labels_of(root).unlink()
    Cityscapes.example(root)
    assert not labels_of(root).exists(), "files that are there are kept"


def test_split(root: Path) -> None:
    dataset = Cityscapes(size=32)
    split = dataset.split(36, None)
    assert sorted(split.train.tolist() + split.val.tolist()) == list(range(28))
    assert len(split.val) == 3
    assert split.test.tolist() == list(range(28, 36))
    assert split.train.tolist() != sorted(split.train.tolist())
    same, other = dataset.split(36, 0), dataset.split(36, 1)
    assert same.val.tolist() == split.val.tolist()
    assert other.val.tolist() != split.val.tolist()
    assert other.test.tolist() == split.test.tolist()
    assert dataset.inspect().counts == {"train": 25, "val": 3, "test": 8}


def test_facts(root: Path) -> None:
    inspection = Cityscapes(size=32).inspect()
    assert inspection.findings.problems == []
    assert inspection.facts["sizes of the label maps"] == "48×24 px (36)"
    assert inspection.facts["share of all pixels"].startswith("road ")
    pixels = np.concatenate([IDS.classes[read(p)].ravel() for p in sorted(root.glob("gtFine/*/*/*_labelIds.png"))])
    assert inspection.facts["share of void"] == f"{(pixels == 255).mean():.1%}"
    assert f"road {(pixels == 0).mean():.1%}" in inspection.facts["share of all pixels"]
    assert "truck" in inspection.facts["classes that never occur"]
    assert any("not of 2048×1024 px" in note for note in inspection.findings.notes)
    assert Cityscapes(size=32, scoring="network").inspect().findings.notes == []


def test_train_ids_where_label_ids_are_missing(root: Path) -> None:
    wanted = Cityscapes(size=32).load()["y"]
    save(IDS.classes[read(labels_of(root))], labels_of(root, kind="labelTrainIds"))
    ulm = "ulm_000003_000019"
    save(np.zeros((24, 48)), labels_of(root, ulm, kind="labelTrainIds"))  # label ids come first
    labels_of(root).unlink()
    dataset = Cityscapes(size=32)
    assert np.array_equal(dataset.load()["y"], wanted)
    truth = truth_of(dataset, "y", np.array([0]))
    assert truth is not None
    assert np.array_equal(truth[0], read(labels_of(root, kind="labelTrainIds")))
    assert f"1 without labelIds, read from labelTrainIds: train/aachen/{FIRST}." in dataset.inspect().findings.notes


# What predictions are compared with


def test_full_truth_and_perfect_predictions(root: Path) -> None:
    dataset = Cityscapes(size=32)
    indices = np.array([30, 2, 0])
    truth = truth_of(dataset, "y", indices)
    assert truth is not None
    assert (truth.shape, truth.dtype) == ((3, 24, 48), np.uint8)
    assert np.array_equal(truth[2], IDS.classes[read(labels_of(root))])
    domain = dataset.domains["y"]
    prediction = domain.unpack(torch.from_numpy(CITYSCAPES.encode(truth)))
    # Void is black, and black is nearest to truck; it is never counted.
    assert 255 in truth
    predicted, true = domain.comparable(prediction, torch.from_numpy(truth))
    assert CITYSCAPES.names[int(predicted[true == 255][0])] == "truck"
    for metric in LabelColours(3, 32, palette=CITYSCAPES, absent="ignore").metrics():
        metric.update(predicted, true, torch.from_numpy(indices))
        assert metric.pooled() == 1.0
    small = domain.unpack(torch.from_numpy(np.array(dataset.load()["y"][indices])))
    predicted, true = domain.comparable(small, torch.from_numpy(truth))
    assert predicted.shape == true.shape == (3, 24, 48)


def test_void_stays_void(root: Path) -> None:
    for path in root.glob("gtFine/*/*/*_labelIds.png"):
        ids = read(path)
        ids[:, :24] = 29  # a caravan's colour is near to that of trucks
        save(ids, path)
    dataset = Cityscapes(size=32, scoring="network")
    y = torch.from_numpy(np.array(dataset.load()["y"]))
    assert (y[..., :16] == 0).all()
    labels = CITYSCAPES.decode(y, void=True)
    assert (labels[..., :16] == 255).all()
    assert CITYSCAPES.names.index("truck") not in labels
    assert truth_of(dataset, "y", np.array([0])) is None, "the view itself"


def test_label_maps_of_two_sizes(root: Path) -> None:
    save(np.full((20, 48), 7), labels_of(root))
    save(np.zeros((20, 48, 3)), photo_of(root))
    dataset = Cityscapes(size=32)
    dataset.load()
    with pytest.raises(UserError, match=r"is of 48×24 px, but .* of 48×20 px.*scoring=network"):
        truth_of(dataset, "y", np.array([0, 1]))


class Nearest(nn.Module):
    """Logits by the distance to the classes' colours; undoes the normalisation that segmenters get."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.tensor(CITYSCAPES.colours) / 255.0)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("sd", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        rgb = photos * self.sd + self.mean
        return -(rgb[:, None] - self.colours[None, :, :, None, None]).square().sum(2)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():  # torch warns that TorchScript is deprecated
        warnings.simplefilter("ignore")
        torch.jit.trace(Nearest(), torch.zeros(1, 3, 8, 8)).save(str(path))
    return str(path)


def test_directions(root: Path) -> None:
    forth, back = Cityscapes(size=32), Cityscapes(size=32, direction="y_to_x")
    assert (forth.source, forth.target) == ("x", "y")
    assert (back.source, back.target) == ("y", "x")
    assert forth.photo == back.photo == "x"
    expected = {
        "x": Image(3, 32, reconstruction="l1"),
        "y": LabelColours(3, 32, reconstruction="l1", palette=CITYSCAPES),
    }
    assert forth.domains == back.domains == expected
    assert type(back.domains["x"]) is Image
    assert [m.name for m in back.domains["x"].metrics()] == ["mse", "l1"]
    assert truth_of(back, "x", np.array([0])) is None
    assert truth_of(back, "y", np.array([0])) is not None
    mse = Cityscapes(size=32, reconstruction="mse", absent="ignore").domains
    assert mse == {"x": Image(3, 32), "y": LabelColours(3, 32, palette=CITYSCAPES, absent="ignore")}


@pytest.mark.parametrize("scoring", ["full", "network"])
def test_photos_judged_by_a_segmenter(scoring: str, root: Path, model: str) -> None:
    dataset = Cityscapes(size=32, direction="y_to_x", segmenter=model, scoring=scoring)  # type: ignore[arg-type]
    domain = dataset.domains["x"]
    assert isinstance(domain, SegmentedPhoto)
    assert (domain.segmenter.classes, domain.absent, domain.reconstruction) == (19, "zero", "l1")
    indices = np.array([3, 29])
    truth = truth_of(dataset, "x", indices)
    assert truth is not None
    side = (24, 48) if scoring == "full" else (32, 32)
    assert (truth.shape, truth.dtype) == ((2, *side), np.uint8)
    assert 255 in truth
    colours = torch.from_numpy(CITYSCAPES.encode(truth)).float() / 255
    seen, true = domain.comparable(colours, torch.from_numpy(truth))
    accuracy = domain.metrics()[0]
    accuracy.update(seen, true, torch.from_numpy(indices))
    assert accuracy.pooled() == 1.0
    photos = torch.from_numpy(np.array(dataset.load()["x"][indices])).float() / 255
    seen, true = domain.comparable(photos, torch.from_numpy(truth))
    accuracy = domain.metrics()[0]
    accuracy.update(seen, true, torch.from_numpy(indices))
    assert 0.5 < (accuracy.pooled() or 0) < 1.0


def test_segmenters_that_cannot_be_used(tmp_path: Path, model: str) -> None:
    with pytest.raises(UserError, match="judges generated photos, but direction=x_to_y"):
        Cityscapes(segmenter=model)
    with pytest.raises(UserError, match=r"nowhere\.pt cannot be read"):
        _ = Cityscapes(direction="y_to_x", segmenter=str(tmp_path / "nowhere.pt")).domains
    with pytest.raises(UserError, match="scoring=half; expected one of: full, network"):
        Cityscapes(scoring="half")  # type: ignore[arg-type]


# What is refused


def test_one_city_on_one_side_is_one_problem(root: Path) -> None:
    shutil.rmtree(root / "gtFine" / "train" / "ulm")
    shutil.rmtree(root / "leftImg8bit" / "val" / "lindau")
    message = refused("2 problems")
    assert "leftImg8bit has 14 photos of ulm. Unpack gtFine_trainvaltest.zip" in message
    assert f"or remove {root / 'leftImg8bit' / 'train' / 'ulm'}." in message
    assert "gtFine has 4 label maps of lindau. Unpack leftImg8bit_trainvaltest.zip" in message
    shutil.rmtree(root / "leftImg8bit" / "train" / "ulm")
    shutil.rmtree(root / "gtFine" / "val" / "lindau")
    dataset = Cityscapes(size=32)
    assert len(dataset.load()["x"]) == 18
    assert dataset.inspect().counts == {"train": 13, "val": 1, "test": 4}


def test_a_city_with_colours_only(root: Path) -> None:
    for path in (root / "gtFine" / "train" / "ulm").iterdir():
        path.rename(path.with_name(path.name.replace("labelIds", "color")))
    assert "The *_gtFine_color.png there are for people to look at" in refused("1 problem")


def test_files_without_counterpart(root: Path) -> None:
    labels_of(root).unlink()
    photo = photo_of(root, "lindau_000001_000019")
    photo.unlink()
    message = refused("2 problems")
    assert f"{photo_of(root)}: there is no {labels_of(root)}." in message
    assert f"there is no {photo}." in message


def test_files_with_something_else_in_them(root: Path) -> None:
    stems = [f"aachen_{i:06d}_000019" for i in range(6)]
    save(np.full((24, 48), 34), labels_of(root, stems[0]))
    save(np.zeros((24, 48, 4)), labels_of(root, stems[1]))
    Picture.fromarray(np.full((24, 48), 7, np.uint8)).convert("P").save(labels_of(root, stems[2]))
    Picture.fromarray(np.full((24, 48), 7, np.uint8)).save(labels_of(root, stems[3]).with_suffix(".jpg"))
    labels_of(root, stems[3]).unlink()
    save(np.full((12, 24), 7), labels_of(root, stems[4]))
    photo_of(root, stems[5]).write_bytes(photo_of(root, stems[5]).read_bytes()[:100])
    message = refused("6 problems")
    assert f"{labels_of(root, stems[0])}: holds the value 34. Expected label ids of Cityscapes, 0 to 33" in message
    assert f"{labels_of(root, stems[1])}: is a colour picture (mode RGBA). Expected the file of label ids" in message
    assert f"{labels_of(root, stems[2])}: is a palette picture (mode P)" in message
    assert f"{stems[3]}_gtFine_labelIds.jpg: is a JPEG file. Expected a PNG" in message
    assert (
        f"{labels_of(root, stems[4])}: is of 24×12 px, but its photo {photo_of(root, stems[4])} of 48×24 px" in message
    )
    assert f"{photo_of(root, stems[5])}: cannot be read as a picture" in message
    assert sum(Cityscapes(size=32).inspect().counts.values()) == 30


def test_pictures_of_other_names_are_passed_over_and_noted(root: Path) -> None:
    shutil.copy(photo_of(root), photo_of(root).with_name("mine.png"))
    shutil.copy(labels_of(root), labels_of(root, kind="instanceIds"))
    dataset = Cityscapes(size=32, scoring="network")
    assert len(dataset.load()["x"]) == 36
    assert dataset.inspect().findings.notes == [
        "1 pictures in leftImg8bit not called *_leftImg8bit, passed over: aachen/mine.png."
    ]


def test_missing_parts(root: Path) -> None:
    for name in ("leftImg8bit", "gtFine"):
        (root / name / "val").rename(root / name / "test")
    message = refused("no cities in leftImg8bit/val and gtFine/val; needed is val, to test with")
    assert "test cannot stand in for it: its published labels are void only" in message
    for name in ("leftImg8bit", "gtFine"):
        (root / name / "train").rename(root / name / "val")
    message = refused("no cities in leftImg8bit/train and gtFine/train; needed is train, to train and validate with")
    for name in ("leftImg8bit", "gtFine"):
        shutil.rmtree(root / name / "val")
    refused("needed is train, to train and validate with and val, to test with")


def test_too_few_to_train_with(root: Path) -> None:
    for name in ("leftImg8bit", "gtFine"):
        shutil.rmtree(root / name / "train" / "ulm")
        for path in sorted((root / name / "train" / "aachen").iterdir())[7:]:
            path.unlink()
    with pytest.raises(UserError, match="7 usable samples in train; at least 8 are needed to train"):
        Cityscapes(size=32).split(15, None)
    assert any("7 usable samples in train" in p for p in Cityscapes(size=32).inspect().findings.problems)


def test_nothing_there(data: Path, tmp_path: Path) -> None:
    for match, options in (
        (f"{data / 'cityscapes'}: expected a folder, found no such folder", {}),
        ("root=/nowhere: expected a folder, found no such folder", {"root": "/nowhere"}),
        ("holds no folder leftImg8bit and no folder gtFine; it holds: cache/?, data/", {"root": str(tmp_path)}),
    ):
        (tmp_path / "cache").mkdir(exist_ok=True)
        message = refused(match, **options)
        assert "https://www.cityscapes-dataset.com/" in message
        assert "gtFine/train/CITY/*_gtFine_labelIds.png" in message


# Label maps alone, and the cache


def test_targets_need_no_photos(root: Path) -> None:
    dataset = Cityscapes(size=32)
    y = np.array(dataset.load()["y"])
    shutil.rmtree(root / "leftImg8bit")
    assert np.array_equal(dataset.targets(), y)
    shutil.rmtree(root / "gtFine" / "val")
    assert np.array_equal(Cityscapes(size=32).targets(), y[:28])
    shutil.rmtree(root / "gtFine" / "train")
    with pytest.raises(UserError, match="no cities in gtFine/train and gtFine/val"):
        dataset.targets()


def test_files_are_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Cityscapes(size=32).load()

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(streets, "_opened", never)
        options = {"direction": "y_to_x", "scoring": "network", "absent": "ignore"}
        again = Cityscapes(size=32, **options)  # type: ignore[arg-type]
        assert all(np.array_equal(again.load()[view], first[view]) for view in first)
    save(np.full((24, 48), 23), labels_of(root))
    changed = Cityscapes(size=32).load()["y"]
    assert [i for i in range(36) if not np.array_equal(changed[i], first["y"][i])] == [0]
