"""Reads handwritten digits: MNIST's idx files and the text files of USPS."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError

Bytes = NDArray[np.uint8]

_UNSIGNED_BYTE = 8
_CLASSES = 10


def read_idx(path: Path) -> Bytes:
    """Reads an idx file of unsigned bytes, gzipped or not.

    Two zero bytes, a byte for the type, one for the number of axes, each axis' length as four bytes, most significant
    first, and then the values.

    Returns:
        Any shape.

    Raises:
        UserError: If it cannot be read, is no such file, or holds fewer or more bytes than it says.
    """
    content = _content(path)
    if len(content) < 4 or content[0] or content[1] or content[2] != _UNSIGNED_BYTE:
        raise UserError(
            f"{path}: expected an idx file of unsigned bytes, which begins with 0 0 8, found {list(content[:4])}. Get "
            "the file again."
        )
    first = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, first, 4))
    expected = first + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise UserError(
            f"{path}: says that it holds values of shape {shape}, {expected} bytes in all, and has {len(content)}. The "
            "file is damaged: get it again."
        )
    return np.frombuffer(content, np.uint8, offset=first).reshape(shape)


def read_mnist(images: Path, labels: Path, side: int = 28) -> tuple[Bytes, Bytes]:
    """Reads the images and labels of one part of MNIST.

    Returns:
        Images (N, side, side), ink 255 on 0, and labels (N,).

    Raises:
        UserError: As `read_idx`; or if shapes or counts are others, or a label is above 9.
    """
    pictures, classes = read_idx(images), read_idx(labels)
    if pictures.shape[1:] != (side, side):
        raise UserError(f"{images}: expected images of {side}×{side} px, found values of shape {pictures.shape}.")
    if classes.ndim != 1 or len(classes) != len(pictures):
        raise UserError(
            f"{labels}: expected a label for each of the {len(pictures)} images of {images.name}, found values of "
            f"shape {classes.shape}. The two files do not belong together: get both again."
        )
    if len(strange := np.flatnonzero(classes >= _CLASSES)):
        raise UserError(f"{labels}: expected labels 0 to 9, found {classes[strange[0]]} at image {strange[0]}.")
    return pictures, classes


def read_usps(path: Path, side: int = 16) -> tuple[Bytes, Bytes]:
    """Reads one part of USPS as 'The Elements of Statistical Learning' distributes it: a digit in each line.

    A line holds the label and side² greys from -1 to 1, row by row, separated by blanks.

    Returns:
        Images (N, side, side), ink 255 on 0 (a grey g becomes the nearest whole number to 127.5·(g + 1)), and labels
        (N,).

    Raises:
        UserError: If it cannot be read, or a line holds another number of values, or others than greys and a label.
    """
    text = _content(path).decode(errors="replace")
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    greys, labels = np.empty((len(lines), side * side), np.float32), np.empty(len(lines), np.uint8)
    for row, (number, words) in enumerate(lines):
        place = f"{path}, line {number}"
        if len(words) != 1 + side * side:
            raise UserError(
                f"{place}: expected a label and {side * side} greys, found {len(words)} values. Get the file again."
            )
        try:
            label = float(words[0])
            greys[row] = words[1:]
        except ValueError as error:
            raise UserError(f"{place}: expected numbers only ({error}).") from error
        if label not in range(_CLASSES):
            raise UserError(f"{place}: expected a label from 0 to 9, found {words[0]}.")
        labels[row] = label
    outside = np.flatnonzero(~(np.abs(greys) <= 1).all(1))
    if len(outside):
        raise UserError(f"{path}, line {lines[outside[0]][0]}: expected greys from -1 to 1, found others.")
    return np.rint((greys + 1) * 127.5).astype(np.uint8).reshape(-1, side, side), labels


def _content(path: Path) -> bytes:
    """A file's content, unpacked if it is gzipped.

    Raises:
        UserError: If it cannot be read or is a damaged archive.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: is a damaged gzip file ({error}). Get it again.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
