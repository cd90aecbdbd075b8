"""Beside the dock, napari's own tools and the user's settings are as without it; closing the dock ends all of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Image, Mask
from maskwright.project import Project
from maskwright.session import MaskView
from tests.plugin.mouse import drawn, press, show

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]

STROKES = [[(5, y), (25, y), (45, y)] for y in (8, 20, 32)]


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("maskwright")]


def _strokes(viewer: Any) -> tuple[list[int], Any]:
    """Pixels painted by each of three strokes in a layer of the user's, and where the camera looks afterwards."""
    from qtpy.QtWidgets import QApplication

    mine = viewer.add_labels(np.zeros((40, 60), int), name="mine")
    mine.mode, mine.brush_size = "paint", 3
    QApplication.processEvents()
    counts = []
    for number, stroke in enumerate(STROKES, start=1):
        mine.selected_label = number
        press(viewer, stroke)
        counts.append(int((mine.data == number).sum()))
    boxes = viewer.add_shapes(name="boxes")
    boxes.mode = "add_rectangle"
    QApplication.processEvents()
    press(viewer, [(5, 5), (15, 15), (25, 25)])
    press(viewer, [(30, 5), (35, 15), (40, 25)])
    points = viewer.add_points(name="points", ndim=2)
    points.mode = "add"
    QApplication.processEvents()
    press(viewer, [(20, 20), (20, 20)])
    center = tuple(viewer.scene.camera.center)
    counts += [len(boxes.data), len(points.data)]
    QApplication.processEvents()
    for layer in (mine, boxes, points):
        viewer.layers.remove(layer)
    return counts, center


def test_strokes_are_those_without_the_dock_with_any_tool_and_after_closing(
    viewer: Any, place: Path, small_preset: Path, qtbot: Any
) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    show(viewer)

    with Project.open(place) as project:
        pixels = project.images.open(1).pixels
    layer = viewer.add_image(pixels, name="photo")
    viewer.reset_view()
    zoom = viewer.scene.camera.zoom
    expected = _strokes(viewer)
    assert expected[0][0] > 100
    assert expected[0][0] == expected[0][1] == expected[0][2]
    assert expected[0][3:] == [2, 1]
    widget = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: widget.controller is not None, timeout=30_000)
    viewer.reset_view()
    viewer.scene.camera.zoom = zoom
    center = tuple(viewer.scene.camera.center)
    for tool in range(3):
        widget._tool.press(tool)
        viewer.layers.selection.active = layer
        found = _strokes(viewer)
        # another width of the canvas rounds the same places a little differently
        assert found[0][0] == found[0][1] == found[0][2] == pytest.approx(expected[0][0], rel=0.1), f"tool {tool}"
        assert found[0][3:] == expected[0][3:]
        assert np.allclose(found[1], center), "the view stays"
        assert widget.controller.prompt is None, "the stroke belongs to the user's tool"
    assert "clicks" not in widget._layers
    assert "paint" in widget._status.text() or "add" in widget._status.text(), "and the dock says so"
    viewer.window.remove_dock_widget(widget)
    viewer.reset_view()
    viewer.scene.camera.zoom = zoom
    found = _strokes(viewer)
    assert found[0][0] == found[0][1] == found[0][2] == pytest.approx(expected[0][0], rel=0.1)


def test_a_box_does_not_move_the_view_and_a_drag_with_another_tool_does(widget: Any, viewer: Any, qtbot: Any) -> None:
    show(viewer)
    widget._tool.press(2)
    before = tuple(viewer.scene.camera.center)
    press(viewer, [(5, 5), (20, 20), (40, 30)])
    assert np.allclose(viewer.scene.camera.center, before)
    assert viewer.scene.camera.mouse_pan
    qtbot.waitUntil(lambda: any(view.proposal for view in widget._masks), timeout=60_000)
    widget.run_action("clear")
    widget._tool.press(1)
    press(viewer, [(5, 5), (10, 10), (20, 20)])
    assert not np.allclose(viewer.scene.camera.center, before)


def test_closing_the_dock_leaves_nothing(viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    viewer.add_image(np.zeros((40, 60), np.uint8), name="mine")
    own = []
    viewer.bind_key("G", own.append)
    before = set(viewer.keymap), list(viewer.mouse_drag_callbacks), list(viewer.layers)
    callbacks = len(viewer.dims.events.current_step.callbacks), len(viewer.layers.events.removed.callbacks)
    widget = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: widget.controller is not None, timeout=30_000)
    assert "G" in widget._status.text() or len(own) == 0
    assert viewer.keymap[next(key for key in before[0])] == own.append, "the user's key stays the user's"
    assert len(viewer.keymap) > 10
    project = widget.controller.session.project
    region = np.zeros((40, 60), bool)
    region[5:20, 5:20] = True
    project.accept(Image(np.zeros((40, 60, 3), np.uint8), "mine"), region, "cow")
    widget._show_plane(widget._following.plane())
    qtbot.waitUntil(lambda: drawn(widget, "accepted").any(), timeout=20_000)
    assert len(viewer.layers) > len(before[2])
    # in a window that is painted, napari ended the process when layers went while the dock left it
    show(viewer)
    viewer.window.remove_dock_widget(widget)
    qtbot.wait(100)
    assert (set(viewer.keymap), list(viewer.mouse_drag_callbacks), list(viewer.layers)) == before
    assert callbacks == (
        len(viewer.dims.events.current_step.callbacks), len(viewer.layers.events.removed.callbacks)
    )  # fmt: skip
    qtbot.waitUntil(lambda: not _threads(), timeout=30_000)
    # a click and a key find nobody
    press(viewer, [(10, 10), (10, 10)])
    assert list(viewer.layers) == before[2]


def test_selection_camera_modes_and_styles_stay_through_prompts_and_decisions(
    widget: Any, viewer: Any, qtbot: Any
) -> None:
    mine = viewer.add_labels(np.zeros((40, 60), int), name="mine")
    mine.mode = "paint"
    viewer.scene.camera.zoom, viewer.scene.camera.center = 7.5, (0, 12, 33)
    project = widget.controller.session.project
    for number in range(3):
        region = np.zeros((40, 60), bool)
        region[5 + number :, : 10 + number] = True
        project.accept(widget.controller.image_id, region, f"class {number}")
        qtbot.waitUntil(lambda n=number: len(widget._masks) == n + 1, timeout=10_000)
        if not number:
            layer = widget._layers["accepted"]
            layer.opacity, layer.contour, layer.blending = 0.31, 1, "additive"
    widget._accepted.select([view.annotation for view in widget._masks])
    assert widget._layers["accepted"] is layer, "updated in place"
    assert (layer.opacity, layer.contour, layer.blending) == (pytest.approx(0.31), 1, "additive")
    assert viewer.layers.selection.active is mine
    assert set(viewer.layers.selection) == {mine}
    assert mine.mode == "paint"
    assert viewer.scene.camera.zoom == 7.5
    assert np.allclose(viewer.scene.camera.center[-2:], (12, 33))
    own = widget._layers["image"]
    own.gamma, own.opacity = 0.5, 0.8
    first = widget.controller.image_id
    widget.run_action("next")
    qtbot.waitUntil(lambda: widget.controller.image_id != first, timeout=20_000)
    assert widget._layers["image"] is own
    assert (own.gamma, own.opacity) == (0.5, pytest.approx(0.8))
    assert (layer.opacity, layer.contour) == (pytest.approx(0.31), 1)
    assert viewer.scene.camera.zoom == 7.5, "both images have one size"
    assert not drawn(widget, "accepted").any()
    viewer.layers.remove(mine)


def test_only_what_changed_is_drawn_again(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_maskwright._layers import Drawing

    regions: list[tuple[int, ...]] = []
    real = Drawing.render

    def spy(self: Drawing, region: Any, factor: int = 1) -> Any:
        regions.append(tuple(region))
        return real(self, region, factor)

    monkeypatch.setattr(Drawing, "render", spy)

    def mask(left: int, number: int) -> MaskView:
        inside = np.zeros((40, 60), bool)
        inside[10:20, left : left + 8] = True
        return MaskView(Mask.from_array(inside, category="cow"), "#0072b2", annotation=number)

    first, second = mask(5, 1), mask(30, 2)
    canvas = widget._canvas
    canvas.show_masks([first], (), ())
    canvas.show_masks([first, second], (), ())
    assert regions[-1] == (30, 10, 8, 10)
    count = len(regions)
    canvas.show_masks([first, second], (), ())
    assert len(regions) == count, "nothing changed"
    assert np.array_equal(drawn(widget, "accepted") > 0, first.mask.to_array() | second.mask.to_array())
    canvas.show_masks([second], (), ())
    assert np.array_equal(drawn(widget, "accepted") > 0, second.mask.to_array())


def test_letters_in_a_list_are_keys_of_the_dock(widget: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    from tests.plugin.test_widget import _find

    _find(widget, qtbot)
    widget._proposals.table.select([widget._proposals.table.rows()[0].key])
    chosen = widget._proposals.table.rows()[0].key
    widget._proposals.table.setFocus()
    actions = []
    widget.run_action, real = actions.append, widget.run_action
    for key, modifier in ((Qt.Key_G, Qt.NoModifier), (Qt.Key_U, Qt.ShiftModifier), (Qt.Key_S, Qt.NoModifier)):
        qtbot.keyClick(widget._proposals.table, key, modifier)
    assert actions == ["accept", "undo"]
    assert widget._proposals.selected == [chosen]
    widget._classes.clear()
    qtbot.keyClicks(widget._classes, "grug")
    assert widget._classes.text() == "grug", "a field takes letters for itself"
    assert actions == ["accept", "undo"]
    widget.run_action = real


def test_in_a_tilted_view_a_click_hits_what_is_under_it(widget: Any, viewer: Any, qtbot: Any) -> None:
    from napari_maskwright._canvas import NO_PLACE_IN_3D

    project = widget.controller.session.project
    region = np.zeros((40, 60), bool)
    region[3:37, 5:55] = True
    accepted = project.accept(widget.controller.image_id, region, "cow").id
    qtbot.waitUntil(lambda: bool(widget._masks), timeout=10_000)
    show(viewer)
    viewer.dims.ndisplay = 3
    refusal = widget._canvas.to_pixels(_event(viewer, 100, 100))
    assert refusal == NO_PLACE_IN_3D, "while all layers are flat, napari does not say where the mouse points"
    viewer.add_points(np.array([(0, 0, 0), (4, 39, 59)]), name="three axes")
    viewer.reset_view()
    viewer.scene.camera.angles = (0, 35, 60)
    canvas = viewer.window._qt_viewer.canvas
    inside = outside = 0
    middle = canvas.native.width() // 2, canvas.native.height() // 2
    for x in range(middle[0] - 90, middle[0] + 91, 30):
        for y in range(middle[1] - 60, middle[1] + 61, 30):
            event = _event(viewer, x, y)
            place = widget._canvas.to_pixels(event)
            if isinstance(place, str):
                continue
            # the place lies on the line that the mouse points along
            world = widget._canvas.image_layer.data_to_world((place[1] - 0.5, place[0] - 0.5))
            direction = np.asarray(event.view_direction)
            offset = np.asarray((0, *world)) - np.asarray(event.position)
            assert np.allclose(np.cross(offset, direction), 0, atol=1e-3)
            hit = 5 <= place[0] < 55 and 3 <= place[1] < 37
            inside, outside = inside + hit, outside + (not hit)
            widget.select_at(*place)
            assert widget._accepted.ids == ([accepted] if hit else [])
    assert inside
    assert outside


def _event(viewer: Any, x: int, y: int) -> Any:
    """What napari passes on for a mouse at a pixel of the canvas."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    seen: list[Any] = []

    def look(_: Any, event: Any) -> None:
        seen.append(type("Seen", (), {"position": event.position, "view_direction": event.view_direction})())

    viewer.mouse_move_callbacks.append(look)
    native = viewer.window._qt_viewer.canvas.native
    QApplication.sendEvent(
        native, QMouseEvent(QEvent.MouseMove, *[QPointF(x, y)] * 2, Qt.NoButton, Qt.NoButton, Qt.NoModifier)
    )
    # napari passes on one move in some milliseconds
    for _ in range(100):
        QTest.qWait(20)
        if seen:
            break
    viewer.mouse_move_callbacks.remove(look)
    return seen[-1]


def test_masks_follow_a_layer_that_is_moved(widget: Any, viewer: Any, qtbot: Any, rng: np.random.Generator) -> None:
    layer = viewer.add_image(rng.integers(0, 255, (30, 50), dtype=np.uint8), name="mine")
    qtbot.waitUntil(lambda: widget._canvas.image_layer is layer, timeout=5_000)
    widget._canvas.show_masks([MaskView(Mask.from_array(np.eye(30, 50, dtype=bool)), "#0072b2", annotation=1)], (), ())
    layer.scale, layer.translate, layer.rotate = (0.2, 0.4), (3, 5), 20
    for point in ((0, 0), (29, 49)):
        assert np.allclose(widget._layers["accepted"].data_to_world(point), layer.data_to_world(point))


def test_a_project_is_opened_beside_the_window_and_only_where_there_is_one(
    widget: Any, place: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_maskwright import _opening, _widget

    errors: list[str] = []
    monkeypatch.setattr(_widget, "show_error", errors.append)
    monkeypatch.chdir(tmp_path)
    before = widget.controller
    widget.open_project("  ")
    qtbot.waitUntil(lambda: bool(errors), timeout=5_000)
    assert not (tmp_path / "project.db").exists()
    assert widget.controller is before, "the open project stays open"
    mistyped = tmp_path / "mistypd"
    widget._project.location.setText(str(mistyped))
    widget.run_action("open")
    qtbot.waitUntil(lambda: widget._create.isVisibleTo(widget), timeout=5_000)
    assert not mistyped.exists()
    assert widget.controller is before
    release = threading.Event()
    real = _opening.AnnotationSession.open

    def slow(*args: Any, **options: Any) -> Any:
        assert release.wait(30)
        return real(*args, **options)

    monkeypatch.setattr(_opening.AnnotationSession, "open", slow)
    began = time.monotonic()
    widget._create.button.click()
    assert time.monotonic() - began < 0.5, "the window's thread does not wait"
    release.set()
    qtbot.waitUntil(lambda: widget.controller is not before, timeout=20_000)
    assert (mistyped / "project.db").exists()
    image = widget._layers.get("image")
    assert image is None or not image.visible, "nothing of the former project is on the screen"
    qtbot.waitUntil(lambda: not widget._layers, timeout=20_000)
    assert widget._masks == []
    assert not widget._create.isVisibleTo(widget)
    pictures = tmp_path / "folder of images"
    pictures.mkdir()
    (tmp_path / "a.png").rename(pictures / "a.png")
    widget._project.location.setText(str(pictures))
    widget.run_action("open")
    qtbot.waitUntil(lambda: "1 image" in widget._create.label.text(), timeout=5_000)
    assert not (pictures / "project.db").exists()
    widget._create.button.click()
    qtbot.waitUntil(lambda: widget._project.images.count() == 1, timeout=20_000)
