"""Evaluation of click prompts with simulated clicks in the largest error region (contracts.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.domain.mask import iou
from maskwright.engine import Engine
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.formats.labelled_folder import LabelledFolder, objects
from maskwright.progress import NO_PROGRESS, Progress

__all__ = [
    "ClickImage",
    "ClickScores",
    "ObjectResult",
    "click_objects",
    "click_scores",
    "deepest_pixel",
    "evaluate_click",
    "next_click",
]

_MAX_OBJECTS = 50
"""Largest number of objects of an image; the largest ones are taken."""
_MAX_CLICKS = 20
_TARGET_IOU = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickScores:
    """Result of the click task; all measures are means over objects."""

    task: str = "click"
    method: str = "sam"
    preset: str
    seed: int
    images: int
    objects: int
    classes: int
    iou_1click: float
    iou_5click: float
    noc85: float
    """Number of clicks to IoU 0.85; 20 for objects that do not reach it in 20."""
    miou: float
    """`iou_5click`, under the name that all tasks share."""
    pixel_accuracy: float
    """Share of correct pixels after five clicks."""
    per_class: dict[str, float | None]
    """`iou_5click` by category; None where no object was measured."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class ClickImage(NamedTuple):
    """An image with the objects to click on."""

    image: Image
    objects: Sequence[tuple[str, NDArray[np.bool_]]]
    """Category and (H, W) mask of each"""


class ObjectResult(NamedTuple):
    """Simulated clicks on one object."""

    category: str
    ious: list[float]
    """IoU after each click."""
    accuracy: float
    """Share of correct pixels after the fifth click."""

    def iou_after(self, clicks: int) -> float:
        """IoU after that many clicks, or after the last one if the mask was perfect before."""
        return self.ious[min(clicks, len(self.ious)) - 1]

    @property
    def clicks_to_target(self) -> int:
        """Number of clicks to IoU 0.85; 20 where it is not reached."""
        return next((n for n, value in enumerate(self.ious, start=1) if value >= _TARGET_IOU), _MAX_CLICKS)


def deepest_pixel(region: NDArray[np.bool_]) -> tuple[int, int]:
    """(column, row) of the pixel of an (H, W) region farthest from its outside; the image border counts as outside."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    part = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depth = distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(columns[0] + column), int(rows[0] + row)


def next_click(mask: NDArray[np.bool_], ground_truth: NDArray[np.bool_]) -> tuple[float, float, int]:
    """The next simulated click: x and y of a pixel centre, and its label (1 positive, 0 negative).

    It falls on the deepest pixel of the false negatives or of the false positives, whichever cover more pixels.
    """
    missing, surplus = ground_truth & ~mask, mask & ~ground_truth
    label = int(missing.sum() >= surplus.sum())
    column, row = deepest_pixel(missing if label else surplus)
    return column + 0.5, row + 0.5, label


def evaluate_click(
    engine: Engine,
    folder: Path,
    *,
    selection: ImageSelection = ALL_IMAGES,
    progress: Progress = NO_PROGRESS,
) -> ClickScores:
    """Click on every object of labelled images until its mask is right, at most 20 times.

    Args:
        engine: Engine of the preset to measure.
        folder: Labelled folder (`images/` and `annotations.json`).
        selection: Which images are measured.
        progress: Reports images; cancels between them.
    """
    data = LabelledFolder.read(folder)
    images = selection.images(data)

    def labelled() -> Iterator[ClickImage]:
        for row in images:
            image = Image.open(row.file)
            parts = [
                (data.categories.get(annotation.get("category_id", -1), "?"), part)
                for annotation in row.annotations
                for part in objects([annotation], image.size_hw)
            ]
            yield ClickImage(image, parts)

    results = click_objects(engine, labelled(), total=len(images), progress=progress)
    return click_scores(
        results, images=len(images), preset=engine.model.name, names=list(data.categories.values()), seed=selection.seed
    )


def click_objects(
    engine: Engine,
    labelled: Iterable[ClickImage],
    *,
    total: int,
    most: int = _MAX_OBJECTS,
    progress: Progress = NO_PROGRESS,
) -> list[ObjectResult]:
    """Click on the objects of images; cancels between objects.

    Args:
        engine: Engine of the preset to measure.
        labelled: Images with their objects.
        total: Number of images.
        most: Largest number of objects of an image.
        progress: Reports images.
    """
    results: list[ObjectResult] = []
    for done, (image, parts) in enumerate(labelled):
        progress.report(done, total)
        for name, part in sorted(parts, key=lambda pair: -int(pair[1].sum()))[:most]:
            progress.check()
            results.append(_click_object(engine, image, name, part))
    progress.report(total, total)
    return results


def click_scores(
    results: Sequence[ObjectResult], *, images: int, preset: str, names: Sequence[str], seed: int = 0
) -> ClickScores:
    """Means over objects.

    Args:
        results: Of the objects.
        images: Number of images.
        preset: That was measured.
        names: Of the categories.
        seed: By which images were drawn.
    """
    by_class: dict[str, list[float]] = {}
    for result in results:
        by_class.setdefault(result.category, []).append(result.iou_after(5))
    after_5 = _mean([result.iou_after(5) for result in results])
    return ClickScores(
        preset=preset,
        seed=seed,
        images=images,
        objects=len(results),
        classes=len(by_class),
        iou_1click=_mean([result.iou_after(1) for result in results]),
        iou_5click=after_5,
        noc85=_mean([result.clicks_to_target for result in results]),
        miou=after_5,
        pixel_accuracy=_mean([result.accuracy for result in results]),
        per_class={name: _mean(by_class[name]) if name in by_class else None for name in names},
    )


def _click_object(engine: Engine, image: Image, category: str, ground_truth: NDArray[np.bool_]) -> ObjectResult:
    """Click until IoU 0.85 is reached, but at least five times, which are scored as well; a perfect mask ends it."""
    points: list[tuple[float, float, int]] = []
    ious: list[float] = []
    mask, start, accuracy = np.zeros_like(ground_truth), None, 0.0
    while len(points) < _MAX_CLICKS and (mask != ground_truth).any():
        points.append(next_click(mask, ground_truth))
        masks = engine.segment_click(image, [p[:2] for p in points], [p[2] for p in points], start=start).masks()
        start = masks[0] if masks else None
        mask = masks[0].to_array() if masks else np.zeros_like(ground_truth)
        ious.append(iou(mask, ground_truth))
        if len(points) <= 5:
            accuracy = float((mask == ground_truth).mean())
        if len(points) >= 5 and max(ious) >= _TARGET_IOU:
            break
    return ObjectResult(category, ious, accuracy)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
