"""Predictions: label map, masks, scores and provenance of one prompt on one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain.image import read_only
from maskwright.domain.mask import Mask
from maskwright.domain.provenance import PromptKind, Provenance

__all__ = ["Prediction"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The result of one prompt on one image."""

    label_map: NDArray[np.int32]
    """(H, W): 0 is background or none of the categories, k the 1-based index into `categories`; read-only."""
    categories: tuple[str, ...]
    """Names, in prompt order."""
    scores: tuple[float, ...]
    """Per category, 0 to 1: the mean probability over its pixels (text), INSID3's confidence (references) or the
    predicted IoU of the best mask (clicks); 0 where it has no pixel."""
    max_scores: tuple[float, ...]
    """Per category, 0 to 1: the highest probability of any pixel, also where another category won it; equal to
    `scores` for references and clicks."""
    out_of_vocabulary: tuple[str, ...]
    """Prompted names that the model was not trained on."""
    provenance: Provenance
    overlapping_masks: tuple[Mask, ...] | None = None
    """Masks that do not follow from the label map: the candidates for clicks or a box, best first (the label map shows
    the first), everything in the image, most stable first (the label map shows their union), or, for text with
    `instances`, one mask per object, disjoint within a class, the classes in prompt order and the largest object first
    (the label map shows the classes). None for text without it and for references."""
    unlabelled_by_cleaning: NDArray[np.bool_] | None = None
    """(H, W) pixels that have a category without background cleaning and none with it; None when it was not used,
    and of an image in tiles."""
    note: str = ""
    """A sentence to show with the result, such as that another method stood in; usually empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_map", read_only(self.label_map))
        if self.unlabelled_by_cleaning is not None:
            object.__setattr__(self, "unlabelled_by_cleaning", read_only(self.unlabelled_by_cleaning))

    @property
    def kind(self) -> PromptKind:
        """The kind of prompt."""
        return self.provenance.kind

    @property
    def stored_provenance(self) -> dict[str, Any]:
        """The provenance as projects store it with each mask, with the names that the model was not trained on."""
        unknown = {"out_of_vocabulary": list(self.out_of_vocabulary)} if self.out_of_vocabulary else {}
        return {**self.provenance, **unknown}

    def masks(self) -> list[Mask]:
        """`overlapping_masks` where there are any, else one mask for each category that has pixels, in prompt order."""
        if self.overlapping_masks is not None:
            return list(self.overlapping_masks)
        masks = []
        for index, (name, score) in enumerate(zip(self.categories, self.scores, strict=True), start=1):
            region = self.label_map == index
            if region.any():
                masks.append(Mask.from_array(region, category=name, score=round(score, 4)))
        return masks
