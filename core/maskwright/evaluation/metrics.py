"""Confusion matrix of label maps, and the measures derived from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "Confusion"]

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

    def accuracy(self) -> float:
        """Share of the counted pixels whose class is right; 0 when none is counted."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else 0.0
