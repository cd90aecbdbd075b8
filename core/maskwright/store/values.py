"""What goes into the store and comes out of it beside the domain's own words, checked before any SQL runs."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskwright.domain import Annotation, Category, ImageRecord, Mask
from maskwright.errors import InvalidMask, MaskwrightError

__all__ = [
    "SOURCES",
    "STATES",
    "Counts",
    "DatasetSnapshot",
    "NewAnnotation",
    "NewImage",
    "NewRun",
    "check_mask",
    "check_state",
    "clean_name",
]

STATES = ("proposed", "accepted", "rejected", "deleted")
SOURCES = ("manual", "text", "reference", "click", "box", "import", "finetuned")


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to register; `alias` is the path it was added from, `who` the person who added it."""

    sha256: str
    file_name: str
    width: int
    height: int
    orientation: int = 1
    captured: str = ""
    alias: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class NewAnnotation:
    """A mask to keep.

    Raises:
        MaskwrightError: no category name, an empty mask, a score that is no number, or a provenance JSON cannot carry.
    """

    image_id: int
    category: str
    mask: Mask
    source: str = "manual"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    annotator: str = ""
    state: str = "accepted"

    def __post_init__(self) -> None:
        check_state(self.state)
        if self.source not in SOURCES:
            raise MaskwrightError(f"A mask cannot come from {self.source!r}. Use one of: {', '.join(SOURCES)}.")
        if not self.mask.area:
            raise MaskwrightError("The mask is empty. Mark at least one pixel of the object, then accept it.")
        if self.mask.score is not None and not math.isfinite(self.mask.score):
            raise MaskwrightError("The mask's score is not a number. Leave the score out, or give one from 0 to 1.")
        object.__setattr__(self, "category", clean_name(self.category))
        object.__setattr__(self, "provenance", _plain(self.provenance))


@dataclass(frozen=True, slots=True)
class NewRun:
    """A fine-tuning run to start."""

    name: str
    recipe: str
    base: str
    plan: Mapping[str, Any]
    who: str = ""


@dataclass(frozen=True, slots=True)
class DatasetSnapshot:
    """Images, categories and annotations of one moment, each in id order."""

    images: tuple[ImageRecord, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a project holds."""

    images: int
    annotated_images: int
    """Images with at least one accepted mask."""
    accepted: Mapping[str, int]
    """Accepted masks of each category, also of those without any, in id order."""
    rejected: int
    proposed: int
    """Proposals of a batch that nobody has decided on yet."""


def clean_name(name: str) -> str:
    """A category name in its one spelling (NFC, no blanks around it); raises MaskwrightError when nothing is left."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned:
        raise MaskwrightError('A category needs a name. Give one, for example "cow".')
    try:
        cleaned.encode()
    except UnicodeEncodeError as error:
        raise MaskwrightError("The category name holds bytes that are not text. Type it again.") from error
    return cleaned


def check_state(state: str) -> None:
    """Raise MaskwrightError for a state no annotation can be in."""
    if state not in STATES:
        raise MaskwrightError(f"A mask cannot be {state!r}. Use one of: {', '.join(STATES)}.")


def check_mask(mask: Mask, size_hw: tuple[int, int]) -> None:
    """Raise InvalidMask when a mask has another size than its (height, width) image."""
    height, width = mask.rle["size"]
    if (height, width) != size_hw:
        raise InvalidMask(
            f"The mask is {width} x {height} pixels, but its image is {size_hw[1]} x {size_hw[0]}. "
            "Make the mask on the upright image at full size."
        )


def _plain(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy of what JSON makes of it, so that a later change by the caller cannot alter it."""
    try:
        text = json.dumps(dict(provenance), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise MaskwrightError(
            f"The provenance cannot be kept: {error}. Use only text, finite numbers, lists and mappings in it."
        ) from error
    plain: Mapping[str, Any] = json.loads(text)
    return plain
