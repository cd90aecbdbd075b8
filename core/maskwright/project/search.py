"""Find images of a project by a phrase."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.domain import ImageRecord
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project

__all__ = ["Found", "Matches", "find_images"]


@dataclass(frozen=True, slots=True)
class Found:
    """One image with how well it fits."""

    record: ImageRecord
    score: float
    """Cosine of the phrase with the best of the image's regions"""


@dataclass(frozen=True, slots=True)
class Matches:
    """The answer to a phrase."""

    found: tuple[Found, ...]
    """The best first"""
    problems: tuple[str, ...]
    """One sentence for each image that could not be looked at."""


def find_images(
    project: Project,
    engine: Engine,
    phrase: str,
    *,
    limit: int = 20,
    progress: Progress = NO_PROGRESS,
) -> Matches:
    """Rank a project's images for a phrase.

    An image goes through the encoder once, however often phrases are looked for; a search that was stopped goes on
    where it was.

    Args:
        project: whose images are looked at.
        engine: with Talk2DINO.
        phrase: such as "a zebra in the grass".
        limit: at most so many, the best.
        progress: hears how many images are done, and cancels between them.

    Raises:
        EmptyPhrase: no words.
        Cancelled: on request.
        MaskwrightError: the model does not compare words with images.
    """
    # refused once, not for every image
    engine.retriever.encode_phrase(phrase)
    records = project.images()
    found, problems = [], []
    for done, record in enumerate(records):
        progress.report(done, len(records))
        progress.check()
        try:
            score = engine.similarity(phrase, record.sha256, lambda key=record.id: project.image(key))  # type: ignore[misc]
        except MaskwrightError as error:
            problems.append(str(error))
            continue
        found.append(Found(record, score))
    progress.report(len(records), len(records))
    found.sort(key=lambda one: (-one.score, one.record.id))
    return Matches(tuple(found[:limit]), tuple(problems))
