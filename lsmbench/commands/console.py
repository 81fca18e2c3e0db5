"""What all commands share: where they print, and how their parsers are made."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

console = Console(soft_wrap=False)
errors = Console(stderr=True, soft_wrap=True)


def parser_of(command: str, description: str) -> Any:
    """An empty parser of a command, whose errors are raised instead of ending the process."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(exit_on_error=False, prog=f"lsmbench {command}", description=description)


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun or SLURM started, or the only one: only it prints."""
    from lsmbench.runs import ranks

    return ranks.number() == 0


def tell_unsent(tracking: Any) -> None:
    """Tells which tracked runs W&B keeps on this machine, and how to send them."""
    from lsmbench.runs.tracking import unsent

    if said := unsent(tracking):
        console.print(escape(said), highlight=False, soft_wrap=True)
