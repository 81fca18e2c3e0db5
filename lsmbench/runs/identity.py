"""What tells runs apart, and what the runs of one row of a table share: as each option declares it by `counts`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, cast

from lsmbench.data.features import digest
from lsmbench.options import Option, options_of

Values = Mapping[str, Mapping[str, Any]]
"""A configuration as nested plain values: section, option, value."""

Kinds = Mapping[str, Iterable[type[Any]]]
"""The configuration dataclasses that declare the options of each section; of two declarations the last one counts."""


def hashed(parts: Iterable[str], values: Values, kinds: Kinds) -> str:
    """Ten digits that depend on a run's configuration and on further parts, such as the data's fingerprint.

    Raises:
        UserError: If a file that an option names cannot be read.
    """
    kept = {"always", "if_changed", "within_row", "within_row_if_changed", "content", "content_if_changed", "word"}
    counted = _counted(values, kinds, digest, kept)
    canonical = json.dumps([*parts, _canonical(counted)], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def shared(values: Values, kinds: Kinds, content: Callable[[str], str] = digest) -> dict[str, dict[str, Any]]:
    """The part of a configuration that the runs of one row share: all but N, seeds, fold and places of files.

    Args:
        values: The configuration; options that are not declared count as they are.
        kinds: Declares the options.
        content: Tells what a file holds, by its name.

    Raises:
        UserError: If a file that an option names cannot be read.
    """
    return _counted(values, kinds, content, {"always", "if_changed", "content", "content_if_changed", "word"})


def _counted(values: Values, kinds: Kinds, content: Callable[[str], str], kept: set[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for section, inside in values.items():
        options: dict[str, Option] = {}
        for kind in kinds.get(section, ()):
            options |= _declared(cast(Hashable, kind))
        found[section] = {}
        for name, value in inside.items():
            option = options.get(name)
            counts = option.counts if option else "always"
            if counts not in kept or (option and counts.endswith("if_changed") and value == option.default):
                continue
            if option and option.only_if and inside.get(option.only_if[0]) != option.only_if[1]:
                value = ""
            elif counts.startswith("content"):
                value = content(value)
            elif counts == "word":
                value = (value or "").partition(":")[0]
            found[section][name] = value
    return found


@cache
def _declared(kind: Hashable) -> dict[str, Option]:
    return {option.name: option for option in options_of(cast(type[Any], kind))}


def _canonical(value: Any) -> Any:
    """The same for 5 and 5.0, which files and command lines do not tell apart."""
    if isinstance(value, Mapping):
        return {key: _canonical(inside) for key, inside in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value
