"""Masks on the planes of a stack become objects: one number for what overlaps from plane to plane."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskwright.domain import Image, PlaneRecord
from maskwright.session import AnnotationSession, label_stack
from tests.core.session.conftest import SIZE_HW, box

RECORD = PlaneRecord("cells", "", ("T", "Z"), (0, 0))


def _accept(session: AnnotationSession, index: tuple[int | None, ...], **masks: list[object]) -> None:
    seed = sum((n or 0) * 10**place for place, n in enumerate(index))
    pixels = np.full((*SIZE_HW, 3), seed, np.uint8)
    image = replace(Image(pixels, "cells"), plane=replace(RECORD, index=index))
    for category, regions in masks.items():
        for region in regions:
            session.project.accept(image, region, category)  # type: ignore[arg-type]


def test_what_overlaps_is_one_object(session: AnnotationSession) -> None:
    _accept(session, (0, 0), cell=[box(0, 8), box(20, 28)])
    # one wanders to the right, one ends, one of another class begins at its place
    _accept(session, (0, 1), cell=[box(3, 11)], nucleus=[box(20, 28)])
    # two pieces lie on the same mask: the larger goes on, the other is new
    _accept(session, (0, 2), cell=[box(4, 6), box(6, 12)], nucleus=[box(22, 26)])
    # another point in time
    _accept(session, (1, 2), cell=[box(6, 12)])
    # not of this stack
    session.project.accept(1, box(0, 30), "cell")
    result = label_stack(session, RECORD, (2, 3), 1)
    assert result.labels.shape == (2, 3, *SIZE_HW)
    rows = {place: result.labels[place][0].tolist() for place in ((0, 0), (0, 1), (0, 2), (1, 2))}
    first, second = rows[0, 0][0], rows[0, 0][20]
    assert first != second
    assert rows[0, 1][3] == first
    nucleus = rows[0, 1][20]
    assert nucleus not in (0, first, second)
    assert rows[0, 2][22] == nucleus
    assert rows[0, 2][8] == first
    assert rows[0, 2][4] not in (0, first, second, nucleus)
    assert rows[1, 2][6] not in {*np.unique(result.labels[0])}
    assert not result.labels[1, :2].any()
    planes = {number: (category, count) for number, category, count in result.objects}
    assert planes[first] == ("cell", 3)
    assert planes[nucleus] == ("nucleus", 2)
    assert sorted(planes) == sorted(set(np.unique(result.labels)) - {0})


def test_a_rejected_mask_and_a_stack_without_masks(session: AnnotationSession) -> None:
    _accept(session, (0, 0), cell=[box(0, 8)])
    (mask,) = session.project.annotations(3)
    session.project.reject(mask)
    result = label_stack(session, RECORD, (1, 1), 1)
    assert not result.labels.any()
    assert result.objects == ()
