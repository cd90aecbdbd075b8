"""Labels and colours of masks in napari's layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.domain import Mask
from maskwright.session import MaskView
from napari_maskwright._layers import colors_of, hatched, labels_of


def _view(region: Any, color: str) -> MaskView:
    return MaskView(Mask.from_array(region, category="cow"), color)


def test_labels_in_the_smallest_type_with_small_masks_on_top() -> None:
    large, small = np.ones((6, 8), bool), np.zeros((6, 8), bool)
    small[2:4, 2:4] = True
    rows = [_view(small, "#0072b2"), _view(large, "#d55e00")]
    labels = labels_of(rows, (6, 8))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, small)
    assert np.array_equal(labels == 2, ~small)
    assert colors_of(rows) == {None: "#00000000", 0: "#00000000", 1: "#0072b2", 2: "#d55e00"}
    assert labels_of([rows[0]] * 300, (6, 8)).dtype == np.uint16
    assert not labels_of([], (6, 8)).any()


def test_hatching_covers_the_region_in_two_strengths_of_one_colour() -> None:
    region = np.zeros((300, 200), bool)
    region[50:250, 20:180] = True
    labels, colors = hatched([_view(region, "#808080")], (300, 200))
    assert np.array_equal(labels > 0, region)
    assert 0.4 < (labels[region] == 1).mean() < 0.6
    assert np.array_equal(labels[100, 29:89], np.repeat([2, 1], 3).tolist() * 10), "three pixels of a hundred stripes"
    assert colors == {None: "#00000000", 0: "#00000000", 1: "#808080", 2: "#80808040"}
    assert hatched([_view(np.ones((3, 4), bool), "#808080")], (3, 4))[0].tolist() == [
        [1, 2, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2]
    ]  # fmt: skip
