"""Outlines of a mask along its pixel edges, which reproduce the exact mask; COCO polygons cannot represent holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.domain.mask import iou
from maskwright.formats.segmentation import draw_polygons

__all__ = ["Contour", "bridged_rings", "fill_holes", "outline", "rings_of", "shift", "simplify"]

_LEAST_IOU = 0.98

Point = tuple[int, int]
FloatPoint = tuple[float, float]
Edges = dict[Point, list[Point]]


def rings_of(mask: NDArray[np.bool_]) -> list[list[int]] | None:
    """Rings of a (H, W) mask as flat [x0, y0, x1, y1, ...] pixel-edge coordinates, or None when it has a hole.

    Parts that touch only at a corner are separate rings; each ring has a point at every turn.
    """
    rings = []
    for ring in _closed_walks(mask):
        if _twice_area(ring) < 0:
            return None
        rings.append([coordinate for point in ring for coordinate in point])
    return rings


def _closed_walks(mask: NDArray[np.bool_]) -> Iterator[list[Point]]:
    edges = _edges(mask)
    for start in sorted(edges):
        while edges[start]:
            yield _ring(edges, start)


def bridged_rings(mask: Mask) -> list[list[float]]:
    """Rings of a mask as flat [x0, y0, ...] in pixels of its image; each hole is joined to the ring around it.

    The bridge goes to the left from the middle of the hole's leftmost pixel edge, there and back, and has no width: the
    area is the mask's, and every reader that fills by crossings sees the hole.
    """
    x, y, w, h = mask.bbox
    outer: list[list[FloatPoint]] = []
    holes: list[list[FloatPoint]] = []
    for walk in _closed_walks(mask.to_array()[y : y + h, x : x + w]):
        ring: list[FloatPoint] = [(float(left), float(top)) for left, top in walk]
        (outer if _twice_area(walk) > 0 else holes).append(ring)
    # from left to right: what a bridge meets is left of its hole, so that it is part of an outer ring already
    for hole in sorted(holes, key=min):
        _join(outer, hole)
    return [[value + (y if place % 2 else x) for place, value in enumerate(chain(*ring))] for ring in outer]


def _join(rings: list[list[FloatPoint]], hole: list[FloatPoint]) -> None:
    """Insert a hole into the ring that a line to the left of it meets first."""
    # the hole's first corner is its leftmost, and there the uppermost; the edge below it goes down or up
    start = hole.index(min(hole))
    left, top = hole[start]
    level = top + 0.5
    ring, place, across = max(
        (
            (ring, place, x0)
            for ring in rings
            for place, ((x0, y0), (x1, y1)) in enumerate(zip(ring, ring[1:] + ring[:1], strict=True))
            if x0 == x1 < left and min(y0, y1) < level < max(y0, y1)
        ),
        key=lambda found: found[2],
    )
    ends_here = hole[start - 1][0] == left
    walk = hole[start:] + hole[:start] if ends_here else hole[start + 1 :] + hole[: start + 1]
    gate, door = (across, level), (left, level)
    ring[place + 1 : place + 1] = [gate, door, *walk, door, gate]


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
