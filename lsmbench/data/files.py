"""Reads users' files, pictures and points, and gathers all mistakes in them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from lsmbench.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".npy")
"""Endings of files that are read as pictures."""
ANNOTATIONS = PICTURES
"""Endings of files that are read as masks."""
EXIF_ORIENTATION = 0x0112

MOST_PIXELS = 500_000_000
"""Pictures of more pixels are refused; as 8-bit colours so many take 1.5 GB of memory while they are read."""

Exif = Literal["refuse", "apply", "ignore"]
"""What to do with a photo that EXIF calls turned: its annotation may belong to the photo as stored or as shown."""


@dataclass
class Findings:
    """Problems and notes about files, gathered so that a user can mend all problems at once.

    Attributes:
        problems: Mistakes that the user has to mend, one line per file.
        notes: Harmless facts that the user should know.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Turns a UserError that the block raises into a problem."""
        try:
            yield
        except UserError as error:
            self.problems.append(str(error))

    def stop_if_any(self, about: str) -> None:
        """Raises one error with every problem.

        Args:
            about: Beginning of the message: which dataset, which folder.

        Raises:
            UserError: If there is any problem.
        """
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            raise UserError(f"{about}: {count}.\n" + "\n".join(f"- {problem}" for problem in self.problems))


class Inventory(NamedTuple):
    """All entries below a folder, each list sorted by path; hidden names are left out, and what is in hidden folders.

    Attributes:
        files: Files, those that links lead to included.
        broken: Links that lead nowhere.
        empty: Folders without any entry.
        special: Other entries, such as sockets.
    """

    files: list[Path]
    broken: list[Path]
    empty: list[Path]
    special: list[Path]


def inventory(folder: Path) -> Inventory:
    """Lists everything below a folder; linked folders are followed, but not into a folder that holds the link.

    Raises:
        UserError: If a folder cannot be read.
    """
    found = Inventory([], [], [], [])

    def look(into: Path, above: frozenset[Path]) -> None:
        try:
            entries = sorted(into.iterdir())
        except OSError as error:
            raise UserError(f"{into}: cannot be read ({error.strerror or error}).") from error
        if not entries:
            found.empty.append(into)
        for path in entries:
            if path.name.startswith("."):
                continue
            if path.is_dir():
                real = path.resolve() if path.is_symlink() else above_of[into] / path.name
                if real in above:
                    found.special.append(path)
                    continue
                above_of[path] = real
                look(path, above | {real})
            elif path.is_file():
                found.files.append(path)
            else:
                (found.broken if path.is_symlink() else found.special).append(path)

    above_of = {folder: folder.resolve()}
    look(folder, frozenset(above_of.values()))
    return found


def pictures_in(folder: Path, findings: Findings) -> dict[str, Path]:
    """The pictures directly in a folder, by stem and in the order of their names, without hidden files.

    Two pictures with one stem are a problem: an annotation could belong to either.
    """
    return by_stem((p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES), findings)


def by_stem(paths: Iterable[Path], findings: Findings) -> dict[str, Path]:
    """Files by stem, without hidden files; of two files with one stem the first is kept, the second is a problem."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            findings.problems.append(
                f"{path}: has the same stem as {found[path.stem].name}; keep one of them, or rename one with its "
                "annotation."
            )
        else:
            found[path.stem] = path
    return found


def folders_inside(folders: Sequence[Path], name: str) -> list[Path]:
    """Folders with a name such as `helen/trainset`, in either case, inside any of `folders`; `*` is a wildcard."""
    found = list(folders)
    for step in name.lower().split("/"):
        found = [p for f in found for p in sorted(f.iterdir()) if fnmatchcase(p.name.lower(), step) and p.is_dir()]
    return found


class Opened(NamedTuple):
    """A decoded picture, and what its file says besides.

    Attributes:
        picture: The first page or frame, in Pillow's mode.
        frames: Number of pages or frames.
        deep: Whether the file holds colours of 16 bits, of which Pillow keeps 8.
        orientation: EXIF's number for how the picture is turned; 1: not.
    """

    picture: Picture.Image
    frames: int
    deep: bool
    orientation: int


@contextmanager
def without_limit() -> Iterator[None]:
    """Lifts Pillow's own limit of pixels for a block in which `check_pixels` has been called or will be."""
    limit, Picture.MAX_IMAGE_PIXELS = Picture.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Picture.MAX_IMAGE_PIXELS = limit


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuses pictures of more than `MOST_PIXELS`, before they take memory.

    Raises:
        UserError: If there are more, as in a decompression bomb.
    """
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path}: says that it holds {width}×{height} px, {width * height / 1e6:,.0f} megapixels; at most "
            f"{MOST_PIXELS / 1e6:.0f} are read, since a small file can unfold to fill the memory. Reduce the picture "
            "or cut it in pieces; if it should not be as large, get it again."
        )


def open_picture(path: Path, exif: Exif = "refuse") -> Picture.Image:
    """Opens and decodes a picture, whatever its mode.

    Args:
        path: The file.
        exif: What to do if EXIF says that the picture is stored turned.

    Raises:
        UserError: If the file is missing, no picture, truncated, without pixels or with more than `MOST_PIXELS`; or
            turned and `exif` is `refuse`.
    """
    return opened_picture(path, exif).picture


def opened_picture(path: Path, exif: Exif = "refuse") -> Opened:
    """As `open_picture`, with what the file says besides."""
    try:
        with without_limit(), Picture.open(path) as opened:
            check_pixels(path, *opened.size)
            # First of all: a PNG's `getexif` decodes it.
            deep = opened.mode in ("RGB", "RGBA", "LA") and holds_16_bits(opened)
            # Cameras also write 0 and other numbers that mean nothing.
            told = opened.getexif().get(EXIF_ORIENTATION)
            orientation = int(told) if told is not None and told in range(2, 9) else 1
            # The second picture of a camera's MPO is a preview or the other eye's.
            frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
            opened.load()
            picture = ImageOps.exif_transpose(opened) if exif == "apply" else opened.copy()
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}). Get it again or remove it.") from error
    if 0 in picture.size:
        raise UserError(f"{path}: has no pixels.")
    if exif == "refuse" and orientation != 1:
        raise UserError(
            f"{path}: is stored turned or mirrored (EXIF orientation), so that its annotation may belong to the "
            "stored or to the shown picture. Choose exif=ignore or exif=apply, or save it upright."
        )
    return Opened(picture, frames, deep, orientation)


def holds_16_bits(opened: Picture.Image) -> bool:
    """Whether a file that is not decoded yet holds 16 bits a channel, by the form that its decoder is told."""
    arguments = [part.args for part in getattr(opened, "tile", ())]
    told = arguments[0] if arguments else ""
    words = told if isinstance(told, tuple) else (told,)
    if opened.format == "PPM":
        return any(isinstance(word, int) and word > 255 for word in words)
    return any(isinstance(word, str) and ";16" in word for word in words)


def to_mode(picture: Picture.Image, mode: Literal["L", "RGB", "RGBA"]) -> Picture.Image:
    """A picture of 8 bits as grey, RGB or RGBA; palettes are resolved, 16-bit grey is scaled, alpha is dropped."""
    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(picture, dtype=np.int64)
        picture = Picture.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    elif picture.mode == "F":
        picture = Picture.fromarray(np.asarray(picture).clip(0, 255).astype(np.uint8))
    elif picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return picture.convert(mode)


def read_pts(path: Path, points: int | None = None) -> NDArray[np.float64]:
    """Reads a `.pts` file: x and y of one point per line, counted from 1, with or without the header of 300-W.

    Args:
        path: The file: `version: 1`, `n_points: 68`, `{`, the points, `}`; or the points alone.
        points: Expected number of points; `None`: any number.

    Returns:
        Points in pixels from the picture's top left corner, shape (P, 2): the first pixel's centre, which the file
        calls (1, 1), is (0.5, 0.5).

    Raises:
        UserError: If the file is missing, holds anything but points, or another number of points.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}).") from error
    declared: int | None = None
    found: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        text = line.split("//")[0].replace(",", " ").strip()
        key, colon, value = (part.strip().lower() for part in text.partition(":"))
        if not text or text in "{}":
            continue
        if colon:
            if key == "n_points" and value.isdigit():
                declared = int(value)
            elif key != "version":
                raise UserError(f"{path}: line {number}: expected two numbers, found {line.strip()!r}.")
            continue
        try:
            x, y = map(float, text.split())
        except ValueError as error:
            raise UserError(f"{path}: line {number}: expected two numbers, found {line.strip()!r}.") from error
        if not np.isfinite([x, y]).all():
            raise UserError(f"{path}: line {number}: expected two finite numbers, found {line.strip()!r}.")
        found.append((x, y))
    if declared is not None and declared != len(found):
        raise UserError(f"{path}: its header says {declared} points, but it holds {len(found)}.")
    if points is not None and len(found) != points:
        raise UserError(f"{path}: expected {points} points, found {len(found)}.")
    if not found:
        raise UserError(f"{path}: holds no points.")
    return np.array(found) - 0.5


def outside_by(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """How far each point lies outside a picture, in pixels along the axis where it is more; 0 inside.

    Args:
        points: Shape (P, 2), in pixels.
        size: Width and height of the picture.
    """
    out: NDArray[np.float64] = np.maximum(np.maximum(-points, points - size), 0).max(1)
    return out


def check_position(points: NDArray[np.float64], size: tuple[int, int], origin: str, picture: Path) -> None:
    """Refuses points that cannot belong to their picture, wherever points outside it are allowed.

    Args:
        points: Shape (P, 2), in pixels.
        size: Width and height of the picture.
        origin: The file with the points, for the message.
        picture: The picture's file.

    Raises:
        UserError: If more than half of the box around the points lies outside the picture.
    """
    low, high = points.min(0), points.max(0)
    extent = np.maximum(high - low, 1e-3)  # a box without width or height still has a position
    shown = np.clip(np.minimum(low + extent, size) - np.maximum(low, 0), 0, extent) / extent
    outside = 1 - float(shown.prod())
    if outside > 0.5:
        raise UserError(
            f"{origin}: {outside:.0%} of the box around its points lies outside its picture, {picture.name} of "
            f"{size[0]}×{size[1]} px. They do not belong together, or one of them was scaled or turned: mend or remove "
            "them."
        )


def square_around(points: NDArray[np.float64], width: int, height: int, margin: float) -> tuple[float, float, float]:
    """The square around points: its left, top and side, in pixels.

    The side is the longer extent of the points, times 1 + 2·`margin`. The square is centred on the points, then moved
    into the picture as far as all points stay inside the square. The caller fills the part beyond the picture.

    Args:
        points: Shape (P, 2), in pixels.
        width: Width of the picture.
        height: Height of the picture.
        margin: Margin on every side, as a share of the extent.

    Returns:
        Left, top, side; the side is 0 if all points coincide.
    """
    low, high = points.min(0), points.max(0)
    side = float((high - low).max() * (1 + 2 * margin))
    corner = (low + high) / 2 - side / 2
    inside = np.maximum(np.minimum(corner, np.array([width, height]) - side), 0)
    left, top = np.clip(inside, high - side, low)
    return float(left), float(top), side


def crop_square(
    picture: Picture.Image, left: float, top: float, side: float, size: int, resample: Picture.Resampling
) -> Picture.Image:
    """Cuts a square out and scales it to `size` pixels; beyond the picture its border is repeated."""
    box = (left, top, left + side, top + side)
    out = int(np.ceil(max(0.0, -box[0], -box[1], box[2] - picture.width, box[3] - picture.height)))
    if out:
        pixels = np.asarray(picture)
        padded = np.pad(pixels, ((out, out), (out, out), *([(0, 0)] * (pixels.ndim - 2))), mode="edge")
        picture = Picture.fromarray(padded)
        box = (box[0] + out, box[1] + out, box[2] + out, box[3] + out)
    return picture.resize((size, size), resample, box=box)


def same_content(paths: Sequence[Path]) -> list[list[Path]]:
    """Groups of files with the same bytes (SHA-256), largest first; files of a unique size are not read."""
    sizes = Counter(path.stat().st_size for path in paths)
    groups: dict[bytes, list[Path]] = {}
    for path in paths:
        if sizes[path.stat().st_size] > 1:
            groups.setdefault(hashlib.sha256(path.read_bytes()).digest(), []).append(path)
    return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)


def spread(values: Iterable[float]) -> str:
    """Least, median and greatest number, for a table: `120 / 200 / 240`."""
    return " / ".join(f"{value:.0f}" for value in np.quantile(list(values), [0, 0.5, 1]))


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list, and the number of further names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def all_of(words: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
