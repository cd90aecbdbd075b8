"""Matching of objects, F1 and panoptic quality, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.domain import Mask, rle
from maskwright.domain.rle import Rle
from maskwright.domain.scores import Scores
from maskwright.evaluation.instances import InstanceCounts


def columns(first: int, last: int) -> Rle:
    plane = np.zeros((10, 100), np.bool_)
    plane[:, first:last] = True
    return rle.encode(plane)


def masks(*spans: tuple[int, int]) -> list[Mask]:
    return [Mask.from_array(rle.decode(columns(*span)), category="cow") for span in spans]


def test_matches_misses_and_false_positives() -> None:
    counts = InstanceCounts()
    # IoU 1, 0.8 and exactly 0.5, which is no match
    counts.add(masks((0, 10), (20, 28), (40, 45), (90, 95)), [columns(0, 10), columns(20, 30), columns(40, 50)], [])
    assert (counts.matched, counts.false_positives, counts.missed) == (2, 2, 1)
    assert counts.scores == pytest.approx((2 / 3.5, 0.9, 1.8 / 3.5))


def test_overlapping_annotations_are_matched_once() -> None:
    counts = InstanceCounts()
    counts.add(masks((0, 10)), [columns(0, 10), columns(0, 9)], [])
    assert (counts.matched, counts.false_positives, counts.missed) == (1, 0, 1)


def test_crowds_are_ignored() -> None:
    counts = InstanceCounts()
    counts.add(masks((0, 10), (50, 60), (78, 90)), [columns(0, 10)], [columns(45, 80)])
    assert (counts.matched, counts.false_positives, counts.missed) == (1, 1, 0), "one lies in the crowd, one beside it"


def test_classes_without_objects_are_not_averaged() -> None:
    cow, sheep, dog = InstanceCounts(), InstanceCounts(), InstanceCounts()
    cow.add(masks((0, 10)), [columns(0, 10)], [])
    sheep.add([], [columns(0, 10)], [])
    dog.add(masks((0, 10)), [], [])
    scores = InstanceCounts.summary({"cow": cow, "sheep": sheep, "dog": dog})
    assert (scores.objects, scores.f1, scores.pq) == (2, 0.5, 0.5)
    assert scores.per_class["dog"] is None
    assert scores.per_class["sheep"] == {"f1": 0.0, "mean_iou": 0.0, "pq": 0.0}
    plain = Scores(
        method="m", preset="p", images=1, classes=1, miou=0.5, pixel_accuracy=0.5, per_class={"cow": 0.5},
        instances=scores,
    )  # fmt: skip
    assert Scores.from_dict(plain.to_dict()) == plain
