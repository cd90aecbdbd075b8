"""Numbers of masks by image and by category and state, kept so that no query has to count the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from maskwright.store.orm import AnnotationRow, CountRow, ImageRow

__all__ = ["CountKey", "count", "flush_counts", "masks_in"]

CountKey = tuple[int, int, str]
"""Image id, category id and state."""
_PENDING = "pending_counts"


def count(db: Session, changes: Counter[CountKey]) -> None:
    """Note by how many masks each count changes; `flush_counts` writes it."""
    db.info.setdefault(_PENDING, Counter()).update(changes)


def flush_counts(db: Session) -> None:
    """Write the noted changes, once at the end of a transaction."""
    pending: Counter[CountKey] = db.info.pop(_PENDING, Counter())
    by_state: Counter[tuple[int, str]] = Counter()
    by_image: dict[str, Counter[int]] = {"accepted": Counter(), "proposed": Counter()}
    for (image_id, category_id, state), number in pending.items():
        by_state[category_id, state] += number
        if state in by_image:
            by_image[state][image_id] += number
    for (category_id, state), number in by_state.items():
        if number:
            _add_to_category(db, category_id, state, number)
    for state, numbers in by_image.items():
        for image_id, number in numbers.items():
            if number:
                _add_to_image(db, image_id, state, number)
    db.flush()


def _add_to_category(db: Session, category_id: int, state: str, number: int) -> None:
    row = db.get(CountRow, (category_id, state))
    if row is None:
        db.add(CountRow(category_id=category_id, state=state, number=number))
    else:
        row.number += number


def _add_to_image(db: Session, image_id: int, state: str, number: int) -> None:
    column = getattr(ImageRow, state)
    statement = update(ImageRow).where(ImageRow.id == image_id).values({column: column + number})
    db.execute(statement.execution_options(synchronize_session=False))


def masks_in(db: Session, states: Sequence[str]) -> Counter[CountKey]:
    """Numbers of masks in these states, counted from the masks themselves."""
    row = AnnotationRow
    keys = (row.image_id, row.category_id, row.state)
    query = select(*keys, func.count()).where(row.state.in_(states)).group_by(*keys)
    return Counter({(image, category, state): number for image, category, state, number in db.execute(query)})
