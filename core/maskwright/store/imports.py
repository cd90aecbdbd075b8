"""A dataset into the project, in one transaction: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from maskwright.domain import ImageRecord
from maskwright.store import ledger
from maskwright.store.images import add_image
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import BoxPrompt, NewAnnotation, NewImage

__all__ = ["ImportStore", "NewCategory", "NewDataset", "Stored"]

_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class NewCategory:
    """A category of a file; `id` is a wish, granted where the project has never had a category."""

    name: str
    supercategory: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What a file brings. The `image_id` of masks and boxes is a place in `images`, from 0."""

    images: Sequence[NewImage | int]
    """New images, and ids of those that the project has."""
    categories: Sequence[NewCategory]
    annotations: Sequence[NewAnnotation]
    boxes: Sequence[BoxPrompt] = ()
    file: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """How much of a dataset was new."""

    masks: int
    known: int
    boxes: int


class ImportStore(Transactions):
    """How whole datasets come into a store."""

    def import_dataset(self, new: NewDataset) -> Stored:
        """Add what is not there yet: masks are known by `uid`, or else by image, category and pixels."""
        with self._writing() as db:
            fresh = _Fresh(db)
            for kind in new.categories:
                wanted = kind.id if fresh.categories else None
                ledger.category(db, kind.name, new.who, now(), kind.supercategory, wanted)
            ids = [
                one if isinstance(one, int) else add_image(db, one if fresh.images else replace(one, id=None)).id
                for one in new.images
            ]
            placed = [
                replace(one, image_id=ids[one.image_id], id=one.id if fresh.annotations else None)
                for one in new.annotations
            ]
            missing = list(_missing(db, placed))
            for part in _parts(sorted(missing, key=lambda one: one.id is None)):
                for chosen in ([one for one in part if one.id], [one for one in part if not one.id]):
                    ledger.add_masks(db, chosen)
            boxes = _add_boxes(db, [replace(one, image_id=ids[one.image_id]) for one in new.boxes], new.who)
            if missing or boxes:
                after = {"file": new.file, "masks": len(missing), "boxes": boxes}
                db.add(EventRow(at=now(), who=new.who, kind="imported", after=after))
            fresh.catch_up()
            return Stored(len(missing), len(placed) - len(missing), boxes)

    def known(self, masks: Sequence[NewAnnotation], images: Sequence[int | None]) -> int:
        """How many of these masks the project has; their `image_id` is a place in `images`, None for a new one."""
        placed = [replace(one, image_id=images[one.image_id] or -one.image_id - 1) for one in masks]
        with self._reading() as db:
            return len(placed) - len(list(_missing(db, placed)))

    def image_of_masks(self, uids: Sequence[str]) -> ImageRecord | None:
        """The image of the first of these masks that the project has, or None."""
        with self._reading() as db:
            for part in _parts(uids):
                chosen = select(ImageRow).join(AnnotationRow, AnnotationRow.image_id == ImageRow.id)
                row = db.scalar(chosen.where(AnnotationRow.uid.in_(part)).limit(1))
                if row is not None:
                    return row.to_domain()
        return None


class _Fresh:
    """Which tables have never had a row, so that a file's own ids can be taken."""

    def __init__(self, db: Session) -> None:
        self._db = db
        purged = db.scalar(select(EventRow.id).where(EventRow.kind == "purged", EventRow.annotation_id.is_(None)))
        self.images = self._empty(ImageRow)
        self.categories = self._empty(CategoryRow)
        self.annotations = purged is None and self._empty(AnnotationRow)

    def _empty(self, table: type[Any]) -> bool:
        return self._db.scalar(select(table.id).limit(1)) is None

    def catch_up(self) -> None:
        """A server's counters do not see ids that were given; SQLite's do."""
        if self._db.get_bind().dialect.name != "postgresql":
            return
        self._db.flush()
        for table, fresh in (
            (ImageRow, self.images),
            (CategoryRow, self.categories),
            (AnnotationRow, self.annotations),
        ):
            highest = self._db.scalar(select(func.max(table.id)))
            if fresh and highest:
                sequence = f"{table.__tablename__}_id_seq"
                self._db.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})


def _missing(db: Session, placed: Sequence[NewAnnotation]) -> Iterator[NewAnnotation]:
    """Those that the project does not have, each once."""
    uids = [one.uid for one in placed if one.uid]
    known = {
        uid for part in _parts(uids) for uid in db.scalars(select(AnnotationRow.uid).where(AnnotationRow.uid.in_(part)))
    }
    pixels = _pixels(db, {one.image_id for one in placed if not one.uid})
    for one in placed:
        if one.uid:
            fresh = one.uid not in known
            known.add(one.uid)
        else:
            key = (one.image_id, one.category, one.mask.rle["counts"])
            fresh = key not in pixels
            pixels.add(key)
        if fresh:
            yield one


def _pixels(db: Session, image_ids: Iterable[int]) -> set[tuple[int, str, str]]:
    row = AnnotationRow
    chosen = select(row.image_id, CategoryRow.name, row.counts).join(CategoryRow, CategoryRow.id == row.category_id)
    return {
        (image_id, name, counts)
        for part in _parts(list(image_ids))
        for image_id, name, counts in db.execute(chosen.where(row.image_id.in_(part)))
    }


def _add_boxes(db: Session, boxes: Sequence[BoxPrompt], who: str) -> int:
    at, rows, known = now(), list[dict[str, Any]](), set[tuple[float, ...]]()
    for one in boxes:
        key = ledger.category(db, one.category, who, at)
        if (one.image_id, key) not in known:
            known.add((one.image_id, key))
            told: dict[str, Any]
            there = select(PromptRow.provenance).where(
                PromptRow.image_id == one.image_id, PromptRow.category_id == key, PromptRow.source == "box"
            )
            known |= {(one.image_id, key, *told["box"]) for told in db.scalars(there)}
        if (one.image_id, key, *one.bbox) not in known:
            known.add((one.image_id, key, *one.bbox))
            told = {**one.provenance, "box": list(one.bbox)}
            rows.append(
                {
                    "image_id": one.image_id,
                    "category_id": key,
                    "source": "box",
                    "provenance": told,
                    "who": who,
                    "at": at,
                }
            )
    ledger.add_boxes(db, rows)
    return len(rows)


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The rows in handfuls: a statement takes some ten thousand values at most."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
