"""Polygons along pixel edges give back the exact mask through pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.measure import label

from maskwright.export.polygons import outlines

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans())


def has_hole(mask: NDArray[np.bool_]) -> bool:
    """Whether some background is cut off from the outside; touching it at a corner is enough not to be."""
    return bool(label(~np.pad(mask, 1), connectivity=2).max() > 1)


def read_back(rings: list[list[int]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = mask.shape
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, height, width))).astype(bool)


@settings(max_examples=500, deadline=None)
@given(MASKS.filter(lambda mask: bool(mask.any())))
def test_every_mask_without_holes_comes_back(mask: NDArray[np.bool_]) -> None:
    rings = outlines(mask)
    assert (rings is None) == has_hole(mask)
    if rings is not None:
        assert np.array_equal(read_back(rings, mask), mask)
        assert all(len(ring) >= 8 and len(ring) % 2 == 0 for ring in rings)


def test_a_block_has_its_pixels_as_area() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:20, 8:32] = True
    assert outlines(mask) == [[8, 5, 32, 5, 32, 20, 8, 20]]
    assert read_back([[8, 5, 32, 5, 32, 20, 8, 20]], mask).sum() == 360


@pytest.mark.parametrize(
    ("rows", "rings"),
    [
        pytest.param(["#"], [[0, 0, 1, 0, 1, 1, 0, 1]], id="pixel"),
        pytest.param([".#", "#."], [[0, 1, 1, 1, 1, 2, 0, 2], [1, 0, 2, 0, 2, 1, 1, 1]], id="corner"),
        pytest.param(["###", "#.#", "###"], None, id="hole"),
        pytest.param(["."], [], id="nothing"),
    ],
)
def test_small_cases(rows: list[str], rings: list[list[int]] | None) -> None:
    assert outlines(np.array([[pixel == "#" for pixel in row] for row in rows])) == rings


def test_a_bay_closed_at_a_corner_is_no_hole() -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in ["###.", "#.#.", "##..", "...."]])
    rings = outlines(mask)
    assert rings is not None
    assert np.array_equal(read_back(rings, mask), mask)


def test_a_large_disc() -> None:
    y, x = np.mgrid[:600, :700]
    mask = (x - 350) ** 2 + (y - 300) ** 2 < 280**2
    rings = outlines(mask)
    assert rings is not None
    assert np.array_equal(read_back(rings, mask), mask)
