"""Search of a session: images by a phrase, and the images to label next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project

if TYPE_CHECKING:
    # torch comes with both, and a window should open before it
    from maskwright.engine import Engine
    from maskwright.project.search import Ranking, SearchResult

__all__ = ["SessionSearch"]

MOST_UNLABELLED = 200
"""Images to label next that are chosen at a time."""


class SessionSearch:
    """Images of the project in an order that a model finds; see `project.search`."""

    def __init__(self, project: Project, engine: Callable[[], Engine]) -> None:
        """Take a project, and what gives an engine with Talk2DINO."""
        self._project, self._engine = project, engine

    def find(self, phrase: str, *, limit: int = 20, progress: Progress = NO_PROGRESS) -> SearchResult:
        """Images that show what a phrase says, the best first."""
        return self.rank(phrase, progress=progress).result(self._project, limit)

    def rank(self, phrase: str, *, progress: Progress = NO_PROGRESS) -> Ranking:
        """Ids of all images, those first that show best what a phrase says."""
        from maskwright.project.search import rank_images

        return rank_images(self._project, self._engine(), phrase, progress=progress)

    def unlabelled(self, *, limit: int = 20, progress: Progress = NO_PROGRESS) -> SearchResult:
        """The images to label next, the most different from what is labelled first."""
        return self.rank_unlabelled(limit=limit, progress=progress).result(self._project, limit)

    def rank_unlabelled(self, *, limit: int = MOST_UNLABELLED, progress: Progress = NO_PROGRESS) -> Ranking:
        """Ids of the images to label next; see `unlabelled`."""
        from maskwright.project.search import rank_unlabelled

        return rank_unlabelled(self._project, self._engine(), limit=limit, progress=progress)
