"""Geometry in pixels: sizes and windows of images, connected components, EXIF orientation, polygons."""

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
"""Largest aspect ratio that is kept; a longer image is squeezed, so that a 1 x 5000 strip stays affordable."""


def slide_size(size_hw: tuple[int, int], short_side: int, window: int, longest: int | None = None) -> tuple[int, int]:
    """(height, width) to resize an image to before it is cut into windows; the aspect ratio is kept.

    Args:
        size_hw: (height, width) of the image, in pixels.
        short_side: target length of the short side.
        window: side of a window, which no side falls below.
        longest: limit of the long side, by default eight short sides; a longer image is squeezed.
    """
    scale = min(short_side / min(size_hw), (longest or _LONGEST * short_side) / max(size_hw))
    height, width = (max(window, round(side * scale)) for side in size_hw)
    return height, width


def area_size(size_hw: tuple[int, int], side: int, *, least: int, multiple: int) -> tuple[int, int]:
    """(height, width) with the area of a square; the aspect ratio is kept up to 1:8.

    Args:
        size_hw: (height, width) of the image, in pixels.
        side: of the square.
        least: length that no side falls below, so that the area grows with ratios beyond (side / least) squared.
        multiple: both sides are multiples of this.
    """
    ratio = min(max(size_hw[0] / size_hw[1], 1 / _LONGEST), _LONGEST)
    height, width = side * ratio**0.5, side / ratio**0.5
    larger = max(1.0, least / min(height, width))
    rows, columns = (max(least, round(length * larger / multiple) * multiple) for length in (height, width))
    return rows, columns


def slide(size_hw: tuple[int, int], window: int, stride: int) -> list[tuple[int, int]]:
    """(top, left) of every window in row-major order; the last of a row or column is aligned with the border."""

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
    """Apply an EXIF orientation, 1 to 8, to an (H, W) array in the frame of the file."""
    turned: NDArray[Any] = array.T if orientation >= 5 else array
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned


def upright_box(
    box_xywh: tuple[float, float, float, float], orientation: int, size_hw: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Apply an EXIF orientation to a box, as `upright` does to an array.

    Args:
        box_xywh: x, y, width and height in the frame of the file, in pixels.
        orientation: 1 to 8.
        size_hw: (height, width) of the upright image.
    """
    x, y, w, h = box_xywh
    if orientation >= 5:
        x, y, w, h = y, x, h, w
    if orientation in (2, 3, 6, 7):
        x = size_hw[1] - x - w
    if orientation in (3, 4, 7, 8):
        y = size_hw[0] - y - h
    return x, y, w, h


def clip_polygon(points: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Clip a polygon to an image (Sutherland and Hodgman, "Reentrant polygon clipping", 1974).

    Args:
        points: (N, 2) x and y, in pixels.
        size_hw: (height, width) of the image.

    Returns:
        (M, 2); M is 0 when the polygon lies outside.
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
        # of each side: its crossing with the edge, then its end point where that is inside
        both = np.stack([cut, points], axis=1).reshape(-1, 2)
        points = both[np.stack([crossing, depth >= 0], axis=1).ravel()]
    return points
