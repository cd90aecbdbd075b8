"""Which layer and plane of the viewer is in view for the dock: it follows the user's selection and sliders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox

from maskwright.domain import PlaneRecord
from napari_maskwright._canvas import Canvas
from napari_maskwright._planes import Plane, axis_names, channel_axes, companions, plane_in_view

if TYPE_CHECKING:
    import napari

__all__ = ["Following"]

_SETTLED_MS = 80
"""Milliseconds without another move after which a plane is read: a slider that is dragged passes many."""
_PROJECT = "Images of the project"
_LAYERS = "layers"
"""Choice of channels: all visible layers that lie over each other."""


class Following:
    """Keeps the lists of layers and channels, and reports the plane in view."""

    def __init__(
        self,
        viewer: napari.Viewer,
        canvas: Canvas,
        targets: QComboBox,
        channels: QComboBox,
        show: Callable[[Plane | None], None],
    ) -> None:
        """Take the viewer, its canvas, the two lists, and a function that shows a plane, or None for the project."""
        self._viewer, self._canvas, self._targets, self._channels = viewer, canvas, targets, channels
        self._show = show
        self.layer: Any = None
        """The image layer in view; None while images of the project are."""
        self.display_contrast = False
        """Whether planes are read through the layer's contrast limits."""
        self._key: tuple[Any, ...] | None = None
        self._index: tuple[int, ...] = ()
        self._axis = 0
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLED_MS)
        self._timer.timeout.connect(self._follow)
        self._events = [
            (viewer.layers.events.inserted, self._listed),
            (viewer.layers.events.removed, self._removed),
            (viewer.layers.selection.events.active, self._selected),
            (viewer.dims.events.current_step, self._moved),
            (viewer.dims.events.ndim, self._moved),
        ]

    def attach(self) -> None:
        """Listen to the viewer; begins with the selected image layer, else the topmost."""
        for emitter, callback in self._events:
            emitter.connect(callback)
        layers = self._image_layers()
        active = self._viewer.layers.selection.active
        self._fill()
        if layers:
            self.follow(active if any(active is layer for layer in layers) else layers[-1])

    def detach(self) -> None:
        """Listen no more."""
        self._timer.stop()
        for emitter, callback in self._events:
            emitter.disconnect(callback)

    def follow(self, layer: Any) -> None:
        """Show a layer's plane in view; None shows images of the project."""
        self.layer, self._key = layer, None
        self._fill()
        if layer is None:
            self._timer.stop()
            self._show(None)
        else:
            self._moved()

    def release(self) -> None:
        """An image of the project is shown in a layer of its own: no layer of the user is followed."""
        self.layer, self._key = None, None
        self._timer.stop()
        self._fill()

    def follow_listed(self) -> None:
        """Show what is chosen in the list of layers."""
        self.follow(self._targets.currentData())

    def channels_changed(self) -> None:
        """Show the channels that are chosen in the list."""
        self._moved()

    def set_display_contrast(self, *, on: bool) -> None:
        """Read planes through the layer's contrast limits, or not."""
        self.display_contrast = on
        self._moved()

    def plane(self) -> Plane | None:
        """The plane in view; None while images of the project are."""
        if self.layer is None:
            return None
        choice = self._channels.currentData() if self._channels.count() else None
        channels = companions(self.layer, self._image_layers()) if choice == _LAYERS else ()
        composite = choice if isinstance(choice, int) else None
        return plane_in_view(
            self.layer,
            self._viewer.dims.point,
            composite=composite,
            contrast=self.display_contrast,
            channels=channels,
        )

    def go_to(self, plane: Plane) -> None:
        """Move the sliders to a plane."""
        if self.layer is not plane.layer:
            self.follow(plane.layer)
        point = plane.layer.data_to_world((*plane.index, 0, 0))
        first = self._viewer.dims.ndim - plane.layer.ndim
        for axis in range(len(plane.index)):
            self._viewer.dims.set_point(first + axis, float(point[axis]))

    def planes(self) -> tuple[list[Plane], int]:
        """All planes along the axis that is moved last, others as in view, and the place of the one in view."""
        plane = self.plane()
        if plane is None or not plane.index:
            return [], 0
        axis = self.axis(plane)
        if axis is None:
            return [], 0
        planes = [
            replace(plane, index=(*plane.index[:axis], place, *plane.index[axis + 1 :]))
            for place in range(plane.leading_shape[axis])
        ]
        return planes, plane.index[axis]

    def axis(self, plane: Plane) -> int | None:
        """The axis of a plane's layer that was moved last, else its first; None when the layer is a single plane."""
        axes = [axis for axis, length in enumerate(plane.leading_shape) if axis != plane.composite and length > 1]
        if not axes:
            return None
        return self._axis if self._axis in axes else axes[0]

    def find(self, record: PlaneRecord | None) -> Plane | None:
        """The plane of a layer in the viewer with this name, these axes and this size of a pixel, or None."""
        if record is None or None in record.index:
            return None
        index = tuple(int(place or 0) for place in record.index)
        for layer in self._image_layers():
            plane = Plane(layer, index)
            same = plane.record.stack() == record.stack() and all(map(int.__lt__, index, plane.leading_shape))
            if same and len(index) == layer.ndim - 2:
                return plane
        return None

    def has(self, layer: Any) -> bool:
        """Whether a layer is still in the viewer."""
        return any(layer is other for other in self._image_layers())

    def _image_layers(self) -> list[Any]:
        return [
            layer for layer in self._viewer.layers if isinstance(layer, ImageLayer) and not self._canvas.owns(layer)
        ]

    def _fill(self) -> None:
        """List the layers and the channels of the one in view."""
        box = self._targets
        box.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        box.clear()
        layers = self._image_layers()
        for layer in layers:
            box.addItem(layer.name, layer)
        box.addItem(_PROJECT, None)
        places = [place for place, layer in enumerate(layers) if layer is self.layer]
        box.setCurrentIndex(places[0] if places else len(layers))
        box.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        axes = channel_axes(self.layer) if self.layer is not None else []
        names = axis_names(self.layer) if axes else ()
        items: list[tuple[str, int | str | None]] = [("One channel", None)]
        items += [(f"Composite of {names[axis]}", axis) for axis in axes]
        if self.layer is not None and companions(self.layer, layers):
            items.append(("Composite of the visible layers", _LAYERS))
        if [self._channels.itemText(n) for n in range(self._channels.count())] != [text for text, _ in items]:
            self._channels.clear()
            for text, axis in items:
                self._channels.addItem(text, axis)
        self._channels.setVisible(len(items) > 1)

    # events of the viewer

    def _listed(self, _: Any = None) -> None:
        self._fill()

    def _removed(self, event: Any) -> None:
        if event.value is self.layer:
            layers = self._image_layers()
            self.follow(layers[-1] if layers else None)
        else:
            self._fill()

    def _selected(self, event: Any) -> None:
        layer = event.value
        if layer is not self.layer and any(layer is other for other in self._image_layers()):
            self.follow(layer)

    def _moved(self, _: Any = None) -> None:
        plane = self.plane()
        if plane is None or plane.key == self._key:
            return
        before, self._key, self._index = self._index, plane.key, plane.index
        changed = [axis for axis, pair in enumerate(zip(before, plane.index, strict=False)) if pair[0] != pair[1]]
        self._axis = changed[0] if changed else self._axis
        # the masks of the former plane must not lie over this one
        self._canvas.show_plane(plane.layer, plane.index, plane.size_hw)
        self._timer.start()

    def follow_now(self) -> None:
        """Show the plane in view now, if the slider was just moved: what comes next is meant for it."""
        if self._timer.isActive():
            self._timer.stop()
            self._follow()

    def _follow(self) -> None:
        plane = self.plane()
        if plane is not None:
            self._show(plane)
