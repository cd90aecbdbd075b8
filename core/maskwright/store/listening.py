"""Waiting for changes of a project by any process: a server says when there is one, a file is asked."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

__all__ = ["ChangeListener", "notify"]

_CHANNEL = "maskwright"
"""A channel belongs to one database of a server, and so to one project."""
_GAP = 0.1
"""Seconds between two answers: many writers must not make a window read without a pause."""
_ASK = 5.0
"""Seconds after which a server is asked all the same: a pooler in between may keep its notifications to itself."""


class ChangeListener:
    """Waits until a project may have changed; for one thread, on a connection of its own where a server notifies."""

    def __init__(self, engine: Engine) -> None:
        """Listen to a database; use `Store.listen`."""
        self._engine = engine
        self._notified = engine.dialect.name == "postgresql" and engine.driver == "psycopg"
        self._connection: Connection | None = None
        self._last = float("-inf")

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait until the project may have changed.

        Args:
            seconds: longest wait, after which a file is to be asked.
            stop: ends the wait early.

        Returns:
            Whether the caller should look at the changes. No change is missed: the first wait on a server and one after
            its connection was lost say so, too.
        """
        if not self._notified:
            stop.wait(seconds)
            return True
        stop.wait(max(0.0, self._last + _GAP - time.monotonic()))
        try:
            changed = self._wait_for_server(seconds)
        except Exception:
            # of SQLAlchemy or of the driver; whoever asks next learns the reason
            self.close()
            stop.wait(seconds)
            changed = True
        if changed:
            self._last = time.monotonic()
        return changed

    def _wait_for_server(self, seconds: float) -> bool:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            # not one of the pool's, which would be one less for everything else
            self._connection.detach()
            self._connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
            return True
        driver: Any = self._connection.connection.dbapi_connection
        heard = list(driver.notifies(timeout=seconds, stop_after=1))
        return bool(heard) or time.monotonic() - self._last >= _ASK

    def close(self) -> None:
        """Close the connection; another `wait` would open it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def __enter__(self) -> ChangeListener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def notify(db: Session) -> None:
    """Tell every listener on a server of the change that this transaction makes, once it is committed."""
    if db.get_bind().dialect.name == "postgresql":
        db.connection().exec_driver_sql(f"NOTIFY {_CHANNEL}")
