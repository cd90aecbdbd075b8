"""The right column: accept, reject, undo and redo, what is saved, and the list of masks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import gradio as gr

from maskwright.domain.proposal_id import ProposalId
from maskwright.session import Decision
from maskwright_app.html import status
from maskwright_app.screen import Screen, Update, Values
from maskwright_app.tab import Tab

__all__ = ["MasksPanel"]


class MasksPanel:
    """Widgets that decide on the masks of the image of a tab."""

    def __init__(self, screen: Screen) -> None:
        """Make the widgets in the column that is open."""
        self.screen, self.handlers, self.decisions = screen, screen.handlers, screen.handlers.decisions
        with gr.Row():
            self.accept_all = gr.Button("Accept all (G)", elem_id="mw-accept-all", min_width=120)
            self.reject_all = gr.Button("Reject all (U)", elem_id="mw-reject-all", min_width=120)
        with gr.Row():
            self.undo = gr.Button("Undo (Ctrl+Z)", elem_id="mw-undo", min_width=120)
            self.redo = gr.Button("Redo (Ctrl+Shift+Z)", elem_id="mw-redo", min_width=120)
        for component in (screen.status, screen.mask_list, screen.counts):
            component.render()

    def wire(self) -> None:
        """Connect the widgets."""
        listen, decisions, name = self.screen.listen, self.decisions, [self.screen.name]
        listen(self.accept_all.click, self._accept_all, name)
        listen(self.reject_all.click, self._reject_all, name)
        # a second press continues from what the first one left
        listen(self.undo.click, functools.partial(self._step, decisions.undo), trigger_mode="always_last")
        listen(self.redo.click, functools.partial(self._step, decisions.redo), trigger_mode="always_last")
        listen(self.screen.mask_list.click, self._on_mask_list, name)
        listen(self.screen.status.click, self._on_status)

    def _accept_all(self, values: Values) -> Update:
        return self._decide_all(values, accept=True)

    def _reject_all(self, values: Values) -> Update:
        return self._decide_all(values, accept=False)

    def _decide_all(self, values: Values, *, accept: bool) -> Update:
        """Decide on all proposals: the clicked mask gets the name that was typed, the others keep their own."""
        tab = self.screen.tab(values)
        return self._show(tab, *self.decisions.decide_all(tab, values[self.screen.name], accept=accept))

    def _step(self, step: Callable[[Tab], tuple[Tab, str]], values: Values) -> Update:
        tab = self.screen.tab(values)
        return self._show(tab, *step(tab))

    def _on_status(self, values: Values, event: gr.EventData) -> Update:
        """A button of the status line: try again, or open the image that it names."""
        tab = self.screen.tab(values)
        match event.act:
            case "open":
                return self.screen.open_image(tab, int(event.id)) | {self.screen.status: ""}
            case "delete":
                return self._show(tab, *self.decisions.delete(tab, int(event.id)))
            case "undo":
                return self._show(tab, *self.decisions.undo(tab))
            case "redo":
                return self._show(tab, *self.decisions.redo(tab))
            case _:
                return self._show(tab, *self.decisions.retry(tab))

    def _on_mask_list(self, values: Values, event: gr.EventData) -> Update:
        """A button of a mask, or the switch for duplicates."""
        tab = self.screen.tab(values)
        act = event.act
        if act == "duplicates":
            return self.screen.update(tab, replace(tab, show_duplicates=not tab.show_duplicates))
        if act in ("accept", "reject"):
            proposal, name = ProposalId.parse(event.id), values[self.screen.name]
            return self._show(
                tab, *self.decisions.decide(tab, Decision(act == "accept", tab.image_id, (proposal,), name))
            )
        annotation_id = int(event.id)
        match act:
            case "correct":
                return self.screen.update(tab, self.handlers.correct(tab, annotation_id))
            case "history":
                history = None if tab.history_of == annotation_id else annotation_id
                return self.screen.update(tab, replace(tab, history_of=history))
            case "delete":
                update = self._show(tab, *self.decisions.delete(tab, annotation_id))
                return update | {self.screen.reference_bar: self.handlers.reference_bar(tab.search_category)}
            case _:
                after = self.handlers.toggle_reference(tab, annotation_id, negative=act == "negative")
                bar = self.handlers.reference_bar(after.search_category)
                return self._show(tab, after, status.saved(pending=tab.pending)) | {self.screen.reference_bar: bar}

    def _show(self, before: Tab, after: Tab, line: str) -> Update:
        return self.screen.update(before, after) | {self.screen.status: line}
