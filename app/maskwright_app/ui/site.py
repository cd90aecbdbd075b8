"""What all routes share: the session, its event stream, and the threads in which models run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse

from maskwright.session import AnnotationSession, MaskwrightError, Progress
from maskwright_app.ui.events import Events

__all__ = ["Busy", "Site", "answer", "user_of"]

T = TypeVar("T")
_MOST_WAITING = 20
_DISCONNECT_SECONDS = 0.2


class Busy(MaskwrightError):
    """Too many prompts wait for the model."""


class RequestProgress(Progress):
    """Progress of one request: reported on the event stream, cancelled when the client goes."""

    def __init__(self, events: Events, request: str) -> None:
        self._events, self._request = events, request
        self._cancelled, self._before = False, 0

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Publish it under the id of the request, if the client has named one."""
        if self._request:
            self._events.publish("progress", {"request": self._request, "done": done, "total": total, "stage": stage})

    def report_place(self, before: int) -> None:
        """Publish how many requests came before this one and have no answer yet, when that changes."""
        if self._request and before != self._before:
            self._events.publish("progress", {"request": self._request, "waiting": before})
        self._before = before

    def cancelled(self) -> bool:
        """Whether the client is gone."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop the work at its next step."""
        self._cancelled = True


class Site:
    """One session behind the routes."""

    def __init__(self, session: AnnotationSession) -> None:
        self.session = session
        self.events = Events(session)
        self._threads = ThreadPoolExecutor(_MOST_WAITING + 1, thread_name_prefix="maskwright-prompt")
        self._line: list[RequestProgress] = []

    async def run(self, request: Request, name: str, work: Callable[[Progress], T]) -> T:
        """Run a prompt in a thread; when the client disconnects, it is cancelled within a fraction of a second.

        Args:
            request: whose client waits.
            name: id of the request for its progress; may be empty.
            work: takes the progress.

        Raises:
            Busy: too many wait already.
        """
        if len(self._line) > _MOST_WAITING:
            raise Busy(f"The queue is full ({_MOST_WAITING} waiting).", "Try again in about 30 s.")
        progress = RequestProgress(self.events, name)
        self._line.append(progress)
        progress.report_place(len(self._line) - 1)
        try:
            task = asyncio.get_running_loop().run_in_executor(self._threads, work, progress)
            while not task.done():
                await asyncio.wait({task}, timeout=_DISCONNECT_SECONDS)
                if not task.done() and await request.is_disconnected():
                    progress.cancel()
            return await task
        finally:
            # also when the server stops
            progress.cancel()
            self._line.remove(progress)
            for place, other in enumerate(self._line):
                other.report_place(place)

    def close(self) -> None:
        """End the event streams and wait for no thread."""
        self.events.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def user_of(request: Request) -> str:
    """The name that the client has logged in with; empty without a login."""
    return str(getattr(request.state, "user", "") or "")


def answer(**values: Any) -> JSONResponse:
    """An answer as JSON; FastAPI's own way would walk through every run length."""
    return JSONResponse(values)
