"""Values of the session as JSON of the routes; the same for every route that returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskwright.domain import Mask, ReferenceMark
from maskwright.session import Proposal, Proposals, StoredMask

__all__ = ["click_json", "mask_json", "masks_json", "missing_json", "references_json"]


def mask_json(stored: StoredMask, known: int | None = None) -> dict[str, Any]:
    """A stored mask; without its run lengths when the page knows this revision."""
    row = stored.annotation
    values = {
        "key": f"stored:{row.id}",
        "annotation": row.id,
        "uid": row.uid,
        "revision": row.revision,
        "state": row.state,
        "color": "" if row.unnamed else stored.color,
        "source": row.source,
        "out_of_vocabulary": row.out_of_vocabulary,
        "duplicate": stored.duplicate,
        "reference_of": list(stored.reference_of),
        "negative_reference_of": list(stored.negative_reference_of),
        "annotator": row.annotator,
        "updated_at": row.updated_at,
    }
    return values | _pixels(row.mask, "" if row.unnamed else row.category, with_rle=known != row.revision)


def masks_json(stored: Sequence[StoredMask], known: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """Stored masks; `known` are revisions by key."""
    return [mask_json(mask, (known or {}).get(f"stored:{mask.annotation.id}")) for mask in stored]


def click_json(proposal: Proposal, color: str) -> dict[str, Any]:
    """A candidate of a click, which is in memory until somebody accepts it."""
    values = {
        "key": str(proposal.id),
        "revision": 1,
        "state": "click",
        "color": color,
        "source": proposal.provenance.get("source", "click"),
        "duplicate": False,
        "corrects": proposal.corrects.id if proposal.corrects else None,
    }
    return values | _pixels(proposal.mask, proposal.mask.category or "object", with_rle=True)


def _pixels(mask: Mask, category: str, *, with_rle: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "category": category,
        "score": None if mask.score is None else round(float(mask.score), 4),
        "area": mask.area,
        "bbox": list(mask.bbox),
    }
    return values | ({"rle": dict(mask.rle)} if with_rle else {})


def references_json(marks: Sequence[ReferenceMark]) -> list[dict[str, Any]]:
    """Which accepted masks are examples, of which class, and whether they show what it is or what it is not."""
    return [{"annotation": mark.annotation_id, "category": mark.category, "shows": mark.shows} for mark in marks]


def missing_json(answer: Proposals) -> list[dict[str, Any]]:
    """Names of the prompt without a mask, each with the best probability of any pixel."""
    prediction, found = answer.prediction, {proposal.mask.category for proposal in answer.all}
    return [
        {"name": name, "best": round(float(best), 4)}
        for name, best in zip(prediction.categories, prediction.max_scores, strict=True)
        if name not in found
    ]
