"""One transaction for each thing a person or a window asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from maskwright.store.connection import sqlite_file
from maskwright.store.db_errors import plain_errors
from maskwright.store.history import flush_counts

__all__ = ["Transactions"]


class Transactions:
    """A database whose reading sees one moment and whose writing is on disk when its block has ended."""

    def __init__(self, engine: Engine, where: str) -> None:
        """Take over an engine whose tables are up to date; `where` is the project as a person knows it."""
        self._engine, self._where, self._file = engine, where, sqlite_file(engine.url)
        # a server's default would let two statements of one reading see different moments
        moment = {} if self._file else {"isolation_level": "REPEATABLE READ"}
        self._readers = sessionmaker(engine.execution_options(**moment))
        self._writers = sessionmaker(engine.execution_options(write=True))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with plain_errors(self._where, self._file), self._readers.begin() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        self._refuse_damaged()
        with plain_errors(self._where, self._file), self._writers.begin() as db:
            yield db
            flush_counts(db)

    def _refuse_damaged(self) -> None:
        """Raise BadProject when damage was found since opening: nothing more is written into a damaged file."""
