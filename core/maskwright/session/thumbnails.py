"""Small images of masks for lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, rle

__all__ = ["mask_thumbnail"]

_MARGIN = 0.2
"""Of the longer side of a mask's box, shown around it."""
_TINT = 0.45
"""Opacity of the mask over the image."""


def mask_thumbnail(image: Image, mask: Mask, color: str, side: int) -> NDArray[np.uint8]:
    """The square part of an image around a mask, tinted where the mask is.

    Args:
        image: of the mask.
        mask: not empty.
        color: #rrggbb of the tint.
        side: of the result in pixels.

    Returns:
        (side, side, 3) uint8; black outside the image.
    """
    x, y, width, height = mask.bbox
    extent = max(width, height, 8) * (1 + 2 * _MARGIN)
    # two samples for a pixel in each direction, so that thin masks do not vanish
    steps = (np.arange(2 * side) + 0.5) / (2 * side) - 0.5
    rows = np.floor(y + height / 2 + steps * extent).astype(int)
    columns = np.floor(x + width / 2 + steps * extent).astype(int)
    height, width = image.size_hw
    inside = np.logical_and.outer((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    pixels = image.pixels[np.ix_(rows, columns)].astype(np.float32) * inside[..., None]
    covered = (rle.sample(mask.rle, rows, columns) & inside)[..., None]
    tint = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)], np.float32)
    pixels = np.where(covered, (1 - _TINT) * pixels + _TINT * tint, pixels)
    small: NDArray[np.uint8] = pixels.reshape(side, 2, side, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return small
