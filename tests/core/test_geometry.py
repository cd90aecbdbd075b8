"""Windows of the slide."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.geometry import slide, slide_size


@pytest.mark.parametrize("size", [(384, 384), (512, 768), (400, 385), (384, 5000)])
def test_windows_cover_everything_and_stay_inside(size: tuple[int, int]) -> None:
    seen = np.zeros(size, int)
    for top, left in slide(size, 384, 192):
        assert 0 <= top <= size[0] - 384
        assert 0 <= left <= size[1] - 384
        seen[top : top + 384, left : left + 384] += 1
    assert seen.min() >= 1


def test_last_window_is_shifted_back_to_the_border() -> None:
    assert slide((384, 700), 384, 192) == [(0, 0), (0, 192), (0, 316)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((480, 640), (512, 683), id="landscape"),
        pytest.param((640, 480), (683, 512), id="portrait"),
        pytest.param((1, 1), (512, 512), id="pixel"),
        pytest.param((1, 5000), (384, 4096), id="strip"),
    ],
)
def test_slide_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert slide_size(size, 512, 384) == expected
