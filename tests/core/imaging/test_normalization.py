"""Intensities to 8 bit, and contrast."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.imaging.normalization import stretch_contrast, to_8bit


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_percentiles_become_black_and_white(kind: type, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    values = rng.uniform(100, 4000, shape).astype(kind)
    low, high = np.percentile(values.astype(float), [0.1, 99.9])
    found = to_8bit(values)
    assert found.dtype == np.uint8
    assert (found.min(), found.max()) == (0, 255)
    inside = (values > low) & (values < high)
    assert np.abs(found[inside] - 255 * (values[inside] - low) / (high - low)).max() <= 0.51


def test_holes_count_as_zero() -> None:
    values = np.linspace(-1, 1, 2000).reshape(40, 50)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    zero = values.ravel()[np.abs(values.ravel()[3:]).argmin() + 3]
    assert abs(zero) < 1e-3
    assert set(to_8bit(values)[0, :3].tolist()) == {int(to_8bit(values)[np.where(values == zero)][0])}


@pytest.mark.parametrize("values", [np.full((30, 40), 7.5), np.eye(40) * (np.arange(40) == 3)], ids=["flat", "speck"])
def test_a_constant_plane_is_black(values: np.ndarray) -> None:
    assert not to_8bit(values).any()


def test_contrast_is_stretched_over_all_channels_alike(rng: np.random.Generator) -> None:
    dark = rng.integers(10, 60, (30, 40, 3), dtype=np.uint8)
    bright = stretch_contrast(dark)
    assert (bright.min(), bright.max()) == (0, 255)
    order = np.argsort(dark, axis=None)
    assert (np.diff(bright.ravel()[order].astype(int)) >= 0).all(), "one monotonic curve for all channels"
    flat = np.full((3, 4, 3), 9, np.uint8)
    assert stretch_contrast(flat) is flat
