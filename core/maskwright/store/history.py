"""Every change of a mask or a category: the row, the line in the history, the tallies, and the step to undo it by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, insert, select, update
from sqlalchemy.orm import Session, aliased

from maskwright.domain import Mask
from maskwright.domain.palette import default_color
from maskwright.domain.rle import Rle
from maskwright.errors import Conflict, MaskwrightError, OtherImage
from maskwright.store import queries
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, StepRow, TallyRow, now
from maskwright.store.values import NewAnnotation, UndoStep, check_mask, check_state

__all__ = [
    "add_boxes",
    "add_masks",
    "begin_step",
    "category",
    "change",
    "change_category",
    "count",
    "discard_step",
    "flush_counts",
    "redo",
    "undo",
]

_MASK_FIELDS = ("state", "category_id", "counts", "score", "annotator", "crowd")
_CATEGORY_FIELDS = ("name", "color", "supercategory", "shortcut", "synonyms", "deleted")
_BY_MODEL = ("text", "reference", "click", "box", "finetuned")
_TAKEN_BACK = ("undone", "redone")
_IN_USE = ("accepted", "proposed")
_MOVED, _KINDS = "moved", "kinds"


def begin_step(db: Session, who: str, kind: str, image_ids: Iterable[int] = ()) -> int:
    """The id of a new action of a person; what that person had undone before can no longer be done again."""
    db.execute(update(StepRow).where(StepRow.who == who, StepRow.state == "undone").values(state="void"))
    images = set(image_ids)
    row = StepRow(at=now(), who=who, kind=kind, image_id=images.pop() if len(images) == 1 else None, state="done")
    db.add(row)
    db.flush()
    return row.id


def category(db: Session, name: str, who: str, at: str, supercategory: str = "", wanted: int | None = None) -> int:
    """The id of the category of this clean name, which is made, with the wanted id, or brought back if need be."""
    row = queries.category_row(db, name, deleted=True)
    if row is None:
        color = default_color(queries.number_of(db, CategoryRow))
        row = CategoryRow(id=wanted, name=name, color=color, supercategory=supercategory, created_at=at, shortcut=None)
        db.add(row)
        db.flush()
        after = {"category_id": row.id, "name": name, "color": row.color}
        db.add(EventRow(at=at, who=who, kind="category_added", after=after))
    _bring_back(db, row.id, who)
    return row.id


def add_masks(db: Session, wanted: Sequence[NewAnnotation], step_id: int | None = None) -> list[int]:
    """Write new masks, and give their ids.

    Raises:
        MaskwrightError: there is no such image.
        InvalidMask: a mask has another size than its image.
    """
    if not wanted:
        return []
    at = now()
    images = {key: queries.image_row(db, key) for key in {one.image_id for one in wanted}}
    categories: dict[str, int] = {}
    for one in wanted:
        if one.category not in categories:
            categories[one.category] = category(db, one.category, one.annotator, at)
    for one in wanted:
        check_mask(one.mask, (images[one.image_id].height, images[one.image_id].width))
    prompts = _prompts(db, wanted, at)
    rows = [
        AnnotationRow.values(one, categories[one.category], prompt, at)
        for one, prompt in zip(wanted, prompts, strict=True)
    ]
    ids = _insert(db, AnnotationRow, rows)
    db.execute(
        insert(EventRow),
        [_added(key, row, one, at, step_id) for key, row, one in zip(ids, rows, wanted, strict=True)],
    )
    count(db, Counter((row["image_id"], row["category_id"], row["state"]) for row in rows))
    return ids


def add_boxes(db: Session, boxes: Sequence[dict[str, Any]]) -> None:
    """Write prompts without an answer, as columns."""
    if boxes:
        _insert(db, PromptRow, boxes)


def _prompts(db: Session, wanted: Sequence[NewAnnotation], at: str) -> list[int]:
    """The id of each mask's prompt; masks of one image and one provenance share it."""
    keys = [(one.image_id, one.source, one.annotator, json.dumps(dict(one.provenance))) for one in wanted]
    rows = {
        key: {
            "image_id": one.image_id, "source": one.source, "provenance": dict(one.provenance), "who": one.annotator,
            "at": at,
        }
        for key, one in zip(keys, wanted, strict=True)
    }  # fmt: skip
    ids = dict(zip(rows, _insert(db, PromptRow, list(rows.values())), strict=True))
    return [ids[key] for key in keys]


def _insert(db: Session, table: type[Any], rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert rows in one go; gives their ids in order."""
    # rows with and without a wanted id cannot go together, and a wish is granted to all or none
    return list(db.scalars(insert(table).returning(table.id, sort_by_parameter_order=True), rows))


def _added(key: int, row: dict[str, Any], new: NewAnnotation, at: str, step_id: int | None) -> dict[str, Any]:
    # without the run lengths: the row holds them until an edit, whose line then has both
    former = "proposed" if new.source in _BY_MODEL and row["state"] != "proposed" else "deleted"
    return {
        "at": at,
        "who": new.annotator,
        "kind": "annotation_added",
        "annotation_id": key,
        "image_id": row["image_id"],
        # what undo makes of it: a model's mask is a proposal again, one drawn by hand is gone
        "before": {"state": former},
        "after": {"state": row["state"], "category_id": row["category_id"], "revision": row["revision"]},
        "step_id": step_id,
    }


def change(
    db: Session,
    row: AnnotationRow,
    kind: str,
    who: str,
    step_id: int | None,
    told: dict[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Give a mask's row new values, a higher revision, and a line in the history with the old and the new ones."""
    check_state(fields.get("state", row.state))
    before = {name: getattr(row, name) for name, value in fields.items() if getattr(row, name) != value}
    if not before:
        return
    moved = Counter({(row.image_id, row.category_id, row.state): -1})
    after = {name: fields[name] for name in before}
    for name, value in after.items():
        setattr(row, name, value)
    moved.update([(row.image_id, row.category_id, row.state)])
    if row.state in _IN_USE:
        _bring_back(db, row.category_id, who)
    if "counts" in after:
        image = queries.image_row(db, row.image_id)
        mask = Mask(None, Rle(size=[image.height, image.width], counts=row.counts))
        row.area, (row.x, row.y, row.w, row.h) = mask.area, mask.bbox
    before["revision"], row.updated_at = row.revision, now()
    row.revision += 1
    after |= {"revision": row.revision, **(told or {})}
    db.add(
        EventRow(
            at=row.updated_at, who=who, kind=kind, annotation_id=row.id, image_id=row.image_id, before=before,
            after=after, step_id=step_id,
        )
    )  # fmt: skip
    count(db, moved)


def _bring_back(db: Session, category_id: int, who: str) -> None:
    """A mask that is seen again needs its category, which may have been deleted meanwhile."""
    # held for the transaction: a session forgets what nobody holds, and would ask again for every mask
    kinds: dict[int, CategoryRow] = db.info.setdefault(_KINDS, {})
    kind = kinds.setdefault(category_id, kinds.get(category_id) or db.get_one(CategoryRow, category_id))
    if kind.deleted:
        change_category(db, kind, "category_changed", who, None, deleted=False)


def change_category(db: Session, row: CategoryRow, kind: str, who: str, step_id: int | None, **fields: Any) -> None:
    """Give a category's row new values, and the history its line.

    Raises:
        MaskwrightError: another category has that name or shortcut.
    """
    name, shortcut = fields.get("name", row.name), fields.get("shortcut", row.shortcut)
    other = queries.category_row(db, name, deleted=True)
    if other is not None and other.id != row.id:
        if other.deleted:
            raise MaskwrightError(
                f"{name!r} was deleted, and its name is kept for undo. Choose another name, or use {name!r} again and "
                "merge the two."
            )
        raise MaskwrightError(f"There is a category {name!r} already. Merge the two, or choose another name.")
    taken = select(CategoryRow).where(CategoryRow.shortcut == shortcut, CategoryRow.id != row.id)
    if shortcut is not None and (holder := db.scalar(taken.where(CategoryRow.deleted.is_(False)))) is not None:
        raise MaskwrightError(f"The key {shortcut} belongs to {holder.name}. Choose another number.")
    before = {name: getattr(row, name) for name, value in fields.items() if getattr(row, name) != value}
    if not before:
        return
    after = {name: fields[name] for name in before}
    for name, value in after.items():
        setattr(row, name, value)
    after["category_id"] = row.id
    db.add(EventRow(at=now(), who=who, kind=kind, before=before, after=after, step_id=step_id))
    db.flush()


def count(db: Session, moved: Counter[tuple[int, int, str]]) -> None:
    """Note how many masks came to or left an (image, category, state), for `flush_counts`."""
    db.info.setdefault(_MOVED, Counter()).update(moved)


def flush_counts(db: Session) -> None:
    """Bring the numbers of masks by image, and by category and state, up to date: once, at a transaction's end."""
    moved: Counter[tuple[int, int, str]] = db.info.pop(_MOVED, Counter())
    states: Counter[tuple[int, str]] = Counter()
    images: dict[str, Counter[int]] = {"accepted": Counter(), "proposed": Counter()}
    for (image_id, category_id, state), number in moved.items():
        states[category_id, state] += number
        if state in images:
            images[state][image_id] += number
    for (category_id, state), number in states.items():
        if not number:
            continue
        row = db.get(TallyRow, (category_id, state))
        if row is None:
            db.add(TallyRow(category_id=category_id, state=state, number=number))
        else:
            row.number += number
    for state, numbers in images.items():
        column = getattr(ImageRow, state)
        for image_id, number in numbers.items():
            if number:
                db.execute(
                    update(ImageRow)
                    .where(ImageRow.id == image_id)
                    .values({column: column + number})
                    .execution_options(synchronize_session=False)
                )
    db.flush()


def undo(db: Session, who: str, image_id: int | None) -> UndoStep:
    """Take back the last action of a person.

    Args:
        db: of the transaction.
        who: the person.
        image_id: the one in view; None for wherever the action was.

    Raises:
        MaskwrightError: there is nothing to undo.
        OtherImage: it was on another image than the one in view.
        Conflict: what it did was changed by somebody else since.
    """
    found = db.scalar(_steps(who, "done").order_by(StepRow.id.desc()))
    if found is None:
        raise MaskwrightError("There is nothing to undo.")
    return _retrace(db, found, who, image_id, back=True)


def redo(db: Session, who: str, image_id: int | None) -> UndoStep:
    """Do again what a person has undone last; arguments and errors as `undo`."""
    found = db.scalar(_steps(who, "undone").order_by(StepRow.id))
    if found is None:
        raise MaskwrightError("There is nothing to redo.")
    return _retrace(db, found, who, image_id, back=False)


def discard_step(db: Session, who: str, *, back: bool) -> None:
    """Forget the step that cannot be undone or redone, so that those before it can."""
    state, order = ("done", StepRow.id.desc()) if back else ("undone", StepRow.id)
    step = db.scalar(_steps(who, state).order_by(order))
    if step is not None:
        step.state = "void"


def _steps(who: str, state: str) -> Any:
    return select(StepRow).where(StepRow.who == who, StepRow.state == state).limit(1)


def _retrace(db: Session, step: StepRow, who: str, image_id: int | None, *, back: bool) -> UndoStep:
    word = "undo" if back else "redo"
    if None not in (image_id, step.image_id) and image_id != step.image_id:
        raise OtherImage(
            f"The step to {word} ({step.kind}) was on another image. Go there first.", int(step.image_id or 0)
        )
    _untouched(db, step, who)
    lines = select(EventRow).where(EventRow.step_id == step.id, EventRow.kind.not_in(_TAKEN_BACK))
    events = list(db.scalars(lines.order_by(EventRow.id.desc() if back else EventRow.id)))
    kind = "undone" if back else "redone"
    ids = [event.annotation_id for event in events if event.annotation_id is not None]
    # all at once; one by one would be a question each
    masks = {row.id: row for part in queries.parts(ids) for row in db.scalars(_with_ids(part))}
    for event in events:
        here, there = (event.after or {}, event.before or {}) if back else (event.before or {}, event.after or {})
        row = masks.get(event.annotation_id) if event.annotation_id is not None else _category_of(db, event)
        _turn(db, row, event, kind, who, here, there)
    step.state = "undone" if back else "done"
    return UndoStep(step.kind, step.image_id, len({event.annotation_id for event in events} - {None}))


def _untouched(db: Session, step: StepRow, who: str) -> None:
    """Raise Conflict when somebody else has changed one of the step's masks since, in whatever way."""
    later = aliased(EventRow)
    found = db.scalar(
        select(later.annotation_id)
        .join(EventRow, (EventRow.annotation_id == later.annotation_id) & (EventRow.id < later.id))
        .join(StepRow, StepRow.id == later.step_id)
        .where(EventRow.step_id == step.id, EventRow.kind.not_in(_TAKEN_BACK))
        .where(StepRow.id != step.id, StepRow.who != who, StepRow.state == "done", later.kind.not_in(_TAKEN_BACK))
        .limit(1)
    )
    if found is not None:
        raise _changed_since(f"Mask {found}")


def _changed_since(what: str) -> Conflict:
    return Conflict(f"{what} was changed by someone else since; nothing was overwritten. Change it by hand instead.")


def _with_ids(ids: Sequence[int]) -> Select[AnnotationRow]:
    return select(AnnotationRow).where(AnnotationRow.id.in_(ids))


def _category_of(db: Session, event: EventRow) -> CategoryRow | None:
    return db.get(CategoryRow, (event.after or {}).get("category_id", 0))


def _turn(
    db: Session,
    row: AnnotationRow | CategoryRow | None,
    event: EventRow,
    kind: str,
    who: str,
    here: dict[str, Any],
    there: dict[str, Any],
) -> None:
    """Bring one row from the values it had on one side of an event to those on the other."""
    of_mask = event.annotation_id is not None
    names = _MASK_FIELDS if of_mask else _CATEGORY_FIELDS
    fields = {name: there[name] for name in names if name in there and name in here}
    if row is None or any(getattr(row, name) != here[name] for name in fields):
        raise _changed_since(f"Mask {event.annotation_id}" if of_mask else "The category")
    if isinstance(row, AnnotationRow):
        change(db, row, kind, who, event.step_id, **fields)
    elif fields:
        change_category(db, row, kind, who, event.step_id, **fields)
