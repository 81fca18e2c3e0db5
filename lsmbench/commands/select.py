"""`lsmbench select`: chooses the photos of a folder to annotate first (Shukla et al., §3.2)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jsonargparse import ArgumentParser
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw
from rich.console import Console
from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import errors
from lsmbench.data import features
from lsmbench.data.cache import cached_arrays
from lsmbench.data.census import Levels, Reach, parse_window, reach_of, shown_reach
from lsmbench.data.files import PICTURES, Findings, few, to_mode
from lsmbench.data.rasters import bands_of, may_be_deep, read_raster
from lsmbench.data.selection import Clusters, cluster
from lsmbench.data.sheet import CELL, COLUMNS, GAP, INK, LINE, SHOWN, SOFT, blank, fitted, font_for, legible
from lsmbench.errors import UserError
from lsmbench.runs.results import write_bytes

VERSION = 2
"""Raise this whenever the same files give other features: cached features of other versions are not used."""


def run(words: list[str]) -> int:
    """Runs the command: prints the chosen files to stdout, one per line, and everything else to stderr.

    The file that represents most photos comes first.

    Args:
        words: Arguments after `lsmbench select`.

    Returns:
        0.

    Raises:
        UserError: If an option is wrong, the folder holds too few photos, or some photos cannot be read; and as the
            functions of `lsmbench.data.features` and `lsmbench.data.selection`.
    """
    values = parse_arguments(_parser(), words)
    if values.by_disagreement is not None:
        return _by_disagreement(Path(values.by_disagreement), values.k)
    if values.path is None:
        raise UserError("select: name a folder with photos, or the table of predictions with --by-disagreement.")
    folder, size = Path(values.path), values.size
    sheet = Path(values.output or f"select-{folder.resolve().name or 'photos'}.png")
    # Check the options before minutes of computing.
    _check_options(folder, sheet, values.k, size)
    features.check_word(values.features)
    parse_window(values.window, "select")
    paths = photos_in(folder)
    if values.k > len(paths):
        raise UserError(f"-k {values.k}: expected at most the number of photos in {folder}, {len(paths)}.")
    errors.print(
        f"[bold]select[/]: {values.k} of {_count(len(paths))} in {escape(str(folder))}, by k-medoids on "
        f"{escape(values.features)}, seed {values.seed}",
        highlight=False,
    )
    window = window_of(paths, values.window)
    if window.reach is not None:
        errors.print(f"range used: {shown_reach(window.reach)}", highlight=False)
    found = cluster(_features(values.features, paths, size, errors, window), values.k, values.seed)
    order = _largest_first(found)
    chosen = [paths[found.medoids[number]] for number in order]
    sizes = [int(found.sizes[number]) for number in order]
    write_bytes(sheet, contact_sheet(chosen, sizes, folder, window))
    for path in chosen:
        print(path)
    shown = f" (the first {SHOWN} of {len(chosen)})" if len(chosen) > SHOWN else ""
    errors.print(f"Largest cluster first. Contact sheet{shown}: {escape(str(sheet))}", highlight=False)
    return 0


def _by_disagreement(table: Path, k: int) -> int:
    """Prints the files of a table of predictions on which its methods disagree most, most first; ties by path.

    Raises:
        UserError: If the table is missing, holds no disagreement, or fewer files than are asked for.
    """
    if k < 1:
        raise UserError(f"-k {k}: expected at least 1 photo to choose.")
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as a table of predictions ({error}).") from error
    try:
        found = [(-float(row["disagreement"]), row["file"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{table}: has no number in the column disagreement for every file, which needs several seeds or folds of "
            "a method. Train with SEEDS=0,1 or more, and predict from the folder of results."
        ) from error
    if k > len(found):
        raise UserError(f"-k {k}: expected at most the number of files in {table}, {len(found)}.")
    for _, name in sorted(found)[:k]:
        print(name)
    return 0


def photos_in(folder: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, in the order of their paths, without hidden files.

    Raises:
        UserError: If there is no picture, or a name cannot be printed on one line.
    """
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    names = sorted(path for path in inside if not any(part.startswith(".") for part in path.parts))
    paths = [folder / name for name in names if (folder / name).is_file()]
    if not paths:
        found = few(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise UserError(f"{folder}: holds no pictures ({', '.join(PICTURES)}); found {found}. Name another folder.")
    findings = Findings()
    for path in paths:
        if not _on_one_line(str(path)):
            findings.problems.append(f"{str(path)!a}: its name cannot be printed as a line of UTF-8. Rename it.")
    findings.stop_if_any("select")
    return paths


class Window(NamedTuple):
    """The numbers that become black and white; `named` if the user says so, for photos of 8 bits too."""

    reach: Reach | None = None
    named: bool = False


AS_STORED = Window()
"""Photos of 8 bits as they are, and 65535 of more bits as white."""


def window_of(paths: Sequence[Path], word: str) -> Window:
    """The numbers that become black and white in all photos, as `lsmbench.data.census.reach_of` finds them.

    Args:
        paths: The photos.
        word: The option `window`.

    Raises:
        UserError: If the word is no window, or photos cannot be read.
    """
    asked = parse_window(word, "select")
    if asked is not None and len(asked) == 2:
        return Window(asked, True)
    findings, levels = Findings(), []
    for path in paths:
        if asked is None and not may_be_deep(path):
            continue
        with findings.gathering():
            raster = read_raster(path, "apply")
            if raster.numbers is not None:
                colours = raster.numbers.shape[2]
                levels.append(Levels.of(raster.numbers[..., : colours - (colours + 1) % 2], asked is not None))
            elif asked is not None:
                levels.append(Levels.of(np.stack([np.asarray(b) for b in bands_of(raster, 3, None, path)]), True))
    findings.stop_if_any(f"select: {_count(len(paths))}")
    return Window(reach_of(word, levels, "select"), asked is not None)


def _as_rgb(path: Path, window: Window) -> Picture.Image:
    """A photo as RGB of 8 bits; photos of 8 bits as they are, unless the user names a window."""
    raster = read_raster(path, "apply")
    if raster.picture is not None and not window.named:
        return to_mode(raster.picture, "RGB")
    bands = [np.asarray(band) for band in bands_of(raster, 3, window.reach, path)]
    return Picture.fromarray((np.stack(bands, -1) * 255).round().astype(np.uint8))


def contact_sheet(paths: Sequence[Path], sizes: Sequence[int], folder: Path, window: Window = AS_STORED) -> bytes:
    """Draws the first 48 of the chosen photos, with their names and the sizes of their clusters.

    Args:
        paths: The chosen photos.
        sizes: Number of photos in the cluster of each chosen photo.
        folder: Names are shown relative to this folder.
        window: The numbers that become black and white.

    Returns:
        The content of a PNG, 6 photos wide at most.
    """
    names = [str(path.relative_to(folder)) for path in paths[:SHOWN]]
    height = CELL + 2 * LINE + GAP
    sheet, font = blank(len(names), CELL, height), font_for(names)
    pen = ImageDraw.Draw(sheet)
    for k, (path, name, count) in enumerate(zip(paths, names, sizes, strict=False)):
        left, top = GAP + k % COLUMNS * (CELL + GAP), GAP + k // COLUMNS * height
        picture = fitted(_as_rgb(path, window))
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        pen.text((left, top + CELL), legible(name, font, CELL), fill=INK, font=font)
        pen.text((left, top + CELL + LINE), f"stands for {_count(count)}", fill=SOFT, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


class _Decoded:
    """Photos that are read from their files on demand, so that any number of them takes little memory."""

    def __init__(self, paths: Sequence[Path], size: int, window: Window) -> None:
        self.paths, self.size, self.window = paths, size, window

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        """The photos of a slice as RGB, stretched to a square: uint8, shape (n, 3, size, size)."""
        findings = Findings()
        batch = [self._read(path, findings) for path in self.paths[part]]
        if findings.problems:
            # Read the other photos only for their problems, so that the user can mend all at once.
            for path in self.paths[part.indices(len(self))[1] :]:
                self._read(path, findings)
        findings.stop_if_any(f"select: {_count(len(self))}")
        return np.stack(batch).transpose(0, 3, 1, 2)

    def _read(self, path: Path, findings: Findings) -> NDArray[np.uint8]:
        with findings.gathering():
            picture = _as_rgb(path, self.window)
            return np.asarray(picture.resize((self.size, self.size), Picture.Resampling.BILINEAR))
        return np.empty((0, 0, 3), np.uint8)


def _features(word: str, paths: Sequence[Path], size: int, console: Console, window: Window) -> NDArray[np.float32]:
    """Features of the photos, with a progress bar on a terminal; computed features are cached."""
    if word not in features.WORDS:
        return features.features_of(word, None, len(paths))
    compute = {"pixels": features.pixels, "resnet50": features.resnet50}[word]
    key = {"features": word, "size": size, "version": [VERSION, features.VERSION], "window": window}
    photos = _Decoded(paths, size, window)

    def build() -> dict[str, NDArray[Any]]:
        with _bar(console) as bars:
            task = bars.add_task("features", total=len(paths))
            return {
                "features": compute(photos, progress=lambda done, total: bars.update(task, completed=done, total=total))
            }

    return np.asarray(cached_arrays("select", key, paths, build)["features"], dtype=np.float32)


def _bar(console: Console) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("photos, left:"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _largest_first(found: Clusters) -> list[int]:
    """The clusters' numbers, largest first: a user who stops early has annotated the commonest; ties by path."""
    return [int(number) for number in np.lexsort((found.medoids, -found.sizes))]


def _check_options(folder: Path, sheet: Path, k: int, size: int) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "no such folder"
        raise UserError(f"{folder}: {what}; expected a folder with photos in it or in its subfolders.")
    if k < 1:
        raise UserError(f"-k {k}: expected at least 1 photo to choose.")
    if size < 8:
        raise UserError(f"--size {size}: expected at least 8 px.")
    if sheet.suffix.lower() != ".png" or sheet.is_dir():
        raise UserError(f"--output {sheet}: expected the name of a .png file.")
    if sheet.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{sheet}: the contact sheet would lie among the photos, and count as a photo the next time. Name another "
            "place by --output."
        )


def _on_one_line(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding
        return False
    return "\n" not in name and "\r" not in name


def _count(photos: int) -> str:
    return "1 photo" if photos == 1 else f"{photos} photos"


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        exit_on_error=False,
        prog="lsmbench select",
        description="Chooses which photos of a folder to annotate first: one representative of each of K clusters of "
        "similar photos. Prints their paths, one per line, largest cluster first, and draws them on a contact sheet.",
    )
    parser.add_argument(
        "path", metavar="PATH", type=str, nargs="?", help="Folder with photos in it or in its subfolders"
    )
    parser.add_argument(
        "--by-disagreement",
        type=str,
        metavar="predictions.csv",
        help="In place of a folder: the table that lsmbench predict wrote; chooses the files on which the seeds of the "
        "method disagree most",
    )
    parser.add_argument("-k", type=int, required=True, metavar="K", help="How many photos to choose")
    parser.add_argument(
        "--features",
        type=str,
        default="resnet50",
        help="Features by which photos are compared: resnet50 (ImageNet's network; downloads 98 MB once), pixels (the "
        "photos in small), or a .npy file with a row for each photo, in the order of their paths",
    )
    parser.add_argument(
        "--window",
        type=str,
        default="auto",
        help="The numbers in photos that become black and white: low,high as in 0,4095; percentiles of all photos as "
        "in p1,p99; auto: 8 bits as they are, of more bits the fewest that hold all numbers",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of k-means")
    parser.add_argument("--output", type=str, help="Contact sheet to write (default: select-FOLDER.png)")
    parser.add_argument(
        "--size", type=int, default=224, help="Height and width that photos are scaled to before features [px]"
    )
    return parser
