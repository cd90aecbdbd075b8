"""Which sentence a person reads when the database or the disk says no."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.store.backups import DAMAGED, backups

__all__ = ["cannot_write", "damaged", "plain_errors"]

_FULL = "The disk is full; nothing was lost. Free 200 MB, then try again."
_LOCKED = (
    "Cannot save: another program is writing to the project and keeps it locked. "
    "Wait a moment or close that program, then try again."
)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
# lock_not_available, deadlock_detected; disk_full; read_only_sql_transaction, insufficient_privilege
_SERVER_BUSY = ("55P03", "40P01")
_SERVER_FULL = "53100"
_SERVER_REFUSED = ("25006", "42501")


@contextmanager
def plain_errors(where: str, file: Path | None) -> Iterator[None]:
    """Turn what the database reports about its file or its server into one sentence; let the rest surface.

    Args:
        where: the project as a person knows it.
        file: the SQLite file, or None for a database server.

    Raises:
        ProjectUnwritable: read-only, locked, the disk is full, or the server does not answer.
        BadProject: the file is damaged.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        sentence = _from_server(error, where) if file is None else _from_sqlite(error, file)
        if sentence is None:
            raise
        raise sentence from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        if file is None:
            raise
        raise damaged(file) from error


def cannot_write(where: Path, error: OSError) -> ProjectUnwritable:
    """The sentence for a folder or file of a project that the system would not write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ProjectUnwritable(_FULL)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _read_only(where)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return ProjectUnwritable(
            f"Cannot save: a file is in the way of the folder {where}. Rename the file, or choose another folder."
        )
    return ProjectUnwritable(f"Cannot save in {where}: {error.strerror}. Check the disk, or choose another folder.")


def damaged(file: Path) -> BadProject:
    """The sentence for a file that is no whole database, with the newest copy to go back to."""
    copies = backups(file)
    if not copies:
        return BadProject(f"The project file is damaged. Put a backup copy of yours in the place of {file}.")
    newest = copies[0]
    return BadProject(
        f"The project file is damaged. Restore the backup of {newest.made:%Y-%m-%d} ({newest.masks} masks) with "
        f"`maskwright project restore {file.parent}`; the damaged file is kept."
    )


def _from_sqlite(error: DBAPIError | sqlite3.Error, file: Path) -> MaskwrightError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    # the lower byte is the kind, the rest says where it happened
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in DAMAGED or "Could not decode to UTF-8" in str(error):
        return damaged(file)
    if code in _BUSY:
        return ProjectUnwritable(_LOCKED)
    # a full disk shows as SQLITE_IOERR where SQLite grows its shared-memory file
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_room(file)):
        return ProjectUnwritable(_FULL)
    if code in _REFUSED:
        return _read_only(file.parent)
    if code == sqlite3.SQLITE_IOERR:
        return ProjectUnwritable(f"Cannot save: the disk of {file} reports an error. Check the disk, then try again.")
    return None


def _from_server(error: DBAPIError | sqlite3.Error, where: str) -> MaskwrightError | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlstate", None)
    if code in _SERVER_BUSY:
        return ProjectUnwritable(_LOCKED)
    if code == _SERVER_FULL:
        return ProjectUnwritable(_FULL)
    if code in _SERVER_REFUSED:
        return ProjectUnwritable(f"Cannot save: the database {where} does not let you write. Ask who runs the server.")
    if not isinstance(error, OperationalError):
        return None
    reason = str(cause).strip().partition("\n")[0]
    return ProjectUnwritable(f"Cannot reach the project's database {where}: {reason}. Check that the server runs.")


def _read_only(where: Path) -> ProjectUnwritable:
    return ProjectUnwritable(
        f"Cannot save: {where} is read-only or belongs to another user. "
        "Change its permissions, or choose a folder of your own."
    )


def _no_room(file: Path) -> bool:
    return shutil.disk_usage(file.parent).free < 1 << 20
