"""Values that the store takes and returns, beside those of `domain`; checked before any SQL runs."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskwright.domain import FinetunePlan, ImageRecord, Mask, PlaneRecord
from maskwright.errors import InvalidMask, MaskwrightError, UsageError

__all__ = [
    "LARGEST_ID",
    "REVIEWS",
    "SOURCES",
    "STATES",
    "STATUSES",
    "BoxPrompt",
    "Change",
    "Changes",
    "Checkpoint",
    "Correction",
    "Counts",
    "ImageFilter",
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
"""The largest id that an import may keep: a server's ids end at twice that, and later rows need ids, too."""
STATES = ("proposed", "accepted", "rejected", "deleted")
REVIEWS = ("complete", "excluded", "deleted")
"""What a user has said of an image: it has all its masks, takes no part, or is gone."""
STATUSES = ("none", "proposed", "done", "complete", "excluded")
"""Status of an image in lists: no mask, open proposals, accepted masks only, or what its review says."""
SOURCES = ("manual", "text", "reference", "click", "box", "import", "finetuned")


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to add; `alias` is the path it was added from, `user` who added it, `address` where its file stays.

    An import sets `id`, which is kept in a project that has never had an image.
    """

    sha256: str
    file_name: str
    width: int
    height: int
    orientation: int = 1
    captured: str = ""
    alias: str = ""
    user: str = ""
    id: int | None = None
    plane: PlaneRecord | None = None
    address: str = ""

    def __post_init__(self) -> None:
        # cameras pad the time with NUL, which PostgreSQL refuses
        object.__setattr__(self, "captured", self.captured.replace("\0", ""))


@dataclass(frozen=True, slots=True)
class NewAnnotation:
    """A mask to add; an import sets what follows `crowd` from the project that the mask comes from.

    Raises:
        UsageError: no category name, an unknown state or source, a score that is not finite, or a provenance that is
            not JSON.
        MaskwrightError: an empty mask.
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
            raise UsageError(f"{self.source!r} is not a source of masks.", f"Use one of: {', '.join(SOURCES)}.")
        if not self.mask.area:
            raise MaskwrightError("The mask is empty.", "Mark at least one pixel of the object, then accept it.")
        if self.mask.score is not None and not math.isfinite(self.mask.score):
            raise UsageError("The mask's score is not a number.", "Leave the score out, or use one from 0 to 1.")
        object.__setattr__(self, "category", clean_name(self.category))
        object.__setattr__(self, "provenance", _plain(self.provenance))


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """What a batch predicts on one image."""

    image_id: int
    masks: Sequence[NewAnnotation]
    """To propose or to accept, perhaps none."""
    source: str
    """Of its masks."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A fine-tuning run to start."""

    name: str
    recipe: str
    base: str
    plan: FinetunePlan
    user: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """New pixels for an accepted mask that the user saw at `revision`; `category` None keeps its category."""

    annotation_id: int
    revision: int
    mask: Mask
    provenance: Mapping[str, Any]
    category: str | None = None


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box around an object that has no mask yet, as (x, y, width, height) in pixels."""

    image_id: int
    category: str
    bbox: tuple[float, float, float, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the history."""

    id: int
    at: str
    user: str
    kind: str
    annotation_id: int | None
    image_id: int | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a change number: what a view has to read again."""

    number: int
    """The newest change; pass it the next time."""
    images: frozenset[int]
    """Images whose masks changed, or that are new."""
    others: bool
    """Whether something else changed, too: a category, a run, the active model."""
    complete: bool = True
    """False after too many changes to list: everything has to be read again."""


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One action of a user that was undone or redone."""

    kind: str
    """Such as accept, rejection, deletion, restoration, correction or merge."""
    image_id: int | None
    """The image it was on; None for several images or none."""
    masks: int

    @property
    def description(self) -> str:
        """For messages, such as "accept of 3 masks"."""
        return f"{self.kind} of {self.masks} mask{'s' * (self.masks != 1)}" if self.masks else self.kind


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image with its numbers of masks."""

    record: ImageRecord
    accepted: int
    proposed: int
    review: str = ""
    """Empty, complete or excluded."""

    @property
    def status(self) -> str:
        """One of STATUSES."""
        return self.review or ("proposed" if self.proposed else "done" if self.accepted else "none")


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images to list; None lets all through."""

    status: str | None = None
    """One of STATUSES."""
    category: str | None = None
    """With an accepted or proposed mask of this category."""
    ids: Collection[int] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a fine-tuning run."""

    run: str
    folder: str
    """Relative to the project."""
    sha256: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of images and masks in a project."""

    images: int
    annotated_images: int
    """Images with at least one accepted mask."""
    accepted: Mapping[str, int]
    """Accepted masks by category name, also of categories without any, in id order."""
    rejected: int
    proposed: int
    """Open proposals of batch predictions."""
    deleted: int = 0


def clean_name(name: str) -> str:
    """A category name in NFC and without surrounding blanks; raises UsageError when it is empty or not text."""
    normalized = unicodedata.normalize("NFC", name).strip()
    if not normalized:
        raise UsageError("A category needs a name.", 'Type one, for example "cow".')
    try:
        normalized.encode()
    except UnicodeEncodeError as error:
        raise UsageError("The category name holds bytes that are not text.", "Type it again.") from error
    if "\0" in normalized:
        raise UsageError("The category name holds bytes that are not text.", "Type it again.")
    return normalized


def check_state(state: str) -> None:
    """Raise UsageError for a state that no annotation can be in."""
    if state not in STATES:
        raise UsageError(f"A mask cannot be {state!r}.", f"Use one of: {', '.join(STATES)}.")


def check_mask(mask: Mask, size_hw: tuple[int, int]) -> None:
    """Raise InvalidMask when a mask has another size than its (height, width) image."""
    height, width = mask.rle["size"]
    if (height, width) != size_hw:
        raise InvalidMask(
            f"The mask is {width} x {height} pixels, but its image is {size_hw[1]} x {size_hw[0]}.",
            "Make the mask on the upright image at full size.",
        )


def _plain(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy as JSON reads it back, so that a later change by the caller cannot alter it."""
    try:
        text = json.dumps(dict(provenance), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The provenance cannot be stored: {error}.", "Use only text, finite numbers, lists and mappings in it."
        ) from error
    plain: Mapping[str, Any] = json.loads(text)
    return plain
