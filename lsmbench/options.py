"""Typed options: one declaration carries an option's default, help, unit, tuning range and source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    source: str = "",
    choices: tuple[str, ...] = (),
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

    Returns:
        A dataclass field; what is declared here is read back with `options_of`.
    """
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "source": source, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of one option of a configuration dataclass."""

    name: str
    type: Any
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    source: str
    choices: tuple[str, ...]

    @property
    def tunable(self) -> bool:
        """Whether the option has a range to search."""
        return self.low is not None and self.high is not None

    def describe(self) -> str:
        """The text that `--help` shows: help, unit, tuning range and source (the default is added there)."""
        extras = [f"unit: {self.unit}" if self.unit else ""]
        extras.append(f"tuned in [{self.low:g}, {self.high:g}]" if self.low is not None and self.high else "")
        extras.append(f"source: {self.source}" if self.source else "")
        said = "; ".join(e for e in extras if e)
        return f"{self.help} [{said}]" if said else self.help


def options_of(config: type[Any]) -> Iterator[Option]:
    """Yields the options that a configuration dataclass declares, in order of declaration."""
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        if "help" in field.metadata:
            yield Option(field.name, hints[field.name], field.default, **field.metadata)
