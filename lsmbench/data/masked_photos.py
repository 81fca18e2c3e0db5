"""Photos with masks of one thing from several sources: their files, read at once, and their pools."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, paired_arrays, read_each
from lsmbench.data.files import PICTURES, Findings, by_stem, few, folders_inside, open_picture, spread, to_mode
from lsmbench.data.pools import TEST, TRAIN, VAL, Pool, Pools
from lsmbench.errors import UserError

Bytes = NDArray[np.uint8]
Size = tuple[int, int]
T = TypeVar("T")

_BETWEEN, _MOST_BETWEEN = (0.1, 0.9), 0.05
"""A mask has two levels: at most this share of its pixels may lie between them, as smoothed edges do."""

_EMPTY = "masks are empty"
_RESIZED = "masks are of another size than their photos, in the same proportions"
_SMOOTHED = "masks have smoothed edges, cut in the middle"
DEEP = "photos have more than 8 bits"
"""A trait of photos, for `Seen.traits`."""


@dataclass(frozen=True)
class MaskedPhoto:
    """One photo's files.

    Attributes:
        picture: The photo.
        masks: Its masks, which are united; empty if it has none.
        unit: The patient; `None` where a photo is a patient of its own.
    """

    picture: Path
    masks: tuple[Path, ...] = ()
    unit: str | None = None


@dataclass
class Seen:
    """Problems and facts of one photo's files; sizes are width and height in px.

    Attributes:
        problems: Mistakes in the files.
        photo: The photo's size.
        mask: The masks' size.
        share: The share of the masks' pixels that show what they are masks of.
        traits: What a person should know, each worded to follow a number of photos.
        content: What tells the photo's picture from all others, where a dataset asks for it.
    """

    problems: list[str] = field(default_factory=list)
    photo: Size | None = None
    mask: Size | None = None
    share: float = 0.0
    traits: list[str] = field(default_factory=list)
    content: bytes = b""


class MaskedPhotos(Dataset):
    """The base of datasets whose photos come from several sources: one is split, others are test sets of their names.

    Views: `x`, uint8 (N, C, size, size), as `read_photo` gives it; `y`, uint8 (N, size, size), 1 in what is shown,
    resized by the nearest pixel. Both are squeezed to a square.

    Attributes:
        version: Raised whenever the same files and options give other arrays.
        shown: What masks show, in one word.
        alone: The source of photos without masks.
        size: Height and width of the views; an option of the dataset.
    """

    version: ClassVar[int]
    shown: ClassVar[str]
    alone: ClassVar[str]
    size: int

    @property
    @abstractmethod
    def split_source(self) -> str:
        """The source that is split into train, val and test."""

    @abstractmethod
    def find(self, findings: Findings) -> dict[str, list[MaskedPhoto]]:
        """The photos that are read of each source, that of `split_source` first; opens no picture.

        Raises:
            UserError: If the folder or the source that is split is missing.
        """

    @abstractmethod
    def read_photo(self, path: Path, seen: Seen) -> Bytes:
        """Reads a photo as view `x`, (C, size, size), and says what was seen, its size at least.

        Raises:
            UserError: If it cannot be read.
        """

    @abstractmethod
    def reading(self) -> dict[str, object]:
        """The options that decide what `read_photo` gives, besides the size."""

    # The hooks of a dataset of all photos' contents.

    def more_arrays(self, seen: Sequence[Seen]) -> Arrays:
        """Further arrays to keep of a source, one row for each photo, those with a mask first."""
        return {}

    def split_photos(self, arrays: Arrays, seed: int | None) -> Split:
        """Splits the photos with a mask of the source that is split."""
        return self.split(len(arrays["y"]), seed)

    # Samples ----------------------------------------------------------------------------------------------------------

    def load(self) -> Arrays:
        """Photos `x`, uint8 (N, C, size, size), and masks `y`, uint8 (N, size, size), of all photos that have a mask.

        They come source by source, that of `split_source` first; kept in the cache.

        Raises:
            UserError: If sources are missing, with where to get them; if files are broken or do not fit each other,
                naming all of them; or if the cache cannot be written to.
        """
        return paired_arrays(self.pools())

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """A pool for each source's pairs, and one for the x-only photos of the split source and of `alone`.

        Args:
            seed: Seed of the split; `None` is 0.

        Raises:
            UserError: As `load`; if there are too few photos to split.
        """
        findings = Findings()
        sources = self.find(findings)
        arrays = read_each(sources, self._cached, findings)
        findings.stop_if_any(f"dataset {self.name}")
        pools = self.pooled(sources, arrays, seed, findings)
        findings.stop_if_any(f"dataset {self.name}")
        return pools

    def inspect(self) -> Inspection:
        """Reads all files by the same code as `load`, but without the cache."""
        inspection = Inspection()
        findings = inspection.findings
        with findings.gathering():
            sources, arrays = self.find(findings), {}
            for name, photos in sources.items():
                good, arrays[name], seen = self._read(photos, findings)
                sources[name] = good
                if good:
                    inspection.facts[name] = _fact(self.shown, good, seen)
                    _note(name, good, seen, findings)
            if any(photo.masks for photo in sources.get(self.split_source, ())):
                pools = Pools(self.pooled(sources, arrays, None, findings), f"dataset {self.name}")
                pools.check(self.domains)
                inspection.take(pools, "x", "y")
        return inspection

    def pooled(
        self, sources: Mapping[str, list[MaskedPhoto]], arrays: dict[str, Arrays], seed: int | None, findings: Findings
    ) -> tuple[Pool, ...]:
        """The pools of photos that are read.

        Args:
            sources: The photos of each source.
            arrays: Their arrays: `x` and `y` of those with a mask, `alone` of the others, and `more_arrays`.
            seed: Seed of the split; `None` is 0.
            findings: Takes what only a comparison of all photos shows.
        """
        pools = []
        for source, photos in sources.items():
            for masked in (True, False):
                some = [photo for photo in photos if bool(photo.masks) == masked]
                if not some:
                    continue
                parts = {TRAIN if source in (self.split_source, self.alone) else source: np.arange(len(some))}
                if masked and source == self.split_source:
                    split = self.split_photos(arrays[source], seed)
                    parts = {TRAIN: split.train, VAL: split.val, TEST: split.test}
                views = (
                    {view: arrays[source][view] for view in ("x", "y")} if masked else {"x": arrays[source]["alone"]}
                )
                told = any(photo.unit is not None for photo in some)
                unit = np.array([photo.unit or photo.picture.stem for photo in some]) if told else None
                name = source if masked or source == self.alone else f"{source}-unlabelled"
                pools.append(Pool(name, views, parts, unit, [f"{source}/{photo.picture.name}" for photo in some]))
        return tuple(pools)

    # Files ------------------------------------------------------------------------------------------------------------

    def _cached(self, source: str, photos: list[MaskedPhoto], findings: Findings) -> Arrays:
        """The arrays of a source's photos, as `pooled` takes them."""

        def build() -> Arrays:
            arrays = self._read(photos, findings)[1]
            findings.stop_if_any(f"dataset {self.name}")
            return arrays

        key = {"version": self.version, "source": source, "size": self.size, **self.reading()}
        return cached_arrays(self.name, key, [path for p in photos for path in (p.picture, *p.masks)], build)

    def _read(self, photos: list[MaskedPhoto], findings: Findings) -> tuple[list[MaskedPhoto], Arrays, list[Seen]]:
        """Decodes photos, as many at once as there are cores; those with a problem are left out.

        Only what is being decoded is held at its own size.

        Returns:
            The photos without problems, those with a mask first; their arrays `x`, `y`, `alone` and those of
            `more_arrays`; and what was seen.
        """
        photos = sorted(photos, key=lambda photo: not photo.masks)
        count, masked = len(photos), sum(bool(photo.masks) for photo in photos)
        x = np.empty((count, *self.domains["x"].shape), np.uint8)
        y = np.empty((masked, self.size, self.size), np.uint8)

        def decode(i: int) -> Seen:
            return self._decode(photos[i], x[i], y[i] if i < masked else None)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            every = list(pool.map(decode, range(count)))
        findings.problems += [problem for seen in every for problem in seen.problems]
        good = [i for i, seen in enumerate(every) if not seen.problems]
        if len(good) < count:
            for place, i in enumerate(good):  # in place: there may be no memory for a copy
                x[place] = x[i]
                if i < masked:
                    y[place] = y[i]
        masked = sum(i < masked for i in good)
        arrays: Arrays = {"x": x[:masked], "y": y[:masked], "alone": x[masked : len(good)]}
        seen = [every[i] for i in good]
        return [photos[i] for i in good], arrays | self.more_arrays(seen), seen

    def _decode(self, photo: MaskedPhoto, x: Bytes, y: Bytes | None) -> Seen:
        """Writes one photo's views where they belong: `x`, (C, size, size), and `y`, (size, size)."""
        seen = Seen()
        try:
            x[:] = self.read_photo(photo.picture, seen)
        except UserError as error:
            seen.problems.append(str(error))
        whole: NDArray[np.bool_] | None = None
        for path in photo.masks if y is not None else ():
            try:
                mask, smoothed = read_mask(path, self.shown)
                size = (mask.shape[1], mask.shape[0])
                if smoothed and _SMOOTHED not in seen.traits:
                    seen.traits.append(_SMOOTHED)
                if seen.mask not in (None, size):
                    raise UserError(
                        f"{path}: is of {px(size)}, but the other {self.shown}'s mask of {px(seen.mask or size)}. Get "
                        "both again."
                    )
                if seen.photo and not alike(size, seen.photo):
                    raise UserError(
                        f"{path}: is of {px(size)}, but its photo {photo.picture.name} of {px(seen.photo)}, which "
                        "has other proportions. Get both again, or remove both."
                    )
                whole, seen.mask = mask if whole is None else whole | mask, size
            except UserError as error:
                seen.problems.append(str(error))
        if whole is not None and y is not None:
            seen.share = float(whole.mean())
            seen.traits += [_EMPTY] * (not seen.share) + [_RESIZED] * (seen.mask != seen.photo)
            small = Picture.fromarray(whole.astype(np.uint8)).resize((self.size,) * 2, Picture.Resampling.NEAREST)
            y[:] = np.asarray(small)
        return seen


def homes_of(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders that may hold a source: those of its names, and those of its names in them."""
    homes = [path for name in names for path in folders_inside([root], name)]
    return homes + [path for name in names for path in folders_inside(homes, name)]


def pictures_of(folder: Path, more: Sequence[str] = ()) -> Iterable[Path]:
    """The pictures directly in a folder, in the order of their names; `more`: further endings."""
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in (*PICTURES, *more))


def together(
    photos: Mapping[str, Path], masks: Mapping[str, Mapping[str, Path]], findings: Findings
) -> list[MaskedPhoto]:
    """Photos with their masks; a mask without a photo, or without the mask that it is united with, is a problem.

    Args:
        photos: By a name.
        masks: The masks by their photos' names; of each kind of those that are united, under what the kind is called.
        findings: Takes the problems.
    """
    for kind, of_kind in masks.items():
        for name, path in of_kind.items():
            if name not in photos:
                findings.problems.append(f"{path}: there is no photo {name} for this mask. Add it, or remove the mask.")
            elif lacking := [other for other, some in masks.items() if some and name not in some]:
                findings.problems.append(
                    f"{path}: is in {kind}, but none for the same photo is in {', '.join(lacking)}. Add it, or remove "
                    "this one."
                )
    return [
        MaskedPhoto(path, tuple(some[name] for some in masks.values() if name in some)) for name, path in photos.items()
    ]


def read_mask(path: Path, shown: str) -> tuple[NDArray[np.bool_], bool]:
    """Where a mask shows something, (H, W), and whether its edges are smoothed; such pixels are cut in the middle.

    Args:
        path: The file.
        shown: What it shows, for the message.

    Raises:
        UserError: If it cannot be read, or has too many pixels between its two levels.
    """
    picture = open_picture(path)
    values = np.asarray(picture) if picture.mode[0] == "I" else np.asarray(to_mode(picture, "L"))
    top = float(values.max())
    if top <= 0:
        return np.zeros(values.shape, np.bool_), False
    between = float(((values > _BETWEEN[0] * top) & (values < _BETWEEN[1] * top)).mean())
    if between > _MOST_BETWEEN:
        raise UserError(
            f"{path}: {between:.0%} of its pixels are grey, neither black nor as bright as the brightest; expected a "
            f"mask of two levels, 0 and {shown}. Get it again, or remove it."
        )
    return values > top / 2, len(np.unique(values)) > 2


def chosen(photos: Sequence[T], count: int | None, folder: Path, findings: Findings) -> list[T]:
    """So many photos as the option `unlabelled` asks for, always the same ones, in their order; `None`: all.

    Args:
        photos: Those that are there.
        count: The option's value.
        folder: Where they lie, for the message.
        findings: Takes the problem that there are too few.
    """
    if count is None:
        return list(photos)
    if count > len(photos):
        findings.problems.append(
            f"{folder}: unlabelled={count}, but only {len(photos)} photos are there. Ask for fewer."
        )
    rows = np.random.default_rng(14).permutation(len(photos))[:count]
    return [photos[i] for i in np.sort(rows).tolist()]


def check_unlabelled(name: str, count: int | None) -> None:
    """Checks the option `unlabelled` of a dataset.

    Raises:
        UserError: If it is below 0.
    """
    if count is not None and count < 0:
        raise UserError(f"dataset {name}: unlabelled={count}; expected a number of photos, 0 for none or null for all.")


def note_alone(source: str, photos: Sequence[MaskedPhoto], trained: bool, findings: Findings) -> list[MaskedPhoto]:
    """Tells of photos without a mask, and gives those that are read: all of a source that is trained on."""
    alone = [photo.picture.name for photo in photos if not photo.masks]
    if alone:
        use = "x-only training samples" if trained else "not read"
        findings.notes.append(f"{source}: {len(alone)} of {len(photos)} photos have no mask, {use}: {few(alone)}.")
    return list(photos) if trained else [photo for photo in photos if photo.masks]


def masks_by_stem(paths: Iterable[Path], ends: Sequence[str], findings: Findings) -> dict[str, Path]:
    """Masks by their photos' stems, which a mask's stem may follow by one of some ends, such as `_mask`."""
    found: dict[str, Path] = {}
    for stem, path in by_stem(paths, findings).items():
        end = next((end for end in ends if stem.lower().endswith(end)), "")
        name = stem[: len(stem) - len(end)]
        if name in found:
            findings.problems.append(f"{path}: is a mask of {name}, as is {found[name].name}. Keep one of them.")
        found.setdefault(name, path)
    return found


def alike(mask: Size, photo: Size) -> bool:
    """Whether both have the same proportions, to a pixel."""
    return abs(mask[0] * photo[1] - mask[1] * photo[0]) <= max(photo)


def px(size: Size) -> str:
    """A size for messages."""
    return f"{size[0]}×{size[1]} px"


def _fact(shown: str, photos: Sequence[MaskedPhoto], seen: Sequence[Seen]) -> str:
    """A source's row of the table."""
    sizes = Counter(one.photo for one in seen if one.photo)
    said = [f"{len(photos)} photos", few([f"{px(size)} ({count})" for size, count in sizes.most_common()], 2)]
    shares = [100 * one.share for one, photo in zip(seen, photos, strict=True) if photo.masks]
    if shares:
        said.append(f"{shown}, % of the pixels: {spread(shares)} (least / median / most)")
    return "; ".join(said)


def _note(source: str, photos: Sequence[MaskedPhoto], seen: Sequence[Seen], findings: Findings) -> None:
    """What a person should know of a source's files."""
    named: dict[str, list[str]] = {_EMPTY: [], _RESIZED: [], _SMOOTHED: []}  # these first
    for photo, one in zip(photos, seen, strict=True):
        for trait in one.traits:
            named.setdefault(trait, []).append(photo.picture.name)
    for trait, names in named.items():
        if names:
            findings.notes.append(f"{source}: {len(names)} {trait}: {few(names)}.")
