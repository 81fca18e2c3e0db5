"""One's own data: a folder of pictures with masks, with landmarks, or with other pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.base import Arrays, Dataset, Inspection, Split
from lsmbench.data.cache import cached_arrays
from lsmbench.data.files import (
    Exif,
    Findings,
    few,
    open_picture,
    read_pts,
    same_content,
)
from lsmbench.data.layouts import ACCEPTED, Kind, Points, Sample, all_of, layout_of, match
from lsmbench.domains import EYES, Domain, Image, Landmarks, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""To be raised whenever the same files and options give other arrays: cached arrays of other versions are not used."""

_PARTS = ("train", "val", "test")
_LIKE_VAL = ("valid", "validation", "dev")
_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_FACE_POINTS = 68
_SEED = 0
_HOW = "Name it by --dataset.root=PATH, or make bench DATASET=folder DATA=PATH."

Fit = Literal["stretch", "crop", "pad"]
Eyes = Literal["outer", "released_code"] | tuple[int, int] | None
Bytes = NDArray[np.uint8]


@dataclass
class Folder(Dataset):
    """One's own folder: images with masks, with landmarks or with other images, or both side by side in one file.

    What the folder holds is told from its names:

    * `images/` and `masks/`: a mask is a PNG of the same stem and size that holds class numbers: a palette PNG (the
      index is the class), grey, or of 1 bit. Masks whose only values are 0 and 255 are taken for two classes.
    * `images/` and `landmarks/` with a `.pts` file of the same stem for each picture (pixels counted from 1, as 300-W
      does); the `.pts` files may also lie beside the pictures. Or `images/` and `landmarks.csv` with the header
      `file,x1,y1,x2,y2,…`, a row for each picture, its name with or without the ending; pixels are counted from 0 there
      and whole numbers are pixels' centres.
    * `A/` and `B/`: pictures of the same stem in both; A is the source.
    * pictures alone: the left half is the source, the right half the target (pix2pix' aligned sets).

    Each of them may lie in `train/`, `val/` and `test/`: these are the parts then, whatever the split's seed. Without
    `val/`, an eighth of `train/` is drawn for validation; without `test/`, `val/` is the test part; with `train/` only,
    and without any of them, 70/10/20 are drawn. Files are drawn in random order, always the same one unless the split
    has a seed, since names in a row often mean one class or one place. Where several files show one patient or one
    scene, make the parts yourself: drawing puts such files on both sides.

    Views, all `size`×`size`: `x`, and `y` if it is an image, uint8 (N, C, size, size), or float32 in [0, 1] if any
    picture is grey of 16 bit (65535 is 1; colours of 16 bit are read as 8 bit); a mask `y` is uint8 (N, size, size);
    landmarks `y` are float32 (N, P, 2) in [0, 1], as shares of what is shown. Images are resized by an antialiased
    bilinear filter, masks by the nearest pixel. `fit` says how a picture that is not square becomes so: `stretch` alone
    changes its proportions, `crop` shows the middle, `pad` shows all on black (class 0). Annotations follow exactly.

    Raises:
        UserError: If an option has a value that is not allowed, or `root` is not given.
    """

    name: ClassVar[str] = "folder"

    root: str = option(
        "",
        "The folder with the data: images/ with masks/, landmarks/ or landmarks.csv, A/ with B/, or pictures that show "
        "both views side by side; all also inside train/, val/ and test/.",
    )
    size: int = option(128, "Height and width that everything is resized to, divisible by 4.", unit="px")
    fit: Literal["stretch", "crop", "pad"] = option(
        "stretch",
        "How a picture becomes square: stretch changes its proportions, crop takes the middle, pad adds black.",
        choices=("stretch", "crop", "pad"),
    )
    classes: int = option(0, "Number of the masks' classes, background included; 0: the greatest label + 1.")
    channels: int = option(0, "Convert all images to so many channels, 1 to 4; 0: as they are.")
    side_by_side: Literal["auto", "x_left", "x_right"] = option(
        "auto",
        "Both views in one file: which half is the source; auto: the left one, in files that are wider than high.",
        choices=("auto", "x_left", "x_right"),
    )
    eyes: str = option(
        "auto",
        "Unit of landmarks' errors: outer or released_code (faces with 68 points), box (diagonal of the bounding box), "
        "or two points' numbers, counted from 0, as in 36,45; auto: outer for 68 points, else box.",
    )
    exif: Literal["refuse", "apply", "ignore"] = option(
        "refuse",
        "Photos that are stored turned: refuse them, apply the turn or ignore it (as the annotations need).",
        choices=("refuse", "apply", "ignore"),
    )
    reconstruction: Literal["mse", "l1"] = option(
        "mse", "Loss of the images' reconstruction.", choices=("mse", "l1"), source="as SIT"
    )

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if not self.root:
            raise UserError(f"dataset {self.name}: no folder is given. {_HOW} {ACCEPTED}")
        if not (self.classes == 0 or 2 <= self.classes <= 256):
            raise UserError(f"dataset {self.name}: classes={self.classes}; expected 2 to 256, or 0 to infer them.")
        if not 0 <= self.channels <= 4:
            raise UserError(f"dataset {self.name}: channels={self.channels}; expected 1 to 4, or 0 to keep them.")
        self._eyes()

    @property
    def domains(self) -> dict[str, Domain]:
        """What the folder holds; read from it when first asked for.

        Raises:
            UserError: As `load`.
        """
        return dict(self._facts.domains)

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 small pictures of one or two discs, and their masks with three classes; written unless they are there."""
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(40):
            paths = [folder / name / f"{i:02}.png" for name in ("images", "masks")]
            if not all(path.is_file() for path in paths):
                for path, drawn in zip(paths, _example(i), strict=True):
                    drawn.save(path)
        return cls(root=str(folder), size=32)

    def load(self) -> Arrays:
        """Views `x` and `y` as the class says; kept in the cache until files or options change.

        Raises:
            UserError: If the folder is missing or has none of the layouts; or, all named at once: for files that are
                unreadable, without their counterpart or with the stem of another one; pictures with other channels
                than most or turned by EXIF; masks that are no class numbers, of another size or with labels beyond
                `classes`; landmarks that are no numbers, of another count than most or outside what is shown; rows
                that name no picture; pictures of both views that have no middle; options that do not apply.
        """
        arrays = self._read()[1]
        return {"x": arrays["x"], "y": arrays["y"]}

    def split(self, count: int, seed: int | None) -> Split:
        """The folder's own parts, or 70/10/20.

        Args:
            count: Number of samples.
            seed: Of the order in which samples are drawn; `None` stands for one that is always the same.

        Raises:
            UserError: If a part would be empty.
        """
        parts = self._facts.parts
        seed = _SEED if seed is None else seed
        if parts is None:
            return super().split(count, seed)
        train, val, test = (np.flatnonzero(parts == part) for part in range(3))
        rng = np.random.default_rng((seed, 7))
        if len(val) == 0:
            if len(train) < 2:
                raise UserError(f"{self.root}: train/ holds one sample, so that none can be drawn for validation.")
            train = rng.permutation(train)
            share = max(1, len(train) // 8)
            val, train = train[:share], np.sort(train[share:])
        # A run may use the first so many validation samples only: they are not to be neighbours.
        return Split(train, rng.permutation(val), test)

    def inspect(self) -> Inspection:
        """Looks at every file: problems as `load` finds them, and notes on sizes, labels and repeated files."""
        inspection = Inspection()
        findings = inspection.findings
        with findings.gathering():
            found = self._find(findings)
            decoded = self._decode(found, findings)
            inspection.facts = _describe(found, decoded)
            _note(self, found, decoded, findings)
            if decoded:
                arrays = self._stack(found, decoded)
                # From now on the domains are those of the usable samples, so that they can be drawn.
                self.__dict__["_facts"] = self._facts_of(found, arrays)
                inspection.samples = {"x": arrays["x"], "y": arrays["y"]}
                inspection.names = [str(d.sample.picture.relative_to(found.root)) for d in decoded]
                inspection.counts = self._counts(len(decoded), findings)
        return inspection

    def _counts(self, usable: int, findings: Findings) -> dict[str, int]:
        """Samples of each part; of all together, where what is left besides the problems is too little to split."""
        try:
            split = self.split(usable, None)
        except UserError as error:
            if not findings.problems:
                findings.problems.append(str(error))
            return {"usable": usable}
        return {part: len(getattr(split, part)) for part in _PARTS}

    # From the folder to arrays

    @cached_property
    def _facts(self) -> _Facts:
        return self._facts_of(*self._read())

    def _read(self) -> tuple[_Found, Arrays]:
        """What the folder holds, and its arrays: `x`, `y`, `part` of each sample, and the number of `classes`."""
        findings = Findings()
        found = self._find(findings)

        def build() -> Arrays:
            decoded = self._decode(found, findings)
            findings.stop_if_any(f"dataset {self.name}, {found.root}")
            return self._stack(found, decoded)

        if findings.problems:  # those of the files' contents are to be named as well
            return found, build()
        options = ("size", "fit", "classes", "channels", "side_by_side", "eyes", "exif")
        key: dict[str, object] = {"version": VERSION, "kind": found.kind} | {o: getattr(self, o) for o in options}
        return found, cached_arrays(self.name, key, found.sources, build)

    def _find(self, findings: Findings) -> _Found:
        """Lists the files of all parts and matches them.

        Raises:
            UserError: If there is nothing to match: no folder, or a layout that is not known.
        """
        root = Path(self.root).expanduser()
        if not root.exists():
            raise UserError(f"{root}: no such folder. {_HOW}")
        if not root.is_dir():
            raise UserError(f"{root}: is a file; expected a folder. {_HOW} {ACCEPTED}")
        present = [part for part in _PARTS if (root / part).is_dir()]
        if present and "train" not in present:
            raise UserError(
                f"{root}: holds {all_of([f'{part}/' for part in present])}, but no train/. Add it, or put all files "
                f"together, to be split 70/10/20. {ACCEPTED}"
            )
        try:
            layouts = [layout_of(root / part) for part in present] if present else [layout_of(root)]
            kinds = {layout.kind for layout in layouts}
            if len(kinds) > 1:
                said = "; ".join(f"{p}/: {layout.title}" for p, layout in zip(present, layouts, strict=True))
                raise UserError(f"{root}: all parts must be laid out alike; found {said}.")
            others = [p.name for p in sorted(root.iterdir()) if present and p.name not in present and p.is_dir()]
            if "val" not in present and (like := [name for name in others if name in _LIKE_VAL]):
                findings.problems.append(f"{root / like[0]}: is not read; rename it to val, or move it elsewhere.")
            elif others:
                findings.notes.append(f"{root}: not read: {few([name + '/' for name in others])}.")
            found = _Found(root, layouts[0].kind, layouts[0].title, [], present)
            for index, layout in enumerate(layouts):
                part = _PARTS.index(present[index]) if len(present) > 1 else 0
                part = 2 if part == 1 and "test" not in present else part
                found.samples += match(layout, part, findings)
        except OSError as error:
            raise UserError(f"{error.filename or root}: cannot be read ({error.strerror or error}).") from error
        self._refuse_idle_options(found, findings)
        return found

    def _refuse_idle_options(self, found: _Found, findings: Findings) -> None:
        """An option that says something of data which is not there is a mistake: in the option or in the folder."""
        kinds: dict[str, tuple[object, tuple[Kind, ...]]] = {
            "classes": (0, ("masks",)),
            "eyes": ("auto", ("pts", "csv")),
            "side_by_side": ("auto", ("sides",)),
        }
        for field, (default, needed) in kinds.items():
            if getattr(self, field) != default and found.kind not in needed:
                findings.problems.append(
                    f"{found.root}: {field}={getattr(self, field)} does not apply to {found.title}, which was found "
                    f"there. Leave the option out, or correct the folder. {ACCEPTED}"
                )

    def _decode(self, found: _Found, findings: Findings) -> list[_Decoded]:
        """Decodes every sample; those that share no problem remain."""
        decoded = []
        for sample in found.samples:
            problems = len(findings.problems)
            one = self._decode_one(found.kind, sample, findings)
            if one is not None and len(findings.problems) == problems:
                decoded.append(one)
        decoded = _alike(decoded, lambda d: d.x.shape[0], "channels", findings, lambda d: d.sample.picture)
        if found.kind == "images":
            return _alike(decoded, lambda d: d.y.shape[0], "channels", findings, lambda d: d.sample.annotation)
        if found.kind == "masks":
            return self._settle_labels(decoded, findings)
        if found.kind in ("pts", "csv"):
            decoded = _alike(decoded, lambda d: len(d.y), "points", findings, lambda d: d.sample.annotation)
            return self._settle_points(decoded, findings)
        return self._settle_halves(decoded, findings)

    def _decode_one(self, kind: Kind, sample: Sample, findings: Findings) -> _Decoded | None:
        """Decodes one sample; what is wrong with either of its files is gathered, and `None` returned."""
        x: NDArray[np.generic] | None = None
        y: NDArray[np.generic] | None = None
        size: tuple[int, int] | None = None
        labels: frozenset[int] = frozenset()
        with findings.gathering():
            picture = open_picture(sample.picture, self.exif)
            size = picture.size
            if kind == "sides":
                halves = _halves(picture, sample.picture, self.side_by_side == "x_right")
                x, y = (self._image(half, sample.picture) for half in halves)
            else:
                x = self._image(picture, sample.picture)
        with findings.gathering():
            if kind == "masks":
                mask = _read_mask(sample.annotation, self.exif)
                if size is not None and mask.size != size:
                    raise UserError(
                        f"{sample.annotation}: has {_px(mask.size)} px, but its picture {sample.picture.name} has "
                        f"{_px(size)}. Make both of one size."
                    )
                labels = frozenset(np.flatnonzero(np.bincount(np.asarray(mask).ravel(), minlength=256)).tolist())
                y = _fitted(mask, self.fit, self.size, Picture.Resampling.NEAREST)
            elif kind in ("pts", "csv"):
                points = sample.points if sample.points is not None else read_pts(sample.annotation)
                y = None if size is None else _place(points, size, self.fit, sample)
            elif kind == "images":
                y = self._image(open_picture(sample.annotation, self.exif), sample.annotation)
        return None if x is None or y is None or size is None else _Decoded(sample, size, x, y, labels)

    def _image(self, picture: Picture.Image, origin: Path) -> NDArray[np.generic]:
        """A picture as (C, size, size), uint8 or float32 in [0, 1]."""
        bands = _bands(picture, self.channels, origin)
        # Channel by channel: Pillow would weigh colours by the fourth channel, which need not be alpha.
        pixels = np.stack([_fitted(b, self.fit, self.size, Picture.Resampling.BILINEAR) for b in bands])
        return pixels if pixels.dtype == np.uint8 else pixels.clip(0.0, 1.0)

    def _settle_labels(self, decoded: list[_Decoded], findings: Findings) -> list[_Decoded]:
        """Finds out what the labels mean, and brings masks of 0 and 255 to 0 and 1."""
        if not decoded:
            return decoded
        if self.classes == 2 or (
            self.classes == 0 and all(d.labels <= {0, 1} or d.labels <= {0, 255} for d in decoded)
        ):
            for d in decoded:
                if d.labels <= {0, 255}:
                    d.y, d.labels = np.minimum(d.y, 1), frozenset(min(label, 1) for label in d.labels)
        seen = frozenset[int]().union(*(d.labels for d in decoded))
        if self.classes:
            for d in decoded:
                if beyond := sorted(label for label in d.labels if label >= self.classes):
                    said = few([str(label) for label in beyond])
                    findings.problems.append(
                        f"{d.sample.annotation}: holds the labels {said}; expected 0 to {self.classes - 1}. Correct "
                        "the mask, or raise classes."
                    )
            return [d for d in decoded if max(d.labels) < self.classes]
        folder = decoded[0].sample.annotation.parent
        if max(seen) == 0:
            findings.problems.append(
                f"{folder}: all masks hold class 0 only, so that there is nothing to "
                "learn; give classes=N if that is right."
            )
        elif 255 in seen:
            having = [d.sample.annotation.name for d in decoded if 255 in d.labels]
            findings.problems.append(
                f"{folder}: the label 255 lies beside others in {len(having)} of "
                f"{len(decoded)} masks ({few(having)}). If it marks pixels to be ignored, give them a class; if the "
                "masks are grey by smoothing, save them anew with 0 and 255 only; if there are 256 classes, say "
                "classes=256."
            )
        elif 2 * len(seen) < max(seen) + 1:
            findings.problems.append(
                f"{folder}: the masks' labels are {few([str(label) for label in sorted(seen)])}, which would make "
                f"{max(seen) + 1} classes of which most never occur. Number the classes 0, 1, 2 …, or say "
                f"classes={max(seen) + 1}."
            )
        return decoded

    def _settle_points(self, decoded: list[_Decoded], findings: Findings) -> list[_Decoded]:
        """Looks whether errors have a unit on every sample."""
        if not decoded:
            return decoded
        count = len(decoded[0].y)
        with findings.gathering():
            eyes = self._eyes(count)
            if eyes is None and count == 1:
                raise UserError(
                    f"{decoded[0].sample.annotation}: holds one point, but the unit of errors is a distance between "
                    "points. Give at least two points a picture."
                )
            domain = Landmarks(count, eyes)
            usable = []
            for d in decoded:
                with findings.gathering():
                    domain.check(d.y[None], f"{d.sample.annotation}, {d.sample.picture.name}")
                    usable.append(d)
            return usable
        return decoded

    def _settle_halves(self, decoded: list[_Decoded], findings: Findings) -> list[_Decoded]:
        """Looks whether pictures can show two views: a folder of ordinary ones would be cut in halves unnoticed."""
        if self.side_by_side != "auto":
            return decoded
        wide = [d for d in decoded if d.size[0] > d.size[1]]
        remedy = "expected two views side by side, hence more width than height. If it is so, say side_by_side=x_left"
        if decoded and not wide:
            first = decoded[0]
            findings.problems.append(
                f"{first.sample.picture.parent}: holds pictures only, and none is wider than high "
                f"({first.sample.picture.name}: {_px(first.size)} px); {remedy}. {ACCEPTED}"
            )
            return decoded
        for d in decoded:
            if d.size[0] <= d.size[1]:
                findings.problems.append(f"{d.sample.picture}: has {_px(d.size)} px; {remedy}.")
        return wide

    def _eyes(self, points: int | None = None) -> Eyes:
        """The option `eyes`.

        Args:
            points: How many there are; `None` if that is not known yet, and any number will do.

        Raises:
            UserError: If the option cannot be understood, or asks for other points than there are.
        """
        if self.eyes == "auto":
            return "outer" if points == _FACE_POINTS else None
        if self.eyes == "box":
            return None
        if self.eyes in EYES:
            if points not in (None, _FACE_POINTS):
                raise UserError(
                    f"dataset {self.name}: eyes={self.eyes} needs {_FACE_POINTS} points, found {points}; give box, or "
                    "two points' numbers, counted from 0, as in 0,1."
                )
            return "outer" if self.eyes == "outer" else "released_code"
        match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", self.eyes)
        if match is None or int(match[1]) == int(match[2]):
            raise UserError(
                f"dataset {self.name}: eyes={self.eyes}; expected auto, outer, released_code, box, or two different "
                "points' numbers, counted from 0, as in 36,45."
            )
        first, second = int(match[1]), int(match[2])
        if points is not None and max(first, second) >= points:
            raise UserError(
                f"dataset {self.name}: eyes={self.eyes}; there are {points} points, numbered from 0 to {points - 1}."
            )
        return first, second

    def _stack(self, found: _Found, decoded: Sequence[_Decoded]) -> Arrays:
        """The samples as arrays; images are float32 if any of them is."""
        arrays: Arrays = {"part": np.array([d.sample.part for d in decoded], np.uint8)}
        for view, parts in (("x", [d.x for d in decoded]), ("y", [d.y for d in decoded])):
            if (view == "x" or found.kind in ("images", "sides")) and len({p.dtype for p in parts}) > 1:
                parts = [p.astype(np.float32) / 255 if p.dtype == np.uint8 else p for p in parts]
            arrays[view] = np.stack(parts)
        greatest = max((max(d.labels, default=0) for d in decoded), default=0)
        arrays["classes"] = np.array([self.classes or max(2, greatest + 1)])
        return arrays

    def _facts_of(self, found: _Found, arrays: Arrays) -> _Facts:
        def image(view: str) -> Image:
            return Image(arrays[view].shape[1], self.size, reconstruction=self.reconstruction)

        target: Domain
        if found.kind == "masks":
            target = Mask(int(arrays["classes"][0]), self.size)
        elif found.kind in ("pts", "csv"):
            count = arrays["y"].shape[1]
            target = Landmarks(count, self._eyes(count))
        else:
            target = image("y")
        parts = np.array(arrays["part"], np.int64) if len(found.parts) > 1 else None
        return _Facts({"x": image("x"), "y": target}, parts)


class _Facts(NamedTuple):
    """What is known of a folder once it has been read: `parts` (0, 1, 2) of the samples, if it has parts of its own."""

    domains: dict[str, Domain]
    parts: NDArray[np.int64] | None


@dataclass
class _Found:
    """The folder's files, matched, and the parts that it has."""

    root: Path
    kind: Kind
    title: str
    samples: list[Sample]
    parts: list[str]

    @property
    def sources(self) -> set[Path]:
        """Every file that is read."""
        return {path for sample in self.samples for path in (sample.picture, sample.annotation)}


@dataclass
class _Decoded:
    """One sample as arrays, with its picture's size and the labels that its mask has before it is resized."""

    sample: Sample
    size: tuple[int, int]
    x: NDArray[np.generic]
    y: NDArray[np.generic]
    labels: frozenset[int]


# What is in them


def _halves(picture: Picture.Image, path: Path, x_right: bool) -> tuple[Picture.Image, Picture.Image]:
    """Source and target of a picture that shows both side by side."""
    width, height = picture.size
    if width % 2:
        raise UserError(
            f"{path}: is {width} px wide; expected an even number, the left and the right half being the two views."
        )
    left, right = picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))
    return (right, left) if x_right else (left, right)


def _bands(picture: Picture.Image, channels: int, origin: Path) -> list[Picture.Image]:
    """A picture's channels: of 8 bits in mode L, or in mode F from 0 to 1 for 16 bits.

    Args:
        picture: Of any mode.
        channels: How many there are to be; 0: as the picture has.
        origin: The file, for messages.

    Raises:
        UserError: If the picture holds neither 8 nor 16 bits.
    """
    if picture.mode[0] in "IF":
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise UserError(
                f"{origin}: holds numbers beyond 16 bits (mode {picture.mode}). Save it with 8 or 16 bits a channel."
            )
        grey = Picture.fromarray((values / 65535).astype(np.float32))
        opaque = [Picture.new("F", picture.size, 1.0)] if channels in (2, 4) else []
        return [grey] * max(1, channels - len(opaque)) + opaque
    if picture.mode == "P":
        own = "RGBA" if "transparency" in picture.info else "RGB"
    else:
        own = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
        own = own if own in _CHANNELS.values() else "RGB"
    try:
        return list(picture.convert(own).convert(_CHANNELS.get(channels, own)).split())
    except ValueError as error:
        raise UserError(f"{origin}: has colours of an unknown kind ({error}). Save it as RGB.") from error


def _read_mask(path: Path, exif: Exif) -> Picture.Image:
    """A mask as class numbers, mode L.

    Raises:
        UserError: If it is no such thing.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise UserError(f"{path}: is a JPEG, which changes labels in saving. Make the masks anew, as PNG.")
    picture = open_picture(path, exif)
    values = np.asarray(picture)
    if picture.mode in ("1", "L", "P"):
        return Picture.fromarray(values.astype(np.uint8))
    if picture.mode[0] == "I":
        if values.min() < 0 or values.max() > 255:
            raise UserError(
                f"{path}: holds labels from {values.min()} to {values.max()}; expected class numbers from 0 to 255."
            )
        return Picture.fromarray(values.astype(np.uint8))
    grey = picture.mode == "RGB" and bool((values == values[..., :1]).all())
    raise UserError(
        f"{path}: is a mask in mode {picture.mode}; expected class numbers, hence one channel. "
        + (
            "Its channels are equal: save it as grey, if its values are the classes."
            if grey
            else "Save it as a palette PNG, whose index is the class and which shows any colours, or as a grey one."
        )
    )


def _window(width: int, height: int, fit: Fit) -> tuple[float, float, float, float]:
    """The part of a picture that is shown: its left, top, width and height in pixels; beyond the picture for `pad`."""
    if fit == "stretch":
        return 0.0, 0.0, float(width), float(height)
    if fit == "crop":
        side = min(width, height)
        return (width - side) / 2, (height - side) / 2, float(side), float(side)
    side = max(width, height)
    return float(-((side - width) // 2)), float(-((side - height) // 2)), float(side), float(side)


def _fitted(picture: Picture.Image, fit: Fit, size: int, resample: Picture.Resampling) -> NDArray[np.generic]:
    """One channel, made square and resized to (size, size); beyond the picture there is 0."""
    left, top, width, height = _window(*picture.size, fit)
    if width > picture.width or height > picture.height:
        canvas = Picture.new(picture.mode, (int(width), int(height)))
        canvas.paste(picture, (int(-left), int(-top)))
        picture, left, top = canvas, 0.0, 0.0
    return np.asarray(picture.resize((size, size), resample, box=(left, top, left + width, top + height)))


def _place(points: Points, size: tuple[int, int], fit: Fit, sample: Sample) -> NDArray[np.float32]:
    """Points as shares of what is shown of their picture, shape (P, 2) in [0, 1].

    Raises:
        UserError: If one lies outside it.
    """
    outside = ((points < 0) | (points > size)).any(1)
    if outside.any():
        raise UserError(
            f"{sample.annotation}: point {np.flatnonzero(outside)[0]} (counted from 0) lies outside its picture "
            f"{sample.picture.name} of {_px(size)} px. Correct it."
        )
    left, top, width, height = _window(*size, fit)
    placed = (points - (left, top)) / (width, height)
    outside = ((placed < 0) | (placed > 1)).any(1)
    if outside.any():
        raise UserError(
            f"{sample.annotation}: point {np.flatnonzero(outside)[0]} (counted from 0) lies in the part of "
            f"{sample.picture.name} that fit={fit} cuts off. Use fit=stretch or fit=pad."
        )
    return placed.astype(np.float32)


def _alike(
    decoded: list[_Decoded],
    measure: Callable[[_Decoded], int],
    what: str,
    findings: Findings,
    origin: Callable[[_Decoded], Path],
) -> list[_Decoded]:
    """Those samples that have as many of something as most have; the others are problems."""
    if not decoded:
        return decoded
    usual = Counter(map(measure, decoded)).most_common(1)[0][0]
    remedy = f"channels={usual} converts all" if what == "channels" else "correct it, or remove it with its picture"
    for d in decoded:
        if measure(d) != usual:
            findings.problems.append(f"{origin(d)}: has {measure(d)} {what}, most others have {usual}; {remedy}.")
    return [d for d in decoded if measure(d) == usual]


# What is told of them


def _describe(found: _Found, decoded: Sequence[_Decoded]) -> dict[str, str]:
    """Rows for the table of `lsmbench data check`."""
    facts = {"layout": found.title + (f", in {all_of([f'{part}/' for part in found.parts])}" if found.parts else "")}
    if not decoded:
        return facts
    sizes = Counter(d.size for d in decoded).most_common()
    shown = ", ".join(f"{_px(size)} ({count})" for size, count in sizes[:3])
    facts["picture sizes"] = shown + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
    facts["channels"] = str(decoded[0].x.shape[0])
    if found.kind in ("images", "sides"):
        facts["channels"] += f" → {decoded[0].y.shape[0]}"
    if found.kind == "masks":
        counts = Counter(label for d in decoded for label in d.labels)
        facts["labels"] = few([f"{label} in {counts[label]} masks" for label in sorted(counts)], 12)
    if found.kind in ("pts", "csv"):
        facts["points"] = str(len(decoded[0].y))
    return facts


def _note(dataset: Folder, found: _Found, decoded: Sequence[_Decoded], findings: Findings) -> None:
    """Adds what is worth knowing and does no harm."""
    notes = findings.notes
    if found.parts == ["train", "val"]:
        notes.append(f"{found.root}: has no test/, so that val/ is the test part and an eighth of train/ validates.")
    elif found.parts == ["train", "test"]:
        notes.append(f"{found.root}: has no val/, so that an eighth of train/ validates.")
    elif found.parts == ["train"]:
        notes.append(f"{found.root}: has train/ only, which is split 70/10/20.")
    shown = [(d.size[0] // 2, d.size[1]) if found.kind == "sides" else d.size for d in decoded]
    if oblong := sum(width != height for width, height in shown):
        does = {"stretch": "change their proportions", "crop": "lose their ends", "pad": "get black borders"}
        notes.append(f"{oblong} of {len(shown)} pictures are not square and {does[dataset.fit]} (fit={dataset.fit}).")
    if small := sum(min(size) < dataset.size for size in shown):
        notes.append(f"{small} of {len(shown)} pictures are smaller than size={dataset.size}; they are enlarged.")
    if len({d.x.dtype for d in decoded}) > 1:
        notes.append("Pictures of 8 and of 16 bits are mixed; either's full range is taken for 0 to 1.")
    for group in same_content([d.sample.picture for d in decoded]):
        parts = {d.sample.part for d in decoded if d.sample.picture in group}
        names = few([str(path.relative_to(found.root)) for path in group])
        leak = " They lie in several parts: what is tested on has been trained on." if len(parts) > 1 else ""
        notes.append(f"The same picture {len(group)} times: {names}.{leak}")


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _example(i: int) -> tuple[Picture.Image, Picture.Image]:
    """A picture and its mask: a bright disc on noise (class 1), every second time a darker one as well (class 2)."""
    rng = np.random.default_rng((i, 11))
    width, height = 40, 36
    mask = Picture.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for label in (1, 2)[: 1 + i % 2]:
        x, y, radius = rng.integers(8, width - 8), rng.integers(8, height - 8), rng.integers(4, 8)
        pen.ellipse([int(x - radius), int(y - radius), int(x + radius), int(y + radius)], fill=label)
    grey = np.array([60, 200, 130])[np.asarray(mask)] + rng.integers(-25, 26, (height, width))
    return Picture.fromarray(grey.astype(np.uint8)), mask
