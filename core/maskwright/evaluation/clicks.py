"""The evaluation protocol of clicks (contracts.md section 2): a robot that clicks where the mask is most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.domain.mask import iou
from maskwright.engine import Engine
from maskwright.evaluation.protocol import chosen_images
from maskwright.formats.labelled_folder import LabelledFolder, objects
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["ClickScores", "deepest", "evaluate_click", "next_click"]

_OBJECTS = 50
"""At most so many of an image, the largest."""
_CLICKS = 20
_TARGET = 0.85


@dataclass(frozen=True, slots=True)
class ClickScores:
    """Result of the click task; means over objects."""

    task: str
    method: str
    preset: str
    seed: int
    images: int
    objects: int
    classes: int
    iou_1click: float
    iou_5click: float
    noc85: float
    """Clicks to IoU 0.85; objects that do not get there in 20 count 20"""
    miou: float
    """iou_5click, under the name that all tasks have"""
    pixel_accuracy: float
    """Share of right pixels after five clicks"""
    per_class: dict[str, float | None]
    """iou_5click by the annotation's category; None where no object was measured"""


def deepest(region: NDArray[np.bool_]) -> tuple[int, int]:
    """(column, row) of the pixel of an (H, W) region that is farthest from its outside; the border is outside."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    part = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    depth = distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(columns[0] + column), int(rows[0] + row)


def next_click(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, int]:
    """Where the robot clicks next: x, y in the middle of a pixel, and the sign.

    It is the deepest pixel of what is missing or of what is too much, whichever is larger.
    """
    missing, surplus = truth & ~mask, mask & ~truth
    sign = int(missing.sum() >= surplus.sum())
    column, row = deepest(missing if sign else surplus)
    return column + 0.5, row + 0.5, sign


def evaluate_click(
    engine: Engine,
    folder: Path,
    *,
    only_held_out: bool = False,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> ClickScores:
    """Click on every object of labelled images until its mask is right, or 20 times.

    Args:
        engine: with the preset to measure.
        folder: `images/` and `annotations.json`.
        only_held_out: only images that training leaves out.
        limit: at most so many images, drawn by `seed`.
        seed: of the draw.
        progress: hears how many images are done.
    """
    data = LabelledFolder.read(folder)
    images = chosen_images(data, only_held_out=only_held_out, limit=limit, seed=seed)
    rows: list[tuple[str, list[float], float]] = []
    for done, one in enumerate(images):
        progress.report(done, len(images))
        image = Image.open(one.file)
        named = [
            (data.categories.get(row.get("category_id", -1), "?"), part)
            for row in one.annotations
            for part in objects([row], image.size_hw)
        ]
        named.sort(key=lambda pair: -int(pair[1].sum()))
        for name, truth in named[:_OBJECTS]:
            reached, right = _clicked(engine, image, truth)
            rows.append((name, reached, right))
    progress.report(len(images), len(images))
    after = {n: float(np.mean([_after(reached, n) for _, reached, _ in rows])) if rows else 0.0 for n in (1, 5)}
    by_class: dict[str, list[float]] = {}
    for name, reached, _ in rows:
        by_class.setdefault(name, []).append(_after(reached, 5))
    return ClickScores(
        task="click",
        method="sam",
        preset=engine.model.name,
        seed=seed,
        images=len(images),
        objects=len(rows),
        classes=len(by_class),
        iou_1click=after[1],
        iou_5click=after[5],
        noc85=float(np.mean([_needed(reached) for _, reached, _ in rows])) if rows else 0.0,
        miou=after[5],
        pixel_accuracy=float(np.mean([right for *_, right in rows])) if rows else 0.0,
        per_class={
            name: float(np.mean(by_class[name])) if name in by_class else None for name in data.categories.values()
        },
    )


def _clicked(engine: Engine, image: Image, truth: NDArray[np.bool_]) -> tuple[list[float], float]:
    """IoU after each click, and the share of right pixels after the fifth.

    It goes on past an IoU of 0.85 to the fifth click, which is reported as well; a mask without an error ends it.
    """
    points: list[tuple[float, float, int]] = []
    reached: list[float] = []
    mask, start, right = np.zeros_like(truth), None, 0.0
    while len(points) < _CLICKS and (mask != truth).any():
        points.append(next_click(mask, truth))
        found = engine.segment_click(image, [p[:2] for p in points], [p[2] for p in points], start=start).masks()
        start = found[0] if found else None
        mask = found[0].to_array() if found else np.zeros_like(truth)
        reached.append(iou(mask, truth))
        if len(points) <= 5:
            right = float((mask == truth).mean())
        if len(points) >= 5 and max(reached) >= _TARGET:
            break
    return reached, right


def _after(reached: Sequence[float], clicks: int) -> float:
    """IoU after so many clicks; a perfect mask needs no more of them."""
    return reached[min(clicks, len(reached)) - 1]


def _needed(reached: Sequence[float]) -> int:
    """Clicks to the target, or the most there are."""
    return next((n for n, value in enumerate(reached, start=1) if value >= _TARGET), _CLICKS)
