"""Import of a dataset in one transaction: all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from maskwright.domain import ImageRecord
from maskwright.store import history, queries
from maskwright.store.images import add_image
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import LARGEST_ID, BoxPrompt, NewAnnotation, NewImage, check_mask

__all__ = ["ImportCounts", "ImportStore", "NewCategory", "NewDataset"]


@dataclass(frozen=True, slots=True)
class NewCategory:
    """A category to import; it keeps `id` in a project that has never had a category."""

    name: str
    supercategory: str = ""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset to import. The `image_id` of masks and boxes is an index into `images`, from 0."""

    images: Sequence[NewImage | int]
    """New images, and ids of those in the project."""
    categories: Sequence[NewCategory]
    annotations: Sequence[NewAnnotation]
    boxes: Sequence[BoxPrompt] = ()
    file: str = ""
    user: str = ""
    compare_states: bool = True
    """Whether another state than a known mask has is a difference."""


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """How much of a dataset was new."""

    masks: int
    """Masks that were added."""
    known: int
    """Masks that the project had."""
    boxes: int
    """Boxes that were added."""
    changed: tuple[str, ...] = ()
    """Masks of the project that differ in the file, each with what differs."""
    newer: tuple[str, ...] = ()
    """Those of them that were changed in the project since, and are never overwritten."""
    moved: tuple[str, ...] = ()
    """Known masks that belong to another image in the file."""
    absent: tuple[str, ...] = ()
    """Masks of the project that the file's images had when it was exported, but that it lacks."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """A mask of the project that is not as in the file."""

    row: AnnotationRow
    draft: NewAnnotation
    fields: dict[str, Any]
    """New values by column; a category by its name."""

    @property
    def label(self) -> str:
        names = {"counts": "outline", "category": "class", "crowd": "group", "state": "state"}
        return f"{self.draft.category} {self.row.id}: {' and '.join(names[name] for name in self.fields)}"


class ImportStore:
    """Imports of whole datasets."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewDataset, *, update: bool = False) -> ImportCounts:
        """Add what the project does not have: a mask is the same by `uid`, or else by image, category and pixels.

        Args:
            new: the dataset.
            update: correct masks that differ in the dataset, in one step for undo.
        """
        with self._transactions.writing() as db:
            ids = _IdAssignment(db)
            for category in ids.own_first(CategoryRow, new.categories):
                history.category(
                    db, category.name, new.user, now(), supercategory=category.supercategory, preferred_id=category.id
                )
            images = _image_ids(db, ids, new.images)
            drafts = [replace(draft, image_id=images[draft.image_id]) for draft in new.annotations]
            changed, newer = _differences(db, drafts, new)
            moved, absent = _moved(db, drafts), _absent(db, drafts)
            if update:
                _correct(db, changed, new)
            missing = list(_missing_masks(db, drafts))
            for part in ids.in_batches(AnnotationRow, missing):
                history.add_masks(db, part)
            boxes = _add_boxes(db, [replace(box, image_id=images[box.image_id]) for box in new.boxes], new.user)
            if missing or boxes:
                after = {"file": new.file, "masks": len(missing), "boxes": boxes}
                db.add(EventRow(at=now(), user=new.user, kind="imported", after=after))
            known = len(drafts) - len(missing)
            return ImportCounts(len(missing), known, boxes, _labels(changed), _labels(newer), moved, absent)

    def count_new(self, new: NewDataset) -> ImportCounts:
        """The counts that `add` would return; nothing is written."""
        # a new image has no masks: any number that is no image's id will do
        images = [image if isinstance(image, int) else -place for place, image in enumerate(new.images, start=1)]
        drafts = [replace(draft, image_id=images[draft.image_id]) for draft in new.annotations]
        boxes = [replace(box, image_id=images[box.image_id]) for box in new.boxes]
        with self._transactions.reading() as db:
            missing = len(list(_missing_masks(db, drafts)))
            changed, newer = map(_labels, _differences(db, drafts, new))
            new_boxes = len(list(_missing_boxes(db, boxes)))
            moved, absent = _moved(db, drafts), _absent(db, drafts)
            return ImportCounts(missing, len(drafts) - missing, new_boxes, changed, newer, moved, absent)

    def recognize(self, drafts: Sequence[NewAnnotation], images: Mapping[int, int]) -> list[NewAnnotation]:
        """Give masks of our own export that a tool left without `uid` that of the mask with their number.

        Args:
            drafts: masks, whose `image_id` is an index.
            images: the project's image by that index, for images that the file knows by their SHA-256.
        """
        ids = [draft.id for draft in drafts if draft.id and not draft.uid and draft.image_id in images]
        with self._transactions.reading() as db:
            query = select(AnnotationRow)
            rows = {row.id: row for p in queries.parts(ids) for row in db.scalars(query.where(AnnotationRow.id.in_(p)))}
            known, used = _known_pixels(db, set(images.values())), {draft.uid for draft in drafts}
            found = []
            for draft in drafts:
                row, image = rows.get(draft.id or 0) if not draft.uid else None, images.get(draft.image_id, 0)
                # the same pixels under another number are that mask, not a corrected one
                same = (image, draft.category, draft.mask.rle["counts"]) in known
                if (
                    row
                    and row.image_id == image
                    and not same
                    and row.uid not in used
                    and _is_near(draft.mask.bbox, row)
                ):
                    draft = replace(draft, uid=row.uid, revision=row.revision, state=row.state)
                    used.add(row.uid)
                found.append(draft)
        return found

    def image_of_masks(self, uids: Sequence[str]) -> ImageRecord | None:
        """The image of the first of these masks that the project has, or None."""
        with self._transactions.reading() as db:
            for part in queries.parts(uids):
                query = select(ImageRow).join(AnnotationRow, AnnotationRow.image_id == ImageRow.id)
                row = db.scalar(query.where(AnnotationRow.uid.in_(part)).limit(1))
                if row is not None:
                    return row.to_domain()
        return None


def _image_ids(db: Session, ids: _IdAssignment, images: Sequence[NewImage | int]) -> list[int]:
    """The project's ids of a dataset's images, in the dataset's order."""
    new = [image for image in images if not isinstance(image, int)]
    added = {image.sha256: add_image(db, image).id for image in ids.own_first(ImageRow, new)}
    return [image if isinstance(image, int) else added[image.sha256] for image in images]


_Row = TypeVar("_Row", NewCategory, NewImage, NewAnnotation)


class _IdAssignment:
    """Which rows keep the ids of the file: those of tables that have never had a row."""

    def __init__(self, db: Session) -> None:
        self._db = db
        self._unused = [table for table in (ImageRow, CategoryRow, AnnotationRow) if self._is_empty(table)]
        purged = db.scalar(select(EventRow.id).where(EventRow.kind == "purged", EventRow.annotation_id.is_(None)))
        if purged is not None and AnnotationRow in self._unused:
            self._unused.remove(AnnotationRow)

    def own_first(self, table: type[Any], rows: Sequence[_Row]) -> Iterator[_Row]:
        """The rows one by one, those that keep their id before those that get the next free one."""
        own, others = self._split(table, rows)
        yield from own
        self._advance_sequence(table)
        yield from others

    def in_batches(self, table: type[Any], rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
        """As `own_first`, in batches that do not mix the two."""
        own, others = self._split(table, rows)
        yield from queries.parts(own)
        self._advance_sequence(table)
        yield from queries.parts(others)

    def _split(self, table: type[Any], rows: Sequence[_Row]) -> tuple[list[_Row], list[_Row]]:
        def keeps(row: _Row) -> bool:
            return table in self._unused and row.id is not None and row.id <= LARGEST_ID

        return [row for row in rows if keeps(row)], [replace(row, id=None) for row in rows if not keeps(row)]

    def _is_empty(self, table: type[Any]) -> bool:
        return self._db.scalar(select(table.id).limit(1)) is None

    def _advance_sequence(self, table: type[Any]) -> None:
        """PostgreSQL's sequences do not notice explicit ids; SQLite's do."""
        if table not in self._unused or self._db.get_bind().dialect.name != "postgresql":
            return
        self._db.flush()
        highest = self._db.scalar(select(func.max(table.id)))
        if highest:
            sequence = f"{table.__tablename__}_id_seq"
            self._db.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})


def _labels(differences: Sequence[_Difference]) -> tuple[str, ...]:
    return tuple(difference.label for difference in differences)


def _differences(
    db: Session, drafts: Sequence[NewAnnotation], new: NewDataset
) -> tuple[list[_Difference], list[_Difference]]:
    """Known masks that differ in the file, and those of them that were changed in the project since."""
    by_uid = {draft.uid: draft for draft in drafts if draft.uid}
    query = select(AnnotationRow, CategoryRow.name).join(CategoryRow, CategoryRow.id == AnnotationRow.category_id)
    changed: list[_Difference] = []
    newer: list[_Difference] = []
    for part in queries.parts(list(by_uid)):
        for row, category in db.execute(query.where(AnnotationRow.uid.in_(part)).order_by(AnnotationRow.id)):
            draft = by_uid[row.uid]
            values = {
                "counts": (draft.mask.rle["counts"], row.counts),
                "category": (draft.category, category),
                "crowd": (draft.crowd, row.crowd),
                "state": (draft.state if new.compare_states else row.state, row.state),
            }
            fields = {name: theirs for name, (theirs, ours) in values.items() if theirs != ours}
            if fields and row.image_id == draft.image_id:
                (newer if row.revision > draft.revision else changed).append(_Difference(row, draft, fields))
    return changed, newer


def _is_near(box: tuple[int, int, int, int], row: AnnotationRow) -> bool:
    """Whether a box and that of a mask have an IoU of at least a half: the same number alone may be chance."""
    x, y, w, h = box
    across = min(x + w, row.x + row.w) - max(x, row.x)
    down = min(y + h, row.y + row.h) - max(y, row.y)
    inside = max(across, 0) * max(down, 0)
    return 2 * inside >= w * h + row.w * row.h - inside


def _moved(db: Session, drafts: Sequence[NewAnnotation]) -> tuple[str, ...]:
    """Known masks that the file puts on another image."""
    by_uid = {draft.uid: draft for draft in drafts if draft.uid}
    query = select(AnnotationRow.uid, AnnotationRow.id, AnnotationRow.image_id)
    return tuple(
        f"{by_uid[uid].category} {key}"
        for part in queries.parts(list(by_uid))
        for uid, key, image in db.execute(query.where(AnnotationRow.uid.in_(part)).order_by(AnnotationRow.id))
        if image != by_uid[uid].image_id
    )


def _absent(db: Session, drafts: Sequence[NewAnnotation]) -> tuple[str, ...]:
    """Accepted masks of images of our own export that are older than it, but that it lacks."""
    own = [draft for draft in drafts if draft.uid and draft.updated_at]
    uids, newest = {draft.uid for draft in own}, max((draft.updated_at for draft in own), default="")
    query = (
        select(AnnotationRow.uid, CategoryRow.name, AnnotationRow.id)
        .join(CategoryRow, CategoryRow.id == AnnotationRow.category_id)
        .where(AnnotationRow.state == "accepted", AnnotationRow.updated_at <= newest)
        .order_by(AnnotationRow.id)
    )
    return tuple(
        f"{name} {key}"
        for part in queries.parts(list({draft.image_id for draft in own}))
        for uid, name, key in db.execute(query.where(AnnotationRow.image_id.in_(part)))
        if uid not in uids
    )


def _correct(db: Session, differences: Sequence[_Difference], new: NewDataset) -> None:
    """Give masks the values of the file, as one step of the user."""
    if not differences:
        return
    step = history.begin_step(db, new.user, "correction", (difference.row.image_id for difference in differences))
    details = {"provenance": {"source": "import", "file": new.file}}
    for difference in differences:
        row, fields = difference.row, dict(difference.fields)
        if "counts" in fields:
            image = queries.image_row(db, row.image_id)
            check_mask(difference.draft.mask, (image.height, image.width))
            # a score is a model's estimate for the mask that it proposed
            fields["score"] = None
        if "category" in fields:
            fields["category_id"] = history.category(db, fields.pop("category"), new.user, now())
        history.change(db, row, "edited", new.user, step, details=details, **fields)


def _missing_masks(db: Session, drafts: Sequence[NewAnnotation]) -> Iterator[NewAnnotation]:
    """Those that the project does not have, without duplicates."""
    uids = [draft.uid for draft in drafts if draft.uid]
    known_uids = {
        uid
        for part in queries.parts(uids)
        for uid in db.scalars(select(AnnotationRow.uid).where(AnnotationRow.uid.in_(part)))
    }
    known_pixels = _known_pixels(db, {draft.image_id for draft in drafts if not draft.uid})
    for draft in drafts:
        if draft.uid:
            missing = draft.uid not in known_uids
            known_uids.add(draft.uid)
        else:
            key = (draft.image_id, draft.category, draft.mask.rle["counts"])
            missing = key not in known_pixels
            known_pixels.add(key)
        if missing:
            yield draft


def _known_pixels(db: Session, image_ids: Iterable[int]) -> set[tuple[int, str, str]]:
    row = AnnotationRow
    query = select(row.image_id, CategoryRow.name, row.counts).join(CategoryRow, CategoryRow.id == row.category_id)
    return {
        (image_id, name, counts)
        for part in queries.parts(list(image_ids))
        for image_id, name, counts in db.execute(query.where(row.image_id.in_(part)))
    }


def _missing_boxes(db: Session, boxes: Sequence[BoxPrompt]) -> Iterator[BoxPrompt]:
    """Those that the project does not have, without duplicates."""
    row = PromptRow
    query = (
        select(row.image_id, CategoryRow.name, row.provenance)
        .join(CategoryRow, CategoryRow.id == row.category_id)
        .where(row.source == "box")
    )
    known = {
        (image_id, name, *provenance["box"])
        for part in queries.parts(list({box.image_id for box in boxes}))
        for image_id, name, provenance in db.execute(query.where(row.image_id.in_(part)))
    }
    for box in boxes:
        key = (box.image_id, box.category, *box.bbox)
        if key not in known:
            known.add(key)
            yield box


def _add_boxes(db: Session, boxes: Sequence[BoxPrompt], user: str) -> int:
    at = now()
    rows = [
        {
            "image_id": box.image_id,
            "category_id": history.category(db, box.category, user, at),
            "source": "box",
            "provenance": {**box.provenance, "box": list(box.bbox)},
            "user": user,
            "at": at,
        }
        for box in _missing_boxes(db, boxes)
    ]
    history.add_boxes(db, rows)
    return len(rows)
