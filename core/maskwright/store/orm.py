"""Tables of a project. Ids are never reused; times are UTC text; masks are run-length text; nothing is pickled."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from maskwright.domain import Annotation, Category, ImageRecord, Mask, Run
from maskwright.store.values import NewAnnotation, NewImage, NewRun

__all__ = ["AliasRow", "AnnotationRow", "Base", "CategoryRow", "EventRow", "ImageRow", "ReferenceRow", "RunRow", "now"]


def now() -> str:
    """The moment as UTC ISO 8601 with milliseconds, such as 2026-11-21T03:04:05.678Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Base(DeclarativeBase):
    """All tables; constraints have names so that later migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {dict[str, Any]: JSON(none_as_null=True)}


class ImageRow(Base):
    """A picture, known by its content."""

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

    @classmethod
    def from_domain(cls, new: NewImage, at: str) -> ImageRow:
        """The row of an image added at the moment `at`."""
        return cls(
            sha256=new.sha256,
            file_name=new.file_name,
            width=new.width,
            height=new.height,
            orientation=new.orientation,
            captured=new.captured,
            added_at=at,
        )

    def to_domain(self) -> ImageRecord:
        """The image as a value."""
        return ImageRecord(
            self.id, self.sha256, self.file_name, self.width, self.height, self.orientation, self.captured
        )


class AliasRow(Base):
    """A path that an image was added from."""

    __tablename__ = "image_aliases"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True, index=True)


class CategoryRow(Base):
    """A class of things to annotate."""

    __tablename__ = "categories"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    color: Mapped[str]
    supercategory: Mapped[str]
    created_at: Mapped[str]

    def to_domain(self) -> Category:
        """The category as a value."""
        return Category(self.id, self.name, self.color, self.supercategory)


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
    provenance: Mapped[dict[str, Any]]
    created_at: Mapped[str]
    updated_at: Mapped[str]

    @classmethod
    def from_domain(cls, new: NewAnnotation, category_id: int, at: str) -> AnnotationRow:
        """The first revision of a mask kept at the moment `at`."""
        x, y, w, h = new.mask.bbox
        return cls(
            uid=secrets.token_hex(16),
            image_id=new.image_id,
            category_id=category_id,
            state=new.state,
            source=new.source,
            counts=new.mask.rle["counts"],
            area=new.mask.area,
            x=x,
            y=y,
            w=w,
            h=h,
            score=None if new.mask.score is None else float(new.mask.score),
            revision=1,
            annotator=new.annotator,
            provenance=dict(new.provenance),
            created_at=at,
            updated_at=at,
        )

    def to_domain(self, category: str, size_hw: tuple[int, int]) -> Annotation:
        """The annotation as a value, with its category's name and its image's (height, width)."""
        return Annotation(
            id=self.id,
            uid=self.uid,
            image_id=self.image_id,
            category_id=self.category_id,
            category=category,
            mask=Mask(category, {"size": list(size_hw), "counts": self.counts}, self.score),
            state=self.state,
            source=self.source,
            revision=self.revision,
            annotator=self.annotator,
            created_at=self.created_at,
            updated_at=self.updated_at,
            provenance=self.provenance,
        )


class ReferenceRow(Base):
    """A mask that a person chose as an example of a category, or of what the category is not."""

    __tablename__ = "reference_marks"

    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), primary_key=True)
    category_id: Mapped[int] = mapped_column(ForeignKey("categories.id"), primary_key=True)
    shows: Mapped[bool]


class EventRow(Base):
    """One change, never altered. No foreign keys: the history outlives what it tells of."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    who: Mapped[str]
    kind: Mapped[str]
    annotation_id: Mapped[int | None]
    image_id: Mapped[int | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]


class RunRow(Base):
    """A fine-tuning run; its process writes here what it has reached, and reads whether it should stop."""

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
        """The row of a run started at the moment `at`."""
        return cls(
            name=new.name,
            state="running",
            recipe=new.recipe,
            base=new.base,
            plan=dict(new.plan),
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
            plan=self.plan,
            progress=self.progress,
            before=self.before,
            after=self.after,
            message=self.message,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )
