"""Consoles and parsers that all commands share."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

console = Console(soft_wrap=False)
errors = Console(stderr=True, soft_wrap=True)


def parser_of(command: str, description: str) -> Any:
    """An empty parser of a command, which raises errors instead of ending the process."""
    from jsonargparse import ArgumentParser

    return ArgumentParser(exit_on_error=False, prog=f"lsmbench {command}", description=description)


def is_first() -> bool:
    """Whether this process prints: the only process, or rank 0 of those that torchrun or SLURM started."""
    from lsmbench.runs import ranks

    return ranks.number() == 0


def tell_unsent(tracking: Any) -> None:
    """Prints which tracked runs W&B keeps on this machine, and how to send them."""
    from lsmbench.runs.tracking import unsent

    if message := unsent(tracking):
        console.print(escape(message), highlight=False, soft_wrap=True)
