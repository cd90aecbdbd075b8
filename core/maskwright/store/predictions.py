"""Batch predictions: the proposals of one prompt over many images, and which images are done."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, PromptKind
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, EventRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import NewAnnotation, clean_name

__all__ = ["PredictionStore"]


class PredictionStore:
    """The batch predictions of a project."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(
        self,
        image_id: int,
        new: Sequence[NewAnnotation],
        prompt: str | None,
        user: str,
        *,
        source: str = "",
        names: Sequence[str] = (),
        everything: bool = False,
    ) -> list[Annotation]:
        """Add the masks of a prompt on one image, replacing its earlier open proposals.

        Args:
            image_id: of the image.
            new: masks to propose or to accept, perhaps none.
            prompt: key of a batch, which marks the image as done; None for a prompt of its own.
            user: who started it.
            source: of its masks, needed where there may be none.
            names: of the categories in the prompt, also of those without a mask.
            everything: the prompt was for everything in the image, not for these names.
        """
        with self._transactions.writing() as db:
            queries.image_row(db, image_id)
            replaced = dict.fromkeys(
                [(draft.category, draft.source) for draft in new] + [(name, source) for name in names]
            )
            for name, of_source in replaced:
                category = queries.category_row(db, clean_name(name))
                rows = _open_proposals(db, image_id, category.id, of_source) if category else ()
                for row in (row for row, was_everything in rows if was_everything == everything):
                    history.change(db, row, "state_changed", user, None, state="deleted")
            ids = history.add_masks(db, new)
            if prompt is not None:
                db.add(EventRow(at=now(), user=user, kind="predicted", image_id=image_id, after={"prompt": prompt}))
            return queries.annotations_by_id(db, ids)

    def images_done(self, prompt: str) -> set[int]:
        """Ids of the images that a batch with this prompt has processed."""
        query = select(EventRow.image_id, EventRow.after)
        query = query.where(EventRow.kind == "predicted", EventRow.annotation_id.is_(None))
        with self._transactions.reading() as db:
            rows = db.execute(query)
            return {image_id for image_id, after in rows if image_id and (after or {}).get("prompt") == prompt}


def _open_proposals(db: Session, image_id: int, category_id: int, source: str) -> list[tuple[AnnotationRow, bool]]:
    """Open proposals of a category, each with whether a prompt for everything made it."""
    row = AnnotationRow
    query = (
        select(row, PromptRow.provenance)
        .outerjoin(PromptRow, PromptRow.id == row.prompt_id)
        .where(row.image_id == image_id, row.state == "proposed", row.source == source)
        .where(row.category_id == category_id)
    )
    kinds = ((found, PromptKind.of(provenance or {})) for found, provenance in db.execute(query))
    return [(found, kind is PromptKind.EVERYTHING) for found, kind in kinds]
