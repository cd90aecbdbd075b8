"""`maskwright bench --task napari` on few images and masks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("display", "qapp")]


def test_the_benchmark_of_the_window(monkeypatch: pytest.MonkeyPatch, small_preset: Any) -> None:
    from maskwright.cli import app
    from napari_maskwright import _bench

    monkeypatch.setattr(_bench, "_MASKS", 6)
    monkeypatch.setattr(_bench, "_IMAGES", 4)
    monkeypatch.setattr(_bench, "_LARGE_HW", (1000, 5000))
    result = CliRunner().invoke(app, ["bench", "--task", "napari", "--preset", str(small_preset)])
    assert result.exit_code == 0, result.output
    rows = re.findall(r"^(.*\S) +(\d+) ms +(\d+) ms +([\d.]+) s +\+(\d+) MB$", result.stdout, re.MULTILINE)
    actions = [row[0] for row in rows]
    assert actions[:7] == [
        "first click, which loads the model",
        "click", "accept", "switch to another image", "switch to 6 masks", "click among 6 masks", "open 4 images",
    ]  # fmt: skip
    assert len(actions) == 10
    assert all(float(row[1]) > 0 for row in rows)
