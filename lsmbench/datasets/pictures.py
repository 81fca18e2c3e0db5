"""Datasets of pictures in folders: finds, matches, decodes, checks and splits their files."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lsmbench.data.cache import cached_arrays
from lsmbench.data.census import Reach, opaque, parse_window, reach_of
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, own_folder
from lsmbench.data.decoding import FAR, Decoded, Reading, decode, percent, px
from lsmbench.data.files import Findings, few
from lsmbench.data.inputs import InputForm, PictureInput
from lsmbench.data.layouts import SIDES, Found, Kind, Sample, find
from lsmbench.data.naming import note_likely_units, units_of
from lsmbench.data.overview import describe, label_counts, later_pages, note, note_parts, share_far
from lsmbench.data.pairing import AUTO
from lsmbench.data.places import PARTS
from lsmbench.data.pools import TEST, TRAIN, VAL, Computed, Pool, Stored
from lsmbench.domains import Absent, Domain, Image, LabelColours, SegmentedPhoto
from lsmbench.domains.judges import Segmenter
from lsmbench.errors import UserError
from lsmbench.options import option
from lsmbench.palettes import CITYSCAPES, FACADES, IGNORED, Palette, palette_text, read_palette

VERSION = 2
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

PALETTES = {palette.name: palette for palette in (CITYSCAPES, FACADES)}
"""The palettes that an option can name without a file."""

SHOWN: tuple[Kind, ...] = ("masks", "images", "sides")
"""The layouts whose target is a picture, which may be a label map in colours."""

_SEED = 0
_RGB = 3


@dataclass(frozen=True)
class LabelMaps:
    """Palette and scoring of targets that are label maps in colours.

    Attributes:
        palette: The classes' colours.
        segmenter: Classifies the pixels of photos that are made from label maps; `None`: photos are scored as images.
        absent: How means over classes treat a class that does not occur: `zero` scores 0, `ignore` leaves it out.
    """

    palette: Palette
    segmenter: Segmenter | None
    absent: Absent

    @classmethod
    def named(cls, palette: Palette, segmenter: str, absent: Absent) -> LabelMaps:
        """Makes label maps from options; an empty `segmenter` means none.

        Raises:
            UserError: If the segmenter's file cannot be read.
        """
        return cls(palette, Segmenter.named(segmenter, len(palette)) if segmenter else None, absent)

    def target(self, size: int) -> Domain:
        """The label maps' domain."""
        return LabelColours(_RGB, size, reconstruction="l1", palette=self.palette, absent=self.absent)

    def photo(self, channels: int, size: int, reconstruction: Literal["mse", "l1"]) -> Domain:
        """The photos' domain."""
        if self.segmenter is None:
            return Image(channels, size, reconstruction=reconstruction)
        return SegmentedPhoto(
            channels, size, reconstruction=reconstruction, segmenter=self.segmenter, absent=self.absent
        )


def named_palette(word: str, name: str, option: str = "palette") -> Palette:
    """The palette that an option names.

    Args:
        word: One of `PALETTES`, or a file for `read_palette`.
        name: The dataset's name, for messages.
        option: The option, for messages.

    Raises:
        UserError: If there is no such palette, or its file holds something else.
    """
    if word in PALETTES:
        return PALETTES[word]
    path = Path(word).expanduser()
    if not path.is_file():
        raise UserError(
            f"dataset {name}: {option}={word}: no such file. Name a text file with a line name,r,g,b for each class, "
            f"or one of: {', '.join(PALETTES)}."
        )
    return read_palette(path)


@dataclass
class PictureFolder(Dataset):
    """Samples of views `x`, a picture, and `y` in a folder of the layouts that `Folder` describes.

    Subclasses define the folder (`_folder`), how its files are read (`_reading`) and the views' domains
    (`_domains_of`).
    """

    root: str = option("", "The folder with the data.", counts="never")
    size: int = option(128, "Height and width that everything is resized to, divisible by 4.", unit="px")
    direction: Literal["x_to_y", "y_to_x"] = option(
        "x_to_y", "Which view is translated to which.", choices=("x_to_y", "y_to_x")
    )

    @property
    def source(self) -> str:
        """The view that methods translate, by `direction`; split and supervision do not depend on it."""
        return "x" if self.direction == "x_to_y" else "y"

    @abstractmethod
    def _folder(self) -> Path:
        """The folder with the data.

        Raises:
            UserError: If there is none.
        """

    @property
    @abstractmethod
    def _reading(self) -> Reading:
        """How the folder's files are read."""

    @property
    def _pairing(self) -> str:
        """How pictures and annotations are matched by name; the option `pairing`, where there is one."""
        return AUTO

    @property
    def _unit(self) -> str | None:
        """How a file's name says its unit; `None` without the option `unit`."""
        return None

    @abstractmethod
    def _domains_of(self, kind: Kind, arrays: Arrays) -> dict[str, Domain]:
        """The views' domains, given the arrays that have been read."""

    def _labels_key(self) -> dict[str, object]:
        """What decides, besides `_reading`, what masks' numbers become; for the cache's key."""
        return {}

    def _find_label_maps(self) -> LabelMaps | None:
        """Palette and scoring of targets that are label maps in colours; `None` for other targets.

        Raises:
            UserError: If files that options name are missing.
        """
        return None

    def _refuse_idle_options(self, found: Found, findings: Findings) -> None:
        """Reports options that do not apply to the folder's data: the option or the folder is wrong."""
        return

    def _look_for_classes(self, found: Found, decoded: Sequence[Decoded], inspection: Inspection) -> None:
        """Says of pictures `y` that look like maps of classes how they are read as such."""
        return

    # The interface of datasets

    @property
    def domains(self) -> dict[str, Domain]:
        """The views' domains; the first call reads the folder.

        Raises:
            UserError: As `load`.
        """
        return dict(self._facts.domains)

    def load(self) -> Arrays:
        """Views `x` and `y` of the pairs, as the class describes; cached until files or options change.

        Raises:
            UserError: If the folder is missing or has no known layout. Or, with all problems at once, for files that
                are unreadable or share a stem; pictures that have other channels than most or
                are turned by EXIF; masks that hold no class numbers, have another size than their picture or labels
                beyond `classes`; label maps with colours beyond the palette; landmarks that are no numbers, have
                another count than most or lie outside the shown part; rows that name no picture; pictures of both
                views with an odd width; a palette or a segmenter that cannot be used; options that do not apply.
        """
        arrays = self._arrays
        return {"x": arrays["x"], "y": arrays["y"]}

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """The pairs, pool `samples`; the pictures without an annotation, pool `x`; the annotations alone, pool `y`.

        What has one view is trained on, unless it lies in `val/` or `test/`, or is of a unit whose pairs are not
        trained on: it is then of that part, where it cannot be scored.

        Args:
            seed: Seed of the split of the pairs; `None`: a fixed seed.

        Raises:
            UserError: As `load` and `split`.
        """
        found, arrays = self._read
        sorts = _sorts(found.samples)
        units = {name: self._units_of(samples, Findings()) for name, samples in sorts.items()}
        names = {name: _names(found.root, samples) for name, samples in sorts.items()}
        pools, part_of = [], {}
        if count := len(arrays["x"]):
            split = self.split(count, seed)
            parts = {TRAIN: split.train, VAL: split.val, TEST: split.test}
            unit = units["samples"]
            if unit is not None:
                part_of = {one: number for number, part in enumerate(parts.values()) for one in unit[part].tolist()}
            views = {"x": arrays["x"], "y": arrays["y"], **self.evaluation_views()}
            pools.append(Pool("samples", views, parts, unit, names["samples"]))
        for view in ("x", "y"):
            if (alone := f"{view}_alone") in arrays:
                part, unit = np.array(arrays[f"{view}_part"]), units[view]
                if unit is not None:
                    part = np.array([part_of.get(one, own) for one, own in zip(unit.tolist(), part, strict=True)])
                rows = {name: np.flatnonzero(part == number) for number, name in enumerate(PARTS)}
                filled = {name: places for name, places in rows.items() if len(places)}
                pools.append(Pool(view, {view: arrays[alone]}, filled, unit, names[view]))
        return tuple(pools)

    def units(self) -> NDArray[np.generic] | None:
        """The unit of each pair, by the option `unit`; `None` if there is none."""
        return self._units_of(_sorts(self._read[0].samples)["samples"], Findings())

    def _units_of(self, samples: Sequence[Sample], findings: Findings) -> NDArray[np.generic] | None:
        """The unit of each sample; `None` if every sample is its own. Names that say no unit are a problem."""
        return None if not self._unit else units_of(samples, self._unit, f"{self._folder()}", findings)

    def targets(self) -> NDArray[np.generic]:
        """View `y` of the pairs, then of the annotations without a picture."""
        arrays = self._arrays
        return np.concatenate([arrays["y"], arrays["y_alone"]]) if "y_alone" in arrays else arrays["y"]

    def split(self, count: int, seed: int | None) -> Split:
        """The folder's own parts, or 70/10/20.

        What is too little to be divided in three is trained on first of all, then tested, then validated with: of two
        pairs one is trained on and one tested; a single one is trained on.

        Args:
            count: Number of pairs.
            seed: Seed of the order in which samples are drawn; `None`: a fixed seed.

        Raises:
            UserError: If several pairs are all of one unit.
        """
        parts, unit = self._facts.parts, self.units()
        rng = np.random.default_rng((_SEED if seed is None else seed, 7))
        if parts is None:
            units = np.arange(count) if unit is None else np.unique(unit)
            if len(units) > 2:
                return super().split(count, _SEED if seed is None else seed)
            if len(units) == 1 < count:
                raise UserError(
                    f"{self._folder()}: all {count} pairs are of one unit, {units[0]}, so that a test would be on what "
                    f"was trained with. Look whether unit={self._unit} is right; if each file stands for itself, leave "
                    "it out."
                )
            drawn = rng.permutation(units)
            of = units if unit is None else unit
            return Split(*(np.flatnonzero(np.isin(of, some)) for some in (drawn[:1], drawn[2:], drawn[1:])))
        train, val, test = (np.flatnonzero(parts == part) for part in range(3))
        if len(val) == 0 and len(train):
            one_each = train if unit is None else np.unique(unit[train])
            drawn = rng.permutation(one_each)[: max(1, len(one_each) // 8) if len(one_each) > 1 else 0]
            taken = np.isin(train if unit is None else unit[train], drawn)
            val, train = (drawn if unit is None else train[taken]), train[~taken]
        # A run may use only the first validation samples: shuffled, so that these are not neighbours.
        return Split(train, rng.permutation(val), test)

    def inspect(self) -> Inspection:
        """Checks every file: finds the problems that `load` finds, and notes sizes, labels and repeated files."""
        inspection = Inspection()
        findings = inspection.findings
        with findings.gathering():
            found = self._find(findings)
            inspection.unread = found.unread | later_pages(found)
            decoded = self._decode(found, findings)
            if found.settled.labels is not None and found.settled.labels.shares:
                inspection.palette = palette_text(found.settled.labels.shares)
            inspection.facts = describe(found, decoded, self._reading.palette)
            if (unit := self._units_of([d.sample for d in decoded], Findings())) is not None:
                inspection.facts["units"] = f"{len(np.unique(unit))} in {len(unit)} samples"
            elif self._unit is not None:
                note_likely_units(found, findings)
            self._look_for_classes(found, decoded, inspection)
            if all(any(getattr(d, view) is not None for d in decoded) for view in ("x", "y")):
                arrays = self._stack(found, decoded)
                # From now on `domains` describes the usable samples, so that they can be drawn.
                self.__dict__["_facts"] = self._facts_of(found, arrays)
                sorts = _sorts([d.sample for d in decoded])
                if pairs := len(arrays["x"]):
                    inspection.samples = {"x": arrays["x"], "y": arrays["y"]}
                    inspection.names = _names(found.root, sorts["samples"])
                    inspection.counts = self._counts(pairs, findings)
                inspection.alone = {
                    view: (arrays[f"{view}_alone"], _names(found.root, sorts[view]))
                    for view in ("x", "y")
                    if f"{view}_alone" in arrays
                }
                inspection.counted = "pairs" if inspection.alone else "samples"
            if inspection.counts.get(VAL) != 0:
                note_parts(found, findings)
            absent = "" if self._label_maps is None else self._label_maps.absent
            note(self._reading, found, decoded, absent, findings)
        return inspection

    @property
    def reading(self) -> Reading:
        """How the folder's files are read, with what its census found: other photos are to be read in the same way.

        Raises:
            UserError: As `load`.
        """
        arrays = self._arrays
        reach: dict[str, Reach | None] = {
            view: (float(found[0]), float(found[1])) if (found := arrays.get(f"{view}_reach")) is not None else None
            for view in "xy"
        }
        return replace(self._reading, channels=arrays["x"].shape[1], x_reach=reach["x"], y_reach=reach["y"])

    def inputs(self) -> InputForm | None:
        """Pictures as `x` is read; label maps in colours for `direction=y_to_x`, and pictures if `y` is one.

        `None` where the source is a mask of numbers or landmarks.

        Raises:
            UserError: As `load`.
        """
        domain, kind, reading = self.domains[self.source], self._read[0].kind, self.reading
        convert, half = self._reading.channels > 0, kind == "sides"
        if self.source == "y":  # the other half, and the other range
            side: Literal["x_left", "x_right"] = "x_left" if reading.side_by_side == "x_right" else "x_right"
            reading = replace(reading, side_by_side=side, x_reach=reading.y_reach, window="auto")
        if isinstance(domain, LabelColours):
            return PictureInput(reading, "colours", half=half)
        if not isinstance(domain, Image):
            return None
        return PictureInput(replace(reading, channels=domain.channels, palette=None), convert=convert, half=half)

    @property
    def truths(self) -> dict[str, str]:
        """Photos that a segmenter judges are compared with the view `labels`."""
        judged = self._label_maps is not None and self._label_maps.segmenter is not None
        return {"x": "labels"} if judged else {}

    def evaluation_views(self) -> Mapping[str, Stored]:
        """`labels` of the pairs, where photos are judged: the true labels, uint8 (N, size, size), 255 where void."""
        return {"labels": Computed(len(self._arrays["y"]), self._labels)} if self.truths else {}

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        maps = cast(LabelMaps, self._label_maps)
        colours = torch.from_numpy(np.array(self._arrays["y"][rows], np.uint8))
        labels: NDArray[np.uint8] = maps.palette.decode(colours, void=True).numpy()
        return labels

    def _counts(self, usable: int, findings: Findings) -> dict[str, int]:
        """Number of pairs in each part; if the usable pairs are too few to split, only their total."""
        try:
            split = self.split(usable, None)
        except UserError as error:
            if not findings.problems:
                findings.problems.append(str(error))
            return {"usable": usable}
        return {part: len(getattr(split, part)) for part in PARTS}

    # From the folder to arrays

    @cached_property
    def _facts(self) -> _Facts:
        return self._facts_of(*self._read)

    @cached_property
    def _label_maps(self) -> LabelMaps | None:
        return self._find_label_maps()

    @property
    def _arrays(self) -> Arrays:
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Found, Arrays]:
        """Files and arrays (`_stack`) of the folder; read once, so that a run sees one state of them."""
        findings = Findings()
        found = self._find(findings)

        def build() -> Arrays:
            decoded = self._decode(found, findings)
            findings.stop_if_any(f"dataset {self.name}, {found.root}")
            used = {d.sample.files for d in decoded}
            left = [k for k, sample in enumerate(found.samples) if sample.files not in used]
            return self._stack(found, decoded) | ({"left_out": np.array(left)} if left else {})

        if findings.problems:  # decode the files all the same, to name the problems of their contents too
            return found, build()
        key: dict[str, object] = {"version": VERSION, "kind": found.kind} | self._reading.key() | self._labels_key()
        if not found.plain:  # the same files, matched otherwise, are other arrays
            key["rule"] = [str(found.rule.picture), str(found.rule.annotation), self._pairing]
        if self._reading.outside == "skip":  # arrays of earlier versions do not say what they leave out
            key["left_out"] = True
        arrays = cached_arrays(self.name, key, found.sources, build)
        left = set(np.asarray(arrays.get("left_out", ())).tolist())
        return replace(found, samples=[sample for k, sample in enumerate(found.samples) if k not in left]), arrays

    def _find(self, findings: Findings) -> Found:
        """Lists the files of all parts and matches them.

        Raises:
            UserError: As `layouts.find`; or if the folder, or files that options name, are missing.
        """
        root = self._folder()
        found = find(root, self._pairing, self._reading.side_by_side != "auto", findings)
        unit = self._units_of(found.samples, findings)
        if unit is not None and len(found.parts) > 1:
            _refuse_torn(found, unit.tolist(), findings)
        self._refuse_idle_options(found, findings)
        maps = self._label_maps
        if maps is not None and self._reading.fit == "pad" and not maps.palette.void:
            findings.problems.append(
                f"{found.root}: fit=pad adds pixels that have no class, but the palette {maps.palette.name} has no "
                "colour for them. Add a line such as void,0,0,0 to it, or use fit=stretch or fit=crop."
            )
        return found

    def _decode(self, found: Found, findings: Findings) -> list[Decoded]:
        """Decodes every sample and returns the samples without a problem."""
        decoded = []
        for sample in found.samples:
            problems = len(findings.problems)
            result = decode(found.kind, sample, self._reading, findings)
            if result is not None and len(findings.problems) == problems:
                decoded.append(result)
        decoded = _without_skipped(decoded, findings)
        self._settle_reach(found, decoded, findings)
        _settle_alpha(self._reading, found, decoded, findings)
        decoded = self._settle(found, decoded, findings)
        for view, there in (("pictures", [d.x for d in decoded]), ("annotations", [d.y for d in decoded])):
            if not findings.problems and all(one is None for one in there):
                findings.problems.append(f"{found.root}: holds no {view}, so that there is nothing to translate.")
        return decoded

    def _settle_reach(self, found: Found, decoded: list[Decoded], findings: Findings) -> None:
        """Finds the one range of numbers of all pictures of a view, and reads those anew that need it."""
        reading, reach = self._reading, found.settled.reach
        asked = parse_window(reading.window, f"dataset {self.name}")
        if asked is not None and len(asked) == 2:  # by these numbers everything has been read
            reach |= {"x": asked, "y": asked}
            return
        for view in ("x", "y"):
            if levels := [d.levels[view] for d in decoded if view in d.levels]:
                with findings.gathering():
                    reach[view] = reach_of(reading.window, levels, f"dataset {self.name}")
        usual = {None, (0.0, 65535.0)} if asked is None else {None}
        wanted = {view for view, found_reach in reach.items() if found_reach not in usual}
        reading = replace(reading, x_reach=reach.get("x"), y_reach=reach.get("y"))
        for d in decoded:
            if wanted & d.levels.keys():
                anew = decode(found.kind, d.sample, reading, findings)
                d.x, d.y = (d.x, d.y) if anew is None else (anew.x, anew.y)

    def _settle(self, found: Found, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        """Compares the samples with each other and returns those without a problem."""
        decoded = alike(decoded, "x", "channels", findings)
        maps = self._label_maps
        if found.kind == "images" and maps is None:
            return alike(decoded, "y", "channels", findings)
        if found.kind == "sides":
            decoded = _settle_halves(self._reading, decoded, findings)
        if maps is not None and found.kind in SHOWN:
            _settle_colours(maps, found, decoded, findings)
        return decoded

    def _stack(self, found: Found, decoded: Sequence[Decoded]) -> Arrays:
        """The samples as arrays; all images of a view are float32 if one of them is.

        Returns:
            `x`, `y` and the number of the `part` of the pairs, which may be none; `x_alone` and `x_part` of pictures
            without an annotation, where there are some, and `y_alone` and `y_part`. Besides, where they apply:
            `x_reach` and `y_reach`, the numbers that became 0 and 1; the number in files (`labels`) and the colour
            (`label_colours`) of each class of masks, their `background` (-1: none) and whether they hold `void`; the
            `sizes` of the pairs' pictures, (N, 2).
        """
        pairs = [d.x is not None and d.y is not None for d in decoded]
        part = np.array([d.sample.part for d in decoded], np.uint8)
        arrays: Arrays = {"part": part[pairs]}
        for view, parts in (("x", [d.x for d in decoded]), ("y", [d.y for d in decoded])):
            there = [p for p in parts if p is not None]
            if (view == "x" or found.kind in ("images", "sides")) and len({p.dtype for p in there}) > 1:
                there = [p.astype(np.float32) / 255 if p.dtype == np.uint8 else p for p in there]
            stacked = np.stack(there)
            paired = np.array([pair for pair, p in zip(pairs, parts, strict=True) if p is not None], np.bool_)
            arrays[view] = stacked if paired.all() else stacked[paired]
            if not paired.all():
                arrays[f"{view}_alone"] = stacked[~paired]
                arrays[f"{view}_part"] = part[[p is not None for p in parts]][~paired]
        for view, reach in found.settled.reach.items():
            if reach is not None:
                arrays[f"{view}_reach"] = np.array(reach)
        if (labels := found.settled.labels) is not None:
            arrays["labels"] = np.array(labels.labels)
            arrays["background"] = np.array([-1 if labels.background is None else labels.background])
            arrays["void"] = np.array([labels.void])
            if labels.colours is not None:
                arrays["label_colours"] = labels.colours
        if found.kind in ("pts", "csv") and any(pairs):
            arrays["sizes"] = np.array([d.size for d, pair in zip(decoded, pairs, strict=True) if pair])
        return arrays

    def _facts_of(self, found: Found, arrays: Arrays) -> _Facts:
        parts = np.array(arrays["part"], np.int64) if len(found.parts) > 1 else None
        return _Facts(self._domains_of(found.kind, arrays), parts)


@dataclass
class SideBySide(PictureFolder):
    """A dataset in pix2pix' form: files that show both views side by side, in train/, val/, test/.

    Attributes:
        where_from: What the dataset is and where to get it, for messages.
    """

    where_from: ClassVar[str]

    size: int = option(256, "Height and width that everything is resized to, divisible by 4.", unit="px")
    side_by_side: Literal["x_left", "x_right"] = option(
        "x_left", "Which half of a file is x, the photo.", choices=("x_left", "x_right")
    )

    def _folder(self) -> Path:
        return own_folder(self.name, self.root, self.where_from)

    @property
    def _reading(self) -> Reading:
        maps = self._label_maps
        # EXIF is ignored: it turns both halves of a file alike.
        return Reading(
            self.size,
            channels=_RGB,
            side_by_side=self.side_by_side,
            exif="ignore",
            palette=None if maps is None else maps.palette,
        )

    @property
    def domains(self) -> dict[str, Domain]:
        """The views' domains; known without reading the files."""
        return self._domains_of("sides", {})

    def _find(self, findings: Findings) -> Found:
        """Finds the files as in any folder, but requires side-by-side files, in `train/` and in `val/` or `test/`."""
        root = self._folder()
        try:
            held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir()) if path.name[0] != "."]
        except OSError as error:
            raise UserError(f"{root}: cannot be read ({error.strerror or error}).") from error
        if "train/" not in held or not {"val/", "test/"} & set(held):
            raise UserError(
                f"dataset {self.name}: {root}: expected the folders train/ and test/ or val/; found "
                f"{few(held) or 'nothing'}. {self.where_from}"
            )
        found = super()._find(findings)
        if found.kind != "sides":
            raise UserError(
                f"dataset {self.name}: {root}: holds {found.title}; expected pictures that show both views side by "
                f"side. {self.where_from}"
            )
        return found

    def _settle(self, found: Found, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
        for d in decoded:
            if d.size[0] <= d.size[1]:
                findings.problems.append(
                    f"{d.sample.picture}: has {px(d.size)} px; expected the photo and its counterpart side by side, "
                    "hence more width than height. Get the file again."
                )
        return super()._settle(found, [d for d in decoded if d.size[0] > d.size[1]], findings)


class _Facts(NamedTuple):
    """A folder's domains, and the part of each sample (0, 1, 2) if the folder has several parts."""

    domains: dict[str, Domain]
    parts: NDArray[np.int64] | None


def _sorts(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The samples by pool, each in the order of the pool's rows."""
    found: dict[str, list[Sample]] = {"samples": [], "x": [], "y": []}
    for sample in samples:
        found["y" if sample.picture is None else "x" if sample.annotation is None else "samples"].append(sample)
    return found


def _names(root: Path, samples: Sequence[Sample]) -> list[str]:
    """The samples' files below the folder."""
    return [sample.file.relative_to(root).as_posix() for sample in samples]


def _refuse_torn(found: Found, units: Sequence[str], findings: Findings) -> None:
    """A unit on both sides of the folder's own split would be tested on after it was trained with."""
    held: dict[str, dict[int, list[str]]] = {}
    for sample, unit in zip(found.samples, units, strict=True):
        file = sample.file.relative_to(found.root).as_posix()
        held.setdefault(unit, {}).setdefault(sample.part, []).append(file)
    torn = {unit: parts for unit, parts in held.items() if len(parts) > 1}
    for unit, parts in list(torn.items())[:8]:
        files = "; ".join(few(names, 3) for names in parts.values())
        findings.problems.append(
            f"{found.root}: unit {unit} lies in several parts, so that a test would be on what was trained with: "
            f"{files}. Move all of its files to one part."
        )
    if len(torn) > 8:
        findings.problems.append(f"{found.root}: {len(torn) - 8} further units lie in several parts.")


def alike(decoded: list[Decoded], view: Literal["x", "y"], what: str, findings: Findings) -> list[Decoded]:
    """The samples whose view, where they have it, is as long as most are; all others are problems.

    Args:
        decoded: All samples.
        view: Which view is compared.
        what: What its first axis counts: channels or points.
        findings: Takes the problems.
    """
    lengths = [None if (array := getattr(d, view)) is None else len(array) for d in decoded]
    usual = next((length for length, _ in Counter(n for n in lengths if n is not None).most_common(1)), None)
    remedy = f"channels={usual} converts all" if what == "channels" else "correct it, or remove it with its picture"
    for d, length in zip(decoded, lengths, strict=True):
        if length not in (None, usual):
            path = d.sample.picture if view == "x" else d.sample.annotation
            findings.problems.append(f"{path}: has {length} {what}, most others have {usual}; {remedy}.")
    return [d for d, length in zip(decoded, lengths, strict=True) if length in (None, usual)]


def _without_skipped(decoded: list[Decoded], findings: Findings) -> list[Decoded]:
    """The samples but for those that `outside=skip` leaves out."""
    skipped = [d for d in decoded if d.x is None and d.y is None]
    if skipped:
        names = few([d.sample.file.name for d in skipped])
        count = "1 sample" if len(skipped) == 1 else f"{len(skipped)} samples"
        findings.notes.append(f"{count} left out, with points outside (outside=skip): {names}.")
    return [d for d in decoded if d.x is not None or d.y is not None]


def _settle_alpha(reading: Reading, found: Found, decoded: Sequence[Decoded], findings: Findings) -> None:
    """Leaves out alpha that is one number throughout the set; says so of alpha that is kept."""
    for view in ("x", "y"):
        those = [d for d in decoded if view in d.alphas and getattr(d, view) is not None]
        if not those or reading.channels:
            continue
        files = [(d.sample.picture if view == "x" else d.sample.annotation) or d.sample.file for d in those]
        names = few([file.name for file in files])
        varied = sum(low != high for low, high in (d.alphas[view] for d in those))
        if view == "y" and reading.palette is not None:
            if varied:
                findings.notes.append(
                    f"{varied} label maps are partly transparent ({names}): alpha is not read, so that transparent "
                    "pixels count by the colour that they hold. If they have no class, give them a colour of void."
                )
        elif opaque([d.alphas[view] for d in those]):
            for d in those:
                setattr(d, view, getattr(d, view)[:-1])
            findings.notes.append(f"Alpha is the same in all pixels of {len(those)} pictures {view}, and left out.")
        else:
            findings.notes.append(
                f"{len(those)} pictures {view} have alpha, which differs ({names}): it is their last channel. If it "
                "only cuts out what is shown, leave it out by channels=3, or channels=1 for grey."
            )


def _settle_halves(reading: Reading, decoded: list[Decoded], findings: Findings) -> list[Decoded]:
    """Refuses pictures that cannot show two views, so that ordinary pictures are not cut in halves unnoticed."""
    if reading.side_by_side != "auto":
        return decoded
    wide = [d for d in decoded if SIDES[0] <= d.size[0] / d.size[1] <= SIDES[1]]
    for d in decoded:
        if d not in wide:
            findings.problems.append(
                f"{d.sample.picture}: has {px(d.size)} px; expected two views side by side, about twice as wide as "
                "high, as most others are. If it shows two views, set side_by_side=x_left; else remove it."
            )
    return wide


def _settle_colours(maps: LabelMaps, found: Found, decoded: Sequence[Decoded], findings: Findings) -> None:
    """Checks that label maps fit the palette, and photos the segmenter."""
    if not decoded:
        return
    blurred = [d for d in decoded if d.far is not None]
    far = share_far(blurred)
    if far > 0.6:
        # Any JPEG gets classes, even a photo. Share measured on the CMP facades: maps .34; photos 1.0, by Cityscapes'
        # palette .82.
        findings.problems.append(
            f"{found.root}: in {len(blurred)} label maps that are JPEG {percent(far)} of the pixels are more than "
            f"{FAR} away from any colour of the palette {maps.palette.name}, as in photos. Name the palette of these "
            "maps"
            + (", or the half that is the photo, side_by_side=x_left or x_right." if found.kind == "sides" else ".")
        )
    elif not label_counts(decoded)[:IGNORED].any():
        findings.problems.append(f"{found.root}: all label maps are void, so that there is nothing to learn.")
    channels = next((len(d.x) for d in decoded if d.x is not None), _RGB)
    if maps.segmenter is not None and channels != _RGB:
        findings.problems.append(
            f"{found.root}: a segmenter takes photos in RGB, but the pictures have {channels} "
            f"{'channel' if channels == 1 else 'channels'}. Give channels=3, or leave segmenter out."
        )
