"""Volumes as slices: orientation, numbers, order of DICOM series, and what cannot be read."""

from __future__ import annotations

import gzip
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.encaps import encapsulate

from lsmbench.data.volumes import arranged, by_instance, check_grid, grey, nifti_slices, read_dicom, read_nifti
from lsmbench.datasets.liver import write_slice
from lsmbench.errors import UserError


def body() -> NDArray[np.int16]:
    """A volume (to the left, to the back, to the head) whose numbers tell all three directions: (6, 5, 4)."""
    left, back, head = np.meshgrid(np.arange(6), np.arange(5), np.arange(4), indexing="ij")
    return (left + 10 * back + 100 * head).astype(np.int16)


def saved(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64] | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 2.0, 1]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_slices_are_the_same_whatever_the_order_and_direction_of_axes(ending: str, tmp_path: Path) -> None:
    expected = body().transpose(2, 1, 0)  # slices to the head, rows to the back, columns to the left
    affine = np.diag([-0.7, -0.8, 3.0, 1])
    affine[:3, 3] = 5, 6, 7
    first = None
    for number, (axes, turned) in enumerate(product(permutations(range(3)), product((False, True), repeat=3))):
        image = nibabel.Nifti1Image(body(), affine)
        ornt = np.array([[axis, -1 if flip else 1] for axis, flip in zip(axes, turned, strict=True)], float)
        other = image.as_reoriented(ornt)
        path = tmp_path / f"{number}{ending}"
        nibabel.save(other, path)
        volume = read_nifti(path)
        assert np.array_equal(volume.numbers(slice(None)), expected)
        assert volume.spacing == pytest.approx((3, 0.8, 0.7))
        assert (volume.size, len(volume), nifti_slices(path), volume.oblique) == ((6, 5), 4, 4, False)
        first = first or volume
        check_grid(volume, first, path, path)


def test_numbers_are_scaled_and_may_be_of_any_kind(tmp_path: Path) -> None:
    for kind in (np.int16, np.uint8, np.float32, np.float64, np.int32):
        assert np.array_equal(
            read_nifti(saved(tmp_path / "a.nii", body().clip(0, 99).astype(kind))).numbers(2),
            body().clip(0, 99).transpose(2, 1, 0)[2],
        )
    image = nibabel.Nifti1Image(body(), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    volume = read_nifti(tmp_path / "scaled.nii")
    stored = np.asarray(nibabel.load(tmp_path / "scaled.nii").dataobj)[::-1, ::-1].transpose(2, 1, 0)
    assert np.allclose(volume.numbers(slice(None)), stored, atol=0.02)
    assert volume.voxels.dtype.kind == "i", "a volume is held as it is stored"


def test_a_fourth_axis_of_one_is_none_and_a_tilted_volume_is_told(tmp_path: Path) -> None:
    flat = read_nifti(saved(tmp_path / "a.nii", body()[..., None]))
    assert np.array_equal(flat.numbers(slice(None)), body().transpose(2, 1, 0))
    angle = np.deg2rad(10)
    affine = np.diag([-1, -1, 1.0, 1])
    affine[1:3, 1:3] = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = read_nifti(saved(tmp_path / "b.nii", body(), affine))
    assert tilted.oblique
    assert np.array_equal(tilted.numbers(slice(None)), body().transpose(2, 1, 0))


def test_broken_volumes_are_named(tmp_path: Path) -> None:
    several = saved(tmp_path / "4d.nii", np.stack([body()] * 3, -1))
    flat = saved(tmp_path / "2d.nii", body()[..., 0])
    lost = saved(tmp_path / "lost.nii", body().astype(np.float32))
    image = nibabel.load(lost)
    values = np.array(image.dataobj)
    values[1, 2, 3], values[0, 0, 0] = np.nan, np.inf
    saved(lost, values)
    cut = saved(tmp_path / "cut.nii", body())
    cut.write_bytes(cut.read_bytes()[:-50])
    zipped = saved(tmp_path / "zipped.nii.gz", np.random.default_rng(0).integers(0, 999, (30, 30, 30)).astype(np.int16))
    zipped.write_bytes(zipped.read_bytes()[:-900])
    text = tmp_path / "text.nii"
    text.write_text("no volume")
    (tmp_path / "empty.nii.gz").write_bytes(gzip.compress(b""))
    for path, why in (
        (several, r"4d\.nii: has shape 6×5×4×3; expected one volume of three axes"),
        (flat, "has shape 6×5"),
        (lost, "2 of 120 voxels are no finite numbers"),
        (cut, r"cut\.nii: cannot be read as a volume"),
        (zipped, r"zipped\.nii\.gz: cannot be read as a volume.*cut off"),
        (text, "cannot be read as a volume"),
        (tmp_path / "empty.nii.gz", "cannot be read as a volume"),
        (tmp_path / "absent.nii", "cannot be read as a volume"),
    ):
        with pytest.raises(UserError, match=why):
            read_nifti(path)


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    affine = np.diag([-1, -1, 2.0, 1])
    volume = read_nifti(saved(tmp_path / "volume.nii", body(), affine))
    path, other = tmp_path / "mask.nii", tmp_path / "volume.nii"
    check_grid(read_nifti(saved(path, body(), affine + 0.001)), volume, path, other)
    moved = affine.copy()
    moved[2, 3] = 2
    for voxels, its, why in (
        (body()[:, :-1], affine, r"mask\.nii: has 4 slices of 6×4 px, but its volume volume\.nii 4 slices of 6×5 px"),
        (body(), moved, "its affine places voxels up to 2 mm beside those"),
        (body(), np.diag([-1, -1, 3.0, 1]), "its affine places voxels up to 3 mm"),
    ):
        with pytest.raises(UserError, match=why):
            check_grid(read_nifti(saved(path, voxels, its)), volume, path, other)


def test_a_slice_is_grey_from_its_least_to_its_greatest_number() -> None:
    numbers = np.array([[-200, 400], [100, -50]], np.float32)
    assert np.array_equal(grey(numbers, 2), [[[0, 255], [128, 64]]])
    assert not grey(np.full((4, 4), 7, np.float32), 8).any()
    wide = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32)
    scaled = Picture.fromarray((wide - wide.min()) / (wide.max() - wide.min()))
    expected = np.asarray(scaled.resize((16, 16), Picture.Resampling.BILINEAR)) * 255
    assert np.abs(grey(wide, 16)[0] - expected).max() <= 0.51


# DICOM


def series(folder: Path, count: int = 4, **elements: Any) -> list[Path]:
    """A series whose files' names and numbers lead to the feet: file k is slice count - 1 - k of `body()`."""
    folder.mkdir(exist_ok=True)
    slices = body().transpose(2, 1, 0)
    for k in range(count):
        pixels = slices[count - 1 - k].astype(np.uint16)
        write_slice(folder / f"{k}.dcm", pixels, k + 1, 5.0 * (count - 1 - k), **elements)
    return [folder / f"{k}.dcm" for k in range(count)]


def test_dicom_slices_are_ordered_by_their_places_with_scale_and_mirror(tmp_path: Path) -> None:
    expected = body().transpose(2, 1, 0)
    paths = series(tmp_path)
    for given in (paths, paths[::-1], [paths[i] for i in (2, 0, 3, 1)]):
        volume = read_dicom(given)
        assert np.array_equal(volume.numbers(slice(None)), expected)
        assert volume.spacing == (5.0, 1.6, 1.6)
        assert [given[i].name for i in volume.order] == ["3.dcm", "2.dcm", "1.dcm", "0.dcm"]
    scaled = read_dicom(series(tmp_path, RescaleSlope="2.5", RescaleIntercept="-1024"))
    assert np.allclose(scaled.numbers(1), expected[1] * 2.5 - 1024)
    mirrored = read_dicom(series(tmp_path, ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]))
    assert np.array_equal(mirrored.numbers(slice(None)), expected[:, :, ::-1])
    pictures = [np.asarray(pydicom.dcmread(path).pixel_array) for path in paths]
    assert np.array_equal(arranged(pictures, mirrored.order, mirrored.mirrored), expected[:, :, ::-1])
    assert [path.name for path in by_instance(paths[::-1])] == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]


def test_slices_without_a_place_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    paths = series(tmp_path)
    for path in paths:
        header = pydicom.dcmread(path)
        del header.ImagePositionPatient
        header.save_as(path)
    assert np.array_equal(read_dicom(paths[::-1]).numbers(slice(None)), body().transpose(2, 1, 0)[::-1])


def test_missing_slices_and_two_at_one_place_are_refused(tmp_path: Path) -> None:
    paths = series(tmp_path)
    with pytest.raises(UserError, match=r"0\.dcm: lies 10 mm from its neighbour 2\.dcm, and other.* 5 mm.*missing"):
        read_dicom([paths[i] for i in (0, 2, 3)])
    write_slice(tmp_path / "again.dcm", body()[..., 0].T.astype(np.uint16), 9, 5.0)
    with pytest.raises(UserError, match=r"lies at the same place as \w+\.dcm \(5 mm\)"):
        read_dicom([*paths, tmp_path / "again.dcm"])
    five = [tmp_path / f"far{k}.dcm" for k in range(5)]
    for k, path in enumerate(five):
        write_slice(path, np.zeros((5, 6), np.uint16), k, 5.0 * k + 5.0 * (k > 2))
    with pytest.raises(UserError, match=r"far3\.dcm: lies 10 mm from its neighbour far2\.dcm, and other slices 5 mm"):
        read_dicom(five)


def test_broken_and_strange_slices_are_named(tmp_path: Path) -> None:
    paths = series(tmp_path)
    for change, why in (
        ({"PhotometricInterpretation": "MONOCHROME1"}, "is MONOCHROME1; expected a grey slice"),
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, r"another orientation than 1\.dcm: \(1\.0"),
        ({"Rows": 4, "PixelData": b"\0" * 48}, r"2\.dcm: has another size than 1\.dcm: 6×5 px and 6×4 px"),
    ):
        write_slice(paths[1], body()[..., 1].T.astype(np.uint16), 2, 10.0, **change)
        with pytest.raises(UserError, match=why):
            read_dicom([paths[1], *paths[2:]])
    with pytest.raises(UserError, match=r"0\.dcm: is no axial slice \(ImageOrientationPatient 0, 1, 0, 0, 0, -1\)"):
        read_dicom(series(tmp_path, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))
    series(tmp_path)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"2\.dcm: cannot be read as a DICOM slice.*cut off"):
        read_dicom(paths)
    paths[2].write_bytes(b"no slice at all")
    with pytest.raises(UserError, match=r"2\.dcm: cannot be read as a DICOM slice"):
        read_dicom(paths)
    with pytest.raises(UserError, match=r"2\.dcm: cannot be read as a DICOM slice"):
        by_instance(paths)


def test_compressed_slices_without_a_decoder_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = series(tmp_path)
    header = pydicom.dcmread(paths[0])
    header.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    header.PixelData = encapsulate([b"\xff\xd8 not decoded \xff\xd9"])
    header["PixelData"].is_undefined_length = True
    header.save_as(paths[0])
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1)
    monkeypatch.setattr(type(decoder), "is_available", property(lambda self: False))
    with pytest.raises(
        UserError, match=r"0\.dcm: is compressed \(JPEG Lossless.*\), and nothing .*pip install 'pylibjpeg\[all\]'"
    ):
        read_dicom(paths)


@pytest.mark.parametrize("module", ["nibabel", "pydicom"])
def test_a_missing_library_is_said_with_the_extra(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nifti, slices = saved(tmp_path / "a.nii", body()), series(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"by {module}, which is not installed: pip install 'lsmbench\[medical\]'"):
        read_nifti(nifti) if module == "nibabel" else read_dicom(slices)
