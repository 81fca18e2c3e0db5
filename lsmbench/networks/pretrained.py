"""Weights that somebody else trained: fetched or read from a file, and put into a network if they are its own."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsmbench.errors import UserError

WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")
"""Endings of files of weights."""

_SHOWN = 3


def downloaded(url: str, what: str, otherwise: str) -> dict[str, Tensor]:
    """Weights from torch.hub's folder of checkpoints; they are downloaded if they are not there.

    Args:
        url: Where they are published; the file's name ends in the beginning of its SHA-256.
        what: Whose weights they are, for messages.
        otherwise: What to do without them, a sentence.

    Raises:
        UserError: If they can be neither loaded nor downloaded, or the file holds something else.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    how = f"Connect this machine, or download {url} elsewhere and place the file at {path}. {otherwise}"
    try:
        if path.exists():
            _check_hash(path)
        # torch.hub reports to stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            weights = torch.hub.load_state_dict_from_url(
                url, progress=sys.stderr.isatty(), map_location="cpu", check_hash=True, weights_only=True
            )
    except Exception as error:  # network, disk and torch raise errors of many kinds
        raise UserError(f"{what}: the weights can be neither found nor downloaded ({error}). {how}") from error
    if not isinstance(weights, dict):
        raise UserError(f"{path}: expected {what}'s state dictionary, found {type(weights).__name__}. {how}")
    return weights


def read(path: Path) -> dict[str, Tensor]:
    """The weights in a file that `torch.save` wrote, or a `.safetensors` file.

    A dictionary that holds them as `state_dict`, as Lightning's checkpoints do, or as `model` will do.

    Raises:
        UserError: If the file is missing, damaged, or holds no tensors by name.
    """
    expected = "expected a network's state dictionary, written by torch.save or as .safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {expected}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise UserError(f"{path}: reading it needs safetensors: pip install safetensors.") from error
    except Exception as error:  # torch, pickle, zip and safetensors raise errors of many kinds
        raise UserError(f"{path}: cannot be read ({error}); {expected}.") from error
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: {expected}, found something else.")
    return dict(found)


def fill(network: nn.Module, weights: Mapping[str, Tensor], origin: str, remedy: str) -> str:
    """Puts weights into a network, in place; weights beyond the network's own, such as a classifier's, are left out.

    Args:
        network: Its names are those of the weights.
        weights: By name.
        origin: Where they come from, for messages.
        remedy: What to do if they do not fit, a sentence.

    Returns:
        SHA-256 of the values that were taken, the first 12 hex digits.

    Raises:
        UserError: If one is missing or has another shape: they are another architecture's.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [
        f"{name} of shape {tuple(value.shape)}, found "
        + (f"{tuple(weights[name].shape)}" if name in weights else "none")
        for name, value in own.items()
        if name not in weights or weights[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError(
            f"{origin}: these are the weights of another architecture. Expected {'; '.join(wrong[:_SHOWN])}{more}. "
            f"{remedy}"
        )
    taken = {name: weights[name] for name in own}
    network.load_state_dict(taken, strict=False)
    return fingerprint(taken)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights' names and values, the first 12 hex digits."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(name.encode())
        sha.update(weights[name].detach().cpu().contiguous().float().numpy().data)
    return sha.hexdigest()[:12]


def renamed(weights: Mapping[str, Tensor], patterns: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights whose names are changed by regular expressions, of which the first that matches the beginning counts."""

    def name_of(name: str) -> str:
        for pattern, instead in patterns.items():
            if re.match(pattern, name):
                return re.sub(pattern, instead, name, count=1)
        return name

    return {name_of(name): value for name, value in weights.items()}


def _check_hash(path: Path) -> None:
    """Raises a ValueError unless a file's SHA-256 begins as its name says; torch.hub checks only its own downloads."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    expected = path.stem.rpartition("-")[2]
    if not found.startswith(expected):
        raise ValueError(f"{path} holds something else: its SHA-256 begins with {found[:8]}, not {expected}; remove it")
