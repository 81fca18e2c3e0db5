"""Chest X-rays: every owner's layout, what is done with photos and masks, mistakes in files, test sets by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

import lsmbench
from lsmbench.data.dataset import pools_of
from lsmbench.data.inputs import form_of
from lsmbench.data.masked_photos import read_mask
from lsmbench.data.pools import Pools
from lsmbench.data.radiographs import equalising, read_radiograph
from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.datasets import chest_xray
from lsmbench.datasets.chest_xray import ChestXray
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine, RunConfig, TrainingConfig
from lsmbench.runs.run import execute
from tests.conftest import fingerprint

REAL_DATA = os.environ.get("LSMBENCH_DATA")
SIDE = 32


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


def save(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)


def grey(number: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """A photo of noise, of its own for each number."""
    return np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8)


def lung(number: int, height: int = SIDE, width: int = SIDE, right: bool = False) -> NDArray[np.uint8]:
    """A mask, 0 and 255, in one half of the picture: a rectangle of its own for each number."""
    mask = np.zeros((height, width), np.uint8)
    left = width // 2 if right else 0
    mask[2 : 4 + number, left + 3 : left + 6 + number] = 255
    return mask


def simple(root: Path, source: str, count: int, first: int = 0, stem: str = "{}") -> Path:
    """A source in the simple layout."""
    for i in range(first, first + count):
        save(root / source / "images" / f"{stem.format(i)}.png", grey(i))
        save(root / source / "masks" / f"{stem.format(i)}.png", lung(i % 12))
    return root / source


def made(root: Path, **options: Any) -> ChestXray:
    return ChestXray(**{"root": str(root), "size": SIDE, "preprocessing": "none", **options})


def rows(dataset: ChestXray, pool: str) -> tuple[list[str], NDArray[Any], NDArray[Any]]:
    """Names, photos and masks of a pool."""
    found = next(p for p in dataset.pools() if p.name == pool)
    return list(found.names or []), np.asarray(found.views["x"]), np.asarray(found.views["y"])


# Layouts


def test_montgomery_unites_both_lungs(tmp_path: Path) -> None:
    folder = tmp_path / "MontgomerySet"
    for i in range(10):
        save(folder / "CXR_png" / f"MCUCXR_{i:04}_0.png", grey(i))
        save(folder / "ManualMask/leftMask" / f"MCUCXR_{i:04}_0.png", lung(i) > 0)
        save(folder / "ManualMask/rightMask" / f"MCUCXR_{i:04}_0.png", lung(i, right=True) > 0)
    (folder / "ClinicalReadings").mkdir()
    names, x, y = rows(made(tmp_path), "montgomery")
    assert names == [f"montgomery/MCUCXR_{i:04}_0.png" for i in range(10)]
    for i in range(10):
        assert np.array_equal(x[i, 0], grey(i))
        assert np.array_equal(y[i], (lung(i) | lung(i, right=True)) // 255)
    # The same in a folder of the simple name, as one mask.
    (tmp_path / "montgomery").mkdir()
    shutil.move(folder, tmp_path / "montgomery")
    assert np.array_equal(rows(made(tmp_path), "montgomery")[2], y)


@pytest.mark.parametrize("masks", ["shenzhen/mask", "shenzhen/ChinaSet_AllFiles/mask", "mask", "shenzhen/mask/mask"])
def test_shenzhen_is_a_test_set_of_the_photos_with_a_mask(masks: str, tmp_path: Path) -> None:
    simple(tmp_path, "montgomery", 10)
    for i in range(6):
        save(tmp_path / "shenzhen/ChinaSet_AllFiles/CXR_png" / f"CHNCXR_{i:04}_1.png", grey(50 + i))
        if i not in (1, 4):
            save(tmp_path / masks / f"CHNCXR_{i:04}_1_mask.png", lung(i))
    dataset = made(tmp_path)
    names, x, y = rows(dataset, "shenzhen")
    assert [name[-10:-6] for name in names] == ["0000", "0002", "0003", "0005"]
    assert np.array_equal(x[:, 0], [grey(50 + i) for i in (0, 2, 3, 5)])
    assert np.array_equal(y, [lung(i) // 255 for i in (0, 2, 3, 5)])
    pools = pools_of(dataset)
    assert pools.test_sets == ("test", "shenzhen")
    assert [len(pools.part(part)) for part in ("train", "val", "test", "shenzhen")] == [7, 1, 2, 4]
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    assert any("2 of 6 photos have no mask" in note for note in inspection.findings.notes)


def raw(path: Path, values: NDArray[np.uint16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values.astype(">u2").tofile(path)


def test_jsrt_reads_raw_negatives_of_12_bits_and_both_folds_of_scr(tmp_path: Path) -> None:
    steps = np.linspace(0, 4095, 2048).astype(np.uint16)
    photo = np.tile(steps, (2048, 1))  # from white on the left to black on the right: black is 4095
    raw(tmp_path / "jsrt/All247images/JPCLN001.IMG", photo)
    raw(tmp_path / "jsrt/All247images/JPCLN002.IMG", photo[:, ::-1])
    for i in range(3, 15):
        save(tmp_path / f"jsrt/All247images/JPCLN{i:03}.png", grey(i))
    for i in range(1, 15):
        fold = f"jsrt/scratch/fold{1 if i % 2 else 2}/masks"
        for side, right in (("left lung", True), ("right lung", False)):
            save(tmp_path / fold / side / f"JPCLN{i:03}.gif", lung(i % 12, 64, 64, right))
        save(tmp_path / fold / "heart" / f"JPCLN{i:03}.gif", lung(1, 64, 64))
    dataset = made(tmp_path, trained_on="jsrt")
    names, x, y = rows(dataset, "jsrt")
    assert names[:3] == ["jsrt/JPCLN001.IMG", "jsrt/JPCLN002.IMG", "jsrt/JPCLN003.png"]
    assert len(names) == 14
    ramp = 255 - (np.arange(SIDE) + 0.5) * 255 / SIDE
    assert np.allclose(x[0, 0], ramp, atol=1.5)
    assert np.allclose(x[1, 0], ramp[::-1], atol=1.5)
    assert np.array_equal(x[2, 0], grey(3))
    small = (lung(5, 64, 64) | lung(5, 64, 64, True))[1::2, 1::2]
    assert np.array_equal(y[4], small // 255), "a mask of half the photo's size, or twice, belongs to it"
    deep = read_radiograph(tmp_path / "jsrt/All247images/JPCLN001.IMG")
    assert (deep.white, deep.numbers.max(), len(np.unique(deep.numbers))) == (4095, 4095, 2048)
    raw(tmp_path / "jsrt/All247images/JPCLN001.IMG", photo[:100])
    with pytest.raises(UserError, match=r"JPCLN001\.IMG: holds 409,600 bytes; expected 8,388,608"):
        dataset.load()


def test_jsrt_is_split_as_table_1() -> None:
    split = made(Path(), trained_on="jsrt").split(247, None)
    assert (len(split.train) + len(split.val), len(split.test)) == (175, 72)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(247))
    assert not np.array_equal(split.test, made(Path(), trained_on="jsrt").split(247, 1).test)


@pytest.mark.parametrize(
    "folders", [["images"], ["images_001/images", "images_002/images"], ["images_001", "images_002"]]
)
def test_cxr14_gives_photos_alone_and_none_of_tested_patients(folders: list[str], tmp_path: Path) -> None:
    simple(tmp_path, "montgomery", 10)
    simple(tmp_path, "nih", 3, first=20, stem="000000{}_000")
    for patient in range(19, 25):
        for visit in range(2):
            folder = folders[patient % len(folders)]
            save(tmp_path / "cxr14" / folder / f"000000{patient}_00{visit}.png", grey(patient + 100 * visit))
    dataset = made(tmp_path, unlabelled=None)
    pools = pools_of(dataset)
    alone = pools.ranges["cxr14"]
    assert pools.units(np.arange(*alone)) == [f"cxr14 000000{p}" for p in (19, 19, 23, 23, 24, 24)], (
        "20 to 22 are tested"
    )
    assert np.array_equal(pools.take("x", np.arange(*alone))[:2, 0], [grey(19), grey(119)])
    shown = supervise(pools, SupervisionConfig(paired=20, protocol="x_only"))
    assert shown.counts() == {"pairs": 1, "x": 6 + 6, "y": 0}
    assert len(pools_of(made(tmp_path, unlabelled=4)).part("train")) == 7 + 4
    assert "cxr14" not in pools_of(made(tmp_path)).ranges
    with pytest.raises(UserError, match="unlabelled=7, but only 6 photos are there"):
        made(tmp_path, unlabelled=7).pools()
    shutil.rmtree(tmp_path / "cxr14")
    with pytest.raises(UserError, match="unlabelled=4 asks for them"):
        made(tmp_path, unlabelled=4).pools()


def test_photos_of_the_trained_source_without_a_mask_are_trained_on_alone(tmp_path: Path) -> None:
    simple(tmp_path, "montgomery", 13)
    for i in (3, 8):
        (tmp_path / f"montgomery/masks/{i}.png").unlink()
    dataset = made(tmp_path)
    pools = pools_of(dataset)
    alone = np.arange(*pools.ranges["montgomery-unlabelled"])
    assert pools.names(alone) == ["montgomery/3.png", "montgomery/8.png"]
    assert np.array_equal(pools.take("x", alone)[:, 0], [grey(3), grey(8)])
    assert set(alone) < set(pools.part("train"))
    inspection = dataset.inspect()
    assert inspection.counts == {"train": 7 + 2, "val": 1, "test": 3}
    assert np.array_equal(inspection.alone["x"][0][:, 0], [grey(3), grey(8)])


# Photos and masks


def test_equalisation_is_opencvs_on_8_bits_and_keeps_deeper_numbers_apart() -> None:
    photo = (grey(0, 50, 70) // 4 + 60).astype(np.uint8)
    assert np.array_equal((equalising(photo, 255)[photo] * 255).round(), cv2.equalizeHist(photo))
    deep = photo.astype(np.uint16) * 16 + np.arange(70, dtype=np.uint16) % 16
    scale = equalising(deep, 4095)[deep]
    assert len(np.unique(scale)) == len(np.unique(deep)) > 256
    assert (scale.min(), scale.max()) == (0, 1)
    assert np.array_equal(np.argsort(scale, axis=None, kind="stable"), np.argsort(deep, axis=None, kind="stable"))
    constant = np.full((4, 4), 51, np.uint8)
    assert (equalising(constant, 255)[constant] == 0.2).all(), "one number has no histogram to equalise"


def test_photos_of_any_depth_are_equalised_alike(tmp_path: Path) -> None:
    photo = grey(0, 48, 64) // 2 + 20
    save(tmp_path / "8.png", photo)
    save(tmp_path / "12.png", photo.astype(np.uint16) * 16)
    save(tmp_path / "16.png", photo.astype(np.uint16) * 256)
    np.save(tmp_path / "float.npy", photo.astype(np.float32) / 7)
    views = [
        read_radiograph(tmp_path / name).view(SIDE, "equalised") for name in ("8.png", "12.png", "16.png", "float.npy")
    ]
    assert all(np.array_equal(view, views[0]) for view in views[1:])
    full = (cv2.equalizeHist(photo) / 255) ** 0.5 * 255
    expected = np.asarray(Picture.fromarray(full.astype(np.float32)).resize((SIDE, SIDE), Picture.Resampling.BILINEAR))
    assert np.abs(views[0][0] - expected).max() < 1.6, "gamma after equalisation, at the photo's own size"
    plain = [read_radiograph(tmp_path / name).view(SIDE, "none").astype(int) for name in ("8.png", "12.png", "16.png")]
    assert all(np.abs(view - plain[0]).max() <= 1 for view in plain[1:])
    save(tmp_path / "colours.png", np.stack([photo] * 3, -1))
    assert np.array_equal(read_radiograph(tmp_path / "colours.png").numbers, photo)


def test_oblong_photos_and_masks_are_squeezed_alike(tmp_path: Path) -> None:
    folder = simple(tmp_path, "montgomery", 9)
    mask = np.zeros((40, 80), np.uint8)
    mask[10:20, 40:60] = 255
    save(folder / "images/wide.png", mask)
    save(folder / "masks/wide.png", mask)
    _, x, y = rows(made(tmp_path), "montgomery")
    assert np.array_equal(x[-1, 0] > 127, y[-1] == 1)
    assert y[-1].sum() == 8 * 8
    assert y[-1, 8:16, 16:24].all()


def test_a_single_file_is_read_as_the_dataset_reads_it(tmp_path: Path) -> None:
    dataset = ChestXray.example(tmp_path)
    form = form_of(json.loads(json.dumps(dataset.inputs().plain())))
    assert form == dataset.inputs()
    names, x, _ = rows(dataset, "nih")
    for i, name in enumerate(names):
        given = form.read(tmp_path / "nih/images" / Path(name).name)
        assert np.array_equal(given.view, x[i])
        assert given.size == given.photo.size == (40, 44)
    assert form_of(made(tmp_path).inputs().plain()).read(tmp_path / "nih/images/00000001_000.png").view.std() > 5


# Mistakes


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    folder = simple(tmp_path, "montgomery", 20)
    simple(tmp_path, "shenzhen", 4, first=30)
    (folder / "images/0.png").write_bytes(b"no picture")
    (folder / "masks/1.png").write_bytes(b"no mask")
    save(folder / "masks/2.png", lung(2, SIDE, 2 * SIDE))
    save(folder / "masks/3.png", grey(3))
    save(folder / "masks/4.png", np.zeros((SIDE, SIDE), np.uint8))
    save(folder / "masks/5.png", lung(5, 2 * SIDE, 2 * SIDE))
    save(folder / "masks/left-over.png", lung(6))
    save(tmp_path / "shenzhen/masks/31.png", grey(31))
    (folder / "masks/6.png").unlink()
    dataset = made(tmp_path)
    inspection = dataset.inspect()
    problems = {
        "0.png": "cannot be read",
        "1.png": "cannot be read",
        "2.png": "other proportions",
        "3.png": "are grey",
        "left-over.png": "no photo left-over",
        "31.png": "are grey",
    }
    assert len(inspection.findings.problems) == len(problems)
    for name, why in problems.items():
        assert any(f"/{name}: " in problem and why in problem for problem in inspection.findings.problems), name
    notes = "\n".join(inspection.findings.notes)
    for note in ("1 of 20 photos have no mask", "1 masks are empty: 4.png", "in the same proportions: 5.png"):
        assert note in notes
    with pytest.raises(UserError) as caught:
        dataset.load()
    assert sorted(str(caught.value).splitlines()[1:]) == sorted(
        f"- {problem}" for problem in inspection.findings.problems
    )
    usable = [name for name in inspection.names if name.startswith("montgomery")]
    assert len(usable) == 20 - 5
    assert not {"montgomery/0.png", "montgomery/3.png", "montgomery/6.png"} & set(usable)


def test_a_lung_without_the_other_and_a_source_twice_are_refused(tmp_path: Path) -> None:
    for i in range(9):
        save(tmp_path / "montgomery/CXR_png" / f"{i}.png", grey(i))
        save(tmp_path / "montgomery/ManualMask/leftMask" / f"{i}.png", lung(i))
        if i != 4:
            save(tmp_path / "montgomery/ManualMask/rightMask" / f"{i}.png", lung(i))
    shutil.copytree(tmp_path / "montgomery/CXR_png", tmp_path / "montgomery/images")
    with pytest.raises(UserError) as caught:
        made(tmp_path).load()
    assert "leftMask/4.png: is in ManualMask/leftMask, but none for the same photo is in ManualMask/rightMask" in str(
        caught.value
    )
    assert "are there twice" in str(caught.value)


@pytest.mark.parametrize("levels", [(0, 1), (0, 255), (0, 200), (0, 65535)])
def test_masks_of_any_two_levels_and_smoothed_edges_are_cut_in_the_middle(
    levels: tuple[int, int], tmp_path: Path
) -> None:
    true = lung(9) > 0
    values = np.where(true, levels[1], levels[0]).astype(np.uint16 if levels[1] > 255 else np.uint8)
    if levels[1] == 200:
        values[2, 4:9] = [80, 90, 120, 160, 10]
        true[2, [4, 5, 8]] = False
    save(tmp_path / "mask.png", values)
    mask, smoothed = read_mask(tmp_path / "mask.png", "lung")
    assert np.array_equal(mask, true)
    assert smoothed == (levels[1] == 200)


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"LSMBENCH_DATA.*is not set.*data\.lhncbc\.nlm\.nih\.gov"):
        ChestXray().load()
    simple(tmp_path, "shenzhen", 4)
    with pytest.raises(UserError, match=r"no folder montgomery or MontgomerySet.*it holds: shenzhen/"):
        made(tmp_path).load()
    with pytest.raises(UserError, match=r"no folder jsrt"):
        made(tmp_path, trained_on="jsrt").load()
    (tmp_path / "montgomery").mkdir()
    with pytest.raises(UserError, match=r"no folder CXR_png/ or images/ with the photos of montgomery"):
        made(tmp_path).load()
    for options, why in (
        ({"trained_on": "nih"}, "expected one of: montgomery, jsrt"),
        ({"unlabelled": -1}, "0 for none"),
    ):
        with pytest.raises(UserError, match=why):
            made(tmp_path, **options)


def test_the_cache_holds_each_source_and_sees_what_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ChestXray.example(tmp_path / "files")
    first, calls = fingerprint(dataset), list[Path]()
    read = read_radiograph
    monkeypatch.setattr(chest_xray, "read_radiograph", lambda path: calls.append(path) or read(path))
    assert fingerprint(ChestXray.example(tmp_path / "files")) == first
    assert calls == []
    save(tmp_path / "files/nih/masks/00000001_000.png", lung(3, 44, 40))
    assert fingerprint(dataset) != first
    assert {path.parent.parent.name for path in calls} == {"nih"}, "only what has changed is read again"


# A run


def test_a_run_is_selected_and_scored_by_dice_on_every_test_set_and_predicts_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = RunConfig(
        dataset=ChestXray.example(tmp_path / "files"),
        method_name="baseline",
        method=METHODS["baseline"].Config(network="tiny", learning_rate=1e-2),
        supervision=SupervisionConfig(paired=50, protocol="x_only"),
        training=TrainingConfig(epochs=1, batch_size=6, steps_per_epoch=3),
    )
    result = execute(config, tmp_path, Machine("cpu", 1))
    assert {(score.test_set, score.metric) for score in result.scores} == {
        (part, metric) for part in ("test", "jsrt", "shenzhen", "nih") for metric in ("dice", "iou")
    }
    assert result.scores[0].metric == "dice"
    for part in ("test", "jsrt", "shenzhen", "nih"):
        dice, iou = (
            np.array(next(s for s in result.scores if (s.test_set, s.metric) == (part, m)).values)
            for m in ("dice", "iou")
        )
        assert np.allclose(dice, 2 * iou / (1 + iou), atol=1e-5)
    photos = sorted((tmp_path / "files/nih/images").iterdir())
    for found in lsmbench.load(tmp_path / result.id, accelerator="cpu").translate_files(photos):
        assert found.mask.shape == (44, 40)


# Real data


def check_lungs(pools: Pools) -> None:
    """Lungs are darker than what surrounds them, in both halves and in the middle rows."""
    numbers = np.concatenate([pools.part(part) for part in ("test", "shenzhen")])
    x, y = pools.take("x", numbers)[:, 0].astype(float), pools.take("y", numbers) == 1
    beside = y.any(2, keepdims=True) & ~y
    assert (
        np.mean([one[mask].mean() < one[around].mean() for one, mask, around in zip(x, y, beside, strict=True)]) > 0.9
    )
    share = y.mean((1, 2))
    assert 0.2 < share.mean() < 0.3
    assert share.min() > 0.05
    assert (y[:, :, :32].any((1, 2)) & y[:, :, 32:].any((1, 2))).mean() > 0.98


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="LSMBENCH_DATA is not set")
def test_montgomery_and_shenzhen() -> None:
    if not (Path(str(REAL_DATA)) / "chest_xray/montgomery").is_dir():
        pytest.skip("LSMBENCH_DATA/chest_xray/montgomery is missing")
    dataset = ChestXray(root=str(Path(str(REAL_DATA)) / "chest_xray"), size=64)
    pools = pools_of(dataset)
    assert [len(pools.part(part)) for part in ("train", "val", "test", "shenzhen")] == [96, 13, 29, 566]
    assert len(set(np.concatenate([pools.part(part) for part in ("train", "val", "test")]).tolist())) == 138
    normal = {name.endswith("_0.jpg") for name in pools.names(pools.part("test")) or []}
    assert normal == {True, False}, "both healthy and ill people are tested on"
    check_lungs(pools)
    counts = supervise(pools, SupervisionConfig(paired=20, protocol="x_only")).counts()
    assert counts == {"pairs": 19, "x": 77, "y": 0}
    masks = torch.from_numpy(pools.take("y", pools.part("train")))
    metric = dataset.domains["y"].metrics()[0]
    floor = dataset.domains["y"].constant(masks)
    for part, expected in (("test", 0.749), ("shenzhen", 0.757)):
        truth = torch.from_numpy(pools.take("y", pools.part(part))).long()
        assert metric.score(floor.expand_as(truth), truth).mean().item() == pytest.approx(expected, abs=0.001)
