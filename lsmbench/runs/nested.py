"""Nested plain values, such as a configuration: their full names, and what differs. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The values of nested mappings, each with its full name, e.g. `training.epochs`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between nested mappings: the full names, each with both values (`None` where it is absent)."""
    first, second = dict(flat(now)), dict(flat(then))
    both = {key: (first.get(key), second.get(key)) for key in dict.fromkeys([*first, *second])}
    return {key: (one, other) for key, (one, other) in both.items() if one != other}
