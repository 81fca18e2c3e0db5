"""Units by name: which patient, person or scene a file shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import Findings, few
from lsmbench.data.layouts import Found, Sample
from lsmbench.errors import UserError

FOLDER = "folder"
_LEAST = 3  # groups of names from which on they are taken for units
_NUMBERED = re.compile(r"^(.*?)([_\-. ]+)([A-Za-z]*)\d+[^/\d]*$")


def pattern_of(word: str) -> re.Pattern[str] | None:
    """The expression that the option `unit` holds; `None` for `folder` and for an empty word.

    Raises:
        UserError: If it is no regular expression, or has not exactly one group.
    """
    if word in ("", FOLDER):
        return None
    try:
        pattern = re.compile(word)
    except re.error as error:
        raise UserError(
            f"unit={word}: is no regular expression ({error}). Give one such as (P\\d+)_, or folder."
        ) from error
    if pattern.groups != 1:
        raise UserError(
            f"unit={word}: has {pattern.groups} groups; expected one, in round brackets, around what names the unit, "
            "as in (P\\d+)_. Brackets that only hold together are written (?:…)."
        )
    return pattern


def units_of(samples: Sequence[Sample], word: str, where: str, findings: Findings) -> NDArray[np.generic]:
    """The unit of each sample, by the name of its file below the folder of its kind and part.

    Args:
        samples: The files.
        word: `folder`, the first sub-folder of the name; or an expression, whose group is searched for in the name.
        where: The folder, for messages.
        findings: Takes one problem that lists the names without a unit.

    Returns:
        Their units, (n,); empty where a name has none.
    """
    pattern = pattern_of(word)
    found = []
    for sample in samples:
        if pattern is None:
            found.append(sample.name.rpartition("/")[0].partition("/")[0])
        else:
            match = pattern.search(sample.name)
            found.append((match[1] or "") if match else "")
    without = [sample.name for sample, unit in zip(samples, found, strict=True) if not unit]
    if without:
        what = "lie in no sub-folder" if pattern is None else "do not match"
        findings.problems.append(
            f"{where}: unit={word}: {len(without)} of {len(samples)} names {what}: {few(without)}. Every file needs a "
            "unit: change the option, or the names."
        )
    return np.array(found, np.str_)


def note_likely_units(found: Found, findings: Findings) -> None:
    """Notes names that look as if several files showed one person: sub-folders, or a prefix with running numbers."""
    names = [sample.name for sample in found.samples]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    if len(folders) > 1:
        shown, option = few(sorted(folders), 3), FOLDER
        what = f"{len(names)} files lie in {len(folders)} sub-folders ({shown})"
    else:
        groups: dict[str, list[str]] = {}
        for name in names:
            if match := _NUMBERED.search(name):
                groups.setdefault(match[1], []).append(name)
        shared = {prefix: some for prefix, some in groups.items() if len(some) > 1}
        if len(shared) < _LEAST or 2 * sum(map(len, shared.values())) < len(names):
            return
        first = next(iter(shared.values()))
        match = _NUMBERED.search(first[0])
        assert match is not None  # the name shares its beginning with another
        option = f"'(.+){re.escape(match[2])}{'[A-Za-z]*' if match[3] else ''}\\d'"
        what = f"{sum(map(len, groups.values()))} names have {len(groups)} beginnings ({few(first, 3)} …)"
    apart = ""
    if len(found.parts) < 2:
        apart = " A split of single files puts such files on both sides, and scores are too good."
    findings.notes.append(
        f"{found.root}: {what}, as slices or photos of one patient, person or scene have.{apart} If they do, set "
        f"unit={option}; data check then says how many units there are."
    )
