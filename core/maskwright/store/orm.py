"""Tables of a project. Ids are never reused; times are UTC text; masks are run-length text; nothing is pickled."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, MetaData, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from maskwright.domain import (
    Annotation,
    Category,
    FinetunePlan,
    ImageRecord,
    Mask,
    PlaneRecord,
    Run,
    RunProgress,
    Scores,
)
from maskwright.domain.rle import Rle
from maskwright.store.values import Change, Checkpoint, NewAnnotation, NewImage, NewRun

__all__ = [
    "AliasRow",
    "AnnotationRow",
    "Base",
    "CategoryRow",
    "CheckpointRow",
    "CountRow",
    "EventRow",
    "ImageRow",
    "PromptRow",
    "ReferenceRow",
    "RunRow",
    "StepRow",
    "now",
]


def now() -> str:
    """The current time as UTC ISO 8601 with milliseconds, such as 2026-11-21T03:04:05.678Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Base(DeclarativeBase):
    """All tables; constraints have names so that later migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {dict[str, Any]: JSON(none_as_null=True), list[str]: JSON}


class ImageRow(Base):
    """An image, identified by its content."""

    __tablename__ = "images"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    file_name: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    orientation: Mapped[int]
    captured: Mapped[str]
    added_at: Mapped[str]
    # numbers of its masks in these states: a list of images with their counts reads this table only
    accepted: Mapped[int] = mapped_column(default=0, server_default="0")
    proposed: Mapped[int] = mapped_column(default=0, server_default="0")
    # empty, or one of REVIEWS; a deleted image is kept for undo, and comes back when it is added again
    review: Mapped[str] = mapped_column(default="", server_default="")
    # where it lies in a stack
    plane: Mapped[dict[str, Any] | None]
    # where its file is read from; empty for one in the project's folder
    address: Mapped[str] = mapped_column(default="", server_default="", index=True)

    @classmethod
    def from_domain(cls, new: NewImage, at: str) -> ImageRow:
        """The row of an image added at the time `at`."""
        return cls(
            id=new.id,
            sha256=new.sha256,
            file_name=new.file_name,
            width=new.width,
            height=new.height,
            orientation=new.orientation,
            captured=new.captured,
            added_at=at,
            plane=None if new.plane is None else new.plane.to_dict(),
            address=new.address,
        )

    def to_domain(self) -> ImageRecord:
        """The image as a value."""
        plane = PlaneRecord.from_dict(self.plane)
        return ImageRecord(
            self.id, self.sha256, self.file_name, self.width, self.height, self.orientation, self.captured, plane,
            self.address,
        )  # fmt: skip


class AliasRow(Base):
    """A path that an image was added from."""

    __tablename__ = "image_aliases"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True, index=True)


class CategoryRow(Base):
    """A category of objects to annotate."""

    __tablename__ = "categories"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    color: Mapped[str]
    supercategory: Mapped[str]
    created_at: Mapped[str]
    shortcut: Mapped[int | None]
    synonyms: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    # kept for the history and for undo; adding its name again restores it
    deleted: Mapped[bool] = mapped_column(default=False, server_default=false())
    # place in lists; None for those that nobody has moved, which follow in the order of their ids
    position: Mapped[int | None]

    def to_domain(self) -> Category:
        """The category as a value."""
        return Category(self.id, self.name, self.color, self.supercategory, self.shortcut, tuple(self.synonyms))


class CountRow(Base):
    """Number of masks of a category in a state, so that no query has to count a million rows."""

    __tablename__ = "tallies"

    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id"), primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]


class PromptRow(Base):
    """A prompt on one image: the provenance shared by the masks that a model returned for it.

    A box that was imported without a mask is a prompt that has not been passed to a model yet.
    """

    __tablename__ = "prompts"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), index=True)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"))
    source: Mapped[str]
    provenance: Mapped[dict[str, Any]]
    user: Mapped[str] = mapped_column("who")
    at: Mapped[str]


class AnnotationRow(Base):
    """A mask of one object in one image; the size of its run-length text is the image's."""

    __tablename__ = "annotations"
    __table_args__ = (
        Index(None, "image_id", "state"),
        Index(None, "category_id", "state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id"))
    state: Mapped[str]
    source: Mapped[str]
    counts: Mapped[str]
    area: Mapped[int]
    x: Mapped[int]
    y: Mapped[int]
    w: Mapped[int]
    h: Mapped[int]
    score: Mapped[float | None]
    revision: Mapped[int]
    annotator: Mapped[str]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    crowd: Mapped[bool] = mapped_column(default=False, server_default=false())
    # no foreign key: SQLite cannot add one to a table without copying it
    prompt_id: Mapped[int | None]

    @staticmethod
    def values(new: NewAnnotation, category_id: int, prompt_id: int, at: str) -> dict[str, Any]:
        """The columns of a mask added at the time `at`."""
        x, y, w, h = new.mask.bbox
        return {
            "uid": new.uid or secrets.token_hex(16),
            "image_id": new.image_id,
            "category_id": category_id,
            "state": new.state,
            "source": new.source,
            "counts": new.mask.rle["counts"],
            "area": new.mask.area,
            "x": x,
            "y": y,
            "w": w,
            "h": h,
            "score": None if new.mask.score is None else float(new.mask.score),
            "revision": new.revision,
            "annotator": new.annotator,
            "created_at": new.created_at or at,
            "updated_at": new.updated_at or at,
            "crowd": new.crowd,
            "prompt_id": prompt_id,
        } | ({"id": new.id} if new.id else {})

    def to_domain(self, category: str, size_hw: tuple[int, int], provenance: dict[str, Any] | None) -> Annotation:
        """The annotation as a value, with its category's name and its image's (height, width)."""
        rle = Rle(size=list(size_hw), counts=self.counts)
        return Annotation(
            id=self.id,
            uid=self.uid,
            image_id=self.image_id,
            category_id=self.category_id,
            category=category,
            mask=Mask.from_rle(
                rle, category=category, score=self.score, area=self.area, bbox=(self.x, self.y, self.w, self.h)
            ),
            state=self.state,
            source=self.source,
            revision=self.revision,
            annotator=self.annotator,
            created_at=self.created_at,
            updated_at=self.updated_at,
            provenance=provenance or {},
            crowd=self.crowd,
        )


class ReferenceRow(Base):
    """A mask that a user chose as a positive or negative example of a category."""

    __tablename__ = "reference_marks"

    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), primary_key=True)
    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id"), primary_key=True)
    shows: Mapped[bool]


class StepRow(Base):
    """One action of a user for undo and redo: done, undone, or void because of a later step."""

    __tablename__ = "steps"
    __table_args__ = (Index(None, "who", "state", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    user: Mapped[str] = mapped_column("who")
    kind: Mapped[str]
    image_id: Mapped[int | None]
    state: Mapped[str]


_NO_MASK = text("annotation_id IS NULL")


class EventRow(Base):
    """One change, never altered. It has no foreign keys: the history outlives the rows that it refers to."""

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "kind", "id", sqlite_where=_NO_MASK, postgresql_where=_NO_MASK),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    user: Mapped[str] = mapped_column("who")
    kind: Mapped[str]
    annotation_id: Mapped[int | None] = mapped_column(index=True)
    image_id: Mapped[int | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    step_id: Mapped[int | None] = mapped_column(index=True)

    def to_domain(self) -> Change:
        """The change as a value."""
        return Change(
            self.id,
            self.at,
            self.user,
            self.kind,
            self.annotation_id,
            self.image_id,
            self.before or {},
            self.after or {},
        )


class RunRow(Base):
    """A fine-tuning run; its process writes its progress here, and reads whether it should stop."""

    __tablename__ = "runs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    recipe: Mapped[str]
    base: Mapped[str]
    plan: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    message: Mapped[str]
    stop: Mapped[bool]
    created_at: Mapped[str]
    updated_at: Mapped[str]

    @classmethod
    def from_domain(cls, new: NewRun, at: str) -> RunRow:
        """The row of a run started at the time `at`."""
        return cls(
            name=new.name,
            state="running",
            recipe=new.recipe,
            base=new.base,
            plan=new.plan.to_dict(),
            progress={},
            message="",
            stop=False,
            created_at=at,
            updated_at=at,
        )

    def to_domain(self) -> Run:
        """The run as a value."""
        return Run(
            id=self.id,
            name=self.name,
            state=self.state,
            recipe=self.recipe,
            base=self.base,
            plan=FinetunePlan.from_dict(self.plan),
            progress=RunProgress.from_dict(self.progress),
            before=None if self.before is None else Scores.from_dict(self.before),
            after=None if self.after is None else Scores.from_dict(self.after),
            message=self.message,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class CheckpointRow(Base):
    """The weights of a run; the row is written after the folder."""

    __tablename__ = "checkpoints"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    folder: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    created_at: Mapped[str]

    def to_domain(self, run: str) -> Checkpoint:
        """The checkpoint as a value, with its run's name."""
        return Checkpoint(run, self.folder, self.sha256, self.created_at)
