"""SIT, the synthetic image translation set of the LSM paper (Mayet et al. 2022, Appendix A.1)."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import COPY, Arrays, Dataset, data_root
from lsmbench.data.decoding import Reading
from lsmbench.data.files import check_pixels, without_limit
from lsmbench.data.inputs import PictureInput
from lsmbench.data.pools import Stored
from lsmbench.datasets.textures import canvas, herringbone
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same options give other arrays: cached arrays of other versions are not used."""

_NATIVE = 128
_RING, _GROUND = "D17", "D77"
_SUFFIXES = (".gif", ".png", ".jpg", ".jpeg")
_CHUNK = 256

Bytes = NDArray[np.uint8]


@dataclass
class SIT(Dataset):
    """Textured rings to masks of rings whose position and shape are swapped (synthetic; LSM, App. A.1).

    A sample is a ring of one texture on a ground of another. Numbers x, y, z, w ~ U(0, 1) give the ring: centre
    (40 + 48x, 40 + 48y), inner radius 10 + 20z and thickness 5 + 25w, in pixels of a 128 px image and rounded down. The
    target is the mask of the ring with x and w, and y and z, exchanged: the ring's position determines the shape of the
    target's ring, and its shape the position. No pixel of the target can be told from the same pixel of the source.

    Views: `x`, stored as uint8 (N, 1, size, size), grey; `y`, stored as uint8 (N, size, size), ring 1, ground 0.
    Sample i depends on `data_seed`, i, `size` and the textures only: a larger set begins with the smaller one. At
    sizes below 128 the image is composed at 128 px and reduced by averaging areas; masks are drawn at their final size,
    at all sizes from the same geometry.

    `variant="released"` reads the authors' own pairs instead, from LSMBENCH_DATA or its folder `sit_released`. Accepted
    are `sit_released.npz` with `x` and `y`, or the files `*_x_numpy.npy` with a `*_y_numpy.npy` each, in the order of
    the numbers in their names. Images are 128×128, uint8 or float in [0, 1]; masks are {0, 1} of any type, or one-hot
    with two channels (first or last), the second being the ring. A file holds one sample or a stack of them, and axes
    of length 1 do not matter. A smaller `size` reduces images by averaging areas and masks by the nearest pixel; a
    larger one is refused, since no detail would be gained.

    Floors, foreground IoU over 3,000 generated samples at 128 px: copy of the input's mask .225 to .233, best constant
    mask .329 to .333, depending on the seed.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "sit"

    size: int = option(_NATIVE, "Height and width of images and masks, divisible by 4.", unit="px", source="App. A.1")
    samples: int = option(500, "Number of generated pairs; the released set is always used whole.", source="App. A.1")
    textures: str = option(
        "procedural",
        "Textures of ring and ground: procedural; brodatz (in LSMBENCH_DATA/brodatz); or a folder that holds D17 and "
        "D77 as .gif, .png or .jpg.",
        source="the paper uses brodatz",
    )
    variant: Literal["generated", "released"] = option(
        "generated",
        "Generate pairs, or read the authors' 500 pairs from LSMBENCH_DATA.",
        choices=("generated", "released"),
    )
    data_seed: int = option(0, "Seed of the generated pairs.")
    reconstruction: Literal["mse", "l1"] = option(
        "mse",
        "Loss of the image's reconstruction.",
        source="App. A.1; the released code uses l1",
        choices=("mse", "l1"),
    )

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        if self.variant == "released" and self.size > _NATIVE:
            raise UserError(
                f"dataset sit: size={self.size}, but the released pairs have {_NATIVE} px; give a size of at most "
                f"{_NATIVE}, or variant=generated."
            )

    @property
    def domains(self) -> dict[str, Domain]:
        """A grey image and a two-class mask."""
        return {"x": Image(1, self.size, reconstruction=self.reconstruction), "y": Mask(2, self.size)}

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 generated pairs of 32 px; needs no files."""
        return cls(size=32, samples=40)

    def load(self) -> Arrays:
        """Images `x`, uint8 (N, 1, size, size), and masks `y`, uint8 (N, size, size) in {0, 1}; kept in the cache.

        Raises:
            UserError: If textures or released pairs are missing, unreadable or hold something unexpected, or the cache
                cannot be written to.
        """
        arrays = self._arrays()
        return {"x": arrays["x"], "y": arrays["y"]}

    def evaluation_views(self) -> Mapping[str, Stored]:
        """`copy`: masks of the rings that the images show, uint8 (N, size, size); the released pairs have none."""
        copies = self._arrays().get("copies")
        return {} if copies is None else {COPY: copies}

    def inputs(self) -> PictureInput:
        """Pictures of any size, as grey, stretched and reduced by averaging areas."""
        return PictureInput(Reading(self.size, channels=1, exif="apply"), resample="box")

    def _arrays(self) -> Arrays:
        key: dict[str, object] = {"version": VERSION, "variant": self.variant, "size": self.size}
        sources: list[Path]
        build: Callable[[], Arrays]
        if self.variant == "released":
            sources = _released_files()
            build = lambda: _read_released(sources, self.size)  # noqa: E731
        else:
            # In the key, the files' paths stand for the textures, whatever the option names.
            key |= {"samples": self.samples, "data_seed": self.data_seed}
            sources = _texture_files(self.textures)
            build = lambda: _generate(sources, self.size, self.samples, self.data_seed)  # noqa: E731
        return cached_arrays(self.name, key, sources, build)


# Generated pairs


def _generate(texture_files: list[Path], size: int, samples: int, seed: int) -> Arrays:
    """Draws the pairs; no texture files: procedural textures."""
    ring, ground = [_read_texture(f) for f in texture_files] if texture_files else [herringbone(), canvas()]
    # A small image is a reduced 128 px image: its weave is faint, but networks find the ring in it at least as well as
    # in an image that is composed of fewer texture pixels.
    crop = max(size, _NATIVE)
    for texture, origin in zip((ring, ground), texture_files or ("procedural",) * 2, strict=True):
        if min(texture.shape) < crop:
            raise UserError(
                f"{origin}: the texture has {texture.shape[1]}×{texture.shape[0]} px, but size={size} needs at least "
                f"{crop}×{crop}. Give a larger texture or a smaller size."
            )
    # A generator for each sample makes it independent of their number. Numbers: x, y, z, w; row and column of the crop.
    numbers = np.stack([np.random.default_rng((seed, i)).random(6) for i in range(samples)])
    x, y, z, w = numbers[:, :4].T
    room = np.minimum(ring.shape, ground.shape) - crop + 1
    rows, columns = (numbers[:, 4:] * room).astype(np.int64).T

    images = np.empty((samples, 1, size, size), np.uint8)
    masks = np.empty((samples, size, size), np.uint8)
    copies = np.empty_like(masks)
    for start in range(0, samples, _CHUNK):
        part = slice(start, start + _CHUNK)
        shown = _rings(x[part], y[part], z[part], w[part], crop)
        composed = np.empty(shown.shape, np.uint8)
        for k, (row, column) in enumerate(zip(rows[part], columns[part], strict=True)):
            window = np.s_[row : row + crop, column : column + crop]
            composed[k] = np.where(shown[k], ring[window], ground[window])  # one offset for both textures
        images[part, 0] = _reduce(composed, size)
        masks[part] = _rings(w[part], z[part], y[part], x[part], size)
        copies[part] = shown if crop == size else _rings(x[part], y[part], z[part], w[part], size)
    return {"x": images, "y": masks, "copies": copies}


def _rings(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], w: NDArray[np.float64], size: int
) -> NDArray[np.bool_]:
    """Which pixels lie on the rings.

    Args:
        x: Horizontal position of the centre, in [0, 1), shape (B,).
        y: Vertical position of the centre.
        z: Inner radius.
        w: Thickness.
        size: Height and width of the result in pixels.

    Returns:
        Shape (B, size, size).
    """
    # Lengths are whole pixels of a 128 px image at every size, so that sizes show the same rings.
    centre_x, centre_y = np.floor(40 + 48 * x), np.floor(40 + 48 * y)
    inner, thickness = np.floor(10 + 20 * z), np.floor(5 + 25 * w)
    # The authors draw with OpenCV's circle(centre, inner + thickness // 2, 1, thickness). It rounds half the thickness
    # up and marks pixels up to half a pixel beyond; 1 % of the ring's pixels differ still, as OpenCV draws a polygon.
    middle, half = inner + thickness // 2, np.ceil(thickness / 2) + 0.5
    low, high = (middle - half) ** 2, (middle + half) ** 2
    pixels = ((np.arange(size) + 0.5) * _NATIVE / size - 0.5)[None]  # pixels' centres, in pixels of a 128 px image
    squared = ((pixels - centre_y[:, None]) ** 2).astype(np.float32)[:, :, None] + (
        (pixels - centre_x[:, None]) ** 2
    ).astype(np.float32)[:, None, :]
    return np.asarray((squared >= low[:, None, None]) & (squared <= high[:, None, None]))


def _reduce(images: Bytes, size: int) -> Bytes:
    """Reduces (N, S, S) to (N, size, size); each new pixel is the average of the area that it covers."""
    if images.shape[-1] == size:
        return images
    # Pillow works in whole numbers, so that every machine gets the same greys.
    return np.stack([np.asarray(Picture.fromarray(i).resize((size, size), Picture.Resampling.BOX)) for i in images])


def _texture_files(textures: str) -> list[Path]:
    """Files of the ring's and the ground's texture; empty for procedural ones.

    Raises:
        UserError: If the folder or one of the textures is missing.
    """
    if textures == "procedural":
        return []
    if textures == "brodatz":
        root = data_root()
        if root is None:
            raise UserError(
                "dataset sit: textures=brodatz reads LSMBENCH_DATA/brodatz, but LSMBENCH_DATA is not set. Set it to "
                "the folder that holds your datasets, or use textures=procedural."
            )
        folder = root / "brodatz"
    else:
        folder = Path(textures).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"dataset sit: textures={textures}: no folder {folder}. Expected a folder that holds {_RING} and {_GROUND} "
            "as .gif, .png or .jpg; textures=procedural needs no files."
        )
    present = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {
        texture: [present[texture.lower() + s] for s in _SUFFIXES if texture.lower() + s in present]
        for texture in (_RING, _GROUND)
    }
    missing = [texture for texture, paths in found.items() if not paths]
    if missing:
        raise UserError(
            f"{folder}: expected the textures {_RING} and {_GROUND} as .gif, .png or .jpg; missing: "
            f"{', '.join(missing)}. Put them there, or use textures=procedural, which needs no files."
        )
    return [paths[0] for paths in found.values()]


def _read_texture(path: Path) -> Bytes:
    try:
        with without_limit(), Picture.open(path) as picture:
            check_pixels(path, *picture.size)
            if picture.mode[0] in "IF":
                raise UserError(
                    f"{path}: expected a texture of 8 bits, found mode {picture.mode}. Save it as 8-bit grey."
                )
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, EOFError, ValueError) as error:  # Pillow raises any of these for broken files
        raise UserError(
            f"{path}: cannot read this texture ({error}). The file is damaged or no picture: get it again, or use "
            "textures=procedural."
        ) from error


# The authors' pairs


def _released_files() -> list[Path]:
    """One .npz file, or .npy files as x, y, x, y, ….

    Raises:
        UserError: If there are no files, or some lack their counterpart.
    """
    root = data_root()
    wanted = "sit_released/sit_released.npz, or *_x_numpy.npy and *_y_numpy.npy files there or in sit_released/"
    if root is None:
        raise UserError(
            "dataset sit: variant=released reads the authors' pairs from LSMBENCH_DATA, which is not set. Set it to "
            f"the folder that holds your datasets; expected in it: {wanted}. variant=generated needs no files."
        )
    for folder in (root / "sit_released", root):
        packed = folder / "sit_released.npz"
        if packed.is_file():
            return [packed]
        if pairs := _pairs_of_files(folder):
            return pairs
    raise UserError(
        f"{root}: the authors' SIT pairs are missing; expected {wanted}. Put them there, or use variant=generated, "
        "which needs no files."
    )


def _pairs_of_files(folder: Path) -> list[Path]:
    files: dict[str, dict[str, Path]] = {"x": {}, "y": {}}
    for path in folder.glob("*_numpy.npy"):
        if match := re.fullmatch(r"(.*)_([xy])_numpy\.npy", path.name):
            files[match[2]][match[1]] = path
    unmatched = sorted(files["x"].keys() ^ files["y"].keys(), key=_by_number)
    if unmatched:
        names = [(files["x"].get(stem) or files["y"][stem]).name for stem in unmatched]
        raise UserError(
            f"{folder}: every *_x_numpy.npy needs its *_y_numpy.npy and the other way round; {len(names)} have no "
            f"counterpart: {', '.join(names)}. Add the missing files or remove these."
        )
    return [files[view][stem] for stem in sorted(files["x"], key=_by_number) for view in ("x", "y")]


def _by_number(stem: str) -> list[tuple[int, str]]:
    """Sorts names as people count: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", stem) if part]


def _read_released(files: list[Path], size: int) -> Arrays:
    """Reads, checks and reduces the pairs; files as `_released_files` gives them."""
    if len(files) == 1:
        packed = _open(files[0])
        if not {"x", "y"} <= packed.keys():
            raise UserError(f"{files[0]}: expected the arrays x and y, found {', '.join(packed)}. Get the file again.")
        parts = [_decode(packed["x"], packed["y"], f"{files[0]}, array x", f"{files[0]}, array y")]
    else:
        pairs = zip(files[::2], files[1::2], strict=True)
        parts = [_decode(_open(x)["x"], _open(y)["x"], str(x), str(y)) for x, y in pairs]
    images, masks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    nearest = ((np.arange(size) + 0.5) * _NATIVE / size).astype(np.int64)
    return {"x": _reduce(images, size)[:, None], "y": np.ascontiguousarray(masks[:, nearest][:, :, nearest])}


def _open(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz file by name, or the array of an .npy file as `x`."""
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return {"x": opened}
        with opened:
            return dict(opened)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: cannot read arrays from this file ({error}). It is damaged or no numpy file: get it again."
        ) from error


def _decode(x: NDArray[np.generic], y: NDArray[np.generic], x_origin: str, y_origin: str) -> tuple[Bytes, Bytes]:
    """Brings a file's images and masks to uint8 (n, 128, 128).

    The number of images tells whether masks of shape (2, 128, 128) are two masks or one one-hot mask.
    """
    images = x.reshape([length for length in x.shape if length != 1])
    images = images[None] if images.ndim == 2 else images
    if images.shape != (images.shape[0], _NATIVE, _NATIVE):
        raise UserError(
            f"{x_origin}: expected one {_NATIVE}×{_NATIVE} image or a stack of them, found shape {x.shape}."
        )
    Image(1, _NATIVE).check(images[:, None], x_origin)
    if images.dtype != np.uint8:
        images = np.rint(images.astype(np.float64) * 255)

    count = len(images)
    masks = y.reshape([length for length in y.shape if length != 1])
    # With one sample a stack of masks has lost its first axis above, and so has a one-hot mask.
    masks = masks[None] if masks.ndim == 2 or (count == 1 and masks.ndim == 3) else masks
    if masks.shape in {(count, 2, _NATIVE, _NATIVE), (count, _NATIVE, _NATIVE, 2)}:
        ground, ring = np.moveaxis(masks, 1 if masks.shape[1] == 2 else 3, 0)
        if not bool(
            np.all(((ring == 0) | (ring == 1)) & ((ground == 1) == (ring == 0)) & ((ground == 0) == (ring == 1)))
        ):
            raise UserError(f"{y_origin}: expected one-hot masks, 0 and 1 with one 1 per pixel; found other values.")
        masks = ring
    if masks.shape != (count, _NATIVE, _NATIVE):
        raise UserError(
            f"{y_origin}: expected {count} mask(s) of {_NATIVE}×{_NATIVE} px for the {count} image(s) of {x_origin}, "
            f"{{0, 1}} or one-hot with 2 channels; found shape {y.shape}."
        )
    classes = masks.astype(np.uint8)
    if not bool(np.all(classes == masks)):
        raise UserError(f"{y_origin}: masks must hold 0 and 1 only; found negative, broken or larger values.")
    Mask(2, _NATIVE).check(classes, y_origin)
    return images.astype(np.uint8), classes
