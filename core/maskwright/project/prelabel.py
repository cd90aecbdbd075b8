"""Batch prediction: one prompt over all images of a project, resumable image by image, here or on a Ray cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskwright.domain import ImageRecord, ReferencePrompt, TextPrompt
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.project.outcomes import Outcome, Runner, batch_settings, one_by_one
from maskwright.project.ray_workers import RayWorkers
from maskwright.store import NewAnnotation, NewPrediction

if TYPE_CHECKING:
    from maskwright.engine import Engine

__all__ = ["BatchOptions", "ImagePrediction", "batch_settings", "key_of", "predict", "predict_like", "predict_text"]


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


_ALL = BatchOptions()


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
    options: BatchOptions = _ALL,
    *,
    refine: str | None = "crf",
    workers: RayWorkers | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Segment a category by its references on every image that has no accepted mask of it.

    The same call resumes where it stopped, or was killed.

    Args:
        project: with at least one accepted mask of the category.
        engine: that segments, or with `workers` the one whose weights each of them must have.
        category: name.
        options: which images, and what becomes of the masks.
        refine: refinement of the contour, or None.
        workers: that segment in place of this process.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        MaskwrightError: no accepted mask of the category; with `workers` also as `RayWorkers.run`.
        Cancelled: on request.
    """
    category = project.store.categories.get(category).name
    shows, negative = project.references(category)
    examples = [[reference.image.sha256, reference.mask.rle["counts"]] for reference in (*shows, *negative)]
    key = key_of(engine.model.sha256, "reference", category, len(shows), examples, refine)
    prompt = ReferencePrompt(
        references=tuple(shows), negative_references=tuple(negative), category=category, refine=refine
    )
    run = _runner(project, engine, prompt, workers, progress)
    return predict(project, run, [category], key, options, progress=progress)


def predict_text(
    project: Project,
    engine: Engine,
    prompt: TextPrompt,
    options: BatchOptions = _ALL,
    *,
    workers: RayWorkers | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Segment the classes of a text prompt on every image, except those that have an accepted mask there.

    The same call resumes where it stopped, or was killed.

    Args:
        project: whose images are segmented.
        engine: that segments, or with `workers` the one whose weights each of them must have.
        prompt: class names and options, with a background.
        options: which images, and what becomes of the masks.
        workers: that segment in place of this process.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        MaskwrightError: with `workers`, as `RayWorkers.run`.
        Cancelled: on request.
    """
    # what was 0.7's whole prompt comes first, so that its batches still count as done
    key = key_of(engine.text_model.sha256, "text", prompt.text, prompt.threshold, *prompt.divided)
    run = _runner(project, engine, prompt, workers, progress)
    return predict(project, run, prompt.names, key, options, progress=progress)


def _runner(
    project: Project,
    engine: Engine,
    prompt: TextPrompt | ReferencePrompt,
    workers: RayWorkers | None,
    progress: Progress,
) -> Runner:
    """What segments: this process, or workers on a cluster."""
    files = project.images.files
    if workers is None:
        return one_by_one(files, lambda image: engine.segment(image, prompt, progress=progress.quiet()), progress)
    workers.check(on_disk=project.store.on_disk)
    return workers.runner(files, prompt, engine.model)


def key_of(weights: str, *prompt: object) -> str:
    """The key of a prompt: the same weights and the same prompt have the same key."""
    return hashlib.sha256(json.dumps([weights, *prompt]).encode()).hexdigest()


def predict(
    project: Project,
    run: Runner,
    names: Sequence[str],
    key: str,
    options: BatchOptions = _ALL,
    *,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ImagePrediction]:
    """Run a prompt on images; what comes at once is written in one transaction, with the note that it is done.

    Args:
        project: whose images are segmented.
        run: runs the prompt on images.
        names: of the categories in the prompt; an image with accepted masks of all of them is left out.
        key: of the prompt, from `key_of`; images that a batch with this key has processed are left out, also those
            that another process finishes meanwhile.
        options: which images, and what becomes of the masks.
        progress: reports images, and cancels between them.

    Yields:
        The result for each image, after its masks were written.

    Raises:
        Cancelled: on request.
    """
    since = project.store.change_number()
    accepted: dict[int, set[str]] = {}
    for mask_key in project.store.masks.accepted_keys():
        accepted.setdefault(mask_key.image_id, set()).add(mask_key.category)
    records = _records(project, names, key, options, accepted)
    user, done = options.user or user_name(), 0
    progress.report(done, len(records))
    progress.check()
    with closing(run(list(records.values()))) as batches:
        for outcomes in batches:
            new = {
                outcome.image_id: _new_prediction(outcome, accepted.get(outcome.image_id, set()), options, user)
                for outcome in outcomes
                if not outcome.problem
            }
            others, since = project.store.predictions.add_batch(list(new.values()), key, user, names=names, since=since)
            done += len(outcomes)
            progress.report(done, len(records))
            for outcome in outcomes:
                if outcome.image_id not in others:
                    yield _result(records[outcome.image_id], outcome, new.get(outcome.image_id))
            progress.check()


def _records(
    project: Project, names: Sequence[str], key: str, options: BatchOptions, accepted: dict[int, set[str]]
) -> dict[int, ImageRecord]:
    """The images that are left to do, by their ids, in that order."""
    done = set() if options.again else project.store.predictions.images_done(key)
    return {
        r.id: r
        for r in project.images.all(excluded=False)
        if r.id not in done
        and (options.images is None or r.id in options.images)
        and not set(names) <= accepted.get(r.id, set())
    }


def _new_prediction(outcome: Outcome, accepted: set[str], options: BatchOptions, user: str) -> NewPrediction:
    """What is written of an outcome: not over accepted masks."""
    least = options.accept_above
    masks = [
        NewAnnotation(
            outcome.image_id, str(mask.category), mask, outcome.source, outcome.provenance, user,
            "accepted" if least is not None and (mask.score or 0.0) >= least else "proposed",
        )
        for mask in outcome.masks
        if mask.category not in accepted
    ]  # fmt: skip
    return NewPrediction(outcome.image_id, masks, outcome.source)


def _result(record: ImageRecord, outcome: Outcome, new: NewPrediction | None) -> ImagePrediction:
    if new is None:
        return ImagePrediction(record, problem=outcome.problem)
    accepted = sum(mask.state == "accepted" for mask in new.masks)
    best = max((mask.mask.score or 0.0 for mask in new.masks), default=0.0)
    return ImagePrediction(record, best, len(new.masks) - accepted, accepted)
