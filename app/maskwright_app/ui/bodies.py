"""Bodies of requests: strictly typed, bounded, and without unknown keys."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "BatchBody",
    "ClassBody",
    "ClassChangeBody",
    "ClassDeletionBody",
    "ClickBody",
    "CompareBody",
    "DecisionBody",
    "DrawnMaskBody",
    "EverythingBody",
    "ExportBody",
    "FilterBody",
    "FinetuneBody",
    "ImageBody",
    "KnownMasksBody",
    "LikeBody",
    "MaskChangeBody",
    "MergeBody",
    "NamesBody",
    "PresetBody",
    "PromptBody",
    "ReferenceBody",
    "RleBody",
    "SplitBody",
    "StepBody",
    "TextBody",
]

_MOST_KEYS = 5000
_LARGEST_ID = 2**31 - 1


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError("each id may stand there once")
    return values


Id = Annotated[int, Field(ge=1, le=_LARGEST_ID)]
PathId = Annotated[int, Path(ge=1, le=_LARGEST_ID)]
"""An id in an address: a larger number than the database holds is refused before it is asked."""
Ids = Annotated[list[Id], Field(min_length=1, max_length=_MOST_KEYS), AfterValidator(_distinct)]
References = Annotated[list[Id], Field(max_length=32), AfterValidator(_distinct)]
Key = Annotated[str, Field(min_length=3, max_length=80)]
Keys = Annotated[list[Key], Field(min_length=1, max_length=_MOST_KEYS)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=3)]
Box = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]
RequestId = Annotated[str, Field(max_length=64)]


class Body(BaseModel):
    """A JSON object of a request."""

    model_config = ConfigDict(strict=True, extra="forbid")


class KnownMasksBody(Body):
    """Masks that the page has already, by key with their revision."""

    known: Annotated[dict[Key, int], Field(max_length=_MOST_KEYS)] = {}


class RleBody(Body):
    """A mask in COCO's compressed run lengths."""

    size: Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2)]
    counts: Annotated[str, Field(max_length=16_000_000)]


class PromptBody(Body):
    """What all prompts have."""

    image: Id
    request: RequestId = ""
    """Id under which progress is reported on the event stream."""


class TextBody(PromptBody):
    """Class names to find."""

    words: Annotated[str, Field(max_length=4000)]
    method: Annotated[str, Field(max_length=40)] | None = None
    background: bool = True
    threshold: Score | None = None
    refine: Annotated[str, Field(max_length=40)] | None = None
    cleaning: bool | None = None
    high_resolution: bool = False
    instances: bool = False
    """One mask for each object of the classes that name countable things."""


class LikeBody(PromptBody):
    """Accepted masks of an object to find; with a category alone, its references."""

    references: References = []
    negative_references: References = []
    category: Name | None = None


class EverythingBody(PromptBody):
    """All objects of the image."""


class ClickBody(PromptBody):
    """Points and a box around one object."""

    points: Annotated[list[Point], Field(max_length=1000)] = []
    box: Box | None = None
    previous: Key | None = None
    corrects: Id | None = None
    category: Name | None = None


class NamesBody(PromptBody):
    """A proposal to compare with the names of the classes."""

    proposal: Key


class DecisionBody(Body):
    """Proposals to accept or reject: by keys, or above a score."""

    image: Id
    accept: Keys | None = None
    reject: Keys | None = None
    above: Score | None = None
    category: Name | None = None


class DrawnMaskBody(Body):
    """A mask drawn by hand."""

    image: Id
    rle: RleBody
    category: Name


class MaskChangeBody(Body):
    """New pixels or a new category for a mask that the user saw at `revision`."""

    revision: Annotated[int, Field(ge=1, le=_LARGEST_ID)] | None = None
    rle: RleBody | None = None
    category: Name | None = None


class SplitBody(Body):
    """A mask to divide into its parts, in the revision that the user saw."""

    revision: Annotated[int, Field(ge=1, le=_LARGEST_ID)]


class ReferenceBody(Body):
    """Whether a mask is an example of its class, or of another, or of what that is not; null takes the mark back."""

    shows: bool | None
    category: Name | None = None


class StepBody(Body):
    """The image in view, for undo and redo."""

    image: Id


class ClassBody(Body):
    """A new class."""

    name: Name


class ClassChangeBody(Body):
    """What changes of a class."""

    name: Name = ""
    color: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] = ""
    hotkey: Annotated[int, Field(ge=1, le=9)] | None = None
    order: Annotated[int, Field(ge=0, le=100_000)] = 0
    synonyms: Annotated[list[Name], Field(max_length=100)] = []


class MergeBody(Body):
    """Two classes: the masks of the first become the second's."""

    source: Id
    target: Id


class MoveTo(Body):
    """The class that masks move to."""

    move_to: Id


class ClassDeletionBody(Body):
    """What happens to the masks of a class that is deleted."""

    masks: Literal["delete"] | MoveTo


class FilterBody(Body):
    """Which images, as in the list."""

    status: Annotated[str, Field(max_length=20)] = ""
    class_: Annotated[str, Field(max_length=200, alias="class")] = ""
    phrase: Annotated[str, Field(max_length=1000)] = ""


class BatchBody(Body):
    """A batch prediction: words or an example, on images by id or by filter."""

    words: Annotated[str, Field(max_length=4000)] = ""
    method: Annotated[str, Field(max_length=40)] | None = None
    background: bool = True
    threshold: Score | None = None
    refine: Annotated[str, Field(max_length=40)] | None = None
    instances: bool = False
    """One mask for each object of the classes that name countable things."""
    references: References = []
    category: Name | None = None
    images: Annotated[list[Id], Field(min_length=1, max_length=1_000_000), AfterValidator(_distinct)] | None = None
    filter: FilterBody = FilterBody()
    accept_above: Score | None = None


class ExportBody(Body):
    """The format of an export."""

    format: Annotated[str, Field(max_length=40)]
    images: bool = False
    request: RequestId = ""


class FinetuneBody(Body):
    """What to do with fine-tuning."""

    act: Literal["start", "pause", "cancel", "resume", "use", "original", "delete"]
    run: Annotated[str, Field(max_length=100)] | None = None
    recipe: Annotated[str, Field(max_length=20)] = "decoder"
    task: Literal["text", "click"] = "text"
    method: Literal["dinov3seg", "dinotxt", "talk2dino"] | None = None


class CompareBody(PromptBody):
    """Words for several presets."""

    words: Annotated[str, Field(max_length=4000)]
    presets: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(min_length=1, max_length=4)]


class PresetBody(Body):
    """A preset, perhaps for some kinds of prompts only."""

    preset: Annotated[str, Field(min_length=1, max_length=1000)]
    prompts: Annotated[list[Literal["text", "example", "click"]], Field(max_length=3)] | None = None
    request: RequestId = ""


class ImageBody(Body):
    """Marks of an image."""

    complete: bool | None = None
    excluded: bool | None = None
