"""Volumes of CT and MR as slices: NIfTI by nibabel, series of DICOM by pydicom, both in the extra `medical`.

Slices are axial, whatever the order of the file's axes: from the feet to the head, each with the front of the body
above and its right side on the left, as radiologists look at it. Axes are exchanged and mirrored by the affine, that is
by where the file says that voxels lie; nothing is interpolated.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.errors import UserError

Floats = NDArray[np.float32]

NIFTI = (".nii", ".nii.gz")
"""Endings of volumes."""
DICOM = (".dcm", ".ima", ".dicom")
"""Endings of slices; files without an ending are slices too."""

_SHIFT = 0.1
"""A mask's voxels may lie this share of a voxel beside those of its volume: headers are rounded."""
_GAP, _SAME = 1.5, 0.1
"""Slices whose distance is this many times the usual one lack others between them, or lie at one place."""
_OBLIQUE = 0.01
_BROKEN = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Volume:
    """A volume's slices.

    Attributes:
        voxels: Numbers as they are stored, (slices, H, W); a view of the file's array wherever it can be.
        spacing: Millimetres from slice to slice, row to row and column to column.
        slope: What stored numbers are multiplied by.
        intercept: What is then added.
        affine: Where voxels (column, row, slice), counted from the right, back and feet, lie in millimetres, (4, 4);
            `None` if the files do not say.
        oblique: Whether slices are not quite axial; they are taken as they are.
        order: Of a series, which of its files each slice is.
        mirrored: Of a series, whether rows and columns are turned around.
    """

    voxels: NDArray[Any]
    spacing: tuple[float, float, float]
    slope: float = 1.0
    intercept: float = 0.0
    affine: NDArray[np.float64] | None = None
    oblique: bool = False
    order: tuple[int, ...] = ()
    mirrored: tuple[bool, bool] = (False, False)

    def __len__(self) -> int:
        return len(self.voxels)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a slice in pixels."""
        return int(self.voxels.shape[2]), int(self.voxels.shape[1])

    def numbers(self, slices: int | slice) -> Floats:
        """What the voxels of one or several slices mean, such as Hounsfield units: (H, W) or (n, H, W)."""
        return np.asarray(self.voxels[slices], np.float32) * np.float32(self.slope) + np.float32(self.intercept)


def grey(numbers: Floats, side: int) -> NDArray[np.uint8]:
    """A slice as a network's source, uint8 (1, side, side): its least number is 0 and its greatest 255.

    It is squeezed to a square by Pillow's bilinear filter, which averages when it reduces. A slice of one number is 0.
    """
    low, high = float(numbers.min()), float(numbers.max())
    scaled = ((numbers - low) / ((high - low) or 1)).astype(np.float32)
    small = np.asarray(Picture.fromarray(scaled).resize((side, side), Picture.Resampling.BILINEAR))
    return (small * 255).round().clip(0, 255).astype(np.uint8)[None]


def installed(module: str) -> ModuleType:
    """The library of the extra `medical` that reads a kind of files.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return __import__(module)
    except ImportError as error:
        raise UserError(
            f"volumes are read by {module}, which is not installed: pip install 'lsmbench[medical]'."
        ) from error


# NIfTI ----------------------------------------------------------------------------------------------------------------


def nifti_slices(path: Path) -> int:
    """How many slices a volume has; reads its header alone.

    Raises:
        UserError: As `read_nifti`, of the header.
    """
    image, axes = _opened(path)
    return int(image.shape[int(np.argmax(axes[:, 0] == 2))])


def read_nifti(path: Path) -> Volume:
    """Reads a volume, .nii or .nii.gz.

    Raises:
        UserError: If nibabel is missing; if the file cannot be read, has not three axes longer than 1, says of none of
            its axes where it leads, or holds a number that is not finite.
    """
    nibabel = installed("nibabel")
    image, axes = _opened(path)
    try:
        stored = np.asanyarray(image.dataobj.get_unscaled()).reshape(image.shape[:3])
        # R, A, S: to the right, the front and the head. Slices, rows and columns lead to the head, back and left.
        voxels = nibabel.orientations.apply_orientation(stored, axes).transpose(2, 1, 0)[:, ::-1, ::-1]
        if voxels.dtype.kind not in "iufb":
            raise UserError(f"{path}: holds {voxels.dtype} numbers; expected whole numbers or floats. Convert it.")
        slope, intercept = (float(value) for value in (image.dataobj.slope, image.dataobj.inter))
        unknown = voxels.size - int(np.isfinite(voxels).sum()) if voxels.dtype.kind == "f" else 0
    except (*_BROKEN, zlib.error) as error:
        raise _unreadable(path, error) from error
    if unknown or not np.isfinite([slope, intercept]).all():
        raise UserError(
            f"{path}: {unknown:,} of {voxels.size:,} voxels are no finite numbers (NaN or infinite). Get it again, or "
            "give them a number, such as that of air."
        )
    affine = image.affine @ nibabel.orientations.inv_ornt_aff(axes, image.shape[:3])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    tilted = np.abs(affine[:3, :3] / spacing - np.eye(3)).max() > _OBLIQUE
    return Volume(voxels, (spacing[2], spacing[1], spacing[0]), slope, intercept, affine, bool(tilted))


def _opened(path: Path) -> tuple[Any, NDArray[np.float64]]:
    """An image whose voxels are not read yet, and its axes' orientation as nibabel gives it."""
    nibabel = installed("nibabel")
    try:
        image = nibabel.load(path)
        shape, affine = tuple(map(int, image.shape)), np.asarray(image.affine, np.float64)
    except (*_BROKEN, zlib.error, nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as e:
        raise _unreadable(path, e) from e
    if len(shape) < 3 or any(length > 1 for length in shape[3:]) or 0 in shape:
        said = "×".join(map(str, shape))
        raise UserError(
            f"{path}: has shape {said}; expected one volume of three axes (a fourth may be 1). Save a volume alone."
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UserError(f"{path}: its affine does not say where its axes lead. Mend its header, or get it again.")
    return image, np.asarray(nibabel.orientations.io_orientation(affine))


def _unreadable(path: Path, error: BaseException, what: str = "volume") -> UserError:
    if isinstance(error, UserError):
        return error
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: cannot be read as a {what} ({said}); it may be cut off. Get it again or remove it.")


def check_grid(mask: Volume, volume: Volume, path: Path, other: Path) -> None:
    """Refuses a mask whose voxels are not its volume's.

    Raises:
        UserError: If shapes differ, or the affines by more than a tenth of a voxel anywhere.
    """
    if mask.voxels.shape != volume.voxels.shape:
        raise UserError(
            f"{path}: has {_shape(mask)}, but its volume {other.name} {_shape(volume)}. Get both again, or remove both."
        )
    if mask.affine is None or volume.affine is None:
        return
    far = np.array([n - 1 for n in reversed(volume.voxels.shape)], np.float64)
    corners = np.array([[x, y, z] for x in (0, far[0]) for y in (0, far[1]) for z in (0, far[2])])
    apart = corners @ (mask.affine - volume.affine)[:3, :3].T + (mask.affine - volume.affine)[:3, 3]
    distance = float(np.linalg.norm(apart, axis=1).max())
    if distance > _SHIFT * min(volume.spacing):
        raise UserError(
            f"{path}: its affine places voxels up to {distance:.3g} mm beside those of its volume {other.name}; "
            "expected the same. Get both again; if the voxels belong together all the same, copy the volume's header "
            "to the mask."
        )


def _shape(volume: Volume) -> str:
    return f"{len(volume)} slices of {volume.size[0]}×{volume.size[1]} px"


# DICOM ----------------------------------------------------------------------------------------------------------------


def read_dicom(paths: Sequence[Path]) -> Volume:
    """Reads the slices of one series, one a file, with `RescaleSlope` and `RescaleIntercept` applied.

    Slices are ordered by their places (`ImagePositionPatient`), and by `InstanceNumber` if none is told.

    Args:
        paths: The files, in any order.

    Raises:
        UserError: If pydicom is missing; if a file cannot be read, is compressed in a way that no installed library
            decodes, or is no grey axial slice; if slices are of different sizes or turned differently, if some lie at
            one place, or are missing between others.
    """
    installed("pydicom")
    headers, pictures = zip(*map(_slice, paths), strict=True)
    folder = paths[0].parent
    for what, found in (
        ("size", [f"{picture.shape[1]}×{picture.shape[0]} px" for picture in pictures]),
        ("orientation", [str(_rounded(header, "ImageOrientationPatient")) for header in headers]),
        ("spacing", [str(_rounded(header, "PixelSpacing")) for header in headers]),
    ):
        if other := [i for i, value in enumerate(found) if value != found[0]]:
            raise UserError(
                f"{paths[other[0]]}: has another {what} than {paths[0].name}: {found[other[0]]} and {found[0]}. Leave "
                f"one series alone in {folder}."
            )
    mirrored, normal, oblique = _turned(headers[0], paths[0])
    order, between = _order(headers, paths, normal)
    row, column = _rounded(headers[0], "PixelSpacing") or (1.0, 1.0)
    return Volume(
        arranged(pictures, order, mirrored), (between, row, column), oblique=oblique, order=order, mirrored=mirrored
    )


def arranged(pictures: Sequence[NDArray[Any]], order: Sequence[int], mirrored: tuple[bool, bool]) -> NDArray[Any]:
    """Pictures of a series' files as the slices of its volume are, (slices, H, W); as `Volume.order` and `mirrored`."""
    rows, columns = (-1 if turned else 1 for turned in mirrored)
    return np.stack([pictures[i] for i in order])[:, ::rows, ::columns]


def by_instance(paths: Sequence[Path]) -> list[Path]:
    """The files of a series in the order of `InstanceNumber`; of their names, if these are not all different numbers.

    Raises:
        UserError: If pydicom is missing, or a file cannot be read.
    """
    pydicom = installed("pydicom")
    numbers = []
    for path in paths:
        try:
            numbers.append(getattr(pydicom.dcmread(path, stop_before_pixels=True), "InstanceNumber", None))
        except (*_BROKEN, pydicom.errors.InvalidDicomError) as error:
            raise _unreadable(path, error, "DICOM slice") from error
    known = [int(number) for number in numbers if number is not None]
    if len(set(known)) < len(paths):
        return sorted(paths)
    return [path for _, path in sorted(zip(known, paths, strict=True))]


def _slice(path: Path) -> tuple[Any, Floats]:
    """A slice's header and numbers."""
    pydicom = installed("pydicom")
    try:
        header = pydicom.dcmread(path)
        if int(header.get("SamplesPerPixel", 1)) != 1 or header.get("PhotometricInterpretation") != "MONOCHROME2":
            raise UserError(
                f"{path}: is {header.get('PhotometricInterpretation', 'of unknown colours')}; expected a grey slice "
                "(MONOCHROME2). Remove it."
            )
        if int(header.get("NumberOfFrames", 1) or 1) != 1:
            raise UserError(f"{path}: holds {header.NumberOfFrames} frames; expected a file for each slice.")
        syntax = header.file_meta.TransferSyntaxUID
    except (*_BROKEN, pydicom.errors.InvalidDicomError) as error:
        raise _unreadable(path, error, "DICOM slice") from error
    try:
        stored = np.asarray(header.pixel_array, np.float32)
    except _BROKEN as error:
        if syntax.is_compressed and not pydicom.pixels.get_decoder(syntax).is_available:
            raise UserError(
                f"{path}: is compressed ({syntax.name}), and nothing that decodes it is installed. Install a decoder, "
                "e.g. pip install 'pylibjpeg[all]', or save the slices uncompressed."
            ) from error
        raise _unreadable(path, error, "DICOM slice") from error
    numbers = stored * np.float32(header.get("RescaleSlope", 1)) + np.float32(header.get("RescaleIntercept", 0))
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: holds numbers that are not finite (NaN or infinite). Get it again or remove it.")
    return header, numbers


def _rounded(header: Any, name: str) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in header.get(name, None) or ())


def _turned(header: Any, path: Path) -> tuple[tuple[bool, bool], NDArray[np.float64], bool]:
    """Whether rows and columns have to be mirrored, the direction to the head, and whether slices are oblique."""
    told = _rounded(header, "ImageOrientationPatient") or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    along, down = np.array(told[:3]), np.array(told[3:])  # in x to the left, y to the back, z to the head
    if np.abs(along).argmax() != 0 or np.abs(down).argmax() != 1:
        raise UserError(
            f"{path}: is no axial slice (ImageOrientationPatient {', '.join(f'{v:g}' for v in told)}). Leave the axial "
            "series alone in its folder."
        )
    normal = np.cross(along, down)
    oblique = max(1 - abs(along[0]), 1 - abs(down[1])) > _OBLIQUE**2
    return (bool(down[1] < 0), bool(along[0] < 0)), normal * np.sign(normal[2]), bool(oblique)


def _order(headers: Sequence[Any], paths: Sequence[Path], normal: NDArray[np.float64]) -> tuple[tuple[int, ...], float]:
    """Which file each slice is of, from the feet to the head, and the millimetres between two."""
    places = [_rounded(header, "ImagePositionPatient") for header in headers]
    told = float(headers[0].get("SpacingBetweenSlices", 0) or headers[0].get("SliceThickness", 0) or 1)
    without = [path for path, place in zip(paths, places, strict=True) if len(place) != 3]
    if without and len(without) < len(paths):
        raise UserError(f"{without[0]}: does not say where the slice lies (ImagePositionPatient), as others do.")
    if without:
        return tuple(paths.index(path) for path in by_instance(paths)), told
    heights = np.array(places) @ normal
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if not len(steps):
        return (0,), told
    usual = float(np.sort(steps)[(len(steps) - 1) // 2]) or told
    if len(twice := np.flatnonzero(steps < _SAME * usual)):
        one, other = (paths[order[twice[0] + i]] for i in (0, 1))
        raise UserError(
            f"{other}: lies at the same place as {one.name} ({heights[order[twice[0]]]:g} mm). Leave one of them, or "
            "one series in the folder."
        )
    if len(gaps := np.flatnonzero(steps > _GAP * usual)):
        one, other = (paths[order[gaps[0] + i]] for i in (0, 1))
        raise UserError(
            f"{other}: lies {steps[gaps[0]]:g} mm from its neighbour {one.name}, and other slices {usual:g} mm from "
            f"theirs: slices are missing, at {len(gaps)} {'place' if len(gaps) == 1 else 'places'}. Get the series "
            "again."
        )
    return tuple(order.tolist()), usual
