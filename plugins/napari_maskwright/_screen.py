"""What one window shows of a project, and how new that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from maskwright.domain import Image
from maskwright.session import AnnotationSession, MaskView
from napari_maskwright._background import Background, Generation
from napari_maskwright._decisions import Unsaved, counted
from napari_maskwright._looking import OpenProposals, Snapshot, read_snapshot
from napari_maskwright._view import AnnotatorView

if TYPE_CHECKING:
    from collections.abc import Set

    from maskwright.store import Changes

__all__ = ["Screen"]


class Screen:
    """The image in view with its masks, the list of images, and the status line; reads in threads."""

    def __init__(
        self,
        session: AnnotationSession,
        view: AnnotatorView,
        background: Background,
        unsaved: Unsaved,
        first: Callable[[int], None],
    ) -> None:
        """`first` is told the first image of the project as soon as there is one and none is in view."""
        self._session, self._view, self._background = session, view, background
        self._unsaved, self._first = unsaved, first
        self.image_id: int | None = None
        self.answer = OpenProposals()
        """Which open proposals belong on screen."""
        self.shown: list[MaskView] = []
        """The masks on screen."""
        self._rows: tuple[MaskView, ...] = ()
        self._repeats: frozenset[str] = frozenset()
        self._with_duplicates = False
        self._choices: tuple[tuple[str, int], ...] = ()
        self._message = self._saved = self._counts = ""
        # change numbers: the newest there is, and those that the masks and the counts on screen are as new as
        self._newest = self._drawn = self._counted = 0
        self._looks = Generation()

    # the image

    def look_at(self, image_id: int) -> Snapshot:
        """Read an image that shall be shown; takes a while."""
        answer, new = OpenProposals(tuple(self._unsaved.ids(image_id))), not self._knows({image_id})
        return read_snapshot(self._session, image_id, answer, masks=True, images=new)

    def show_image(self, image_id: int, image: Image, seen: Snapshot) -> None:
        """Show another image; there are no clicks on it yet."""
        self.image_id, self._message = image_id, ""
        self.answer, self._rows = OpenProposals(tuple(self._unsaved.ids(image_id))), ()
        self._view.show_image(image_id, image)
        self._view.show_elsewhere("", None)
        self.show_look(seen, self._looks.begin())
        self._view.show_images(self._choices, image_id)
        if seen.number < self._newest:
            self.reload()

    def show_duplicates(self, wanted: bool) -> None:
        """Show proposals that repeat an accepted mask, or hide them."""
        self._with_duplicates = wanted
        self.draw()

    @property
    def with_duplicates(self) -> bool:
        """Whether proposals that repeat an accepted mask are shown."""
        return self._with_duplicates

    # the project

    def change(self, changes: Changes) -> None:
        """Show what any window has changed; of our own changes most is on screen already."""
        self._newest = changes.number
        images = changes.others or not changes.complete or not self._knows(changes.images)
        news = changes.number > self._drawn
        here = news and (not changes.complete or self.image_id in changes.images)
        if images or news:
            # another colour or name of a category changes masks without touching them
            self.reload(masks=here or (news and changes.others), images=images, quiet=not here)

    def reload(
        self, message: str | None = None, *, masks: bool = True, images: bool = False, quiet: bool = False
    ) -> None:
        """Read again what is shown, and draw it, when it is `quiet` only where it changed; None keeps the message."""
        if message is not None:
            self._message = message
        image_id, answer = self.image_id, self.answer
        # of two reads of the masks the later one is right, also when it comes back first
        stale = self._looks.begin() if masks else lambda: False
        self._background.work(
            lambda: read_snapshot(self._session, image_id, answer, masks=masks, images=images),
            lambda seen: self.show_look(seen, stale, quiet=quiet),
        )

    def show_look(self, seen: Snapshot, stale: Callable[[], bool] = lambda: False, *, quiet: bool = False) -> None:
        """Show what was read; its masks only when they are not `stale`."""
        if seen.choices is not None and seen.choices != self._choices:
            self._choices = seen.choices
            self._view.show_images(seen.choices, self.image_id)
            if self.image_id is None and seen.choices:
                self._first(seen.choices[0][1])
        if seen.rows is not None and not stale():
            same = (seen.rows, seen.repeats) == (self._rows, self._repeats)
            self._rows, self._repeats, self._drawn = seen.rows, seen.repeats, seen.number
            if not (quiet and same):
                self.draw()
        if seen.number >= self._counted:
            self._counts, self._counted = seen.counts, seen.number
        self._show_status()

    def written(self, message: str) -> None:
        """Say that something is on disk; called when the call that wrote it has returned."""
        self._saved = time.strftime("%H:%M:%S")
        self._view.show_unsaved(self._unsaved.sentence)
        self._view.show_elsewhere("", None)
        self.say(message)
        self.reload()

    def show_unsaved(self, message: str = "") -> None:
        """Mark what is not saved; needs no answer from the project, which may give none now."""
        self._view.show_unsaved(self._unsaved.sentence)
        self.draw()
        self.say(message)

    def say(self, message: str) -> None:
        """Show a sentence in the status, until there is another one."""
        self._message = message
        self._show_status()

    def keep(self, ids: tuple[str, ...]) -> None:
        """Let proposals stay on screen, whatever became of their prompt."""
        self.answer = replace(self.answer, ids=tuple(dict.fromkeys((*self.answer.ids, *ids))))

    def close(self) -> None:
        """Show nothing more of what is being read."""
        self._looks.begin()

    def _knows(self, images: Set[int]) -> bool:
        return images <= {image_id for _, image_id in self._choices}

    def draw(self) -> None:
        """Draw the masks that were read last."""
        if self.image_id is None:
            return
        waiting = frozenset(self._unsaved.ids(self.image_id))
        hidden: frozenset[str] = frozenset() if self._with_duplicates else self._repeats - waiting
        self.shown = [row for row in self._rows if row.proposal is None or row.proposal not in hidden]
        remarks = dict.fromkeys(self._repeats, "duplicate") | dict.fromkeys(waiting, "not saved")
        self._view.show_masks(self.shown, remarks)
        self._view.show_duplicates(len(self._rows) - len(self.shown))

    def _show_status(self) -> None:
        waiting = self._unsaved.number
        saved = f"{counted(waiting)} not saved." if waiting else f"Saved {self._saved}." if self._saved else ""
        state = " ".join(part for part in (saved, self._counts) if part)
        self._view.show_status("\n".join(part for part in (self._message, state) if part))
