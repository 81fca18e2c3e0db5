from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from lsmbench.datasets import three_hundred_w
from lsmbench.datasets.three_hundred_w import ThreeHundredW
from lsmbench.domains import Image, Landmarks
from lsmbench.errors import UserError
from lsmbench.options import options_of
from tests.conftest import fingerprint

REAL_DATA = os.environ.get("LSMBENCH_DATA")
OFFICIAL = (
    "01_Indoor",
    "02_Outdoor",
    "helen/trainset",
    "helen/testset",
    "lfpw/trainset",
    "lfpw/testset",
    "afw",
    "ibug",
)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("LSMBENCH_DATA", str(root))
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))
    return root


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """40 good faces in 01_Indoor and 02_Outdoor."""
    ThreeHundredW.example(tmp_path / "example")
    return tmp_path / "example"


def write_pts(path: Path, points: np.ndarray, header: bool = True) -> None:
    """Points in pixels from the top left corner, written as 300-W counts them."""
    lines = [f"{x:.3f} {y:.3f}" for x, y in points + 0.5]
    if header:
        lines = ["version: 1", f"n_points: {len(points)}", "{", *lines, "}"]
    path.write_text("\n".join(lines))


def put(folder: Path, names: list[str], seed: int = 0) -> None:
    """Faces of noise, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Picture.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / name)
        write_pts((folder / name).with_suffix(".pts"), rng.uniform(2, 38, (68, 2)))


def official(root: Path, count: int = 8) -> Path:
    for seed, name in enumerate(OFFICIAL):
        put(root / name, [f"{name[:2]}_{i:02d}.png" for i in range(count)], seed)
    return root


def refused(match: str, **options: object) -> str:
    with pytest.raises(UserError, match=match) as caught:
        ThreeHundredW(**{"size": 32, **options}).load()  # type: ignore[arg-type]
    return str(caught.value)


# What is read


def test_contents(example: Path) -> None:
    dataset = ThreeHundredW(root=str(example))
    arrays = dataset.load()
    assert {view: (a.shape, a.dtype) for view, a in arrays.items()} == {
        "x": ((40, 3, 64, 64), np.uint8),
        "y": ((40, 68, 2), np.float32),
    }
    assert dataset.domains == {"x": Image(3, 64), "y": Landmarks(68)}
    for view, domain in dataset.domains.items():
        domain.check(arrays[view], view)
    other = ThreeHundredW(eyes="released_code", reconstruction="l1", size=32)
    assert other.domains == {"x": Image(3, 32, reconstruction="l1"), "y": Landmarks(68, eyes="released_code")}
    # The longer side of the landmarks' box is the picture's side.
    extent = np.ptp(np.array(arrays["y"]), axis=1).max(1)
    assert extent == pytest.approx(np.ones(40), abs=1e-6)


def test_the_example_is_small_mixed_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = (ThreeHundredW.example(tmp_path / name) for name in ("a", "b"))
    assert fingerprint(first) == fingerprint(second)
    assert len(first.load()["x"]) == 40
    texts = [path.read_text() for path in (tmp_path / "a").glob("*/*.pts")]
    assert sorted({text.startswith("version") for text in texts}) == [False, True]
    assert {path.suffix for path in (tmp_path / "a").glob("*/*")} == {".png", ".jpg", ".pts"}
    (tmp_path / "a" / "01_Indoor" / "indoor_001.png").unlink()
    ThreeHundredW.example(tmp_path / "a")
    assert not (tmp_path / "a" / "01_Indoor" / "indoor_001.png").exists(), "files that are there are kept"


def test_points_with_and_without_header_agree(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(5, 35, (68, 2))
    for name, header in (("a", True), ("b", False)):
        put(tmp_path / name / "afw", [f"{i:02d}.png" for i in range(10)])
        for path in (tmp_path / name / "afw").glob("*.pts"):
            write_pts(path, points, header)
    a, b = (ThreeHundredW(root=str(tmp_path / name)).load() for name in ("a", "b"))
    assert all(np.array_equal(a[view], b[view]) for view in a)


def planted(root: Path, scale: int, shift: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """One picture with a dot of its own colour, of `scale`² pixels, on each point; returns the colours.

    Points 1 and 17 span a square of 64·scale px, without a dot.
    """
    rng = np.random.default_rng(1)
    # x and y of cells of a 64×64 square, no two of them neighbours.
    cells = np.stack(np.unravel_index(rng.permutation(31 * 31)[:68], (31, 31)), 1) * 2 + 1
    colours = rng.integers(60, 256, (68, 3))
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for (x, y), colour in zip(cells * scale + np.array(shift), colours, strict=True):
        pixels[y : y + scale, x : x + scale] = colour
    points = (cells + 0.5) * scale + np.array(shift)
    points[0], points[16] = shift, np.array(shift) + 64 * scale
    for i in (0, 16):
        x, y = cells[i] * scale + np.array(shift)
        pixels[y : y + scale, x : x + scale] = 0
    folder = root / "01_Indoor"
    folder.mkdir(parents=True)
    Picture.fromarray(pixels).save(folder / "one.png")
    write_pts(folder / "one.pts", points)
    return colours


@pytest.mark.parametrize("scale", [1, 5])
def test_every_landmark_lies_on_its_own_pixel(scale: int, tmp_path: Path) -> None:
    colours = planted(tmp_path, scale, (10, 23), (500, 400))
    arrays = ThreeHundredW(root=str(tmp_path), size=64).load()
    x, y = np.array(arrays["x"][0]), np.array(arrays["y"][0])
    assert y[[0, 16]].tolist() == [[0, 0], [1, 1]]
    inner = np.delete(np.arange(68), [0, 16])
    columns, rows = np.floor(y[inner] * 64).astype(int).T
    # At scale 1 one pixel of the file is one of the image: counting from 0, or a shift by halves, would miss it. At
    # scale 5 the filter, a triangle 10 px wide, takes .76 of its weight from the dot on either axis, the rest is black.
    expected = colours[inner] * {1: 1, 5: 0.76**2}[scale]
    assert np.abs(x[:, rows, columns].T - expected).max() <= {1: 0, 5: 1.5}[scale]


def test_a_margin_keeps_landmarks_on_their_pixels(tmp_path: Path) -> None:
    colours = planted(tmp_path, 2, (110, 120), (500, 400))
    dataset = ThreeHundredW(root=str(tmp_path), size=256, margin=0.5)
    arrays = dataset.load()
    x, y = np.array(arrays["x"][0]), np.array(arrays["y"][0])
    assert np.array_equal(y[[0, 16]], [[0.25, 0.25], [0.75, 0.75]])
    inner = np.delete(np.arange(68), [0, 16])
    columns, rows = np.floor(y[inner] * 256).astype(int).T
    assert np.array_equal(x[:, rows, columns].T, colours[inner])


def test_the_square_is_moved_into_the_picture_and_the_border_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "ibug"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (100, 80, 3), dtype=np.uint8)
    grid = np.stack([np.tile([4.0, 24.0], 34), np.repeat(np.linspace(10, 74, 34), 2)], 1)
    for name, points in {"a": grid, "b": grid + np.array([52, 0]), "c": grid * (1, 1.5625) - np.array([0, 10])}.items():
        Picture.fromarray(pixels).save(folder / f"{name}.png")
        write_pts(folder / f"{name}.pts", points)
    arrays = ThreeHundredW(root=str(tmp_path), size=64).load()
    assert np.array_equal(arrays["x"][0], pixels[10:74, :64].transpose(2, 0, 1))
    assert arrays["y"][0, 0] == pytest.approx([4 / 64, 0], abs=1e-6)
    assert np.array_equal(arrays["x"][1], pixels[10:74, 16:].transpose(2, 0, 1))
    assert arrays["y"][1, 1] == pytest.approx([60 / 64, 0], abs=1e-6)
    # A face of 100 px in a picture of 80: from the picture's left edge, and 20 px beyond the right one.
    assert arrays["y"][2, 1, 0] == pytest.approx(0.24, abs=1e-6)
    right = np.array(arrays["x"][2][:, :, -8:])
    assert (right == right[:, :, :1]).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_any_mode_become_rgb_and_are_noted(mode: str, example: Path) -> None:
    path = example / "01_Indoor" / "indoor_001.png"
    with Picture.open(path) as picture:
        changed = picture.convert(mode)
    path.unlink()
    changed.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    dataset = ThreeHundredW(root=str(example), size=32)
    assert dataset.load()["x"].shape == (40, 3, 32, 32)
    assert any(f"1 of mode {mode}, brought to RGB: 01_Indoor/indoor_001" in n for n in dataset.inspect().findings.notes)


def test_turned_photos(example: Path) -> None:
    path = example / "01_Indoor" / "indoor_004.jpg"
    with Picture.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.save(path, exif=exif)
    refused("indoor_004.jpg: is stored turned.*exif=ignore", root=str(example))
    ignored, applied = (
        ThreeHundredW(root=str(example), size=32, exif=exif).load()["x"] for exif in ("ignore", "apply")
    )
    differ = [i for i in range(40) if not np.array_equal(ignored[i], applied[i])]
    assert differ == [3]


# Where it is read from


def test_places_and_cases(tmp_path: Path, data: Path, example: Path) -> None:
    wanted = ThreeHundredW(root=str(example)).load()
    layouts = [data / "300w", data / "300W", data, data / "300w" / "300W"]
    for folder in layouts:
        shutil.copytree(example / "01_Indoor", folder / "01_INDOOR")
        shutil.copytree(example / "02_Outdoor", folder / "02_outdoor")
        for found in (ThreeHundredW(), ThreeHundredW(root=str(folder))):
            arrays = found.load()
            assert all(np.array_equal(arrays[view], wanted[view]) for view in wanted)
        for part in ("01_INDOOR", "02_outdoor"):
            shutil.rmtree(folder / part)


def test_parts_in_a_fixed_order(tmp_path: Path) -> None:
    root = official(tmp_path)
    whole = ThreeHundredW(root=str(root)).load()["x"]
    assert len(whole) == 64
    for parts, numbers in {
        "indoor": range(8),
        "Outdoor, indoor": range(16),
        "helen": range(16, 32),
        "ibug,afw,lfpw": range(32, 64),
    }.items():
        assert np.array_equal(
            ThreeHundredW(root=str(root), parts=parts).load()["x"], whole[numbers.start : numbers.stop]
        )


@pytest.mark.parametrize("how", ["unset", "empty", "other"])
def test_without_data_it_is_said_where_to_get_them(how: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "unset":
        monkeypatch.delenv("LSMBENCH_DATA")
    if how == "other":
        (data / "brodatz").mkdir()
    message = refused("not set" if how == "unset" else "it holds: " + ("brodatz/" if how == "other" else "nothing"))
    for word in ("https://ibug.doc.ic.ac.uk/resources/300-W/", "LSMBENCH_DATA/300w", "01_Indoor", "DATASET=faces"):
        assert word in message


def test_roots_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused("expected a folder, found a file", root=str(tmp_path / "file"))
    refused("expected a folder, found no such folder", root=str(tmp_path / "absent"))


def test_missing_and_doubled_parts(example: Path) -> None:
    message = refused("2 problems", root=str(example), parts="indoor,lfpw")
    assert "no folder lfpw/trainset" in message
    assert "no folder lfpw/testset" in message
    shutil.copytree(example / "01_Indoor", example / "300W" / "01_Indoor")
    refused(f"{example}/300W/01_Indoor: 01_Indoor is there twice.*as {example}/01_Indoor", root=str(example))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size=12.*at least 16"),
        ({"size": 30}, "size=30.*divisible by 4"),
        ({"margin": -0.1}, "margin=-0.1.*from 0 to 2"),
        ({"margin": float("nan")}, "margin=nan"),
        ({"parts": "indoor,outdor,heln"}, "unknown: outdor, heln. Expected all, or some of indoor, outdoor"),
        ({"parts": " ,"}, "an empty list"),
        ({"split_by": "both"}, "split_by=both.*random, official"),
        ({"eyes": "inner"}, "eyes=inner.*outer, released_code"),
        ({"reconstruction": "l2"}, "reconstruction=l2.*mse, l1"),
        ({"exif": "turn"}, "exif=turn.*refuse, apply, ignore"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ThreeHundredW(**options)  # type: ignore[arg-type]


def test_every_option_is_described() -> None:
    assert [o.name for o in options_of(ThreeHundredW)] == [
        "root", "parts", "split_by", "size", "margin", "eyes", "reconstruction", "outside", "exif",
    ]  # fmt: skip
    assert (ThreeHundredW.__doc__ or "").splitlines()[0].endswith(".")


# Bad files


def spoil(root: Path) -> list[str]:
    """Makes one mistake of each kind; returns the message expected for each."""
    indoor, outdoor = root / "01_Indoor", root / "02_Outdoor"
    points = np.random.default_rng(0).uniform(5, 40, (68, 2))
    write_pts(indoor / "indoor_001.pts", points[:67])
    (indoor / "indoor_002.pts").write_text("1 1\n" * 30 + "left eye\n" + "1 1\n" * 37)
    (indoor / "indoor_003.pts").unlink()
    (indoor / "indoor_005.png").unlink()
    photo = indoor / "indoor_004.jpg"
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size * 2 // 3])
    (indoor / "indoor_008.jpg").write_text("no picture")
    write_pts(indoor / "indoor_008.pts", points[:5])
    write_pts(outdoor / "outdoor_001.pts", np.tile(points[:1], (68, 1)))
    write_pts(outdoor / "outdoor_002.pts", points + np.array([40, 0]))
    write_pts(outdoor / "outdoor_003.pts", points / 48)
    same = points.copy()
    same[36] = same[45]
    write_pts(outdoor / "outdoor_005.pts", same)
    with Picture.open(outdoor / "outdoor_008.jpg") as picture:
        exif = picture.getexif()
        exif[0x0112] = 8
        picture.save(outdoor / "outdoor_008.jpg", exif=exif)
    with Picture.open(outdoor / "outdoor_010.png") as picture:
        picture.save(outdoor / "outdoor_010.jpg")
    (root / "ibug").mkdir()
    (root / "afw").mkdir()
    (root / "afw" / "alone.jpg").touch()
    return [
        "indoor_001.pts: expected 68 points, found 67",
        "indoor_002.pts: line 31: expected two numbers, found 'left eye'",
        "indoor_003.png: there is no indoor_003.pts beside it",
        "indoor_005.pts: there is no indoor_005.png or .jpg beside it",
        "indoor_004.jpg: cannot be read as a picture",
        "indoor_008.jpg: cannot be read as a picture",
        "indoor_008.pts: expected 68 points, found 5",
        "outdoor_001.pts: all points coincide",
        "of the box around its points lies outside its picture, outdoor_002.png of 48×48 px",
        "outdoor_003.pts: the points span 0.7",
        "outdoor_005.pts: points 37 and 46, counted from 1, coincide",
        "outdoor_008.jpg: is stored turned",
        "outdoor_010.png: has the same stem as outdoor_010.jpg",
        "ibug: expected pictures, .png or .jpg, with a .pts file each; found 0 pictures and 0 .pts files",
        "afw: expected pictures, .png or .jpg, with a .pts file each; found 1 pictures and 0 .pts files",
    ]


def test_all_mistakes_are_named_at_once(example: Path) -> None:
    problems = spoil(example)
    message = refused(f"dataset 300w: {len(problems)} problems", root=str(example))
    for words in problems:
        assert words in message
        line = next(line for line in message.splitlines() if words in line)
        assert str(example) in line, "the file can be found"
    assert len(message.splitlines()) == len(problems) + 1


def test_inspecting_and_loading_agree(example: Path) -> None:
    good = ThreeHundredW(root=str(example), size=32)
    inspection, arrays = good.inspect(), good.load()
    assert inspection.findings.problems == []
    assert all(np.array_equal(inspection.samples[view], arrays[view]) for view in arrays)
    assert inspection.samples.keys() == arrays.keys()
    assert inspection.counts == {"01_Indoor": 20, "02_Outdoor": 20}
    assert inspection.names[3] == "01_Indoor/indoor_004.jpg"
    assert inspection.facts["random split: train / val / test"] == "28 / 4 / 8"

    spoil(example)
    spoilt = ThreeHundredW(root=str(example), size=32).inspect()
    message = refused("problems", root=str(example))
    assert message.splitlines()[1:] == [f"- {problem}" for problem in spoilt.findings.problems]
    kept = [inspection.names.index(name) for name in spoilt.names if name in inspection.names]
    assert sum(spoilt.counts.values()) == len(spoilt.names) == len(spoilt.samples["y"])
    assert len(kept) == 28
    assert "02_Outdoor/outdoor_010.jpg" in spoilt.names


def test_inspecting_without_data() -> None:
    inspection = ThreeHundredW().inspect()
    assert len(inspection.findings.problems) == 1
    assert "ibug.doc.ic.ac.uk" in inspection.findings.problems[0]
    assert inspection.samples == {}


def test_points_a_little_outside_are_a_note(example: Path) -> None:
    points = np.random.default_rng(0).uniform(-3, 40, (68, 2))
    points[0] = (-3, 5)
    write_pts(example / "01_Indoor" / "indoor_002.pts", points)
    dataset = ThreeHundredW(root=str(example), size=32)
    y = dataset.load()["y"]
    dataset.domains["y"].check(y, "here")
    notes = [note for note in dataset.inspect().findings.notes if "outside" in note]
    assert notes == ["1 with points outside the picture: 01_Indoor/indoor_002.png (3.0 px)."]


def test_mirrored_copies_are_left_out(example: Path) -> None:
    put(example / "01_Indoor", ["indoor_001_mirror.jpg", "indoor_002_mirror.png"])
    (example / "01_Indoor" / "indoor_002_mirror.pts").unlink()
    dataset = ThreeHundredW(root=str(example), size=32)
    assert len(dataset.load()["x"]) == 40
    assert any("mirrored copies are left out: indoor_001_mirror" in n for n in dataset.inspect().findings.notes)


def test_equal_pictures_are_noted(tmp_path: Path) -> None:
    root = official(tmp_path)
    for suffix in (".png", ".pts"):
        shutil.copy(root / "helen/trainset" / f"he_00{suffix}", root / "ibug" / f"copy{suffix}")
    shutil.copy(root / "afw" / "af_01.png", root / "afw" / "af_05.png")
    notes = ThreeHundredW(root=str(root), size=32).inspect().findings.notes
    assert (
        "the same picture with the same points: helen/trainset/he_00.png = ibug/copy.png; on both sides of the "
        "official split."
    ) in notes
    assert "the same picture with other points: afw/af_01.png = afw/af_05.png." in notes


# Split


def test_the_random_split_shuffles_the_parts(example: Path) -> None:
    dataset = ThreeHundredW(root=str(example), size=32)
    split = dataset.split(40, None)
    assert (len(split.train), len(split.val), len(split.test)) == (28, 4, 8)
    everyone = np.concatenate([split.train, split.val, split.test])
    assert sorted(everyone.tolist()) == list(range(40))
    for part in (split.train, split.test):
        assert 0 < (part < 20).mean() < 1, "both parts are in"
    assert np.array_equal(split.train, dataset.split(40, 0).train)
    assert not np.array_equal(split.train, dataset.split(40, 1).train)


def test_the_official_split(tmp_path: Path) -> None:
    dataset = ThreeHundredW(root=str(official(tmp_path)), size=32, split_by="official")
    split = dataset.split(64, None)
    numbers = {name: set(range(8 * k, 8 * k + 8)) for k, name in enumerate(OFFICIAL)}
    training = numbers["helen/trainset"] | numbers["lfpw/trainset"] | numbers["afw"]
    assert set(split.train.tolist()) | set(split.val.tolist()) == training
    assert set(split.test.tolist()) == set(range(64)) - training
    assert (len(split.train), len(split.val), len(split.test)) == (21, 3, 40)
    again, other = dataset.split(64, None), dataset.split(64, 5)
    assert np.array_equal(split.val, again.val)
    assert not np.array_equal(split.val, other.val)
    assert np.array_equal(split.test, other.test)


@pytest.mark.parametrize(("parts", "side"), [("indoor,ibug", "train"), ("afw", "test")])
def test_an_official_split_without_one_side(parts: str, side: str, tmp_path: Path) -> None:
    root = official(tmp_path)
    dataset = ThreeHundredW(root=str(root), size=32, split_by="official", parts=parts)
    with pytest.raises(UserError, match=f"split_by=official needs at least . faces to {side} with.*split_by=random"):
        dataset.split(len(dataset.load()["x"]), None)
    problems = dataset.inspect().findings.problems
    assert len(problems) == 1
    assert "split_by=official needs" in problems[0]


# Cache


def test_the_cache_is_used_and_follows_the_files(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = three_hundred_w.open_picture
    monkeypatch.setattr(three_hundred_w, "open_picture", lambda *a: calls.append(a) or original(*a))
    dataset = ThreeHundredW(root=str(example), size=32)
    first = dataset.load()
    ThreeHundredW(root=str(example), size=32, eyes="released_code", split_by="official").load()
    assert len(calls) == 40
    ThreeHundredW(root=str(example), size=32, margin=0.2).load()
    assert len(calls) == 80
    path = example / "01_Indoor" / "indoor_001.pts"
    path.write_text(path.read_text().replace("version: 1", "version: 1\n"))
    assert np.array_equal(dataset.load()["y"], first["y"])
    assert len(calls) == 120
    path.unlink()
    refused("there is no indoor_001.pts", root=str(example))


# Real data


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="LSMBENCH_DATA is not set")
def test_helen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSMBENCH_DATA", str(REAL_DATA))
    dataset = ThreeHundredW(parts="helen", split_by="official")
    try:
        y = torch.from_numpy(np.array(dataset.load()["y"]))
    except UserError as error:
        pytest.skip(str(error))
    if len(y) != 1200:
        pytest.skip(f"the floors were measured on 1200 faces of HELEN, and {len(y)} are there")
    domain = dataset.domains["y"]
    for by, outer, released in (("official", 0.180, 0.216), ("random", 0.172, 0.206)):
        split = ThreeHundredW(parts="helen", split_by=by).split(len(y), None)  # type: ignore[arg-type]
        mean = domain.constant(y[torch.from_numpy(split.train)])
        test = y[torch.from_numpy(split.test)]
        scores = [metric.score(mean.expand(len(test), -1, -1), test).mean().item() for metric in domain.metrics()]
        assert scores == pytest.approx([outer, released], abs=0.001)
    # Faces stand upright, the eyes above the mouth: points and pictures belong together.
    assert (y[:, 36:48, 1].mean(1) < y[:, 48:, 1].mean(1)).all()
