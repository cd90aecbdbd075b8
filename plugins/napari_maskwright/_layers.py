"""Conversions between Maskwright's values and napari's layers: labels, colours, transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.session import MaskView

__all__ = ["colors_of", "hatched", "labels_of", "transform_of"]

_STRIPES = 100
"""Number of stripes along the longer side of an image."""


def labels_of(masks: Sequence[MaskView], size_hw: tuple[int, int]) -> NDArray[np.integer[Any]]:
    """(H, W) labels, k for the k-th mask; where masks overlap, the smaller one is drawn."""
    labels = np.zeros(size_hw, np.min_scalar_type(len(masks)))
    for label, view in sorted(enumerate(masks, start=1), key=lambda pair: -pair[1].mask.area):
        labels[view.mask.to_array()] = label
    return labels


def colors_of(masks: Sequence[MaskView]) -> dict[int | None, str]:
    """Colour by label for napari's direct colormap; the background is transparent."""
    clear: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
    return clear | {label: view.color for label, view in enumerate(masks, start=1)}


def hatched(masks: Sequence[MaskView], size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], dict[int | None, str]]:
    """(H, W) labels of stripes, 1 in the masks' colour and 2 nearly transparent, and the colour by label."""
    width = max(1, round(max(size_hw) / _STRIPES))
    y, x = np.indices(size_hw, sparse=True)
    stripes = np.where((y + x) // width % 2 == 0, 1, 2).astype(np.uint8)
    labels = np.zeros(size_hw, np.uint8)
    for view in masks:
        inside = view.mask.to_array()
        labels[inside] = stripes[inside]
    color = masks[0].color if masks else "#000000"
    return labels, {None: "#00000000", 0: "#00000000", 1: color, 2: f"{color}40"}


def transform_of(layer: Any) -> dict[str, Any]:
    """Arguments for a new layer that place it exactly over another one in the world."""
    return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}
