"""Masks: proposed, accepted, corrected, rejected, deleted, restored; taken back and done again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, AnnotationKey, ReferenceMark
from maskwright.errors import Conflict, MaskwrightError
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, PromptRow, ReferenceRow, StepRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import (
    STATES,
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


class MaskStore(Transactions):
    """What a store knows of masks."""

    def add_annotation(self, new: NewAnnotation) -> Annotation:
        """The mask as kept; raises as `add_annotations`."""
        return self.add_annotations([new])[0]

    def add_annotations(self, new: Iterable[NewAnnotation]) -> list[Annotation]:
        """The masks as kept, all of them or, on an error, none; one step.

        Raises:
            MaskwrightError: there is no such image.
            InvalidMask: a mask has another size than its image.
        """
        wanted = list(new)
        with self._writing() as db:
            return _values(db, history.add_masks(db, wanted, _step(db, wanted)))

    def decide(
        self,
        state: str,
        who: str,
        *,
        new: Sequence[NewAnnotation] = (),
        corrections: Sequence[Correction] = (),
        stored: Sequence[int] = (),
        category: str | None = None,
    ) -> list[Annotation]:
        """What a person made of proposals, all of it or, on an error, nothing; one step.

        Args:
            state: "accepted" or "rejected".
            who: the person.
            new: proposals that only a session knew, in this state.
            corrections: of accepted masks, when `state` is "accepted".
            stored: ids of a batch's proposals.
            category: the name that the stored ones get; None leaves theirs.

        Raises:
            Conflict: a mask that is corrected was changed since it was seen.
            MaskwrightError: a proposal is no longer open, or a corrected mask no longer accepted.
            InvalidMask: a mask has another size than its image.
        """
        check_state(state)
        if not (new or corrections or stored):
            return []
        with self._writing() as db:
            rows = [queries.annotation_row(db, key) for key in stored]
            if any(row.state != "proposed" for row in rows):
                raise MaskwrightError("That proposal is no longer open. Run the prompt again.")
            corrected = [queries.annotation_row(db, one.annotation_id) for one in corrections]
            touched = [*(one.image_id for one in new), *(row.image_id for row in [*rows, *corrected])]
            kind = "correction" if corrected and not rows and not new else _KINDS[state]
            step = history.begin_step(db, who, kind, touched)
            for row, one in zip(corrected, corrections, strict=True):
                _correct(db, row, one, who, step)
            ids = [row.id for row in corrected] + history.add_masks(db, new, step)
            for row in rows:
                fields: dict[str, Any] = {"state": state, "annotator": who}
                if category:
                    fields["category_id"] = history.category(db, clean_name(category), who, now())
                history.change(db, row, "state_changed", who, step, **fields)
            return _values(db, [*ids, *stored])

    def set_state(self, annotation_id: int, state: str, who: str, revision: int | None = None) -> Annotation:
        """The annotation in its new state; arguments and errors as `set_states`."""
        return self.set_states({annotation_id: revision}, state, who)[0]

    def set_states(self, annotations: dict[int, int | None], state: str, who: str) -> list[Annotation]:
        """Annotations in a new state, all or none, in one step; a deleted mask's row stays.

        Args:
            annotations: ids, each with the revision that this person saw, or None for whatever is there.
            state: accepted, rejected, proposed or deleted; the present one changes nothing.
            who: the person, for the history.

        Raises:
            Conflict: one was changed since that revision.
            MaskwrightError: no such annotation or state.
        """
        check_state(state)
        with self._writing() as db:
            rows = _seen(db, annotations)
            restored = state in ("accepted", "proposed") and any(row.state in _GONE for row in rows)
            if any(row.state != state for row in rows):
                kind = "restoration" if restored else _KINDS[state]
                step = history.begin_step(db, who, kind, (row.image_id for row in rows))
                for row in rows:
                    history.change(db, row, "state_changed", who, step, state=state)
            return _values(db, list(annotations))

    def restore(self, annotations: dict[int, int | None], who: str) -> list[Annotation]:
        """Deleted annotations as accepted, rejected ones as proposals, all or none, in one step; see `set_states`."""
        with self._writing() as db:
            rows = [row for row in _seen(db, annotations) if row.state in _GONE]
            if rows:
                step = history.begin_step(db, who, "restoration", (row.image_id for row in rows))
                for row in rows:
                    state = "accepted" if row.state == "deleted" else "proposed"
                    history.change(db, row, "state_changed", who, step, state=state)
            return _values(db, list(annotations))

    def reclassify(self, annotations: dict[int, int | None], category: str, who: str) -> list[Annotation]:
        """Annotations under another name, all or none, in one step; arguments and errors as `set_states`."""
        with self._writing() as db:
            rows = _seen(db, annotations)
            key = history.category(db, clean_name(category), who, now())
            if any(row.category_id != key for row in rows):
                step = history.begin_step(db, who, "change of category", (row.image_id for row in rows))
                for row in rows:
                    history.change(db, row, "category_changed", who, step, category_id=key)
            return _values(db, list(annotations))

    def correct(self, correction: Correction, who: str) -> Annotation:
        """An accepted mask with other pixels, and perhaps another name; the history keeps what it was.

        Raises:
            Conflict: it was changed since the revision that was seen.
            MaskwrightError: no such accepted mask, or the new one is empty.
            InvalidMask: it has another size than its image.
        """
        return self.decide("accepted", who, corrections=[correction])[0]

    def undo(self, who: str, image_id: int | None = None) -> UndoStep:
        """Take back what a person did last, on the image in view; see `history.undo`."""
        return self._retraced(who, image_id, back=True)

    def redo(self, who: str, image_id: int | None = None) -> UndoStep:
        """Do again what a person has undone last, on the image in view; see `history.undo`."""
        return self._retraced(who, image_id, back=False)

    def _retraced(self, who: str, image_id: int | None, *, back: bool) -> UndoStep:
        try:
            with self._writing() as db:
                return (history.undo if back else history.redo)(db, who, image_id)
        except Conflict:
            # told once; otherwise it would stand in the way of every earlier step
            with self._writing() as db:
                history.discard_step(db, who, back=back)
            raise

    def annotations(self, image_id: int | None = None, states: Sequence[str] = ("accepted",)) -> list[Annotation]:
        """Annotations of one image or of all, in id order."""
        with self._reading() as db:
            return list(queries.stored_annotations(db, states, image_id))

    def annotation(self, annotation_id: int) -> Annotation:
        """One annotation in whatever state; raises MaskwrightError when there is none."""
        with self._reading() as db:
            queries.annotation_row(db, annotation_id)
            return _values(db, [annotation_id])[0]

    def accepted_keys(self) -> list[AnnotationKey]:
        """All accepted annotations without their masks, in id order."""
        with self._reading() as db:
            return queries.accepted_keys(db)

    def history(self, annotation_id: int) -> list[Change]:
        """Everything that ever happened to a mask, the oldest first."""
        chosen = select(EventRow).where(EventRow.annotation_id == annotation_id).order_by(EventRow.id)
        with self._reading() as db:
            return [row.to_domain() for row in db.scalars(chosen)]

    def purge(self, who: str) -> int:
        """Remove rejected and deleted masks for good; gives how many. What the history tells of them stays."""
        gone = select(AnnotationRow.id).where(AnnotationRow.state.in_(_GONE))
        with self._writing() as db:
            moved = queries.tallied(db, _GONE)
            if not moved:
                return 0
            steps = select(EventRow.step_id).where(EventRow.annotation_id.in_(gone), EventRow.step_id.is_not(None))
            db.execute(
                StepRow.__table__.update().where(StepRow.id.in_(steps)).values(state="void")  # type: ignore[attr-defined]
            )
            db.execute(delete(ReferenceRow).where(ReferenceRow.annotation_id.in_(gone)))
            number = -sum(moved.values())
            db.execute(delete(AnnotationRow).where(AnnotationRow.state.in_(_GONE)))
            answered = select(AnnotationRow.prompt_id).where(AnnotationRow.prompt_id.is_not(None))
            db.execute(delete(PromptRow).where(PromptRow.category_id.is_(None), PromptRow.id.not_in(answered)))
            history.count(db, moved)
            db.add(EventRow(at=now(), who=who, kind="purged", after={"masks": number}))
            return number

    # a batch

    def add_prediction(
        self,
        image_id: int,
        new: Sequence[NewAnnotation],
        prompt: str,
        who: str,
        *,
        source: str = "",
        names: Sequence[str] = (),
    ) -> list[Annotation]:
        """What a batch found on one image, and that it has been there; its earlier open proposals there are replaced.

        Args:
            image_id: of the image.
            new: masks to propose or to accept, perhaps none.
            prompt: what tells this batch from others.
            who: the person who started it.
            source: where its masks come from, if there may be none.
            names: of the categories that it asked for, also of those it did not find.
        """
        with self._writing() as db:
            queries.image_row(db, image_id)
            asked = dict.fromkeys([(one.category, one.source) for one in new] + [(name, source) for name in names])
            for name, whence in asked:
                known = queries.category_row(db, clean_name(name))
                for row in queries.undecided(db, image_id, known.id, whence) if known else ():
                    history.change(db, row, "state_changed", who, None, state="deleted")
            ids = history.add_masks(db, new)
            db.add(EventRow(at=now(), who=who, kind="predicted", image_id=image_id, after={"prompt": prompt}))
            return _values(db, ids)

    def predicted(self, prompt: str) -> set[int]:
        """Ids of the images that a batch with this prompt has been over."""
        with self._reading() as db:
            return queries.predicted(db, prompt)

    # references

    def mark_reference(self, annotation_id: int, category: str, shows: bool | None, who: str) -> None:
        """Choose a mask as an example of a category (True), as what it is not (False), or neither (None).

        Raises:
            MaskwrightError: no such annotation or category.
        """
        with self._writing() as db:
            kind = queries.category_row(db, clean_name(category))
            if kind is None:
                raise MaskwrightError(f"There is no category {category!r} in this project. Check the spelling.")
            queries.annotation_row(db, annotation_id)
            row = db.get(ReferenceRow, (annotation_id, kind.id))
            if row is not None:
                db.delete(row)
                db.flush()
            if shows is not None:
                db.add(ReferenceRow(annotation_id=annotation_id, category_id=kind.id, shows=shows))
            after = {"category_id": kind.id, "shows": shows}
            db.add(EventRow(at=now(), who=who, kind="reference_marked", annotation_id=annotation_id, after=after))

    def reference_marks(self) -> list[ReferenceMark]:
        """All marks on accepted masks."""
        with self._reading() as db:
            return queries.reference_marks(db)


_KINDS = {"accepted": "accept", "rejected": "rejection", "deleted": "deletion", "proposed": "reopening"}


def _step(db: Session, wanted: Sequence[NewAnnotation]) -> int | None:
    if not wanted:
        return None
    return history.begin_step(db, wanted[0].annotator, _KINDS[wanted[0].state], (one.image_id for one in wanted))


def _values(db: Session, ids: Sequence[int]) -> list[Annotation]:
    found = {one.id: one for part in queries.parts(ids) for one in queries.stored_annotations(db, STATES, ids=part)}
    return [found[key] for key in ids]


def _seen(db: Session, annotations: dict[int, int | None]) -> list[AnnotationRow]:
    rows = [queries.annotation_row(db, key) for key in annotations]
    for row in rows:
        _check_revision(row, annotations[row.id])
    return rows


def _correct(db: Session, row: AnnotationRow, one: Correction, who: str, step: int) -> None:
    _check_revision(row, one.revision)
    if row.state != "accepted":
        raise MaskwrightError(f"Mask {row.id} is no longer accepted, so it cannot be corrected.")
    image = queries.image_row(db, row.image_id)
    name = one.category or db.get_one(CategoryRow, row.category_id).name
    new = NewAnnotation(row.image_id, name, one.mask, row.source, one.provenance, who)
    check_mask(one.mask, (image.height, image.width))
    history.change(
        db, row, "edited", who, step, {"provenance": dict(new.provenance)}, counts=one.mask.rle["counts"],
        # a score is a model's word on a mask as it was proposed
        score=None, category_id=history.category(db, new.category, who, now()), annotator=who,
    )  # fmt: skip


def _check_revision(row: AnnotationRow, seen: int | None) -> None:
    if seen not in (None, row.revision):
        raise Conflict(
            f"Mask {row.id} was changed by someone else meanwhile (revision {row.revision}, you saw {seen}); nothing "
            "was overwritten. Look at it again, then repeat the change."
        )
