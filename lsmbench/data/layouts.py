"""Recognises the layout of a user's folder and matches pictures with their annotations."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import PICTURES, Findings, by_stem, few, pictures_in
from lsmbench.errors import UserError

Points = NDArray[np.float64]

ACCEPTED = (
    "Accepted are images/ with masks/ (PNG, class numbers, or the colours of a palette); images/ with landmarks/ "
    "(.pts files), with landmarks.csv, or with .pts files beside the pictures; A/ with B/ (pictures both); or pictures "
    "alone, each showing both views side by side. All of them also inside train/, val/ and test/, as in train/images "
    "and train/masks."
)

Kind = Literal["masks", "pts", "csv", "images", "sides"]


class Layout(NamedTuple):
    """How one folder is laid out."""

    kind: Kind
    title: str
    pictures: Path
    annotations: Path


class Sample(NamedTuple):
    """One sample's files: its picture, the file with its target, and the target's points if they are already read.

    A picture without an annotation has `None` there, and so has an annotation without a picture. `line` is that of the
    annotation's file which holds the points, where one file holds those of many samples.
    """

    part: int
    picture: Path | None
    annotation: Path | None
    points: Points | None = None
    line: int = 0

    @property
    def file(self) -> Path:
        """The file that a sample is called by: its picture, or else its annotation."""
        path = self.picture or self.annotation
        assert path is not None
        return path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that there are."""
        return tuple(path for path in (self.picture, self.annotation) if path is not None)


def layout_of(folder: Path) -> Layout:
    """Recognises a folder's layout by the names in it.

    Raises:
        UserError: If the folder has no known layout, or several.
    """
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    folders = {name for name in names if (folder / name).is_dir()}
    images, found = folder / "images", []
    if "images" in folders:
        if "masks" in folders:
            found.append(Layout("masks", "images/ with masks/", images, folder / "masks"))
        if "landmarks" in folders:
            found.append(Layout("pts", "images/ with landmarks/", images, folder / "landmarks"))
        if "landmarks.csv" in names:
            found.append(Layout("csv", "images/ with landmarks.csv", images, folder / "landmarks.csv"))
        if not found and any(p.suffix.lower() == ".pts" for p in images.iterdir()):
            found.append(Layout("pts", "images/ with .pts files in it", images, images))
    if {"A", "B"} <= folders:
        found.append(Layout("images", "A/ with B/", folder / "A", folder / "B"))
    if not found and any(Path(name).suffix.lower() in PICTURES for name in names):
        if any(name.lower().endswith(".pts") for name in names):
            found.append(Layout("pts", "pictures with .pts files", folder, folder))
        else:
            found.append(Layout("sides", "pictures that show both views side by side", folder, folder))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{folder}: holds {all_of([layout.title for layout in found])}; expected one of them. Move the others."
        )
    shown = few([name + "/" if name in folders else name for name in names]) or "nothing"
    raise UserError(f"{folder}: holds none of the layouts; found {shown}. {ACCEPTED}")


def match(layout: Layout, part: int, findings: Findings) -> list[Sample]:
    """The samples of one folder; a file without a counterpart is a sample with one view."""
    pictures = pictures_in(layout.pictures, findings)
    if not pictures:
        found = few([p.name for p in sorted(layout.pictures.iterdir())]) or "nothing"
        findings.problems.append(
            f"{layout.pictures}: holds no pictures ({', '.join(PICTURES)}); found {found}. Put them there."
        )
        return []
    if layout.kind == "sides":
        return [Sample(part, path, path) for path in pictures.values()]
    if layout.kind == "csv":
        rows = _read_csv(layout.annotations, pictures, findings)
        return [
            Sample(part, path, layout.annotations if stem in rows else None, *rows.get(stem, ()))
            for stem, path in pictures.items()
        ]
    what = {"masks": "mask", "pts": ".pts file", "images": "counterpart"}[layout.kind]
    if layout.kind == "pts":
        points = (p for p in sorted(layout.annotations.iterdir()) if p.suffix.lower() == ".pts")
        annotations = by_stem(points, findings)
    else:
        annotations = pictures_in(layout.annotations, findings)
    both = [stem for stem in pictures if stem in annotations]
    if not both:
        names = few([p.name for p in annotations.values()]), few([p.name for p in pictures.values()])
        if not annotations or layout.kind == "pts":
            findings.problems.append(
                f"{layout.annotations}: expected a {what} for each picture, of the same stem; found "
                f"{names[0] or 'no file of that kind'} for {names[1]}. Rename them."
            )
            return []
        findings.notes.append(
            f"{layout.annotations}: nothing is paired: no {what} has the name of a picture ({names[0]} in "
            f"{layout.annotations.name}/, {names[1]} in {layout.pictures.name}/). If some belong together, rename them."
        )
    without = sorted(annotations.keys() - set(both))
    if layout.kind == "pts" and without:
        findings.notes.append(
            f"{layout.annotations}: not read, since there is no picture whose size the points refer to: "
            f"{few([annotations[stem].name for stem in without])}."
        )
        without = []
    return [
        *(Sample(part, path, annotations.get(stem)) for stem, path in pictures.items()),
        *(Sample(part, None, annotations[stem]) for stem in without),
    ]


def _read_csv(path: Path, pictures: Mapping[str, Path], findings: Findings) -> dict[str, tuple[Points, int]]:
    """Points, in pixels from the top left corner, and line of each picture, by its stem; wrong rows are problems."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        findings.problems.append(f"{path}: cannot be read as CSV ({error}). Save it as UTF-8, separated by commas.")
        return {}
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    count = (len(header) - 1) // 2
    if count < 1 or header != ["file", *(f"{axis}{n}" for n in range(1, count + 1) for axis in "xy")]:
        findings.problems.append(
            f"{path}: expected the header file,x1,y1,x2,y2,… separated by commas, found {few(header) or 'nothing'}."
        )
        return {}
    stems = {p.name: stem for stem, p in pictures.items()}
    named: dict[str, int] = {}
    points: dict[str, tuple[Points, int]] = {}
    homeless: list[str] = []
    for number, row in rows[1:]:
        with findings.gathering():
            name = row[0].strip()
            stem = stems.get(name, name)
            if stem not in pictures:
                homeless.append(f"line {number} ({name})")
                continue
            if stem in named:
                raise UserError(f"{path}: line {number}: {name} has a row already, line {named[stem]}. Remove one.")
            named[stem] = number
            if len(row) != len(header):
                raise UserError(
                    f"{path}: line {number}: {name} has {len(row) - 1} numbers, but the header names {2 * count}."
                )
            values = _numbers(row[1:], f"{path}: line {number}: {name}").reshape(count, 2) + 0.5
            points[stem] = (values, number)
    if homeless:
        findings.notes.append(f"{path}: not read, since there is no picture of that name: {few(homeless)}.")
    if len(rows) > 1 and len(homeless) == len(rows) - 1:
        findings.problems.append(
            f"{path}: none of its rows names a picture; expected names such as {few(list(stems))}."
        )
    return points


def _numbers(cells: Iterable[str], origin: str) -> Points:
    values = []
    for cell in cells:
        try:
            values.append(float(cell))
        except ValueError as error:
            raise UserError(f"{origin}: expected numbers, found {cell!r}.") from error
    if not np.isfinite(values).all():
        raise UserError(f"{origin}: expected finite numbers, found nan or inf.")
    return np.array(values)


def all_of(words: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
