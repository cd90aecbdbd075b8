"""The masks on the planes of a stack as objects: one number for what overlaps from plane to plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, PlaneRecord

if TYPE_CHECKING:
    from maskwright.session.session import AnnotationSession

__all__ = ["StackLabels", "join_planes", "label_stack"]

_OVERLAP = 0.5
"""Share of the smaller of two masks that the other must cover for them to be one object."""


@dataclass(frozen=True, slots=True, eq=False)
class StackLabels:
    """The accepted masks of a stack as numbers of objects."""

    labels: NDArray[np.int32]
    """(leading axes, H, W): 0 is no object."""
    objects: tuple[tuple[int, str, int], ...]
    """(number, category, planes) of each object, from 1."""


def join_planes(planes: Sequence[Sequence[Annotation]]) -> dict[int, int]:
    """Number the objects that masks on successive planes show.

    Masks of one category on neighbouring planes are one object where half of the smaller lies in the other. An object
    has at most one mask on a plane: of several that fit, the pair with the largest IoU.

    Args:
        planes: the masks of each plane, in order.

    Returns:
        The object's number, from 1, by annotation id.
    """
    from pycocotools import mask as coco

    numbers: dict[int, int] = {}
    before: Sequence[Annotation] = ()
    for masks in planes:
        pairs = []
        if masks and before:
            shares = coco.iou([dict(a.mask.rle) for a in masks], [dict(b.mask.rle) for b in before], [0] * len(before))
            for row, column in zip(*np.nonzero(shares), strict=True):
                ours, theirs, iou = masks[row], before[column], float(shares[row, column])
                common = iou * (ours.mask.area + theirs.mask.area) / (1 + iou)
                if ours.category == theirs.category and common >= _OVERLAP * min(ours.mask.area, theirs.mask.area):
                    pairs.append((iou, ours.id, theirs.id))
        joined: set[int] = set()
        for _, ours_id, theirs_id in sorted(pairs, key=lambda pair: -pair[0]):
            if ours_id not in numbers and theirs_id not in joined:
                numbers[ours_id] = numbers[theirs_id]
                joined.add(theirs_id)
        for annotation in masks:
            if annotation.id not in numbers:
                numbers[annotation.id] = max(numbers.values(), default=0) + 1
        before = masks
    return numbers


def label_stack(
    session: AnnotationSession, record: PlaneRecord, leading_shape: Sequence[int], axis: int
) -> StackLabels:
    """Label the accepted masks of a stack by object.

    Args:
        session: of the project.
        record: of any plane of the stack.
        leading_shape: lengths of the stack's leading axes.
        axis: along which masks are joined, among the leading axes.
    """
    planes: dict[tuple[int | None, ...], list[Annotation]] = {}
    size = 1, 1
    for image in session.images.records():
        plane = image.plane
        if plane is None or plane.stack() != record.stack():
            continue
        inside = all(n is None or n < length for n, length in zip(plane.index, leading_shape, strict=True))
        if inside and plane.index[axis] is not None:
            size = image.height, image.width
            planes[plane.index] = [mask.annotation for mask in session.masks.of_image(image.id) if mask.accepted]
    labels = np.zeros((*leading_shape, *size), np.int32)
    objects: dict[int, tuple[str, int]] = {}
    # masks are joined along one axis: the planes that differ in another are stacks of their own
    others = {(*index[:axis], *index[axis + 1 :]) for index in planes}
    for other in sorted(others, key=str):
        line = [planes.get((*other[:axis], n, *other[axis:]), []) for n in range(leading_shape[axis])]
        numbers, first = join_planes(line), len(objects)
        for n, masks in enumerate(line):
            place = tuple(slice(None) if part is None else part for part in (*other[:axis], n, *other[axis:]))
            for annotation in sorted(masks, key=lambda a: -a.mask.area):
                number = first + numbers[annotation.id]
                x, y, width, height = annotation.mask.bbox
                labels[place][..., y : y + height, x : x + width][..., annotation.mask.part()] = number
                objects[number] = annotation.category, objects.get(number, ("", 0))[1] + 1
    return StackLabels(labels, tuple((number, *objects[number]) for number in sorted(objects)))
