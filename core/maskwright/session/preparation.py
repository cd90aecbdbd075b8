"""The image in view, encoded in the background before its first click."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskwright.domain import Image
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import Progress

if TYPE_CHECKING:
    from maskwright.session.engines import PromptEngine

__all__ = ["Preparation"]

_FIRST_SECONDS = 0.3
"""A window that opens gets what it shows before the model is loaded, which holds every other thread up."""


class Preparation:
    """Encodes the images that windows show, one at a time and the latest first; safe to share between threads.

    The first click then runs the mask decoder only. Encoding an image that no window shows any more is given up
    between two layers of the encoder.
    """

    def __init__(self, engine: Callable[[], PromptEngine], image: Callable[[int], Image]) -> None:
        """Take functions that return the engine in use, and an image of the project by id."""
        self._engine, self._image = engine, image
        self._changed = threading.Condition()
        self._in_view: dict[str, int] = {}
        """Image by window, in the order in which they came into view."""
        self._prepared: set[int] = set()
        """Those of the images in view that need no more work."""
        self._thread: threading.Thread | None = None
        self._closed = False

    def show(self, image_id: int | None, *, window: str = "") -> None:
        """An image comes into view; returns at once.

        Args:
            image_id: the image; None when the window shows none or is closed.
            window: any name that tells the windows of a session apart.
        """
        with self._changed:
            self._in_view.pop(window, None)
            if image_id is not None and not self._closed:
                self._in_view[window] = image_id
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="maskwright-prepare", daemon=True)
                    self._thread.start()
            self._prepared.intersection_update(self._in_view.values())
            self._changed.notify_all()

    def close(self) -> None:
        """Give up what runs, and end the thread."""
        with self._changed:
            self._closed = True
            self._in_view.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        time.sleep(_FIRST_SECONDS)
        while (image_id := self._next()) is not None:
            try:
                self._engine().prepare_clicks(self._image(image_id), progress=_WhileInView(self, image_id))
            except Cancelled:
                continue
            except MaskwrightError:
                # the first prompt says what is wrong
                pass
            with self._changed:
                if image_id in self._in_view.values():
                    self._prepared.add(image_id)

    def _next(self) -> int | None:
        """Wait for an image to encode; None at the end."""
        with self._changed:
            while not self._closed:
                waiting = [image_id for image_id in self._in_view.values() if image_id not in self._prepared]
                if waiting:
                    return waiting[-1]
                self._changed.wait()
            return None

    def in_view(self, image_id: int) -> bool:
        """Whether a window shows an image."""
        with self._changed:
            return image_id in self._in_view.values()


class _WhileInView(Progress):
    def __init__(self, preparation: Preparation, image_id: int) -> None:
        self._preparation, self._image_id = preparation, image_id

    def cancelled(self) -> bool:
        return not self._preparation.in_view(self._image_id)
