"""Work beside the window's thread: jobs in threads, their answers on the window's thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import TypeVar

from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import Progress
from napari_maskwright._view import AnnotatorView

__all__ = ["Background", "Generation", "GenerationProgress", "Queue"]

T = TypeVar("T")
log = logging.getLogger(__name__)


class Queue(Enum):
    """Which jobs wait for one another; the value is how many of a lane run at once."""

    MODEL = "model", 2
    READING = "read", 2
    """A model may take seconds, and what other windows changed shall be seen meanwhile."""
    SAVING = "save", 1
    """One after the other, in the order in which the person asked: undo comes after the accept before it."""
    SEARCH = "search", 1
    """A search may take minutes, and a click must not wait behind it."""


class Generation:
    """Of several requests of one kind only the latest counts."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self) -> Callable[[], bool]:
        """Give up the request before; the answer says whether this one has been given up in its turn."""
        self._number += 1
        number = self._number
        return lambda: number != self._number


class GenerationProgress(Progress):
    """Cancels when its generation is no longer the latest."""

    def __init__(
        self, stale: Callable[[], bool], report: Callable[[int, int, str], None] = lambda done, total, stage: None
    ) -> None:
        self._stale, self._report = stale, report

    def cancelled(self) -> bool:
        """Whether a later request has begun."""
        return self._stale()

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Pass the report on."""
        self._report(done, total, stage)


class Background:
    """The threads of one window."""

    def __init__(self, view: AnnotatorView) -> None:
        self._view = view
        self._busy: list[str] = []
        self._idle = ""
        self.closed = threading.Event()
        """Set when the window wants no answers any more."""
        self._pools = {
            lane: ThreadPoolExecutor(lane.value[1], thread_name_prefix=f"maskwright-{lane.value[0]}") for lane in Queue
        }

    def work(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        busy: str = "",
        *,
        lane: Queue = Queue.READING,
        stale: Callable[[], bool] = lambda: False,
        ended: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        """Run `job` in a thread, then `ended` and `done` on the window's thread, unless it has become stale meanwhile.

        A job that fails has ended, too; its error is shown as a sentence, unless `failed` is True of it.
        """
        if self.closed.is_set():
            return
        if busy:
            self._busy.append(busy)
            self._show_busy()

        def show(future: Future[T]) -> None:
            if self.closed.is_set():
                return
            if busy:
                self._busy.remove(busy)
                self._show_busy()
            if stale():
                return
            ended()
            try:
                answer = future.result()
            except Cancelled:
                return
            except Exception as error:
                if not isinstance(error, MaskwrightError):
                    log.exception("in napari")
                if not failed(error):
                    self._view.show_error(sentence(error))
                return
            done(answer)

        future = self._pools[lane].submit(job)
        future.add_done_callback(lambda f: None if f.cancelled() else self._view.call_soon(lambda: show(f)))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the window's thread, unless the window is closed by then; may be asked from any thread."""
        self._view.call_soon(lambda: None if self.closed.is_set() else call())

    def show_idle(self, text: str) -> None:
        """What to show as being worked on while nothing else is; a search is less urgent than what is waited for."""
        self._idle = text
        self._show_busy()

    def _show_busy(self) -> None:
        """Show what was begun last."""
        self._view.show_busy(self._busy[-1] if self._busy else self._idle)

    def close(self) -> None:
        """Give up what has not begun; decisions of the person are still carried out."""
        self.closed.set()
        for lane, pool in self._pools.items():
            pool.shutdown(wait=False, cancel_futures=lane is not Queue.SAVING)

    def wait(self) -> None:
        """Wait until every thread has ended; after `close`."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)


def sentence(error: Exception) -> str:
    """What a person reads of an error."""
    if isinstance(error, MaskwrightError):
        return str(error)
    return f"Unexpected failure ({type(error).__name__}: {error}). See the log."
