"""Backups of a project's database: one a day, one before an upgrade, and on request."""

from __future__ import annotations

import glob
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from maskwright.errors import BadProject, ProjectUnwritable

__all__ = ["DAMAGED", "Backup", "DailyBackup", "back_up", "backups", "restore"]

_DAILY_BACKUPS = 5
"""How many daily backups are kept."""
_SMALL = 64 << 20
"""Bytes up to which opening checks the whole file; of a larger file only some tables."""
_FIRST = ("images", "categories", "tallies")
_ABANDONED = 600.0
"""Seconds after which a partial copy is taken for that of a process that has died."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAILY = r"-\d{8}\.db"
# versions before 0.7 put the tables' revision behind the time
_ANY = r"-\d{8}(T\d+Z)?(-\d[^/]*)?\.db"


class Backup(NamedTuple):
    """A copy of the database in `backups/`."""

    file: Path
    made: datetime
    masks: int
    """Number of accepted masks."""


class DailyBackup:
    """Checks a SQLite file when it is opened, and copies it once a day in a thread."""

    def __init__(self, file: Path) -> None:
        """Check the file at once, and start the thread if today's copy is missing.

        Raises:
            sqlite3.DatabaseError: the file is damaged.
        """
        self._file = file
        _quick_check(file)
        self.damaged = False
        """Whether the thread's check of the whole file has found damage."""
        self._thread: threading.Thread | None = None
        if not _daily(file).exists():
            self._thread = threading.Thread(target=self._copy, name="maskwright-backup")
            self._thread.start()

    def wait(self) -> None:
        """Wait until the copy is complete."""
        if self._thread:
            self._thread.join()

    def _copy(self) -> None:
        # a full disk must not stop the work, which reports errors where it meets them itself
        try:
            _copy_to(self._file, _daily(self._file))
            _remove_old(self._file)
        except sqlite3.DatabaseError as error:
            self.damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
        except OSError:
            pass


def back_up(file: Path) -> Path:
    """Copy a database, which may be in use, into `backups/`, where it gets its name only when it is complete.

    Raises:
        OSError: the copy could not be written.
        sqlite3.DatabaseError: the database is damaged.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return _copy_to(file, _folder(file) / f"{file.stem}-{stamp}.db")


def backups(file: Path) -> list[Backup]:
    """The readable backups of a database, the newest first."""
    readable = []
    for copy in _copies(file, _ANY):
        with suppress(OSError, sqlite3.Error):
            readable.append(Backup(copy, datetime.fromtimestamp(copy.stat().st_mtime, UTC), _accepted(copy)))
    return sorted(readable, key=lambda backup: (backup.made, backup.file.name), reverse=True)


def restore(file: Path, copy: Path | None = None) -> tuple[Backup, Path | None]:
    """Replace a database by a backup, by default the newest; the replaced file is kept beside the backups.

    Returns:
        The backup, and the replaced file, if there was one.

    Raises:
        BadProject: there is no backup, or it is damaged.
        ProjectUnwritable: another program has the project open, or the disk is full; nothing was replaced.
    """
    backup = next((known for known in backups(file) if copy is None or known.file == copy.absolute()), None)
    if backup is None:
        raise BadProject(
            f"There is no backup {copy or ''} of {file} that can be read.", f"Look into {_folder(file)} for others."
        )
    try:
        _full_check(backup.file)
    except sqlite3.DatabaseError as error:
        raise BadProject(f"The backup {backup.file} is damaged, too.", "Name another one.") from error
    _require_exclusive(file)
    try:
        with _checked_copy(backup.file, file) as complete:
            replaced = _set_aside(file) if file.exists() else None
            complete.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise ProjectUnwritable(f"The backup could not be restored: {error}.", "Mend that, then try again.") from error
    return backup, replaced


def _require_exclusive(file: Path) -> None:
    """Raise ProjectUnwritable while another process has the file open: SQLite then refuses to leave WAL mode."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProjectUnwritable(
                f"Another program has {file} open.", "Close it, then restore the backup again."
            ) from error
    except sqlite3.DatabaseError:
        # too damaged for SQLite to open: nobody else can use it either
        pass


def _set_aside(file: Path) -> Path:
    folder = _folder(file)
    folder.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = folder / f"replaced-{stamp}.db"
    # the log first: SQLite would apply it to a new database beside it
    for suffix in ("-wal", "-shm", ""):
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _copy_to(source: Path, target: Path) -> Path:
    target.parent.mkdir(exist_ok=True)
    with _checked_copy(source, target) as partial:
        partial.replace(target)
    return target


@contextmanager
def _checked_copy(source: Path, target: Path) -> Iterator[Path]:
    """A copy that was checked and is on disk, under a temporary name; the caller renames it to `target`."""
    # a random name: another process may be making the same copy
    partial = target.with_name(f"{target.stem}-{secrets.token_hex(4)}.partial")
    try:
        # `with connection` would end a transaction, not close the file
        with closing(sqlite3.connect(source, timeout=30)) as old, closing(sqlite3.connect(partial)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
        _full_check(partial)
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _quick_check(file: Path) -> None:
    """Raise sqlite3.DatabaseError for damage that a fast check finds, however large the file is."""
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        small = file.stat().st_size <= _SMALL
        for check in ["quick_check(1)"] if small else [f"quick_check({table})" for table in _FIRST]:
            _expect_ok(connection, check)


def _full_check(file: Path) -> None:
    """Raise sqlite3.DatabaseError when a check of the whole file finds damage."""
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        _expect_ok(connection, "integrity_check(1)")


def _expect_ok(connection: sqlite3.Connection, check: str) -> None:
    (result,) = connection.execute(f"PRAGMA {check}").fetchone()
    if result != "ok":
        damage = sqlite3.DatabaseError(result)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _accepted(copy: Path) -> int:
    with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
        for query in (
            "SELECT coalesce(sum(number), 0) FROM tallies WHERE state = 'accepted'",
            # copies from before version 0.7
            "SELECT count(*) FROM annotations WHERE state = 'accepted'",
        ):
            with suppress(sqlite3.OperationalError):
                return int(connection.execute(query).fetchone()[0])
        return 0


def _folder(file: Path) -> Path:
    return file.parent / "backups"


def _daily(file: Path) -> Path:
    return _folder(file) / f"{file.stem}-{datetime.now(UTC):%Y%m%d}.db"


def _copies(file: Path, ending: str) -> list[Path]:
    """The copies of this database, not of others in its folder, in the order of their names."""
    name = re.compile(re.escape(file.stem) + ending)
    return sorted(copy for copy in _folder(file).glob("*.db") if name.fullmatch(copy.name))


def _remove_old(file: Path) -> None:
    for copy in _copies(file, _DAILY)[:-_DAILY_BACKUPS]:
        copy.unlink(missing_ok=True)
    for partial in _folder(file).glob(f"{glob.escape(file.stem)}-*.partial*"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED:
                partial.unlink()
