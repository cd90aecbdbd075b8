"""Copies of a project's database: one a day, one before an upgrade, and any that a person asks for."""

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

_KEPT = 5
"""Daily copies."""
_SMALL = 64 << 20
"""Bytes up to which opening looks over the whole file; of a larger one only what it takes to find the rest."""
_FIRST = ("images", "categories", "tallies")
_ABANDONED = 600.0
"""Seconds after which a half-written copy is nobody's any more."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAILY = r"-\d{8}\.db"
# versions before 0.7 put the tables' revision behind the moment
_ANY = r"-\d{8}(T\d+Z)?(-\d[^/]*)?\.db"


class Backup(NamedTuple):
    """A copy in `backups/`."""

    file: Path
    made: datetime
    masks: int
    """Accepted ones."""


class DailyBackup:
    """Looks over a SQLite file when it is opened, and makes the copy of the day beside the work."""

    def __init__(self, file: Path) -> None:
        """Look over the file at once; copy it in a thread if today's copy is missing.

        Raises:
            sqlite3.DatabaseError: damaged.
        """
        self._file = file
        _glance(file)
        self.damaged = False
        """Whether the daily look over the whole file has found damage."""
        self._thread: threading.Thread | None = None
        if not _daily(file).exists():
            self._thread = threading.Thread(target=self._copy, name="maskwright-backup")
            self._thread.start()

    def wait(self) -> None:
        """Until the copy is whole."""
        if self._thread:
            self._thread.join()

    def _copy(self) -> None:
        # a full disk must not stop the work, and whatever goes wrong here is said when the work meets it
        try:
            _written(self._file, _daily(self._file))
            _forget_old(self._file)
        except sqlite3.DatabaseError as error:
            self.damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
        except OSError:
            pass


def back_up(file: Path) -> Path:
    """A copy of a database that others may be using, in `backups/`; it appears under its name only when it is whole.

    Raises:
        OSError: it could not be written.
        sqlite3.DatabaseError: the database is damaged.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    return _written(file, _folder(file) / f"{file.stem}-{stamp}.db")


def backups(file: Path) -> list[Backup]:
    """The copies of a database that can be read, the newest first."""
    found = []
    for copy in _copies(file, _ANY):
        with suppress(OSError, sqlite3.Error):
            found.append(Backup(copy, datetime.fromtimestamp(copy.stat().st_mtime, UTC), _accepted(copy)))
    return sorted(found, key=lambda one: (one.made, one.file.name), reverse=True)


def restore(file: Path, copy: Path | None = None) -> tuple[Backup, Path | None]:
    """Put a copy, by default the newest, in the place of the database, which is kept beside the copies.

    Returns:
        The copy, and where the replaced file is now.

    Raises:
        BadProject: there is no copy, or it is damaged.
        ProjectUnwritable: another program has the project open, or there is no room; nothing was replaced.
    """
    known = backups(file)
    chosen = next((one for one in known if copy is None or one.file == copy.absolute()), None)
    if chosen is None:
        raise BadProject(
            f"There is no backup {copy or ''} of {file} that can be read. Look into {_folder(file)} for others."
        )
    try:
        _look_over(chosen.file)
    except sqlite3.DatabaseError as error:
        raise BadProject(f"The backup {chosen.file} is damaged, too. Name another one.") from error
    _nobody_else(file)
    try:
        with _copied(chosen.file, file) as whole:
            aside = _put_aside(file) if file.exists() else None
            whole.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise ProjectUnwritable(f"The backup could not be put in place: {error}. Mend that, then try again.") from error
    return chosen, aside


def _nobody_else(file: Path) -> None:
    """Leaving write-ahead mode needs the file alone: the system itself says whether somebody has it open."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ProjectUnwritable(
                f"Another program has {file} open. Close it, then restore the backup again."
            ) from error
    except sqlite3.DatabaseError:
        # damaged beyond that: nothing in it can be lost
        pass


def _put_aside(file: Path) -> Path:
    folder = _folder(file)
    folder.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = folder / f"replaced-{stamp}.db"
    # the log first: beside a new database it would be read as that one's
    for suffix in ("-wal", "-shm", ""):
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _written(source: Path, whole: Path) -> Path:
    whole.parent.mkdir(exist_ok=True)
    with _copied(source, whole) as partial:
        partial.replace(whole)
    return whole


@contextmanager
def _copied(source: Path, whole: Path) -> Iterator[Path]:
    """A copy that is looked over and on disk, under a name of its own, to be given that of the whole one."""
    # another process may be making the same copy
    partial = whole.with_name(f"{whole.stem}-{secrets.token_hex(4)}.partial")
    try:
        # `with` on a connection would end a transaction, not close the file
        with closing(sqlite3.connect(source, timeout=30)) as old, closing(sqlite3.connect(partial)) as new:
            old.backup(new)
            new.execute("PRAGMA journal_mode = DELETE")
        _look_over(partial)
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _glance(file: Path) -> None:
    """Raise sqlite3.DatabaseError for damage that can be seen at once, however large the file is."""
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        small = file.stat().st_size <= _SMALL
        for check in ["quick_check(1)"] if small else [f"quick_check({table})" for table in _FIRST]:
            _expect_ok(connection, check)


def _look_over(file: Path) -> None:
    """Raise sqlite3.DatabaseError when a check of all finds damage."""
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        _expect_ok(connection, "integrity_check(1)")


def _expect_ok(connection: sqlite3.Connection, check: str) -> None:
    (said,) = connection.execute(f"PRAGMA {check}").fetchone()
    if said != "ok":
        damage = sqlite3.DatabaseError(said)
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _accepted(copy: Path) -> int:
    with closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
        for counting in (
            "SELECT coalesce(sum(number), 0) FROM tallies WHERE state = 'accepted'",
            # copies from before version 0.7
            "SELECT count(*) FROM annotations WHERE state = 'accepted'",
        ):
            with suppress(sqlite3.OperationalError):
                return int(connection.execute(counting).fetchone()[0])
        return 0


def _folder(file: Path) -> Path:
    return file.parent / "backups"


def _daily(file: Path) -> Path:
    return _folder(file) / f"{file.stem}-{datetime.now(UTC):%Y%m%d}.db"


def _copies(file: Path, ending: str) -> list[Path]:
    """The copies of this database and of no other one in its folder, in the order of their names."""
    name = re.compile(re.escape(file.stem) + ending)
    return sorted(copy for copy in _folder(file).glob("*.db") if name.fullmatch(copy.name))


def _forget_old(file: Path) -> None:
    for copy in _copies(file, _DAILY)[:-_KEPT]:
        copy.unlink(missing_ok=True)
    for partial in _folder(file).glob(f"{glob.escape(file.stem)}-*.partial*"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED:
                partial.unlink()
