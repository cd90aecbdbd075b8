"""Proposals that repeat what was accepted already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask

__all__ = ["ACCEPTED_ALREADY", "IOU", "duplicates", "same_mask"]

IOU = 0.8
ACCEPTED_ALREADY = 0.9


def duplicates(proposed: Sequence[Mask], accepted: Sequence[Mask]) -> list[bool]:
    """For each proposal whether it repeats accepted masks of its category.

    That is: an IoU of 0.8 with one of them, or nine tenths of the proposal's own pixels in one or several of them. A
    proposal that is larger than the accepted mask inside it says something new. Masks are compared, not boxes; another
    category never makes a duplicate.
    """
    from pycocotools import mask as coco

    duplicate = [False] * len(proposed)
    for category in {mask.category for mask in proposed} & {mask.category for mask in accepted}:
        ours = [place for place, mask in enumerate(proposed) if mask.category == category]
        theirs = [mask for mask in accepted if mask.category == category]
        masks = [proposed[place] for place in ours]
        # for a crowd pycocotools divides by the proposal's area alone
        share = coco.iou([dict(mask.rle) for mask in masks], [coco.merge([dict(mask.rle) for mask in theirs])], [1])
        repeats = (_iou(masks, theirs).max(axis=1) >= IOU) | (share[:, 0] >= ACCEPTED_ALREADY)
        for place, repeated in zip(ours, repeats, strict=True):
            duplicate[place] = bool(repeated)
    return duplicate


def same_mask(mask: Mask, accepted: Sequence[Mask]) -> int | None:
    """Place of the accepted mask with the largest IoU of at least 0.8, or None; categories are not compared."""
    if not accepted:
        return None
    iou = _iou([mask], accepted)[0]
    return int(iou.argmax()) if iou.max() >= IOU else None


def _iou(proposed: Sequence[Mask], accepted: Sequence[Mask]) -> NDArray[np.float64]:
    """(N, M) IoU of N proposals and M accepted masks."""
    from pycocotools import mask as coco

    shares = coco.iou([dict(m.rle) for m in proposed], [dict(m.rle) for m in accepted], [0] * len(accepted))
    return np.asarray(shares, np.float64)
