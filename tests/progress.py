"""A progress for tests: keeps every report, and cancels when it is told to."""

from __future__ import annotations

from collections.abc import Callable

from maskwright.progress import Progress


class Recorded(Progress):
    def __init__(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        self.reports: list[tuple[int, int]] = []
        self._cancelled = cancelled

    def report(self, done: int, total: int, stage: str = "") -> None:
        self.reports.append((done, total))

    def cancelled(self) -> bool:
        return self._cancelled()
