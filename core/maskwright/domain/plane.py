"""Where an image comes from that is one plane of a stack, a series or a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PlaneRecord"]

_LONGEST = 4096
"""Characters of a text, and axes of a stack, in a record that is read from a file."""


@dataclass(frozen=True, slots=True)
class PlaneRecord:
    """The place of a plane in a stack."""

    layer: str
    """Name of the layer."""
    path: str = ""
    """File of the layer, as the viewer names it; empty when it has none."""
    axes: tuple[str, ...] = ()
    """Names of the leading axes, such as T and Z; none for a single plane."""
    index: tuple[int | None, ...] = ()
    """Position along each of them; None along an axis whose channels are combined."""
    pixel_size: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel in `unit`."""
    unit: str = "pixel"
    contrast: tuple[float, float] | None = None
    """Values that were taken for black and white; None for percentiles of the plane."""

    @property
    def name(self) -> str:
        """The layer's name with the axes and the index, such as "cells t3 z12"."""
        places = zip(self.axes, self.index, strict=True)
        return " ".join([self.layer, *(f"{axis.lower()}{place}" for axis, place in places if place is not None)])

    def stack(self) -> tuple[Any, ...]:
        """Equal for the planes of one stack."""
        return self.layer, self.path, self.axes, self.pixel_size, self.unit

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {
            "axes": list(self.axes),
            "index": list(self.index),
            "pixel_size": list(self.pixel_size),
            "contrast": None if self.contrast is None else list(self.contrast),
        }

    @classmethod
    def from_dict(cls, values: object) -> PlaneRecord | None:
        """The record that `to_dict` wrote; None for anything else, also for what another program put in its place."""
        if not isinstance(values, Mapping):
            return None
        layer, path, unit = (values.get(key, "") for key in ("layer", "path", "unit"))
        axes, index, contrast = values.get("axes", []), values.get("index", []), values.get("contrast")
        size = values.get("pixel_size", [1.0, 1.0])
        texts = [layer, path, unit, *axes] if isinstance(axes, list) else [None]
        valid = (
            all(isinstance(text, str) and len(text) <= _LONGEST and "\0" not in text for text in texts)
            and bool(layer)
            and isinstance(index, list)
            and len(index) == len(axes) <= _LONGEST
            and all(place is None or (type(place) is int and 0 <= place < 1 << 31) for place in index)
            and _are_numbers(size)
            and min(size) > 0
            and (contrast is None or _are_numbers(contrast))
        )
        if not valid:
            return None
        limits = None if contrast is None else (float(contrast[0]), float(contrast[1]))
        return cls(
            layer, path, tuple(axes), tuple(index), (float(size[0]), float(size[1])), unit or "pixel", limits
        )  # fmt: skip


def _are_numbers(values: object) -> bool:
    """Whether they are two numbers."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)
