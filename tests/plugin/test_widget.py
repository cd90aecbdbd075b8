"""The dock widget in a real napari window."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]


@pytest.fixture
def viewer(display: None, qapp: Any) -> Iterator[Any]:
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()
    qapp.processEvents()


@pytest.fixture
def widget(viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> Any:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: "accepted" in widget._layers, timeout=30_000)
    return widget


def _find(widget: Any, qtbot: Any, words: str = "grass, cow, sky") -> None:
    widget._words.setText(words)
    widget._background.setChecked(False)
    widget.gesture("run")
    qtbot.waitUntil(lambda: widget._list.count() > 0, timeout=60_000)


def test_napari_makes_the_widget_from_the_manifest(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "none yet"))
    _, widget = viewer.window.add_plugin_dock_widget("maskwright", "Maskwright")
    assert widget._viewer is not None
    assert not (tmp_path / "none yet").exists(), "looking at the widget makes no project"
    widget.gesture("run")
    widget.gesture("hide")


def test_words_to_layers_to_accepted(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    _find(widget, qtbot)
    proposals = widget._layers["proposals"]
    shown = {row.proposal: row.mask.to_array() for row in widget._rows if row.proposal}
    union = np.logical_or.reduce(list(shown.values()))
    assert np.array_equal(np.asarray(proposals.data) > 0, union)
    widget._list.setCurrentRow(0)
    chosen = widget._list.item(0).data(0x0100)
    widget.gesture("accept")
    qtbot.waitUntil(lambda: np.asarray(widget._layers["accepted"].data).any(), timeout=20_000)
    assert np.array_equal(np.asarray(widget._layers["accepted"].data) > 0, shown[chosen])
    with Project.open(place) as project:
        (kept,) = project.annotations()
    assert np.array_equal(kept.mask.to_array(), shown[chosen])
    assert "1 accepted mask" in widget._status.text()


def test_layers_that_were_deleted_come_back_and_masks_stay(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    _find(widget, qtbot)
    widget.gesture("accept")
    qtbot.waitUntil(lambda: np.asarray(widget._layers["accepted"].data).any(), timeout=20_000)
    viewer.layers.clear()
    with Project.open(place) as project:
        assert project.annotations()
    _find(widget, qtbot)
    qtbot.waitUntil(lambda: widget._layers["proposals"] in viewer.layers, timeout=20_000)


def test_a_layer_of_the_users_own_keeps_its_place_in_the_world(
    widget: Any, viewer: Any, qtbot: Any, rng: np.random.Generator
) -> None:
    layer = viewer.add_image(rng.random((50, 70)), scale=(0.5, 0.25), rotate=30, name="mine")
    viewer.layers.selection.active = layer
    widget.take_layer()
    qtbot.waitUntil(lambda: widget._anchor is layer and "accepted" in widget._layers, timeout=20_000)
    _find(widget, qtbot)
    labels = widget._layers["proposals"]
    assert labels.data.shape == (50, 70)
    for point in ((0, 0), (49, 69), (10, 60)):
        assert np.allclose(labels.data_to_world(point), layer.data_to_world(point))


def test_keys_are_free_and_bound(widget: Any, viewer: Any) -> None:
    from napari.utils.shortcuts import default_shortcuts

    from napari_maskwright._widget import KEYS

    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    for key in KEYS:
        assert key.replace("-", "+") not in taken
    assert {str(key) for key in viewer.keymap} >= {key.replace("-", "+") for key in KEYS}


def test_two_widgets_and_a_narrow_dock(widget: Any, viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    second = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(second, name="second", area="right")
    qtbot.waitUntil(lambda: "accepted" in second._layers, timeout=30_000)
    assert widget.minimumSizeHint().width() <= 320
    _find(widget, qtbot)


def test_closing_the_window_during_a_prompt(viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright")
    qtbot.waitUntil(lambda: "accepted" in widget._layers, timeout=30_000)
    widget._words.setText("cow")
    widget.gesture("run")
    began = time.monotonic()
    widget.close_project()

    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("maskwright")]

    qtbot.waitUntil(lambda: not ours(), timeout=15_000)
    assert time.monotonic() - began < 10
    with Project.open(place) as project:
        assert project.annotations() == []


def test_closing_the_window_during_a_fine_tuning_run_leaves_it_whole(
    viewer: Any, meadows: Path, small_preset: Path, qtbot: Any
) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(meadows), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright")
    start = widget._run_buttons["start"]
    qtbot.waitUntil(lambda: "Learns 2 classes" in widget._run_line.text(), timeout=20_000)
    start.click()
    qtbot.waitUntil(lambda: "training, step" in widget._run_line.text(), timeout=60_000)
    widget.close_project()
    with Project.open(meadows) as project:
        assert project.runs.get("run-1").state == "running"
        assert not project.runs.folder_of("run-1").exists()
        project.runs.cancel("run-1")
        qtbot.waitUntil(lambda: project.runs.get("run-1").state == "cancelled", timeout=20_000)
        assert project.status().accepted == {"meadow": 6, "air": 6}


class Handed:
    """An event as napari hands it to a callback, which goes on with the next one under the same name."""

    def __init__(self, event: SimpleNamespace) -> None:
        self.__wrapped__ = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


class Press:
    """A press, moves and a release of the mouse on the canvas, as napari hands them on."""

    def __init__(self, viewer: Any, places: list[tuple[float, float]], modifiers: tuple[str, ...] = ()) -> None:
        from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

        kinds = ["mouse_press", *["mouse_move"] * (len(places) - 2), "mouse_release"]
        calls = {
            "mouse_press": mouse_press_callbacks, "mouse_move": mouse_move_callbacks,
            "mouse_release": mouse_release_callbacks,
        }  # fmt: skip
        for kind, (x, y) in zip(kinds, places, strict=True):
            event = SimpleNamespace(
                type=kind, button=1, modifiers=modifiers, pos=(10 * x, 10 * y), position=(y - 0.5, x - 0.5),
                is_dragging=kind == "mouse_move", handled=False,
            )  # fmt: skip
            calls[kind](viewer, Handed(event) if kind == "mouse_press" else event)


def test_clicks_on_the_canvas(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    widget.gesture("tool")
    Press(viewer, [(30, 20), (30, 20)])
    qtbot.waitUntil(lambda: any(row.proposal for row in widget._rows), timeout=60_000)
    assert np.allclose(widget._layers["clicks"].data, [(19.5, 29.5)])
    Press(viewer, [(5, 5), (5, 5)], modifiers=("Alt",))
    qtbot.waitUntil(lambda: len(widget._layers["clicks"].data) == 2, timeout=20_000)
    assert [str(s) for s in widget._layers["clicks"].symbol] == ["disc", "cross"]
    Press(viewer, [(5, 5), (25, 25), (40, 30)])
    assert len(widget._layers["clicks"].data) == 2, "a drag moves the view"
    widget.gesture("undo")
    assert len(widget._layers["clicks"].data) == 1
    widget._name.setText("thing")
    qtbot.waitUntil(lambda: not widget._busy.isVisible() and any(r.proposal for r in widget._rows), timeout=60_000)
    widget.gesture("accept")
    qtbot.waitUntil(lambda: any(row.annotation for row in widget._rows), timeout=20_000)
    assert "clicks" not in widget._layers
    widget.gesture("tool")
    Press(viewer, [(5, 5), (20, 20), (40, 30)])
    qtbot.waitUntil(lambda: "box" in widget._layers and any(r.proposal for r in widget._rows), timeout=60_000)
    widget.gesture("clear")
    assert "box" not in widget._layers
    with Project.open(place) as project:
        assert [(a.category, a.source) for a in project.annotations()] == [("thing", "click")]
