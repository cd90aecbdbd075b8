"""A PostgreSQL server for the tests: in a temporary folder, on a socket in it, with fsync as in production."""

from __future__ import annotations

import getpass
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from maskwright.store import Store

__all__ = ["Server", "must_be_there", "programs", "running", "why_not"]


def programs() -> Path | None:
    """The folder with initdb and pg_ctl, which Debian keeps off the PATH."""
    found = shutil.which("pg_ctl")
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name), reverse=True)
    for home in [*([Path(found).resolve().parent] if found else []), *homes]:
        if (home / "initdb").exists() and (home / "pg_ctl").exists():
            return home
    return None


def _owner() -> str | None:
    """Who can run the server: it refuses root."""
    if os.getuid() != 0:
        return getpass.getuser()
    return "postgres" if any(one.pw_name == "postgres" for one in pwd.getpwall()) else None


def why_not() -> str:
    """Why no server can be started here; empty when one can."""
    if os.name != "posix":
        return "the tests start PostgreSQL on Linux and macOS only"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if programs() is None:
        return "PostgreSQL's programs initdb and pg_ctl are not installed"
    return "" if _owner() else "there is no user postgres, and PostgreSQL refuses root"


def must_be_there() -> bool:
    """Whether this is the machine of .ci/run, which has installed PostgreSQL."""
    return os.environ.get("CI") == "true" and os.getuid() == 0 and shutil.which("apt-get") is not None


class Server:
    """A running server; every database of it is made by `database`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        # the tables are made once, and copied for each test
        self._admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with self.database() as url:
            Store.open(url, create=True).close()
            self._execute(f"CREATE DATABASE tables TEMPLATE {url.rpartition('?')[0].rpartition('/')[2]}")

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, which is dropped at the end; `tables` has Maskwright's newest tables already."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self._url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._admin.dispose()

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://{_owner()}@/{name}?host={self._folder}"

    def _execute(self, sql: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(sql)


@contextmanager
def running() -> Iterator[Server]:
    """A server with a cluster of its own, which is gone afterwards."""
    home, owner = programs(), _owner()
    assert home is not None
    assert owner is not None
    # a socket's path may have some hundred letters only
    folder = Path(tempfile.mkdtemp(prefix="maskwright-pg-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, owner)

    def run(program: str, *words: str) -> None:
        log = folder / "log"
        as_owner: dict[str, Any] = {"user": owner, "group": owner} if os.getuid() == 0 else {}
        done = subprocess.run(
            [home / program, "-D", folder / "data", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60,
            cwd=folder, check=False, **as_owner,
        )  # fmt: skip
        told = log.read_text() if log.exists() else ""
        assert done.returncode == 0, f"{program}: {done.stderr}{told}"

    try:
        run("initdb", "-U", str(owner), "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", f"-c listen_addresses= -k {folder}")
        try:
            server = Server(folder)
            yield server
            server.close()
        finally:
            run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)
