"""Planes of image layers: which one is in view, its pixels, and its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, PlaneRecord

__all__ = ["Plane", "axis_names", "channel_axes", "companions", "pixel_size", "plane_in_view"]

_MOST_CHANNELS = 16
"""An axis with more positions is no axis of channels."""
_COLORS = 3
"""Channels that a composite shows: red, green, blue."""
_ENDS = ((0, 0), (1, 0), (0, 1))
"""A pixel, the one below it and the one to its right."""
_DEFAULT_AXES = {1: ("Z",), 2: ("T", "Z"), 3: ("T", "C", "Z")}


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One plane of an image layer, read when it is needed and nothing beside it."""

    layer: Any
    index: tuple[int, ...]
    """Along the layer's leading axes."""
    composite: int | None = None
    """Axis whose first three positions are shown as red, green and blue."""
    contrast: bool = False
    """Whether the limits of the display are used in place of percentiles of the plane."""
    channels: tuple[Any, ...] = ()
    """Layers that are added in the colours of their colormaps, `layer` among them; none for `layer` alone."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same pixels of the same layers."""
        index = tuple(-1 if axis == self.composite else place for axis, place in enumerate(self.index))
        layers = self.channels or (self.layer,)
        colors = tuple(_color(layer) for layer in self.channels)
        return tuple(map(id, layers)), index, self.composite, tuple(map(self._limits, layers)), colors

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
    def record(self) -> PlaneRecord:
        """What the project keeps of it: layer, file, axes, index, size of a pixel, contrast."""
        layers = self.channels or (self.layer,)
        return PlaneRecord(
            " + ".join(str(layer.name) for layer in layers),
            str(self.layer.source.path or ""),
            axis_names(self.layer),
            tuple(None if axis == self.composite else place for axis, place in enumerate(self.index)),
            pixel_size(self.layer),
            str(self.layer.units[-1]),
            self._limits(self.layer),
        )

    @property
    def name(self) -> str:
        """The layer's name, with the plane's axes and index if it has any, such as "cells t3 z12"."""
        return self.record.name

    def read(self) -> Image:
        """The pixels as an image; takes a while.

        Raises:
            ShapeError: there are no pixels.
        """
        data, rgb = _finest(self.layer), bool(self.layer.rgb)
        if self.channels:
            image = Image(self._added(), self.name)
        elif self.composite is None:
            image = Image.from_array(data[self.index], rgb=rgb, name=self.name, limits=self._limits(self.layer))
        else:
            places = (
                tuple(n if axis == self.composite else place for axis, place in enumerate(self.index))
                for n in range(min(_COLORS, data.shape[self.composite]))
            )
            channels = [self._grey(self.layer, data[place]) for place in places]
            channels += [np.zeros_like(channels[0])] * (_COLORS - len(channels))
            image = Image(np.stack(channels, axis=-1), self.name)
        return replace(image, plane=self.record)

    def _added(self) -> NDArray[np.uint8]:
        """(H, W, 3) sum of the channels in their colours."""
        total: NDArray[np.float32] | None = None
        for layer in self.channels:
            grey = self._grey(layer, _finest(layer)[self.index])
            part = np.multiply(grey[..., None], _color(layer), dtype=np.float32)
            total = part if total is None else total + part
        assert total is not None
        return total.clip(0, 255).astype(np.uint8)

    def _grey(self, layer: Any, plane: Any) -> NDArray[np.uint8]:
        return Image.from_array(plane, rgb=False, limits=self._limits(layer)).pixels[..., 0]

    def _limits(self, layer: Any) -> tuple[float, float] | None:
        if not self.contrast or layer.rgb:
            return None
        low, high = layer.contrast_limits
        return float(low), float(high)


def _color(layer: Any) -> tuple[float, ...]:
    """Red, green and blue of a layer's brightest pixels, from 0 to 1."""
    return tuple(float(value) for value in np.asarray(layer.colormap.map(np.array([1.0])))[0, :_COLORS])


def pixel_size(layer: Any) -> tuple[float, float]:
    """Height and width of a pixel of a layer, in its units."""
    corner, down, right = (np.asarray(layer.data_to_world((0,) * (layer.ndim - 2) + end)) for end in _ENDS)
    return float(np.linalg.norm(down - corner)), float(np.linalg.norm(right - corner))


def companions(layer: Any, layers: Sequence[Any]) -> tuple[Any, ...]:
    """The visible grey layers of the same shape and place as a layer, itself among them: channels of one image."""
    if layer.rgb:
        return ()

    def place(other: Any) -> tuple[Any, ...]:
        corners = [other.data_to_world((0,) * (other.ndim - 2) + end) for end in _ENDS]
        return tuple(_finest(other).shape), tuple(np.round(np.ravel(corners), 6))

    mine = place(layer)
    same = tuple(other for other in layers if not other.rgb and other.visible and place(other) == mine)
    return same if len(same) > 1 and any(other is layer for other in same) else ()


def plane_in_view(layer: Any, point: tuple[float, ...], **options: Any) -> Plane:
    """The plane of an image layer at a point of the world; `options` are further fields of `Plane`."""
    shape = _finest(layer).shape[: layer.ndim - 2]
    place = np.rint(np.asarray(layer.world_to_data(point))[: len(shape)]).astype(int) if shape else ()
    index = tuple(int(np.clip(value, 0, length - 1)) for value, length in zip(place, shape, strict=True))
    return Plane(layer, index, **options)


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
