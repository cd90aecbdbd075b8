"""Polygons along pixel edges reproduce the exact mask in pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.measure import label

from maskwright.formats.contours import fill_holes, rings_of, simplify

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans())


def has_hole(mask: NDArray[np.bool_]) -> bool:
    """Whether some background is cut off from the outside; touching it at a corner is enough not to be."""
    return bool(label(~np.pad(mask, 1), connectivity=2).max() > 1)


def read_back(rings: list[list[int]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = mask.shape
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, height, width))).astype(bool)


@settings(max_examples=700, deadline=None)
@given(MASKS.filter(lambda mask: bool(mask.any())))
def test_every_mask_without_holes_comes_back(mask: NDArray[np.bool_]) -> None:
    rings = rings_of(mask)
    assert (rings is None) == has_hole(mask)
    if rings is not None:
        assert np.array_equal(read_back(rings, mask), mask)
        assert all(len(ring) >= 8 and len(ring) % 2 == 0 for ring in rings)


def test_a_block_has_its_pixels_as_area() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:20, 8:32] = True
    assert rings_of(mask) == [[8, 5, 32, 5, 32, 20, 8, 20]]
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
    assert rings_of(np.array([[pixel == "#" for pixel in row] for row in rows])) == rings


def test_a_bay_closed_at_a_corner_is_no_hole() -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in ["###.", "#.#.", "##..", "...."]])
    rings = rings_of(mask)
    assert rings is not None
    assert np.array_equal(read_back(rings, mask), mask)


def test_a_large_disc() -> None:
    y, x = np.mgrid[:600, :700]
    mask = (x - 350) ** 2 + (y - 300) ** 2 < 280**2
    rings = rings_of(mask)
    assert rings is not None
    assert np.array_equal(read_back(rings, mask), mask)


def discs(seed: int) -> NDArray[np.bool_]:
    """Some discs in 40 x 50, put together or cut out of each other."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :50]
    mask = np.zeros((40, 50), bool)
    for _ in range(rng.integers(1, 6)):
        cy, cx = rng.integers(0, (40, 50))
        disc = (x - cx) ** 2 + (y - cy) ** 2 <= rng.integers(0, 16) ** 2
        mask = mask | disc if rng.random() < 0.7 else mask & ~disc
    return mask


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_round_shapes_come_back_too(seed: int) -> None:
    mask = fill_holes(discs(seed))
    rings = rings_of(mask)
    assert rings is not None
    if mask.any():
        assert np.array_equal(read_back(rings, mask), mask)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_filling_closes_the_holes_and_nothing_else(mask: NDArray[np.bool_]) -> None:
    solid = fill_holes(mask)
    assert not has_hole(solid)
    assert not (mask & ~solid).any()
    # what was added lay inside: it does not touch the outside
    outside = label(~np.pad(mask, 1), connectivity=2) == label(~np.pad(mask, 1), connectivity=2)[0, 0]
    assert np.array_equal(solid, ~outside[1:-1, 1:-1])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_simplified_outlines_keep_the_mask(seed: int, pixels: float) -> None:
    mask = fill_holes(discs(seed))
    rings = rings_of(mask)
    assert rings is not None
    if not mask.any():
        return
    fewer = simplify(mask, rings, pixels)
    drawn = read_back(fewer, mask)
    assert (drawn & mask).sum() >= 0.98 * (drawn | mask).sum()
    assert len(fewer) == len(rings)
    for few, all_points in zip(fewer, rings, strict=True):
        assert len(few) >= 6
        assert len(few) <= len(all_points)
        corners = set(zip(all_points[::2], all_points[1::2], strict=True))
        assert set(zip(few[::2], few[1::2], strict=True)) <= corners


def test_simplifying_leaves_points_out() -> None:
    y, x = np.mgrid[:200, :200]
    mask = (x - 100) ** 2 + (y - 100) ** 2 < 90**2
    rings = rings_of(mask)
    assert rings is not None
    sizes = [len(simplify(mask, rings, pixels)[0]) for pixels in (0.5, 1, 4)]
    assert len(rings[0]) > sizes[0] > sizes[1] > sizes[2]
