"""Following a mask through planes: it stops where it is lost, keeps what was found, and ends at once on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.domain import Image, Mask, Prediction, PromptKind, Reference
from maskwright.errors import MaskwrightError
from maskwright.progress import Progress
from maskwright.session import AnnotationSession, StackPlane, propagate
from tests.core.session.conftest import SIZE_HW, ScriptedEngine, box


class Following(ScriptedEngine):
    """Answers examples with the region and the confidence of the plane, which its first pixel names."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, tuple[Any, float]] = {}
        self.references: list[list[int]] = []

    def segment_like(self, image: Image, references: list[Reference], *_: Any, progress: Progress, **__: Any) -> Any:
        progress.check()
        self.references.append([int(reference.image.pixels[0, 0, 0]) for reference in references])
        region, score = self.answers[int(image.pixels[0, 0, 0])]
        provenance = self._provenance(PromptKind.REFERENCE, [], {})
        return Prediction(region.astype(np.int32), ("cell",), (score,), (score,), (), provenance)


@pytest.fixture
def engine() -> Following:
    return Following()


def _planes(count: int, *, reads: list[int] | None = None) -> list[StackPlane]:
    def read(number: int) -> Image:
        if reads is not None:
            reads.append(number)
        return Image(np.full((*SIZE_HW, 3), number, np.uint8), f"z{number}")

    return [StackPlane(f"z{number}", lambda number=number: read(number)) for number in range(count)]  # type: ignore[misc]


def _accepted(session: AnnotationSession, planes: list[StackPlane], number: int) -> int:
    return session.project.accept(planes[number].read(), Mask.from_array(box(5, 12)), "cell").id


def test_both_sides_are_followed_until_the_confidence_drops(session: AnnotationSession, engine: Following) -> None:
    reads: list[int] = []
    planes = _planes(7, reads=reads)
    engine.answers = {n: (box(5, 12), 0.8) for n in range(7)}
    engine.answers[5] = (box(5, 12), 0.39)
    engine.answers[0] = (np.zeros(SIZE_HW, bool), 0.0)
    accepted = _accepted(session, planes, 3)
    reads.clear()
    result = propagate(session, accepted, planes, 3)
    assert result.message == "Proposals on 3 planes. Lost at z5 and z0."
    assert reads == [4, 5, 2, 1, 0], "a plane beyond the one where it was lost is not read"
    # the accepted mask, and what was found beside it
    assert engine.references == [[3], [3, 4], [3], [3, 2], [3, 1]]
    for image_id in result.images:
        (mask,) = session.masks.of_image(image_id)
        assert (mask.annotation.state, mask.annotation.category) == ("proposed", "cell")
    lost = session.images.known(planes[5].read())
    assert lost is not None
    assert session.masks.of_image(lost) == []


def test_the_object_is_the_part_that_overlaps_the_plane_before(session: AnnotationSession, engine: Following) -> None:
    planes = _planes(3)
    engine.answers = {0: (box(6, 13) | box(20, 24), 0.8), 2: (box(20, 24), 0.8)}
    result = propagate(session, _accepted(session, planes, 1), planes, 1)
    after, before = (session.masks.of_image(image_id)[0].annotation.mask for image_id in result.images)
    assert np.array_equal(before.to_array(), box(6, 13))
    assert np.array_equal(after.to_array(), box(20, 24)), "it moved off: all of the answer"


def test_a_cancelled_propagation_keeps_what_was_found(session: AnnotationSession, engine: Following) -> None:
    planes = _planes(9)
    engine.answers = {n: (box(5, 12), 0.8) for n in range(9)}
    accepted = _accepted(session, planes, 0)

    class AfterThree(Progress):
        stages: list[str] = []  # noqa: RUF012 - one test

        def report(self, done: int, total: int, stage: str = "") -> None:
            self.stages.append(f"{stage} {done} of {total}")

        def cancelled(self) -> bool:
            return len(self.stages) > 3

    result = propagate(session, accepted, planes, 0, progress=AfterThree())
    assert AfterThree.stages == ["z1 0 of 8", "z2 1 of 8", "z3 2 of 8", "z4 3 of 8"]
    assert result.cancelled
    assert result.message == "Stopped. Proposals on 3 planes."
    assert len(result.images) == 3


def test_a_rejected_mask_is_not_followed(session: AnnotationSession) -> None:
    planes = _planes(2)
    accepted = _accepted(session, planes, 0)
    session.project.reject(accepted)
    with pytest.raises(MaskwrightError, match="accepted"):
        propagate(session, accepted, planes, 0)
