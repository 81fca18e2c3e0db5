"""Many results in one compressed file, `results.jsonl.xz`: for keeping in a repository, or sending to others."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path

from lsmbench.errors import UserError
from lsmbench.runs.results import Result, plain, write_bytes

PACKED = "results.jsonl.xz"


def pack(results: Sequence[Result], folder: Path) -> None:
    """Writes results to a folder's packed file, in order of their identities; the same results give the same bytes."""
    lines = [
        json.dumps(plain(one), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        for one in sorted(results, key=lambda one: one.id)
    ]
    write_bytes(folder / PACKED, lzma.compress("".join(line + "\n" for line in lines).encode(), preset=6))


def unpacked(folder: Path) -> dict[str, str]:
    """The JSON of each result in a folder's packed file, by identity; none without such a file.

    Raises:
        UserError: If the file is damaged.
    """
    path = folder / PACKED
    if not path.exists():
        return {}
    try:
        lines = lzma.decompress(path.read_bytes()).decode().splitlines()
        return {json.loads(line)["id"]: line for line in lines}
    except (OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a whole file of results ({error}). Get it again.") from error
