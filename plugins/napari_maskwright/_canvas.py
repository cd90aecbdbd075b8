"""The layers of one image in a viewer, and conversion of mouse positions to its pixels.

Layers are made when there is something to draw, and then updated in place: the user's selection, camera, modes,
opacities and names of other layers stay as they are.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points, Shapes
from qtpy.QtCore import QTimer

from maskwright.domain import Image as Pixels
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import MaskView
from napari_maskwright._layers import Style, transform_of
from napari_maskwright._overlay import Overlay, Place, place_layer

if TYPE_CHECKING:
    import napari

__all__ = ["NO_PLACE_IN_3D", "Canvas"]

NO_PLACE_IN_3D = "Turn the 3-D view off (Ctrl+Y): a click there has no place in the plane."
_SIDE_VIEW = "Show the planes along the layer's last two axes: prompts act on those."
_MARKER = 12.0
"""Diameter of a point's marker in pixels of the screen."""
_POSITIVE, _NEGATIVE = "#009e73", "#d55e00"
_MARK = "maskwright"
"""Key in the metadata of layers of docks."""
_CLEANING = "left unlabelled by cleaning"
_ORDER = ("image", "accepted", "selected", _CLEANING, "proposals", "clicks", "box")
"""Kinds of layers from the lowest to the topmost."""
_NEXT = {"clicks": "proposals", "proposals": "accepted", "accepted": "selected"}
"""What is likely to be drawn after what was drawn."""
_LIBRARIES = "pandas", "scipy.linalg", "skimage.color", "skimage.exposure"
_PREPARE_MS = 30
"""Milliseconds after which the next layer is made: a tenth of a second in napari, in which the window stands still."""


class Canvas:
    """Draws an image, its masks and clicks; deleting a layer deletes no mask."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._overlays = {
            kind: Overlay(kind, style, opacity, partial(self._add, kind=kind))
            for kind, style, opacity in (
                ("accepted", Style.FILLED, 0.5),
                ("proposals", Style.PROPOSED, 1.0),
                ("selected", Style.FILLED, 0.7),
                (_CLEANING, Style.HATCHED, 0.6),
            )
        }
        self._own: dict[str, Any] = {}
        self._hidden = False
        self._expected: list[str] = []
        self._idle = QTimer()
        self._idle.setSingleShot(True)
        self._idle.setInterval(_PREPARE_MS)
        self._idle.timeout.connect(self._prepare)
        self.image_layer: Any = None
        """The layer of the image in view; the others lie over it."""
        self.index: tuple[int, ...] = ()
        """The plane in view along the layer's leading axes."""
        self._place = Place((1, 1), {}, "")
        self._box: tuple[float, float, float, float] | None = None
        threading.Thread(target=_load_libraries, name="maskwright-libraries", daemon=True).start()
        viewer.scene.camera.events.zoom.connect(self._zoomed)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def layers(self) -> dict[str, Any]:
        """The layers created here that are in the viewer, by kind."""
        labels = {kind: overlay.layer for kind, overlay in self._overlays.items() if overlay.layer is not None}
        return self._own | labels

    @property
    def accepted(self) -> Overlay:
        """The accepted masks, in which the user may paint."""
        return self._overlays["accepted"]

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) of the image in view."""
        return self._place.size_hw

    def owns(self, layer: Any) -> bool:
        """Whether a layer was created by a dock, this one or another."""
        return _MARK in layer.metadata

    def show_image(self, image: Pixels) -> None:
        """Show an image of the project in a layer of its own, without masks."""
        layer = self._own.get("image")
        if layer is None:
            # ours before it is in the viewer, whose events ask whose it is
            layer = self._own["image"] = Image(image.pixels, name=image.name, rgb=True, metadata={_MARK: True})
            self._insert(layer, "image")
            self._viewer.reset_view()
        else:
            fits = layer.data.shape == image.pixels.shape
            layer.data, layer.name = image.pixels, image.name
            if self._hidden:
                layer.visible, self._hidden = True, False
            if not fits:
                # the camera looks where the other image was
                self._viewer.reset_view()
        self.show_plane(layer, (), image.size_hw)

    def show_plane(self, layer: Any, index: tuple[int, ...], size_hw: tuple[int, int]) -> None:
        """Lie over a plane of a layer, without masks.

        Args:
            layer: an image layer.
            index: of the plane along its leading axes.
            size_hw: (height, width) of the plane.
        """
        self._watch(layer)
        self.image_layer, self.index = layer, index
        if layer is not self._own.get("image"):
            self._take_away("image")
        self._place = Place(size_hw, transform_of(layer, index), layer.name)
        self.clear()

    def clear(self) -> None:
        """Draw nothing over the image."""
        self.show_masks((), (), ())
        self.show_selected(())
        self.show_clicks(None)

    def show_masks(
        self, accepted: Sequence[MaskView], proposals: Sequence[MaskView], previews: Sequence[MaskView]
    ) -> None:
        """Draw accepted masks filled, proposals with a dashed edge, and the cleaning preview hatched."""
        for kind, views in (("accepted", accepted), ("proposals", proposals), (_CLEANING, previews)):
            self._overlays[kind].show(views, self._place)
            if views:
                self._expect_after(kind)

    def show_selected(self, masks: Sequence[MaskView]) -> None:
        """Fill the selected masks."""
        self._overlays["selected"].show(masks, self._place)

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Draw positive points as discs, negative points as crosses, and the box."""
        step = prompt.last if prompt is not None else None
        points = step.points if step is not None else ()
        self.show_box(step.box if step is not None else None)
        layer = self._own.get("clicks")
        if not points and (layer is None or not len(layer.data)):
            if layer is not None:
                place_layer(layer, self._place, "clicks")
            return
        if layer is None:
            layer = Points(
                np.zeros((0, 2)),
                name=f"{self._place.name} clicks",
                border_color="white",
                canvas_size_limits=(_MARKER, _MARKER),
                **self._place.transform,
            )
            layer.editable = False
            self._own["clicks"] = self._add(layer, "clicks")
        layer.data = np.array([(y - 0.5, x - 0.5) for x, y, _ in points]).reshape(-1, 2)
        if points:
            layer.symbol = ["disc" if sign else "cross" for *_, sign in points]
            layer.face_color = [_POSITIVE if sign else _NEGATIVE for *_, sign in points]
            self._expect_after("clicks")
        # nothing of ours is selected, as points of the user would be
        layer.selected_data = set()
        place_layer(layer, self._place, "clicks")

    def show_box(self, box: tuple[float, float, float, float] | None) -> None:
        """Draw a box (left, top, right, bottom in pixels), or none."""
        self._box = box
        layer = self._own.get("box")
        if layer is None and box is None:
            return
        if layer is None:
            layer = Shapes(
                ndim=2,
                name=f"{self._place.name} box",
                face_color="transparent",
                edge_color="white",
                **self._place.transform,
            )
            layer.editable = False
            self._own["box"] = self._add(layer, "box")
        if box is None:
            layer.data = []
        else:
            x0, y0, x1, y1 = (value - 0.5 for value in box)
            corners = np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)])
            layer.data = []
            layer.add_rectangles(
                corners, edge_width=2 * self.pixel_of_screen, edge_color="white", face_color="transparent"
            )
        place_layer(layer, self._place, "box")

    def toggle_proposals(self) -> None:
        """Hide or show the proposals and the cleaning preview."""
        layers = [self.layers[kind] for kind in ("proposals", _CLEANING) if kind in self.layers]
        visible = any(layer.visible for layer in layers)
        for layer in layers:
            layer.visible = not visible

    # positions

    def to_pixels(self, event: Any) -> tuple[float, float] | str:
        """(x, y) in pixels of the image, with the origin at its corner, of a mouse event, or why there is no place."""
        layer, dims = self.image_layer, self._viewer.dims
        displayed = [int(axis) for axis in dims.displayed]
        if displayed[-2:] != [dims.ndim - 2, dims.ndim - 1] and layer.ndim > 2:
            return _SIDE_VIEW
        position = np.asarray(event.position, float)
        if dims.ndisplay == 3:
            # napari knows no direction while all layers are flat
            if layer.ndim > 2 or event.view_direction is None or len(displayed) < 3:
                return NO_PLACE_IN_3D
            direction = np.asarray(event.view_direction, float)
            if abs(direction[displayed[0]]) < 1e-3:
                return NO_PLACE_IN_3D
            # the layer's plane lies at 0 of the third axis
            position = position - position[displayed[0]] / direction[displayed[0]] * direction
        row, column = layer.world_to_data(position)[-2:]
        return float(column) + 0.5, float(row) + 0.5

    @property
    def pixel_of_screen(self) -> float:
        """Size of a pixel of the screen in pixels of the image."""
        scale = abs(float(self.image_layer.scale[-1])) or 1.0
        return 1 / (float(self._viewer.scene.camera.zoom) * scale)

    def masks_at(self, masks: Sequence[MaskView], x: float, y: float) -> list[MaskView]:
        """Those of the masks that cover a pixel, the topmost (smallest) first."""
        column, row = int(x // 1), int(y // 1)
        hits = []
        for view in sorted(masks, key=lambda view: view.mask.area):
            left, top, width, height = view.mask.bbox
            inside = left <= column < left + width and top <= row < top + height
            if inside and view.mask.part((column, row, 1, 1)).any():
                hits.append(view)
        return hits

    # layers

    def close(self) -> None:
        """Take everything out of the viewer, as soon as the dock has left its window.

        Until then napari's canvas would draw what is half removed, and end the process.
        """
        self._viewer.scene.camera.events.zoom.disconnect(self._zoomed)
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._leave()

        def reset() -> None:
            # the window may be closed by then
            with suppress(RuntimeError):
                self.reset()

        QTimer.singleShot(0, reset)

    def blank(self) -> None:
        """Show no image, in layers that stay for the next one: for each that is removed napari collects garbage."""
        self.clear()
        self._leave()
        layer = self._own.get("image")
        if layer is not None and layer.visible:
            layer.visible, self._hidden = False, True

    def reset(self) -> None:
        """Show no image: remove all layers created here."""
        *others, last = [*self.layers] or [""]
        # with each removed layer napari collects all garbage of the process: once is enough
        gc.freeze()
        try:
            for kind in others:
                self._take_away(kind)
        finally:
            gc.unfreeze()
        self._take_away(last)
        self._leave()

    def _leave(self) -> None:
        self._watch(None)
        self.image_layer = None
        self._expected = []
        self._idle.stop()

    def _expect_after(self, kind: str) -> None:
        """Make the layer that is likely to come next while the user looks at this one."""
        follower = _NEXT.get(kind)
        if follower is not None and follower not in self.layers and follower not in self._expected:
            self._expected.append(follower)
            self._idle.start()

    def _prepare(self) -> None:
        if self.image_layer not in self._viewer.layers:
            # the user removed it, or the viewer is closed
            self._expected = []
            return
        kind = self._expected.pop(0)
        self._overlays[kind].prepare(self._place)
        self._expect_after(kind)
        if self._expected:
            self._idle.start()

    def _add(self, layer: Any, kind: str) -> Any:
        """Add a layer in the place of one of the same name if there is one, without selecting it."""
        layer.metadata = {_MARK: True}
        for name in [name for name, mine in self.layers.items() if mine.name == layer.name]:
            self._take_away(name)
        return self._insert(layer, kind)

    def _insert(self, layer: Any, kind: str) -> Any:
        """Add a layer under those of ours that must stay visible over it, else on top.

        Nobody hears that it was selected for a moment, which would take napari as long as adding it.
        """
        layers = self._viewer.layers
        over = _ORDER[_ORDER.index(kind) + 1 :]
        above = [layers.index(mine) for name, mine in self.layers.items() if name in over and mine in layers]
        before, active = set(layers.selection), layers.selection.active
        with layers.selection.events.blocker_all():
            layers.insert(min(above, default=len(layers)), layer)
            layers.selection = before
            layers.selection.active = active
        return layer

    def _take_away(self, kind: str) -> None:
        layer = self.layers.get(kind)
        if layer is not None and layer in self._viewer.layers:
            with self._selection_kept():
                self._viewer.layers.remove(layer)
        self._forget(kind)

    def _forget(self, kind: str) -> None:
        self._own.pop(kind, None)
        if kind == "image":
            self._hidden = False
        if kind in self._overlays:
            self._overlays[kind].forget()

    def _removed(self, event: Any) -> None:
        """A layer was removed, by the user or here."""
        for kind, layer in list(self.layers.items()):
            if layer is event.value:
                self._forget(kind)

    @contextmanager
    def _selection_kept(self) -> Iterator[None]:
        layers = self._viewer.layers
        before, active = set(layers.selection), layers.selection.active
        yield
        left = {layer for layer in before if layer in layers}
        if set(layers.selection) != left:
            layers.selection = left
        if active in layers and layers.selection.active is not active:
            layers.selection.active = active

    # events of the viewer

    def _watch(self, layer: Any) -> None:
        """Follow the place of this layer in the world, and of no other one."""
        for old, connect in ((self.image_layer, False), (layer, True)):
            if old is None:
                continue
            for name in ("scale", "translate", "rotate", "shear", "affine", "units", "name"):
                emitter = getattr(old.events, name)
                if connect:
                    emitter.connect(self._moved)
                else:
                    emitter.disconnect(self._moved)

    def _moved(self, _: Any = None) -> None:
        layer = self.image_layer
        self._place = Place(self.size_hw, transform_of(layer, self.index), layer.name)
        for kind, mine in self.layers.items():
            if kind != "image":
                place_layer(mine, self._place, kind)

    def _zoomed(self, _: Any = None) -> None:
        layer = self._own.get("box")
        if layer is not None and self._box is not None and self.image_layer is not None:
            layer.edge_width = [2 * self.pixel_of_screen] * len(layer.data)


def _load_libraries() -> None:
    """Load beside the window's thread what napari loads with the first layer of a kind, for half a second."""
    for name in _LIBRARIES:
        import_module(name)
