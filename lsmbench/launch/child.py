"""One process that the local launcher starts: it computes its part of a run and sends messages to its parent."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from lsmbench.errors import Elsewhere, UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.launch.base import Order
from lsmbench.runs.context import Progress
from lsmbench.runs.ranks import Place
from lsmbench.runs.results import Failure
from lsmbench.runs.run import RunError, execute
from lsmbench.runs.weights import evaluate, evaluation_folder


@dataclass(frozen=True)
class Warned:
    """A warning of the run."""

    text: str


@dataclass(frozen=True)
class Lost:
    """This process failed only because another process of the run did, which may tell the cause."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The run's result is written."""


Message = Progress | Failure | Warned | Lost | Finished


def work(order: Order, place: Place, seconds: float, messages: Connection) -> None:
    """Computes one process's part of a run.

    Args:
        order: The run.
        place: Of this process among those of the run.
        seconds: Least time between two messages of progress.
        messages: Takes a `Message`. Nothing is ever received from it.
    """
    threading.Thread(target=_end_with_parent, args=(messages,), daemon=True).start()
    if place.size > 1:
        place.take()
    logging.getLogger("lsmbench").addHandler(_Sender(messages))
    sent = -seconds

    def send(progress: Progress) -> None:
        nonlocal sent
        if time.monotonic() - sent >= seconds:
            sent = time.monotonic()
            messages.send(progress)

    def failure(kind: str, reason: str, detail: str = "") -> Failure:
        return Failure(
            id=order.identity, kind=kind, reason=reason, where="", config=order.config.to_dict(), detail=detail
        )

    try:
        result = execute(order.config, order.root, order.machine, send, order.testing, order.tracking)
        if place.rank == 0:
            if result.scores:
                for how in order.refine:
                    _refine(order, how)
            messages.send(Finished())
    except Elsewhere as error:
        messages.send(Lost(str(error)))
    except RunError as error:
        messages.send(error.failure)
    except UserError as error:
        messages.send(failure("user", str(error)))
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:  # before the run could record it
        messages.send(failure("failed", f"{type(error).__name__}: {error}", traceback.format_exc()))


def _refine(order: Order, how: RefineConfig) -> None:
    """Evaluates the finished run with refined codes; what goes wrong is recorded where the result would be."""
    try:
        evaluate(order.folder, "refine", how, order.machine)
    except Exception as error:
        folder, user = evaluation_folder(order.folder, "refine", how), isinstance(error, UserError)
        with suppress(OSError):
            Failure(
                id=folder.name,
                kind="user" if user else "failed",
                reason=str(error) if user else f"{type(error).__name__}: {error}",
                where=f"refinement, {how.refine_steps} steps",
                config=order.config.to_dict(),
                detail="" if user else traceback.format_exc(),
            ).save(folder)
        raise


class _Sender(logging.Handler):
    """Sends warnings to the parent, which decides how to show them beside its progress bars."""

    def __init__(self, messages: Connection) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.send(Warned(record.getMessage()))


def _end_with_parent(messages: Connection[Any, Any]) -> None:
    """Ends this process when its end of the pipe becomes readable, which happens only when the parent is gone."""
    wait([messages])
    os._exit(1)
