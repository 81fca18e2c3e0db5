"""The census of a set's files: what all of them hold together, and what that means for labels, intensities, points.

One file alone often looks sound, but its colours stand in another order than those of its neighbours, its only label
is 255, its numbers use 12 of 16 bits. Here are pure functions from what was seen in each file to what holds for the
set; they name problems and notes, and read nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.files import Findings, few
from lsmbench.errors import UserError
from lsmbench.palettes import IGNORED, Colour

Reach = tuple[float, float]
"""The numbers in files that become 0 and 1."""

MOST_COLOURS = 64
"""A mask of more colours than this is no map of flat colours."""

_CLEAR = 0.1
_STEPS = np.linspace(0, 1, 1001)

# Intensities


@dataclass(frozen=True)
class Levels:
    """The numbers that a picture's file holds, without alpha.

    Attributes:
        low: The least.
        high: The greatest.
        deep: Whether the file stores more than 8 bits.
        whole: Whether all are whole numbers.
        count: How many there are.
        steps: Their quantiles in steps of 0.1 %, float64 (1001,), where percentiles are asked for.
    """

    low: float
    high: float
    deep: bool
    whole: bool
    count: int
    steps: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, numbers: NDArray[np.generic], steps: bool) -> Levels:
        """The levels of a picture's numbers, of any shape."""
        values = np.asarray(numbers)
        return cls(
            float(values.min()),
            float(values.max()),
            values.dtype not in (np.uint8, np.bool_),
            values.dtype.kind in "bui",
            values.size,
            np.quantile(values.astype(np.float64), _STEPS) if steps else None,
        )


def parse_window(word: str, name: str) -> Reach | tuple[str, float, float] | None:
    """Parses the option `window`.

    Args:
        word: `auto`; two numbers, `low,high`; or two percentiles, `p1,p99`.
        name: Who asks, for messages.

    Returns:
        The reach; `("percentiles", low, high)`; or `None` for `auto`.

    Raises:
        UserError: If it is none of these, or the first is not below the second.
    """
    if word.strip().lower() == "auto":
        return None
    cells = [cell.strip() for cell in word.split(",")]
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    percentiles = [re.fullmatch(rf"[pP]({number})", cell) for cell in cells]
    numbers = [re.fullmatch(f"({number})", cell) for cell in cells]
    for matches, kind in ((percentiles, "percentiles"), (numbers, "")):
        if len(cells) == 2 and all(matches):
            low, high = (float(match[1]) for match in matches if match)
            if low < high and (not kind or (low >= 0 and high <= 100)):
                return (kind, low, high) if kind else (low, high)
    raise UserError(
        f"{name}: window={word}; expected auto, the numbers that become black and white, as in 0,4095, or percentiles "
        "of all pictures' numbers, as in p1,p99; the first below the second."
    )


def reach_of(word: str, levels: Sequence[Levels], name: str = "window") -> Reach | None:
    """The one range of numbers that becomes 0 to 1 in all pictures of a view.

    `auto` leaves 8 bits as they are. Whole numbers from 0 to 65535 in more bits get the range of the fewest bits that
    hold the greatest of them: 12 bits are 0 to 4095, whichever of these numbers occur. Floats in [0, 1] keep their
    values. Of other numbers the least and the greatest of the set become 0 and 1.

    Args:
        word: The option `window`.
        levels: Of every picture.
        name: Who asks, for messages.

    Returns:
        `None` if all pictures have 8 bits and are to stay as they are.

    Raises:
        UserError: As `parse_window`; or if the percentiles are the same number.
    """
    asked = parse_window(word, name)
    if asked is None:
        deep = [level for level in levels if level.deep]
        if not deep:
            return None
        low, high = min(level.low for level in deep), max(level.high for level in deep)
        if all(level.whole for level in deep) and low >= 0 and high <= 65535:
            return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        return (low, high) if low < high else (low, low + 1)
    if len(asked) == 2:
        return asked
    if not levels:
        return None
    values = np.concatenate([level.steps for level in levels if level.steps is not None])
    weights = np.concatenate([np.full(len(_STEPS), level.count) for level in levels if level.steps is not None])
    order = values.argsort()
    share = weights[order].cumsum() / weights.sum()
    low, high = (float(values[order][np.searchsorted(share, p / 100).clip(max=len(order) - 1)]) for p in asked[1:])
    if low >= high:
        raise UserError(
            f"{name}: window={word}: both percentiles of the pictures' numbers are {low:g}. Set them further apart."
        )
    return low, high


# Labels


@dataclass(frozen=True)
class MaskFile:
    """What a mask's file holds, before anything is resized.

    Attributes:
        path: The file.
        counts: Pixels of each number, int64 (256,).
        palette: The colour of each number in a palette PNG, (n, 3); `None` in other files.
        blurred: Whether it is a JPEG, whose numbers are grey levels.
        colours: Pixels of each colour, if it holds colours in place of numbers; empty if there are more than
            `MOST_COLOURS`.
        alpha: The least and the greatest alpha, if it has alpha.
    """

    path: Path
    counts: NDArray[np.int64]
    palette: NDArray[np.uint8] | None = None
    blurred: bool = False
    colours: dict[Colour, int] | None = None
    alpha: tuple[int, int] | None = None

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers that occur."""
        return frozenset(np.flatnonzero(self.counts).tolist())


@dataclass(frozen=True)
class Wanted:
    """What the user says of the masks' labels.

    Attributes:
        classes: Number of classes; 0: not said.
        ignore: Labels of pixels that have no class.
        background: The label that the foreground IoU leaves out; `None`: no label; 0 unless said otherwise.
        names: What the classes are called; empty: not said.
        background_said: Whether the user named the background.
    """

    classes: int = 0
    ignore: tuple[int, ...] = ()
    background: int | None = 0
    names: tuple[str, ...] = ()
    background_said: bool = False


@dataclass
class Labels:
    """What the masks' numbers mean.

    Attributes:
        tables: For each file the class of each of its numbers, uint8 (256,), `IGNORED` for pixels without a class;
            `None` if the file is refused.
        labels: The number that stands for each class in the files, (K,).
        background: The class that the foreground IoU leaves out.
        void: Whether some numbers have no class.
        colours: The colour of each class in palette PNGs, (K, 3); `None` if there are none, or not for each class.
        counts: Pixels of each class in the files that are not refused, int64 (256,).
        shares: Share of the pixels of each colour, where masks hold colours in place of numbers.
    """

    tables: list[NDArray[np.uint8] | None]
    labels: tuple[int, ...] = ()
    background: int | None = 0
    void: bool = False
    colours: NDArray[np.uint8] | None = None
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    shares: dict[Colour, float] = field(default_factory=dict)


@dataclass
class _Mask:
    """A mask's file, and the class of each of its numbers; no table if it is refused."""

    file: MaskFile
    table: NDArray[np.uint8] | None = field(default_factory=lambda: np.arange(256, dtype=np.uint8))


def labels_of(files: Sequence[MaskFile], wanted: Wanted, findings: Findings) -> Labels:
    """Settles what the numbers of all masks mean.

    Args:
        files: Every mask.
        wanted: What the user says.
        findings: Takes the problems and the notes.
    """
    found = Labels([])
    if not files:
        return found
    masks = [_Mask(file) for file in files]
    _see_through(masks, findings)
    found.shares = _colours(masks, findings)
    _two_levels(masks, findings)
    by_index = _one_palette(masks, findings)
    _classes(masks, found, wanted, findings)
    found.tables = [mask.table for mask in masks]
    if by_index is not None and all(label in by_index for label in found.labels):
        found.colours = np.array([by_index[label] for label in found.labels], np.uint8)
    return found


def _usable(masks: Sequence[_Mask]) -> list[_Mask]:
    return [mask for mask in masks if mask.table is not None]


def _refuse(masks: Sequence[_Mask]) -> None:
    for mask in masks:
        mask.table = None


def _of(masks: Sequence[_Mask]) -> str:
    """Names of some masks' files, for a message."""
    return few([mask.file.path.name for mask in masks])


def _see_through(masks: Sequence[_Mask], findings: Findings) -> None:
    """Refuses masks whose alpha differs from pixel to pixel: nobody but the user knows what it means."""
    wrong = [mask for mask in masks if mask.file.alpha is not None and mask.file.alpha[0] != mask.file.alpha[1]]
    _refuse(wrong)
    if wrong:
        findings.problems.append(
            f"{wrong[0].file.path.parent}: {len(wrong)} of {len(masks)} masks are partly transparent ({_of(wrong)}), "
            "and transparent pixels may be background, or no class at all. Save the masks without alpha: with a "
            "number, or a colour, of their own in such pixels (ignore=NUMBER leaves a number out)."
        )


def _colours(masks: Sequence[_Mask], findings: Findings) -> dict[Colour, float]:
    """Refuses masks that hold colours in place of numbers, in one message; returns the colours' shares of pixels."""
    coloured = [mask for mask in _usable(masks) if mask.file.colours is not None]
    if not coloured:
        return {}
    _refuse(coloured)
    place = f"{coloured[0].file.path.parent}: {len(coloured)} of {len(masks)} masks hold colours, not class numbers"
    counts: Counter[Colour] = Counter()
    for mask in coloured:
        counts.update(mask.file.colours or {})
    many = [mask for mask in coloured if not mask.file.colours]
    if many or len(counts) > MOST_COLOURS:
        findings.problems.append(
            f"{place} ({_of(many or coloured)}), and more than {MOST_COLOURS} of them: they are photos, or maps that "
            "were smoothed in resizing or saved as JPEG. Save them anew with one colour for each class, as PNG and not "
            "smoothed; or name the classes' colours by palette=FILE, which gives each pixel of a JPEG the nearest."
        )
        return {}
    total = sum(counts.values())
    shares = {colour: n / total for colour, n in counts.most_common()}
    shown = few([f"{colour} {100 * share:.1f} %" for colour, share in shares.items()], 8)
    findings.problems.append(
        f"{place} ({_of(coloured)}): {len(shares)} flat colours, with their shares of pixels: {shown}. Name their "
        "classes: lsmbench data check folder PATH --write-palette classes.csv writes these colours to a file; correct "
        "the names in it, call colours without a class void, and give palette=classes.csv."
    )
    return shares


def two_levels(counts: NDArray[np.int64]) -> tuple[int, int, float] | None:
    """The two clear peaks of blurred masks' grey levels.

    Args:
        counts: Pixels of each level, (256,).

    Returns:
        Both levels, and the share of pixels in doubt: further from both than a quarter of their distance. `None` if
        there are more or fewer than two peaks, they are less than 64 apart, or more than a tenth is in doubt.
    """
    from scipy.signal import find_peaks  # type: ignore[import-untyped]  # takes 1.7 s to import

    share = counts / max(1, counts.sum())
    smooth = np.concatenate([[0], np.convolve(share, np.full(9, 1 / 9), "same"), [0]])
    merged: list[int] = []
    for place in (find_peaks(smooth, prominence=4e-4)[0] - 1).tolist():
        start = max(0, place - 8)
        level = start + int(share[start : place + 9].argmax())
        if merged and level - merged[-1] <= 16:
            merged[-1] = max(merged[-1], level, key=lambda one: float(share[one]))
        else:
            merged.append(level)
    if len(merged) != 2 or merged[1] - merged[0] < 64:
        return None
    low, high = merged
    quarter = (high - low) / 4
    numbers = np.arange(256)
    doubt = float(share[(numbers > low + quarter) & (numbers < high - quarter)].sum())
    return (low, high, doubt) if doubt <= _CLEAR else None


def _two_levels(masks: Sequence[_Mask], findings: Findings) -> None:
    """Cuts JPEG masks of two grey levels in the middle; refuses others."""
    blurred = [mask for mask in _usable(masks) if mask.file.blurred]
    if not blurred:
        return
    place = blurred[0].file.path.parent
    others = {number for mask in _usable(masks) if not mask.file.blurred for number in mask.file.numbers}
    peaks = two_levels(np.sum([mask.file.counts for mask in blurred], axis=0))
    if peaks is None or not (others <= {0, 1} or others <= {0, 255}):
        _refuse(blurred)
        why = (
            "they do not hold two clear grey levels, which could be cut apart all the same"
            if peaks is None
            else f"other masks hold more than two classes ({few([str(n) for n in sorted(others)])})"
        )
        named = all(mask.file.path.suffix.lower() in (".jpg", ".jpeg") for mask in blurred)
        findings.problems.append(
            f"{place}: {len(blurred)} of {len(masks)} masks are JPEG{'' if named else ', whatever their names say'} "
            f"({_of(blurred)}), which changes labels in saving, "
            f"and {why}. Make the masks anew, as PNG."
        )
        return
    low, high, doubt = peaks
    cut = (low + high) / 2
    table = np.where(np.arange(256) > cut, 255 if 255 in others else 1, 0).astype(np.uint8)
    for mask in blurred:
        mask.table = table
    pixels = int(sum(mask.file.counts.sum() for mask in blurred))
    findings.notes.append(
        f"{place}: {len(blurred)} masks are JPEG of two grey levels, {low} and {high}: cut at {cut:g}. "
        f"{round(doubt * pixels):,} of {pixels:,} pixels ({100 * doubt:.2g} %) are in doubt, nearer to the middle than "
        "to either level. PNG would leave no doubt."
    )


def _one_palette(masks: Sequence[_Mask], findings: Findings) -> dict[int, Colour] | None:
    """Makes numbers of palette PNGs mean the same colour in all files; returns the colour of each number.

    The palette of most files holds. Files that have its colours in another order are renumbered by colour; files with
    other colours for numbers that it uses are refused.
    """
    groups: dict[bytes, list[_Mask]] = {}
    for mask in _usable(masks):
        if mask.file.palette is not None:
            groups.setdefault(mask.file.palette.tobytes(), []).append(mask)
    if not groups:
        return None
    used = {key: frozenset[int]().union(*(m.file.numbers for m in group)) for key, group in groups.items()}
    order = sorted(groups, key=lambda key: (-len(groups[key]), -len(used[key]), key))
    first = _colour_of(groups[order[0]][0])
    known = {number: first[number] for number in used[order[0]] if number in first}
    whole = dict(first)
    other_order: list[_Mask] = []
    strange: list[tuple[_Mask, int]] = []
    for key in order[1:]:
        own = _colour_of(groups[key][0])
        touched = used[key] | known.keys()
        if all(whole[n] == own[n] for n in touched if n in whole and n in own) and _unlike(known, own, used[key]):
            known |= {n: own[n] for n in used[key] if n in own}
            whole = {**own, **whole}
            continue
        number_of = {colour: number for number, colour in known.items()}
        for mask in groups[key]:
            numbers = sorted(mask.file.numbers)
            missing = [n for n in numbers if own.get(n) not in number_of]
            if missing or len(number_of) < len(known):
                strange.append((mask, (missing or numbers)[0]))
                continue
            table = np.arange(256, dtype=np.uint8)
            table[numbers] = [number_of[own[n]] for n in numbers]
            if (table[numbers] != numbers).any():
                other_order.append(mask)
                mask.table = table
    place = next(iter(groups.values()))[0].file.path.parent
    if other_order:
        findings.notes.append(
            f"{place}: {len(other_order)} of {len(masks)} palette masks store the same colours in another order "
            f"({_of(other_order)}); their classes are taken from the colours, as most files number them: "
            f"{few([f'{n} {colour}' for n, colour in sorted(known.items())])}."
        )
    if strange:
        wrong = [mask for mask, _ in strange]
        _refuse(wrong)
        mask, number = strange[0]
        there = _colour_of(mask).get(number)
        usual = f"most others show {number} as {known[number]}" if number in known else f"no other mask has {number}"
        findings.problems.append(
            f"{place}: the palettes of {len(strange)} of {len(masks)} masks contradict those of most others "
            f"({_of(wrong)}): {number} is the colour {there} in {mask.file.path.name}, and {usual}, so "
            "that a number does not mean one class. Save all masks with one palette, or as grey with class numbers."
        )
    return known


def _colour_of(mask: _Mask) -> dict[int, Colour]:
    assert mask.file.palette is not None
    return {n: (int(r), int(g), int(b)) for n, (r, g, b) in enumerate(mask.file.palette)}


def _unlike(known: dict[int, Colour], own: dict[int, Colour], used: frozenset[int]) -> bool:
    """Whether no colour that a file uses belongs to another number that is known, unless the file has both alike."""
    number_of = {colour: number for number, colour in known.items()}
    for n in used:
        usual = number_of.get(own[n]) if n in own else None
        if usual is not None and usual != n and own.get(usual) != own[n] and known.get(n) != own[n]:
            return False
    return True


def _classes(masks: Sequence[_Mask], found: Labels, wanted: Wanted, findings: Findings) -> None:
    """Turns numbers into classes; sets all of `found` but the colours and the tables."""
    read = _usable(masks)
    if not read:
        found.labels = tuple(range(wanted.classes or 2))
        return
    place = read[0].file.path.parent
    counts = [_recounted(mask.file.counts, mask.table) for mask in read]
    numbers = [frozenset(np.flatnonzero(c).tolist()) - set(wanted.ignore) for c in counts]
    total = np.sum(counts, axis=0)
    void = int(total[list(wanted.ignore)].sum())
    found.void = bool(wanted.ignore)
    if wanted.ignore and not void:
        findings.notes.append(
            f"{place}: no mask holds a label of ignore={','.join(map(str, wanted.ignore))}; the masks hold "
            f"{few([str(n) for n in np.flatnonzero(total)], 12)}."
        )

    scans = wanted.classes in (0, 2) and all(own <= {0, 1} or own <= {0, 255} for own in numbers)
    fold = np.arange(256, dtype=np.uint8)
    if scans:
        fold[255] = 1
    fold[list(wanted.ignore)] = IGNORED
    seen = frozenset[int]().union(*numbers)
    seen = frozenset(1 if scans and n == 255 else n for n in seen)
    in_files = 255 if scans and any(255 in own for own in numbers) else 1

    if wanted.classes:
        for mask, own in zip(read, numbers, strict=True):
            beyond = sorted(n for n in own if fold[n] >= wanted.classes)
            if beyond:
                findings.problems.append(
                    f"{mask.file.path}: holds the labels {few([str(n) for n in beyond])}; expected 0 to "
                    f"{wanted.classes - 1}. Correct the mask, raise classes, or give ignore={beyond[0]} if such pixels "
                    "have no class."
                )
                mask.table = None
    elif not seen:
        findings.problems.append(f"{place}: all pixels have the label of ignore, so that there is nothing to learn.")
    elif len(seen) == 1:
        only = next(iter(seen))
        only = in_files if scans and only == 1 else only
        findings.problems.append(
            f"{place}: all masks hold class {only} only, so that there is nothing to learn. Look whether they were "
            "saved as they should be; give classes=N if that is right."
        )
    elif (smoothed := _smoothed(total)) is not None:
        findings.problems.append(
            f"{place}: the masks hold {len(seen)} grey levels, but {100 * smoothed[1]:.1f} % of the pixels have one of "
            f"{few([str(n) for n in smoothed[0]])}; the others lie between them, as edges that were smoothed in "
            "resizing or saving. They would count as classes. Make the masks anew without smoothing (nearest pixel), "
            f"with {len(smoothed[0])} numbers only."
        )
    elif 255 in seen:
        having = [mask for mask, own in zip(read, numbers, strict=True) if 255 in own]
        findings.problems.append(
            f"{place}: the label 255 lies beside others in {len(having)} of {len(read)} masks ({_of(having)}). If it "
            "marks pixels that have no class, give ignore=255; if the masks are grey by smoothing, save them anew with "
            "0 and 255 only; if there are 256 classes, set classes=256."
        )
    elif 2 * len(seen) < max(seen) + 1:
        findings.problems.append(
            f"{place}: the masks' labels are {few([str(n) for n in sorted(seen)])}, which would make {max(seen) + 1} "
            f"classes of which most never occur. Number the classes 0, 1, 2 …, or set classes={max(seen) + 1}."
        )
    _name_classes(found, wanted, seen, in_files, place, findings)
    for mask, own_counts in zip(read, counts, strict=True):
        if mask.table is not None:
            mask.table = fold[mask.table]
            found.counts += _recounted(own_counts, fold)
    _settle_background(found, wanted, in_files, place, findings)


def _name_classes(
    found: Labels, wanted: Wanted, seen: frozenset[int], in_files: int, place: Path, findings: Findings
) -> None:
    """Sets the number of classes, and the label of each in the files."""
    count = wanted.classes or max(2, len(wanted.names), max(seen, default=0) + 1)
    if wanted.names and len(wanted.names) != count:
        findings.problems.append(
            f"{place}: class_names gives {len(wanted.names)} names, but there are {count} classes, 0 to {count - 1}. "
            "Name each class, unused ones and the background included."
        )
    found.labels = (0, in_files) if count == 2 else tuple(range(count))
    if found.void and count > IGNORED:
        findings.problems.append(f"{place}: ignore leaves numbers for 255 classes at most, but there are {count}.")


def _settle_background(found: Labels, wanted: Wanted, in_files: int, place: Path, findings: Findings) -> None:
    """Says which class is taken for the background, and which classes never occur."""
    occurring = [c for c in range(len(found.labels)) if found.counts[c]]
    held = few([str(found.labels[c]) for c in occurring], 12)
    label = wanted.background
    if label is None:
        found.background = None
    elif label in found.labels or (in_files == 255 and label == 1):
        found.background = found.labels.index(label) if label in found.labels else 1
    else:
        found.background = None
        findings.problems.append(
            f"{place}: background={label}, but there is no such label; the masks hold {held}. Name one of them, "
            "or none."
        )
        return
    if label is not None and label in wanted.ignore:
        found.background = None
        if wanted.background_said:
            findings.problems.append(f"{place}: background={label} is also a label of ignore. Leave one of them out.")
        else:
            findings.notes.append(f"{place}: label 0 is ignored, so that there is no background: every class counts.")
        return
    if not occurring:
        return
    never = [str(found.labels[c]) for c in range(len(found.labels)) if not found.counts[c]]
    if found.background is not None and not found.counts[found.background]:
        most = max(occurring, key=lambda c: int(found.counts[c]))
        share = found.counts[most] / found.counts[: len(found.labels)].sum()
        findings.notes.append(
            f"{place}: label {label} is taken for the background, which the IoU leaves out, but it never occurs: the "
            f"labels are {held}, and all are scored, label {found.labels[most]} with {100 * share:.0f} % of the pixels "
            f"included. If that is the background, give background={found.labels[most]}; if every class counts, "
            "background=none."
        )
        never = [n for n in never if n != str(label)]
    if never:
        findings.notes.append(
            f"{place}: the label{'s' if len(never) > 1 else ''} {few(never)} never occur{'s' * (len(never) == 1)} and "
            f"make{'s' * (len(never) == 1)} a class all the same; the labels are {held}."
        )


def _smoothed(total: NDArray[np.int64]) -> tuple[list[int], float] | None:
    """The few levels that most pixels have, and the share of these, if the many levels beside them look like edges."""
    levels = np.flatnonzero(total)
    order = levels[np.argsort(-total[levels], kind="stable")]
    share = total[order].cumsum() / total.sum()
    count = int((share < 0.8).sum()) + 1
    # A level beside a peak, such as 254 beside 255, belongs to it.
    peaks: list[int] = []
    for level in order[:count].tolist():
        if all(abs(level - peak) > 8 for peak in peaks):
            peaks.append(level)
    peaks = sorted(peaks)
    if len(peaks) == 1:
        far = [level for level in order.tolist() if abs(level - peaks[0]) >= 64]
        if not far:
            return None
        peaks = sorted([peaks[0], far[0]])
    beyond = max(int(levels[0]) - peaks[0], int(levels[-1]) - peaks[-1], peaks[0] - int(levels[0]))
    wide = peaks[-1] - peaks[0] >= 64
    if len(levels) < 8 * len(peaks) or len(peaks) > 8 or not wide or beyond > 8:
        return None
    near = [level for level in levels.tolist() if any(abs(level - peak) <= 2 for peak in peaks)]
    held = float(total[near].sum() / total.sum())
    return (peaks, held) if held >= 0.6 else None


def _recounted(counts: NDArray[np.int64], table: NDArray[np.uint8] | None) -> NDArray[np.int64]:
    out = np.zeros(256, np.int64)
    if table is not None:
        np.add.at(out, table, counts)
    return out


# Points


def odd_points(points: Sequence[NDArray[np.float64]], zero: float, names: Sequence[str], place: Path) -> list[str]:
    """Notes on points that look as if nobody had set them.

    Args:
        points: Of each picture, (P, 2), in pixels; the same number of each.
        zero: What the files' 0 is in these pixels: they count from 1 or from 0.
        names: What each picture's file of points is called; the picture, where one table holds all points.
        place: Where they lie, for messages.
    """
    if not points:
        return []
    stacked = np.stack(points)
    unset = (stacked == zero).all(2)
    notes = []
    if unset.any():
        shown = few([f"{p} in {int(unset[:, p].sum())}" for p in np.flatnonzero(unset.any(0)).tolist()], 12)
        having = [name for name, own in zip(names, unset.any(1), strict=True) if own]
        notes.append(
            f"{place}: points stored as 0,0, which often marks points that nobody set, in {len(having)} of "
            f"{len(points)} files ({few(having)}); point (counted from 0) in so many files: {shown}. They are trained "
            "on and scored as positions in the picture's corner: set them, or move those files away."
        )
    fixed = (stacked == stacked[0]).all((0, 2)) & ~unset.all(0)
    if len(points) > 1 and fixed.any():
        notes.append(
            f"{place}: the points {few([str(p) for p in np.flatnonzero(fixed).tolist()], 12)} (counted from 0) have "
            f"the same position in all {len(points)} files, so that nothing about them can be learnt."
        )
    return notes


# Transparency


def opaque(alphas: Sequence[tuple[int, int] | None]) -> bool:
    """Whether pictures have alpha and none of them uses it: it is one number throughout the set."""
    found = {end for alpha in alphas if alpha is not None for end in alpha}
    return len(found) == 1


def shown_reach(reach: Reach) -> str:
    """A reach for a table: `0 to 4095 (12 bits)`."""
    low, high = reach
    bits = math.log2(high + 1) if low == 0 and high > 1 else 0.0
    return f"{low:g} to {high:g}" + (f" ({bits:.0f} bits)" if bits and bits.is_integer() else "")


@dataclass
class Settled:
    """What the census found to hold for all files of a folder.

    Attributes:
        reach: The numbers that become 0 and 1, by view; `None`: 8 bits, as they are.
        labels: What the masks' numbers mean, where the targets are masks of class numbers.
    """

    reach: dict[str, Reach | None] = field(default_factory=dict)
    labels: Labels | None = None
