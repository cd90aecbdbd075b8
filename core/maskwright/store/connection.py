"""Connections to a project's database: its URL, and the settings that make SQLite durable and shared."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from maskwright.errors import BadProject

__all__ = ["connect", "database_url", "sqlite_file", "write_ahead"]

_BUSY_SECONDS = 5
# any constant that every Maskwright process shares; the timeout is that of SQLite
_POOL: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 10, "pool_timeout": 30}
"""Of connections to a server, by process; one that the server or a firewall has closed meanwhile is opened again."""
_DRIVER: dict[str, dict[str, Any]] = {
    # a pooler such as PgBouncer may give each transaction another connection, which knows no prepared statement
    "psycopg": {"prepare_threshold": None, "connect_timeout": 10},
}
_SERVER_WRITE_LOCK = "SELECT set_config('lock_timeout', '{}s', true), pg_advisory_xact_lock(77650118)"


def database_url(where: str | Path) -> URL:
    """The URL of a database, which is named by a file's path or by a URL.

    Raises:
        BadProject: not a URL, or one that stores nothing on disk.
    """
    if "://" not in str(where):
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    try:
        url = make_url(str(where))
    except ArgumentError as error:
        raise BadProject(
            "This is not a database URL.", "Use one like postgresql+psycopg://user@host/streets."
        ) from error
    if url.get_backend_name() != "sqlite":
        return url
    if not url.database or url.database == ":memory:":
        raise BadProject(f"{url} stores nothing on disk.", "Name a file, as in sqlite:///streets/project.db.")
    return url.set(database=str(Path(url.database).expanduser().absolute()))


def sqlite_file(url: URL) -> Path | None:
    """The file of a database, or None when it is on a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def connect(url: URL) -> Engine:
    """An engine whose transactions begin explicitly; with `execution_options(write=True)` one writer waits for another.

    Raises:
        BadProject: the driver for this kind of database is not installed.
    """
    server = {} if sqlite_file(url) else {**_POOL, "connect_args": _DRIVER.get(url.drivername.rpartition("+")[2], {})}
    as_json = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    try:
        engine = create_engine(url, json_serializer=as_json, **server)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise BadProject(
            f"The driver for {url.drivername} is not installed.",
            "Install it, for example `pip install psycopg[binary]`.",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif engine.dialect.name == "postgresql":
        event.listen(engine, "begin", _begin_server)
    return engine


def write_ahead(file: Path) -> None:
    """Switch a SQLite file permanently to write-ahead logging: readers then never wait for a writer."""
    with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # without None the driver would begin transactions by itself; _begin_sqlite does
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    # a transaction that begins as a reader and then writes fails at once when another has written in between
    writing = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _begin_server(connection: Connection) -> None:
    # one writer at a time, as with SQLite: change numbers then become visible in order
    if connection.get_execution_options().get("write"):
        connection.exec_driver_sql(_SERVER_WRITE_LOCK.format(_BUSY_SECONDS))
