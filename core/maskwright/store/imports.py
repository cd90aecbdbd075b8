"""A dataset into the project, in one transaction: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from maskwright.domain import ImageRecord
from maskwright.store import history, queries
from maskwright.store.images import add_image
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import LARGEST_ID, BoxPrompt, NewAnnotation, NewImage

__all__ = ["ImportStore", "NewCategory", "NewDataset", "Stored"]


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
            for kind in fresh.wished_first(CategoryRow, new.categories):
                history.category(db, kind.name, new.who, now(), kind.supercategory, kind.id)
            ids = _image_ids(db, fresh, new.images)
            placed = [replace(one, image_id=ids[one.image_id]) for one in new.annotations]
            missing = list(_missing(db, placed))
            for part in fresh.in_parts(AnnotationRow, missing):
                history.add_masks(db, part)
            boxes = _add_boxes(db, [replace(one, image_id=ids[one.image_id]) for one in new.boxes], new.who)
            if missing or boxes:
                after = {"file": new.file, "masks": len(missing), "boxes": boxes}
                db.add(EventRow(at=now(), who=new.who, kind="imported", after=after))
            return Stored(len(missing), len(placed) - len(missing), boxes)

    def foretell(self, new: NewDataset) -> Stored:
        """What `import_dataset` would give; nothing is written."""
        # a new image has nothing yet: any number that no image has will do
        ids = [one if isinstance(one, int) else -place for place, one in enumerate(new.images, start=1)]
        masks = [replace(one, image_id=ids[one.image_id]) for one in new.annotations]
        boxes = [replace(one, image_id=ids[one.image_id]) for one in new.boxes]
        with self._reading() as db:
            missing = len(list(_missing(db, masks)))
            return Stored(missing, len(masks) - missing, len(list(_missing_boxes(db, boxes))))

    def image_of_masks(self, uids: Sequence[str]) -> ImageRecord | None:
        """The image of the first of these masks that the project has, or None."""
        with self._reading() as db:
            for part in queries.parts(uids):
                chosen = select(ImageRow).join(AnnotationRow, AnnotationRow.image_id == ImageRow.id)
                row = db.scalar(chosen.where(AnnotationRow.uid.in_(part)).limit(1))
                if row is not None:
                    return row.to_domain()
        return None


def _image_ids(db: Session, fresh: _Fresh, images: Sequence[NewImage | int]) -> list[int]:
    """The project's ids for a file's images, in the file's order."""
    added = {
        one.sha256: add_image(db, one).id
        for one in fresh.wished_first(ImageRow, [one for one in images if not isinstance(one, int)])
    }
    return [one if isinstance(one, int) else added[one.sha256] for one in images]


_Wish = TypeVar("_Wish", NewCategory, NewImage, NewAnnotation)


class _Fresh:
    """Which tables have never had a row, so that a file's own ids can be taken."""

    def __init__(self, db: Session) -> None:
        self._db = db
        purged = db.scalar(select(EventRow.id).where(EventRow.kind == "purged", EventRow.annotation_id.is_(None)))
        self._tables = [table for table in (ImageRow, CategoryRow, AnnotationRow) if self._empty(table)]
        if purged is not None and AnnotationRow in self._tables:
            self._tables.remove(AnnotationRow)

    def wished_first(self, table: type[Any], rows: Sequence[_Wish]) -> Iterator[_Wish]:
        """The rows one by one, those with a wish that is granted before those that get the next free id."""
        wishing, others = self._sorted(table, rows)
        yield from wishing
        self._catch_up(table)
        yield from others

    def in_parts(self, table: type[Any], rows: Sequence[_Wish]) -> Iterator[Sequence[_Wish]]:
        """As `wished_first`, in handfuls of one kind."""
        wishing, others = self._sorted(table, rows)
        yield from queries.parts(wishing)
        self._catch_up(table)
        yield from queries.parts(others)

    def _sorted(self, table: type[Any], rows: Sequence[_Wish]) -> tuple[list[_Wish], list[_Wish]]:
        def granted(one: _Wish) -> bool:
            return table in self._tables and one.id is not None and one.id <= LARGEST_ID

        return [one for one in rows if granted(one)], [replace(one, id=None) for one in rows if not granted(one)]

    def _empty(self, table: type[Any]) -> bool:
        return self._db.scalar(select(table.id).limit(1)) is None

    def _catch_up(self, table: type[Any]) -> None:
        """A server's counters do not see ids that were given; SQLite's do."""
        if table not in self._tables or self._db.get_bind().dialect.name != "postgresql":
            return
        self._db.flush()
        highest = self._db.scalar(select(func.max(table.id)))
        if highest:
            sequence = f"{table.__tablename__}_id_seq"
            self._db.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})


def _missing(db: Session, placed: Sequence[NewAnnotation]) -> Iterator[NewAnnotation]:
    """Those that the project does not have, each once."""
    uids = [one.uid for one in placed if one.uid]
    known = {
        uid
        for part in queries.parts(uids)
        for uid in db.scalars(select(AnnotationRow.uid).where(AnnotationRow.uid.in_(part)))
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
        for part in queries.parts(list(image_ids))
        for image_id, name, counts in db.execute(chosen.where(row.image_id.in_(part)))
    }


def _missing_boxes(db: Session, boxes: Sequence[BoxPrompt]) -> Iterator[BoxPrompt]:
    """Those that the project does not have, each once."""
    row = PromptRow
    chosen = (
        select(row.image_id, CategoryRow.name, row.provenance)
        .join(CategoryRow, CategoryRow.id == row.category_id)
        .where(row.source == "box")
    )
    known = {
        (image_id, name, *told["box"])
        for part in queries.parts(list({one.image_id for one in boxes}))
        for image_id, name, told in db.execute(chosen.where(row.image_id.in_(part)))
    }
    for one in boxes:
        key = (one.image_id, one.category, *one.bbox)
        if key not in known:
            known.add(key)
            yield one


def _add_boxes(db: Session, boxes: Sequence[BoxPrompt], who: str) -> int:
    at = now()
    rows = [
        {
            "image_id": one.image_id, "category_id": history.category(db, one.category, who, at), "source": "box",
            "provenance": {**one.provenance, "box": list(one.bbox)}, "who": who, "at": at,
        }
        for one in _missing_boxes(db, boxes)
    ]  # fmt: skip
    history.add_boxes(db, rows)
    return len(rows)
