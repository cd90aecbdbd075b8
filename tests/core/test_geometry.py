"""Windows of the slide, and connected components."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.geometry import components, slide, slide_size


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


def test_components_are_those_of_scikit_image(rng: np.random.Generator) -> None:
    from skimage.measure import label

    for _ in range(60):
        mask = rng.random(rng.integers(1, 30, 2)) < rng.uniform(0.2, 0.8)
        found, parts = components(mask), label(mask, connectivity=2)
        assert len(found) == parts.max()
        for part in found:
            assert np.array_equal(part, parts == parts[part][0])


def test_a_spiral_is_one_component() -> None:
    mask = np.zeros((31, 31), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    (part,) = components(mask)
    assert np.array_equal(part, mask)
    assert components(np.zeros((3, 3), bool)) == []
