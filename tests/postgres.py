"""A PostgreSQL server for the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

PASSWORD = "p@ss/w{o}rd:%2"
"""Every character here means something in a URL, in a template or in a configuration file."""


@dataclass(frozen=True)
class Server:
    """A running server: the URL of its first database, and the function that stops it."""

    url: str
    stop: Callable[[], None]


def _program(name: str) -> str | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name.zfill(4), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


def _owner() -> pwd.struct_passwd | None:
    """The user that the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def _server() -> Iterator[Server]:
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl, on PATH or in /usr/lib/postgresql")
    owner = _owner()
    # Not one of pytest's folders: only their owner may enter these, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="lsmbench-pg-"))
    data, log, password = folder / "data", folder / "log", folder / "password"
    password.write_text(PASSWORD + "\n")
    if owner is not None:
        for path in (folder, password):
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def run(*words: object) -> int:
        with (folder / "output").open("ab") as output:
            ids = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            done: subprocess.CompletedProcess[bytes] = subprocess.run(
                [str(word) for word in words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **ids,  # type: ignore[call-overload]
            )
            return done.returncode

    def server_log() -> str:
        return "\n".join(path.read_text() for path in (folder / "output", log) if path.exists())

    def stop() -> None:
        if (data / "postmaster.pid").exists():
            assert run(pg_ctl, "-D", data, "-w", "-m", "immediate", "stop") == 0, server_log()

    options = ("--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--no-locale", "--encoding=UTF8")
    try:
        assert run(initdb, "-D", data, "-U", "tester", *options) == 0, server_log()
        for _ in range(3):  # Another process may take the port first.
            port = _free_port()
            listen = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
            if run(pg_ctl, "-D", data, "-w", "-l", log, "-o", listen, "start") == 0:
                break
        else:
            pytest.fail(f"PostgreSQL does not start: {server_log()}")
        yield Server(f"postgresql://tester:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres", stop)
    finally:
        stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _session_server() -> Iterator[Server]:
    with _server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(_session_server: Server) -> str:
    """URL of a database on a real server, shared by all tests: give your studies names of their own."""
    return _session_server.url


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> str:
    """URL of an unused database on the same server."""
    name = f"db_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{postgres_url.rpartition('/')[0]}/{name}"


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """A server that the test may stop."""
    with _server() as server:
        yield server
