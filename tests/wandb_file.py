"""Reads what W&B keeps of an offline run: protocol buffers in blocks of 32 KiB, as LevelDB's logs have them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as pb

HEADER, BLOCK, HEAD = 7, 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Logged:
    """A run as it was logged.

    Attributes:
        run: Its own record: project, group, job type, name, tags.
        config: Its configuration.
        history: The values of each step.
        summary: The last values.
        exit_code: How it ended; None if it did not.
    """

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read(path: Path) -> Logged:
    logged = Logged()
    for data in _records(path.read_bytes()):
        record = pb.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            logged.run = record.run
            logged.config |= _items(record.run.config.update)
        elif kind == "config":
            logged.config |= _items(record.config.update)
        elif kind == "history":
            logged.history.append(_items(record.history.item))
        elif kind == "summary":
            logged.summary |= _items(record.summary.update)
        elif kind == "exit":
            logged.exit_code = record.exit.exit_code
    return logged


def _items(items: Any) -> dict[str, Any]:
    """Names and values; what lies inside another value, as the parts of a picture do, has all names on its way."""
    found: dict[str, Any] = {}
    for item in items:
        *way, name = item.nested_key or [item.key]
        inside = found
        for outer in way:
            inside = inside.setdefault(outer, {})
        inside[name] = json.loads(item.value_json)
    return found


def _records(data: bytes) -> Iterator[bytes]:
    position, whole = HEADER, b""
    while position + HEAD <= len(data):
        if BLOCK - position % BLOCK < HEAD:  # a block's end is padded
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part = data[position + HEAD : position + HEAD + length]
        position += HEAD + length
        whole = part if kind in (FULL, FIRST) else whole + part
        if kind in (FULL, LAST):
            yield whole
