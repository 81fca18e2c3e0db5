"""Trackers: what they keep, that they never ask, wait or raise, and what they say."""

from __future__ import annotations

import gzip
import json
import os
import queue
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from lsmbench.errors import UserError
from lsmbench.runs.config import add_options
from lsmbench.runs.tracking import Tracker, Tracking, _threaded, base, tracker, unsent, wandb_run
from tests import wandb_file

CONFIG = {"dataset": {"name": "sit"}, "method": {"name": "lsm", "learning_rate": 0.002}, "training": {"epochs": 5}}
KEY = "0123456789abcdef" * 2 + "01234567"
NOWHERE = "http://127.0.0.1:9"


def row(step: int) -> dict[str, Any]:
    return {"stage": "main", "epoch": step, "seconds": 0.5, "train/loss": 1 / (step + 1), "val/x->y/iou": step / 10}


def picture(step: int) -> Any:
    return np.full((8, 9, 3), step, np.uint8)


class Terminal:
    """A standard input that says it is a terminal and does not bear reading."""

    def isatty(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"standard input was used: {name}")


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import wandb

    names = ["API_KEY", "MODE", "BASE_URL", "PROJECT", "DIR", "SERVICE", "IDENTITY_TOKEN_FILE"]
    for name in [*(f"WANDB_{name}" for name in names), "MLFLOW_TRACKING_URI", "HTTP_PROXY", "http_proxy"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "argv", ["lsmbench", "--storage", "postgresql://ann:sesame@host/db"])
    yield
    wandb.teardown()


class Run:
    """A run of some epochs and what its tracker warned of."""

    def __init__(self, folder: Path, track: Any = "wandb", **options: Any) -> None:
        self.warnings: list[str] = []
        tracking = Tracking(track, folder=str(folder), **{"group": "faces", **options})
        self.tracker = tracker(tracking, "lsm-N5-s0-ab", CONFIG, ["sit", "lsm"], self.warnings.append)

    def train(self, first: int, last: int) -> Run:
        self.tracker.start([row(step) for step in range(first)])
        for step in range(first, last):
            self.tracker.epoch(row(step), step)
        self.tracker.panel(picture(last), last - 1)
        return self

    def end(self, failed: bool = False) -> Run:
        if not failed:
            self.tracker.finish({"test/iou": 0.49, "floor/iou": 0.32})
        self.tracker.close(failed)
        return self


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def read(folder: Path) -> wandb_file.Logged:
    (file,) = files(folder)
    return wandb_file.read(file)


def is_whole(logged: wandb_file.Logged, last: int) -> None:
    assert [kept["_step"] for kept in logged.history] == list(range(last))
    for step, kept in enumerate(logged.history):
        assert {name: kept[name] for name in row(step)} == pytest.approx(row(step))
    assert logged.summary["test/iou"] == 0.49
    assert logged.exit_code == 0


def holds_no_secret(folder: Path) -> None:
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(path.suffix == ".wandb" for path in contents)
    for secret in (KEY.encode(), b"sesame"):
        assert [path for path, content in contents.items() if secret in content] == []


def test_csv_needs_no_tracker(tmp_path: Path) -> None:
    run = Run(tmp_path, "csv").train(0, 1).end()
    assert not run.tracker.wants_panels
    assert list(tmp_path.iterdir()) == []
    assert run.warnings == []


def test_the_option_names_the_trackers() -> None:
    parser = ArgumentParser(exit_on_error=False)
    add_options(parser, "", Tracking)
    assert parser.parse_args([]).as_dict() == {"track": "csv"}
    assert parser.parse_args(["--track=mlflow"]).track == "mlflow"


def test_an_offline_run_is_read_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, name="LSM at 5 %", job_type="trial").train(0, 3).end()
    assert run.warnings == []
    logged = read(tmp_path)
    assert (logged.run.project, logged.run.run_group, logged.run.job_type) == ("lsmbench", "faces", "trial")
    assert logged.run.run_id.startswith("lsm-N5-s0-ab-")
    assert logged.run.display_name == "LSM at 5 %"
    assert sorted(logged.run.tags) == ["lsm", "sit"]
    assert {name: logged.config[name] for name in CONFIG} == CONFIG
    is_whole(logged, 3)
    assert logged.summary["floor/iou"] == 0.32
    shown = logged.history[2]["translations"]
    assert (shown["_type"], shown["width"], shown["height"]) == ("image-file", 9, 8)
    assert (files(tmp_path)[0].parent / "files" / shown["path"]).is_file()
    assert "translations" not in logged.history[1]
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_a_broken_run_ends_as_one_and_no_key_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    Run(tmp_path).train(0, 1).end(failed=True)
    assert read(tmp_path).exit_code == 1
    holds_no_secret(tmp_path)


def test_a_resumed_run_is_whole_in_one_file(tmp_path: Path) -> None:
    killed = Run(tmp_path).train(0, 2)
    killed.tracker.close(failed=True)
    (earlier,) = files(tmp_path)
    Run(tmp_path).train(2, 4).end()
    logged = read(tmp_path)
    is_whole(logged, 4)
    assert not earlier.exists(), "sent as well, it would be in the curve twice"
    shown = {step: kept["translations"] for step, kept in enumerate(logged.history) if "translations" in kept}
    assert list(shown) == [1, 3]
    assert all((files(tmp_path)[0].parent / "files" / one["path"]).is_file() for one in shown.values())


def test_what_was_sent_already_is_left_alone(tmp_path: Path) -> None:
    Run(tmp_path).train(0, 2).end(failed=True)
    (earlier,) = files(tmp_path)
    earlier.with_suffix(".wandb.synced").touch()
    other = Run(tmp_path, group="other").train(0, 1).end()
    Run(tmp_path).train(2, 3).end()
    assert len(files(tmp_path)) == 3, "the same run in another benchmark is another run of W&B"
    assert earlier in files(tmp_path)
    assert other.warnings == []


class Server:
    """As much of W&B's server as a run needs.

    Attributes:
        rows: What it holds, by run.
        knows: Whether it accepts runs.
        answers: Cleared, it takes what it is sent and says nothing.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.knows = True
        self.answers = threading.Event()
        self.answers.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.say({})

            def do_PUT(self) -> None:
                self.read()
                self.say({})

            def do_POST(self) -> None:
                body = self.read()
                if self.path == "/graphql":
                    self.say({"data": server.answer(json.loads(body))})
                    return
                sent = (json.loads(body).get("files") or {}).get("wandb-history.jsonl")
                if sent:
                    kept = server.rows.setdefault(self.path.split("/")[-2], [])
                    kept[sent["offset"] :] = [json.loads(line) for line in sent["content"]]
                self.say({})

            def read(self) -> bytes:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

            def say(self, answer: dict[str, Any]) -> None:
                server.answers.wait()
                text = json.dumps(answer).encode()
                self.send_response(200 if server.knows else 404)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:  # W&B hangs up when it is told to give up
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        given = asked.get("variables", {})
        name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        owner = {"id": "e", "name": "me"}
        kept = self.rows.get(given.get("name"), [])
        match name and name[1]:
            case "RunResumeStatus":
                told = {
                    "id": "b", "name": given["name"], "displayName": "", "config": "{}", "tags": [],
                    "summaryMetrics": "{}", "wandbConfig": '{"t": 1}', "historyLineCount": len(kept),
                    "eventsLineCount": 0, "logLineCount": 0, "eventsTail": "[]",
                    "historyTail": json.dumps([json.dumps(one) for one in kept[-1:]]),
                }  # fmt: skip
                return {"model": {"id": "p", "name": "lsmbench", "entity": owner, "bucket": told if kept else None}}
            case "UpsertBucket":
                project = {"id": "p", "name": "lsmbench", "entity": owner}
                bucket = {"id": "b", "name": given["name"], "project": project, "historyLineCount": len(kept)}
                return {"upsertBucket": {"bucket": bucket, "inserted": not kept}}
            case "CreateRunFiles":
                places = [{"name": file, "uploadUrl": f"{self.url}/{file}"} for file in given["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": places}}
        return {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setenv("WANDB_BASE_URL", made.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield made
    made.answers.set()
    made.http.shutdown()
    made.http.server_close()


def test_with_a_key_a_run_is_online_and_continues_as_itself(tmp_path: Path, server: Server) -> None:
    assert Run(tmp_path).train(0, 2).end(failed=True).warnings == []
    assert Run(tmp_path).train(2, 4).end().warnings == []
    ((name, rows),) = server.rows.items()
    assert name.startswith("lsm-N5-s0-ab")
    assert [one["_step"] for one in rows] == [0, 1, 2, 3]
    assert [one["val/x->y/iou"] for one in rows] == [0, 0.1, 0.2, 0.3]
    assert [step for step, one in enumerate(rows) if "translations" in one] == [1, 3]
    assert files(tmp_path) == []
    holds_no_secret(tmp_path)


def test_a_server_that_falls_silent_is_told_of_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FINISH_S", 0.5)
    run = Run(tmp_path)
    begun = threading.Event()
    start = run.tracker._inner.start  # type: ignore[attr-defined]

    def started(history: Any) -> None:
        start(history)
        begun.set()

    monkeypatch.setattr(run.tracker._inner, "start", started)  # type: ignore[attr-defined]
    run.tracker.start([])
    assert begun.wait(30)
    server.answers.clear()
    run.tracker.epoch(row(0), 0)
    run.end()
    (said,) = run.warnings
    assert "took not all of the run within 0.5 s" in said
    folder = said.partition("wandb sync --include-online ")[2]
    logged = wandb_file.read(next(Path(folder).glob("*.wandb")))
    is_whole(logged, 1)
    assert "WANDB_SERVICE" not in os.environ, "the end of the process would wait for W&B"


@pytest.mark.parametrize("how", ["nobody there", "silent", "knows no runs", "bad key"])
def test_a_run_is_kept_offline_if_it_cannot_be_online(
    how: str, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(base, "PROBE_S", 0.3 if how == "silent" else 3)
    if how == "nobody there":
        monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    elif how == "silent":
        server.answers.clear()
    elif how == "knows no runs":
        server.knows = False
    else:
        monkeypatch.setenv("WANDB_API_KEY", "open sesame")
    run = Run(tmp_path).train(0, 2).end()
    (said,) = run.warnings
    (file,) = files(tmp_path)
    assert said.endswith(f"runs are kept offline. Send them later: wandb sync {file.parents[1]}/offline-run-*")
    assert unsent(Tracking("wandb", folder=str(tmp_path))).startswith("W&B keeps 1 run offline. Send them later")
    assert "\n" not in said
    assert "sesame" not in said
    assert KEY not in said
    is_whole(wandb_file.read(file), 2)
    holds_no_secret(tmp_path)
    out = capfd.readouterr()
    assert "Traceback" not in out.out + out.err


def test_whatever_fails_is_told_once_and_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", KEY)

    def init(**options: Any) -> Any:
        raise OSError(f"no room for {KEY}\nand no more")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(base, "answers", lambda server: True)
    run = Run(tmp_path).train(0, 3).end()
    assert run.warnings == [
        "W&B failed (OSError: no room for *** and no more); this run is followed in its log.csv only."
    ]

    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = Run(tmp_path)
    monkeypatch.setattr(run.tracker._inner, "epoch", lambda row, step: 1 / 0)  # type: ignore[attr-defined]
    run.train(0, 3).end()
    (said,) = run.warnings
    assert said.startswith("W&B failed (ZeroDivisionError: division by zero). Send it later: wandb sync ")
    assert read(tmp_path).summary["test/iou"] == 0.49


def test_a_run_does_not_wait_for_its_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(base.Service):
        def __init__(self) -> None:
            self.go, self.did = threading.Event(), list[Any]()

        def start(self, history: Any) -> None:
            self.go.wait()
            self.did.append(len(history))

        def epoch(self, row: Any, step: int) -> None:
            self.did.append(step)

        def close(self, failed: bool = False) -> None:
            self.did.append("closed")

    def made(inner: Tracker) -> Tracker:
        return _threaded.Threaded(inner, "Slow", queue.SimpleQueue(), warnings.append)  # type: ignore[arg-type]

    warnings: list[str] = []
    inner = Slow()
    slow = made(inner)
    slow.start([row(0)])
    values = row(1)
    slow.epoch(values, 1)
    assert inner.did == []
    values.clear()
    inner.go.set()
    slow.close()
    assert inner.did == [1, 1, "closed"]
    assert warnings == []

    monkeypatch.setattr(base, "CLOSE_S", 0.05)
    stuck = Slow()
    slow = made(stuck)
    slow.start([])
    slow.close()
    slow.close()
    assert warnings == ["Slow did not end within 0.05 s. The run's own log.csv is whole."]
    stuck.go.set()
    made(Slow()).close()  # of a run that broke before it began


@pytest.mark.parametrize(
    ("kind", "variables", "said"),
    [
        ("wandb", {}, "The folder of W&B: {folder}/wandb cannot be written (Not a directory)"),
        ("wandb", {"WANDB_DIR": "{folder}"}, "WANDB_DIR: {folder}/wandb cannot be written"),
        ("tensorboard", {}, "{folder}/tensorboard/lsm-N5-s0-ab cannot be written"),
        ("wandb", {"WANDB_MODE": "onlin"}, "WANDB_MODE: expected online, offline or disabled, found 'onlin'."),
        ("wandb", {"WANDB_MODE": "online"}, "no key of W&B was found. Set WANDB_API_KEY, run `wandb login`"),
    ],
)
def test_what_the_user_has_to_mend_is_told_before_training(
    kind: str, variables: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(folder=blocked))
    with pytest.raises(UserError, match=re.escape(said.format(folder=blocked))):
        Run(blocked, kind)


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_missing_package_is_told_with_its_cure(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape(f"pip install 'lsmbench[{package}]'")):
        Run(tmp_path, package)


def test_one_summary_run(tmp_path: Path) -> None:
    warnings: list[str] = []
    with wandb_run(tmp_path, warnings.append, name="sit", job_type="leaderboard", config=CONFIG) as run:
        run.summary["lsm"] = 0.5
    logged = read(tmp_path)
    assert (logged.run.job_type, logged.summary["lsm"], logged.exit_code) == ("leaderboard", 0.5, 0)

    def broken() -> None:
        with wandb_run(tmp_path / "other", warnings.append):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        broken()
    assert read(tmp_path / "other").exit_code == 1
    assert warnings == []


def test_tensorboard_keeps_each_row_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = Run(tmp_path, "tensorboard").train(0, 3)
    first.tracker.close(failed=True)  # two epochs were saved when it was killed
    run = Run(tmp_path, "tensorboard").train(2, 4).end()
    assert first.warnings == run.warnings == []
    folder = tmp_path / "tensorboard" / "lsm-N5-s0-ab"
    events = EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()
    curve = events.Scalars("val/x-to-y/iou")
    assert [(event.step, round(event.value, 5)) for event in curve] == [(0, 0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert [event.step for event in events.Images("translations")] == [3]
    assert [event.value for event in events.Scalars("test/iou")] == pytest.approx([0.49])
    assert "method.learning_rate: 0.002" in (folder / "hparams.yaml").read_text()


def test_tensorboard_begun_late_has_the_rows_before(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Run(tmp_path, "tensorboard").train(3, 4).end()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "lsm-N5-s0-ab"), {"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("epoch")] == [0, 1, 2, 3]


def test_mlflow_continues_its_run(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    first = Run(tmp_path, "mlflow", name="LSM").train(0, 2).end(failed=True)
    run = Run(tmp_path, "mlflow", name="LSM").train(2, 4).end()
    assert first.warnings == run.warnings == []
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("faces")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("LSM", "FINISHED")
    assert kept.data.params["method/learning_rate"] == "0.002"
    assert kept.data.tags["lsm"] == "true"
    assert kept.data.metrics["test/iou"] == 0.49
    assert [one.step for one in client.get_metric_history(kept.info.run_id, "val/x-to-y/iou")] == [0, 1, 2, 3]
    assert list((tmp_path / "mlflow/artifacts").rglob("*.png"))
