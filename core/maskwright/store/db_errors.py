"""Errors of the database and the disk as ProjectUnwritable or BadProject."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.store.backups import DAMAGED, backups

__all__ = ["cannot_write", "damaged", "plain_errors"]

_FULL = ("The disk is full; nothing was lost.", "Free 200 MB, then try again.")
_LOCKED = (
    "Cannot save: another program is writing to the project and keeps it locked.",
    "Wait a moment or close that program, then try again.",
)
_TAKEN = (
    "All connections of this program to the project's database are taken.",
    "Let exports and batches end, then try again.",
)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
# lock_not_available, deadlock_detected; disk_full; read_only_sql_transaction, insufficient_privilege
_SERVER_BUSY = ("55P03", "40P01")
_SERVER_FULL = "53100"
_SERVER_REFUSED = ("25006", "42501")


@contextmanager
def plain_errors(name: str, file: Path | None) -> Iterator[None]:
    """Raise the database's errors about its file or its server as our own; others pass unchanged.

    Args:
        name: what messages call the database.
        file: the SQLite file, or None for a database server.

    Raises:
        ProjectUnwritable: read-only, locked, the disk is full, or the server does not answer.
        BadProject: the file is damaged.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        known = _from_server(error, name) if file is None else _from_sqlite(error, file)
        if known is None:
            raise
        raise known from error
    except PoolTimeout as error:
        raise ProjectUnwritable(*_TAKEN) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        if file is None:
            raise
        raise damaged(file) from error


def cannot_write(path: Path, error: OSError) -> ProjectUnwritable:
    """The error for a folder or file of a project that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ProjectUnwritable(*_FULL)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _read_only(path)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return ProjectUnwritable(
            f"Cannot save: a file is in the way of the folder {path}.", "Rename the file, or choose another folder."
        )
    return ProjectUnwritable(f"Cannot save in {path}: {error.strerror}.", "Check the disk, or choose another folder.")


def damaged(file: Path) -> BadProject:
    """The error for a damaged database file, which names the newest backup."""
    copies = backups(file)
    if not copies:
        return BadProject("The project file is damaged.", f"Replace {file} with a backup of your own.")
    newest = copies[0]
    return BadProject(
        "The project file is damaged.",
        f"Restore the backup of {newest.made:%Y-%m-%d} ({newest.masks} masks) with "
        f"`maskwright project restore {file.parent}`; the damaged file is kept.",
    )


def _from_sqlite(error: DBAPIError | sqlite3.Error, file: Path) -> MaskwrightError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    # the lower byte is the primary error code
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED or "Could not decode to UTF-8" in str(error):
        return damaged(file)
    if code in _BUSY:
        return ProjectUnwritable(*_LOCKED)
    # SQLite reports a full disk as SQLITE_IOERR where it extends its shared-memory file
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _disk_is_full(file)):
        return ProjectUnwritable(*_FULL)
    if code in _REFUSED:
        return _read_only(file.parent)
    if code == sqlite3.SQLITE_IOERR:
        return ProjectUnwritable(
            f"Cannot save: the disk of {file} reports an error.", "Check the disk, then try again."
        )
    return None


def _from_server(error: DBAPIError | sqlite3.Error, name: str) -> MaskwrightError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlstate", None)
    if code in _SERVER_BUSY:
        return ProjectUnwritable(*_LOCKED)
    if code == _SERVER_FULL:
        return ProjectUnwritable(*_FULL)
    if code in _SERVER_REFUSED:
        return ProjectUnwritable(
            f"Cannot save: you may not write to the database {name}.", "Ask the administrator of the server."
        )
    if not isinstance(error, OperationalError):
        return None
    reason = str(cause).strip().partition("\n")[0]
    return ProjectUnwritable(f"Cannot reach the project's database {name}: {reason}.", "Check that the server runs.")


def _read_only(path: Path) -> ProjectUnwritable:
    return ProjectUnwritable(
        f"Cannot save: {path} is read-only or belongs to another user.",
        "Change its permissions, or choose a folder of your own.",
    )


def _disk_is_full(file: Path) -> bool:
    return shutil.disk_usage(file.parent).free < 1 << 20
