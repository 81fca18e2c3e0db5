"""What files of a user's folder may contain: each case as people have it, rebuilt small."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.commands import check
from lsmbench.data.decoding import Reading, read_image
from lsmbench.data.files import open_picture
from lsmbench.datasets.folder import Folder
from lsmbench.domains import LabelColours, Mask
from lsmbench.errors import UserError
from tests.datasets.test_folder import grey, labels, masks_in, refused, save, write_csv, write_pts


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "mine"
    made.mkdir()
    return made


def two(width=40, height=36):
    """A mask of 0 and 1: the left half and the right half."""
    return np.repeat((np.arange(width) >= width // 2)[None], height, 0).astype(np.uint8)


def notes(dataset):
    found = dataset.inspect().findings
    assert not found.problems, found.problems
    return "\n".join(found.notes)


def palette_mask(path, numbers, colours):
    picture = Picture.fromarray(numbers, "P")
    picture.putpalette(np.array(colours, np.uint8).ravel().tolist())
    save(path, picture)


# Masks


def test_palettes_in_another_order_are_never_trained_on_inverted(root):
    masks_in(root, 12)
    for i in range(12):
        turned = i % 3 == 0
        numbers = 1 - two() if turned else two()
        colours = [(0, 0, 0), (200, 0, 0)]
        palette_mask(root / "masks" / f"{i:02}.png", numbers, colours[::-1] if turned else colours)
    dataset = Folder(str(root), size=32)
    y = dataset.load()["y"]
    assert (y[:, :, :16] == 0).all()
    assert (y[:, :, 16:] == 1).all()
    assert "4 of 12 palette masks store the same colours in another order" in notes(dataset)


def test_two_level_jpeg_masks(root):
    masks_in(root, 10)
    for i in range(10):
        (root / "masks" / f"{i:02}.png").unlink()
        save(root / "masks" / f"{i:02}.jpg", two() * 255, "RGB" if i % 2 else None, quality=60)
    dataset = Folder(str(root), size=32)
    assert dataset.domains["y"] == Mask(2, 32)
    assert (dataset.load()["y"] == two(32, 32)).all()
    assert "10 masks are JPEG of two grey levels" in notes(dataset)
    assert "are in doubt" in notes(dataset)


def test_flat_colours_get_a_ready_palette(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    masks_in(root, 10)
    colours = np.array([(0, 0, 0), (255, 0, 0), (9, 9, 200)], np.uint8)
    for i in range(10):
        save(root / "masks" / f"{i:02}.png", colours[labels()])
    text = refused(root, "1 problem", "10 of 10 masks hold colours", "3 flat colours", "--write-palette classes.csv")
    assert len(text.splitlines()) == 2
    assert check.run(["folder", str(root), "--dataset.size", "32", "--write-palette"]) == 2
    assert "classes.csv, 3 colours" in capsys.readouterr().out
    lines = (tmp_path / "classes.csv").read_text().splitlines()
    assert lines[0] == "name,r,g,b,share of pixels"
    assert lines[1].startswith("black,0,0,0,3")
    dataset = Folder(str(root), size=32, palette="classes.csv")
    assert isinstance(dataset.domains["y"], LabelColours)
    assert dataset.domains["y"].label_count == 3
    with pytest.raises(UserError, match="there is such a file already"):
        check.run(["folder", str(root), "--dataset.size", "32", "--write-palette", "classes.csv"])


@pytest.mark.parametrize("sides", [False, True])
def test_flat_colours_of_pictures_get_a_ready_palette_too(root, tmp_path, monkeypatch, capsys, sides):
    monkeypatch.chdir(tmp_path)
    colours = np.array([(0, 0, 0), (255, 0, 0), (9, 9, 200)], np.uint8)
    for i in range(10):
        photo, flat = np.stack([grey(i, 36, 36)] * 3, -1), colours[labels(3, 36, 36)]
        if sides:
            save(root / f"{i}.png", np.concatenate([photo, flat], 1))
        else:
            save(root / "A" / f"{i}.png", photo)
            save(root / "B" / f"{i}.png", flat)
    assert "the 10 pictures y hold 3 flat colours, with their shares of pixels: (0, 0, 0) 3" in notes(Folder(str(root)))
    assert check.run(["folder", str(root), "--dataset.size", "32", "--write-palette"]) == 0
    assert "classes.csv, 3 colours" in capsys.readouterr().out
    dataset = Folder(str(root), size=32, palette="classes.csv")
    assert isinstance(dataset.domains["y"], LabelColours)
    assert "flat colours" not in notes(dataset)
    assert dataset.inspect().palette == ""


@pytest.mark.parametrize(
    ("picture", "target", "remedy"),
    [
        ("A/{}.png", "B/{}.png", "rename B/ to masks/"),
        ("trainA/{}.png", "trainB/{}.png", "rename trainB/ to trainmasks/"),
        ("{}_A.png", "{}_B.png", "let their names have _mask in place of *_b"),
    ],
)
def test_class_numbers_in_a_folder_of_pictures(root, picture, target, remedy):
    for i in range(10):
        save(root / picture.format(i), grey(i))
        save(root / target.format(i), labels())
    text = notes(Folder(str(root), size=32))
    assert f"hold no grey levels but 0, 1, 2, as masks of class numbers do. If they are masks, {remedy};" in text
    for i in range(10):
        save(root / target.format(i), grey(i + 20))
    assert "grey levels" not in notes(Folder(str(root), size=32))


def test_renamed_to_masks_class_numbers_are_classes(root):
    for i in range(10):
        save(root / "trainA" / f"{i}.png", grey(i))
        save(root / "trainmasks" / f"{i}.png", labels())
    assert Folder(str(root), size=32).domains["y"] == Mask(3, 32)


def test_masks_of_another_size_by_a_whole_factor(root):
    masks_in(root, 12)
    small = labels(3, 20, 18)
    for i in range(12):
        numbers = (small, small.repeat(2, 0).repeat(2, 1), small.repeat(6, 0).repeat(6, 1))[i % 3]
        save(root / "masks" / f"{i:02}.png", numbers)
    for fit in ("stretch", "crop", "pad"):
        y = Folder(str(root), size=32, fit=fit).load()["y"]
        assert (y[0] == y[1]).all()
        assert (y[2] != y[1]).mean() < 0.05, "the nearest pixel of a finer mask"
    text = notes(Folder(str(root), size=32))
    assert "4 masks are 2 times smaller than their pictures" in text
    assert "4 masks are 3 times larger than their pictures" in text


def test_arrays_and_tiffs(root):
    masks_in(root, 12)
    for i in range(12):
        (root / "images" / f"{i:02}.png").unlink()
        (root / "masks" / f"{i:02}.png").unlink()
        np.save(root / "images" / f"{i:02}.npy", grey(i))
        if i % 2:
            np.save(root / "masks" / f"{i:02}.npy", labels().astype(np.int64))
        else:
            save(root / "masks" / f"{i:02}.tif", labels().astype(np.uint16))
    arrays = Folder(str(root), size=32).load()
    assert arrays["x"].dtype == np.uint8
    assert (arrays["y"][0] == arrays["y"][1]).all()
    np.save(root / "images" / "03.npy", np.zeros((2, 3, 4, 5)))
    np.save(root / "masks" / "05.npy", np.full((36, 40), 0.5))
    refused(root, "03.npy: holds float64 of shape (2, 3, 4, 5)", "05.npy: holds labels from 0.5 to 0.5")


def test_every_mask_255(root):
    masks_in(root, 10)
    for i in range(10):
        save(root / "masks" / f"{i:02}.png", np.full((36, 40), 255, np.uint8))
    refused(root, "all masks hold class 255 only")


def test_void_is_neither_trained_nor_scored(root):
    masks_in(root, 12, 2)
    for i in range(12):
        numbers = two()
        numbers[:9] = 255
        save(root / "masks" / f"{i:02}.png", numbers)
    dataset = Folder(str(root), size=32, ignore="255", class_names="ground,thing")
    domain = dataset.domains["y"]
    assert domain == Mask(2, 32, void=True, names=("ground", "thing"))
    assert [metric.name for metric in domain.metrics()] == ["iou", "miou", "accuracy"]
    y = dataset.load()["y"]
    assert set(np.unique(y)) == {0, 1, 255}
    view = domain.unpack(domain.views(y))
    right = torch.from_numpy(two(32, 32)).long().expand(12, -1, -1)
    wrong_in_void = right.clone()
    wrong_in_void[:, :8] = 1 - right[:, :8]
    for metric in domain.metrics():
        metric.update(wrong_in_void, view, torch.arange(12))
        assert metric.compute() == 1
    padded = Folder(str(root), size=32, fit="pad", background="none")
    with pytest.raises(UserError, match="255 lies beside others"):
        padded.load()
    assert (Folder(str(root), size=32, fit="pad", ignore="255").load()["y"][:, 0] == 255).all()


def test_options_of_masks_are_checked(root):
    for options, text in (
        ({"ignore": "x"}, "ignore=x; expected labels"),
        ({"background": "256"}, "background=256; expected labels"),
        ({"class_names": "a,a"}, "two classes have the same name"),
        ({"class_names": "a,b,c", "classes": 2}, "3 names for classes=2"),
        ({"window": "5"}, "window=5; expected auto"),
    ):
        with pytest.raises(UserError, match=text):
            Folder(str(root), **options)


# Intensities


def deep(path, numbers):
    path.with_suffix(".png").unlink(missing_ok=True)
    save(path, numbers)


def test_12_bits_in_16_are_not_black(root):
    masks_in(root, 10)
    for i in range(10):
        deep(root / "images" / f"{i:02}.png", np.linspace(100 + i, 4000, 36 * 40).reshape(36, 40).astype(np.uint16))
    dataset = Folder(str(root), size=32)
    x = dataset.load()["x"]
    assert x.max() == pytest.approx(4000 / 4095, abs=0.01)
    assert dataset.inspect().facts["range used"] == "0 to 4095 (12 bits)"
    reading = dataset.reading
    assert (reading.x_reach, reading.channels) == ((0, 4095), 1)
    again = Reading.from_plain(json.loads(json.dumps(reading.plain())))
    assert again == reading
    view, size = read_image(root / "images" / "03.png", again)
    assert np.array_equal(view, x[3])
    assert size == (40, 36)
    named = Folder(str(root), size=32, window="1000,2000").load()["x"]
    assert (named.min(), named.max()) == (0, 1)
    spread = Folder(str(root), size=32, window="p10,p90").load()["x"]
    assert (spread == 0).mean() == pytest.approx(0.1, abs=0.02)


def test_signed_numbers_and_floats(root):
    masks_in(root, 10)
    for i in range(10):
        (root / "images" / f"{i:02}.png").unlink()
        numbers = np.linspace(-1000, 3000, 36 * 40).reshape(36, 40)
        save(root / "images" / f"{i:02}.tif", numbers.astype(np.int32 if i % 2 else np.float32))
    dataset = Folder(str(root), size=36, fit="crop")
    assert dataset.inspect().facts["range used"] == "-1000 to 3000"
    x = dataset.load()["x"]
    assert np.abs(x[0] - x[1]).max() < 0.001
    assert Folder(str(root), size=32, window="0,1").load()["x"].max() == 1


def test_colours_of_16_bits_keep_them(root):
    import cv2

    masks_in(root, 10)
    pixels = np.zeros((36, 40, 3), np.uint16)
    pixels[..., 0], pixels[..., 2] = 51234, 257
    for i in range(10):
        cv2.imwrite(str(root / "images" / f"{i:02}.png"), np.ascontiguousarray(pixels[..., ::-1]))
    x = Folder(str(root), size=32).load()["x"]
    assert x.dtype == np.float32
    assert x[0, :, 0, 0] == pytest.approx([51234 / 65535, 0, 257 / 65535], abs=1e-6)


def test_alpha(root):
    masks_in(root, 10)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", np.dstack([grey(i)] * 3), "RGBA" if i % 2 else None)
    dataset = Folder(str(root), size=32)
    assert dataset.domains["x"].shape[0] == 3
    assert "Alpha is the same in all pixels of 5 pictures x" in notes(dataset)
    for i in range(10):
        save(root / "images" / f"{i:02}.png", np.dstack([grey(i)] * 4))
    dataset = Folder(str(root), size=32)
    assert dataset.domains["x"].shape[0] == 4
    assert "have alpha, which differs" in notes(dataset)


# Points


def test_errors_are_measured_in_the_pictures_proportions(root):
    for i in range(10):
        save(root / "images" / f"{i}.png", grey(i, 80, 20))
        write_pts(root / "landmarks" / f"{i}.pts", [(0.5, 0.5), (40.5, 0.5), (0.5, 10.5)])
    dataset = Folder(str(root), size=32)
    truth = torch.from_numpy(np.array(dataset.evaluation_views()[dataset.truths["y"]]))
    domain, view = dataset.domains["y"], torch.from_numpy(np.array(dataset.load()["y"]))
    predicted = view.clone()
    predicted[:, 0, 0] += 8 / 80
    predicted[:, 1, 1] += 6 / 20
    metric = domain.metrics()[0]
    metric.update(*domain.comparable(predicted, truth), torch.arange(10))
    # By hand, in pixels: errors of 8, 6 and 0; the box is 40 by 10.
    assert metric.compute().item() == pytest.approx((8 + 6 + 0) / 3 / np.hypot(40, 10), rel=1e-5)
    assert Folder(str(root), size=32, fit="pad").truths == {}
    assert "proportions" not in repr(Folder(str(root), size=32, fit="pad").domains["y"])


def test_points_outside(root):
    for i in range(12):
        save(root / "images" / f"{i:02}.png", grey(i))
    write_csv(root / "landmarks.csv", [f"{i:02}.png,5,5,30,{39 if i == 4 else 20}" for i in range(12)])
    refused(root, "landmarks.csv: line 6: point 1 (counted from 0) at x=30, y=39", "04.png of 40×36 px, by 3.5 px")
    kept = Folder(str(root), size=32, outside="keep").load()["y"]
    assert kept[4, 1, 1] == 1
    assert len(kept) == 12
    skipping = Folder(str(root), size=32, outside="skip")
    assert len(skipping.load()["y"]) == 11
    assert "1 sample left out, with points outside (outside=skip): 04.png" in notes(skipping)
    for dataset in (skipping, Folder(str(root), size=32, outside="skip")):  # decoded now, and from the cache
        (pool,) = dataset.pools()
        assert list(pool.names) == [f"images/{i:02}.png" for i in range(12) if i != 4]
    write_csv(root / "landmarks.csv", [f"{i:02}.png,5,5,30,{399 if i == 4 else 20}" for i in range(12)])
    refused(root, "of the box around its points lies outside its picture", outside="keep")


@pytest.mark.parametrize("table", [True, False])
def test_points_that_nobody_set_are_named_with_their_files(root, table):
    rows = []
    for i in range(12):
        save(root / "images" / f"{i:02}.png", grey(i))
        points = [(5, 5 + i % 3), (30 - i % 2, 20), (0, 0) if i in (3, 7) else (20, 9 + i % 5)]
        rows.append(f"{i:02},{','.join(f'{x},{y}' for x, y in points)}")
        if not table:
            write_pts(root / "landmarks" / f"{i:02}.pts", points)
    if table:
        write_csv(root / "landmarks.csv", rows, 3)
    where, names = ("landmarks.csv", "03.png, 07.png") if table else ("landmarks", "03.pts, 07.pts")
    text = notes(Folder(str(root), size=32, outside="refuse" if table else "keep"))
    assert f"/{where}: points stored as 0,0, which often marks points that nobody set, in 2 of 12 files ({names})" in (
        text
    )
    assert "point (counted from 0) in so many files: 2 in 2. They are trained on and scored as positions" in text
    if not table:
        refused(root, "2 problems", "03.pts: point 2", "07.pts: point 2", "0,0 often marks a point that nobody set")
        assert len(Folder(str(root), size=32, outside="skip").pools()[0]) == 10


def test_where_all_annotations_are_broken_problems_are_named_all_the_same(root):
    for i in range(5):
        save(root / "images" / f"{i}.png", grey(i))
    (root / "masks").mkdir()
    (root / "masks" / "0.png").write_text("no picture")
    inspection = Folder(str(root), size=32).inspect()
    assert "masks/0.png: cannot be read as a picture" in inspection.findings.problems[0]
    assert inspection.counts == {}


# Huge pictures


def test_bombs_are_refused_by_name(tmp_path, monkeypatch, recwarn):
    path = tmp_path / "bomb.png"
    save(path, np.zeros((400, 500), np.uint8))
    monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", 1000)
    assert open_picture(path).size == (500, 400)
    assert not recwarn
    assert Picture.MAX_IMAGE_PIXELS == 1000
    monkeypatch.setattr("lsmbench.data.files.MOST_PIXELS", 100_000)
    with pytest.raises(UserError, match=r"bomb\.png: says that it holds 500×400 px"):
        open_picture(path)
