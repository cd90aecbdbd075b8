"""Opening a project beside the window's thread: a database server may take long to answer, or never does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from maskwright.session import AnnotationSession, LocationKind, MaskwrightError, ProjectLocation, plural
from napari_maskwright._workers import Generation, error_message

__all__ = ["ProjectOpener"]

log = logging.getLogger(__name__)


class ProjectOpener:
    """Opens one project at a time; a later request replaces an earlier one."""

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], None], *, preset: str, device: str, engine: str | None
    ) -> None:
        """Take a function that runs a call on the window's thread, and what answers in new sessions.

        Args:
            call_soon: runs a call on the window's thread.
            preset: preset name or checkpoint folder.
            device: as for `Engine.load`.
            engine: address of a server, or empty for this computer; None takes the user's setting.
        """
        self._call_soon, self._preset, self._device, self._engine = call_soon, preset, device, engine
        self._requests = Generation()

    def open(
        self,
        location: str,
        *,
        create: bool,
        opened: Callable[[AnnotationSession, str], None],
        refused: Callable[[ProjectLocation], None],
    ) -> None:
        """Open a project; the callbacks run on the window's thread, unless another request comes first.

        Args:
            location: folder or database URL, as the user typed it.
            create: whether a project is created where there is none.
            opened: takes the session, and a sentence on it or none.
            refused: takes what is there in place of a project, or the error.
        """
        stale = self._requests.begin()

        def run() -> None:
            place = ProjectLocation.inspect(location)
            if place.kind is LocationKind.OTHER or (place.kind is not LocationKind.PROJECT and not create):
                self._call_soon(lambda: None if stale() else refused(place))
                return
            try:
                session, message = self._open(place)
            except Exception as error:
                if not isinstance(error, MaskwrightError):
                    log.exception("cannot open %s", location)
                sentence = error_message(error)
                problem = ProjectLocation(location, LocationKind.OTHER, sentence)
                self._call_soon(lambda: None if stale() else refused(problem))
                return
            self._call_soon(lambda: session.close() if stale() else opened(session, message))

        threading.Thread(target=run, name="maskwright-open", daemon=True).start()

    def cancel(self, *_: object) -> None:
        """Forget the request that is running."""
        self._requests.begin()

    def _open(self, place: ProjectLocation) -> tuple[AnnotationSession, str]:
        create = place.kind is not LocationKind.PROJECT
        session = AnnotationSession.open(
            place.location, preset=self._preset, device=self._device, create=create or "://" in place.location
        )
        try:
            sentence = session.engines.use_server_of_settings(self._engine)
        except MaskwrightError as error:
            # the project is of use all the same
            sentence = f"{error} This computer answers."
        if place.kind is not LocationKind.IMAGES:
            return session, sentence
        problems = session.images.add_folder(Path(place.location))
        if not problems:
            return session, ""
        return session, f"{plural(len(problems), 'file')} could not be added. {problems[0]}"
