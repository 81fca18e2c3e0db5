"""Dermoscopy photos and the lesions in them: ISIC 2018, PH2, DermIS, DermQuest, and ISIC 2020 without masks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.dataset import Arrays, Split, own_folder
from lsmbench.data.files import Findings, by_stem, few, folders_inside
from lsmbench.data.inputs import PhotoInput
from lsmbench.data.masked_photos import (
    DEEP,
    MaskedPhoto,
    MaskedPhotos,
    Seen,
    check_unlabelled,
    chosen,
    masks_by_stem,
    note_alone,
    pictures_of,
    together,
)
from lsmbench.data.photos import read_photo
from lsmbench.data.pools import TRAIN, Pool
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

_ISIC2018 = "isic2018"
_ISIC2020 = "isic2020"


@dataclass(frozen=True)
class _Layout:
    """Where a source's files lie besides `images/` and `masks/` in a folder of its name, whatever the names' case.

    Attributes:
        photos: The owner's folders of photos, in `LSMBENCH_DATA/skin`, in a folder of the source's name or in one of
            `inside`.
        masks: The owner's folders of masks.
        inside: Further folders that may hold these.
        photo_end: How the stems of photos end in the owner's folders; other pictures there are no photos.
        mask_end: How the stems of masks end.
    """

    photos: tuple[str, ...]
    masks: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    photo_end: str = ""
    mask_end: str = ""


def _isic(part: str) -> _Layout:
    """A part of ISIC 2018, as unpacked, or in a folder of the archive's name."""
    photos, masks = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
    return _Layout(
        (photos, f"{photos}/{photos}"), (masks, f"{masks}/{masks}"), inside=(_ISIC2018,), mask_end="_segmentation"
    )


def _waterloo(source: str) -> _Layout:
    """One of the two sources in the set of the University of Waterloo; photos and masks lie side by side."""
    folders = (f"skin_data/*melanoma/{source}", f"Skin Image Data Set-*/skin_data/*melanoma/{source}")
    inside = ("waterloo", "skin_image_data_set-*", "waterloo/skin_image_data_set-*")
    return _Layout(folders, folders, inside, photo_end="_orig", mask_end="_contour")


_LAYOUTS = {
    _ISIC2018: _isic("Training"),
    "isic2018_validation": _isic("Validation"),
    "isic2018_test": _isic("Test"),
    "ph2": _Layout(
        ("PH2 Dataset images/*/*_Dermoscopic_Image", "*/*_Dermoscopic_Image"),
        ("PH2 Dataset images/*/*_lesion", "*/*_lesion"),
        inside=("PH2Dataset", "ph2/PH2Dataset", "PH2 Dataset images"),
        mask_end="_lesion",
    ),
    "dermis": _waterloo("dermis"),
    "dermquest": _waterloo("dermquest"),
    _ISIC2020: _Layout(
        (
            "ISIC_2020_Training_Input",
            "ISIC_2020_Training_Input/train",
            "ISIC_2020_Training_JPEG",
            "ISIC_2020_Training_JPEG/train",
            "isic2020/train",
        )
    ),
}
_PATIENTS = "isic_2020_training_groundtruth*.csv"

_TRAIN, _ALL = 2000, 2594
"""Table 2 of semanticGAN's supplement: 2,000 to train and 594 to test."""

_WHERE_FROM = (
    "Skin photos are not shipped with lsmbench. Put any of these into LSMBENCH_DATA/skin, or name the folder that "
    "holds them with the option root: ISIC2018_Task1-2_Training_Input/ and ISIC2018_Task1_Training_GroundTruth/, also "
    "those of Validation and Test, and ISIC_2020_Training_JPEG/ with ISIC_2020_Training_GroundTruth.csv "
    "(https://challenge.isic-archive.com/data); PH2Dataset/ (https://www.fc.up.pt/addi/ph2%20database.html); Skin "
    "Image Data Set-1/ and Skin Image Data Set-2/, which hold DermIS and DermQuest "
    "(https://uwaterloo.ca/vision-image-processing-lab/research-demos/skin-cancer-detection). Or images/ and masks/ "
    f"with files of equal names in {', '.join(f'{name}/' for name in _LAYOUTS)} (isic2020 without masks)."
)


@dataclass
class Skin(MaskedPhotos):
    """Photos of skin to the lesions in them, trained on ISIC 2018 and tested in and out of domain (semanticGAN).

    Reads these sources as their owners distribute them, as far as they are there; `images/` and `masks/` with equal
    stems in a folder of the source's name will do for each:

    * `isic2018`, 2,594 photos of ISIC 2018, task 1 (Codella et al. 2019): `ISIC2018_Task1-2_Training_Input` and
      `ISIC2018_Task1_Training_GroundTruth/*_segmentation.png`; it has to be there;
    * `isic2018_validation` and `isic2018_test`: the same of Validation and Test;
    * `ph2` (Mendonça et al. 2013): `PH2Dataset/PH2 Dataset images/IMD003/`, in it
      `IMD003_Dermoscopic_Image/IMD003.bmp` and `IMD003_lesion/IMD003_lesion.bmp`;
    * `dermis` and `dermquest` (Glaister 2013): `Skin Image Data Set-1` and `-2`, in them `skin_data/melanoma/dermis/`
      and so on with `NAME_orig.jpg` and `NAME_contour.png`, a filled mask;
    * `isic2020` (Rotemberg et al. 2021): `ISIC_2020_Training_Input` or `ISIC_2020_Training_JPEG`, with or without
      `train/`; without masks. `ISIC_2020_Training_GroundTruth.csv`, or its second version, tells the patients.

    `isic2018` is split as semanticGAN (supplement, Table 2), 2,000 to train, of which an eighth validates, and 594 to
    test; fewer photos in proportion. The paper does not say which; they are shuffled with seed 0 unless `split_seed`
    gives another. Every other source is a test set of its name. A photo of `isic2018` without a mask is an x-only
    sample, as are those of ISIC 2020 that `unlabelled` asks for. The paper's setting is all of ISIC 2020,
    `unlabelled=null`: 33,126 photos, 6.5 GB at 256 px. Of DermQuest the paper tests on 98 photos and does not say
    which; here on all that are there.

    Nothing is trained on and tested on: the same picture twice in `isic2018` lies in one part; a picture or an ISIC id
    of `isic2018` that a test set has too is refused; an x-only photo that is the same picture as one with a mask, or
    has its ISIC id, is left out with all photos of its patient. The same picture means the same decoded pixels. ISIC
    2018 does not tell its patients: different photos of one may lie in several parts.

    Views: `x`, RGB, stored as uint8 (N, 3, size, size); `y`, 1 in the lesion, stored as uint8 (N, size, size), resized
    by the nearest pixel. Both are squeezed to a square, as the paper resizes (§2); nothing else is done (§4). Grey
    photos become three equal channels, an alpha that is one number throughout is dropped, any other alpha is refused.

    The metric is the Jaccard index per photo (§5), `iou`. An empty mask counts 0 where a lesion is predicted, and is
    not counted where none is.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "skin"
    version: ClassVar[int] = VERSION
    shown: ClassVar[str] = "lesion"
    alone: ClassVar[str] = _ISIC2020

    root: str = option("", "Folder that holds the sources' folders; empty: LSMBENCH_DATA/skin.", counts="never")
    unlabelled: int | None = option(
        0,
        "So many photos of ISIC 2020 are x-only training samples; 0: none, null: all that are there.",
        unit="photos",
        source="the paper uses all",
    )
    size: int = option(
        256, "Height and width that photos and masks are squeezed to, divisible by 4.", unit="px", source="§2"
    )
    exif: Literal["refuse", "apply", "ignore"] = option(
        "refuse",
        "Photos that are stored turned: refuse them, apply the turn or ignore it (as the masks need).",
        choices=("refuse", "apply", "ignore"),
    )
    reconstruction: Literal["mse", "l1"] = option("mse", "Loss of the image's reconstruction.", choices=("mse", "l1"))

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        check_unlabelled(self.name, self.unlabelled)

    @property
    def domains(self) -> dict[str, Domain]:
        """An image in colours, and a mask of two classes."""
        return {
            "x": Image(3, self.size, reconstruction=self.reconstruction),
            "y": Mask(2, self.size, names=("background", "lesion")),
        }

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 drawn photos of 48×36 px in the layouts of all sources, read at 32 px; existing files are kept."""
        if not (folder / "PH2Dataset").exists():
            _write_example(folder)
        return cls(root=str(folder), unlabelled=None, size=32)

    @property
    def split_source(self) -> str:
        """ISIC 2018's training photos."""
        return _ISIC2018

    def split(self, count: int, seed: int | None) -> Split:
        """Splits photos of ISIC 2018, all of different pictures, as the paper's Table 2 does.

        Args:
            count: Number of photos.
            seed: Seed of the shuffle; `None` is 0.

        Raises:
            UserError: If a part would be empty.
        """
        return self._split(np.arange(count), seed)

    def split_photos(self, arrays: Arrays, seed: int | None) -> Split:
        """The same, where photos of one picture stay together."""
        return self._split(_firsts(arrays["content"][: len(arrays["y"])]), seed)

    def _split(self, picture: NDArray[np.int64], seed: int | None) -> Split:
        """Splits photos of which the same pictures have the same number."""
        count = len(picture)
        train = count * _TRAIN // _ALL
        if train < 8:
            raise UserError(f"dataset skin: {count} photos of isic2018 are too few to split; give at least 11.")
        pictures, place = np.unique(picture, return_inverse=True)
        order = np.random.default_rng((0 if seed is None else seed, 7)).permutation(len(pictures))
        rows = np.argsort(np.argsort(order)[place], kind="stable")
        cuts = [0]
        for least in (train - train // 8, train):
            cut = max(least, cuts[-1] + 1)
            while cut < count and picture[rows[cut - 1]] == picture[rows[cut]]:
                cut += 1  # the same picture, on both sides
            cuts.append(cut)
        split = Split(*np.split(rows, cuts[1:]))
        if not (len(split.val) and len(split.test)):
            raise UserError(
                f"dataset skin: {count} photos of isic2018 show {len(pictures)} different pictures, too few to split; "
                "give at least 11."
            )
        return split

    def inputs(self) -> PhotoInput:
        """Photos of 8 or 16 bits."""
        return PhotoInput(self.size, self.exif)

    def read_photo(self, path: Path, seen: Seen) -> NDArray[np.uint8]:
        """A photo in RGB."""
        photo = read_photo(path, self.exif)
        seen.photo, seen.content = photo.size, photo.digest()
        for trait, there in (
            (DEEP, photo.deep),
            ("photos are grey, and become three equal channels", photo.grey),
            ("photos have alpha, which is one number throughout and dropped", photo.alpha),
        ):
            if there:
                seen.traits.append(trait)
        return photo.view(self.size)

    def reading(self) -> dict[str, object]:
        """What is done with turned photos."""
        return {"exif": self.exif}

    def more_arrays(self, seen: Sequence[Seen]) -> Arrays:
        """`content`, uint8 (N, 16), the same for the same picture."""
        return {"content": np.array([list(one.content) for one in seen], np.uint8).reshape(len(seen), 16)}

    # Samples ----------------------------------------------------------------------------------------------------------

    def pooled(
        self, sources: Mapping[str, list[MaskedPhoto]], arrays: dict[str, Arrays], seed: int | None, findings: Findings
    ) -> tuple[Pool, ...]:
        """The pools, in which no picture is trained on and tested on."""
        content: dict[str, list[bytes]] = {}  # of each source's photos with a mask, and of the others
        alone: dict[str, list[bytes]] = {}
        for source in sources:
            rows, masked = [row.tobytes() for row in arrays[source]["content"]], len(arrays[source]["y"])
            content[source], alone[source] = rows[:masked], rows[masked:]
        paths = {source: [photo.picture for photo in photos if photo.masks] for source, photos in sources.items()}
        trained: dict[bytes, Path] = {}
        twins = []
        for row, path in zip(content[_ISIC2018], paths[_ISIC2018], strict=True):
            if row in trained:
                twins.append(f"{path.name} as {trained[row].name}")
            trained.setdefault(row, path)
        if twins:
            findings.notes.append(
                f"isic2018: {len(twins)} photos show the same picture as another one, and lie in the same part: "
                f"{few(twins)}."
            )
        for source in sources:
            for row, path in zip(content[source], paths[source], strict=True):
                if source != _ISIC2018 and row in trained:
                    findings.problems.append(
                        f"{path}: shows the same picture as {trained[row]}, which may be trained on, and {source} is "
                        "tested on. Remove one of them."
                    )
        masked_pictures = {row for rows in content.values() for row in rows}
        made = []
        for pool in super().pooled(sources, arrays, seed, findings):
            if "y" not in pool.views:
                pool = _without(pool, [row in masked_pictures for row in alone[pool.name.partition("-")[0]]], findings)
            elif pool.name == _ISIC2018 and twins:
                names = np.array(pool.names)
                pool = replace(pool, unit=names[_firsts(arrays[_ISIC2018]["content"][: len(pool)])])
            made.append(pool)
        return tuple(made)

    # Files ------------------------------------------------------------------------------------------------------------

    def find(self, findings: Findings) -> dict[str, list[MaskedPhoto]]:
        """The photos that are read of each source, ISIC 2018's first; opens no picture.

        Raises:
            UserError: If the folder or ISIC 2018 is missing.
        """
        root = own_folder(self.name, self.root, _WHERE_FROM)
        found: dict[str, list[MaskedPhoto]] = {}
        for source in _LAYOUTS:
            if source == _ISIC2020:
                continue
            photos = note_alone(source, _photos(source, root, findings), source == _ISIC2018, findings)
            if photos:
                found[source] = photos
            elif source == _ISIC2018 and not findings.problems:
                held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
                raise UserError(
                    f"dataset skin: {root}: no photos in {_LAYOUTS[source].photos[0]}/ or isic2018/images/, which are "
                    f"trained on; it holds: {few(held) or 'nothing'}. {_WHERE_FROM}"
                )
        trained = {photo.picture.stem: photo.picture for photo in found.get(_ISIC2018, [])}
        tested = [photo.picture for name, photos in found.items() if name.startswith("isic2018_") for photo in photos]
        findings.problems += [
            f"{path}: has the ISIC id of {trained[path.stem]}, which may be trained on, and is tested on. Remove one "
            "of them."
            for path in tested
            if path.stem in trained
        ]
        if photos := self._unlabelled(root, {*trained, *(path.stem for path in tested)}, findings):
            found[_ISIC2020] = photos
        return found

    def _unlabelled(self, root: Path, known: set[str], findings: Findings) -> list[MaskedPhoto]:
        """The photos of ISIC 2020 that are asked for, without those of patients of whom ISIC 2018 has a photo."""
        folders = _folders(_ISIC2020, root, _LAYOUTS[_ISIC2020].photos, "images")
        if self.unlabelled == 0:
            if folders:
                findings.notes.append(f"{folders[0]}: is not read; unlabelled=null shows its photos without masks.")
            return []
        there = _united(_ISIC2020, [by_stem(pictures_of(folder), findings) for folder in folders], findings)
        if not there:
            raise UserError(
                f"dataset skin: {root}: no photos in ISIC_2020_Training_JPEG/train/ or isic2020/images/, and "
                f"unlabelled={'null' if self.unlabelled is None else self.unlabelled} asks for them. Put them "
                f"there, or set unlabelled=0. {_WHERE_FROM}"
            )
        patients = _patients(root, folders, findings)
        photos = [MaskedPhoto(there[stem], unit=f"isic2020 {patients.get(stem, stem)}") for stem in sorted(there)]
        if patients and (strangers := [stem for stem in there if stem not in patients]):
            findings.notes.append(
                f"isic2020: {len(strangers)} of {len(photos)} photos have no patient in the table, and count as "
                f"patients of their own: {few(sorted(strangers))}."
            )
        both = {photo.unit for photo in photos if photo.picture.stem in known}
        kept = [photo for photo in photos if photo.unit not in both]
        if len(kept) < len(photos):
            findings.notes.append(
                f"isic2020: {len(photos) - len(kept)} photos of patients with a photo in isic2018 (the same ISIC id) "
                "are left out."
            )
        return chosen(kept, self.unlabelled, folders[0], findings)


def _folders(source: str, root: Path, names: Sequence[str], simple: str) -> list[Path]:
    """The folders with pictures among the owner's and the simple one."""
    bases = [root, *(path for name in (source, *_LAYOUTS[source].inside) for path in folders_inside([root], name))]
    found = [path for name in names for path in folders_inside(bases, name)]
    found += folders_inside([root], f"{source}/{simple}")
    return [path for path in dict.fromkeys(found) if any(pictures_of(path))]


def _photos(source: str, root: Path, findings: Findings) -> list[MaskedPhoto]:
    """A source's photos with their masks; what is missing, twice there or without a photo is a problem."""
    layout = _LAYOUTS[source]
    folders = _folders(source, root, layout.photos, "images")
    if not folders:
        for home in folders_inside([root], source):
            if source != _ISIC2018:  # it is asked for, and may hold the other parts of ISIC 2018
                findings.problems.append(
                    f"{home}: no photos of {source}, neither in images/ nor in the owner's folders. {_WHERE_FROM}"
                )
        return []
    places = _folders(source, root, layout.masks, "masks")
    photos = _united(source, [_named(f, by_stem(_photos_in(f, layout), findings), layout) for f in folders], findings)
    if others := [
        path.name
        for path in (path for folder in folders if layout.photo_end for path in pictures_of(folder))
        if not path.stem.lower().endswith((layout.photo_end, layout.mask_end)) and path not in photos.values()
    ]:
        findings.notes.append(
            f"{source}: {len(others)} pictures are neither *{layout.photo_end} nor *{layout.mask_end}, not read: "
            f"{few(others)}."
        )
    ends = (layout.mask_end, "_mask")
    masks = [_named(place, masks_by_stem(_masks_in(place, layout), ends, findings), layout) for place in places]
    masks_of = _united(source, masks, findings)
    if not masks_of:
        findings.problems.append(f"{folders[0]}: the photos of {source} have no masks. {_WHERE_FROM}")
        return []
    return together(photos, {"masks": masks_of}, findings)


def _photos_in(folder: Path, layout: _Layout) -> Iterable[Path]:
    """The photos in a folder: not the masks beside them, nor the super-pixels of earlier years of ISIC."""
    end = "" if folder.name.lower() == "images" else layout.photo_end
    return (
        path
        for path in pictures_of(folder)
        if path.stem.lower().endswith(end) and not path.stem.lower().endswith("_superpixels")
    )


def _masks_in(folder: Path, layout: _Layout) -> Iterable[Path]:
    """The masks in a folder: not the photos beside them."""
    end = layout.mask_end if layout.photo_end and folder.name.lower() != "masks" else ""
    return (path for path in pictures_of(folder) if path.stem.lower().endswith(end))


def _named(folder: Path, files: Mapping[str, Path], layout: _Layout) -> dict[str, Path]:
    """Files by what photos and masks have in common: the stem without its end; in Waterloo's set, the diagnosis too."""
    parent = folder.parent.name.lower()
    diagnosis = f"{parent}/" if parent.endswith("melanoma") else ""
    return {diagnosis + re.sub(f"{layout.photo_end}$", "", stem, flags=re.I): path for stem, path in files.items()}


def _united(source: str, folders: Sequence[Mapping[str, Path]], findings: Findings) -> dict[str, Path]:
    """The files of several folders; what two of them have is a problem, named once for both folders."""
    found: dict[str, Path] = {}
    for files in folders:
        if twice := [name for name in files if name in found]:
            findings.problems.append(
                f"{files[twice[0]].parent}: {len(twice)} files of {source} are there twice, here and in "
                f"{found[twice[0]].parent}: {few(twice)}. Remove one of each."
            )
        found |= files
    return found


def _patients(root: Path, folders: Sequence[Path], findings: Findings) -> dict[str, str]:
    """The patient of each photo of ISIC 2020 by its stem, as the owner's table says; empty if there is none."""
    places = dict.fromkeys([root, *folders_inside([root], _ISIC2020), *(folder.parent for folder in folders)])
    tables = [path for place in places for path in place.iterdir() if fnmatchcase(path.name.lower(), _PATIENTS)]
    if not tables:
        findings.notes.append(
            f"isic2020: no ISIC_2020_Training_GroundTruth.csv in {root}; every photo counts as a patient of its own."
        )
        return {}
    path = max(tables, key=lambda table: table.name)  # the second version comes after the first
    patients: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"image_name", "patient_id"} <= set(rows.fieldnames or ()):
                findings.problems.append(
                    f"{path}: expected the columns image_name and patient_id; found {','.join(rows.fieldnames or ())}. "
                    "Get it again, or remove it."
                )
                return {}
            for row in rows:
                if row["image_name"] and row["patient_id"]:
                    patients[row["image_name"]] = row["patient_id"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        findings.problems.append(
            f"{path}: cannot be read as a table of patients ({error}). Get it again, or remove it."
        )
    return patients


def _firsts(content: NDArray[np.generic]) -> NDArray[np.int64]:
    """The first row of the same content, of each row: (N,)."""
    _, first, member = np.unique(content, axis=0, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[member.ravel()]
    return found


def _without(pool: Pool, seen: Sequence[bool], findings: Findings) -> Pool:
    """A pool of x-only photos without those whose picture also has a mask, and without their patients' others."""
    own = pool.unit if pool.unit is not None else np.array(pool.names)
    units = set(own[np.array(seen, np.bool_)].tolist())
    left = np.array([unit in units for unit in own.tolist()])
    if not left.any():
        return pool
    names = [name for name, twin in zip(pool.names or (), seen, strict=True) if twin]
    findings.notes.append(
        f"{pool.name}: {left.sum()} photos are left out, of patients with a photo that shows the same picture as one "
        f"with a mask: {few(names)}."
    )
    return replace(pool, parts={TRAIN: np.flatnonzero(~left)})


# The example


def _write_example(folder: Path) -> None:
    """Draws 22 photos as ISIC 2018's and 2 of its test, 3 as PH2's, 4 and 3 as Waterloo's, and 6 as ISIC 2020's."""
    rng = np.random.default_rng(0)

    def write(photo: Path, mask: Path | None, other: bool) -> None:
        x, y = _drawn(rng, other)
        for path, values in ((photo, x), (mask, y)):
            if path is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                Picture.fromarray(values).save(folder / path)

    for part, count, first in (("Training", 22, 0), ("Test", 2, 50)):
        for i in range(first, first + count):
            photo, mask = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
            write(Path(photo, f"ISIC_{i:07}.jpg"), Path(mask, f"ISIC_{i:07}_segmentation.png"), False)
    for i in range(1, 4):
        name = f"IMD{i:03}"
        home = Path("PH2Dataset/PH2 Dataset images", name)
        write(home / f"{name}_Dermoscopic_Image/{name}.bmp", home / f"{name}_lesion/{name}_lesion.bmp", True)
    for number, diagnosis, source, count in (
        (1, "melanoma", "dermis", 2), (2, "notmelanoma", "dermis", 2),
        (1, "melanoma", "dermquest", 2), (2, "notmelanoma", "dermquest", 1),
    ):  # fmt: skip
        home = Path(f"Skin Image Data Set-{number}/skin_data/{diagnosis}/{source}")
        for i in range(count):
            write(home / f"S{i}_orig.jpg", home / f"S{i}_contour.png", True)
    rows = ["image_name,patient_id,target"]
    for i in range(100, 106):
        write(Path("ISIC_2020_Training_JPEG/train", f"ISIC_{i:07}.jpg"), None, False)
        rows.append(f"ISIC_{i:07},IP_{i // 2},0")
    (folder / "ISIC_2020_Training_GroundTruth.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _drawn(rng: np.random.Generator, other: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A photo of 48×36 px and its lesion; `other`: of another light, with hairs, as of another camera."""
    width, height = 48, 36
    drawn = Picture.new("1", (width, height))
    x, y = rng.uniform(18, 30), rng.uniform(13, 23)
    across, up = rng.uniform(6, 14), rng.uniform(5, 11)
    ImageDraw.Draw(drawn).ellipse([x - across, y - up, x + across, y + up], fill=1)
    mask = np.asarray(drawn)
    skin, lesion = np.array([0.85, 0.65, 0.55]), np.array([0.45, 0.28, 0.22])
    if other:
        skin, lesion = skin * (0.8, 0.85, 1.0), lesion * (1.2, 1.0, 0.8)
    colours = np.where(mask[..., None], lesion, skin) + rng.uniform(-0.06, 0.06, 3)
    colours = colours + rng.normal(0, 0.03, colours.shape)
    if other:
        colours[:: int(rng.integers(7, 12))] *= 0.6
    return (colours.clip(0, 1) * 255).astype(np.uint8), mask
