"""Prompts: class names, reference masks, everything in the image; clicks are in `click_prompt`."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from maskwright.domain.image import Image
from maskwright.domain.mask import Mask
from maskwright.errors import BadReference, EmptyPrompt, InvalidMask, UsageError
from maskwright.models.text_cleaning import clean_text

__all__ = [
    "REFINEMENTS",
    "TEXT_METHODS",
    "ClassName",
    "EverythingPrompt",
    "Reference",
    "ReferencePrompt",
    "TextPrompt",
    "parse_class_names",
]

TEXT_METHODS = ("dinov3seg", "dinotxt", "talk2dino", "ovs-dino")
"""Methods for text prompts; a preset's default is the first that it has."""
REFINEMENTS = ("pamr", "crf")
"""Mask refinements: contours follow the edges of the image."""


class ClassName(NamedTuple):
    """One class of a prompt: its display name, and all its synonyms with that name first."""

    name: str
    synonyms: tuple[str, ...]


def parse_class_names(text: str | Sequence[str]) -> tuple[ClassName, ...]:
    """Parse classes separated by commas (or a list of them), with synonyms separated by "|"; duplicates are dropped.

    Raises:
        EmptyPrompt: no name is left.
    """
    parts = text.split(",") if isinstance(text, str) else text
    classes: dict[str, ClassName] = {}
    for part in parts:
        names = tuple(dict.fromkeys(n for raw in part.split("|") if (n := unicodedata.normalize("NFC", raw.strip()))))
        if names:
            classes.setdefault(clean_text(names[0]), ClassName(names[0], names))
    if not classes:
        raise EmptyPrompt
    return tuple(classes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt:
    """Class names, with the method and its options.

    Raises:
        EmptyPrompt: no class.
        UsageError: an unknown method or refinement, a threshold outside 0 to 1, cleaning without a background.
    """

    classes: tuple[ClassName, ...]
    method: str | None = None
    """One of TEXT_METHODS; None is the preset's default."""
    background: bool = False
    """Leave pixels unlabelled (0) that are none of the classes."""
    threshold: float | None = None
    """Least probability of a class, 0 to 1; implies `background`. None is 0.5 with a background."""
    cleaning: bool | None = None
    """Background cleaning before the threshold (Talk2DINO, Eqs. 8 to 10); None is the preset's choice."""
    refine: str | None = None
    """One of REFINEMENTS, or None."""
    high_resolution: bool = False
    """dino.txt's high-resolution inference: slow, for fine structures."""
    instances: bool | tuple[str, ...] = False
    """One mask per object instead of one per class: True for every class, or the names of those to divide."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise EmptyPrompt
        if self.method is not None and self.method not in TEXT_METHODS:
            raise UsageError(f"There is no text method {self.method}. Choose one of: {', '.join(TEXT_METHODS)}.")
        _check_refinement(self.refine)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"The threshold must lie between 0 and 1, got {self.threshold}.")
        if self.cleaning and self.minimum_probability is None:
            raise UsageError("Background cleaning leaves pixels unlabelled, so it needs a background. Switch that on.")
        if self.high_resolution and self.method not in (None, "dinotxt"):
            raise UsageError("High resolution is a procedure of dino.txt. Use it with the method dinotxt.")
        unknown = set() if isinstance(self.instances, bool) else set(self.instances) - set(self.names)
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))} cannot be divided into objects: not among the class names.")

    @classmethod
    def parse(cls, classes: str | Sequence[str], **options: Any) -> TextPrompt:
        """Build a prompt from class names as `parse_class_names` takes them; `options` are the other fields."""
        return cls(classes=parse_class_names(classes), **options)

    @property
    def minimum_probability(self) -> float | None:
        """Least probability of a class, 0 to 1; None where every pixel is one of the classes."""
        return 0.5 if self.threshold is None and self.background else self.threshold

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in prompt order."""
        return tuple(name.name for name in self.classes)

    @property
    def divided(self) -> tuple[str, ...]:
        """Names of the classes that get one mask per object, in prompt order."""
        if isinstance(self.instances, bool):
            return self.names if self.instances else ()
        return tuple(name for name in self.names if name in self.instances)

    @property
    def text(self) -> str:
        """The classes in the form that `parse_class_names` reads."""
        return ", ".join("|".join(name.synonyms) for name in self.classes)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image with the mask of an object to find elsewhere; a boolean (H, W) array is accepted as mask.

    Raises:
        InvalidMask: the mask has another size than the image.
    """

    image: Image
    mask: Mask
    annotation_uid: str = ""
    """Uid of the annotation that it comes from, if any."""

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Mask):
            object.__setattr__(self, "mask", Mask.from_array(self.mask))
        if tuple(self.mask.rle["size"]) != self.image.size_hw:
            raise InvalidMask("The reference mask has another size than its image.")

    @property
    def identity(self) -> dict[str, str]:
        """Which image and mask it is, for the provenance."""
        mask = self.annotation_uid or hashlib.sha256(self.mask.rle["counts"].encode()).hexdigest()
        return {"image": self.image.sha256, "mask": mask}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePrompt:
    """Images with masks of an object to find in another image (in-context segmentation).

    Raises:
        BadReference: no reference, or one whose mask is empty or covers the whole image.
        UsageError: an unknown refinement.
    """

    references: tuple[Reference, ...]
    negative_references: tuple[Reference, ...] = ()
    """Masks of what the object is not; pixels more similar to these are left out."""
    category: str | None = None
    """Name of the object; None is the first reference's category, else "object"."""
    refine: str | None = "crf"
    """One of REFINEMENTS, or None."""

    def __post_init__(self) -> None:
        _check_refinement(self.refine)
        if not self.references:
            raise BadReference("There is no reference. Give at least one image with the mask of the thing to find.")
        for reference in self.references:
            if not reference.mask.area:
                raise BadReference("The reference mask is empty. Mark the thing to find.")
            if reference.mask.area == reference.image.size_hw[0] * reference.image.size_hw[1]:
                raise BadReference("The reference mask covers the whole image; mark only the object.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingPrompt:
    """A grid of clicks over the whole image, as in SAM's automatic mask generator; None is the preset's value."""

    points_per_side: int | None = None
    """Clicks along the longer side of the image."""
    pred_iou_thresh: float | None = None
    """Least predicted IoU of a mask, 0 to 1."""
    stability_score_thresh: float | None = None
    """Least IoU between the masks at a raised and at a lowered logit threshold, 0 to 1."""
    category: str = "object"
    """Name of the objects."""


def _check_refinement(refine: str | None) -> None:
    if refine is not None and refine not in REFINEMENTS:
        raise UsageError(f"There is no refinement {refine}. Choose one of: {', '.join(REFINEMENTS)}, or none.")
