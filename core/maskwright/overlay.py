"""Overlays: masks drawn over an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Mask

__all__ = ["Layer", "blend", "flatten"]


class Layer(NamedTuple):
    """A mask and how it is drawn."""

    mask: Mask
    color: str
    """#rrggbb"""
    outlined: bool = False
    """With an edge of light and dark dashes, which is visible on any background."""
    hatched: bool = False
    """As stripes, for a region that is not a mask."""


def flatten(layers: Sequence[Layer], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw masks into one RGBA image, small ones on top.

    Args:
        layers: the masks.
        size_wh: (width, height) of the result, in pixels; masks are resized to it.

    Returns:
        (H, W, 4) uint8; alpha is 0 or 255.
    """
    out = np.zeros((size_wh[1], size_wh[0], 4), np.uint8)
    for layer in sorted(layers, key=lambda layer: -layer.mask.area):
        region = Pillow.fromarray(layer.mask.to_array()).resize(size_wh, Pillow.Resampling.NEAREST)
        inside = np.asarray(region)
        if layer.hatched:
            inside = inside & _stripes(inside.shape)
        out[inside] = (*bytes.fromhex(layer.color[1:]), 255)
        if layer.outlined:
            _draw_edge(out, inside)
    return out


_STRIPE = 5
"""Width in pixels."""


def _stripes(shape_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    rows, columns = np.indices(shape_hw, sparse=True)
    stripes: NDArray[np.bool_] = (rows + columns) // _STRIPE % 2 == 0
    return stripes


def _draw_edge(out: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    core = inside.copy()
    for axis in (0, 1):
        for step in (1, -1):
            core &= np.roll(inside, step, axis)
    y, x = np.nonzero(inside & ~core)
    out[y, x] = np.where(((x + y) // 4 % 2 == 0)[:, None], (20, 20, 20, 255), (255, 255, 255, 255))


def blend(pixels: NDArray[np.uint8], layers: Sequence[Layer], opacity: float = 0.55) -> NDArray[np.uint8]:
    """Draw masks over an image.

    Args:
        pixels: (H, W, 3) uint8.
        layers: the masks.
        opacity: of the masks, 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    overlay = flatten(layers, (pixels.shape[1], pixels.shape[0]))
    share = overlay[:, :, 3:].astype(np.float32) / 255 * opacity
    return np.rint(pixels * (1 - share) + overlay[:, :, :3] * share).astype(np.uint8)
