"""Weights & Biases: online where there is a key and a server, else offline; it never asks for anything."""

from __future__ import annotations

import hashlib
import netrc
import numbers
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError
from lsmbench.runs.tracking import base
from lsmbench.runs.tracking.base import PANELS, PROJECT, Service, Tracking, Warn, one_line, writable

if TYPE_CHECKING:
    import wandb

ONLINE, MODES = ("online", "run", "shared"), ("online", "run", "shared", "offline", "dryrun", "disabled")


def unsent(tracking: Tracking) -> str:
    """How to send what W&B keeps offline; empty if it keeps nothing."""
    if tracking.track != "wandb":
        return ""
    folder = Path(os.environ.get("WANDB_DIR") or tracking.folder)
    kept = [
        file for file in folder.glob("wandb/offline-run-*/*.wandb") if not file.with_suffix(".wandb.synced").exists()
    ]
    return f"W&B keeps {len(kept)} run{'s' * (len(kept) > 1)} offline. {_to_send(folder)}" if kept else ""


@contextmanager
def wandb_run(folder: Path, warn: Warn, **options: Any) -> Iterator[wandb.Run]:
    """A run in Weights & Biases: online where there is a key and a server, else offline. Never asks for anything.

    Args:
        folder: Where W&B keeps its files, unless `WANDB_DIR` says otherwise.
        warn: Told in one line if the server fails.
        options: Of `wandb.init`.

    Yields:
        The run; it is finished afterwards, as failed if the block raised.

    Raises:
        UserError: If the folder cannot be written, or the environment asks for what cannot be.
    """
    folder = _wandb_folder(folder)
    run = _begin(folder, warn, **options)
    try:
        yield run
    except BaseException:
        _end(run, warn, failed=True)
        raise
    _end(run, warn)


class Wandb(Service):
    def __init__(
        self, tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn
    ) -> None:
        self._folder = _wandb_folder(Path(tracking.folder))
        self._warn = warn
        # A run that two benchmarks share is in the group of each.
        group = f"-{hashlib.sha256(tracking.group.encode()).hexdigest()[:6]}" if tracking.group else ""
        self._options = {
            "id": identity + group,
            "name": tracking.name or identity,
            "group": tracking.group or None,
            "job_type": tracking.job_type,
            "tags": list(tags),
            "config": config,
        }
        self._run: wandb.Run | None = None
        self._earlier: list[Path] = []

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        self._run = _begin(self._folder, self._warn, **self._options)
        here = Path(self._run.dir).parent
        found = sorted(here.parent.glob(f"offline-run-*/run-{self._options['id']}.wandb"))
        self._earlier = [file for file in found if file.parent != here]
        # Sent later, an offline run is written anew from its first line: it has to hold the whole run.
        pictures = _pictures(self._earlier)
        for step, row in enumerate(history):
            self.epoch(row, step)
            if step in pictures:
                self.panel(pictures[step], step)

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        self._log({name: value for name, value in row.items() if isinstance(value, str | numbers.Real)}, step)

    def panel(self, picture: NDArray[np.uint8] | Path, step: int) -> None:
        import wandb

        self._log({PANELS: wandb.Image(str(picture) if isinstance(picture, Path) else picture)}, step)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        assert self._run is not None
        self._run.summary.update(dict(summary))

    def close(self, failed: bool = False) -> None:
        assert self._run is not None
        if not _end(self._run, self._warn, failed):
            return
        for file in self._earlier:
            # What it holds is in this run too. Sent after it, it would write over it.
            if not file.with_suffix(".wandb.synced").exists():
                shutil.rmtree(file.parent, ignore_errors=True)

    def where(self) -> str:
        if self._run is None:
            return super().where()
        return _how_to_send(self._run)

    def abandon(self) -> None:
        _leave()

    def _log(self, values: dict[str, Any], step: int) -> None:
        assert self._run is not None
        if step >= self._run.starting_step:  # W&B has the steps before, and takes none of them twice
            self._run.log(values, step=step)


def _begin(folder: Path, warn: Warn, **options: Any) -> wandb.Run:
    """Begins a W&B run, offline where online fails."""
    # W&B would report its own failures to the server that fails, and wait for an answer when the process ends.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    # Silent also means that it takes no terminal for one, so it never asks for a key.
    known = wandb.setup(wandb.Settings(silent=True)).settings
    server = os.environ.get("WANDB_BASE_URL") or known.base_url
    mode = os.environ.get("WANDB_MODE") or known.mode
    if mode in ONLINE and not _has_key(known, server):
        mode = "offline"

    def begun(mode: str) -> wandb.Run:
        settings = wandb.Settings(
            silent=True,
            console="off",
            base_url=server,
            init_timeout=base.INIT_S,
            finish_timeout=base.FINISH_S,
            finish_timeout_raises=True,
            x_disable_stats=True,
            x_disable_meta=True,  # the command line is in it, and a password can be there
            x_save_requirements=False,
            disable_git=True,  # an address with a password can be there
            save_code=False,
        )
        project = os.environ.get("WANDB_PROJECT") or PROJECT
        # `wandb sync` would add a run that resumes to what the server has, where ours hold the whole run.
        resume = "allow" if mode in ONLINE and "id" in options else None
        made = {"project": project, "dir": str(folder), "mode": mode, "reinit": "create_new", "settings": settings}
        return wandb.init(**{**options, **made, "resume": resume})

    failure = ""
    if mode in ONLINE:
        if known.http_proxy or known.https_proxy or base.answers(server):
            try:
                return begun(mode)
            except Exception as error:
                failure = f"W&B failed ({one_line(error)})"
                _leave()  # the service of W&B holds the run's id and would hold up the end of the process
        else:
            failure = f"W&B: {urlsplit(server).netloc} does not answer"
        mode = "offline"
    run = begun(mode)
    if failure:
        # In the same words for all runs of a command, which then tells them once.
        warn(f"{failure}; runs are kept offline. {_to_send(folder)}")
    return run


def _end(run: wandb.Run, warn: Warn, failed: bool = False) -> bool:
    """Finishes a W&B run; whether all of it is where it belongs."""
    try:
        run.finish(exit_code=int(failed))
        _leave(base.FINISH_S)  # the last of it is written when the service ends
    except Exception as error:
        problem = f"W&B failed ({one_line(error)})"
        if isinstance(error, TimeoutError):
            problem = f"W&B took not all of the run within {base.FINISH_S:g} s"
        warn(f"{problem}. {_how_to_send(run)}")
        _leave()
        return False
    return True


def _to_send(folder: Path) -> str:
    return f"Send them later: wandb sync {folder / 'wandb' / 'offline-run-*'}"


def _how_to_send(run: wandb.Run) -> str:
    folder = Path(run.dir).parent
    online = "" if folder.name.startswith("offline-") else "--include-online "
    return f"Send it later: wandb sync {online}{folder}"


def _leave(seconds: float = 1) -> None:
    """Parts from W&B's service, so that the end of the process does not wait for it; a later run starts another.

    Args:
        seconds: How long it may take to end.
    """

    def part() -> None:
        import wandb

        with suppress(Exception):
            if wandb.run is None:  # else somebody has a run of their own in this process
                wandb.teardown()

    thread = threading.Thread(target=part, daemon=True)
    thread.start()
    thread.join(seconds)


def _has_key(known: wandb.Settings, server: str) -> bool:
    """Whether a key lies where W&B looks for it: variables, its settings, the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or known.api_key:
        return True
    hosts = [urlsplit(server).netloc]
    if server == type(known)().base_url:
        hosts.append("api.wandb.ai")  # a key that was stored before the service moved still opens it
    try:
        stored = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(stored.authenticators(host) for host in hosts)


def _wandb_folder(folder: Path) -> Path:
    """Where W&B keeps its files, checked: W&B itself would go elsewhere without a word."""
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise UserError(f"WANDB_MODE: expected online, offline or disabled, found {mode!r}.")
    if mode in ONLINE:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        known = wandb.setup(wandb.Settings(silent=True)).settings
        if not _has_key(known, os.environ.get("WANDB_BASE_URL") or known.base_url):
            raise UserError(
                f"WANDB_MODE: {mode} was asked for, and no key of W&B was found. Set WANDB_API_KEY, run `wandb login`, "
                "or use WANDB_MODE=offline and `wandb sync` later."
            )
    chosen = os.environ.get("WANDB_DIR")
    folder = Path(chosen) if chosen else folder
    writable(folder / "wandb", "WANDB_DIR" if chosen else "The folder of W&B")
    return folder


def _pictures(files: Sequence[Path]) -> dict[int, Path]:
    """Panels that earlier parts of a W&B run kept, by their steps; W&B names a picture after its key and step."""
    found: dict[int, Path] = {}
    for file in files:
        for picture in (file.parent / "files/media/images").glob(f"{PANELS}_*_*.png"):
            found[int(picture.stem.split("_")[1])] = picture
    return found
