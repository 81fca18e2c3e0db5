"""Features of photos, to choose representative samples by: activations of ResNet-50, pixels, or a user's file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lsmbench.data.cache import cached_arrays
from lsmbench.errors import UserError
from lsmbench.imagenet import MEAN, SD
from lsmbench.networks.pretrained import WEIGHTS, downloaded, fill

VERSION = 1
"""Raise this whenever `resnet50` gives other features for the same photos: older cached features are then not used."""

WORDS = ("resnet50", "pixels")
"""The names of features; the path of a `.npy` file names a user's own."""

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of photos that are done, and of all photos."""

_SIDE = 32
_INPUT = 224
_DIGITS = 16
_BLOCK = 1 << 20


class Photos(Protocol):
    """Photos: an array of shape (N, C, H, W), or an object that reads the part of it that a slice asks for.

    Values are uint8, or floats in [0, 1].
    """

    def __len__(self) -> int:
        """Number of photos."""

    def __getitem__(self, part: slice, /) -> Any:
        """Some photos, as an array of shape (n, C, H, W)."""


def pixels(photos: Photos, batch_size: int = 256, progress: Progress | None = None) -> Floats:
    """The photos reduced to at most 32×32 values per channel, each the mean of the pixels that it covers.

    They are reduced because noise and fine texture would otherwise weigh as much as content, and because the time of
    k-means grows with the number of features.

    Args:
        photos: N photos with C channels.
        batch_size: Photos at a time; does not change the features.
        progress: Called after each batch.

    Returns:
        Values in [0, 1], shape (N, C·h·w) with h and w the photos' height and width or 32, whichever is less.

    Raises:
        UserError: If there are no photos, or their shape or values are wrong.
    """

    def small(batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        return functional.adaptive_avg_pool2d(batch, (min(height, _SIDE), min(width, _SIDE))).flatten(1)

    return _in_batches(photos, batch_size, small, progress)


def resnet50(photos: Photos, batch_size: int = 32, progress: Progress | None = None) -> Floats:
    """Activations of ResNet-50's penultimate layer, the global average pool (Shukla et al., §3.2).

    The weights are ImageNet's of the paper's time (`IMAGENET1K_V1`); a GPU is used if there is one. The whole photo is
    scaled to 224×224, bilinear and antialiased: not cropped, since a photo's border counts too; the proportions of a
    photo that is not square change. The same machine gives the same bits.

    Args:
        photos: N photos with one channel, which is repeated, or with three (RGB).
        batch_size: Photos at a time.
        progress: Called after each batch.

    Returns:
        Features, at least 0, shape (N, 2048).

    Raises:
        UserError: If there are no photos, their shape or values are wrong, or the network's weights can be neither
            found nor downloaded.
    """
    _batch(photos, slice(0, 1), (1, 3))  # report a wrong shape before 98 MB are downloaded
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = pretrained().eval().to(device).to(memory_format=torch.channels_last)  # a third less time on a CPU
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, SD))

    def activations(batch: Tensor) -> Tensor:
        batch = batch.to(device).expand(-1, 3, -1, -1)
        scaled = functional.interpolate(batch, (_INPUT, _INPUT), mode="bilinear", antialias=True)
        result: Tensor = network(((scaled - mean) / std).contiguous(memory_format=torch.channels_last))
        return result

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return _in_batches(photos, batch_size, activations, progress, channels=(1, 3))


def pretrained(word: str = "resnet50") -> nn.Module:
    """A ResNet with ImageNet's weights and without its last layer; resnet50 gives 2048 activations for each RGB image.

    Loads the weights from torch.hub's folder, and downloads them if they are missing.

    Args:
        word: `resnet18`, `resnet34` or `resnet50`.

    Raises:
        UserError: If the weights can be neither found nor downloaded, or the file holds something else.
    """
    from torchvision import models  # type: ignore[import-untyped]

    url: str = models.get_model_weights(word).IMAGENET1K_V1.url
    otherwise = "Or choose by features=pixels, or by features=FILE.npy, your own features with a row for each sample."
    weights = downloaded(url, f"features={word}", otherwise)
    with torch.random.fork_rng(devices=[]):  # drawing initial weights must not change a run's numbers
        network: nn.Module = models.get_model(word, weights=None)
    fill(network, weights, f"features={word}", otherwise)
    network.fc = nn.Identity()
    return network


def from_file(path: Path, rows: int) -> Floats:
    """Reads a user's features.

    Args:
        path: A `.npy` file, a row for each sample in the dataset's order; further axes are flattened.
        rows: Number of samples.

    Returns:
        Features, finite, shape (rows, F).

    Raises:
        UserError: If the file is missing, unreadable, pickled, or holds something else.
    """
    expected = f"expected a row of numbers for each of the {rows} samples, in their order"
    try:
        values = np.load(path.expanduser(), allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {expected}.") from error
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a .npy file ({error}). Write it by numpy.save from an array of numbers; "
            "pickled objects are refused, since reading them could run any code."
        ) from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise UserError(f"{path}: is an archive of several arrays (.npz); save one array by numpy.save.")
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: {expected}, found values of type {values.dtype}.")
    if values.ndim < 2 or len(values) != rows or 0 in values.shape:
        raise UserError(f"{path}: {expected}, found an array of shape {values.shape}.")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(values.reshape(rows, -1), dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(features).all(1))
    if len(wrong):
        raise UserError(
            f"{path}: {expected}, found nan, inf or numbers beyond float32 in {len(wrong)} rows, first in row "
            f"{wrong[0]} (counted from 0)."
        )
    return features


def features_of(word: str, photos: Photos | None, rows: int, progress: Progress | None = None) -> Floats:
    """Computes or reads the features of all samples of a dataset.

    Features of ResNet-50 are cached under the photos' content.

    Args:
        word: `resnet50`, `pixels`, or the path of a `.npy` file.
        photos: A photo of each sample; needed unless features come from a file.
        rows: Number of samples.
        progress: Called after each batch.

    Returns:
        Features, shape (rows, F).

    Raises:
        UserError: If `word` is unknown, there are no photos to compute features of, or as `pixels`, `resnet50` and
            `from_file`.
        ValueError: If the number of photos is not the number of samples.
    """
    check_word(word)
    if _is_file(word):
        return from_file(Path(word), rows)
    if photos is None:
        raise UserError(
            f"features={word}: samples have no photos to compute features of. Give features=FILE.npy, with a row for "
            "each sample."
        )
    if len(photos) != rows:
        raise ValueError(f"{len(photos)} photos for {rows} samples")
    if word == "pixels":
        return pixels(photos, progress=progress)
    key = {"version": VERSION, "photos": content_of(photos)}
    cached = cached_arrays("features-resnet50", key, (), lambda: {"features": resnet50(photos, progress=progress)})
    return np.asarray(cached["features"], dtype=np.float32)


def check_word(word: str) -> None:
    """Refuses a word that names no features.

    Raises:
        UserError: If `word` is neither `resnet50` nor `pixels` nor ends in `.npy`.
    """
    if word not in WORDS and not _is_file(word):
        raise UserError(
            f"features={word}: expected resnet50 (a network's features of the photos), pixels (the photos in small), "
            "or the path of a .npy file with a row of features for each sample."
        )


def digest(word: str) -> str:
    """Identifies what an option names: a file by the SHA-256 of its content (16 digits), a word by itself.

    Files are known by their endings: `.npy` of features, and those of weights (`WEIGHTS`).

    Raises:
        UserError: If the file cannot be read.
    """
    if not word.endswith((".npy", *WEIGHTS)):
        return word
    option = "features" if _is_file(word) else "pretrained"
    try:
        return _sha256(Path(word).expanduser())[:_DIGITS]
    except FileNotFoundError as error:
        expected = "one with a row of features for each sample" if _is_file(word) else "a file of weights"
        raise UserError(f"{option}={word}: no such file. Name {expected}.") from error
    except OSError as error:
        raise UserError(f"{option}={word}: cannot be read ({error.strerror or error}).") from error


def _is_file(word: str) -> bool:
    return word.endswith(".npy")


def _in_batches(
    photos: Photos,
    batch_size: int,
    compute: Callable[[Tensor], Tensor],
    progress: Progress | None,
    channels: tuple[int, ...] = (),
) -> Floats:
    """Computes features, shape (N, F), batch by batch."""
    total = len(photos)
    parts: list[Floats] = []
    with torch.inference_mode():
        for part in _slices(total, batch_size):
            parts.append(compute(_batch(photos, part, channels)).cpu().numpy())
            if progress is not None:
                progress(min(part.stop, total), total)
    if not parts:
        raise UserError("features: there are no photos to compute them of.")
    return np.concatenate(parts)


def _batch(photos: Photos, part: slice, channels: tuple[int, ...] = ()) -> Tensor:
    """The photos of a slice as float32 in [0, 1], shape (n, C, H, W)."""
    batch = np.asarray(photos[part])
    if batch.ndim != 4:
        raise UserError(f"features: expected photos of shape (N, C, H, W), found {batch.ndim} axes: {batch.shape}.")
    if channels and batch.shape[1] not in channels:
        raise UserError(
            f"features=resnet50: expected photos with 1 channel (grey) or 3 (RGB), found {batch.shape[1]}. Convert "
            "them, or choose by features=pixels or features=FILE.npy."
        )
    if batch.dtype == np.uint8:
        return torch.from_numpy(batch.astype(np.float32) / 255)
    values = batch.astype(np.float32)
    if batch.dtype.kind != "f" or not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
        found = f"{batch.dtype}" + " values outside" * (batch.dtype.kind == "f")
        raise UserError(f"features: expected photos as uint8 or as floats in [0, 1], found {found}.")
    return torch.from_numpy(values)


def content_of(photos: Photos) -> str:
    """SHA-256 of type, shape and values, read in parts so that large arrays may stay on disk."""
    sha = hashlib.sha256()
    for part in _slices(len(photos), 256):
        batch = np.ascontiguousarray(photos[part])
        sha.update(f"{batch.dtype.str}:{batch.shape}".encode())
        sha.update(batch.data)
    return sha.hexdigest()


def _slices(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, start + size)


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return sha.hexdigest()
