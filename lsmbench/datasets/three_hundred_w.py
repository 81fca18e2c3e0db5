"""300-W, faces with 68 landmarks (300 Faces In-the-Wild; Sagonas et al. 2013 and 2016)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, data_root
from lsmbench.data.files import (
    Findings,
    by_stem,
    check_position,
    crop_square,
    few,
    folders_inside,
    open_picture,
    outside_by,
    pictures_in,
    read_pts,
    same_content,
    spread,
    square_around,
    to_mode,
)
from lsmbench.data.inputs import FaceInput
from lsmbench.domains import EYES, Domain, Image, Landmarks
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

_POINTS = 68

# Folders as distributed, in the order of the samples: which part of the data set, and which side of the official split.
_FOLDERS: dict[str, tuple[str, Literal["train", "test"]]] = {
    "01_Indoor": ("indoor", "test"),
    "02_Outdoor": ("outdoor", "test"),
    "helen/trainset": ("helen", "train"),
    "helen/testset": ("helen", "test"),
    "lfpw/trainset": ("lfpw", "train"),
    "lfpw/testset": ("lfpw", "test"),
    "afw": ("afw", "train"),
    "ibug": ("ibug", "test"),
}
_PARTS = tuple(dict.fromkeys(part for part, _ in _FOLDERS.values()))

_WHERE_FROM = (
    "300-W is for research only and not shipped with lsmbench. Ask its owners for it by the form at "
    "https://ibug.doc.ic.ac.uk/resources/300-W/. Put the folders 01_Indoor and 02_Outdoor and, where you have them, "
    "helen/trainset, helen/testset, lfpw/trainset, lfpw/testset, afw and ibug into LSMBENCH_DATA/300w, or name the "
    "folder that holds them with the option root. The generated dataset faces needs no files: make bench DATASET=faces."
)


@dataclass(frozen=True)
class _Face:
    folder: str
    picture: Path
    points: Path

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.picture.name}"


@dataclass
class ThreeHundredW(Dataset):
    """Photos of faces to their 68 landmarks (300-W; LSM, App. A.2; files of your own).

    Reads the folders as their owners distribute them, whatever the case of their names: `01_Indoor` and `02_Outdoor`
    (the 600 faces of the LSM paper: `parts=indoor,outdoor`), `helen/trainset`, `helen/testset`, `lfpw/trainset`,
    `lfpw/testset`, `afw` and `ibug`. They lie in `root` or in a folder `300W` in it. Every picture has a `.pts` file of
    the same stem: 68 lines of x and y, counted from 1, with or without the header. Grey pictures, palettes, CMYK and
    alpha become RGB. Mirrored copies (`*_mirror.*`), which some distributions add, are left out: a random split would
    put the same face on both sides.

    Views: `x`, stored as uint8 (N, 3, size, size); `y`, stored as float32 (N, 68, 2) in [0, 1], x then y from the top
    left corner, so that a point lies in the pixel `floor(point · size)`. Samples come folder by folder, by name.

    A face is cut out by a square around its *true* landmarks, as the LSM authors' code does: its side is the longer
    extent of the landmarks, it is moved into the picture as far as possible (beyond the picture the border is
    repeated), scaled to `size` by Pillow's bilinear filter, which averages when it reduces, and the landmarks are
    divided by its side. So the crop reveals the position and the size of the face, at test time too, and even the mean
    shape scores well. `margin` softens this: it adds background on every side, as a share of the extent, so that
    landmarks lie off the middle where the photo ends nearby; the crop still reveals their scale. Scores of different
    margins are not comparable.

    Splits: `split_by=random` is 70/10/20 of all parts, shuffled with seed 0 unless `split_seed` gives another, since
    the parts are stored one after another. `split_by=official` tests on the test sets, `ibug`, indoor and outdoor, and
    shuffles the train sets and `afw` in the same way: the last eighth is the validation split, the rest the training
    split.

    Floors, NRMSE of the mean shape of the training part on HELEN (870 + 330 faces, photos reduced to 240 px; 64 px,
    margin 0), by `eyes`: official split outer .180, released_code .216; random split .172 and .206. With margin .5,
    outer: .253 and .274.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "300w"

    root: str = option(
        "", "Folder that holds the parts' folders; empty: LSMBENCH_DATA/300w or LSMBENCH_DATA itself.", counts="never"
    )
    parts: str = option(
        "all",
        f"Parts to read, separated by commas, of: {', '.join(_PARTS)}; or all that are there.",
        source="the paper uses indoor,outdoor",
    )
    split_by: Literal["random", "official"] = option(
        "random",
        "random: 70/10/20 of all parts; official: train sets and afw to train and validate, the other parts to test.",
        source="App. A.2",
        choices=("random", "official"),
    )
    size: int = option(64, "Height and width of the images, divisible by 4.", unit="px", source="App. A.2")
    margin: float = option(
        0.0,
        "Background on every side of the face, as a share of the landmarks' longer extent, 0 to 2.",
        source="released code",
    )
    eyes: Literal["outer", "released_code"] = option(
        "outer",
        "Unit of errors: distance of the outer corners of the eyes, or of the points that LSM's released code takes.",
        choices=("outer", "released_code"),
    )
    reconstruction: Literal["mse", "l1"] = option(
        "mse", "Loss of the image's reconstruction.", source="App. A.2", choices=("mse", "l1")
    )
    outside: Literal["keep", "skip", "refuse"] = option(
        "keep",
        "Faces with points outside their photo, such as a chin below its border: keep them (the square around the face "
        "goes on beyond the photo, its border repeated), skip them or refuse them.",
        choices=("keep", "skip", "refuse"),
        counts="if_changed",
    )
    exif: Literal["refuse", "apply", "ignore"] = option(
        "refuse",
        "Photos that say they are stored turned: refuse them; apply (landmarks belong to the photo as shown) or ignore "
        "(landmarks belong to the photo as stored).",
        choices=("refuse", "apply", "ignore"),
    )

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if not 0 <= self.margin <= 2:
            raise UserError(f"dataset 300w: margin={self.margin:g}; expected a share of the face from 0 to 2.")
        unknown = [word for word in self._wanted if word not in _PARTS]
        if unknown or not self._wanted:
            raise UserError(
                f"dataset 300w: parts={self.parts}: unknown: {', '.join(unknown) or 'an empty list'}. Expected all, or "
                f"some of {', '.join(_PARTS)}, separated by commas."
            )

    @property
    def domains(self) -> dict[str, Domain]:
        """A colour image and 68 points."""
        return {
            "x": Image(3, self.size, reconstruction=self.reconstruction),
            "y": Landmarks(_POINTS, eyes=self.eyes),
        }

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 drawn faces in pictures of 48 px, in two parts, read at 32 px; existing files are kept."""
        if not (folder / "02_Outdoor").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)

    def load(self) -> Arrays:
        """Faces `x`, uint8 (N, 3, size, size), and landmarks `y`, float32 (N, 68, 2) in [0, 1]; kept in the cache.

        Raises:
            UserError: If the parts are missing, with where to get them; if files are broken, lack their counterpart or
                hold something unexpected, naming all of them; or if the cache cannot be written to.
        """
        arrays = self._arrays()
        return {"x": arrays["x"], "y": arrays["y"]}

    def split(self, count: int, seed: int | None) -> Split:
        """Splits all samples 70/10/20, or as the data set's owners do, by `split_by`.

        Args:
            count: Number of samples.
            seed: Seed of the shuffle; `None` is 0.

        Raises:
            UserError: If a part would be empty; as `load`.
        """
        if self.split_by == "official":
            return _official(self._arrays()["folder"], seed)
        return super().split(count, 0 if seed is None else seed)

    def inputs(self) -> FaceInput:
        """Photos, of which the box of the face is cut out, with the margin that landmarks got."""
        return FaceInput(self.size, float(self.margin), self.exif)

    def inspect(self) -> Inspection:
        """Reads all files by the same code as `load`, but without the cache, and looks for equal pictures."""
        findings = Findings()
        with findings.gathering():
            faces = self._find(findings)
            inspection = self._read(faces, findings)
            readable = set(inspection.names)
            _note_equal_pictures([face for face in faces if face.name in readable], findings)
            if inspection.samples:
                folder = inspection.samples.pop("folder")
                with findings.gathering():
                    split = _official(folder, None) if self.split_by == "official" else self.split(len(folder), None)
                    sizes = f"{len(split.train)} / {len(split.val)} / {len(split.test)}"
                    inspection.facts[f"{self.split_by} split: train / val / test"] = sizes
            return inspection
        return Inspection(findings=findings)

    @property
    def _wanted(self) -> tuple[str, ...]:
        words = tuple(word.strip().lower() for word in self.parts.split(",") if word.strip())
        return _PARTS if words == ("all",) else words

    def _arrays(self) -> Arrays:
        """The views and `folder`, uint8 (N,): the number of each sample's folder in `_FOLDERS`."""
        findings = Findings()
        faces = self._find(findings)

        def build() -> Arrays:
            inspection = self._read(faces, findings)
            findings.stop_if_any("dataset 300w")
            return inspection.samples

        if findings.problems:  # found without opening any file: read them all the same, to name every mistake at once
            return build()
        key: dict[str, object] = {"version": VERSION, "size": self.size, "margin": self.margin, "exif": self.exif}
        if self.outside != "keep":
            key["outside"] = self.outside
        return cached_arrays(self.name, key, [path for f in faces for path in (f.picture, f.points)], build)

    def _find(self, findings: Findings) -> list[_Face]:
        """All pairs of a picture and its points, in the order of the samples; opens no file.

        Args:
            findings: Receives missing folders and files without a counterpart.

        Raises:
            UserError: If the folder is missing, or holds none of the parts.
        """
        root = self._root()
        # Indoor and outdoor are distributed in a folder 300W, and may be kept so in LSMBENCH_DATA/300w.
        below = folders_inside([root], "300w")
        containers = [root, *below, *folders_inside(below, "300w")]
        places = {name: folders_inside(containers, name) for name in _FOLDERS}
        if not any(places.values()):
            held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
            raise UserError(
                f"dataset 300w: {root} holds none of the folders {', '.join(_FOLDERS)}; it holds: "
                f"{few(held) or 'nothing'}. {_WHERE_FROM}"
            )
        asked = self.parts.strip().lower() != "all"
        faces: list[_Face] = []
        for name, (part, _) in _FOLDERS.items():
            if part not in self._wanted:
                continue
            if asked and not places[name]:
                findings.problems.append(
                    f"{root}: no folder {name}, but parts={self.parts} asks for it. Put it there, or leave {part} out."
                )
            for other in places[name][1:]:
                findings.problems.append(
                    f"{other}: {name} is there twice, here and as {places[name][0]}. Remove one, or name with root "
                    "the folder that holds the right one."
                )
            for folder in places[name][:1]:
                faces += _pairs(name, folder, findings)
        return faces

    def _root(self) -> Path:
        if self.root:
            root = Path(self.root).expanduser()
            if not root.is_dir():
                found = "a file" if root.exists() else "no such folder"
                raise UserError(f"dataset 300w: root={self.root}: expected a folder, found {found}. {_WHERE_FROM}")
            return root
        default = data_root()
        if default is None:
            raise UserError(f"dataset 300w: LSMBENCH_DATA, the folder of your datasets, is not set. {_WHERE_FROM}")
        return default

    def _read(self, faces: list[_Face], findings: Findings) -> Inspection:
        """Decodes and cuts out all faces; those with a problem are left out of the samples."""
        images, points, good = [], [], []
        shapes, sides, converted, outside, skipped = [], [], [], [], []
        for face in faces:
            picture, landmarks = None, None
            with findings.gathering():
                picture = open_picture(face.picture, self.exif)
            with findings.gathering():
                landmarks = read_pts(face.points, _POINTS)
            if picture is None or landmarks is None:
                continue
            with findings.gathering():
                beyond = _check_position(face, landmarks, picture.size)
                if beyond > 0 and self.outside == "refuse":
                    raise UserError(_outside(face, landmarks, picture.size))
                if beyond > 0 and self.outside == "skip":
                    skipped.append(f"{face.name} ({beyond:.1f} px)")
                    continue
                left, top, side = square_around(landmarks, picture.width, picture.height, self.margin)
                # Rounding may lead out of [0, 1] by the last digit.
                scaled = ((landmarks - (left, top)) / side).clip(0, 1).astype(np.float32)
                _check_eyes(face, scaled)
                crop = crop_square(to_mode(picture, "RGB"), left, top, side, self.size, Picture.Resampling.BILINEAR)
                images.append(np.asarray(crop).transpose(2, 0, 1))
                points.append(scaled)
                good.append(face)
                shapes.append(picture.size)
                sides.append(side)
                if picture.mode != "RGB":
                    converted.append((picture.mode, face.name))
                if beyond > 0:
                    outside.append(f"{face.name} ({beyond:.1f} px)")
        for mode, count in Counter(mode for mode, _ in converted).items():
            names = [name for own, name in converted if own == mode]
            findings.notes.append(f"{count} of mode {mode}, brought to RGB: {few(names)}.")
        if outside:
            findings.notes.append(f"{len(outside)} with points outside the picture: {few(outside)}.")
        if skipped:
            findings.notes.append(f"{len(skipped)} left out, with points outside (outside=skip): {few(skipped)}.")
        enlarged = [face.name for face, side in zip(good, sides, strict=True) if side < self.size]
        if enlarged:
            findings.notes.append(f"{len(enlarged)} cut to less than {self.size} px, so enlarged: {few(enlarged)}.")
        inspection = Inspection(findings=findings, names=[face.name for face in good])
        counts = Counter(face.folder for face in good)
        inspection.counts = {name: counts[name] for name in _FOLDERS if name in {face.folder for face in faces}}
        if good:
            folders = list(_FOLDERS)
            inspection.facts = {
                "width of the pictures, px: least / median / most": spread(width for width, _ in shapes),
                "height of the pictures, px": spread(height for _, height in shapes),
                "side of the square around the face, px": spread(sides),
            }
            inspection.samples = {
                "x": np.stack(images),
                "y": np.stack(points),
                "folder": np.array([folders.index(face.folder) for face in good], np.uint8),
            }
        return inspection


# Files


def _pairs(name: str, folder: Path, findings: Findings) -> list[_Face]:
    """The faces of one folder; a file without a counterpart is a problem."""
    pictures = pictures_in(folder, findings)
    points = by_stem((p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".pts"), findings)
    mirrored = {stem for stem in pictures.keys() | points.keys() if stem.lower().endswith("_mirror")}
    if mirrored:
        findings.notes.append(f"{folder}: mirrored copies are left out: {few(sorted(mirrored))}.")
    pictures, points = ({s: p for s, p in found.items() if s not in mirrored} for found in (pictures, points))
    if not pictures or not points:
        findings.problems.append(
            f"{folder}: expected pictures, .png or .jpg, with a .pts file each; found {len(pictures)} pictures and "
            f"{len(points)} .pts files. Add what is missing, or remove the folder."
        )
        return []
    for stem in sorted(pictures.keys() ^ points.keys()):
        path, missing = (pictures[stem], f"{stem}.pts") if stem in pictures else (points[stem], f"{stem}.png or .jpg")
        findings.problems.append(f"{path}: there is no {missing} beside it. Add it, or remove this file.")
    return [_Face(name, path, points[stem]) for stem, path in pictures.items() if stem in points]


def _check_position(face: _Face, points: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Refuses points that cannot belong to the picture.

    Args:
        face: The face, for messages.
        points: Shape (68, 2), in pixels.
        size: Width and height of the picture.

    Returns:
        Greatest distance of a point outside the picture, in pixels; 0 if all lie inside.

    Raises:
        UserError: If the points span less than 2 px, or more than half of their box lies outside the picture.
    """
    low, high = points.min(0), points.max(0)
    extent = high - low
    if extent.max() == 0:
        raise UserError(f"{face.points}: all points coincide, so that the face has no size. Mend or remove it.")
    if extent.max() < 2:
        raise UserError(
            f"{face.points}: the points span {extent.max():.2g} px only; expected pixels, counted from 1. Mend or "
            "remove it."
        )
    check_position(points, size, str(face.points), face.picture)
    return float(outside_by(points, size).max())


def _outside(face: _Face, points: NDArray[np.float64], size: tuple[int, int]) -> str:
    """The message on a face with points outside its photo."""
    beyond = outside_by(points, size)
    number = int(beyond.argmax())
    x, y = points[number] + 0.5
    others = int((beyond > 0).sum()) - 1
    return (
        f"{face.points}: point {number} (counted from 0) at x={x:g}, y={y:g} (pixels counted from 1) lies outside its "
        f"picture {face.picture.name} of {size[0]}×{size[1]} px, by {beyond[number]:.1f} px"
        + (f", as do {others} more points" if others else "")
        + ". Correct it; or outside=keep lets the square around the face go on beyond the photo, outside=skip leaves "
        "such faces out."
    )


def _check_eyes(face: _Face, points: NDArray[np.float32]) -> None:
    for first, second in EYES.values():
        if (points[first] == points[second]).all():
            raise UserError(
                f"{face.points}: points {first + 1} and {second + 1}, counted from 1, coincide, but their distance is "
                "the unit of errors. Mend or remove it."
            )


def _note_equal_pictures(faces: list[_Face], findings: Findings) -> None:
    """Notes pictures with the same bytes; if their points differ, these are several faces of one photo."""
    by_path = {face.picture: face for face in faces}
    for group in same_content(list(by_path)):
        equal = [by_path[path] for path in group]
        same_points = len({face.points.read_bytes() for face in equal}) == 1
        sides = {_FOLDERS[face.folder][1] for face in equal}
        findings.notes.append(
            f"the same picture with {'the same' if same_points else 'other'} points: "
            f"{' = '.join(face.name for face in equal)}"
            + ("; on both sides of the official split." if len(sides) > 1 else ".")
        )


def _official(folder: NDArray[np.generic], seed: int | None) -> Split:
    """The official split; the training side is shuffled, and its last eighth is the validation split.

    Args:
        folder: Number of each sample's folder, shape (N,).
        seed: Seed of the shuffle; `None` is 0.

    Raises:
        UserError: If either side is empty.
    """
    trains = np.array([side == "train" for _, side in _FOLDERS.values()])[np.asarray(folder, np.int64)]
    for side, there in (("train", trains), ("test", ~trains)):
        least = 8 if side == "train" else 1
        if there.sum() < least:
            names = [name for name, (_, use) in _FOLDERS.items() if use == side]
            raise UserError(
                f"dataset 300w: split_by=official needs at least {least} faces to {side} with, of {', '.join(names)}, "
                f"but {there.sum()} are there or asked for by parts. Add some, or use split_by=random."
            )
    train = np.random.default_rng((0 if seed is None else seed, 7)).permutation(np.flatnonzero(trains))
    kept = len(train) - len(train) // 8
    return Split(train[:kept], train[kept:], np.flatnonzero(~trains))


# The example


def _write_example(folder: Path) -> None:
    """Draws 40 faces, with and without the header of `.pts` files, as PNG and as JPEG."""
    rng = np.random.default_rng(0)
    for part in ("01_Indoor", "02_Outdoor"):
        (folder / part).mkdir(parents=True)
        for i in range(20):
            picture, points = _drawn_face(rng)
            stem = folder / part / f"{part[3:].lower()}_{i + 1:03d}"
            picture.save(stem.with_suffix(".jpg" if i % 4 == 3 else ".png"))
            lines = [f"{x:.3f} {y:.3f}" for x, y in points + 0.5]  # counted from 1, at pixels' centres
            if i % 2 == 0:
                lines = ["version: 1", f"n_points: {_POINTS}", "{", *lines, "}"]
            stem.with_suffix(".pts").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _drawn_face(rng: np.random.Generator) -> tuple[Picture.Image, NDArray[np.float64]]:
    """A picture of 48 px and the 68 points of the face on it, in pixels."""
    side = 48
    turn = np.linspace(np.pi, 0, 17)
    opened = rng.uniform(0.02, 0.1)
    ring = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    inner = np.linspace(np.pi, -np.pi, 8, endpoint=False)
    right_brow = np.stack([np.linspace(0.16, 0.42, 5), 0.2 - 0.05 * np.sin(np.linspace(0, np.pi, 5))], 1)
    lid = np.array([0.0, np.pi / 3, 2 * np.pi / 3, np.pi, -2 * np.pi / 3, -np.pi / 3])
    eye = np.stack([0.09 * np.cos(np.pi - lid), -0.035 * np.sin(lid)], 1)
    shape = np.concatenate(
        [
            np.stack([0.5 + 0.48 * np.cos(turn), 0.3 + 0.68 * np.sin(turn)], 1),
            right_brow,
            (np.array([1, 0]) + right_brow * np.array([-1, 1]))[::-1],
            np.stack([np.full(4, 0.5), np.linspace(0.33, 0.53, 4)], 1),
            np.stack([np.linspace(0.4, 0.6, 5), 0.59 + 0.02 * np.sin(np.linspace(0, np.pi, 5))], 1),
            eye + np.array([0.3, 0.33]),
            eye + np.array([0.7, 0.33]),
            np.stack([0.5 + 0.18 * np.cos(ring), 0.76 - (opened + 0.03) * np.sin(ring)], 1),
            np.stack([0.5 + 0.13 * np.cos(inner), 0.76 - opened * np.sin(inner)], 1),
        ]
    )
    angle = rng.uniform(-0.4, 0.4)
    turned = (shape - 0.5) @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = side / 2 + rng.uniform(-5, 5, 2) + turned * rng.uniform(26, 34) * (rng.uniform(0.8, 1), 1)

    ground, skin, dark = (tuple(rng.integers(low, low + 80, 3).tolist()) for low in (0, 150, 10))
    picture = Picture.new("RGB", (side, side), ground)
    pen = ImageDraw.Draw(picture)
    as_pairs = [tuple(point) for point in points.tolist()]
    pen.polygon(as_pairs[:17] + as_pairs[26:16:-1], fill=skin)
    for part in (slice(36, 42), slice(42, 48), slice(48, 60)):
        pen.polygon(as_pairs[part], fill=dark)
    for part in (slice(17, 22), slice(22, 27), slice(27, 31), slice(31, 36)):
        pen.line(as_pairs[part], fill=dark)
    return picture, points
