"""Looking for images by what they show."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskwright.progress import Progress
from maskwright.session import AnnotationSession
from napari_maskwright._background import Background, Generation, GenerationProgress, Queue
from napari_maskwright._view import AnnotatorView

if TYPE_CHECKING:
    # torch comes with the search, and a window should open before it
    from maskwright.project.search import SearchResult

__all__ = ["Searches"]

_TOLD = 0.1
"""Seconds between two reports of a search: images seen before would flood the window with them."""


class Searches:
    """At most one search at a time; it leaves the prompts alone."""

    def __init__(self, session: AnnotationSession, view: AnnotatorView, background: Background) -> None:
        self._session, self._view, self._background = session, view, background
        self._latest = Generation()
        self._running = False

    def find(self, phrase: str) -> None:
        """Rank the project's images for a phrase; a search that is still running is given up."""
        stale = self._latest.begin()
        self._view.show_matches((), "")
        self._show("Searching the images")
        self._background.work(
            lambda: self._session.find(phrase, progress=self._reporter(stale)),
            lambda matches: self._view.show_matches(matches.found, _notice(matches)),
            lane=Queue.SEARCH, stale=stale, ended=lambda: self._show(""),
        )  # fmt: skip

    def stop(self) -> None:
        """Give up the running search."""
        if self._running:
            self.close()
            self._show("")
            self._view.show_matches((), "Stopped. The next search goes on from here.")

    def close(self) -> None:
        """Give up the running search without a word."""
        self._latest.begin()

    def _show(self, text: str) -> None:
        """Show how far the search is; with an empty text, that none is running."""
        self._running = bool(text)
        self._view.show_searching(self._running)
        self._background.show_idle(text)

    def _reporter(self, stale: Callable[[], bool]) -> Progress:
        """The progress of a search, reported in its own thread."""
        last = float("-inf")

        def report(done: int, total: int, _stage: str) -> None:
            nonlocal last
            if done < total and time.monotonic() - last >= _TOLD:
                last = time.monotonic()
                text = f"Looking at image {done + 1} of {total}"
                self._view.call_soon(lambda: None if stale() else self._show(text))

        return GenerationProgress(stale, report)


def _notice(matches: SearchResult) -> str:
    """What a person should know of a search, or empty."""
    problems = matches.problems
    if not problems:
        return "" if matches.found else "This project has no image yet."
    count = f"{len(problems)} images could not be looked at. " if len(problems) > 1 else ""
    return count + problems[0]
