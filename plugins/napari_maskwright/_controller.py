"""The actions of the dock widget, without Qt; slow steps run in threads, and stale results are dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from maskwright.domain.click_prompt import ClickPrompt, ClickStep
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import (
    NO_IMAGE,
    NO_OPEN_MASK,
    AnnotationSession,
    Conflict,
    Decision,
    MaskEdit,
    NothingToUndo,
    OtherImage,
    Pending,
    WriteFailure,
    cancellable,
    deletion_message,
    plural,
)
from napari_maskwright._images import Images
from napari_maskwright._managing import Managing
from napari_maskwright._prompting import Prompting
from napari_maskwright._screen import Screen, Snapshot
from napari_maskwright._view import AnnotatorView
from napari_maskwright._workers import Generation, GenerationProgress, Queue, Search, Watcher, Workers, error_message

__all__ = ["AnnotatorView", "Controller"]


class Controller:
    """Prompts, decisions and navigation of one window on one project."""

    def __init__(self, session: AnnotationSession, view: AnnotatorView) -> None:
        """Take a session, which is closed with the window, and begin to show its first image or the plane in view."""
        self.session, self._view = session, view
        self._saving: set[ProposalId] = set()
        self._prompts, self._histories = Generation(), Generation()
        self._workers = Workers(view)
        self._screen = Screen(session, view, self._workers, open_first=self._open_first)
        self.images = Images(session, view, self._workers, self._screen, self._prompts)
        self.prompts = Prompting(session, self._workers, self._screen, self.images, self._prompts)
        self.managing = Managing(session, view, self._workers, self._screen, self.images, self.prompts)
        self._search = Search(session, view, self._workers)
        self._watcher = Watcher(
            session,
            self._workers.closed,
            changed=lambda changes: self._workers.call_soon(lambda: self._screen.change(changes)),
            finetuning=lambda status: self._workers.call_soon(lambda: view.show_finetuning(status)),
        )

        def opened(snapshot: Snapshot) -> None:
            self._screen.show(snapshot)
            self._watcher.start(snapshot.change_number)

        def failed(_: Exception) -> bool:
            # the project may become readable later
            self._watcher.start(0)
            return False

        self._workers.run(lambda: self._screen.read(images=True), opened, "Opening the project", failed=failed)

    def _open_first(self, image_id: int) -> None:
        self.images.open_first(image_id)

    @property
    def image_id(self) -> int | None:
        """The image in view."""
        return self._screen.image_id

    @property
    def unsaved(self) -> str:
        """What is not written yet, in a sentence; empty when everything is."""
        return self._pending.message

    @property
    def prompt(self) -> ClickPrompt | None:
        """The clicks on the image in view."""
        return self._screen.prompt

    # search

    def find(self, phrase: str) -> None:
        """Rank the project's images for a phrase; replaces a running search, and leaves prompts alone."""
        self._search.start(phrase)

    def find_next(self) -> None:
        """Rank the images to label next, as `find`."""
        self._search.start(None)

    def stop_search(self) -> None:
        """Stop the running search."""
        self._search.stop()

    # prompts

    def click(self, x: float, y: float, label: int, *, radius: float = 0.0) -> None:
        """Add a positive (1) or negative (0) point, in pixels, or remove the one that lies within `radius` pixels."""

        def run(image_id: int) -> None:
            if image_id != self.image_id:
                return
            prompt = self.prompt or ClickPrompt(image_id)
            step = prompt.toggle_point(x, y, label, radius=radius)
            if step is None:
                self.clear_clicks()
            else:
                self._run_step(prompt, step)

        self.images.with_image(run)

    def box(self, box: tuple[float, float, float, float]) -> None:
        """Set the box around the object: left, top, right, bottom in pixels."""

        def run(image_id: int) -> None:
            if image_id == self.image_id:
                prompt = self.prompt or ClickPrompt(image_id)
                self._run_step(prompt, prompt.with_box(box))

        self.images.with_image(run)

    def correct(self, annotation: int) -> None:
        """Let the next clicks correct an accepted mask."""
        if self.image_id is not None:
            self._change_prompt(
                ClickPrompt(self.image_id, annotation),
                "Click on what is missing; add negative points (Alt+click) where the mask is too large.",
            )

    def clear_clicks(self) -> None:
        """Discard the clicks; accepted masks stay as they are."""
        if self.prompt is not None:
            if self._saving.isdisjoint(self.prompt.candidates):
                self.session.drop_clicks(self.prompt)
            self._change_prompt(None)

    def next_candidate(self) -> None:
        """Display the next candidate mask of the clicks."""
        if self.prompt is not None and self.prompt.last.candidates:
            self._change_prompt(self.prompt.select(self.prompt.last.selected + 1))

    def suggest(self, show: Callable[[list[tuple[str, float]]], None]) -> None:
        """Compare the clicked mask with the project's categories; `show` takes (name, probability), the best first."""
        if self.prompt is None or self.prompt.proposal is None:
            self._view.show_error("Click on an object first.")
            return
        proposal = self.prompt.proposal
        self._workers.run(
            lambda: self.session.suggest_names(proposal), show, "Comparing with the names", queue=Queue.MODEL
        )

    def show_duplicates(self, *, visible: bool) -> None:
        """Show proposals that repeat an accepted mask, which can then be decided on like the others, or hide them."""
        self._screen.show_duplicates(visible=visible)

    def _change_prompt(self, prompt: ClickPrompt | None, message: str = "") -> None:
        self._prompts.begin()
        self._replace_prompt(prompt)
        self._screen.reload(message)

    def _replace_prompt(self, prompt: ClickPrompt | None) -> None:
        """Replace the clicks; a decision on their mask that waits because of a conflict is withdrawn."""
        if self.prompt is not None:
            self._screen.set_pending(self._pending.without(self.prompt.candidates))
        self._screen.set_prompt(prompt)

    def _run_step(self, prompt: ClickPrompt, step: ClickStep) -> None:
        """Predict the masks of the next step; its point is drawn at once, and a further click may come first."""
        stale = self._prompts.begin()
        self._replace_prompt(prompt.with_step(step))

        def predict() -> tuple[ClickPrompt, str]:
            with cancellable(GenerationProgress(stale)):
                return self.session.propose_click_step(prompt, step)

        def show(result: tuple[ClickPrompt, str]) -> None:
            answer, notice = result
            self._screen.set_prompt(answer)
            self._screen.reload(notice)

        self._workers.run(predict, show, "Finding the mask", queue=Queue.MODEL, stale=stale)

    # decisions

    @property
    def _pending(self) -> Pending:
        return self._screen.pending

    def decide(self, ids: Sequence[ProposalId] = (), name: str = "", *, accept: bool) -> None:
        """Accept or reject proposals.

        Args:
            ids: which; by default all that are visible.
            name: category of the mask that was clicked; the others keep their own.
            accept: or reject.
        """
        prompt = self.prompt
        clicked = prompt.proposal if prompt is not None else None
        candidates = prompt.candidates if prompt is not None else ()
        # answers to earlier clicks may still be on the screen for a moment; all other proposals are stored or waiting
        others = [
            key
            for mask in self._screen.visible
            if (key := mask.proposal) is not None
            and key not in candidates
            and (key.annotation_id is not None or key in self._screen.proposals)
        ]
        decided = [key for key in [clicked, *others] if key and (not ids or key in ids)]
        if not decided:
            self._view.show_error(NO_OPEN_MASK)
            return
        decided = [key for key in decided if key not in self._saving]
        if decided:
            ours = prompt if clicked in decided else None
            for attempt in self._pending.attempts(Decision(accept, self.image_id, tuple(decided), name, ours)):
                self._write(attempt)

    def edit(self, edits: Sequence[MaskEdit], category: str, failed: Callable[[], None]) -> bool:
        """Store strokes of a brush on the image in view.

        Args:
            edits: what the strokes changed.
            category: of new masks.
            failed: called when they could not be stored.

        Returns:
            False when there is no image to store them for.
        """
        image_id = self.image_id
        if image_id is None:
            return False

        def refused(error: Exception) -> bool:
            if isinstance(error, Conflict):
                # the other version replaces the strokes on the screen
                self._screen.redraw()
            failed()
            return False

        self._workers.run(
            lambda: self.session.masks.edit(image_id, edits, category),
            self._screen.show_saved,
            "Saving",
            queue=Queue.SAVING,
            failed=refused,
        )
        return True

    def retry(self) -> None:
        """Try again to write what could not be written."""
        for decision in self._pending.decisions:
            self._write(decision)

    def delete(self, annotations: Sequence[int]) -> None:
        """Delete accepted masks, in one step that can be undone."""
        if not annotations:
            self._view.show_error("Select an accepted mask first.")
            return

        def deleted(_: object) -> None:
            if self.prompt is not None and self.prompt.corrects in annotations:
                self._screen.set_prompt(None)
            self._screen.show_saved(deletion_message(len(annotations)))

        self._workers.run(lambda: self.session.delete(annotations), deleted, "Deleting", queue=Queue.SAVING)

    def undo(self) -> None:
        """Undo the last click of an open prompt, else decisions that could not be written, else the last step."""
        waiting = self._pending.ids(self.image_id)
        if self.prompt is not None and self.prompt.steps and self.prompt.proposal not in self._saving:
            self._change_prompt(self.session.undo_click(self.prompt))
        elif waiting:
            self._screen.keep(waiting)
            self._screen.set_pending(self._pending.without(waiting))
            self._screen.show_message(f"Undone: decision on {plural(len(waiting), 'mask')}, which was not saved.")
        else:
            self._change_history(self.session.undo, "Undoing")

    def redo(self) -> None:
        """Redo what was undone last."""
        self._change_history(self.session.redo, "Redoing")

    def history(self, annotation: int | None) -> None:
        """Show the history of an accepted mask; of None, nothing."""
        stale = self._histories.begin()
        if annotation is None:
            self._view.show_history(())
        else:
            self._workers.run(lambda: self.session.history(annotation), self._view.show_history, stale=stale)

    def _write(self, decision: Decision) -> None:
        if not self._saving.isdisjoint(decision.ids):
            return
        self._saving.update(decision.ids)

        def write() -> tuple[str, bool]:
            sentence = self.session.decide(decision.ids, decision.name, accept=decision.accept)
            self.session.drop_clicks(decision.prompt)
            return sentence, bool(self.session.open_proposals(self._screen.proposals, decision.image_id))

        def written(result: tuple[str, bool]) -> None:
            sentence, more = result
            self._end_clicks(decision)
            self._screen.set_pending(self._pending.after(decision, None))
            if not more:
                # with nothing left to decide, the cleaning preview is of no use either
                self._screen.proposals = ()
            self._screen.show_saved(sentence)

        self._workers.run(
            write,
            written,
            "Saving",
            queue=Queue.SAVING,
            finished=lambda: self._saving.difference_update(decision.ids),
            failed=lambda error: self._not_written(decision, error),
        )

    def _not_written(self, decision: Decision, error: Exception) -> bool:
        """Keep the masks of a failed decision on screen."""
        if WriteFailure.of(error) is WriteFailure.RETRY:
            # they wait under their name, and the next click begins a new mask
            self._end_clicks(decision)
        clicking = self.prompt is not None and self.prompt is decision.prompt
        if not clicking and decision.image_id == self.image_id:
            self._screen.keep(decision.ids)
        self._screen.set_pending(self._pending.after(decision, error, error_message(error)))
        self._screen.reload("")
        return False

    def _end_clicks(self, decision: Decision) -> None:
        if decision.prompt is not None and self.prompt is decision.prompt:
            self._screen.set_prompt(None)

    def _change_history(self, change: Callable[[int | None], str], activity: str) -> None:
        if self.image_id is None:
            self._view.show_error(NO_IMAGE)
            return
        if self.prompt is not None and not self.prompt.steps:
            # the mask to correct may not exist afterwards
            self._screen.set_prompt(None)
        image_id = self.image_id
        self._workers.run(
            lambda: change(image_id),
            self._screen.show_saved,
            activity,
            queue=Queue.SAVING,
            failed=self._cannot_change_history,
        )

    def _cannot_change_history(self, error: Exception) -> bool:
        if isinstance(error, OtherImage):
            self._view.show_other_image(str(error), error.image_id)
            return True
        if isinstance(error, NothingToUndo):
            self._screen.show_message(str(error))
            return True
        return False

    # the project

    def export(self, file: Path) -> None:
        """Write the accepted masks as COCO."""
        self._workers.run(
            lambda: self.session.export_coco(file),
            lambda path: self._screen.show_message(f"Wrote {path}"),
            "Exporting",
            queue=Queue.MODEL,
        )

    def close(self) -> None:
        """Stop everything that belongs to this window; a fine-tuning run is a process of its own and continues."""
        for generation in (self._prompts, self._histories):
            generation.begin()
        self._search.close()
        self.images.close()
        self._screen.close()
        self._workers.close()

        def close_session() -> None:
            self._watcher.wait()
            self._workers.wait()
            self.session.close()

        threading.Thread(target=close_session, name="maskwright-close").start()
