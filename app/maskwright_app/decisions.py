"""What a person decides on masks, and what the page says of it: saved, waiting because it was not, or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.errors import BadPrompt, Conflict, MaskwrightError, OtherImage, ProjectUnwritable
from maskwright.session import AnnotationSession, MaskView
from maskwright_app.mask_list import Unfolded
from maskwright_app.status import elsewhere, said, saved, unsaved

__all__ = ["Decision", "Decisions", "Outcome", "Panel"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Proposals of one image to accept or to reject."""

    keep: bool
    image_id: int | None
    ids: tuple[str, ...]
    name: str = ""
    """Of what was clicked."""
    conflict: bool = False
    """Somebody else changed a mask that this corrects; both are shown, and to repeat it replaces that one."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What the list of masks of one tab has open."""

    duplicates: bool = False
    """Whether proposals that repeat an accepted mask are shown."""
    chosen: int | None = None
    """The accepted mask whose history is unfolded."""
    waiting: tuple[Decision, ...] = ()
    """Decisions that could not be written; their masks stay on screen, marked."""

    def unsaved(self, image_id: int | None) -> list[str]:
        """Ids of an image's proposals that wait to be written."""
        return [key for one in self.waiting if one.image_id == image_id for key in one.ids]

    def unfolded(self, image_id: int | None, history: Mapping[int, Sequence[str]] | None = None) -> Unfolded:
        """What the list shows of an image beside its masks."""
        return Unfolded(self.duplicates, self.unsaved(image_id), history or {})

    def disputed(self, proposal: str | None) -> bool:
        """Whether a proposal corrects a mask that somebody else has changed meanwhile."""
        return any(one.conflict and proposal in one.ids for one in self.waiting)

    def settled(self, ids: Sequence[str]) -> Panel:
        """The panel when these proposals wait no longer."""
        left = (replace(one, ids=tuple(key for key in one.ids if key not in ids)) for one in self.waiting)
        return replace(self, waiting=tuple(one for one in left if one.ids))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is open after something was decided, or could not be, and the line that says so."""

    status: str
    """HTML"""
    prompt: ClickPrompt | None = None
    panel: Panel = field(default_factory=Panel)


class Decisions:
    """Accept, reject, delete, undo and redo for the page; nothing is called saved before it is on disk."""

    session: AnnotationSession

    def rows(
        self, image_id: int, proposals: Sequence[str], prompt: ClickPrompt | None, panel: Panel
    ) -> tuple[list[MaskView], ClickPrompt | None]:
        """All masks of an image, duplicates too; and the prompt, when it is on this image."""
        prompt = prompt if prompt and prompt.image_id == image_id else None
        answer = [prompt.proposal] if prompt and prompt.proposal else []
        wanted = dict.fromkeys([*proposals, *answer, *panel.unsaved(image_id)])
        rows = self.session.shown(image_id, list(wanted), with_duplicates=True)
        if prompt and answer and not panel.disputed(prompt.proposal):
            # the correction stands where the mask was
            rows = [row for row in rows if row.annotation is None or row.annotation != prompt.corrects]
        return rows, prompt

    def decide_all(
        self,
        image_id: int | None,
        proposals: Sequence[str],
        prompt: ClickPrompt | None,
        name: str,
        panel: Panel = Panel(),
        *,
        keep: bool,
    ) -> Outcome:
        """Accept or reject all proposals of an image that are shown, the answer to the clicks too, in one step."""
        rows = [] if image_id is None else self.rows(image_id, proposals, prompt, panel)[0]
        unfolded = panel.unfolded(image_id)
        ids = tuple(row.proposal for row in rows if row.proposal and unfolded.shows(row))
        if not ids:
            raise MaskwrightError("There is no open mask. Type class names and press Find masks first, or click.")
        return self.decide(Decision(keep, image_id, ids, name), prompt, panel)

    def decide(self, decision: Decision, prompt: ClickPrompt | None, panel: Panel) -> Outcome:
        """Accept or reject proposals; where that cannot be written they wait, and stay on screen."""
        panel = panel.settled(decision.ids)
        try:
            self.session.decide(decision.ids, decision.name, keep=decision.keep)
        except (ProjectUnwritable, Conflict) as error:
            decision = replace(decision, conflict=isinstance(error, Conflict))
            panel = replace(panel, waiting=(*panel.waiting, decision))
            return Outcome(unsaved(str(error), len(decision.ids), conflict=decision.conflict), prompt, panel)
        if prompt is not None and prompt.proposal in decision.ids:
            self.clear(prompt)
            prompt = None
        return Outcome(saved(waiting=_number(panel)), prompt, panel)

    def decide_again(self, prompt: ClickPrompt | None, panel: Panel) -> Outcome:
        """Write what waits, in order, up to the first that still cannot be written."""
        outcome = Outcome("", prompt, panel)
        for decision in panel.waiting:
            try:
                outcome = self.decide(decision, outcome.prompt, outcome.panel)
            except MaskwrightError as error:
                # it can never be written, for example because somebody else has decided on it
                outcome = Outcome(said(str(error)), outcome.prompt, outcome.panel.settled(decision.ids))
            if any(set(one.ids) & set(decision.ids) for one in outcome.panel.waiting):
                break
        return outcome

    def delete_mask(self, annotation: int, prompt: ClickPrompt | None, panel: Panel) -> Outcome:
        """Delete an accepted mask."""
        try:
            self.session.delete([annotation])
        except ProjectUnwritable as error:
            return Outcome(unsaved(str(error), again=("delete", annotation)), prompt, panel)
        if prompt is not None and prompt.corrects == annotation:
            self.clear(prompt)
            prompt = None
        return Outcome(saved("Deleted; Undo brings it back.", _number(panel)), prompt, panel)

    def retrace(self, way: str, image_id: int | None, prompt: ClickPrompt | None, panel: Panel) -> Outcome:
        """Undo or redo (`way`) the last step on the image in view; while clicks are open, undo takes back those."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        if way == "undo" and prompt is not None and prompt.image_id == image_id and prompt.steps:
            return Outcome(said("The last click is taken back."), self.undo_click(prompt), panel)
        step: Callable[[int], str] = self.session.undo if way == "undo" else self.session.redo
        try:
            sentence = step(image_id)
        except OtherImage as error:
            return Outcome(elsewhere(str(error), error.image_id), prompt, panel)
        except ProjectUnwritable as error:
            return Outcome(unsaved(str(error), again=(way, None)), prompt, panel)
        # a mask that was about to be corrected may be another one now
        self.clear(prompt)
        return Outcome(saved(sentence, _number(panel)), None, panel)

    def undo_click(self, prompt: ClickPrompt | None) -> ClickPrompt | None:
        """The prompt without its last step."""
        if prompt is None or not prompt.steps:
            raise BadPrompt("There is no click to undo.")
        self.session.drop(sorted(set(prompt.last.candidates) - set(prompt.undo().candidates)))
        return prompt.undo()

    def clear(self, prompt: ClickPrompt | None) -> None:
        """Forget a prompt and its answers; accepted masks stay as they are."""
        if prompt is not None:
            self.session.drop(prompt.candidates)


def _number(panel: Panel) -> int:
    return sum(len(one.ids) for one in panel.waiting)
