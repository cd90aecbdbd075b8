"""Pixel counts and the measures made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "Confusion"]

IGNORED = -1
"""Label of pixels that are not counted."""


class Confusion:
    """Pixel counts summed over images; class 0 is the background, which is never averaged."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes + 1, classes + 1), np.int64)

    def add(self, truth: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> None:
        """Count one image; pixels whose truth is negative are left out."""
        side = len(self.counts)
        valid = truth >= 0
        pairs = truth[valid].astype(np.int64) * side + predicted[valid]
        self.counts += np.bincount(pairs, minlength=side * side).reshape(side, side)

    def iou(self) -> list[float | None]:
        """Intersection over union of every class, the background first; None where there is no ground truth."""
        inside = np.diag(self.counts)
        truth, predicted = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return [
            float(inside[k] / (truth[k] + predicted[k] - inside[k])) if truth[k] else None
            for k in range(len(self.counts))
        ]

    def accuracy(self) -> float:
        """Share of the counted pixels that are right."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else 0.0
