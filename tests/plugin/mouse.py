"""Presses and drags of a real mouse on napari's canvas, through Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["drawn", "press", "screen_position", "show"]


def drawn(widget: Any, kind: str) -> Any:
    """Labels of a layer of the dock; empty while there is none."""
    layer = widget._layers.get(kind)
    return np.zeros(widget._canvas.size_hw, np.uint8) if layer is None else np.asarray(layer.data)


def screen_position(viewer: Any, world: Sequence[float]) -> tuple[float, float]:
    """(x, y) on the canvas of a point (y, x) of the world in a view of two dimensions."""
    canvas, camera = viewer.window._qt_viewer.canvas.native, viewer.scene.camera
    row, column = (np.asarray(world, float) - np.asarray(camera.center)[-2:]) * camera.zoom
    return column + canvas.width() / 2, row + canvas.height() / 2


def press(viewer: Any, places: Sequence[tuple[float, float]], modifiers: tuple[str, ...] = ()) -> None:
    """Press at the first (x, y) in pixels of an image whose corner is at -0.5, move through the others, release."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    names = {"Alt": Qt.AltModifier, "Control": Qt.ControlModifier, "Shift": Qt.ShiftModifier}
    keys = Qt.NoModifier
    for name in modifiers:
        keys |= names[name]
    # the mouse comes from somewhere: a canvas that was never painted learns its size with its first event
    first = QPointF(*screen_position(viewer, (places[0][1] - 0.5, places[0][0] - 0.5)))
    QApplication.sendEvent(canvas, QMouseEvent(QEvent.MouseMove, first, first, Qt.NoButton, Qt.NoButton, keys))
    QTest.qWait(20)
    # all positions first: a drag may move the view
    points = [QPointF(*screen_position(viewer, (y - 0.5, x - 0.5))) for x, y in places]
    steps = [(QEvent.MouseButtonPress, points[0])]
    steps += [(QEvent.MouseMove, point) for point in points[1:]]
    steps += [(QEvent.MouseButtonRelease, points[-1])]
    for kind, point in steps:
        button = Qt.NoButton if kind == QEvent.MouseMove else Qt.LeftButton
        held = Qt.NoButton if kind == QEvent.MouseButtonRelease else Qt.LeftButton
        QApplication.sendEvent(canvas, QMouseEvent(kind, point, point, button, held, keys))
        if kind == QEvent.MouseMove:
            # napari passes on one move in some milliseconds
            QTest.qWait(20)


def show(viewer: Any) -> None:
    """Show the window: napari pans and paints only in a canvas that was painted once."""
    from qtpy.QtTest import QTest

    viewer.window.resize(1280, 800)
    viewer.window.show()
    canvas, before = viewer.window._qt_viewer.canvas.native, None
    # docks take their size after the window does
    while before != canvas.size():
        before = canvas.size()
        QTest.qWait(150)
    viewer.reset_view()
