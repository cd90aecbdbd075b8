"""What the dock widget does, without Qt.

Every slow step runs in a thread; answers that come too late are dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from maskwright.clicking import ClickPrompt, Step
from maskwright.domain import Image
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.session import AnnotationSession, Improvement, Proposals, Shown

if TYPE_CHECKING:
    # torch comes with the search, and a window should open before it
    from maskwright.search import Found, Matches

__all__ = ["AnnotatorView", "Controller"]

T = TypeVar("T")
log = logging.getLogger(__name__)

_LOOK = 0.5
"""Seconds between two looks at what other windows have changed."""
_TOLD = 0.1
"""Seconds between two reports of a search: images seen before would flood the window with them."""


class AnnotatorView(Protocol):
    """What the controller asks of a window; all but `call_soon` is only ever called on its own thread."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the window's thread; may be asked from any thread."""

    def show_images(self, choices: Sequence[tuple[str, int]], current: int | None) -> None:
        """The project's images by (name, id)."""

    def show_image(self, image_id: int, image: Image) -> None:
        """Another image."""

    def show_masks(self, rows: Sequence[Shown]) -> None:
        """The accepted masks of the image, its open proposals, and what cleaning left unlabelled."""

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """The clicks and the box of a prompt, and which of its answers is shown."""

    def show_status(self, text: str) -> None:
        """One line that stays."""

    def show_busy(self, text: str) -> None:
        """What is being worked on; empty when nothing is."""

    def show_searching(self, running: bool) -> None:
        """Whether images are being looked at for a phrase."""

    def show_matches(self, found: Sequence[Found], notice: str) -> None:
        """The images that were found, the best first, and a sentence on the search, or none."""

    def show_improvement(self, told: Improvement) -> None:
        """Where fine-tuning stands."""

    def show_error(self, sentence: str) -> None:
        """Something the person can mend."""


class _Latest:
    """Of several requests of one kind only the latest counts."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self) -> Callable[[], bool]:
        """Give up the request before; the answer says whether this one has been given up in its turn."""
        self._number += 1
        number = self._number
        return lambda: number != self._number


class Controller:
    """One image of a project in one window."""

    def __init__(self, session: AnnotationSession, view: AnnotatorView) -> None:
        self.session, self._view = session, view
        self.image_id: int | None = None
        self.prompt: ClickPrompt | None = None
        """What was clicked on the image."""
        self._proposals: list[str] = []
        self._prompts, self._searches = _Latest(), _Latest()
        self._reads = 0
        self._busy: list[str] = []
        self._search = ""
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="maskwright")
        # a search may take minutes, and a click must not wait behind it
        self._search_pool = ThreadPoolExecutor(1, thread_name_prefix="maskwright-search")
        self._watcher = threading.Thread(target=self._watch, name="maskwright-watch", daemon=True)
        self._watcher.start()
        self._work(self.session.choices, self._show_first, "Opening the project")

    # what a person does

    def open_image(self, image_id: int) -> None:
        """Show another image; its proposals are made anew, its accepted masks are in the project."""
        self._work(
            lambda: (self.session.image(image_id), self.session.shown(image_id)),
            lambda loaded: self._show_image(image_id, *loaded), "Opening the image", stale=self._prompts.begin(),
        )  # fmt: skip

    def step(self, by: int) -> None:
        """The next image (1) or the one before (-1); stays at the ends."""
        current = self.image_id

        def neighbour() -> int | None:
            ids = [image_id for _, image_id in self.session.choices()]
            place = ids.index(current) + by if current in ids else 0
            return ids[place] if 0 <= place < len(ids) else None

        self._work(neighbour, lambda found: self.open_image(found) if found is not None else None, "")

    def take(self, make: Callable[[], Image], then: Callable[[int], None]) -> None:
        """Add the image that `make` gives, which may be slow, and show it; `then` is told its id first."""

        def added(image_id: int) -> None:
            then(image_id)
            self.open_image(image_id)

        self._work(lambda: self.session.project.add_image(make()).id, added, "Adding the image")

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
            self._view.show_error("Open or select an image first.")
            return
        image_id, stale = self.image_id, self._prompts.begin()
        self._work(
            lambda: self.session.propose_text(
                image_id, words, method=method, background=background, threshold=threshold if background else None,
                refine=refine, cleaning=cleaning, cancelled=stale,
            ),
            self._show_proposals, "Finding masks", stale=stale,
        )  # fmt: skip

    def find(self, phrase: str) -> None:
        """Rank the project's images for a phrase; a search that is still running is given up, a prompt is not."""
        stale = self._searches.begin()
        self._view.show_matches((), "")
        self._show_search("Searching the images")
        self._work(
            lambda: self.session.find(phrase, progress=self._reporter(stale), cancelled=stale),
            lambda matches: self._view.show_matches(matches.found, _notice(matches)),
            "", stale=stale, ended=lambda: self._show_search(""), pool=self._search_pool,
        )  # fmt: skip

    def stop_search(self) -> None:
        """Give up the running search."""
        if self._search:
            self._searches.begin()
            self._show_search("")
            self._view.show_matches((), "Stopped. The next search goes on from here.")

    def click(self, x: float, y: float, sign: int, *, near: float = 0.0) -> None:
        """A point on the thing (1) or beside it (0), in pixels; one that lies within `near` pixels is taken away."""
        prompt = self._begun()
        if prompt is not None:
            step = prompt.clicked(x, y, sign, near=near)
            if step is None:
                self.clear_clicks()
            else:
                self._ask(prompt, step)

    def box(self, box: tuple[float, float, float, float]) -> None:
        """A box around the thing: left, top, right, bottom in pixels."""
        prompt = self._begun()
        if prompt is not None:
            self._ask(prompt, prompt.boxed(box))

    def correct(self, annotation: int) -> None:
        """Let the next clicks correct an accepted mask."""
        if self.image_id is not None:
            self._turn(ClickPrompt(self.image_id, annotation), "Click on what is missing, or beside what is too much.")

    def undo_click(self) -> None:
        """Take the last click back."""
        if self.prompt is not None and self.prompt.steps:
            self._turn(self.prompt.undone())

    def clear_clicks(self) -> None:
        """Give the clicks up; accepted masks stay as they are."""
        if self.prompt is not None:
            self.session.drop(self.prompt.answers)
            self._turn(None)

    def other_answer(self) -> None:
        """Show the next of the masks that the click may mean."""
        if self.prompt is not None and self.prompt.last.answers:
            self._turn(self.prompt.choosing(self.prompt.last.chosen + 1))

    def suggest(self, show: Callable[[list[tuple[str, float]]], None]) -> None:
        """What the clicked mask may be, of the project's categories; `show` is told the names, the best first."""
        if self.prompt is None or self.prompt.proposal is None:
            self._view.show_error("Click on a thing first.")
            return
        proposal = self.prompt.proposal
        self._work(lambda: self.session.suggest(proposal), show, "Comparing with words")

    def _begun(self) -> ClickPrompt | None:
        if self.image_id is None:
            self._view.show_error("Open or select an image first.")
            return None
        return self.prompt or ClickPrompt(self.image_id)

    def _turn(self, prompt: ClickPrompt | None, status: str = "") -> None:
        self._prompts.begin()
        self.prompt = prompt
        self._view.show_clicks(prompt)
        self._reload(self.image_id, status)

    def _ask(self, prompt: ClickPrompt, step: Step) -> None:
        """Answer the next step; its point is there at once, and a further click builds on it before the answer is."""
        stale = self._prompts.begin()
        self.prompt = prompt.answered(step)
        self._view.show_clicks(self.prompt)

        def show(told: tuple[ClickPrompt, str]) -> None:
            self.prompt, notice = told
            self._view.show_clicks(self.prompt)
            self._reload(self.image_id, notice)

        self._work(lambda: self.session.ask(prompt, step), show, "Finding the mask", stale=stale)

    def cancel(self) -> None:
        """Give up the running prompt."""
        self._prompts.begin()

    def decide(self, accept: bool, ids: Sequence[str] = (), name: str = "") -> None:
        """Accept or reject proposals, by default all that are open; a clicked one is kept under `name`."""
        image_id, prompt = self.image_id, self.prompt
        clicked = prompt.proposal if prompt is not None else None
        opened = self.session.open_proposals(ids or self._proposals, image_id)
        chosen = [p.id for p in opened if (not ids or p.id in ids) and p.id != clicked]
        if clicked is not None and ids and clicked not in ids:
            clicked = None
        if not chosen and clicked is None:
            self._view.show_error("There is no open mask. Type class names and press Find masks first, or click.")
            return

        def decide() -> None:
            if prompt is not None and clicked is not None:
                self.session.decide_click(prompt, name, keep=accept)
            if chosen:
                (self.session.accept if accept else self.session.reject)(chosen)

        def kept(_: None) -> None:
            if clicked is not None and self.prompt is prompt:
                self.prompt = None
                self._view.show_clicks(None)
            if not self.session.open_proposals(self._proposals):
                # with nothing left to decide, what cleaning took away is of no interest either
                self._proposals = []
            self._reload(image_id, "Saved" if accept else "Rejected")

        self._work(decide, kept, "Saving")

    def act(self, action: str) -> None:
        """Start, cancel, resume a run, or change the model; see `AnnotationSession.improvement`."""

        def acted() -> Improvement:
            self.session.act(action)
            return self.session.improvement()

        self._work(acted, self._view.show_improvement, "Starting")

    def export(self, file: Path) -> None:
        """Write the accepted masks as COCO."""
        self._work(
            lambda: self.session.project.export_coco(file), lambda done: self._view.show_status(f"Wrote {done}"),
            "Exporting",
        )  # fmt: skip

    def close(self) -> None:
        """Stop everything that belongs to this window; a fine-tuning run is a process of its own and goes on."""
        self._prompts.begin()
        self._searches.begin()
        self._closed.set()
        for pool in (self._pool, self._search_pool):
            pool.shutdown(wait=False, cancel_futures=True)

        def last_one_out() -> None:
            self._watcher.join()
            for pool in (self._pool, self._search_pool):
                pool.shutdown(wait=True)
            self.session.project.close()

        threading.Thread(target=last_one_out, name="maskwright-close").start()

    # what comes back

    def _show_first(self, choices: list[tuple[str, int]]) -> None:
        self._view.show_images(choices, self.image_id)
        if choices and self.image_id is None:
            self.open_image(choices[0][1])

    def _show_image(self, image_id: int, image: Image, rows: list[Shown]) -> None:
        self.image_id, self._proposals, self.prompt = image_id, [], None
        self._view.show_image(image_id, image)
        self._view.show_clicks(None)
        self._view.show_masks(rows)
        self._reload(image_id, "")

    def _show_proposals(self, found: Proposals) -> None:
        # with the preview's, which is shown and never decided on
        self._proposals = found.ids
        self._reload(found.image_id, found.notice)

    def _reload(self, image_id: int | None, status: str = "") -> None:
        """Read again what is shown of an image, and the list of images."""
        self._reads += 1
        number, proposals, prompt = self._reads, list(self._proposals), self.prompt
        clicked = prompt.previous if prompt is not None else None

        def read() -> tuple[list[tuple[str, int]], list[Shown], str]:
            rows = (
                [] if image_id is None else self.session.shown(image_id, [*proposals, *([clicked] if clicked else [])])
            )
            if prompt is not None and clicked is not None:
                # the correction stands where the mask was
                rows = [row for row in rows if row.annotation is None or row.annotation != prompt.corrects]
            return self.session.choices(), rows, self.session.counts()

        def show(told: tuple[list[tuple[str, int]], list[Shown], str]) -> None:
            if image_id != self.image_id:
                return
            choices, rows, counts = told
            # of two reads the later one is right, also when it comes back first
            if number == self._reads and image_id is None:
                self._show_first(choices)
            elif number == self._reads:
                self._view.show_images(choices, image_id)
                self._view.show_masks(rows)
            elif not status:
                return
            self._view.show_status(f"{status}\n{counts}" if status else counts)

        self._work(read, show, "")

    def _show_search(self, text: str) -> None:
        """Show how far the search is; with an empty text, that none is running."""
        self._search = text
        self._view.show_searching(bool(text))
        self._show_busy()

    def _show_busy(self) -> None:
        """Show what was begun last; of a search only while nothing else is done."""
        self._view.show_busy(self._busy[-1] if self._busy else self._search)

    # threads

    def _reporter(self, stale: Callable[[], bool]) -> Callable[[int, int], None]:
        """What a search tells how far it is, in its own thread."""
        last = float("-inf")

        def report(done: int, total: int) -> None:
            nonlocal last
            if done < total and time.monotonic() - last >= _TOLD:
                last = time.monotonic()
                text = f"Looking at image {done + 1} of {total}"
                self._view.call_soon(lambda: None if stale() else self._show_search(text))

        return report

    def _work(
        self,
        job: Callable[[], T],
        done: Callable[[T], None],
        busy: str,
        *,
        stale: Callable[[], bool] = lambda: False,
        ended: Callable[[], None] = lambda: None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Run `job` in a thread, then `ended` and `done` on the window's thread, unless it has become stale meanwhile.

        A job that fails has ended, too.
        """
        if self._closed.is_set():
            return
        if busy:
            self._busy.append(busy)
            self._show_busy()

        def show(future: Future[T]) -> None:
            if self._closed.is_set():
                return
            if busy:
                self._busy.remove(busy)
                self._show_busy()
            if stale():
                return
            ended()
            try:
                answer = future.result()
            except Cancelled:
                return
            except MaskwrightError as error:
                self._view.show_error(str(error))
                return
            except Exception as error:
                log.exception("in napari")
                self._view.show_error(f"Unexpected failure ({type(error).__name__}: {error}). See the log.")
                return
            done(answer)

        future = (pool or self._pool).submit(job)
        future.add_done_callback(lambda f: None if f.cancelled() else self._view.call_soon(lambda: show(f)))

    def _watch(self) -> None:
        """Look at the project now and then: other windows and runs change it, too."""
        seen: tuple[int, Improvement | None] = (-1, None)
        while not self._closed.wait(_LOOK):
            try:
                change, told = self.session.change_number(), self.session.improvement()
            except MaskwrightError as error:
                log.warning("cannot look at the project: %s", error)
                continue
            if told != seen[1]:
                self._view.call_soon(lambda told=told: self._unless_closed(self._view.show_improvement, told))  # type: ignore[misc]
            if change != seen[0] and seen[0] >= 0:
                self._view.call_soon(lambda: self._unless_closed(self._reload, self.image_id))
            seen = change, told

    def _unless_closed(self, call: Callable[..., None], *told: Any) -> None:
        if not self._closed.is_set():
            call(*told)


def _notice(matches: Matches) -> str:
    """What a person should know of a search, or empty."""
    problems = matches.problems
    if not problems:
        return "" if matches.found else "This project has no image yet."
    count = f"{len(problems)} images could not be looked at. " if len(problems) > 1 else ""
    return count + problems[0]
