"""Chest X-rays and the lungs in them: Montgomery, Shenzhen, JSRT, NIH, and ChestX-ray14 without masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.dataset import Split, own_folder
from lsmbench.data.files import Findings, by_stem, few, folders_inside
from lsmbench.data.inputs import RadiographInput
from lsmbench.data.masked_photos import (
    DEEP,
    MaskedPhoto,
    MaskedPhotos,
    Seen,
    check_unlabelled,
    chosen,
    homes_of,
    masks_by_stem,
    note_alone,
    pictures_of,
    together,
)
from lsmbench.data.radiographs import GAMMA, RAW, read_radiograph
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

_SIDES = ("left lung", "right lung")
_SCR = ("masks", "fold1/masks", "fold2/masks", "scratch/masks", "scratch/fold1/masks", "scratch/fold2/masks")


@dataclass(frozen=True)
class _Layout:
    """Where a source's files lie, whatever the case of the names.

    Attributes:
        homes: Folders that hold the source: its owner's and the simple one.
        photos: Folders of photos in a home, of which one may be there.
        masks: Kinds of masks, the first that is there. Each is a list of masks to unite (one, or one of each lung), and
            each of these the folders that its files are dealt to.
    """

    homes: tuple[str, ...]
    photos: tuple[str, ...]
    masks: tuple[tuple[tuple[str, ...], ...], ...] = ()


_SIMPLE = (("masks",),)
_LAYOUTS = {
    "montgomery": _Layout(
        ("montgomery", "MontgomerySet"),
        ("CXR_png", "images"),
        ((("ManualMask/leftMask",), ("ManualMask/rightMask",)), _SIMPLE),
    ),
    "jsrt": _Layout(
        ("jsrt",),
        ("All247images", "images"),
        (tuple(tuple(f"{folder}/{side}" for folder in _SCR) for side in _SIDES), _SIMPLE),
    ),
    "shenzhen": _Layout(("shenzhen", "ChinaSet_AllFiles"), ("CXR_png", "images"), ((("mask", "mask/mask"),), _SIMPLE)),
    "nih": _Layout(("nih",), ("images",), (_SIMPLE,)),
    "cxr14": _Layout(("cxr14", "ChestX-ray14"), ()),
}
_CXR14 = "cxr14"
_OF_CXR14 = re.compile(r"(\d{8})_\d{3}$")
"""Names of ChestX-ray14's photos: the patient and the number of the visit."""

_JSRT_TRAIN, _JSRT_ALL = 175, 247
"""Table 1 of semanticGAN's supplement: 175 to train and 72 to test."""

_WHERE_FROM = (
    "Chest X-rays are not shipped with lsmbench. Put any of these into LSMBENCH_DATA/chest_xray, or name the folder "
    "that holds them with the option root: montgomery/ (the folder MontgomerySet) and shenzhen/ (ChinaSet_AllFiles) of "
    "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/, the latter with the folder mask of "
    "https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask; jsrt/ (All247images of http://db.jsrt.or.jp/eng.php, "
    "with the masks of SCR, https://zenodo.org/records/7056076); nih/ (the NIH photos and masks of "
    "https://github.com/rsummers11/CADLab/tree/master/Lung_Segmentation_XLSor, as images/ and masks/); cxr14/ "
    "(https://nihcc.app.box.com/v/ChestXray-NIHCC, without masks). In each, images/ and masks/ with files of equal "
    "names will do too."
)


@dataclass
class ChestXray(MaskedPhotos):
    """Chest X-rays to the lungs in them, trained on one source and tested on others (semanticGAN; files of your own).

    Reads these sources as their owners distribute them, as far as they are there, from folders of the owners' names or
    of simple ones; `images/` and `masks/` with equal stems will do for each:

    * `montgomery`, 138 photos (NLM): `MontgomerySet/CXR_png`, and `ManualMask/leftMask` and `rightMask`, united;
    * `shenzhen`, 566 photos with masks of 662 (NLM; Stirenko et al. 2018): `ChinaSet_AllFiles/CXR_png`, and
      `*_mask.png` in `mask/`;
    * `jsrt`, 247 photos (Shiraishi et al. 2000; SCR, van Ginneken et al. 2006): `All247images/*.IMG`, which are
      negatives and are turned back, or PNG, which is taken as it is; `masks/left lung` and `masks/right lung`, also in
      `scratch/fold1` and `fold2`;
    * `nih`, 100 photos (XLSor; Tang et al. 2019);
    * `cxr14`, ChestX-ray14 (Wang et al. 2017): `images/`, or `images_001/images/` and so on; without masks.

    `trained_on` is split: `montgomery` 70/10/20; `jsrt` as semanticGAN (supplement, Table 1), 175 to train, of which an
    eighth validates, and 72 to test. The paper does not say which; both are shuffled with seed 0 unless `split_seed`
    gives another. Every other source is a test set of its name. A photo of `trained_on` without a mask is an x-only
    sample, as are those of ChestX-ray14 that `unlabelled` asks for. The paper's setting is `trained_on=jsrt` and all of
    ChestX-ray14, `unlabelled=null`: 112,120 photos, 7.3 GB at 256 px. NIH's photos are some of ChestX-ray14's: their
    patients are never trained on.

    Views: `x`, grey, stored as uint8 (N, 1, size, size); `y`, 1 in the lungs, stored as uint8 (N, size, size), resized
    by the nearest pixel. Both are squeezed to a square, as the paper resizes (§2). With `preprocessing=equalised` the
    histogram of each photo is equalised and corrected by gamma, at its own size and depth (`Radiograph.view`). The
    paper does both (§4) as Oh et al. 2020 do, but names no exponent; see `GAMMA`.

    Floor, Dice of the best constant mask of Montgomery's training part, 256 px (photos reduced to 256 px): .749 on
    Montgomery's test part, .756 on Shenzhen.

    A photo is a patient, save in ChestX-ray14, where the name says the patient. The first metric is Dice per patient
    (§5), the second the IoU.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "chest_xray"
    version: ClassVar[int] = VERSION
    shown: ClassVar[str] = "lung"
    alone: ClassVar[str] = _CXR14

    root: str = option("", "Folder that holds the sources' folders; empty: LSMBENCH_DATA/chest_xray.", counts="never")
    trained_on: Literal["montgomery", "jsrt"] = option(
        "montgomery",
        "The source that is split into train, val and test; every other one is a test set of its name.",
        source="the paper uses jsrt",
        choices=("montgomery", "jsrt"),
    )
    unlabelled: int | None = option(
        0,
        "So many photos of ChestX-ray14 are x-only training samples; 0: none, null: all that are there.",
        unit="photos",
        source="the paper uses all",
    )
    size: int = option(
        256, "Height and width that photos and masks are squeezed to, divisible by 4.", unit="px", source="§2"
    )
    preprocessing: Literal["equalised", "none"] = option(
        "equalised",
        f"equalised: each photo's histogram is equalised, then corrected by gamma {GAMMA:g}; none: photos as they are.",
        source="§4; the exponent: as told of Oh et al. 2020",
        choices=("equalised", "none"),
    )
    reconstruction: Literal["mse", "l1"] = option("mse", "Loss of the image's reconstruction.", choices=("mse", "l1"))

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        check_unlabelled(self.name, self.unlabelled)

    @property
    def domains(self) -> dict[str, Domain]:
        """A grey image, and a mask of two classes that is scored by Dice first."""
        return {
            "x": Image(1, self.size, reconstruction=self.reconstruction),
            "y": Mask(2, self.size, names=("background", "lung"), dice=True),
        }

    @classmethod
    def example(cls, folder: Path) -> Self:
        """46 drawn X-rays of 40×44 px in the layouts of four sources, read at 32 px; existing files are kept."""
        if not (folder / "nih").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)

    @property
    def split_source(self) -> str:
        """As the option `trained_on` says."""
        return self.trained_on

    def split(self, count: int, seed: int | None) -> Split:
        """Splits the photos of `trained_on`: 70/10/20, or those of JSRT as the paper's Table 1 does.

        Args:
            count: Number of photos.
            seed: Seed of the shuffle; `None` is 0.

        Raises:
            UserError: If a part would be empty.
        """
        if self.trained_on == "montgomery":
            return super().split(count, 0 if seed is None else seed)
        train = count * _JSRT_TRAIN // _JSRT_ALL
        if train < 8:
            raise UserError(f"dataset chest_xray: {count} photos of jsrt are too few to split; give at least 12.")
        order = np.random.default_rng((0 if seed is None else seed, 7)).permutation(count)
        kept = train - train // 8
        return Split(order[:kept], order[kept:train], order[train:])

    def inputs(self) -> RadiographInput:
        """X-rays of any depth, with the same preprocessing."""
        return RadiographInput(self.size, self.preprocessing)

    def read_photo(self, path: Path, seen: Seen) -> NDArray[np.uint8]:
        """An X-ray of any depth as grey, prepared as `preprocessing` says."""
        radiograph = read_radiograph(path)
        seen.photo = radiograph.size
        if radiograph.white > 255:
            seen.traits.append(DEEP)
        return radiograph.view(self.size, self.preprocessing)

    def reading(self) -> dict[str, object]:
        """The preprocessing."""
        return {"preprocessing": self.preprocessing}

    # Files ------------------------------------------------------------------------------------------------------------

    def find(self, findings: Findings) -> dict[str, list[MaskedPhoto]]:
        """The photos that are read of each source, that of `trained_on` first; opens no file.

        Raises:
            UserError: If the folder or the source of `trained_on` is missing.
        """
        root = own_folder(self.name, self.root, _WHERE_FROM)
        order = sorted(_LAYOUTS, key=lambda name: name != self.trained_on)
        homes = {name: homes_of(root, _LAYOUTS[name].homes) for name in order}
        there = [name for name in order if homes[name]]
        if self.trained_on not in there:
            held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
            raise UserError(
                f"dataset chest_xray: {root}: no folder {' or '.join(_LAYOUTS[self.trained_on].homes)}, and "
                f"trained_on={self.trained_on} asks for it; it holds: {few(held) or 'nothing'}. {_WHERE_FROM}"
            )
        found: dict[str, list[MaskedPhoto]] = {}
        for name in there:
            if name == _CXR14:
                continue
            photos = _photos(name, root, homes[name], findings)
            photos = note_alone(name, photos, name == self.trained_on, findings)
            if name == "nih":
                photos = [replace(photo, unit=_patient(photo.picture)) for photo in photos]
            if photos:
                found[name] = photos
        if photos := self._unlabelled(homes[_CXR14], root, found.get("nih", []), findings):
            found[_CXR14] = photos
        return found

    def _unlabelled(
        self, homes: Sequence[Path], root: Path, tested: Sequence[MaskedPhoto], findings: Findings
    ) -> list[MaskedPhoto]:
        """The photos of ChestX-ray14 that are asked for, without those of patients who are tested on."""
        if self.unlabelled == 0:
            if homes:
                findings.notes.append(f"{homes[0]}: is not read; unlabelled=null shows its photos without masks.")
            return []
        folders = [
            f for home in homes for f in (home / "images", *home.glob("images_*"), *home.glob("images_*/images"))
        ]
        there = by_stem((p for f in folders if f.is_dir() for p in pictures_of(f, [RAW])), findings)
        if not there:
            raise UserError(
                f"dataset chest_xray: {root}: no photos in cxr14/images or cxr14/images_001/images, and unlabelled="
                f"{'null' if self.unlabelled is None else self.unlabelled} asks for them. Put them there, or set "
                f"unlabelled=0. {_WHERE_FROM}"
            )
        patients = {photo.unit for photo in tested}
        photos = [MaskedPhoto(there[stem], unit=_patient(there[stem])) for stem in sorted(there)]
        kept = [photo for photo in photos if photo.unit not in patients]
        if len(kept) < len(photos):
            findings.notes.append(
                f"cxr14: {len(photos) - len(kept)} photos of patients of the test set nih are left out."
            )
        return chosen(kept, self.unlabelled, folders[0].parent, findings)


def _patient(photo: Path) -> str:
    """In ChestX-ray14's names the first number, else the photo itself."""
    match = _OF_CXR14.match(photo.stem)
    return f"cxr14 {match[1]}" if match else photo.stem


def _photos(source: str, root: Path, homes: list[Path], findings: Findings) -> list[MaskedPhoto]:
    """A source's photos with their masks; what is missing, twice there or without a photo is a problem."""
    layout = _LAYOUTS[source]
    folders = [path for name in layout.photos for path in folders_inside(homes, name)]
    if not folders:
        wanted = " or ".join(f"{name}/" for name in layout.photos)
        findings.problems.append(f"{homes[0]}: no folder {wanted} with the photos of {source}. {_WHERE_FROM}")
        return []
    for other in folders[1:]:
        findings.problems.append(
            f"{other}: the photos of {source} are there twice, here and in {folders[0]}. Remove one of them."
        )
    photos = by_stem(pictures_of(folders[0], [RAW]), findings)
    # An owner's folder of masks may also lie beside that of the photos, as it is unpacked.
    for kind in layout.masks:
        places = homes if kind == _SIMPLE else [*homes, root]
        each = [[path for name in folders for path in folders_inside(places, name)] for folders in kind]
        if any(each):
            break
    else:
        findings.problems.append(f"{folders[0]}: the photos of {source} have no masks. {_WHERE_FROM}")
        return []
    masks: dict[str, dict[str, Path]] = {}
    for part, names in zip(each, kind, strict=True):
        if not part:
            findings.problems.append(f"{folders[0]}: no folder {names[0]} with masks for these photos. Put it there.")
        pictures = (path for place in part for path in pictures_of(place, [RAW]))
        masks[names[0]] = masks_by_stem(pictures, ["_mask"], findings)
    return together(photos, masks, findings)


# The example


def _write_example(folder: Path) -> None:
    """Draws 26 X-rays as Montgomery's, 12 as JSRT's, 6 as Shenzhen's and, in 16 bits, 2 as NIH's."""
    rng = np.random.default_rng(0)
    for source, count, stem, photos, masks in (
        ("MontgomerySet", 26, "MCUCXR_{:04}_0", "CXR_png", ("ManualMask/leftMask", "ManualMask/rightMask")),
        ("jsrt", 12, "JPCLN{:03}", "All247images", ("masks/left lung", "masks/right lung")),
        ("shenzhen", 6, "CHNCXR_{:04}_0", "ChinaSet_AllFiles/CXR_png", ("mask",)),
        ("nih", 2, "{:08}_000", "images", ("masks",)),
    ):
        for place in (photos, *masks):
            (folder / source / place).mkdir(parents=True)
        ending = "_mask.png" if source == "shenzhen" else ".gif" if source == "jsrt" else ".png"
        for i in range(count):
            name = stem.format(i + 1)
            grey, *lungs = _drawn(rng, other=source != "MontgomerySet")
            pixels = (grey * 65535).astype(np.uint16) if source == "nih" else (grey * 255).astype(np.uint8)
            Picture.fromarray(pixels).save(folder / source / photos / f"{name}.png")
            for place, mask in zip(masks, lungs if len(masks) == 2 else [lungs[0] | lungs[1]], strict=True):
                Picture.fromarray(mask).save(folder / source / place / f"{name}{ending}")


def _drawn(rng: np.random.Generator, other: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """A photo of 40×44 px in [0, 1], and its lungs; `other`: paler, wider and with a letter, as of another hospital."""
    width, height = 40, 44

    def oval(x: float, y: float, across: float, up: float) -> NDArray[np.bool_]:
        drawn = Picture.new("1", (width, height))
        ImageDraw.Draw(drawn).ellipse([x - across, y - up, x + across, y + up], fill=1)
        return np.asarray(drawn)

    middle, top = width / 2 + rng.uniform(-2, 2), height / 2 + rng.uniform(-3, 1)
    apart, across, up = rng.uniform(7.5, 9), rng.uniform(4, 6), rng.uniform(9, 13)
    if other:
        apart, across = apart + 1, across * 1.15
    right, left = (oval(middle + side * apart, top, across, up + rng.uniform(-1, 1)) for side in (-1, 1))
    body = oval(middle, height * 0.6, 18, 26)
    ground, flesh, air = (0.25, 0.8, 0.5) if other else (0.05, 0.65, 0.25)
    grey = np.where(body, flesh, ground)
    grey[left | right] = air + rng.uniform(-0.06, 0.06)
    ribs = (np.arange(height) + int(rng.integers(4))) % 5 == 0
    grey[ribs] += 0.07
    grey[oval(middle + 2, top + 6, 4.5, 6) & ~left] = flesh + 0.12
    if other:
        grey[2:6, 3:5] = 1
    return (grey + rng.normal(0, 0.03, grey.shape)).clip(0, 1), left, right
