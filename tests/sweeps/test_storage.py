from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import psycopg
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError, ProgrammingError

from lsmbench.errors import UserError
from lsmbench.sweeps import storage as storages
from lsmbench.sweeps.storage import database_errors, open_storage, shown

SECRET = "s3cr{t}/:%"
ENCODED = quote(SECRET, safe="")
TORN = b'{"op_code":4,"worker_id":"0","study_id":0,"datet'

WORKER = """
import sys, optuna
from lsmbench.sweeps.storage import open_storage
study = optuna.create_study(storage=open_storage(sys.argv[1]), study_name="shared", load_if_exists=True)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(8):
    trial = study.ask()
    study.tell(trial, trial.suggest_float("x", 1e-3, 1, log=True))
"""


def work_at_once(where: str, workers: int = 2) -> optuna.Study:
    """Several processes, started together, open one storage and run eight trials each."""
    command = [sys.executable, "-c", WORKER, where]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(workers)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output = process.communicate()
        assert process.returncode == 0, output
        assert output == ("", ""), "Optuna is to be silent"
    study = optuna.load_study(storage=open_storage(where), study_name="shared")
    trials = study.get_trials()
    assert [t.number for t in trials] == list(range(8 * workers))
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert len({t.params["x"] for t in trials}) == len(trials)
    return study


def journal(path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(path), study_name="s", load_if_exists=True)


# What is asked for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "journal:{}"])
def test_a_path_is_a_journal_whose_folder_is_made(tmp_path: Path, form: str) -> None:
    path = tmp_path / "new" / "deep" / "trials.log"
    study = optuna.create_study(storage=open_storage(form.format(path)))
    study.tell(study.ask(), 1.0)
    assert len(path.read_text().splitlines()) >= 3
    assert shown(form.format(path)) == str(path)


@pytest.mark.parametrize(
    ("where", "to_show"),
    [
        (f"postgresql://ann:{ENCODED}@host:5432/db", "postgresql://ann:***@host:5432/db"),
        (f"postgres://ann:{SECRET}@host/db", "postgres://ann:***@host/db"),
        (f"postgresql://host/db?user=ann&password={ENCODED}", "postgresql://host/db?password=***&user=ann"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:////folder/a@b@c.db", "sqlite:////folder/a@b@c.db"),
        ("postgresql://ann:one@two@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:one@two/three@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:secret/db", "postgresql://ann:***"),
        (Path("results/trials.log"), "results/trials.log"),
    ],
)
def test_a_place_is_shown_without_its_password(where: str | Path, to_show: str) -> None:
    assert shown(where) == to_show


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("", "no storage of trials"),
        ("journal:", "no storage of trials"),
        (f"postgresql:/ann:{ENCODED}@host/db", "no storage of trials"),
        (f"ann:{ENCODED}@host/db", "no storage of trials"),
        (f"postgresql://ann:{ENCODED}@host:port/db", "is not the URL"),
        ("postgresql://ann:s3cr@t@host/db", "%40"),
        (f"nosuchbase://ann:{ENCODED}@host/db", "unknown kind of database nosuchbase"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        (f"mysql+aiomysql://ann:{ENCODED}@host/db", "pip install 'aiomysql'"),
    ],
)
def test_what_is_no_place_is_said_without_the_password(where: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        open_storage(where)
    assert words in str(error.value)
    assert ENCODED not in str(error.value)
    assert "s3cr" not in str(error.value)
    assert error.value.__cause__ is None


def test_the_drivers_own_words_lose_the_password() -> None:
    where = f"postgresql://ann:{ENCODED}@host/db"
    cause = Exception(f"cannot log in with {SECRET} ({ENCODED})\n  try again")
    with pytest.raises(UserError) as error, database_errors(where):
        raise OperationalError("SELECT secrets", {"key": SECRET}, cause)
    assert "postgresql://ann:***@host/db: the database cannot be used: cannot log in with *** (***) try" in str(
        error.value
    )
    assert "SELECT" not in str(error.value)
    with pytest.raises(UserError, match=r"hidden as \*\*\*"), database_errors("postgresql://host/db?password=abc"):
        raise OperationalError("SELECT", {}, Exception("hidden as abc"))


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), database_errors("sqlite:///x.db"):
        raise ZeroDivisionError


def test_optuna_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for where in (str(tmp_path / "trials.log"), f"sqlite:///{tmp_path}/trials.db"):
            study = optuna.create_study(storage=open_storage(where), sampler=optuna.samplers.GPSampler(seed=0))
            study.enqueue_trial({"x": 0.1})
            for value in (1.0, 2.0):
                study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0.01, 1, log=True)}), value)
    assert [str(w.message) for w in warned if w.category is not ResourceWarning] == []
    assert capfd.readouterr() == ("", "")


# Journals -------------------------------------------------------------------------------------------------------------


def test_processes_share_a_journal(tmp_path: Path) -> None:
    work_at_once(str(tmp_path / "trials.log"))


def test_optuna_loses_what_follows_a_torn_line(tmp_path: Path) -> None:
    # The fault of Optuna that `_Lock` works around.
    path = tmp_path / "trials.log"
    study = journal(path)
    with path.open("ab") as file:
        file.write(TORN)
    plain = JournalStorage(JournalFileBackend(str(path)))
    plain.set_study_user_attr(study._study_id, "told", 1)
    assert JournalStorage(JournalFileBackend(str(path))).get_study_user_attrs(study._study_id) == {}
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(ValueError, match=r"Expecting|delimiter|Unterminated"):
        JournalStorage(JournalFileBackend(str(path)))


def test_a_torn_last_line_costs_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "trials.log"
    study = journal(path)
    study.tell(study.ask(), 1.0)
    whole = path.read_bytes()
    for torn in (TORN, TORN[:3]):
        # Seen while this process is alive, and by a later process.
        for writer in (study, None):
            with path.open("ab") as file:
                file.write(torn)
            writer = writer or journal(path)
            writer.tell(writer.ask(), 2.0)
    assert path.read_bytes().startswith(whole)
    assert all("op_code" in json.loads(line) for line in path.read_bytes().splitlines())
    assert [t.value for t in journal(path).trials] == [1.0, 2.0, 2.0, 2.0, 2.0]


def test_somebodys_text_is_neither_taken_for_a_journal_nor_changed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    for text in ("hello", "hello\n", "[1, 2]\n", '{"a": 1}\n', '{"op_code":1}\n', "\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"notes\.txt: is no journal"):
            open_storage(path)
        assert path.read_text() == text


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.log"
    study = journal(path)
    study.tell(study.ask(), 1.0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\x00\xff\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"trials\.log: is no journal of trials, or a damaged one: line 3 "):
        open_storage(path)


def test_damage_during_use_is_said(tmp_path: Path) -> None:
    path = tmp_path / "trials.log"
    study = journal(path)
    with path.open("ab") as file:
        file.write(b"garbage\ngarbage\n")
    with pytest.raises(UserError, match="damaged"):
        study.get_trials()
    with path.open("ab") as file:
        file.write(b"unfinished text")
    with pytest.raises(UserError, match="damaged"):
        study.set_user_attr("a", 1)
    assert path.read_bytes().endswith(b"unfinished text")
    assert not os.path.lexists(f"{path}.lock")


def test_a_path_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "trials.log"):
        with pytest.raises(UserError, match="trials cannot be kept in this file"):
            open_storage(path)


def test_a_dead_process_lock_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    # Why paths are made absolute: if the lock's target is missing, Optuna tries again without a pause.
    JournalFileSymlinkLock("sub/plain").acquire()
    Path("sub/plain").touch()
    assert os.path.islink("sub/plain.lock")
    assert not os.path.exists("sub/plain.lock")

    storage = open_storage("sub/trials.log")
    assert isinstance(storage, JournalStorage)
    lock = storage._backend._lock  # type: ignore[attr-defined]
    lock.acquire()
    assert os.path.exists("sub/trials.log.lock")
    monkeypatch.setattr(lock, "grace_period", 0.05)
    study = optuna.create_study(storage=storage)
    assert study.ask().number == 0
    assert not os.path.lexists("sub/trials.log.lock")


# SQLite ---------------------------------------------------------------------------------------------------------------


def test_sqlite_works_and_is_shared(tmp_path: Path) -> None:
    work_at_once(f"sqlite:///{tmp_path}/trials.db")


def test_sqlite_in_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unable to open database file\. Check that the file's folder exists"):
        open_storage(f"sqlite:///{tmp_path}/none/trials.db")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "trials.db").write_text("text " * 200)
    with pytest.raises(UserError, match="file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/trials.db")


def test_tables_of_another_optuna_are_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    open_storage(url)
    with sqlite3.connect(tmp_path / "trials.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99'")
        connection.execute("UPDATE version_info SET library_version = '99.0'")
    with pytest.raises(UserError, match=rf"trials\.db: .*{optuna.__version__}.*set up by optuna 99\.0.*upgrade"):
        open_storage(url)


def test_opening_waits_for_another_process_that_makes_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def busy(*arguments: Any, **options: Any) -> RDBStorage:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise ProgrammingError("CREATE TABLE studies", {}, Exception('relation "studies" already exists'))
        return RDBStorage(*arguments, **options)

    monkeypatch.setattr(storages, "RDBStorage", busy)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    failures = 2
    study = optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/trials.db"))
    assert (study.ask().number, calls) == (0, 3)
    failures = 1000
    with pytest.raises(UserError, match="already exists"):
        open_storage(f"sqlite:///{tmp_path}/trials.db")
    assert calls == 3 + storages.OPENING_ATTEMPTS


# PostgreSQL -----------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_processes_share_an_empty_database(empty_postgres_url: str) -> None:
    work_at_once(empty_postgres_url, workers=3)


@pytest.mark.postgres
def test_connections_that_were_cut_while_idle_are_replaced(empty_postgres_url: str) -> None:
    study = optuna.create_study(storage=open_storage(empty_postgres_url))
    trial = study.ask()
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != "
    with psycopg.connect(empty_postgres_url) as connection:
        cut = connection.execute((others + "pg_backend_pid()").encode()).fetchall()
    assert cut
    assert all(done for (done,) in cut)
    study.tell(trial, 1.0)
    assert study.best_value == 1.0


@pytest.mark.postgres
def test_what_a_server_refuses_is_said_without_the_password(postgres_url: str) -> None:
    head, _, rest = postgres_url.partition("@")
    right = head.rpartition(":")[2]
    wrong = f"{head.removesuffix(right)}{ENCODED}@{rest}"
    cases = {
        wrong: "password authentication failed",
        postgres_url.removesuffix("/postgres") + "/nosuch": 'database "nosuch" does not exist',
        postgres_url.replace("postgresql://", "postgres://").replace("127.0.0.1", "127.0.0.1.invalid"): "resolve host",
    }
    for url, words in cases.items():
        with pytest.raises(UserError, match=words) as error:
            open_storage(url)
        text = str(error.value)
        assert text.startswith(shown(url))
        assert "tester:***@" in text
        assert not [form for form in (SECRET, ENCODED, right) if form in text]


@pytest.mark.postgres
def test_a_server_that_stops_is_said(postgres_server: Any) -> None:
    url = postgres_server.url
    study = optuna.create_study(storage=open_storage(url))
    postgres_server.stop()
    pattern = r"tester:\*\*\*@.*: the database cannot be used: .*[Cc]onnection"
    with pytest.raises(UserError, match=pattern) as error, database_errors(url):
        study.ask()
    assert url.rpartition("@")[0].rpartition(":")[2] not in str(error.value)
    with pytest.raises(UserError, match="refused"):
        open_storage(url)
