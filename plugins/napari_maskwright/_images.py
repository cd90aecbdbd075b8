"""Which image a window shows: one of the project, or a plane of a layer that a prompt takes into the project."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from maskwright.domain import Image, PlaneRecord
from maskwright.session import FIRST_IMAGE, LAST_IMAGE, NO_IMAGE, AnnotationSession, StackLabels, label_stack
from napari_maskwright._screen import Screen, Snapshot
from napari_maskwright._view import AnnotatorView
from napari_maskwright._workers import Generation, Queue, Workers

__all__ = ["Images"]


class _PlaneInView:
    """A plane of a layer: its pixels are read once, and only when they are needed."""

    def __init__(self, read: Callable[[], Image], found: Callable[[int], None]) -> None:
        self._read, self.found = read, found
        self._lock = threading.Lock()
        self._image: Image | None = None

    def read(self) -> Image:
        """The pixels; takes a while."""
        with self._lock:
            if self._image is None:
                self._image = self._read()
            return self._image


class Images:
    """Opens images and planes in one window."""

    def __init__(
        self, session: AnnotationSession, view: AnnotatorView, workers: Workers, screen: Screen, prompts: Generation
    ) -> None:
        """Take what the window belongs to, and its prompts, which another image makes stale."""
        self._session, self._view, self._workers, self._screen = session, view, workers, screen
        self._prompts, self._views = prompts, Generation()
        self._plane: _PlaneInView | None = None
        self._opening = False

    def open_first(self, image_id: int) -> None:
        """Show an image unless a plane of a layer is in view, or the user has chosen an image that is being read."""
        if self._plane is None and not self._opening:
            self.open(image_id)

    def show_first(self) -> None:
        """Show the first image of the project; nothing when it has none."""
        self.show_nothing()
        self.step(1)

    def open(self, image_id: int, then: Callable[[], None] = lambda: None) -> None:
        """Show another image, then call `then`; open proposals of the image in view come back with it."""
        if self._view.go_to_plane(image_id, None):
            then()
            return
        read = self._screen.reader(image_id)

        def show(result: tuple[Image, Snapshot]) -> None:
            record = result[0].plane
            if record is not None and self._view.go_to_plane(image_id, record):
                then()
                return
            self._plane = None
            self._screen.show_image(image_id, *result)
            then()

        self._prompts.begin()
        stale, self._opening = self._views.begin(), True
        self._workers.run(
            lambda: (self._session.images.get(image_id), read()),
            show,
            "Opening the image",
            stale=stale,
            finished=self._opened,
        )

    def _opened(self) -> None:
        self._opening = False

    def show_plane(self, read: Callable[[], Image], found: Callable[[int], None]) -> None:
        """Show the masks of a plane that the window shows; a prompt takes a plane into the project that is not there.

        Args:
            read: returns the pixels; runs in a thread.
            found: called with the id as soon as the plane is an image of the project.
        """
        self._plane, stale, self._opening = _PlaneInView(read, found), self._views.begin(), False
        plane = self._plane
        if self._screen.prompt is not None:
            # a click belongs to the plane that it was made on
            self._prompts.begin()
        self._screen.show_no_image()
        self._look(plane, stale)

    def _look(self, plane: _PlaneInView, stale: Callable[[], bool]) -> None:
        """Show the masks of a plane if the project has it."""

        def look() -> tuple[int, Snapshot] | None:
            image_id = self._session.images.known(plane.read())
            return None if image_id is None else (image_id, self._screen.reader(image_id)())

        def show(result: tuple[int, Snapshot] | None) -> None:
            if result is not None and self._screen.image_id is None:
                plane.found(result[0])
                self._screen.show_image(result[0], None, result[1])

        self._workers.run(look, show, stale=stale)

    def show_nothing(self, message: str = "") -> None:
        """Show that no image is in view."""
        self._views.begin()
        self._prompts.begin()
        self._plane, self._opening = None, False
        self._screen.show_no_image(message)

    def with_image(self, then: Callable[[int], None]) -> None:
        """Call `then` with the image in view, which is taken into the project first if it is a plane of a layer."""
        if self._screen.image_id is not None:
            then(self._screen.image_id)
            return
        plane = self._plane
        if plane is None:
            self._view.show_error(NO_IMAGE)
            return

        def take() -> tuple[int, Snapshot]:
            image_id = self._session.images.add(plane.read()).id
            return image_id, self._screen.reader(image_id)()

        def taken(result: tuple[int, Snapshot]) -> None:
            plane.found(result[0])
            if self._plane is plane and self._screen.image_id != result[0]:
                self._screen.show_image(result[0], None, result[1])
            elif self._plane is not None and self._screen.image_id is None:
                # the slider was moved, perhaps away and back, while the project did not have the plane yet
                self._look(self._plane, self._views.begin())
            then(result[0])

        self._workers.run(take, taken, "Adding the plane to the project", queue=Queue.MODEL)

    def step(self, by: int, then: Callable[[], None] = lambda: None) -> None:
        """Show the next image (1) or the previous one (-1), then call `then`; says so at the ends."""
        current = self._screen.image_id

        def show(neighbor: int | None) -> None:
            if neighbor is not None:
                self.open(neighbor, then)
            else:
                self._screen.show_message(LAST_IMAGE if by > 0 else FIRST_IMAGE)

        self._workers.run(lambda: self._session.images.neighbor(current, by), show)

    def label_stack(
        self, plane: PlaneRecord, shape: Sequence[int], axis: int, show: Callable[[StackLabels], None]
    ) -> None:
        """Join the masks of a plane's stack along an axis to objects, and show them; see `session.label_stack`."""
        self._workers.run(
            lambda: label_stack(self._session, plane, shape, axis), show, "Joining the masks of the planes"
        )

    def close(self) -> None:
        """Show nothing more."""
        self._views.begin()
