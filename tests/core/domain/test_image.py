"""Images from arrays of any number type."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.domain import Image
from maskwright.errors import ShapeError
from maskwright.imaging.normalization import to_8bit


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int16", "int32", "uint32", "float16", "float32", "float64"]
)
def test_grey_of_any_type_becomes_eight_bit_rgb(dtype: str, rng: np.random.Generator) -> None:
    data = (rng.random((30, 40)) * 200).astype(np.int64)
    data = (data > 100).astype(bool) if dtype == "bool" else data.astype(dtype)
    pixels = Image.from_array(data, rgb=False).pixels
    assert pixels.shape == (30, 40, 3)
    assert (pixels == pixels[..., :1]).all()
    if dtype == "uint8":
        assert np.array_equal(pixels[..., 0], data)
    else:
        assert np.array_equal(pixels[..., 0], to_8bit(data))
        assert pixels.min() == 0
        assert pixels.max() == 255


def test_colours_are_stretched_together(rng: np.random.Generator) -> None:
    data = rng.random((30, 40, 3))
    data[..., 2] /= 10
    pixels = Image.from_array(data, rgb=True, name="colours").pixels
    low, high = np.percentile(data, [0.1, 99.9])
    assert np.array_equal(pixels, np.rint(255 * ((data - low) / (high - low)).clip(0, 1)))
    assert pixels[..., 2].max() < 30


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 7.5])
def test_constant_and_broken_values_become_black(value: float) -> None:
    assert not Image.from_array(np.full((4, 5), value, np.float32), rgb=False).pixels.any()


def test_alpha_is_ignored(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 255, (4, 5, 4), dtype=np.uint8)
    assert np.array_equal(Image.from_array(rgba, rgb=True).pixels, rgba[..., :3])


@pytest.mark.parametrize(("shape", "rgb"), [((3, 4, 5), False), ((2, 4, 5, 3), True), ((0, 5), False)])
def test_stacks_and_empty_planes_are_refused(shape: tuple[int, ...], rgb: bool) -> None:
    with pytest.raises(ShapeError):
        Image.from_array(np.zeros(shape), rgb=rgb)
