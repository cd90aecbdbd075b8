"""What a prompt gives on one image of a batch, in a form that also travels between machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from maskwright.domain import Image, ImageRecord, Mask, Prediction
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import Progress
from maskwright.project.image_folder import ImageFolder
from maskwright.settings import Settings

__all__ = ["Outcome", "Runner", "batch_settings", "one_by_one", "outcome_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The masks of a prompt on one image, or why there are none."""

    image_id: int
    masks: tuple[Mask, ...] = ()
    source: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    """Why the image was skipped."""


_CACHE_MB = 256
"""Memory for embeddings in a batch, which comes to each image once: those of references, and of the image in work."""


def batch_settings() -> Settings:
    """The settings with a smaller cache of embeddings."""
    settings = Settings.load()
    return replace(settings, cache_mb=min(_CACHE_MB, settings.cache_mb))


Runner: TypeAlias = Callable[[Sequence[ImageRecord]], Generator[Sequence[Outcome], None, None]]
"""Runs a prompt on images, and yields outcomes in any order, as many at once as one transaction is to write."""


def outcome_of(record: ImageRecord, read: Callable[[], Image], segment: Callable[[Image], Prediction]) -> Outcome:
    """Read an image and run a prompt on it; raises Cancelled, and what is no MaskwrightError."""
    try:
        prediction = segment(read())
    except Cancelled:
        raise
    except MaskwrightError as error:
        return Outcome(record.id, problem=str(error))
    return Outcome(record.id, tuple(prediction.masks()), prediction.kind.source, prediction.stored_provenance)


def one_by_one(files: ImageFolder, segment: Callable[[Image], Prediction], progress: Progress) -> Runner:
    """A runner in this process, which is cancelled between two images."""

    def run(records: Sequence[ImageRecord]) -> Generator[Sequence[Outcome], None, None]:
        for record in records:
            progress.check()
            yield [outcome_of(record, partial(files.open, record), segment)]

    return run
