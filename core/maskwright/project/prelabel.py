"""Batch prediction: one prompt over all images of a project, resumable image by image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from maskwright.domain import Image, ImageRecord, Prediction, TextPrompt
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.store import NewAnnotation

__all__ = ["BatchOptions", "ImagePrediction", "key_of", "predict", "predict_like", "predict_text"]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Which images a batch processes, and what becomes of its masks."""

    accept_above: float | None = None
    """Accept masks with at least this score; None accepts none."""
    again: bool = False
    """Also process images that a batch with the same prompt has processed."""
    images: Collection[int] | None = None
    """Ids of the images; None is all of them."""
    user: str = ""
    """Who started it; by default the user of this computer."""


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """The result of a batch on one image."""

    record: ImageRecord
    score: float = 0.0
    """The highest score of its masks; 0 when there are none."""
    proposed: int = 0
    accepted: int = 0
    problem: str = ""
    """Why the image was skipped."""


def predict_like(
    project: Project,
    engine: Engine,
    category: str,
    *,
    refine: str | None = "crf",
    accept_above: float | None = None,
    again: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Segment a category by its references on every image that has no accepted mask of it.

    The masks of an image are written before the next image is read, so the same call resumes where it stopped.

    Args:
        project: with at least one accepted mask of the category.
        engine: that segments.
        category: name.
        refine: refinement of the contour, or None.
        accept_above: accept masks with at least this score; None accepts none.
        again: also process images that a batch with the same prompt has processed.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        MaskwrightError: no accepted mask of the category.
        Cancelled: on request.
    """
    category = project.store.categories.get(category).name
    shows, negative = project.references(category)

    def segment(image: Image) -> Prediction:
        return engine.segment_like(
            image, shows, category=category, refine=refine, negative_references=negative, progress=progress.quiet()
        )

    examples = [[reference.image.sha256, reference.mask.rle["counts"]] for reference in (*shows, *negative)]
    key = key_of(engine.model.sha256, "reference", category, len(shows), examples, refine)
    options = BatchOptions(accept_above, again)
    return predict(project, segment, [category], key, options, progress=progress)


def predict_text(
    project: Project,
    engine: Engine,
    prompt: TextPrompt,
    *,
    accept_above: float | None = None,
    again: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Segment the classes of a text prompt on every image, except those that have an accepted mask there.

    Args:
        project: whose images are segmented.
        engine: that segments.
        prompt: class names and options, with a background.
        accept_above: accept masks with at least this score; None accepts none.
        again: also process images that a batch with the same prompt has processed.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        Cancelled: on request.
    """

    def segment(image: Image) -> Prediction:
        return engine.segment(image, prompt, progress=progress.quiet())

    # what was 0.7's whole prompt comes first, so that its batches still count as done
    key = key_of(engine.text_model.sha256, "text", prompt.text, prompt.threshold, *prompt.divided)
    return predict(project, segment, prompt.names, key, BatchOptions(accept_above, again), progress=progress)


def key_of(weights: str, *prompt: object) -> str:
    """The key of a prompt: the same weights and the same prompt have the same key."""
    return hashlib.sha256(json.dumps([weights, *prompt]).encode()).hexdigest()


def predict(
    project: Project,
    segment: Callable[[Image], Prediction],
    names: Sequence[str],
    key: str,
    options: BatchOptions,
    *,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Run a prompt on images; the masks of each are written before the next one is read.

    Args:
        project: whose images are segmented.
        segment: runs the prompt on one image.
        names: of the categories in the prompt; an image with accepted masks of all of them is left out.
        key: of the prompt, from `key_of`; images that a batch with this key has processed are left out.
        options: which images, and what becomes of the masks.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        Cancelled: on request.
    """
    done = set() if options.again else project.store.predictions.images_done(key)
    accepted: dict[int, set[str]] = {}
    for mask_key in project.store.masks.accepted_keys():
        accepted.setdefault(mask_key.image_id, set()).add(mask_key.category)
    records = [
        r
        for r in project.images.all(excluded=False)
        if r.id not in done
        and (options.images is None or r.id in options.images)
        and not set(names) <= accepted.get(r.id, set())
    ]
    for number, record in enumerate(records):
        progress.report(number, len(records))
        progress.check()
        try:
            prediction = segment(project.images.open(record.id))
        except Cancelled:
            raise
        except MaskwrightError as error:
            yield ImagePrediction(record, problem=str(error))
            continue
        masks = [mask for mask in prediction.masks() if mask.category not in accepted.get(record.id, set())]
        least = options.accept_above
        accept = [least is not None and (mask.score or 0.0) >= least for mask in masks]
        source, user, provenance = prediction.kind.source, options.user or user_name(), prediction.stored_provenance
        drafts = [
            NewAnnotation(record.id, str(mask.category), mask, source, provenance, user, state)
            for mask, state in zip(masks, ("accepted" if sure else "proposed" for sure in accept), strict=True)
        ]
        project.store.predictions.add(record.id, drafts, key, user, source=source, names=names)
        best = max((mask.score or 0.0 for mask in masks), default=0.0)
        yield ImagePrediction(record, best, len(masks) - sum(accept), sum(accept))
    progress.report(len(records), len(records))
