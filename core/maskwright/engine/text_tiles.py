"""Text prompts on large images: score maps of overlapping tiles, blended row by row, so that no seam shows.

Where tiles overlap, their scores are averaged with weights that fall to 0 towards the edge of a tile. Memory grows with
one row of tiles, apart from the label map itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.domain import Image, Mask
from maskwright.engine.instances import ObjectDivider
from maskwright.engine.label_map import Labels, label
from maskwright.engine.text_method import Scores, upsample
from maskwright.engine.tiles import OVERLAP, Piece, Tile, grid, join_objects
from maskwright.progress import Progress

__all__ = ["label_tiles", "objects_of_tiles"]

_CELL = 4
"""Pixels along the side of a cell of the blended maps."""


def label_tiles(
    image: Image,
    classes: int,
    scores_of: Callable[[Image, Progress], Scores],
    threshold: float,
    progress: Progress,
) -> Labels:
    """Label a large image.

    Args:
        image: to label.
        classes: how many.
        scores_of: their scores in a part of the image.
        threshold: least probability of a class; 0 labels every pixel.
        progress: reports encoder passes, and cancels between tiles.

    Returns:
        As `label`, but `probability` is of cells of 4 x 4 pixels.
    """
    height, width = image.size_hw
    tiles = grid(image.size_hw)
    numbers = {tile: number for number, tile in enumerate(tiles)}

    def maps_of(tile: Tile) -> Tensor:
        scores = scores_of(tile.of(image), progress.part(numbers[tile], len(tiles)))
        size = _cells(tile.height), _cells(tile.width)
        maps = scores.probability(upsample(scores.maps, size))
        # background last, where there is one
        return maps if scores.background is None else torch.cat([maps, upsample(scores.background[None], size)])

    label_map = np.zeros((height, width), np.int32)
    probability = np.zeros((_cells(height), _cells(width)), np.float32)
    best: list[tuple[float, ...]] = []
    sums = counts = np.zeros(1)
    for strip in _blended(tiles, image.size_hw, maps_of):
        size = _CELL * strip.maps.shape[1], _CELL * strip.maps.shape[2]
        background = strip.maps[classes] if len(strip.maps) > classes else None
        part = label(Scores(strip.maps[:classes], background), size, threshold)
        rows = slice(_CELL * strip.first, min(height, _CELL * strip.last))
        inside = slice(_CELL * strip.halo, _CELL * strip.halo + rows.stop - rows.start)
        labels, values = part.label_map[inside, :width], part.probability[inside, :width]
        label_map[rows] = labels
        probability[strip.first : strip.last] = values[::_CELL, ::_CELL]
        best.append(part.max_scores)
        counts = counts + np.bincount(labels.ravel(), minlength=classes + 1)
        sums = sums + np.bincount(labels.ravel(), values.ravel(), minlength=classes + 1)
    label_map.flags.writeable = False
    means = (sums / counts.clip(min=1))[1:]
    highest = tuple(max(values) for values in zip(*best, strict=True))
    return Labels(label_map, tuple(means.tolist()), highest, probability)


def objects_of_tiles(
    image: Image, number: int, name: str, labels: Labels, divider: ObjectDivider, progress: Progress
) -> list[Mask]:
    """Divide the region of a class of a large image into objects, as `ObjectDivider.objects` does.

    Args:
        image: that was labelled.
        number: of the class in the label map.
        name: of the class.
        labels: from `label_tiles`.
        divider: divides the region in a tile.
        progress: reports clicks, and cancels between batches of them.
    """
    size, tiles, by_tile = image.size_hw, grid(image.size_hw), list[list[Piece]]()
    for done, tile in enumerate(tiles):
        left, top, right, bottom = tile.edges
        region = labels.label_map[top:bottom, left:right] == number
        cells = labels.probability[top // _CELL : _cells(bottom), left // _CELL : _cells(right)]
        values = cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)[: tile.height, : tile.width]
        masks: Sequence[Mask] = ()
        progress.check()
        if region.any():
            masks = divider.objects(tile.of(image), region, values, name, progress.part(done, len(tiles)))
        by_tile.append([Piece.of(mask.to_array(), float(mask.score or 0), tile, size) for mask in masks])
    objects = [piece.mask(name, size) for piece in join_objects(tiles, by_tile)]
    return sorted(objects, key=lambda mask: -mask.area)


class _Strip(NamedTuple):
    """Blended maps of some rows of cells, with a row more on either side where there is one."""

    first: int
    last: int
    """Rows of cells, without the additional ones; `last` is not among them."""
    halo: int
    """Additional rows above: 0 or 1"""
    maps: Tensor
    """(C, rows, columns)"""


def _blended(tiles: Sequence[Tile], size_hw: tuple[int, int], maps_of: Callable[[Tile], Tensor]) -> Iterator[_Strip]:
    """Strips of the image from the top, each when no further tile covers it; in `maps_of` (C, h, w) cells of a tile."""
    rows, columns = _cells(size_hw[0]), _cells(size_hw[1])
    bands = [list(band) for _, band in groupby(tiles, key=lambda tile: tile.y)]
    done = above = 0
    total = weight = torch.zeros(())
    for number, band in enumerate(bands):
        first, height = band[0].y // _CELL, _cells(band[0].height)
        for place, tile in enumerate(band):
            maps = maps_of(tile)
            if not place:
                size = first + height - above, columns
                total = _extended(total if number else maps[:, :0, :0], size)
                weight = _extended(weight if number else maps[0, :0, :0], size)
            weights = _weights(tile, size_hw).to(maps.device)
            area = slice(first - above, first - above + height), slice(tile.x // _CELL, _cells(tile.x + tile.width))
            total[:, area[0], area[1]] += maps * weights
            weight[area] += weights
        following = bands[number + 1][0].y // _CELL if number + 1 < len(bands) else rows
        # the row below the last one must be known, too
        last = following - 1 if following < rows else rows
        maps = total[:, : following - above] / weight[: following - above]
        yield _Strip(done, last, done - above, maps)
        total, weight = total[:, last - 1 - above :], weight[last - 1 - above :]
        done, above = last, last - 1


def _extended(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., h, w) maps with zeros below, and beside if there is nothing yet."""
    return F.pad(maps, (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2]))


def _weights(tile: Tile, size_hw: tuple[int, int]) -> Tensor:
    """(h, w) weights of a tile's cells: 1 inside, falling towards the edges that other tiles overlap."""

    def ramp(start: int, length: int, whole: int) -> Tensor:
        cells, overlap = _cells(length), OVERLAP // _CELL
        places = torch.arange(cells) + 0.5
        rising = places / overlap if start > 0 else torch.ones(cells)
        falling = (cells - places) / overlap if start + length < whole else torch.ones(cells)
        return torch.minimum(rising, falling).clamp(max=1)

    return torch.outer(ramp(tile.y, tile.height, size_hw[0]), ramp(tile.x, tile.width, size_hw[1]))


def _cells(pixels: int) -> int:
    return -(-pixels // _CELL)
