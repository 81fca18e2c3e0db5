"""What is typed behind a command: short forms, parsing, and messages that name the nearest word. Needs no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jsonargparse import ArgumentError as ParserError
from jsonargparse import ArgumentParser, Namespace

from lsmbench.errors import UserError

SHORTCUTS = {
    "--dataset": ("--dataset.name",),
    "--method": ("--method.name",),
    "--paired": ("--supervision.paired",),
    "--paired-count": ("--supervision.paired_count",),
    "--selection": ("--supervision.selection",),
    "--seed": ("--supervision.supervision_seed", "--training.init_seed"),
    "--epochs": ("--training.epochs",),
    "--devices": ("--training.devices",),
    "--accelerator": ("--machine.accelerator",),
}
"""Short forms of the options that are typed most."""


def expand(arguments: Sequence[str]) -> list[str]:
    """Replaces short forms by the options that they stand for."""
    expanded: list[str] = []
    words = iter(arguments)
    for word in words:
        key, equals, value = word.partition("=")
        if key not in SHORTCUTS:
            expanded.append(word)
            continue
        if not equals:
            following = next(words, None)
            if following is None or following.startswith("--"):
                raise UserError(f"{key} needs a value.")
            value = following
        expanded.extend(f"{full}={value}" for full in SHORTCUTS[key])
    return expanded


def reject_unknown(arguments: Sequence[str], parser: ArgumentParser) -> None:
    """Raises a UserError that names the nearest option, if an argument is no option of the parser."""
    known = [s for action in parser._actions for s in action.option_strings]
    for word in arguments:
        key = word.partition("=")[0]
        if key.startswith("--") and key not in known:
            raise UserError(f"unknown option {key}{nearest(key, [*known, *SHORTCUTS])}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: which known one is nearest."""
    candidates = list(known)
    close = difflib.get_close_matches(word, candidates, 1, 0.5)
    # A wrong section is nearer by its last part: supervision.epochs is training.epochs misplaced.
    last = [k for k in candidates if k.split(".")[-1] == word.split(".")[-1]]
    found = (last or close)[:1]
    return f"; did you mean {found[0]}?" if found else "; --help lists the options."


def parse_arguments(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parses, with errors as UserError."""
    reject_unknown(arguments, parser)
    return parsed(lambda: parser.parse_args(list(arguments)))


def parsed(parse: Callable[[], Namespace]) -> Namespace:
    """What a parser finds, with its errors as UserError."""
    try:
        namespace: Namespace = parse()
    except ParserError as error:
        raise UserError(" ".join(str(error).split())) from error
    return namespace


def words_of(text: str) -> list[str]:
    """Words separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(option: str, text: str, kind: type[int] | type[float]) -> list[Any]:
    """Numbers separated by commas.

    Raises:
        UserError: If one is none; names the option.
    """
    try:
        return [kind(word) for word in words_of(text)]
    except ValueError as error:
        raise UserError(f"{option}: expected numbers separated by commas, found {text!r}.") from error
