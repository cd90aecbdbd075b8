"""What goes into the store and comes out of it beside the domain's own words, checked before any SQL runs."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskwright.domain import FinetunePlan, ImageRecord, Mask
from maskwright.errors import InvalidMask, MaskwrightError, UsageError

__all__ = [
    "LARGEST_ID",
    "SOURCES",
    "STATES",
    "BoxPrompt",
    "Change",
    "Changes",
    "Checkpoint",
    "Correction",
    "Counts",
    "ImageSummary",
    "NewAnnotation",
    "NewImage",
    "NewRun",
    "UndoStep",
    "check_mask",
    "check_state",
    "clean_name",
]

LARGEST_ID = 1 << 30
"""Of the ids that an import may bring: a server counts to twice as many, and what comes after needs room."""
STATES = ("proposed", "accepted", "rejected", "deleted")
SOURCES = ("manual", "text", "reference", "click", "box", "import", "finetuned")


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to register; `alias` is the path it was added from, `who` the person who added it.

    `id` is a wish, of an import: it is granted where the project has never had an image.
    """

    sha256: str
    file_name: str
    width: int
    height: int
    orientation: int = 1
    captured: str = ""
    alias: str = ""
    who: str = ""
    id: int | None = None

    def __post_init__(self) -> None:
        # cameras pad the moment with NUL, which PostgreSQL does not take
        object.__setattr__(self, "captured", self.captured.replace("\0", ""))


@dataclass(frozen=True, slots=True)
class NewAnnotation:
    """A mask to keep; what follows `crowd` is what an import knows of its life in another project.

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
    crowd: bool = False
    id: int | None = None
    uid: str = ""
    revision: int = 1
    created_at: str = ""
    updated_at: str = ""

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
    plan: FinetunePlan
    who: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """Other pixels for an accepted mask, as a person saw it at `revision`; `category` None keeps its name."""

    annotation_id: int
    revision: int
    mask: Mask
    provenance: Mapping[str, Any]
    category: str | None = None


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box around a thing that nobody has cut out yet, as (x, y, width, height) in pixels."""

    image_id: int
    category: str
    bbox: tuple[float, float, float, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history."""

    id: int
    at: str
    who: str
    kind: str
    annotation_id: int | None
    image_id: int | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since a change number: enough to know what to read again."""

    number: int
    """The newest change; ask for what comes after it next time."""
    images: frozenset[int]
    """Images whose masks changed, or that are new."""
    others: bool
    """Something else changed, too: a category, a run, the active model."""
    complete: bool = True
    """Whether these are all; when too much happened, read again whatever is shown."""


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One action of a person, undone or done again."""

    kind: str
    """What it was: accept, reject, delete, restore, edit, rename, merge, ..."""
    image_id: int | None
    """The image it was on; None for several or none."""
    masks: int

    @property
    def words(self) -> str:
        """Such as "accept of 3 masks"."""
        return f"{self.kind} of {self.masks} mask{'s' * (self.masks != 1)}" if self.masks else self.kind


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image and how much was done on it."""

    record: ImageRecord
    accepted: int
    proposed: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that a fine-tuning run made."""

    run: str
    folder: str
    """Relative to the project."""
    sha256: str
    created_at: str


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
    deleted: int = 0


def clean_name(name: str) -> str:
    """A category name in its one spelling (NFC, no blanks around it); raises MaskwrightError when nothing is left."""
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned:
        raise UsageError('A category needs a name. Give one, for example "cow".')
    try:
        cleaned.encode()
    except UnicodeEncodeError as error:
        raise MaskwrightError("The category name holds bytes that are not text. Type it again.") from error
    if "\0" in cleaned:
        raise MaskwrightError("The category name holds bytes that are not text. Type it again.")
    return cleaned


def check_state(state: str) -> None:
    """Raise UsageError for a state that no annotation can be in."""
    if state not in STATES:
        raise UsageError(f"A mask cannot be {state!r}. Use one of: {', '.join(STATES)}.")


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
