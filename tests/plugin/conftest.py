"""A project to open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from napari_maskwright._controller import Controller
from tests.display import display
from tests.plugin.window import Window

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
