"""Confusion matrix of label maps, the measures derived from it, and boundary IoU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "BoundaryCounts", "Confusion"]

IGNORED = -1
"""Ground-truth label of pixels that are not counted."""


class Confusion:
    """Confusion matrix summed over images; class 0 is the background."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes + 1, classes + 1), np.int64)
        """Pixels by (ground truth, prediction)."""

    def add(self, ground_truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> None:
        """Count the pixels of one image, except those whose ground truth is negative."""
        side = len(self.counts)
        valid = ground_truth >= 0
        pairs = ground_truth[valid].astype(np.int64) * side + predicted[valid]
        self.counts += np.bincount(pairs, minlength=side * side).reshape(side, side)

    def iou(self) -> list[float | None]:
        """Intersection over union of every class, the background first; None without ground truth."""
        intersection = np.diag(self.counts)
        true, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return [
            float(intersection[k] / (true[k] + predicted[k] - intersection[k])) if true[k] else None
            for k in range(len(self.counts))
        ]

    def precision(self) -> list[float | None]:
        """Share of the pixels predicted as each class that are right; None where none is predicted."""
        return _shares(np.diag(self.counts), self.counts.sum(axis=0))

    def recall(self) -> list[float | None]:
        """Share of the pixels of each class that were found; None without ground truth."""
        return _shares(np.diag(self.counts), self.counts.sum(axis=1))

    def accuracy(self) -> float:
        """Share of the counted pixels whose class is right; 0 when none is counted."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else 0.0


_BOUNDARY = 0.02
"""Width of the boundary region, as a share of the image's diagonal."""


class BoundaryCounts:
    """Boundary IoU (Cheng et al., 2021) of every class, intersections and unions summed over images.

    The boundary region of a mask are its pixels within 2 % of the image's diagonal of its contour; the image's border
    counts as contour. Pixels that are not counted belong to no mask.
    """

    def __init__(self, classes: int) -> None:
        self._sums = np.zeros((classes, 3), np.int64)
        """Pixels of the intersection, of the union, and of the ground truth's boundary region, by class from 1"""

    def add(self, ground_truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> None:
        """Count the boundary pixels of one image, except where the ground truth is negative."""
        width = max(1, round(_BOUNDARY * math.hypot(*ground_truth.shape)))
        predicted = np.where(ground_truth >= 0, predicted, 0)
        for label in np.union1d(ground_truth, predicted):
            if label > 0:
                true, found = (_boundary(labels == label, width) for labels in (ground_truth, predicted))
                self._sums[label - 1] += (true & found).sum(), (true | found).sum(), true.sum()

    def iou(self) -> list[float | None]:
        """Boundary IoU of every class; None without ground truth."""
        return [float(both / either) if true else None for both, either, true in self._sums]


def _boundary(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    from scipy.ndimage import distance_transform_cdt

    distance: NDArray[np.int32] = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")
    return mask & (distance[1:-1, 1:-1] <= width)


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
