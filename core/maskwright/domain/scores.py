"""Quality of a model on labelled images, as text prompts measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["InstanceScores", "Scores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScores:
    """Objects found by text prompts, matched with annotated ones at an IoU above 0.5; means over classes."""

    objects: int
    """Number of annotated objects, without crowds."""
    f1: float
    mean_iou: float
    """Of the matches."""
    pq: float
    """Panoptic quality."""
    per_class: Mapping[str, Mapping[str, float] | None]
    """`f1`, `mean_iou` and `pq` by class name; None without annotated objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Result of evaluating a text method on labelled images."""

    task: str = "text"
    method: str
    """Text method that segmented the images."""
    preset: str
    images: int
    """Number of images that were measured."""
    classes: int
    """Number of classes that `miou` averages."""
    miou: float
    """Mean intersection over union of the classes with ground truth, 0 to 1."""
    pixel_accuracy: float
    """Share of correct pixels among those with ground truth, 0 to 1."""
    per_class: Mapping[str, float | None]
    """IoU by class name; None without ground truth."""
    background: float | None = None
    """IoU of the background class; None where it is not scored."""
    cleaning: bool | None = None
    """Background cleaning as requested; None is the preset's default."""
    refine: str | None = None
    """Mask refinement, or None."""
    boundary_iou: float | None = None
    """Mean boundary IoU of the classes with ground truth, 0 to 1; None where it was not measured."""
    instances: InstanceScores | None = None
    """Quality of single objects, where it was measured."""
    weights: str | None = None
    """SHA-256 of the measured weights; None where it was not recorded."""
    precision: Mapping[str, float | None] | None = None
    """Share of the pixels of an answer that are right, by class name; None where it was not measured."""
    recall: Mapping[str, float | None] | None = None
    """Share of the annotated pixels that were found, by class name."""
    boundary: Mapping[str, float | None] | None = None
    """IoU of the contours (Cheng et al., 2021, "Boundary IoU"), by class name."""
    clicks: Mapping[str, float] | None = None
    """Of the task "click": `iou_1click`, `iou_5click`, `noc85` and the number of `objects`."""
    agreement: float | None = None
    """Of a tuned model: share of the pixels of the photographs of the samples on which it answers as its base."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """Scores from the form that `to_dict` returns, which projects store; unknown keys are ignored."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        if known.get("instances") is not None:
            known["instances"] = InstanceScores(**known["instances"])
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; measures that were not asked for are left out."""
        optional = ("instances", "weights", "boundary_iou", "precision", "recall", "boundary", "clicks", "agreement")
        return {name: value for name, value in asdict(self).items() if value is not None or name not in optional}
