"""Annotations: masks that a project keeps, their categories, and which of them serve as references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maskwright.domain.mask import Mask

__all__ = ["Annotation", "AnnotationKey", "Category", "ReferenceMark"]


@dataclass(frozen=True, slots=True)
class Category:
    """A class of a project."""

    id: int
    name: str
    color: str
    """#rrggbb"""
    supercategory: str = ""
    shortcut: int | None = None
    """The number key 1 to 9 that chooses it."""
    synonyms: tuple[str, ...] = ()
    """Other words for it in text prompts."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mask that a person accepted, as the store keeps it."""

    id: int
    uid: str
    image_id: int
    category_id: int
    category: str
    mask: Mask
    state: str
    """proposed (by a batch, undecided), accepted, rejected or deleted"""
    source: str
    """text, reference, click, box, manual, import or finetuned"""
    revision: int
    annotator: str
    created_at: str
    """UTC, ISO 8601 with milliseconds"""
    updated_at: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    crowd: bool = False
    """It marks a group or a region to ignore, not one object."""


class AnnotationKey(NamedTuple):
    """Which mask of what on which image, without the mask."""

    uid: str
    revision: int
    image_id: int
    category_id: int
    category: str


class ReferenceMark(NamedTuple):
    """That a mask was chosen to say what a category is, or what it is not."""

    annotation_id: int
    category: str
    shows: bool
