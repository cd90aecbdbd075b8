"""Prompts as values: classes by name, references, and everything in the image; clicks are in `click_prompt`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from maskwright.domain.prediction import Reference
from maskwright.errors import EmptyPrompt, UsageError
from maskwright.models.text_cleaning import clean_text

__all__ = [
    "REFINEMENTS",
    "TEXT_METHODS",
    "ClassName",
    "EverythingPrompt",
    "ReferencePrompt",
    "TextPrompt",
    "parse_class_names",
]

TEXT_METHODS = ("dinov3seg", "dinotxt", "talk2dino")
"""Text methods of this version; the first one that a preset has is its default."""
REFINEMENTS = ("pamr", "crf")
"""Ways to make a mask's contour follow the image's edges."""


class ClassName(NamedTuple):
    """One class of a prompt: the name shown, and every synonym that stands for it, the name first."""

    name: str
    synonyms: tuple[str, ...]


def parse_class_names(text: str | Sequence[str]) -> tuple[ClassName, ...]:
    """Classes of a text prompt: separated by commas (or given as a list), synonyms by "|"; a repeated name counts once.

    Raises:
        EmptyPrompt: not a single name is left.
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
    """Class names, and how they are to be found.

    Raises:
        EmptyPrompt: no class.
        UsageError: an unknown method or refinement, a threshold outside 0 to 1, cleaning without a background.
    """

    classes: tuple[ClassName, ...]
    method: str | None = None
    """One of TEXT_METHODS; None is the first one that the preset has."""
    background: bool = False
    """Leave pixels that fit none of the classes unlabelled."""
    threshold: float | None = None
    """Probability that a class needs, 0 to 1; implies a background. None is 0.5 with a background."""
    cleaning: bool | None = None
    """Background cleaning before the threshold (Talk2DINO, Eqs. 8 to 10); None is what the preset says."""
    refine: str | None = None
    """One of REFINEMENTS, or None."""
    high_resolution: bool = False
    """dino.txt's slow procedure for fine structures."""

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

    @classmethod
    def parse(cls, classes: str | Sequence[str], **options: Any) -> TextPrompt:
        """A prompt from class names as `parse_class_names` takes them; `options` are the other fields."""
        return cls(classes=parse_class_names(classes), **options)

    @property
    def minimum_probability(self) -> float | None:
        """Probability that a class needs; None where each pixel is one of the classes."""
        return 0.5 if self.threshold is None and self.background else self.threshold

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in prompt order."""
        return tuple(one.name for one in self.classes)

    @property
    def text(self) -> str:
        """The classes in the form that `parse_class_names` reads."""
        return ", ".join("|".join(one.synonyms) for one in self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePrompt:
    """Images with masks that show what to find (in-context segmentation).

    Raises:
        UsageError: an unknown refinement.
    """

    references: tuple[Reference, ...]
    negative_references: tuple[Reference, ...] = ()
    """What it is not."""
    category: str | None = None
    """Name of what is found; None takes the first reference's, else "object"."""
    refine: str | None = "crf"
    """One of REFINEMENTS, or None."""

    def __post_init__(self) -> None:
        _check_refinement(self.refine)


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingPrompt:
    """A grid of clicks over the whole image, as SAM's automatic mask generator; None is what the preset says."""

    points_per_side: int | None = None
    """Clicks along the longer side."""
    pred_iou_thresh: float | None = None
    """IoU that the model must predict of a mask."""
    stability_score_thresh: float | None = None
    """IoU between the masks at a raised and at a lowered logit threshold that a mask must have."""
    category: str = "object"


def _check_refinement(refine: str | None) -> None:
    if refine is not None and refine not in REFINEMENTS:
        raise UsageError(f"There is no refinement {refine}. Choose one of: {', '.join(REFINEMENTS)}, or none.")
