"""Intensities to 8 bit, and contrast, both by percentiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["contrast_limits", "percentiles", "stretch_contrast", "to_8bit"]

_PART = 1 << 20
"""Values that are converted at once; double precision takes eight times the memory of a byte."""
_SAMPLED = 1 << 24
"""Pixels from which on an image's contrast is that of a sample."""


def to_8bit(values: NDArray[Any], limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Map an array of any number type and shape to uint8, in memory of about the size of the array.

    Args:
        values: any shape; NaN and infinities count as 0.
        limits: mapped to 0 and 255; None takes the 0.1 and 99.9 percentiles of the values.

    Returns:
        The mapped values; all 0 when the limits are equal.
    """
    flat = values.reshape(-1)
    low, high = percentiles(flat, (0.1, 99.9)) if limits is None else limits
    pixels = np.zeros(flat.shape, np.uint8)
    if high > low:
        for start in range(0, flat.size, _PART):
            part = slice(start, start + _PART)
            share = (_finite(flat[part]) - low) / (high - low)
            pixels[part] = np.rint(share.clip(0, 1) * 255)
    return pixels.reshape(values.shape)


def percentiles(values: NDArray[Any], shares: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles of a flat array as `numpy.percentile` gives them; NaN and infinities count as 0."""
    if values.size <= _PART:
        low, high = np.percentile(_finite(values), shares)
        return float(low), float(high)
    if values.dtype.kind in "bui" and values.dtype.itemsize <= 2:
        return _counted_percentiles(values, shares)
    # sorted as far as needed in the values' own type, which double precision would make up to four times as large
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) if values.dtype.kind == "f" else values
    places = [share / 100 * (values.size - 1) for share in shares]
    ordered = np.partition(finite, sorted({int(place) + step for place in places for step in (0, 1)}))
    low, high = (_between(float(ordered[int(p)]), float(ordered[int(p) + 1]), p - int(p)) for p in places)
    return low, high


def _between(below: float, above: float, share: float) -> float:
    """Linear interpolation, as numpy does it, so that the result is the same to the last bit."""
    return above - (above - below) * (1 - share) if share >= 0.5 else below + (above - below) * share


def _counted_percentiles(values: NDArray[Any], shares: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of whole numbers of 16 bit from how often each occurs."""
    whole = values.view(np.uint8) if values.dtype == np.bool_ else values
    lowest = int(np.iinfo(whole.dtype).min)
    counts = np.zeros(1 << (8 * whole.dtype.itemsize), np.int64)
    for start in range(0, whole.size, _PART):
        part = whole[start : start + _PART].astype(np.int64) - lowest
        counts += np.bincount(part, minlength=counts.size)
    ends = np.cumsum(counts)
    places = [share / 100 * (values.size - 1) for share in shares]
    ranks = np.array([[int(place), int(place) + 1] for place in places])
    pairs = np.searchsorted(ends, ranks, "right") + lowest
    low, high = (_between(float(pair[0]), float(pair[1]), p - int(p)) for pair, p in zip(pairs, places, strict=True))
    return low, high


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def contrast_limits(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of all values of a (H, W, 3) image; of a large one, of evenly spaced pixels."""
    step = max(1, math.isqrt(pixels.shape[0] * pixels.shape[1] // _SAMPLED))
    low, high = np.percentile(pixels[::step, ::step], [0.5, 99.5])
    return float(low), float(high)


def stretch_contrast(pixels: NDArray[np.uint8], limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) image with its contrast stretched over 0..255; hues are kept.

    Photographs hardly change; dark microscopy becomes visible. Where the limits are equal the image stays as it is.

    Args:
        pixels: of the image.
        limits: values that become 0 and 255; None takes `contrast_limits`.
    """
    low, high = contrast_limits(pixels) if limits is None else limits
    if high <= low:
        return pixels
    table = ((np.arange(256) - low) * (255 / (high - low))).clip(0, 255).round().astype(np.uint8)
    return np.asarray(table[pixels])
