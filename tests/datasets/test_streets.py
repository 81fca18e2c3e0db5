from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.datasets import streets
from lsmbench.datasets.gta import GTA
from lsmbench.datasets.streets import IDS, IDS_IN_PALETTES, IDS_WITH_PLATES, LABEL_IDS, TRAIN_IDS, read_labels
from lsmbench.datasets.synscapes import Synscapes
from lsmbench.domains import Image, LabelColours
from lsmbench.errors import UserError
from lsmbench.palettes import CITYSCAPES
from tests.conftest import fingerprint, truth_of

KINDS = [GTA, Synscapes]
LABELS = {GTA: "labels/00002.png", Synscapes: "img/class/2.png"}
PHOTO = {GTA: "images/00002.png", Synscapes: "img/rgb/2.png"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LSMBENCH_DATA", str(root))
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))
    return root


def save(array: object, path: Path, palette: np.ndarray | None = None, **options: object) -> Path:
    picture = Picture.fromarray(np.asarray(array, np.uint8))
    if palette is not None:
        picture.putpalette(np.asarray(palette, np.uint8).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def both_refuse(dataset: GTA | Synscapes, match: str) -> str:
    """The message of `load`, which `inspect` has to report as well."""
    with pytest.raises(UserError, match=match) as caught:
        dataset.load()
    message = str(caught.value)
    for problem in dataset.inspect().findings.problems:
        assert problem in message
    return message


# The tables


def test_every_label_id_means_what_cityscapes_says() -> None:
    names = {
        7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
        20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
        27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
    }  # fmt: skip
    assert {number: CITYSCAPES.names[label] for number, label in LABEL_IDS.items()} == names
    for number in range(256):
        expected = CITYSCAPES.names.index(names[number]) if number in names else 255
        assert IDS.classes[number] == IDS_IN_PALETTES.classes[number] == IDS_WITH_PLATES.classes[number] == expected
        assert IDS.known[number] == (number <= 33 or number == 255)
        assert IDS_WITH_PLATES.known[number] == (number <= 34 or number == 255)
        assert TRAIN_IDS.classes[number] == (number if number < 19 else 255)
        assert TRAIN_IDS.known[number] == (number < 19 or number == 255)


def test_reading_labels(tmp_path: Path) -> None:
    ids = np.arange(34).repeat(2).reshape(2, 34)
    labels, counts = read_labels(save(ids, tmp_path / "a.png"), IDS)
    assert labels.shape == (2, 34)
    assert (labels == IDS.classes[ids]).all()
    assert counts.tolist() == [2] * 34 + [0] * 222
    palette = np.zeros((256, 3))
    palette[list(LABEL_IDS)] = CITYSCAPES.colours
    palette[34] = CITYSCAPES.colours[CITYSCAPES.names.index("car")]  # as number plates are drawn
    other, _ = read_labels(save([[7, 26, 34, 0]], tmp_path / "b.png", palette), IDS_IN_PALETTES)
    assert other.tolist() == [[0, 13, 255, 255]]


@pytest.mark.parametrize(
    ("make", "numbering", "match"),
    [
        (lambda p: save([[7, 34, 40, 41]], p), IDS, "holds the values 34, 40, 41. Expected label ids.*0 to 33"),
        (lambda p: save([[0, 19]], p), TRAIN_IDS, "holds the value 19. Expected train ids.*0 to 18"),
        (lambda p: save([[7, 35]], p), IDS_IN_PALETTES, "holds the value 35. "),
        (lambda p: save([[7]], p, format="JPEG"), IDS, "is a JPEG file. Expected a PNG with label ids.*blur"),
        (lambda p: save([[[128, 64, 128]]], p), IDS, "a colour picture .mode RGB.. Expected the file of label ids"),
        (lambda p: save([[[128, 64, 128, 255]]], p), IDS_IN_PALETTES, "mode RGBA.*a palette picture or one channel"),
        (lambda p: save([[7]], p, np.zeros((256, 3))), IDS, "a palette picture .mode P.. Expected the file of label"),
        (lambda p: save([[0, 7]], p, np.array(CITYSCAPES.colours)), IDS_IN_PALETTES, "index 0 has the colour of road"),
        (lambda p: p.write_bytes(b"no picture"), IDS, "cannot be read as a picture"),
    ],
)  # fmt: skip
def test_refused_label_maps(make: object, numbering: streets.Numbering, match: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=match) as caught:
        read_labels(path, numbering)
    assert str(caught.value).startswith(f"{path}: ")


# Rendered sets


@pytest.mark.parametrize("kind", KINDS)
def test_example(kind: type[GTA | Synscapes], tmp_path: Path) -> None:
    dataset = kind.example(tmp_path / "a")
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((36, 3, 32, 32), np.uint8),
        "y": ((36, 3, 32, 32), np.uint8),
    }
    assert dataset.domains == {
        "x": Image(3, 32, reconstruction="l1"),
        "y": LabelColours(3, 32, reconstruction="l1", palette=CITYSCAPES),
    }
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    labels = CITYSCAPES.decode(torch.from_numpy(np.array(arrays["y"])), void=True)
    assert {0, 13, 10, 255} <= set(labels.unique().tolist())
    again = kind.example(tmp_path / "b")
    assert fingerprint(again) == fingerprint(dataset)
    stamp = (tmp_path / "a" / LABELS[kind]).stat().st_mtime_ns
    kind.example(tmp_path / "a")
    assert (tmp_path / "a" / LABELS[kind]).stat().st_mtime_ns == stamp
    inspection = dataset.inspect()
    assert inspection.counts == {"train": 25, "val": 3, "test": 8}
    assert inspection.findings.problems == []
    assert np.array_equal(inspection.samples["x"], arrays["x"])


def test_labels_become_classes_before_they_are_resized(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.choice([0, 7, 9, 23, 26, 29], (16, 16))  # parking and caravan are void
    for number in range(1, 11):
        save(blocks.repeat(3, 0).repeat(6, 1), tmp_path / "labels" / f"{number:05d}.png")
        save(np.full((48, 96, 3), 10 * number), tmp_path / "images" / f"{number:05d}.png")
    arrays = GTA(root=str(tmp_path), size=16).load()
    expected = np.zeros((16, 16, 3), np.uint8)
    for number, name in ((7, "road"), (23, "sky"), (26, "car")):
        expected[blocks == number] = CITYSCAPES.colours[CITYSCAPES.names.index(name)]
    for i in range(10):
        assert np.array_equal(arrays["y"][i], expected.transpose(2, 0, 1))
        assert (np.array(arrays["x"][i]) == 10 * (i + 1)).all()


def test_photos_are_averaged_where_they_shrink(tmp_path: Path) -> None:
    stripes = np.zeros((64, 128, 3))
    stripes[:, ::2] = 200
    for number in range(10):
        save(np.full((64, 128), 7), tmp_path / "labels" / f"{number}.png")
        save(stripes, tmp_path / "images" / f"{number}.png")
    x = np.array(GTA(root=str(tmp_path), size=16).load()["x"])
    assert (np.abs(x.astype(int) - 100) < 8).all()


@pytest.mark.parametrize("kind", KINDS)
def test_targets_need_no_photos(kind: type[GTA | Synscapes], tmp_path: Path) -> None:
    dataset = kind.example(tmp_path)
    y = np.array(dataset.load()["y"])
    save(np.zeros((10, 11, 3)), tmp_path / PHOTO[kind])
    assert np.array_equal(dataset.targets(), y)
    shutil.rmtree((tmp_path / PHOTO[kind]).parent)
    assert np.array_equal(dataset.targets(), y)
    assert np.array_equal(kind(root=str(tmp_path), size=32).targets(), y)
    with pytest.raises(UserError, match="holds no folder i"):
        dataset.load()


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_decoded_once(kind: type[GTA | Synscapes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = kind.example(tmp_path)
    first, targets = dataset.load(), dataset.targets()

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(streets, "_opened", never)
        assert np.array_equal(dataset.load()["x"], first["x"])
        assert np.array_equal(dataset.targets(), targets)
    save(np.full((24, 48), 23), tmp_path / LABELS[kind])
    assert not np.array_equal(dataset.load()["y"], first["y"])
    assert not np.array_equal(dataset.targets(), targets)


def test_some_scenes(tmp_path: Path) -> None:
    whole = GTA.example(tmp_path)
    every = [y.tobytes() for y in whole.targets()]
    some, more, other = (
        GTA(root=str(tmp_path), size=32, samples=n, data_seed=seed) for n, seed in ((12, 0), (20, 0), (12, 1))
    )
    places = [[every.index(y.tobytes()) for y in dataset.targets()] for dataset in (some, more, other)]
    assert places[0] == sorted(places[0])
    assert len(set(places[0])) == 12
    assert set(places[0]) < set(places[1])
    assert places[0] != places[2]
    assert places[0] != list(range(12))
    assert np.array_equal(some.load()["y"], some.targets())
    with pytest.raises(UserError, match="samples=37, but only 36 scenes are there"):
        GTA(root=str(tmp_path), samples=37).targets()
    with pytest.raises(UserError, match="samples=5; expected at least 10"):
        GTA(samples=5)


def test_parts_stay_in_order_and_numbers_count_as_numbers(tmp_path: Path) -> None:
    dataset = Synscapes.example(tmp_path)
    assert dataset.inspect().names == [str(i) for i in range(1, 37)]
    split = dataset.split(36, None)
    assert np.concatenate([split.train, split.val, split.test]).tolist() == list(range(36))
    assert dataset.split(36, 3).train.tolist() != split.train.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_wrong_is_said_at_once(kind: type[GTA | Synscapes], tmp_path: Path) -> None:
    dataset = kind.example(tmp_path)
    labels, photo = tmp_path / LABELS[kind], tmp_path / PHOTO[kind]
    save(np.full((24, 48), 77), labels)
    photo.write_bytes(b"broken")
    third = Path(str(labels).replace("2.png", "3.png"))
    save(np.full((24, 40), 7), third)
    message = both_refuse(dataset, f"^dataset {dataset.name}: 3 problems")
    assert f"{labels}: holds the value 77" in message
    assert f"{photo}: cannot be read as a picture" in message
    assert f"{third}: is of 40×24 px, but its photo" in message
    assert "remove both" in message
    inspection = dataset.inspect()
    assert len(inspection.findings.problems) == 3
    assert sum(inspection.counts.values()) == len(inspection.samples["x"]) == len(inspection.names) == 34
    for path in (labels, third, photo, Path(str(photo).replace("2.png", "3.png"))):
        path.unlink()
    arrays = dataset.load()
    assert all(np.array_equal(arrays[view], inspection.samples[view]) for view in arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_counterpart(kind: type[GTA | Synscapes], tmp_path: Path) -> None:
    dataset = kind.example(tmp_path)
    (tmp_path / LABELS[kind]).unlink()
    for number in (3, 4):
        Path(str(tmp_path / PHOTO[kind]).replace("2.png", f"{number}.png")).unlink()
    message = both_refuse(dataset, "2 problems")
    assert "2 of 35 have no photo: " in message
    assert "1 of 34 have no label map: " in message


def test_missing_sets_say_where_they_come_from(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, url in ((GTA, "visinf.tu-darmstadt.de/data/from_games"), (Synscapes, "synscapes.on.liu.se")):
        with pytest.raises(UserError, match=f"{kind.name}: expected a folder, found no such folder.*{url}"):
            kind().load()
        (data / kind.name).mkdir()
        with pytest.raises(UserError, match=f"holds no folder .*; it holds: nothing.*{url}"):
            kind().targets()
        (data / kind.name / LABELS[kind]).parent.mkdir(parents=True)
        with pytest.raises(UserError, match="holds no PNG files"):
            kind().targets()
        with pytest.raises(UserError, match="found a file"):
            kind(root=str(save([[0]], tmp_path / "a.png"))).load()
    monkeypatch.delenv("LSMBENCH_DATA")
    with pytest.raises(UserError, match="LSMBENCH_DATA, the folder of your datasets, is not set"):
        GTA().load()


def test_default_root(data: Path, tmp_path: Path) -> None:
    example = GTA.example(data / "gta")
    assert np.array_equal(GTA(size=32).load()["y"], example.load()["y"])


def test_train_ids_in_the_place_of_label_ids(tmp_path: Path) -> None:
    dataset = Synscapes.example(tmp_path)
    for path in (tmp_path / "img" / "class").iterdir():
        with Picture.open(path) as picture:
            ids = np.asarray(picture)
        save(IDS.classes[ids], path)
    both_refuse(dataset, "these look like train ids. Expected label ids")


def test_enlarged_photos_of_synscapes(tmp_path: Path) -> None:
    dataset = Synscapes.example(tmp_path)
    wanted = dataset.load()
    for path in (tmp_path / "img" / "rgb").iterdir():
        with Picture.open(path) as picture:
            save(picture.resize((96, 48), Picture.Resampling.NEAREST), tmp_path / "img" / "rgb-2k" / path.name)
    shutil.rmtree(tmp_path / "img" / "rgb")
    arrays = dataset.load()
    assert np.array_equal(arrays["y"], wanted["y"])
    assert np.abs(np.array(arrays["x"], int) - np.array(wanted["x"], int)).mean() < 10


def test_photos_of_other_modes_and_turned_ones(tmp_path: Path) -> None:
    dataset = GTA.example(tmp_path)
    path = tmp_path / PHOTO[GTA]
    with Picture.open(path) as picture:
        grey = picture.convert("L")
    grey.save(path)
    assert dataset.load()["x"].shape == (36, 3, 32, 32)
    assert dataset.inspect().findings.notes == ["1 photos of mode L, brought to RGB: 00002."]
    exif = Picture.Exif()
    exif[0x0112] = 6
    path.unlink()
    grey.save(path.with_suffix(".jpg"), exif=exif)
    both_refuse(dataset, "00002.jpg: is stored turned or mirrored")


def test_full_resolution_of_maps_that_differ(tmp_path: Path) -> None:
    dataset = GTA.example(tmp_path)
    dataset.scoring = "full"
    save(np.full((25, 48), 7), tmp_path / LABELS[GTA])
    save(np.zeros((25, 48, 3)), tmp_path / PHOTO[GTA])
    dataset.load()
    truth = truth_of(dataset, "y", np.array([1]))
    assert truth is not None
    assert truth.shape == (1, 25, 48)
    with pytest.raises(UserError, match=r"00002\.png: is of 48×25 px, but .*00001.png of 48×24 px.*scoring=network"):
        truth_of(dataset, "y", np.array([0, 1]))
