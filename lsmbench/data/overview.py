"""What `lsmbench data check` tells of a user's folder: facts for its table, and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.census import Labels, shown_reach
from lsmbench.data.decoding import FAR, Decoded, Reading, percent, px
from lsmbench.data.files import Findings, all_of, few, same_content, without_limit
from lsmbench.data.layouts import Found, Kind
from lsmbench.palettes import IGNORED, Palette

_ANNOTATION: dict[Kind, tuple[str, str]] = {
    "masks": ("a mask", "masks"),
    "pts": ("points", "points"),
    "csv": ("points", "points"),
    "images": ("a counterpart", "counterparts"),
    "sides": ("a counterpart", "counterparts"),
}
"""What a picture may lack, and the word for several of these."""


def later_pages(found: Found) -> dict[str, list[str]]:
    """Files of which only the first page or frame is read."""
    several = []
    for path in sorted(found.sources):
        if path.suffix.lower() in (".tif", ".tiff", ".gif", ".webp", ".png"):
            try:
                with without_limit(), Picture.open(path) as opened:
                    count = getattr(opened, "n_frames", 1)
            except (OSError, SyntaxError, ValueError, EOFError):
                continue  # decoding says what is wrong
            if count > 1:
                several.append(f"{path.relative_to(found.root).as_posix()} (pages 2 to {count})")
    return {"pages and frames after the first": several} if several else {}


def label_counts(decoded: Sequence[Decoded]) -> NDArray[np.int64]:
    """Pixels of each label in all label maps, shape (256,)."""
    counts = np.zeros(256, np.int64)
    for d in decoded:
        if d.counts is not None:
            counts += d.counts
    return counts


def share_far(blurred: Sequence[Decoded]) -> float:
    """Share of the pixels of JPEG maps whose colour is far from every class's colour."""
    return sum(d.far or 0 for d in blurred) / max(1, int(label_counts(blurred).sum()))


def describe(found: Found, decoded: Sequence[Decoded], palette: Palette | None) -> dict[str, str]:
    """Rows for the table; `palette` has the classes' colours, where targets are label maps in colours."""
    inside = found.parts and not any(part in found.title for part in found.parts)
    facts = {"layout": found.title + (f", in {all_of([f'{part}/' for part in found.parts])}" if inside else "")}
    if not decoded:
        return facts
    pairs = sum(d.x is not None and d.y is not None for d in decoded)
    if pairs < len(decoded):
        without = sum(d.y is None for d in decoded)
        facts["pairs"] = str(pairs)
        facts[f"pictures without {_ANNOTATION[found.kind][0]}"] = str(without)
        facts[f"{_ANNOTATION[found.kind][1]} without a picture"] = str(len(decoded) - pairs - without)
    if found.kind in ("masks", "images", "pts") and pairs:
        facts["pairing"] = found.rule.told
    sizes = Counter(d.size for d in decoded if d.x is not None).most_common()
    shown = ", ".join(f"{px(size)} ({count})" for size, count in sizes[:3])
    facts["picture sizes"] = shown + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
    x, y = (next((one for d in decoded if (one := getattr(d, view)) is not None), None) for view in "xy")
    if x is None or y is None:
        return facts
    facts["channels"] = str(len(x))
    if found.kind in ("images", "sides"):
        facts["channels"] += f" → {len(y)}"
    if palette is not None:
        counts = label_counts(decoded)
        named = [*zip(palette.names, counts, strict=False), ("void", counts[IGNORED])]
        facts["share of pixels"] = ", ".join(f"{name} {percent(n / counts.sum())}" for name, n in named if n)
    elif found.kind == "masks":
        seen = Counter(label for d in decoded for label in d.labels)
        facts["labels"] = few([f"{label} in {seen[label]} masks" for label in sorted(seen)], 12)
        if (labels := found.settled.labels) is not None and labels.counts.any():
            facts |= _describe_labels(labels)
    if found.kind in ("pts", "csv"):
        facts["points"] = str(len(y))
    for view, reach in found.settled.reach.items():
        if reach is not None:
            facts["range used" if view == "x" else "range used, y"] = shown_reach(reach)
    return facts


def _describe_labels(labels: Labels) -> dict[str, str]:
    total = labels.counts.sum()
    shares = [f"{c} {percent(labels.counts[c] / total)}" for c in np.flatnonzero(labels.counts[: len(labels.labels)])]
    void = [f"not scored {percent(labels.counts[IGNORED] / total)}"] if labels.void else []
    background = labels.background
    return {
        "share of pixels by class": few([*shares, *void], 12),
        "background": "none: every class is scored"
        if background is None
        else f"class {background}, which the IoU leaves out (option background)",
    }


def note_parts(found: Found, findings: Findings) -> None:
    """Says which parts are drawn from the folder's own."""
    said = {
        ("train", "val"): "has no test/, so that val/ is the test part and an eighth of train/ validates.",
        ("train", "test"): "has no val/, so that an eighth of train/ validates.",
        ("train",): "has train/ only, which is split 70/10/20.",
    }.get(tuple(found.parts))
    if said is not None:
        findings.notes.append(f"{found.root}: {said}")


def note(reading: Reading, found: Found, decoded: Sequence[Decoded], absent: str, findings: Findings) -> None:
    """Adds notes: harmless facts that the user should know; `absent` is the option of that name."""
    notes, palette = findings.notes, reading.palette
    apart = [d for d in decoded if d.sample.part and (d.x is None or d.y is None)]
    if apart:
        tested = sum(d.sample.part == 2 and d.x is not None for d in apart)
        notes.append(
            f"{len(apart)} files without a counterpart lie outside train/ and are not trained on; {tested} of them "
            "are pictures of the test part: predicted, not scored."
        )
    pictured = [d for d in decoded if d.x is not None]
    shown = [(d.size[0] // 2, d.size[1]) if found.kind == "sides" else d.size for d in pictured]
    if oblong := sum(width != height for width, height in shown):
        does = {"stretch": "change their proportions", "crop": "lose their ends", "pad": "get black borders"}
        notes.append(f"{oblong} of {len(shown)} pictures are not square and {does[reading.fit]} (fit={reading.fit}).")
    if small := sum(min(size) < reading.size for size in shown):
        notes.append(f"{small} of {len(shown)} pictures are smaller than size={reading.size}; they are enlarged.")
    if len({d.x.dtype for d in decoded if d.x is not None}) > 1:
        notes.append("Pictures of 8 and of 16 bits are mixed; the full range of each becomes 0 to 1.")
    for factor, count in sorted(Counter(d.times for d in decoded if d.times != 1).items()):
        what = f"{factor:g} times smaller" if factor > 1 else f"{1 / factor:g} times larger"
        notes.append(f"{count} masks are {what} than their pictures, per side; classes go to the nearest pixels.")
    if blurred := [d for d in decoded if d.far is not None]:
        notes.append(
            f"{len(blurred)} label maps are JPEG: compression blurs colours, so that {percent(share_far(blurred))} of "
            f"their pixels are more than {FAR} away from any class colour and get the nearest class; use PNG."
        )
    if palette is not None and decoded:
        never = [name for name, n in zip(palette.names, label_counts(decoded), strict=False) if n == 0]
        if never:
            notes.append(f"Classes that never occur: {few(never)}; means over classes follow absent={absent}.")
    for group in same_content([d.sample.picture for d in decoded if d.sample.picture is not None]):
        parts = {d.sample.part for d in decoded if d.sample.picture in group}
        names = few([str(path.relative_to(found.root)) for path in group])
        leak = " They lie in several parts, so that one sample is trained on and tested on." if len(parts) > 1 else ""
        notes.append(f"The same picture {len(group)} times: {names}.{leak}")
