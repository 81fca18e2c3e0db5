from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from PIL import ImageDraw
from torch import nn
from torchvision import models

from lsmbench.commands import select as command
from lsmbench.commands.select import contact_sheet, photos_in
from lsmbench.data import features
from lsmbench.errors import UserError

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (20, 30, 210)}
Run = Callable[..., tuple[list[str], str]]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LSMBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns the lines on stdout, and the text on stderr."""

    def ran(*words: object) -> tuple[list[str], str]:
        capsys.readouterr()
        assert command.run([str(word) for word in words]) == 0
        shown = capsys.readouterr()
        return shown.out.splitlines(), shown.err

    return ran


def draw(path: Path, colour: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (60, 45)) -> Picture.Image:
    """A bright square somewhere on a coloured ground."""
    rng = np.random.default_rng(seed)
    picture = Picture.new("RGB", size, colour)
    left, top = (int(value) for value in rng.integers(2, 30, 2))
    ImageDraw.Draw(picture).rectangle((left, top, left + 8, top + 8), fill=(255, 255, 200))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """3 red, 5 green, 4 blue photos, in folders and of several types, and files that are to be left out."""
    folder = tmp_path / "a rather long name of a folder that would be broken by a console 80 wide" / "wood"
    seed = 0
    for (colour, values), count in zip(COLOURS.items(), (3, 5, 4), strict=True):
        for number in range(count):
            ending = (".png", ".JPG", ".tiff", ".bmp")[number % 4]
            place = folder if number == 0 else folder / "more" / colour
            draw(place / f"{colour}-{number}{ending}", values, seed := seed + 1)
    draw(folder / ".hidden.png", (0, 0, 0))
    draw(folder / ".thumbs" / "small.png", (0, 0, 0))
    (folder / "notes.txt").write_text("by hand")
    (folder / "folder.png").mkdir()
    return folder


# The command


def test_one_photo_of_each_kind_the_most_frequent_first(photos: Path, run: Run) -> None:
    lines, notes = run(photos, "-k", 3, "--features", "pixels")
    assert [Path(line).stem.split("-")[0] for line in lines] == ["green", "blue", "red"]
    assert all(Path(line).is_file() and Path(line).is_relative_to(photos) for line in lines)
    assert "3 of 12 photos in" in notes
    assert "select-wood.png" in notes
    with Picture.open("select-wood.png") as sheet:
        assert sheet.format == "PNG"
        assert 3 * 192 < sheet.width < 4 * 192
        middles = [sheet.convert("RGB").getpixel((198 * k + 6 + 180, 6 + 96)) for k in range(3)]
    for pixel, colour in zip(middles, ("green", "blue", "red"), strict=True):
        assert np.allclose(pixel, COLOURS[colour], atol=12)


def test_the_same_again_from_the_cache_and_for_another_k(
    photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(photos, "-k", 2, "--features=pixels")[0]
    monkeypatch.setattr(features, "pixels", None)
    assert run(photos, "-k", 2, "--features=pixels", "--output", "new/folder/sheet.png")[0] == first
    assert Path("new/folder/sheet.png").is_file()
    assert len(run(photos, "-k", 12, "--features=pixels")[0]) == 12
    draw(photos / "more" / "late.png", (255, 255, 0))  # a new photo: features have to be computed
    with pytest.raises(TypeError):
        run(photos, "-k", 2, "--features=pixels")


def test_features_of_a_file_in_the_order_of_paths(photos: Path, run: Run, tmp_path: Path) -> None:
    paths = photos_in(photos)
    assert len(paths) == 12
    values = np.zeros((12, 2))
    values[7] = 100
    np.save(tmp_path / "mine.npy", values + np.arange(12)[:, None] / 100)
    lines, _ = run(photos, "-k", 2, "--features", tmp_path / "mine.npy")
    assert len(lines) == 2
    assert lines[1] == str(paths[7])
    np.save(tmp_path / "mine.npy", values[:11])
    with pytest.raises(UserError, match=r"each of the 12 samples.*found an array of shape \(11, 2\)"):
        run(photos, "-k", 2, "--features", tmp_path / "mine.npy")


def test_resnet50_is_the_default(photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def untrained() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = models.resnet50(weights=None)
        network.fc = nn.Identity()
        return network

    monkeypatch.setattr(features, "pretrained", untrained)
    lines, notes = run(photos, "-k", 4, "--size", 32)
    assert len(set(lines)) == 4
    assert "by k-medoids on resnet50, seed 0" in notes


def test_relative_paths_stay_relative(photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    for line in run("wood", "-k", 3, "--features", "pixels", "--output", "sheet.png")[0]:
        assert line.startswith("wood/")


def test_turned_photos_are_turned_back(tmp_path: Path, run: Run) -> None:
    upright = draw(tmp_path / "p" / "a.png", COLOURS["red"])
    draw(tmp_path / "p" / "b.png", COLOURS["blue"])
    exif = Picture.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    upright.transpose(Picture.Transpose.ROTATE_90).save(tmp_path / "p" / "c.png", exif=exif)
    with pytest.raises(UserError, match="only 2 of 3 samples have features of their own"):
        run(tmp_path / "p", "-k", 3, "--features", "pixels")
    assert len(run(tmp_path / "p", "-k", 2, "--features", "pixels")[0]) == 2


def test_the_sheet_ends_after_48_photos_and_takes_any_shape(tmp_path: Path) -> None:
    paths = [tmp_path / f"{'long' * 20}-{number}.png" for number in range(50)]
    for path in paths:
        draw(path, COLOURS["green"])
    draw(paths[0], COLOURS["green"], size=(2000, 1))
    target = tmp_path / "sheet.png"
    target.write_bytes(contact_sheet(paths, [1] * 50, tmp_path))
    with Picture.open(target) as sheet:
        assert sheet.width > 6 * 192
        assert 8 * 192 < sheet.height < 9 * 220
    assert contact_sheet(paths[:48], [1] * 48, tmp_path) == target.read_bytes()


# What is refused


def test_all_broken_photos_are_named_at_once(photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.features, "pixels", lambda photos, progress: photos[0:2])  # some at a time
    (photos / "blue-0.png").write_bytes(b"no picture")
    (photos / "more" / "red" / "red-1.JPG").write_bytes(b"")
    with pytest.raises(UserError, match="12 photos: 2 problems") as caught:
        run(photos, "-k", 2, "--features", "pixels")
    assert "blue-0.png: cannot be read as a picture" in str(caught.value)
    assert "red-1.JPG: cannot be read as a picture" in str(caught.value)
    assert not list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "-k 13: expected at most the number of photos in .*wood, 12"),
        (["-k", "0"], "-k 0: expected at least 1"),
        (["-k", "many"], "many"),
        (["--seed", "-1"], "expected a seed of 0"),
        (["--features", "vgg"], "features=vgg: expected resnet50"),
        (["--size", "0"], "--size 0: expected at least 8 px"),
        (["--output", "sheet.jpg"], r"--output sheet\.jpg: expected the name of a \.png file"),
        (["--featurse", "pixels"], "unknown option --featurse; did you mean --features"),
    ],
)
def test_wrong_options(words: list[str], message: str, photos: Path, run: Run) -> None:
    given = ["-k", "13" if not words else "2", "--features", "pixels", *words]
    with pytest.raises(UserError, match=message):
        run(photos, *given)


def test_wrong_folders(photos: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = ("-k", 2, "--features", "pixels")
    with pytest.raises(UserError, match="absent: no such folder"):
        run(tmp_path / "absent", *rest)
    with pytest.raises(UserError, match=r"blue-0\.png: is a file; expected a folder"):
        run(photos / "blue-0.png", *rest)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no pictures .*found nothing"):
        run(tmp_path / "empty", *rest)
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match=r"the contact sheet would lie among the photos.*--output"):
        run(".", *rest)


@pytest.mark.parametrize("name", ["two\nlines.png", "caf\udce9.png"])
def test_names_that_cannot_be_lines(name: str, photos: Path, run: Run) -> None:
    try:
        draw(photos / "ok.png", (9, 9, 9)).save(photos / "plain.png")
        (photos / "plain.png").rename(photos / name)
    except OSError:
        pytest.skip("the file system takes no such names")
    with pytest.raises(UserError, match="cannot be printed as a line of UTF-8") as caught:
        run(photos, "-k", 2, "--features", "pixels")
    str(caught.value).encode()


def test_names_in_other_scripts(tmp_path: Path, run: Run) -> None:
    for number, name in enumerate(("写真.png", "Screenshot at 3.45\u202fPM.png", "[bold]x[/].png")):
        draw(tmp_path / "p" / name, COLOURS["red"], number)
    lines, _ = run(tmp_path / "p", "-k", 3, "--features", "pixels")
    assert sorted(lines) == sorted(map(str, photos_in(tmp_path / "p")))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.run(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "lsmbench select" in shown
    assert "resnet50" in shown
