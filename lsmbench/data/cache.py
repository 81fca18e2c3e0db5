"""The decode-once cache: a dataset's arrays, built once and then read from disk as memory maps."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from lsmbench.data.dataset import Arrays
from lsmbench.errors import UserError

_LAYOUT = 1
"""Version of an entry's files on disk; entries of other versions are not used."""


def cache_root() -> Path:
    """The cache's folder: the environment variable LSMBENCH_CACHE, or ~/.cache/lsmbench; may not exist yet.

    Raises:
        UserError: If LSMBENCH_CACHE is unset and there is no home folder.
    """
    value = os.environ.get("LSMBENCH_CACHE", "")
    try:
        return Path(value).expanduser() if value else Path.home() / ".cache" / "lsmbench"
    except RuntimeError as error:
        raise UserError(
            f"No folder for the cache: {error} Set LSMBENCH_CACHE to a folder that you may write to."
        ) from error


def cached_arrays(name: str, key: Mapping[str, object], sources: Iterable[Path], build: Callable[[], Arrays]) -> Arrays:
    """Returns the arrays of `build`, from the cache if an earlier call stored them there.

    The arrays are copy-on-write memory maps: they are read from disk when used, and writing to them changes this
    process's copy only, never the cache. Several processes may ask for the same arrays at once; each gets the same
    values, and at worst several of them build the arrays.

    Args:
        name: The dataset's name; the entry's folder begins with it.
        key: Everything besides the sources' content that determines the arrays: options as plain values, and a version
            of the code that builds them.
        sources: Files that `build` reads; a change of path, size or modification time makes a new entry.
        build: Decodes or generates the arrays. If it raises an error, nothing is stored.

    Returns:
        The arrays, equal to those of `build` bit for bit.

    Raises:
        UserError: If the cache's folder cannot be written to, or the disk is full.
    """
    root = cache_root()
    entry = root / f"{name}-{_identity(name, key, sources)}"
    if entry.exists():
        try:
            return _read(entry)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            # ValueError covers truncated arrays and broken JSON, KeyError and TypeError a meta.json of another form.
            warnings.warn(f"{entry}: damaged cache entry ({error}); it is built anew.", RuntimeWarning, stacklevel=2)
            _discard(entry)
    return _store(root, entry, build)


def _identity(name: str, key: Mapping[str, object], sources: Iterable[Path]) -> str:
    files = []
    for path in sorted(sources):
        stat = path.stat()
        files.append([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    content = json.dumps({"layout": _LAYOUT, "name": name, "key": dict(key), "sources": files}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _read(entry: Path) -> Arrays:
    """Opens an entry; raises one of several errors if anything is missing, truncated or of another shape."""
    meta: dict[str, dict[str, object]] = json.loads((entry / "meta.json").read_text(encoding="utf-8"))["arrays"]
    arrays: Arrays = {}
    for view, expected in meta.items():
        # Mode "c" rather than "r": torch warns about tensors over memory that it must not write to.
        array: NDArray[np.generic] = np.load(entry / f"{view}.npy", mmap_mode="c", allow_pickle=False)
        if [array.dtype.str, list(array.shape)] != [expected["dtype"], expected["shape"]]:
            raise ValueError(f"{view}.npy holds {array.dtype} {array.shape}, meta.json says {expected}")
        arrays[view] = array
    return arrays


def _store(root: Path, entry: Path, build: Callable[[], Arrays]) -> Arrays:
    """Builds the arrays, writes them to a temporary folder and renames it, so that no process sees half an entry."""
    scratch = root / f".{entry.name}.{uuid4().hex}"
    try:
        # Before `build`, which may take minutes: report at once a folder that cannot be written to.
        scratch.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        arrays = build()
        try:
            _write(scratch, arrays)
            if not _rename(scratch, entry):
                return arrays
        except OSError as error:
            raise _unwritable(root, error) from error
        try:
            return _read(entry)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            # Another process found the old entry damaged and has just moved the new one away: do without the cache.
            return arrays
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(folder: Path, arrays: Arrays) -> None:
    meta = {}
    for view, array in arrays.items():
        np.save(folder / f"{view}.npy", np.ascontiguousarray(array), allow_pickle=False)
        meta[view] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    (folder / "meta.json").write_text(json.dumps({"arrays": meta}, indent=1), encoding="utf-8")


def _rename(scratch: Path, entry: Path) -> bool:
    """Renames `scratch` to `entry` unless another process has made the entry; returns whether there is an entry."""
    try:
        scratch.rename(entry)
    except OSError:
        # The system says "not empty", "exists" or "access denied" if the target exists.
        return entry.is_dir()
    return True


def _discard(entry: Path) -> None:
    """Renames an entry, so that it is gone at once for all processes, and removes it."""
    aside = entry.with_name(f".{entry.name}.{uuid4().hex}")
    try:
        entry.rename(aside)
    except FileNotFoundError:  # another process was faster
        return
    except OSError as error:
        raise _unwritable(entry.parent, error) from error
    shutil.rmtree(aside, ignore_errors=True)
    if aside.is_file():
        aside.unlink(missing_ok=True)


def _unwritable(root: Path, error: OSError) -> UserError:
    # numpy reports a full disk as "N requested and M written", without an error number: show the text in any case.
    return UserError(
        f"{root}: cannot write to the cache folder ({error.strerror or error}). Free some space there, make it "
        "writable, or set the environment variable LSMBENCH_CACHE to another folder."
    )
