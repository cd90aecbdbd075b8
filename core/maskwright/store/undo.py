"""Undo and redo of a user's steps, replayed from the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from maskwright.errors import Conflict, NothingToUndo, OtherImage
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, StepRow, now
from maskwright.store.values import UndoStep

__all__ = ["discard_step", "redo", "undo"]

_MASK_FIELDS = ("state", "category_id", "counts", "score", "annotator", "crowd")
_CATEGORY_FIELDS = ("name", "color", "supercategory", "shortcut", "synonyms", "deleted", "position")
_IMAGE_FIELDS = ("review",)
_REPLAYS = ("undone", "redone")
"""Kinds of events that undo and redo write."""


def undo(db: Session, user: str, image_id: int | None) -> UndoStep:
    """Undo a user's last step.

    Args:
        db: session of a write transaction.
        user: whose step.
        image_id: the image in view; None undoes a step on any image.

    Raises:
        NothingToUndo: the user has no step left.
        OtherImage: the step was on another image than the one in view.
        Conflict: another user has changed the same masks since.
    """
    step = _next_step(db, user, back=True)
    if step is None:
        raise NothingToUndo("There is nothing to undo.")
    return _replay(db, step, user, image_id, back=True)


def redo(db: Session, user: str, image_id: int | None) -> UndoStep:
    """Redo the step that a user has undone last; arguments and errors as `undo`."""
    step = _next_step(db, user, back=False)
    if step is None:
        raise NothingToUndo("There is nothing to redo.")
    return _replay(db, step, user, image_id, back=False)


def discard_step(db: Session, user: str, *, back: bool) -> None:
    """Void the step that undo (`back`) or redo cannot replay, so that the steps before it can be."""
    step = _next_step(db, user, back=back)
    if step is not None:
        step.state = "void"


def _next_step(db: Session, user: str, *, back: bool) -> StepRow | None:
    state, order = ("done", StepRow.id.desc()) if back else ("undone", StepRow.id)
    query = select(StepRow).where(StepRow.user == user, StepRow.state == state).order_by(order).limit(1)
    return db.scalar(query)


def _replay(db: Session, step: StepRow, user: str, image_id: int | None, *, back: bool) -> UndoStep:
    if image_id is not None and step.image_id is not None and image_id != step.image_id:
        action = "undo" if back else "redo"
        raise OtherImage(
            f"The step to {action} ({step.kind}) was on another image. Go there first.", int(step.image_id)
        )
    _refuse_conflict(db, step, user)
    query = select(EventRow).where(EventRow.step_id == step.id, EventRow.kind.not_in(_REPLAYS))
    events = list(db.scalars(query.order_by(EventRow.id.desc() if back else EventRow.id)))
    ids = [event.annotation_id for event in events if event.annotation_id is not None]
    # in batches: one query for each mask would be slow
    masks = {row.id: row for part in queries.parts(ids) for row in db.scalars(_with_ids(part))}
    for event in events:
        row = masks.get(event.annotation_id) if event.annotation_id is not None else _other_row(db, event)
        _replay_event(db, row, event, user, back=back)
    step.state = "undone" if back else "done"
    return UndoStep(step.kind, step.image_id, len({event.annotation_id for event in events} - {None}))


def _refuse_conflict(db: Session, step: StepRow, user: str) -> None:
    """Raise Conflict when another user has changed one of the step's masks since."""
    later = aliased(EventRow)
    changed = db.scalar(
        select(later.annotation_id)
        .join(EventRow, (EventRow.annotation_id == later.annotation_id) & (EventRow.id < later.id))
        .join(StepRow, StepRow.id == later.step_id)
        .where(EventRow.step_id == step.id, EventRow.kind.not_in(_REPLAYS))
        .where(StepRow.id != step.id, StepRow.user != user, StepRow.state == "done", later.kind.not_in(_REPLAYS))
        .limit(1)
    )
    if changed is not None:
        raise _changed_since(f"Mask {changed}")


def _changed_since(what: str) -> Conflict:
    return Conflict(f"{what} was changed by someone else since; nothing was overwritten.", "Change it by hand instead.")


def _with_ids(ids: Sequence[int]) -> Select[AnnotationRow]:
    return select(AnnotationRow).where(AnnotationRow.id.in_(ids))


def _other_row(db: Session, event: EventRow) -> CategoryRow | ImageRow | None:
    """The category or image that an event without a mask changed."""
    if event.image_id is not None:
        return db.get(ImageRow, event.image_id)
    return db.get(CategoryRow, (event.after or {}).get("category_id", 0))


def _replay_event(
    db: Session, row: AnnotationRow | CategoryRow | ImageRow | None, event: EventRow, user: str, *, back: bool
) -> None:
    """Change one row from the values on one side of an event to those on the other."""
    sides = event.before or {}, event.after or {}
    present, target = reversed(sides) if back else sides
    of_mask = event.annotation_id is not None
    names = _MASK_FIELDS if of_mask else _CATEGORY_FIELDS if event.image_id is None else _IMAGE_FIELDS
    fields: dict[str, Any] = {name: target[name] for name in names if name in target and name in present}
    if row is None or any(getattr(row, name) != present[name] for name in fields):
        raise _changed_since(f"Mask {event.annotation_id}" if of_mask else "That")
    kind = "undone" if back else "redone"
    if isinstance(row, AnnotationRow):
        history.change(db, row, kind, user, event.step_id, **fields)
    elif isinstance(row, ImageRow):
        row.review = fields["review"]
        db.add(EventRow(at=now(), user=user, kind=kind, image_id=row.id, before=present, after=target))
    elif fields:
        history.change_category(db, row, kind, user, event.step_id, **fields)
