"""Schema migrations by Alembic, from the first table on.

The revisions are modules in `versions/`; there is no alembic.ini and no env.py, so that this works from a wheel.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import OperationalError

from maskwright import __version__
from maskwright.errors import BadProject
from maskwright.store.backups import back_up
from maskwright.store.connection import sqlite_file, write_ahead

__all__ = ["bring_up_to_date"]

_HERE = Path(__file__).parent
_PATIENCE = 60.0
"""Seconds for which an upgrade on a server waits for those who read."""
_QUEUE_SECONDS = 1
"""For which it stands in line for a table at a time, since whoever comes to read after it waits as well."""
_LOCK_NOT_AVAILABLE = "55P03"


def bring_up_to_date(engine: Engine, name: str, *, create: bool = True, scripts: Path = _HERE) -> None:
    """Make the tables of a new database, or upgrade an older one after copying its file into `backups/`.

    Args:
        engine: of `connection.connect`.
        name: what messages call the database.
        create: whether an empty database is to become a project.
        scripts: the folder whose `versions/` holds the revisions.

    Raises:
        BadProject: empty, made by a newer version, or another program's database; it was not changed.
        OSError: the copy could not be written; nothing was upgraded.
    """
    directory = ScriptDirectory(str(scripts))
    with engine.connect() as connection:
        current = _revision(connection, name)
        if current is None and not create:
            raise BadProject(f"There is no project in {name}.", "Create one with `maskwright project new`.")
        _refuse_unknown(current, directory, name)
        upgrading = _missing(directory, current)
        journal = _journal(connection)
    file = sqlite_file(engine.url)
    if upgrading and current and file:
        back_up(file)
    if file and journal != "wal":
        write_ahead(file)
    if upgrading:
        _upgrade(engine, directory, name)


def _upgrade(engine: Engine, directory: ScriptDirectory, name: str) -> None:
    """Run what is missing in one transaction; where somebody reads the same tables on a server, again and again."""
    patience = time.monotonic() + _PATIENCE
    while True:
        writing = False
        try:
            # waits for the lock of writers as any writer does, and raises as they do
            with engine.execution_options(write=True).begin() as connection:
                writing = True
                return _run_missing(connection, directory, name)
        except OperationalError as error:
            read = getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE
            if not (writing and read) or time.monotonic() > patience:
                raise
        time.sleep(_QUEUE_SECONDS)


def _run_missing(connection: Connection, directory: ScriptDirectory, name: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{_QUEUE_SECONDS}s', true)")
    # read again within the write lock: another process may have been faster
    steps = _missing(directory, _revision(connection, name))
    context = MigrationContext.configure(connection)
    for step in steps:
        step.module.upgrade(Operations(context))
    context.stamp(directory, "head")


def _revision(connection: Connection, name: str) -> str | None:
    """The revision of the tables, or None in an empty database."""
    # in this order: another process may be making the tables, which a server shows between two queries
    tables = inspect(connection).get_table_names()
    heads = MigrationContext.configure(connection).get_current_heads()
    if tables and not heads:
        raise BadProject(f"{name} is a database, but not a Maskwright project.", "Choose another folder or database.")
    return heads[0] if heads else None


def _refuse_unknown(current: str | None, directory: ScriptDirectory, name: str) -> None:
    if current is None or current in {script.revision for script in directory.walk_revisions()}:
        return
    version = re.match(r"\d+(\.\d+)+(?=_)", current)
    made_by = f"version {version[0]}" if version else f"another version (tables {current!r})"
    raise BadProject(
        f"This project was made by {made_by}; you have {__version__}.",
        f"Update Maskwright to open {name}. The file was not changed.",
    )


def _missing(directory: ScriptDirectory, current: str | None) -> Sequence[Script]:
    """The revisions between the current one and the newest, oldest first."""
    return list(directory.iterate_revisions("head", current or "base"))[::-1]


def _journal(connection: Connection) -> str:
    if connection.dialect.name != "sqlite":
        return ""
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())
