"""A window's thread without a window, and calls that wait for the test."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any
from unittest.mock import create_autospec

from maskwright.domain.proposal_id import ProposalId
from maskwright.session import MaskView
from napari_maskwright._view import AnnotatorView

__all__ = ["Gate", "Window"]


class Window:
    """A window's thread without a window: calls wait until the test runs them, and the view records what it shows."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], None]] = queue.Queue()
        self.view = create_autospec(AnnotatorView, instance=True)
        self.masks: Sequence[MaskView] = ()
        self.unwritten: set[ProposalId] = set()
        self.status = self.unsaved = self.notice = ""
        self.hidden = 0
        self.matches: Sequence[Any] = ()
        self.view.go_to_plane.return_value = False
        self.view.show_no_image.side_effect = lambda: self._show_masks((), ())
        self.view.call_soon.side_effect = self.calls.put
        self.view.show_masks.side_effect = self._show_masks
        self.view.show_status.side_effect = lambda text: setattr(self, "status", text)
        self.view.show_unsaved.side_effect = lambda message: setattr(self, "unsaved", message)
        self.view.show_duplicates.side_effect = lambda count: setattr(self, "hidden", count)
        self.view.show_matches.side_effect = self._show_matches

    def _show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        self.masks, self.unwritten = masks, set(unwritten)

    def _show_matches(self, matches: Sequence[Any], notice: str) -> None:
        self.matches, self.notice = matches, notice

    @property
    def proposals(self) -> list[ProposalId]:
        return [mask.proposal for mask in self.masks if mask.proposal is not None]

    @property
    def accepted(self) -> list[int]:
        return [mask.annotation for mask in self.masks if mask.annotation is not None]

    @property
    def previews(self) -> list[MaskView]:
        return [mask for mask in self.masks if mask.cleaning_preview]

    @property
    def activities(self) -> list[str]:
        """Texts of the busy bar so far."""
        return [call.args[0] for call in self.view.show_busy.call_args_list]

    @property
    def searching(self) -> bool:
        return bool(self.view.show_searching.call_args.kwargs["running"])

    @property
    def error(self) -> str:
        """The last error that was shown."""
        return str(self.view.show_error.call_args.args[0]) if self.view.show_error.called else ""

    def until(self, ready: Callable[[], Any], seconds: float = 60) -> None:
        """Run the window's calls until something is true."""
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, "timeout"
            self._call()

    def process_events(self, seconds: float = 0.3) -> None:
        """Run the window's calls for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._call()

    def _call(self) -> None:
        try:
            self.calls.get(timeout=0.05)()
        except queue.Empty:
            return


class Gate:
    """A function that is slow until the test sets `go`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.reached.set()
        assert self.go.wait(30)
        return self.function(*args, **kwargs)
