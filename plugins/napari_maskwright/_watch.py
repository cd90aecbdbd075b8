"""What other windows, and runs, change in the project."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskwright.errors import MaskwrightError
from maskwright.session import AnnotationSession, Improvement

if TYPE_CHECKING:
    from maskwright.store import Changes

__all__ = ["Watcher"]

log = logging.getLogger(__name__)

_LOOK = 0.5
"""Seconds between two looks."""


class Watcher:
    """A thread that looks at the project now and then, and tells what is new since the look before."""

    def __init__(
        self,
        session: AnnotationSession,
        closed: threading.Event,
        changed: Callable[[Changes], None],
        improved: Callable[[Improvement], None],
    ) -> None:
        """Both callbacks are called in this thread."""
        self._session, self._closed = session, closed
        self._changed, self._improved = changed, improved
        self._thread: threading.Thread | None = None

    def begin(self, number: int) -> None:
        """Tell what comes after a change number; a second call changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, args=(number,), name="maskwright-watch", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the thread; after the window was closed."""
        if self._thread is not None:
            self._thread.join()

    def _watch(self, number: int) -> None:
        told: Improvement | None = None
        while True:
            try:
                changes, now = self._session.changes(number), self._session.improvement()
            except MaskwrightError as error:
                # somebody may hold the file for a moment, and nothing is lost: the next look tells it all
                log.warning("cannot look at the project: %s", error)
            except Exception:
                # a thread that ends here would leave the window blind without a word
                log.exception("cannot look at the project")
            else:
                if now != told:
                    self._improved(now)
                if changes.number != number:
                    self._changed(changes)
                number, told = changes.number, now
            if self._closed.wait(_LOOK):
                return
