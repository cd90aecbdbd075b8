"""Between napari's layers and our values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.domain import Mask
from maskwright.errors import MaskwrightError
from maskwright.session import MaskView
from napari_maskwright._layers import as_rgb8, colors_of, hatched, labels_of


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int16", "int32", "uint32", "float16", "float32", "float64"]
)
def test_grey_of_any_type_becomes_eight_bit_rgb(dtype: str, rng: np.random.Generator) -> None:
    data = (rng.random((30, 40)) * 200).astype(np.int64)
    data = (data > 100).astype(bool) if dtype == "bool" else data.astype(dtype)
    out = as_rgb8(data, rgb=False)
    assert out.shape == (30, 40, 3)
    assert out.dtype == np.uint8
    if dtype == "uint8":
        assert np.array_equal(out[..., 0], data)
    else:
        assert out.min() == 0
        assert out.max() == 255


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 7.5])
def test_constant_and_broken_values_do_not_crash(value: float) -> None:
    assert as_rgb8(np.full((4, 5), value, np.float32), rgb=False).shape == (4, 5, 3)


def test_alpha_is_dropped_and_stacks_are_refused(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 255, (4, 5, 4), dtype=np.uint8)
    assert np.array_equal(as_rgb8(rgba, rgb=True), rgba[..., :3])
    with pytest.raises(MaskwrightError, match="stack"):
        as_rgb8(np.zeros((3, 4, 5)), rgb=False)


def _shown(region: Any, color: str) -> MaskView:
    return MaskView(Mask.from_array(region, category="cow"), color)


def test_labels_in_the_smallest_type_with_small_masks_on_top() -> None:
    large, small = np.ones((6, 8), bool), np.zeros((6, 8), bool)
    small[2:4, 2:4] = True
    rows = [_shown(small, "#0072b2"), _shown(large, "#d55e00")]
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
    labels, colors = hatched([_shown(region, "#808080")], (300, 200))
    assert np.array_equal(labels > 0, region)
    assert 0.4 < (labels[region] == 1).mean() < 0.6
    assert np.array_equal(labels[100, 29:89], np.repeat([2, 1], 3).tolist() * 10), "three pixels of a hundred stripes"
    assert colors == {None: "#00000000", 0: "#00000000", 1: "#808080", 2: "#80808040"}
    assert hatched([_shown(np.ones((3, 4), bool), "#808080")], (3, 4))[0].tolist() == [
        [1, 2, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2]
    ]  # fmt: skip
