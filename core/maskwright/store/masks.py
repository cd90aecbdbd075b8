"""Mask operations: add, decide, correct, delete, restore, undo, redo, purge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, AnnotationKey, Mask, PromptKind
from maskwright.errors import Conflict, MaskwrightError
from maskwright.store import history, queries, undo
from maskwright.store.counts import count, masks_in
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, ReferenceRow, StepRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import (
    Change,
    Correction,
    NewAnnotation,
    UndoStep,
    check_mask,
    check_state,
    clean_name,
)

__all__ = ["MaskStore"]

_GONE = ("rejected", "deleted")
_STEP_KINDS = {"accepted": "accept", "rejected": "rejection", "deleted": "deletion", "proposed": "reopening"}


class MaskStore:
    """The masks of a project. Each operation on several masks changes all or none and is one step for undo."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewAnnotation) -> Annotation:
        """Add a mask; raises as `add_many`."""
        return self.add_many([new])[0]

    def add_many(self, new: Iterable[NewAnnotation]) -> list[Annotation]:
        """Add masks, in the order given.

        Raises:
            MaskwrightError: there is no such image.
            InvalidMask: a mask has another size than its image.
        """
        drafts = list(new)
        if not drafts:
            return []
        with self._transactions.writing() as db:
            first = drafts[0]
            images = (draft.image_id for draft in drafts)
            step = history.begin_step(db, first.annotator, _STEP_KINDS[first.state], images)
            return queries.annotations_by_id(db, history.add_masks(db, drafts, step))

    def decide(
        self,
        state: str,
        user: str,
        *,
        new: Sequence[NewAnnotation] = (),
        corrections: Sequence[Correction] = (),
        stored: Sequence[int] = (),
        category: str | None = None,
    ) -> list[Annotation]:
        """Accept or reject proposals, in one step.

        Args:
            state: "accepted" or "rejected".
            user: who decides.
            new: proposals that are not stored yet, in this state.
            corrections: of accepted masks, when `state` is "accepted".
            stored: ids of stored proposals, which a batch made.
            category: name for the stored proposals; None keeps theirs.

        Returns:
            The corrected, the new and the stored masks, in this order.

        Raises:
            Conflict: a corrected mask was changed since the revision that was seen.
            MaskwrightError: a proposal is no longer open, or a corrected mask no longer accepted.
            InvalidMask: a mask has another size than its image.
        """
        check_state(state)
        if not (new or corrections or stored):
            return []
        with self._transactions.writing() as db:
            rows = [queries.annotation_row(db, key) for key in stored]
            if any(row.state != "proposed" for row in rows):
                raise MaskwrightError("That proposal is no longer open.", "Run the prompt again.")
            corrected = [queries.annotation_row(db, correction.annotation_id) for correction in corrections]
            images = [*(draft.image_id for draft in new), *(row.image_id for row in [*rows, *corrected])]
            kind = "correction" if corrected and not rows and not new else _STEP_KINDS[state]
            step = history.begin_step(db, user, kind, images)
            for row, correction in zip(corrected, corrections, strict=True):
                _correct(db, row, correction, user, step)
            ids = [row.id for row in corrected] + history.add_masks(db, new, step)
            fields: dict[str, Any] = {"state": state, "annotator": user}
            for row in rows:
                if category:
                    fields["category_id"] = history.category(db, clean_name(category), user, now())
                history.change(db, row, "state_changed", user, step, **fields)
            return queries.annotations_by_id(db, [*ids, *stored])

    def set_states(self, annotations: Mapping[int, int | None], state: str, user: str) -> list[Annotation]:
        """Change the state of masks, in one step; the row of a deleted mask stays.

        Args:
            annotations: ids, each with the revision that the user saw, or None to skip that check.
            state: accepted, rejected, proposed or deleted; masks that are in it already stay as they are.
            user: who changes them.

        Raises:
            Conflict: a mask was changed since that revision.
            MaskwrightError: no such mask or state.
        """
        check_state(state)
        with self._transactions.writing() as db:
            rows = _rows(db, annotations)
            restored = state in ("accepted", "proposed") and any(row.state in _GONE for row in rows)
            kind = "restoration" if restored else _STEP_KINDS[state]
            _change_all(db, [(row, {"state": state}) for row in rows], kind, "state_changed", user)
            return queries.annotations_by_id(db, list(annotations))

    def restore(self, annotations: Mapping[int, int | None], user: str) -> list[Annotation]:
        """Restore deleted masks as accepted and rejected ones as proposals, in one step; see `set_states`."""
        with self._transactions.writing() as db:
            rows = [row for row in _rows(db, annotations) if row.state in _GONE]
            changes = [(row, {"state": "accepted" if row.state == "deleted" else "proposed"}) for row in rows]
            _change_all(db, changes, "restoration", "state_changed", user)
            return queries.annotations_by_id(db, list(annotations))

    def reclassify(self, annotations: Mapping[int, int | None], category: str, user: str) -> list[Annotation]:
        """Change the category of masks, in one step; arguments and errors as `set_states`."""
        with self._transactions.writing() as db:
            rows = _rows(db, annotations)
            key = history.category(db, clean_name(category), user, now())
            changes = [(row, {"category_id": key}) for row in rows]
            _change_all(db, changes, "change of category", "category_changed", user)
            return queries.annotations_by_id(db, list(annotations))

    def undo(self, user: str, image_id: int | None = None) -> UndoStep:
        """Undo a user's last step, on the image in view; see `undo.undo`."""
        return self._replay(undo.undo, user, image_id)

    def redo(self, user: str, image_id: int | None = None) -> UndoStep:
        """Redo the step that a user has undone last, on the image in view; see `undo.undo`."""
        return self._replay(undo.redo, user, image_id)

    def _replay(
        self, action: Callable[[Session, str, int | None], UndoStep], user: str, image_id: int | None
    ) -> UndoStep:
        try:
            with self._transactions.writing() as db:
                return action(db, user, image_id)
        except Conflict:
            # reported once; otherwise it would block every earlier step
            with self._transactions.writing() as db:
                undo.discard_step(db, user, back=action is undo.undo)
            raise

    def get(self, annotation_id: int) -> Annotation:
        """One mask in any state; raises MaskwrightError when there is none."""
        with self._transactions.reading() as db:
            queries.annotation_row(db, annotation_id)
            return queries.annotations_by_id(db, [annotation_id])[0]

    def find(self, image_id: int | None = None, states: Sequence[str] = ("accepted",)) -> list[Annotation]:
        """Masks in these states of one image or of all, in id order."""
        with self._transactions.reading() as db:
            return list(queries.stored_annotations(db, states, image_id))

    def similar(self, image_id: int, category: str, mask: Mask, iou: float) -> list[Annotation]:
        """Accepted masks of single objects that may have at least this IoU with a mask, by area and box alone.

        What it costs does not grow with the number of masks: their pixels are not read.
        """
        row, (x, y, w, h) = AnnotationRow, mask.bbox
        # an IoU bounds the ratio of the areas
        query = (
            select(row.id)
            .join(CategoryRow, CategoryRow.id == row.category_id)
            .where(
                row.image_id == image_id, row.state == "accepted", row.crowd.is_(False), CategoryRow.name == category
            )
            .where(row.area >= iou * mask.area, row.area * iou <= mask.area)
            .where(row.x < x + w, row.x + row.w > x, row.y < y + h, row.y + row.h > y)
            .order_by(row.id)
        )
        with self._transactions.reading() as db:
            return queries.annotations_by_id(db, list(db.scalars(query)))

    def accepted_keys(self) -> list[AnnotationKey]:
        """All accepted masks of single objects without their pixels, in id order; not groups, nor excluded images."""
        row = AnnotationRow
        query = (
            select(row.uid, row.revision, row.image_id, row.category_id, CategoryRow.name)
            .join(CategoryRow, CategoryRow.id == row.category_id)
            .join(ImageRow, ImageRow.id == row.image_id)
            .where(row.state == "accepted", row.crowd.is_(False), ImageRow.review != "excluded")
            .order_by(row.id)
        )
        with self._transactions.reading() as db:
            return [AnnotationKey(*values) for values in db.execute(query)]

    def rejected_keys(self, images: Collection[int]) -> list[tuple[str, int]]:
        """(uid, revision) of the rejected masks on some images, in id order."""
        row = AnnotationRow
        query = select(row.uid, row.revision, row.image_id).where(row.state == "rejected").order_by(row.id)
        with self._transactions.reading() as db:
            return [(uid, revision) for uid, revision, image in db.execute(query) if image in images]

    def made_by_people(self) -> set[str]:
        """Uids of accepted masks that people drew, clicked, imported or corrected; not what a model found by itself."""
        row = AnnotationRow
        edited = select(EventRow.id).where(EventRow.annotation_id == row.id, EventRow.kind == "edited").exists()
        query = select(row.uid, row.source, PromptRow.provenance, edited).where(row.state == "accepted")
        query = query.outerjoin(PromptRow, PromptRow.id == row.prompt_id)
        people = ("manual", "import", "click", "box")
        with self._transactions.reading() as db:
            return {
                uid
                for uid, source, provenance, corrected in db.execute(query)
                if corrected or (source in people and PromptKind.of(provenance or {}) is not PromptKind.EVERYTHING)
            }

    def history(self, annotation_id: int) -> list[Change]:
        """All changes of a mask, the oldest first."""
        query = select(EventRow).where(EventRow.annotation_id == annotation_id).order_by(EventRow.id)
        with self._transactions.reading() as db:
            return [row.to_domain() for row in db.scalars(query)]

    def purge(self, user: str) -> int:
        """Remove rejected and deleted masks permanently and return how many; their history stays."""
        gone = select(AnnotationRow.id).where(AnnotationRow.state.in_(_GONE))
        with self._transactions.writing() as db:
            numbers = masks_in(db, _GONE)
            if not numbers:
                return 0
            steps = select(EventRow.step_id).where(EventRow.annotation_id.in_(gone), EventRow.step_id.is_not(None))
            void = update(StepRow).where(StepRow.id.in_(steps)).values(state="void")
            db.execute(void.execution_options(synchronize_session=False))
            db.execute(delete(ReferenceRow).where(ReferenceRow.annotation_id.in_(gone)))
            db.execute(delete(AnnotationRow).where(AnnotationRow.state.in_(_GONE)))
            in_use = select(AnnotationRow.prompt_id).where(AnnotationRow.prompt_id.is_not(None))
            db.execute(delete(PromptRow).where(PromptRow.category_id.is_(None), PromptRow.id.not_in(in_use)))
            count(db, Counter({key: -number for key, number in numbers.items()}))
            db.add(EventRow(at=now(), user=user, kind="purged", after={"masks": numbers.total()}))
            return numbers.total()


def _rows(db: Session, annotations: Mapping[int, int | None]) -> list[AnnotationRow]:
    """The masks' rows; raises Conflict when one is not at the revision that was seen."""
    rows = [queries.annotation_row(db, key) for key in annotations]
    for row in rows:
        _check_revision(row, annotations[row.id])
    return rows


def _change_all(
    db: Session, changes: Sequence[tuple[AnnotationRow, dict[str, Any]]], step_kind: str, event_kind: str, user: str
) -> None:
    """Change masks in one step, which is begun only when there is something to change."""
    if any(getattr(row, name) != value for row, fields in changes for name, value in fields.items()):
        step = history.begin_step(db, user, step_kind, (row.image_id for row, _ in changes))
        for row, fields in changes:
            history.change(db, row, event_kind, user, step, **fields)


def _correct(db: Session, row: AnnotationRow, correction: Correction, user: str, step: int) -> None:
    _check_revision(row, correction.revision)
    if row.state in _GONE:
        raise MaskwrightError(f"Mask {row.id} is {row.state} now, so it cannot be corrected.")
    image = queries.image_row(db, row.image_id)
    name = correction.category or db.get_one(CategoryRow, row.category_id).name
    new = NewAnnotation(row.image_id, name, correction.mask, row.source, correction.provenance, user)
    check_mask(new.mask, (image.height, image.width))
    history.change(
        db,
        row,
        "edited",
        user,
        step,
        details={"provenance": dict(new.provenance)},
        counts=new.mask.rle["counts"],
        # a score is a model's estimate for the mask that it proposed
        score=None,
        category_id=history.category(db, new.category, user, now()),
        annotator=user,
    )


def _check_revision(row: AnnotationRow, seen: int | None) -> None:
    if seen not in (None, row.revision):
        raise Conflict(
            f"Mask {row.id} was changed by someone else meanwhile (revision {row.revision}, you saw {seen}); nothing "
            "was overwritten.",
            "Look at it again, then repeat the change.",
        )
