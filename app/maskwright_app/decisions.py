"""Accept, reject, delete, undo and redo for the page, with the status line for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maskwright.session import (
    CLICK_UNDONE,
    NO_IMAGE,
    NO_OPEN_MASK,
    AnnotationSession,
    Decision,
    MaskwrightError,
    OtherImage,
    WriteFailure,
    deletion_message,
)
from maskwright_app.html import status
from maskwright_app.tab import Tab

__all__ = ["Decisions"]


class Decisions:
    """Writes the decisions of browser tabs; each method returns the tab afterwards and HTML of the status line."""

    def __init__(self, session: AnnotationSession) -> None:
        self._session = session

    def decide_all(self, tab: Tab, name: str, *, accept: bool) -> tuple[Tab, str]:
        """Accept or reject all visible proposals, in one step.

        Args:
            tab: state of the browser tab.
            name: category of the mask that was clicked.
            accept: or reject.
        """
        masks = [] if tab.image_id is None else self._session.view(
            tab.image_id, tab.proposals, prompt=tab.prompt, pending=tab.pending
        )  # fmt: skip
        ids = tuple(mask.proposal for mask in tab.visible(masks) if mask.proposal is not None)
        if not ids:
            raise MaskwrightError(NO_OPEN_MASK)
        return self.decide(tab, Decision(accept, tab.image_id, ids, name))

    def decide(self, tab: Tab, decision: Decision) -> tuple[Tab, str]:
        """Accept or reject proposals; they are pending while they cannot be written."""
        return self._write(tab, tab.pending.attempts(decision))

    def retry(self, tab: Tab) -> tuple[Tab, str]:
        """Write pending decisions in order."""
        return self._write(tab, tab.pending.decisions)

    def delete(self, tab: Tab, annotation_id: int) -> tuple[Tab, str]:
        """Delete an accepted mask."""
        try:
            self._session.delete([annotation_id])
        except MaskwrightError as error:
            return tab, _failed(error, "delete", annotation_id)
        if tab.prompt is not None and tab.prompt.corrects == annotation_id:
            tab = self.drop_clicks(tab)
        return tab, status.saved(deletion_message(1), tab.pending)

    def undo(self, tab: Tab) -> tuple[Tab, str]:
        """Undo the last click, else the last step on the image in view."""
        if tab.prompt is not None and tab.prompt.image_id == tab.image_id and tab.prompt.steps:
            return replace(tab, prompt=self._session.undo_click(tab.prompt)), status.message(CLICK_UNDONE)
        return self._take_step(tab, "undo")

    def redo(self, tab: Tab) -> tuple[Tab, str]:
        """Redo what was undone last on the image in view."""
        return self._take_step(tab, "redo")

    def drop_clicks(self, tab: Tab) -> Tab:
        """The tab without clicks; accepted masks stay as they are."""
        self._session.drop_clicks(tab.prompt)
        return replace(tab, prompt=None)

    def _write(self, tab: Tab, decisions: Sequence[Decision]) -> tuple[Tab, str]:
        """Write decisions up to the first that has to wait; the line says which were refused for good."""
        refusals, sentences = [], []
        for decision in decisions:
            try:
                sentences.append(self._session.decide(decision.ids, decision.name, accept=decision.accept))
            except MaskwrightError as error:
                tab = replace(tab, pending=tab.pending.after(decision, error))
                if WriteFailure.of(error) is not WriteFailure.REFUSED:
                    return tab, status.unwritten(tab.pending)
                refusals.append(str(error))
                continue
            tab = replace(tab, pending=tab.pending.after(decision, None))
            if tab.prompt is not None and tab.prompt.previous in decision.ids:
                tab = self.drop_clicks(tab)
        if refusals:
            return tab, status.message(" ".join(refusals)) + status.unwritten(tab.pending)
        return tab, status.saved(" ".join(sentences), tab.pending)

    def _take_step(self, tab: Tab, act: str) -> tuple[Tab, str]:
        if tab.image_id is None:
            raise MaskwrightError(NO_IMAGE)
        step = self._session.undo if act == "undo" else self._session.redo
        try:
            sentence = step(tab.image_id)
        except OtherImage as error:
            return tab, status.other_image(error)
        except MaskwrightError as error:
            return tab, _failed(error, act)
        # a mask that the clicks correct may have changed
        return self.drop_clicks(tab), status.saved(sentence, tab.pending)


def _failed(error: MaskwrightError, act: str, key: int | None = None) -> str:
    """The status line for what can be tried again; raises `error` when it cannot."""
    if WriteFailure.of(error) is not WriteFailure.RETRY:
        raise error
    return status.failed(error, act, key)
