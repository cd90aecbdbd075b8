"""Intensities to 8 bit, and contrast, both by percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["stretch_contrast", "to_8bit"]


def to_8bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Map an array of any number type and shape to uint8.

    The 0.1 to 99.9 percentile of its values is stretched over 0..255. NaN and infinities count as 0; an array whose
    percentiles are equal becomes 0.
    """
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, [0.1, 99.9])
    share = np.zeros(values.shape) if high <= low else (values - low) / (high - low)
    pixels: NDArray[np.uint8] = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def stretch_contrast(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) image with the 0.5 to 99.5 percentile of all its values stretched over 0..255; hues are kept.

    Photographs hardly change; dark microscopy becomes visible. An image whose percentiles are equal stays as it is.
    """
    low, high = np.percentile(pixels, [0.5, 99.5])
    if high <= low:
        return pixels
    table = ((np.arange(256) - low) * (255 / (high - low))).clip(0, 255).round().astype(np.uint8)
    return np.asarray(table[pixels])
