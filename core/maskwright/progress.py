"""Progress of long work: reports and cancellation through one object."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from maskwright.errors import Cancelled

__all__ = ["NO_PROGRESS", "Progress", "cancellable", "check_cancelled"]

_thread = threading.local()


class Progress:
    """Reports nothing and never cancels; a command line bar, a window or a worker process overrides what it needs.

    Long work takes one as the keyword `progress`, calls `report` as it goes and `check` where it can stop.
    """

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Display that `done` of `total` units of a stage such as "Encoding" are finished; called from any thread."""

    def cancelled(self) -> bool:
        """Whether the work should stop; called between steps, from any thread."""
        return False

    def check(self) -> None:
        """Raise Cancelled when the work should stop."""
        if self.cancelled():
            raise Cancelled

    def quiet(self) -> Progress:
        """Progress of the work inside one unit: it cancels as this one does, and reports nothing."""
        return _Quiet(self)

    def part(self, index: int, count: int) -> Progress:
        """Progress of one of `count` equal parts of the work, counted from 0."""
        return _Part(self, index, count)


class _Quiet(Progress):
    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def cancelled(self) -> bool:
        return self._outer.cancelled()


class _Part(Progress):
    def __init__(self, outer: Progress, index: int, count: int) -> None:
        self._outer, self._index, self._count = outer, index, count

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._outer.report(self._index * total + done, self._count * total, stage)

    def cancelled(self) -> bool:
        return self._outer.cancelled()


NO_PROGRESS = Progress()
"""The default: no reports, and no cancellation."""


@contextmanager
def cancellable(progress: Progress) -> Iterator[None]:
    """Context in which this thread's networks stop between two layers when `progress` says so."""
    outer = getattr(_thread, "progress", NO_PROGRESS)
    _thread.progress = outer if progress is NO_PROGRESS else progress
    try:
        yield
    finally:
        _thread.progress = outer


def check_cancelled() -> None:
    """Raise Cancelled when the work of this thread should stop; see `cancellable`."""
    getattr(_thread, "progress", NO_PROGRESS).check()
