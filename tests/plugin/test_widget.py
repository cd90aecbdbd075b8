"""The dock widget in a real napari window."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from tests.plugin.mouse import drawn, press, show

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]


def _find(widget: Any, qtbot: Any, words: str = "grass, cow, sky") -> None:
    widget._classes.setText(words)
    widget._text.background.setChecked(False)
    widget._text.objects.setChecked(False)
    widget.run_action("run")
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)


def test_an_empty_prompt_shows_an_error(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwright.errors import EmptyPrompt
    from napari_maskwright import _widget

    errors: list[str] = []
    monkeypatch.setattr(_widget, "show_error", errors.append)
    widget._classes.setText(" , ")
    widget.run_action("run")
    assert errors == [str(EmptyPrompt())]


def test_napari_makes_the_widget_from_the_manifest(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "none yet"))
    _, widget = viewer.window.add_plugin_dock_widget("maskwright", "Maskwright")
    assert widget._viewer is not None
    assert not (tmp_path / "none yet").exists(), "opening the widget creates no project"
    widget.run_action("run")
    widget.run_action("hide")


def test_text_prompt_to_layers_to_accepted(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    _find(widget, qtbot)
    proposals = widget._layers["proposals"]
    shown = {view.proposal: view.mask.to_array() for view in widget._masks if view.proposal}
    union = np.logical_or.reduce(list(shown.values()))
    assert np.array_equal(np.asarray(proposals.data) > 0, union)
    widget._proposals.table.select([widget._proposals.table.rows()[0].key])
    selected = widget._proposals.table.rows()[0].key
    widget.run_action("accept")
    qtbot.waitUntil(lambda: drawn(widget, "accepted").any(), timeout=20_000)
    assert np.array_equal(drawn(widget, "accepted") > 0, shown[selected])
    with Project.open(place) as project:
        (accepted,) = project.annotations()
    assert np.array_equal(accepted.mask.to_array(), shown[selected])
    assert "1 accepted mask" in widget._status.text()


def _used(widget: Any, qtbot: Any) -> tuple[Any, ...]:
    """Run the text prompt; returns method, cleaning and refinement of the new proposals."""
    before = {view.proposal for view in widget._masks} | {None}
    widget.run_action("run")
    qtbot.waitUntil(lambda: not {view.proposal for view in widget._masks} <= before, timeout=60_000)
    opened = widget.controller.session.open_proposals((), widget.controller.image_id)
    parameters = opened[0].provenance["parameters"]
    return opened[0].provenance["method"], bool(parameters["cleaning"]), parameters["refine"]


def test_the_methods_are_those_of_the_core(widget: Any) -> None:
    from maskwright.domain.prompts import TEXT_METHODS

    box = widget._text.method
    assert [box.itemData(n) for n in range(box.count())] == [None, *TEXT_METHODS]
    assert box.currentText() == "Automatic"
    assert all(
        part.toolTip()
        for part in (box, widget._text.cleaning, widget._text.refine, widget._search.phrase, widget._search.matches)
    )


def test_method_cleaning_and_refinement_are_controls_of_the_text_prompt(talk2dino_widget: Any, qtbot: Any) -> None:
    talk2dino_widget._classes.setText("cow, sky")
    assert _used(talk2dino_widget, qtbot) == ("dinotxt", True, None)
    talk2dino_widget._text.method.setCurrentText("Talk2DINO")
    talk2dino_widget._text.cleaning.setCurrentText("Cleaning: off")
    talk2dino_widget._text.refine.click()
    assert _used(talk2dino_widget, qtbot) == ("talk2dino", False, "pamr")
    talk2dino_widget._text.background.click()
    assert not talk2dino_widget._text.cleaning.isEnabled()
    talk2dino_widget._text.background.click()
    assert talk2dino_widget._text.cleaning.isEnabled()
    assert talk2dino_widget._text.cleaning.currentData() is False


def test_objects_are_the_default_for_countable_words(talk2dino_widget: Any, qtbot: Any) -> None:
    talk2dino_widget._text.objects.click()
    talk2dino_widget._classes.setText("cow, sky")
    _used(talk2dino_widget, qtbot)
    (first, *_) = talk2dino_widget.controller.session.open_proposals((), talk2dino_widget.controller.image_id)
    assert first.provenance["parameters"]["instances"]["classes"] == ["cow"]


def test_the_cleaning_preview_has_its_own_layer(talk2dino_widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    talk2dino_widget._text.method.setCurrentText("Talk2DINO")
    talk2dino_widget._classes.setText("cow, sky")
    _used(talk2dino_widget, qtbot)
    kind = "left unlabelled by cleaning"
    name = f"{talk2dino_widget._canvas.image_layer.name} {kind}"
    (preview,) = [view for view in talk2dino_widget._masks if view.cleaning_preview]
    layer, proposals = viewer.layers[name], talk2dino_widget._layers["proposals"]
    assert np.array_equal(np.asarray(layer.data) > 0, preview.mask.to_array())
    assert not (np.asarray(layer.data).astype(bool) & np.asarray(proposals.data).astype(bool)).any()
    assert not drawn(talk2dino_widget, "accepted").any()
    assert np.allclose(layer.colormap.color_dict[2], (128 / 255,) * 3 + (1,)), "grey"
    assert layer not in viewer.layers.selection, "a temporary layer takes no selection"
    assert talk2dino_widget._proposals.table.count() == 2
    for visible in (False, True):
        talk2dino_widget.run_action("hide")
        assert (layer.visible, proposals.visible) == (visible, visible)
    talk2dino_widget._text.cleaning.setCurrentText("Cleaning: off")
    _used(talk2dino_widget, qtbot)
    assert not drawn(talk2dino_widget, kind).any()
    talk2dino_widget._text.cleaning.setCurrentText("Cleaning: on")
    _used(talk2dino_widget, qtbot)
    assert viewer.layers[name] is layer, "one layer, updated in place"
    assert drawn(talk2dino_widget, kind).any()
    talk2dino_widget.run_action("accept")
    qtbot.waitUntil(lambda: drawn(talk2dino_widget, "accepted").any(), timeout=20_000)
    assert not drawn(talk2dino_widget, kind).any()
    with Project.open(place) as project:
        assert sorted(annotation.category for annotation in project.annotations()) == ["cow", "sky"]


def test_another_image_removes_the_cleaning_preview(talk2dino_widget: Any, qtbot: Any) -> None:
    talk2dino_widget._classes.setText("cow, sky")
    _used(talk2dino_widget, qtbot)
    assert drawn(talk2dino_widget, "left unlabelled by cleaning").any()
    before = talk2dino_widget.controller.image_id
    talk2dino_widget.run_action("next")
    qtbot.waitUntil(lambda: talk2dino_widget.controller.image_id != before, timeout=20_000)
    assert not drawn(talk2dino_widget, "left unlabelled by cleaning").any()


def test_finding_an_image_and_opening_it(talk2dino_widget: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    assert not talk2dino_widget._search.matches.isVisibleTo(talk2dino_widget._search)
    talk2dino_widget._search.phrase.setText("a cow")
    qtbot.keyClick(talk2dino_widget._search.phrase, Qt.Key_Return)
    assert talk2dino_widget._search.stop.isEnabled()
    qtbot.waitUntil(lambda: talk2dino_widget._search.matches.count() == 2, timeout=60_000)
    matches = talk2dino_widget.controller.session.find("a cow").hits
    texts = [talk2dino_widget._search.matches.item(n).text() for n in range(2)]
    assert texts == [f"{match.score:.2f}  {Path(match.record.file_name).name}" for match in matches]
    assert talk2dino_widget._search.matches.isVisibleTo(talk2dino_widget._search)
    assert not talk2dino_widget._search.notice.isVisibleTo(talk2dino_widget._search)
    assert not talk2dino_widget._search.stop.isEnabled()
    row = next(n for n in range(2) if matches[n].record.id != talk2dino_widget.controller.image_id)
    talk2dino_widget._search.matches.setCurrentRow(row)
    qtbot.keyClick(talk2dino_widget._search.matches, Qt.Key_Return)
    qtbot.waitUntil(lambda: talk2dino_widget._project.images.currentData() == matches[row].record.id, timeout=20_000)
    assert talk2dino_widget.controller.image_id == matches[row].record.id
    assert talk2dino_widget._search.matches.count() == 2, "the other images stay listed"
    talk2dino_widget.close_project()
    assert talk2dino_widget._search.matches.count() == 0


def test_stopping_a_search(talk2dino_widget: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project, reached, go = talk2dino_widget.controller.session.project, threading.Event(), threading.Event()
    real = project.images.open

    def slow(image_id: int) -> Any:
        reached.set()
        assert go.wait(30)
        return real(image_id)

    monkeypatch.setattr(project.images, "open", slow)
    talk2dino_widget._search.phrase.setText("a cow")
    talk2dino_widget.run_action("find")
    qtbot.waitUntil(
        lambda: reached.is_set() and talk2dino_widget._busy.text() == "Searching image 1 of 2", timeout=60_000
    )
    assert talk2dino_widget._busy.isVisibleTo(talk2dino_widget)
    talk2dino_widget._search.stop.click()
    assert not talk2dino_widget._search.stop.isEnabled()
    assert not talk2dino_widget._busy.isVisibleTo(talk2dino_widget)
    assert "Stopped" in talk2dino_widget._search.notice.text()
    assert talk2dino_widget._search.notice.isVisibleTo(talk2dino_widget._search)
    go.set()
    qtbot.wait(500)
    assert talk2dino_widget._search.matches.count() == 0


def test_layers_that_were_deleted_come_back_and_masks_stay(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    _find(widget, qtbot)
    widget.run_action("accept")
    qtbot.waitUntil(lambda: drawn(widget, "accepted").any(), timeout=20_000)
    viewer.layers.clear()
    with Project.open(place) as project:
        assert project.annotations()
    # the same masks once more are duplicates
    widget._proposals.duplicates.setChecked(True)
    _find(widget, qtbot)
    qtbot.waitUntil(lambda: widget._layers["proposals"] in viewer.layers, timeout=20_000)


def test_a_layer_of_the_users_own_keeps_its_place_in_the_world(
    widget: Any, viewer: Any, qtbot: Any, rng: np.random.Generator
) -> None:
    layer = viewer.add_image(rng.random((50, 70)), scale=(0.5, 0.25), rotate=30, name="mine")
    qtbot.waitUntil(lambda: widget._canvas.image_layer is layer, timeout=20_000)
    _find(widget, qtbot)
    labels = widget._layers["proposals"]
    assert labels.data.shape == (50, 70)
    for point in ((0, 0), (49, 69), (10, 60)):
        assert np.allclose(labels.data_to_world(point), layer.data_to_world(point))


def test_keys_are_free_and_bound(widget: Any, viewer: Any) -> None:
    from app_model.types import KeyBinding
    from napari import layers
    from napari.utils.shortcuts import default_shortcuts

    from napari_maskwright._widget import KEYS

    ours = {key: KeyBinding.from_str(key.replace("-", "+")) for key in KEYS}
    taken = {str(KeyBinding.validate(key)) for keys in default_shortcuts.values() for key in keys}
    # some are bound without being listed there, such as Ctrl+Z in a Labels layer
    kinds = [getattr(layers, name) for name in ("Image", "Labels", "Points", "Shapes", "Surface", "Tracks", "Vectors")]
    taken |= {str(key) for kind in kinds for key in kind.class_keymap}
    assert "Ctrl+Z" in taken
    # those two act where the active layer has no undo of its own
    assert not taken & {str(key) for name, key in ours.items() if name not in ("Control-Z", "Control-Shift-Z")}
    assert {str(key) for key in viewer.keymap} >= {str(key) for key in ours.values()}
    assert KEYS["Shift-U"][0] == "undo"
    assert KEYS["Shift-R"][0] == "redo"


def test_two_widgets(widget: Any, viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    second = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(second, name="second", area="right")
    qtbot.waitUntil(lambda: second.controller is not None and second.controller.image_id is not None, timeout=30_000)
    _find(widget, qtbot)
    widget.run_action("accept")
    qtbot.waitUntil(lambda: drawn(second, "accepted").any(), timeout=20_000)


def _everything(widget: Any) -> None:
    """Show the longest content of every part of the dock."""
    from maskwright.domain import ImageRecord
    from maskwright.project.search import SearchHit
    from maskwright.session import RUN_ACTIONS, FinetuneStatus, RunCard

    name = f"images/{'a long name ' * 9}{'x' * 60}.png"
    record = ImageRecord(1, "0" * 64, name, 60, 40, 1, "")
    widget.show_matches([SearchHit(record, 0.5)] * 20, f"Cannot read {name}.")
    widget.show_finetuning(
        FinetuneStatus(
            "run-1: mIoU 0.1 before, 0.2 after.",
            share=0.5,
            curve=((10, 2.0), (20, 1.0)),
            metrics=((0, 0.1), (20, 0.2)),
            actions=tuple(widget._finetuning.buttons),
            runs=(RunCard("run-1", f"run-1, done, {name}", name, tuple(RUN_ACTIONS), "use", 3),),
        )
    )
    widget.show_unsaved("The disk is full; nothing was lost. Free 200 MB, then try again. 12 masks kept on screen.")
    widget.show_images([(name, 1)], 1)
    widget.show_other_image("The step to undo (correction) was on another image. Go there first.", 1)
    widget.show_duplicates(120)
    widget.show_status(f"Undone: accept of 3 masks.\nSaved 11:11:11. 3 images, 4 accepted masks: {name[:90]} 4")


@pytest.mark.parametrize("size", [(1000, 600), (1280, 800)])
def test_in_a_narrow_dock_nothing_is_cut_off(widget: Any, viewer: Any, qtbot: Any, size: tuple[int, int]) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget

    window = widget.window()
    (dock,) = [dock for dock in window.findChildren(QDockWidget) if dock.isAncestorOf(widget)]
    # Qt lays out only what is shown
    window.resize(*size)
    window.show()
    _everything(widget)
    window.resizeDocks([dock], [320], Qt.Horizontal)
    qtbot.wait(300)
    try:
        assert widget.width() <= 320
        assert window.height() <= size[1]
        assert widget._scroll.horizontalScrollBar().maximum() == 0
        assert widget._scroll.widget().width() <= widget._scroll.viewport().width()
        # words, tools, proposals, decisions and the status are there without scrolling
        for part in (
            widget._classes,
            widget._tool,
            widget._proposals.table,
            widget._proposals.accept,
            widget._undo,
            widget._status,
        ):
            assert not widget._scroll.isAncestorOf(part)
            assert part.visibleRegion().boundingRect().height() == part.height()
    finally:
        window.hide()


def test_the_wheel_over_a_list_or_slider_scrolls_and_changes_nothing(widget: Any, qapp: Any, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent

    qtbot.waitUntil(lambda: widget._project.images.currentIndex() == 0, timeout=20_000)
    before = widget.controller.image_id
    for part in (widget._text.method, widget._project.images, widget._target, widget._text.threshold):
        for turn in (-120, 120):
            wheel = QWheelEvent(
                QPointF(5, 5), QPointF(5, 5), QPoint(), QPoint(0, turn), Qt.NoButton, Qt.NoModifier, Qt.NoScrollPhase,
                False,
            )  # fmt: skip
            qapp.sendEvent(part, wheel)
            indices = [part.currentIndex() for part in (widget._text.method, widget._project.images, widget._target)]
            assert (indices, widget._text.threshold.value()) == ([0, 0, 0], 50)
    assert widget.controller.image_id == before


def test_closing_the_window_during_a_prompt(viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(place), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright")
    qtbot.waitUntil(lambda: widget.controller is not None and widget.controller.image_id is not None, timeout=30_000)
    widget._classes.setText("cow")
    widget.run_action("run")
    began = time.monotonic()
    widget.close_project()

    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("maskwright")]

    qtbot.waitUntil(lambda: not ours(), timeout=15_000)
    assert time.monotonic() - began < 10
    with Project.open(place) as project:
        assert project.annotations() == []


def test_closing_the_window_during_a_fine_tuning_run_leaves_it_whole(
    viewer: Any, two_class_project: Path, small_preset: Path, qtbot: Any
) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(two_class_project), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright")
    start = widget._finetuning.buttons["start"]
    qtbot.waitUntil(lambda: "Learns 2 classes" in widget._finetuning.line.text(), timeout=20_000)
    start.click()
    qtbot.waitUntil(lambda: "training, step" in widget._finetuning.line.text(), timeout=60_000)
    widget.close_project()
    with Project.open(two_class_project) as project:
        # it goes on in its own process, and may be through by now
        project.runs.cancel("run-1")
        qtbot.waitUntil(lambda: project.runs.get("run-1").state in ("cancelled", "done"), timeout=20_000)
        assert project.runs.folder_of("run-1").exists() == (project.runs.get("run-1").state == "done")
        assert project.status().accepted == {"meadow": 6, "air": 6}


def test_clicks_on_the_canvas(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    show(viewer)
    widget.run_action("tool")
    press(viewer, [(30, 20), (30, 20)])
    qtbot.waitUntil(lambda: any(view.proposal for view in widget._masks), timeout=60_000)
    # one pixel of the screen, which is more than one of the image where the canvas is narrow
    assert np.allclose(widget._layers["clicks"].data, [(19.5, 29.5)], atol=max(0.5, 0.6 / viewer.scene.camera.zoom))
    press(viewer, [(5, 5), (5, 5)], modifiers=("Alt",))
    qtbot.waitUntil(lambda: len(widget._layers["clicks"].data) == 2, timeout=20_000)
    assert [str(s) for s in widget._layers["clicks"].symbol] == ["disc", "cross"]
    press(viewer, [(5, 5), (25, 25), (40, 30)])
    assert len(widget._layers["clicks"].data) == 2, "a drag moves the view"
    widget.run_action("undo")
    assert len(widget._layers["clicks"].data) == 1
    widget._name.setText("thing")
    qtbot.waitUntil(lambda: not widget._busy.isVisible() and any(r.proposal for r in widget._masks), timeout=60_000)
    widget.run_action("accept")
    qtbot.waitUntil(lambda: any(view.annotation for view in widget._masks), timeout=20_000)
    assert len(widget._layers["clicks"].data) == 0
    widget.run_action("tool")
    press(viewer, [(5, 5), (20, 20), (40, 30)])
    qtbot.waitUntil(
        lambda: len(widget._layers["box"].data) == 1 and any(r.proposal for r in widget._masks), timeout=60_000
    )
    widget.run_action("clear")
    assert len(widget._layers["box"].data) == 0
    with Project.open(place) as project:
        assert [(a.category, a.source) for a in project.annotations()] == [("thing", "click")]
