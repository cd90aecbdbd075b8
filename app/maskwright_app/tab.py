"""What one browser tab has open, as its events carry it, and what an event draws."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

import gradio as gr

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.errors import MaskwrightError
from maskwright_app.decisions import Panel
from maskwright_app.handlers import Handlers

__all__ = ["Drawn", "Tab", "fresh", "sentences"]

P = ParamSpec("P")
R = TypeVar("R")


class Drawn(NamedTuple):
    """HTML of everything that shows one image."""

    picture: str
    legend: str
    counts: str
    notice: str


class Tab(NamedTuple):
    """Everything important is in the project; this is what is open, and lost when the tab is closed."""

    image_id: int | None
    proposals: Sequence[str]
    like: str | None
    """The category that is looked for by example."""
    prompt: ClickPrompt | None
    panel: Panel

    def drawn(self, handlers: Handlers, notice: str = "") -> Drawn:
        """The image with all that is on it, and a sentence above it."""
        view = handlers.view(self.image_id, self.proposals, notice, self.like, self.prompt, self.panel)
        line = f'<p class="mw-notice" role="status">{html.escape(view.notice)}</p>' if view.notice else ""
        return Drawn(view.picture, view.legend, view.counts, line)


def fresh(handlers: Handlers) -> tuple[None, str]:
    """No clicks, and the bar that says so, as an image begins with."""
    return None, handlers.click_bar(None)


def sentences(handler: Callable[P, R]) -> Callable[P, R]:
    """Show what a person can mend as a toast of one sentence; anything else surfaces in the log."""

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except MaskwrightError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped
