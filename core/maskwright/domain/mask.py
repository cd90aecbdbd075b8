"""Masks: a region of one image as run lengths."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from maskwright.domain import rle as _rle
from maskwright.domain.image import BoolArray
from maskwright.domain.rle import Rle

__all__ = ["Mask"]


@dataclass(frozen=True, slots=True)
class Mask:
    """A category's region in one image, kept as run lengths."""

    category: str | None
    rle: Rle
    score: float | None = None
    area: int = field(init=False)
    """Number of mask pixels."""
    bbox: tuple[int, int, int, int] = field(init=False)
    """Tight (x, y, width, height) in pixels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", _rle.area(self.rle))
        object.__setattr__(self, "bbox", _rle.bbox(self.rle))

    @classmethod
    def from_array(cls, mask: BoolArray, *, category: str | None = None, score: float | None = None) -> Mask:
        """From a boolean (H, W) array; raises InvalidMask for anything else."""
        return cls(category, _rle.encode(np.asarray(mask)), score)

    @classmethod
    def measured(
        cls, category: str | None, rle: Rle, score: float | None, area: int, bbox: tuple[int, int, int, int]
    ) -> Mask:
        """From run lengths whose area and box were computed before, which is much of the work of reading many."""
        mask = object.__new__(cls)
        for name, value in (("category", category), ("rle", rle), ("score", score), ("area", area), ("bbox", bbox)):
            object.__setattr__(mask, name, value)
        return mask

    def to_array(self) -> BoolArray:
        """Boolean (H, W) array."""
        return _rle.decode(self.rle)
