"""How single files become source views, as a dataset reads its own: plain values that a finished run keeps."""

from __future__ import annotations

import csv
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.decoding import Reading, read_colours, read_image, window_of
from lsmbench.data.files import Exif, crop_square, open_picture, square_around, to_mode
from lsmbench.data.photos import read_photo
from lsmbench.data.radiographs import Preprocessing, read_radiograph
from lsmbench.data.rasters import Raster, bands_of, read_raster
from lsmbench.data.volumes import DICOM, NIFTI, grey
from lsmbench.errors import UserError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a face, in pixels from the picture's top left corner."""

RATIO = (1.8, 2.2)
"""Width over height of files that are taken for two views side by side."""


@dataclass(frozen=True)
class Given:
    """A file as a method is given it.

    Attributes:
        view: The source view as the dataset stores it, without the axis over samples.
        size: Width and height of the picture, in pixels.
        shown: Left, top, width and height of the part that the view shows, in the picture's pixels; it may reach
            beyond the picture.
        photo: The picture in RGB, to draw on.
    """

    view: NDArray[np.generic]
    size: tuple[int, int]
    shown: tuple[float, float, float, float]
    photo: Picture.Image

    @property
    def cut(self) -> bool:
        """Whether a part of the picture is not shown to the method."""
        left, top, width, height = self.shown
        return left > 0 or top > 0 or left + width < self.size[0] or top + height < self.size[1]


class InputForm(ABC):
    """How the files of one run's source are read. Subclasses are frozen dataclasses of plain values."""

    kind: ClassVar[str]
    note: ClassVar[str] = ""
    """What a person has to know who gives files without anything beside them."""

    @property
    @abstractmethod
    def turned(self) -> Exif:
        """What the run did with photos that are stored turned."""

    @abstractmethod
    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """Reads a file.

        Args:
            path: The file.
            exif: What to do with a photo that is stored turned; `None`: what the run's data was read by.
            box: Where the face is, for forms that cut faces out.

        Raises:
            UserError: If the file cannot be read as the run's data was.
        """

    def plain(self) -> dict[str, Any]:
        """Plain values, from which `form_of` makes the form again."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind} | {k: v.plain() if isinstance(v, Reading) else v for k, v in values.items()}


@dataclass(frozen=True)
class PictureInput(InputForm):
    """A picture, or a label map in the palette's colours, made square and resized.

    Attributes:
        reading: How the run's data was read, with what its census found.
        what: What the files hold.
        convert: Whether pictures of other channels are converted; if not, they are refused.
        half: Whether the run's files showed both views side by side: then a file about twice as wide as high gives its
            half `x`, and any other file is `x` alone.
        resample: Filter of pictures.
    """

    reading: Reading
    what: Literal["picture", "colours"] = "picture"
    convert: bool = True
    half: bool = False
    resample: Literal["bilinear", "box"] = "bilinear"
    kind: ClassVar[str] = "picture"

    @property
    def turned(self) -> Exif:
        """As the folder's option `exif` says."""
        return self.reading.exif

    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """As the dataset reads its own files."""
        reading = dataclasses.replace(self.reading, exif=exif or self.reading.exif)
        raster = read_raster(path, reading.exif)
        width, height = raster.size
        if self.half and RATIO[0] <= width / height <= RATIO[1]:
            left, right = raster.part(0, width // 2), raster.part(width - width // 2, width)
            raster = right if reading.side_by_side == "x_right" else left
        view: NDArray[np.generic]
        if self.what == "picture":
            if not self.convert:
                _check_channels(raster, reading.channels, path)
            if self.resample == "box" and raster.picture is not None:
                band = to_mode(raster.picture, "L").resize((reading.size,) * 2, Picture.Resampling.BOX)
                view = np.asarray(band)[None]
            else:
                view = read_image(path, reading, raster)[0]
        else:
            view = read_colours(path, reading, raster)
        return Given(view, raster.size, window_of(*raster.size, reading.fit), _photo(raster, reading, path))


@dataclass(frozen=True)
class FaceInput(InputForm):
    """A face, cut out by the square around its box; without a box the whole photo as a square.

    Beyond the photo its border is repeated.

    Attributes:
        size: Height and width of the view.
        margin: Added around the box on every side, as a share of its longer extent.
        exif: What to do with a photo that is stored turned.
    """

    size: int
    margin: float = 0.0
    exif: Exif = "refuse"
    kind: ClassVar[str] = "face"
    note: ClassVar[str] = (
        "The run's faces were cut out around their true landmarks. A photo without a box in --boxes FILE.csv "
        "(file,left,top,right,bottom around brows, jaw and chin) is taken whole, as a square: expect good points only "
        "where the face fills the photo."
    )

    @property
    def turned(self) -> Exif:
        """As the option `exif` says."""
        return self.exif

    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """Cuts the face out."""
        photo = to_mode(open_picture(path, exif or self.exif), "RGB")
        width, height = photo.size
        if box is None:
            side = float(max(width, height))
            left, top = (width - side) / 2, (height - side) / 2
        else:
            corners = np.array(box, np.float64).reshape(2, 2)
            if not (corners[1] > corners[0]).all() or (corners[1] <= 0).any() or (corners[0] >= (width, height)).any():
                raise UserError(
                    f"{path}: its box is left {box[0]:g}, top {box[1]:g}, right {box[2]:g}, bottom {box[3]:g}, but the "
                    f"photo has {width}×{height} px. Give pixels inside it, left before right and top before bottom."
                )
            left, top, side = square_around(corners, width, height, self.margin)
        cut = crop_square(photo, left, top, side, self.size, Picture.Resampling.BILINEAR)
        return Given(np.asarray(cut).transpose(2, 0, 1), photo.size, (left, top, side, side), photo)


@dataclass(frozen=True)
class RadiographInput(InputForm):
    """An X-ray photo of any depth as grey, squeezed to a square (`Radiograph.view`).

    Attributes:
        size: Height and width of the view.
        preprocessing: What was done with the run's photos.
        exif: What to do with a photo that is stored turned.
    """

    size: int
    preprocessing: Preprocessing = "equalised"
    exif: Exif = "refuse"
    kind: ClassVar[str] = "radiograph"

    @property
    def turned(self) -> Exif:
        """As the attribute `exif` says."""
        return self.exif

    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """As the dataset reads its own files."""
        photo = read_radiograph(path, exif or self.exif)
        view = photo.view(self.size, self.preprocessing)
        return Given(view, photo.size, window_of(*photo.size, "stretch"), photo.picture())


@dataclass(frozen=True)
class PhotoInput(InputForm):
    """A photo of 8 or 16 bits in RGB, squeezed to a square (`Photo.view`).

    Attributes:
        size: Height and width of the view.
        exif: What to do with a photo that is stored turned.
    """

    size: int
    exif: Exif = "refuse"
    kind: ClassVar[str] = "photo"

    @property
    def turned(self) -> Exif:
        """As the attribute `exif` says."""
        return self.exif

    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """As the dataset reads its own files."""
        photo = read_photo(path, exif or self.exif)
        return Given(photo.view(self.size), photo.size, window_of(*photo.size, "stretch"), photo.picture())


@dataclass(frozen=True)
class SliceInput(InputForm):
    """A picture of one axial slice of any depth as grey, its own range of numbers being 0 to 1, squeezed to a square.

    Attributes:
        size: Height and width of the view.
        exif: What to do with a picture that is stored turned.
    """

    size: int
    exif: Exif = "refuse"
    kind: ClassVar[str] = "slice"
    note: ClassVar[str] = (
        "Files are pictures of single axial slices, clipped as the run's were (CT: -200 to 400 HU), with the front of "
        "the body above and its right side on the left."
    )

    @property
    def turned(self) -> Exif:
        """As the attribute `exif` says."""
        return self.exif

    def read(self, path: Path, exif: Exif | None = None, box: Box | None = None) -> Given:
        """As the dataset reads its own slices, once they are clipped.

        Raises:
            UserError: As `read_radiograph`; of a volume, or a slice with its numbers.
        """
        if path.name.lower().endswith((*NIFTI, *DICOM)):
            raise UserError(
                f"{path}: is a volume, or a slice of one; predictions are made of pictures. Save its axial slices as "
                "pictures (PNG, of 8 or 16 bits), clipped as the run's were."
            )
        photo = read_radiograph(path, exif or self.exif)
        view = grey(photo.numbers.astype(np.float32), self.size)
        return Given(view, photo.size, window_of(*photo.size, "stretch"), photo.picture())


FORMS: dict[str, type[InputForm]] = {
    form.kind: form for form in (PictureInput, FaceInput, RadiographInput, PhotoInput, SliceInput)
}


def form_of(values: Mapping[str, Any]) -> InputForm:
    """The form that `InputForm.plain` describes.

    Raises:
        UserError: If it is of another version of lsmbench.
    """
    rest = {key: value for key, value in values.items() if key != "kind"}
    try:
        if "reading" in rest:
            rest["reading"] = Reading.from_plain(rest["reading"])
        return FORMS[values["kind"]](**rest)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"how files are read is described in a form that this version of lsmbench does not know ({error}). Use the "
            "version that trained the run, or train again."
        ) from error


def read_boxes(path: Path) -> dict[str, Box]:
    """Reads boxes of faces: a table with the header `file,left,top,right,bottom`, in pixels.

    Returns:
        The boxes by what the column `file` says.

    Raises:
        UserError: If the table is missing or holds something else.
    """
    expected = "expected the header file,left,top,right,bottom and a row of a name and four numbers for each photo"
    boxes: dict[str, Box] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "left", "top", "right", "bottom"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: {expected}; found {','.join(rows.fieldnames or ()) or 'nothing'}.")
            for row in rows:
                try:
                    left, top, right, bottom = (float(row[name]) for name in ("left", "top", "right", "bottom"))
                except (TypeError, ValueError) as error:
                    raise UserError(f"{path}: line {rows.line_num}: {expected} ({error}).") from error
                boxes[row["file"]] = (left, top, right, bottom)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table of boxes ({error}).") from error
    return boxes


def _check_channels(raster: Raster, channels: int, path: Path) -> None:
    """Refuses a picture of other channels than the run's; an alpha that is one number throughout does not count.

    Raises:
        UserError: Naming both.
    """
    bands = bands_of(raster, 0, None, path)
    own = len(bands)
    if own == channels + 1 and own % 2 == 0:
        low, high = bands[-1].getextrema()
        own -= int(low == high)
    if own != channels:
        raise UserError(
            f"{path}: has {own} {'channel' if own == 1 else 'channels'}, but the run was trained on pictures of "
            f"{channels}. Convert it, or train with --dataset.channels {channels}, which converts all."
        )


def _photo(raster: Raster, reading: Reading, path: Path) -> Picture.Image:
    """A picture in RGB of 8 bits, with the range of numbers that the run's data has."""
    if raster.picture is not None and reading.window == "auto":
        return to_mode(raster.picture, "RGB")
    bands = [np.asarray(band) for band in bands_of(raster, 3, reading.x_reach, path)]
    scale = 1 if bands[0].dtype == np.uint8 else 255
    return Picture.fromarray((np.stack(bands, -1) * scale).round().astype(np.uint8))
