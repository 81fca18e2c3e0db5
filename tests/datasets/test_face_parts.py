"""Parts of faces: the owners' layout, 19 classes as 8, who is in which part, mistakes in files, scores of two sets."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

import lsmbench
from lsmbench.benchmarks import definition
from lsmbench.benchmarks import grid as grids
from lsmbench.data.dataset import pools_of
from lsmbench.data.inputs import form_of
from lsmbench.data.supervision import SupervisionConfig, supervise
from lsmbench.datasets import face_parts
from lsmbench.datasets.face_parts import CLASSES, PARTS, FaceParts
from lsmbench.errors import UserError
from lsmbench.methods import METHODS
from lsmbench.runs.config import Machine, RunConfig, TrainingConfig
from lsmbench.runs.run import execute
from tests.conftest import fingerprint

REAL_DATA = os.environ.get("LSMBENCH_DATA")
SIDE = 16


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


def save(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)


def photo(number: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Noise of its own for each number, (side, side, 3)."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def rows(first: int, last: int, side: int = SIDE) -> NDArray[np.uint8]:
    """The mask of some rows, 0 and 255."""
    mask = np.zeros((side, side), np.uint8)
    mask[first:last] = 255
    return mask


IMAGES, ANNOTATED = "CelebAMask-HQ/CelebA-HQ-img", "CelebAMask-HQ/CelebAMask-HQ-mask-anno"


def annotate(root: Path, number: int, **parts: NDArray[Any]) -> None:
    for part, mask in parts.items():
        save(root / ANNOTATED / str(number // 2000) / f"{number:05}_{part}.png", mask)


def celeba(root: Path, count: int, masked: bool = True) -> Path:
    """So many photos with skin above and hair below."""
    for i in range(count):
        save(root / IMAGES / f"{i}.png", photo(i))
        if masked:
            annotate(root, i, skin=rows(0, 8), hair=rows(8, 12))
    return root


def made(root: Path, **options: Any) -> FaceParts:
    return FaceParts(**{"root": str(root), "size": SIDE, **options})


def rows_of(dataset: FaceParts, pool: str, view: str) -> dict[str, NDArray[np.uint8]]:
    """The views of a pool's samples, by the stems of their files."""
    found = next(p for p in dataset.pools() if p.name == pool)
    return dict(zip((Path(name).stem for name in found.names or []), np.asarray(found.views[view]), strict=True))


def masks_of(dataset: FaceParts, pool: str = "celeba") -> dict[str, NDArray[np.uint8]]:
    return rows_of(dataset, pool, "y")


def persons(root: Path, who: dict[int, int]) -> None:
    """The owners' two files: the photo of CelebA that each photo is, and who is shown on that."""
    lines = [f"{i} {i + 100} {i + 101:06}.jpg" for i in who]
    (root / "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(["idx orig_idx orig_file", *lines]))
    told = [f"{i + 101:06}.jpg {person}" for i, person in who.items()]
    (root / "identity_CelebA.txt").write_text("\n".join(told))


# Classes


def test_every_part_is_one_of_the_eight_classes_in_the_papers_order(tmp_path: Path) -> None:
    celeba(tmp_path, 20)
    of_class = {
        "ear": ["l_ear", "r_ear"], "eye": ["l_eye", "r_eye"], "eyebrow": ["l_brow", "r_brow"], "skin": ["skin"],
        "hair": ["hair"], "mouth": ["mouth", "u_lip", "l_lip"], "nose": ["nose"],
        "background": ["eye_g", "hat", "ear_r", "neck_l", "neck", "cloth"],
    }  # fmt: skip
    assert sorted(part for parts in of_class.values() for part in parts) == sorted(PARTS)
    for i, (name, parts) in enumerate(of_class.items()):
        for path in (tmp_path / ANNOTATED / "0").glob(f"{i:05}_*"):
            path.unlink()
        annotate(tmp_path, i, **{part: rows(k, k + 1) for k, part in enumerate(parts)})
        expected = np.zeros((SIDE, SIDE))
        expected[: len(parts)] = CLASSES.index(name)
        assert np.array_equal(masks_of(made(tmp_path))[str(i)], expected)
    assert made(tmp_path).domains["y"].class_names == CLASSES
    assert CLASSES == ("background", "ear", "eye", "eyebrow", "skin", "hair", "mouth", "nose")


def test_masks_are_painted_in_the_order_of_the_owners_numbers(tmp_path: Path) -> None:
    celeba(tmp_path, 20)
    annotate(tmp_path, 3, skin=rows(0, 16), eye_g=rows(2, 8), l_eye=rows(3, 5), l_brow=rows(5, 10))
    annotate(tmp_path, 3, hair=rows(9, 12), l_ear=rows(12, 14), ear_r=rows(13, 14))
    by_row = [CLASSES[label] for label in masks_of(made(tmp_path))["3"][:, 0]]
    assert by_row == (
        ["skin"] * 2
        + ["background"]
        + ["eye"] * 2
        + ["eyebrow"] * 4
        + ["hair"] * 3
        + ["ear", "background"]
        + ["skin"] * 2
    )


def test_maps_of_19_and_of_8_numbers_give_the_same_as_masks_of_parts(tmp_path: Path) -> None:
    FaceParts.example(tmp_path)
    parts = masks_of(FaceParts(root=str(tmp_path), size=32))
    home = tmp_path / "CelebAMask-HQ"
    for number in range(24):
        nineteen = np.zeros((32, 32), np.uint8)
        for k, part in enumerate(PARTS, start=1):
            path = home / f"CelebAMask-HQ-mask-anno/0/{number:05}_{part}.png"
            if path.exists():
                nineteen[np.asarray(Picture.open(path)) > 0] = k
        save(home / f"CelebAMask-HQ-mask/{number}.png", nineteen)
        save(home / f"masks/{number}.png", parts[str(number)])
    for folder in ("CelebAMask-HQ-mask-anno", "CelebAMask-HQ-mask", "masks"):
        found = masks_of(FaceParts(root=str(tmp_path), size=32))
        assert found.keys() == parts.keys()
        assert all(np.array_equal(found[key], parts[key]) for key in parts), folder
        shutil.rmtree(home / folder)


def test_masks_of_half_the_photos_side_belong_to_it_and_photos_become_rgb(tmp_path: Path) -> None:
    celeba(tmp_path, 20)
    large = photo(7, 32)
    save(tmp_path / IMAGES / "7.png", large)
    alpha = np.concatenate([photo(8), np.full((SIDE, SIDE, 1), 90, np.uint8)], 2)
    save(tmp_path / IMAGES / "8.png", alpha)
    save(tmp_path / IMAGES / "9.png", photo(9)[..., 0])
    deep = photo(10)[..., 0].astype(np.uint16) * 257
    save(tmp_path / IMAGES / "10.png", deep)
    annotate(tmp_path, 11, skin=np.stack([rows(0, 8)] * 3, -1), hair=rows(8, 12) > 0)
    annotate(tmp_path, 12, skin=(rows(0, 8) // 255).astype(np.uint16), hair=rows(8, 12))
    x = rows_of(made(tmp_path), "celeba", "x")
    small = Picture.fromarray(large).resize((SIDE, SIDE), Picture.Resampling.BILINEAR)
    assert np.array_equal(x["7"], np.asarray(small).transpose(2, 0, 1))
    assert np.array_equal(x["8"], photo(8).transpose(2, 0, 1)), "alpha is left out"
    assert np.array_equal(x["9"], np.stack([photo(9)[..., 0]] * 3)), "grey is repeated"
    assert np.array_equal(x["10"], np.stack([photo(10)[..., 0]] * 3)), "16 bits as 8"
    masks = masks_of(made(tmp_path))
    assert all(np.array_equal(masks[key], masks["0"]) for key in ("7", "11", "12"))
    note = next(note for note in made(tmp_path).inspect().findings.notes if "not RGB" in note)
    assert "3 photos are not RGB of 8 bits and are converted, without alpha: 8.png, 9.png, 10.png" in note


def test_a_single_file_is_read_as_the_dataset_reads_it(tmp_path: Path) -> None:
    dataset = FaceParts.example(tmp_path)
    form = form_of(json.loads(json.dumps(dataset.inputs().plain())))
    assert form == dataset.inputs()
    for stem, view in rows_of(dataset, "metfaces", "x").items():
        given = form.read(tmp_path / f"metfaces/images/{stem}.png")
        assert np.array_equal(given.view, view)
        assert given.size == (32, 32)


# Parts


def test_the_papers_numbers_are_taken_where_there_are_enough_photos_and_scaled_where_not() -> None:
    part_of = face_parts._parts([str(i) for i in range(30_000)], 0)
    numbers = {part: part_of.count(part) for part in set(part_of)}
    assert numbers == {"train": 1500, "val": 188, "test": 500, "rest": 27_812}
    assert part_of != face_parts._parts([str(i) for i in range(30_000)], 1)
    few = face_parts._parts([str(i) for i in range(219)], 0)
    assert [few.count(part) for part in ("train", "val", "test")] == [151, 18, 50]
    assert [face_parts._parts(list("abc"), 0).count(part) for part in ("train", "val", "test")] == [1, 1, 1]


def test_a_person_is_on_one_side_and_the_test_photos_are_those_without_persons() -> None:
    who = [str(person) for person in np.random.default_rng(0).integers(0, 6000, 30_000)]
    part_of, without = face_parts._parts(who, 3), face_parts._parts([str(i) for i in range(30_000)], 3)
    assert [p == "test" for p in part_of] == [p == "test" for p in without]
    assert [part_of.count(part) for part in ("train", "val", "test")] == [1500, 188, 500]
    shown = {part: {w for w, p in zip(who, part_of, strict=True) if p == part} for part in set(part_of)}
    assert not shown["test"] & shown["val"]
    assert not (shown["test"] | shown["val"]) & (shown["train"] | shown["rest"])
    assert shown[None] <= shown["test"] | shown["val"]


def test_persons_are_units_by_the_owners_files(tmp_path: Path) -> None:
    celeba(tmp_path, 24)
    for i in (20, 21):
        shutil.rmtree(tmp_path / ANNOTATED / "1", ignore_errors=True)
        for path in (tmp_path / ANNOTATED / "0").glob(f"{i:05}_*"):
            path.unlink()
    note = "CelebA-HQ-to-CelebA-mapping.txt and identity_CelebA.txt are not there"
    assert any(note in found for found in made(tmp_path).inspect().findings.notes)
    who = {i: i // 2 for i in range(24)}
    persons(tmp_path, who)
    pools = pools_of(made(tmp_path))
    side: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        numbers = pools.part(part)
        names = [int(name.partition("/")[2].partition(".")[0]) for name in pools.names(numbers) or []]
        assert pools.units(numbers) == [f"person {who[i]}" for i in names]
        side[part] = set(pools.units(numbers) or [])
    assert not side["train"] & (side["val"] | side["test"])
    assert not side["val"] & side["test"]
    inspection = made(tmp_path).inspect()
    assert inspection.findings.problems == []
    read = sum(inspection.counts.values())
    assert any(f"celeba: {24 - read} photos are left out" in found for found in inspection.findings.notes)
    assert 0 < read < 24
    del who[5]
    persons(tmp_path, who)
    with pytest.raises(UserError, match=r"mapping\.txt: tells nobody of 1 photos, by identity_CelebA\.txt: 5\.png"):
        made(tmp_path).load()
    (tmp_path / "identity_CelebA.txt").write_text("000101.jpg 7\n000102.jpg\n")
    with pytest.raises(UserError, match=r"identity_CelebA\.txt: line 2: expected 2 words, found '000102\.jpg'"):
        made(tmp_path).load()


def test_further_photos_are_x_only_and_their_masks_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_TRAIN", 8), ("_VAL", 1), ("_TEST", 3)):
        monkeypatch.setattr(face_parts, name, value)
    celeba(tmp_path, 20)
    plain = made(tmp_path)
    assert [pool.name for pool in plain.pools()] == ["celeba"]
    assert any("8 further photos are not read" in note for note in plain.inspect().findings.notes)
    labelled = set(plain.pools()[0].names or [])
    for i in range(20):
        if f"celeba/{i}.png" not in labelled:
            annotate(tmp_path, i, skin=photo(i)[..., 0])  # a mask that would be refused
    pools = pools_of(made(tmp_path, unlabelled=None))
    alone = np.arange(*pools.ranges["celeba-unlabelled"])
    assert set(pools.names(alone) or []) == {f"celeba/{i}.png" for i in range(20)} - labelled
    assert np.array_equal(pools.take("x", alone)[0], photo(int((pools.names(alone) or [])[0][7:-4])).transpose(2, 0, 1))
    assert not pools.has("y", alone).any()
    shown = supervise(pools, SupervisionConfig(paired_count=2, protocol="x_only"))
    assert shown.counts() == {"pairs": 2, "x": 6 + 8, "y": 0}
    some = pools_of(made(tmp_path, unlabelled=3))
    assert len(some.part("train")) == 8 + 3
    assert set(some.names(np.arange(*some.ranges["celeba-unlabelled"])) or []) < set(pools.names(alone) or [])
    with pytest.raises(UserError, match="unlabelled=9, but only 8 photos are there"):
        made(tmp_path, unlabelled=9).pools()
    with pytest.raises(UserError, match="0 for none"):
        made(tmp_path, unlabelled=-1)


def test_photos_without_a_mask_are_told_and_trained_on_alone(tmp_path: Path) -> None:
    celeba(tmp_path, 20)
    save(tmp_path / IMAGES / "20.png", photo(20))
    save(tmp_path / "metfaces/images/a-00.png", photo(30))
    save(tmp_path / "metfaces/images/b-00.png", photo(31))
    save(tmp_path / "metfaces/masks/b-00_skin.png", rows(0, 4))
    save(tmp_path / "metfaces/masks/b-00_nose.png", rows(2, 3))
    inspection = made(tmp_path).inspect()
    notes = "\n".join(inspection.findings.notes)
    assert "celeba: 1 of 21 photos have no mask, x-only training samples: 20.png" in notes
    assert "metfaces: 1 of 2 photos have no mask, not read: a-00.png" in notes
    assert inspection.counts == {"train": 15 + 1, "val": 1, "test": 4, "metfaces": 1}
    assert inspection.alone["x"][1] == ["celeba/20.png"]
    assert masks_of(made(tmp_path), "metfaces")["b-00"][:5, 0].tolist() == [4, 4, 7, 4, 0]


# Mistakes


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    celeba(tmp_path, 30)
    (tmp_path / IMAGES / "0.png").write_bytes(b"no picture")
    annotate(tmp_path, 1, nose=rows(0, 2, 32))
    annotate(tmp_path, 2, nose=photo(2)[..., 0])
    annotate(tmp_path, 3, skin=rows(0, 8)[:, :8], hair=rows(8, 12)[:, :8])
    annotate(tmp_path, 4, skin=rows(0, 0), hair=rows(0, 0))
    annotate(tmp_path, 5, beard=rows(0, 2))
    save(tmp_path / ANNOTATED / "0/6.png", rows(0, 2) // 255)
    annotate(tmp_path, 99, skin=rows(0, 8))
    for i, numbers in enumerate(([0, 7], [0, 8, 12], [3, 3])):
        save(tmp_path / f"metfaces/images/{i}.png", photo(40 + i))
        save(tmp_path / f"metfaces/masks/{i}.png", np.resize(np.array(numbers, np.uint8), (SIDE, SIDE)))
    save(tmp_path / "metfaces/masks/2.png", photo(3))
    dataset = made(tmp_path)
    inspection = dataset.inspect()
    problems = {
        "0.png": "cannot be read as a picture",
        "00001_nose.png": "is of 32×32 px, but other masks of 1.png are of 16×16 px",
        "00002_nose.png": "of its pixels are grey",
        "00003_hair.png": "is of 8×16 px, but its photo 3.png of 16×16 px, which has other proportions",
        "CelebAMask-HQ-mask-anno": "1 files are masks of no known part and of no photo: 00005_beard.png",
        "6.png": "is a map of all classes, but there are masks of single parts of 6.png too",
        "1.png": "holds the numbers 8, 12; expected 0 to 7, background, ear",
        "2.png": "is in colours; expected class numbers",
    }
    found = inspection.findings.problems
    for name, why in problems.items():
        assert any(f"/{name}: " in problem and why in problem for problem in found), (name, found)
    assert len(found) == len(problems)
    notes = "\n".join(inspection.findings.notes)
    assert "celeba: 1 masks are empty, with no part but background: 4.png" in notes
    assert "masks of 1 photos that are not there are not read" in notes
    with pytest.raises(UserError) as caught:
        dataset.load()
    assert sorted(str(caught.value).splitlines()[1:]) == sorted(f"- {problem}" for problem in found)
    usable = set(inspection.names)
    assert {"celeba/4.png", "celeba/5.png", "metfaces/0.png"} <= usable
    assert not {f"celeba/{i}.png" for i in range(4)} & usable


def test_photos_and_masks_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    celeba(tmp_path, 12)
    save(tmp_path / IMAGES / "00003.png", photo(3))
    save(tmp_path / ANNOTATED / "1/00004_skin.png", rows(0, 8))
    shutil.copytree(tmp_path / IMAGES, tmp_path / "CelebAMask-HQ/images")
    with pytest.raises(UserError) as caught:
        made(tmp_path).load()
    for part in (
        "/3.png: is the same photo as 00003.png",
        "1/00004_skin.png: is the same mask as 0/",
        "are there twice",
    ):
        assert part in str(caught.value)


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    with pytest.raises(UserError, match=r"LSMBENCH_DATA.*is not set.*switchablenorms/CelebAMask-HQ"):
        FaceParts().load()
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"no folder CelebAMask-HQ/CelebA-HQ-img with photos; it holds: other/"):
        made(tmp_path).load()
    celeba(tmp_path, 2, masked=False)
    with pytest.raises(UserError, match=r"CelebA-HQ-img: beside it there is no folder CelebAMask-HQ-mask-anno/ or"):
        made(tmp_path).load()
    assert len(made(tmp_path).inspect().findings.problems) == 1
    (tmp_path / ANNOTATED).mkdir()
    with pytest.raises(UserError, match=r"none of 2 photos has a mask"):
        made(tmp_path).load()
    celeba(tmp_path, 2)
    with pytest.raises(UserError, match=r"2 photos with masks are too few to split, none is left for train"):
        made(tmp_path).load()
    celeba(tmp_path, 3)
    (tmp_path / "metfaces").mkdir()
    with pytest.raises(UserError, match=r"metfaces: no folder images/ with photos"):
        made(tmp_path).load()
    (tmp_path / "metfaces").rmdir()
    assert pools_of(made(tmp_path)).test_sets == ("test",)
    assert fingerprint(made(tmp_path / "CelebAMask-HQ")) == fingerprint(made(tmp_path)), "the owners' folder will do"


def test_the_cache_sees_what_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = FaceParts.example(tmp_path / "files")
    first, calls = fingerprint(dataset), list[Path]()
    read = face_parts.read_raster
    monkeypatch.setattr(face_parts, "read_raster", lambda path: calls.append(path) or read(path))
    assert fingerprint(FaceParts.example(tmp_path / "files")) == first
    assert calls == []
    save(tmp_path / "files/metfaces/masks/01-00.png", np.zeros((32, 32), np.uint8))
    assert fingerprint(dataset) != first
    assert {path.parent.parent.name for path in calls} == {"metfaces"}, "only what has changed is read again"


# A run


def test_a_run_is_scored_by_pixels_of_all_photos_first_and_predicts_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = RunConfig(
        dataset=FaceParts.example(tmp_path / "files"),
        method_name="baseline",
        method=METHODS["baseline"].Config(network="tiny", learning_rate=1e-2),
        supervision=SupervisionConfig(paired_count=8, protocol="x_only"),
        training=TrainingConfig(epochs=1, batch_size=6, steps_per_epoch=3),
    )
    result = execute(config, tmp_path, Machine("cpu", 1))
    assert [(score.test_set, score.metric) for score in result.scores] == [
        (part, metric) for part in ("test", "metfaces") for metric in ("pooled_iou", "iou")
    ]
    for score in result.scores[::2]:
        ious = [iou for iou in score.class_ious[1:] if not np.isnan(iou)]
        assert score.value == pytest.approx(np.mean(ious))
        assert score.classes == list(CLASSES)
    photos = sorted((tmp_path / "files/metfaces/images").iterdir())
    for found in lsmbench.load(tmp_path / result.id, accelerator="cpu").translate_files(photos):
        assert found.mask.shape == (32, 32)
        assert found.mask.max() < len(CLASSES)


# The benchmark


def test_tables_6_to_8_are_typed_as_printed() -> None:
    """The printed means are those of the seven classes, to a step of the last digit, but for two."""
    blocks = definition.load("face_parts").published
    assert isinstance(blocks, list)
    assert [(block["test_set"], block["metric"]) for block in blocks] == [
        ("test", "pooled_iou"),
        ("metfaces", "pooled_iou"),
    ]
    off = {}
    for block in blocks:
        assert block["values"].keys() == block["classes"].keys()
        for row, values in block["values"].items():
            assert list(values) == [30, 150, 1500]
            for n, value in values.items():
                printed = block["classes"][row][n]
                assert tuple(printed) == CLASSES[1:]
                if abs(np.mean(list(printed.values())) - value) > 1e-4:
                    off[block["test_set"], row, n] = (round(float(np.mean(list(printed.values()))), 4), value)
    assert off == {
        ("test", "unet", 30): (0.5542, 0.5764),
        ("metfaces", "semanticgan, 400 steps", 1500): (0.6637, 0.6633),
    }
    painted = blocks[1]
    assert painted["classes"]["unet"][30] == painted["classes"]["unet"][150], "one of the two rows is a copy"
    assert blocks[0]["values"]["semanticgan, 400 steps"] == {30: 0.6902, 150: 0.7600, 1500: 0.7810}
    assert painted["values"]["mean_teacher"] == {30: 0.1415, 150: 0.4305, 1500: 0.5132}


def test_the_refined_rows_of_the_paper_size_are_those_with_published_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = definition.load("face_parts", "paper")
    monkeypatch.setitem(benchmark.dataset, "root", FaceParts.example(tmp_path).root)
    monkeypatch.setitem(benchmark.dataset, "size", 32)
    benchmark.paired_count, benchmark.seeds = [4], [0]
    benchmark.methods = {"semanticgan": benchmark.methods["semanticgan"] | {"perceptual": "discriminator"}}
    rows = [row for run in grids.expand(benchmark).runs for row in run.refined_folders(tmp_path)]
    assert rows == ["semanticgan, 400 steps"]


# Real data


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="LSMBENCH_DATA is not set")
def test_celebamask_hq() -> None:
    root = Path(str(REAL_DATA)) / "face_parts"
    if not root.is_dir():
        pytest.skip("LSMBENCH_DATA/face_parts is missing")
    pools = pools_of(FaceParts(root=str(root), size=64))
    assert [len(pools.part(part)) for part in ("train", "val", "test")] == [1500, 188, 500]
    shares = np.bincount(torch.from_numpy(pools.take("y", pools.part("test"))).flatten().numpy(), minlength=8)
    assert (shares[1:] > 0).all()
    assert shares[4] > shares[1:][[0, 1, 2, 5, 6]].max(), "skin is more than any small part"
