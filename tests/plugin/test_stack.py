"""A stack from the first click to objects in 3-D, and to its planes again in a new dock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from tests.plugin.mouse import drawn

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display")]


def _stack() -> Any:
    rng = np.random.default_rng(0)
    data = rng.integers(100, 400, (3, 40, 60)).astype(np.uint16)
    data[:, 10:30, 15:40] += 3000
    return data


def _dock(viewer: Any, place: Path, preset: Path, qtbot: Any) -> Any:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(place), preset=str(preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: widget.controller is not None, timeout=60_000)
    return widget


def test_a_stack_is_annotated_joined_and_found_again(
    viewer: Any, place: Path, small_preset: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_maskwright import _stack_objects

    errors: list[str] = []
    monkeypatch.setattr(_stack_objects, "show_error", errors.append)
    layer = viewer.add_image(_stack(), name="cells", scale=(2, 0.5, 0.5), axis_labels=("z", "y", "x"))
    widget = _dock(viewer, place, small_preset, qtbot)
    widget._name.setText("cell")
    for z in (1, 2):
        viewer.dims.set_current_step(0, z)
        widget._following.follow_now()
        widget.add_box((15, 10, 40, 30))
        qtbot.waitUntil(lambda: any(view.proposal for view in widget._masks), timeout=120_000)
        widget.run_action("accept")
        qtbot.waitUntil(lambda: any(view.annotation for view in widget._masks), timeout=60_000)
    with Project.open(place) as project:
        records = [record for record in project.images.all() if record.plane]
        masks = [mask.mask.to_array() for record in records for mask in project.annotations(record.id)]
    assert [record.plane.index for record in records] == [(1,), (2,)]  # type: ignore[union-attr]
    assert records[0].plane.pixel_size == (0.5, 0.5)  # type: ignore[union-attr]
    widget.run_action("stack objects")
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers, timeout=60_000)
    objects = viewer.layers["cells objects"]
    assert np.array_equal(objects.scale, layer.scale)
    assert not objects.data[0].any()
    for z, mask in zip((1, 2), masks, strict=True):
        assert np.array_equal(objects.data[z] > 0, mask)
    # the two answers overlap, so they are one object
    assert set(np.unique(objects.data)) == {0, 1}
    assert objects.features["planes"].tolist()[-1] == 2
    viewer.layers.remove(objects)
    viewer.window.remove_dock_widget(widget)
    viewer.dims.set_current_step(0, 0)

    widget = _dock(viewer, place, small_preset, qtbot)
    qtbot.waitUntil(lambda: widget._project.images.count() == 4, timeout=60_000)
    widget.controller.images.open(records[1].id)
    qtbot.waitUntil(lambda: widget.controller.image_id == records[1].id, timeout=60_000)
    assert viewer.dims.current_step[0] == 2
    assert "image" not in widget._layers, "the stack shows it already"
    assert np.array_equal(drawn(widget, "accepted") > 0, masks[1])
    # what follows a step to another plane is meant for it, not for the plane before
    meant_for: list[int] = []
    images = widget.controller.images
    images.open(records[0].id, lambda: images.with_image(meant_for.append))
    qtbot.waitUntil(lambda: bool(meant_for), timeout=60_000)
    assert meant_for == [records[0].id]
    flat = viewer.add_image(np.zeros((40, 60), np.uint8), name="flat")
    widget._following.follow(flat)
    widget.run_action("stack objects")
    assert "single plane" in errors[0]
