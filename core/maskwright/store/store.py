"""The store of a project: every method is one transaction, and what it returns is on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select

from maskwright.errors import BadProject
from maskwright.store import queries
from maskwright.store.backups import back_up
from maskwright.store.categories import CategoryStore
from maskwright.store.connection import connect, database_url, sqlite_file
from maskwright.store.dataset import StoredDataset
from maskwright.store.db_errors import cannot_write, damaged, plain_errors
from maskwright.store.images import ImageStore
from maskwright.store.imports import ImportStore
from maskwright.store.listening import ChangeListener
from maskwright.store.location import database_file
from maskwright.store.masks import MaskStore
from maskwright.store.migrations import bring_up_to_date
from maskwright.store.orm import EventRow
from maskwright.store.predictions import PredictionStore
from maskwright.store.references import ReferenceStore
from maskwright.store.runs import RunStore
from maskwright.store.transactions import Transactions
from maskwright.store.values import Changes, Counts

__all__ = ["Store"]


class Store:
    """The database of one project, which several processes may have open.

    Every method, also of the parts, raises ProjectUnwritable when the database is read-only, locked or out of disk
    space, and BadProject when its file is damaged. A write that raises has changed nothing.
    """

    def __init__(self, transactions: Transactions) -> None:
        """Take over a database whose tables are up to date; use `Store.open`."""
        self._transactions = transactions
        self.images = ImageStore(transactions)
        self.categories = CategoryStore(transactions)
        self.masks = MaskStore(transactions)
        self.references = ReferenceStore(transactions)
        self.predictions = PredictionStore(transactions)
        self.imports = ImportStore(transactions)
        self.runs = RunStore(transactions)

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Store:
        """Open a database, bring its tables up to date, and check a file for damage.

        A file that is opened for the first time today is copied into `backups/`.

        Args:
            where: path of a database file, or a database URL.
            create: make the database when there is none.

        Raises:
            BadProject: there is no such file and `create` is false; newer than this Maskwright; damaged.
            ProjectUnwritable: the file or its folder cannot be written.
        """
        url = database_url(where)
        file = sqlite_file(url)
        if file is not None:
            _require_file(file, create=create)
        name = str(file) if file else url.render_as_string(hide_password=True)
        engine = connect(url)
        try:
            with plain_errors(name, file):
                # a file that exists was meant to become a project
                bring_up_to_date(engine, name, create=create or file is not None)
                return cls(Transactions(engine, name))
        except OSError as error:
            engine.dispose()
            raise cannot_write(Path(error.filename or file or ""), error) from error
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close the database connection once today's backup is complete; the store cannot be used afterwards."""
        self._transactions.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def on_disk(self) -> bool:
        """Whether the database is a file, which can be copied, and not on a server."""
        return self._transactions.file is not None

    @property
    def size(self) -> int:
        """Bytes of the database, on disk or on its server."""
        if self._transactions.file:
            return self._transactions.file.stat().st_size
        with self._transactions.reading() as db:
            return int(db.scalar(select(func.pg_database_size(func.current_database()))) or 0)

    def back_up(self) -> Path:
        """Copy the database as it is now into `backups/`, and return the copy.

        Raises:
            BadProject: it is on a server.
            ProjectUnwritable: the copy cannot be written.
        """
        file = self._transactions.file or database_file(self._transactions.name)
        try:
            with plain_errors(self._transactions.name, file):
                return back_up(file)
        except OSError as error:
            raise cannot_write(Path(error.filename or file.parent), error) from error

    def counts(self) -> Counts:
        """Numbers of images and masks."""
        with self._transactions.reading() as db:
            return queries.counts(db)

    def change_number(self) -> int:
        """A number that grows with every change by any process; 0 in a new project."""
        with self._transactions.reading() as db:
            return db.scalar(select(func.max(EventRow.id))) or 0

    def changes(self, after: int) -> Changes:
        """What any process has changed since a change number; reads only the history since then."""
        with self._transactions.reading() as db:
            return queries.changes(db, after)

    def listen(self) -> ChangeListener:
        """What waits for changes by any process; close it after use, for example by a `with` block."""
        return ChangeListener(self._transactions.engine)

    @contextmanager
    def dataset(self, states: Sequence[str] = ("accepted",)) -> Iterator[StoredDataset]:
        """A snapshot of images, categories and the annotations in these states, for as long as it is open."""
        with self._transactions.reading() as db:
            yield StoredDataset(db, states)


def _require_file(file: Path, *, create: bool) -> None:
    """Raise a specific error where SQLite would only report "unable to open database file"; nothing is touched."""
    try:
        exists, size = file.is_file(), file.stat().st_size if file.exists() else 0
    except OSError as error:
        raise cannot_write(file.parent, error) from error
    if not create and not exists:
        raise BadProject(f"There is no project database {file}.", "Check the name, or create the project first.")
    if not create and not size:
        raise damaged(file)
    for path in [file.parent, *([file] if exists else [])]:
        if not os.access(path, os.W_OK):
            raise cannot_write(file.parent, PermissionError(13, "Permission denied"))
