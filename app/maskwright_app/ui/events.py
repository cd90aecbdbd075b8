"""Server-sent events: changes of the project by anybody, progress of prompts, jobs and fine-tuning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from maskwright.session import AnnotationSession, Changes, MaskwrightError
from maskwright_app.ui.job_answers import finetune_json, jobs_json

__all__ = ["Events"]

_LOOK_SECONDS = 0.5
"""Longest seconds between two looks at jobs and at a project in a file, which other programs change, too."""
_PING_SECONDS = 15.0
_MOST_UNREAD = 1000
"""Events that a client may leave unread before it is disconnected; it then connects again."""


class Events:
    """The event stream of a session; the project is only looked at while somebody listens."""

    def __init__(self, session: AnnotationSession) -> None:
        self._session = session
        self._clients: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._closed = threading.Event()

    def publish(self, event: str, data: Any) -> None:
        """Send an event to all clients; from any thread."""
        if self._loop is not None and self._clients:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._send, event, data)

    def _send(self, event: str, data: Any) -> None:
        text = _event(event, data)
        for client in list(self._clients):
            if client.qsize() >= _MOST_UNREAD:
                self._clients.discard(client)
                client.put_nowait(None)
            else:
                client.put_nowait(text)

    async def stream(self) -> AsyncIterator[str]:
        """Events for one client, from now on; the first one says where the project stands."""
        client: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._clients.add(client)
        try:
            if self._watcher is None or self._watcher.done():
                self._watcher = self._loop.create_task(self._watch())
            change = await run_in_threadpool(self._session.change_number)
            yield _event("change", {"change": change, "images": [], "others": False, "complete": True})
            while True:
                try:
                    text = await asyncio.wait_for(client.get(), _PING_SECONDS)
                except TimeoutError:
                    text = ": ping\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._clients.discard(client)

    async def _watch(self) -> None:
        """Publish what any program changes, while there are clients."""
        seen = await run_in_threadpool(self._session.change_number)
        status = await run_in_threadpool(self._status, None)
        with self._session.listen() as listener:
            while self._clients and not self._closed.is_set():
                changed = await run_in_threadpool(listener.wait, _LOOK_SECONDS, self._closed)
                # a project that cannot be read for a moment is read again
                with contextlib.suppress(MaskwrightError):
                    others = False
                    if changed:
                        changes = await run_in_threadpool(self._session.changes, seen)
                        others = changes.others
                        if changes.number != seen:
                            seen = changes.number
                            self._send("change", _change_json(changes))
                    latest = await run_in_threadpool(self._status, None if others else status)
                    for name, value in latest.items():
                        if status[name] != value:
                            self._send(name, value)
                    status = latest

    def _status(self, before: dict[str, Any] | None) -> dict[str, Any]:
        """Batch predictions and fine-tuning, which report progress without a change of the project.

        Args:
            before: the last status, when only running work can have changed it.
        """
        running = before is None or any(
            run["state"] in ("running", "pausing", "interrupted") for run in before["finetune"]["runs"]
        )
        finetune = finetune_json(self._session) if running or before is None else before["finetune"]
        return {"jobs": jobs_json(self._session), "finetune": finetune}

    def close(self) -> None:
        """End all streams."""
        self._closed.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for client in list(self._clients):
            client.put_nowait(None)
        self._clients.clear()
        if self._watcher is not None:
            self._watcher.cancel()


def _change_json(changes: Changes) -> dict[str, Any]:
    return {
        "change": changes.number,
        "images": sorted(changes.images),
        "others": changes.others,
        "complete": changes.complete,
    }


def _event(event: str, data: Any) -> str:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
