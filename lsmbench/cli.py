"""The command line: the table of commands."""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module

from rich.markup import escape

from lsmbench.commands.console import console, errors, is_first
from lsmbench.errors import Elsewhere, UserError

COMMANDS = {
    "list": "methods, datasets and benchmarks, one line each",
    "train": "one method, once: lsmbench train --method lsm --dataset sit --paired 5",
    "test": "a finished run evaluated again: lsmbench test runs/lsm-N5-s0-… --evaluation.weights last",
    "bench": "a grid of runs and its report: lsmbench bench quick",
    "sweep": "a search for the best parameters of a row: lsmbench sweep sit --method lsm --paired 5\n"
    "lsmbench sweep show sit: how it stands, what was best, what matters",
    "predict": "the best method's prediction for every file: lsmbench predict results/mine photos/ --output masks/",
    "report": "tables and pictures again, from results alone: lsmbench report results/quick",
    "compare": "whether a row is better than another one, and how sure that is:\n"
    "lsmbench compare results/300w lsm baseline --paired 10",
    "leaderboard": "every result on disk on one page: lsmbench leaderboard results runs",
    "export": "every score as tidy CSV and Parquet, with a data dictionary: lsmbench export results/quick",
    "submit": "results that join others after a check: lsmbench submit results/300w",
    "select": "which photos of a folder to annotate: lsmbench select photos -k 20",
    "data check": "what a dataset holds, and what is wrong with it: lsmbench data check 300w path/to/300w",
}
"""Each command's word, and a line about it. Command `c` is `lsmbench.commands.c`; `data check` is its `check`."""

END = """\
lsmbench COMMAND --help documents every option of a command. For train it lists those of the dataset and
method that are named: lsmbench train --method lsm --dataset sit --help. Likewise: lsmbench data check DATASET --help.
"""

_LAST_WORDS_SECONDS = 3.0
"""torchrun stops all processes when the first one ends: the others wait so that the one that failed can print why."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 a run failed, 2 something for the user to mend, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Otherwise albumentations looks for updates on the internet.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    # With several devices torch warns that an option, which methods with several groups need, costs time.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            line_buffering=True, errors="backslashreplace"
        )  # results appear as they come, in a log file too
    try:
        sys.exit(_run(words))
    except UserError as error:
        errors.print(f"[bold red]lsmbench:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise
        errors.print(f"[bold red]lsmbench:[/] {escape(f'{error.filename}: {error.strerror}')}", highlight=False)
        sys.exit(2)
    except Elsewhere as error:
        if is_first():
            errors.print(f"[bold red]lsmbench:[/] {escape(str(error))}", highlight=False)
        else:
            time.sleep(_LAST_WORDS_SECONDS)
        sys.exit(1)
    except KeyboardInterrupt:
        if is_first():
            errors.print("lsmbench: interrupted; the same command continues from the last finished epoch.")
        sys.exit(130)


def _run(words: list[str]) -> int:
    """Runs the command that the words name, or shows the usage."""
    if words[:1] == ["--version"]:
        import lsmbench

        console.print(f"lsmbench {lsmbench.__version__}", highlight=False)
        return 0
    group = f"{words[0]} " if words[:1] == ["data"] else ""
    words = words[1:] if group else words
    known = {name.removeprefix(group): line for name, line in COMMANDS.items() if name.startswith(group)}
    if not words or words[0] in ("-h", "--help", "help"):
        console.print(_usage(group, known), highlight=False, markup=False, end="")
        return 0
    if words[0] not in known:
        near = difflib.get_close_matches(words[0], known, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UserError(f"unknown command {words[0]!r}{hint} Known: {', '.join(known)}.")
    code: int = import_module(f"lsmbench.commands.{words[0]}").run(words[1:])
    return code


def _usage(group: str, known: Mapping[str, str]) -> str:
    lines = []
    for name, about in known.items():
        first, *more = about.split("\n")
        lines.append(f"  {name:<13}{first}")
        lines += [" " * 15 + line for line in more]
    return "\n".join([f"usage: lsmbench {group}COMMAND [options]", "", *lines, "", END])
