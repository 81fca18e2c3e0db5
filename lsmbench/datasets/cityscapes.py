"""Cityscapes: photos of streets and their labels (Cordts et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from PIL import Image as Picture

from lsmbench.data.dataset import Split
from lsmbench.data.files import PICTURES, Findings, by_stem, few
from lsmbench.datasets.streets import IDS, TRAIN_IDS, Scene, Size, Streets, example_scene
from lsmbench.errors import UserError
from lsmbench.options import option

_PHOTOS, _LABELS = "leftImg8bit", "gtFine"
_ARCHIVE = {_PHOTOS: "leftImg8bit_trainvaltest.zip", _LABELS: "gtFine_trainvaltest.zip"}
_PARTS = ("train", "val")
_USE = {"train": "to train and validate with", "val": "to test with"}


@dataclass
class Cityscapes(Streets):
    """Photos of streets and their labels (Cityscapes, Cordts et al. 2016; files of your own).

    Reads `leftImg8bit/PART/CITY/*_leftImg8bit.png` and `gtFine/PART/CITY/*_gtFine_labelIds.png` of `train` and `val`,
    as the owners' archives unpack; where a photo has no labelIds, its `*_gtFine_labelTrainIds.png`. Some cities are
    enough, if both of their views are there. The part `test` is never used: its published labels are void only.

    Samples come part by part, city by city, by name. The official part `val` (500) is the test split. Of `train` (2975)
    a random eighth is the validation split (seed 0 unless `split_seed` gives another), the rest the training split,
    both in random order. Shukla et al. (§4.1) train on all 2975.

    Views as in all street scenes: photo `x` and label colours `y`, uint8 (N, 3, size, size), squeezed to a square as in
    the paper. The 19 classes are those that Cityscapes scores; black is void.

    Scores: `scoring=full` resizes a predicted label map bilinearly to the labels' own resolution (1024×2048), gives
    each pixel the class of the nearest colour, and compares with the label ids (§4.1.2); the paper names no filter.
    `scoring=network` compares at `size`. Classes are pooled over all test pixels, void left out. Your segmenter judges
    labels → photo (`direction=y_to_x`, §6.4). The paper's segmenter, an FCN of Caffe, is not shipped; scores by another
    segmenter are not comparable with the paper's.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "cityscapes"
    where_from: ClassVar[str] = (
        "Cityscapes is for research only and not shipped with lsmbench. Register with its owners at "
        f"https://www.cityscapes-dataset.com/ and unpack {_ARCHIVE[_PHOTOS]} and {_ARCHIVE[_LABELS]} into "
        "LSMBENCH_DATA/cityscapes, or into the folder that the option root names. Expected are "
        "leftImg8bit/train/CITY/*_leftImg8bit.png and gtFine/train/CITY/*_gtFine_labelIds.png, and the same for val."
    )
    published: ClassVar[Size | None] = (2048, 1024)

    scoring: Literal["full", "network"] = option(
        "full",
        "Resolution of the labels that predictions are compared with: full, their files' own; network, size.",
        source="Shukla et al., §4.1.2",
        choices=("full", "network"),
    )

    @classmethod
    def example(cls, folder: Path) -> Self:
        """36 streets of blocks, 48×24 px, of two cities to train and two to test with; existing files are kept."""
        if not (folder / _LABELS).exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)

    def split(self, count: int, seed: int | None) -> Split:
        """The official split; an eighth of `train` validates.

        Args:
            count: Number of samples.
            seed: Seed of the order of `train`; `None` is 0.

        Raises:
            UserError: If a part would be empty; as `load`.
        """
        return self._parts(self._in_order, seed)

    def _parts(self, scenes: Sequence[Scene], seed: int | None) -> Split:
        test = np.array([scene.test for scene in scenes], np.bool_)
        for part, there, least in (("train", ~test, 8), ("val", test, 1)):
            if there.sum() < least:
                raise UserError(
                    f"dataset cityscapes: {there.sum()} usable samples in {part}; at least {least} are needed "
                    f"{_USE[part]}. Add some cities."
                )
        train = np.random.default_rng((0 if seed is None else seed, 7)).permutation(np.flatnonzero(~test))
        kept = len(train) - len(train) // 8
        return Split(train[:kept], train[kept:], np.flatnonzero(test))

    def _find(self, findings: Findings, photos: bool) -> list[Scene]:
        root = self._root()
        wanted = (_PHOTOS, _LABELS) if photos else (_LABELS,)
        if missing := [name for name in wanted if not (root / name).is_dir()]:
            raise self._no_folder(root, missing)
        scenes: list[Scene] = []
        empty: list[str] = []
        passed_over: list[str] = []
        for part in _PARTS:
            cities = {name: _cities(root / name / part) for name in wanted}
            empty += [f"{name}/{part}" for name in wanted if not cities[name]]
            if not all(cities.values()):  # reported once for the part, not for each city
                continue
            for city in sorted(set().union(*cities.values())):
                pictures, odd = _photos(cities[_PHOTOS].get(city), findings) if photos else ({}, [])
                passed_over += odd
                labels = _labels(cities[_LABELS].get(city), findings)
                if photos:
                    _compare(root, part, city, pictures, labels, findings)
                scenes += [
                    Scene(
                        f"{part}/{city}/{name}",
                        path,
                        pictures.get(name),
                        IDS if path.stem.endswith("_labelIds") else TRAIN_IDS,
                        part == "val",
                    )
                    for name, path in sorted(labels.items())
                    if not photos or name in pictures
                ]
        if empty and (photos or not scenes):
            findings.problems.append(self._empty(root, empty))
        elif not scenes and not findings.problems:
            findings.problems.append(
                f"{root}: holds no *_gtFine_labelIds.png{' with a *_leftImg8bit.png' * photos}. {self.where_from}"
            )
        if trained := [scene.name for scene in scenes if scene.numbering is TRAIN_IDS]:
            findings.notes.append(f"{len(trained)} without labelIds, read from labelTrainIds: {few(trained)}.")
        if passed_over:
            findings.notes.append(
                f"{len(passed_over)} pictures in {_PHOTOS} not called *_leftImg8bit, passed over: {few(passed_over)}."
            )
        return scenes

    def _empty(self, root: Path, folders: list[str]) -> str:
        used = " and ".join(f"{part}, {_USE[part]}" for part in _PARTS if any(f.endswith(part) for f in folders))
        tested = any((root / name / "test").is_dir() for name in (_PHOTOS, _LABELS))
        return (
            f"{root}: no cities in {' and '.join(folders)}; needed is {used}. "
            + "The part test cannot stand in for it: its published labels are void only. " * tested
            + self.where_from
        )


def _cities(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")}


def _ending(folder: Path, ending: str, findings: Findings) -> dict[str, Path]:
    """The pictures of a city whose stems end in `ending`, by the rest of the stem."""
    paths = (p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES and p.stem.endswith(ending))
    return {stem[: -len(ending)]: path for stem, path in by_stem(paths, findings).items()}


def _photos(folder: Path | None, findings: Findings) -> tuple[dict[str, Path], list[str]]:
    """A city's photos by name, and the pictures with other names."""
    if folder is None:
        return {}, []
    found = _ending(folder, f"_{_PHOTOS}", findings)
    other = [
        f"{folder.name}/{p.name}"
        for p in sorted(folder.iterdir())
        if p.suffix.lower() in PICTURES and not p.name.startswith(".") and not p.stem.endswith(f"_{_PHOTOS}")
    ]
    return found, other


def _labels(folder: Path | None, findings: Findings) -> dict[str, Path]:
    """A city's label maps by name: label ids, or train ids where there are none."""
    if folder is None:
        return {}
    by_train = _ending(folder, f"_{_LABELS}_labelTrainIds", findings)
    return {**by_train, **_ending(folder, f"_{_LABELS}_labelIds", findings)}


def _compare(
    root: Path, part: str, city: str, photos: dict[str, Path], labels: dict[str, Path], findings: Findings
) -> None:
    """Reports files without a counterpart: once for a city without any photo or label map, else file by file."""
    for here, there, ours, theirs, what, name in (
        (photos, labels, _PHOTOS, _LABELS, "photos", f"_{_LABELS}_labelIds.png"),
        (labels, photos, _LABELS, _PHOTOS, "label maps", f"_{_PHOTOS}.png"),
    ):
        other = root / theirs / part / city
        if here and not there:
            coloured = theirs == _LABELS and other.is_dir() and any(other.glob(f"*_{_LABELS}_color.*"))
            findings.problems.append(
                f"{other}: holds no *{name}, but {ours} has {len(here)} {what} of {city}. "
                + "The *_gtFine_color.png there are for people to look at; lsmbench does not read them. " * coloured
                + f"Unpack {_ARCHIVE[theirs]} for the rest, or remove {root / ours / part / city}."
            )
        elif there:
            findings.problems += [
                f"{here[stem]}: there is no {other / (stem + name)}. Unpack it, or remove this file."
                for stem in sorted(here.keys() - there.keys())
            ]


# The example


def _write_example(folder: Path) -> None:
    rng = np.random.default_rng(2)
    for part, city, count in (
        ("train", "aachen", 14),
        ("train", "ulm", 14),
        ("val", "lindau", 4),
        ("val", "munster", 4),
    ):
        for name in (_PHOTOS, _LABELS):
            (folder / name / part / city).mkdir(parents=True)
        for number in range(count):
            ids, photo = example_scene(rng)
            stem = f"{city}_{number:06d}_000019"
            Picture.fromarray(photo).save(folder / _PHOTOS / part / city / f"{stem}_{_PHOTOS}.png")
            Picture.fromarray(ids).save(folder / _LABELS / part / city / f"{stem}_{_LABELS}_labelIds.png")
