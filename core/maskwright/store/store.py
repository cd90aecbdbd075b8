"""The store of a project: every method is one transaction, and what it returns is on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import Engine, func, select

from maskwright.errors import BadProject
from maskwright.store import queries
from maskwright.store.backups import DailyBackup, back_up
from maskwright.store.categories import CategoryStore
from maskwright.store.connection import connect, database_url, sqlite_file
from maskwright.store.dataset import StoredDataset
from maskwright.store.db_errors import cannot_write, damaged, plain_errors
from maskwright.store.images import ImageStore
from maskwright.store.imports import ImportStore
from maskwright.store.location import database_file
from maskwright.store.masks import MaskStore
from maskwright.store.migrations import bring_up_to_date
from maskwright.store.orm import EventRow
from maskwright.store.runs import RunStore
from maskwright.store.values import Changes, Counts

__all__ = ["Store"]


class Store(ImageStore, CategoryStore, MaskStore, ImportStore, RunStore):
    """Images, categories and annotations of one project, shared with any other process that has it open.

    Every method raises ProjectUnwritable when the database is read-only, locked or out of room, and BadProject when its
    file is damaged. A write that raised has changed nothing.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        """Take over an engine whose tables are up to date; use `Store.open`."""
        super().__init__(engine, where)
        self._keeper = DailyBackup(self._file) if self._file else None

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Store:
        """Open a database file by path, or any database by URL, and bring its tables up to date.

        A file is looked over for damage, and copied into `backups/` when nobody has opened it before today.

        Raises:
            BadProject: there is no such file and `create` is false; newer than this Maskwright; damaged.
            ProjectUnwritable: the file or its folder cannot be written.
        """
        url = database_url(where)
        file = sqlite_file(url)
        if file is not None:
            _require_file(file, create)
        shown = str(file) if file else url.render_as_string(hide_password=True)
        engine = connect(url)
        try:
            with plain_errors(shown, file):
                # a file that is there was meant to become a project
                bring_up_to_date(engine, shown, create=create or file is not None)
                return cls(engine, shown)
        except OSError as error:
            engine.dispose()
            raise cannot_write(Path(error.filename or file or ""), error) from error
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Give the file free, after today's copy of it is whole; the store cannot be used afterwards."""
        if self._keeper:
            self._keeper.wait()
        self._engine.dispose()

    def _refuse_damaged(self) -> None:
        if self._keeper and self._keeper.damaged and self._file:
            raise damaged(self._file)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def on_disk(self) -> bool:
        """Whether the database is a file, which can be copied, and not on a server."""
        return self._file is not None

    def back_up(self) -> Path:
        """A copy of the database as it is now, in `backups/`.

        Raises:
            BadProject: it is on a server.
            ProjectUnwritable: the copy cannot be written.
        """
        file = database_file(self._where) if self._file is None else self._file
        try:
            with plain_errors(self._where, file):
                return back_up(file)
        except OSError as error:
            raise cannot_write(Path(error.filename or file.parent), error) from error

    def counts(self) -> Counts:
        """How many images and masks there are."""
        with self._reading() as db:
            return queries.counts(db)

    def change_number(self) -> int:
        """Grows with every change by any process; 0 in a new project."""
        with self._reading() as db:
            return db.scalar(select(func.max(EventRow.id))) or 0

    def changes(self, after: int) -> Changes:
        """What any process has changed since a change number; reads no more than the history since then."""
        with self._reading() as db:
            return queries.changes(db, after)

    @contextmanager
    def dataset(self, states: Sequence[str] = ("accepted",)) -> Iterator[StoredDataset]:
        """Images, categories, and the annotations in these states, as of one moment, for as long as it is open."""
        with self._reading() as db:
            yield StoredDataset(db, states)


def _require_file(file: Path, create: bool) -> None:
    """Say in words what SQLite would only call "unable to open database file", before it makes or touches one."""
    try:
        there, size = file.is_file(), file.stat().st_size if file.exists() else 0
    except OSError as error:
        raise cannot_write(file.parent, error) from error
    if not create and not there:
        raise BadProject(f"There is no project database {file}. Check the name, or create the project first.")
    if not create and not size:
        raise damaged(file)
    for needed in [file.parent, *([file] if there else [])]:
        if not os.access(needed, os.W_OK):
            raise cannot_write(file.parent, PermissionError(13, "Permission denied"))
