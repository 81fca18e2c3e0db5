"""Skin lesions: every owner's layout, the split, what is trained on and tested on, what files hold, mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

import lsmbench
from lsmbench.data.dataset import pools_of
from lsmbench.data.inputs import PhotoInput, form_of
from lsmbench.data.photos import read_photo
from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.datasets.skin import Skin
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine, RunConfig, TrainingConfig
from lsmbench.runs.run import execute
from tests.conftest import fingerprint

SIDE = 32
TRAINING, TRUTH = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the sources lie: ISIC 2018's 13 training photos in the simple layout."""
    folder = tmp_path / "skin"
    simple(folder, "isic2018", 13)
    return folder


def save(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)


def colours(number: int, height: int = SIDE, width: int = SIDE, channels: int = 3) -> NDArray[np.uint8]:
    """A photo of noise, of its own for each number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), dtype=np.uint8)


def lesion(number: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """A mask, 0 and 255: a rectangle of its own for each number."""
    mask = np.zeros((height, width), np.uint8)
    mask[2 : 4 + number, 3 : 6 + number] = 255
    return mask


def simple(root: Path, source: str, count: int, first: int = 0, stem: str = "ISIC_{:07}") -> Path:
    """A source in the simple layout."""
    for i in range(first, first + count):
        save(root / source / "images" / f"{stem.format(i)}.png", colours(i))
        save(root / source / "masks" / f"{stem.format(i)}.png", lesion(i % 12))
    return root / source


def made(root: Path, **options: Any) -> Skin:
    return Skin(**{"root": str(root), "size": SIDE, **options})


def rows(dataset: Skin, pool: str) -> tuple[list[str], NDArray[Any], NDArray[Any]]:
    """Names, photos and masks of a pool."""
    found = next(p for p in dataset.pools() if p.name == pool)
    return list(found.names or []), np.asarray(found.views["x"]), np.asarray(found.views["y"])


# Layouts


@pytest.mark.parametrize("inside", ["", "isic2018"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_isic_2018_has_three_parts(inside: str, unpacked: bool, tmp_path: Path) -> None:
    for part, count, first in (("Training", 13, 0), ("Validation", 2, 50), ("Test", 3, 60)):
        photos, masks = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
        home = tmp_path / inside
        for i in range(first, first + count):
            photo = home / photos / (photos if unpacked else "") / f"ISIC_{i:07}.png"
            save(photo, colours(i))
            save(home / masks / (masks if unpacked else "") / f"ISIC_{i:07}_segmentation.png", lesion(i % 12))
            save(photo.with_name(f"ISIC_{i:07}_superpixels.png"), colours(99))
        (photo.parent / "ATTRIBUTION.txt").write_text("by people")
    dataset = made(tmp_path)
    names, x, y = rows(dataset, "isic2018")
    assert names == [f"isic2018/ISIC_{i:07}.png" for i in range(13)]
    assert np.array_equal(x, [colours(i).transpose(2, 0, 1) for i in range(13)])
    assert np.array_equal(y, [lesion(i % 12) // 255 for i in range(13)])
    pools = pools_of(dataset)
    assert pools.test_sets == ("test", "isic2018_validation", "isic2018_test")
    assert [len(pools.part(part)) for part in ("train", "val", *pools.test_sets)] == [9, 1, 3, 2, 3]
    assert dataset.inspect().findings.problems == []


@pytest.mark.parametrize("home", ["PH2Dataset/PH2 Dataset images", "ph2/PH2Dataset/PH2 Dataset images", "ph2"])
def test_ph2_has_folders_for_each_photo(home: str, root: Path) -> None:
    for i in (2, 3):
        folder = root / home / f"IMD{i:03}"
        save(folder / f"IMD{i:03}_Dermoscopic_Image/IMD{i:03}.bmp", colours(50 + i))
        save(folder / f"IMD{i:03}_lesion/IMD{i:03}_lesion.bmp", lesion(i) > 0)
        save(folder / f"IMD{i:03}_roi/IMD{i:03}_R1_Label3.bmp", lesion(i) > 0)
    names, x, y = rows(made(root), "ph2")
    assert names == ["ph2/IMD002.bmp", "ph2/IMD003.bmp"]
    assert np.array_equal(x, [colours(52).transpose(2, 0, 1), colours(53).transpose(2, 0, 1)])
    assert np.array_equal(y, [lesion(2) // 255, lesion(3) // 255])


@pytest.mark.parametrize("home", ["", "waterloo", "skin_image_data_set-{}"])
def test_waterloos_set_holds_dermis_and_dermquest(home: str, root: Path) -> None:
    for number, diagnosis, source, names in (
        (1, "melanoma", "dermIS", ("a_1", "b")),
        (2, "notmelanoma", "dermIS", ("a_1",)),
        (2, "notmelanoma", "dermquest", ("c",)),
    ):
        folder = root / home.format(number) / f"Skin Image Data Set-{number}/skin_data/{diagnosis}/{source}"
        for name in names:
            seed = 50 + number * 10 + ord(name[0])
            save(folder / f"{name}_orig.png", colours(seed))
            save(folder / f"{name}_contour.png", lesion(seed % 7))
    save(folder / "left-over.png", colours(1))
    dataset = made(root)
    names, x, y = rows(dataset, "dermis")
    assert names == ["dermis/a_1_orig.png", "dermis/b_orig.png", "dermis/a_1_orig.png"]
    seeds = [60 + ord("a"), 60 + ord("b"), 70 + ord("a")]
    assert np.array_equal(x, [colours(seed).transpose(2, 0, 1) for seed in seeds])
    assert np.array_equal(y, [lesion(seed % 7) // 255 for seed in seeds])
    assert len(rows(dataset, "dermquest")[0]) == 1
    assert any("neither *_orig nor *_contour, not read: left-over.png" in n for n in dataset.inspect().findings.notes)


@pytest.mark.parametrize(
    "folder", ["ISIC_2020_Training_Input/train", "ISIC_2020_Training_JPEG", "isic2020/train", "isic2020/images"]
)
def test_isic_2020_gives_photos_alone_by_patient(folder: str, root: Path) -> None:
    table = ["image_name,patient_id,sex"]
    for i in range(100, 106):
        save(root / folder / f"ISIC_{i:07}.png", colours(i))
        table.append(f"ISIC_{i:07},IP_{i // 2},female")
    dataset = made(root, unlabelled=None)
    notes = "\n".join(dataset.inspect().findings.notes)
    assert "no ISIC_2020_Training_GroundTruth.csv" in notes
    (root / "ISIC_2020_Training_GroundTruth.csv").write_text("image_name,patient_id\n")
    (root / "ISIC_2020_Training_GroundTruth_v2.csv").write_text("\n".join(table[:-1]))
    pools = pools_of(dataset)
    alone = np.arange(*pools.ranges["isic2020"])
    assert pools.units(alone) == [f"isic2020 IP_{i}" for i in (50, 50, 51, 51, 52)] + ["isic2020 ISIC_0000105"]
    assert np.array_equal(pools.take("x", alone), [colours(i).transpose(2, 0, 1) for i in range(100, 106)])
    assert supervise(pools, SupervisionConfig(paired=30, protocol="x_only")).counts() == {"pairs": 2, "x": 13, "y": 0}
    assert "1 of 6 photos have no patient in the table" in "\n".join(dataset.inspect().findings.notes)
    assert len(pools_of(made(root, unlabelled=4)).part("train")) == 9 + 4
    assert "isic2020" not in pools_of(made(root)).ranges
    assert any("is not read; unlabelled=null" in note for note in made(root).inspect().findings.notes)
    with pytest.raises(UserError, match="unlabelled=7, but only 6 photos are there"):
        made(root, unlabelled=7).pools()
    (root / "ISIC_2020_Training_GroundTruth_v2.csv").write_text("image,patient\n1,2\n")
    with pytest.raises(UserError, match=r"v2\.csv: expected the columns .*; found image,patient"):
        dataset.pools()
    shutil.rmtree(root / folder)
    with pytest.raises(UserError, match="unlabelled=4 asks for them"):
        made(root, unlabelled=4).pools()


# The split


def test_isic_2018_is_split_as_table_2() -> None:
    split = made(Path()).split(2594, None)
    assert (len(split.train), len(split.val), len(split.test)) == (1750, 250, 594)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(2594))
    assert not np.array_equal(split.test, made(Path()).split(2594, 1).test)
    assert [len(part) for part in vars(made(Path()).split(11, None)).values()] == [7, 1, 3]
    with pytest.raises(UserError, match="10 photos of isic2018 are too few"):
        made(Path()).split(10, None)


def test_the_same_picture_twice_lies_in_one_part_whatever_the_seed(root: Path) -> None:
    for i in range(6):  # as other files
        Picture.open(root / f"isic2018/images/ISIC_{i:07}.png").save(root / f"isic2018/images/ISIC_{i + 20:07}.bmp")
        save(root / f"isic2018/masks/ISIC_{i + 20:07}.png", lesion(i))
    dataset = made(root)
    for seed in range(8):
        pool = dataset.pools(seed)[0]
        names = list(pool.names or [])
        part = {names[row]: name for name, part_rows in pool.parts.items() for row in part_rows}
        assert len(part) == 19
        for i in range(6):
            assert part[f"isic2018/ISIC_{i:07}.png"] == part[f"isic2018/ISIC_{i + 20:07}.bmp"]
        assert pool.unit is not None
        assert len(set(pool.unit.tolist())) == 13
    assert any("6 photos show the same picture as another one" in note for note in dataset.inspect().findings.notes)


def test_a_picture_or_an_id_of_the_trained_source_is_refused_in_test_sets_by_name(root: Path) -> None:
    simple(root, "ph2", 2, first=50, stem="IMD{}")
    simple(root, "isic2018_test", 3, first=60)
    shutil.copy(root / "isic2018/images/ISIC_0000004.png", root / "ph2/images/IMD50.png")
    dataset = made(root)
    with pytest.raises(UserError, match=r"1 problem\.\n- .*IMD50\.png: shows the same picture as .*ISIC_0000004\.png"):
        dataset.pools()
    (root / "isic2018_test/images/ISIC_0000060.png").rename(root / "isic2018_test/images/ISIC_0000005.png")
    (root / "isic2018_test/masks/ISIC_0000060.png").rename(root / "isic2018_test/masks/ISIC_0000005.png")
    with pytest.raises(UserError, match=r"1 problem\.\n- .*isic2018_test/images/ISIC_0000005\.png: has the ISIC id of"):
        dataset.load()
    assert len(dataset.inspect().findings.problems) == 2


def test_photos_without_a_mask_are_trained_on_alone_unless_a_mask_shows_their_patient(root: Path) -> None:
    simple(root, "isic2018", 3, first=20)
    for i in (20, 21, 22):
        (root / f"isic2018/masks/ISIC_{i:07}.png").unlink()
    shutil.copy(root / "isic2018/images/ISIC_0000003.png", root / "isic2018/images/ISIC_0000021.png")
    simple(root, "ph2", 1, first=50, stem="IMD{}")
    table = ["image_name,patient_id"]
    # 7 is in ISIC 2018, and 200 is PH2's picture; 101 and 201 are further photos of these patients
    for i, patient in ((7, "A"), (101, "A"), (200, "B"), (201, "B"), (300, "C")):
        save(root / "isic2020/images" / f"ISIC_{i:07}.png", colours(50 if i == 200 else i))
        table.append(f"ISIC_{i:07},{patient}")
    (root / "isic2020/ISIC_2020_Training_GroundTruth.csv").write_text("\n".join(table))
    dataset = made(root, unlabelled=None)
    pools = pools_of(dataset)
    train = set(pools.names(pools.part("train")) or [])
    assert {name for name in train if name.startswith("isic2020")} == {"isic2020/ISIC_0000300.png"}
    assert {"isic2018/ISIC_0000020.png", "isic2018/ISIC_0000022.png"} < train
    assert "isic2018/ISIC_0000021.png" not in train
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    notes = "\n".join(inspection.findings.notes)
    assert "isic2018: 3 of 16 photos have no mask, x-only training samples" in notes
    assert "isic2020: 2 photos of patients with a photo in isic2018 (the same ISIC id) are left out" in notes
    assert "isic2018-unlabelled: 1 photos are left out" in notes
    assert "isic2020: 2 photos are left out, of patients with a photo that shows the same picture" in notes
    assert inspection.counts == {"train": 9 + 2 + 1, "val": 1, "test": 3, "ph2": 1}


# Photos and masks


def test_photos_of_any_form_are_rgb(root: Path) -> None:
    photo = colours(70)
    folder = root / "isic2018/images"
    full = np.full((SIDE, SIDE, 1), 255, np.uint8)
    save(folder / "ISIC_0000000.png", np.concatenate([photo, full], -1))
    save(folder / "ISIC_0000001.png", photo[..., 0])
    save(folder / "ISIC_0000002.png", photo[..., 0].astype(np.uint16) * 16)
    (folder / "ISIC_0000003.png").unlink()
    np.save(folder / "ISIC_0000003.npy", photo.astype(np.uint16) * 257)
    Picture.fromarray(photo).convert("P").save(folder / "ISIC_0000004.png")
    (folder / "ISIC_0000005.png").unlink()
    Picture.fromarray(photo).save(folder / "ISIC_0000005.tif", compression="tiff_lzw")
    dataset = made(root)
    _, x, _ = rows(dataset, "isic2018")
    three = photo.transpose(2, 0, 1)
    grey = np.stack([photo[..., 0]] * 3)
    for i, expected in ((0, three), (1, grey), (3, three), (5, three)):
        assert np.array_equal(x[i], expected), i
    assert np.abs(x[2].astype(int) - grey).max() <= 1
    assert np.array_equal(x[4], np.asarray(Picture.fromarray(photo).convert("P").convert("RGB")).transpose(2, 0, 1))
    notes = "\n".join(dataset.inspect().findings.notes)
    for note in (
        "1 photos have alpha, which is one number throughout and dropped: ISIC_0000000.png",
        "2 photos are grey, and become three equal channels: ISIC_0000001.png, ISIC_0000002.png",
        "2 photos have more than 8 bits: ISIC_0000002.png, ISIC_0000003.npy",
        "2 photos show the same picture as another one",
    ):
        assert note in notes


def test_masks_and_photos_are_squeezed_alike_and_nothing_else_is_done(root: Path) -> None:
    mask = lesion(9, 40, 80)
    save(root / "isic2018/images/ISIC_0000013.png", np.stack([mask] * 3, -1))
    save(root / "isic2018/masks/ISIC_0000013.png", mask)
    _, x, y = rows(made(root), "isic2018")
    expected = Picture.fromarray(mask).resize((SIDE, SIDE), Picture.Resampling.BILINEAR)
    assert np.array_equal(x[13], np.stack([np.asarray(expected)] * 3))
    assert np.array_equal(y[13], np.asarray(Picture.fromarray(mask // 255).resize((SIDE, SIDE), 0)))


def test_a_single_file_is_read_as_the_dataset_reads_it(tmp_path: Path) -> None:
    dataset = Skin.example(tmp_path)
    form = form_of(json.loads(json.dumps(dataset.inputs().plain())))
    assert form == dataset.inputs() == PhotoInput(SIDE)
    names, x, _ = rows(dataset, "isic2018")
    for i in (0, 5):
        given = form.read(tmp_path / TRAINING / Path(names[i]).name)
        assert np.array_equal(given.view, x[i])
        assert given.size == given.photo.size == (48, 36)
        assert not given.cut


# Mistakes


def test_every_mistake_is_named_at_once(root: Path) -> None:
    folder = simple(root, "isic2018", 20)
    simple(root, "dermis", 4, first=30)
    (folder / "images/ISIC_0000000.png").write_bytes(b"no picture")
    (folder / "masks/ISIC_0000001.png").write_bytes(b"no mask")
    save(folder / "masks/ISIC_0000002.png", lesion(2, SIDE, 2 * SIDE))
    save(folder / "masks/ISIC_0000003.png", colours(3)[..., 0])
    save(folder / "masks/ISIC_0000004.png", np.zeros((SIDE, SIDE), np.uint8))
    save(folder / "masks/ISIC_0000005.png", lesion(5, 2 * SIDE, 2 * SIDE))
    save(folder / "masks/ISIC_0000077.png", lesion(6))
    (folder / "masks/ISIC_0000006.png").unlink()
    save(folder / "masks/ISIC_0000007.png", lesion(7) // 255 * np.uint8(3))
    smoothed = lesion(8)
    smoothed[2, 3:6] = (60, 100, 200)
    save(folder / "masks/ISIC_0000008.png", smoothed)
    save(folder / "images/ISIC_0000009.png", colours(9, channels=4))
    np.save(folder / "images/ISIC_0000010.npy", colours(10) / np.float32(255))
    (folder / "images/ISIC_0000010.png").unlink()
    turned = Picture.Exif()
    turned[0x0112] = 6
    Picture.fromarray(colours(11)).save(folder / "images/ISIC_0000011.jpg", exif=turned)
    (folder / "images/ISIC_0000011.png").unlink()
    save(root / "dermis/masks/ISIC_0000031.png", colours(31)[..., 0])
    dataset = made(root)
    inspection = dataset.inspect()
    problems = {
        "isic2018/images/ISIC_0000000.png": "cannot be read",
        "isic2018/masks/ISIC_0000001.png": "cannot be read",
        "isic2018/masks/ISIC_0000002.png": "other proportions",
        "isic2018/masks/ISIC_0000003.png": "expected a mask of two levels, 0 and lesion",
        "isic2018/masks/ISIC_0000077.png": "no photo ISIC_0000077",
        "isic2018/images/ISIC_0000009.png": "alpha differs from pixel to pixel",
        "isic2018/images/ISIC_0000010.npy": "holds float32 from",
        "isic2018/images/ISIC_0000011.jpg": "exif=ignore or exif=apply",
        "dermis/masks/ISIC_0000031.png": "are grey",
    }
    assert len(inspection.findings.problems) == len(problems)
    for name, why in problems.items():
        assert any(f"/{name}: " in problem and why in problem for problem in inspection.findings.problems), name
    notes = "\n".join(inspection.findings.notes)
    for note in (
        "1 of 20 photos have no mask",
        "1 masks are empty: ISIC_0000004.png",
        "in the same proportions: ISIC_0000005.png",
        "1 masks have smoothed edges, cut in the middle: ISIC_0000008.png",
    ):
        assert note in notes
    with pytest.raises(UserError) as caught:
        dataset.load()
    assert sorted(str(caught.value).splitlines()[1:]) == sorted(
        f"- {problem}" for problem in inspection.findings.problems
    )
    assert len([name for name in inspection.names if name.startswith("isic2018/")]) == 20 - 7 - 1
    assert "lesion, % of the pixels" in inspection.facts["isic2018"]


def test_turned_photos_are_read_as_asked(root: Path) -> None:
    photo = colours(40, 24, 40)
    turned = Picture.Exif()
    turned[0x0112] = 3
    Picture.fromarray(photo).save(root / "isic2018/images/ISIC_0000040.png", exif=turned)
    save(root / "isic2018/masks/ISIC_0000040.png", lesion(4, 24, 40))
    as_stored = rows(made(root, exif="ignore"), "isic2018")[1][13]
    as_shown = rows(made(root, exif="apply"), "isic2018")[1][13]
    assert np.array_equal(as_shown, as_stored[:, ::-1, ::-1])
    assert made(root, exif="apply").inputs().turned == "apply"


def test_what_is_missing_or_twice_is_said_with_where_to_get_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"LSMBENCH_DATA.*is not set.*isic-archive\.com"):
        Skin().load()
    simple(tmp_path / "other", "ph2", 4)
    with pytest.raises(UserError, match=r"no photos in ISIC2018_Task1-2_Training_Input/.*it holds: ph2/"):
        made(tmp_path / "other").load()
    assert "it holds: ph2/" in made(tmp_path / "other").inspect().findings.problems[0]
    shutil.copytree(root / "isic2018/images", root / TRAINING)
    (root / "dermquest").mkdir()
    save(root / "dermis/images/a.png", colours(80))
    with pytest.raises(UserError, match="3 problems") as caught:
        made(root).load()
    for part in (
        r"isic2018/images: 13 files of isic2018 are there twice, here and in",
        "dermquest: no photos of dermquest",
        "dermis/images: the photos of dermis have no masks",
    ):
        assert part in str(caught.value)
    for options, why in (({"exif": "turn"}, "expected one of: refuse"), ({"unlabelled": -1}, "0 for none")):
        with pytest.raises(UserError, match=why):
            made(root, **options)


def test_the_cache_holds_each_source_and_sees_what_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simple(root, "ph2", 2, first=50, stem="IMD{}")
    dataset, calls = made(root), list[Path]()
    first = fingerprint(dataset)
    monkeypatch.setattr(
        "lsmbench.datasets.skin.read_photo", lambda path, exif: calls.append(path) or read_photo(path, exif)
    )
    assert fingerprint(made(root)) == first
    assert calls == []
    save(root / "ph2/masks/IMD50.png", lesion(3))
    assert fingerprint(made(root)) != first
    assert {path.parent.parent.name for path in calls} == {"ph2"}


# A run


def test_a_run_is_scored_by_jaccard_on_every_test_set_and_predicts_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = RunConfig(
        dataset=Skin.example(tmp_path / "files"),
        method_name="baseline",
        method=METHODS["baseline"].Config(network="tiny", learning_rate=1e-2),
        supervision=SupervisionConfig(paired=50, protocol="x_only"),
        training=TrainingConfig(epochs=1, batch_size=6, steps_per_epoch=3),
    )
    result = execute(config, tmp_path, Machine("cpu", 1))
    sets = ("test", "isic2018_test", "ph2", "dermis", "dermquest")
    assert [(score.test_set, score.metric) for score in result.scores] == [(part, "iou") for part in sets]
    assert [len(score.values) for score in result.scores] == [6, 2, 3, 4, 3]
    photos = sorted((tmp_path / "files" / TRAINING).iterdir())[:2]
    for found in lsmbench.load(tmp_path / result.id, accelerator="cpu").translate_files(photos):
        assert found.mask.shape == (36, 48)
