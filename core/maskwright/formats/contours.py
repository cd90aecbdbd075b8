"""Outlines of a mask along its pixel edges, which give back the exact mask; COCO polygons have no word for a hole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.domain.mask import iou

__all__ = ["Outlined", "filled", "moved", "outlined", "outlines", "simplified"]

_LEAST_IOU = 0.98

Point = tuple[int, int]
Edges = dict[Point, list[Point]]


def outlines(mask: NDArray[np.bool_]) -> list[list[int]] | None:
    """Rings of a (H, W) mask as flat [x0, y0, x1, y1, ...] pixel-edge coordinates, or None when it has a hole.

    Parts that touch only at a corner are rings of their own; each ring has a point at every turn.
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


class Outlined(NamedTuple):
    """The outlines of a mask within its box: the cost is that of the object, not of the picture."""

    rings: list[list[int]] | None
    """None for a mask with a hole that was not to be filled."""
    pixels: NDArray[np.bool_]
    """(h, w) of the box, as the rings enclose them."""
    had_hole: bool


def outlined(mask: Mask, *, fill: bool) -> Outlined:
    """A mask's outlines, its holes filled if they are to be."""
    x, y, w, h = mask.bbox
    part = mask.to_array()[y : y + h, x : x + w]
    rings = outlines(part)
    if rings is not None or not fill:
        return Outlined(rings, part, rings is None)
    solid = filled(part)
    return Outlined(outlines(solid), solid, had_hole=True)


def moved(rings: Sequence[Sequence[int]], x: int, y: int) -> list[list[int]]:
    """Flat rings, each point moved by (x, y)."""
    return [[value + (y if place % 2 else x) for place, value in enumerate(ring)] for ring in rings]


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The (H, W) mask without its holes."""
    from scipy.ndimage import binary_fill_holes

    # outlines turn at corners, so only what is closed in by edges is a hole: 8-connected background is none
    solid: NDArray[np.bool_] = binary_fill_holes(mask, np.ones((3, 3)))
    return solid


def simplified(mask: NDArray[np.bool_], rings: list[list[int]], pixels: float) -> list[list[int]]:
    """Rings of a (H, W) mask with fewer points; where too much would be lost, with more (Douglas and Peucker, 1973).

    Args:
        mask: without holes.
        rings: its outlines.
        pixels: how far a left-out point may lie from the new outline.

    Returns:
        Rings whose mask has an IoU of at least 0.98 with the given one.
    """
    from pycocotools import mask as coco
    from skimage.measure import approximate_polygon

    tolerance = pixels
    while tolerance >= 0.25:
        made: list[list[int]] = []
        for ring in rings:
            points = np.array(ring).reshape(-1, 2)
            # some of the points, none moved
            fewer = approximate_polygon(np.vstack([points, points[:1]]), tolerance)[:-1]
            made.append((fewer if len(fewer) > 2 else points).ravel().tolist())
        drawn = coco.decode(coco.merge(coco.frPyObjects(made, *mask.shape))).astype(bool)
        if iou(drawn, mask) >= _LEAST_IOU:
            return made
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
    """Take one closed walk out of the edges and give back its corners.

    No remaining edge lies further left or, there, further up than `start`, so the walk is there only once.
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
