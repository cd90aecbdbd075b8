"""Interactive segmentation as its papers measure it: clicks into the deepest error until an IoU is reached.

Unlike `evaluation.clicks`, whose next click falls into the larger error, it falls into the deeper one, pixels without
ground truth count for neither, and no pixel is clicked twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.engine import Engine
from maskwright.formats.benchmarks.episodes import MaskedImage

__all__ = ["ClickBenchmarkScores", "click_on", "summary"]

_MOST = 20
"""Clicks on an object at most."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickBenchmarkScores:
    """Means over objects, for the candidate of the highest predicted IoU and for the best one (oracle)."""

    task: str = "click"
    method: str = "sam"
    preset: str
    images: int
    predicted: dict[str, float]
    """`iou_1click`, `iou_3click`, `iou_5click`, and the clicks to IoU 0.85 and 0.9: `noc85`, `noc90`."""
    oracle: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def click_on(engine: Engine, shown: MaskedImage, *, oracle: bool) -> list[float]:
    """IoU after each of the clicks on an object; they end at IoU 0.9 after five, at a perfect mask, or after 20.

    Args:
        engine: to measure.
        shown: the image and its object.
        oracle: keep the candidate that fits best, instead of the one that is predicted to.
    """
    counted = np.ones_like(shown.mask) if shown.ignored is None else ~shown.ignored
    mask, start = np.zeros_like(shown.mask), None
    free = np.ones_like(shown.mask)
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    ious: list[float] = []
    while len(points) < _MOST and (len(ious) < 5 or max(ious) < 0.9):
        column, row, label = _next(mask, shown.mask, counted, free)
        if label < 0:
            break
        free[row, column] = False
        points.append((column + 0.5, row + 0.5))
        labels.append(label)
        masks = engine.segment_click(shown.image, points, labels, start=start).masks()
        fits = [_iou(candidate.to_array(), shown.mask, counted) for candidate in masks]
        best = int(np.argmax(fits)) if oracle and fits else 0
        start = masks[best] if masks else None
        mask = np.zeros_like(shown.mask) if start is None else start.to_array()
        ious.append(fits[best] if fits else 0.0)
    return ious


def _iou(found: Mask, true: Mask, counted: Mask) -> float:
    either = int(((found | true) & counted).sum())
    return int((found & true & counted).sum()) / either if either else 1.0


def _next(mask: Mask, true: Mask, counted: Mask, free: Mask) -> tuple[int, int, int]:
    """(column, row, label) of the deepest pixel of all errors; label -1 where there is none left to click on."""
    from scipy.ndimage import distance_transform_edt

    missing, surplus = (
        distance_transform_edt(np.pad(error & counted, 1))[1:-1, 1:-1] * free for error in (true & ~mask, mask & ~true)
    )
    label = int(missing.max() > surplus.max())
    depth = missing if label else surplus
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(column), int(row), label if depth.max() > 0 else -1


def summary(runs: Sequence[Sequence[float]]) -> dict[str, float]:
    """Means over objects of their IoUs after each click."""
    result = {
        f"iou_{count}click": float(np.mean([run[min(count, len(run)) - 1] if run else 0.0 for run in runs]))
        for count in (1, 3, 5)
    }
    for target in (85, 90):
        clicks = [next((n for n, iou in enumerate(run, start=1) if iou >= target / 100), _MOST) for run in runs]
        result[f"noc{target}"] = float(np.mean(clicks))
    return result
