"""Between napari's layers and Maskwright's values: pixels, labels, colours, transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import MaskwrightError
from maskwright.session import MaskView

__all__ = ["as_rgb8", "colors_of", "hatched", "labels_of", "placement"]

_PERCENTILES = (0.1, 99.9)
_STRIPES = 100
"""How many stripes fit in the longer side of an image."""


def as_rgb8(data: Any, *, rgb: bool) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of an image layer's data; what is not 8-bit is mapped from its 0.1-99.9 percentile.

    Raises:
        MaskwrightError: a stack, or a layer without pixels.
    """
    if data.ndim != (3 if rgb else 2):
        raise MaskwrightError(
            "That layer is a stack. Choose a layer with a single plane, or save the plane as a picture."
        )
    pixels = np.asarray(data)[..., :3] if rgb else np.repeat(np.asarray(data)[..., None], 3, axis=2)
    if not pixels.size:
        raise MaskwrightError("That layer has no pixels. Choose another one.")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    values = np.nan_to_num(pixels.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, _PERCENTILES)
    share: NDArray[np.float64] = ((values - low) / ((high - low) or 1.0)).clip(0, 1)
    return np.rint(255 * share).astype(np.uint8)


def labels_of(rows: Sequence[MaskView], size_hw: tuple[int, int]) -> NDArray[np.integer[Any]]:
    """(H, W) labels, k for the k-th mask, small masks on top; a view only, for masks may overlap."""
    labels = np.zeros(size_hw, np.min_scalar_type(len(rows)))
    for number, row in sorted(enumerate(rows, start=1), key=lambda pair: -pair[1].mask.area):
        labels[row.mask.to_array()] = number
    return labels


def colors_of(rows: Sequence[MaskView]) -> dict[int | None, str]:
    """Colour by label, for napari's direct colormap; what is no mask is clear."""
    clear: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
    return clear | {number: row.color for number, row in enumerate(rows, start=1)}


def hatched(rows: Sequence[MaskView], size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], dict[int | None, str]]:
    """(H, W) labels and their colours: stripes (1) and a hint of the same colour between them (2)."""
    width = max(1, round(max(size_hw) / _STRIPES))
    y, x = np.indices(size_hw, sparse=True)
    stripes = np.where((y + x) // width % 2 == 0, 1, 2).astype(np.uint8)
    labels = np.zeros(size_hw, np.uint8)
    for row in rows:
        inside = row.mask.to_array()
        labels[inside] = stripes[inside]
    color = rows[0].color if rows else "#000000"
    return labels, {None: "#00000000", 0: "#00000000", 1: color, 2: f"{color}40"}


def placement(layer: Any) -> dict[str, Any]:
    """Everything that says where a layer lies in the world, to lay another one exactly over it."""
    return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}
