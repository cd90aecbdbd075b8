"""Annotations of a project: masks with category, state and provenance, and which of them are references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maskwright.domain.mask import Mask
from maskwright.domain.provenance import PromptKind

__all__ = ["UNNAMED", "Annotation", "AnnotationKey", "Category", "ReferenceMark"]

UNNAMED = "object"
"""Category of masks that a prompt for everything has found, until a user names them."""


@dataclass(frozen=True, slots=True)
class Category:
    """A class of a project."""

    id: int
    name: str
    color: str
    """#rrggbb"""
    supercategory: str = ""
    shortcut: int | None = None
    """Number key, 1 to 9, that selects it."""
    synonyms: tuple[str, ...] = ()
    """Further names in text prompts."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A stored mask: accepted by a user, or proposed by a batch."""

    id: int
    uid: str
    """Unique among all projects; exports and imports keep it."""
    image_id: int
    category_id: int
    category: str
    """Name of the category."""
    mask: Mask
    state: str
    """proposed (by a batch, undecided), accepted, rejected or deleted"""
    source: str
    """text, reference, click, box, manual, import or finetuned"""
    revision: int
    """1 for a new annotation, one more with every change."""
    annotator: str
    """Name of the user."""
    created_at: str
    """UTC, ISO 8601 with milliseconds"""
    updated_at: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    crowd: bool = False
    """COCO's `iscrowd`: a group or a region to ignore, not a single object."""

    @property
    def unnamed(self) -> bool:
        """Whether it is a proposal of a prompt for everything, which nobody has named yet."""
        everything = PromptKind.of(self.provenance) is PromptKind.EVERYTHING
        return self.state == "proposed" and self.category == UNNAMED and everything

    @property
    def out_of_vocabulary(self) -> bool:
        """Whether the model that proposed it was not trained on its category's name."""
        return self.category in self.provenance.get("out_of_vocabulary", ())


class AnnotationKey(NamedTuple):
    """An annotation without its mask."""

    uid: str
    revision: int
    image_id: int
    category_id: int
    category: str


class ReferenceMark(NamedTuple):
    """A mask that is a reference of a category."""

    annotation_id: int
    category: str
    """Of the reference, which may differ from the annotation's own."""
    shows: bool
    """True for a reference, False for a negative reference."""
