"""A label layer of masks: updated in place, or, over a large image, drawn only where the window looks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

from maskwright.session import MaskView
from napari_maskwright._features import PixelArea
from napari_maskwright._layers import Box, Drawing, Numbered, Style

__all__ = ["LARGE", "Overlay", "Place", "place_layer"]

LARGE = 4096 * 4096
"""Pixels from which on masks are drawn only where the window looks."""
_LEVELS = (1, 2, 4, 8, 16, 32)


class Place:
    """The image that layers lie over: its size, its place in the world, and its name."""

    def __init__(self, size_hw: tuple[int, int], transform: dict[str, Any], name: str) -> None:
        self.size_hw, self.transform, self.name = size_hw, transform, name

    @property
    def large(self) -> bool:
        """Whether the labels of the whole image are more than one array should hold."""
        return self.size_hw[0] * self.size_hw[1] > LARGE


def place_layer(layer: Any, place: Place, kind: str) -> None:
    """Move a layer over an image; what is right already stays untouched."""
    for name, value in place.transform.items():
        now = getattr(layer, name)
        if name == "affine":
            now, value = np.asarray(now), np.asarray(value)
        if name == "units":
            same = tuple(now) == tuple(value)
        else:
            same = np.shape(now) == np.shape(value) and np.allclose(now, value)
        if not same:
            setattr(layer, name, value)
    if layer.name != f"{place.name} {kind}":
        layer.name = f"{place.name} {kind}"


class _Level:
    """One level of a large label image, an array that is drawn where it is read."""

    def __init__(self, drawing: Callable[[], Drawing], factor: int) -> None:
        self._drawing, self._factor = drawing, factor
        height, width = drawing().size_hw
        self.shape = -(-height // factor), -(-width // factor)
        self.ndim, self.size = 2, self.shape[0] * self.shape[1]
        self.dtype = np.dtype(np.int32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (2 - len(keys)))
        spans = [
            (int(part), int(part) + 1) if not isinstance(part, slice) else part.indices(length)[:2]
            for part, length in zip(keys, self.shape, strict=True)
        ]
        (top, bottom), (left, right) = spans
        height, width = self._drawing().size_hw
        f = self._factor
        region = (f * left, f * top, min(f * right, width) - f * left, min(f * bottom, height) - f * top)
        labels = self._drawing().render(region, f).astype(self.dtype)
        # an index in place of a slice drops its axis
        return labels[tuple(slice(None) if isinstance(part, slice) else 0 for part in keys)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self[:, :] if dtype is None else self[:, :].astype(dtype)


class Overlay:
    """The masks of one kind over the image in view."""

    def __init__(self, kind: str, style: Style, opacity: float, add: Callable[[Any], Any]) -> None:
        """Take a name, a style, and a function that adds a layer to the window without selecting it.

        Args:
            kind: ends the layer's name.
            style: of the masks.
            opacity: of a new layer; the user may change it.
            add: returns the layer.
        """
        self._kind, self._style, self._opacity, self._add = kind, style, opacity, add
        self.layer: Any = None
        """The label layer; None until there is something to draw."""
        self._numbers: dict[Hashable, int] = {}
        self._drawing: Drawing | None = None
        self._colors: dict[int | None, str] = {}
        self.made: Callable[[Any], None] = lambda layer: None
        """Called with a new layer."""
        self.drawn: NDArray[Any] | None = None
        """The labels as they were drawn, without the strokes of the user since; None for a large image."""
        self._before_strokes: NDArray[Any] | None = None
        self._by_object = False
        self._values: dict[str, dict[int, float]] = {}
        self._pixel = PixelArea()

    @property
    def drawing(self) -> Drawing | None:
        """What is drawn now."""
        return self._drawing

    def show(self, views: Sequence[MaskView], place: Place) -> None:
        """Draw these masks and no others; only what has changed is drawn again."""
        before, drawing = self._drawing, Drawing(self._style, self._numbered(views), place.size_hw, self._by_object)
        if self.layer is None and not views:
            return
        self._drawing, fits = drawing, before is not None and self._fits(before, drawing, place)
        if not fits:
            self._replace(place)
        place_layer(self.layer, place, self._kind)
        self._pixel = PixelArea.of(self.layer)
        if fits and before is not None and before.masks == drawing.masks:
            return
        self._show_features(drawing)
        self._color(drawing)
        if fits and before is not None:
            self._update(before, drawing)

    def prepare(self, place: Place) -> None:
        """Make the layer before there is something to draw."""
        if self.layer is None:
            self._drawing = Drawing(self._style, (), place.size_hw, self._by_object)
            self._replace(place)

    def set_by_object(self, *, on: bool) -> None:
        """Give each mask a colour of its own, or that of its class."""
        self._by_object = on
        if self._drawing is not None and self.layer is not None:
            self._drawing = replace(self._drawing, by_object=on)
            self._color(self._drawing)

    def set_values(self, name: str, values: dict[int, float]) -> None:
        """Add a column to the features of the masks, by annotation id."""
        self._values[name] = values
        if self._drawing is not None and self.layer is not None:
            self._show_features(self._drawing)

    def accept_strokes(self) -> None:
        """Take the strokes since the last drawing for drawn: they are being stored."""
        self._before_strokes, self.drawn = self.drawn, np.array(self.layer.data)

    def reject_strokes(self) -> None:
        """They were not stored after all."""
        if self._before_strokes is not None:
            self.drawn = self._before_strokes

    def forget(self) -> None:
        """The layer is gone."""
        self.layer, self._drawing, self._colors, self.drawn = None, None, {}, None

    def _numbered(self, views: Sequence[MaskView]) -> tuple[Numbered, ...]:
        keys: list[Hashable] = [
            (view.annotation, view.proposal) if view.annotation or view.proposal else number
            for number, view in enumerate(views)
        ]
        self._numbers = {key: number for key, number in self._numbers.items() if key in keys}
        free = iter(sorted(set(range(1, len(keys) + 1)) - set(self._numbers.values())))
        for key in keys:
            if key not in self._numbers:
                self._numbers[key] = next(free)
        return tuple(Numbered(self._numbers[key], view) for key, view in zip(keys, views, strict=True))

    def _fits(self, before: Drawing, drawing: Drawing, place: Place) -> bool:
        """Whether the layer's array can be updated where it is."""
        if self.layer is None or before.size_hw != drawing.size_hw:
            return False
        return place.large or self.layer.data.dtype == drawing.dtype

    def _replace(self, place: Place) -> None:
        """Give the layer another array, or make it."""
        drawing = self._drawing
        assert drawing is not None
        height, width = place.size_hw
        if place.large:
            levels = [f for f in _LEVELS if max(place.size_hw) // f >= 256]
            data: Any = [_Level(lambda: self._drawing or drawing, factor) for factor in levels]
        else:
            data = drawing.render((0, 0, width, height))
        self.drawn = None if place.large else np.array(data)
        if self.layer is not None and bool(self.layer.multiscale) == place.large and not place.large:
            self.layer.data = data
            return
        opacity, visible = self._opacity, True
        if self.layer is not None:
            opacity, visible = self.layer.opacity, self.layer.visible
        self._colors = drawing.colors
        layer = Labels(
            data,
            name=f"{place.name} {self._kind}",
            multiscale=place.large,
            colormap=DirectLabelColormap(color_dict=dict(self._colors)),
            opacity=opacity,
            visible=visible,
            **place.transform,
        )
        # strokes would not reach the project, unless somebody watches
        layer.editable = False
        self.layer = self._add(layer)
        self.made(self.layer)

    def _update(self, before: Drawing, drawing: Drawing) -> None:
        """Draw again what the changed masks cover."""
        old, new = {item.key for item in before.masks}, {item.key for item in drawing.masks}
        changed = [item for item in (*before.masks, *drawing.masks) if item.key in old ^ new]
        if not changed:
            return
        if self.layer.multiscale:
            self.layer.refresh(extent=False)
            return
        x, y, width, height = _union([item.mask.bbox for item in changed])
        region = slice(y, y + height), slice(x, x + width)
        labels = drawing.render((x, y, width, height))
        assert self.drawn is not None
        # strokes that were made meanwhile stay
        np.copyto(self.layer.data[region], labels, where=self.layer.data[region] == self.drawn[region])
        self.drawn[region] = labels
        self.layer.refresh(extent=False)

    def _color(self, drawing: Drawing) -> None:
        if drawing.colors != self._colors:
            self._colors = drawing.colors
            self.layer.colormap = DirectLabelColormap(color_dict=dict(drawing.colors))

    def _show_features(self, drawing: Drawing) -> None:
        """What napari's status bar says of a mask under the pointer."""
        if self._style is Style.HATCHED:
            return
        step = self._style.value
        rows = [(item, n) for item in drawing.masks for n in range(step * item.number, step * item.number + step)]
        features = {
            "index": [number for _, number in rows],
            "class": [item.mask.category or "clicked" for item, _ in rows],
            "id": [item.view.annotation or 0 for item, _ in rows],
            "area": [item.mask.area for item, _ in rows],
            "score": [float("nan") if item.mask.score is None else item.mask.score for item, _ in rows],
        }
        more: dict[str, list[float]] = {}
        if self._pixel.unit:
            more[f"area [{self._pixel.unit}]"] = [item.mask.area * self._pixel.area for item, _ in rows]
        for name, values in self._values.items():
            more[name] = [values.get(item.view.annotation or 0, float("nan")) for item, _ in rows]
        self.layer.features = features | more


def _union(boxes: Sequence[Box]) -> Box:
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return left, top, right - left, bottom - top
