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
        out[np.asarray(region)] = (*bytes.fromhex(layer.color[1:]), 255)
    return out


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
