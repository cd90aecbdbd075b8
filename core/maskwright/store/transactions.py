"""Read and write transactions of a project's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from maskwright.store.backups import DailyBackup
from maskwright.store.connection import sqlite_file
from maskwright.store.counts import flush_counts
from maskwright.store.db_errors import damaged, plain_errors
from maskwright.store.history import retire_categories
from maskwright.store.listening import notify

__all__ = ["Transactions"]


class Transactions:
    """Opens transactions: a reader sees the database at one moment, a write is on disk when its block has ended."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Take over an engine whose tables are up to date, and back up a SQLite file once a day.

        Args:
            engine: of `connection.connect`.
            name: what messages call the database: its file or address.
        """
        self.engine, self.name, self.file = engine, name, sqlite_file(engine.url)
        self.backup = DailyBackup(self.file) if self.file else None
        # a server's default would let two statements of one reader see different moments
        isolation = {} if self.file else {"isolation_level": "REPEATABLE READ"}
        self._readers = sessionmaker(engine.execution_options(**isolation))
        self._writers = sessionmaker(engine.execution_options(write=True))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that reads."""
        with plain_errors(self.name, self.file), self._readers.begin() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that writes everything or, on an error, nothing; refused once damage was found in the file."""
        if self.backup and self.backup.damaged and self.file:
            raise damaged(self.file)
        with plain_errors(self.name, self.file), self._writers.begin() as db:
            yield db
            flush_counts(db)
            retire_categories(db)
            notify(db)

    def close(self) -> None:
        """Wait until today's backup is complete, then close the connections."""
        if self.backup:
            self.backup.wait()
        self.engine.dispose()
