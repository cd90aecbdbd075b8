"""Touching objects of one region are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.imaging.touching import centers, split_touching


def disc(x: float, y: float, radius: float, size_hw: tuple[int, int] = (60, 120)) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    result: NDArray[np.bool_] = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
    return result


def even(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.full(region.shape, 0.7, np.float32)


@pytest.mark.parametrize("scale", [1, 5], ids=["small", "large"])
def test_touching_discs_are_cut_where_they_meet(scale: int) -> None:
    size = 60 * scale, 120 * scale
    left, right = disc(30 * scale, 30 * scale, 16 * scale, size), disc(58 * scale, 30 * scale, 16 * scale, size)
    pieces = split_touching(left | right, even(left))
    assert pieces.max() == 2
    for one in (left & ~right, right & ~left):
        number = np.bincount(pieces[one]).argmax()
        assert (pieces[one] == number).mean() > 0.97
    assert ((pieces > 0) == (left | right)).all()
    x, y = np.sort(centers(pieces), axis=0).T
    assert np.abs(x - np.array([30, 58]) * scale).max() <= 2 * scale
    assert np.abs(y - 30 * scale).max() <= 2 * scale


def test_a_roundish_thing_stays_whole_and_specks_are_dropped() -> None:
    thing, speck = disc(40, 30, 20), disc(100, 30, 1.5)
    bumpy = thing | disc(60, 22, 4) | disc(22, 40, 3)
    pieces = split_touching(bumpy | speck, even(bumpy))
    assert pieces.max() == 1
    assert ((pieces == 1) == bumpy).all()


def test_the_model_tells_apart_what_the_shape_does_not() -> None:
    region = np.zeros((40, 80), np.bool_)
    region[10:30, 10:70] = True
    probability = np.where(disc(24, 20, 9, (40, 80)) | disc(56, 20, 9, (40, 80)), 0.95, 0.6).astype(np.float32)
    assert split_touching(region, even(region)).max() == 1
    assert split_touching(region, probability).max() == 2


def test_an_empty_region_has_no_piece() -> None:
    nothing = np.zeros((20, 20), np.bool_)
    assert split_touching(nothing, even(nothing)).max() == 0
    assert centers(split_touching(nothing, even(nothing))).shape == (0, 2)
