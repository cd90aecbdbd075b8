"""Values of the public endpoints: what programs send, checked, and masks as they receive them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskwright.domain import Mask
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import BadPrompt, Proposals, UsageError

__all__ = ["ids", "mask_of", "masks_json", "points_of"]

_LARGEST_SIDE = 100_000
"""Pixels of the longer side of an image, at most."""


def ids(proposals: Sequence[str]) -> list[ProposalId]:
    """Ids of proposals; raises UsageError."""
    return [ProposalId.parse(text) for text in proposals]


def mask_of(segmentation: Any, category: str | None) -> Mask:
    """A mask as a program sends it; raises UsageError."""
    try:
        size, counts = [int(side) for side in segmentation["size"]], str(segmentation["counts"])
        if not 1 <= min(size) <= max(size) <= _LARGEST_SIDE or len(size) != 2:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError("A segmentation must be COCO RLE with size [height, width] and counts as text.") from error
    return Mask(category, {"size": size, "counts": counts})


def points_of(points: Any) -> list[tuple[float, ...]]:
    """Points as a program sends them; raises BadPrompt."""
    try:
        rows = [tuple(float(value) for value in point) for point in points or []]
    except (TypeError, ValueError) as error:
        raise BadPrompt("Points must be a list of (x, y) or (x, y, label).") from error
    if any(len(row) not in (2, 3) for row in rows):
        raise BadPrompt("Points must be a list of (x, y) or (x, y, label).")
    return rows


def masks_json(answer: Proposals) -> list[dict[str, Any]]:
    """All masks of an answer in the model's order; masks accepted earlier only change `duplicate`."""
    return [
        {
            "proposal": str(proposal.id),
            "category": proposal.mask.category,
            "score": proposal.mask.score,
            "bbox": list(proposal.mask.bbox),
            "area": proposal.mask.area,
            "segmentation": dict(proposal.mask.rle),
            "duplicate": proposal.id in answer.repeated,
        }
        for proposal in answer.all
    ]
