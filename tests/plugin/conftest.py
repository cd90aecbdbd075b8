"""A project to open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from napari_maskwright._controller import Controller
from tests.display import display
from tests.plugin.window import Window

WINDOW_SIZE = (800, 460)
"""Size of the window: small, because it is painted without a graphics card."""

__all__ = ["display"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that an earlier test looked at is remembered."""
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A project with two pictures of 40 x 60 pixels."""
    folder = tmp_path / "projekt ü"
    with Project.open(folder, create=True) as project:
        for name in ("a", "b"):
            pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
            Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")
            project.add(tmp_path / f"{name}.png")
    return folder


@pytest.fixture
def window() -> Window:
    return Window()


@pytest.fixture
def controller(place: Path, small_preset: Path, window: Window) -> Iterator[Controller]:
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(small_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    yield controller
    controller.close()


@pytest.fixture
def talk2dino_controller(place: Path, talking_preset: Path, window: Window) -> Iterator[Controller]:
    """As `controller`, with a model that has Talk2DINO."""
    session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), Project.open(place), str(talking_preset))
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)
    yield controller
    controller.close()


@pytest.fixture
def viewer(display: None, qapp: Any) -> Iterator[Any]:
    """A window that is not shown: without a graphics card painting takes most of the time."""
    import napari

    viewer = napari.Viewer(show=False)
    viewer.window.resize(*WINDOW_SIZE)
    yield viewer
    viewer.close()
    qapp.processEvents()


@pytest.fixture
def widget(viewer: Any, place: Path, small_preset: Path, qtbot: Any) -> Any:
    return _docked(viewer, place, small_preset, qtbot)


@pytest.fixture
def talk2dino_widget(viewer: Any, place: Path, talking_preset: Path, qtbot: Any) -> Any:
    """As `widget`, with a model that has Talk2DINO."""
    widget = _docked(viewer, place, talking_preset, qtbot)
    widget._text.objects.setChecked(False)
    return widget


def _docked(viewer: Any, place: Path, preset: Path, qtbot: Any) -> Any:
    from napari_maskwright._widget import AnnotatorWidget

    widget = AnnotatorWidget(viewer, project=str(place), preset=str(preset), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: widget.controller is not None and widget.controller.image_id is not None, timeout=30_000)
    return widget
