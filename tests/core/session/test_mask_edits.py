"""Strokes of a brush become revisions, new masks and deletions, in one step; nobody's work is overwritten."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.domain import Mask
from maskwright.errors import Conflict
from maskwright.session import AnnotationSession, MaskEdit
from tests.core.session.conftest import SIZE_HW, box

COW, SKY, BIRD = box(0, 10), box(10, 30), box(2, 6, 2, 6)


@pytest.fixture
def cow(session: AnnotationSession) -> int:
    return session.project.accept(1, COW, "cow").id


def _edit(annotation: int | None, before: object, after: object) -> MaskEdit:
    old = None if before is None else Mask.from_array(before)  # type: ignore[arg-type]
    return MaskEdit(annotation, old, Mask.from_array(after))  # type: ignore[arg-type]


def test_a_stroke_is_a_revision_and_a_new_label_a_mask(session: AnnotationSession, cow: int) -> None:
    wider = box(0, 12)
    edits = [_edit(cow, COW, wider), _edit(None, None, BIRD), _edit(None, None, np.zeros(SIZE_HW, bool))]
    assert session.masks.edit(1, edits, "bird") == "Edited 1 mask. Added 1 mask."
    masks = {mask.annotation.category: mask.annotation for mask in session.masks.of_image(1)}
    assert set(masks) == {"cow", "bird"}
    assert (masks["cow"].id, masks["cow"].revision) == (cow, 2)
    assert np.array_equal(masks["cow"].mask.to_array(), wider)
    assert masks["bird"].source == "manual"
    session.undo(1)
    (restored,) = session.masks.of_image(1)
    assert np.array_equal(restored.annotation.mask.to_array(), COW), "one step"


def test_a_mask_without_pixels_is_deleted(session: AnnotationSession, cow: int) -> None:
    assert session.masks.edit(1, [_edit(cow, COW, np.zeros(SIZE_HW, bool))], "cow") == "Deleted 1 mask."
    assert session.masks.of_image(1) == []
    session.undo(1)
    assert [mask.annotation.id for mask in session.masks.of_image(1)] == [cow]


def test_somebody_elses_change_is_not_painted_over(session: AnnotationSession, cow: int) -> None:
    session.masks.correct(cow, 1, Mask.from_array(SKY), annotator="bea")
    with pytest.raises(Conflict):
        session.masks.edit(1, [_edit(cow, COW, box(0, 12)), _edit(None, None, BIRD)], "bird")
    (theirs,) = session.masks.of_image(1)
    assert np.array_equal(theirs.annotation.mask.to_array(), SKY)
    session.delete([cow])
    with pytest.raises(Conflict):
        session.masks.edit(1, [_edit(cow, SKY, box(0, 12))], "cow")
