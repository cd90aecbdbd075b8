"""Objects compared with annotated ones: matching at an IoU of 0.5, F1 and panoptic quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskwright.domain import Mask
from maskwright.domain.rle import Rle
from maskwright.domain.scores import InstanceScores

__all__ = ["InstanceCounts"]

_MATCH = 0.5
"""IoU that a predicted and an annotated object must exceed; predictions are disjoint, so a match is unique."""


class InstanceCounts:
    """Matches of one class, summed over images (Kirillov et al. 2019, Panoptic Segmentation, Eq. 1)."""

    def __init__(self) -> None:
        self.matched = self.false_positives = self.missed = 0
        self.iou = 0.0
        """Sum over the matches."""

    def add(self, predicted: Sequence[Mask], annotated: Sequence[Rle], crowds: Sequence[Rle]) -> None:
        """Count the objects of one class in one image.

        Args:
            predicted: disjoint masks.
            annotated: single objects.
            crowds: regions of many objects; a prediction without a match that lies in them by half is not counted.
        """
        iou, inside = _shares(predicted, annotated, crowd=0), _shares(predicted, crowds, crowd=1)
        matches = {}
        for place, row in enumerate(iou):
            best = int(row.argmax()) if len(annotated) else -1
            # annotations may overlap one another, so each is matched once, by the prediction that fits it best
            if best >= 0 and row[best] > _MATCH and int(iou[:, best].argmax()) == place:
                matches[place] = float(row[best])
        ignored = [p for p in range(len(predicted)) if p not in matches and inside[p].sum() > _MATCH]
        self.matched += len(matches)
        self.iou += sum(matches.values())
        self.false_positives += len(predicted) - len(matches) - len(ignored)
        self.missed += len(annotated) - len(matches)

    @property
    def scores(self) -> tuple[float, float, float] | None:
        """F1, mean IoU of the matches and panoptic quality, 0 to 1; None without annotated objects."""
        if not self.matched + self.missed:
            return None
        half = self.matched + (self.false_positives + self.missed) / 2
        return self.matched / half, self.iou / self.matched if self.matched else 0.0, self.iou / half

    @classmethod
    def summary(cls, counts: Mapping[str, InstanceCounts]) -> InstanceScores:
        """Scores by class name, and their means over the classes with annotated objects."""
        rows = {name: count.scores for name, count in counts.items()}
        known = np.array([row for row in rows.values() if row is not None], float).reshape(-1, 3)
        f1, mean_iou, pq = (float(value) for value in known.mean(axis=0)) if len(known) else (0.0, 0.0, 0.0)
        keys = ("f1", "mean_iou", "pq")
        return InstanceScores(
            objects=sum(count.matched + count.missed for count in counts.values()),
            f1=f1,
            mean_iou=mean_iou,
            pq=pq,
            per_class={name: None if row is None else dict(zip(keys, row, strict=True)) for name, row in rows.items()},
        )


def _shares(first: Sequence[Mask], second: Sequence[Rle], *, crowd: int) -> Any:
    """(N, M) IoU of masks; with crowd 1 the shared part of the first mask."""
    from pycocotools import mask as coco

    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(
        coco.iou([dict(mask.rle) for mask in first], [dict(rle) for rle in second], [crowd] * len(second))
    )
