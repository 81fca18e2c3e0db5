from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from lsmbench.data.files import (
    Findings,
    by_stem,
    crop_square,
    few,
    open_picture,
    pictures_in,
    read_pts,
    same_content,
    spread,
    square_around,
    to_mode,
)
from lsmbench.errors import UserError

POINTS = np.array([[1.0, 1.0], [20.25, 31.5], [3.0, 400.0]])


def pts(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Points


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nn_points: 3\n{\n1 1\n20.25 31.5\n3 400\n}\n",
        "version: 1\nn_points:  3\n{\n1.000 1.000\n20.25 31.5\n3 400\n}",
        "1 1\n20.25 31.5\n3 400\n",
        "\ufeffversion:1\r\nN_Points: 3\r\n{\r\n1\t1\r\n20.25  31.5 \r\n3 4e2\r\n}\r\n\r\n",
        "// made by hand\n1, 1\n20.25, 31.5\n\n3, 400 // the last",
    ],
    ids=["header", "spaces", "bare", "windows", "comments"],
)
def test_points_with_and_without_header_are_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_bytes(text.encode())
    # Counted from 1 at pixels' centres: the first pixel's centre is half a pixel from the corner.
    assert np.array_equal(read_pts(path, 3), POINTS - 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1\n2 2\n", "expected 3 points, found 2"),
        ("n_points: 3\n{\n1 1\n2 2\n}\n", "header says 3 points, but it holds 2"),
        ("1 1\n2 2\n3 left\n", "line 3: expected two numbers, found '3 left'"),
        ("1 1\n2\n3 3\n", "line 2: expected two numbers, found '2'"),
        ("1 1\n2 2 2\n3 3\n", "line 2: expected two numbers"),
        ("1 1\n2 nan\n3 3\n", "line 2: expected two finite numbers"),
        ("colour: red\n1 1\n2 2\n3 3\n", "line 1: expected two numbers, found 'colour: red'"),
        ("n_points: many\n1 1\n2 2\n3 3\n", "line 1: expected two numbers"),
        ("", "expected 3 points, found 0"),
    ],
)
def test_wrong_points_are_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    path = pts(tmp_path / "wrong.pts", text)
    with pytest.raises(UserError, match=message) as caught:
        read_pts(path, 3)
    assert str(path) in str(caught.value)


def test_points_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_bytes(b"\xff\xd8\xff\xe0\x00")
    for name in ("a.pts", "absent.pts"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as text"):
            read_pts(tmp_path / name)
    with pytest.raises(UserError, match="holds no points"):
        read_pts(pts(tmp_path / "b.pts", "version: 1\n{\n}\n"))


# Squares


@pytest.mark.parametrize(
    ("low", "high", "margin", "square"),
    [
        ((40, 30), (60, 70), 0, (30, 30, 40)),  # centred on the points
        ((40, 30), (60, 70), 0.25, (20, 20, 60)),
        ((2, 30), (12, 70), 0, (0, 30, 40)),  # moved in from the left
        ((90, 30), (98, 70), 0, (60, 30, 40)),  # and from the right
        ((40, 2), (60, 42), 0.5, (10, 0, 80)),
        ((-10, 30), (10, 70), 0, (-10, 30, 40)),  # points outside the picture stay inside the square
        ((10, 10), (90, 70), 1, (0, 0, 240)),  # larger than the picture
        ((5, 5), (5, 5), 0.5, (5, 5, 0)),
    ],
)
def test_the_square_holds_the_points_and_lies_in_the_picture_if_it_can(
    low: tuple[int, int], high: tuple[int, int], margin: float, square: tuple[float, float, float]
) -> None:
    assert square_around(np.array([low, high], float), 100, 80, margin) == square


def test_every_point_lies_in_the_square() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        points = rng.uniform(-30, 130, (5, 2))
        left, top, side = square_around(points, 100, 80, rng.uniform(0, 1))
        assert (points - (left, top)).min() >= -1e-9
        assert (points - (left, top)).max() <= side + 1e-9


def test_a_whole_square_is_cut_out_as_it_is_and_the_border_is_repeated_beyond_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    inside = crop_square(Picture.fromarray(pixels), 5, 3, 8, 8, Picture.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(inside), pixels[3:11, 5:13])
    beyond = crop_square(Picture.fromarray(pixels), -4, 16, 8, 8, Picture.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(beyond), np.pad(pixels, ((0, 4), (4, 0), (0, 0)), mode="edge")[16:24, :8])
    grey = crop_square(Picture.fromarray(pixels[..., 0]), 26, 0, 8, 4, Picture.Resampling.BOX)
    assert grey.size == (4, 4)


# Pictures


def photo(path: Path, orientation: int | None = None) -> Path:
    picture = Picture.new("RGB", (12, 8), (200, 30, 30))
    exif = picture.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_turned_photos(name: str, tmp_path: Path) -> None:
    turned = photo(tmp_path / name, 6)
    with pytest.raises(UserError, match=r"stored turned.*exif=ignore or exif=apply"):
        open_picture(turned)
    assert open_picture(turned, "ignore").size == (12, 8)
    assert open_picture(turned, "apply").size == (8, 12)


@pytest.mark.parametrize("orientation", [None, 0, 1, 99])
def test_photos_that_are_not_turned(orientation: int | None, tmp_path: Path) -> None:
    assert open_picture(photo(tmp_path / "a.jpg", orientation)).size == (12, 8)


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    noise = Picture.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in (".jpg", ".png", ".gif", ".bmp"):
        path = tmp_path / f"half{suffix}"
        noise.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=f"half{suffix}: cannot be read as a picture"):
            open_picture(path)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    for name in ("empty.png", "text.png", "absent.png"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a picture"):
            open_picture(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Picture.new("RGB", (4, 4), (128, 128, 128))
    deep = Picture.fromarray(np.full((4, 4), 128 * 256, np.uint16))
    picture = {"P": grey.quantize(), "I;16": deep}.get(mode) or grey.convert(mode)
    assert picture.mode == mode
    rgb = to_mode(picture, "RGB")
    assert rgb.mode == "RGB"
    if mode != "1":
        assert np.abs(np.asarray(rgb).astype(int) - 128).max() <= 1


def test_pictures_are_found_by_stem(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "a.png", ".hidden.png", "notes.txt", "c.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    findings = Findings()
    assert [p.name for p in pictures_in(tmp_path, findings).values()] == ["a.jpg", "b.PNG", "c.jpeg"]
    assert len(findings.problems) == 1
    assert "a.png: has the same stem as a.jpg" in findings.problems[0]
    assert by_stem([tmp_path / "notes.txt", tmp_path / "absent.txt"], findings) == {"notes": tmp_path / "notes.txt"}


def test_equal_files_are_grouped(tmp_path: Path) -> None:
    contents = {"a": b"one", "b": b"two", "c": b"one", "d": b"three", "e": b"one", "f": b"two", "g": b"TWO"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    groups = same_content(sorted(tmp_path.iterdir()))
    assert [[p.name for p in group] for group in groups] == [["a", "c", "e"], ["b", "f"]]


# Findings


def test_findings_gather_and_then_stop() -> None:
    findings = Findings()
    findings.notes.append("does no harm")
    findings.stop_if_any("here")
    for word in ("one", "two"):
        with findings.gathering():
            raise UserError(word)
    with pytest.raises(ZeroDivisionError), findings.gathering():
        raise ZeroDivisionError
    with pytest.raises(UserError, match=r"^here: 2 problems\.\n- one\n- two$"):
        findings.stop_if_any("here")


def test_words_for_tables() -> None:
    assert spread([5, 1, 300]) == "1 / 5 / 300"
    assert few(["a", "b"]) == "a, b"
    assert few(list("abcdefg"), 3) == "a, b, c and 4 more"
