"""Large images in tiles: which part of the image a click needs, a grid with overlaps, and masks joined across seams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, rle
from maskwright.domain.image import BoolArray

__all__ = ["OVERLAP", "SIDE", "Piece", "Tile", "around", "grid", "is_large", "join_objects", "keep_distinct", "whole"]

Edges = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the image"""

_LARGE = 4096
"""Longer side, in pixels, above which an image is worked on in tiles."""
SIDE = 1024
"""Of a tile in pixels: what SAM's encoder takes in without loss."""
OVERLAP = 256
"""Of neighbouring tiles, in pixels; a multiple of 4, as SIDE is."""
_GROWTH = 4
"""A click whose mask does not fit into its tile gets one that is larger by this factor."""
_MARGIN = 1.5
"""How much larger than its prompt a tile is at least."""
_GRID = 8
"""A tile for clicks lies on a grid of this part of its side: clicks beside each other share an embedding."""
_COVERED = 0.5
"""Share of an object in earlier ones from which on it is one of them, and of two parts in their common tiles from which
on they are one object."""


def is_large(size_hw: tuple[int, int]) -> bool:
    """Whether an image of (height, width) pixels is worked on in tiles."""
    return max(size_hw) > _LARGE


class Tile(NamedTuple):
    """A part of an image that is segmented by itself."""

    x: int
    y: int
    width: int
    height: int
    factor: int = 1
    """Pixels of the image along the side of a pixel that is segmented: more than 1 for a large image as a whole."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of what is segmented."""
        return -(-self.height // self.factor), -(-self.width // self.factor)

    @property
    def edges(self) -> Edges:
        """Left, top, right, bottom in the image."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def of(self, image: Image) -> Image:
        """What is segmented."""
        if (self.height, self.width) == image.size_hw:
            return image.reduced(self.factor)
        return image.part(self[:4])

    def points(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) points of the image in the tile."""
        return (xy - (self.x, self.y)) / self.factor

    def sample(self, mask: Mask) -> BoolArray:
        """A mask of the image in the tile."""
        if self.factor == 1:
            return mask.part(self[:4])
        return rle.sample(mask.rle, np.arange(0, self.height, self.factor), np.arange(0, self.width, self.factor))

    def contains(self, extent: tuple[float, float, float, float]) -> bool:
        """Whether left, top, right and bottom lie in the tile."""
        left, top, right, bottom = self.edges
        return left <= extent[0] and top <= extent[1] and extent[2] <= right and extent[3] <= bottom

    def cuts(self, mask: BoolArray, size_hw: tuple[int, int]) -> bool:
        """Whether a mask in the tile reaches an edge that is no edge of the image of (height, width) pixels."""
        left, top, right, bottom = self.edges
        return bool(
            (left > 0 and mask[:, 0].any())
            or (top > 0 and mask[0].any())
            or (right < size_hw[1] and mask[:, -1].any())
            or (bottom < size_hw[0] and mask[-1].any())
        )


def whole(size_hw: tuple[int, int]) -> Tile:
    """The whole image; a large one is seen reduced."""
    return Tile(0, 0, size_hw[1], size_hw[0], -(-max(size_hw) // _LARGE))


def around(size_hw: tuple[int, int], extent: tuple[float, float, float, float]) -> Iterator[Tile]:
    """Parts of an image to segment a prompt in, each larger than the one before; the last is the whole image.

    Args:
        size_hw: of the image.
        extent: left, top, right, bottom of the points, the box and the mask of the prompt.
    """
    side = SIDE
    needed = _MARGIN * max(extent[2] - extent[0], extent[3] - extent[1])
    while is_large(size_hw) and side < max(size_hw):
        if side >= needed:
            (x, width), (y, height) = (
                _span((extent[axis] + extent[axis + 2]) / 2, side, size_hw[1 - axis]) for axis in (0, 1)
            )
            yield Tile(x, y, width, height)
        side *= _GROWTH
    yield whole(size_hw)


def _span(center: float, side: int, length: int) -> tuple[int, int]:
    """First pixel and number of pixels of a tile along one axis of the image."""
    step = side // _GRID
    first = round((center - side / 2) / step) * step
    return max(0, min(first, length - side)), min(side, length)


def grid(size_hw: tuple[int, int], side: int = SIDE) -> list[Tile]:
    """Overlapping tiles that cover an image, row by row; a side as long as the image gives the image as a whole."""
    if side >= max(size_hw):
        return [whole(size_hw)]
    rows, columns = _spans(size_hw[0], side), _spans(size_hw[1], side)
    return [Tile(x, y, width, height) for y, height in rows for x, width in columns]


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    if length <= side:
        return [(0, length)]
    # all begin at a multiple of 4, so that maps at a quarter of the size fit together
    last = -(-(length - side) // 4) * 4
    starts = [*range(0, last, side - OVERLAP), last]
    return [(start, min(side, length - start)) for start in starts]


class Piece(NamedTuple):
    """An object, or the part of one that lies in a tile."""

    x: int
    y: int
    pixels: BoolArray
    """(h, w) in its bounding box, whose left top pixel is (x, y)"""
    score: float
    cut: bool = False
    """Whether it goes on outside of its tile."""

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    @property
    def edges(self) -> Edges:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.pixels.shape[1], self.y + self.pixels.shape[0]

    @classmethod
    def of(cls, pixels: BoolArray, score: float, tile: Tile, size_hw: tuple[int, int]) -> Piece:
        """A mask in a tile, not empty, of an image of (height, width) pixels."""
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        tight, f = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], tile.factor
        x, y = tile.x + f * int(columns[0]), tile.y + f * int(rows[0])
        if f > 1:
            tight = tight.repeat(f, axis=0).repeat(f, axis=1)[: size_hw[0] - y, : size_hw[1] - x]
        return cls(x, y, tight, score, tile.cuts(pixels, size_hw))

    def mask(self, category: str, size_hw: tuple[int, int]) -> Mask:
        """It as a mask of the image."""
        return Mask.from_part(self.pixels, (self.x, self.y), size_hw, category=category, score=round(self.score, 4))

    def within(self, box: Edges) -> BoolArray:
        """Its pixels inside a box (left, top, right, bottom), as an array of the box's size."""
        left, top, right, bottom = box
        out = np.zeros((max(0, bottom - top), max(0, right - left)), np.bool_)
        common = _intersection(self.edges, box)
        if common is not None:
            x0, y0, x1, y1 = common
            out[y0 - top : y1 - top, x0 - left : x1 - left] = self.pixels[
                y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x
            ]
        return out


def keep_distinct(
    pieces: Iterable[Piece], same: Callable[[int, int, int], bool], earlier: Sequence[Piece] = ()
) -> list[Piece]:
    """Pieces without those that repeat an earlier one.

    Args:
        pieces: the best first.
        same: takes the number of common pixels, the area of a piece and that of an earlier one.
        earlier: pieces to come before.

    Returns:
        `earlier`, and the new ones.
    """
    result, areas = list(earlier), [piece.area for piece in earlier]
    boxes = np.array([piece.edges for piece in earlier], np.int64).reshape(-1, 4)
    for piece in pieces:
        area = piece.area
        if any(same(_common(piece, result[n]), area, areas[n]) for n in _touching(piece, boxes)):
            continue
        result.append(piece)
        areas.append(area)
        boxes = np.concatenate([boxes, [piece.edges]])
    return result


def join_objects(tiles: Sequence[Tile], by_tile: Sequence[Sequence[Piece]]) -> list[Piece]:
    """Objects of an image from the objects of overlapping tiles; those of one tile are disjoint, and so is the result.

    An object that a tile has whole is taken from there. Parts that reach the edge of their tile are joined with those
    of the neighbours that agree with them where the tiles overlap.
    """

    def covered(common: int, area: int, _: int) -> bool:
        return common >= _COVERED * area

    whole = keep_distinct((piece for pieces in by_tile for piece in pieces if not piece.cut), covered)
    parts = [(tile, piece) for tile, pieces in zip(tiles, by_tile, strict=True) for piece in pieces if piece.cut]
    boxes = np.array([piece.edges for piece in whole], np.int64).reshape(-1, 4)
    parts = [
        (tile, piece)
        for tile, piece in parts
        if sum(_common(piece, whole[n]) for n in _touching(piece, boxes)) < _COVERED * piece.area
    ]
    groups = list(range(len(parts)))
    boxes = np.array([piece.edges for _, piece in parts], np.int64).reshape(-1, 4)
    for first, (tile, piece) in enumerate(parts):
        for second in _touching(piece, boxes):
            if second < first and _agree(tile, piece, *parts[second]):
                old, new = groups[first], groups[second]
                groups = [new if group == old else group for group in groups]
    by_group: dict[int, list[Piece]] = {}
    for group, (_, piece) in zip(groups, parts, strict=True):
        by_group.setdefault(group, []).append(piece)
    return _disjoint([*whole, *map(_union, by_group.values())])


def _agree(first_tile: Tile, first: Piece, second_tile: Tile, second: Piece) -> bool:
    """Whether two parts are the same object where their tiles overlap."""
    common = _intersection(first_tile.edges, second_tile.edges)
    if common is None or first_tile == second_tile:
        return False
    ours, theirs = first.within(common), second.within(common)
    smaller = min(int(ours.sum()), int(theirs.sum()))
    return smaller > 0 and int((ours & theirs).sum()) >= _COVERED * smaller


def _union(pieces: Sequence[Piece]) -> Piece:
    boxes = np.array([piece.edges for piece in pieces])
    left, top, right, bottom = (int(v) for v in (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)))
    pixels = np.zeros((bottom - top, right - left), np.bool_)
    for piece in pieces:
        pixels |= piece.within((left, top, right, bottom))
    areas = [piece.area for piece in pieces]
    score = sum(piece.score * area for piece, area in zip(pieces, areas, strict=True)) / sum(areas)
    return Piece(left, top, pixels, score)


def _disjoint(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces without the pixels of earlier ones."""
    result: list[Piece] = []
    boxes = np.array([piece.edges for piece in pieces], np.int64).reshape(-1, 4)
    for number, piece in enumerate(pieces):
        near = [n for n in _touching(piece, boxes) if n < number]
        pixels = piece.pixels
        for n in near:
            pixels = pixels & ~pieces[n].within(piece.edges)
        if pixels.any():
            rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
            tight = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            result.append(piece._replace(x=piece.x + int(columns[0]), y=piece.y + int(rows[0]), pixels=tight))
    return result


def _common(first: Piece, second: Piece) -> int:
    common = _intersection(first.edges, second.edges)
    return 0 if common is None else int((first.within(common) & second.within(common)).sum())


def _touching(piece: Piece, boxes: NDArray[np.int64]) -> list[int]:
    """Which of (N, 4) boxes (left, top, right, bottom) overlap that of a piece."""
    left, top, right, bottom = piece.edges
    hits = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
    return [int(n) for n in np.flatnonzero(hits)]


def _intersection(first: Edges, second: Edges) -> Edges | None:
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    return (left, top, right, bottom) if right > left and bottom > top else None
