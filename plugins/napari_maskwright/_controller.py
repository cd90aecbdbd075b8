"""What the dock widget does, without Qt.

Every slow step runs in a thread; answers that come too late are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.domain import Image, TextPrompt
from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.errors import Conflict, NothingToUndo, OtherImage
from maskwright.session import AnnotationSession, Improvement, Proposals
from napari_maskwright._background import Background, Generation, GenerationProgress, Queue, sentence
from napari_maskwright._decisions import Decision, Unsaved, counted, not_written
from napari_maskwright._looking import OpenProposals, Snapshot, read_snapshot
from napari_maskwright._screen import Screen
from napari_maskwright._searching import Searches
from napari_maskwright._view import AnnotatorView
from napari_maskwright._watch import Watcher

__all__ = ["AnnotatorView", "Controller"]

_NO_IMAGE = "Open or select an image first."


class Controller:
    """One image of a project in one window."""

    def __init__(self, session: AnnotationSession, view: AnnotatorView) -> None:
        self.session, self._view = session, view
        self.prompt: ClickPrompt | None = None
        """What was clicked on the image."""
        self._unsaved, self._saving = Unsaved(), set[str]()
        self._prompts, self._histories = Generation(), Generation()
        self._background = Background(view)
        self._screen = Screen(session, view, self._background, self._unsaved, first=self.open_image)
        self._searches = Searches(session, view, self._background)
        self._watcher = Watcher(
            session, self._background.closed,
            changed=lambda changes: self._background.call_soon(lambda: self._screen.change(changes)),
            improved=lambda told: self._background.call_soon(lambda: view.show_improvement(told)),
        )  # fmt: skip

        def opened(first: Snapshot) -> None:
            self._screen.show_look(first)
            self._watcher.begin(first.number)

        def failed(_: Exception) -> bool:
            # whatever kept it from being read may pass
            self._watcher.begin(0)
            return False

        self._background.work(
            lambda: read_snapshot(session, None, OpenProposals(), masks=False, images=True), opened,
            "Opening the project", failed=failed,
        )  # fmt: skip

    @property
    def image_id(self) -> int | None:
        """The image in view."""
        return self._screen.image_id

    # images

    def open_image(self, image_id: int) -> None:
        """Show another image; its proposals are made anew, its accepted masks are in the project."""
        self._background.work(
            lambda: (self.session.image(image_id), self._screen.look_at(image_id)),
            lambda loaded: self._show_image(image_id, *loaded), "Opening the image", stale=self._prompts.begin(),
        )  # fmt: skip

    def step(self, by: int) -> None:
        """The next image (1) or the one before (-1); stays at the ends."""
        current = self.image_id

        def neighbour() -> int | None:
            ids = [image_id for _, image_id in self.session.choices()]
            place = ids.index(current) + by if current in ids else 0
            return ids[place] if 0 <= place < len(ids) else None

        self._background.work(neighbour, lambda found: self.open_image(found) if found is not None else None)

    def take(self, make: Callable[[], Image], then: Callable[[int], None]) -> None:
        """Add the image that `make` gives, which may be slow, and show it; `then` is told its id first."""

        def added(image_id: int) -> None:
            then(image_id)
            self.open_image(image_id)

        self._background.work(
            lambda: self.session.project.images.register(make()).id, added, "Adding the image", lane=Queue.MODEL
        )

    def find(self, phrase: str) -> None:
        """Rank the project's images for a phrase; a search that is still running is given up, a prompt is not."""
        self._searches.find(phrase)

    def stop_search(self) -> None:
        """Give up the running search."""
        self._searches.stop()

    # prompts

    def propose(
        self,
        words: str,
        *,
        background: bool,
        threshold: float,
        method: str | None = None,
        cleaning: bool | None = None,
        refine: str | None = None,
    ) -> None:
        """Masks for words, see `AnnotationSession.propose_text`; a prompt that is still running is given up."""
        if self.image_id is None:
            self._view.show_error(_NO_IMAGE)
            return
        image_id, stale = self.image_id, self._prompts.begin()

        def propose() -> Proposals:
            prompt = TextPrompt.parse(
                words, method=method, background=background, threshold=threshold if background else None,
                refine=refine, cleaning=cleaning if background else None,
            )  # fmt: skip
            return self.session.propose_text(image_id, prompt, progress=GenerationProgress(stale))

        self._background.work(propose, self._show_proposals, "Finding masks", lane=Queue.MODEL, stale=stale)

    def click(self, x: float, y: float, sign: int, *, near: float = 0.0) -> None:
        """A point on the thing (1) or beside it (0), in pixels; one that lies within `near` pixels is taken away."""
        prompt = self._begun()
        if prompt is not None:
            step = prompt.toggle_point(x, y, sign, radius=near)
            if step is None:
                self.clear_clicks()
            else:
                self._ask(prompt, step)

    def box(self, box: tuple[float, float, float, float]) -> None:
        """A box around the thing: left, top, right, bottom in pixels."""
        prompt = self._begun()
        if prompt is not None:
            self._ask(prompt, prompt.with_box(box))

    def correct(self, annotation: int) -> None:
        """Let the next clicks correct an accepted mask."""
        if self.image_id is not None:
            self._turn(ClickPrompt(self.image_id, annotation), "Click on what is missing, or beside what is too much.")

    def clear_clicks(self) -> None:
        """Give the clicks up; accepted masks stay as they are."""
        if self.prompt is not None:
            self.session.drop(self.prompt.candidates)
            self._turn(None)

    def other_answer(self) -> None:
        """Show the next of the masks that the click may mean."""
        if self.prompt is not None and self.prompt.last.candidates:
            self._turn(self.prompt.select(self.prompt.last.selected + 1))

    def suggest(self, show: Callable[[list[tuple[str, float]]], None]) -> None:
        """What the clicked mask may be, of the project's categories; `show` is told the names, the best first."""
        if self.prompt is None or self.prompt.proposal is None:
            self._view.show_error("Click on a thing first.")
            return
        proposal = self.prompt.proposal
        self._background.work(lambda: self.session.suggest(proposal), show, "Comparing with words", lane=Queue.MODEL)

    def cancel(self) -> None:
        """Give up the running prompt."""
        self._prompts.begin()

    def show_duplicates(self, wanted: bool) -> None:
        """Show proposals that repeat an accepted mask, which can then be decided on like the others, or hide them."""
        self._screen.show_duplicates(wanted)

    def _begun(self) -> ClickPrompt | None:
        if self.image_id is None:
            self._view.show_error(_NO_IMAGE)
            return None
        return self.prompt or ClickPrompt(self.image_id)

    def _turn(self, prompt: ClickPrompt | None, message: str = "") -> None:
        self._prompts.begin()
        self._set_prompt(prompt)
        self._screen.reload(message)

    def _set_prompt(self, prompt: ClickPrompt | None) -> None:
        self.prompt = prompt
        self._screen.answer = replace(self._screen.answer, prompt=prompt, disputed=False)
        self._view.show_clicks(prompt)

    def _ask(self, prompt: ClickPrompt, step: ClickStep) -> None:
        """Answer the next step; its point is there at once, and a further click builds on it before the answer is."""
        stale = self._prompts.begin()
        self._set_prompt(prompt.with_step(step))

        def show(told: tuple[ClickPrompt, str]) -> None:
            answered, notice = told
            self._set_prompt(answered)
            self._screen.reload(notice)

        self._background.work(
            lambda: self.session.ask(prompt, step), show, "Finding the mask", lane=Queue.MODEL, stale=stale
        )

    # decisions

    def decide(self, accept: bool, ids: Sequence[str] = (), name: str = "") -> None:
        """Accept or reject proposals, by default all that are shown; a clicked one is kept under `name`."""
        prompt = self.prompt
        clicked = prompt.proposal if prompt is not None else None
        answers = prompt.candidates if prompt is not None else ()
        shown = [row.proposal for row in self._screen.shown if row.proposal and row.proposal not in answers]
        wanted = [key for key in [clicked, *shown] if key and (not ids or key in ids)]
        if not wanted:
            self._view.show_error("There is no open mask. Type class names and press Find masks first, or click.")
            return
        for earlier in self._unsaved.among(wanted):
            if accept and earlier.keep:
                # under the name that was given then
                self._save(earlier)
            name = name or earlier.name
        wanted = [key for key in wanted if key not in self._saving]
        if wanted:
            ours = prompt if clicked in wanted else None
            self._save(Decision(self.image_id, tuple(wanted), name, accept, ours))

    def retry(self) -> None:
        """Try again to save what could not be saved."""
        for decision in self._unsaved.all():
            self._save(decision)

    def delete(self, annotations: Sequence[int]) -> None:
        """Delete accepted masks, in one step that can be undone."""
        if not annotations:
            self._view.show_error("Choose an accepted mask first.")
            return

        def deleted(_: object) -> None:
            if self.prompt is not None and self.prompt.corrects in annotations:
                self._set_prompt(None)
            self._screen.written(f"Deleted {counted(len(annotations))}.")

        self._background.work(lambda: self.session.delete(annotations), deleted, "Deleting", lane=Queue.SAVING)

    def undo(self) -> None:
        """Take back the last click of an open prompt, else what could not be saved, else the last step."""
        waiting = self._unsaved.ids(self.image_id)
        if self.prompt is not None and self.prompt.steps:
            self._turn(self.prompt.undo())
        elif waiting:
            self._unsaved.drop(waiting)
            self._screen.show_unsaved(f"Taken back: {counted(len(waiting))} not saved.")
        else:
            self._retrace(self.session.undo, "Undoing")

    def redo(self) -> None:
        """Do again what was undone last."""
        self._retrace(self.session.redo, "Doing again")

    def history(self, annotation: int | None) -> None:
        """Tell what happened to an accepted mask; to none, nothing."""
        stale = self._histories.begin()
        if annotation is None:
            self._view.show_history(())
        else:
            self._background.work(lambda: self.session.history(annotation), self._view.show_history, stale=stale)

    def _save(self, decision: Decision) -> None:
        if not self._saving.isdisjoint(decision.ids):
            return
        self._saving.update(decision.ids)

        def save() -> None:
            self.session.decide(decision.ids, decision.name, keep=decision.keep)
            if decision.prompt is not None:
                self.session.drop(decision.prompt.candidates)

        def saved(_: None) -> None:
            self._unsaved.drop(decision.ids)
            self._end_clicks(decision)
            if not self.session.open_proposals(self._screen.answer.ids):
                # with nothing left to decide, what cleaning took away is of no interest either
                self._screen.answer = OpenProposals(prompt=self.prompt)
            self._screen.written(decision.words)

        self._background.work(
            save, saved, "Saving", lane=Queue.SAVING, ended=lambda: self._saving.difference_update(decision.ids),
            failed=lambda error: self._not_saved(decision, error),
        )  # fmt: skip

    def _not_saved(self, decision: Decision, error: Exception) -> bool:
        """Keep what could not be written on screen; a decision that was refused is open again."""
        if not_written(error):
            self._unsaved.add(decision, sentence(error))
            self._end_clicks(decision)
            if decision.image_id == self.image_id:
                self._screen.keep(decision.ids)
        else:
            self._unsaved.drop(decision.ids)
            # whoever accepts a second time has seen both masks
            self._screen.answer = replace(self._screen.answer, disputed=isinstance(error, Conflict))
        self._screen.show_unsaved()
        self._screen.reload()
        return False

    def _end_clicks(self, decision: Decision) -> None:
        if decision.prompt is not None and self.prompt is decision.prompt:
            self._set_prompt(None)

    def _retrace(self, go: Callable[[int | None], str], busy: str) -> None:
        if self.image_id is None:
            self._view.show_error(_NO_IMAGE)
            return
        if self.prompt is not None and not self.prompt.steps:
            # the mask that was to be corrected may be gone afterwards
            self._set_prompt(None)
        image_id = self.image_id
        self._background.work(
            lambda: go(image_id), self._screen.written, busy, lane=Queue.SAVING, failed=self._cannot_retrace
        )

    def _cannot_retrace(self, error: Exception) -> bool:
        if isinstance(error, OtherImage):
            self._view.show_elsewhere(str(error), error.image_id)
        elif isinstance(error, NothingToUndo):
            self._screen.say(str(error))
        else:
            return False
        return True

    # the project

    def act(self, action: str) -> None:
        """Start, cancel, resume a run, or change the model; see `AnnotationSession.improvement`."""

        def acted() -> Improvement:
            self.session.act(action)
            return self.session.improvement()

        self._background.work(acted, self._view.show_improvement, "Starting", lane=Queue.MODEL)

    def export(self, file: Path) -> None:
        """Write the accepted masks as COCO."""
        self._background.work(
            lambda: self.session.project.export_coco(file), lambda done: self._screen.say(f"Wrote {done}"),
            "Exporting", lane=Queue.MODEL,
        )  # fmt: skip

    def close(self) -> None:
        """Stop everything that belongs to this window; a fine-tuning run is a process of its own and goes on."""
        for latest in (self._prompts, self._histories):
            latest.begin()
        self._searches.close()
        self._screen.close()
        self._background.close()

        def last_one_out() -> None:
            self._watcher.wait()
            self._background.wait()
            self.session.project.close()

        threading.Thread(target=last_one_out, name="maskwright-close").start()

    # what comes back

    def _show_image(self, image_id: int, image: Image, seen: Snapshot) -> None:
        self._screen.show_image(image_id, image, seen)
        self._set_prompt(None)

    def _show_proposals(self, found: Proposals) -> None:
        self._screen.answer = replace(self._screen.answer, ids=(*found.ids, *found.hidden_ids))
        self._screen.keep(tuple(self._unsaved.ids(found.image_id)))
        # while duplicates are shown, the notice shall not say that they are hidden
        self._screen.reload(found.told if self._screen.with_duplicates else found.notice)
