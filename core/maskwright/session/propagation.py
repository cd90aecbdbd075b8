"""Following an object from one plane of a stack or series to the others, by example (INSID3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskwright.domain import Image, Mask, Reference
from maskwright.errors import Cancelled
from maskwright.imaging.geometry import label_components
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.session.messages import plural

if TYPE_CHECKING:
    from maskwright.session.session import AnnotationSession

__all__ = ["PropagationResult", "StackPlane", "propagate"]

_LEAST_SHARE = 0.5
"""Of the confidence on the plane beside the reference: below it the object is taken for lost."""


@dataclass(frozen=True, slots=True)
class StackPlane:
    """One plane of a stack, read when its turn comes."""

    name: str
    """For people, such as "z12"."""
    read: Callable[[], Image]


@dataclass(frozen=True, slots=True)
class PropagationResult:
    """Where proposals were made."""

    images: tuple[int, ...]
    """Images with a new proposal, in the order in which they were found."""
    stopped_at: tuple[str, ...]
    """Planes at which the object was lost, on either side."""
    cancelled: bool = False

    @property
    def message(self) -> str:
        """Such as "Proposals on 12 planes. Lost at z20."."""
        lost = f" Lost at {' and '.join(self.stopped_at)}." if self.stopped_at else ""
        return f"{'Stopped. ' if self.cancelled else ''}Proposals on {plural(len(self.images), 'plane')}.{lost}"


def propagate(
    session: AnnotationSession,
    annotation_id: int,
    planes: Sequence[StackPlane],
    start: int,
    *,
    progress: Progress = NO_PROGRESS,
) -> PropagationResult:
    """Propose the object of an accepted mask on the planes before and after its own.

    Each plane is matched with the accepted mask and with what was found on the plane before it; of the answer, the
    parts that overlap the latter are the same object. Where the confidence
    falls below half of that on the first plane, or nothing is found, this direction ends. Proposals that were made
    before a cancellation stay.

    Args:
        session: of the project, which takes in the planes.
        annotation_id: an accepted mask on plane `start`.
        planes: of the stack, in order.
        start: index of the accepted mask's plane.
        progress: reports planes, and cancels between them.
    """
    accepted = session.references.get(annotation_id)
    found: list[int] = []
    lost: list[str] = []
    done = 0
    try:
        for direction in (1, -1):
            before: Reference | None = None
            first = 0.0
            for number in range(start + direction, len(planes) if direction > 0 else -1, direction):
                progress.check()
                progress.report(done, len(planes) - 1, planes[number].name)
                image = planes[number].read()
                image_id = session.images.add(image).id
                answer = session.propose_reference(
                    image_id, [accepted, *([before] if before else [])], progress=progress
                )
                mask = answer.all[0].mask if answer.all else None
                score = 0.0 if mask is None else float(mask.score or 0)
                first = first or score
                if mask is None or score < _LEAST_SHARE * first:
                    session.drop([proposal.id for proposal in answer.all])
                    lost.append(planes[number].name)
                    break
                mask = _same_object(mask, accepted.mask if before is None else before.mask)
                session.masks.propose(answer, instead={answer.all[0].id: mask})
                found.append(image_id)
                before = Reference(image, mask)
                done += 1
    except Cancelled:
        return PropagationResult(tuple(found), tuple(lost), cancelled=True)
    return PropagationResult(tuple(found), tuple(lost))


def _same_object(mask: Mask, before: Mask) -> Mask:
    """The parts of a mask that overlap the one on the plane before; all of it when the object has moved off."""
    if mask.rle["size"] != before.rle["size"]:
        return mask
    parts = label_components(mask.to_array())
    overlapping = np.unique(parts[before.to_array()])
    same = np.isin(parts, overlapping[overlapping > 0])
    return Mask.from_array(same, category=mask.category, score=mask.score) if same.any() else mask
