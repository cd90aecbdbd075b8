"""A window's thread without a window, and slowness on demand."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import create_autospec

from napari_maskwright._view import AnnotatorView

__all__ = ["Gate", "Window"]


class Window:
    """A window's thread without a window: calls wait until the test lets them run."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.view = create_autospec(AnnotatorView, instance=True)
        self.view.call_soon.side_effect = self.calls.put
        self.rows: list[Any] = []
        self.remarks: dict[str, str] = {}
        self.view.show_masks.side_effect = lambda rows, remarks: self.__dict__.update(
            rows=list(rows), remarks=dict(remarks)
        )
        self.status, self.unsaved = "", ""
        self.view.show_status.side_effect = lambda text: setattr(self, "status", text)
        self.view.show_unsaved.side_effect = lambda text: setattr(self, "unsaved", text)
        self.hidden = 0
        self.view.show_duplicates.side_effect = lambda count: setattr(self, "hidden", count)
        self.found: Sequence[Any] = ()
        self.notice = ""
        self.view.show_matches.side_effect = lambda found, notice: self.__dict__.update(found=found, notice=notice)

    def said(self) -> list[str]:
        """What was shown as being worked on, in turn."""
        return [call.args[0] for call in self.view.show_busy.call_args_list]

    def searching(self) -> bool:
        return bool(self.view.show_searching.call_args.args[0])

    def until(self, ready: Callable[[], Any], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, "it never came"
            try:
                self.calls.get(timeout=0.05)()
            except queue.Empty:
                continue

    def settle(self, seconds: float = 0.3) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.calls.get(timeout=0.05)()
            except queue.Empty:
                continue


class Gate:
    """Something that is slow until the test says go."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self.real, self.calls = real, 0
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *given: Any, **told: Any) -> Any:
        self.calls += 1
        self.reached.set()
        assert self.go.wait(30)
        return self.real(*given, **told)
