"""The YAML files that define benchmarks and sweeps: where they lie, and how they are read. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lsmbench.errors import UserError


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        UserError: If the file is missing or is not one.
    """
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a YAML mapping, found {type(value).__name__}.")
    return value


def folders_of(kind: str) -> list[Path]:
    """Where YAML files of a kind (`benchmarks`, `sweeps`) lie: in the working folder, the source tree, the package."""
    package = Path(__file__).resolve().parent
    return [Path(kind), package.parent / kind, package / kind / "definitions"]


def named_files(kind: str) -> dict[str, Path]:
    """The YAML files of a kind by their names; the user's own come before the package's."""
    found: dict[str, Path] = {}
    for folder in folders_of(kind):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found
