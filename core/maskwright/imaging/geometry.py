"""Sizes, windows and connected components, in whole pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "area_size",
    "clip_polygon",
    "components",
    "label_components",
    "slide",
    "slide_size",
    "upright",
    "upright_box",
]

_LONGEST = 8
"""A picture longer than this many short sides is stretched, so that a 1 x 5000 strip stays affordable."""


def slide_size(size_hw: tuple[int, int], short_side: int, window: int, longest: int | None = None) -> tuple[int, int]:
    """(height, width) with the short side at `short_side` and the ratio kept, no side under `window`.

    A picture whose long side would exceed `longest`, by default eight short sides, is squeezed.
    """
    scale = min(short_side / min(size_hw), (longest or _LONGEST * short_side) / max(size_hw))
    height, width = (max(window, round(side * scale)) for side in size_hw)
    return height, width


def area_size(size_hw: tuple[int, int], side: int, *, least: int, multiple: int) -> tuple[int, int]:
    """(height, width) with the area of a square of `side` and the ratio kept up to 1:8, in multiples of `multiple`.

    No side is under `least`, so the area grows with ratios beyond (side / least) squared.
    """
    ratio = min(max(size_hw[0] / size_hw[1], 1 / _LONGEST), _LONGEST)
    height, width = side * ratio**0.5, side / ratio**0.5
    larger = max(1.0, least / min(height, width))
    sides = (max(least, round(length * larger / multiple) * multiple) for length in (height, width))
    return next(sides), next(sides)


def slide(size_hw: tuple[int, int], window: int, stride: int) -> list[tuple[int, int]]:
    """(top, left) of every window, row by row; the last of a row or column is shifted back to the border."""

    def starts(side: int) -> list[int]:
        last = side - window
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(size_hw[0]) for left in starts(size_hw[1])]


def label_components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(H, W) int32 labels of the 8-connected components of an (H, W) mask; 0 outside of it."""
    from scipy.ndimage import label

    labels: NDArray[np.int32] = label(mask, structure=np.ones((3, 3)), output=np.int32)[0]
    return labels


def components(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 8-connected components of an (H, W) mask, each (H, W), in the order of their first pixels."""
    labels = label_components(mask)
    numbers, first = np.unique(labels, return_index=True)
    return [labels == number for _, number in sorted(zip(first, numbers, strict=True)) if number]


def upright(array: NDArray[np.generic], orientation: int) -> NDArray[Any]:
    """An (H, W) array in the frame of a file, as an upright picture has it, for an EXIF orientation from 1 to 8."""
    turned: NDArray[Any] = array.T if orientation >= 5 else array
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned


def upright_box(
    box_xywh: tuple[float, float, float, float], orientation: int, size_hw: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box in the frame of a file as it lies on the upright picture, whose size is given; see `upright`."""
    x, y, w, h = box_xywh
    if orientation >= 5:
        x, y, w, h = y, x, h, w
    if orientation in (2, 3, 6, 7):
        x = size_hw[1] - x - w
    if orientation in (3, 4, 7, 8):
        y = size_hw[0] - y - h
    return x, y, w, h


def clip_polygon(points: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """What of a polygon, (N, 2) as (x, y), lies inside a picture, (M, 2); M is 0 when nothing does.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping", 1974.
    """
    for axis, edge, inward in (
        (0, 0.0, 1.0),
        (0, float(size_hw[1]), -1.0),
        (1, 0.0, 1.0),
        (1, float(size_hw[0]), -1.0),
    ):
        if not len(points):
            break
        depth = inward * (points[:, axis] - edge)
        last, before = np.roll(points, 1, axis=0), np.roll(depth, 1)
        crossing = (depth >= 0) != (before >= 0)
        share = np.where(crossing, before / np.where(crossing, before - depth, 1.0), 0.0)
        cut = last + share[:, None] * (points - last)
        cut[:, axis] = edge
        # for each side: where it crosses the edge, then its end if that is inside
        both = np.stack([cut, points], axis=1).reshape(-1, 2)
        points = both[np.stack([crossing, depth >= 0], axis=1).ravel()]
    return points
