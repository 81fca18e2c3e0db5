from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from rich.console import Console

from lsmbench import cli
from lsmbench.commands.check import check, contact_sheet
from lsmbench.data.dataset import Arrays
from lsmbench.data.sheet import font_for, legible
from lsmbench.datasets import DATASETS
from lsmbench.datasets.folder import Folder
from lsmbench.datasets.sit import SIT
from lsmbench.datasets.three_hundred_w import ThreeHundredW
from lsmbench.errors import UserError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSMBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return int(caught.value.code or 0)


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    ThreeHundredW.example(tmp_path / "faces")
    return tmp_path / "faces"


# The command


def test_a_generated_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "check", "sit", "--dataset.size=32", "--dataset.samples", "40") == 0
    shown = in_one_line(capsys.readouterr().out)
    for words in ("samples of train 28", "samples of val 4", "samples of test 8", "samples 40",
                  "Contact sheet: data-check-sit.png", "No problems"):  # fmt: skip
        assert words in shown
    with Picture.open(tmp_path / "data-check-sit.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 6 * 2 * 150


@pytest.mark.parametrize("how", ["path", "root", "variable"])
def test_good_files(how: str, faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"path": [str(faces)], "root": [f"--dataset.root={faces}"], "variable": []}[how]
    if how == "variable":
        monkeypatch.setenv("LSMBENCH_DATA", str(faces))
    assert run("data", "check", "--dataset.size", "32", "300w", *words, "--output", "sheets/faces.png") == 0
    shown = in_one_line(capsys.readouterr().out)
    for text in ("samples of 01_Indoor 20", "samples 40", "least / median / most 48 / 48 / 48",
                 "notes (1) - 40 cut to less than 32 px", "sheets/faces.png", "No problems"):  # fmt: skip
        assert text in shown
    assert Path("sheets/faces.png").exists()


def test_bad_files_are_all_named_and_the_good_ones_drawn(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (faces / "01_Indoor" / "indoor_001.pts").unlink()
    (faces / "01_Indoor" / "indoor_002.png").write_text("no [bold]picture")
    (faces / "02_Outdoor" / "outdoor_001.pts").write_text("1 1\n" * 67)
    assert run("data", "check", "300w", str(faces)) == 2
    shown = in_one_line(capsys.readouterr().out)
    for text in ("problems (3)", "there is no indoor_001.pts beside it", "indoor_002.png: cannot be read",
                 "expected 68 points, found 67", "samples of 01_Indoor 18", "samples 37", "data-check-300w.png",
                 "until the problems are mended"):  # fmt: skip
        assert text in shown
    assert Path("data-check-300w.png").exists()


def test_no_sheet_without_samples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("data", "check", "300w") == 2
    shown = capsys.readouterr()
    assert "https://ibug.doc.ic.ac.uk/resources/300-W/" in shown.out
    assert "No contact sheet" in shown.out
    assert not list(tmp_path.glob("*.png"))


def test_training_without_data_says_where_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--dataset", "300w", "--method", "floor") == 2
    shown = capsys.readouterr().err
    assert "https://ibug.doc.ic.ac.uk/resources/300-W/" in shown
    assert "DATASET=faces" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chek"], "unknown command 'chek'; did you mean check? Known: check."),
        (["check"], "which dataset?"),
        (["check", "--output", "a.png"], "which dataset?"),
        (["check", "siit"], "unknown dataset 'siit'; did you mean sit?"),
        (["check", "sit", "folder"], "dataset sit has no folder of its own; leave out folder"),
        (["check", "300w", "a", "--dataset.root", "b"], "named twice"),
        (["check", "300w", "--dataset.sise=32"], "did you mean --dataset.size?"),
        (["check", "300w", "--outptu=a.png"], "did you mean --output?"),
        (["check", "300w", "--dataset.size=5"], "size=5; expected"),
        (["check", "300w", "--dataset.parts=indor"], "unknown: indor"),
        (["check", "sit", "--output", "a.jpg"], "--output a.jpg: expected the name of a .png file"),
    ],
)
def test_mistakes_are_one_message(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", *words) == 2
    shown = capsys.readouterr()
    assert message in in_one_line(shown.err)
    assert "Traceback" not in shown.err


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["data"], ["data", "--help"]):
        assert run(*words) == 0
        assert "lsmbench data check" in capsys.readouterr().out
    assert run("data", "check", "--help") == 0
    assert "300w" in capsys.readouterr().out
    assert run("data", "check", "300w", "--help") == 0
    assert "--dataset.margin" in capsys.readouterr().out
    assert run("--help") == 0
    assert "lsmbench data check" in capsys.readouterr().out


# Every dataset


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_can_be_inspected_and_drawn(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name].example(tmp_path)
    inspection = dataset.inspect()
    assert inspection.findings.problems == []
    arrays = dataset.load()
    assert inspection.samples.keys() == arrays.keys()
    assert all(np.array_equal(inspection.samples[view], arrays[view]) for view in arrays)
    count = len(arrays[dataset.source]) if arrays else 0
    assert not inspection.names or len(inspection.names) == count
    alone = sum(len(stored) for stored, _ in inspection.alone.values())
    assert sum(inspection.counts.values()) == count + alone > 0
    drawn = np.asarray(contact_sheet(dataset, inspection.samples, inspection.names, inspection.alone))
    assert drawn.std() > 1
    console = Console(file=io.StringIO())
    assert check(dataset, tmp_path / "sheet.png", console)


@dataclass
class Broken(SIT):
    """A dataset whose domain has two classes, and whose masks hold three."""

    def load(self) -> Arrays:
        arrays = super().load()
        return {"x": arrays["x"], "y": np.array(arrays["y"]) * 2}


def test_what_a_domain_refuses_is_a_problem(tmp_path: Path) -> None:
    out = io.StringIO()
    assert not check(Broken(size=32, samples=40), tmp_path / "sheet.png", Console(file=out))
    assert "masks must hold the class indices 0 to 1" in in_one_line(out.getvalue())
    assert not (tmp_path / "sheet.png").exists()


def test_a_folder_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match=r"expected the name of a \.png file"):
        check(SIT(size=32, samples=40), tmp_path / "a.png", Console(file=io.StringIO()))


def test_partial_data_with_brackets_and_chinese_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "[v2]"
    Folder.example(root)
    for i in range(3):
        (root / "masks" / f"0{i}.png").rename(root / "masks" / f"图{i}.png")
    (root / b"K\xf6ln.txt".decode("utf-8", "surrogateescape")).write_text("")
    assert run("data", "check", "folder", str(root), "--dataset.size=32", "--output", "[v2].png") == 0
    shown = in_one_line(capsys.readouterr().out)
    for text in ("pairs of train 25", "pairs 37", "pictures without a mask 3", "masks without a picture 3",
                 "pairing equal names", "not read (1) - 1: K\\udcf6ln.txt – .txt, which is not read",
                 "Contact sheet: [v2].png", "No problems."):  # fmt: skip
        assert text in shown
    with Picture.open("[v2].png") as sheet:
        assert sheet.height > 7 * 220, "37 pairs, and three of each view alone"


def test_names_are_legible_in_whatever_font_there_is() -> None:
    font = font_for(["Gänse/Ёлка_03.png"])
    assert legible("Ga\u0308nse/Ёлка_03.png", font, 500) == "Gänse/Ёлка_03.png"
    beyond = legible("\U0010fffd.png", font_for(["\U0010fffd.png"]), 500)
    assert beyond == "\\U0010fffd.png", "no font has it"
    assert legible("long" * 30, font, 192).startswith("…")


# The sheet


def test_the_sheet_shows_first_and_last_sample_and_their_targets() -> None:
    dataset = SIT(size=32, samples=100)
    inspection = dataset.inspect()
    drawn = np.asarray(contact_sheet(dataset, inspection.samples, inspection.names)).astype(int)
    for number, (row, column) in {0: (0, 0), 99: (7, 5)}.items():
        top, left = 6 + row * 228 + 30, 6 + column * 402
        # Each pixel of a small picture is 6×6 of the sheet's.
        source, target = (drawn[top + 3 : top + 192 : 6, x + 3 : x + 192 : 6, 0] for x in (left, left + 198))
        assert np.array_equal(source, inspection.samples["x"][number, 0])
        mask = np.array(inspection.samples["y"][number])
        assert np.array_equal(target[mask == 0], source[mask == 0]), "the photo is seen"
        assert (np.abs(target - source)[mask == 1] > 10).mean() > 0.5, "and the mask over it"


def test_the_sheet_shows_landmarks_where_they_are(tmp_path: Path) -> None:
    dataset = ThreeHundredW.example(tmp_path)
    inspection = dataset.inspect()
    drawn = np.asarray(contact_sheet(dataset, inspection.samples, inspection.names)).astype(int)
    change = np.abs(drawn[36:228, 204:396] - drawn[36:228, 6:198]).sum(2)
    columns, rows = (np.array(inspection.samples["y"][0])[27:36] * 192).astype(int).T  # the nose
    assert (change[rows, columns] > 40).all()
    inside = np.ones((192, 192), bool)
    for x, y in np.array(inspection.samples["y"][0]) * 192:
        inside[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9] = False
    assert np.median(change[inside]) < 40, "and nothing elsewhere, but for the scaling"
