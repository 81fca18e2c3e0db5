"""Photos of faces and the parts in them: CelebAMask-HQ, and annotated paintings and sculptures of MetFaces."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, own_folder, paired_arrays, read_each
from lsmbench.data.decoding import Reading, percent, px, read_image
from lsmbench.data.files import PICTURES, Findings, few, folders_inside, open_picture
from lsmbench.data.inputs import PictureInput
from lsmbench.data.masked_photos import alike, check_unlabelled, chosen, homes_of, read_mask
from lsmbench.data.pools import TEST, TRAIN, VAL, Pool, Pools
from lsmbench.data.rasters import read_raster
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

Bytes = NDArray[np.uint8]
Size = tuple[int, int]

CLASSES = ("background", "ear", "eye", "eyebrow", "skin", "hair", "mouth", "nose")
"""The eight classes, in the order of semanticGAN's supplement, §4 and Tables 6 to 8."""

PARTS = {
    "skin": "skin",
    "nose": "nose",
    "eye_g": "background",
    "l_eye": "eye",
    "r_eye": "eye",
    "l_brow": "eyebrow",
    "r_brow": "eyebrow",
    "l_ear": "ear",
    "r_ear": "ear",
    "mouth": "mouth",
    "u_lip": "mouth",
    "l_lip": "mouth",
    "hair": "hair",
    "hat": "background",
    "ear_r": "background",
    "neck_l": "background",
    "neck": "background",
    "cloth": "background",
}
"""The class of each part, in the order of the owners' numbers 1 to 18, which is the order in which they are painted."""

_NUMBERS = {part: CLASSES.index(name) for part, name in PARTS.items()}
_OWNERS = np.array([0, *_NUMBERS.values()], np.uint8)
"""The class of each of the owners' numbers."""

_HOMES = {"celeba": ("CelebAMask-HQ", "celeba"), "metfaces": ("metfaces",)}
_PHOTOS = {"celeba": ("CelebA-HQ-img", "images"), "metfaces": ("images",)}
_MAPS = "CelebAMask-HQ-mask"
_MASKS = {"celeba": ("CelebAMask-HQ-mask-anno", _MAPS, "masks"), "metfaces": ("masks",)}
_MAPPING, _IDENTITY = "CelebA-HQ-to-CelebA-mapping.txt", "identity_CelebA.txt"

_PART = re.compile(rf"(.+)_({'|'.join(PARTS)})")
_WHOLE = ""
"""Stands in the place of a part for a map of all classes."""

_TRAIN, _VAL, _TEST = 1500, 188, 500
"""Photos whose masks are read: the paper's numbers (supplement, Table 4), and an eighth of 1,500 more to validate."""

_WHERE_FROM = (
    "Faces are not shipped with lsmbench. Get CelebAMask-HQ from https://github.com/switchablenorms/CelebAMask-HQ and "
    "put the folder CelebAMask-HQ, with CelebA-HQ-img/ and CelebAMask-HQ-mask-anno/, into LSMBENCH_DATA/face_parts, or "
    "name the folder that holds it with the option root. Beside it metfaces/images/ and metfaces/masks/ may hold "
    "the paper's 40 pictures (MetFaces40 of https://github.com/nv-tlabs/semanticGAN_code), or others of "
    "https://github.com/NVlabs/metfaces-dataset that you have annotated."
)


@dataclass(frozen=True)
class _Photo:
    """One photo's files.

    Attributes:
        picture: The photo.
        masks: Its masks by part, or one map of all classes; empty if it has none or if they are hidden.
        owners: Whether a map holds the owners' 19 numbers in place of the eight classes.
        part: Where its sample belongs: train, val or a test set.
        person: Who is shown; `None` if that is not told.
    """

    picture: Path
    masks: Mapping[str, str] = field(default_factory=dict)
    owners: bool = False
    part: str = TRAIN
    person: str | None = None


@dataclass
class _Seen:
    """Problems and facts of one photo's files; sizes are width and height in px."""

    problems: list[str] = field(default_factory=list)
    photo: Size | None = None
    plain: bool = True
    mask: Size | None = None
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CLASSES), np.int64))


@dataclass
class FaceParts(Dataset):
    """Photos of faces to their parts, tested on photos and on paintings and sculptures (semanticGAN; your files).

    Reads, as their owners distribute them:

    * `celeba`, CelebAMask-HQ (Lee et al. 2020), 30,000 photos: `CelebAMask-HQ/CelebA-HQ-img/0.jpg` and so on, and a
      mask of two levels for each visible part, `CelebAMask-HQ-mask-anno/0/00000_skin.png`. In place of these,
      `CelebAMask-HQ-mask/0.png` may hold the owners' class numbers 0 to 18, as their script writes them, or
      `masks/0.png` the numbers 0 to 7 of the eight classes.
    * `metfaces`, 40 pictures of MetFaces (Karras et al. 2020) that the paper annotated, or others: the test set out of
      domain. `metfaces/images/*.png`, and in `metfaces/masks/` either `NAME.png` with the numbers 0 to 7 or
      `NAME_skin.png` and so on; the form of the released annotation was not at hand. Pictures without a mask are not
      read.

    The 19 classes become 8 as in the paper (supplement, §4): background, ear, eye, eyebrow, skin, hair, mouth (with
    both lips), nose. The paper does not say what becomes of eyeglasses, earrings, hats, necklaces, necks and cloth;
    they are background here, as the eight classes leave no other place. Nor does it say which of two masks counts where
    they overlap. Here parts are painted in the order of the owners' numbers, as their script does: skin, nose, glasses,
    eyes, brows, ears, mouth, lips, hair, hat, earring, necklace, neck, cloth. So hair hides a brow, glasses hide skin
    but not eyes, and an earring hides its ear.

    Of the photos with masks, 500 are tested on, 1,500 trained on, and an eighth of these, 188 more, validated on. The
    rest are x-only training samples as far as `unlabelled` asks for them; their masks are never read. Test and training
    sets have the paper's sizes (supplement, Table 4). Which photos they are, and what the paper validates on, is not
    said: here they are drawn with seed 0 unless `split_seed` gives another, and those to validate on are not among the
    1,500, so that all of these can be pairs. With fewer than 2,188 photos the three parts keep their proportions.
    Photos without a mask are x-only training samples, too.

    With `identity_CelebA.txt` of CelebA beside the owners' `CelebA-HQ-to-CelebA-mapping.txt`, persons are units: photos
    of a person who is tested or validated on are not trained on. The test photos are the same. Without the files,
    nobody knows who is shown, and one person may be on both sides.

    Views: `x`, RGB, stored as uint8 (N, 3, size, size); `y`, the classes 0 to 7, stored as uint8 (N, size, size),
    resized by the nearest pixel. Both are squeezed to a square.

    The first metric is the paper's mIoU (§5): of each class, pixels are counted over all photos of a test set, and the
    mean is that of the seven classes without background (`pooled_iou`). The second is a mean over photos (`iou`). The
    epoch is chosen by the first; the paper chooses by a mIoU per image (§5).

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "face_parts"

    root: str = option(
        "", "Folder that holds CelebAMask-HQ and metfaces; empty: LSMBENCH_DATA/face_parts.", counts="never"
    )
    unlabelled: int | None = option(
        0,
        "So many further photos of CelebAMask-HQ are x-only training samples; 0: none, null: all that are there.",
        unit="photos",
        source="the paper uses all, 28,000",
    )
    size: int = option(
        256, "Height and width that photos and masks are squeezed to, divisible by 4.", unit="px", source="§2"
    )
    reconstruction: Literal["mse", "l1"] = option("mse", "Loss of the image's reconstruction.", choices=("mse", "l1"))

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        check_unlabelled(self.name, self.unlabelled)

    @property
    def domains(self) -> dict[str, Domain]:
        """A colour image, and a mask of eight classes that is scored by pixels of all photos first."""
        return {
            "x": Image(3, self.size, reconstruction=self.reconstruction),
            "y": Mask(len(CLASSES), self.size, names=CLASSES, pooled=True),
        }

    @classmethod
    def example(cls, folder: Path) -> Self:
        """24 drawn faces as CelebAMask-HQ's and 6 as MetFaces', of 32 px; existing files are kept."""
        if not (folder / "metfaces").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)

    def load(self) -> Arrays:
        """Photos `x`, uint8 (N, 3, size, size), and masks `y`, uint8 (N, size, size), of all photos whose mask is read.

        Those of CelebAMask-HQ come first, in the order of their numbers; kept in the cache.

        Raises:
            UserError: If folders are missing, with where to get them; if files are broken or do not fit each other,
                naming all of them; or if the cache cannot be written to.
        """
        return paired_arrays(self.pools())

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """`celeba`, photos with a mask; `celeba-unlabelled`, the x-only ones; `metfaces`.

        Args:
            seed: Seed of the split; `None` is 0.

        Raises:
            UserError: As `load`; if there are too few photos to split.
        """
        findings = Findings()
        sets = self._find(findings, seed)
        arrays = read_each(sets, self._cached, findings)
        findings.stop_if_any("dataset face_parts")
        return _pooled(sets, arrays)

    def inputs(self) -> PictureInput:
        """Photos in RGB, squeezed to a square."""
        return PictureInput(self._reading)

    def inspect(self) -> Inspection:
        """Reads all files by the same code as `load`, but without the cache."""
        inspection = Inspection()
        findings = inspection.findings
        with findings.gathering():
            sets, arrays = self._find(findings, None), {}
            for name, photos in sets.items():
                sets[name], arrays[name], seen = self._read(photos, findings)
                if sets[name]:
                    inspection.facts[name] = _fact(seen)
                    _note(name, sets[name], seen, findings)
            pools = Pools(_pooled(sets, arrays), "dataset face_parts")
            pools.check(self.domains)
            inspection.take(pools, "x", "y")
        return inspection

    # Samples ----------------------------------------------------------------------------------------------------------

    @property
    def _reading(self) -> Reading:
        return Reading(self.size, channels=3)

    def _cached(self, name: str, photos: list[_Photo], findings: Findings) -> Arrays:
        """The arrays of a set's photos: `x`, and `y` of those with a mask."""

        def build() -> Arrays:
            arrays = self._read(photos, findings)[1]
            findings.stop_if_any("dataset face_parts")
            return arrays

        key = {"version": VERSION, "set": name, "size": self.size}
        return cached_arrays(
            self.name, key, [path for p in photos for path in (p.picture, *map(Path, p.masks.values()))], build
        )

    def _read(self, photos: Sequence[_Photo], findings: Findings) -> tuple[list[_Photo], Arrays, list[_Seen]]:
        """Decodes a set's photos, as many at once as there are cores; those with a problem are left out.

        Only what is being decoded is held at its own size.

        Returns:
            The photos without problems; their arrays `x` and, if they have masks, `y`; and what was seen.
        """
        count, masked = len(photos), any(photo.masks for photo in photos)
        x = np.empty((count, 3, self.size, self.size), np.uint8)
        y = np.empty((count if masked else 0, self.size, self.size), np.uint8)

        def decode(i: int) -> _Seen:
            return self._decode(photos[i], x[i], y[i] if masked else None)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            every = list(pool.map(decode, range(count)))
        findings.problems += [problem for seen in every for problem in seen.problems]
        good = [i for i, seen in enumerate(every) if not seen.problems]
        arrays: Arrays = {"x": x, "y": y} if masked else {"x": x}
        if len(good) < count:
            for array in arrays.values():
                for place, i in enumerate(good):  # in place: there may be no memory for a copy
                    array[place] = array[i]
            arrays = {view: array[: len(good)] for view, array in arrays.items()}
        return [photos[i] for i in good], arrays, [every[i] for i in good]

    def _decode(self, photo: _Photo, x: Bytes, y: Bytes | None) -> _Seen:
        """Writes one photo's views where they belong: `x`, (3, size, size), and `y`, (size, size)."""
        seen = _Seen()
        try:
            raster = read_raster(photo.picture)
            seen.photo, seen.plain = raster.size, raster.picture is not None and raster.picture.mode == "RGB"
            view, _ = read_image(photo.picture, self._reading, raster)
            x[:] = view if view.dtype == np.uint8 else (np.asarray(view, np.float32) * 255).round()
        except UserError as error:
            seen.problems.append(str(error))
        if y is None:
            return seen
        labels = _labels(photo, seen)
        if labels is None or seen.mask is None:
            return seen
        if seen.photo and not alike(seen.mask, seen.photo):
            seen.problems.append(
                f"{next(iter(photo.masks.values()))}: is of {px(seen.mask)} px, but its photo {photo.picture.name} of "
                f"{px(seen.photo)} px, which has other proportions. Get both again, or remove both."
            )
        seen.pixels = np.bincount(labels.ravel(), minlength=len(CLASSES))
        y[:] = np.asarray(Picture.fromarray(labels).resize((self.size,) * 2, Picture.Resampling.NEAREST))
        return seen

    # Files ------------------------------------------------------------------------------------------------------------

    def _find(self, findings: Findings, seed: int | None) -> dict[str, list[_Photo]]:
        """The photos that are read of each set, in their parts; opens no picture.

        Raises:
            UserError: If the folder or CelebAMask-HQ is missing.
        """
        root = own_folder(self.name, self.root, _WHERE_FROM)
        # The folder CelebAMask-HQ itself will do, or one in another of its name, as some archives are unpacked.
        celeba, metfaces = [root, *homes_of(root, _HOMES["celeba"])], homes_of(root, _HOMES["metfaces"])
        photos = _photos("celeba", celeba, findings)
        if photos is None:
            held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
            raise UserError(
                f"dataset face_parts: {root}: no folder CelebAMask-HQ/CelebA-HQ-img with photos; it holds: "
                f"{few(held) or 'nothing'}. {_WHERE_FROM}"
            )
        found = self._dealt(_known(photos, celeba, findings), photos[0].picture.parent, seed, findings)
        painted = _photos("metfaces", metfaces, findings) if metfaces else []
        if painted is None:
            findings.problems.append(f"{metfaces[0]}: no folder images/ with photos. {_WHERE_FROM}")
        elif not painted:
            findings.notes.append("metfaces: is not there; there is no test set out of domain.")
        if painted:
            annotated = [replace(photo, part="metfaces") for photo in painted if photo.masks]
            if len(annotated) < len(painted):
                names = [photo.picture.name for photo in painted if not photo.masks]
                findings.notes.append(
                    f"metfaces: {len(names)} of {len(painted)} photos have no mask, not read: {few(names)}."
                )
            if annotated:
                found["metfaces"] = annotated
        return found

    def _dealt(
        self, photos: Sequence[_Photo], folder: Path, seed: int | None, findings: Findings
    ) -> dict[str, list[_Photo]]:
        """Deals CelebAMask-HQ's photos to the parts; those beyond them lose their masks and are trained on alone."""
        masked, bare = [p for p in photos if p.masks], [p for p in photos if not p.masks]
        if bare:
            names = [photo.picture.name for photo in bare]
            findings.notes.append(
                f"celeba: {len(bare)} of {len(photos)} photos have no mask, x-only training samples: {few(names)}."
            )
        if not masked:
            if not findings.problems:
                findings.problems.append(f"{folder}: none of {len(photos)} photos has a mask. {_WHERE_FROM}")
            return {"celeba-unlabelled": bare} if bare else {}
        part_of = _parts([photo.person or photo.picture.stem for photo in masked], 0 if seed is None else seed)
        if empty := [part for part in (TRAIN, VAL, TEST) if part not in part_of]:
            findings.problems.append(
                f"{folder}: {len(masked)} photos with masks are too few to split, none is left for "
                f"{' and '.join(empty)}. Give more photos, of more persons."
            )
        kept = [replace(p, part=part) for p, part in zip(masked, part_of, strict=True) if part not in (None, _REST)]
        rest = [replace(p, masks={}) for p, part in zip(masked, part_of, strict=True) if part == _REST]
        tested = {photo.person for photo in kept if photo.part != TRAIN and photo.person is not None}
        unknown = [photo for photo in bare if photo.person not in tested]
        if left_out := part_of.count(None) + len(bare) - len(unknown):
            findings.notes.append(
                f"celeba: {left_out} photos are left out, of persons whom other photos are validated or tested on."
            )
        if rest and self.unlabelled == 0:
            findings.notes.append(
                f"celeba: {len(rest)} further photos are not read; unlabelled=null shows them without masks."
            )
        rest = chosen(rest, self.unlabelled, folder, findings)
        found = {"celeba": kept, "celeba-unlabelled": sorted([*rest, *unknown], key=_order)}
        return {name: some for name, some in found.items() if some}


_REST = "rest"
"""Photos beyond those whose masks are read."""


def _parts(persons: Sequence[str], seed: int) -> list[str | None]:
    """The part of each photo, `_REST` beyond the parts' numbers, `None` if its person is tested or validated on.

    Args:
        persons: Who is shown on each photo.
        seed: Seed of the shuffle.
    """
    count, whole = len(persons), _TRAIN + _VAL + _TEST
    tests, vals = (size if count >= whole else max(1, count * size // whole) for size in (_TEST, _VAL))
    sizes = {TEST: tests, VAL: vals, TRAIN: _TRAIN if count >= whole else max(0, count - tests - vals)}
    order = np.random.default_rng((seed, 7)).permutation(count).tolist()
    part_of: list[str | None] = [None] * count
    side: dict[str, str] = {}
    for part, size in sizes.items():
        for i in order:
            if size and part_of[i] is None and side.get(persons[i], part) == part:
                part_of[i] = side[persons[i]] = part
                size -= 1
    return [
        _REST if part is None and side.get(person, TRAIN) == TRAIN else part
        for part, person in zip(part_of, persons, strict=True)
    ]


def _pooled(sets: Mapping[str, Sequence[_Photo]], arrays: Mapping[str, Arrays]) -> tuple[Pool, ...]:
    """The pools of photos that are read."""
    pools = []
    for name, photos in sets.items():
        if not photos:
            continue
        part_of = np.array([photo.part for photo in photos])
        parts = {part: np.flatnonzero(part_of == part) for part in (TRAIN, VAL, TEST, "metfaces") if part in part_of}
        told = any(photo.person for photo in photos)
        unit = np.array([photo.person or photo.picture.stem for photo in photos]) if told else None
        source = name.partition("-")[0]
        pools.append(Pool(name, arrays[name], parts, unit, [f"{source}/{photo.picture.name}" for photo in photos]))
    return tuple(pools)


def _key(stem: str) -> str:
    """What a photo and its masks have in common: `0` for `0.jpg` and for `00000_skin.png`."""
    return str(int(stem)) if stem.isascii() and stem.isdigit() else stem


def _order(photo: _Photo) -> tuple[int, str]:
    key = _key(photo.picture.stem)
    return (int(key) if key.isdigit() else -1, key)


def _files(folders: Iterable[Path]) -> Iterable[tuple[str, str]]:
    """The stems and paths of the pictures directly in some folders, without hidden ones; fast, as there are 400,000."""
    for folder in folders:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        for name in names:
            dot = name.rfind(".")
            if name[dot:].lower() in PICTURES:
                yield name[:dot], f"{folder}{os.sep}{name}"


def _photos(source: str, homes: Sequence[Path], findings: Findings) -> list[_Photo] | None:
    """A source's photos with their masks, in the order of their names; `None` if there is no folder with photos."""
    folders = [path for name in _PHOTOS[source] for path in folders_inside(homes, name)]
    if not folders:
        return None
    folder = folders[0]
    for other in folders[1:]:
        findings.problems.append(
            f"{other}: the photos of {source} are there twice, here and in {folder}. Remove one of them."
        )
    photos: dict[str, Path] = {}
    for stem, file in _files([folder]):
        path = Path(file)
        if (first := photos.setdefault(_key(stem), path)) is not path:
            findings.problems.append(f"{path}: is the same photo as {first.name}, by its name. Keep one of them.")
    if not photos:
        return None
    masks = next((p for name in _MASKS[source] for p in folders_inside([folder.parent], name)), None)
    if masks is None:
        wanted = " or ".join(f"{name}/" for name in _MASKS[source])
        findings.problems.append(f"{folder}: beside it there is no folder {wanted} with masks. {_WHERE_FROM}")
        found: dict[str, dict[str, str]] = {}
    else:
        found = _masks(masks, photos, findings)
    owners = masks is not None and masks.name.lower() == _MAPS.lower()
    return sorted((_Photo(path, found.get(key, {}), owners) for key, path in photos.items()), key=_order)


def _masks(folder: Path, photos: Mapping[str, Path], findings: Findings) -> dict[str, dict[str, str]]:
    """The masks in a folder and in those inside it, by photo and part; a map of all classes has the part `_WHOLE`."""
    found: dict[str, dict[str, str]] = {}
    strange, lost = [], set()
    for stem, path in _files([folder, *sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")]):
        key, _, part = stem.partition("_")
        if part not in PARTS:
            named = _PART.fullmatch(stem)
            key, part = (named[1], named[2]) if named else (stem, _WHOLE)
        key = _key(key)
        if key not in photos:
            if part or key.isdigit():
                lost.add(key)
            else:
                strange.append(Path(path).name)
        elif (first := found.setdefault(key, {}).setdefault(part, path)) is not path:
            findings.problems.append(
                f"{path}: is the same mask as {Path(first).relative_to(folder)}, by its name. Keep one of them."
            )
    if strange:
        findings.problems.append(
            f"{folder}: {len(strange)} files are masks of no known part and of no photo: {few(strange)}. Expected "
            f"names as 00000_skin.png, with one of the parts {', '.join(PARTS)}; or the photo's own name for a map of "
            "all classes. Rename or remove them."
        )
    if lost:
        findings.notes.append(f"{folder}: masks of {len(lost)} photos that are not there are not read.")
    for key, masks in found.items():
        if _WHOLE in masks and len(masks) > 1:
            findings.problems.append(
                f"{masks[_WHOLE]}: is a map of all classes, but there are masks of single parts of {photos[key].name} "
                "too. Keep one of the two."
            )
    return found


def _known(photos: Sequence[_Photo], homes: Sequence[Path], findings: Findings) -> list[_Photo]:
    """The photos with their persons, if CelebA's identities are there."""
    mapping, identity = (
        next((path for home in homes for path in (home / name, home / "Anno" / name) if path.is_file()), None)
        for name in (_MAPPING, _IDENTITY)
    )
    if mapping is None or identity is None:
        lacking = [name for name, path in ((_MAPPING, mapping), (_IDENTITY, identity)) if path is None]
        findings.notes.append(
            f"celeba: {' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} not there, so that nobody knows "
            "who is shown: one person may be both trained and tested on."
        )
        return list(photos)
    file_of = _table(mapping, (0, 2), findings)
    person_of = _table(identity, (0, 1), findings)
    known = []
    for photo in photos:
        file = file_of.get(_key(photo.picture.stem), "")
        person = person_of.get(_key(file.partition(".")[0]))
        known.append(replace(photo, person=None if person is None else f"person {person}"))
    unknown = [photo.picture.name for photo in known if photo.person is None]
    if unknown:
        findings.problems.append(
            f"{mapping}: tells nobody of {len(unknown)} photos, by {identity.name}: {few(unknown)}. Get both files "
            "again, or remove them to do without persons."
        )
    return known


def _table(path: Path, columns: tuple[int, int], findings: Findings) -> dict[str, str]:
    """Two columns of a file of the owners, the first as keys; a header is passed over, other lines are problems."""
    found = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        findings.problems.append(f"{path}: cannot be read as text ({error}). Get it again.")
        return {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) > max(columns):
            found[_key(words[columns[0]].partition(".")[0])] = words[columns[1]]
        elif words and number > 1:
            findings.problems.append(
                f"{path}: line {number}: expected {max(columns) + 1} words, found {line.strip()!r}. Get the file again."
            )
            break
    return found


def _labels(photo: _Photo, seen: _Seen) -> Bytes | None:
    """A photo's classes, (H, W); `None` after a problem."""
    labels: Bytes | None = None
    for part in (_WHOLE, *PARTS):
        if part not in photo.masks:
            continue
        path = Path(photo.masks[part])
        try:
            if part == _WHOLE:
                labels = _read_map(path, photo.owners)
                seen.mask = (labels.shape[1], labels.shape[0])
                continue
            where, _ = read_mask(path, "a part")
            size = (where.shape[1], where.shape[0])
            if seen.mask not in (None, size):
                raise UserError(
                    f"{path}: is of {px(size)} px, but other masks of {photo.picture.name} are of "
                    f"{px(seen.mask or size)} px. Get them again."
                )
            seen.mask = size
            labels = np.zeros(where.shape, np.uint8) if labels is None else labels
            labels[where] = _NUMBERS[part]
        except UserError as error:
            seen.problems.append(str(error))
    return None if seen.problems else labels


def _read_map(path: Path, owners: bool) -> Bytes:
    """A map of all classes as the eight classes, (H, W).

    Raises:
        UserError: If it cannot be read, is in colours or holds other numbers.
    """
    picture = open_picture(path)
    values = np.asarray(picture)
    if values.ndim == 3:
        colours = values[..., : 3 if values.shape[2] > 2 else 1]
        if (colours != colours[..., :1]).any():
            raise UserError(
                f"{path}: is in colours; expected class numbers as grey or as a palette's indices. Save it so."
            )
        values = colours[..., 0]
    table = _OWNERS if owners else np.arange(len(CLASSES), dtype=np.uint8)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    numbers = np.unique(values)
    if beyond := [f"{number:g}" for number in numbers.tolist() if number not in range(len(table))]:
        meant = "the owners' classes" if owners else f"{', '.join(CLASSES)}; the owners' 19 numbers belong in {_MAPS}/"
        raise UserError(
            f"{path}: holds the numbers {few(beyond)}; expected 0 to {len(table) - 1}, {meant}. Renumber or remove it."
        )
    made: Bytes = table[values.astype(np.intp)]
    return made


def _fact(seen: Sequence[_Seen]) -> str:
    """A set's row of the table."""
    sizes = Counter(one.photo for one in seen if one.photo)
    said = [f"{len(seen)} photos", few([f"{px(size)} px ({count})" for size, count in sizes.most_common()], 2)]
    pixels = np.sum([one.pixels for one in seen], axis=0)
    if pixels.any():
        shares = zip(CLASSES, (pixels / pixels.sum()).tolist(), strict=True)
        said.append("pixels: " + ", ".join(f"{name} {percent(share)}" for name, share in shares))
    return "; ".join(said)


def _note(name: str, photos: Sequence[_Photo], seen: Sequence[_Seen], findings: Findings) -> None:
    """What a person should know of a set's files."""
    of = list(zip(photos, seen, strict=True))
    for what, names in (
        (
            "masks are empty, with no part but background",
            [photo.picture.name for photo, one in of if one.mask and not one.pixels[1:].any()],
        ),
        (
            "photos are not RGB of 8 bits and are converted, without alpha",
            [photo.picture.name for photo, one in of if not one.plain],
        ),
    ):
        if names:
            findings.notes.append(f"{name}: {len(names)} {what}: {few(names)}.")


# The example


def _write_example(folder: Path) -> None:
    """Draws 24 faces with a mask for each visible part, and 6 paler ones with maps of the eight classes."""
    rng = np.random.default_rng(0)
    photos, masks = folder / "CelebAMask-HQ/CelebA-HQ-img", folder / "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0"
    painted = folder / "metfaces"
    for place in (photos, masks, painted / "images", painted / "masks"):
        place.mkdir(parents=True, exist_ok=True)
    for i in range(24):
        picture, parts = _drawn(rng, painted=False)
        Picture.fromarray(picture).save(photos / f"{i}.jpg", quality=95)
        for part, mask in parts.items():
            if mask.any():
                Picture.fromarray((mask * 255).astype(np.uint8)).save(masks / f"{i:05}_{part}.png")
    for i in range(6):
        picture, parts = _drawn(rng, painted=True)
        labels = np.zeros(picture.shape[:2], np.uint8)
        for part in PARTS:
            if part in parts:
                labels[parts[part]] = _NUMBERS[part]
        Picture.fromarray(picture).save(painted / f"images/{i + 1:02}-00.png")
        Picture.fromarray(labels).save(painted / f"masks/{i + 1:02}-00.png")


def _drawn(rng: np.random.Generator, painted: bool) -> tuple[Bytes, dict[str, NDArray[np.bool_]]]:
    """A photo of 32 px and where its parts are; `painted`: in other colours and with a grain, as of another kind."""
    side = 32
    centre, middle = side / 2 + rng.uniform(-1.5, 1.5), side / 2 + rng.uniform(-0.5, 2)
    across, up = rng.uniform(7.5, 9.5), rng.uniform(9.5, 11.5)

    def oval(x: float, y: float, wide: float, high: float) -> NDArray[np.bool_]:
        drawn = Picture.new("1", (side, side))
        left, top = centre + x * across, middle + y * up
        ImageDraw.Draw(drawn).ellipse([left - wide, top - high, left + wide, top + high], fill=1)
        return np.asarray(drawn)

    face = oval(0, 0, across, up)
    parts = {"cloth": oval(0, 1.9, 15, 7), "neck": oval(0, 1.05, 4, 6) & ~face, "skin": face}
    long = rng.random() < 0.5
    hair = oval(0, -0.35, across + 2.5, up + 1.5) & ~oval(0, 0.25, across - 0.8, up)
    parts["hair"] = hair if long else hair & (np.arange(side)[:, None] < middle - 0.2 * up)
    for name, x in (("l_", -1.0), ("r_", 1.0)):
        parts[f"{name}ear"] = oval(x * 1.05, 0.1, 1.6, 2.6) & ~face & (not long)
        parts[f"{name}eye"] = oval(x * 0.42, -0.08, 1.8, 1.1)
        parts[f"{name}brow"] = oval(x * 0.42, -0.36, 2.4, 0.7)
    parts["nose"] = oval(0, 0.2, 1.4, 2.2)
    parts |= {"u_lip": oval(0, 0.52, 2.8, 0.8), "l_lip": oval(0, 0.64, 2.4, 0.9)}
    if rng.random() < 0.2:
        parts["hat"] = oval(0, -1.1, across + 2, 4)
    tone = rng.uniform(-25, 25)
    colours = {
        "skin": (215, 170, 140), "nose": (196, 146, 118), "eye": (60, 50, 70), "eyebrow": (95, 65, 45),
        "ear": (204, 150, 126), "mouth": (180, 70, 80), "hair": (80, 50, 30),
        "hat": (60, 120, 90), "neck": (190, 145, 118), "cloth": (70, 80, 150),
    }  # fmt: skip
    pixels = np.empty((side, side, 3))
    pixels[:] = rng.uniform(90, 200, 3)
    for part in PARTS:
        if part in parts:
            named = part if part in colours else PARTS[part]
            pixels[parts[part]] = np.add(colours[named], tone)
    pixels += rng.normal(0, 5, pixels.shape)
    if painted:
        grain = 18 * (np.add.outer(np.arange(side), np.arange(side)) % 3 - 1)
        pixels = pixels.mean(2, keepdims=True) * 0.6 + pixels * [0.5, 0.4, 0.3] + grain[..., None]
    return pixels.clip(0, 255).astype(np.uint8), {part: np.asarray(mask, np.bool_) for part, mask in parts.items()}
