"""Annotation rows as masks and boxes of the upright image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import rle
from maskwright.errors import BadCoco, InvalidMask
from maskwright.formats.segmentation import draw_polygons
from maskwright.formats.source import Row, excerpt, is_number
from maskwright.imaging.geometry import clip_polygon, upright, upright_box

__all__ = ["Frame", "NoOutline", "Region", "box_of", "has_outline", "region_of"]


class NoOutline(BadCoco):
    """A row whose outline encloses nothing; its box may still say where the object is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How the masks of a file lie on an image."""

    size_hw: tuple[int, int]
    """(height, width) of the upright image."""
    orientation: int = 1
    """EXIF orientation of the image file."""
    turned: bool = False
    """Whether the file describes the image before its orientation was applied."""
    rotate: bool = False
    """Whether to turn run lengths whose width and height are swapped, too."""
    relative: bool = False
    """Whether coordinates are fractions of width and height."""
    stretched: bool = False
    """Whether outlines were scaled to the size before the turn, while boxes without one were not."""

    @property
    def written_hw(self) -> tuple[int, int]:
        """(height, width) in the file."""
        return self.size_hw[::-1] if self.turned and self.orientation >= 5 else self.size_hw

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Factors from an outline's coordinates to pixels of `written_hw`."""
        height, width = self.written_hw
        if self.relative:
            return float(width), float(height)
        return (width / height, height / width) if self.stretched else (1.0, 1.0)


@dataclass(slots=True)
class Region:
    """A mask of the upright image, with warnings."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    warnings: list[str] = field(default_factory=list)


def has_outline(row: Row) -> bool:
    """Whether a row has run lengths or at least one polygon with points: `[]` and `[[]]` are no outline."""
    segmentation = row.get("segmentation")
    return any(part != [] for part in segmentation) if isinstance(segmentation, list) else bool(segmentation)


def region_of(row: Row, frame: Frame) -> Region:
    """The mask of a row with run lengths or polygons.

    Raises:
        NoOutline: it encloses no pixel; the message is the reason alone.
        BadCoco: it cannot be read; the message is the reason alone.
    """
    segmentation, warnings = row.get("segmentation"), list[str]()
    if isinstance(segmentation, list) and len(segmentation) == 1 and isinstance(segmentation[0], Mapping):
        # run lengths in a list, as some tools write them
        segmentation = segmentation[0]
    if isinstance(segmentation, Mapping):
        mask = _run_lengths(segmentation, frame)
    elif isinstance(segmentation, list):
        mask = _upright(_polygons(segmentation, frame, warnings), frame)
    else:
        raise BadCoco("its segmentation is neither run lengths nor polygons")
    if not mask.any():
        raise NoOutline("its mask is empty")
    return Region(mask, warnings)


def _upright(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    return upright(mask, frame.orientation) if frame.turned else mask


def _run_lengths(segmentation: Row, frame: Frame) -> NDArray[np.bool_]:
    size, (height, width) = segmentation.get("size"), frame.written_hw
    sizes = f"its run lengths are for size {excerpt(size)}, the image has [{height}, {width}]"
    swapped = size == [width, height] and height != width
    if swapped and frame.stretched:
        raise BadCoco(f"{sizes} (before EXIF orientation {frame.orientation}), and how they lie cannot be known")
    before_turn = swapped and frame.orientation >= 5 and not frame.turned
    if swapped and not frame.rotate:
        why = (
            f"made before EXIF orientation {frame.orientation} turned it" if before_turn else "width and height swapped"
        )
        raise BadCoco(f"{sizes} ({why}); --rotate turns it")
    if size != [height, width] and not swapped:
        raise BadCoco(sizes)
    try:
        mask = rle.decode(rle.compressed(segmentation))
    except InvalidMask as error:
        raise BadCoco(f"its run lengths are damaged ({error})") from error
    if before_turn:
        return upright(mask, frame.orientation)
    return _upright(mask.T if swapped else mask, frame)


def _polygons(segmentation: Sequence[Any], frame: Frame, warnings: list[str]) -> NDArray[np.bool_]:
    size_hw = frame.written_hw
    # some tools write one polygon without a list around it, or points as pairs
    flat = all(isinstance(value, int | float) or _is_pair(value) for value in segmentation)
    polygons = [segmentation] if flat else segmentation
    valid = []
    for polygon in polygons:
        if isinstance(polygon, list) and all(map(_is_pair, polygon)):
            polygon = [value for pair in polygon for value in pair]
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(is_number, polygon)):
            warnings.append("a polygon with fewer than three points, an odd length or no numbers was skipped")
            continue
        points = np.array(polygon, float).reshape(-1, 2) * frame.scale_xy
        outside = np.maximum(-points, points - (size_hw[1], size_hw[0])).max()
        if outside > 0:
            points = clip_polygon(points, size_hw)
        if len(points) < 3:
            warnings.append("a polygon outside the image was skipped")
            continue
        if outside > 1:
            warnings.append(f"a polygon that left the image by {outside:.0f} pixels was clipped")
        valid.append(points.ravel().tolist())
    if not valid:
        raise NoOutline("; ".join(dict.fromkeys(warnings)))
    return draw_polygons(valid, size_hw)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def box_of(row: Row, frame: Frame) -> tuple[float, float, float, float] | None:
    """The row's box on the upright image as (x, y, width, height), clipped; None when it has none inside."""
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return None
    across, down = (1.0, 1.0) if frame.stretched and not has_outline(row) else frame.scale_xy
    x, y, w, h = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    height, width = frame.written_hw
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        return None
    inside = left, top, right - left, bottom - top
    return upright_box(inside, frame.orientation, frame.size_hw) if frame.turned else inside
