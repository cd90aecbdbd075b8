"""The answer of a model to one prompt, and what was asked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain.image import Image, read_only
from maskwright.domain.mask import Mask
from maskwright.errors import InvalidMask

__all__ = ["ModelRef", "Prediction", "Reference"]


@dataclass(frozen=True, slots=True)
class Reference:
    """An image with the mask of the thing to find elsewhere; a boolean (H, W) array is taken for a mask, too."""

    image: Image
    mask: Mask
    uid: str = ""
    """Of the accepted mask it is, if it is one."""

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Mask):
            object.__setattr__(self, "mask", Mask.from_array(self.mask))
        if tuple(self.mask.rle["size"]) != self.image.size_hw:
            raise InvalidMask("The reference mask has another size than its image.")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model by name and by the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The answer to one prompt."""

    label_map: NDArray[np.int32]
    """(H, W): 0 none, k the 1-based index into `categories`; read-only"""
    categories: tuple[str, ...]
    scores: tuple[float, ...]
    """Per category, mean probability over its pixels; 0 where it has none."""
    best: tuple[float, ...]
    """Per category, the highest probability anywhere in the image."""
    unfamiliar: tuple[str, ...]
    """Prompted words that the model was not taught."""
    provenance: Mapping[str, Any]
    overlapping: tuple[Mask, ...] | None = None
    """Of clicks: masks that a label map cannot hold, the best first; the label map shows that one, or all of them."""
    removed: NDArray[np.bool_] | None = None
    """(H, W) pixels that background cleaning left unlabelled; None where it was not used."""
    note: str = ""
    """A sentence that a person should read with the answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_map", read_only(self.label_map))
        if self.removed is not None:
            object.__setattr__(self, "removed", read_only(self.removed))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def masks(self) -> list[Mask]:
        """One mask for each category that has pixels, in prompt order; of clicks all that were found, best first."""
        if self.overlapping is not None:
            return list(self.overlapping)
        found = []
        for index, (name, score) in enumerate(zip(self.categories, self.scores, strict=True), start=1):
            region = self.label_map == index
            if region.any():
                found.append(Mask.from_array(region, category=name, score=round(score, 4)))
        return found
