"""Background work: jobs in thread pools, image search, and the watcher of the project."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from maskwright.session import AnnotationSession, Cancelled, Changes, FinetuneStatus, MaskwrightError, Progress, plural
from napari_maskwright._view import AnnotatorView

if TYPE_CHECKING:
    from maskwright.session import SearchResult

__all__ = ["Generation", "GenerationProgress", "Queue", "Search", "Watcher", "Workers", "error_message"]

T = TypeVar("T")
log = logging.getLogger(__name__)

_REPORT_INTERVAL = 0.1
"""Seconds between two reports of a search; cached images would flood the window with them."""
_POLL_INTERVAL = 0.5
"""Longest seconds between two reads of a project in a file; a server says when there is something to read."""


class Queue(Enum):
    """Jobs that wait for one another; the value is a name for the threads, and how many jobs run at once."""

    MODEL = "model", 2
    READING = "read", 2
    """Apart from the model, which may take seconds while other windows change the project."""
    SAVING = "save", 1
    """In the order of the user's actions: an undo runs after the accept before it."""
    SEARCH = "search", 1
    """Apart from prompts, because a search may take minutes."""


class Generation:
    """Counts requests of one kind; only the latest is current."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self) -> Callable[[], bool]:
        """Make all earlier requests stale; returns a function that says whether this one is stale."""
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


class Workers:
    """The thread pools of one window."""

    def __init__(self, view: AnnotatorView) -> None:
        self._view = view
        self._activities: list[str] = []
        self._idle = ""
        self.closed = threading.Event()
        """Set when the window is closed."""
        self._pools = {
            queue: ThreadPoolExecutor(queue.value[1], thread_name_prefix=f"maskwright-{queue.value[0]}")
            for queue in Queue
        }

    def run(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        activity: str = "",
        *,
        queue: Queue = Queue.READING,
        stale: Callable[[], bool] = lambda: False,
        finished: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        """Run a job in a thread; all callbacks run on the window's thread, and none once the request is stale.

        Args:
            job: runs in a thread of the queue.
            done: takes what the job returned.
            activity: text for the busy bar.
            queue: which jobs it waits for.
            stale: whether a later request has replaced this one.
            finished: called first, also after an error.
            failed: takes the error of the job; its message is shown unless this returns True.
        """
        if self.closed.is_set():
            return
        if activity:
            self._activities.append(activity)
            self._show_busy()

        def deliver(future: Future[T]) -> None:
            if self.closed.is_set():
                return
            if activity:
                self._activities.remove(activity)
                self._show_busy()
            if stale():
                return
            finished()
            try:
                result = future.result()
            except Cancelled:
                return
            except Exception as error:
                if not isinstance(error, MaskwrightError):
                    log.exception("in napari")
                if not failed(error):
                    self._view.show_error(error_message(error))
                return
            done(result)

        future = self._pools[queue].submit(job)
        future.add_done_callback(lambda f: None if f.cancelled() else self._view.call_soon(lambda: deliver(f)))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the window's thread unless the window is closed by then; callable from any thread."""
        self._view.call_soon(lambda: None if self.closed.is_set() else call())

    def show_idle(self, text: str) -> None:
        """Set the text of the busy bar for the time when no job with an activity runs."""
        self._idle = text
        self._show_busy()

    def _show_busy(self) -> None:
        self._view.show_busy(self._activities[-1] if self._activities else self._idle)

    def close(self) -> None:
        """Cancel the jobs that have not started; the user's decisions are still written."""
        self.closed.set()
        for queue, pool in self._pools.items():
            pool.shutdown(wait=False, cancel_futures=queue is not Queue.SAVING)

    def wait(self) -> None:
        """Wait until every thread has ended; after `close`."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)


class Search:
    """The search for images by a phrase, one at a time; independent of prompts."""

    def __init__(self, session: AnnotationSession, view: AnnotatorView, workers: Workers) -> None:
        self._session, self._view, self._workers = session, view, workers
        self._generation = Generation()
        self._running = False

    def start(self, phrase: str | None) -> None:
        """Rank the project's images for a phrase, or without one those to label next; replaces a running search."""
        stale = self._generation.begin()
        self._view.show_matches((), "")
        self._show("Searching the images")
        self._workers.run(
            lambda: self._find(phrase, self._progress(stale)),
            lambda matches: self._view.show_matches(matches.hits, _search_notice(matches)),
            queue=Queue.SEARCH,
            stale=stale,
            finished=lambda: self._show(""),
        )

    def _find(self, phrase: str | None, progress: Progress) -> SearchResult:
        search = self._session.search
        return search.unlabelled(progress=progress) if phrase is None else search.find(phrase, progress=progress)

    def stop(self) -> None:
        """Stop the running search, if any."""
        if self._running:
            self.close()
            self._show("")
            self._view.show_matches((), "Stopped. The next search continues from here.")

    def close(self) -> None:
        """Stop the running search, and show nothing more of it."""
        self._generation.begin()

    def _show(self, text: str) -> None:
        """Show how far the search is; an empty text when none is running."""
        self._running = bool(text)
        self._view.show_searching(running=self._running)
        self._workers.show_idle(text)

    def _progress(self, stale: Callable[[], bool]) -> Progress:
        last = float("-inf")

        def report(done: int, total: int, _stage: str) -> None:
            nonlocal last
            if done < total and time.monotonic() - last >= _REPORT_INTERVAL:
                last = time.monotonic()
                text = f"Searching image {done + 1} of {total}"
                self._view.call_soon(lambda: None if stale() else self._show(text))

        return GenerationProgress(stale, report)


class Watcher:
    """A thread that waits for changes of the project by any window, and for the progress of fine-tuning."""

    def __init__(
        self,
        session: AnnotationSession,
        closed: threading.Event,
        changed: Callable[[Changes], None],
        finetuning: Callable[[FinetuneStatus], None],
    ) -> None:
        """Both callbacks run in this thread."""
        self._session, self._closed = session, closed
        self._changed, self._finetuning = changed, finetuning
        self._thread: threading.Thread | None = None

    def start(self, change_number: int) -> None:
        """Report what comes after a change number; a second call has no effect."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, args=(change_number,), name="maskwright-watch", daemon=True
            )
            self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the thread, after the window was closed."""
        if self._thread is not None:
            self._thread.join()

    def _watch(self, change_number: int) -> None:
        last: FinetuneStatus | None = None
        changed = True
        with self._session.listen() as listener:
            while not self._closed.is_set():
                if changed:
                    change_number, last = self._report(change_number, last)
                changed = listener.wait(_POLL_INTERVAL, self._closed)

    def _report(self, change_number: int, last: FinetuneStatus | None) -> tuple[int, FinetuneStatus | None]:
        """Report what is new after a change number and a status; returns those of now."""
        try:
            changes, status = self._session.changes(change_number), self._session.finetuning.status()
        except MaskwrightError as error:
            # another process may lock the file for a moment; the next look reports everything
            log.warning("cannot read the project's changes: %s", error)
            return change_number, last
        except Exception:
            # if the thread ended here, the window would show no change any more
            log.exception("cannot read the project's changes")
            return change_number, last
        if status != last:
            self._finetuning(status)
        if changes.number != change_number:
            self._changed(changes)
        return changes.number, status


def error_message(error: Exception) -> str:
    """What the user reads of an error."""
    if isinstance(error, MaskwrightError):
        return str(error)
    return f"Unexpected failure ({type(error).__name__}: {error}). See the log."


def _search_notice(matches: SearchResult) -> str:
    """Why images are missing from the result, or empty."""
    problems = matches.problems
    if not problems:
        return "" if matches.hits else "This project has no image yet."
    count = f"{plural(len(problems), 'image')} could not be searched. " if len(problems) > 1 else ""
    return count + problems[0]
