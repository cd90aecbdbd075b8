"""Measurement of a fine-tuning run: base and result on the same held-out images, image by image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.domain import FinetunePlan, Image, Scores, TextPrompt, rle
from maskwright.engine import Engine
from maskwright.evaluation.clicks import ClickImage, ObjectResult, click_objects, click_scores
from maskwright.evaluation.metrics import BoundaryCounts, Confusion
from maskwright.evaluation.text import evaluate_text
from maskwright.imaging.geometry import components
from maskwright.presets.loading import Preset
from maskwright.progress import Progress
from maskwright.project.finetune_data import HeldOut
from maskwright.settings import Settings
from maskwright.training.finetune.images import TrainingImage

__all__ = ["ClickMeasurement", "LiveMeasurement", "TextMeasurement", "agreement_with_base", "measure_folder"]

_MOST_OBJECTS = 12
"""Objects of an image that are clicked; the largest ones are taken."""
_SMALLEST = 0.001
"""Share of the image below which a component is no object."""


class TextMeasurement:
    """Answers of a text method on held-out images, of one model or of one for each part of a cross-validation."""

    def __init__(self, plan: FinetunePlan, method: str | None) -> None:
        self._plan, self._method = plan, method
        self._confusion, self._boundary = Confusion(len(plan.categories)), BoundaryCounts(len(plan.categories))
        self.answers: dict[int, dict[str, Any]] = {}
        """By image: mIoU of the classes on it, and the answer's mask of each class."""

    def add(self, engine: Engine, held_out: Iterable[HeldOut], progress: Progress, done: int, total: int) -> None:
        """Measure a model on some images; `done` of the `total` are measured before."""
        prompt = TextPrompt.parse(self._plan.categories, method=self._method, background=self._plan.background)
        for number, one in enumerate(held_out, start=done):
            progress.check()
            progress.report(number, total)
            found = engine.segment(one.image, prompt, progress=progress.quiet()).label_map
            self._confusion.add(one.labels, found)
            self._boundary.add(one.labels, found)
            self.answers[one.image_id] = self._answer(one.labels, found)

    def scores(self, engine: Engine, weights: str) -> Scores:
        """Scores over all images; the engine names preset and method, `weights` is the hash of what answered."""
        names = self._plan.categories
        (background, *iou), confusion = self._confusion.iou(), self._confusion
        known = [value for value in iou if value is not None]

        def by_class(values: Sequence[float | None]) -> Mapping[str, float | None]:
            return dict(zip(names, values, strict=True))

        return Scores(
            method=engine.text_method(self._method),
            preset=engine.model.name,
            images=len(self.answers),
            classes=len(known),
            miou=float(np.mean(known)) if known else 0.0,
            pixel_accuracy=confusion.accuracy(),
            per_class=by_class(iou),
            background=background if self._plan.background else None,
            weights=weights,
            precision=by_class(confusion.precision()[1:]),
            recall=by_class(confusion.recall()[1:]),
            boundary=by_class(self._boundary.iou()),
        )

    def _answer(self, labels: NDArray[np.int16], found: NDArray[np.integer[Any]]) -> dict[str, Any]:
        confusion = Confusion(len(self._plan.categories))
        confusion.add(labels, found)
        known = [value for value in confusion.iou()[1:] if value is not None]
        masks = {
            name: dict(rle.encode(found == number))
            for number, name in enumerate(self._plan.categories, start=1)
            if (found == number).any()
        }
        return {"miou": float(np.mean(known)) if known else None, "masks": masks}


class ClickMeasurement:
    """Simulated clicks on the objects of held-out images."""

    def __init__(self, plan: FinetunePlan, most: int = _MOST_OBJECTS) -> None:
        self._plan, self._results, self._most = plan, list[ObjectResult](), most
        self.answers: dict[int, dict[str, Any]] = {}

    def add(self, engine: Engine, held_out: Iterable[HeldOut], progress: Progress, done: int, total: int) -> None:
        """Measure a model on some images; `done` of the `total` are measured before."""
        for number, one in enumerate(held_out, start=done):
            progress.report(number, total)
            parts = [
                (mask.category, part)
                for mask in one.masks
                if not mask.crowd and mask.category in self._plan.categories
                for part in components(mask.mask.to_array())
                if part.sum() >= _SMALLEST * part.size
            ]
            results = click_objects(
                engine, [ClickImage(one.image, parts)], total=1, most=self._most, progress=progress.quiet()
            )
            self._results += results
            iou = [result.iou_after(1) for result in results]
            self.answers[one.image_id] = {"miou": float(np.mean(iou)) if iou else None, "masks": {}}

    def scores(self, engine: Engine, weights: str) -> Scores:
        """Means over all objects; `miou` is the IoU after five clicks."""
        names = self._plan.categories
        found = click_scores(self._results, images=len(self.answers), preset=engine.model.name, names=names)
        return Scores(
            task="click", method="sam", preset=found.preset, images=found.images, classes=found.classes,
            miou=found.miou, pixel_accuracy=found.pixel_accuracy, per_class=found.per_class,
            weights=weights,
            clicks={
                "iou_1click": found.iou_1click, "iou_5click": found.iou_5click, "noc85": found.noc85,
                "objects": found.objects,
            },
        )  # fmt: skip


class LiveMeasurement:
    """The model of a run in training on a few held-out images."""

    def __init__(self, plan: FinetunePlan, held_out: Sequence[HeldOut], device: str, progress: Progress) -> None:
        self._plan, self._held_out, self._device, self._progress = plan, held_out, device, progress

    def __call__(self, preset: Preset) -> float:
        """mIoU, or of clicks the IoU after five; raises Cancelled."""
        engine = Engine(preset, torch.device(self._device), Settings.load())
        plan, click = self._plan, self._plan.task == "click"
        measurement = ClickMeasurement(plan, most=3) if click else TextMeasurement(plan, plan.method)
        measurement.add(engine, self._held_out, self._progress.quiet(), 0, len(self._held_out))
        return measurement.scores(engine, "").miou


def measure_folder(engine: Engine, plan: FinetunePlan, method: str | None, weights: str, progress: Progress) -> Scores:
    """Scores on the labelled folder that a plan names, whose categories are all prompted."""
    assert plan.measure_on is not None
    (scores,) = evaluate_text(
        engine, Path(plan.measure_on), method=method, background=plan.background, progress=progress
    )  # fmt: skip
    return replace(scores, weights=weights)


def agreement_with_base(
    base: Engine, tuned: Engine, images: Sequence[TrainingImage], method: str | None, progress: Progress
) -> float:
    """Share of the pixels of photographs on which two models answer alike, 0 to 1.

    Args:
        base: Before.
        tuned: After.
        images: With the words that each is prompted with.
        method: Of the text prompts.
        progress: Cancels between images.
    """
    alike = []
    for one in images:
        progress.check()
        prompt, image = TextPrompt.parse(one.words, method=method), Image.open(one.file)
        first, second = (engine.segment(image, prompt, progress=progress.quiet()) for engine in (base, tuned))
        alike.append(float((first.label_map == second.label_map).mean()))
    return float(np.mean(alike)) if alike else 1.0
