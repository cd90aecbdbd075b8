"""What one window shows of a project: the image with its masks, the list of images, the status line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import AnnotationSession, Changes, ClassEntry, MaskView, Pending, plural, visible
from napari_maskwright._view import AnnotatorView
from napari_maskwright._workers import Generation, Workers

__all__ = ["Screen", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a project contained at one moment."""

    change_number: int
    """Of the newest change that is surely in it."""
    counts: str
    classes: tuple[ClassEntry, ...]
    masks: tuple[MaskView, ...] | None = None
    """Masks of the image in view, duplicates too; None when they were not read."""
    images: tuple[tuple[str, int], ...] | None = None
    """(title, id) of the images; None when they were not read."""


class Screen:
    """State of one window, and when to read and draw it again; reads in threads."""

    def __init__(
        self, session: AnnotationSession, view: AnnotatorView, workers: Workers, open_first: Callable[[int], None]
    ) -> None:
        """Take what the window belongs to.

        Args:
            session: the project.
            view: draws.
            workers: threads to read in.
            open_first: called with the first image of the project while none is in view.
        """
        self._session, self._view, self._workers, self._open_first = session, view, workers, open_first
        self.image_id: int | None = None
        self.proposals: tuple[ProposalId, ...] = ()
        """Open proposals and the cleaning preview of this window on the image in view."""
        self.prompt: ClickPrompt | None = None
        """Clicks on the image in view."""
        self.pending = Pending()
        """Decisions that are not written yet, on any image."""
        self.visible: Sequence[MaskView] = ()
        """The masks on screen."""
        self.with_duplicates = False
        """Whether proposals that repeat an accepted mask are visible."""
        self._masks: tuple[MaskView, ...] = ()
        self._images: tuple[tuple[str, int], ...] | None = None
        self._classes: tuple[ClassEntry, ...] | None = None
        self._message = self._saved_at = self._counts = ""
        # change numbers: the newest known, and those of the masks and the counts on screen
        self._newest = self._masks_number = self._counts_number = 0
        self._reads = Generation()

    # the image

    def reader(self, image_id: int) -> Callable[[], Snapshot]:
        """A job that reads an image which is to be opened."""
        proposals = self.pending.ids(image_id)
        view = partial(self._session.view, image_id, proposals, pending=self.pending)
        images = not self._lists({image_id})
        return lambda: self.read(view, images=images)

    def read(self, view: Callable[[], Sequence[MaskView]] | None = None, *, images: bool) -> Snapshot:
        """Read the counts, the masks if there is a `view`, and the list of images on request; takes a while."""
        # the number first: a change made while the rest is read counts as new once more
        number = self._session.change_number()
        masks = None if view is None else tuple(view())
        titles = tuple(self._session.images.titles()) if images else None
        return Snapshot(number, self._session.counts(), tuple(self._session.classes.all()), masks, titles)

    def show_no_image(self, message: str = "") -> None:
        """Show that no image is in view, or one that the project does not have."""
        self.image_id, self.proposals, self.prompt, self._masks, self.visible = None, (), None, (), ()
        self._reads.begin()
        self._view.show_no_image()
        self._view.show_other_image("", None)
        self.show_message(message)

    def show_image(self, image_id: int, image: Image | None, snapshot: Snapshot) -> None:
        """Show another image, without clicks; None for one that the window shows already."""
        self.image_id, self._message = image_id, ""
        self.proposals, self.prompt, self._masks = self.pending.ids(image_id), None, ()
        self._view.show_image(image_id, image)
        self._view.show_clicks(None)
        self._view.show_other_image("", None)
        self.show(snapshot, self._reads.begin())
        self._view.show_images(self._images or (), image_id)
        read = {mask.proposal for mask in snapshot.masks or ()}
        if snapshot.change_number < self._newest or not read.issuperset(self.proposals):
            self.reload()

    def show_proposals(self, image_id: int, ids: Sequence[ProposalId], message: str) -> None:
        """Show the answer to a prompt on an image; one that is no longer in view shows it when it comes back."""
        if image_id != self.image_id:
            self.show_message(message)
            return
        self.proposals = tuple(ids)
        self.keep(self.pending.ids(self.image_id))
        self.reload(message)

    def redraw(self) -> None:
        """Draw the image's masks again as the project has them."""
        self.reload(redraw=True)

    def set_prompt(self, prompt: ClickPrompt | None) -> None:
        """Show the clicks; their answer is drawn with the next reload."""
        self.prompt = prompt
        self._view.show_clicks(prompt)

    def keep(self, ids: Sequence[ProposalId]) -> None:
        """Let proposals stay on screen whatever became of their prompt or decision."""
        self.proposals = tuple(dict.fromkeys((*self.proposals, *ids)))

    def set_pending(self, pending: Pending) -> None:
        """Mark what is not written; needs nothing from the project, which may not answer now."""
        if pending != self.pending:
            self.pending = pending
            self._view.show_unsaved(pending.message)
            self._draw()
            self._show_status()

    def show_duplicates(self, *, visible: bool) -> None:
        """Show proposals that repeat an accepted mask, or hide them."""
        self.with_duplicates = visible
        self._draw()

    # the project

    def change(self, changes: Changes) -> None:
        """Show what any window has changed; most of this window's own changes are on screen already."""
        self._newest = changes.number
        images = changes.others or not changes.complete or not self._lists(changes.images)
        newer = changes.number > self._masks_number
        here = newer and (not changes.complete or self.image_id in changes.images)
        if images or newer:
            # another colour or name of a category changes masks without touching them
            self.reload(masks=here or (newer and changes.others), images=images, redraw=here)

    def reload(
        self, message: str | None = None, *, masks: bool = True, images: bool = False, redraw: bool = True
    ) -> None:
        """Read the project again and show it.

        Args:
            message: for the status line; None keeps the one there is.
            masks: read the masks of the image in view.
            images: read the list of images.
            redraw: draw the masks even if they are the same as before.
        """
        if message is not None:
            self._message = message
        view, stale = None, lambda: False
        if masks and self.image_id is not None:
            view = partial(self._session.view, self.image_id, self.proposals, prompt=self.prompt, pending=self.pending)
            # of two reads of the masks the later one counts, even if it returns first
            stale = self._reads.begin()
        self._workers.run(
            lambda: self.read(view, images=images), lambda snapshot: self.show(snapshot, stale, redraw=redraw)
        )

    def show(self, snapshot: Snapshot, stale: Callable[[], bool] = lambda: False, *, redraw: bool = True) -> None:
        """Show what was read; the masks only if their read is not stale."""
        if snapshot.images is not None and snapshot.images != self._images:
            self._images = snapshot.images
            self._view.show_images(snapshot.images, self.image_id)
            if self.image_id is None and snapshot.images:
                self._open_first(snapshot.images[0][1])
        if snapshot.masks is not None and not stale():
            same = snapshot.masks == self._masks
            self._masks, self._masks_number = snapshot.masks, snapshot.change_number
            if redraw or not same:
                self._draw()
        if snapshot.change_number >= self._counts_number:
            self._counts, self._counts_number = snapshot.counts, snapshot.change_number
            if snapshot.classes != self._classes:
                self._classes = snapshot.classes
                self._view.show_classes(self._classes)
        self._show_status()

    def show_saved(self, message: str) -> None:
        """Say that something is on disk; called when the call that wrote it has returned."""
        self._saved_at = time.strftime("%H:%M:%S")
        self._view.show_other_image("", None)
        self.reload(message)
        self._show_status()

    def show_message(self, message: str) -> None:
        """Show a sentence in the status line until there is another one."""
        self._message = message
        self._show_status()

    def close(self) -> None:
        """Show nothing more of what is being read."""
        self._reads.begin()

    def _lists(self, images: Set[int]) -> bool:
        return images <= {image_id for _, image_id in self._images or ()}

    def _draw(self) -> None:
        if self.image_id is None:
            return
        unwritten = frozenset(self.pending.ids(self.image_id))
        self.visible = visible(self._masks, duplicates=self.with_duplicates, unwritten=unwritten)
        self._view.show_masks(self.visible, unwritten)
        self._view.show_duplicates(len(self._masks) - len(self.visible))

    def _show_status(self) -> None:
        waiting = self.pending.masks
        saved = f"{plural(waiting, 'mask')} not saved." if waiting else ""
        saved = saved or (f"Saved {self._saved_at}." if self._saved_at else "")
        state = " ".join(part for part in (saved, self._counts) if part)
        self._view.show_status("\n".join(part for part in (self._message, state) if part))
