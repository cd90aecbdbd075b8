"""Reference marks: masks chosen as positive or negative examples of a category."""

from __future__ import annotations

from sqlalchemy import select

from maskwright.domain import ReferenceMark
from maskwright.store import queries
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ReferenceRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import clean_name

__all__ = ["ReferenceStore"]


class ReferenceStore:
    """The reference marks of a project."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def mark(self, annotation_id: int, category: str, user: str, *, shows: bool | None) -> None:
        """Mark a mask as a positive (True) or negative (False) example of a category, or remove the mark (None).

        Raises:
            MaskwrightError: no such mask or category.
        """
        with self._transactions.writing() as db:
            kind = queries.require_category(db, clean_name(category))
            queries.annotation_row(db, annotation_id)
            row = db.get(ReferenceRow, (annotation_id, kind.id))
            if row is not None:
                db.delete(row)
                db.flush()
            if shows is not None:
                db.add(ReferenceRow(annotation_id=annotation_id, category_id=kind.id, shows=shows))
            after = {"category_id": kind.id, "shows": shows}
            db.add(EventRow(at=now(), user=user, kind="reference_marked", annotation_id=annotation_id, after=after))

    def all(self) -> list[ReferenceMark]:
        """All marks on accepted masks, in the order of the masks."""
        query = (
            select(ReferenceRow.annotation_id, CategoryRow.name, ReferenceRow.shows)
            .join(CategoryRow, CategoryRow.id == ReferenceRow.category_id)
            .join(AnnotationRow, AnnotationRow.id == ReferenceRow.annotation_id)
            .where(AnnotationRow.state == "accepted")
            .order_by(ReferenceRow.annotation_id)
        )
        with self._transactions.reading() as db:
            return [ReferenceMark(*values) for values in db.execute(query)]
