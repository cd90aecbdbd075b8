"""Undo, delete, history, duplicates and failed writes in a real napari window."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from maskwright.session import deletion_message
from tests.plugin.mouse import drawn, press, show

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]


def _box(left: int, right: int, top: int = 5, bottom: int = 30) -> Any:
    region = np.zeros((40, 60), bool)
    region[top:bottom, left:right] = True
    return region


def _accept(widget: Any, qtbot: Any, *regions: Any) -> list[int]:
    project = widget.controller.session.project
    ids = [project.accept(widget.controller.image_id, region, "cow").id for region in regions]
    qtbot.waitUntil(lambda: set(ids) <= {view.annotation for view in widget._masks}, timeout=10_000)
    return ids


def _listed(widget: Any) -> list[str]:
    return [row.tip for row in widget._accepted.list.rows()]


def _stored(place: Path) -> list[int]:
    with Project.open(place) as project:
        return [annotation.id for annotation in project.annotations()]


def _find(widget: Any) -> None:
    widget._classes.setText("grass, cow, sky")
    widget._text.background.setChecked(False)
    widget.run_action("run")


def _press_key(viewer: Any, key: str) -> None:
    from app_model.types import KeyBinding

    viewer.keymap[KeyBinding.from_str(key)](viewer)


def test_undo_and_redo_by_button_and_key(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    _find(widget)
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)
    shapes = drawn(widget, "proposals") > 0
    widget.run_action("accept")
    qtbot.waitUntil(lambda: widget._accepted.list.count() > 0, timeout=20_000)
    assert not drawn(widget, "proposals").any()
    widget._undo.click()
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=20_000)
    assert np.array_equal(drawn(widget, "proposals") > 0, shapes), "a proposal again"
    assert not drawn(widget, "accepted").any()
    assert widget._status.text().startswith("Undone: accept of ")
    assert _stored(place) == []
    widget._redo.click()
    qtbot.waitUntil(lambda: widget._accepted.list.count() > 0, timeout=20_000)
    assert _stored(place)
    _press_key(viewer, "Shift+U")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 0, timeout=20_000)
    _press_key(viewer, "Shift+R")
    qtbot.waitUntil(lambda: widget._accepted.list.count() > 0, timeout=20_000)


def test_undo_and_redo_wait_for_an_image(viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_maskwright._widget import AnnotatorWidget

    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "none yet"))
    empty = AnnotatorWidget(viewer)
    for button in (empty._undo, empty._redo, empty._accepted.delete, empty._accepted.history):
        assert not button.isEnabled()
        assert button.toolTip()
    empty.run_action("undo")
    empty.deleteLater()


def test_the_step_of_another_image_is_a_button_away(widget: Any, place: Path, qtbot: Any) -> None:
    _accept(widget, qtbot, _box(5, 25))
    first = widget.controller.image_id
    widget.run_action("next")
    qtbot.waitUntil(lambda: widget.controller.image_id != first, timeout=20_000)
    assert not widget._other_image.isVisibleTo(widget)
    widget._undo.click()
    qtbot.waitUntil(lambda: widget._other_image.isVisibleTo(widget), timeout=20_000)
    assert "another image" in widget._other_image.label.text()
    assert "a.png" in widget._other_image.button.toolTip()
    assert len(_stored(place)) == 1
    widget._other_image.button.click()
    qtbot.waitUntil(lambda: widget._project.images.currentData() == first, timeout=20_000)
    assert widget.controller.image_id == first
    assert not widget._other_image.isVisibleTo(widget)
    assert len(_stored(place)) == 1, "opening it undoes nothing"
    widget._undo.click()
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 0, timeout=20_000)
    assert _stored(place) == []


def test_a_selected_mask_is_filled_deleted_and_restored(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    ids = _accept(widget, qtbot, _box(5, 25), _box(30, 50))
    box = widget._accepted
    rows = [f"Mask {number}: cow, 20.8 % of the image, 500 px" for number in ids]
    assert _listed(widget) == rows
    assert not box.delete.isEnabled()
    assert box.delete.toolTip()
    selected = set(viewer.layers.selection)
    box.select([ids[1]])
    assert np.array_equal(drawn(widget, "selected") > 0, _box(30, 50))
    assert set(viewer.layers.selection) == selected, "a temporary layer takes no selection"
    assert box.delete.isEnabled()
    assert "Undo" in box.delete.toolTip()
    box.delete.click()
    qtbot.waitUntil(lambda: _listed(widget) == rows[:1], timeout=20_000)
    assert _stored(place) == ids[:1]
    assert not drawn(widget, "selected").any()
    assert not box.delete.isEnabled()
    assert widget._status.text().startswith(f"{deletion_message(1)}\nSaved ")
    widget._undo.click()
    qtbot.waitUntil(lambda: box.list.count() == 2, timeout=20_000)
    box.list.selectAll()
    qtbot.keyClick(box.list, Qt.Key_Delete)
    qtbot.waitUntil(lambda: box.list.count() == 0, timeout=20_000)
    widget._undo.click()
    qtbot.waitUntil(lambda: box.list.count() == 2, timeout=20_000)
    assert _stored(place) == ids, "both are restored in one step"


def test_the_selection_stays_when_another_window_changes_something(widget: Any, place: Path, qtbot: Any) -> None:
    first, second = _accept(widget, qtbot, _box(5, 25), _box(30, 50))
    _find(widget)
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)
    widget._proposals.table.select([widget._proposals.table.rows()[0].key])
    widget._accepted.select([second])
    with Project.open(place) as other:
        other.delete([first], annotator="bob")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 1, timeout=2_000)
    assert widget._accepted.ids == [second]
    assert len(widget._proposals.selected) == 1


def test_a_click_selects_the_topmost_mask_and_then_the_one_below(widget: Any, viewer: Any, qtbot: Any) -> None:
    show(viewer)
    large, small = _accept(widget, qtbot, _box(5, 50), _box(10, 20, 8, 16))
    box = widget._accepted
    for expected in ([small], [large], [small]):
        press(viewer, [(15, 10), (15, 10)])
        assert box.ids == expected
    press(viewer, [(40, 20), (40, 20)])
    assert box.ids == [large]
    press(viewer, [(15, 10), (25, 25), (30, 30)])
    assert box.ids == [large], "a drag moves the view"
    press(viewer, [(2, 2), (2, 2)])
    assert box.ids == []
    for outside in ((-5, 10), (500, 10), (15, -1)):
        press(viewer, [outside, outside])
        assert box.ids == []
    mine = viewer.add_labels(np.zeros((40, 60), int), name="mine")
    mine.mode = "paint"
    press(viewer, [(40, 20), (40, 20)])
    assert box.ids == [], "while the user paints, a click paints"
    mine.mode = "pan_zoom"
    press(viewer, [(40, 20), (40, 20)])
    assert box.ids == [large]
    widget.run_action("tool")
    press(viewer, [(15, 10), (15, 10)])
    assert box.ids == [large], "now a click is a prompt"
    widget.run_action("clear")


def test_the_history_follows_the_selected_mask(widget: Any, qtbot: Any) -> None:
    first, second = _accept(widget, qtbot, _box(5, 25), _box(30, 50))
    box, session = widget._accepted, widget.controller.session

    def lines() -> list[str]:
        return [box.sentences.item(n).text() for n in range(box.sentences.count())]

    assert not box.history.isEnabled()
    box.select([first])
    assert not box.sentences.isVisibleTo(widget)
    box.history.click()
    assert box.sentences.isVisibleTo(widget)
    qtbot.waitUntil(lambda: lines() == session.history(first), timeout=10_000)
    assert len(lines()) == 1
    box.delete.click()
    qtbot.waitUntil(lambda: box.list.count() == 1, timeout=10_000)
    assert not box.sentences.isVisibleTo(widget)
    widget._undo.click()
    qtbot.waitUntil(lambda: box.list.count() == 2, timeout=10_000)
    box.select([first])
    qtbot.waitUntil(lambda: len(lines()) == 3, timeout=10_000)
    assert lines() == session.history(first)
    box.select([first, second])
    assert "single mask" in box.history.toolTip()
    assert not box.sentences.isVisibleTo(widget)
    box.select([second])
    qtbot.waitUntil(lambda: lines() == session.history(second), timeout=10_000)
    box.history.click()
    assert not box.sentences.isVisibleTo(widget)


def test_the_switch_shows_duplicates(widget: Any, place: Path, qtbot: Any) -> None:
    assert not widget._proposals.duplicates.isChecked()
    assert widget._proposals.duplicates.toolTip()
    _find(widget)
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)
    number = widget._proposals.table.count()
    widget.run_action("accept")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == number, timeout=20_000)
    _find(widget)
    notice = f"{number} duplicate{'s' * (number != 1)} hidden"
    qtbot.waitUntil(lambda: widget._proposals.hidden.text() == notice, timeout=60_000)
    assert f"{notice}." in widget._status.text()
    assert widget._proposals.table.count() == 0
    assert not drawn(widget, "proposals").any()
    assert not widget._proposals.accept.isEnabled()
    widget._proposals.duplicates.click()
    assert widget._proposals.hidden.text() == ""
    assert widget._proposals.table.count() == number
    assert "(duplicate)" in widget._proposals.table.rows()[0].name
    assert drawn(widget, "proposals").any()
    widget._proposals.table.select([widget._proposals.table.rows()[0].key])
    widget.run_action("accept")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == number + 1, timeout=20_000)
    assert len(_stored(place)) == number + 1
    widget._proposals.duplicates.click()
    assert widget._proposals.table.count() == 0


def test_a_failed_write_is_marked_and_try_again_saves(widget: Any, place: Path, qtbot: Any) -> None:
    _find(widget)
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)
    shapes = drawn(widget, "proposals").copy()
    other = sqlite3.connect(place / "project.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    widget.run_action("accept")
    qtbot.waitUntil(lambda: widget._unsaved.isVisibleTo(widget), timeout=20_000)
    assert widget._unsaved.label.text()
    texts = [row.name for row in widget._proposals.table.rows()]
    assert all("(not saved)" in text for text in texts)
    assert np.array_equal(drawn(widget, "proposals"), shapes), "they stay on screen"
    assert "Saved" not in widget._status.text()
    assert "not saved" in widget._status.text()
    other.rollback()
    other.close()
    assert _stored(place) == []
    widget._unsaved.button.click()
    qtbot.waitUntil(lambda: len(_stored(place)) == len(texts), timeout=20_000)
    qtbot.waitUntil(lambda: not widget._unsaved.isVisibleTo(widget), timeout=20_000)
    assert "Saved " in widget._status.text()


def test_commands_reach_the_open_widget(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    from napari._app_model import get_app_model

    commands = get_app_model().commands
    _accept(widget, qtbot, _box(5, 25))
    commands.execute_command("maskwright.undo").result()
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 0, timeout=20_000)
    assert _stored(place) == []
    commands.execute_command("maskwright.redo").result()
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 1, timeout=20_000)
    first = widget.controller.image_id
    commands.execute_command("maskwright.next_image").result()
    qtbot.waitUntil(lambda: widget.controller.image_id != first, timeout=20_000)
    commands.execute_command("maskwright.previous_image").result()
    qtbot.waitUntil(lambda: widget.controller.image_id == first, timeout=20_000)


def test_commands_without_a_widget_name_the_menu(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_maskwright import _commands

    messages: list[str] = []
    monkeypatch.setattr(_commands, "show_info", messages.append)
    for name in _commands.__all__:
        getattr(_commands, name)(viewer)
    assert messages == ["Open Plugins > Maskwright first."] * len(_commands.__all__)


def test_every_control_has_a_tooltip(widget: Any) -> None:
    from qtpy.QtWidgets import (
        QAbstractButton,
        QAbstractItemView,
        QAbstractSpinBox,
        QComboBox,
        QLineEdit,
        QSlider,
    )

    for kind in (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QAbstractItemView, QSlider):
        for part in widget.findChildren(kind):
            inside = isinstance(part.parent(), (QAbstractItemView, QAbstractSpinBox, QComboBox)) or (
                part.window() is not widget.window()
            )
            assert inside or part.toolTip(), f"{part} {getattr(part, 'text', str)()}"
