"""Outlines of a mask along its pixel edges, which reproduce the exact mask; COCO polygons cannot represent holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.domain.mask import iou
from maskwright.formats.segmentation import draw_polygons

__all__ = ["Contour", "fill_holes", "outline", "rings_of", "shift", "simplify"]

_LEAST_IOU = 0.98

Point = tuple[int, int]
Edges = dict[Point, list[Point]]


def rings_of(mask: NDArray[np.bool_]) -> list[list[int]] | None:
    """Rings of a (H, W) mask as flat [x0, y0, x1, y1, ...] pixel-edge coordinates, or None when it has a hole.

    Parts that touch only at a corner are separate rings; each ring has a point at every turn.
    """
    edges = _edges(mask)
    rings = []
    for start in sorted(edges):
        while edges[start]:
            ring = _ring(edges, start)
            if _twice_area(ring) < 0:
                return None
            rings.append([coordinate for point in ring for coordinate in point])
    return rings


class Contour(NamedTuple):
    """The outlines of a mask within its box: the cost is that of the object, not of the image."""

    rings: list[list[int]] | None
    """None for a mask with a hole that was not filled."""
    pixels: NDArray[np.bool_]
    """(h, w) of the box: what the rings enclose."""
    had_hole: bool


def outline(mask: Mask, *, fill: bool) -> Contour:
    """A mask's outlines; `fill` fills its holes."""
    x, y, w, h = mask.bbox
    part = mask.to_array()[y : y + h, x : x + w]
    rings = rings_of(part)
    if rings is not None or not fill:
        return Contour(rings, part, rings is None)
    solid = fill_holes(part)
    return Contour(rings_of(solid), solid, had_hole=True)


def shift(rings: Sequence[Sequence[int]], x: int, y: int) -> list[list[int]]:
    """Flat rings with each point shifted by (x, y) pixels."""
    return [[value + (y if place % 2 else x) for place, value in enumerate(ring)] for ring in rings]


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The (H, W) mask without its holes."""
    from scipy.ndimage import binary_fill_holes

    # a hole is background enclosed by edges: background that is connected at a corner is none
    solid: NDArray[np.bool_] = binary_fill_holes(mask, np.ones((3, 3)))
    return solid


def simplify(mask: NDArray[np.bool_], rings: list[list[int]], pixels: float) -> list[list[int]]:
    """Rings of a (H, W) mask with fewer points (Douglas and Peucker, 1973).

    Args:
        mask: without holes.
        rings: its outlines.
        pixels: how far a dropped point may be from the new outline; halved until the result is close enough.

    Returns:
        Rings whose mask has an IoU of at least 0.98 with the given one.
    """
    from skimage.measure import approximate_polygon

    tolerance = pixels
    while tolerance >= 0.25:
        simpler: list[list[int]] = []
        for ring in rings:
            points = np.array(ring).reshape(-1, 2)
            # drops points, and moves none
            fewer = approximate_polygon(np.vstack([points, points[:1]]), tolerance)[:-1]
            simpler.append((fewer if len(fewer) > 2 else points).ravel().tolist())
        drawn = draw_polygons(simpler, mask.shape)
        if iou(drawn, mask) >= _LEAST_IOU:
            return simpler
        tolerance /= 2
    return rings


def _edges(mask: NDArray[np.bool_]) -> Edges:
    """Directed unit edges, start to ends, with the mask on the right hand (y points down)."""
    padded = np.pad(mask, 1)
    # for each side of a pixel: the neighbour across it, and start and end as offsets from the pixel's corner
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    edges: Edges = {}
    for neighbour, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(mask & ~neighbour).tolist():
            edges.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    return edges


def _ring(edges: Edges, start: Point) -> list[Point]:
    """Remove one closed walk from the edges and return its corners.

    No remaining edge is further left or, there, further up than `start`, so the walk passes it only once.
    """
    corners, point, heading = [], start, (0, 0)
    while True:
        ends = edges[point]
        # where two pixels touch at a corner the right turn stays with the same pixel
        right = point[0] - heading[1], point[1] + heading[0]
        end = right if len(ends) > 1 else ends[0]
        ends.remove(end)
        turned = end[0] - point[0], end[1] - point[1]
        if turned != heading:
            corners.append(point)
        point, heading = end, turned
        if point == start:
            return corners


def _twice_area(ring: list[Point]) -> int:
    """Positive for an outer ring, negative around a hole."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True))
