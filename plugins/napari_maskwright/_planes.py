"""Planes of image layers: which one is in view, its pixels, and its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.domain import Image

__all__ = ["Plane", "axis_names", "channel_axes", "plane_in_view"]

_MOST_CHANNELS = 16
"""An axis with more positions is no axis of channels."""
_COLORS = 3
"""Channels that a composite shows: red, green, blue."""
_DEFAULT_AXES = {1: ("Z",), 2: ("T", "Z"), 3: ("T", "C", "Z")}


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One plane of an image layer, read when it is needed and nothing beside it."""

    layer: Any
    index: tuple[int, ...]
    """Along the layer's leading axes."""
    composite: int | None = None
    """Axis whose first three positions are shown as red, green and blue."""
    contrast: tuple[float, float] | None = None
    """Limits of the display to use; None for the percentiles of the plane."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same pixels of the same layer."""
        index = tuple(-1 if axis == self.composite else place for axis, place in enumerate(self.index))
        return id(self.layer), index, self.composite, self.contrast

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        shape = _finest(self.layer).shape[: -1 if self.layer.rgb else None]
        return int(shape[-2]), int(shape[-1])

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Lengths of the layer's leading axes."""
        return tuple(int(length) for length in _finest(self.layer).shape[: len(self.index)])

    @property
    def name(self) -> str:
        """The layer's name, with the plane's axes and index if it has any, such as "cells t3 z12"."""
        places = zip(axis_names(self.layer), self.index, strict=True)
        parts = [f"{name.lower()}{place}" for axis, (name, place) in enumerate(places) if axis != self.composite]
        return " ".join([str(self.layer.name), *parts])

    def read(self) -> Image:
        """The pixels as an image; takes a while.

        Raises:
            ShapeError: there are no pixels.
        """
        data, rgb = _finest(self.layer), bool(self.layer.rgb)
        if self.composite is None:
            return Image.from_array(data[self.index], rgb=rgb, name=self.name, limits=self.contrast)
        channels = [
            Image.from_array(
                data[tuple(n if axis == self.composite else place for axis, place in enumerate(self.index))],
                rgb=False,
                limits=self.contrast,
            ).pixels[..., 0]
            for n in range(min(_COLORS, data.shape[self.composite]))
        ]
        channels += [np.zeros_like(channels[0])] * (_COLORS - len(channels))
        return Image(np.stack(channels, axis=-1), self.name)


def plane_in_view(layer: Any, point: tuple[float, ...], *, composite: int | None, display_contrast: bool) -> Plane:
    """The plane of a layer at a point of the viewer.

    Args:
        layer: an image layer.
        point: in the world.
        composite: axis whose first positions are shown as colours.
        display_contrast: use the layer's contrast limits in place of percentiles.
    """
    shape = _finest(layer).shape[: layer.ndim - 2]
    place = np.rint(np.asarray(layer.world_to_data(point))[: len(shape)]).astype(int) if shape else ()
    index = tuple(int(np.clip(value, 0, length - 1)) for value, length in zip(place, shape, strict=True))
    limits = tuple(float(value) for value in layer.contrast_limits) if display_contrast and not layer.rgb else None
    return Plane(layer, index, composite, limits if limits is None else (limits[0], limits[1]))


def axis_names(layer: Any) -> tuple[str, ...]:
    """Names of a layer's leading axes: its own labels, else letters by their number."""
    count = layer.ndim - 2
    labels = [str(label) for label in layer.axis_labels[:count]]
    if any(label.lstrip("-").isdigit() for label in labels):
        return _DEFAULT_AXES.get(count, tuple(f"axis{axis}" for axis in range(count)))
    return tuple(labels)


def channel_axes(layer: Any) -> list[int]:
    """Leading axes that may hold channels: those named so, else those with few positions."""
    shape = _finest(layer).shape[: layer.ndim - 2]
    named = [axis for axis, name in enumerate(axis_names(layer)) if name.lower() in ("c", "channel", "channels")]
    return [axis for axis in named or range(len(shape)) if 2 <= shape[axis] <= _MOST_CHANNELS]


def _finest(layer: Any) -> Any:
    """The data of a layer at its finest level."""
    return layer.data[0] if layer.multiscale else layer.data
