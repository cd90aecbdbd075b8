"""Tables, classes, models, and layers of the user as prompts, in a real napari window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Mask
from maskwright.project import Project
from tests.plugin.mouse import drawn

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]

SIZE_HW = (40, 60)


def _box(left: int, right: int, top: int = 5, bottom: int = 15) -> np.ndarray[Any, Any]:
    region = np.zeros(SIZE_HW, bool)
    region[top:bottom, left:right] = True
    return region


def _propose(widget: Any, qtbot: Any, **regions: tuple[np.ndarray[Any, Any], float]) -> None:
    """Store proposals as another window would."""
    session, image_id = widget.controller.session, widget.controller.image_id
    masks = [Mask.from_array(region, category=name, score=score) for name, (region, score) in regions.items()]
    session.masks.store_proposals(image_id, [(mask, {"source": "text"}) for mask in masks], "object")
    qtbot.waitUntil(lambda: widget._proposals.table.count() == len(regions), timeout=10_000)


def _accepted(place: Path) -> dict[str, np.ndarray[Any, Any]]:
    with Project.open(place) as project:
        return {row.category: row.mask.to_array() for row in project.annotations()}


def test_proposals_are_a_table_and_many_are_accepted_in_one_step(widget: Any, place: Path, qtbot: Any) -> None:
    from qtpy.QtCore import Qt

    table, box = widget._proposals.table, widget._proposals
    regions = {"cow": (_box(0, 5), 0.9), "barn": (_box(10, 30), 0.4), "tree": (_box(40, 50), 0.85)}
    _propose(widget, qtbot, **regions)
    assert [row.name for row in table.rows()] == ["cow", "barn", "tree"], "in the model's order"
    qtbot.waitUntil(lambda: not table.without_thumbnail(), timeout=10_000)
    assert not table.topLevelItem(0).icon(0).isNull()
    table.sortByColumn(1, Qt.DescendingOrder)
    assert [row.name for row in table.rows()] == ["cow", "tree", "barn"]
    table.sortByColumn(2, Qt.AscendingOrder)
    assert [row.area for row in table.rows()] == [50, 100, 200]
    assert table.topLevelItem(0).text(2) == "50 px"
    box.least.setValue(0.8)
    assert box.above.text() == "Accept 2"
    box.above.click()
    qtbot.waitUntil(lambda: set(_accepted(place)) == {"cow", "tree"}, timeout=20_000)
    qtbot.waitUntil(lambda: table.count() == 1 and not box.above.isEnabled(), timeout=20_000)
    # the two are one step
    qtbot.waitUntil(lambda: widget._undo.isEnabled(), timeout=10_000)
    widget._undo.click()
    qtbot.waitUntil(lambda: table.count() == 3, timeout=20_000)
    assert _accepted(place) == {}
    # a selection survives what other windows add
    table.select([table.rows()[1].key])
    chosen = box.selected
    _propose(widget, qtbot, **regions, sky=(_box(0, 60, 30, 40), 0.7))
    assert [key for key in box.selected if key in chosen] == box.selected


def test_the_name_that_a_clicked_mask_gets_is_listed_before_it_is_kept(
    widget: Any, viewer: Any, place: Path, qtbot: Any
) -> None:
    table = widget._proposals.table
    widget.add_box((10, 10, 40, 30))
    qtbot.waitUntil(lambda: [row.name for row in table.rows()] == ["object"], timeout=60_000)
    widget._name.setText("cow")
    assert [row.name for row in table.rows()] == ["cow"]
    widget.run_action("accept")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 1 and not table.count(), timeout=20_000)
    assert list(_accepted(place)) == ["cow"]
    # a name that is left from another mask is not given to one that is corrected
    widget._name.setText("barn")
    mask = next(view.mask for view in widget._masks if view.annotation)
    inside = np.argwhere(mask.to_array())[0]
    widget.correct_at(float(inside[1]) + 0.5, float(inside[0]) + 0.5)
    assert widget._name.text() == "cow"


def test_classes_are_the_projects_one_list(widget: Any, viewer: Any, place: Path, qtbot: Any) -> None:
    box, session = widget._classes_box, widget.controller.session
    # a class that a person adds stays without a mask
    for count, name in enumerate(("cow", "barn", "tree"), start=1):
        box.new.setText(name)
        box.new.returnPressed.emit()
        qtbot.waitUntil(lambda count=count: box.list.topLevelItemCount() == count, timeout=10_000)
    _propose(widget, qtbot, cow=(_box(0, 5), 0.9), barn=(_box(10, 30), 0.4))

    def names() -> list[str]:
        return [entry.category.name for entry in session.classes.all()]

    assert names() == ["cow", "barn", "tree"]
    assert [box.name_of_key(key) for key in range(1, 5)] == ["cow", "barn", "tree", ""]
    box.list.topLevelItem(2).setText(0, "oak")
    qtbot.waitUntil(lambda: names() == ["cow", "barn", "oak"], timeout=10_000)
    qtbot.waitUntil(lambda: box.list.topLevelItem(2).text(0) == "oak", timeout=10_000)
    # a name that another class has is refused, and the list shows what holds
    box.list.topLevelItem(2).setText(0, "cow")
    qtbot.waitUntil(lambda: box.list.topLevelItem(2).text(0) == "oak", timeout=10_000)
    # key 3 for the selected proposal, by the canvas and by the dock
    table = widget._proposals.table
    table.select([table.rows()[0].key])
    from app_model.types import KeyBinding

    viewer.keymap[KeyBinding.from_str("Control-3")](viewer)
    qtbot.waitUntil(lambda: table.rows()[0].name == "oak", timeout=10_000)
    table.select([table.rows()[1].key])
    qtbot.keyClick(table, "3")
    qtbot.waitUntil(lambda: [row.name for row in table.rows()] == ["oak", "oak"], timeout=10_000)
    # without a selection it names the next mask
    table.select([])
    widget.run_action("class 2")
    assert widget._name.text() == "barn"
    box.choose("cow")
    assert widget._name.text() == "cow"
    box._fill_menu()
    merge = next(action.menu() for action in box.menu.actions() if action.text() == "Merge into")
    next(action for action in merge.actions() if action.text() == "oak").trigger()
    qtbot.waitUntil(lambda: names() == ["barn", "oak"], timeout=10_000)
    box.requested.emit(lambda classes: classes.change("oak", color="#ff0000", shortcut=1))
    qtbot.waitUntil(lambda: box.name_of_key(1) == "oak", timeout=10_000)
    qtbot.waitUntil(lambda: table.rows()[0].color == "#ff0000", timeout=10_000)
    assert box.name_of_key(2) == "barn"


def test_masks_have_measures_a_table_and_a_colour_each(
    widget: Any, viewer: Any, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QFileDialog

    values = np.arange(40 * 60, dtype=np.uint16).reshape(SIZE_HW)
    viewer.add_image(values, name="plane", scale=(0.5, 0.5), units=("um", "um"))
    qtbot.waitUntil(lambda: widget._canvas.image_layer is viewer.layers["plane"], timeout=10_000)
    project = widget.controller.session.project
    taken: list[int] = []
    widget.with_controller(lambda controller: controller.images.with_image(taken.append))
    qtbot.waitUntil(lambda: taken == [widget.controller.image_id], timeout=20_000)
    for left in (0, 20):
        project.accept(widget.controller.image_id, _box(left, left + 4), "cow")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 2, timeout=10_000)
    layer = widget._layers["accepted"]
    qtbot.waitUntil(lambda: "mean intensity" in layer.features, timeout=10_000)
    rows = layer.features
    assert list(rows["area"]) == [40, 40]
    assert list(rows["area [µm²]"]) == [10, 10]
    assert list(rows["mean intensity"]) == [values[_box(0, 4)].mean(), values[_box(20, 24)].mean()]
    assert widget._accepted.list.rows()[0].area_text == "10 µm²"
    first, second = (tuple(layer.colormap.map(number)) for number in rows["index"])
    assert first == second
    widget._accepted.by_object.click()
    first, second = (tuple(layer.colormap.map(number)) for number in rows["index"])
    assert first != second
    file = tmp_path / "table.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    widget.run_action("save table")
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    assert head.split(",")[:5] == ["index", "class", "id", "area", "score"]
    assert len(lines) == 2


def test_layers_of_the_user_are_prompts_and_masks(widget: Any, viewer: Any, qtbot: Any) -> None:
    image = widget._canvas.image_layer
    image.scale, image.translate = (0.5, 0.25), (3, 4)
    table, transform = widget._proposals.table, {"scale": (0.5, 0.25), "translate": (3, 4)}

    def use(layer: Any, text: str, count: int) -> list[Any]:
        viewer.layers.selection.active = layer
        widget._fill_layer_menu()
        before = {row.key for row in table.rows()}
        next(action for action in widget._layer_menu.actions() if action.text() == text).trigger()
        qtbot.waitUntil(lambda: len({row.key for row in table.rows()} - before) == count, timeout=60_000)
        views = [view for view in widget._masks if view.proposal and view.proposal not in before]
        assert len(views) == count
        return [view.mask for view in views]

    labels = np.zeros(SIZE_HW, np.uint8)
    labels[2:6, 3:9], labels[10:12, 20:30] = 4, 9
    (first, second) = use(viewer.add_labels(labels, name="cells", **transform), "Take the labels as masks", 2)
    assert np.array_equal(first.to_array(), labels == 4)
    assert np.array_equal(second.to_array(), labels == 9)
    # a layer without a transform lies elsewhere in the world, and is taken from there
    elsewhere = np.zeros((60, 60), np.uint8)
    elsewhere[4, 5] = 1
    (moved,) = use(viewer.add_labels(elsewhere, name="other"), "Take the labels as masks", 1)
    assert moved.to_array()[2, 4]
    assert 6 <= moved.area <= 15, "a pixel of the world is about two rows and four columns"
    square = np.array([(4.5, 9.5), (4.5, 19.5), (14.5, 19.5), (14.5, 9.5)])
    shapes = viewer.add_shapes([square], shape_type="polygon", name="shapes", **transform)
    (polygon,) = use(shapes, "Take the shapes as masks", 1)
    assert np.array_equal(polygon.to_array(), _box(10, 20, 5, 15))
    widget.run_action("reject")
    qtbot.waitUntil(lambda: table.count() == 0, timeout=20_000)
    session, image_id = widget.controller.session, widget.controller.image_id
    expected = session.propose_click(image_id, [(30.5, 20.5, 1)]).all[0].mask
    points = viewer.add_points([(20, 30), (10, 50)], name="seeds", **transform)
    found = use(points, "Each point is an object", 2)
    assert expected.rle in [mask.rle for mask in found]
    widget.run_action("reject")
    qtbot.waitUntil(lambda: table.count() == 0, timeout=20_000)
    points.symbol = ["disc", "cross"]
    both = session.propose_click(image_id, [(30.5, 20.5, 1), (50.5, 10.5, 0)]).all[0].mask
    (together,) = use(points, "All points are one object", 1)
    assert together.rle == both.rle
    # nothing to use is one sentence, also in the menu
    viewer.layers.selection.active = image
    widget._fill_layer_menu()
    assert [action.isEnabled() for action in widget._layer_menu.actions()] == [False]
    assert not drawn(widget, "accepted").any()


def test_models_are_listed_and_a_server_that_is_not_there_is_one_sentence(
    widget: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_maskwright import _display

    box, errors = widget._models, []
    monkeypatch.setattr(_display, "show_error", errors.append)
    qtbot.waitUntil(lambda: box.presets.count() > 3, timeout=10_000)
    names = [box.presets.itemData(place) for place in range(box.presets.count())]
    box.presets.setCurrentIndex(names.index("sam-b"))
    assert box.action.text() == "Get it"
    assert "MB" in box.line.text()
    asked: list[str] = []
    monkeypatch.setattr(widget.controller.session.presets, "fetch", asked.append)
    box.action.click()
    qtbot.waitUntil(lambda: asked == ["sam-b"], timeout=10_000)
    box.address.setText("127.0.0.1:9")
    box.connect_button.click()
    qtbot.waitUntil(lambda: len(errors) == 1, timeout=20_000)
    assert "127.0.0.1:9" in errors[0]
    qtbot.waitUntil(lambda: box.server.text() == "This computer answers.", timeout=10_000)
    widget.show_models([], "http://gpu:7860")
    assert not box.presets.isEnabled()
    assert "http://gpu:7860" in box.server.text()


def test_fill_polygon_and_new_labels_become_masks_and_both_undos_agree(
    widget: Any, viewer: Any, place: Path, qtbot: Any
) -> None:
    from qtpy.QtCore import Qt

    project, image_id = widget.controller.session.project, widget.controller.image_id
    project.accept(image_id, _box(0, 10), "cow")
    qtbot.waitUntil(lambda: "accepted" in widget._layers, timeout=10_000)
    layer, canvas = widget._layers["accepted"], viewer.window._qt_viewer.canvas.native
    viewer.layers.selection.active = layer

    def masks() -> list[tuple[str, int]]:
        return sorted((row.category, row.mask.area) for row in project.annotations(image_id))

    def saved(*expected: tuple[str, int]) -> None:
        qtbot.waitUntil(lambda: masks() == sorted(expected), timeout=10_000)
        qtbot.waitUntil(lambda: not widget._editing.unsaved, timeout=10_000)
        qtbot.waitUntil(lambda: int((drawn(widget, "accepted") > 0).sum()) == sum(n for _, n in expected), timeout=5000)

    widget._name.setText("tree")
    layer.paint_polygon([(20.0, 20.0), (20.0, 29.0), (29.0, 29.0), (29.0, 20.0)], 2)
    grown = int((np.asarray(layer.data) == 2).sum())
    assert grown > 80
    saved(("cow", 100), ("tree", grown))
    layer.fill((5, 5), 0)
    saved(("tree", grown))
    # after the half second the project undoes, before it the layer; then they agree
    for key, modifier, expected in (
        (Qt.Key_Z, Qt.ControlModifier, [("cow", 100), ("tree", grown)]),
        (Qt.Key_Z, Qt.ControlModifier | Qt.ShiftModifier, [("tree", grown)]),
        (Qt.Key_Z, Qt.ControlModifier, [("cow", 100), ("tree", grown)]),
    ):
        qtbot.keyClick(canvas, key, modifier)
        saved(*expected)
    number = int(layer.data[5, 5])
    layer.paint((30, 50), number)
    assert widget._editing.unsaved
    qtbot.keyClick(canvas, Qt.Key_Z, Qt.ControlModifier)
    saved(("cow", 100), ("tree", grown))


def test_like_this_goes_through_all_later_images(widget: Any, place: Path, qtbot: Any) -> None:
    project = widget.controller.session.project
    first, second = (number for _, number in widget._titles)
    project.accept(first, _box(10, 30), "cow")
    qtbot.waitUntil(lambda: widget._accepted.list.count() == 1, timeout=10_000)
    widget._accepted.select([row.key for row in widget._accepted.list.rows()])
    widget._accepted.like_requested.emit("later")
    qtbot.waitUntil(lambda: widget._status.text().startswith("Proposals on 1 of 1 image."), timeout=30_000)
    (proposed,) = project.annotations(second, ("proposed",))
    assert (proposed.category, proposed.source) == ("cow", "reference")
