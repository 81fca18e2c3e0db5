"""The liver in CT and MR: slices of LiTS to train with and to test on, of CHAOS to test on out of domain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import Arrays, Dataset, Inspection, Split, own_folder, paired_arrays, read_each
from lsmbench.data.files import PICTURES, Findings, by_stem, few, folders_inside, inventory, open_picture, spread
from lsmbench.data.inputs import SliceInput
from lsmbench.data.pools import TEST, TRAIN, VAL, Pool, Pools, Stored
from lsmbench.data.volumes import (
    DICOM,
    Volume,
    arranged,
    by_instance,
    check_grid,
    grey,
    installed,
    nifti_slices,
    read_dicom,
    read_nifti,
)
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same files and options give other arrays: cached arrays of other versions are not used."""

Bytes = NDArray[np.uint8]

_LITS, _ALONE, _IN, _OUT = "lits", "lits-unlabelled", "t1_in", "t1_out"
_HOMES = {"lits": ("lits", "lits2017", "lits17"), "chaos": ("chaos", "chaos_train_sets")}
_PHASES = {_IN: "InPhase", _OUT: "OutPhase"}
_OF_LITS = re.compile(r"(test-volume|volume|segmentation)-(\d+)\.nii(\.gz)?$", re.IGNORECASE)

_HU = (-200.0, 400.0)
_PERCENTILES = (0.1, 99.9)
"""Supplement, §4: the range that CT is clipped to, and the percentiles of a volume that MR is."""

_TEST, _ALL = 13, 131
"""Table 3 of semanticGAN's supplement: of 131 volumes 118 to train and 13 to test."""

_TUMOUR = 2
_LEVELS = ((0, 0), (55, 70), (110, 135), (175, 200), (240, 255))
"""Grey levels of CHAOS: nothing, liver, right kidney, left kidney, spleen."""

_DECODERS = 4
"""Volumes that are decoded at once: each is held whole, about 200 MB of CT."""

_WHERE_FROM = (
    "Volumes are not shipped with lsmbench. Put these into LSMBENCH_DATA/liver, or name the folder that holds them by "
    "the option root: lits/ (volume-*.nii and segmentation-*.nii, and for unlabelled volumes test-volume-*.nii, of "
    "https://competitions.codalab.org/competitions/17094, in any folders) and chaos/ (CHAOS_Train_Sets of "
    "https://zenodo.org/records/3431873)."
)


@dataclass(frozen=True)
class _Case:
    """One patient's volume.

    Attributes:
        unit: What the patient is called.
        files: The volume's file, or those of its slices in the order of `masks`.
        masks: The mask's file, or those of its slices; empty if it has none.
    """

    unit: str
    files: tuple[Path, ...]
    masks: tuple[Path, ...] = ()

    @property
    def place(self) -> str:
        """The file, or the folder of the slices, for people."""
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)


@dataclass
class _Seen:
    """Problems and facts of one volume: its slices' size in px, spacing in mm, how many show the liver, and a hash."""

    problems: list[str] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    oblique: bool = False
    liver: int = 0
    digest: Bytes = field(default_factory=lambda: np.zeros(16, np.uint8))


@dataclass
class Liver(Dataset):
    """Slices of CT to the liver in them, tested in domain and on MR (semanticGAN; files of your own).

    Reads these sets as their owners distribute them, the second if it is there:

    * `lits`, LiTS (Bilic et al. 2019): `volume-0.nii` with `segmentation-0.nii`, and `test-volume-0.nii` without, also
      as .nii.gz and in any folders, such as `Training Batch 1`;
    * `chaos`, CHAOS (Kavur et al. 2020): `MR/1/T1DUAL/DICOM_anon/InPhase` and `OutPhase` with slices as DICOM, and
      `T1DUAL/Ground` with their masks as PNG, whose order is that of the slices by `InstanceNumber`; names count where
      they are the same. Grey levels from 55 to 70 are liver. Volumes without masks, such as those of the test set, are
      not read.

    LiTS is split by patient as semanticGAN (supplement, Table 3): of 131 volumes 13 test and 118 train, fewer in
    proportion. An eighth of those 118 validates here, 14. The paper does not say which; they are shuffled with seed 0
    unless `split_seed` gives another. A volume of LiTS without a mask is trained on without, as are those of its test
    set that `unlabelled` asks for; the paper takes all 70, `unlabelled=null`. CHAOS gives two test sets, `t1_in` and
    `t1_out`: the same patients in phase and out of phase, called by both, since a unit belongs to one test set.

    Slices are axial, whatever the order of a file's axes, and arranged alike (`lsmbench.data.volumes`). Each is taken
    at its own size: neither cropped, nor resampled, nor aligned (§4). CT is clipped to -200 to 400 HU. MR is clipped to
    the 0.1 and 99.9 percentiles of its volume: so the text is read, which says "slice-wise" of what follows. Then each
    slice's least number becomes 0 and its greatest 1, and it is squeezed to a square (§2).

    Views: `x`, grey, stored as uint8 (N, 1, size, size); `y`, 1 in the liver, stored as uint8 (N, size, size), resized
    by the nearest pixel. Tumours in the liver count as background, as in the paper, or as liver (`tumour`).

    Memory: 131 volumes of 400 slices at 256 px are 3.4 GB of slices and as much of masks, and are held once more in
    training; `every=4` takes a quarter of the slices.

    The first metric is Dice per patient (§5): all slices of a patient together, those without liver included; the
    second the IoU per patient.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "liver"

    root: str = option("", "Folder that holds lits and chaos; empty: LSMBENCH_DATA/liver.", counts="never")
    unlabelled: int | None = option(
        0,
        "So many volumes of LiTS' test set are x-only training samples; 0: none, null: all that are there.",
        unit="volumes",
        source="the paper uses all",
    )
    every: int = option(1, "Take every so many slices of each volume, from its first; 1 takes all.", unit="slices")
    tumour: Literal["background", "liver"] = option(
        "background", "What tumours in the liver count as.", source="§4", choices=("background", "liver")
    )
    size: int = option(
        256, "Height and width that slices and masks are squeezed to, divisible by 4.", unit="px", source="§2"
    )
    reconstruction: Literal["mse", "l1"] = option("mse", "Loss of the image's reconstruction.", choices=("mse", "l1"))

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.unlabelled is not None and self.unlabelled < 0:
            raise UserError(
                f"dataset liver: unlabelled={self.unlabelled}; expected a number of volumes, 0 for none, null for all."
            )
        if self.every < 1:
            raise UserError(f"dataset liver: every={self.every}; expected at least 1.")

    @property
    def domains(self) -> dict[str, Domain]:
        """A grey image, and a mask of two classes that is scored by Dice per patient first."""
        return {
            "x": Image(1, self.size, reconstruction=self.reconstruction),
            "y": Mask(2, self.size, names=("background", "liver"), dice=True, per_unit=True),
        }

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Drawn volumes of 32 px: eight of LiTS with masks and two without, three patients of CHAOS; files are kept."""
        if not (folder / "chaos").exists():
            _write_example(folder)
        return cls(root=str(folder), size=32)

    def load(self) -> Arrays:
        """Slices `x`, uint8 (N, 1, size, size), and masks `y`, uint8 (N, size, size), of all volumes that have masks.

        They come volume by volume, from the feet to the head, first LiTS, then CHAOS in phase and out of phase; kept in
        the cache.

        Raises:
            UserError: If files are missing, with where to get them; if some are broken, do not fit each other or are
                the same, naming all of them; if a library is missing, or the cache cannot be written to.
        """
        return paired_arrays(self.pools())

    def units(self) -> NDArray[np.generic]:
        """The patient of each slice of `load`."""
        return np.concatenate([np.asarray(pool.unit) for pool in self.pools() if "y" in pool.views])

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """A pool of LiTS' slices with masks, one of those without, and one for each phase of CHAOS.

        Args:
            seed: Seed of the split; `None` is 0.

        Raises:
            UserError: As `load`; if there are too few volumes to split.
        """
        findings = Findings()
        sources = self._find(findings)
        arrays = read_each(sources, self._cached, findings)
        _same(sources, {name: found["digest"] for name, found in arrays.items()}, findings)
        findings.stop_if_any("dataset liver")
        return self._pooled(sources, arrays, seed)

    def split(self, count: int, seed: int | None) -> Split:
        """Splits the patients of LiTS as the paper's Table 3 does; an eighth of those to train with validates.

        Args:
            count: Number of patients.
            seed: Seed of the shuffle; `None` is 0.

        Returns:
            The patients' numbers.

        Raises:
            UserError: If a part would be empty.
        """
        if count < 3:
            raise UserError(f"dataset liver: {count} volumes with masks are too few to split; give at least 3.")
        order = np.random.default_rng((0 if seed is None else seed, 7)).permutation(count)
        train = count - max(1, count * _TEST // _ALL)
        kept = train - max(1, train // 8)
        return Split(order[:kept], order[kept:train], order[train:])

    def inputs(self) -> SliceInput:
        """Pictures of single slices, already clipped."""
        return SliceInput(self.size)

    def inspect(self) -> Inspection:
        """Reads all files by the same code as `load`, but without the cache."""
        inspection = Inspection()
        findings = inspection.findings
        with findings.gathering():
            sources, arrays = self._find(findings), {}
            for name, cases in sources.items():
                sources[name], arrays[name], seen = self._read(name, cases, findings)
                if seen:
                    inspection.facts[name] = _fact(arrays[name], seen)
                    _note(name, sources[name], seen, findings)
            _same(sources, {name: found["digest"] for name, found in arrays.items()}, findings)
            if sources[_LITS]:
                pools = Pools(self._pooled(sources, arrays, None), "dataset liver")
                pools.check(self.domains)
                inspection.take(pools, "x", "y")
        return inspection

    # Samples ----------------------------------------------------------------------------------------------------------

    def _pooled(self, sources: dict[str, list[_Case]], arrays: dict[str, Arrays], seed: int | None) -> tuple[Pool, ...]:
        """The pools of volumes that are read."""
        pools = []
        for source, cases in sources.items():
            if not cases:
                continue
            counts = np.asarray(arrays[source]["count"], np.int64)
            owner = np.repeat(np.arange(len(cases)), counts)
            parts = {TRAIN if source == _ALONE else source: np.arange(len(owner))}
            if source == _LITS:
                split = self.split(len(cases), seed)
                parts = {
                    part: np.flatnonzero(np.isin(owner, patients))
                    for part, patients in ((TRAIN, split.train), (VAL, split.val), (TEST, split.test))
                }
            views: dict[str, Stored] = {view: arrays[source][view] for view in ("x", "y") if view in arrays[source]}
            names = [
                f"{case.unit}, slice {k * self.every + 1}"
                for case, count in zip(cases, counts.tolist(), strict=True)
                for k in range(count)
            ]
            pools.append(Pool(source, views, parts, np.array([case.unit for case in cases])[owner], names))
        return tuple(pools)

    def _cached(self, source: str, cases: list[_Case], findings: Findings) -> Arrays:
        """The arrays of a source's volumes, as `_read` gives them."""

        def build() -> Arrays:
            arrays = self._read(source, cases, findings)[1]
            findings.stop_if_any("dataset liver")
            return arrays

        key = {"version": VERSION, "source": source, "size": self.size, "every": self.every, "tumour": self.tumour}
        return cached_arrays(self.name, key, [path for case in cases for path in (*case.files, *case.masks)], build)

    def _read(self, source: str, cases: list[_Case], findings: Findings) -> tuple[list[_Case], Arrays, list[_Seen]]:
        """Decodes volumes, some at once; those with a problem are left out.

        Returns:
            The volumes without problems; their arrays `x`, and `y` if they have masks, and of each volume the number
            of slices, `count`, and a hash of them, `digest`; and what was seen.
        """
        masked = source != _ALONE
        slices: list[int] = []
        usable: list[_Case] = []
        for case in cases:  # how much memory it takes is known before anything is decoded
            with findings.gathering():
                slices.append(len(case.files) if source in _PHASES else nifti_slices(case.files[0]))
                usable.append(case)
        kept = [len(range(0, count, self.every)) for count in slices]
        starts = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
        x = np.empty((starts[-1], 1, self.size, self.size), np.uint8)
        y = np.empty((starts[-1] if masked else 0, self.size, self.size), np.uint8)

        def decode(i: int) -> _Seen:
            part = slice(starts[i], starts[i + 1])
            return self._decode(source, usable[i], x[part], y[part])

        with ThreadPoolExecutor(min(_DECODERS, os.cpu_count() or 1)) as pool:
            every = list(pool.map(decode, range(len(usable))))
        findings.problems += [problem for seen in every for problem in seen.problems]
        good = [i for i, seen in enumerate(every) if not seen.problems]
        end = 0
        for i in good:  # in place: there may be no memory for a copy
            if end != starts[i]:
                for views in (x, y) if masked else (x,):
                    views[end : end + kept[i]] = views[starts[i] : starts[i + 1]].copy()
            end += kept[i]
        arrays: Arrays = {
            "x": x[:end],
            "count": np.array([kept[i] for i in good], np.int64),
            "digest": np.array([every[i].digest for i in good], np.uint8).reshape(-1, 16),
            **({"y": y[:end]} if masked else {}),
        }
        return [usable[i] for i in good], arrays, [every[i] for i in good]

    def _decode(self, source: str, case: _Case, x: Bytes, y: Bytes) -> _Seen:
        """Writes one volume's views where they belong: `x`, (n, 1, size, size), and `y`, (n, size, size) or empty."""
        seen = _Seen()
        chosen = slice(None, None, self.every)
        try:
            if source in _PHASES:
                volume = read_dicom(case.files)
                low, high = np.percentile(volume.numbers(slice(None)), _PERCENTILES)
            else:
                volume = read_nifti(case.files[0])
                low, high = _HU
            for view, k in zip(x, range(len(volume))[chosen], strict=True):
                view[:] = grey(volume.numbers(k).clip(low, high), self.size)
            seen.digest = np.frombuffer(blake2b(np.ascontiguousarray(x).data, digest_size=16).digest(), np.uint8)
            seen.size, seen.spacing, seen.oblique = volume.size, volume.spacing, volume.oblique
            if case.masks:
                masks = _ground(case, volume) if source in _PHASES else self._labelled(case, volume)
                for view, mask in zip(y, masks[chosen], strict=True):
                    small = Picture.fromarray(mask.astype(np.uint8)).resize(
                        (self.size,) * 2, Picture.Resampling.NEAREST
                    )
                    view[:] = np.asarray(small)
                    seen.liver += int(mask.any())
        except UserError as error:
            seen.problems.append(str(error))
        return seen

    def _labelled(self, case: _Case, volume: Volume) -> NDArray[np.bool_]:
        """Where a volume of LiTS shows the liver, (slices, H, W).

        Raises:
            UserError: If the mask cannot be read, is of another shape or affine, or holds other labels.
        """
        path = case.masks[0]
        mask = read_nifti(path)
        check_grid(mask, volume, path, case.files[0])
        found = np.unique(mask.voxels) * mask.slope + mask.intercept
        if not set(found.tolist()) <= {0, 1, _TUMOUR}:
            raise UserError(
                f"{path}: holds the labels {few([f'{label:g}' for label in found])}; expected 0, 1 (liver) and 2 "
                "(tumour). Get it again, or remove it."
            )
        labels = mask.voxels if (mask.slope, mask.intercept) == (1, 0) else mask.numbers(slice(None))
        lower: NDArray[np.bool_] = labels == 1
        return lower | (labels == _TUMOUR) if self.tumour == "liver" else lower

    # Files ------------------------------------------------------------------------------------------------------------

    def _find(self, findings: Findings) -> dict[str, list[_Case]]:
        """The volumes that are read of each source; opens no volume.

        Raises:
            UserError: If the folder, or that of LiTS, is missing, or has no volume with a mask.
        """
        root = own_folder(self.name, self.root, _WHERE_FROM)
        homes = {
            name: [path for word in words for path in folders_inside([root], word)] for name, words in _HOMES.items()
        }
        if not homes["lits"]:
            held = [path.name + "/" * path.is_dir() for path in sorted(root.iterdir())]
            raise UserError(f"dataset liver: {root}: no folder lits; it holds: {few(held) or 'nothing'}. {_WHERE_FROM}")
        labelled, alone, tests = _of_lits(homes["lits"], findings)
        if alone:
            findings.notes.append(
                f"lits: {len(alone)} of {len(labelled) + len(alone)} volumes have no mask, x-only training samples: "
                f"{few([case.files[0].name for case in alone])}."
            )
        if not labelled and not findings.problems:
            raise UserError(
                f"dataset liver: {homes['lits'][0]}: no volume-*.nii with a segmentation-*.nii. {_WHERE_FROM}"
            )
        found = {_LITS: labelled}
        if alone := [*alone, *self._unlabelled(tests, homes["lits"][0], findings)]:
            found[_ALONE] = alone
        return found | {name: cases for name, cases in _of_chaos(homes["chaos"], findings).items() if cases}

    def _unlabelled(self, tests: list[_Case], home: Path, findings: Findings) -> list[_Case]:
        """The volumes of LiTS' test set that are asked for."""
        if self.unlabelled == 0:
            if tests:
                findings.notes.append(
                    f"lits: {len(tests)} test-volume-*.nii are not read; unlabelled=null shows them without masks."
                )
            return []
        if not tests or (self.unlabelled or 0) > len(tests):
            asked = "null" if self.unlabelled is None else self.unlabelled
            raise UserError(
                f"dataset liver: {home}: unlabelled={asked}, but {len(tests) or 'no'} test-volume-*.nii are there. Put "
                f"them there, or ask for fewer. {_WHERE_FROM}"
            )
        chosen = np.random.default_rng(14).permutation(len(tests))[: self.unlabelled]
        return [tests[i] for i in np.sort(chosen).tolist()]


def _of_lits(homes: Sequence[Path], findings: Findings) -> tuple[list[_Case], list[_Case], list[_Case]]:
    """Volumes of LiTS with a mask, those without, and those of its test set, by their numbers."""
    kinds: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}, "test-volume": {}}
    for path in (path for home in homes for path in inventory(home).files):
        if not (match := _OF_LITS.match(path.name)):
            continue
        found, number = kinds[match[1].lower()], int(match[2])
        if number in found:
            findings.problems.append(
                f"{path}: {match[1]} {number} is there twice, also as {found[number]}. Remove one of them."
            )
        else:
            found[number] = path
    volumes, masks = kinds["volume"], kinds["segmentation"]
    findings.problems += [
        f"{path}: there is no volume-{number}.nii for this mask. Add it, or remove the mask."
        for number, path in sorted(masks.items())
        if number not in volumes
    ]
    cases = [
        _Case(f"lits {number}", (path,), (masks[number],) if number in masks else ())
        for number, path in sorted(volumes.items())
    ]
    tests = [_Case(f"lits test {number}", (path,)) for number, path in sorted(kinds["test-volume"].items())]
    return [case for case in cases if case.masks], [case for case in cases if not case.masks], tests


def _of_chaos(homes: Sequence[Path], findings: Findings) -> dict[str, list[_Case]]:
    """The volumes of CHAOS in each phase, by their patients; the slices' files in the order of their masks."""
    found: dict[str, list[_Case]] = {name: [] for name in _PHASES}
    patients: dict[str, Path] = {}
    without: list[str] = []
    inside = [path for home in homes for path in sorted(home.rglob("*")) if path.is_dir()]
    places = [path for path in inside if path.name.lower() == "t1dual"]
    for place in sorted(places, key=lambda path: (len(path.parent.name), path.parent.name)):
        patient = place.parent.name
        grounds = [path for folder in folders_inside([place], "Ground") for path in sorted(folder.iterdir())]
        masks = by_stem((path for path in grounds if path.suffix.lower() in PICTURES), findings)
        if not masks:
            without.append(patient)
            continue
        if patient in patients:
            findings.problems.append(
                f"{place}: patient {patient} is there twice, also in {patients[patient]}. Remove one of them."
            )
            continue
        patients[patient] = place
        for name, phase in _PHASES.items():
            with findings.gathering():
                folders = folders_inside([place], f"DICOM_anon/{phase}")
                slices = [path for folder in folders for path in sorted(folder.iterdir()) if _is_slice(path)]
                unit = f"chaos {patient} {phase.removesuffix('Phase').lower()} phase"
                found[name].append(_Case(unit, *_matched(slices, masks, place, phase)))
    if without:
        findings.notes.append(f"chaos: {len(without)} patients have no masks, not read: {few(without)}.")
    return found


def _is_slice(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() in ("", *DICOM)


def _matched(
    slices: list[Path], masks: dict[str, Path], place: Path, phase: str
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """A series' files and their masks, in the same order.

    Raises:
        UserError: If there is not a mask for each, or a file cannot be read.
    """
    if len(slices) != len(masks):
        raise UserError(
            f"{place}: DICOM_anon/{phase} has {len(slices)} slices, but Ground {len(masks)} masks; expected one for "
            "each. Get the patient's folder again."
        )
    if {path.stem for path in slices} == masks.keys():
        return tuple(slices), tuple(masks[path.stem] for path in slices)
    in_order = sorted(masks, key=lambda stem: [int(word) if word.isdigit() else 0 for word in re.split(r"(\d+)", stem)])
    return tuple(by_instance(slices)), tuple(masks[stem] for stem in in_order)


def _ground(case: _Case, volume: Volume) -> NDArray[np.bool_]:
    """Where a volume of CHAOS shows the liver, (slices, H, W).

    Raises:
        UserError: If a mask cannot be read, is of another size, or holds other grey levels than CHAOS's.
    """
    pictures = []
    for path in case.masks:
        picture = open_picture(path)
        values = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
        if picture.size != volume.size or values.ndim != 2:
            raise UserError(
                f"{path}: is a picture of {picture.width}×{picture.height} px, {picture.mode}; expected a grey one of "
                f"its slice's {volume.size[0]}×{volume.size[1]} px. Get it again."
            )
        known = np.any([(values >= low) & (values <= high) for low, high in _LEVELS], axis=0)
        if not known.all():
            raise UserError(
                f"{path}: holds the grey levels {few(list(map(str, np.unique(values[~known]))))}; expected those of "
                "CHAOS: 0, 55 to 70 (liver), 110 to 135, 175 to 200 and 240 to 255. Get it again."
            )
        pictures.append((values >= _LEVELS[1][0]) & (values <= _LEVELS[1][1]))
    return arranged(pictures, volume.order, volume.mirrored)


def _same(sources: dict[str, list[_Case]], digests: dict[str, NDArray[Any]], findings: Findings) -> None:
    """Finds volumes whose slices are the same: a patient must not be on both sides of a split.

    Besides, of problems that both phases of CHAOS have with the same mask one is left.
    """
    findings.problems[:] = dict.fromkeys(findings.problems)
    known: dict[bytes, _Case] = {}
    for source, found in digests.items():
        for case, digest in zip(sources[source], np.asarray(found), strict=True):
            other = known.setdefault(digest.tobytes(), case)
            if other is not case:
                findings.problems.append(
                    f"{case.place}: patient {case.unit} has the same slices as {other.unit} ({other.place}), and could "
                    "be on both sides of a split. Remove one of them."
                )


def _fact(arrays: Arrays, seen: Sequence[_Seen]) -> str:
    """A source's row of the table."""
    said = [f"{len(seen)} volumes", f"slices: {spread(np.asarray(arrays['count']).tolist())} (least / median / most)"]
    said.append(few(sorted({f"{one.size[0]}×{one.size[1]} px" for one in seen}), 2))
    for what, axis in (("from slice to slice", 0), ("of pixels", 2)):
        values = [one.spacing[axis] for one in seen]
        low, high = min(values), max(values)
        said.append(f"mm {what}: {low:.3g}" + (f" to {high:.3g}" if high > low else ""))
    return "; ".join(said)


def _note(source: str, cases: Sequence[_Case], seen: Sequence[_Seen], findings: Findings) -> None:
    """What a person should know of a source's files."""
    of = [(case.unit, one) for case, one in zip(cases, seen, strict=True)]
    for what, units in (
        ("masks show no liver at all", [unit for unit, one in of if not one.liver and source != _ALONE]),
        (
            "volumes are anisotropic, their slices more than twice as far apart as their pixels; slices are taken as "
            "they are",
            [unit for unit, one in of if one.spacing[0] > 2 * min(one.spacing[1:])],
        ),
        ("volumes are not quite axial; slices are taken as they are", [unit for unit, one in of if one.oblique]),
    ):
        if units:
            findings.notes.append(f"{source}: {len(units)} {what}: {few(units)}.")


# The example


def _write_example(folder: Path) -> None:
    """Draws ten volumes of LiTS, two of them without a mask and some stored in other orders, and three of CHAOS."""
    nibabel = installed("nibabel")
    rng = np.random.default_rng(0)
    lits = folder / "lits"
    lits.mkdir(parents=True)
    for i in range(10):
        grounds = list(_drawn(rng, 5, other=False))
        hounsfield = np.stack([numbers for numbers, _ in grounds]).astype(np.int16)
        labels = np.stack([label for _, label in grounds])
        # Axes lead to the left, the back and the head, or are stored in another order, with the affine that says so.
        affine = np.diag([-0.8, -0.8, 2.5 if i % 3 else 5.0, 1])
        stored = [voxels.transpose(2, 1, 0) for voxels in (hounsfield, labels)]
        if i % 2:
            affine, stored = affine * [-1, 1, 1, 1], [voxels[::-1] for voxels in stored]
            affine[0, 3] = -0.8 * (hounsfield.shape[2] - 1)
        if i < 8:
            nibabel.save(nibabel.Nifti1Image(stored[0], affine), lits / f"volume-{i}.nii")
            nibabel.save(nibabel.Nifti1Image(stored[1], affine), lits / f"segmentation-{i}.nii")
        else:
            nibabel.save(nibabel.Nifti1Image(stored[0], affine), lits / f"test-volume-{i - 8}.nii")
    for patient in range(1, 4):
        place = folder / "chaos/MR" / str(patient) / "T1DUAL"
        for phase in ("Ground", *(f"DICOM_anon/{phase}" for phase in _PHASES.values())):
            (place / phase).mkdir(parents=True)
        for k, (numbers, label) in enumerate(_drawn(rng, 3, other=True)):
            name = f"IMG-{patient:04}-{k + 1:05}"
            levels = np.where(label > 0, 63, np.where(numbers > 700, 255, 0)).astype(np.uint8)
            Picture.fromarray(levels).save(place / "Ground" / f"{name}.png")
            for phase, scale in (("InPhase", 1.0), ("OutPhase", 0.7)):
                pixels = (numbers * scale).clip(0).astype(np.uint16)
                write_slice(place / "DICOM_anon" / phase / f"{name}.dcm", pixels, k + 1, 6.0 * k)


def write_slice(path: Path, pixels: NDArray[np.uint16], number: int, height: float, **elements: Any) -> None:
    """Writes an axial slice of MR as DICOM.

    Args:
        path: The file.
        pixels: Of 16 bits, (H, W).
        number: The slice's `InstanceNumber`.
        height: Where it lies, in millimetres towards the head.
        elements: Further elements by their words.
    """
    pydicom = installed("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.MRImageStorage, f"1.2.3.{number}"
    made = pydicom.dataset.Dataset()
    made.file_meta = meta
    made.Rows, made.Columns = pixels.shape
    made.Modality, made.SamplesPerPixel, made.PhotometricInterpretation = "MR", 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelSpacing, made.SliceThickness = [1.6, 1.6], 6
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, height]
    made.InstanceNumber, made.SOPClassUID, made.SOPInstanceUID = number, meta.MediaStorageSOPClassUID, f"1.2.3.{number}"
    made.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    for word, value in elements.items():
        setattr(made, word, value)
    made.save_as(path, enforce_file_format=True)


def _drawn(rng: np.random.Generator, slices: int, other: bool) -> Iterator[tuple[NDArray[np.float64], Bytes]]:
    """Slices of 32×32 px, in HU or, if `other`, in numbers of MR, and labels: 1 liver, 2 tumour; the first is empty."""
    side = 32

    def oval(x: float, y: float, across: float, up: float) -> NDArray[np.bool_]:
        drawn = Picture.new("1", (side, side))
        ImageDraw.Draw(drawn).ellipse([x - across, y - up, x + across, y + up], fill=1)
        return np.asarray(drawn)

    middle, top, wide = rng.uniform(10, 13), rng.uniform(12, 15), rng.uniform(5, 7)
    tumour = bool(rng.integers(2))
    air, flesh, organ, bone, lesion = (30.0, 420.0, 620.0, 90.0, 300.0) if other else (-1000.0, 40.0, 160.0, 600.0, 0.0)
    for k in range(slices):
        numbers = np.where(oval(16, 17, 14, 11), flesh, air)
        numbers[oval(16, 25, 2, 2)] = bone
        numbers[oval(23, 14, 3, 3)] = (flesh + organ) / 2
        liver = (
            oval(middle, top, wide * k / (slices - 1), 1 + 4 * k / (slices - 1)) if k else np.zeros((side, side), bool)
        )
        label = liver.astype(np.uint8)
        numbers[liver] = organ
        if tumour and k > 1 and not other:
            inside = oval(middle, top, 1.5, 1.5) & liver
            label[inside], numbers[inside] = _TUMOUR, lesion
        yield numbers + rng.normal(0, 12, numbers.shape), label
