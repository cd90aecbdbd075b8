"""Prompts and masks that a user drew in other layers, or that another program made: many at once, as proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.errors import BadPrompt, MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.session.messages import plural

if TYPE_CHECKING:
    from maskwright.session.session import AnnotationSession

__all__ = ["DrawnPrompt", "masks_of_labels", "polygon_mask", "propose_drawn", "propose_masks"]


@dataclass(frozen=True, slots=True)
class DrawnPrompt:
    """What was drawn of one object."""

    points: tuple[tuple[float, float, int], ...] = ()
    """x, y in pixels, and 1 (positive) or 0 (negative)"""
    box: tuple[float, float, float, float] | None = None
    """left, top, right, bottom in pixels"""
    mask: Mask | None = None
    """A rough mask; the model starts from it and its box."""


def propose_drawn(
    session: AnnotationSession,
    image_id: int,
    prompts: Sequence[DrawnPrompt],
    category: str,
    *,
    progress: Progress = NO_PROGRESS,
) -> str:
    """Answer each prompt by clicks, and store the best mask of each as a proposal; nothing when it is cancelled.

    Args:
        session: of the project.
        image_id: the image that they lie on.
        prompts: one for each object.
        category: name of the objects.
        progress: reports prompts, and cancels between them.

    Returns:
        A sentence on how many there are.

    Raises:
        BadPrompt: none of them lies in the image.
        Cancelled: on request.
    """
    found: list[tuple[Mask, Mapping[str, Any]]] = []
    problem: BadPrompt | None = None
    for number, prompt in enumerate(prompts):
        progress.check()
        progress.report(number, len(prompts), "Objects")
        try:
            answer = session.propose_click(
                image_id, prompt.points, prompt.box or _box(prompt.mask), previous=prompt.mask
            )
        except BadPrompt as error:
            problem = error
            continue
        session.drop([proposal.id for proposal in answer.all])
        found += [(proposal.mask, proposal.provenance) for proposal in answer.all[:1]]
    if problem is not None and not found:
        raise problem
    session.masks.store_proposals(image_id, found, category)
    return f"{plural(len(found), 'proposal')} for {plural(len(prompts), 'drawn prompt')}."


def propose_masks(session: AnnotationSession, image_id: int, masks: Sequence[Mask], category: str, origin: str) -> str:
    """Store masks that another program made as proposals, in place of open ones that came so before.

    Args:
        session: of the project.
        image_id: the image that they lie on.
        masks: of the image's size; those with a category keep it.
        category: name of the others.
        origin: where they come from, such as the name of a layer.

    Returns:
        A sentence on how many there are.

    Raises:
        MaskwrightError: there is none, or they have another size than the image.
    """
    record = session.images.record(image_id)
    masks = [mask for mask in masks if mask.area]
    if not masks:
        raise MaskwrightError(f"{origin} has no mask on this image.", "Paint or draw one, then use it again.")
    if any(tuple(mask.rle["size"]) != (record.height, record.width) for mask in masks):
        raise MaskwrightError(f"{origin} has another size than the image.", "Use a layer of the same size.")
    provenance = {"source": "import", "from": origin}
    session.masks.store_proposals(image_id, [(mask, provenance) for mask in masks], category)
    return f"{plural(len(masks), 'proposal')} from {origin}."


def masks_of_labels(labels: NDArray[np.integer[Any]], names: Mapping[int, str]) -> list[Mask]:
    """A mask for each label of an image.

    Args:
        labels: (H, W); 0 is background.
        names: categories by label; the other masks have none.
    """
    from scipy import ndimage

    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    # objects are counted from 1; a background of 0 comes first where there is one
    objects = ndimage.find_objects(numbers + 1)
    return [
        Mask.from_part(
            numbers[place] == number, (place[1].start, place[0].start), labels.shape, category=names.get(int(value))
        )
        for number, (value, place) in enumerate(zip(values, objects, strict=True))
        if value > 0
    ]


def polygon_mask(corners: NDArray[np.float64], size_hw: tuple[int, int]) -> Mask:
    """The pixels whose centres lie in a polygon.

    Args:
        corners: (N, 2) x, y in pixels, origin at the corner of the image.
        size_hw: (H, W) of the image.
    """
    from skimage.draw import polygon

    filled = np.zeros(size_hw, np.bool_)
    filled[polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, size_hw)] = True
    return Mask.from_array(filled)


def _box(mask: Mask | None) -> tuple[float, float, float, float] | None:
    if mask is None:
        return None
    x, y, width, height = mask.bbox
    return x, y, x + width, y + height
