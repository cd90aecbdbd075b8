"""The models that fine-tuning made, in the dock: used, gone back from, deleted, and their held-out images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from maskwright.project.finetune_runs import DEFAULT_OPTIONS
from maskwright.project.finetune_worker import run_finetuning


@pytest.mark.gui
def test_a_model_is_looked_at_used_left_and_deleted(
    viewer: Any, two_class_project: Path, small_preset: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QMessageBox

    from napari_maskwright._widget import AnnotatorWidget

    with Project.open(two_class_project) as project:
        options = replace(DEFAULT_OPTIONS, base=str(small_preset), epochs=1, device="cpu")
        run_finetuning(str(project.folder), project.runs.prepare(user="me", options=options))
    widget = AnnotatorWidget(viewer, project=str(two_class_project), preset=str(small_preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright")
    box = widget._finetuning
    runs = box.runs
    qtbot.waitUntil(lambda: runs.runs.count() == 1, timeout=20_000)
    assert runs.runs.itemText(0).startswith("run-1, done, ")
    assert "mIoU" in runs.line.text()

    widget.run_action("finetune needs")
    qtbot.waitUntil(lambda: box.learner.count() > 0, timeout=20_000)
    learners = [box.learner.itemData(row) for row in range(box.learner.count())]
    assert learners == [("text", None), ("text", "dinotxt"), ("click", None)]
    box.learner.setCurrentIndex(2)
    assert box.options() == {"task": "click", "method": None, "recipe": "decoder"}

    runs.look.click()
    qtbot.waitUntil(lambda: widget.judged_window is not None, timeout=20_000)
    judged = widget.judged_window
    assert judged.images.count() == 6
    qtbot.waitUntil(lambda: judged.answers._images != (), timeout=20_000)
    judged.answers.resize(200, 200)
    shown = []
    for value in (0, 100):
        judged.slider.setValue(value)
        pixels = judged.answers.grab().toImage()
        shown.append([pixels.pixel(x, 100) for x in range(20, 180, 8)])
    before, after = (judged.answers._images[n] for n in (0, 1))
    assert (shown[0] != shown[1]) == (before != after), "all is after on the left, before on the right"
    judged.close()

    runs.buttons["use"].click()
    qtbot.waitUntil(lambda: "in use" in runs.runs.itemText(0), timeout=20_000)
    assert not runs.buttons["delete"].isVisibleTo(runs)
    runs.buttons["original"].click()
    qtbot.waitUntil(lambda: "done" in runs.runs.itemText(0), timeout=20_000)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.Yes)
    runs.buttons["delete"].click()
    qtbot.waitUntil(lambda: not runs.isVisibleTo(box), timeout=20_000)
    with Project.open(two_class_project) as project:
        assert project.runs.all() == []


@pytest.mark.gui
def test_a_divided_image_shows_both_sides_of_the_line(qtbot: Any, display: None) -> None:
    from napari_maskwright._judged import DividedImage

    image = DividedImage("both")
    qtbot.addWidget(image)
    image.resize(200, 200)
    image.show_images(*(np.full((50, 50, 3), value, np.uint8) for value in (0, 255)))
    image.divide(0.25)
    shown = image.grab().toImage()
    scale = shown.width() / 200
    assert [shown.pixelColor(round(x * scale), round(100 * scale)).red() for x in (20, 100, 180)] == [0, 255, 255]
