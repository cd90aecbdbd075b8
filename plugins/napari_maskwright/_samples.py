"""Sample images as napari layers; they need no network."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image

__all__ = ["cat", "channels", "nuclei", "stack"]

Layers = list[tuple[Any, dict[str, Any], str]]
_PLANES = 12
_SHARPEST = 6
"""Plane of the stack that is in focus."""


def cat() -> Layers:
    """Chelsea the cat, (300, 451, 3) uint8."""
    return [(_pixels("skimage", "data", "chelsea.png"), {"name": "cat"}, "image")]


def nuclei() -> Layers:
    """Stained nuclei from the 2018 Data Science Bowl."""
    return [(_nuclei(), {"name": "nuclei"}, "image")]


def stack() -> Layers:
    """A focus series (Z, Y, X) uint16 of the nuclei, which drift by a pixel a plane, and blur away from the middle."""
    sharp = 65535 - 257 * _nuclei().mean(axis=-1).round().astype(np.uint16)
    planes = []
    for z in range(_PLANES):
        plane = np.roll(sharp, (z - _SHARPEST, 0), axis=(0, 1))
        for _ in range(abs(z - _SHARPEST)):
            plane = _blurred(plane)
        planes.append(plane)
    options = {"name": "nuclei stack", "scale": (2.0, 0.5, 0.5), "units": ("um",) * 3, "axis_labels": ("z", "y", "x")}
    return [(np.stack(planes), options, "image")]


def channels() -> Layers:
    """Three channels (C, Y, X) uint8: red, green and blue of the nuclei, as of a microscope with three dyes."""
    pixels = np.ascontiguousarray(np.moveaxis(255 - _nuclei(), -1, 0))
    return [(pixels, {"name": "nuclei channels", "axis_labels": ("c", "y", "x")}, "image")]


def _nuclei() -> NDArray[np.uint8]:
    return _pixels("maskwright_assets", "samples", "5c6eb9a47852754d.jpg")


def _pixels(package: str, *path: str) -> NDArray[np.uint8]:
    with as_file(files(package).joinpath(*path)) as file:
        return Image.open(file).pixels


def _blurred(plane: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Means of 3 x 3 pixels."""
    padded = np.pad(plane.astype(np.uint32), 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    means: NDArray[np.uint16] = ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9).astype(np.uint16)
    return means
