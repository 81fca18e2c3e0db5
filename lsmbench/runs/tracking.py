"""How people follow a run beside its `log.csv`: in Weights & Biases, TensorBoard or MLflow, without training waiting.

A tracker's work, its imports included, is done in a thread of its own. Whatever fails there is told once and stops
nothing. What the user has to mend is told before training, by `tracker`.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import netrc
import numbers
import os
import queue
import re
import shutil
import ssl
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lsmbench.errors import UserError
from lsmbench.options import option
from lsmbench.runs.config import flat

if TYPE_CHECKING:
    import wandb

Warn = Callable[[str], None]

PROJECT = "lsmbench"
PANELS = "translations"
TAG = "lsmbench.run"
NAMES = {"wandb": "W&B", "tensorboard": "TensorBoard", "mlflow": "MLflow"}

PROBE_S, INIT_S, FINISH_S = 3.0, 15.0, 10.0
"""How long a server may take until it answers at all, until it knows a run, and until it has all of it, in seconds."""
CLOSE_S = PROBE_S + INIT_S + FINISH_S + 2
"""How long a run waits for its tracker at most, if the run is so short that the tracker has not begun."""

ONLINE, MODES = ("online", "run", "shared"), ("online", "run", "shared", "offline", "dryrun", "disabled")


@dataclass(frozen=True)
class Tracking:
    """Where runs are followed. Not part of their identity.

    Attributes:
        track: The tracker.
        group: Benchmark or study that the run belongs to.
        job_type: What the run is for.
        name: What people see; the run's identity if empty.
        folder: Where trackers keep their files. `WANDB_DIR` and `MLFLOW_TRACKING_URI` take precedence.
    """

    track: Literal["csv", "wandb", "tensorboard", "mlflow"] = option(
        "csv",
        "Where runs are followed. csv: the log.csv that every run writes; wandb: offline if there is no key",
    )
    group: str = ""
    job_type: Literal["train", "trial"] = "train"
    name: str = ""
    folder: str = ""


class Tracker:
    """Follows a run; this one does nothing, since every run writes `log.csv` itself.

    Attributes:
        wants_panels: Whether pictures are shown at all, so that none is drawn in vain.
    """

    wants_panels = False

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Begins, or continues where the run was interrupted.

        Args:
            history: The rows of earlier epochs, as `epoch` has them.
        """

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        """Logs an epoch.

        Args:
            row: A row of `log.csv`.
            step: Its number over all stages, from 0.
        """

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        """Shows what the method does, after the epoch of the same step.

        Args:
            picture: RGB, (H, W, 3).
            step: As `epoch`.
        """

    def finish(self, summary: Mapping[str, float | str]) -> None:
        """Logs the final values, by name, e.g. `test/iou` and `floor/iou`."""

    def close(self, failed: bool = False) -> None:
        """Ends, however the run ended; waits for at most `FINISH_S` + 2 seconds, or `CLOSE_S` if it has not begun.

        Args:
            failed: Whether the run broke.
        """


def tracker(tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn) -> Tracker:
    """The tracker of a run.

    Args:
        tracking: What the user asks for.
        identity: The run's, by which it is found again when it is resumed.
        config: The run's configuration, nested plain values.
        tags: What the run is found by.
        warn: Takes one line of text; called in the thread that calls the tracker.

    Raises:
        UserError: If a package is missing or a folder cannot be written.
    """
    if tracking.track == "csv":
        return Tracker()
    said = queue.SimpleQueue[str]()
    kind = {"wandb": _Wandb, "tensorboard": _TensorBoard, "mlflow": _MLflow}[tracking.track]
    return _Threaded(kind(tracking, identity, config, tags, said.put), NAMES[tracking.track], said, warn)


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


class _Threaded(Tracker):
    """Has another tracker's work done in a thread.

    Args:
        inner: The other tracker.
        name: What it is called.
        said: What it has to tell; told by the calling thread, since not every `warn` may be called by two at a time.
        warn: As in `tracker`.
    """

    wants_panels = True

    def __init__(self, inner: _Inner, name: str, said: queue.SimpleQueue[str], warn: Warn) -> None:
        self._inner, self._name = inner, name
        self._said, self._warn = said, warn
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
        seconds = FINISH_S + 2 if self._begun.is_set() else CLOSE_S
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._inner.abandon()
            self._said.put(f"{self._name} did not end within {seconds:g} s. {self._inner.where()}")
        self._thread = None
        self._tell()

    def _put(self, work: Callable[[], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._work.put(work)
        self._tell()

    def _tell(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._warn(self._said.get_nowait())

    def _do(self, history: list[dict[str, Any]]) -> None:
        told = False
        try:
            self._inner.start(history)
        except Exception as error:  # whatever a service or a network does, the run goes on
            self._said.put(f"{self._name} failed ({_one_line(error)}); this run is followed in its log.csv only.")
            return
        self._begun.set()
        for work in iter(self._work.get, None):
            try:
                work()
            except Exception as error:
                if not told:
                    self._said.put(f"{self._name} failed ({_one_line(error)}). {self._inner.where()}")
                    told = True


class _Inner(Tracker):
    """A tracker that works at once, may take its time and may raise."""

    def where(self) -> str:
        """Says where the run can be found all the same."""
        return "The run's own log.csv is whole."

    def abandon(self) -> None:
        """Sees to it that the process can end although this tracker's work did not."""


class _Wandb(_Inner):
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


class _Lightning(_Inner):
    """One of Lightning's loggers."""

    _logger: Any
    _step = 0

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        self._step = step
        self._logger.log_metrics(_numbers(row), step)

    def finish(self, summary: Mapping[str, float | str]) -> None:
        self._logger.log_metrics(_numbers(summary), self._step)

    def close(self, failed: bool = False) -> None:
        self._logger.finalize("failed" if failed else "success")


class _TensorBoard(_Lightning):
    def __init__(
        self, tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn
    ) -> None:
        _installed("tensorboard", "tensorboard")
        self._folder = Path(tracking.folder) / "tensorboard" / identity
        _writable(self._folder, "The folder of TensorBoard")
        self._parameters = {**dict(flat(config)), "tags": ", ".join(tags)}

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

        events = EventAccumulator(str(self._folder), {"scalars": 0}).Reload()
        there = {event.step for event in events.Scalars("epoch")} if "epoch" in events.Tags()["scalars"] else set()
        # Steps that a killed run logged and a resumed one repeats are purged from what is there.
        self._logger = TensorBoardLogger(
            self._folder.parent, self._folder.name, "", default_hp_metric=False, purge_step=len(history)
        )
        if not there:
            self._logger.log_hyperparams(self._parameters)
            self._logger.save()
        for step, row in enumerate(history):
            if step not in there:
                self.epoch(row, step)

    def epoch(self, row: Mapping[str, Any], step: int) -> None:
        super().epoch(row, step)
        self._logger.experiment.flush()  # or a kill takes up to two minutes of them

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        self._logger.experiment.add_image(PANELS, picture, step, dataformats="HWC")
        self._logger.experiment.flush()


class _MLflow(_Lightning):
    def __init__(
        self, tracking: Tracking, identity: str, config: dict[str, Any], tags: Sequence[str], warn: Warn
    ) -> None:
        _installed("mlflow", "mlflow")
        self._address, self._artifacts = os.environ.get("MLFLOW_TRACKING_URI", ""), None
        self._folder: Path | None = None
        if not self._address:
            self._folder = (Path(tracking.folder) / "mlflow").resolve()
            _writable(self._folder, "The folder of MLflow")
            self._address = f"sqlite:///{self._folder / 'mlflow.db'}"
            self._artifacts = (self._folder / "artifacts").as_uri()
        self._experiment = tracking.group or PROJECT
        self._parameters = config
        self._tags = {TAG: identity, "job_type": tracking.job_type, **dict.fromkeys(tags, "true")}
        self._name = tracking.name or identity

    def start(self, history: Sequence[Mapping[str, Any]]) -> None:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]

        if self._address.startswith("http") and not _answers(self._address):
            raise ConnectionError(f"{urlsplit(self._address).hostname} does not answer")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        with _alone(self._folder):  # MLflow makes a file's tables without a lock
            client = MlflowClient(self._address)
            if client.get_experiment_by_name(self._experiment) is None:
                with suppress(Exception):  # somebody has just made it on the server; if not, the logger says so below
                    client.create_experiment(self._experiment, self._artifacts)
        experiment = client.get_experiment_by_name(self._experiment)
        wanted = f"tags.`{TAG}` = '{self._tags[TAG]}'"
        found = client.search_runs([experiment.experiment_id], wanted) if experiment is not None else []
        self._logger = MLFlowLogger(
            self._experiment, self._name, self._address, self._tags, run_id=found[0].info.run_id if found else None
        )
        there: set[int] = set()
        if found:
            client.update_run(self._logger.run_id, "RUNNING")
            there = {metric.step for metric in client.get_metric_history(self._logger.run_id, "epoch")}
        else:
            self._logger.log_hyperparams(self._parameters)
        for step, row in enumerate(history):
            if step not in there:
                self.epoch(row, step)

    def panel(self, picture: NDArray[np.uint8], step: int) -> None:
        self._logger.experiment.log_image(self._logger.run_id, picture, key=PANELS, step=step)


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
            init_timeout=INIT_S,
            finish_timeout=FINISH_S,
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
        if known.http_proxy or known.https_proxy or _answers(server):
            try:
                return begun(mode)
            except Exception as error:
                failure = f"W&B failed ({_one_line(error)})"
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
        _leave(FINISH_S)  # the last of it is written when the service ends
    except Exception as error:
        late = isinstance(error, TimeoutError)
        said = f"W&B took not all of the run within {FINISH_S:g} s" if late else f"W&B failed ({_one_line(error)})"
        warn(f"{said}. {_how_to_send(run)}")
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


def _answers(server: str) -> bool:
    """Whether a server says anything within `PROBE_S`, be it an error; finding its address is part of that time."""
    heard, parts = threading.Event(), urlsplit(server)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S).close()
        except urllib.error.HTTPError:
            pass
        except Exception as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # a certificate is W&B's to judge
                return
        heard.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return heard.is_set()


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
    _writable(folder / "wandb", "WANDB_DIR" if chosen else "The folder of W&B")
    return folder


def _writable(folder: Path, what: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{what}: {folder} cannot be written ({error.strerror or error}). Make it writable, or track elsewhere."
        ) from error


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """Keeps other runs of this machine out of a folder, if there is one."""
    if folder is None:
        yield
        return
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _installed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"--track {extra}: the package {package} is not installed. Install it: pip install 'lsmbench[{extra}]'"
        )


def _pictures(files: Sequence[Path]) -> dict[int, Path]:
    """Panels that earlier parts of a W&B run kept, by their steps; W&B names a picture after its key and step."""
    found: dict[int, Path] = {}
    for file in files:
        for picture in (file.parent / "files/media/images").glob(f"{PANELS}_*_*.png"):
            found[int(picture.stem.split("_")[1])] = picture
    return found


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row; TensorBoard and MLflow know no `>` in names."""
    return {name.replace("->", "-to-"): float(value) for name, value in row.items() if isinstance(value, numbers.Real)}


def _one_line(error: Exception) -> str:
    """An error as part of a sentence, without keys."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    return text if len(text) <= 200 else text[:199] + "…"
