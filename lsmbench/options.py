"""Typed options: one declaration carries all that is known of an option, from its default to its part in identities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, get_type_hints

Counts = Literal[
    "always", "if_changed", "within_row", "within_row_if_changed", "content", "content_if_changed", "word", "never"
]
"""How an option's value enters a run's identity, and the setting that the runs of one row of a table share.

- `always`: by its value, in both.
- `if_changed`: as `always`, but left out at the default: a new option leaves the identities of older runs as they are.
- `within_row`: by its value in the identity only; runs of one row differ in it (N and seeds).
- `within_row_if_changed`: as `within_row`, but left out at the default (the fold).
- `content`: by a digest of the file that the value names, in both.
- `content_if_changed`: the same, but left out at the default.
- `word`: by what precedes the first colon (`gta` of `gta:/data/gta`), in both.
- `never`: in neither; it says where files lie, and the data's fingerprint says what they hold.
"""


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    source: str = "",
    choices: tuple[str, ...] = (),
    counts: Counts = "always",
    only_if: tuple[str, str] | None = None,
) -> Any:
    """Declares one field of a configuration dataclass.

    Args:
        default: The value when the user says nothing.
        help: What the option does, in one sentence.
        unit: The unit of the value, if it has one.
        low: Least value that is searched when the option is tuned (log scale).
        high: Greatest value that is searched when the option is tuned (log scale).
        source: Where the default comes from (paper section, released code, own measurement).
        choices: The allowed values, if they are a closed set.
        counts: How the value enters a run's identity and setting.
        only_if: Another option of the section and its value without which this option is not used; unused, it enters
            a run's identity and setting as an empty text.

    Returns:
        A dataclass field; what is declared here is read back with `options_of`.
    """
    metadata = {
        "help": help, "unit": unit, "low": low, "high": high, "source": source, "choices": choices, "counts": counts,
        "only_if": only_if,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of one option of a configuration dataclass; attributes as the arguments of `option`."""

    name: str
    type: Any
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    source: str
    choices: tuple[str, ...]
    counts: Counts
    only_if: tuple[str, str] | None

    @property
    def tunable(self) -> bool:
        """Whether the option has a range to search."""
        return self.low is not None and self.high is not None

    def describe(self) -> str:
        """The text that `--help` shows: help, unit, tuning range and source (the default is added there)."""
        extras = [f"unit: {self.unit}" if self.unit else ""]
        extras.append(f"tuned in [{self.low:g}, {self.high:g}]" if self.low is not None and self.high else "")
        extras.append(f"source: {self.source}" if self.source else "")
        details = "; ".join(e for e in extras if e)
        return f"{self.help} [{details}]" if details else self.help


def options_of(config: type[Any]) -> Iterator[Option]:
    """Yields the options that a configuration dataclass declares, in order of declaration."""
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        if "help" in field.metadata:
            yield Option(field.name, hints[field.name], field.default, **field.metadata)
