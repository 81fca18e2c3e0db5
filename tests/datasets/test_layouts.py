"""Folders as people have them, rebuilt small."""

import unicodedata

import numpy as np
import pytest
from PIL import Image as Picture

from lsmbench.datasets.facades import Facades
from lsmbench.datasets.folder import Folder
from lsmbench.domains import Image, Landmarks, Mask
from lsmbench.errors import UserError
from tests.datasets.test_folder import grey, labels, refused, save, write_csv, write_pts


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "mine"
    made.mkdir()
    return made


def looked_at(root, **options):
    """The inspection, without problems, and the pools by name with the parts' sizes."""
    dataset = Folder(str(root), size=32, **options)
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    pools = {p.name: {part: len(rows) for part, rows in p.parts.items()} for p in dataset.pools()}
    return dataset, inspection, pools


def both(root, picture, mask, count=10, first=0):
    for i in range(first, first + count):
        save(root / picture.format(i), grey(i))
        save(root / mask.format(i), labels())


SPLIT = {"samples": {"train": 7, "val": 1, "test": 2}}


@pytest.mark.parametrize(
    ("picture", "mask", "rule"),
    [
        ("imgs/{}.png", "labels/{}.png", "stem"),
        ("Photos/{}.jpg", "GT/{}.png", "stem"),
        ("x/{}.png", "seg/{}_seg.png", "*_seg"),
        ("image/{}.ppm", "annots/{}-gt.png", "*-gt"),
        ("images/img_{}.png", "masks/label_{}.png", "img_*,label_*"),
        ("images/{}_sat.jpg", "masks/{}_mask.png", "*_sat,*_mask"),
        ("{:03}.png", "{:03}_mask.png", "*_mask"),
        ("a{:02}.png", "a{:02}_L.png", "*_l"),
        ("P{0}/a{0}.tif", "P{0}/a{0}_mask.tif", "*_mask"),
        ("P{0}/images/a.png", "P{0}/masks/a.png", "stem"),
        ("images/P{0}/a.png", "masks/P{0}/a.png", "stem"),
        ("{}.png", "masks/{}.png", "stem"),
        ("{}.jpg", "{}.png", "stem"),
    ],
)
def test_pictures_and_masks(root, picture, mask, rule):
    both(root, picture, mask)
    dataset, inspection, pools = looked_at(root)
    assert pools == SPLIT
    assert dataset.domains["y"] == Mask(3, 32)
    assert dataset.domains["x"].kind == "image"
    told = inspection.facts["pairing"]
    assert told == ("equal names" if rule == "stem" else f"{told.partition(' (')[0]} (pairing={rule})")
    assert inspection.unread == {}


@pytest.mark.parametrize(
    ("picture", "mask", "title"),
    [
        ("{part}/{{}}.png", "{part}annot/{{}}.png", "train/ with trainannot/, val/ with valannot/ and test/ with test"),
        ("images/{part}/{{}}.png", "masks/{part}/{{}}.png", "images/train/ with masks/train/"),
        ("{part}_images/{{}}.png", "{part}_masks/{{}}.png", "train_images/ with train_masks/"),
        ("{part}/images/P1/{{}}.png", "{part}/masks/P1/{{}}.png", "images/ with masks/, in train/, val/ and test/"),
    ],
)
def test_splits_laid_out_in_other_ways(root, picture, mask, title):
    for part, first, count in (("train", 0, 5), ("val", 5, 2), ("test", 7, 3)):
        both(root, picture.format(part=part), mask.format(part=part), count, first)
    _, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 5, "val": 2, "test": 3}}
    assert inspection.facts["layout"].startswith(title)


def test_folders_of_cyclegan(root):
    for folder, first, count in (("trainA", 0, 6), ("trainB", 10, 8), ("testA", 20, 3), ("testB", 20, 3)):
        for i in range(first, first + count):
            save(root / folder / f"{i}.png", grey(i), "RGB")
    dataset, _, pools = looked_at(root)
    assert dataset.domains == {"x": Image(3, 32), "y": Image(3, 32)}
    assert pools == {"samples": {"train": 0, "val": 0, "test": 3}, "x": {"train": 6}, "y": {"train": 8}}
    for i in range(20, 23):
        (root / "testB" / f"{i}.png").rename(root / "testB" / f"b{i}.png")
    _, inspection, pools = looked_at(root)
    assert pools == {"x": {"train": 6, "test": 3}, "y": {"train": 8, "test": 3}}
    assert inspection.findings.notes[0].split(": ", 1)[1].startswith("nothing is paired: no annotation has the name")


def test_endings_a_and_b_are_pictures(root):
    for i in range(10):
        save(root / "A" / f"{i}_A.png", grey(i))
        save(root / "B" / f"{i}_B.png", grey(i))
    assert looked_at(root)[2] == SPLIT
    for folder in ("A", "B"):
        for path in (root / folder).iterdir():
            path.rename(root / path.name)
    dataset, _, pools = looked_at(root)
    assert pools == SPLIT
    assert dataset.domains["y"] == Image(1, 32)


def test_partial_folders_with_endings(root):
    both(root, "{:03}.png", "{:03}_mask.png", 12)
    for i in range(50, 60):
        save(root / f"{i:03}.png", grey(i))
    save(root / "99_mask.png", labels())
    assert looked_at(root)[2] == {"samples": {"train": 8, "val": 1, "test": 3}, "x": {"train": 10}, "y": {"train": 1}}


def test_composed_and_decomposed_names_match(root):
    for i in range(10):
        save(root / "images" / unicodedata.normalize("NFC", f"Gänse{i}.png"), grey(i))
        save(root / "masks" / unicodedata.normalize("NFD", f"Gänse{i}.png"), labels())
    assert looked_at(root)[2] == SPLIT


def test_a_path_with_brackets_and_chinese_names(root, tmp_path):
    both(root, "[v2]/images/图{}.png", "[v2]/masks/图{}.png")
    assert looked_at(root / "[v2]")[2] == SPLIT


def test_names_that_are_not_utf8(root):
    both(root, "images/{}.png", "masks/{}.png")
    (root / "images" / "0.png").rename(root / "images" / b"K\xf6ln.png".decode("utf-8", "surrogateescape"))
    refused(root, "the names of 1 files are not UTF-8", "K\\udcf6ln.png")
    latin = root.parent / b"M\xfcnchen".decode("utf-8", "surrogateescape")
    root.rename(latin)
    refused(latin, "the folder's name is not UTF-8")


# What is refused


def test_two_rules_that_fit_different_files(root):
    both(root, "images/{}.png", "masks/{}.png")
    both(root, "images/{}.png", "masks/{}_mask.png", 4, 20)
    text = refused(root, "1 problem", "pairing=stem pairs 10, such as 0 and 0", "pairing=*_mask pairs 4")
    assert len(text.splitlines()) == 2
    assert looked_at(root, pairing="stem")[2] == {**SPLIT, "x": {"train": 4}, "y": {"train": 4}}


def test_two_annotations_of_one_picture(root):
    both(root, "{}.png", "{}_mask.png")
    save(root / "3_seg.png", labels())
    refused(root, "different rules pair different files", "pairing=*_seg pairs 1, such as 3 and 3_seg")
    _, inspection, pools = looked_at(root, pairing="*_mask")
    assert pools == SPLIT
    assert inspection.unread == {"an annotation by another rule than pairing says": ["3_seg.png"]}


@pytest.mark.parametrize("word", ["*_a,*_b,*_c", "a*b*", "**"])
def test_rules_that_are_none(root, word):
    with pytest.raises(UserError, match=r"dataset folder: pairing=.*expected auto, stem, none"):
        Folder(str(root), pairing=word)


def test_side_by_side_needs_evidence(root):
    for i in range(10):
        save(root / f"a{i}.png", grey(i, 48, 36))
    refused(root, "no annotation was recognised (a0.png: 48×36 px", "side_by_side=x_left", "pairing=_mask")
    (root / "a0.png").write_bytes(b"no picture")
    refused(root, "no annotation was recognised (a0.png: cannot be read")
    save(root / "a0.png", grey())
    for i in range(10):
        save(root / f"a{i}.png", grey(i, 48, 36))
    assert Folder(str(root), size=32, side_by_side="x_left").load()["x"].shape == (10, 1, 32, 32)
    for i in range(10):
        save(root / f"a{i}.png", grey(i, 72, 36))
    notes = looked_at(root)[1].findings.notes
    assert any("taken as both views side by side. side_by_side=x_left says so" in note for note in notes)
    save(root / "a3_mask.png", labels(3, 72, 36))
    refused(root, "two layouts fit", "(a3, a3_mask; 1 such pairs). Set side_by_side=x_left or pairing=*_mask")


@pytest.mark.parametrize(
    ("picture", "mask", "title"),
    [
        ("images/{part}/{{}}.png", "masks/{{}}.png", "images/train/ with masks/ and images/test/ with masks/"),
        ("images/{part}/{{}}.png", "masks/{{}}_mask.png", "images/train/ with masks/ and images/test/ with masks/"),
        ("{part}/{{}}.png", "labels/{{}}.png", "train/ with labels/ and test/ with labels/"),
        ("images/{{}}.png", "masks/{part}/{{}}.png", "images/ with masks/train/ and images/ with masks/test/"),
    ],
)
def test_a_folder_that_is_not_divided_follows_the_parts_of_its_counterparts(root, picture, mask, title):
    for part, first, count in (("train", 0, 8), ("test", 8, 3)):
        both(root, picture.format(part=part), mask.format(part=part), count, first)
    _, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 7, "val": 1, "test": 3}}
    assert inspection.facts["layout"] == title
    assert (
        "is not divided into parts: its files belong to the parts of their counterparts"
        in (inspection.findings.notes[0])
    )
    assert inspection.unread == {}
    (alone,) = {"picture", "mask"} - {"picture" if "{part}" in picture else "mask"}
    save(root / {"picture": picture, "mask": mask}[alone].format(90), grey(0) if alone == "picture" else labels())
    _, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 7, "val": 1, "test": 3}, "xy"[alone == "mask"]: {"train": 1}}
    assert "1 of 12 have none, and are trained on" in inspection.findings.notes[0]


def test_names_of_several_parts_cannot_share_a_folder(root):
    for part in ("train", "test"):
        both(root, f"images/{part}/{{}}.png", "masks/{}.png", 5)
    refused(root, "masks/ is not divided into parts, and 5 of its names occur in several (0.png, 1.png, 2.png and 2 mo",
            "Divide it alike, into masks/train/ and masks/test/")  # fmt: skip


def test_folders_beside_the_parts_that_match_nothing_are_not_read(root):
    for part, count in (("train", 10), ("test", 3)):
        for i in range(count):
            save(root / part / f"{part}{i}.jpg", grey(i, 72, 36))
    save(root / "labels" / "legend.png", labels())
    _, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 9, "val": 1, "test": 3}}
    assert inspection.unread == {"beside train/, and in no part": ["labels/legend.png"]}


def test_names_that_occur_in_several_parts_are_no_copies(root):
    for part, count in (("train", 10), ("test", 3)):
        for i in range(count):
            save(root / part / f"{i}.jpg", grey(i, 72, 36))
    assert looked_at(root)[2] == {"samples": {"train": 9, "val": 1, "test": 3}}


def test_validation_is_drawn_by_units(root):
    for part, people, first in (("train", 16, 0), ("test", 2, 50)):
        for i in range(first, first + people):
            both(root, f"{part}/images/P{i}_{{}}.png", f"{part}/masks/P{i}_{{}}.png", 2)
    dataset, _, pools = looked_at(root, unit=r"(P\d+)_")
    assert pools == {"samples": {"train": 28, "val": 4, "test": 4}}
    pool = dataset.pools()[0]
    assert len(set(pool.unit[pool.parts["val"]].tolist())) == 2


def test_copies_are_not_masks(root):
    for i in range(10):
        for ending in ("jpg", "png"):
            save(root / f"{i}.{ending}", grey(i), "RGB")
    text = refused(root, "10 names occur twice, such as 0.jpg and 0.png", "move the masks to")
    assert "keep one" not in text


def test_two_folders_of_masks(root):
    both(root, "images/{}.png", "masks/{}.png")
    save(root / "labels" / "0.png", labels())
    refused(
        root, "holds images/ with labels/ and images/ with masks/; expected one of them. Move what is not meant out"
    )


def test_parts_inside_another_folder(root):
    both(root, "data/train/images/{}.png", "data/train/masks/{}.png")
    refused(root, f"the folder data/ in it holds the parts; name that one: {root / 'data'}")


# What is not read


def test_everything_is_read_or_named(root):
    both(root, "images/{}.png", "masks/{}.png")
    (root / "README.txt").write_text("")
    (root / "masks" / "3.xml").write_text("")
    (root / "old").mkdir()
    save(root / "old" / "5.png", grey())
    save(root / "6.png", grey())
    (root / "nothing").mkdir()
    (root / "loop").symlink_to(root)
    (root / ".hidden").mkdir()
    pages = [Picture.fromarray(grey(i)) for i in range(3)]
    pages[0].save(root / "images" / "9.tif", save_all=True, append_images=pages[1:])
    (root / "images" / "9.png").unlink()
    assert looked_at(root)[1].unread == {
        "an empty folder": ["nothing"],
        "no regular file": ["loop"],
        ".txt, which is not read": ["README.txt"],
        ".xml, which is not read": ["masks/3.xml"],
        "beside the folders of images/ with masks/": ["6.png", "old/5.png"],
        "pages and frames after the first": ["images/9.tif (pages 2 to 3)"],
    }


def test_links_that_lead_nowhere(root):
    both(root, "images/{}.png", "masks/{}.png")
    for i in range(3):
        (root / "images" / f"l{i}.png").symlink_to("/mnt/unmounted/l.png")
    refused(
        root, "1 problem", "3 links lead to files that are not there: l0.png, l1.png, l2.png", "/mnt/unmounted/l.png"
    )


# Units


def people(root, count=10):
    for i in range(count):
        both(root, f"images/P{i:02}_{{}}.png", f"masks/P{i:02}_{{}}.png", 2)
    save(root / "images" / "P03_9.png", grey(99))
    save(root / "images" / "P77_1.png", grey(98))


def test_units_by_name(root):
    people(root)
    notes = looked_at(root)[1].findings.notes
    assert any("22 names have 11 beginnings" in note and r"unit='(.+)_\d'" in note for note in notes)
    dataset, inspection, pools = looked_at(root, unit=r"(P\d+)_")
    assert inspection.facts["units"] == "11 in 22 samples"
    assert pools["samples"] == {"train": 14, "val": 2, "test": 4}
    pairs, x = dataset.pools()
    seen = [set(pairs.unit[rows].tolist()) for rows in pairs.parts.values()]
    assert sum(map(len, seen)) == 10
    for part, rows in x.parts.items():
        for unit in x.unit[rows].tolist():
            assert unit == "P77" or unit in set(pairs.unit[pairs.parts[part]].tolist())
    assert not any("beginnings" in note for note in inspection.findings.notes)


def test_units_by_folder(root):
    for i in range(10):
        both(root, f"images/P{i}/{{}}.png", f"masks/P{i}/{{}}.png", 2)
    assert any("in 10 sub-folders" in n and "unit=folder" in n for n in looked_at(root)[1].findings.notes)
    assert looked_at(root, unit="folder")[1].facts["units"] == "10 in 20 samples"
    save(root / "images" / "loose.png", grey())
    refused(root, "1 problem", "1 of 21 names lie in no sub-folder: loose.png", unit="folder")


def test_a_unit_on_both_sides(root):
    for part in ("train", "test"):
        both(root / part, "images/P1_{}.png", "masks/P1_{}.png", 2)
        both(root / part, f"images/{part}_{{}}.png", f"masks/{part}_{{}}.png", 3)
    refused(
        root,
        "1 problem",
        "unit P1 lies in several parts",
        "train/images/P1_0.png, train/images/P1_1.png; test/images/P1_0.png",
        unit="(.+)_",
    )


@pytest.mark.parametrize(
    ("unit", "message"), [("(", "is no regular expression"), ("P1", "has 0 groups"), ("(a)(b)", "has 2 groups")]
)
def test_units_that_are_none(root, unit, message):
    with pytest.raises(UserError, match=f"dataset folder: unit=.*{message}"):
        Folder(str(root), unit=unit)


def test_a_pattern_that_some_names_lack(root):
    both(root, "images/P1_{}.png", "masks/P1_{}.png", 10)
    both(root, "images/{}.png", "masks/{}.png", 2)
    refused(root, "1 problem", r"unit=(P\d+)_: 2 of 12 names do not match: 0.png, 1.png", unit=r"(P\d+)_")


# Points


def test_tables_and_points_beside_the_pictures(root, tmp_path):
    for i in range(10):
        save(root / "S1" / f"{i}.png", grey(i))
    write_csv(root / "landmarks.csv", [f"S1/{i}.png,1,2,30,4" for i in range(10)])
    dataset, _, pools = looked_at(root)
    assert pools == SPLIT
    assert isinstance(points := dataset.domains["y"], Landmarks)
    assert points.points == 2
    for i in range(10):
        save(tmp_path / "b" / "train" / f"{i}.png", grey(i))
        write_pts(tmp_path / "b" / "train" / f"{i}.pts", [(1, 1), (9, 9)])
    assert looked_at(tmp_path / "b")[2] == SPLIT
    assert np.isfinite(Folder(str(tmp_path / "b"), size=32).load()["y"]).all()


def test_one_table_of_points_for_all_parts(root):
    for part, first in (("train", 0), ("test", 8)):
        for i in range(first, 10):
            save(root / "images" / part / f"{i}.png", grey(i))
    rows = [f"{i}.png,1,2,30,4" for i in range(8)]
    write_csv(
        root / "landmarks.csv", [*rows, *(f"{part}/{i},{i},2,30,4" for part in ("train", "test") for i in (8, 9))]
    )
    dataset, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 9, "val": 1, "test": 2}}
    assert inspection.facts["layout"] == "images/train/ and images/test/ with landmarks.csv"
    assert np.allclose(dataset.load()["y"][-2:, 0, 0], [8.5 / 40, 9.5 / 40])
    write_csv(root / "landmarks.csv", [*rows, "9.png,1,2,30,4"])
    refused(root, "landmarks.csv: line 10: 9.png is in train/ and test/. Say which is meant, as in train/9.png")


def test_what_lies_beside_complete_parts_is_not_read(root):
    for part in ("train", "test"):
        both(root, f"images/{part}/{part}{{}}.png", f"masks/{part}/{part}{{}}.png", 5)
    write_csv(root / "landmarks.csv", ["train1,1,2,30,4"])
    save(root / "labels" / "train1.png", labels())
    _, inspection, pools = looked_at(root)
    assert pools == {"samples": {"train": 4, "val": 1, "test": 5}}
    assert inspection.unread == {"beside train/, and in no part": ["labels/train1.png", "landmarks.csv"]}


def test_splits_are_those_of_earlier_versions(tmp_path):
    """Noted before folders were looked through for other layouts: runs of facades and maps depend on it."""
    dataset = Facades.example(tmp_path)
    assert [dataset.split(40, seed).val.tolist() for seed in (None, 3)] == [[7, 6, 4, 1], [16, 3, 25, 20]]
