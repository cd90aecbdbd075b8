"""The mouse on the canvas: clicks and boxes of our tools, beside those of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from napari_maskwright._canvas import Canvas

if TYPE_CHECKING:
    import napari

__all__ = ["Pointer", "PointerTarget", "Tool"]

_CLICK_TOLERANCE = 5
"""Pixels of the screen that the mouse may move during a click."""
_POINT_RADIUS = 8
"""Pixels of the screen within which a click hits a point."""


class Tool(Enum):
    """What a click does."""

    OFF = 0
    """Select an accepted mask."""
    POINT = 1
    BOX = 2


class PointerTarget(Protocol):
    """What receives clicks, in pixels of the image."""

    def add_point(self, x: float, y: float, *, opposite: bool, radius: float) -> None:
        """Add a point of the current sign or its opposite, or remove the one within a radius."""

    def add_box(self, box: tuple[float, float, float, float]) -> None:
        """Draw a box: left, top, right, bottom."""

    def correct_at(self, x: float, y: float) -> None:
        """Let clicks correct the accepted mask at a pixel."""

    def select_at(self, x: float, y: float) -> None:
        """Select the accepted mask at a pixel."""

    def show_refusal(self, message: str) -> None:
        """Say why a click did nothing."""


class Pointer:
    """Passes clicks on; never together with a tool of the user, and without changing how napari pans."""

    def __init__(self, viewer: napari.Viewer, canvas: Canvas, tool: Callable[[], Tool], target: PointerTarget) -> None:
        self._viewer, self._canvas, self._tool, self._target = viewer, canvas, tool, target

    def attach(self) -> None:
        """Listen to the viewer."""
        if self._pressed not in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.append(self._pressed)

    def detach(self) -> None:
        """Listen no more."""
        if self._pressed in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._pressed)

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """Handle a press until its release; a drag moves the view unless the box tool is on."""
        tool = self._tool()
        if event.button != 1:
            return
        if self._canvas.image_layer not in viewer.layers:
            if tool is not Tool.OFF:
                self._target.show_refusal("The image was removed from this window. Select an image layer, or press N.")
            return
        if (mode := self._mode_of_the_user()) is not None:
            if tool is not Tool.OFF:
                self._target.show_refusal(f"That was a stroke of {mode}. Choose its pan/zoom mode to click here.")
            return
        first, start = self._canvas.to_pixels(event), event.pos
        if isinstance(first, str):
            if tool is not Tool.OFF:
                self._target.show_refusal(first)
            return
        # a handled event does not reach napari's camera
        event.handled = event.handled or tool is Tool.BOX
        yield
        while event.type == "mouse_move":
            event.handled = event.handled or tool is Tool.BOX
            if tool is Tool.BOX:
                self._canvas.show_box(self._box(first, event))
            yield
        moved = max(abs(now - then) for now, then in zip(event.pos, start, strict=True)) > _CLICK_TOLERANCE
        if tool is Tool.BOX:
            self._end_box(self._box(first, event) if moved else None)
        elif not moved:
            self._click(tool, first, set(event.modifiers))

    def _end_box(self, box: tuple[float, float, float, float] | None) -> None:
        if box is None:
            self._canvas.show_box(None)
        else:
            self._target.add_box(box)

    def _click(self, tool: Tool, at: tuple[float, float], modifiers: set[str]) -> None:
        if tool is Tool.OFF:
            self._target.select_at(*at)
        elif "Control" in modifiers:
            self._target.correct_at(*at)
        else:
            radius = _POINT_RADIUS * self._canvas.pixel_of_screen
            self._target.add_point(*at, opposite="Alt" in modifiers, radius=radius)

    def _box(self, first: tuple[float, float], event: Any) -> tuple[float, float, float, float] | None:
        """Corners in order of the box from the first pixel to the event's."""
        last = self._canvas.to_pixels(event)
        if isinstance(last, str):
            return None
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(first, last, strict=True))
        return x0, y0, x1, y1

    def _mode_of_the_user(self) -> str | None:
        """The tool of the active layer, in words, to which clicks belong; None while it only pans."""
        active = self._viewer.layers.selection.active
        mode = str(getattr(active, "mode", "pan_zoom"))
        return None if mode == "pan_zoom" else f'the {mode} tool of layer "{active.name}"'
