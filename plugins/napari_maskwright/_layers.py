"""Masks as numbers in a label layer, their colours, and the place of a plane in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask, rle
from maskwright.domain.palette import default_color
from maskwright.session import MaskView

__all__ = ["Drawing", "Numbered", "Style", "transform_of"]

Labels = NDArray[np.integer[Any]]
Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels of the image"""

_STRIPES = 100
"""Number of stripes along the longer side of an image."""
_EDGES = 500
"""Edges are this part of the longer side of an image wide."""
_DASHES = 60
"""Number of dashes along the longer side of an image."""


class Style(Enum):
    """How the masks of a layer look; the value is how many numbers one mask takes."""

    FILLED = 1
    """A number for each mask, as a label layer that can be painted in."""
    PROPOSED = 2
    """A pale inside with a dashed edge."""
    HATCHED = 3
    """Stripes, for a region that is not a mask."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A mask with its number in a layer, from 1."""

    number: int
    view: MaskView

    @property
    def mask(self) -> Mask:
        """The mask."""
        return self.view.mask

    @property
    def key(self) -> tuple[int, str, str]:
        """Changes when the mask must be drawn again."""
        return self.number, self.mask.rle["counts"], self.view.color


@dataclass(frozen=True, slots=True)
class Drawing:
    """Masks of one image in one style; where masks overlap, the smaller one is drawn."""

    style: Style
    masks: tuple[Numbered, ...]
    size_hw: tuple[int, int]
    by_object: bool = False
    """Whether filled masks have a colour each, instead of that of their class."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """A byte where it holds the labels, else four: for two napari computes the colours of all 65,536 numbers."""
        most = max((item.number for item in self.masks), default=0)
        return np.dtype(np.uint8 if self.style.value * most < 255 else np.int32)

    @property
    def colors(self) -> dict[int | None, str]:
        """Colour by label for napari's direct colormap; the background is transparent."""
        colors: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
        if self.by_object:
            return colors | {item.number: default_color(item.number - 1) for item in self.masks}
        if self.style is Style.FILLED:
            return colors | {item.number: item.view.color for item in self.masks}
        if self.style is Style.PROPOSED:
            colors[1] = "#ffffff"
        for item in self.masks:
            first = self._first(item)
            colors[first] = f"{item.view.color}{'60' if self.style is Style.PROPOSED else '40'}"
            colors[first + 1] = item.view.color
        return colors

    def render(self, region: Box, factor: int = 1) -> Labels:
        """Labels of a region, of every `factor`-th pixel.

        Args:
            region: part of the image; its corner is a multiple of the factor.
            factor: distance between the pixels that are drawn.
        """
        if self.style is Style.PROPOSED:
            # an edge is known only with what lies beside it
            wider = self._widened(region, factor)
            left, top = (region[0] - wider[0]) // factor, (region[1] - wider[1]) // factor
            height, width = -(-region[3] // factor), -(-region[2] // factor)
            return self._render(wider, factor)[top : top + height, left : left + width]
        return self._render(region, factor)

    def _widened(self, region: Box, factor: int) -> Box:
        x, y, width, height = region
        margin = factor * self._edge(factor)
        left, top = max(0, x - margin), max(0, y - margin)
        right, bottom = min(self.size_hw[1], x + width + margin), min(self.size_hw[0], y + height + margin)
        return left, top, right - left, bottom - top

    def _edge(self, factor: int) -> int:
        """Width of an edge; drawn small, it is as wide on the screen as in a small image."""
        return 2 if factor > 1 else max(1, round(max(self.size_hw) / _EDGES))

    def _render(self, region: Box, factor: int) -> Labels:
        x, y, width, height = region
        out = np.zeros((-(-height // factor), -(-width // factor)), self.dtype)
        for item in sorted(self.masks, key=lambda item: -item.mask.area):
            part, place = self._part(item.mask, region, factor)
            if part.size:
                target = out[place]
                values = self._values(item, part, (x // factor + place[1].start, y // factor + place[0].start), factor)
                np.copyto(target, values.astype(out.dtype), where=part)
        return out

    def _part(self, mask: Mask, region: Box, factor: int) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
        """The pixels of a mask in a region, and their place in it."""
        spans = []
        for start, length, first, extent in zip(region[:2], region[2:], mask.bbox[:2], mask.bbox[2:], strict=True):
            low, high = max(start, first), min(start + length, first + extent)
            spans.append((-(-(low - start) // factor), max(-(-(high - start) // factor), -(-(low - start) // factor))))
        (left, right), (top, bottom) = spans
        columns = region[0] + factor * np.arange(left, right)
        rows = region[1] + factor * np.arange(top, bottom)
        place = slice(top, bottom), slice(left, right)
        if not columns.size or not rows.size:
            return np.zeros((0, 0), np.bool_), place
        if factor == 1:
            return mask.part((int(columns[0]), int(rows[0]), len(columns), len(rows))), place
        return rle.sample(mask.rle, rows, columns), place

    def _values(self, item: Numbered, part: NDArray[np.bool_], xy: tuple[int, int], factor: int) -> Labels:
        """Labels of a mask's pixels; `xy` is the first of them, counted in steps of the factor."""
        if self.style is Style.FILLED:
            return np.full(part.shape, item.number)
        first, side = self._first(item), max(self.size_hw) / factor
        diagonal = np.add.outer(np.arange(part.shape[0]), np.arange(part.shape[1])) + sum(xy)
        if self.style is Style.HATCHED:
            return np.where(diagonal // max(1, round(side / _STRIPES)) % 2 == 0, first + 1, first)
        edge = part & ~_core(part, self._edge(factor))
        dashes = np.where(diagonal // max(2, round(side / _DASHES) if factor == 1 else 6) % 2 == 0, first + 1, 1)
        return np.where(edge, dashes, first)

    def _first(self, item: Numbered) -> int:
        return 2 * item.number if self.style is Style.PROPOSED else 2 * item.number - 1


def _core(part: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask that are farther than `width` from its outside."""
    inside = part
    for _ in range(width):
        padded = np.pad(inside, 1)
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside


def transform_of(layer: Any, index: Sequence[float] = ()) -> dict[str, Any]:
    """Arguments for a new two-dimensional layer that place it exactly over a plane of another one in the world.

    Args:
        layer: an image layer.
        index: of the plane along the layer's leading axes; empty for a layer with a single plane.
    """
    if not len(index):
        return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}
    corner, down, right = (np.asarray(layer.data_to_world((*index, *place)))[-2:] for place in ((0, 0), (1, 0), (0, 1)))
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = down - corner, right - corner, corner
    neutral: dict[str, Any] = {"scale": (1, 1), "translate": (0, 0), "rotate": np.eye(2), "shear": (0.0,)}
    return neutral | {"affine": matrix, "units": layer.units[-2:]}
