"""Batch predictions: the proposals of one prompt over many images, and which images are done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, PromptKind
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import NewAnnotation, NewPrediction, clean_name

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
            replaced = [(image_id, draft.category, draft.source) for draft in new]
            replaced += [(image_id, name, source) for name in names]
            _delete_open(db, replaced, user, everything=everything)
            ids = history.add_masks(db, new)
            if prompt is not None:
                db.add(EventRow(at=now(), user=user, kind="predicted", image_id=image_id, after={"prompt": prompt}))
            return queries.annotations_by_id(db, ids)

    def add_batch(
        self, new: Sequence[NewPrediction], prompt: str, user: str, *, names: Sequence[str], since: int
    ) -> tuple[set[int], int]:
        """Add what a batch predicts on some images, all or nothing, and mark them as done.

        Args:
            new: of each image, its masks, perhaps none; they replace its earlier open proposals.
            prompt: key of the batch.
            user: who started it.
            names: of the categories in the prompt, also of those without a mask.
            since: change number when the images that are left to do were read, or that of the last call.

        Returns:
            Images that another process has done since then, of which nothing was written; and the change number after
            this call.
        """
        with self._transactions.writing() as db:
            others = set(db.scalars(_done(prompt).where(EventRow.id > since)))
            added = [one for one in new if one.image_id not in others]
            masks = [draft for one in added for draft in one.masks]
            ids = [one.image_id for one in added]
            # held until the end, so that no image is asked for by itself
            present = {row.id: row for row in db.scalars(select(ImageRow).where(ImageRow.id.in_(ids)))}
            for gone in set(ids) - present.keys():
                queries.image_row(db, gone)
            replaced = [(draft.image_id, draft.category, draft.source) for draft in masks]
            replaced += [(one.image_id, name, one.source) for one in added for name in names]
            _delete_open(db, replaced, user)
            history.add_masks(db, masks)
            at, after = now(), {"prompt": prompt}
            db.add_all(
                EventRow(at=at, user=user, kind="predicted", image_id=one.image_id, after=after) for one in added
            )
            db.flush()
            return others & {one.image_id for one in new}, db.scalar(select(func.max(EventRow.id))) or 0

    def images_done(self, prompt: str) -> set[int]:
        """Ids of the images that a batch with this prompt has processed."""
        with self._transactions.reading() as db:
            return set(db.scalars(_done(prompt)))


def _done(prompt: str) -> Select[int]:
    """Ids of the images that a batch has marked as done."""
    row = EventRow
    query = select(row.image_id).where(row.kind == "predicted", row.annotation_id.is_(None), row.image_id.is_not(None))
    return query.where(row.after["prompt"].as_string() == prompt)  # type: ignore[return-value]


def _delete_open(db: Session, replaced: Iterable[tuple[int, str, str]], user: str, *, everything: bool = False) -> None:
    """Delete the open proposals of these images, categories and sources that were, or were not, for everything."""
    keys = {(image_id, clean_name(name), source) for image_id, name, source in replaced}
    row, category = AnnotationRow, CategoryRow
    query = (
        select(row, category.name, PromptRow.provenance)
        .join(category, category.id == row.category_id)
        .outerjoin(PromptRow, PromptRow.id == row.prompt_id)
        .where(row.image_id.in_({image_id for image_id, _, _ in keys}), row.state == "proposed")
        .where(category.name.in_({name for _, name, _ in keys}), category.deleted.is_(False))
        .order_by(row.id)
    )
    for found, name, provenance in db.execute(query).all():
        was_everything = PromptKind.of(provenance or {}) is PromptKind.EVERYTHING
        if (found.image_id, name, found.source) in keys and was_everything == everything:
            history.change(db, found, "state_changed", user, None, state="deleted")
