"""The benchmark of the search times what a search really does."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwright.engine import Engine
from maskwright.project.search_speed import bench_find


def test_planted_duplicates_are_found(talking_preset: Path) -> None:
    result = bench_find(Engine.load(talking_preset, "cpu"), images=400)
    assert (result.images, result.regions) == (400, (2, 32))
    assert result.duplicates_found == 1
    assert result.megabytes == pytest.approx(400 * 2 * 32 * 2 / 1e6, abs=0.1)
    assert min(result.first, result.further, result.label_next, result.duplicates) > 0
