"""The store of a project: every method is one transaction, and what it returns is on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from maskwright.domain import Annotation, AnnotationKey, Category, ImageRecord, Mask, ReferenceMark, Run
from maskwright.errors import BadProject, MaskwrightError
from maskwright.store import queries
from maskwright.store.connection import connect, database_url, sqlite_file
from maskwright.store.failures import cannot_write, plain_errors
from maskwright.store.migrations import bring_up_to_date
from maskwright.store.orm import AliasRow, AnnotationRow, EventRow, ImageRow, ReferenceRow, RunRow, now
from maskwright.store.values import (
    STATES,
    Counts,
    DatasetSnapshot,
    NewAnnotation,
    NewImage,
    NewRun,
    check_mask,
    check_state,
    clean_name,
)

__all__ = ["Store"]


class Store:
    """Images, categories and annotations of one project, shared with any other process that has it open.

    Every method raises ProjectUnwritable when the database is read-only, locked or out of room, and BadProject when its
    file is damaged. A write that raised has changed nothing.
    """

    def __init__(self, engine: Engine, where: str) -> None:
        """Take over an engine whose tables are up to date; use `Store.open`."""
        self._engine, self._where, self._file = engine, where, sqlite_file(engine.url)
        # a server's default would let two statements of one reading see different moments
        moment = {} if self._file else {"isolation_level": "REPEATABLE READ"}
        self._readers = sessionmaker(engine.execution_options(**moment))
        self._writers = sessionmaker(engine.execution_options(write=True))

    @classmethod
    def open(cls, where: str | Path, *, create: bool = False) -> Store:
        """Open a database file by path, or any database by URL, and bring its tables up to date.

        Raises:
            BadProject: there is no such file and `create` is false; newer than this Maskwright; damaged.
            ProjectUnwritable: the file or its folder cannot be written.
        """
        url = database_url(where)
        file = sqlite_file(url)
        if file is not None:
            _require_file(file, create)
        shown = str(file) if file else url.render_as_string(hide_password=True)
        engine = connect(url)
        try:
            with plain_errors(shown, file):
                bring_up_to_date(engine, shown)
        except OSError as error:
            engine.dispose()
            raise cannot_write(file or Path(), error) from error
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, shown)

    def close(self) -> None:
        """Give the file free; the store cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # images

    def add_image(self, new: NewImage) -> ImageRecord:
        """The image with this content; bytes that are known already only get the alias."""
        with self._writing() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.sha256 == new.sha256))
            if row is None:
                at = now()
                row = ImageRow.from_domain(new, at)
                db.add(row)
                db.flush()
                db.add(EventRow(at=at, who=new.who, kind="image_added", image_id=row.id))
            if new.alias and db.get(AliasRow, (row.id, new.alias)) is None:
                db.add(AliasRow(image_id=row.id, path=new.alias))
            return row.to_domain()

    def image(self, image_id: int) -> ImageRecord:
        """One image; raises MaskwrightError when the project has none with this id."""
        with self._reading() as db:
            return queries.image_row(db, image_id).to_domain()

    def image_by_sha256(self, sha256: str) -> ImageRecord | None:
        """The image with this content, or None."""
        with self._reading() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.sha256 == sha256))
            return row.to_domain() if row else None

    def images(self, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
        """Images in id order, at most `limit` of those with a larger id than `after_id`."""
        with self._reading() as db:
            return queries.images(db, after_id, limit)

    def images_added_from(self, path: str) -> list[ImageRecord]:
        """The images whose files had this alias, in id order: more than one when the file changed."""
        chosen = select(ImageRow).join(AliasRow).where(AliasRow.path == path).order_by(ImageRow.id)
        with self._reading() as db:
            return [row.to_domain() for row in db.scalars(chosen)]

    # categories

    def category(self, name: str, *, create: bool = True, who: str = "") -> Category:
        """The category of this name (in NFC, without blanks around it), made when it is new.

        Raises:
            MaskwrightError: the name is empty, or unknown and `create` is false.
        """
        name = clean_name(name)
        with self._reading() as db:
            row = queries.category_row(db, name)
            if row is not None:
                return row.to_domain()
        if not create:
            raise MaskwrightError(f"There is no category {name!r} in this project. Check the spelling.")
        with self._writing() as db:
            return queries.category(db, name, who, now())

    def categories(self) -> list[Category]:
        """All categories in id order."""
        with self._reading() as db:
            return queries.categories(db)

    # annotations

    def add_annotation(self, new: NewAnnotation) -> Annotation:
        """The mask as kept; raises as `add_annotations`."""
        return self.add_annotations([new])[0]

    def add_annotations(self, new: Iterable[NewAnnotation]) -> list[Annotation]:
        """The masks as kept, all of them or, on an error, none.

        Raises:
            MaskwrightError: there is no such image.
            InvalidMask: a mask has another size than its image.
        """
        with self._writing() as db:
            return self._add(db, list(new))

    def _add(self, db: Session, wanted: Sequence[NewAnnotation]) -> list[Annotation]:
        at = now()
        images = {one.image_id: queries.image_row(db, one.image_id) for one in wanted}
        categories = {one.category: queries.category(db, one.category, one.annotator, at) for one in wanted}
        rows = []
        for one in wanted:
            check_mask(one.mask, _size_hw(images[one.image_id]))
            rows.append(AnnotationRow.from_domain(one, categories[one.category].id, at))
        db.add_all(rows)
        db.flush()
        db.add_all(queries.added_event(row) for row in rows)
        return [
            row.to_domain(one.category, _size_hw(images[one.image_id])) for row, one in zip(rows, wanted, strict=True)
        ]

    def annotations(self, image_id: int | None = None, states: Sequence[str] = ("accepted",)) -> list[Annotation]:
        """Annotations of one image or of all, in id order."""
        with self._reading() as db:
            return queries.annotations_where(db, image_id, states)

    def annotation(self, annotation_id: int) -> Annotation:
        """One annotation in whatever state; raises MaskwrightError when there is none."""
        with self._reading() as db:
            row = queries.annotation_row(db, annotation_id)
            return queries.annotations_where(db, row.image_id, STATES, annotation_id)[0]

    def accepted_keys(self) -> list[AnnotationKey]:
        """All accepted annotations without their masks, in id order."""
        with self._reading() as db:
            return queries.accepted_keys(db)

    def set_state(self, annotation_id: int, state: str, who: str, revision: int | None = None) -> Annotation:
        """The annotation in its new state: accepted, rejected or deleted (which keeps the row).

        Args:
            annotation_id: of the annotation to change.
            state: the new one; the present one changes nothing.
            who: the person, for the history.
            revision: the one this person saw; None for whatever is there.

        Raises:
            MaskwrightError: no such annotation or state, or it was changed since `revision`.
        """
        check_state(state)
        with self._writing() as db:
            row = queries.annotation_row(db, annotation_id)
            _check_revision(row, revision)
            if row.state != state:
                queries.change_state(db, row, state, who)
            return queries.annotations_where(db, row.image_id, (state,), annotation_id)[0]

    def correct(
        self,
        annotation_id: int,
        revision: int,
        mask: Mask,
        who: str,
        provenance: Mapping[str, Any],
        category: str | None = None,
    ) -> Annotation:
        """An accepted mask with other pixels, and perhaps another name; the history keeps what it was.

        Args:
            annotation_id: of the mask to change.
            revision: the one this person saw.
            mask: the new pixels.
            who: the person, for the history.
            provenance: how the new pixels were made, for the history.
            category: the new name; None keeps it.

        Raises:
            MaskwrightError: no such accepted mask, it was changed since `revision`, or the new one is empty.
            InvalidMask: it has another size than its image.
        """
        with self._writing() as db:
            row = queries.annotation_row(db, annotation_id)
            _check_revision(row, revision)
            if row.state != "accepted":
                raise MaskwrightError(f"Mask {annotation_id} is no longer accepted, so it cannot be corrected.")
            image = queries.image_row(db, row.image_id)
            name = category or queries.annotations_where(db, row.image_id, STATES, row.id)[0].category
            new = NewAnnotation(row.image_id, name, mask, row.source, provenance, who)
            check_mask(mask, _size_hw(image))
            queries.correct(db, row, new, queries.category(db, new.category, who, now()).id)
            return queries.annotations_where(db, row.image_id, ("accepted",), annotation_id)[0]

    def decide(
        self, annotation_ids: Iterable[int], state: str, who: str, category: str | None = None
    ) -> list[Annotation]:
        """A batch's proposals as accepted or rejected, all or none; `category` renames them.

        Raises:
            MaskwrightError: one of them is no longer open.
        """
        check_state(state)
        with self._writing() as db:
            found = []
            for key in annotation_ids:
                row = queries.annotation_row(db, key)
                if row.state != "proposed":
                    raise MaskwrightError("That proposal is no longer open. Run the prompt again.")
                if category:
                    row.category_id = queries.category(db, clean_name(category), who, now()).id
                row.annotator = who
                queries.change_state(db, row, state, who)
                found += queries.annotations_where(db, row.image_id, (state,), key)
            return found

    def add_prediction(self, image_id: int, new: Sequence[NewAnnotation], prompt: str, who: str) -> list[Annotation]:
        """What a batch found on one image, and that it has been there; its earlier open proposals there are replaced.

        Args:
            image_id: of the image.
            new: masks to propose or to accept, perhaps none.
            prompt: what tells this batch from others.
            who: the person who started it.
        """
        with self._writing() as db:
            queries.image_row(db, image_id)
            for one in new:
                kind = queries.category(db, one.category, who, now())
                for row in queries.undecided(db, image_id, kind.id, one.source):
                    queries.change_state(db, row, "deleted", who)
            added = self._add(db, new)
            db.add(EventRow(at=now(), who=who, kind="predicted", image_id=image_id, after={"prompt": prompt}))
            return added

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
        kind = self.category(category, create=False)
        with self._writing() as db:
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

    # fine-tuning runs

    def add_run(self, new: NewRun) -> Run:
        """A run as started; its process reports with `report_run` and `end_run`."""
        with self._writing() as db:
            row = RunRow.from_domain(new, now())
            db.add(row)
            db.add(EventRow(at=row.created_at, who=new.who, kind="run_started", after={"run": new.name}))
            db.flush()
            return row.to_domain()

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        with self._reading() as db:
            return [row.to_domain() for row in db.scalars(select(RunRow).order_by(RunRow.id))]

    def last_run(self) -> Run | None:
        """The run that was started last, or None."""
        with self._reading() as db:
            row = db.scalar(select(RunRow).order_by(RunRow.id.desc()).limit(1))
            return row.to_domain() if row else None

    def run(self, name: str) -> Run:
        """One run; raises MaskwrightError when there is none of this name."""
        with self._reading() as db:
            return queries.run_row(db, name).to_domain()

    def resume_run(self, name: str, who: str) -> Run:
        """The run as running again, its outcome and any wish to stop forgotten."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.stop, row.updated_at = "running", "", False, now()
            db.add(EventRow(at=row.updated_at, who=who, kind="run_resumed", after={"run": name}))
            return row.to_domain()

    def report_run(self, name: str, progress: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> bool:
        """Note what a run has reached, and that its process is alive; True when it should stop."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.progress, row.updated_at = dict(progress), now()
            row.before = row.before if before is None else dict(before)
            return row.stop

    def end_run(
        self, name: str, state: str, *, after: Mapping[str, Any] | None = None, message: str = "", who: str = ""
    ) -> Run:
        """The run as ended: done, cancelled or failed."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.updated_at = state, message, now()
            row.after = None if after is None else dict(after)
            db.add(EventRow(at=row.updated_at, who=who, kind=f"run_{state}", after={"run": name}))
            return row.to_domain()

    def stop_run(self, name: str) -> None:
        """Ask a run's process to stop; it looks at least once a second."""
        with self._writing() as db:
            queries.run_row(db, name).stop = True

    def activate(self, name: str | None, who: str) -> None:
        """Make a run's result the model of the project, or with None the one it was opened with.

        Raises:
            MaskwrightError: no such run, or it is not done.
        """
        with self._writing() as db:
            if name is not None and (state := queries.run_row(db, name).state) != "done":
                raise MaskwrightError(f"The run {name} is {state}, so it has no model to use. Let it finish first.")
            db.add(EventRow(at=now(), who=who, kind="model_activated", after={"run": name}))

    def active(self) -> str | None:
        """The run whose result is the model of the project, or None."""
        chosen = select(EventRow.after).where(EventRow.kind == "model_activated").order_by(EventRow.id.desc()).limit(1)
        with self._reading() as db:
            return (db.scalar(chosen) or {}).get("run")

    # the whole project

    def counts(self) -> Counts:
        """How many images and masks there are."""
        with self._reading() as db:
            return queries.counts(db)

    def change_number(self) -> int:
        """Grows with every change by any process; 0 in a new project."""
        with self._reading() as db:
            return db.scalar(select(func.max(EventRow.id))) or 0

    def snapshot(self, states: Sequence[str] = ("accepted",)) -> DatasetSnapshot:
        """All images and categories, and the annotations in these states, as of one moment."""
        with self._reading() as db:
            annotations = queries.annotations_where(db, None, states)
            return DatasetSnapshot(tuple(queries.images(db)), tuple(queries.categories(db)), tuple(annotations))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with plain_errors(self._where, self._file), self._readers.begin() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with plain_errors(self._where, self._file), self._writers.begin() as db:
            yield db


def _check_revision(row: AnnotationRow, seen: int | None) -> None:
    if seen not in (None, row.revision):
        raise MaskwrightError(
            f"Mask {row.id} was changed by someone else meanwhile (revision {row.revision}, you saw {seen}); nothing "
            "was overwritten. Look at it again, then repeat the change."
        )


def _size_hw(row: ImageRow) -> tuple[int, int]:
    return row.height, row.width


def _require_file(file: Path, create: bool) -> None:
    """Say in words what SQLite would only call "unable to open database file", before it makes or touches one."""
    try:
        there, size = file.is_file(), file.stat().st_size if file.exists() else 0
    except OSError as error:
        raise cannot_write(file.parent, error) from error
    if not create and not there:
        raise BadProject(f"There is no project database {file}. Check the name, or create the project first.")
    if not create and not size:
        raise BadProject(f"The project file is damaged. {file} is empty; put a backup copy in its place.")
    for needed in [file.parent, *([file] if there else [])]:
        if not os.access(needed, os.W_OK):
            raise cannot_write(file.parent, PermissionError(13, "Permission denied"))
