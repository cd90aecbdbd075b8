"""A project to open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.project import Project

from ..display import display

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
