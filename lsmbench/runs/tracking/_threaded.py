"""A tracker's work in a thread of its own, so that training never waits for a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsmbench.runs.tracking import base
from lsmbench.runs.tracking.base import Service, Tracker, Warn, one_line


class Threaded(Tracker):
    """Has another tracker's work done in a thread.

    Args:
        inner: The other tracker.
        name: What it is called.
        messages: What the other tracker reports; the calling thread passes it to `warn`, which may not be called by
            two threads at a time.
        warn: As in `tracker`.
    """

    wants_panels = True

    def __init__(self, inner: Service, name: str, messages: queue.SimpleQueue[str], warn: Warn) -> None:
        self._inner, self._name = inner, name
        self._messages, self._warn = messages, warn
        self._work = queue.SimpleQueue[Callable[[], None] | None]()
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        rows = [dict(row) for row in history]
        self._thread = threading.Thread(target=self._do, args=(rows,), name="tracker", daemon=True)
        self._thread.start()

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        self._put(partial(self._inner.epoch, dict(row), step))

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        self._put(partial(self._inner.panel, picture, step))

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._put(partial(self._inner.finish, dict(summary)))

    def close(self, failed: bool = False) -> None:
        if self._thread is None:
            return
        self._put(partial(self._inner.close, failed))
        self._work.put(None)
        seconds = base.FINISH_S + 2 if self._begun.is_set() else base.CLOSE_S
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._inner.abandon()
            self._messages.put(f"{self._name} did not end within {seconds:g} s. {self._inner.where()}")
        self._thread = None
        self._tell()

    def _put(self, work: Callable[[], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._work.put(work)
        self._tell()

    def _tell(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._warn(self._messages.get_nowait())

    def _do(self, history: list[dict[str, Any]]) -> None:
        told = False
        try:
            self._inner.start(history)
        except Exception as error:  # whatever a service or a network does, the run goes on
            self._messages.put(f"{self._name} failed ({one_line(error)}); this run is followed in its log.csv only.")
            return
        self._begun.set()
        for work in iter(self._work.get, None):
            try:
                work()
            except Exception as error:
                if not told:
                    self._messages.put(f"{self._name} failed ({one_line(error)}). {self._inner.where()}")
                    told = True
