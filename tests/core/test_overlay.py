"""Masks drawn over an image."""

from __future__ import annotations

import numpy as np

from maskwright.domain import Mask
from maskwright.overlay import Layer, blend, flatten
from tests.core.session.conftest import box

RED, BLUE = "#ff0000", "#0000ff"


def test_small_masks_are_drawn_over_large_ones() -> None:
    large, small = Mask.from_array(box(0, 20)), Mask.from_array(box(4, 12, 4, 16))
    rgba = flatten([Layer(small, BLUE), Layer(large, RED)], (30, 20))
    assert rgba.shape == (20, 30, 4)
    assert rgba[10, 8].tolist() == rgba[4, 4].tolist() == [0, 0, 255, 255]
    assert rgba[0, 0].tolist() == rgba[3, 3].tolist() == [255, 0, 0, 255]
    assert rgba[0, 25].tolist() == [0, 0, 0, 0]


def test_masks_are_drawn_at_the_size_that_is_asked_for_and_with_the_opacity() -> None:
    layers = [Layer(Mask.from_array(box(0, 15)), RED)]
    assert np.array_equal(flatten(layers, (60, 40))[..., 3] > 0, np.arange(60)[None].repeat(40, 0) < 30)
    blended = blend(np.full((20, 30, 3), 100, np.uint8), layers, 0.5)
    assert blended[0, 0].tolist() == [178, 50, 50]
    assert blended[0, 29].tolist() == [100, 100, 100]
