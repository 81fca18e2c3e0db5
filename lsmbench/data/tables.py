"""Reads tables of points: `landmarks.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import Findings, all_of, few
from lsmbench.data.places import File, composed
from lsmbench.errors import UserError

Points = NDArray[np.float64]
"""Pixels from a picture's top left corner, (P, 2)."""


def read_points(
    path: Path, pictures: Mapping[str, Sequence[File]], findings: Findings
) -> dict[Path, tuple[Points, int]]:
    """Points, in pixels from the top left corner, and line of each picture; wrong rows are problems.

    Args:
        path: The table.
        pictures: Those that it may name, by part. A row names a picture with or without its ending; where there are
            several parts, also with its part in front, as `test/3.png`.
        findings: Takes the problems.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            rows = [(number, row) for number, row in enumerate(csv.reader(text), start=1) if any(row)]
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
    by_name: dict[str, dict[str, File]] = {}  # of each part, where several have the name
    by_key: dict[str, dict[str, File]] = {}
    for part, files in pictures.items():
        for prefix in ("", f"{part}/") if len(pictures) > 1 else ("",):
            for file in files:
                by_name.setdefault(prefix + file.name, {})[part] = file
                by_key.setdefault(prefix + file.key, {})[part] = file
    lines: dict[Path, int] = {}
    points: dict[Path, tuple[Points, int]] = {}
    homeless: list[str] = []
    for number, row in rows[1:]:
        with findings.gathering():
            name = composed(row[0].strip())
            meant = by_name.get(name) or by_key.get(name) or {}
            if not meant:
                homeless.append(f"line {number} ({name})")
                continue
            if len(meant) > 1:
                where = all_of([f"{part}/" for part in meant])
                first = f"{next(iter(meant))}/{name}"
                raise UserError(f"{path}: line {number}: {name} is in {where}. Say which is meant, as in {first}.")
            picture = next(iter(meant.values())).path
            if picture in lines:
                raise UserError(f"{path}: line {number}: {name} has a row already, line {lines[picture]}. Remove one.")
            lines[picture] = number
            if len(row) != len(header):
                raise UserError(
                    f"{path}: line {number}: {name} has {len(row) - 1} numbers, but the header names {2 * count}."
                )
            values = _numbers(row[1:], f"{path}: line {number}: {name}").reshape(count, 2) + 0.5
            points[picture] = (values, number)
    if homeless:
        findings.notes.append(f"{path}: not read, since there is no picture of that name: {few(homeless)}.")
    if len(homeless) == len(rows) - 1 > 0:
        names = [file.name for files in pictures.values() for file in files]
        findings.problems.append(f"{path}: none of its rows names a picture; expected names such as {few(names)}.")
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
