"""The storage of a sweep's trials: a journal file, on one machine or a shared file system, or a database.

This file works around three faults of Optuna, each with a test. If a killed process leaves an unfinished last line in a
journal, Optuna ignores the line, but appends the next record to it, which loses that record; after one more record the
file is unreadable. If a journal's path is relative and the owner of its lock is dead, Optuna waits for the lock for
ever, without a pause. If processes open an empty database at once, all of them make its tables, and all but one fail.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from lsmbench.errors import UserError

CONNECT_SECONDS = 10
"""Time limit for a database to answer; without it, a database behind a firewall would block for minutes."""

LIMITS = dict.fromkeys(("psycopg", "psycopg2", "mysqldb", "pymysql"), "connect_timeout") | {"pysqlite": "timeout"}
"""The drivers' names for this limit."""

IDLE_SECONDS = 300
"""Connections idle for longer are replaced: during trials of hours, firewalls drop them without an error."""

OPENING_ATTEMPTS = 10
"""Number of attempts to make a database's tables, which other processes may make at the same time."""

PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
}
"""The packages of database drivers whose module has another name."""

EXPECTED = (
    "expected a path of a journal file, or a URL such as postgresql://user:password@host:5432/database "
    "(in a password, @ is written %40 and % is written %25) or sqlite:///file.db"
)


def quiet() -> None:
    """Silences Optuna's log below warnings, and its warnings about experimental features."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def open_storage(where: str | Path) -> BaseStorage:
    """Opens a storage of trials, and makes it if it does not exist.

    Args:
        where: A path, or `journal:` and a path, is a journal file; anything with `://` is the URL of a database.

    Raises:
        UserError: If the storage cannot be opened. No message ever shows a password.
    """
    quiet()
    path = _journal_path(where)
    return _open_database(str(where)) if path is None else _open_journal(path)


def shown(where: str | Path) -> str:
    """A storage's path or URL without its password, for messages and records."""
    text = str(where)
    if _is_journal(where):
        return text.removeprefix("journal:")
    try:
        url = _parsed(text)
    except (ArgumentError, ValueError):
        return _masked(text)
    secret = {key: "***" for key in url.query if "pass" in key.lower()}
    if url.password is None and not secret:
        return text
    return url.update_query_dict(secret).render_as_string(hide_password=True).replace(quote("***"), "***")


def file_of(where: str | Path) -> Path | None:
    """The file of a storage, a journal or an SQLite database; `None` for a database server.

    Raises:
        UserError: If `where` can be no storage.
    """
    path = _journal_path(where)
    if path is None and (url := _url(str(where))).get_backend_name() == "sqlite":
        return Path(str(url.database))
    return path


@contextmanager
def database_errors(where: str | Path) -> Iterator[None]:
    """Turns a database's later errors, such as a lost connection, into a `UserError`, as `open_storage` does.

    A journal raises a `UserError` by itself.

    Raises:
        UserError: For an error of the database. Other errors pass unchanged.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        # Without a cause: its text may hold the password.
        raise _database_error(str(where), error) from None


def _is_journal(where: str | Path) -> bool:
    return isinstance(where, Path) or where.startswith("journal:") or "://" not in where


def _journal_path(where: str | Path) -> Path | None:
    """The journal's file, or `None` for a database."""
    if not _is_journal(where):
        return None
    text = str(where)
    path = text.removeprefix("journal:")
    # A URL with a slash missing is not meant as the name of a file, and it may hold a password.
    broken = r"(postgres\w*|mysql|mariadb|sqlite|oracle|mssql)(\+\w+)?:|[^/]*:[^/]*@"
    if not path or (path == text and re.match(broken, path)):
        raise UserError(f"{_masked(text)!r} is no storage of trials: {EXPECTED}.")
    # Absolute, since the lock is a symbolic link to the file: a relative one would dangle.
    return Path(path).expanduser().absolute()


# Journal --------------------------------------------------------------------------------------------------------------


class _Lock(JournalFileSymlinkLock):
    """The journal's lock; acquiring it removes the unfinished record that a killed process may have left."""

    def acquire(self) -> bool:
        taken = super().acquire()
        try:
            _remove_torn_end(Path(self._lock_target_file))
        except BaseException:
            self.release()
            raise
        return taken


class _Journal(JournalFileBackend):
    """The journal's file, with errors as UserError."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Lock(str(path)))
        self._path = path

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with _journal_errors(self._path):
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _journal_errors(self._path):
            super().append_logs(logs)


def _open_journal(path: Path) -> JournalStorage:
    with _journal_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        backend = _Journal(path)
        # Check that the file can be written to before the first trial is computed, not after.
        with path.open("ab"):
            pass
        _check_journal(path)
    try:
        return JournalStorage(backend)
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(path, "its records do not fit together") from error


@contextmanager
def _journal_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path}: trials cannot be kept in this file: {reason}. Name a file in a folder that can be written to."
        ) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: is no journal of trials, or a damaged one: {what}. Name another file, or put back a copy of this one."
    )


def _check_journal(path: Path) -> None:
    """Refuses a damaged journal; Optuna would ignore a damaged last line until another line follows."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") and _unfinished(line):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or "op_code" not in record:
                raise _damaged(path, f"line {number} is no record of Optuna's")


def _remove_torn_end(path: Path) -> None:
    """Removes an unfinished last record. The caller holds the lock, so that no other process is writing."""
    with path.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if not _unfinished(content[whole:]):
            raise ValueError("its last line is no record of Optuna's")
        file.truncate(whole)


def _unfinished(end: bytes) -> bool:
    """Whether a file's last line, without a line feed, is the beginning of a record and not other text."""
    start = b'{"op_code":'
    return end[: len(start)] == start[: len(end)]


# Database -------------------------------------------------------------------------------------------------------------


def _open_database(where: str) -> RDBStorage:
    url = _url(where)
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() != "sqlite":
        engine["pool_recycle"] = IDLE_SECONDS
    try:
        limit = LIMITS.get(url.get_driver_name())
    except NoSuchModuleError:
        raise UserError(f"{shown(where)}: unknown kind of database {url.drivername}; {EXPECTED}.") from None
    if limit and limit not in url.query:
        engine["connect_args"] = {limit: CONNECT_SECONDS}
    for attempt in range(OPENING_ATTEMPTS):
        try:
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
        except ImportError as error:
            raise _missing_driver(where, url, error) from None
        except SQLAlchemyError as error:
            meanwhile = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not meanwhile or attempt == OPENING_ATTEMPTS - 1:
                raise _database_error(where, error) from None
            time.sleep(0.1 * (attempt + 1))
        except StorageInternalError as error:
            raise _database_error(where, error) from None
        except RuntimeError as error:
            raise UserError(
                f"{shown(where)}: {str(error).partition('. Please')[0]}. Install that version of Optuna, name another "
                "database, or after a backup run `optuna storage upgrade --storage URL`."
            ) from None
    raise AssertionError


def _url(where: str) -> URL:
    try:
        url = _parsed(where)
    except (ArgumentError, ValueError):
        raise UserError(f"{shown(where)!r} is not the URL of a database: {EXPECTED}.") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise UserError(f"{shown(where)!r} names no file, so that nothing would be kept: {EXPECTED}.")
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def _parsed(where: str) -> URL:
    url = make_url(where)
    # SQLAlchemy would end the password at the first @, and show the rest of the password as the host.
    if url.host and where.count("@") > 1:
        raise ValueError
    return url


def _missing_driver(where: str, url: URL, error: ImportError) -> UserError:
    # Optuna's own error does not name the module.
    missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    module = (missing.name or url.get_driver_name()).partition(".")[0]
    return UserError(
        f"{shown(where)}: the driver of this database, the module {module}, cannot be imported: "
        f"pip install '{PACKAGES.get(module, module)}'."
    )


def _database_error(where: str, error: BaseException) -> UserError:
    """The driver's error message, without the SQL statement and without the password."""
    while error.__cause__ is not None and not getattr(error, "orig", None):
        error = error.__cause__
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    if where.startswith("sqlite"):
        cure = "Check that the file's folder exists and can be written to; four slashes begin an absolute path."
    else:
        cure = "Check that it exists, runs and can be reached, that the password is right and the user may make tables."
    return UserError(f"{shown(where)}: the database cannot be used: {_scrubbed(cause, where)} {cure}")


def _scrubbed(text: str, where: str) -> str:
    url = make_url(where)
    secrets = [url.password or "", *(str(value) for key, value in url.query.items() if "pass" in key.lower())]
    if written := re.match(r"[^:]*://[^:/]*:([^@]*)@", where):
        secrets.append(written[1])
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))}
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = text.replace(form, "***")
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _masked(text: str) -> str:
    """A malformed URL, without anything that could be a password."""
    text = re.sub(r"(?i)(pass\w*=)[^&]*", r"\1***", text)
    text = re.sub(r"^([^:/]*:(?://)?).*@", r"\1***@", text)
    return re.sub(r"(://[^:/@]*:).*", r"\1***", text)
