"""Proposals that say again what was accepted already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskwright.domain import Mask

__all__ = ["INSIDE", "IOU", "duplicates"]

IOU = 0.8
INSIDE = 0.9


def duplicates(proposed: Sequence[Mask], accepted: Sequence[Mask]) -> list[bool]:
    """For each proposal whether an accepted mask of its category has nearly the same pixels.

    That is: an IoU of 0.8, or nine tenths of the smaller one inside the larger one. Masks are compared, not boxes;
    another category never makes a duplicate.
    """
    from pycocotools import mask as coco

    duplicate = [False] * len(proposed)
    for category in {mask.category for mask in proposed} & {mask.category for mask in accepted}:
        ours = [place for place, mask in enumerate(proposed) if mask.category == category]
        theirs = [mask for mask in accepted if mask.category == category]
        # for a crowd pycocotools divides by the proposal's area alone
        shared = np.asarray(
            coco.iou(
                [dict(proposed[place].rle) for place in ours], [dict(mask.rle) for mask in theirs], [1] * len(theirs)
            )
        )
        own = np.array([proposed[place].area for place in ours], float)[:, None]
        other = np.array([mask.area for mask in theirs], float)[None]
        both = shared * own
        same = (both >= IOU * (own + other - both)) | (both >= INSIDE * np.minimum(own, other))
        for place, repeats in zip(ours, (same & (both > 0)).any(axis=1), strict=True):
            duplicate[place] = bool(repeats)
    return duplicate
