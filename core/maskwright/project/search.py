"""Find images of a project by a phrase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maskwright.domain import ImageRecord
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
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
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Matches:
    """Rank a project's images for a phrase.

    An image goes through the encoder once, however often phrases are looked for; a search that was stopped goes on
    where it was.

    Args:
        project: whose images are looked at.
        engine: with Talk2DINO.
        phrase: such as "a zebra in the grass".
        limit: at most so many, the best.
        progress: told (images done, images in all).
        cancelled: asked before each image.

    Raises:
        EmptyPhrase: no words.
        Cancelled: on request.
        MaskwrightError: the model does not compare words with images.
    """
    # refused once, not for every image
    engine.matcher.phrase(phrase)
    records = project.images()
    found, problems = [], []
    for done, record in enumerate(records):
        progress(done, len(records))
        if cancelled():
            raise Cancelled
        try:
            score = engine.match(phrase, record.sha256, lambda key=record.id: project.image(key))  # type: ignore[misc]
        except MaskwrightError as error:
            problems.append(str(error))
            continue
        found.append(Found(record, score))
    progress(len(records), len(records))
    found.sort(key=lambda one: (-one.score, one.record.id))
    return Matches(tuple(found[:limit]), tuple(problems))
