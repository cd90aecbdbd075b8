"""Changes of masks and categories: the row, its event in the history, its counts, and the step to undo it by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from maskwright.domain import UNNAMED, Mask
from maskwright.domain.palette import free_color
from maskwright.domain.rle import Rle
from maskwright.errors import MaskwrightError
from maskwright.store import queries
from maskwright.store.counts import count
from maskwright.store.orm import AnnotationRow, CategoryRow, CountRow, EventRow, PromptRow, StepRow, now
from maskwright.store.values import NewAnnotation, check_mask, check_state

__all__ = [
    "add_boxes",
    "add_masks",
    "begin_step",
    "category",
    "change",
    "change_category",
    "retire_categories",
]

_MODEL_SOURCES = ("text", "reference", "click", "box", "finetuned")
_VISIBLE = ("accepted", "proposed")
_CATEGORIES, _LEFT = "categories", "left_categories"
_PROPOSED = "proposed"
"""Mark on the event of a category that a prompt has brought in."""


def begin_step(db: Session, user: str, kind: str, image_ids: Iterable[int] = ()) -> int:
    """Begin a user's next step for undo, and return its id; steps that the user has undone can no longer be redone."""
    db.execute(update(StepRow).where(StepRow.user == user, StepRow.state == "undone").values(state="void"))
    images = set(image_ids)
    row = StepRow(at=now(), user=user, kind=kind, image_id=images.pop() if len(images) == 1 else None, state="done")
    db.add(row)
    db.flush()
    return row.id


def category(
    db: Session,
    name: str,
    user: str,
    at: str,
    *,
    supercategory: str = "",
    preferred_id: int | None = None,
    proposed: bool = False,
) -> int:
    """The id of the category with this clean name, which is added, or restored if it was deleted.

    It gets the first colour and the first number key that are free. One that is only `proposed` goes again with the
    last of its masks; see `retire_categories`.
    """
    row = queries.category_row(db, name, deleted=True)
    if row is None or (row.deleted and not proposed):
        if row is None:
            color = free_color(list(db.scalars(select(CategoryRow.color))))
            row = CategoryRow(id=preferred_id, name=name, color=color, supercategory=supercategory, created_at=at)
            row.shortcut = None if proposed and name == UNNAMED else _free_key(db)
            db.add(row)
            db.flush()
        after = {"category_id": row.id, "name": name, "color": row.color} | ({_PROPOSED: True} if proposed else {})
        db.add(EventRow(at=at, user=user, kind="category_added", after=after))
    _restore_category(db, row.id, user)
    return row.id


def _free_key(db: Session) -> int | None:
    """The first number key that no category has; None when all nine are taken."""
    taken = set(db.scalars(select(CategoryRow.shortcut).where(CategoryRow.deleted.is_(False))))
    return next((key for key in range(1, 10) if key not in taken), None)


def retire_categories(db: Session) -> None:
    """Delete categories that only prompts have brought in, once they have no accepted mask and no proposal left.

    The next visible mask restores them. Called when a transaction ends, after its counts were written.
    """
    left: dict[int, str] = db.info.pop(_LEFT, {})
    for key, user in left.items():
        row = db.get_one(CategoryRow, key)
        counts = (db.get(CountRow, (key, state)) for state in _VISIBLE)
        if not row.deleted and not any(count and count.number for count in counts) and _only_proposed(db, key):
            change_category(db, row, "category_changed", user, None, deleted=True, shortcut=None)


def _only_proposed(db: Session, category_id: int) -> bool:
    """Whether nobody has added or changed a category, beyond what prompts did."""
    events = select(EventRow.after).where(
        EventRow.kind.in_(("category_added", "category_changed")), EventRow.annotation_id.is_(None)
    )
    mine = (after for after in db.scalars(events) if after and after["category_id"] == category_id)
    return all(_PROPOSED in after or after.keys() <= {"category_id", "shortcut", "deleted"} for after in mine)


def add_masks(db: Session, new: Sequence[NewAnnotation], step_id: int | None = None) -> list[int]:
    """Add masks and return their ids.

    Raises:
        MaskwrightError: there is no such image.
        InvalidMask: a mask has another size than its image.
    """
    if not new:
        return []
    at = now()
    images = {key: queries.image_row(db, key) for key in {draft.image_id for draft in new}}
    categories: dict[str, int] = {}
    for draft in new:
        if draft.category not in categories:
            proposed = draft.state == "proposed"
            categories[draft.category] = category(db, draft.category, draft.annotator, at, proposed=proposed)
    for draft in new:
        check_mask(draft.mask, (images[draft.image_id].height, images[draft.image_id].width))
    prompts = _add_prompts(db, new, at)
    rows = [
        AnnotationRow.values(draft, categories[draft.category], prompt, at)
        for draft, prompt in zip(new, prompts, strict=True)
    ]
    ids = _insert(db, AnnotationRow, rows)
    events = [_added_event(key, row, draft, at, step_id) for key, row, draft in zip(ids, rows, new, strict=True)]
    db.execute(insert(EventRow), events)
    count(db, Counter((row["image_id"], row["category_id"], row["state"]) for row in rows))
    return ids


def add_boxes(db: Session, boxes: Sequence[dict[str, Any]]) -> None:
    """Add prompts without masks, each as the values of its columns."""
    if boxes:
        _insert(db, PromptRow, boxes)


def _add_prompts(db: Session, new: Sequence[NewAnnotation], at: str) -> list[int]:
    """The id of each mask's prompt; masks of one image and one provenance share it."""
    keys = [(draft.image_id, draft.source, draft.annotator, json.dumps(dict(draft.provenance))) for draft in new]
    rows = {key: _prompt(draft, at) for key, draft in zip(keys, new, strict=True)}
    ids = dict(zip(rows, _insert(db, PromptRow, list(rows.values())), strict=True))
    return [ids[key] for key in keys]


def _prompt(draft: NewAnnotation, at: str) -> dict[str, Any]:
    return {
        "image_id": draft.image_id,
        "source": draft.source,
        "provenance": dict(draft.provenance),
        "user": draft.annotator,
        "at": at,
    }


def _insert(db: Session, table: type[Any], rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert rows in one statement and return their ids in order; all rows have an id already, or none has."""
    return list(db.scalars(insert(table).returning(table.id, sort_by_parameter_order=True), rows))


def _added_event(key: int, row: dict[str, Any], draft: NewAnnotation, at: str, step_id: int | None) -> dict[str, Any]:
    # without the run lengths: they are in the mask's row until an edit, whose event has the old and the new ones
    undone_state = "proposed" if draft.source in _MODEL_SOURCES and row["state"] != "proposed" else "deleted"
    return {
        "at": at,
        "user": draft.annotator,
        "kind": "annotation_added",
        "annotation_id": key,
        "image_id": row["image_id"],
        # undo makes a model's mask a proposal again, and deletes one drawn by hand
        "before": {"state": undone_state},
        "after": {"state": row["state"], "category_id": row["category_id"], "revision": row["revision"]},
        "step_id": step_id,
    }


def change(
    db: Session,
    row: AnnotationRow,
    kind: str,
    user: str,
    step_id: int | None,
    *,
    details: Mapping[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Change columns of a mask, raise its revision, and record the old and the new values.

    Args:
        db: session of a write transaction.
        row: of the mask.
        kind: of the event.
        user: who changes it.
        step_id: of the user's step, or None for what cannot be undone.
        details: what else the event records.
        fields: new values by column; nothing happens when all are as before.
    """
    check_state(fields.get("state", row.state))
    before = {name: getattr(row, name) for name, value in fields.items() if getattr(row, name) != value}
    if not before:
        return
    counts = Counter({(row.image_id, row.category_id, row.state): -1})
    db.info.setdefault(_LEFT, {})[row.category_id] = user
    after = {name: fields[name] for name in before}
    for name, value in after.items():
        setattr(row, name, value)
    counts.update([(row.image_id, row.category_id, row.state)])
    if row.state in _VISIBLE:
        _restore_category(db, row.category_id, user)
    if "counts" in after:
        image = queries.image_row(db, row.image_id)
        mask = Mask(None, Rle(size=[image.height, image.width], counts=row.counts))
        row.area, (row.x, row.y, row.w, row.h) = mask.area, mask.bbox
    before["revision"], row.updated_at = row.revision, now()
    row.revision += 1
    after |= {"revision": row.revision, **(details or {})}
    event = EventRow(at=row.updated_at, user=user, kind=kind, before=before, after=after, step_id=step_id)
    event.annotation_id, event.image_id = row.id, row.image_id
    db.add(event)
    count(db, counts)


def _restore_category(db: Session, category_id: int, user: str) -> None:
    """Restore a category that was deleted: a visible mask needs it."""
    # kept for the transaction: a session drops rows that nothing refers to, and would read them for every mask
    rows: dict[int, CategoryRow] = db.info.setdefault(_CATEGORIES, {})
    row = rows.setdefault(category_id, rows.get(category_id) or db.get_one(CategoryRow, category_id))
    if row.deleted:
        change_category(db, row, "category_changed", user, None, deleted=False, shortcut=_free_key(db))


def change_category(db: Session, row: CategoryRow, kind: str, user: str, step_id: int | None, **fields: Any) -> None:
    """Change columns of a category and record the old and the new values; a key that it takes, its holder loses.

    Raises:
        MaskwrightError: another category has that name or, where a change is replayed, that key.
    """
    _refuse_taken(db, row, fields.get("name", row.name))
    before = {name: getattr(row, name) for name, value in fields.items() if getattr(row, name) != value}
    if not before:
        return
    if "shortcut" in before and fields["shortcut"] is not None:
        same_key = select(CategoryRow).where(CategoryRow.shortcut == fields["shortcut"], CategoryRow.deleted.is_(False))
        for holder in db.scalars(same_key).all():
            if kind != "category_changed":
                raise MaskwrightError(f"The key {holder.shortcut} belongs to {holder.name}.", "Choose another number.")
            change_category(db, holder, kind, user, step_id, shortcut=None)
    after = {name: fields[name] for name in before}
    for name, value in after.items():
        setattr(row, name, value)
    after["category_id"] = row.id
    db.add(EventRow(at=now(), user=user, kind=kind, before=before, after=after, step_id=step_id))
    db.flush()


def _refuse_taken(db: Session, row: CategoryRow, name: str) -> None:
    other = queries.category_row(db, name, deleted=True)
    if other is None or other.id == row.id:
        return
    if other.deleted:
        raise MaskwrightError(
            f"{name!r} was deleted, and its name is reserved for undo.",
            f"Choose another name, or use {name!r} again and merge the two.",
        )
    raise MaskwrightError(f"There is a category {name!r} already.", "Merge the two, or choose another name.")
