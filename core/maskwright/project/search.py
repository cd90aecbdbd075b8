"""Search of a project's images by a phrase."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.domain import ImageRecord
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project

__all__ = ["SearchHit", "SearchResult", "find_images"]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An image with its score."""

    record: ImageRecord
    score: float
    """Highest cosine similarity between the phrase and a region of the image."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The images for a phrase."""

    hits: tuple[SearchHit, ...]
    """The best first."""
    problems: tuple[str, ...]
    """A sentence for each image that could not be read."""


def find_images(
    project: Project,
    engine: Engine,
    phrase: str,
    *,
    limit: int = 20,
    progress: Progress = NO_PROGRESS,
) -> SearchResult:
    """Rank a project's images by their similarity to a phrase.

    Each image is encoded once, also for later phrases; a search that was cancelled resumes where it stopped.

    Args:
        project: whose images are searched.
        engine: with Talk2DINO.
        phrase: such as "a zebra in the grass".
        limit: maximum number of images.
        progress: reports images, and cancels between them.

    Returns:
        The best images, and the problems with others.

    Raises:
        EmptyPhrase: no words.
        Cancelled: on request.
        MaskwrightError: the model cannot compare text with images.
    """
    # raised once, not for every image
    engine.retriever.encode_phrase(phrase)
    records = project.images.all()
    hits, problems = [], []
    for done, record in enumerate(records):
        progress.report(done, len(records))
        progress.check()
        try:
            score = engine.similarity(phrase, record.sha256, lambda key=record.id: project.images.open(key))  # type: ignore[misc]
        except MaskwrightError as error:
            problems.append(str(error))
            continue
        hits.append(SearchHit(record, score))
    progress.report(len(records), len(records))
    hits.sort(key=lambda hit: (-hit.score, hit.record.id))
    return SearchResult(tuple(hits[:limit]), tuple(problems))
