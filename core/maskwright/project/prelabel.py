"""One prompt over a whole project: proposals for a person to decide on, resumable image by image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from maskwright.domain import Image, ImageRecord, Prediction
from maskwright.domain.prompts import parse_class_names
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.store import NewAnnotation

__all__ = ["Predicted", "predict_like", "predict_text"]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What became of one image."""

    record: ImageRecord
    score: float = 0.0
    """Of its most certain mask; 0 when nothing was found."""
    proposed: int = 0
    accepted: int = 0
    problem: str = ""
    """Why it was skipped, in one sentence."""


def predict_like(
    project: Project,
    engine: Engine,
    category: str,
    *,
    refine: str | None = "crf",
    accept_above: float | None = None,
    again: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Predicted]:
    """Look on every image without an accepted mask of `category` for what its references show.

    An image is written before the next is begun, so what was done stays done; the same call goes on where it stopped.

    Args:
        project: with at least one accepted mask of the category.
        engine: to ask.
        category: by name.
        refine: refinement of the contour, or None.
        accept_above: masks with at least this score are accepted at once; None accepts none.
        again: also images that this very prompt has been over.
        progress: hears how many images are done, and cancels between them.

    Raises:
        MaskwrightError: no accepted mask of the category.
        Cancelled: on request.
    """
    category = project.store.category(category, create=False).name
    shows, negative = project.references(category)

    def ask(image: Image) -> Prediction:
        return engine.segment_like(
            image, shows, category=category, refine=refine, negative_references=negative, progress=progress.quiet()
        )

    told = [[one.image.sha256, one.mask.rle["counts"]] for one in (*shows, *negative)]
    key = _key(engine.model.sha256, "reference", category, len(shows), told, refine)
    return _predict(project, ask, [category], key, accept_above, again, progress)


def predict_text(
    project: Project,
    engine: Engine,
    words: str,
    *,
    threshold: float | None = None,
    accept_above: float | None = None,
    again: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Predicted]:
    """Look on every image for words; a class of which an image has an accepted mask is left alone there.

    Arguments and errors as `predict_like`; `threshold` as `Engine.segment_text`.
    """

    def ask(image: Image) -> Prediction:
        return engine.segment_text(image, words, background=True, threshold=threshold, progress=progress.quiet())

    names = [one.name for one in parse_class_names(words)]
    key = _key(engine.text_model.sha256, "text", words, threshold)
    return _predict(project, ask, names, key, accept_above, again, progress)


def _key(weights: str, *prompt: object) -> str:
    return hashlib.sha256(json.dumps([weights, *prompt]).encode()).hexdigest()


def _predict(
    project: Project,
    ask: Callable[[Image], Prediction],
    names: Sequence[str],
    key: str,
    accept_above: float | None,
    again: bool,
    progress: Progress,
) -> Iterator[Predicted]:
    done = set() if again else project.store.predicted(key)
    kept: dict[int, set[str]] = {}
    for one in project.store.accepted_keys():
        kept.setdefault(one.image_id, set()).add(one.category)
    records = [r for r in project.images() if r.id not in done and not set(names) <= kept.get(r.id, set())]
    for number, record in enumerate(records):
        progress.report(number, len(records))
        progress.check()
        try:
            found = ask(project.image(record.id))
        except Cancelled:
            raise
        except MaskwrightError as error:
            yield Predicted(record, problem=str(error))
            continue
        masks = [mask for mask in found.masks() if mask.category not in kept.get(record.id, set())]
        sure = [accept_above is not None and (mask.score or 0.0) >= accept_above for mask in masks]
        drafts = [
            NewAnnotation(
                record.id, str(mask.category), mask, str(found.provenance["source"]), found.provenance, user_name(),
                "accepted" if accept else "proposed",
            )
            for mask, accept in zip(masks, sure, strict=True)
        ]  # fmt: skip
        source = str(found.provenance["source"])
        project.store.add_prediction(record.id, drafts, key, user_name(), source=source, names=names)
        best = max((mask.score or 0.0 for mask in masks), default=0.0)
        yield Predicted(record, best, len(masks) - sum(sure), sum(sure))
    progress.report(len(records), len(records))
