"""COCO segmentations, run lengths or polygons, as masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import rle
from maskwright.domain.rle import Rle
from maskwright.errors import BadCoco, InvalidMask

__all__ = ["draw_polygons", "mask_of", "polygons_to_rle"]

_FARTHEST = 1e6
"""Pixels beyond which no corner is drawn: pycocotools would end the process."""


def polygons_to_rle(polygons: Sequence[Sequence[float]], size_hw: tuple[int, ...]) -> Rle:
    """The union of polygons, each a flat list [x0, y0, x1, y1, ...] of at least three points, as RLE.

    Raises:
        TypeError: a coordinate is not a number.
        ValueError: a coordinate is not finite, or far outside the image.
    """
    from pycocotools import mask as coco

    if not polygons:
        return rle.encode(np.zeros(size_hw, np.bool_))
    if not all(abs(value) <= _FARTHEST for polygon in polygons for value in polygon):
        raise ValueError("a corner is far outside the image")
    merged = coco.merge(coco.frPyObjects([list(polygon) for polygon in polygons], *size_hw))
    return Rle(size=[int(size_hw[0]), int(size_hw[1])], counts=merged["counts"].decode("ascii"))


def draw_polygons(polygons: Sequence[Sequence[float]], size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """The union of polygons as a boolean (H, W) mask; raises as `polygons_to_rle`."""
    return rle.decode(polygons_to_rle(polygons, size_hw))


def mask_of(row: Mapping[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Boolean (H, W) mask of a COCO row with compressed RLE, uncompressed RLE or polygons.

    Raises:
        BadCoco: damaged, or of another size than the image.
    """
    segmentation = row["segmentation"]
    try:
        if isinstance(segmentation, Mapping):
            mask = rle.decode(rle.compressed(segmentation))
        elif isinstance(segmentation, list):
            # fewer than three points cover nothing, but pycocotools takes four numbers for a box
            mask = draw_polygons([polygon for polygon in segmentation if len(polygon) >= 6], size_hw)
        else:
            raise TypeError("neither run lengths nor polygons")
    except (InvalidMask, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise BadCoco(
            f"The segmentation of annotation {row.get('id')} is damaged ({error}).", "Export the file again."
        ) from error
    if mask.shape != size_hw:
        raise BadCoco(
            f"Annotation {row.get('id')} has size {mask.shape}, its image {size_hw}.", "Export the file again."
        )
    return mask
