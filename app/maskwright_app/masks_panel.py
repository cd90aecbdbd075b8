"""The column of the page that decides: undo and redo, accept and reject, what is saved, and the list of masks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from maskwright.domain.click_prompt import ClickPrompt
from maskwright_app.decisions import Decision, Outcome, Panel
from maskwright_app.handlers import Handlers
from maskwright_app.scripts import CLICKED, STATUS
from maskwright_app.status import saved
from maskwright_app.tab import Tab, sentences

__all__ = ["MasksPanel"]


class MasksPanel:
    """The widgets, and what they do to the masks of the image in view."""

    def __init__(self, handlers: Handlers) -> None:
        """Make the widgets in the column that is open."""
        self.handlers = handlers
        self.panel = gr.State(Panel())
        with gr.Row():
            self.accept_all = gr.Button("Accept all (G)", elem_id="mw-accept-all", min_width=120)
            self.reject_all = gr.Button("Reject all (U)", elem_id="mw-reject-all", min_width=120)
        with gr.Row():
            self.undo = gr.Button("Undo (Ctrl+Z)", elem_id="mw-undo", min_width=120)
            self.redo = gr.Button("Redo (Ctrl+Shift+Z)", elem_id="mw-redo", min_width=120)
        self.status = gr.HTML("", elem_id="mw-status", js_on_load=STATUS, padding=False)
        self.legend = gr.HTML("", elem_id="mw-legend", js_on_load=CLICKED)
        self.counts = gr.HTML("", elem_id="mw-counts")

    def wire(self, tab: Sequence[Any], name: gr.Textbox, bars: Sequence[Any], shown: Sequence[Any]) -> None:
        """Connect the widgets.

        Args:
            tab: components of a `Tab`.
            name: of what is clicked.
            bars: the prompt and its bar, the category that is looked for and its bar.
            shown: components of what is drawn.
        """
        after = [*bars[:2], self.panel, self.status, *shown]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": shown[0]}
        self.legend.click(
            sentences(self._on_mask), [name, *tab], [*bars[2:], *after], **private
        )  # fmt: skip
        for button, keep in ((self.accept_all, True), (self.reject_all, False)):
            button.click(sentences(functools.partial(self._all, keep)), [name, *tab], after, **private)
        for button, way in ((self.undo, "undo"), (self.redo, "redo")):
            # pressed again meanwhile, it goes on from what the first has left
            button.click(
                sentences(functools.partial(self._retrace, way)), list(tab), after, trigger_mode="always_last",
                **private,
            )  # fmt: skip
        self.status.click(sentences(self._on_status), list(tab), after, **private)

    def _after(self, tab: Tab, outcome: Outcome) -> tuple[Any, ...]:
        tab = tab._replace(prompt=outcome.prompt, panel=outcome.panel)
        bar = self.handlers.click_bar(outcome.prompt)
        return outcome.prompt, bar, outcome.panel, outcome.status, *tab.drawn(self.handlers)

    def _all(self, keep: bool, name: str, *values: Any) -> tuple[Any, ...]:
        """Accept or reject all that is open: the answer to the clicks under its name, the rest under their own."""
        tab = Tab(*values)
        outcome = self.handlers.decide_all(tab.image_id, tab.proposals, tab.prompt, name, tab.panel, keep=keep)
        return self._after(tab, outcome)

    def _retrace(self, way: str, *values: Any) -> tuple[Any, ...]:
        tab = Tab(*values)
        return self._after(tab, self.handlers.retrace(way, tab.image_id, tab.prompt, tab.panel))

    def _on_status(self, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        """A button of the status line: what was not saved is tried again."""
        tab = Tab(*values)
        match event.act:
            case "again":
                return self._after(tab, self.handlers.decide_again(tab.prompt, tab.panel))
            case "delete":
                return self._after(tab, self.handlers.delete_mask(int(event.id), tab.prompt, tab.panel))
            case "undo" | "redo":
                return self._after(tab, self.handlers.retrace(event.act, tab.image_id, tab.prompt, tab.panel))
        # another image is turned to by the page
        return (gr.skip(),) * 8

    def _on_mask(self, event: gr.EventData, name: str, *values: Any) -> tuple[Any, ...]:
        """A button of the list of masks."""
        tab = Tab(*values)
        outcome = Outcome(gr.skip(), tab.prompt, tab.panel)
        match event.act:
            case "like" | "not":
                tab = tab._replace(like=self.handlers.mark(int(event.id), tab.like, shows=event.act == "like"))
                outcome = replace(outcome, status=saved())
            case "correct":
                self.handlers.clear(tab.prompt)
                outcome = replace(outcome, prompt=ClickPrompt(int(tab.image_id or 0), int(event.id)))
            case "history":
                chosen = None if tab.panel.chosen == int(event.id) else int(event.id)
                outcome = replace(outcome, panel=replace(tab.panel, chosen=chosen))
            case "duplicates":
                outcome = replace(outcome, panel=replace(tab.panel, duplicates=not tab.panel.duplicates))
            case "delete":
                outcome = self.handlers.delete_mask(int(event.id), tab.prompt, tab.panel)
            case "accept" | "reject":
                decision = Decision(event.act == "accept", tab.image_id, (event.id,), name)
                outcome = self.handlers.decide(decision, tab.prompt, tab.panel)
        return tab.like, self.handlers.like_bar(tab.like), *self._after(tab, outcome)
