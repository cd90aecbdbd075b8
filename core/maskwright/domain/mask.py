"""Masks: regions of one image as run lengths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from maskwright.domain import rle as _rle
from maskwright.domain.image import BoolArray
from maskwright.domain.rle import Rle

__all__ = ["Mask", "iou"]


@dataclass(frozen=True, slots=True)
class Mask:
    """A region of one image with its category, stored as run lengths."""

    category: str | None
    rle: Rle
    score: float | None = None
    """Of the model, 0 to 1; None for a mask that no model scored."""
    area: int = field(init=False)
    """Number of mask pixels."""
    bbox: tuple[int, int, int, int] = field(init=False)
    """Tight (x, y, width, height) in pixels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", _rle.area(self.rle))
        object.__setattr__(self, "bbox", _rle.bbox(self.rle))

    @classmethod
    def from_array(cls, mask: BoolArray, *, category: str | None = None, score: float | None = None) -> Mask:
        """Build a mask from a boolean (H, W) array; raises InvalidMask for anything else."""
        return cls(category, _rle.encode(np.asarray(mask)), score)

    @classmethod
    def from_part(
        cls,
        part: BoolArray,
        xy: tuple[int, int],
        size_hw: tuple[int, int],
        *,
        category: str | None = None,
        score: float | None = None,
    ) -> Mask:
        """Build a mask of a (H, W) image from the boolean array of a part of it, whose left top pixel is `xy`."""
        return cls(category, _rle.encode_box(part, *xy, size_hw), score)

    @classmethod
    def from_rle(
        cls, rle: Rle, *, category: str | None, score: float | None, area: int, bbox: tuple[int, int, int, int]
    ) -> Mask:
        """Build a mask from run lengths with their known area and box, which saves decoding them."""
        mask = object.__new__(cls)
        for name, value in (("category", category), ("rle", rle), ("score", score), ("area", area), ("bbox", bbox)):
            object.__setattr__(mask, name, value)
        return mask

    def to_array(self) -> BoolArray:
        """Decode to a boolean (H, W) array."""
        return _rle.decode(self.rle)

    def part(self, box: tuple[int, int, int, int] | None = None) -> BoolArray:
        """Decode the part inside a box (x, y, width, height), by default `bbox`, to a boolean (height, width) array."""
        return _rle.decode_box(self.rle, self.bbox if box is None else box)


def iou(first: BoolArray, second: BoolArray) -> float:
    """Intersection over union of two boolean (H, W) masks; 1 for two empty ones."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
