"""A snapshot of a project for exporters, read row by row so that memory does not grow with the project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.store import queries
from maskwright.store.orm import AnnotationRow, CategoryRow, ImageRow
from maskwright.store.values import check_state

__all__ = ["StoredDataset"]


class StoredDataset:
    """Images, categories and the annotations in some states; valid while its transaction is open."""

    def __init__(self, db: Session, states: Sequence[str]) -> None:
        """Take a read transaction and the states to include; raises UsageError for an unknown state."""
        for state in states:
            check_state(state)
        self._db, self._states = db, tuple(states)
        # an excluded image takes no part in exports
        self._taking_part = ImageRow.review.not_in(("excluded", "deleted"))
        excluded = select(ImageRow.id).where(~self._taking_part)
        self._in_states = AnnotationRow.state.in_(self._states) & AnnotationRow.image_id.not_in(excluded)

    def images(self) -> Iterator[ImageRecord]:
        """All images that take part, in id order."""
        rows = self._db.scalars(
            select(ImageRow).where(self._taking_part).order_by(ImageRow.id).execution_options(yield_per=1000)
        )
        return (row.to_domain() for row in rows)

    def categories(self) -> list[Category]:
        """All categories, in id order; also a deleted one when one of the annotations has it."""
        used = self.used()
        rows = self._db.scalars(select(CategoryRow).order_by(CategoryRow.id))
        return [row.to_domain() for row in rows if not row.deleted or row.id in used]

    def annotations(self) -> Iterator[Annotation]:
        """The annotations, in id order."""
        excluded = set(self._db.scalars(select(ImageRow.id).where(~self._taking_part)))
        rows = queries.stored_annotations(self._db, self._states)
        return (row for row in rows if row.image_id not in excluded)

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""
        return list(queries.stored_annotations(self._db, self._states, image_id))

    def annotated(self) -> set[int]:
        """Ids of images with one of the annotations."""
        return set(self._db.scalars(select(AnnotationRow.image_id).where(self._in_states).distinct()))

    def used(self) -> set[int]:
        """Ids of categories that one of the annotations has."""
        return set(self._db.scalars(select(AnnotationRow.category_id).where(self._in_states).distinct()))

    def newest(self) -> str:
        """When the annotations were last changed; empty when there are none."""
        return self._db.scalar(select(func.max(AnnotationRow.updated_at)).where(self._in_states)) or ""

    def number(self) -> int:
        """Number of annotations."""
        return int(self._db.scalars(select(func.count()).select_from(AnnotationRow).where(self._in_states)).one())
