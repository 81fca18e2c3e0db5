"""Street scenes with Cityscapes' classes: the base of their datasets."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, own_folder
from lsmbench.data.decoding import Reading
from lsmbench.data.files import EXIF_ORIENTATION, Findings, check_pixels, few, pictures_in, to_mode, without_limit
from lsmbench.data.inputs import PictureInput
from lsmbench.data.pools import Computed, Stored
from lsmbench.domains import Domain, Image, LabelColours, SegmentedPhoto
from lsmbench.domains.judges import Segmenter
from lsmbench.errors import UserError
from lsmbench.options import option
from lsmbench.palettes import CITYSCAPES, IGNORED

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

Bytes = NDArray[np.uint8]
Counts = NDArray[np.int64]
Size = tuple[int, int]

LABEL_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""The train id, the class's place in `CITYSCAPES`, of each label id that is scored; all others are void."""


@dataclass(frozen=True, eq=False)
class Numbering:
    """What the numbers in a label map stand for.

    Attributes:
        expected: The expected numbers in words, for messages.
        classes: The class of each number, uint8 (256,), `IGNORED` where it is not scored.
        known: Which numbers may occur, bool (256,).
        palettes: Whether the map may be a palette picture, whose indices are the numbers.
    """

    expected: str
    classes: Bytes
    known: NDArray[np.bool_]
    palettes: bool = False

    @classmethod
    def of(cls, expected: str, classes: dict[int, int], known: Iterable[int], palettes: bool = False) -> Numbering:
        """Makes a numbering from the numbers that are scored, and the numbers that may occur."""
        table, allowed = np.full(256, IGNORED, np.uint8), np.zeros(256, np.bool_)
        for number, label in classes.items():
            table[number] = label
        allowed[list(known)] = True
        return cls(expected, table, allowed, palettes)


_PLATE = 34
"""The number of number plates in some datasets; in Cityscapes it is −1."""

IDS = Numbering.of("label ids of Cityscapes, 0 to 33, or 255 for −1", LABEL_IDS, [*range(34), 255])
TRAIN_IDS = Numbering.of("train ids of Cityscapes, 0 to 18, or 255", {i: i for i in range(19)}, [*range(19), 255])
IDS_WITH_PLATES = Numbering.of(
    "label ids of Cityscapes, 0 to 33, or 34 or 255 for number plates", LABEL_IDS, [*range(35), 255]
)
IDS_IN_PALETTES = Numbering.of(IDS_WITH_PLATES.expected, LABEL_IDS, [*range(35), 255], palettes=True)


@dataclass(frozen=True)
class Scene:
    """One sample's files.

    Attributes:
        name: The scene's name in messages and pictures.
        labels: The label map.
        photo: The photo; `None` if only label maps are read.
        numbering: What the numbers in the label map stand for.
        test: Whether the official split has the scene in its test part.
    """

    name: str
    labels: Path
    photo: Path | None
    numbering: Numbering
    test: bool = False


def read_labels(path: Path, numbering: Numbering) -> tuple[Bytes, Counts]:
    """Reads a label map.

    Args:
        path: A PNG file of one channel of 8 bits.
        numbering: What its numbers stand for.

    Returns:
        The pixels' classes, uint8 (H, W), `IGNORED` where they have none; and how often each number occurs, (256,).

    Raises:
        UserError: If it cannot be read, is no PNG, is a colour picture, or holds an unknown number.
    """
    picture, form = _opened(path)
    if form != "PNG":
        raise UserError(
            f"{path}: is a {form} file. Expected a PNG with {numbering.expected}: JPEG and its like blur the numbers, "
            "so that edges get classes that are not there. Get the original file again."
        )
    if picture.mode != "L" and not (picture.mode == "P" and numbering.palettes):
        kind = {"P": "a palette picture", "RGB": "a colour picture", "RGBA": "a colour picture"}
        raise UserError(
            f"{path}: is {kind.get(picture.mode, 'a picture')} (mode {picture.mode}). Expected the file of "
            f"{numbering.expected}, {'a palette picture or ' if numbering.palettes else ''}one channel of 8 bits. "
            "Colours are not read back as classes, since void parts have colours near to those of classes."
        )
    counts = np.array(picture.histogram(), np.int64)
    if unknown := np.flatnonzero((counts > 0) & ~numbering.known).tolist():
        raise UserError(
            f"{path}: holds the value{'s' * (len(unknown) > 1)} {few([str(n) for n in unknown])}. Expected "
            f"{numbering.expected}. Get the original file again."
        )
    if picture.mode == "P":
        _check_palette(path, picture, np.flatnonzero(counts).tolist(), numbering)
    return numbering.classes[np.asarray(picture)], counts


def _check_palette(path: Path, picture: Picture.Image, used: list[int], numbering: Numbering) -> None:
    """Refuses indices that number colours: a colour picture saved with a palette has them in any order."""
    palette = picture.getpalette("RGB") or []
    for number in used:
        colour = tuple(palette[3 * number : 3 * number + 3])
        # Number plates are drawn in the colour of cars.
        if number in (_PLATE, IGNORED) or colour not in CITYSCAPES.colours:
            continue
        label = CITYSCAPES.colours.index((colour[0], colour[1], colour[2]))
        if label != numbering.classes[number]:
            raise UserError(
                f"{path}: its index {number} has the colour of {CITYSCAPES.names[label]}, so that its indices are not "
                f"the {numbering.expected}. It was saved anew, or made from a colour picture: get the original file "
                "again."
            )


def read_photo(path: Path) -> Picture.Image:
    """Reads a photo of any mode.

    Raises:
        UserError: If it cannot be read, or is stored turned.
    """
    picture, _ = _opened(path)
    if picture.getexif().get(EXIF_ORIENTATION) in range(2, 9):
        raise UserError(
            f"{path}: is stored turned or mirrored (EXIF orientation), but its label map is not. Save it upright."
        )
    return picture


def _opened(path: Path) -> tuple[Picture.Image, str]:
    """A decoded picture and its file format."""
    try:
        with without_limit(), Picture.open(path) as picture:
            check_pixels(path, *picture.size)
            picture.load()
            form = picture.format
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error}). Get it again or remove it.") from error
    return picture, str(form)


@dataclass
class _Seen:
    """Problems and facts of one sample's files; sizes are width and height in px."""

    problems: list[str] = field(default_factory=list)
    labels: Size | None = None
    photo: Size | None = None
    mode: str = "RGB"
    numbers: Counts = field(default_factory=lambda: np.zeros(256, np.int64))


@lru_cache(maxsize=8)
def _segmenter(spec: str) -> Segmenter:
    """A segmenter, cached so that its file is read once: `domains` is called often."""
    return Segmenter.named(spec, len(CITYSCAPES))


@dataclass
class Streets(Dataset):
    """Photos of streets, and label maps in the colours of Cityscapes' 19 classes.

    Views, stored as uint8 (N, 3, size, size): `x`, the photo, resized bilinearly with antialiasing; `y`, the label map.
    Label ids become classes at the file's own resolution, and ids that are not scored become void; then the map is
    resized by the nearest pixel and coloured, void in black. The whole picture is squeezed to a square.
    """

    root: str = option(
        "", "Folder that holds the set; empty: the folder of the set's name in LSMBENCH_DATA.", counts="never"
    )
    size: int = option(256, "Height and width that everything is squeezed to, divisible by 4.", unit="px")
    direction: Literal["x_to_y", "y_to_x"] = option(
        "x_to_y",
        "x_to_y: photo → labels; y_to_x: labels → photo.",
        choices=("x_to_y", "y_to_x"),
    )
    scoring: Literal["full", "network"] = option(
        "network",
        "Resolution of the labels that predictions are compared with: full, their files' own; network, size.",
        choices=("full", "network"),
    )
    absent: Literal["zero", "ignore"] = option(
        "zero",
        "How means over classes treat a class that does not occur: zero, as published, scores 0; ignore leaves it out.",
        choices=("zero", "ignore"),
    )
    segmenter: str = option(
        "",
        "Network that judges generated photos (direction y_to_x): MODEL.pt or NAME:WEIGHTS.pth of torchvision; empty: "
        "they are compared pixel by pixel.",
        counts="never",
    )
    reconstruction: Literal["mse", "l1"] = option("l1", "Loss of images, also of label colours.", choices=("mse", "l1"))

    where_from: ClassVar[str]
    """Where to get the files and where to put them; messages end in it."""
    any_scale: ClassVar[bool] = False
    """Whether photo and label map may differ in size, as long as their proportions agree."""
    published: ClassVar[Size | None] = None
    """Width and height of the label maps with which scores are published."""

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.segmenter and self.direction == "x_to_y":
            raise UserError(
                f"dataset {self.name}: segmenter={self.segmenter} judges generated photos, but direction=x_to_y "
                "generates label maps. Use direction=y_to_x, or leave the segmenter out."
            )

    @property
    def source(self) -> str:
        """The view that methods translate, by `direction`."""
        return "x" if self.direction == "x_to_y" else "y"

    @property
    def domains(self) -> dict[str, Domain]:
        """A photo and label colours."""
        photo: Image = Image(3, self.size, reconstruction=self.reconstruction)
        if self.segmenter:
            photo = SegmentedPhoto(
                3,
                self.size,
                reconstruction=self.reconstruction,
                segmenter=_segmenter(self.segmenter),
                absent=self.absent,
            )
        labels = LabelColours(3, self.size, reconstruction=self.reconstruction, palette=CITYSCAPES, absent=self.absent)
        return {"x": photo, "y": labels}

    def load(self) -> Arrays:
        """Photos `x` and label colours `y`, uint8 (N, 3, size, size); kept in the cache.

        Problems that show in the files' names are reported before any file is decoded.

        Raises:
            UserError: If the dataset is missing, with where to get it; if files lack their counterpart, are broken or
                hold something unexpected, naming all of them; or if the cache cannot be written to.
        """
        return self._cached(photos=True)

    def targets(self) -> NDArray[np.generic]:
        """Label colours, uint8 (N, 3, size, size), as `load` gives them; reads no photo, and needs none.

        Raises:
            UserError: As `load`, for label maps only.
        """
        return self._cached(photos=False)["y"]

    @property
    def truths(self) -> dict[str, str]:
        """Label colours of `scoring=full`, and photos that a segmenter judges, are compared with the view `labels`."""
        if self.segmenter:
            return {"x": "labels"} | ({"y": "labels"} if self.scoring == "full" else {})
        return {"y": "labels"} if self.scoring == "full" else {}

    def evaluation_views(self) -> Mapping[str, Stored]:
        """`labels`, where predictions are compared with them: uint8 (N, H, W), 255 where void.

        With `scoring=full` they are of the files' own resolution and read anew each time.
        """
        if not self.truths:
            return {}
        return {"labels": Computed(len(self._in_order), self._labels)}

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """The labels of some samples.

        Raises:
            UserError: If label maps of one batch differ in size, or cannot be read any more.
        """
        if self.scoring == "network":
            colours = torch.from_numpy(np.array(self._label_colours[rows]))
            return np.asarray(CITYSCAPES.decode(colours, void=True))
        scenes = [self._in_order[i] for i in rows.tolist()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            maps = list(pool.map(lambda scene: read_labels(scene.labels, scene.numbering)[0], scenes))
        for scene, one in zip(scenes, maps, strict=True):
            if one.shape != maps[0].shape:
                raise UserError(
                    f"{scene.labels}: is of {_px(one.shape[::-1])}, but {scenes[0].labels} of "
                    f"{_px(maps[0].shape[::-1])}. Labels at full resolution have to be of one size: use "
                    "scoring=network, or get the original files again."
                )
        return np.stack(maps)

    def inputs(self) -> PictureInput:
        """Photos in RGB; for `direction=y_to_x` label maps in Cityscapes' colours."""
        reading = Reading(self.size, channels=3, palette=CITYSCAPES if self.source == "y" else None)
        return PictureInput(reading, "colours" if self.source == "y" else "picture")

    def inspect(self) -> Inspection:
        """Reads all files by the same code as `load`, but without the cache."""
        findings = Findings()
        with findings.gathering():
            inspection, scenes = self._read(self._find(findings, photos=True), findings)
            if scenes:
                few_samples = Findings()
                with few_samples.gathering():
                    parts = self._parts(scenes, None)
                    inspection.counts = {"train": len(parts.train), "val": len(parts.val), "test": len(parts.test)}
                if not findings.problems:  # else these problems may be why samples are few
                    findings.problems += few_samples.problems
            return inspection
        return Inspection(findings=findings)

    @abstractmethod
    def _find(self, findings: Findings, photos: bool) -> list[Scene]:
        """All samples in their order; opens no file.

        Args:
            findings: Gets what is missing and what has no counterpart.
            photos: Whether photos are read; else they need not be there, and scenes have none.

        Raises:
            UserError: If there is nothing to look at.
        """

    def _parts(self, scenes: Sequence[Scene], seed: int | None) -> Split:
        """The split of some samples."""
        return super().split(len(scenes), seed)

    def _root(self) -> Path:
        return own_folder(self.name, self.root, self.where_from)

    def _no_folder(self, root: Path, missing: Sequence[str]) -> UserError:
        held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
        return UserError(
            f"dataset {self.name}: {root} holds no folder {' and no folder '.join(missing)}; it holds: "
            f"{few(held) or 'nothing'}. {self.where_from}"
        )

    @cached_property
    def _in_order(self) -> list[Scene]:
        """The samples as last loaded, listed once: scoring asks for some of them in every batch."""
        findings = Findings()
        scenes = self._find(findings, photos=True)
        findings.stop_if_any(f"dataset {self.name}")
        return scenes

    @cached_property
    def _label_colours(self) -> NDArray[np.generic]:
        return self._cached(photos=True)["y"]

    def _cached(self, photos: bool) -> Arrays:
        """Both views, or `y` alone."""
        findings = Findings()
        scenes = self._find(findings, photos)
        findings.stop_if_any(f"dataset {self.name}")
        if photos:
            self._in_order = scenes

        def build() -> Arrays:
            inspection, _ = self._read(scenes, findings)
            findings.stop_if_any(f"dataset {self.name}")
            return inspection.samples

        key = {"version": VERSION, "size": self.size, "photos": photos}
        sources = [path for scene in scenes for path in (scene.photo, scene.labels) if path is not None]
        return cached_arrays(self.name, key, sources, build)

    def _read(self, scenes: list[Scene], findings: Findings) -> tuple[Inspection, list[Scene]]:
        """Decodes all scenes, as many at once as there are cores.

        Only what is being decoded is held at its own resolution.

        Returns:
            What was found, without counts; and the scenes without problems, which are the samples.
        """
        shape = (len(scenes), 3, self.size, self.size)
        views = ("x", "y") if scenes and scenes[0].photo else ("y",)
        arrays: dict[str, Bytes] = {view: np.empty(shape, np.uint8) for view in views}

        def decode(i: int) -> _Seen:
            return self._decode(scenes[i], {view: array[i] for view, array in arrays.items()})

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            every = list(pool.map(decode, range(len(scenes))))
        findings.problems += [problem for seen in every for problem in seen.problems]
        good = [i for i, seen in enumerate(every) if not seen.problems]
        if len(good) < len(scenes):
            for array in arrays.values():
                for place, i in enumerate(good):  # in place: there may be no memory for a copy
                    array[place] = array[i]
        scenes, seen = [scenes[i] for i in good], [every[i] for i in good]
        inspection = Inspection(findings=findings, names=[scene.name for scene in scenes])
        if scenes:
            inspection.samples = {view: array[: len(good)] for view, array in arrays.items()}
            inspection.facts = _facts(scenes, seen)
            _check_numbers(scenes, seen, findings)
            self._note(scenes, seen, findings)
        return inspection, scenes

    def _note(self, scenes: list[Scene], seen: list[_Seen], findings: Findings) -> None:
        """Notes photos that are not RGB, and label maps whose size is not that of published scores."""
        for mode in sorted({s.mode for s in seen} - {"RGB"}):
            names = [scene.name for scene, s in zip(scenes, seen, strict=True) if s.mode == mode]
            findings.notes.append(f"{len(names)} photos of mode {mode}, brought to RGB: {few(names)}.")
        if self.scoring == "full" and self.published:
            names = [scene.name for scene, s in zip(scenes, seen, strict=True) if s.labels != self.published]
            if names:
                findings.notes.append(
                    f"{len(names)} label maps are not of {_px(self.published)}, the resolution of published scores: "
                    f"{few(names)}."
                )

    def _decode(self, scene: Scene, views: dict[str, Bytes]) -> _Seen:
        """Writes one scene's views, each uint8 (3, size, size), where they belong."""
        seen, size = _Seen(), (self.size, self.size)
        try:
            labels, seen.numbers = read_labels(scene.labels, scene.numbering)
            seen.labels = (labels.shape[1], labels.shape[0])
            small = Picture.fromarray(labels).resize(size, Picture.Resampling.NEAREST)
            views["y"][:] = CITYSCAPES.encode(np.asarray(small))
        except UserError as error:
            seen.problems.append(str(error))
        if scene.photo is None:
            return seen
        try:
            photo = read_photo(scene.photo)
            seen.photo, seen.mode = photo.size, photo.mode
            # Pillow's bilinear filter averages where it reduces.
            resized = to_mode(photo, "RGB").resize(size, Picture.Resampling.BILINEAR)
            views["x"][:] = np.asarray(resized).transpose(2, 0, 1)
        except UserError as error:
            seen.problems.append(str(error))
        if seen.labels and seen.photo and not self._fits(seen.labels, seen.photo):
            seen.problems.append(
                f"{scene.labels}: is of {_px(seen.labels)}, but its photo {scene.photo} of {_px(seen.photo)}, so that "
                "their pixels do not match. Get both again, or remove both."
            )
        return seen

    def _fits(self, labels: Size, photo: Size) -> bool:
        return labels == photo or (self.any_scale and labels[0] * photo[1] == labels[1] * photo[0])


@dataclass
class RenderedStreets(Streets):
    """Street scenes made by computers: a folder of photos and a folder of label maps, matched by their stems.

    25,000 scenes at 256 px take 5 GB for each view: `samples` limits their number, and `data_seed` draws them.
    """

    samples: int | None = option(None, "Number of scenes, drawn from all that are there; null: all.")
    data_seed: int = option(0, "Seed of the choice of scenes.")

    photo_folders: ClassVar[tuple[str, ...]]
    """Folders below the root that photos may lie in; the first that exists is read."""
    label_folder: ClassVar[str]
    numbering: ClassVar[Numbering]

    def _find(self, findings: Findings, photos: bool) -> list[Scene]:
        root = self._root()
        folders = [root / name for name in self.photo_folders if (root / name).is_dir()]
        missing = [self.label_folder] if not (root / self.label_folder).is_dir() else []
        if photos and not folders:
            missing.append(" or ".join(self.photo_folders))
        if missing:
            raise self._no_folder(root, missing)
        labels = pictures_in(root / self.label_folder, findings)
        pictures = pictures_in(folders[0], findings) if photos else {}
        if not labels:
            raise UserError(f"dataset {self.name}: {root / self.label_folder} holds no PNG files. {self.where_from}")
        if photos:
            for here, there, what in ((labels, pictures, "photo"), (pictures, labels, "label map")):
                if alone := sorted(here.keys() - there.keys(), key=_natural):
                    folder = next(iter(here.values())).parent
                    findings.problems.append(
                        f"{folder}: {len(alone)} of {len(here)} have no {what}: {few([here[s].name for s in alone])}. "
                        "Download the rest, or remove these."
                    )
        stems = sorted(labels.keys() & pictures.keys() if photos else labels, key=_natural)
        if self.samples is not None:
            if self.samples > len(stems):
                findings.problems.append(
                    f"{root}: samples={self.samples}, but only {len(stems)} scenes are there. Ask for fewer."
                )
            chosen = np.random.default_rng((self.data_seed, 7)).permutation(len(stems))[: self.samples]
            stems = [stems[i] for i in np.sort(chosen).tolist()]
        return [Scene(stem, labels[stem], pictures.get(stem), self.numbering) for stem in stems]


def _natural(stem: str) -> tuple[int, str]:
    """Orders 2 before 10."""
    return len(stem), stem


def _px(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]} px"


def _check_numbers(scenes: list[Scene], seen: list[_Seen], findings: Findings) -> None:
    """Refuses train ids in place of label ids: all train ids are also label ids, but of other classes."""
    counts = sum((s.numbers for c, s in zip(scenes, seen, strict=True) if c.numbering is not TRAIN_IDS), np.zeros(256))
    if counts[255] and counts[:19].any() and not counts[19:255].any():
        first = next(c for c in scenes if c.numbering is not TRAIN_IDS)
        findings.problems.append(
            f"{first.labels.parent}: no label map holds a number from 19 to 33 (sky is 23, car 26), but some hold 255: "
            f"these look like train ids. Expected {first.numbering.expected}. Get the original files again."
        )


def _facts(scenes: list[Scene], seen: list[_Seen]) -> dict[str, str]:
    """Rows of the table: sizes, and the classes' shares of all pixels at the files' own resolution."""
    pixels = np.zeros(256, np.int64)
    for scene, one in zip(scenes, seen, strict=True):
        np.add.at(pixels, scene.numbering.classes, one.numbers)
    shares = pixels / pixels.sum()
    order = np.argsort(-shares[: len(CITYSCAPES)], kind="stable").tolist()
    common = [f"{CITYSCAPES.names[i]} {shares[i]:.1%}" for i in order if shares[i] > 0]
    rare = [CITYSCAPES.names[i] for i in sorted(order) if shares[i] == 0]
    facts = {}
    for title, sizes in (("photos", Counter(s.photo for s in seen)), ("label maps", Counter(s.labels for s in seen))):
        shown = [f"{_px(size)} ({count})" for size, count in sizes.most_common() if size]
        if shown:
            facts[f"sizes of the {title}"] = few(shown, 3)
    return {
        **facts,
        "share of all pixels": few(common, 6) or "none",
        "share of void": f"{shares[IGNORED]:.1%}",
        "classes that never occur": ", ".join(rare) or "none",
    }


# Examples


def example_scene(rng: np.random.Generator, height: int = 24, width: int = 48) -> tuple[Bytes, Bytes]:
    """Draws a street of blocks.

    Args:
        rng: Generator of the street's numbers.
        height: In px, divisible by 4.
        width: In px, divisible by 4.

    Returns:
        Label ids, uint8 (height, width), void ones among them; and the photo, uint8 (height, width, 3): the classes'
        colours with noise.
    """
    rows, columns = height // 4, width // 4
    blocks = np.empty((rows, columns), np.uint8)
    horizon = int(rng.integers(rows // 3, rows // 2 + 1))
    blocks[:horizon] = rng.choice([11, 21, 23], (horizon, columns))
    blocks[0] = 23
    blocks[horizon:] = 7
    blocks[horizon] = rng.choice([8, 24, 26, 26, 33, 0], columns)
    blocks[-1, rng.integers(0, columns - 2) :][:3] = 1  # the car that carries the camera: void
    ids = blocks.repeat(4, 0).repeat(4, 1)
    colours = np.array([*CITYSCAPES.colours, (90, 90, 90)], np.int64)
    clean = colours[np.minimum(IDS.classes[ids], len(CITYSCAPES))]
    return ids, (clean + rng.integers(-20, 21, clean.shape)).clip(0, 255).astype(np.uint8)
